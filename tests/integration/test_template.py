"""The template that makes the workers for a DuckDB file: one, as long as the file is what it opened, and no longer than it is wanted."""
import os
import pathlib
import signal
import subprocess

import pytest

from service import DUCKDB_RUN, ENDLESS, SLOW_ROWS, alive, make_source, wait_for

LONG = {"SOURCE_IDLE": "1h"}


@pytest.fixture
def file(tmp_path):
    return make_source(tmp_path / "shop.duckdb", "CREATE TABLE t AS SELECT 1 AS x")


def rows(server, sql):
    last = server.run(sql)
    assert last.type == "complete", last.text
    return server.fetch(last.data["message"]).body.decode().splitlines()[1:]


def template_of(server):
    (pid,) = server.templates()
    return pid


def write(path, *statements):
    """A program that wants to write: does what it wants, or is refused."""
    return subprocess.run([DUCKDB_RUN, path, *statements], capture_output=True, text=True)


def test_one_template_makes_all_workers(service):
    server = service(QUEUE_WORKERS=3, **LONG)
    for _ in range(3):
        server.begin(ENDLESS)
    wait_for(lambda: len(server.workers()) == 3, "three workers")
    template = template_of(server)
    for worker in server.workers():
        status = pathlib.Path(f"/proc/{worker}/status").read_text()
        assert f"\nPPid:\t{server.process.pid}\n" in status and status.startswith("Name:\tdownloads-worke\n")
        assert os.getpgid(worker) == template  # a fork, not an exec
    assert len(list(pathlib.Path(f"/proc/{template}/task").iterdir())) == 1


def test_no_template_without_idle_time(service):
    server = service(SOURCE_IDLE=0)
    server.begin(ENDLESS)
    worker = server.wait_worker()
    assert server.templates() == [] and os.getpgid(worker) == worker


def test_jobs_share_no_random_numbers(service):
    server = service(**LONG)
    seen = [rows(server, "SELECT random() AS a, uuid() AS b, gen_random_uuid() AS c")[0] for _ in range(4)]
    values = [v for line in seen for v in line.split(",")]
    assert len(set(values)) == len(values) == 12
    assert len(server.templates()) == 1


def test_it_ends_when_idle_and_lets_a_writer_in(service, file):
    server = service(source=file, SOURCE_IDLE="300ms")
    assert rows(server, "FROM t") == ["1"]
    wait_for(lambda: server.templates() == [], "its end")
    assert write(file, "INSERT INTO t VALUES (2)").returncode == 0
    assert rows(server, "SELECT x FROM t ORDER BY x") == ["1", "2"]
    wait_for(lambda: list((server.data / "spill").iterdir()) == [], "nothing is left")


def test_a_writer_that_was_refused_finds_the_file_free(service, file):
    server = service(source=file, **LONG)
    assert rows(server, "FROM t") == ["1"]
    template = template_of(server)
    # The watch is there when the first try has its effect; a try before that is one of a writer that comes again.
    wait_for(lambda: write(file, "INSERT INTO t VALUES (2)").returncode == 0, "a writer that tries again gets in")
    assert not alive(template)
    assert rows(server, "SELECT x FROM t ORDER BY x") == ["1", "2"]
    assert server.templates() == []  # for a while, so that writers have their turn
    assert write(file, "INSERT INTO t VALUES (3)").returncode == 0


def test_readers_do_not_end_it(service, file):
    server = service(source=file, **LONG)
    assert rows(server, "FROM t") == ["1"]
    template = template_of(server)
    for _ in range(3):
        assert write(":memory:", f"ATTACH '{file}' AS s (READ_ONLY)", "FROM s.t").returncode == 0
    file.read_bytes()
    assert rows(server, "FROM t") == ["1"]
    assert template_of(server) == template


@pytest.mark.parametrize("how", ["renamed over", "link", "rewritten"])
def test_a_file_that_changes_is_opened_anew(service, file, tmp_path, how):
    other = make_source(tmp_path / "other.duckdb", "CREATE TABLE t AS SELECT 2 AS x")
    path = file
    if how == "link":
        path = tmp_path / "link.duckdb"
        path.symlink_to(file)
    server = service(source=path, **LONG)
    assert rows(server, "FROM t") == ["1"]
    old = template_of(server)
    if how == "renamed over":
        os.rename(other, file)
    elif how == "link":
        (tmp_path / "new").symlink_to(other)
        os.rename(tmp_path / "new", path)
    else:
        file.write_bytes(other.read_bytes())  # by a program that knows nothing of locks
    assert rows(server, "FROM t") == ["2"]
    wait_for(lambda: not alive(old), "the old one's end")
    assert old not in server.templates()


