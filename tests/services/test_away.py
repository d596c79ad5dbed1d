"""Services that are not there: at the start, and later."""
import signal
import subprocess
import threading
import time

from place import paused, stopped
from service import ENDLESS, SERVER, wait_for

LONG = "SELECT i, repeat('x', 50) AS pad FROM range(3000000) r(i)"


def refused(place, *arguments, **variables):
    """A start that must fail: what it says."""
    server = place.make(**variables)
    done = subprocess.run([SERVER, *arguments], cwd=server.directory, env=server.environment, capture_output=True, text=True,
                          timeout=60)
    assert done.returncode in (1, 2), done.stderr
    place.servers.remove(server)
    return done.stderr + done.stdout


def test_postgres_is_waited_for(place):
    with stopped(place.postgres):
        server = place.make()
        thread = threading.Thread(target=server.start)
        thread.start()
        wait_for(lambda: any("waiting for Postgres" in line for line in server.log), "it says that it waits")
    thread.join()
    assert server.run("SELECT 1 AS a").type == "complete"


def test_a_postgres_that_is_busy_at_the_start_is_waited_for(place):
    place.start().stop()  # the tables are there
    holder = place.postgres.connect(place.database)
    with holder.cursor() as c:
        c.execute("SELECT pg_advisory_lock(7094871302655181)")  # WRITE_LOCK of store_postgres.c
    server = place.make()
    thread = threading.Thread(target=server.start)
    thread.start()
    try:
        wait_for(lambda: any("waiting for the job store" in line for line in server.log), "it says that it waits")
    finally:
        holder.close()
        thread.join()
    assert server.run("SELECT 1 AS a").type == "complete"


def test_a_postgres_that_never_comes_is_an_error(place):
    said = refused(place, POSTGRES_PORT=1, STARTUP_WAIT="1s")
    assert "cannot start" in said and "waiting for Postgres" in said


def test_what_postgres_refuses_is_said_by_name(place):
    assert "password" in refused(place, POSTGRES_PASSWORD="wrong")
    assert "nowhere" in refused(place, POSTGRES_DB="nowhere")


def test_what_s3_refuses_is_said_by_name(place):
    assert "no-such-bucket" in refused(place, S3_BUCKET="no-such-bucket")
    assert "GOPIE_DS_S3_SECRET_KEY" in refused(place, S3_SECRET_KEY="wrong")
    assert "does not answer" in refused(place, S3_ENDPOINT="http://127.0.0.1:1", STARTUP_WAIT="1s")


def test_check_config_looks_and_changes_nothing(place):
    server = place.make()
    done = subprocess.run([SERVER, "serve", "--check-config"], cwd=server.directory, env=server.environment, capture_output=True,
                          text=True, timeout=60)
    assert done.returncode == 0, done.stdout
    assert "job store    ok" in done.stdout and "files        ok" in done.stdout
    assert place.sql("SELECT count(*) FROM pg_tables WHERE tablename LIKE 'downloads%'") == [(0,)]
    assert "no-such-bucket" in refused(place, "serve", "--check-config", S3_BUCKET="no-such-bucket")
    assert "nowhere" in refused(place, "serve", "--check-config", POSTGRES_DB="nowhere")


def test_postgres_goes_away_and_comes_back(place):
    server = place.start(QUEUE_WORKERS=1)
    stream, job = server.begin(LONG)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 60_000_000)
    with stopped(place.postgres):
        assert server.request("GET", "/health").body == b'"Ok"'
        events = list(server.post("SELECT 1 AS a").events())
        assert [e.name for e in events] == ["request_received", "error"]
        assert events[1].data == {"type": "error", "message": "could not create download job"}
        assert server.request("GET", "/downloads").status == 503
        assert server.request("GET", "/health").body == b'"Ok"'
        wait_for(lambda: not server.workers(), "the job runs to its end")
        assert server.process.poll() is None
    last = list(stream.events())[-1]
    assert last.type == "complete", last.data
    assert server.get("/downloads/" + job)["attempt"] == 1
    assert place.sha256(f"acme/{job}.csv") == last.data["sha256"]


def test_a_postgres_that_hangs_costs_no_job(place):
    server = place.start(QUEUE_WORKERS=1)
    stream, job = server.begin(LONG)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 60_000_000)
    with paused(place.postgres):
        asked = time.monotonic()
        assert server.request("GET", "/downloads").status == 503
        assert time.monotonic() - asked < 15
        assert server.request("GET", "/health").body == b'"Ok"'
        wait_for(lambda: not server.workers(), "the job runs to its end")
    assert list(stream.events())[-1].type == "complete"
    assert server.get("/downloads/" + job)["attempt"] == 1


def test_s3_goes_away_and_comes_back(place):
    server = place.start(QUEUE_WORKERS=1)
    stream, job = server.begin(LONG)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 60_000_000)
    with paused(place.swift):
        assert server.request("GET", "/health").body == b'"Ok"'
        assert server.get("/downloads/" + job)["status"] == "processing"
    last = list(stream.events())[-1]
    assert last.type == "complete" and place.sha256(f"acme/{job}.csv") == last.data["sha256"]


def test_a_shutdown_without_postgres_says_goodbye(place):
    server = place.start(QUEUE_WORKERS=1, SHUTDOWN_GRACE="100ms")
    stream, job = server.begin(ENDLESS)
    joined = server.follow(job)
    joined.until(lambda e: e.name == "snapshot")
    server.wait_worker()
    with paused(place.postgres):
        server.process.send_signal(signal.SIGTERM)
        last = list(stream.events())[-1]
        assert last.type == "error" and last.data["handed_over"]
        assert list(joined.events())[-1].name == "restart"
        assert server.ended() == 0
