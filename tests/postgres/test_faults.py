"""What goes wrong between us and a Postgres: silence, death, a connection that breaks at the worst moment, locks that others
hold. No call waits for longer than its timeout and a second; a call that failed left nothing; the next ones work again."""

import os
import signal
import socket
import threading
import time

import psycopg2
import pytest

from peers.pg_proxy import PgProxy
from peers.pgbouncer import PgBouncer
from peers.postgres import Postgres, wait_until
from store import UNKNOWN_ID, Driver, StoreError, refusal

TIMEOUT_MS = 1000
# The connection, a lock and the statement share one deadline of TIMEOUT_MS + 1000; the rest is for a busy machine.
BOUND_MS = TIMEOUT_MS + 1000 + 2000


@pytest.fixture(scope="module")
def frail():
    """A server that is ill-treated."""
    with Postgres() as server:
        yield server


@pytest.fixture
def name(frail):
    return frail.new_database()


@pytest.fixture
def proxy(frail):
    with PgProxy(frail.host, frail.port) as p:
        p.user, p.password = frail.user, frail.password
        yield p


# How a call is made, and the statement of a trip that commits it.
WAYS = pytest.mark.parametrize("way, last", [(Driver.call, "WITH"), (Driver.call_among_others, "COMMIT")],
                               ids=["alone", "among others"])


def unavailable(driver, *words, way=Driver.call):
    with pytest.raises(StoreError) as e:
        way(driver, *words)
    assert e.value.code == "unavailable", e.value
    return e.value


def works_again(driver, what=lambda d: d.create()):
    results = []

    def works():
        try:
            results.append(what(driver))
            return True
        except StoreError as e:
            assert e.code == "unavailable", e
            return False

    wait_until(works, 30, "that the store works again")
    return results[0]


def count(pg, database, table="downloads"):
    return pg.execute(f"SELECT count(*) FROM {table}", dbname=database)[0][0]


def test_a_server_that_stands_still(frail, name):
    with Driver(frail, name, timeout_ms=TIMEOUT_MS) as s:
        s.create()
        frail.pause()
        try:
            error = unavailable(s, "create", "org", "user", 10)
            assert TIMEOUT_MS <= error.ms < BOUND_MS
            assert unavailable(s, "get", "org", UNKNOWN_ID).ms < BOUND_MS  # tries to connect
            assert unavailable(s, "get", "org", UNKNOWN_ID).ms < 500  # it is too early for the next try
            assert unavailable(s, "list", "org", "user", 10).ms < BOUND_MS
            assert refusal(frail, name, timeout_ms=TIMEOUT_MS).code == "unavailable"
        finally:
            frail.resume()
        works_again(s)
        # The first was with the server already: whether it came to it in the end, only the record tells.
        assert count(frail, name) == count(frail, name, "downloads_queue") in (2, 3)
        assert "the connection to Postgres is lost" in s.noted() and "connected to Postgres again" in s.noted()


def test_attempts_to_connect_are_a_second_apart(frail, name):
    with Driver(frail, name, timeout_ms=TIMEOUT_MS) as s:
        frail.kill()
        tries = []

        def take(listener):
            while True:
                try:
                    connection, _ = listener.accept()
                except OSError:
                    return
                tries.append(time.monotonic())
                connection.recv(100)
                connection.close()

        try:
            with socket.create_server((frail.host, frail.port)) as listener:
                thread = threading.Thread(target=take, args=(listener,))
                thread.start()
                calls = 0
                deadline = time.monotonic() + 30
                while len(tries) < 3 and time.monotonic() < deadline:
                    unavailable(s, "create", "org", "user", 10)
                    calls += 1
                listener.shutdown(socket.SHUT_RDWR)
                thread.join()
        finally:
            frail.start()
        assert len(tries) == 3 and calls > 20
        assert all(b - a > 0.7 for a, b in zip(tries, tries[1:]))  # a second, as a thread sees it that may be late
        works_again(s)
        assert s.noted().count("closed the connection") == 1  # said once


def test_a_server_that_was_killed_and_started(frail, name):
    with Driver(frail, name, timeout_ms=TIMEOUT_MS) as s:
        job = s.create()
        assert s.claim() == [(job, 1)]
        frail.kill()
        unavailable(s, "publish", "owner", job, 1)
        unavailable(s, "list", "org", "user", 10)
        frail.start()
        assert works_again(s, lambda d: d.call("publish", "owner", job, 1)) == ["completed", "3"]
        assert s.call("list", "org", "user", 10) == [job]


