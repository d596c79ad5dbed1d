"""A real downloads-server for tests, in a directory of its own and on a free port, stopped by its process id; and clients for it."""
import http.client
import json
import os
import pathlib
import re
import signal
import socket
import subprocess
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build")).resolve()
SERVER = BUILD / "downloads-server"
DUCKDB_RUN = BUILD / "tools" / "duckdb_run"
USER = {"x-user-id": "ann", "x-organization-id": "acme"}
DEADLINE = 30

ENDLESS = "SELECT count(*) FROM range(100000000000000)"  # no row for as long as it runs
SLOW_ROWS = "SELECT i, repeat('x', 100) AS pad FROM range(30000000) r(i)"  # about 3 GB: long enough to be met half-way


def make_source(path, *statements):
    subprocess.run([DUCKDB_RUN, path, *statements], check=True)
    return path


def wait_for(condition, what, seconds=DEADLINE):
    """Polls until `condition` gives something true, and returns that."""
    deadline = time.monotonic() + seconds
    while True:
        got = condition()
        if got:
            return got
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.01)


class Event:
    def __init__(self, text):
        self.text, self.name, self.id, self.data = text, None, None, None
        for line in text.decode().split("\n"):
            field, _, value = line.partition(": ")
            if field == "event":
                self.name = value
            elif field == "id":
                self.id = int(value)
            elif field == "data":
                assert self.data is None, "one line of data an event"
                self.data = json.loads(value)

    @property
    def type(self):
        return self.data.get("type") if self.data else None


class Stream:
    """An event stream as it comes: `chunks` are the HTTP chunks, `events()` what is in them."""

    def __init__(self, port, method, path, body=None, headers=USER, timeout=DEADLINE):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        text = None if body is None else json.dumps(body)
        self.connection.request(method, path, text, headers | ({"Content-Type": "application/json"} if text else {}))
        self.response = self.connection.getresponse()
        self.status, self.headers = self.response.status, self.response.headers
        self.chunks = []

    def chunk(self):
        """The next chunk; b"" at the end that the server sent. By hand, since http.client puts chunks together."""
        file = self.response.fp
        head = file.readline()
        if not head:
            raise ConnectionResetError("the stream was cut off")
        size = int(head, 16)
        data = file.read(size)
        file.readline()
        if data:
            self.chunks.append(data)
        return data

    def events(self):
        while data := self.chunk():
            assert data.endswith(b"\n\n"), "every event is whole in its chunk"
            for text in data[:-2].split(b"\n\n"):
                if not text.startswith(b":"):
                    yield Event(text)

    def until(self, condition):
        seen = []
        for event in self.events():
            seen.append(event)
            if condition(event):
                return event
        raise AssertionError(f"the stream ended before: {[e.text for e in seen]}")

    def close(self):
        self.connection.close()
        self.response.close()


class Service:
    def __init__(self, directory, source=None, **variables):
        self.directory = pathlib.Path(directory)
        self.data = self.directory / "data"
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("GOPIE_DS_")}
        self.environment |= {"GOPIE_DS_SERVER_PORT": "0", "GOPIE_DS_QUEUE_WORKERS": "4", "GOPIE_DS_WORKER_MEMORY": "256MB"}
        if source:
            self.environment["GOPIE_DS_DUCKDB_PATH"] = str(source)
        self.environment |= {"GOPIE_DS_" + k: str(v) for k, v in variables.items()}
        self.command = [SERVER]
        self.log, self.process, self.port = [], None, None

    def start(self):
        self.process = subprocess.Popen(self.command, cwd=self.directory, env=self.environment, stderr=subprocess.PIPE, text=True)
        listening = threading.Event()

        def read():
            for line in self.process.stderr:
                self.log.append(line)
                found = re.search(r"listens on \S*:(\d+)", line)
                if found:
                    self.port = int(found.group(1))
                    listening.set()
            listening.set()

        self.reader = threading.Thread(target=read, daemon=True)
        self.port = None
        self.reader.start()
        assert listening.wait(DEADLINE) and self.port, "".join(self.log)
        return self

    def stop(self, signal_number=signal.SIGTERM, seconds=DEADLINE):
        """The exit status; -9 and the like for a signal. Fine where it has ended."""
        if self.process.poll() is None:
            self.process.send_signal(signal_number)
        return self.ended(seconds)

    def ended(self, seconds=DEADLINE):
        """Waits for an end that has been asked for; the exit status."""
        status = self.process.wait(seconds)
        self.reader.join(seconds)
        return status

    def __enter__(self):
        return self.start()

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()

    def request(self, method, path, body=None, headers=USER, raw=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        text = raw if raw is not None else None if body is None else json.dumps(body)
        extra = {"Content-Type": "application/json"} if text is not None else {}
        connection.request(method, path, text, extra | headers)
        response = connection.getresponse()
        response.body = response.read()
        connection.close()
        return response

    def get(self, path, headers=USER):
        response = self.request("GET", path, headers=headers)
        assert response.status == 200, response.body
        return json.loads(response.body)

    def post(self, sql, headers=USER, **fields):
        return Stream(self.port, "POST", "/downloads", {"dataset_id": "d", "sql": sql, "format": "csv"} | fields, headers)

    def follow(self, job, **headers):
        return Stream(self.port, "GET", f"/downloads/{job}/events", headers=USER | headers)

    def run(self, sql, headers=USER, **fields):
        """The last event of a download and its id."""
        stream = self.post(sql, headers, **fields)
        assert stream.status == 200, stream.response.read()
        events = list(stream.events())
        stream.close()
        return events[-1]

    def begin(self, sql, headers=USER, **fields):
        """Posts, and returns (stream, id) once the job is stored."""
        stream = self.post(sql, headers, **fields)
        created = stream.until(lambda e: e.name == "job_created")
        return stream, created.data["id"]

    def fetch(self, url, method="GET", **headers):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        connection.request(method, re.sub(r"^http://[^/]*", "", url), headers=headers)
        response = connection.getresponse()
        response.body = response.read()
        connection.close()
        return response

    def workers(self):
        """Processes of jobs, and what is about to become one: not the template that makes them."""
        return [p for p in self.children() if not is_template(p)]

    def templates(self):
        return [p for p in self.children() if is_template(p)]

    def children(self):
        try:
            children = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        except FileNotFoundError:
            return []
        return [int(p) for p in children]

    def wait_worker(self):
        """One that is a program of its own by now: until then the server stands still with it, which no signal is to prolong."""
        return wait_for(lambda: next((p for p in self.workers() if program(p) == "downloads-worker"), None), "a worker")

    def files(self):
        """Paths below the data directory that a job may leave: finished files, temporary ones, spill."""
        return sorted(str(p.relative_to(self.data)) for name in ("files", "tmp", "spill") for p in (self.data / name).rglob("*")
                      if p.is_file() or (name == "spill" and not p.name.startswith("template-")))


def program(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/cmdline").read_text().rstrip("\0")
    except (FileNotFoundError, ProcessLookupError):
        return ""


def is_template(pid):
    return program(pid) == "downloads-template"


def alive(pid):
    try:
        state = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return state != "Z"


def raw(port, data):
    """Sends bytes, returns all that comes back."""
    with socket.create_connection(("127.0.0.1", port), timeout=DEADLINE) as sock:
        sock.sendall(data)
        answer = b""
        while part := sock.recv(65536):
            answer += part
    return answer
