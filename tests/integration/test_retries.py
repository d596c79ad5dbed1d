"""Jobs that are tried again, how often, and what an organisation may have waiting and running."""
import json
import os
import signal
import time

import pytest

from service import ENDLESS, SLOW_ROWS, USER, program, wait_for

ASKED = {"dataset_id": "d", "sql": "SELECT 1"}
OTHER = {"x-user-id": "bob", "x-organization-id": "other"}


def kill_worker(server, seen=()):
    """Of the job that runs, the only one; not one of those that were killed before."""
    pid = wait_for(lambda: next((p for p in server.workers() if p not in seen and program(p) == "downloads-worker"), None), "a worker")
    os.kill(pid, signal.SIGKILL)
    return pid


def states(record):
    return [(a["attempt"], a["state"]) for a in record["attempts"]]


def test_a_worker_that_dies_is_replaced(service):
    server = service(RETRY_DELAY="10ms")
    stream, job = server.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 20) b")
    kill_worker(server)
    events = list(stream.events())
    assert events[-1].type == "complete"
    told = [e for e in events if e.type == "status_update" and "trying again" in e.data["message"]]
    assert len(told) == 1 and told[0].data["message"].startswith("Attempt 1 failed, trying again: the worker process died")
    record = server.get("/downloads/" + job)
    assert told[0].id == 3 and record["version"] == 5
    assert (record["attempt"], record["failures"], record["last_error_code"]) == (2, 1, "worker_lost")
    assert states(record) == [(1, "failed"), (2, "published")]
    assert record["attempts"][0]["error_code"] == "worker_lost" and "error_message" not in record
    assert server.files() == [f"files/acme/{job}-2.csv"]
    assert f'filename="{job}.csv"' in server.fetch(events[-1].data["message"]).headers["Content-Disposition"]


def test_a_query_that_kills_its_worker_three_times_is_failed(service):
    server = service(RETRY_DELAY="10ms")
    stream, job = server.begin(SLOW_ROWS)
    killed = []
    for _ in range(3):
        killed.append(kill_worker(server, killed))
    last = list(stream.events())[-1]
    assert last.type == "error" and "the worker process died" in last.data["message"]
    record = server.get("/downloads/" + job)
    assert (record["status"], record["attempt"], record["failures"], record["error_code"]) == ("failed", 3, 3, "worker_lost")
    assert states(record) == [(1, "failed"), (2, "failed"), (3, "failed")]
    wait_for(lambda: server.files() == [], "nothing that is left")


def test_what_is_the_querys_own_fault_is_not_tried_again(service):
    server = service()
    for sql, code in (("SELECT nothing", "query_failed"), ("CREATE TABLE x (i INTEGER)", "sql_refused")):
        stream, job = server.begin(sql)
        assert list(stream.events())[-1].type == "error"
        record = server.get("/downloads/" + job)
        assert (record["error_code"], record["attempt"], record["failures"]) == (code, 1, 1)


def test_the_delay_is_kept_and_survives_a_restart(service):
    server = service(RETRY_DELAY="3s")
    stream, job = server.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 20) b")
    killed_at = time.monotonic()
    kill_worker(server)
    stream.until(lambda e: e.type == "status_update" and "trying again" in e.data["message"])
    record = server.get("/downloads/" + job)
    assert record["status"] == "pending" and record["retry_at"] > record["updated_at"]
    server.stop(signal.SIGKILL)
    server.start()
    wait_for(lambda: server.get("/downloads/" + job)["status"] == "completed", "the second attempt's end")
    assert time.monotonic() - killed_at >= 1.5  # of the delay a random half to whole
    assert states(server.get("/downloads/" + job)) == [(1, "failed"), (2, "published")]


def test_a_job_that_is_lost_with_its_server_each_time_ends(service):
    server = service(MAX_RESCUES=2)
    job = server.begin(ENDLESS)[1]
    for _ in range(3):
        server.wait_worker()
        server.stop(signal.SIGKILL)
        server.start()
    record = wait_for(lambda: (r := server.get("/downloads/" + job))["status"] == "failed" and r, "the job's end")
    assert record["error_message"] == "the server that ran it was lost 3 times" and record["error_code"] == "worker_lost"
    assert states(record) == [(1, "lost"), (2, "lost"), (3, "lost"), (4, "failed")]
    assert len({a["instance"] for a in record["attempts"]}) == 4


