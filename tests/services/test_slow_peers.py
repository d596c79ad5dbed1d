"""Slow stores and workers that do not answer: a stall is a worker's, not the store's, and a job ends in time on any instance."""
import os
import pathlib
import signal
import sys
import time

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "s3"))

from fault_server import FaultServer, slowly  # noqa: E402
from service import ENDLESS, alive, wait_for  # noqa: E402

PART = 5 << 20
SQL = "SELECT i, repeat('x', 50) AS pad FROM range(700000) r(i)"  # 41 MB: nine parts, four of them under way at a time


def test_a_slow_store_does_not_stall_its_job(place):
    with FaultServer(place.swift, lambda request, seen: slowly(PART / 2.5) if request.kind == "part" else None) as store:
        server = place.start(S3_ENDPOINT=store.endpoint, STALL_TIMEOUT="1s", QUEUE_WORKERS=1)
        begun = time.monotonic()
        last = server.run(SQL)
        assert last.type == "complete", last.data
        assert time.monotonic() - begun > 4  # a part took 2.5 s, and with all buffers in the store's hands nothing else came
        assert place.sha256(f"acme/{last.data['download_id']}.csv") == last.data["sha256"]


def test_a_worker_that_does_not_answer_is_gone_in_time_on_any_instance(place):
    here = place.start(QUEUE_WORKERS=1)
    here.begin(ENDLESS)
    here.wait_worker()
    there = place.start(QUEUE_WORKERS=1)
    _, job = here.begin(ENDLESS)
    worker = there.wait_worker()
    os.kill(worker, signal.SIGSTOP)
    asked = time.monotonic()
    assert here.request("DELETE", "/downloads/" + job).status == 204
    wait_for(lambda: not alive(worker), "the worker's end")
    assert time.monotonic() - asked < 1.5
