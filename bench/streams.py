"""Thousands of event streams on one server: CPU and memory while they are idle, and how late progress is.

    /usr/bin/python3 bench/streams.py SOURCE.duckdb [STREAMS [SECONDS]]

Real server, real workers, and a client in C in a process of its own (stream_client.c). Workers and server run with stream_stamp.c preloaded: a
progress event carries the time at which the worker sent it, on the clock that the client reads, and the server's loop tells its
longest pass. Workers pause behind each part: what is measured is the server, not a machine without CPU left; `beside a busy
machine` has one job more that uses every core."""
import json
import mmap
import os
import re
import shutil
import struct
import subprocess
import sys
import tempfile
import time

import service
from service import Service, download_request, status_of

PAUSE_MS = 500
LATENCY_S = 15
STAMPED = None  # set by prepare()
SILENT = "SELECT count(*) FROM range(1000000000000)"
TALKING = "SELECT * FROM range(1000000000)"


class Stamped:
    """The programs of the build, with stream_stamp.c in them."""

    def __init__(self, directory):
        self.build = service.BUILD
        self.library = os.path.join(self.build, "tools", "libbench_stream_stamp.so")
        self.page = os.path.join(directory, "longest")
        with open(self.page, "wb") as f:
            f.write(bytes(mmap.PAGESIZE))
        with open(self.page, "r+b") as f:
            self.map = mmap.mmap(f.fileno(), mmap.PAGESIZE)
        shutil.copy(os.path.join(self.build, "downloads-server"), directory)
        worker = os.path.join(directory, "downloads-worker")
        with open(worker, "w") as f:
            f.write(f"#!/bin/sh\nexec /usr/bin/env LD_PRELOAD='{self.library}' STREAM_STAMP_PAUSE_MS={PAUSE_MS} "
                    f"'{self.build}/downloads-worker' \"$@\"\n")
        os.chmod(worker, 0o755)
        service.BUILD = directory
        self.processes = []

    def end(self):
        service.BUILD = self.build
        for process in self.processes:
            process.kill()
            process.wait()

    def start(self, source, **variables):
        os.environ |= {"LD_PRELOAD": self.library, "STREAM_STAMP_FILE": self.page}
        try:
            server = Service(source, **variables)
            self.processes.append(server.process)
            return server
        finally:
            del os.environ["LD_PRELOAD"], os.environ["STREAM_STAMP_FILE"]

    def take_longest(self):
        """Milliseconds of the loop's longest pass since the last call: wall, CPU."""
        wall, cpu = struct.unpack_from("qq", self.map)
        struct.pack_into("qq", self.map, 0, 0, 0)
        return wall / 1000, cpu / 1000


