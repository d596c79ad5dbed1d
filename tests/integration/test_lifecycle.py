"""Starting, stopping, dying, and taking up again."""
import hashlib
import json
import os
import signal
import socket
import sqlite3
import subprocess

import pytest

from service import DEADLINE, DUCKDB_RUN, ENDLESS, SERVER, SLOW_ROWS, USER, alive, make_source, wait_for

LONG = "SELECT i, repeat('x', 50) AS pad FROM range(8000000) r(i)"


def expected_sha256(source, sql, tmp_path):
    """By DuckDB's own COPY, on a copy of the source that no server holds open."""
    out = tmp_path / "expected.csv"
    make_source(tmp_path / "other.duckdb", f"COPY ({sql}) TO '{out}' (FORMAT csv, HEADER)")
    return hashlib.sha256(out.read_bytes()).hexdigest()


def test_a_killed_server_takes_its_jobs_up_again(service, source, tmp_path):
    server = service(QUEUE_WORKERS=1)
    stream, job = server.begin(LONG)
    waiting = server.begin("SELECT 7 AS a")[1]
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 100_000_000)
    worker = server.wait_worker()
    server.stop(signal.SIGKILL)
    wait_for(lambda: not alive(worker), "the worker dies with its server", 5)
    server.start()
    last = list(server.follow(job).events())[-1]
    assert last.type == "complete"
    record = server.get("/downloads/" + job)
    assert (record["status"], record["attempt"]) == ("completed", 2)
    data = server.fetch(record["pre_signed_url"]).body
    assert hashlib.sha256(data).hexdigest() == record["sha256"] == expected_sha256(source, LONG, tmp_path)
    wait_for(lambda: server.get("/downloads/" + waiting)["status"] == "completed", "the one that waited")
    wait_for(lambda: server.files() == sorted([f"files/acme/{job}-2.csv", f"files/acme/{waiting}.csv"]), "two files and no rests")
    assert f'filename="{job}.csv"' in server.fetch(record["pre_signed_url"], "HEAD").headers["Content-Disposition"]


def test_sigterm_lets_running_jobs_finish(service):
    server = service()
    stream, job = server.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 20) b")
    server.wait_worker()
    server.process.send_signal(signal.SIGTERM)
    assert list(stream.events())[-1].type == "complete"
    assert server.ended() == 0


def test_sigterm_puts_back_what_does_not_finish(service):
    server = service(SHUTDOWN_GRACE="300ms", QUEUE_WORKERS=1)
    stream, job = server.begin(LONG)
    waiting, second = server.begin("SELECT 1 AS a")
    joined = server.follow(job)
    server.wait_worker()
    server.process.send_signal(signal.SIGTERM)
    for one, what in ((stream, job), (waiting, second)):
        last = list(one.events())[-1]
        assert (last.type, last.data["handed_over"]) == ("error", True) and what in last.data["message"]
    assert list(joined.events())[-1].name == "restart"
    assert server.ended() == 0
    server.start()
    for what in (job, second):
        wait_for(lambda: server.get("/downloads/" + what)["status"] == "completed", "the end of what was put back")
    assert "error_message" not in server.get("/downloads/" + job)
    assert len([p for p in server.files() if p.startswith("files/")]) == 2


def test_a_job_that_is_stored_during_the_shutdown_is_handed_over(service):
    """The store is slow: when the job stands at last, the other streams have had their goodbye already."""
    server = service()
    store = sqlite3.connect(server.data / "jobs.db", isolation_level=None)
    store.execute("BEGIN IMMEDIATE")
    with socket.create_connection(("127.0.0.1", server.port), timeout=DEADLINE) as client:
        body = json.dumps({"sql": "SELECT 1 AS a", "dataset_id": "d"})
        head = "".join(f"{name}: {value}\r\n" for name, value in (USER | {"Content-Length": len(body)}).items())
        client.sendall(f"POST /downloads HTTP/1.1\r\nHost: a\r\n{head}\r\n{body}".encode())
        server.request("GET", "/health")  # behind the POST, which is with the store now
        server.process.send_signal(signal.SIGTERM)
        wait_for(lambda: any("shutting down" in line for line in server.log), "the shutdown")
        store.execute("ROLLBACK")
        store.close()
        answer = client.makefile("rb").read()
    assert answer.index(b"job_created") < answer.index(b'"handed_over"'), answer
    assert server.ended() == 0
    server.start()
    wait_for(lambda: [job["status"] for job in server.get("/downloads")] == ["completed"], "the end of what was handed over")


