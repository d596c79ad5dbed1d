#!/usr/bin/python3
"""What a claim, a creation and a publication cost behind 1,000,000 finished downloads, with 100,000 jobs of 1,000
organisations waiting, and while another program holds a transaction open, so that nothing of the queue can be vacuumed. Calls of
the real store (tests/postgres/driver.c), one after the other, on a real PostgreSQL that commits to the disk. Milliseconds.

    /usr/bin/python3 bench/claims.py [--finished N] [--waiting N] [--claims N] [--plans] [CASE ...]"""
import argparse
import contextlib
import os
import pathlib
import re
import shutil
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "postgres")]

from peers.postgres import Postgres  # noqa: E402
from service import percentile  # noqa: E402
from store import BUILD, Driver  # noqa: E402

LEASE_MS, RENEWAL_MS = 20000, 5000
EDGE = 5000  # how many of the first and of the last are looked at on their own

FINISHED = """
    INSERT INTO downloads (id, sql, dataset_id, status, format, user_id, org_id, created_at, completed_at, expires_at, pre_signed_url)
     SELECT md5(i::text)::uuid, 'SELECT ' || i, 'set', 'completed', 'csv', 'user-' || i %% 20, 'org-' || 1 + i %% 1000,
      now() - i * interval '1 minute', now(), now() + interval '1 day' + i * interval '1 second', 'http://host/' || i
     FROM generate_series(1, {finished}) i;
    INSERT INTO downloads_jobs (id, version, attempt, rows, bytes, sha256, link_ends)
     SELECT id, 3, 1, 10, 100, md5(id::text) || md5(id::text), expires_at FROM downloads;
    INSERT INTO downloads_attempts (id, attempt, object_key, state, outcome, owner, expires_at, started_at, ended_at)
     SELECT id, 1, org_id || '/' || id || '.csv', 'published', 'published', 'gone', expires_at, now(), now() FROM downloads;
"""
# Tags as CREATE gives them: an organisation's first waits at the present, each other behind its last.
WAITING = """
    INSERT INTO downloads (id, sql, dataset_id, status, format, user_id, org_id)
     SELECT md5('w' || i)::uuid, 'SELECT ' || i, 'set', 'pending', 'csv', 'user', 'org-' || 1 + i %% {orgs}
     FROM generate_series(0, {waiting} - 1) i;
    INSERT INTO downloads_jobs (id, version, attempt, rows, bytes)
     SELECT md5('w' || i)::uuid, 1, 0, 0, 0 FROM generate_series(0, {waiting} - 1) i;
    INSERT INTO downloads_queue (id, org_id, tag)
     SELECT md5('w' || i)::uuid, 'org-' || 1 + i %% {orgs}, (extract(epoch FROM now()) * 1000000)::bigint + i / {orgs}
     FROM generate_series(0, {waiting} - 1) i ORDER BY i;
"""


class Case:
    def __init__(self, name, what, share=1.0, limit=1, create=False, max_running=0, held=True, due=0, orgs=1000, empty=False):
        """share: of the claims of the first cases; held: a transaction is open; due: jobs that wait for a retry that is due;
        empty: statistics are those of an empty queue."""
        self.name, self.what, self.share, self.limit, self.create = name, what, share, limit, create
        self.max_running, self.held, self.due, self.orgs, self.empty = max_running, held, due, orgs, empty


CASES = [
    Case("plain", "nothing else", 0.4, held=False),
    Case("open", "a transaction open"),
    Case("create", "and a creation behind each claim", 0.2, create=True),
    Case("ten", "and ten a claim", 0.4, limit=10),
    Case("due", "and each fifth a retry that is due", 0.2, due=20000),
    Case("one", "and ORG_MAX_RUNNING 1", 0.2, create=True, max_running=1),
    Case("five", "and ORG_MAX_RUNNING 5", 0.2, create=True, max_running=5),
    Case("org", "and all of one organisation", 0.2, create=True, orgs=1),
    Case("empty", "and statistics of an empty queue", 0.2, create=True, empty=True),
]


