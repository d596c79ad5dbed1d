"""Three instances on one database and one bucket, while instances, services, networks and clients come and go at random
moments: behind it every stored job has ended, once, whole or for a reason of its own, and nothing else is left.

CHAOS_SEED, CHAOS_SECONDS and CHAOS_SANDBOX (`off` for a worker under a sanitizer) may be set."""
import collections
import functools
import hashlib
import http.client
import os
import random
import re
import signal
import subprocess
import threading
import time

import botocore.exceptions

from peers.tcp_proxy import TcpProxy
from service import DUCKDB_RUN, ENDLESS, alive, wait_for

SECONDS = float(os.environ.get("CHAOS_SECONDS", "25"))
LEASE_S = 2
SMALL = [f"SELECT {n} AS n, 'ä,\"' AS s" for n in range(4)]
MULTIPART = [f"SELECT i, repeat('x', {40 + n}) AS pad FROM range(250000) r(i)" for n in range(3)]  # 12 MB, three parts
LARGE = ["SELECT i, repeat('y', 60) AS pad FROM range(600000) r(i)"]  # 40 MB
FAILING = {"SELECT no_such_column": "no_such_column",
           "SELECT CASE WHEN i = 5 THEN error('row five') ELSE '' END FROM range(9) r(i)": "row five",
           # two parts have been sent by then
           "SELECT i, repeat('x', 60), CASE WHEN i = 199999 THEN error('the last row') END FROM range(200000) r(i)": "the last row"}
KINDS = [(SMALL, 10), (MULTIPART, 5), (LARGE, 1), (list(FAILING), 4), ([ENDLESS], 2)]
CUT_OFF = (OSError, http.client.HTTPException, ValueError)  # what a client sees of a connection that is gone


class Instance:
    """A server behind networks of its own, and how it ended each time."""

    def __init__(self, place):
        self.postgres = TcpProxy(place.postgres.host, place.postgres.port)
        self.s3 = TcpProxy("127.0.0.1", place.swift.port)
        more = {"SANDBOX": os.environ["CHAOS_SANDBOX"]} if "CHAOS_SANDBOX" in os.environ else {}
        self.server = place.make(POSTGRES_HOST=self.postgres.host, POSTGRES_PORT=self.postgres.port,
                                 S3_ENDPOINT=f"http://127.0.0.1:{self.s3.port}", S3_PUBLIC_ENDPOINT=place.swift.endpoint,
                                 JOB_LEASE=f"{LEASE_S}s", QUEUE_WORKERS=2, QUEUE_SIZE=40, SHUTDOWN_GRACE="300ms",
                                 WORKER_MEMORY="128MiB", WORKER_THREADS=1, STARTUP_WAIT="20s", **more)
        self.life, self.killed = 0, set()  # lives that ended by SIGKILL
        self.left_workers = []  # of those

    def start(self):
        self.life += 1
        self.server.start()

    def end(self, number):
        if number == signal.SIGKILL:
            self.killed.add(self.life)
            self.left_workers += self.server.workers()
        status = self.server.stop(number)
        assert status == (-number if number == signal.SIGKILL else 0), "".join(self.server.log[-50:])


