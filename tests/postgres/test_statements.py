"""What a call costs the server, counting all that it executes; and that the transaction of a call that is alone, which nothing
begins or commits, is one: behind the lock, whole or not at all, and as we want it whatever a session's defaults are."""

import re
import time

import pytest

from peers.pgbouncer import PgBouncer
from peers.postgres import Postgres, wait_until
from store import Driver, StoreError, at_once


@pytest.fixture(scope="module")
def telling():
    """A server that logs every statement."""
    with Postgres(settings={"log_statement": "all", "log_line_prefix": "%a@%d "}) as server:
        yield server


def statements(server, database):
    with open(server.log, encoding="utf-8", errors="replace") as f:
        return re.findall(rf"^downloads-server@{database} LOG:  (?:execute|statement).*?: (.*)$", f.read(), re.MULTILINE)


def test_statements_of_each_call(telling):
    name = telling.new_database()
    with Driver(telling, name) as s:
        def cost(*words, way=Driver.call):
            before = len(statements(telling, name))
            answer = way(s, *words)
            return len(statements(telling, name)) - before, answer

        n, (job,) = cost("create", "org", "user", 10)
        life = {"create": n}
        for words in (("claim", "owner", 1), ("note", "owner", job, 1, "upload"), ("publish", "owner", job, 1)):
            life[words[0]], _ = cost(*words)
        assert life == {"create": 2, "claim": 2, "note": 2, "publish": 2} and sum(life.values()) <= 8
        others = [s.create() for _ in range(2)]
        s.claim(limit=2)
        for words in (("fail", "owner", others[0], 1), ("requeue", "owner", others[1], 1), ("progress", job, 1, 1),
                      ("remove", "org", others[0]), ("expire", 1), ("leftovers", 1), ("get", "org", job),
                      ("list", "org", "user", 10)):
            assert cost(*words)[0] == 2, words
        assert cost("poll", "owner", 0)[0] <= 2
        assert cost("create", "org", "user", 10, way=Driver.call_among_others)[0] == 5


def waits_for_the_lock(pg, database):
    return pg.execute("SELECT count(*) FROM pg_locks l JOIN pg_database d ON d.oid = l.database"
                      " WHERE l.locktype = 'advisory' AND NOT l.granted AND d.datname = %s", database) == [(1,)]


@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pgbouncer"])
def test_a_call_sees_what_was_committed_while_it_waited_for_the_lock(pg, bouncer, database, pooled):
    where = bouncer if pooled else pg
    with Driver(where, database) as first, Driver(where, database) as second:
        first.call("begin")
        first.call("create", "org", "user", 1)
        second.send("create", "org", "user", 1)
        wait_until(lambda: waits_for_the_lock(pg, database), what="the wait for the lock")
        first.call("commit")
        with pytest.raises(StoreError) as e:
            second.receive()
        assert e.value.code == "queue_full"


def test_the_lock_is_waited_for_within_its_timeout(pg, database):
    with Driver(pg, database) as first, Driver(pg, database, timeout_ms=1000) as second:
        first.call("begin")
        first.create()
        with pytest.raises(StoreError) as e:
            second.create()
        assert e.value.code == "unavailable" and "busy" in e.value.message and 700 <= e.value.ms < 3000
        first.call("commit")
        second.create()
        assert "lost" not in second.noted()


def refuse(pg, database, when):
    """A trigger that refuses each new record, at once or only when it is committed."""
    pg.execute("CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'refused'; END $$",
               dbname=database)
    kind = "CONSTRAINT TRIGGER refuse" if when == "commit" else "TRIGGER refuse"
    pg.execute(f"CREATE {kind} AFTER INSERT ON downloads {'DEFERRABLE INITIALLY DEFERRED' if when == 'commit' else ''}"
               " FOR EACH ROW EXECUTE FUNCTION refuse()", dbname=database)


@pytest.mark.parametrize("when", ["statement", "commit"])
@pytest.mark.parametrize("way", [Driver.call, Driver.call_among_others], ids=["alone", "among others"])
def test_what_fails_leaves_nothing(pg, database, when, way):
    with Driver(pg, database) as s:
        refuse(pg, database, when)
        for _ in range(2):
            with pytest.raises(StoreError) as e:
                way(s, "create", "org", "user", 10)
            assert "refused" in e.value.message
        assert s.call("list", "org", "user", 10) == []
        assert pg.execute("SELECT count(*) FROM downloads_queue", dbname=database) == [(0,)]
        pg.execute("DROP TRIGGER refuse ON downloads", dbname=database)
        way(s, "create", "org", "user", 10)
        assert len(s.call("list", "org", "user", 10)) == 1
        assert "lost" not in s.noted()


@pytest.mark.parametrize("setting", ["default_transaction_isolation = 'serializable'",
                                     "default_transaction_isolation = 'repeatable read'",
                                     "default_transaction_read_only = on"])
@pytest.mark.parametrize("pooled", [False, True], ids=["direct", "pgbouncer"])
def test_sessions_with_other_defaults(pg, database, setting, pooled):
    pg.execute(f"ALTER DATABASE {database} SET {setting}")
    bouncer = PgBouncer(pg) if pooled else None
    drivers = []
    try:
        drivers = [Driver(bouncer or pg, database) for _ in range(3)]
        taken = at_once(*[lambda d=d: int(d.call("fill", "org", 7, 10)[0]) for d in drivers])
        assert sum(taken) == 7
        (job, attempt), = drivers[0].claim()
        assert drivers[0].call("publish", "owner", job, attempt) == ["completed", "3"]
        assert len(drivers[1].call("list", "org", "user", 10)) == 7
        with pytest.raises(StoreError) as e:
            drivers[0].call("publish", "other", job, 2)
        assert e.value.code == "stale_attempt"
    finally:
        for d in drivers:
            d.close()
        if bouncer:
            bouncer.close()


def test_defaults_that_change_while_we_are_connected(telling):
    """As behind a pooler, where another program's SET stays in the session. It is noticed once, and costs no call."""
    name = telling.new_database()
    with Driver(telling, name) as s:
        s.create()
        telling.execute(f"ALTER DATABASE {name} SET default_transaction_isolation = 'serializable'")
        opened = time.monotonic()
        telling.execute("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = %s", name)
        wait_until(lambda: time.monotonic() - opened > 1.1)  # else it is too early for another connection
        s.create()
        before = len(statements(telling, name))
        s.create()
        assert [t.split()[0] for t in statements(telling, name)[before:]] == ["BEGIN", "SELECT", "WITH", "COMMIT"]
