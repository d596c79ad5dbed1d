"""Several instances at once on one database: exact admission, every job run once, no lock waited for in a circle."""

import collections

import pytest

from store import Driver, at_once

INSTANCES = 4


@pytest.fixture(params=["direct", "pgbouncer"])
def instances(request, pg, bouncer, database):
    where = bouncer if request.param == "pgbouncer" else pg
    drivers = [Driver(where, database) for _ in range(INSTANCES)]
    yield drivers
    for d in drivers:
        d.close()


def test_the_queue_takes_exactly_what_fits(pg, database, instances):
    size = 37
    taken = at_once(*[lambda d=d: int(d.call("fill", "org", size, 60)[0]) for d in instances])
    assert sum(taken) == size
    assert pg.execute("SELECT (SELECT count(*) FROM downloads), (SELECT count(*) FROM downloads_jobs),"
                      " (SELECT count(*) FROM downloads_queue)", dbname=database) == [(size, size, size)]


def test_every_job_is_claimed_once_per_attempt(pg, database, instances):
    jobs = 60 * INSTANCES
    fill = [lambda d=d, i=i: d.call("fill", f"org{i}", 100000, 60) for i, d in enumerate(instances)]
    at_once(*fill)
    pg.execute("SELECT pg_stat_reset()", dbname=database)
    claimed = at_once(*[lambda d=d, i=i: d.call("drain", f"owner{i}") for i, d in enumerate(instances)])
    each = collections.Counter(c for claims in claimed for c in claims)
    assert set(each.values()) == {1}  # no attempt twice
    attempts = collections.defaultdict(list)
    for c in each:
        attempts[c.split(":")[0]].append(int(c.split(":")[1]))
    assert len(attempts) == jobs
    assert all(sorted(a) == list(range(1, len(a) + 1)) for a in attempts.values())
    assert any(len(a) == 2 for a in attempts.values())
    assert pg.execute("SELECT count(*) FROM downloads_queue", dbname=database) == [(0,)]
    removed = {j for j in attempts if int(j[:3], 16) % 7 == 0}
    rows = dict(pg.execute("SELECT id::text, status FROM downloads", dbname=database))
    assert set(rows) == set(attempts) - removed
    assert set(rows.values()) <= {"completed", "failed"}


def test_no_deadlocks(pg, database, instances):
    """Creations, claims, ends, deletions of what others run, in batches that overlap."""
    for i, d in enumerate(instances):
        d.call("fill", f"org{i}", 100000, 30)
    mine = [d.claim(f"owner{i}", 30) for i, d in enumerate(instances)]

    def batches(i):
        d, others = instances[i], mine[(i + 1) % INSTANCES]
        for n in range(15):
            d.call("begin")
            d.call("progress", *mine[i][n], n)
            d.call("remove", f"org{(i + 1) % INSTANCES}", others[2 * n][0])
            d.call("create", f"org{i}", "user", 100000)
            d.call("poll", f"owner{i}", 1)
            d.call("claim", f"late{i}", 1)
            d.call("expire", 10)
            d.call("commit")

    at_once(*[lambda i=i: batches(i) for i in range(INSTANCES)])
    assert pg.execute("SELECT deadlocks FROM pg_stat_database WHERE datname = %s", database) == [(0,)]


def test_an_organisation_waits_for_its_turn_only(instances):
    instances[0].call("fill", "big", 100000, 200)
    small = instances[1].create("small")
    claimed = [j for j, _ in instances[2].claim("owner", 2)]
    assert small in claimed