def test_a_shutdown_uses_nothing_up(service):
    server = service(MAX_ATTEMPTS=1, MAX_RESCUES=1, SHUTDOWN_GRACE="0s")
    job = server.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 200) b")[1]
    for _ in range(3):
        server.wait_worker()
        server.stop()
        server.start()
    record = wait_for(lambda: (r := server.get("/downloads/" + job))["status"] == "completed" and r, "the job's end")
    assert states(record) == [(1, "handed_over"), (2, "handed_over"), (3, "handed_over"), (4, "published")]
    assert record["failures"] == 0


def test_an_organisation_may_have_so_many_waiting(service):
    server = service(QUEUE_WORKERS=1, QUEUE_SIZE=10, ORG_MAX_QUEUED=2)
    server.begin(ENDLESS)
    server.wait_worker()
    waiting = [server.begin("SELECT 1")[1] for _ in range(2)]
    refused = server.request("POST", "/downloads", ASKED)
    assert refused.status == 429 and "organisation" in json.loads(refused.body)["error"]
    assert 1 <= int(refused.headers["Retry-After"]) <= 300
    assert server.begin("SELECT 1", headers=OTHER)[1]
    server.request("DELETE", "/downloads/" + waiting[0])
    assert server.begin("SELECT 1")[1]


def test_no_organisation_can_fill_the_queue(service):
    server = service(QUEUE_WORKERS=1, QUEUE_SIZE=10)
    server.begin(ENDLESS)
    server.wait_worker()
    for _ in range(9):
        server.begin("SELECT 1")
    assert server.request("POST", "/downloads", ASKED).status == 429
    assert server.begin("SELECT 1", headers=OTHER)[1]
    assert server.request("POST", "/downloads", ASKED, headers=OTHER).status == 503


def test_an_organisation_runs_so_many_at_once(service):
    server = service(QUEUE_WORKERS=2, ORG_MAX_RUNNING=1)
    first = server.begin(ENDLESS)[1]
    server.wait_worker()
    second, job = server.begin("SELECT 1 AS a")
    assert server.run("SELECT 1 AS a", headers=OTHER).type == "complete"  # the other worker is free
    assert server.get("/downloads/" + job)["status"] == "pending"
    server.request("DELETE", "/downloads/" + first)
    assert list(second.events())[-1].type == "complete"


def test_positions(service):
    server = service(QUEUE_WORKERS=1)
    running = server.begin(ENDLESS)[1]
    server.wait_worker()
    streams = [server.post("SELECT 1 AS a") for _ in range(3)]
    created = [s.until(lambda e: e.name == "job_created").data for s in streams]
    assert [c["queue_position"] for c in created] == [1, 2, 3]
    other = server.post("SELECT 1 AS a", headers=OTHER).until(lambda e: e.name == "job_created").data
    assert other["queue_position"] in (1, 2)  # it takes its turn
    snapshot = server.follow(created[2]["id"]).until(lambda e: e.name == "snapshot").data
    assert snapshot["queue_position"] == server.get("/downloads/" + created[2]["id"])["queue_position"] == 4
    assert "queue_position" not in server.get("/downloads/" + running)
    server.request("DELETE", "/downloads/" + created[0]["id"])
    assert server.get("/downloads/" + created[2]["id"])["queue_position"] == 3
    server.request("DELETE", "/downloads/" + running)
    assert list(streams[2].events())[-1].type == "complete"
    assert "queue_position" not in server.get("/downloads/" + created[2]["id"])


@pytest.mark.parametrize("headers", [USER, OTHER])
def test_retry_after_is_measured(service, headers):
    """Jobs that end quickly make a short wait; a place in ten is free at once."""
    server = service(QUEUE_WORKERS=1, QUEUE_SIZE=3, ORG_MAX_QUEUED=3)
    for _ in range(20):
        assert server.run("SELECT 1 AS a").type == "complete"
    server.begin(ENDLESS)
    server.wait_worker()
    for _ in range(3):
        server.begin("SELECT 1")
    refused = server.request("POST", "/downloads", ASKED, headers=headers)
    assert refused.status == 503 and int(refused.headers["Retry-After"]) <= 3
