"""GET /downloads/:id/events: joining, resuming, and streams that are left."""
from unittest.mock import ANY
import pytest

from service import ENDLESS, SLOW_ROWS, USER, Stream, wait_for


def test_a_finished_download_answers_its_last_event(shared):
    stream, job = shared.begin("SELECT 1 AS a")
    last = list(stream.events())[-1]
    events = list(shared.follow(job).events())
    assert [e.name for e in events] == ["snapshot", None]
    assert events[0].id is None and events[0].data | {"attempts": ANY} == shared.get("/downloads/" + job)
    assert (events[1].data, events[1].id) == (last.data, last.id)


def test_a_finished_download_has_nothing_new_for_who_knows_it(shared):
    stream, job = shared.begin("SELECT 1 AS a")
    last = list(stream.events())[-1]
    assert shared.follow(job, **{"Last-Event-ID": str(last.id)}).status == 204
    assert shared.request("GET", f"/downloads/{job}/events?last_event_id={last.id}").status == 204
    assert [e.name for e in shared.follow(job, **{"Last-Event-ID": str(last.id - 1)}).events()] == ["snapshot", None]
    assert [e.name for e in shared.follow(job, **{"Last-Event-ID": "of another server"}).events()] == ["snapshot", None]


def test_a_failed_download_answers_its_error(shared):
    stream, job = shared.begin("SELECT nothing")
    last = list(stream.events())[-1]
    assert list(shared.follow(job).events())[-1].data == last.data


def test_events_are_their_organisations(shared):
    stream, job = shared.begin("SELECT 1")
    list(stream.events())
    for path, who, status in ((job, {"x-user-id": "eve", "x-organization-id": "evil"}, 404), ("x", USER, 404), (job, {}, 401)):
        assert shared.request("GET", f"/downloads/{path}/events", headers=who).status == status


def test_joining_while_it_runs(service):
    server = service()
    stream, job = server.begin(SLOW_ROWS)
    joined = server.follow(job)
    first = next(joined.events())
    assert (first.name, first.data["id"]) == ("snapshot", job) and first.id == first.data["version"]
    progress = joined.until(lambda e: e.type == "progress" and e.data["bytes"] > 0)  # rows count before bytes do
    assert progress.id is None and 0 <= progress.data["progress"] <= 99 and progress.data["rows"] > 0
    resumed = server.follow(job, **{"Last-Event-ID": str(first.data["version"] + 1)})
    server.request("DELETE", "/downloads/" + job)
    for one in (stream, joined, resumed):
        last = list(one.events())[-1]
        assert (last.type, last.data["message"]) == ("error", "Failed during data processing: cancelled")


def test_progress_never_falls_and_is_the_engines(service):
    server = service(WORKER_THREADS=1)
    stream, job = server.begin("SELECT a.*, b.id % 7 AS k FROM t a, (SELECT * FROM t LIMIT 200) b")
    seen = [e.data["progress"] for e in stream.events() if e.type == "progress"]
    assert seen == sorted(seen) and all(0 <= p <= 99 for p in seen)
    assert seen, "a job of twenty million rows says how it goes"


def test_a_download_goes_on_without_its_poster(service):
    server = service()
    stream, job = server.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 20) b")
    stream.close()
    record = wait_for(lambda: (r := server.get("/downloads/" + job))["status"] == "completed" and r, "the end of the job")
    assert record["rows"] == 2_000_000


def test_a_client_that_goes_leaves_nothing(service):
    server = service()
    fds = lambda: len(list(__import__("pathlib").Path(f"/proc/{server.process.pid}/fd").iterdir()))
    before = fds()
    stream, job = server.begin(ENDLESS)
    for _ in range(50):
        joined = server.follow(job)
        next(joined.events())
        joined.close()
    server.request("DELETE", "/downloads/" + job)
    list(stream.events())
    stream.close()
    wait_for(lambda: fds() <= before, "the descriptors of all that left")


@pytest.mark.parametrize("path", ["poster", "follower"])
def test_heartbeats(service, path):
    server = service()
    stream, job = server.begin(ENDLESS)
    if path == "follower":
        stream = server.follow(job)
    while b": heartbeat" not in stream.chunk():
        pass


def test_a_slow_reader_does_not_slow_the_job(service):
    server = service()
    stream, job = server.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 50) b")
    idle = [server.follow(job) for _ in range(20)]  # nobody reads them
    wait_for(lambda: server.get("/downloads/" + job)["status"] == "completed", "the end of the job")
    for one in idle:
        assert list(one.events())[-1].type == "complete"


def test_a_subscriber_of_a_waiting_job_hears_all(service):
    server = service(QUEUE_WORKERS=1)
    blocker, first = server.begin(ENDLESS)
    stream, job = server.begin("SELECT 1 AS a")
    joined = Stream(server.port, "GET", f"/downloads/{job}/events")
    assert next(joined.events()).data["status"] == "pending"
    server.request("DELETE", "/downloads/" + first)
    events = [e for e in joined.events() if e.type != "progress"]
    assert [e.data["message"] for e in events][:1] == ["Processing query..."]
    assert events[-1].type == "complete" and [e.id for e in events if e.id] == [2, 3]
