#!/usr/bin/python3
"""One organisation posts 1,000 jobs, others one each: how many of the first's start before theirs. And what a full queue answers,
against the time until a place really was free. Whole programs, on SQLite, and as two servers on a real PostgreSQL and a real S3
server (as root), started here.

    /usr/bin/python3 bench/fairness.py"""
import contextlib
import datetime
import glob
import json
import os
import re
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time

from service import BUILD, Embedded, Service, Services, median, percentile, request, wait_until

SHORT = "SELECT count(*) FROM range(20000000)"
OTHERS = 7  # organisations with one job
ROUNDS = 5

# Of the first organisation: what started between the creation and the start of the job ?.
BEFORE = """SELECT count(*) FROM downloads_attempts a JOIN downloads d ON d.id = a.id,
            downloads b JOIN downloads_attempts s ON s.id = b.id
            WHERE b.id = {} AND d.org_id = 'many' AND a.started_at > b.created_at AND a.started_at < s.started_at"""


def post(server, org, sql=SHORT):
    """Status, Retry-After in seconds, the record; the client leaves as soon as it has those."""
    body = json.dumps({"dataset_id": "bench", "sql": sql, "format": "csv"}).encode()
    with server.connect() as sock:
        sock.settimeout(60)
        sock.sendall(request("POST", "/downloads", body, **{"x-organization-id": org, "Connection": "close"}))
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
            created = re.search(rb"event: job_created\n(?:id: .*\n)?data: (.*)\n", data)
            if created:
                return 200, None, json.loads(created[1])
        wait = re.search(rb"(?i)\r\nretry-after: (\d+)", data)
        return int(data.split(b" ", 2)[1]), int(wait[1]) if wait else None, None


def get(server, org, job):
    with server.connect() as sock:
        sock.sendall(request("GET", "/downloads/" + job, **{"x-organization-id": org, "Connection": "close"}))
        data = b""
        while chunk := sock.recv(65536):
            data += chunk
    return json.loads(data.partition(b"\r\n\r\n")[2])


