"""A double of the downloads server that plays faults: what no real server does on demand.

A test scripts it: for "METHOD /path" a list of steps, one a request; the last one stays. A step is a function of a
Reply, and what it does not send is not sent: when it returns, the connection is closed.
"""
import hashlib
import json
import socketserver
import threading

ID = "6f1c2f0e-0b7a-4c5e-9d2b-1f2a3b4c5d6e"


class Request:
    def __init__(self, method, path, headers, body):
        self.method, self.path, self.headers, self.body = method, path, headers, body


class Reply:
    def __init__(self, server, request, wfile):
        self.server, self.request, self.wfile = server, request, wfile

    def raw(self, data):
        self.wfile.write(data)
        self.wfile.flush()

    def head(self, status, headers=()):
        lines = [f"HTTP/1.1 {status} Scripted"] + [f"{k}: {v}" for k, v in dict(headers).items()]
        self.raw(("\r\n".join(lines) + "\r\n\r\n").encode())

    def answer(self, status, body=b"", headers=()):
        if isinstance(body, (dict, list)):
            body = json.dumps(body).encode()
        self.head(status, {"Content-Length": len(body), "Connection": "close", **dict(headers)})
        self.raw(body)

    def stream(self):
        """Chunked, so that a stream that is cut can be told from one that ends."""
        self.head(200, {"Content-Type": "text/event-stream", "Transfer-Encoding": "chunked"})

    def chunk(self, text):
        data = text.encode()
        self.raw(b"%x\r\n%s\r\n" % (len(data), data))

    def event(self, data, name=None, id=None):
        text = (f"event: {name}\n" if name else "") + (f"id: {id}\n" if id else "")
        self.chunk(text + f"data: {json.dumps(data)}\n\n")

    def end(self):
        self.raw(b"0\r\n\r\n")

    # What the server usually sends.
    def created(self):
        self.stream()
        self.event({"message": "Request received, preparing to submit to queue..."}, "request_received")
        self.event(record("pending"), "job_created", 1)

    def status(self, message, id=None):
        self.event({"download_id": ID, "type": "status_update", "message": message}, id=id)

    def progress(self, percent, rows, size):
        self.event({"download_id": ID, "type": "progress", "progress": percent, "message": "", "rows": rows,
                    "bytes": size})

    def complete(self, **changed):
        self.event({"download_id": ID, "type": "complete", "message": self.server.link, "rows": 3,
                    "bytes": len(self.server.file), "sha256": hashlib.sha256(self.server.file).hexdigest(),
                    "filename": f"{ID}.csv", "truncated": False, **changed}, id=5)
        self.end()


def record(status, **more):
    return {"id": ID, "sql": "SELECT 1", "dataset_id": "cli", "status": status, "format": "csv",
            "created_at": "2024-02-29T12:00:00Z", "updated_at": "2024-02-29T12:00:00Z", "user_id": "u", "org_id": "o",
            **more}


def happy(reply):
    reply.created()
    reply.status("Processing query...", 2)
    reply.progress(50, 1, 4)
    reply.complete()


def whole_file(reply):
    """The file, by the rules of Range and If-Range."""
    file, headers = reply.server.file, reply.request.headers
    start = 0
    if headers.get("if-range", '"v1"') == '"v1"' and headers.get("range", "").startswith("bytes="):
        start = int(headers["range"][6:].rstrip("-"))
    more = {"Content-Range": f"bytes {start}-{len(file) - 1}/{len(file)}"} if start else {}
    reply.answer(206 if start else 200, file[start:], {"ETag": '"v1"', **more})


def file_cut_at(length):
    def step(reply):
        reply.head(200, {"Content-Length": len(reply.server.file), "ETag": '"v1"'})
        reply.raw(reply.server.file[:length])
    return step


class FaultServer(socketserver.ThreadingTCPServer):
    daemon_threads = True
    allow_reuse_address = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_address[1]}"
        self.link = self.url + "/files/o/x.csv?expires=1&signature=secret"
        self.file = b"a,b\n1,2\n3,4\n"
        self.script = {"POST /downloads": [happy], "GET /files/o/x.csv": [whole_file]}
        self.requests = []
        self.lock = threading.Lock()
        self.released = threading.Event()  # steps that hold on wait for it
        threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True).start()

    def step_for(self, request):
        with self.lock:
            self.requests.append(request)
            steps = self.script.get(f"{request.method} {request.path.split('?')[0]}")
            if not steps:
                return lambda reply: reply.answer(404, {"error": "download not found"})
            return steps.pop(0) if len(steps) > 1 else steps[0]

    def asked(self, what):
        with self.lock:
            return [r for r in self.requests if f"{r.method} {r.path.split('?')[0]}" == what]

    def handle_error(self, request, client_address):
        pass  # a client that went away: what many tests play


class Handler(socketserver.StreamRequestHandler):
    def handle(self):
        line = self.rfile.readline().decode().split()
        if len(line) < 2:
            return
        headers = {}
        while True:
            header = self.rfile.readline().decode().rstrip("\r\n")
            if not header:
                break
            name, value = header.split(":", 1)
            headers[name.lower()] = value.strip()
        body = self.rfile.read(int(headers.get("content-length", 0)))
        request = Request(line[0], line[1], headers, body)
        self.server.step_for(request)(Reply(self.server, request, self.wfile))
