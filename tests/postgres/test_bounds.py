"""Whatever two instances do, in any order: an organisation never runs more than it may, none of its jobs is held while it
may run one, and each instance finds whatever waits (struct frontier), whoever put it there."""
import os
import random

import pytest

from store import Driver, StoreError

STEPS = int(os.environ.get("BOUNDS_STEPS", "150"))
SEEDS = int(os.environ.get("BOUNDS_SEEDS", "2"))
FIRST_SEED = int(os.environ.get("BOUNDS_SEED", "0"))
ORGS = ("a", "b", "c")
LEASE_MS = 60000


class Bounds:
    """A model in which a job is what an instance was told of it."""

    def __init__(self, pg, database, seed):
        self.random = random.Random(seed)
        self.database = database
        self.db = pg.connect(database)
        self.db.autocommit = True
        self.drivers = [Driver(pg, database, lease_ms=LEASE_MS) for _ in range(2)]
        self.running = [{}, {}]  # id: attempt
        self.cap = 2
        self.went = {}  # by organisation: how many were not held
        for d in self.drivers:
            d.call("settle", self.cap)

    def sql(self, statement, *parameters):
        with self.db.cursor() as c:
            c.execute(statement, parameters)
            return c.fetchall() if c.description else []

    def pick(self, i):
        return self.random.choice(sorted(self.running[i].items())) if self.running[i] else None

    def create(self, i):
        self.drivers[i].create(self.random.choice(ORGS))

    def claim(self, i, limit=None):
        jobs = self.drivers[i].claim(f"owner{i}", limit or self.random.choice((1, 2, 5)))
        self.running[i].update(jobs)
        return jobs

    def end(self, i):
        job = self.pick(i)
        if not job:
            return
        how = self.random.choice(("publish", "fail", "requeue", "retry", "publish"))
        words = (how, f"owner{i}", *job) + ((self.random.choice((0, 5, 60000)),) if how == "retry" else ())
        del self.running[i][job[0]]
        try:
            self.drivers[i].call(*words)
        except StoreError as e:
            assert e.code == "stale_attempt" and self.sql("SELECT count(*) FROM downloads WHERE id = %s", job[0]) == [(0,)]

    def batch(self, i):
        """As the control thread makes it; now and then all of it is lost."""
        d = self.drivers[i]
        lost = self.random.random() < 0.3
        before = dict(self.running[i])
        d.call("begin")
        self.create(i)
        for _ in range(self.random.randint(1, 4)):
            self.random.choice((self.create, self.claim, self.end, self.renew))(i)
        if not lost:
            d.call("commit")
            return
        self.sql("SELECT pg_terminate_backend(l.pid, 10000) FROM pg_locks l JOIN pg_stat_activity s USING (pid)"
                 " WHERE l.locktype = 'advisory' AND s.datname = %s", self.database)
        with pytest.raises(StoreError):
            d.call("commit")
        self.running[i] = before
        while True:  # at most once a second it connects
            try:
                d.call("renew", f"owner{i}")
                break
            except StoreError as e:
                assert e.code == "unavailable"

    def renew(self, i):
        self.drivers[i].call("renew", f"owner{i}")

    def delete(self, i):
        ids = [r[0] for r in self.sql("SELECT id::text, org_id FROM downloads d JOIN downloads_queue USING (id, org_id) ORDER BY id")]
        if ids:
            job = self.random.choice(ids)
            org = self.sql("SELECT org_id FROM downloads WHERE id = %s", job)[0][0]
            self.drivers[i].call("remove", org, job)

    def another_program_deletes(self, _):
        self.sql("DELETE FROM downloads WHERE id IN (SELECT id FROM downloads_queue ORDER BY random() LIMIT 1)")

    def another_bound(self, _):
        self.cap = self.random.choice((0, 1, 2, 3))
        for d in self.drivers:
            d.call("settle", self.cap)

    def forget_deleted(self):
        there = {r[0] for r in self.sql("SELECT id::text FROM downloads")}
        for mine in self.running:
            for job in set(mine) - there:
                del mine[job]

    def check(self):
        for org, go, run, held in self.sql(
                "SELECT org_id, count(*) FILTER (WHERE NOT held), count(owner), count(*) FILTER (WHERE held)"
                " FROM downloads_queue GROUP BY org_id"):
            if self.cap:
                # What runs when a bound is lowered runs on.
                assert go <= max(self.cap, self.went.get(org, 0)), (org, go, run, held)
                assert not held or go >= self.cap, (org, go, run, held)
            else:
                assert not held, (org, go, run, held)
            self.went[org] = go
        assert self.sql("SELECT count(*) FROM downloads_queue WHERE held AND owner IS NOT NULL") == [(0,)]

    def found_by_each(self):
        """What may be claimed now is all claimed, by either."""
        for i in range(2):
            waits = "FROM downloads_queue q JOIN downloads USING (id) WHERE owner IS NULL AND NOT held" \
                    " AND (retry_at IS NULL OR retry_at <= statement_timestamp())"
            some = self.sql("SELECT count(*) " + waits)[0][0]
            claimable = self.drivers[i].call("poll", f"owner{i}", 0)[0]
            assert not some or claimable == "claimable:1"
        who = self.random.randrange(2)
        for _ in range(20):  # what has no record leaves with the first, and lets others go
            self.claim(who, 1000)
        assert self.sql("SELECT count(*) " + waits) == [(0,)]

    def everything_ends(self):
        self.sql("UPDATE downloads_queue SET retry_at = statement_timestamp() WHERE retry_at > statement_timestamp()")
        waits = "SELECT count(*) FROM downloads_queue q JOIN downloads USING (id)"
        for _ in range(self.sql(waits)[0][0] + 1):
            for i in range(2):
                self.claim(i, 1000)
                for job in self.running[i].items():
                    self.drivers[i].call("publish", f"owner{i}", *job)
                self.running[i].clear()
        # What other programs took the record of, while it ran, leaves with its lease.
        ran = {r[0] for r in self.sql("SELECT org_id FROM downloads_queue WHERE owner IS NOT NULL")}
        assert {r[0] for r in self.sql("SELECT DISTINCT org_id FROM downloads_queue")} <= ran
        if not ran:
            assert self.sql(waits) == [(0,)]

    def close(self):
        for d in self.drivers:
            d.close()
        self.db.close()


@pytest.mark.parametrize("seed", range(FIRST_SEED, FIRST_SEED + SEEDS))
def test_bounds(pg, database, seed):
    world = Bounds(pg, database, seed)
    steps = [world.create] * 8 + [world.claim] * 4 + [world.end] * 5 + [world.renew] * 2 + \
            [world.delete, world.another_program_deletes, world.batch]
    try:
        for n in range(STEPS):
            world.random.choice(steps)(world.random.randrange(2))
            if n % 60 == 59:
                world.another_bound(0)
            world.forget_deleted()
            world.check()
            if n % 25 == 24:
                world.found_by_each()
        world.everything_ends()
    finally:
        world.close()
