"""The HTTP layer as a client sees it, over plain sockets: http_echo.c says what answers."""

import json
import os
import resource
import signal
import socket
import subprocess
import time

import pytest

BUILD = os.environ.get("BUILD_DIR", os.path.join(os.path.dirname(__file__), "..", "..", "build"))
DEADLINE = 10
TIMEOUT_S = 2  # of the server, for what is idle or stalled
MAX_CONNECTIONS = 1000


class Server:
    def __init__(self, max_connections=MAX_CONNECTIONS, timeout_s=TIMEOUT_S, host="127.0.0.1", descriptors=None):
        def limit():
            if descriptors:
                resource.setrlimit(resource.RLIMIT_NOFILE, (descriptors, descriptors))

        program = os.path.join(BUILD, "tests", "http_echo")
        self.process = subprocess.Popen([program, str(max_connections), str(timeout_s), host],
                                        stdout=subprocess.PIPE, stderr=subprocess.PIPE, preexec_fn=limit)
        host, _, port = self.process.stdout.readline().decode().strip().rpartition(":")
        self.address = (host.strip("[]"), int(port))

    def connect(self):
        return Client(self.address)

    def counts(self):
        """Connections (the asking one not counted) and streams whose clients went."""
        with self.connect() as c:
            c.send("GET /counts HTTP/1.1\r\nHost: a\r\n\r\n")
            counts = json.loads(c.answer().body)
        return counts["connections"] - 1, counts["closed"]

    def wait_for(self, **expected):
        end = time.monotonic() + DEADLINE
        while True:
            connections, closed = self.counts()
            got = {"connections": connections, "closed": closed}
            if all(got[name] == value for name, value in expected.items()):
                return
            assert time.monotonic() < end, (got, expected)
            time.sleep(0.01)

    def descriptors(self):
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    def wait_for_descriptors(self, count):
        end = time.monotonic() + DEADLINE
        while self.descriptors() != count:
            assert time.monotonic() < end, (self.descriptors(), count)
            time.sleep(0.01)

    def cpu_seconds(self):
        with open(f"/proc/{self.process.pid}/stat") as f:
            fields = f.read().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss_anon_kib(self):
        with open(f"/proc/{self.process.pid}/status") as f:
            return int(next(line for line in f if line.startswith("RssAnon")).split()[1])

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        _, errors = self.process.communicate(timeout=DEADLINE)
        assert self.process.returncode == 0, errors.decode()
        return errors.decode()


class Answer:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    def error(self):
        assert self.headers["content-type"] == "application/json"
        return json.loads(self.body)["error"]


class Client:
    def __init__(self, address):
        self.socket = socket.create_connection(address, timeout=DEADLINE)
        self.file = self.socket.makefile("rb")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def close(self):
        self.file.close()
        self.socket.close()

    def send(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode("latin-1"))

    def head(self):
        line = self.file.readline().decode()
        assert line.startswith("HTTP/1."), line
        headers = {}
        while (field := self.file.readline().decode().rstrip("\r\n")):
            name, _, value = field.partition(": ")
            assert name.lower() not in headers, field
            headers[name.lower()] = value
        return int(line.split()[1]), headers

    def chunk(self):
        data = self.file.read(int(self.file.readline(), 16))
        assert self.file.readline() == b"\r\n"
        return data

    def answer(self, head=False):
        status, headers = self.head()
        body = b""
        if headers.get("transfer-encoding") == "chunked":
            while (data := self.chunk()):
                body += data
        elif not head and "content-length" in headers:
            body = self.file.read(int(headers["content-length"]))
            assert len(body) == int(headers["content-length"])
        elif not head and status != 204:
            body = self.file.read()
        return Answer(status, headers, body)

    def at_end(self):
        """Waits for the server's end."""
        try:
            return self.file.read(1) == b""
        except ConnectionResetError:
            return True


@pytest.fixture(scope="module")
def server():
    s = Server()
    yield s
    s.stop()


def ask(server, text, head=False):
    with server.connect() as c:
        c.send(text)
        return c.answer(head)


def echoed(answer):
    assert answer.status == 200
    return json.loads(answer.body)


