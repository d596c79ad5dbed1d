"""The queue's promises: bounds, fairness, cancelling, time limits, and workers that die."""
import collections
import os
import signal
import sqlite3
import threading
import time

import pytest

from service import ENDLESS, SLOW_ROWS, alive, wait_for


def post_all(server, count, sql):
    """Posts at the same moment; for each the status and, where it is a stream, its last event's type."""
    results, barrier = [None] * count, threading.Barrier(count)

    def one(i):
        barrier.wait()
        stream = server.post(sql(i))
        results[i] = (stream.status, stream.headers["Retry-After"], list(stream.events())[-1].type if stream.status == 200 else None)
        stream.close()

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


def test_many_at_once_all_complete(service):
    server = service()
    assert collections.Counter(post_all(server, 60, lambda i: f"SELECT {i} AS i")) == {(200, None, "complete"): 60}
    assert server.stop() == 0


def test_a_full_queue_answers_503_and_stores_nothing(service):
    server = service(QUEUE_SIZE=3, QUEUE_WORKERS=1)
    running, _ = server.begin(ENDLESS)
    server.wait_worker()
    waiting = [server.begin("SELECT 1")[0] for _ in range(3)]
    for _ in range(5):
        response = server.request("POST", "/downloads", {"dataset_id": "d", "sql": "SELECT 1"})
        assert response.status == 503 and response.headers["Retry-After"] == "10" and b'{"error":' in response.body
    assert len(server.get("/downloads")) == 4
    with sqlite3.connect(f"file:{server.data}/jobs.db?mode=ro", uri=True) as db:
        assert db.execute("SELECT count(*) FROM downloads").fetchone() == (4,)
    del running, waiting


def test_one_organisation_does_not_starve_another(service):
    server = service(QUEUE_WORKERS=1)
    blocker, first = server.begin(ENDLESS)
    server.wait_worker()
    many = [server.begin("SELECT 1")[1] for _ in range(20)]
    other = {"x-user-id": "bob", "x-organization-id": "other"}
    stream, job = server.begin("SELECT 2", other)
    server.request("DELETE", "/downloads/" + first)
    assert list(stream.events())[-1].type == "complete"
    ended = server.get("/downloads/" + job, other)["completed_at"]
    wait_for(lambda: all(r["status"] == "completed" for r in server.get("/downloads?limit=20")), "the end of all")
    before = [r for r in server.get("/downloads?limit=20") if r["completed_at"] < ended]
    assert len(before) <= 1 and len(many) == 20


def test_delete_stops_the_engine_within_a_second(service):
    server = service()
    stream, job = server.begin(ENDLESS)
    worker = server.wait_worker()
    begun = time.monotonic()
    assert server.request("DELETE", "/downloads/" + job).status == 204
    last = list(stream.events())[-1]
    assert time.monotonic() - begun < 2
    assert (last.type, last.data["message"]) == ("error", "Failed during data processing: cancelled")
    wait_for(lambda: not alive(worker), "the worker's end", 1)
    assert server.request("GET", "/downloads/" + job).status == 404
    wait_for(lambda: server.files() == [], "a clean data directory")
    assert server.run("SELECT 1 AS a").type == "complete"


def test_delete_while_it_writes_leaves_nothing(service):
    server = service()
    stream, job = server.begin(SLOW_ROWS)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 10_000_000)
    server.request("DELETE", "/downloads/" + job)
    wait_for(lambda: server.files() == [], "a clean data directory")


def test_delete_of_a_waiting_job(service):
    server = service(QUEUE_WORKERS=1)
    blocker, first = server.begin(ENDLESS)
    stream, job = server.begin("SELECT 1")
    server.request("DELETE", "/downloads/" + job)
    assert list(stream.events())[-1].data["message"] == "Failed during data processing: cancelled"
    server.request("DELETE", "/downloads/" + first)
    assert server.run("SELECT 1").type == "complete"


def test_a_job_has_a_time_limit(service):
    server = service(JOB_TIMEOUT="1s")
    stream, job = server.begin(ENDLESS)
    worker = server.wait_worker()
    last = list(stream.events())[-1]
    assert last.type == "error" and "1 seconds" in last.data["message"]
    assert not alive(worker)
    record = server.get("/downloads/" + job)
    assert (record["status"], record["error_code"]) == ("failed", "timeout")


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSEGV])
def test_a_worker_that_dies_fails_its_job_only(service, how):
    server = service(MAX_ATTEMPTS=1)
    stream, job = server.begin(SLOW_ROWS)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 5_000_000)
    victim = server.wait_worker()
    other, undisturbed = server.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 20) b")
    os.kill(victim, how)
    last = list(stream.events())[-1]
    assert last.type == "error" and "worker process died" in last.data["message"]
    assert server.get("/downloads/" + job)["error_code"] == "worker_lost"
    assert list(other.events())[-1].type == "complete"
    wait_for(lambda: server.files() == [f"files/acme/{undisturbed}.csv"], "only the other's file")


def test_an_error_on_the_last_row_leaves_nothing(service):
    server = service()
    last = server.run("SELECT CASE WHEN i = 2999999 THEN error('the last row') ELSE i::VARCHAR END AS v FROM range(3000000) r(i)")
    assert last.type == "error" and "the last row" in last.data["message"]
    wait_for(lambda: server.files() == [], "a clean data directory")


def test_a_query_that_needs_too_much_memory_fails_alone(service):
    server = service()
    last = server.run("SELECT length(repeat('x', 4000000000)) AS n")
    assert last.type == "error" and "memory" in last.data["message"].lower()
    assert server.run("SELECT 1 AS a").type == "complete"


def test_a_full_disk_fails_the_job(tmp_path, service):
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=40m tmpfs {small}") != 0:
        pytest.skip("no mount here")
    try:
        server = service(DATA_DIR=small)
        server.data = small
        last = server.run(SLOW_ROWS)
        assert last.type == "error" and str(tmp_path) not in last.data["message"]
        wait_for(lambda: server.files() == [], "a clean data directory")
        assert server.run("SELECT 1 AS a").type == "complete"
        server.stop()
    finally:
        os.system(f"umount -l {small}")
