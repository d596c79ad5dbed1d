#!/usr/bin/python3
"""What Postgres executes for a server, counted in its own log: for jobs one at a time, for many at once, and while nothing
happens. Whole programs on a real PostgreSQL and a real S3 server (as root), started here.

    /usr/bin/python3 bench/statements.py"""
import collections
import contextlib
import os
import subprocess
import sys
import tempfile
import threading
import time

from service import BUILD, ROOT, Service, download_request, read_stream, wait_until

sys.path.insert(0, os.path.join(ROOT, "tests"))
from peers.postgres import Postgres  # noqa: E402
from peers.statement_log import StatementLog, by_call  # noqa: E402
from peers.swift import Swift  # noqa: E402

SMALL = "SELECT 1"
LARGE = "SELECT i, repeat('x', 100) AS pad FROM range(400000) r(i)"  # 43 MB: three parts
AT_ALL_TIMES = {"POLL", "RENEW", "EXPIRE", "LEFTOVERS"}  # whether there are jobs or not


def names():
    out = subprocess.run([BUILD + "/tests/job_store_driver", "--statements"], check=True, stdout=subprocess.PIPE, text=True)
    return dict(line.split("\t", 1) for line in out.stdout.splitlines())


def post(server, sql, count=1):
    answers = [None] * count

    def one(i):
        sock = server.connect()
        sock.sendall(download_request(sql))
        answers[i] = read_stream(sock)

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert all(b'"type":"complete"' in a for a in answers), answers[0][-500:]


def told(counts, by):
    return ", ".join(f"{name} {n / by:.2g}" for name, n in sorted(counts.items(), key=lambda item: -item[1]))


def row(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def measure(what, log, jobs, work):
    before, begun = log.read(), time.monotonic()
    work()
    seconds, counts = time.monotonic() - begun, by_call(log.read() - before)
    of_jobs = collections.Counter({k: n for k, n in counts.items() if k not in AT_ALL_TIMES | {"PROGRESS"}})
    always = collections.Counter({k: n for k, n in counts.items() if k in AT_ALL_TIMES})
    row(what, f"{sum(of_jobs.values()) / jobs:.1f}" if jobs else sum(of_jobs.values()), told(of_jobs, jobs or 1),
        f"{counts['PROGRESS'] / seconds:.1f}", f"{sum(always.values()) / seconds:.1f}", told(always, seconds))


def main(stack):
    pg = stack.enter_context(Postgres(settings=StatementLog.SETTINGS))
    swift = stack.enter_context(Swift())
    database = pg.new_database()
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="downloads-bench-"))
    subprocess.run([BUILD + "/tools/duckdb_run", directory + "/source.duckdb", "SELECT 1"], check=True, stdout=subprocess.DEVNULL)
    server = Service(directory + "/source.duckdb", QUEUE_WORKERS=10, WORKER_MEMORY="256MB", POSTGRES_HOST=pg.host,
                     POSTGRES_PORT=pg.port, POSTGRES_DB=database, POSTGRES_USER=pg.user, POSTGRES_PASSWORD=pg.password,
                     S3_ENDPOINT=swift.endpoint, S3_BUCKET=swift.bucket, S3_ACCESS_KEY=swift.access_key,
                     S3_SECRET_KEY=swift.secret_key, S3_REGION=swift.region)
    log = StatementLog(pg, database, names())
    post(server, SMALL)
    wait_until(lambda: log.read()[("PUBLISH", "PUBLISH")] == 1, 10, "the end of the first job")
    row("what", "statements a job", "of the calls", "progress a second", "others a second", "of the calls")
    row(*["---"] * 6)
    measure("idle, 20 s", log, 0, lambda: time.sleep(20))
    measure("20 small, one after the other", log, 20, lambda: [post(server, SMALL) for _ in range(20)])
    measure("5 of three parts, one after the other", log, 5, lambda: [post(server, LARGE) for _ in range(5)])
    measure("200 small at once, 10 workers", log, 200, lambda: post(server, SMALL, 200))
    server.stop()


with contextlib.ExitStack() as ending:
    main(ending)