def test_a_file_that_is_gone(service, file):
    server = service(source=file, MAX_ATTEMPTS=1, **LONG)
    assert rows(server, "FROM t") == ["1"]
    file.unlink()
    last = server.run("FROM t")
    assert last.type == "error" and "cannot open the database" in last.data["message"]
    wait_for(lambda: server.templates() == [], "the end of the one that had it")


def test_a_running_job_keeps_writers_out_when_the_template_dies(service, file):
    server = service(source=file, **LONG)
    stream, job = server.begin(SLOW_ROWS)
    stream.until(lambda e: e.type == "progress" and e.data["bytes"] > 1_000_000)
    worker, template = server.wait_worker(), template_of(server)
    os.kill(template, signal.SIGKILL)
    wait_for(lambda: not alive(template), "its end")
    refused = write(file, "INSERT INTO t VALUES (2)")
    assert refused.returncode != 0 and "lock" in (refused.stdout + refused.stderr).lower()
    assert alive(worker) and os.getpgid(worker) == template
    assert rows(server, "FROM t") == ["1"]  # by the next one
    assert template_of(server) != template
    assert server.request("DELETE", "/downloads/" + job).status == 204
    wait_for(lambda: not alive(worker), "the worker's end")


def test_a_template_that_does_not_answer_is_replaced(service):
    server = service(**LONG)
    assert rows(server, "SELECT 1 AS a") == ["1"]
    frozen = template_of(server)
    os.kill(frozen, signal.SIGSTOP)
    assert rows(server, "SELECT 2 AS a") == ["2"]  # by exec
    wait_for(lambda: not alive(frozen), "its end")


def test_a_template_that_dies_while_it_is_waited_for(service, file):
    writer = subprocess.Popen([DUCKDB_RUN, "--hold", file, "INSERT INTO t VALUES (2)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    server = service(source=file, QUEUE_WORKERS=3, SOURCE_WAIT="1h", **LONG)
    streams = [server.begin("SELECT x FROM t ORDER BY x")[0] for _ in range(3)]
    template = wait_for(server.templates, "a template that waits")[0]
    os.kill(template, signal.SIGKILL)
    wait_for(lambda: len(server.workers()) == 3, "workers by exec")
    writer.communicate()
    for stream in streams:
        last = list(stream.events())[-1]
        assert last.type == "complete", last.text
        assert server.fetch(last.data["message"]).body == b"x\n1\n2\n"


def test_a_job_that_waits_for_the_template_can_be_deleted(service, file):
    writer = subprocess.Popen([DUCKDB_RUN, "--hold", file, "INSERT INTO t VALUES (2)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    server = service(source=file, SOURCE_WAIT="1h", **LONG)
    stream, job = server.begin("FROM t")
    other, second = server.begin("SELECT count(*) AS n FROM t")
    wait_for(server.templates, "a template that waits")
    assert server.request("DELETE", "/downloads/" + job).status == 204
    assert list(stream.events())[-1].type == "error"
    writer.communicate()
    assert list(other.events())[-1].type == "complete"
    assert server.workers() == [] or wait_for(lambda: server.workers() == [], "no worker of the deleted one")


def test_a_writer_that_stays_fails_those_that_wait(service, file):
    writer = subprocess.Popen([DUCKDB_RUN, "--hold", file, "INSERT INTO t VALUES (2)"], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    server = service(source=file, SOURCE_WAIT="300ms", MAX_ATTEMPTS=1, **LONG)
    last = server.run("FROM t")
    assert last.type == "error" and last.data["message"].endswith("the database is in use by a writer")
    writer.communicate()
    assert rows(server, "SELECT x FROM t ORDER BY x") == ["1", "2"]


def test_after_a_crash_memory_is_laid_out_anew(service):
    server = service(MAX_ATTEMPTS=1, **LONG)
    stream, job = server.begin(ENDLESS)
    worker, template = server.wait_worker(), template_of(server)
    os.kill(worker, signal.SIGSEGV)
    assert list(stream.events())[-1].type == "error"
    assert rows(server, "SELECT 1 AS a") == ["1"]
    assert template_of(server) != template


def test_all_end_with_the_server(service):
    server = service(**LONG)
    server.begin(ENDLESS)
    pids = [server.wait_worker(), template_of(server)]
    server.stop(signal.SIGKILL)
    wait_for(lambda: not any(map(alive, pids)), "worker and template die with their server", 5)


def test_a_shutdown_leaves_nothing(service):
    server = service(**LONG)
    assert rows(server, "SELECT 1 AS a") == ["1"]
    template = template_of(server)
    assert server.stop() == 0 and not alive(template)
    assert [p for p in (server.data / "spill").iterdir()] == []
