"""Servers on one Postgres and one bucket, each behind networks of its own, and how each of their lives ended."""
import contextlib
import os
import pathlib
import re
import signal

import settings
from peers.pg_proxy import PgProxy
from peers.tcp_proxy import TcpProxy
from service import BUILD, SERVER, wait_for

LEASE_S = 2
WORKER = BUILD / "downloads-worker"


class Instance:
    def __init__(self, number, place, s3_port, **variables):
        self.number = number
        self.commits = PgProxy(place.postgres.host, place.postgres.port)
        self.postgres = TcpProxy(self.commits.host, self.commits.port)
        self.s3 = TcpProxy("127.0.0.1", s3_port)
        self.server = place.make(POSTGRES_HOST=self.postgres.host, POSTGRES_PORT=self.postgres.port,
                                 S3_ENDPOINT=f"http://127.0.0.1:{self.s3.port}", S3_PUBLIC_ENDPOINT=place.swift.endpoint,
                                 **variables)
        self.life = 0
        self.killed, self.ended = set(), set()  # lives that SIGKILL, that SIGTERM ended
        self.answers = False

    def start(self):
        self.life += 1
        self.server.start()
        self.answers = True

    def end(self, number):
        self.answers = False
        (self.killed if number == signal.SIGKILL else self.ended).add(self.life)
        status = self.server.stop(number)
        assert status == (-number if number == signal.SIGKILL else 0), "".join(self.server.log[-50:])

    def freeze(self):
        self.answers = False
        self.server.process.send_signal(signal.SIGSTOP)

    def thaw(self):
        self.server.process.send_signal(signal.SIGCONT)
        self.answers = True

    def spill(self):
        directory = self.server.data / "spill"
        return [str(p) for p in directory.iterdir()] if directory.exists() else []

    def close(self):
        if self.server.process and self.server.process.poll() is None:
            self.server.process.kill()
            self.server.process.wait()
        for network in (self.postgres, self.commits, self.s3):
            network.close()


class Cluster(contextlib.AbstractContextManager):
    def __init__(self, place, count=2, s3_port=None, **variables):
        """Starts them. `s3_port`: what stands before the S3 server."""
        self.place = place
        variables = {"JOB_LEASE": f"{LEASE_S}s", "RETRY_DELAY": "100ms", "MAX_ATTEMPTS": 100, "MAX_RESCUES": 1000,
                     "QUEUE_WORKERS": 3, "WORKER_MEMORY": "128MiB", "WORKER_THREADS": 1, "STARTUP_WAIT": "30s"} | variables
        if settings.SANDBOX:
            variables["SANDBOX"] = settings.SANDBOX
        self.s3_port, self.variables, self.instances, self.pace_s = s3_port or place.swift.port, variables, [], 0
        for _ in range(count):
            self.add()

    def add(self, **variables):
        instance = Instance(len(self.instances), self.place, self.s3_port, **self.variables | variables)
        self.instances.append(instance)
        instance.start()
        return instance

    def __exit__(self, *_):
        for instance in self.instances:
            instance.close()

    def pace(self, seconds):
        """Makes the S3 server that much slower (TcpProxy.slow()), for jobs to be met while they run."""
        self.pace_s = seconds
        for instance in self.instances:
            instance.s3.slow(seconds)

    def answering(self):
        return [i for i in self.instances if i.answers]

    def queued(self):
        return self.place.sql("SELECT count(*) FROM downloads_queue")[0][0]

    def wait_queue(self, most, seconds=120):
        wait_for(lambda: self.queued() <= most, f"no more than {most} jobs that wait or run", seconds)

    def attempt_of(self, job):
        return self.place.sql("SELECT attempt FROM downloads_jobs WHERE id = %s", job)[0][0]

    def owner_of(self, job):
        """The instance that runs it."""
        def found():
            said = re.compile(rf"\battempt {self.attempt_of(job)}\b(?!.*no longer)")
            return [i for i in self.instances if any(job in line and said.search(line) for line in i.server.log)]
        return wait_for(found, f"an attempt of {job}")[0]

    def s3_bytes(self):
        """That have reached the S3 server, of requests in all."""
        return sum(i.s3.sent for i in self.instances)


def executable(pid):
    try:
        return pathlib.Path(os.readlink(f"/proc/{pid}/exe"))
    except OSError:
        return None


def orphaned_workers():
    """Workers of this build whose server is gone."""
    found = []
    for entry in pathlib.Path("/proc").iterdir():
        if entry.name.isdigit() and executable(entry.name) == WORKER:
            try:
                parent = (entry / "stat").read_text().rsplit(")", 1)[1].split()[1]
            except OSError:
                continue
            if executable(parent) != SERVER:
                found.append(int(entry.name))
    return found
