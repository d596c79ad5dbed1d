"""Clients: they post, follow, come back, leave and delete; what they were told is kept, and what they must not see is a problem."""
import collections
import hashlib
import http.client
import subprocess
import threading
import time

from service import DUCKDB_RUN, ENDLESS, wait_for

TINY = [f"SELECT {n} AS n, 'ä,\"' AS s" for n in range(4)]
MULTIPART = [f"SELECT i, repeat('x', {40 + n}) AS pad FROM range(250000) r(i)" for n in range(3)]  # 12 MB, three parts
LARGE = ["SELECT i, repeat('y', 60) AS pad FROM range(600000) r(i)"]  # 40 MB
SLOW = ["SELECT i FROM range(4000000) r(i) WHERE md5(i::VARCHAR) LIKE '00%'"]  # a second of a core, and few rows
# And what each of their records says.
FAILING = {"SELECT no_such_column": "no_such_column",
           "SELECT CASE WHEN i = 5 THEN error('row five') ELSE '' END FROM range(9) r(i)": "row five",
           # two parts have been sent by then
           "SELECT i, repeat('x', 60), CASE WHEN i = 199999 THEN error('the last row') END FROM range(200000) r(i)": "the last row"}
SIZES = [(TINY, 3), (MULTIPART, 4), (LARGE, 2)]
CUT_OFF = (OSError, http.client.HTTPException, ValueError)  # what a client sees of a connection that is gone


def draw(dice, kinds=SIZES):
    return dice.choice(dice.choices([queries for queries, _ in kinds], [weight for _, weight in kinds])[0])


class Expected:
    """What DuckDB's own COPY makes of a query: SHA-256, bytes, rows."""

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


class Listener:
    """Reads a stream to its end, which must have been told, or its server must have died. Each version comes once."""

    def __init__(self, load, instance, life, job, version=0):
        self.load, self.instance, self.life, self.job, self.version, self.last = load, instance, life, job, version, None

    def read(self, stream):
        try:
            for event in stream.events():
                self.last = event
                if event.id and event.id <= self.version:
                    self.load.problem(self.job, f"version {event.id} behind {self.version}")
                self.version = event.id or self.version
            how = "ended"
        except CUT_OFF as e:
            how = repr(e)
        finally:
            stream.close()
        self.load.note("streams")
        self.judge(how)

    def judge(self, how):
        load, job, last, lives = self.load, self.job, self.last, range(self.life, self.instance.life + 1)
        if last and last.type == "complete":
            load.told.append((job, last.data["message"], last.data["sha256"]))
        elif last and last.type == "error" and last.data.get("handed_over") or last and last.name == "restart":
            if not self.instance.ended.intersection(lives):
                load.problem(job, f"handed over by instance {self.instance.number}, which goes on")
        elif last and last.type == "error":
            reason = FAILING.get(load.accepted.get(job))
            if not (reason and reason in last.data["message"]) and not (
                    last.data["message"] == "Failed during data processing: cancelled" and job in load.asked_to_delete):
                load.problem(job, f"a stream of instance {self.instance.number} ended with {last.text}")
        elif not self.instance.killed.intersection(lives):
            load.problem(job, f"a stream of instance {self.instance.number} {how} behind {last and last.text}")


