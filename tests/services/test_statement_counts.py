"""How much a whole program asks of Postgres, by the server's own log: for each job, and while nothing happens."""
import subprocess
import time

import pytest

from peers.postgres import Postgres
from peers.statement_log import StatementLog, by_call
from place import Place
from service import BUILD, wait_for

AT_ALL_TIMES = {"POLL", "RENEW", "EXPIRE", "LEFTOVERS"}
OF_PARTS = "SELECT i, repeat('x', 100) AS pad FROM range(150000) r(i)"  # 16 MB in parts of 5


@pytest.fixture(scope="module")
def telling():
    with Postgres(settings=StatementLog.SETTINGS) as server:
        yield server


@pytest.fixture
def counted(tmp_path, source, telling, swift):
    """A place, and the log of its statements."""
    out = subprocess.run([BUILD / "tests" / "job_store_driver", "--statements"], check=True, stdout=subprocess.PIPE, text=True)
    place = Place(tmp_path, source, telling, swift)
    yield place, StatementLog(telling, place.database, dict(line.split("\t", 1) for line in out.stdout.splitlines()))
    for server in place.servers:
        server.__exit__()


def finish(server, sql, count=1):
    streams = [server.post(sql) for _ in range(count)]
    for stream in streams:
        assert list(stream.events())[-1].type == "complete"
        stream.close()


def of_jobs(log, before, jobs):
    """What was executed since for so many jobs, once all is in the log; the progress that jobs share is not theirs."""
    def counts():
        now = log.read() - before
        return now if now[("PUBLISH", "PUBLISH")] == jobs else None
    found = by_call(wait_for(counts, "the end of each job in the log"))
    return {call: n for call, n in found.items() if call not in AT_ALL_TIMES | {"PROGRESS"}}


def test_a_job_is_eight_statements(counted):
    place, log = counted
    server = place.start(JOB_LEASE="20s")
    finish(server, "SELECT 1")
    wait_for(lambda: not server.workers(), "the process of the job is gone")
    for sql, each in (("SELECT 1", {"CREATE": 2, "CLAIM": 2, "PUBLISH": 2}),
                      (OF_PARTS, {"CREATE": 2, "CLAIM": 2, "NOTE_UPLOAD": 2, "PUBLISH": 2})):
        before = log.read()
        for _ in range(3):
            finish(server, sql)
            wait_for(lambda: not server.workers(), "the process of the job is gone")
        counts = of_jobs(log, before, 3)
        # A poll that met the job while it waited asks for one claim more, seldom.
        assert {k: n for k, n in counts.items() if k != "CLAIM"} == {k: 3 * n for k, n in each.items() if k != "CLAIM"}
        assert 6 <= counts["CLAIM"] <= 8 and sum(counts.values()) <= 3 * 8 + 2


def test_many_jobs_at_once_share_statements(counted):
    place, log = counted
    server = place.start(JOB_LEASE="20s")
    before = log.read()
    finish(server, "SELECT 1", 40)
    assert sum(of_jobs(log, before, 40).values()) <= 8 * 40


def test_an_idle_instance_asks_three_times_a_second(counted):
    place, log = counted
    server = place.start(JOB_LEASE="20s")
    finish(server, "SELECT 1")
    wait_for(lambda: not server.workers(), "the process of the job is gone")
    wait_for(lambda: log.read()[("PUBLISH", "PUBLISH")] == 1, "its end in the log")
    before, begun = log.read(), time.monotonic()
    polls = before[("POLL", "POLL")]
    wait_for(lambda: log.read()[("POLL", "POLL")] >= polls + 12, "six seconds of polls")
    counts, seconds = by_call(log.read() - before), time.monotonic() - begun
    # Of the sweeps, which come each few seconds, one may just be at the edge.
    assert set(counts) <= AT_ALL_TIMES and sum(counts.values()) <= 3 * seconds + 4, counts
