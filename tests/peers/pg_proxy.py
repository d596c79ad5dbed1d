"""A double for faults that no server makes on demand: stands between a client and a real Postgres, reads the client's
messages, and loses the connection where it is told to. Counts the trips that a client makes (a Sync each)."""

import re
import socket
import struct
import threading

WRITES = r"\b(INSERT INTO|UPDATE|DELETE FROM)\b"


class PgProxy:
    """`fault`: None, or (place, text): at the first statement that begins with that text the connection is cut
    "before" (it never reaches the server),
    "unsynced" (the server has done it, and hears no Sync: where nothing else does, that would have committed),
    "racing" (just behind the Sync: who knows what the server makes of it), or
    "after" (the server has done the trip and is out of the transaction, and its answer is lost).

    `commit_fault`: None, or (place, pattern): the same for the first trip that commits a transaction with a statement that
    the pattern is found in (WRITES: any that writes): by COMMIT, or by its Sync, where there was no BEGIN."""

    def __init__(self, host, port):
        self.server, self.fault, self.commit_fault = (host, port), None, None
        self.trips = self.faults_made = 0
        self.lock = threading.Lock()
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.host, self.port = self.listener.getsockname()[:2]
        self.sockets = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        while True:
            try:
                client, _ = self.listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(self.server)
            except OSError:
                client.close()
                continue
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            server.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with self.lock:
                self.sockets += [client, server]
            # `statements`: since the session was last out of a transaction.
            state = {"mute": False, "place": None, "executes": 0, "statements": []}
            threading.Thread(target=self._to_server, args=(client, server, state), daemon=True).start()
            threading.Thread(target=self._to_client, args=(client, server, state), daemon=True).start()

    @staticmethod
    def _close(*sockets):
        for s in sockets:
            try:
                s.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    @staticmethod
    def _read(s, n):
        data = b""
        while len(data) < n:
            more = s.recv(n - len(data))
            if not more:
                raise OSError("closed")
            data += more
        return data

    @staticmethod
    def _kinds(data):
        """Of the whole messages in there, whose first begins with the first byte."""
        kinds, at = b"", 0
        while at + 5 <= len(data) and at + 1 + (length := struct.unpack_from("!I", data, at + 1)[0]) <= len(data):
            kinds += data[at:at + 1]
            at += 1 + length
        return kinds

    def _to_server(self, client, server, state):
        try:
            while True:  # the start-up messages have no type
                head = self._read(client, 8)
                length, code = struct.unpack("!II", head)
                server.sendall(head + self._read(client, length - 8))
                if code >> 16 == 3:
                    break
            pending, executes = b"", 0
            while True:
                head = self._read(client, 5)
                body = self._read(client, struct.unpack("!I", head[1:])[0] - 4)
                pending += head + body
                if head[:1] == b"P":
                    statement = body.split(b"\0")[1].decode()
                    state["statements"].append(statement)
                    if self.fault and statement.startswith(self.fault[1]):
                        state["place"], self.fault = self.fault[0], None
                elif head[:1] == b"S":
                    state["place"] = self._place_of_commit(state["statements"]) or state["place"]
                if state["place"] == "before":
                    self.faults_made += 1
                    self._close(client, server)
                    return
                if state["place"]:
                    state["mute"] = True
                if head[:1] == b"S":
                    self.trips += 1
                    if state["place"] == "unsynced":
                        state["executes"] = executes
                        pending = pending[:-5] + b"H\0\0\0\4"  # Flush: answer all, and go on
                    if state["place"] == "racing":
                        server.sendall(pending)
                        self.faults_made += 1
                        self._close(client, server)
                        return
                    executes = 0
                elif head[:1] == b"E":
                    executes += 1
                if head[:1] not in b"PBDE":
                    server.sendall(pending)
                    pending = b""
        except OSError:
            self._close(client, server)

    def _place_of_commit(self, statements):
        """At a Sync: None where it is not the one to be cut off."""
        words = [s.split(None, 1)[0] for s in statements if s.strip()]
        with self.lock:
            fault, commits = self.commit_fault, "COMMIT" in words or "BEGIN" not in words
            if not fault or not commits or not any(re.search(fault[1], s) for s in statements):
                return None
            self.commit_fault = None
            return fault[0]

    def _to_client(self, client, server, state):
        unheard = b""
        try:
            while True:
                data = server.recv(65536)
                if not data:
                    break
                if not state["mute"]:
                    if data.endswith(b"Z\0\0\0\5I"):
                        state["statements"] = []
                    client.sendall(data)
                    continue
                if state["place"] == "racing":
                    continue
                unheard += data
                kinds = self._kinds(unheard)
                unsynced = state["place"] == "unsynced"
                done = kinds.count(b"C") == state["executes"] > 0 if unsynced else kinds.endswith(b"Z")
                if done and (unsynced or unheard.endswith(b"I")):  # idle again: it is out of the transaction
                    self.faults_made += 1
                    break
        except OSError:
            pass
        self._close(client, server)

    def close(self):
        self._close(self.listener, *self.sockets)
        self.listener.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()
