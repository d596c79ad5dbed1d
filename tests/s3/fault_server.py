"""A double for the faults that no real S3 server makes on demand: a proxy before the real one (Swift). All that a fault
does not touch is the real server's work.

A fault is a file in faults/, named after it, with one function:

    def on(request, seen):   # `seen` counts requests of this kind and key, this one included
        return None          # pass it on
        return status(...), error(...), LOSE_ANSWER, RESET_MIDWAY, STALL, ... # interfere

`request.kind` is create, part, complete, abort, list, put, look, delete; `request.key` the object's key."""
import http.client
import importlib.util
import os
import select
import socket
import socketserver
import struct
import threading
import urllib.parse

FAULTS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "faults")


class Request:
    def __init__(self, method, target, headers):
        self.method, self.target, self.headers = method, target, headers
        path, _, query = target.partition("?")
        names = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        parts = urllib.parse.unquote(path).split("/", 2)
        self.key = parts[2] if len(parts) > 2 else ""
        self.length = int(headers.get("Content-Length", 0))
        self.part = int(names.get("partNumber", 0))
        self.kind = self._kind(names)

    def _kind(self, names):
        if "partNumber" in names:
            return "part"
        if "uploads" in names:
            return "create" if self.method == "POST" else "list"
        if "uploadId" in names:
            return "complete" if self.method == "POST" else "abort"
        return {"PUT": "put", "DELETE": "delete"}.get(self.method, "look")


class Answer:
    """Instead of the real server's; `after` true: the real one has done its work before."""

    def __init__(self, status, body=b"", headers=(), after=False):
        self.status, self.body, self.headers, self.after = status, body, dict(headers), after


def status(code, body=b"", after=False, **headers):
    return Answer(code, body, {k.replace("_", "-"): v for k, v in headers.items()}, after)


def error(code, name, after=False, more="", lead="", **headers):
    body = f'{lead}<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{name}</Code><Message>as asked</Message>{more}</Error>'
    return status(code, body.encode(), after, Content_Type="application/xml", **headers)


class Act:
    def __init__(self, name, **details):
        self.name = name
        self.__dict__.update(details)


LOSE_ANSWER = Act("lose answer")    # passed on; the connection ends before the answer
RESET_MIDWAY = Act("reset midway")  # a reset when half of the body has come
RESET_FIRST = Act("reset first")    # a reset before the body is read
STALL = Act("stall")                # neither read nor answered, for as long as the test lasts
CLOSE_AFTER = Act("close after")    # the connection is closed behind the answer, without a word of it


def slowly(bytes_a_second):
    return Act("slowly", rate=bytes_a_second)


def raw(text, early=False, deaf=False):
    """These very bytes ({etag}: the real answer's), and then the end of the connection. Early: before the body is read, which
    is not passed on. Deaf: and it is not read afterwards either, so that the client cannot get rid of it."""
    return Act("early" if early else "raw", text=text, deaf=deaf)


def altered(**headers):
    """The real answer with other headers (None: without)."""
    return Act("altered", headers={k.replace("_", "-"): v for k, v in headers.items()})


def then(call):
    """Passed on; then `call` is made, before the answer goes back."""
    return Act("then", call=call)


def load(name):
    spec = importlib.util.spec_from_file_location(name, os.path.join(FAULTS, name + ".py"))
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.on


