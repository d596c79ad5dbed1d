"""A downloads-server for a benchmark: started in a directory of its own, on a free port, stopped by its process id."""
import hashlib
import json
import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD") or os.environ.get("BUILD_DIR") or os.path.join(ROOT, "build")
IDENTITY = {"x-user-id": "bench", "x-organization-id": "bench"}


class Service:
    def __init__(self, source, **variables):
        self.directory = tempfile.TemporaryDirectory(prefix="downloads-bench-")
        environment = {k: v for k, v in os.environ.items() if not k.startswith("GOPIE_DS_")}
        environment |= {"GOPIE_DS_SERVER_PORT": "0", "GOPIE_DS_DUCKDB_PATH": os.path.abspath(source)}
        environment |= {"GOPIE_DS_" + k: str(v) for k, v in variables.items()}
        self.environment = environment
        self.start()

    def start(self):
        self.process = subprocess.Popen([os.path.join(BUILD, "downloads-server")], cwd=self.directory.name,
                                        env=self.environment, stderr=subprocess.PIPE, text=True)
        for line in self.process.stderr:
            found = re.search(r"listens on (\S+):(\d+)", line)
            if found:
                self.port = int(found.group(2))
                break
        else:
            raise SystemExit("the server did not start")
        self.log, process = [], self.process
        threading.Thread(target=lambda: self.log.extend(process.stderr), daemon=True).start()

    def take_log(self):
        """The log's lines since the last call."""
        lines, self.log[:] = list(self.log), []
        return lines

    @property
    def pid(self):
        return self.process.pid

    def children(self):
        with open(f"/proc/{self.pid}/task/{self.pid}/children") as f:
            return [int(p) for p in f.read().split()]

    def templates(self):
        return [p for p in self.children() if program(p) == "downloads-template"]

    def workers(self):
        return [p for p in self.children() if program(p) != "downloads-template"]

    def kill(self):
        self.process.kill()
        self.process.wait()

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        status = self.process.wait(60)
        self.directory.cleanup()
        return status

    def connect(self):
        return socket.create_connection(("127.0.0.1", self.port))


def program(pid):
    try:
        with open(f"/proc/{pid}/cmdline") as f:
            return f.read().rstrip("\0")
    except OSError:
        return ""


def request(method, path, body=b"", **headers):
    lines = [f"{method} {path} HTTP/1.1", "Host: localhost", f"Content-Length: {len(body)}"]
    lines += [f"{k}: {v}" for k, v in (IDENTITY | headers).items()]
    return ("\r\n".join(lines) + "\r\n\r\n").encode() + body


def download_request(sql, **form):
    """`form`: further members of the request, format, compression and the like."""
    return request("POST", "/downloads", json.dumps({"dataset_id": "bench", "sql": sql, "format": "csv"} | form).encode())


def status_of(pid, *names):
    """Numbers of /proc/PID/status, in KiB where they are sizes."""
    with open(f"/proc/{pid}/status") as f:
        fields = dict(line.split(":", 1) for line in f)
    return [int(fields[n].split()[0]) for n in names]


def cpu_seconds(pid):
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def cpu_of_children(pid):
    """CPU seconds of the children that have been waited for."""
    with open(f"/proc/{pid}/stat") as f:
        fields = f.read().rsplit(")", 1)[1].split()
    return (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")


class Peaks(threading.Thread):
    """Samples RssAnon (KiB) of a server and of its workers, every 10 ms, until it is told to stop."""

    def __init__(self, service):
        super().__init__(daemon=True)
        self.service, self.server, self.worker, self.ending = service, 0, 0, threading.Event()
        self.start()

    def run(self):
        while not self.ending.wait(0.01):
            try:
                self.server = max(self.server, status_of(self.service.pid, "RssAnon")[0])
            except (OSError, KeyError):
                continue
            for pid in self.service.workers():
                try:
                    self.worker = max(self.worker, status_of(pid, "RssAnon")[0])
                except (OSError, KeyError):
                    pass

    def stop(self):
        self.ending.set()
        self.join()


def read_stream(sock):
    """The bytes of an event stream until the server closes it."""
    data = b""
    while chunk := sock.recv(65536):
        data += chunk
    return data


def median(values):
    values = sorted(values)
    return values[len(values) // 2]


def percentile(values, p):
    values = sorted(values)
    return values[min(len(values) - 1, int(len(values) * p / 100))]


def wait_until(condition, seconds, what):
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise SystemExit(f"{what}: not within {seconds} s")
        time.sleep(0.02)


def sha256(blocks):
    digest = hashlib.sha256()
    for block in blocks:
        digest.update(block)
    return digest.hexdigest()


def file_blocks(path):
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            yield block


class Embedded:
    """Jobs in SQLite, files in a directory."""

    variables = {}

    def blocks(self, service):
        """Of each file that is stored."""
        return [file_blocks(os.path.join(d, n)) for d, _, names in os.walk(service.directory.name + "/data/files") for n in names]

    def open_uploads(self):
        return []

    def count_records(self, service):
        path = f"file:{service.directory.name}/data/jobs.db?mode=ro"
        return sqlite3.connect(path, uri=True).execute("SELECT count(*) FROM downloads").fetchone()[0]


class Services:
    """A real PostgreSQL and a real S3 server (OpenStack Swift; as root), started here."""

    def __init__(self, stack):
        sys.path.insert(0, os.path.join(ROOT, "tests"))
        from peers.postgres import Postgres
        from peers.swift import Swift
        self.postgres, self.swift = stack.enter_context(Postgres(durable=True)), stack.enter_context(Swift())
        postgres, s = self.postgres, self.swift
        self.database = postgres.new_database()
        self.variables = {
            "POSTGRES_HOST": postgres.host, "POSTGRES_PORT": postgres.port, "POSTGRES_DB": self.database,
            "POSTGRES_USER": postgres.user, "POSTGRES_PASSWORD": postgres.password, "S3_ENDPOINT": s.endpoint,
            "S3_BUCKET": s.bucket, "S3_ACCESS_KEY": s.access_key, "S3_SECRET_KEY": s.secret_key, "S3_REGION": s.region}

    def blocks(self, _):
        return [self.swift.client().get_object(Bucket=self.swift.bucket, Key=key)["Body"].iter_chunks(1 << 20)
                for key in self.swift.keys()]

    def open_uploads(self):
        return self.swift.open_uploads()

    def count_records(self, _):
        return self.postgres.execute("SELECT count(*) FROM downloads", dbname=self.database)[0][0]


def stores_of(arguments, stack):
    """Where jobs and files are kept: `--services` among the arguments of a program chooses. Ends with the stack."""
    return Services(stack) if "--services" in arguments else Embedded()