def cpu_of(postgres):
    """CPU seconds of the server and all its processes, those that ended included."""
    def fields(pid):
        with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
            return [int(n) for n in f.read().rpartition(")")[2].split()[11:15]]
    total = 0
    for i, pid in enumerate(postgres._pids()):  # pylint: disable=protected-access
        with contextlib.suppress(OSError):
            total += sum(fields(pid)[:4 if i == 0 else 2])
    return total / os.sysconf("SC_CLK_TCK")


def ms(values, p):
    return f"{percentile(values, p) / 1000:.2f}" if values else ""


def row(*cells):
    print("| " + " | ".join(str(c) for c in cells) + " |", flush=True)


def statements():
    out = subprocess.run([BUILD / "tests" / "job_store_driver", "--statements"], check=True, stdout=subprocess.PIPE, text=True)
    return dict(line.split("\t", 1) for line in out.stdout.splitlines())


def frontier(c):
    """As RENEW gives it."""
    c.execute("SELECT tag, seq FROM downloads_queue WHERE owner IS NULL AND NOT held AND retry_at IS NULL ORDER BY tag, seq LIMIT 1")
    tag, seq = c.fetchone() or (int(time.time() * 1e6), 0)
    now = int((time.time() - RENEWAL_MS / 1000) * 1e6)
    c.execute("SELECT (extract(epoch FROM min(retry_at)) * 1000000)::bigint FROM downloads_queue WHERE owner IS NULL AND retry_at IS NOT NULL")
    due = c.fetchone()[0]
    return tag, seq, min(now, due or now), now


def values_of(c, max_running):
    tag, seq, due, lease = frontier(c)
    c.execute("SELECT q.id, j.attempt FROM downloads_queue q JOIN downloads_jobs j USING (id) WHERE owner = 'plans'")
    job, attempt = c.fetchone()
    return {
        "CLAIM": ["'owner'", 1, LEASE_MS, "true", tag, seq, due, lease, max_running],
        "CREATE": ["gen_random_uuid()", "'user'", "'org-1'", "'set'", "'SELECT 1'", "'csv'", 1000000, "false", 1000000,
                   max_running, tag, seq, due],
        "PUBLISH": [f"'{job}'", attempt, "'plans'", "'2100-01-01'", "'link'", 1, 2, "'hash'", "'key'", max_running, tag, seq],
        "POLL": ["'owner'", "'{}'", "'{}'", "'{}'", "'{}'", "true", tag, seq, due, lease],
        "RENEW": ["'owner'", LEASE_MS, tag, seq, due, lease],
    }


def plans(pg, name, max_running, texts):
    """The plan of each statement as it is now (undone); the buffers that it touched."""
    driver = Driver(pg, name, lease_ms=LEASE_MS, timeout_ms=60000)
    driver.claim("plans")
    driver.close()
    db, touched, told = pg.connect(name, autocommit=False), {}, []
    with db.cursor() as c:
        for statement, values in values_of(c, max_running).items():
            c.execute(f"PREPARE p AS {texts[statement]}")
            c.execute("SET LOCAL plan_cache_mode = force_custom_plan")
            c.execute(f"EXPLAIN (ANALYZE, BUFFERS, SUMMARY) EXECUTE p({', '.join(str(v) for v in values)})")
            plan = "\n".join(line for (line,) in c.fetchall())
            hits = re.search(r"Buffers: shared (?:hit=(\d+))?(?: ?read=(\d+))?", plan)
            planning, execution = re.search(r"Planning Time: (\S+)", plan)[1], re.search(r"Execution Time: (\S+)", plan)[1]
            touched[statement] = f"{sum(int(n or 0) for n in hits.groups())} ({planning} + {execution})"
            told.append(f"{statement}\n{plan}\n")
            db.rollback()
            c.execute("DEALLOCATE ALL")
    db.close()
    return touched, "\n".join(told)


