"""What must be true behind it all, and what a reader needs to understand why it is not."""
import collections
import json
import re
import signal
import time

import botocore.exceptions

from cluster import orphaned_workers
from load import FAILING
from service import wait_for

SHOWN = 3  # jobs of a failing verdict that are explained
LOG_LINES = 40  # of an instance, of such a job
LOST = re.compile(r"Sanitizer|assert", re.IGNORECASE)


class Counts:
    """Of a scenario: what was done and what it cost."""

    def __init__(self, scenario):
        self.scenario, self.done = scenario, collections.Counter()
        self.jobs = self.attempts = self.rescues = self.failures = self.handed_over = 0
        self.published_bytes = self.sent_bytes = 0
        self.began, self.seconds = time.monotonic(), 0


class Verdict:
    def __init__(self, cluster, load, expected, counts):
        self.cluster, self.place, self.load, self.expected, self.counts = cluster, cluster.place, load, expected, counts

    def problem(self, job, what):
        self.load.problem(job, what)

    def check(self, **records):
        """Everything; fails with all that is wrong. `records`: of check_records()."""
        self.cluster.pace(0)
        try:
            self.wait()
            kept = self.check_records(**records)
            self.check_bucket(kept)
            self.check_processes()
        except AssertionError as e:  # not in time
            self.problem(None, str(e))
        self.counts.done.update(self.load.done)
        self.counts.seconds = time.monotonic() - self.counts.began
        if self.load.problems:
            raise AssertionError(self.explain())

    def wait(self):
        self.load.wait()
        self.cluster.wait_queue(0)
        wait_for(lambda: not any(i.server.workers() for i in self.cluster.instances), "no worker is left")

    # --- records and files ---

    def check_records(self, attempts=None, failures=None):
        """Keys of the files that stay. `attempts`, `failures`: how many each job may have, where that is known."""
        place, load, counts = self.place, self.load, self.counts
        published = collections.defaultdict(list)
        for job, key in place.sql("SELECT id::text, object_key FROM downloads_attempts WHERE state = 'published'"):
            published[job].append(key)
        rows = place.sql("SELECT id::text, sql FROM downloads")
        queries, records = dict(rows), {}
        server = self.cluster.answering()[0].server
        for job, query in rows:
            records[job] = record = server.get("/downloads/" + job)
            counts.jobs += 1
            counts.attempts += record["attempt"]
            self.check_history(job, record, attempts, failures)
            if query in FAILING:
                if record["status"] != "failed" or FAILING[query] not in record["error_message"] or job in published:
                    self.problem(job, "did not fail as its query does")
            elif record["status"] != "completed":
                self.problem(job, f"is {record['status']}: {record.get('error_message')}")
            elif len(published[job]) != 1:
                self.problem(job, f"{len(published[job])} published attempts")
            else:
                self.check_file(job, query, record, published[job][0])
        for job in set(load.accepted) - set(queries) - load.asked_to_delete:
            self.problem(job, "was accepted, and is gone")
        for job in set(queries) & load.deleted:
            self.problem(job, "was deleted, and is there")
        for job, keys in published.items():  # a published file stays when its record is deleted
            if len(keys) > 1 or job not in queries and job not in load.asked_to_delete:
                self.problem(job, f"published: {keys}")
        for job, link, sha256 in load.told:
            if job in records and (link, sha256) != (records[job].get("pre_signed_url"), records[job].get("sha256")):
                self.problem(job, "`complete` said something else than the record")
        counts.sent_bytes += self.cluster.s3_bytes()
        return {key for keys in published.values() for key in keys}

    def check_history(self, job, record, attempts, failures):
        history = record.get("attempts")
        if history is None or "failures" not in record:
            missing = (None, "records do not list attempts and failures")
            if missing not in self.load.problems:
                self.problem(*missing)
            return
        states = collections.Counter(a["state"] for a in history)
        self.counts.rescues += states["lost"]
        self.counts.failures += record["failures"]
        self.counts.handed_over += states["handed_over"]
        if [a["attempt"] for a in history] != list(range(1, record["attempt"] + 1)):
            self.problem(job, "its attempts are not those that were claimed")
        if states["running"] or states["published"] != (record["status"] == "completed"):
            self.problem(job, f"its attempts are {dict(states)}")
        if attempts is not None and record["attempt"] != attempts:
            self.problem(job, f"took {record['attempt']} attempts instead of {attempts}")
        if failures is not None and record["failures"] != failures:
            self.problem(job, f"has {record['failures']} failures instead of {failures}")

    def check_file(self, job, query, record, key):
        sha256, size, count = self.expected.of(query)
        if (record["sha256"], record["bytes"], record["rows"]) != (sha256, size, count):
            self.problem(job, f"its record is not of DuckDB's own file: {sha256}, {size} bytes, {count} rows")
        if not re.match(rf"{re.escape(self.place.swift.endpoint)}/{self.place.bucket}/{key}\?", record["pre_signed_url"]):
            self.problem(job, f"its link is not that of {key}")
        if self.place.sha256(key) != sha256:
            self.problem(job, f"the object {key} is not DuckDB's own file")
        self.counts.published_bytes += size

    # --- what must not stay ---

    def check_bucket(self, kept):
        """Attempts leave nothing, once they have been cleared away; once more an hour later, since a zombie may still have
        written behind the first time: made due here."""
        sql = self.place.sql
        self.sweep()
        wait_for(lambda: sql("SELECT count(*) FROM downloads_attempts"
                             " WHERE state = 'running' OR state = 'over' AND NOT cleared") == [(0,)], "the first clearing", 60)
        sql("UPDATE downloads_attempts SET due_at = now() WHERE state = 'over' AND due_at < 'infinity'")
        self.sweep()
        wait_for(lambda: sql("SELECT count(*) FROM downloads_attempts WHERE state = 'over' AND due_at <= now()") == [(0,)],
                 "the second clearing", 60)
        for key in self.open_uploads():
            self.problem(key.rpartition("/")[2][:36], f"an upload of {key} is open")
        found = {key for key in self.place.objects() if self.exists(key)}
        for key in found ^ kept:
            self.problem(key.rpartition("/")[2][:36], f"the object {key} is {'there' if key in found else 'gone'}")

    def sweep(self):
        """Now rather than in a few seconds: an instance begins with it."""
        instance = self.cluster.answering()[0]
        instance.end(signal.SIGTERM)
        instance.start()

    def exists(self, key):
        """The listing may lag behind where a part of Swift stood still, so an object is looked at."""
        try:
            self.place.s3.head_object(Bucket=self.place.bucket, Key=key)
            return True
        except botocore.exceptions.ClientError as e:
            assert e.response["ResponseMetadata"]["HTTPStatusCode"] == 404, e
            return False

    def open_uploads(self):
        def is_open(upload):
            try:
                self.place.s3.list_parts(Bucket=self.place.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
                return True
            except botocore.exceptions.ClientError as e:
                assert e.response["Error"]["Code"] == "NoSuchUpload", e
                return False
        found = self.place.s3.list_multipart_uploads(Bucket=self.place.bucket).get("Uploads", [])
        return [u["Key"] for u in found if is_open(u)]

    def check_processes(self):
        for instance in self.cluster.instances:
            if instance.server.process.poll() is not None:
                self.problem(None, f"instance {instance.number} has ended by itself")
                continue
            wait_for(lambda: not instance.spill(), f"no spill directory of instance {instance.number}", 10)
            status = instance.server.stop()
            if status != 0:
                self.problem(None, f"instance {instance.number} ended with {status}")
            for line in instance.server.log:
                if LOST.search(line):
                    self.problem(None, f"instance {instance.number} said: {line}")
        wait_for(lambda: not orphaned_workers(), "no worker outlives its server", 10)

    # --- why ---

    def explain(self):
        problems = self.load.problems
        lines = [f"{len(problems)} problems:"] + [f"  {job or ''} {what}" for job, what in problems[:50]]
        for job in list(dict.fromkeys(job for job, _ in problems if job))[:SHOWN]:
            lines += ["", f"--- {job}: {self.load.accepted.get(job)}"]
            for table in ("downloads", "downloads_jobs", "downloads_queue", "downloads_attempts"):
                for row, in self.place.sql(f"SELECT to_jsonb(t) FROM {table} t WHERE id::text = %s", job):
                    lines.append(f"{table}: {json.dumps(row)}")
            for instance in self.cluster.instances:
                told = [line.rstrip() for line in instance.server.log if job in line]
                lines += [f"instance {instance.number}: {line}" for line in told[-LOG_LINES:]]
        return "\n".join(lines)
