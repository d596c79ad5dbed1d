"""A double for faults of the network: stands between one client and a real peer, and passes bytes on, or not.

    with TcpProxy(host, port) as proxy:
        proxy.cut()      # connections are reset, new ones are closed at once
        proxy.mute()     # connections stay, new ones are taken; nothing passes, in either direction
        proxy.slow(0.2)  # each piece (of at most 256 KiB) waits so many seconds, in both directions; 0: none does
        proxy.heal()     # what a mute connection was sent meanwhile arrives
        proxy.sent       # bytes that have reached the peer
"""
import socket
import threading
import time

PASS, MUTE, CUT = range(3)


class TcpProxy:
    def __init__(self, host, port):
        self.peer, self.state, self.delay_s, self.sent = (host, port), PASS, 0, 0
        self.changed = threading.Condition()
        self.connections = set()  # pairs of sockets
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self.listener.getsockname()
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client):
        try:
            self._may_pass()
            pair = (client, socket.create_connection(self.peer))
        except OSError:
            client.close()
            return
        with self.changed:
            self.connections.add(pair)
        back = threading.Thread(target=self._copy, args=(pair[1], pair[0]), daemon=True)
        back.start()
        self._copy(*pair, counts=True)
        back.join()
        with self.changed:
            self.connections.discard(pair)
        for s in pair:
            s.close()

    def _may_pass(self):
        with self.changed:
            self.changed.wait_for(lambda: self.state != MUTE)
            if self.state == CUT:
                raise ConnectionResetError("cut")

    def _copy(self, source, target, counts=False):
        try:
            while data := source.recv(262144):
                if self.delay_s:
                    time.sleep(self.delay_s)  # the fault is the delay
                self._may_pass()
                self._pace(target, len(data))
                target.sendall(data)
                if counts:
                    with self.changed:
                        self.sent += len(data)
            target.shutdown(socket.SHUT_WR)
        except OSError:
            self._break((source, target))

    def _pace(self, target, count):
        pass

    @staticmethod
    def _break(pair):
        for s in pair:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def _become(self, state):
        with self.changed:
            self.state = state
            self.changed.notify_all()

    def cut(self):
        self._become(CUT)
        with self.changed:
            for pair in self.connections:
                self._break(pair)

    def mute(self):
        self._become(MUTE)

    def slow(self, seconds):
        self.delay_s = seconds

    def heal(self):
        self._become(PASS)

    def close(self):
        self.cut()
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class NarrowProxy(TcpProxy):
    """A line of so many bytes a second towards the peer, shared by all connections; the way back is free."""

    def __init__(self, host, port, bytes_a_second):
        self.rate, self.line, self.free_at = bytes_a_second, threading.Lock(), 0
        super().__init__(host, port)

    def _pace(self, target, count):
        if target.getpeername() != self.peer:
            return
        with self.line:
            self.free_at = max(self.free_at, time.monotonic()) + count / self.rate
            over = self.free_at
        time.sleep(max(0, over - time.monotonic()))
