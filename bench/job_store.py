#!/usr/bin/python3
"""Jobs a second that the job stores take through a life (created, claimed, published), by the number of calls that share a
transaction, as the control thread shares it out under load. SQLite in a file and a real PostgreSQL, both with what is
committed on the disk; for Postgres also through PgBouncer, and with several instances at once.

Usage: bench/job_store.py [JOBS]     (BUILD_DIR: another build)
"""

import pathlib
import sys
import tempfile

ROOT = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "postgres")]

from peers.pgbouncer import PgBouncer  # noqa: E402
from peers.postgres import Postgres  # noqa: E402
from store import Driver, at_once  # noqa: E402

BATCHES = [1, 5, 50]


class Nobody:
    host, port, user, password = "", 0, "", ""


def rate(drivers, jobs, batch):
    return sum(int(n) for (n,) in at_once(*[lambda d=d: d.call("life", jobs // len(drivers), batch) for d in drivers]))


def row(name, drivers, jobs):
    rates = [rate(drivers, jobs if batch > 1 else jobs // 4, batch) for batch in BATCHES]
    print(f"| {name} | " + " | ".join(f"{r:,}" for r in rates) + " |", flush=True)
    for d in drivers:
        d.close()


def main():
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 2000
    print("| store | " + " | ".join(f"{b} a transaction" for b in BATCHES) + " |\n| --- |" + " --- |" * len(BATCHES))
    with tempfile.TemporaryDirectory() as directory:
        sqlite = Driver(Nobody, "", open_it=False)
        sqlite.call("sqlite", f"{directory}/jobs.sqlite")
        row("SQLite", [sqlite], jobs)
    with Postgres(durable=True) as pg:
        row("Postgres", [Driver(pg, pg.new_database())], jobs)
        with PgBouncer(pg) as bouncer:
            row("Postgres, PgBouncer", [Driver(bouncer, pg.new_database())], jobs)
        for instances in (2, 4):
            name = pg.new_database()
            row(f"Postgres, {instances} instances", [Driver(pg, name) for _ in range(instances)], jobs)


if __name__ == "__main__":
    main()