class Chaos:
    def __init__(self, place, seed):
        self.place, self.seed = place, seed
        self.instances = [Instance(place) for _ in range(3)]
        self.stop = threading.Event()
        self.lock = threading.Lock()
        self.accepted = {}  # id: query
        self.asked_to_delete, self.deleted = set(), set()  # ids; the latter: and it was answered
        self.completed = []  # what streams said: id, link, SHA-256
        self.problems, self.done = [], collections.Counter()

    # --- clients ---

    def note(self, what, count=1):
        with self.lock:
            self.done[what] += count

    def listen(self, instance, lives, stream, job, seen=None):
        """To the end, which must have been told, unless the server was killed. `lives`: it is of one of these."""
        last, version = seen, seen.id if seen else 0
        try:
            for event in stream.events():
                last = event
                if event.id and event.id <= version:
                    self.problems.append(f"{job}: version {event.id} behind {version}")
                version = event.id or version
            how = "ended"
        except CUT_OFF as e:
            how = repr(e)
        finally:
            stream.close()
        self.note("streams")
        if not last or last.name == "restart":
            return
        if last.type == "complete":
            self.completed.append((job, last.data["message"], last.data["sha256"]))
        elif last.type == "error":
            reason = FAILING.get(self.accepted[job])
            deleted = last.data["message"].endswith("cancelled") and job in self.asked_to_delete
            if not (deleted or last.data.get("handed_over") or reason and reason in last.data["message"]):
                self.problems.append(f"{job}: {self.accepted[job]} ended with {last.text}")
        elif not instance.killed.intersection(lives):
            self.problems.append(f"{job}: a stream of {instance.server.directory.name} {how} behind {last.text}")

    def delete(self, rng, job, tries=1):
        self.asked_to_delete.add(job)
        for _ in range(tries):
            try:
                status = rng.choice(self.instances).server.request("DELETE", "/downloads/" + job).status
            except CUT_OFF:
                status = None
            if status == 204:
                self.deleted.add(job)
                self.note("deleted")
                return

    def post(self, rng):
        instance = rng.choice(self.instances)
        life = instance.life
        query = rng.choice(rng.choices([k for k, _ in KINDS], [w for _, w in KINDS])[0])
        stream = instance.server.post(query)
        lives = range(life, instance.life + 1)
        if stream.status != 200:
            assert stream.status == 503, stream.status
            stream.close()
            self.note("refused")
            return
        events = stream.events()
        first, second = next(events), next(events)
        assert first.name == "request_received", first.text
        if second.name == "error":
            self.note("not created")
            time.sleep(0.1)  # Postgres is away
            return
        assert second.name == "job_created", second.text
        job = second.data["id"]
        with self.lock:
            self.accepted[job] = query
        act = rng.random()
        if query == ENDLESS or act < 0.15:  # it waits or runs, here or elsewhere
            time.sleep(rng.random())  # not for an event: any moment will do
            self.delete(rng, job)
        elif act < 0.35:
            stream.close()
            return
        self.listen(instance, lives, stream, job, second)

    def join(self, rng):
        with self.lock:
            jobs = list(self.accepted)[-20:]
        if not jobs:
            time.sleep(0.05)
            return
        job, instance = rng.choice(jobs), rng.choice(self.instances)
        life = instance.life
        stream = instance.server.follow(job)
        lives = range(life, instance.life + 1)
        if stream.status != 200:
            assert stream.status in (404, 503), stream.status
            assert stream.status == 503 or job in self.asked_to_delete, job
            stream.close()
            return
        if rng.random() < 0.2:
            next(stream.events(), None)
            stream.close()
            return
        self.listen(instance, lives, stream, job)

    def client(self, number, act):
        rng = random.Random(self.seed + number)
        while not self.stop.is_set():
            try:
                act(rng)
            except (*CUT_OFF, StopIteration):
                time.sleep(0.02)  # its server is away
            except Exception as e:  # noqa: BLE001: any other is a finding, whatever it is
                self.problems.append(repr(e))

    # --- faults ---

    def hurt(self, instance, rng):
        what = rng.choice(["kill", "term", "stop"])
        self.note(what)
        if what == "stop":
            instance.server.process.send_signal(signal.SIGSTOP)
            time.sleep(LEASE_S * rng.uniform(1.2, 2))
            instance.server.process.send_signal(signal.SIGCONT)
        else:
            instance.end(signal.SIGKILL if what == "kill" else signal.SIGTERM)
            time.sleep(rng.random())
            instance.start()

    def hurt_a_service(self, rng):
        postgres, swift = self.place.postgres, self.place.swift
        what = rng.choice(["postgres killed", "postgres paused", "s3 paused", "s3 killed"])
        self.note(what)
        if what == "postgres killed":
            postgres.kill()
            time.sleep(rng.random() * LEASE_S)
            postgres.start()
        elif what == "s3 killed":
            swift.kill_proxy()
            time.sleep(rng.random())
            swift.start_proxy()
        else:
            peer = postgres if what == "postgres paused" else swift
            peer.pause()
            time.sleep(rng.uniform(0.3, 1.5 * LEASE_S))
            peer.resume()

    def hurt_a_network(self, rng):
        instance = rng.choice(self.instances)
        where = rng.choice(["postgres", "s3"])
        network, what = getattr(instance, where), rng.choice(["cut", "mute"])
        self.note(f"{where} {what}")
        getattr(network, what)()
        time.sleep(rng.choice([0, rng.uniform(0.1, 2 * LEASE_S)]))
        network.heal()

    def trouble(self, number, act, pause_s):
        rng = random.Random(self.seed + number)
        while not self.stop.wait(rng.random() * pause_s):
            try:
                act(rng)
            except Exception as e:  # noqa: BLE001: as above
                self.problems.append(f"a fault: {e!r}")

    # --- all of it ---

    def run(self):
        for instance in self.instances:
            instance.start()
        jobs = [(self.client, i, act) for i, act in enumerate([self.post] * 8 + [self.join] * 3)]
        faults = [(functools.partial(self.hurt, instance), 7) for instance in self.instances]
        faults += [(self.hurt_a_service, 6), (self.hurt_a_network, 2)]
        jobs += [(self.trouble, 100 + i, *fault) for i, fault in enumerate(faults)]
        threads = [threading.Thread(target=job, args=arguments) for job, *arguments in jobs]
        for t in threads:
            t.start()
        time.sleep(SECONDS)
        self.stop.set()
        # What never ends by itself; a client may have been too early, or its server away.
        rng = random.Random(self.seed)
        for t in threads[-len(faults):]:  # all is up again
            t.join()
        self.remove_endless(rng)
        for t in threads:
            t.join()
        self.remove_endless(rng)

    def remove_endless(self, rng):
        def gone():
            left = [row[0] for row in self.place.sql("SELECT id::text FROM downloads WHERE sql = %s", ENDLESS)]
            for job in left:
                self.delete(rng, job, 3)
            return not left
        wait_for(gone, "no endless job")