def seconds(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


def count_before(stores, server, job):
    if isinstance(stores, Services):
        return stores.postgres.execute(BEFORE.format("%s"), job, dbname=stores.variables["POSTGRES_DB"])[0][0]
    path, = glob.glob(server.directory.name + "/data/jobs.db")
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as db:
        return db.execute(BEFORE.format("?"), (job,)).fetchone()[0]


@contextlib.contextmanager
def servers_of(stores, source, count, **variables):
    if isinstance(stores, Services):
        stores.variables["POSTGRES_DB"] = stores.postgres.new_database()
    servers = [Service(source, WORKER_MEMORY="256MB", **stores.variables, **variables) for _ in range(count)]
    yield servers
    for s in servers:
        s.kill()
        s.directory.cleanup()


def post_many(servers, org, count, threads=8):
    """So many at once, as fast as they are taken; how many were."""
    taken, lock, left = [0], threading.Lock(), iter(range(count))

    def one():
        while True:
            with lock:
                i = next(left, None)
            if i is None:
                return
            ok = post(servers[i % len(servers)], org)[0] == 200
            with lock:
                taken[0] += ok

    workers = [threading.Thread(target=one) for _ in range(threads)]
    for t in workers:
        t.start()
    for t in workers:
        t.join()
    return taken[0]


def row(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def fairness(what, stores, source, count, workers):
    with servers_of(stores, source, count, QUEUE_SIZE=2000, ORG_MAX_QUEUED=2000, QUEUE_WORKERS=workers) as servers:
        taken = post_many(servers, "many", 1000)
        waiting = post(servers[0], "many")[2].get("queue_position", "none")
        before, positions, waits = [], [], []
        for i in range(OTHERS):
            org = f"one-{i}"
            job = post(servers[i % count], org)[2]
            positions.append(job.get("queue_position", 0))
            wait_until(lambda: get(servers[0], org, job["id"])["status"] not in ("pending",), 60, "the start of the one job")
            attempt = get(servers[0], org, job["id"])["attempts"][0]
            waits.append(seconds(attempt["started_at"]) - seconds(job["created_at"]))
            before.append(count_before(stores, servers[0], job["id"]))
        row(what, workers, taken, waiting, f"{median(positions)} (at most {max(positions)})",
            f"{median(before)} (at most {max(before)})", count * workers, f"{1000 * median(waits):.0f} (at most {1000 * max(waits):.0f})")


def refusals(what, stores, source, count, of_org):
    """Fills the queue, of one organisation or of all, and then asks again and again until there is room."""
    told, took, codes, stored = [], [], set(), []
    with servers_of(stores, source, count, QUEUE_SIZE=40, ORG_MAX_QUEUED=20, QUEUE_WORKERS=2) as servers:
        def attempt(i):
            return post(servers[0], "full" if of_org else f"org-{i % 10}", "SELECT count(*) FROM range(2500000000)")
        numbers = iter(range(10**9))
        time_of_rate = time.monotonic() + 15  # so that a rate is known
        while time.monotonic() < time_of_rate:
            attempt(next(numbers))
            time.sleep(0.02)
        for _ in range(ROUNDS):
            status, wait, _ = attempt(next(numbers))
            while status == 200:
                status, wait, _ = attempt(next(numbers))
            begun = time.monotonic()
            codes.add(status)
            told.append(wait)
            while attempt(next(numbers))[0] != 200:
                time.sleep(0.02)
            took.append(time.monotonic() - begun)
        # What a client sees that does as it is told.
        good = 0
        for _ in range(ROUNDS):
            status, wait, _ = attempt(next(numbers))
            while status == 200:
                status, wait, _ = attempt(next(numbers))
            time.sleep(wait)
            good += attempt(next(numbers))[0] == 200
        stored = len(stores.waiting(servers[0]))
    row(what, ", ".join(str(c) for c in sorted(codes)), stored, f"{median(told)} ({min(told)} to {max(told)})",
        f"{median(took):.2f} ({min(took):.2f} to {max(took):.2f})", f"{good} of {ROUNDS}")


def waiting_in(stores):
    """Gives the stores a look at what waits."""
    sql = "SELECT id FROM downloads_queue WHERE owner IS NULL"
    if isinstance(stores, Services):
        stores.waiting = lambda _: stores.postgres.execute(sql, dbname=stores.variables["POSTGRES_DB"])
    else:
        def look(server):
            with contextlib.closing(sqlite3.connect(f"file:{server.directory.name}/data/jobs.db?mode=ro", uri=True)) as db:
                return db.execute("SELECT id FROM downloads WHERE status = 'pending'").fetchall()
        stores.waiting = look
    return stores


def main(stack):
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="downloads-bench-"))
    source = directory + "/source.duckdb"
    subprocess.run([BUILD + "/tools/duckdb_run", source, "SELECT 1"], check=True, stdout=subprocess.DEVNULL)
    places = [("SQLite", waiting_in(Embedded()), 1)]
    if "--sqlite" not in sys.argv:
        places.append(("Postgres, 2 servers", waiting_in(Services(stack)), 2))
    row("store", "workers of each", "taken of 1,000", "place of its next", "place of the one", "of the 1,000 started before the one",
        "demand: at most", "wait of the one, ms")
    row(*["---"] * 8)
    for what, stores, count in places if "--refusals" not in sys.argv else []:
        for workers in (1, 10):
            fairness(what, stores, source, count, workers)
    print()
    row("store, queue", "answer", "waiting at the end", "Retry-After, s", "a place was free after, s", "tries after Retry-After that passed")
    row(*["---"] * 6)
    for what, stores, count in places:
        refusals(f"{what}, 20 an organisation", stores, source, count, True)
        refusals(f"{what}, 40 in all", stores, source, count, False)


with contextlib.ExitStack() as ending:
    main(ending)