def test_a_second_signal_ends_at_once(service):
    server = service()
    stream, _ = server.begin(ENDLESS)
    worker = server.wait_worker()
    server.process.send_signal(signal.SIGINT)
    wait_for(lambda: any("shutting down" in line for line in server.log), "the shutdown")
    assert server.stop(signal.SIGINT, 2) != 0
    wait_for(lambda: not alive(worker), "the worker dies with its server", 5)


def test_a_shutdown_accepts_nothing_new(service):
    server = service()
    stream, job = server.begin(ENDLESS)
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: any("shutting down" in line for line in server.log), "the shutdown")
    with pytest.raises(ConnectionRefusedError):
        server.request("GET", "/health")
    assert server.stop(signal.SIGKILL) != 0


def test_one_server_a_data_directory(service, source, tmp_path):
    server = service()
    second = subprocess.run([SERVER], cwd=tmp_path, env=server.environment, capture_output=True, text=True, timeout=20)
    assert second.returncode == 1 and "in use by another downloads-server" in second.stderr
    assert server.run("SELECT 1").type == "complete"


@pytest.fixture
def writer(tmp_path):
    """A process that holds busy.duckdb open for writing until its standard input is closed."""
    path = make_source(tmp_path / "busy.duckdb", "CREATE TABLE t AS SELECT 1 AS a")
    process = subprocess.Popen([DUCKDB_RUN, "--hold", path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()
    yield process
    process.stdin.close()
    process.wait()


def test_a_source_that_a_writer_holds_is_tried_again(service, tmp_path, writer):
    server = service(source=tmp_path / "busy.duckdb", SOURCE_WAIT="20s")
    stream, job = server.begin("SELECT * FROM t")
    server.wait_worker()
    writer.stdin.close()
    writer.wait()
    assert list(stream.events())[-1].type == "complete"


def test_a_source_that_a_writer_keeps_is_an_error(service, tmp_path, writer):
    server = service(source=tmp_path / "busy.duckdb", SOURCE_WAIT="300ms")
    stream, job = server.begin("SELECT * FROM t")
    message = list(stream.events())[-1].data["message"]
    assert str(writer.pid) not in message and str(tmp_path) not in message
    assert server.get("/downloads/" + job)["error_code"] == "source_unavailable"


def test_a_source_that_is_not_there(service, tmp_path):
    server = service(source=tmp_path / "nothing.duckdb")
    last = server.run("SELECT 1")
    assert last.type == "error" and str(tmp_path) not in last.data["message"]


def test_a_relative_source_is_found(service, tmp_path):
    make_source(tmp_path / "near.duckdb", "CREATE TABLE t AS SELECT 5 AS a")
    assert service(source="near.duckdb").run("FROM t").data["rows"] == 1


def test_key_and_directories_are_private(service):
    server = service()
    server.run("SELECT 1")
    assert os.stat(server.data / "link.key").st_mode & 0o777 == 0o600
    assert os.stat(server.data).st_mode & 0o777 == 0o700


def test_closed_standard_descriptors_are_not_taken_for_files(tmp_path, source):
    closed = ["sh", "-c", 'exec "$0" <&- >&- 2>&-', str(SERVER)]
    variables = {"GOPIE_DS_SERVER_PORT": "0", "GOPIE_DS_DUCKDB_PATH": str(source), "GOPIE_DS_WORKER_MEMORY": "256MB"}
    log = tmp_path / "gopie.log"
    process = subprocess.Popen(closed, cwd=tmp_path, env=os.environ | variables)
    try:
        wait_for(lambda: log.exists() and "listens on" in log.read_text(), "the start")
        assert {os.readlink(f"/proc/{process.pid}/fd/{fd}") for fd in range(3)} == {"/dev/null"}
        process.terminate()
        assert process.wait(DEADLINE) == 0
    finally:
        process.kill()
        process.wait()
