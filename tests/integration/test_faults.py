"""Faults from outside: workers that hang, a job store without room, and what many jobs leave in the server."""
import os
import signal
import time

import pytest

from service import ENDLESS, SLOW_ROWS, alive, wait_for


@pytest.mark.parametrize("sql", [ENDLESS, SLOW_ROWS])
def test_a_worker_that_hangs_is_killed(service, sql):
    server = service()
    stream, job = server.begin(sql)
    worker = server.wait_worker()
    os.kill(worker, signal.SIGSTOP)
    begun = time.monotonic()
    server.request("DELETE", "/downloads/" + job)
    assert list(stream.events())[-1].type == "error" and time.monotonic() - begun < 2
    wait_for(lambda: not alive(worker), "the worker's end", 2)
    wait_for(lambda: server.files() == [], "a clean data directory")


def test_many_jobs_leave_no_descriptor(service):
    server = service()
    held = lambda: len(os.listdir(f"/proc/{server.process.pid}/fd"))
    server.run("SELECT 1 AS a")
    wait_for(lambda: not server.workers(), "the worker's end")
    before = held()
    for sql in ["SELECT 1 AS a", "SELECT nothing"] * 20:
        server.run(sql)
    wait_for(lambda: not server.workers(), "the last worker's end")
    wait_for(lambda: held() <= before, "as many descriptors as before")


def test_a_job_store_without_room_is_told(service, tmp_path):
    if os.geteuid() != 0:
        pytest.skip("a small file system needs root")
    small = tmp_path / "small"
    small.mkdir()
    if os.system(f"mount -t tmpfs -o size=8m tmpfs {small}") != 0:
        pytest.skip("no mount here")
    try:
        server = service(DATA_DIR=small)
        first = server.run("SELECT 1 AS a")
        with open(small / "ballast", "wb") as ballast, pytest.raises(OSError):
            while True:
                ballast.write(b"x" * 65536)
                ballast.flush()
        stream = server.post("SELECT '" + "x" * 200_000 + "'")
        events = list(stream.events())
        assert [e.name for e in events] == ["request_received", "error"]
        assert events[1].text == b'event: error\ndata: {"type":"error","message":"could not create download job"}'
        assert server.request("GET", "/health").status == 200
        assert [r["id"] for r in server.get("/downloads")] == [first.data["download_id"]]
        (small / "ballast").unlink()
        assert server.run("SELECT 2 AS a").type == "complete"
        assert server.stop() == 0
    finally:
        os.system(f"umount -l {small}")