# What the gate refuses, and what evhttp refuses by itself: JSON, and the end of the connection.

SMUGGLED = "GET /smuggled HTTP/1.1\r\nHost: a\r\n\r\n"


@pytest.mark.parametrize("request_text, why", [
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 4\r\n\r\nabcd", "more than one Content-Length"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nContent-Length: 9\r\n\r\nabcd", "more than one Content-Length"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +4\r\n\r\nabcd", "Content-Length is not a number"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4x\r\n\r\nabcd", "the request is malformed"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -4\r\n\r\nabcd", "the request is malformed"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", "no Transfer-Encoding but chunked"),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: x\r\n\r\n0\r\n\r\n",
     ("no Transfer-Encoding but chunked", "the request is malformed")),
    ("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
     ("both Content-Length and Transfer-Encoding", "the request is malformed")),
    ("POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "Transfer-Encoding in an HTTP/1.0"),
    ("POST / HTTP/1.1\r\nHost: a\r\nContent-Length : 4\r\n\r\nabcd", "a malformed header name"),
    ("GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n", "a malformed header name"),
    ("GET / HTTP/1.1\r\nHost: a\r\nno colon\r\n\r\n", "the request is malformed"),
    ("GET / HTTP/1.1\r\n\r\n", "no Host"),
    ("GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", "more than one Host"),
    ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", "a malformed Host"),
    ("GET / HTTP/1.1\r\nHost:\r\n\r\n", "a malformed Host"),
    ("GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n", "the request target names another host"),
    ("CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", "CONNECT is for proxies"),
    ("CONNECT / HTTP/1.1\r\nHost: a:80\r\n\r\n", "CONNECT is for proxies"),
    ("CONNECT a@b@c:x HTTP/1.1\r\nHost: a:80\r\n\r\n", "the request is malformed"),
    ("GET * HTTP/1.1\r\nHost: a\r\n\r\n", "the target * is for OPTIONS"),
    ("HEAD / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd", None),
    ("TRACE / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nabcd", "a body with a method"),
    ("BREW / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", "a body with a method"),
    ("GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", "the request target has a byte"),
    ("GET /a\x01 HTTP/1.1\r\nHost: a\r\n\r\n", "the request target has a byte"),
    ("GET /a%00 HTTP/1.1\r\nHost: a\r\n\r\n", "the request target has a NUL"),
    ("GET /" + "a" * 8192 + " HTTP/1.1\r\nHost: a\r\n\r\n", "the request target is too long"),
    ("GET / HTTP/1.2\r\nHost: a\r\n\r\n", "only HTTP/1.0 and HTTP/1.1"),
    ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", "the request is malformed"),
    ("nonsense that is long enough\r\n\r\n", "the request is malformed"),
    ("\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello \r\n\r\n", "the request is malformed"),
    ("GET / HTTP/1.1\r\nHost: a\r\nX: " + "a" * 16384 + "\r\n\r\n", "the request is malformed, or its headers are too large"),
    ("GET / HTTP/1.1\r\nHost: a\r\n" + "X: yyyyyyyy\r\n" * 2000 + "\r\n", "the request is malformed, or its headers"),
])
def test_refused(server, request_text, why):
    with server.connect() as c:
        c.send(request_text + SMUGGLED)
        answer = c.answer(head=why is None)
        assert answer.status == 400
        assert answer.headers["connection"] == "close"
        if why:
            assert answer.error().startswith(why)
        assert c.at_end()


def test_a_bad_chunk_is_refused(server):
    with server.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n" + SMUGGLED)
        answer = c.answer()
        assert answer.status == 413
        assert "malformed" in answer.error()
        assert c.at_end()


def test_an_expectation_that_is_not_known_is_refused(server):
    with server.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\nContent-Length: 4\r\n\r\n")
        assert c.answer().status == 417
        assert c.at_end()


# What passes.

