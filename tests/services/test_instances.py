"""Several servers on one database and one bucket, and servers that die."""
import os
import signal
import threading
import time

from service import ENDLESS, USER, alive, wait_for

LONG = "SELECT i, repeat('x', 50) AS pad FROM range(6000000) r(i)"  # 350 MB


def occupied(place, count=1):
    """A server whose workers are all busy."""
    server = place.start(QUEUE_WORKERS=count)
    for _ in range(count):
        server.begin(ENDLESS)
    wait_for(lambda: len(server.workers()) == count, "busy workers")
    return server


def test_a_killed_server_takes_its_job_up_again(place):
    server = place.start(QUEUE_WORKERS=1)
    stream, job = server.begin(LONG)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 150_000_000)
    assert place.uploads() == [f"acme/{job}.csv"]
    worker = server.wait_worker()
    server.stop(signal.SIGKILL)
    wait_for(lambda: not alive(worker), "the worker dies with its server", 5)
    server.start()
    last = list(server.follow(job).events())[-1]
    assert last.type == "complete"
    key = f"acme/{job}-2.csv"
    assert place.sha256(key) == last.data["sha256"] == place.copy_sha256(LONG)
    assert server.get("/downloads/" + job)["attempt"] == 2
    wait_for(lambda: place.uploads() == [], "no open upload")
    assert list(place.objects()) == [key]


def test_a_stream_follows_a_job_on_another_instance(place):
    here, there = occupied(place), place.start(QUEUE_WORKERS=1)
    stream = here.post("SELECT i, repeat('x', 50) AS pad FROM range(2000000) r(i)")
    events = list(stream.events())
    assert [e.name for e in events[:2]] == ["request_received", "job_created"]
    statuses = [e.data["message"] for e in events if e.type == "status_update"]
    assert statuses == ["Processing query...", "Streaming data to storage...", "Generating secure download link..."]
    assert events[-1].type == "complete"
    ids = [e.id for e in events if e.id]
    assert ids == sorted(set(ids))
    job = events[-1].data["download_id"]
    assert any(job in line for line in there.log) and place.sha256(f"acme/{job}.csv") == events[-1].data["sha256"]
    record, last = here.get("/downloads/" + job), events[-1].data
    told = {"rows", "bytes", "sha256", "content_type", "filename", "columns", "truncated", "duration_ms"}
    assert {k: last[k] for k in told} == {k: record[k] for k in told}
    assert last["columns"] == [{"name": "i", "type": "BIGINT"}, {"name": "pad", "type": "VARCHAR"}]


def test_deleting_at_one_instance_stops_the_job_at_another(place):
    here, there = occupied(place), place.start(QUEUE_WORKERS=1)
    stream, job = here.begin(ENDLESS)
    other = there.follow(job)
    other.until(lambda e: e.name == "snapshot")
    there.wait_worker()
    asked = time.monotonic()
    assert here.request("DELETE", "/downloads/" + job).status == 204
    assert list(stream.events())[-1].type == "error"
    assert time.monotonic() - asked < 2  # the contract's, for the poster
    assert list(other.events())[-1].type == "error"  # two polls later
    wait_for(lambda: not there.workers(), "the worker has been stopped", 5)
    assert here.request("GET", "/downloads/" + job).status == 404


def test_another_instance_takes_up_what_a_dead_one_left(place):
    dying = place.start(QUEUE_WORKERS=1)
    stream, job = dying.begin(LONG)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 50_000_000)
    other = place.start(QUEUE_WORKERS=1)
    followed = other.follow(job)
    dying.stop(signal.SIGKILL)
    last = list(followed.events())[-1]
    assert last.type == "complete"
    assert place.sha256(f"acme/{job}-2.csv") == last.data["sha256"]
    wait_for(lambda: place.uploads() == [], "no open upload")
    assert list(place.objects()) == [f"acme/{job}-2.csv"]


def test_a_server_that_was_stopped_for_a_while_does_not_publish(place):
    sleeper = place.start(QUEUE_WORKERS=1)
    stream, job = sleeper.begin(LONG)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 50_000_000)
    sleeper.process.send_signal(signal.SIGSTOP)
    other = place.start(QUEUE_WORKERS=1)
    last = list(other.follow(job).events())[-1]
    assert last.type == "complete"
    sleeper.process.send_signal(signal.SIGCONT)
    assert list(stream.events())[-1].type == "complete"  # of the attempt that counts
    wait_for(lambda: not sleeper.workers(), "the zombie's worker is stopped")
    record = sleeper.get("/downloads/" + job)
    assert record["attempt"] == 2 and f"{job}-2.csv" in record["pre_signed_url"]
    wait_for(lambda: place.uploads() == [] and list(place.objects()) == [f"acme/{job}-2.csv"], "nothing of the zombie")


