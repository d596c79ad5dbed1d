#!/usr/bin/python3
"""Small downloads, one after the other from so many clients, for so long, on a real PostgreSQL and a real S3 server: whether
the server grows. A table of its memory, descriptors and threads: what is not needed any more must not stay.

Usage: bench/soak.py [SECONDS [CLIENTS]]     (BUILD: another build)
"""
import os
import pathlib
import subprocess
import sys
import tempfile
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests")]

from peers.postgres import Postgres  # noqa: E402
from peers.swift import Swift  # noqa: E402
from service import BUILD, Service, download_request, read_stream, status_of  # noqa: E402

ROWS = 11  # of the table


class Clients:
    def __init__(self, service, count):
        self.service, self.done, self.other = service, 0, 0
        self.lock, self.ending = threading.Lock(), threading.Event()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(count)]
        for t in self.threads:
            t.start()

    def run(self):
        while not self.ending.is_set():
            sock = self.service.connect()
            sock.sendall(download_request("SELECT range AS i FROM range(100)"))
            complete = b'"type":"complete"' in read_stream(sock)
            sock.close()
            with self.lock:
                self.done += complete
                self.other += not complete

    def stop(self):
        self.ending.set()
        for t in self.threads:
            t.join()


def line(service, begun, clients):
    memory, threads = status_of(service.pid, "RssAnon", "Threads")
    descriptors = len(os.listdir(f"/proc/{service.pid}/fd"))
    print(f"| {time.monotonic() - begun:.0f} | {clients.done if clients else 0:,} | {memory:,} | {descriptors} | {threads} |", flush=True)


def main():
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 300
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 20
    with Postgres() as postgres, Swift() as swift, tempfile.TemporaryDirectory() as directory:
        source = pathlib.Path(directory) / "source.duckdb"
        subprocess.run([f"{BUILD}/tools/duckdb_run", source, "CREATE TABLE t AS SELECT 1 AS a"], check=True)
        service = Service(source, POSTGRES_HOST=postgres.host, POSTGRES_PORT=postgres.port, POSTGRES_DB=postgres.new_database(),
                          POSTGRES_USER=postgres.user, POSTGRES_PASSWORD=postgres.password, S3_ENDPOINT=swift.endpoint,
                          S3_ACCESS_KEY=swift.access_key, S3_SECRET_KEY=swift.secret_key, S3_BUCKET=swift.bucket,
                          SERVER_HOST="127.0.0.1", WORKER_MEMORY="64MiB")
        print("| seconds | completed | RssAnon (KiB) | descriptors | threads |\n| --- | --- | --- | --- | --- |")
        begun = time.monotonic()
        line(service, begun, None)
        clients = Clients(service, count)
        for i in range(1, ROWS):
            time.sleep(max(0, begun + seconds * i / (ROWS - 1) - time.monotonic()))
            line(service, begun, clients)
        clients.stop()
        time.sleep(2)  # idle again
        line(service, begun, clients)
        print(f"not completed: {clients.other}; status of the end: {service.stop()}")


if __name__ == "__main__":
    main()