class Client:
    def __init__(self, port):
        program = os.path.join(STAMPED.build, "tools", "bench_stream_client")
        self.process = subprocess.Popen([program, str(port)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        STAMPED.processes.append(self.process)

    def tell(self, line):
        self.process.stdin.write(line + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def open(self, job, count):
        answer = self.tell(f"open /downloads/{job}/events {count}")
        if answer["failed"]:
            raise SystemExit(f"streams failed to open: {answer}")
        return answer

    def end(self):
        self.process.stdin.close()
        self.process.wait()


def cpu_ns(pid):
    """Of all threads that live."""
    total = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/schedstat") as f:
            total += int(f.read().split()[0])
    return total


def create(server, sql, until=b"job_created"):
    """A job's id. Its poster goes away."""
    with server.connect() as sock:
        sock.sendall(download_request(sql))
        got = b""
        while until not in got or b'"id":"' not in got:
            got += sock.recv(65536)
    return re.search(rb'"id":"([0-9a-f-]{36})"', got).group(1).decode()


def share_of_a_core(server, seconds, meanwhile):
    before, begun = cpu_ns(server.pid), time.monotonic()
    answer = meanwhile(seconds)
    return (cpu_ns(server.pid) - before) / 1e7 / (time.monotonic() - begun), answer


def idle(source, count, seconds):
    server = STAMPED.start(source, QUEUE_WORKERS=1, QUEUE_SIZE=1000, WORKER_THREADS=1)
    time.sleep(2)
    bare, _ = share_of_a_core(server, min(seconds, 10), time.sleep)
    figures = {"bare_share": bare, "bare_kib": status_of(server.pid, "RssAnon")[0]}
    print(f"no stream: {bare:.2f} % of a core, RssAnon {status_of(server.pid, 'RssAnon')[0] / 1024:.1f} MiB")
    create(server, SILENT, until=b"status_update")
    jobs = [create(server, SILENT) for _ in range(min(count, 100))]
    client = Client(server.port)
    before = status_of(server.pid, "RssAnon")[0]
    STAMPED.take_longest()
    begun, spent = time.monotonic(), cpu_ns(server.pid)
    for job in jobs:
        answer = client.open(job, count // len(jobs))
    begun = time.monotonic() - begun
    grown = status_of(server.pid, "RssAnon")[0] - before
    wall, cpu = STAMPED.take_longest()
    print(f"{answer['open']} streams open in {begun:.2f} s, {(cpu_ns(server.pid) - spent) / 1e9:.2f} CPU s; "
          f"longest pass of the loop {wall:.1f} ms ({cpu:.1f} of CPU); RssAnon +{grown / 1024:.1f} MiB, "
          f"{grown / answer['open']:.2f} KiB a stream")
    share, answer = share_of_a_core(server, seconds, lambda s: client.tell(f"measure {s}"))
    wall, cpu = STAMPED.take_longest()
    grown = status_of(server.pid, "RssAnon")[0] - before
    print(f"idle for {seconds} s: {share:.2f} % of a core, {answer['heartbeats']} heartbeats, {answer['lost']} lost; longest pass "
          f"{wall:.1f} ms ({cpu:.1f} of CPU); {grown / count:.2f} KiB a stream")
    figures |= {"streams": count, "seconds": seconds, "share": share, "heartbeats": answer["heartbeats"], "lost": answer["lost"],
                "kib_a_stream": grown / count, "longest_ms": wall}
    client.tell("close")
    service.wait_until(lambda: len(os.listdir(f"/proc/{server.pid}/fd")) < 200, 30, "the server closes them")
    time.sleep(5)  # memory goes back a few seconds later
    figures["closed_kib"] = status_of(server.pid, "RssAnon")[0]
    print(f"all closed: RssAnon {status_of(server.pid, 'RssAnon')[0] / 1024:.1f} MiB")
    begun = time.monotonic()
    answer = client.open(jobs[0], count)
    print(f"{answer['open']} streams of one job, all at once: {time.monotonic() - begun:.2f} s; longest pass "
          f"{STAMPED.take_longest()[0]:.1f} ms")
    client.end()
    server.kill()
    return figures


def latency(source, jobs, subscribers, others, busy=False, seconds=LATENCY_S):
    server = STAMPED.start(source, QUEUE_WORKERS=jobs + busy, QUEUE_SIZE=1000)
    ids = [create(server, TALKING, until=b"progress") for _ in range(jobs)]
    if busy:
        create(server, SILENT, until=b"status_update")
    waiting = create(server, SILENT) if others else None
    client = Client(server.port)
    for job in ids:
        client.open(job, subscribers)
    if others:
        client.open(waiting, others)
    STAMPED.take_longest()
    share, answer = share_of_a_core(server, seconds, lambda s: client.tell(f"measure {s}"))
    wall, cpu = STAMPED.take_longest()
    print(f"{jobs} jobs to {subscribers} subscribers each{f', {others} idle streams' if others else ''}{', beside a busy machine' if busy else ''}: "
          f"{answer['events']} events, median {answer['p50']:.1f} ms, p99 {answer['p99']:.1f}, longest {answer['max']:.1f}; "
          f"longest pass {wall:.1f} ms ({cpu:.1f} of CPU); {share:.1f} % of a core")
    client.end()
    server.kill()
    return {"jobs": jobs, "subscribers": subscribers, "others": others, "busy": busy, "events": answer["events"], "p50": answer["p50"],
            "p99": answer["p99"], "max": answer["max"], "longest_ms": wall, "share": share}


def prepare(directory):
    """Before all else: stamped programs go into the directory. What it returns ends what may still run."""
    global STAMPED
    STAMPED = Stamped(directory)
    return STAMPED.end


def main():
    source = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 10000
    seconds = int(sys.argv[3]) if len(sys.argv) > 3 else 60
    with tempfile.TemporaryDirectory(prefix="downloads-bench-") as directory:
        prepare(directory)
        idle(source, count, seconds)
        latency(source, 1, 1000, 0)
        latency(source, 10, 100, 0)
        latency(source, 1, 1000, count - 1000)
        latency(source, 1, 1000, 0, busy=True)
        latency(source, 10, 100, 0, busy=True)


if __name__ == "__main__":
    main()
