"""Postgres gone for a minute while eight jobs run on two servers, a third one idle beside them, all with the default lease:
what became of the jobs. Real PostgreSQL and S3 server, started here (as root).

    /usr/bin/python3 bench/outage.py [SECONDS]"""
import collections
import contextlib
import json
import subprocess
import sys
import tempfile
import threading
import time

from service import BUILD, Service, Services, download_request, file_blocks, read_stream, sha256, wait_until

JOBS = 8
# Few rows of much work: about as long as the outage, eight of them on two cores.
SQL = "SELECT i, repeat('x', 60) AS pad FROM range(110000000) r(i) WHERE md5(i::VARCHAR) LIKE '00%'"


def last_event(answer):
    return json.loads([line for line in answer.split(b"\n") if line.startswith(b"data: ")][-1][6:])


def copy_sha256(directory):
    own = directory + "/copy.csv"
    subprocess.run([BUILD + "/tools/duckdb_run", directory + "/copy.duckdb", f"COPY ({SQL}) TO '{own}' (FORMAT csv, HEADER)"], check=True)
    return sha256(file_blocks(own))


def main(stack):
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 60
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="downloads-bench-"))
    expected, source = copy_sha256(directory), directory + "/copy.duckdb"
    stores = Services(stack)
    servers = [Service(source, QUEUE_WORKERS=JOBS // 2, WORKER_MEMORY="256MB", **stores.variables) for _ in range(2)]
    answers = [None] * JOBS

    def follow(i):
        sock = servers[i % 2].connect()
        sock.sendall(download_request(SQL))
        answers[i] = read_stream(sock)

    threads = [threading.Thread(target=follow, args=(i,)) for i in range(JOBS)]
    for t in threads:
        t.start()
    wait_until(lambda: sum(len(s.workers()) for s in servers) == JOBS, 30, "eight workers")
    servers.append(Service(source, QUEUE_WORKERS=JOBS, WORKER_MEMORY="256MB", **stores.variables))
    time.sleep(20)  # the third has been connected for longer than a lease: it may rescue
    stores.postgres.kill()
    time.sleep(seconds)  # the measurement itself
    running = sum(len(s.workers()) for s in servers)
    stores.postgres.start()
    for t in threads:
        t.join()
    ends = [last_event(a) for a in answers]
    rows = stores.postgres.execute("SELECT d.status::text, j.attempt, count(*) FROM downloads d JOIN downloads_jobs j USING (id)"
                                   " GROUP BY 1, 2", dbname=stores.database)
    stored = [sha256(blocks) for blocks in stores.blocks(None)]
    print(f"Postgres away for {seconds:.0f} s; {running} of {JOBS} jobs still ran when it came back")
    print(f"last events: {dict(collections.Counter(e['type'] for e in ends))}; records (status, attempt, jobs): {rows}")
    print(f"objects: {len(stored)}, equal to DuckDB's COPY: {stored.count(expected)}; uploads left open: {len(stores.open_uploads())}")
    for s in servers:
        s.stop()


with contextlib.ExitStack() as ending:
    main(ending)
