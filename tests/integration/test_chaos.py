"""Clients, workers and the server itself come and go at random moments: every stored job ends, whole or with its reason."""
import hashlib
import os
import random
import signal
import threading
import time

from service import wait_for

SECONDS = float(os.environ.get("CHAOS_SECONDS", "8"))
QUERIES = ["SELECT {n} AS n", "SELECT i, repeat('x', {n}) FROM range(200000) r(i)", "SELECT no_column_{n}",
           "SELECT CASE WHEN i = 90000 THEN error('row {n}') ELSE '' END FROM range(100000) r(i)",
           "SELECT a.* FROM t a ORDER BY hash(a.id + {n})"]


def client(server, rng, stop, problems):
    """Posts, and then reads, joins, deletes or leaves."""
    while not stop.is_set():
        try:
            stream = server.post(rng.choice(QUERIES).format(n=rng.randrange(90)))
            if stream.status != 200:
                assert stream.status in (429, 503), stream.status
                continue
            events = stream.events()
            next(events)
            job = next(events).data["id"]
            act = rng.randrange(5)
            if act == 0:
                stream.close()
            elif act == 1:
                server.request("DELETE", "/downloads/" + job)
                last = list(events)[-1:]
            elif act == 2:
                joined = server.follow(job)
                if joined.status == 200:
                    list(joined.events())
                joined.close()
            last = list(events)[-1:] if act > 2 else []
            if last and last[0].type not in ("complete", "error"):
                problems.append(f"{job}: a stream ended with {last[0].text}")
        except (OSError, StopIteration, ValueError):
            pass  # the server was killed under this client
        except Exception as e:  # noqa: BLE001: any other is a finding, whatever it is
            problems.append(repr(e))


def kill_something(server, rng):
    what = rng.randrange(4)
    if what < 2:
        for worker in server.workers()[:1]:
            os.kill(worker, signal.SIGKILL if what else signal.SIGSTOP)
            if not what:
                time.sleep(0.2)  # a worker that stands still for a while
                try:
                    os.kill(worker, signal.SIGCONT)
                except ProcessLookupError:
                    pass
        return
    port = server.port
    status = server.stop(signal.SIGKILL if what == 2 else signal.SIGTERM)
    assert status in (0, -signal.SIGKILL), "".join(server.log[-50:])
    server.environment["GOPIE_DS_SERVER_PORT"] = str(port)
    server.start()


def test_whatever_dies_every_job_ends(service):
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1000000))
    print("CHAOS_SEED", seed)
    rng = random.Random(seed)
    options = {"SANDBOX": os.environ["CHAOS_SANDBOX"]} if "CHAOS_SANDBOX" in os.environ else {}
    server = service(QUEUE_WORKERS=3, QUEUE_SIZE=30, SHUTDOWN_GRACE="200ms", **options)
    stop, problems = threading.Event(), []
    clients = [threading.Thread(target=client, args=(server, random.Random(seed + i), stop, problems)) for i in range(8)]
    for c in clients:
        c.start()
    deadline = time.monotonic() + SECONDS
    while time.monotonic() < deadline:
        time.sleep(rng.random())
        kill_something(server, rng)
    stop.set()
    for c in clients:
        c.join()
    assert not problems, problems

    def records():
        found, offset = [], 0
        while page := server.get(f"/downloads?limit=100&offset={offset}"):
            found += page
            offset += 100
        return found

    wait_for(lambda: all(r["status"] in ("completed", "failed") for r in records()), "the end of every job", 120)
    completed = [r for r in records() if r["status"] == "completed"]
    assert completed
    for record in completed:
        data = server.fetch(record["pre_signed_url"]).body
        assert hashlib.sha256(data).hexdigest() == record["sha256"] and len(data) == record["bytes"]
    for record in records():
        if record["status"] == "failed":
            assert any(word in record["error_message"] for word in ("no_column", "row ", "worker")), record
    wait_for(lambda: not [p for p in server.files() if not p.startswith("files/")], "no temporary file and no spill")
    assert server.stop() == 0
    assert not [line for line in server.log if "Sanitizer" in line or "assert" in line.lower()]