def fill(pg, name, options, case):
    """The queue of a case, and the statistics that the planner believes in."""
    if case.empty:
        for table in ("downloads_queue", "downloads_jobs", "downloads_attempts", "downloads"):
            pg.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)", dbname=name)
        pg.execute("ANALYZE", dbname=name)
    pg.execute(WAITING.format(waiting=options.waiting, orgs=case.orgs).replace("%%", "%"), dbname=name)
    if case.due:
        pg.execute(f"""UPDATE downloads_queue SET retry_at = now() - random() * interval '10 seconds'
                    WHERE seq % {options.waiting // case.due} = 0""", dbname=name)
    if not case.empty:
        pg.execute("VACUUM ANALYZE", dbname=name)


def run(pg, template, options, case, texts):
    name = pg.new_database(template, STRATEGY="file_copy")
    fill(pg, name, options, case)
    driver = Driver(pg, name, lease_ms=LEASE_MS, timeout_ms=120000)
    driver.call("bounds", 1000000, 1000000, case.max_running)
    settled = driver.ms
    holder = pg.connect(name, autocommit=False)
    if case.held:
        with holder.cursor() as c:
            c.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            c.execute("SELECT count(*) FROM downloads_schema")
    else:
        holder.rollback()
    count, cpu, begun = int(options.claims * (options.share or case.share)), cpu_of(pg), time.monotonic()
    answer = driver.call("work", "owner", count, case.limit, int(case.create), RENEWAL_MS)
    took = time.monotonic() - begun
    cpu = cpu_of(pg) - cpu
    times = {k: [int(n) for n in v.split(",")] for k, v in (word.split("=") for word in answer)}
    claims, edge = times["claim"], min(EDGE, len(times["claim"]) // 4)
    if case.limit > 1:
        edge = len(claims) // 8
    for part, which in ((f"first {edge:,}", claims[:edge]), (f"last {edge:,}", claims[-edge:]), (f"all {len(claims):,}", claims)):
        row(case.what, f"claim, {part}", *[ms(which, p) for p in (50, 95, 99, 100)], "", "")
    for kind in ("publish", "create", "renew", "poll"):
        if kind in times:
            row("", f"{kind}, all {len(times[kind]):,}", *[ms(times[kind], p) for p in (50, 95, 99, 100)], "", "")
    row("", f"the whole: {took:.0f} s, settle {settled} ms", "", "", "", "",
        f"{len(times['publish']) / took:.0f}", f"{1000 * cpu / len(times['publish']):.2f}")
    driver.close()
    touched, told = plans(pg, name, case.max_running, texts)
    row("", "buffers (ms planning + execution): " + ", ".join(f"{k} {v}" for k, v in touched.items()), "", "", "", "", "", "")
    holder.close()
    pg.execute(f"DROP DATABASE {name} WITH (FORCE)")
    return told


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--finished", type=int, default=1000000)
    parser.add_argument("--waiting", type=int, default=100000)
    parser.add_argument("--claims", type=int, default=50000)
    parser.add_argument("--plans", type=argparse.FileType("w"), help="a file for the plans")
    parser.add_argument("--share", type=float, help="of --claims, for each case")
    parser.add_argument("--slow", help="milliseconds from which on Postgres keeps the plan of a statement, in its log, which stays")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=", ".join(c.name for c in CASES))
    options = parser.parse_args()
    texts, settings = statements(), {"shared_buffers": "512MB", "max_wal_size": "4GB"}
    if options.slow:
        settings |= {"session_preload_libraries": "auto_explain", "auto_explain.log_min_duration": options.slow,
                     "auto_explain.log_analyze": "on", "auto_explain.log_buffers": "on", "auto_explain.log_timing": "off"}
    with Postgres(durable=True, settings=settings) as pg:
        template = pg.new_database()
        Driver(pg, template).close()
        pg.execute(FINISHED.format(finished=options.finished).replace("%%", "%"), dbname=template)
        pg.execute("VACUUM ANALYZE", dbname=template)
        row("queue", "call", "p50", "p95", "p99", "max", "jobs/s", "CPU of Postgres (ms/job)")
        row(*["---"] * 8)
        for case in CASES:
            if not options.cases or case.name in options.cases:
                told = run(pg, template, options, case, texts)
                if options.plans:
                    print(f"-- {case.what}\n{told}", file=options.plans, flush=True)
        if options.slow:
            shutil.copy(pg.log, "claims-slow.log")


if __name__ == "__main__":
    main()
