"""Jobs without a row or a byte: GOPIE_DS_STALL_TIMEOUT, with real workers."""
import os
import signal
import time

import pytest

from service import ENDLESS, SLOW_ROWS, alive, make_source, wait_for

# Ten million rows in some seconds, the engine looks at 50 numbers for each: it cannot tell how far it is, but rows come.
STEADY_ROWS = "SELECT i FROM range(400000000) r(i) WHERE hash(i) % 50 = 0"
# A few hundred, all of which wait in the engine's buffer for the end: but it tells how much of the table it has read.
STEADY_PERCENT = "SELECT id FROM long WHERE sha256(sha256(id::VARCHAR)) LIKE 'abc%'"


def failure(server, stream, job):
    """The last event's message and the record's code."""
    last = list(stream.events())[-1]
    assert last.type == "error"
    record = server.get("/downloads/" + job)
    assert record["status"] == "failed" and record["error_message"] in last.data["message"]
    return record["error_message"], record["error_code"]


def test_a_query_without_a_row_is_stopped(service):
    server = service(STALL_TIMEOUT="1s")
    begun = time.monotonic()
    stream, job = server.begin(ENDLESS)
    worker = server.wait_worker()
    assert failure(server, stream, job) == ("no row and no byte for 1 seconds", "stalled")
    assert 1 <= time.monotonic() - begun < 3.5  # the engine answered its interrupt: it was not waited for the kill
    assert not alive(worker)
    wait_for(lambda: server.files() == [], "a clean data directory")
    assert not any("put back" in line for line in server.log)  # it would compute on
    assert server.run("SELECT 1 AS a").type == "complete"


def test_a_query_that_stalls_after_its_first_rows_is_stopped(service):
    server = service(STALL_TIMEOUT="1s")
    stream, job = server.begin("SELECT i FROM range(100000000000000) r(i) WHERE i < 1000000")
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 0)
    assert failure(server, stream, job)[1] == "stalled"
    wait_for(lambda: server.files() == [], "a clean data directory")


def test_a_frozen_worker_is_killed_and_was_lost(service):
    server = service(STALL_TIMEOUT="1s", MAX_ATTEMPTS=1)
    stream, job = server.begin(SLOW_ROWS)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 5_000_000)
    worker = server.wait_worker()
    os.kill(worker, signal.SIGSTOP)
    message, code = failure(server, stream, job)
    assert code == "worker_lost" and message.startswith("no row and no byte for 1 seconds") and "did not end" in message
    assert not alive(worker)
    wait_for(lambda: server.files() == [], "a clean data directory")


def test_a_stalled_job_can_be_deleted_without_waiting_for_its_stall(service):
    server = service(STALL_TIMEOUT="1s")
    stream, job = server.begin(SLOW_ROWS)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 5_000_000)
    worker = server.wait_worker()
    os.kill(worker, signal.SIGSTOP)
    wait_for(lambda: any("stalled" in line for line in server.log), "the stall")
    assert alive(worker)  # told to end, and not killed yet
    asked = time.monotonic()
    server.request("DELETE", "/downloads/" + job)
    wait_for(lambda: not alive(worker), "the worker's end")
    assert time.monotonic() - asked < 1.5
    assert list(stream.events())[-1].data["message"] == "Failed during data processing: cancelled"


@pytest.mark.parametrize("sql", [STEADY_ROWS, STEADY_PERCENT])
def test_a_slow_but_steady_query_does_not_stall(service, tmp_path, sql):
    source = make_source(tmp_path / "long.duckdb", "CREATE TABLE long AS SELECT i AS id FROM range(6000000) r(i)")
    server = service(source=source, STALL_TIMEOUT="1500ms", WORKER_THREADS=2)
    begun = time.monotonic()
    last = server.run(sql)
    assert last.type == "complete", last.data
    assert time.monotonic() - begun > 2  # else it was not slow


def test_a_server_that_was_stopped_itself_blames_no_worker(service):
    server = service(STALL_TIMEOUT="1s", QUEUE_WORKERS=1)
    stream, job = server.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 800) b")
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 5_000_000)
    processes = [*server.workers(), server.process.pid]
    for pid in processes:
        os.kill(pid, signal.SIGSTOP)
    time.sleep(4)  # all stand still, as on a machine that is suspended: the time itself is what is tested
    for pid in reversed(processes):
        os.kill(pid, signal.SIGCONT)
    assert list(stream.events())[-1].type == "complete"