class Expected:
    """What DuckDB itself makes of a query: SHA-256, bytes, rows."""

    def __init__(self, directory):
        self.directory, self.known = directory, {}

    def of(self, query):
        if query not in self.known:
            out = self.directory / "expected.csv"
            subprocess.run([DUCKDB_RUN, self.directory / "expected.duckdb", f"COPY ({query}) TO '{out}' (FORMAT csv, HEADER)"],
                           check=True)
            data = out.read_bytes()
            self.known[query] = (hashlib.sha256(data).hexdigest(), len(data), data.count(b"\n") - 1)
        return self.known[query]


def exists(place, key):
    """The listing may lag behind where a part of Swift stood still, so an object is looked at."""
    try:
        place.s3.head_object(Bucket=place.bucket, Key=key)
        return True
    except botocore.exceptions.ClientError as e:
        assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 404, e
        return False


def is_open(place, upload):
    try:
        place.s3.list_parts(Bucket=place.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        return True
    except botocore.exceptions.ClientError as e:
        assert e.response["Error"]["Code"] == "NoSuchUpload", e
        return False


def open_uploads(place):
    found = place.s3.list_multipart_uploads(Bucket=place.bucket).get("Uploads", [])
    return [u["Key"] for u in found if is_open(place, u)]


def check_records(place, chaos, expected):
    rows = place.sql("SELECT d.id::text, d.sql, d.status::text, d.error_message, d.pre_signed_url, j.sha256, j.bytes, j.rows"
                     " FROM downloads d JOIN downloads_jobs j ON j.id = d.id")
    published = collections.defaultdict(list)
    for job, key in place.sql("SELECT id::text, object_key FROM downloads_attempts WHERE state = 'published'"):
        published[job].append(key)
    found = {row[0] for row in rows}
    assert not set(chaos.accepted) - found - chaos.asked_to_delete, "accepted, and gone"
    assert not found & chaos.deleted, "deleted, and there"
    for job, query, status, message, link, sha256, size, count in rows:
        if query in FAILING:
            assert status == "failed" and FAILING[query] in message, (job, status, message)
            assert job not in published
            continue
        assert status == "completed", (job, query, status, message)
        assert (sha256, size, count) == expected.of(query), (job, query)
        assert len(published[job]) == 1, (job, published[job])
        key = published[job][0]
        assert re.match(rf"{re.escape(place.swift.endpoint)}/{place.bucket}/{key}\?", link), (job, key)
        assert place.sha256(key) == sha256, (job, key)
    for job, keys in published.items():  # a published file stays when its record is deleted
        assert len(keys) == 1 and (job in found or job in chaos.asked_to_delete), (job, keys)
    records = {row[0]: (row[0], row[4], row[5]) for row in rows}
    for told in chaos.completed:
        assert told == records.get(told[0], told), "what `complete` said is what the record says"
    return {keys[0] for keys in published.values()}


def test_whatever_goes_wrong_every_job_ends_once(place):
    seed = int(os.environ.get("CHAOS_SEED", time.time_ns() % 1000000))
    print("CHAOS_SEED", seed)
    chaos = Chaos(place, seed)
    servers = [i.server for i in chaos.instances]
    chaos.run()
    print(dict(chaos.done), len(chaos.accepted), "accepted; attempts, jobs:",
          place.sql("SELECT attempt, count(*) FROM downloads_jobs GROUP BY 1 ORDER BY 1"))
    assert not chaos.problems, "\n".join(chaos.problems)
    assert all(s.process.poll() is None for s in servers)

    wait_for(lambda: place.sql("SELECT count(*) FROM downloads_queue") == [(0,)], "an empty queue", 120)
    wait_for(lambda: not any(s.workers() for s in servers), "no worker of theirs")
    assert not [p for i in chaos.instances for p in i.left_workers if alive(p)], "workers outlive their server"
    kept = check_records(place, chaos, Expected(place.directory))
    assert kept

    # At once, and once more an hour later, since a zombie may still have written behind the first time.
    over = "SELECT count(*) FROM downloads_attempts WHERE state NOT IN ('published', 'over') OR state = 'over' AND NOT cleared"
    wait_for(lambda: place.sql(over) == [(0,)], "the first clearing", 60)
    place.sql("UPDATE downloads_attempts SET due_at = now() WHERE state = 'over' AND due_at < 'infinity'")
    wait_for(lambda: place.sql("SELECT count(*) FROM downloads_attempts WHERE state <> 'published'") == [(0,)],
             "the second clearing", 60)
    assert open_uploads(place) == []
    assert {key for key in place.objects() if exists(place, key)} == kept

    assert [s.stop() for s in servers] == [0, 0, 0]
    for i in chaos.instances:
        i.postgres.close()
        i.s3.close()
    for server in servers:
        assert not [line for line in server.log if "Sanitizer" in line or "assert" in line.lower()]