def test_a_restart_between_two_calls_is_not_noticed(frail, name):
    with Driver(frail, name, timeout_ms=TIMEOUT_MS) as s:
        opened = time.monotonic()
        frail.kill()
        frail.start()
        wait_until(lambda: time.monotonic() - opened > 1.1)  # else it is too early for another connection
        s.create()
        assert count(frail, name) == 1


def test_behind_a_pooler_too(frail, name):
    with PgBouncer(frail) as b, Driver(b, name, timeout_ms=TIMEOUT_MS) as s:
        job = s.create()
        assert s.claim() == [(job, 1)]
        frail.kill()
        assert unavailable(s, "publish", "owner", job, 1).ms < BOUND_MS
        frail.start()
        assert works_again(s, lambda d: d.call("publish", "owner", job, 1)) == ["completed", "3"]


@pytest.mark.parametrize("way, place, statement", [
    (Driver.call, "before", "SELECT set_config"), (Driver.call, "before", "WITH"), (Driver.call, "unsynced", "WITH"),
    *((Driver.call_among_others, "before", s) for s in ("BEGIN", "SELECT set_config", "SAVEPOINT", "WITH", "COMMIT"))])
def test_a_connection_cut_in_the_middle(frail, name, proxy, way, place, statement):
    with Driver(proxy, name, timeout_ms=TIMEOUT_MS) as s:
        s.create()
        proxy.fault = (place, statement)
        assert unavailable(s, "create", "org", "user", 10, way=way).ms < BOUND_MS
        works_again(s)
        assert count(frail, name) == count(frail, name, "downloads_queue") == 2
    assert proxy.faults_made == 1


def test_an_answer_that_never_comes(frail, name, proxy):
    with Driver(proxy, name, timeout_ms=TIMEOUT_MS) as s:
        s.create()
        proxy.fault = ("after", "WITH")  # within a transaction: the proxy is silent
        s.call("begin")
        assert TIMEOUT_MS <= unavailable(s, "create", "org", "user", 10).ms < BOUND_MS
        unavailable(s, "commit")
        works_again(s)
        assert count(frail, name) == count(frail, name, "downloads_queue") == 2


@WAYS
def test_a_commit_that_did_not_arrive(frail, name, proxy, way, last):
    place = "unsynced" if last == "WITH" else "before"
    with Driver(proxy, name, timeout_ms=TIMEOUT_MS) as s:
        job = s.create()
        proxy.fault = (place, last)
        unavailable(s, "create", "org", "user", 10, way=way)
        assert works_again(s, lambda d: d.claim()) == [(job, 1)]
        proxy.fault = (place, last)
        unavailable(s, "publish", "owner", job, 1, way=way)
        assert works_again(s, lambda d: d.status(job)) == "processing"
        assert s.call("publish", "owner", job, 1) == ["completed", "3"]
        assert count(frail, name) == 1 and proxy.faults_made == 2


ENDS = pytest.mark.parametrize("end, status", [("publish", "completed"), ("fail", "failed"), ("requeue", "pending")])


@WAYS
@ENDS
def test_a_commit_whose_answer_was_lost(frail, name, proxy, end, status, way, last):
    with Driver(proxy, name, timeout_ms=TIMEOUT_MS) as s:
        job = s.create()
        assert s.claim() == [(job, 1)]
        proxy.fault = ("after", last)
        unavailable(s, end, "owner", job, 1, way=way)
        assert proxy.faults_made == 1
        assert frail.execute("SELECT status FROM downloads", dbname=name) == [(status,)]
        assert works_again(s, lambda d: d.call(end, "owner", job, 1)) == [status, "3"]  # told again: the same


@WAYS
def test_a_connection_cut_while_the_server_commits(frail, name, proxy, way, last):
    """Whether it was in time or not: told again, the end is the same, and no creation is half of one."""
    with Driver(proxy, name, timeout_ms=TIMEOUT_MS) as s:
        proxy.fault = ("racing", last)
        unavailable(s, "create", "org", "user", 10, way=way)
        job = works_again(s)
        assert count(frail, name) == count(frail, name, "downloads_queue") == count(frail, name, "downloads_jobs")
        claimed = dict(s.claim(limit=5))
        assert claimed.pop(job) == 1 and list(claimed.values()) in ([], [1])
        proxy.fault = ("racing", last)
        unavailable(s, "publish", "owner", job, 1, way=way)
        assert works_again(s, lambda d: d.call("publish", "owner", job, 1)) == ["completed", "3"]
        assert proxy.faults_made == 2