def test_a_shutdown_hands_its_jobs_over(place):
    ending, other = place.start(QUEUE_WORKERS=1, SHUTDOWN_GRACE="200ms"), occupied(place)
    stream, job = ending.begin(LONG)
    stream.until(lambda e: e.type == "progress")
    ending.process.send_signal(signal.SIGTERM)
    last = list(stream.events())[-1]
    assert last.type == "error" and last.data["handed_over"]
    assert ending.ended() == 0
    for busy in other.get("/downloads"):  # the other instance has a free worker again
        if busy["status"] == "processing":
            other.request("DELETE", "/downloads/" + busy["id"])
    last = list(other.follow(job).events())[-1]
    assert last.type == "complete" and place.sha256(f"acme/{job}-2.csv") == last.data["sha256"]


def test_two_servers_start_at_once(place):
    servers = [place.make() for _ in range(3)]
    threads = [threading.Thread(target=s.start) for s in servers]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert {s.run("SELECT 1 AS a", USER).type for s in servers} == {"complete"}


def arrivals(stream, told):
    """When each event with an id came, by its id; until the stream ends."""
    for event in stream.events():
        if event.id:
            told[event.id] = time.monotonic()


def test_what_happens_elsewhere_is_told_within_a_second(place):
    """A job runs at one instance, and is followed there and at another: three events, several times."""
    here, there = place.start(QUEUE_WORKERS=1), occupied(place)
    delays = []
    for _ in range(3):
        stream, job = here.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 20) b")
        at_home, elsewhere = {}, {}
        followers = [threading.Thread(target=arrivals, args=pair) for pair in ((here.follow(job), at_home), (there.follow(job), elsewhere))]
        for follower in followers:
            follower.start()
        list(stream.events())
        for follower in followers:
            follower.join()
        assert max(at_home) == max(elsewhere) == 3
        delays.append(elsewhere[3] - at_home[3])
    assert sorted(delays)[1] < 1, delays


def test_resuming_at_another_instance_loses_nothing(place):
    """By Last-Event-ID: what had happened before it comes as a snapshot, what happens behind it as itself."""
    here, there = place.start(QUEUE_WORKERS=1), occupied(place)
    stream, job = here.begin(LONG)
    stream.until(lambda e: e.type == "progress")
    known = there.follow(job, **{"Last-Event-ID": "2"})  # it is processing: nothing new
    behind = there.follow(job, **{"Last-Event-ID": "1"})
    assert behind.until(lambda e: True).data["status"] == "processing"
    last = list(stream.events())[-1]
    for resumed in (known, behind):
        events = list(resumed.events())
        assert "snapshot" not in [e.name for e in events] and [e.id for e in events if e.id] == [3]
        assert events[-1].data == last.data
    assert there.follow(job, **{"Last-Event-ID": "3"}).status == 204
    assert [e.name for e in there.follow(job, **{"Last-Event-ID": "2"}).events()] == ["snapshot", None]


def test_a_follower_elsewhere_hears_of_another_attempt(place):
    here, there = place.start(QUEUE_WORKERS=1, RETRY_DELAY="2s"), occupied(place)
    stream, job = here.begin(LONG)
    followed = there.follow(job)
    followed.until(lambda e: e.name == "snapshot" and e.data["status"] == "processing" or e.id == 2)
    os.kill(here.wait_worker(), signal.SIGKILL)
    events = list(followed.events())
    retry = next(e for e in events if e.id == 3)
    assert retry.data["message"].startswith("Attempt 1 failed, trying again: the worker process died")
    assert [e.id for e in events if e.id] == [3, 4, 5] and events[-1].type == "complete"
    record = there.get("/downloads/" + job)
    assert [a["state"] for a in record["attempts"]] == ["failed", "published"]


def test_an_organisation_runs_so_many_at_all_instances_together(place):
    servers = [place.start(QUEUE_WORKERS=2, ORG_MAX_RUNNING=1) for _ in range(2)]
    first = servers[0].begin(ENDLESS)[1]
    waiting, job = servers[1].begin("SELECT 1 AS a")
    other = {"x-user-id": "bob", "x-organization-id": "other"}
    assert servers[1].run("SELECT 1 AS a", other).type == "complete"
    assert servers[0].get("/downloads/" + job)["status"] == "pending"
    servers[1].request("DELETE", "/downloads/" + first)
    assert list(waiting.events())[-1].type == "complete"


def test_a_link_that_is_over_is_told_once(place):
    """Every instance sweeps; one of them turns the record."""
    servers = [place.start(S3_URL_EXPIRY="1s") for _ in range(3)]
    jobs = [servers[0].run("SELECT 1 AS a").data["download_id"] for _ in range(3)]
    wait_for(lambda: {servers[1].get("/downloads/" + job)["status"] for job in jobs} == {"expired"}, "expired records")
    assert {servers[2].get("/downloads/" + job)["version"] for job in jobs} == {4}
    assert len(place.objects()) == 3  # objects in a bucket stay
