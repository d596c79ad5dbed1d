"""Workers that have signed in before a job comes, with the stand-in for MotherDuck's extension."""
import os
import signal

from motherduck import leaves_nothing
from service import wait_for


def ready(service):
    return sum("a spare worker is ready" in line for line in service.log)


def test_a_job_meets_no_sign_in(standin, serve):
    standin.configure(sign_in_ms=300)
    service = serve(standin.directory, MOTHERDUCK_SPARES=2)
    wait_for(lambda: ready(service) == 2, "two spares")
    spares = set(service.workers())
    assert len(spares) == 2
    standin.configure(sign_in_ms=600000)  # from now on nobody signs in: the job can only be done by a spare
    assert service.run("SELECT count(*) FROM t").type == "complete"
    assert service.run("SELECT count(*) FROM t").type == "complete"
    wait_for(lambda: spares.isdisjoint(service.workers()), "each served one job")
    standin.configure()


def test_one_that_is_taken_is_replaced(standin, serve):
    service = serve(standin.directory, MOTHERDUCK_SPARES=1)
    for n in range(1, 4):
        wait_for(lambda: ready(service) == n, f"spare {n}")
        assert service.run("SELECT 1").type == "complete"
    wait_for(lambda: ready(service) == 4, "one more")
    assert len(wait_for(lambda: len(service.workers()) == 1 and service.workers(), "one worker")) == 1


def test_one_that_dies_leaves_nothing(standin, serve):
    service = serve(standin.directory, MOTHERDUCK_SPARES=1)
    wait_for(lambda: ready(service) == 1, "a spare")
    assert len(service.files()) > 0  # its directory
    os.kill(service.workers()[0], signal.SIGKILL)
    wait_for(lambda: any("no spare worker, the next try is in 5 s" in line for line in service.log), "the note")
    leaves_nothing(service)
    assert service.run("SELECT 1").type == "complete"  # by a worker of its own


def test_no_storm_where_signing_in_fails(standin, serve):
    standin.configure(token="another-token-than-ours")
    service = serve(standin.directory, MOTHERDUCK_SPARES=2)
    wait_for(lambda: any("the next try is in 5 s" in line for line in service.log), "the first failure")
    wait_for(lambda: service.workers() == [], "both ended")
    for _ in range(5):
        assert service.run("SELECT 1").type == "error"
    assert sum("no spare worker" in line for line in service.log) == 1  # the two count as one, and none came after


def test_a_shutdown_ends_them(standin, serve):
    service = serve(standin.directory, MOTHERDUCK_SPARES=2)
    wait_for(lambda: ready(service) == 2, "two spares")
    workers = service.workers()
    assert service.stop() == 0
    assert not any(os.path.exists(f"/proc/{pid}") for pid in workers)
    assert service.files() == []


def test_a_shutdown_in_a_sign_in(standin, serve):
    standin.configure(sign_in_ms=600000)
    service = serve(standin.directory, MOTHERDUCK_SPARES=2)
    wait_for(lambda: len(service.workers()) == 2, "two that sign in")
    assert service.stop() == 0
    assert service.files() == []