class Connection(socketserver.StreamRequestHandler):
    rbufsize = 1 << 20

    def handle(self):
        with self.server.lock:
            self.server.connections += 1
        while self.one():
            pass

    def reset(self):
        self.request.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    def one(self):
        line = self.rfile.readline(65536).decode("latin-1").rstrip("\r\n")
        if not line:
            return False
        method, target, _ = line.split(" ")
        headers = http.client.parse_headers(self.rfile)
        request = Request(method, target, headers)
        act = self.server.decide(request)
        name = act.name if isinstance(act, Act) else ""
        if name == "stall":
            self.server.released.wait()
            return False
        if name == "reset first":
            self.reset()
            return False
        if name == "early":
            return self.last_words(act.text, act.deaf)
        body = self.read_body(request.length, name, getattr(act, "rate", 0))
        if body is None:
            return False
        if isinstance(act, Answer) and not act.after:
            return self.answer(request, act.status, act.headers, act.body)
        status_, answer_headers, answer_body = self.pass_on(request, body)
        if isinstance(act, Answer):
            return self.answer(request, act.status, act.headers, act.body)
        if name == "lose answer":
            return False
        if name == "raw":
            return self.last_words(act.text.replace("{etag}", next(v for k, v in answer_headers if k.lower() == "etag")))
        if name == "then":
            act.call()
        if name == "altered":
            for key, value in act.headers.items():
                answer_headers = [(k, v) for k, v in answer_headers if k.lower() != key.lower()]
                if value is not None:
                    answer_headers.append((key, value))
        return self.answer(request, status_, answer_headers, answer_body) and name != "close after"

    def last_words(self, text, deaf=False):
        """A close while there is something to read would be a reset, and might take them with it."""
        try:
            if deaf:
                self.request.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
            self.wfile.write(text.encode())
            self.request.shutdown(socket.SHUT_WR)
            if deaf:
                gone = select.poll()
                gone.register(self.request, select.POLLRDHUP)
                gone.poll(20000)
            while not deaf and self.request.recv(1 << 20):
                pass
        except OSError:
            pass
        return False

    def read_body(self, length, name, rate):
        pieces, left = [], length
        while left > 0:
            if name == "reset midway" and left < length / 2:
                self.reset()
                return None
            piece = self.rfile.read(min(left, 65536))
            if not piece:
                return None
            pieces.append(piece)
            left -= len(piece)
            if rate:
                self.server.released.wait(len(piece) / rate)  # the fault is the slowness
        return b"".join(pieces)

    def pass_on(self, request, body):
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port_behind, timeout=60)
        connection.putrequest(request.method, request.target, skip_host=True, skip_accept_encoding=True)
        for key, value in request.headers.items():
            connection.putheader(key, value)
        connection.endheaders(body)
        answer = connection.getresponse()
        data = answer.read()
        connection.close()
        return answer.status, answer.getheaders(), data

    def answer(self, request, code, headers, body):
        headers = list(headers.items() if isinstance(headers, dict) else headers)
        lines = [f"HTTP/1.1 {code} -"]
        names = {k.lower() for k, _ in headers}
        lines += [f"{k}: {v}" for k, v in headers if k.lower() not in ("transfer-encoding", "connection")]
        if request.method != "HEAD" and "content-length" not in names and code != 204:
            lines.append(f"Content-Length: {len(body)}")
        try:
            self.wfile.write(("\r\n".join(lines) + "\r\n\r\n").encode("latin-1"))
            if request.method != "HEAD":
                self.wfile.write(body)
        except OSError:
            return False
        return True


class FaultServer(socketserver.ThreadingTCPServer):
    allow_reuse_address = daemon_threads = True
    request_queue_size = 128
    block_on_close = False

    def __init__(self, swift, on):
        """`on`: the name of a file in faults/, or a function."""
        super().__init__(("127.0.0.1", 0), Connection)
        self.on = load(on) if isinstance(on, str) else on
        self.swift, self.port_behind = swift, swift.port
        self.lock = threading.Lock()
        self.seen = []  # (kind, key, part)
        self.connections = 0  # on which a request came
        self.released = threading.Event()
        self.endpoint = f"http://127.0.0.1:{self.server_address[1]}"
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def decide(self, request):
        with self.lock:
            me = (request.kind, request.key, request.part)
            self.seen.append(me)
            count = self.seen.count(me)
        request.swift = self.swift
        return self.on(request, count)

    def count(self, kind):
        with self.lock:
            return sum(1 for k, _, _ in self.seen if k == kind)

    def handle_error(self, request, client_address):
        pass  # a client that went away is part of the game

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.released.set()
        self.shutdown()
        self.server_close()