@WAYS
def test_a_claim_whose_answer_was_lost_is_found_by_a_poll(frail, name, proxy, way, last):
    with Driver(proxy, name, timeout_ms=TIMEOUT_MS) as s:
        job = s.create()
        proxy.fault = ("after", last)
        unavailable(s, "claim", "owner", 1, way=way)
        assert works_again(s, lambda d: d.call("poll", "owner", 1)) == ["claimable:0", "owned:1", f"{job}:owned:1"]
        assert s.call("requeue", "owner", job, 1) == ["pending", "3"]
        assert s.claim() == [(job, 2)]


def test_an_instance_that_stops_in_a_transaction_holds_up_nobody_for_long(frail, name):
    with Driver(frail, name, timeout_ms=TIMEOUT_MS) as stopped, Driver(frail, name, timeout_ms=TIMEOUT_MS) as s:
        stopped.call("begin")
        stopped.create()
        os.kill(stopped.process.pid, signal.SIGSTOP)
        try:
            start = time.monotonic()
            works_again(s)
            assert time.monotonic() - start < 2 * BOUND_MS / 1000
        finally:
            os.kill(stopped.process.pid, signal.SIGCONT)
        unavailable(stopped, "commit")
        assert count(frail, name) == 1
        works_again(stopped)


def test_a_lock_that_another_program_holds(frail, name):
    with Driver(frail, name, timeout_ms=TIMEOUT_MS) as s:
        job = s.create()
        db = psycopg2.connect(host=frail.host, port=frail.port, dbname=name, user=frail.user, password=frail.password)
        with db.cursor() as c:
            c.execute("LOCK TABLE downloads IN ACCESS EXCLUSIVE MODE")
            for words in (("list", "org", "user", 10), ("create", "org", "user", 10), ("claim", "owner", 1)):
                error = unavailable(s, *words)
                assert error.ms < BOUND_MS and "busy" in error.message
        db.rollback()
        db.close()
        assert s.call("list", "org", "user", 10) == [job]  # the connection was kept
        assert "lost" not in s.noted()


def test_an_outage_costs_no_job(frail, name):
    """Leases end while nobody can renew them; whoever comes back first does not take what others still run."""
    lease_ms = 1500
    with Driver(frail, name, lease_ms=lease_ms, timeout_ms=TIMEOUT_MS) as a, \
            Driver(frail, name, lease_ms=lease_ms, timeout_ms=TIMEOUT_MS) as b:
        job = a.create()
        assert a.claim("a") == [(job, 1)]
        frail.kill()
        unavailable(b, "poll", "b", 1)
        unavailable(a, "poll", "a", 1)
        claimed = time.monotonic()
        wait_until(lambda: time.monotonic() - claimed > lease_ms / 1000)  # with nobody to say when: it is down
        frail.start()
        assert works_again(b, lambda d: d.call("poll", "b", 1)) == ["claimable:0", "owned:0"]
        assert b.claim("b") == []
        assert works_again(a, lambda d: d.call("poll", "a", 1))[:2] == ["claimable:0", "owned:1"]
        assert a.call("publish", "a", job, 1) == ["completed", "3"]


def test_who_was_away_itself_does_not_take_what_others_run(frail, name):
    """A machine that stood still: none of its instances renewed, and whoever wakes first finds all leases over."""
    lease_ms = 1500
    with Driver(frail, name, lease_ms=lease_ms) as a, Driver(frail, name, lease_ms=lease_ms) as b:
        job = a.create()
        assert a.claim("a") == [(job, 1)]
        began = time.monotonic()
        while time.monotonic() - began < 1.2 * lease_ms / 1000:  # b has been there for a lease
            a.call("poll", "a", 1)
            b.call("poll", "b", 1)
        stopped = time.monotonic()
        wait_until(lambda: time.monotonic() - stopped > 1.2 * lease_ms / 1000)
        assert b.call("poll", "b", 1) == ["claimable:0", "owned:0"]
        assert b.claim("b") == []
        assert a.call("poll", "a", 1)[:2] == ["claimable:0", "owned:1"]
        a.close()
        wait_until(lambda: b.call("poll", "b", 1)[0] == "claimable:1", what="the end of the lease")
        assert b.claim("b") == [(job, 2)]


def test_a_job_of_an_instance_that_died_is_taken(frail, name):
    lease_ms = 400
    with Driver(frail, name, lease_ms=lease_ms) as dead:
        job = dead.create()
        assert dead.claim("dead") == [(job, 1)]
    with Driver(frail, name, lease_ms=lease_ms) as s:
        wait_until(lambda: s.call("poll", "s", 1)[0] == "claimable:1", what="the end of the lease")
        assert s.claim("s") == [(job, 2)]
        assert s.call("leftovers", 10) == [f"{job}:1"]
