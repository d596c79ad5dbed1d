"""A job store in a process of its own (driver.c), called line by line."""

import os
import pathlib
import subprocess
import tempfile
import threading

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build")).resolve()
UNKNOWN_ID = "00000000-0000-4000-8000-000000000000"


class StoreError(Exception):
    def __init__(self, code, message, ms):
        super().__init__(f"{code}: {message}")
        self.code, self.message, self.ms = code, message, ms


class Driver:
    """`where` has host, port, user and password: a Postgres, a PgBouncer, a proxy's with the rest of the server's."""

    def __init__(self, where, database, user=None, password=None, lease_ms=60000, timeout_ms=10000, open_it=True,
                 build=None, **environment):
        self.notes = tempfile.TemporaryFile()
        self.ms = 0
        env = dict(os.environ, JOB_STORE_HOST=where.host, JOB_STORE_PORT=str(where.port), JOB_STORE_DB=database,
                   JOB_STORE_USER=where.user if user is None else user,
                   JOB_STORE_PASSWORD=where.password if password is None else password, **environment)
        self.process = subprocess.Popen([(build or BUILD) / "tests" / "job_store_driver"], env=env, text=True,
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.notes)
        if open_it:
            try:
                self.call("open", lease_ms, timeout_ms)
            except StoreError:
                self.close()
                raise

    def send(self, *words):
        self.process.stdin.write(" ".join(str(w) for w in words) + "\n")
        self.process.stdin.flush()

    def receive(self):
        line = self.process.stdout.readline().rstrip("\n")
        assert line, "the driver died: " + self.noted()
        ms, state, *rest = line.split(" ")
        self.ms = int(ms)
        if state == "error":
            raise StoreError(rest[0], " ".join(rest[1:]), self.ms)
        return rest

    def call(self, *words):
        self.send(*words)
        return self.receive()

    def call_among_others(self, *words):
        """As the control thread makes it where several calls wait."""
        self.call("begin")
        try:
            return self.call(*words)
        finally:
            self.call("commit")  # where the call failed for good, so does this

    def noted(self):
        self.notes.seek(0)
        return self.notes.read().decode()

    def create(self, org="org", user="user", queue_size=1000):
        return self.call("create", org, user, queue_size)[0]

    def claim(self, owner="owner", limit=1):
        """Pairs of id and attempt."""
        return [(c.split(":")[0], int(c.split(":")[1])) for c in self.call("claim", owner, limit)]

    def status(self, job, org="org"):
        return self.call("get", org, job)[0]

    def close(self):
        if self.notes.closed:
            return
        self.process.stdin.close()
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.process.stdout.close()
        noted = self.noted()
        self.notes.close()
        assert self.process.returncode == 0, noted  # also what a sanitizer found

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


def refusal(*args, **options):
    """The error of a store that does not open."""
    try:
        Driver(*args, **options).close()
    except StoreError as e:
        return e
    raise AssertionError("it opened")


def at_once(*functions):
    """Runs them on a thread each; their results, or the first exception."""
    results, errors, threads = [None] * len(functions), [], []

    def run(i, function):
        try:
            results[i] = function()
        except BaseException as e:  # pylint: disable=broad-except
            errors.append(e)

    for i, function in enumerate(functions):
        threads.append(threading.Thread(target=run, args=(i, function)))
        threads[-1].start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return results