def test_method_path_query_and_headers(server):
    for method in ["GET", "POST", "PUT", "DELETE", "OPTIONS", "PATCH"]:
        got = echoed(ask(server, f"{method} /a%20b/?q=1+2%263 HTTP/1.1\r\nHost: a\r\nx-test: t\r\n\r\n"))
        assert got == {"method": method, "path": "/a%20b/", "q": "1 2&3", "header": "t", "length": 0, "sum": 0}
    assert echoed(ask(server, "BREW / HTTP/1.1\r\nHost: a\r\n\r\n"))["method"] == "OTHER"
    assert echoed(ask(server, "GET /?q=1&q=2 HTTP/1.1\r\nHost: a\r\n\r\n"))["q"] is None


def test_absolute_and_asterisk_targets(server):
    assert echoed(ask(server, "GET http://a:1/x?q=y HTTP/1.1\r\nHost: A:1\r\n\r\n"))["path"] == "/x"
    assert echoed(ask(server, "GET http://a HTTP/1.1\r\nHost: a\r\n\r\n"))["path"] == "/"
    assert echoed(ask(server, "GET //b/x HTTP/1.1\r\nHost: a\r\n\r\n"))["path"] == "//b/x"
    assert echoed(ask(server, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"))["path"] == "*"


def test_head_has_the_length_and_no_body(server):
    with server.connect() as c:
        for _ in range(2):
            c.send("HEAD /x HTTP/1.1\r\nHost: a\r\n\r\n")
            assert int(c.answer(head=True).headers["content-length"]) > 0
            c.send("HEAD /bytes?n=1000 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert c.answer(head=True).headers["content-length"] == "1000"


def test_204_has_neither_length_nor_body(server):
    with server.connect() as c:
        for _ in range(2):
            c.send("GET /204 HTTP/1.1\r\nHost: a\r\n\r\n")
            answer = c.answer()
            assert answer.status == 204 and "content-length" not in answer.headers
            assert "transfer-encoding" not in answer.headers


def test_errors_are_json_whatever_they_say(server):
    answer = ask(server, "GET /error HTTP/1.1\r\nHost: a\r\n\r\n")
    assert answer.status == 404
    assert answer.error() == 'bad byte ?, "quoted"'


def test_request_id(server):
    own = "GET / HTTP/1.1\r\nHost: a\r\nX-Request-Id: {}\r\n\r\n"
    assert ask(server, own.format("a.B-9_")).headers["x-request-id"] == "a.B-9_"
    for odd in ["a b", "x" * 65, "é", ""]:
        made = ask(server, own.format(odd)).headers["x-request-id"]
        assert len(made) == 16 and int(made, 16) >= 0
    assert "date" in ask(server, own.format("x")).headers


def test_cors(server):
    def ask_from(origin, extra="", method="GET"):
        return ask(server, f"{method} / HTTP/1.1\r\nHost: a\r\nOrigin: {origin}\r\n{extra}\r\n").headers

    got = ask_from("https://x.y.example.org")
    assert got["access-control-allow-origin"] == "https://x.y.example.org"
    assert got["access-control-allow-credentials"] == "true"
    assert "ETag" in got["access-control-expose-headers"]
    preflight = ask_from("http://localhost:3000", "Access-Control-Request-Method: POST\r\n", "OPTIONS")
    assert "DELETE" in preflight["access-control-allow-methods"]
    assert "x-user-id" in preflight["access-control-allow-headers"]
    for foreign in ["https://example.org", "https://example.org.evil.com", "null"]:
        got = ask_from(foreign)
        assert not [name for name in got if name.startswith("access-control")] and got["vary"] == "Origin"


# Bodies.

def test_bodies(server):
    body = bytes(range(256)) * 4096
    expected = sum(body)
    with server.connect() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        assert echoed(c.answer())["sum"] == expected
        c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for start in range(0, len(body), 100000):
            piece = body[start:start + 100000]
            c.send(b"%x\r\n%s\r\n" % (len(piece), piece))
        c.send("0\r\n\r\n")
        got = echoed(c.answer())
        assert (got["length"], got["sum"]) == (len(body), expected)
        c.send("DELETE / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n\x01\x02\x03")
        assert echoed(c.answer())["sum"] == 6


def test_the_largest_body_passes(server):
    body = b"\x01" * (4 << 20)
    got = echoed(ask(server, f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body))
    assert got["sum"] == len(body)


def test_413_reaches_a_client_that_sends_all_first(server):
    size = 8 << 20
    with server.connect() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {size}\r\n\r\n")
        c.send(b"x" * size)  # all of it, before looking
        assert c.answer().status == 413
        assert c.at_end()


def test_413_by_chunks(server):
    with server.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(8):
            c.send(b"100000\r\n" + b"x" * (1 << 20) + b"\r\n")
        c.send("0\r\n\r\n")
        assert c.answer().status == 413
        assert c.at_end()


def test_a_client_that_sends_for_ever_is_cut_off(server):
    with server.connect() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {1 << 40}\r\n\r\n")
        with pytest.raises((ConnectionResetError, BrokenPipeError)):
            for _ in range(1000):
                c.send(b"x" * (1 << 20))


def test_expect_100_continue(server):
    with server.connect() as c:
        c.send("POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n")
        assert c.head()[0] == 100
        c.send("\x01\x01\x01")
        assert echoed(c.answer())["sum"] == 3
    with server.connect() as c:
        c.send(f"POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: {5 << 20}\r\n\r\n")
        assert c.answer().status == 413


# Connections.

def test_keep_alive_after_answers_and_streams(server):
    with server.connect() as c:
        for i in range(3):
            c.send(f"GET /?q={i} HTTP/1.1\r\nHost: a\r\n\r\n")
            assert echoed(c.answer())["q"] == str(i)
            c.send("GET /bytes?n=3000000 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert len(c.answer().body) == 3000000
            c.send("GET /ticks?n=3&ms=1 HTTP/1.1\r\nHost: a\r\n\r\n")
            assert c.answer().body == b"data: tick\n\n" * 3
            body = b"\x01" * (1 << 20)  # more than may be pushed during a stream
            c.send(f"POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
            assert echoed(c.answer())["sum"] == len(body)


def test_pipelining(server):
    with server.connect() as c:
        c.send("GET /slow?ms=50 HTTP/1.1\r\nHost: a\r\n\r\n"
               "POST /?q=1 HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n\x01\x02"
               "GET /bytes?n=1000000 HTTP/1.1\r\nHost: a\r\n\r\n"
               "GET /?q=2 HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n")
        assert c.answer().body == b"slow"
        assert echoed(c.answer())["sum"] == 3
        assert len(c.answer().body) == 1000000
        assert echoed(c.answer())["q"] == "2"
        assert c.at_end()


@pytest.mark.parametrize("headers", ["Connection: close\r\n", "Connection: TE, Close\r\n"])
def test_close_is_honoured(server, headers):
    with server.connect() as c:
        c.send(f"GET / HTTP/1.1\r\nHost: a\r\n{headers}\r\n")
        assert c.answer().headers["connection"] == "close"
        assert c.at_end()


def test_http_1_0(server):
    with server.connect() as c:
        c.send("GET / HTTP/1.0\r\n\r\n")
        assert echoed(c.answer())["path"] == "/"
        assert c.at_end()
    with server.connect() as c:
        for _ in range(2):
            c.send("GET / HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
            assert c.answer().headers["connection"] == "keep-alive"
        c.send("GET /ticks?n=2 HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")  # no chunks: the end tells
        answer = c.answer()
        assert answer.headers["connection"] == "close" and answer.body == b"data: tick\n\n" * 2


def test_a_request_in_single_bytes(server):
    with server.connect() as c:
        c.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"POST /?q=x HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\n\x01\x01":
            c.send(bytes([byte]))
        assert echoed(c.answer())["sum"] == 2


def test_half_closed_clients_get_their_answers(server):
    for path, body in [("/slow?ms=50", b"slow"), ("/bytes?n=3000000", bytes(3000000))]:
        with server.connect() as c:
            c.send(f"GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")
            c.socket.shutdown(socket.SHUT_WR)
            assert c.answer().body == body
            assert c.at_end()


def test_a_stream_shorter_than_its_length_ends_the_connection(server):
    with server.connect() as c:
        c.send("GET /short HTTP/1.1\r\nHost: a\r\n\r\n" + SMUGGLED)
        assert len(c.file.read().partition(b"\r\n\r\n")[2]) < 100


def test_each_event_is_one_chunk_at_once(server):
    with server.connect() as c:
        c.send("GET /ticks?n=0&ms=20 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.head()[1]["transfer-encoding"] == "chunked"
        for _ in range(5):
            assert c.chunk() == b"data: tick\n\n"


@pytest.mark.parametrize("version", ["1.1", "1.0"])
def test_a_reader_that_falls_behind_gets_every_byte(version):
    """What the socket does not take at once waits, and goes out behind what it took."""
    s = Server()
    with s.connect() as c:
        c.send(f"GET /ticks?n=400&ms=1&kb=60 HTTP/{version}\r\nHost: a\r\n\r\n")
        end = time.monotonic() + DEADLINE
        while s.rss_anon_kib() < 4096:  # of 24 MB the socket's buffers take a few
            assert time.monotonic() < end
            time.sleep(0.01)
        body = c.answer().body
    assert body == b"".join(bytes([97 + left % 26]) * 60 * 1024 for left in range(400, 0, -1))
    s.stop()


def test_a_disconnect_is_noticed_at_once():
    s = Server(timeout_s=600)
    clients = [s.connect() for _ in range(10)]
    for c in clients:
        c.send("GET /ticks?n=0&ms=600000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.head()[0] == 200
    s.wait_for(connections=10, closed=0)
    start = time.monotonic()
    for c in clients:
        c.close()
    s.wait_for(connections=0, closed=10)
    assert time.monotonic() - start < 1
    s.stop()


def test_a_client_that_goes_before_its_answer(server):
    before = server.counts()[0]
    for linger in [b"\0" * 8, b"\1\0\0\0\0\0\0\0"]:  # an end, a reset
        with server.connect() as c:
            c.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            c.send("GET /slow?ms=100 HTTP/1.1\r\nHost: a\r\n\r\n")
    server.wait_for(connections=before)


def test_pushing_during_a_stream_is_bounded():
    s = Server(timeout_s=600)
    with s.connect() as c:
        c.send("GET /ticks?n=0&ms=100000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.head()[0] == 200
        c.socket.settimeout(1)
        with pytest.raises(TimeoutError):  # the socket's own buffers take a few MB, and no more
            for _ in range(200):
                c.send(b"x" * (1 << 20))
        assert s.rss_anon_kib() < 8192
    s.stop()


def test_a_reader_that_takes_nothing_is_dropped(server):
    closed = server.counts()[1]
    with server.connect() as c, server.connect() as events:
        events.send("GET /ticks?n=0&ms=1 HTTP/1.1\r\nHost: a\r\n\r\n")  # there is always something new for it
        events.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        c.send("GET /bytes?n=1000000000 HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.head()[0] == 200
        server.wait_for(closed=closed + 1)
    server.wait_for(closed=closed + 2)


def test_idle_connections_are_closed(server):
    with server.connect() as silent, server.connect() as begun, server.connect() as kept:
        begun.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nx")
        kept.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
        assert kept.answer().status == 200
        start = time.monotonic()
        assert silent.at_end() and begun.at_end() and kept.at_end()
        assert TIMEOUT_S - 1 < time.monotonic() - start < TIMEOUT_S + 2


def test_a_quiet_stream_is_not_idle(server):
    with server.connect() as c:
        c.send(f"GET /ticks?n=2&ms={(TIMEOUT_S + 1) * 1000} HTTP/1.1\r\nHost: a\r\n\r\n")
        assert c.answer().body == b"data: tick\n\n" * 2


def test_nothing_is_left_of_closed_connections():
    s = Server()
    descriptors = s.descriptors()
    clients = [s.connect() for _ in range(300)]
    for i, c in enumerate(clients):
        c.send(["", "GET /", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET /ticks?n=0&ms=60000 HTTP/1.1\r\nHost: a\r\n\r\n",
                "GET /bytes?n=100000000 HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n"][i % 6])
    s.wait_for(connections=300)
    s.wait_for_descriptors(descriptors + 300)
    for c in clients:
        c.close()
    s.wait_for(connections=0)
    s.wait_for_descriptors(descriptors)
    s.stop()


def test_memory_is_given_back():
    raise_own_limit(8000)
    s = Server(max_connections=6000)
    with open(f"/proc/{s.process.pid}/maps") as f:
        if "asan" in f.read():
            pytest.skip("the sanitizer keeps what is freed")
    s.counts()
    before = s.rss_anon_kib()
    clients = [s.connect() for _ in range(5000)]
    for c in clients:
        c.send("GET /ticks?n=0&ms=600000 HTTP/1.1\r\nHost: a\r\n\r\n")
    for c in clients:
        assert c.head()[0] == 200
    assert s.rss_anon_kib() - before > 8192  # else there is nothing to see
    for c in clients:
        c.close()
    s.wait_for(connections=0)
    end = time.monotonic() + DEADLINE
    while s.rss_anon_kib() - before > 4096:
        assert time.monotonic() < end, s.rss_anon_kib()
        time.sleep(0.05)
    s.stop()


def raise_own_limit(count):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        pytest.skip(f"only {hard} descriptors")
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, count), hard))


def cpu_share(server, seconds):
    """Of one core, while nothing is asked of it."""
    cpu, start = server.cpu_seconds(), time.monotonic()
    time.sleep(seconds)  # the measurement itself
    return (server.cpu_seconds() - cpu) / (time.monotonic() - start)


def test_more_connections_than_allowed():
    raise_own_limit(4000)
    s = Server(timeout_s=600)
    descriptors = s.descriptors()
    clients = [s.connect() for _ in range(3000)]  # the kernel takes what waits
    held = clients[:MAX_CONNECTIONS]
    s.wait_for_descriptors(descriptors + MAX_CONNECTIONS)
    assert cpu_share(s, 2) < 0.05
    late = clients[MAX_CONNECTIONS + 10]
    late.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    late.socket.settimeout(0.3)
    with pytest.raises(TimeoutError):
        late.socket.recv(1)
    late.socket.settimeout(DEADLINE)
    for c in held:
        c.close()
    assert late.socket.recv(12) == b"HTTP/1.1 200"  # accepted, now that there is room
    for c in clients:
        c.close()
    s.wait_for(connections=0)
    s.stop()


def test_more_connections_than_are_accepted_in_one_go():
    raise_own_limit(4000)
    s = Server(timeout_s=600)
    s.process.send_signal(signal.SIGSTOP)
    clients = [s.connect() for _ in range(300)]
    for c in clients:
        c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
    s.process.send_signal(signal.SIGCONT)
    for c in clients:
        assert c.answer().status == 200
    s.stop()


def test_no_descriptors_left_does_not_spin():
    s = Server(timeout_s=600, descriptors=64)
    clients = [s.connect() for _ in range(100)]
    s.wait_for_descriptors(64)
    assert cpu_share(s, 2) < 0.05
    for c in clients:
        c.close()
    s.wait_for(connections=0)
    log = s.stop()
    assert 1 <= log.count("accepting connections pauses") < 20, log


@pytest.mark.parametrize("host", ["localhost", "*", "::1", "127.0.0.1"])
def test_listening(host):
    s = Server(host=host)
    families = {"localhost": ["127.0.0.1"], "*": ["127.0.0.1", "::1"], "::1": ["::1"], "127.0.0.1": ["127.0.0.1"]}
    for address in families[host]:
        with Client((address, s.address[1])) as c:
            c.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n")
            assert c.answer().status == 200
    s.stop()


def test_stopping_in_the_middle():
    s = Server()
    texts = ["", "GET /", "GET / HTTP/1.1\r\nHost: a\r\n\r\n", "GET / HTTP/1.1\r\n\r\n",
             "GET /slow?ms=100000 HTTP/1.1\r\nHost: a\r\n\r\n", "GET /ticks?n=0&ms=1 HTTP/1.1\r\nHost: a\r\n\r\n",
             "GET /bytes?n=1000000000 HTTP/1.1\r\nHost: a\r\n\r\n"]
    clients = [s.connect() for _ in texts]
    for c, text in zip(clients, texts):
        c.send(text)
    assert clients[2].answer().status == 200
    assert clients[3].answer().status == 400
    assert clients[5].head()[0] == clients[6].head()[0] == 200
    s.stop()
    for c in clients:
        c.close()