class Load:
    def __init__(self, cluster):
        self.cluster, self.lock, self.threads = cluster, threading.Lock(), []
        self.accepted = {}  # id: query
        self.asked_to_delete, self.deleted = set(), set()  # ids; the latter: and it was answered
        self.told = []  # by `complete`: id, link, SHA-256
        self.problems = []  # (id or None, what)
        self.done = collections.Counter()

    def note(self, what, count=1):
        with self.lock:
            self.done[what] += count

    def problem(self, job, what):
        with self.lock:
            self.problems.append((job, what))

    def in_background(self, call, *arguments, **more):
        def run():
            try:
                call(*arguments, **more)
            except Exception as e:  # noqa: BLE001: whatever it is, it is a finding
                self.problem(None, f"{call.__name__}: {e!r}")
        thread = threading.Thread(target=run, daemon=True)
        self.threads.append(thread)
        thread.start()

    def wait(self, seconds=120):
        """Until all clients are done."""
        deadline = time.monotonic() + seconds
        for thread in self.threads:
            thread.join(max(0, deadline - time.monotonic()))
            if thread.is_alive():
                self.problem(None, f"a client is not done within {seconds} s")
                return

    # --- what a client does ---

    def create(self, instance, query):
        """(stream, the event `job_created`), or None where the job was not created, or nobody knows."""
        try:
            stream = instance.server.post(query)
        except CUT_OFF:  # the server is away, or went
            self.note("not reached")
            return None
        if stream.status != 200:
            if stream.status not in (429, 503) or not stream.headers.get("Retry-After"):
                self.problem(None, f"POST was answered {stream.status}")
            stream.close()
            self.note("refused")
            return None
        events = stream.events()
        try:
            first, second = next(events), next(events)
        except (*CUT_OFF, StopIteration):
            self.note("not reached")
            return None
        if first.name != "request_received" or second.name not in ("job_created", "error"):
            self.problem(None, f"a stream began with {first.text} {second.text}")
        if second.name != "job_created":
            stream.close()
            self.note("not created")
            return None
        with self.lock:
            self.accepted[second.data["id"]] = query
        return stream, second

    def post(self, instance, query, delete=None, leave=False, follow=None, tries=1):
        """To the end of the stream, unless the poster leaves. `delete`: at that instance, once there is a job. `follow`:
        the dice of one who follows it, too. `tries`: where it is not created."""
        life, created = instance.life, self.create(instance, query)
        while not created and tries > 1:
            time.sleep(0.5)  # for a server and its Postgres to be back
            tries -= 1
            life, created = instance.life, self.create(instance, query)
        if not created:
            return None
        stream, event = created
        job = event.data["id"]
        if delete:
            self.delete(delete, job)
        if follow:
            self.in_background(self.follow_anywhere, follow, job)
        if leave:
            stream.close()
            return job
        Listener(self, instance, life, job, event.id).read(stream)
        return job

    def join(self, instance, job, leave=False):
        """Follows from the snapshot on."""
        life = instance.life
        try:
            stream = instance.server.follow(job)
        except CUT_OFF:
            return
        if stream.status != 200:
            if not (stream.status == 503 or stream.status == 404 and job in self.asked_to_delete):
                self.problem(job, f"GET of its events was answered {stream.status}")
            stream.close()
        elif leave:
            stream.close()
        else:
            Listener(self, instance, life, job).read(stream)

    def follow_anywhere(self, dice, job):
        """To `complete`, by Last-Event-ID at another instance where one ends with `restart`."""
        version, deadline = 0, time.monotonic() + 60
        last, instance = None, None
        while not (last and last.type in ("complete", "error")):
            if time.monotonic() > deadline:
                self.problem(job, f"not followed to its end: {last and last.text}")
                return
            others = [i for i in self.cluster.answering() if i is not instance] or self.cluster.answering()
            if not others:
                time.sleep(0.02)
                continue
            instance = dice.choice(others)
            life, more = instance.life, {"Last-Event-ID": str(version)} if version else {}
            try:
                stream = instance.server.follow(job, **more)
            except CUT_OFF:  # it is about to end
                continue
            if stream.status == 503:
                stream.close()
                continue
            if stream.status != 200:
                self.problem(job, f"GET of its events was answered {stream.status} behind version {version}")
                return
            listener = Listener(self, instance, life, job, version)
            listener.read(stream)
            version, last = listener.version, listener.last
            self.note("follows")
        if last.type != "complete":
            self.problem(job, f"followed to {last.text}")

    def delete(self, instance, job, tries=1):
        self.asked_to_delete.add(job)
        for _ in range(tries):
            try:
                status = instance.server.request("DELETE", "/downloads/" + job).status
            except CUT_OFF:
                continue
            if status == 204:
                self.deleted.add(job)
                self.note("deleted")
                return

    def remove_endless(self):
        """What never ends by itself; its client may have been too early, or its server away."""
        def gone():
            left = [row[0] for row in self.cluster.place.sql("SELECT id::text FROM downloads WHERE sql = %s", ENDLESS)]
            for job in left:
                self.delete(self.cluster.answering()[0], job, 3)
            return not left
        wait_for(gone, "no endless job")
