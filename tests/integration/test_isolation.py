"""What SQL may see of the server: nothing. tests/worker has the attacks on the worker alone; here it runs under a real server."""
import os
import pathlib

import pytest

from service import ENDLESS, wait_for


def test_every_thread_of_a_busy_worker_is_boxed(service):
    server = service()
    stream, job = server.begin(ENDLESS)
    worker = server.wait_worker()
    threads = lambda: list(pathlib.Path(f"/proc/{worker}/task").iterdir())
    wait_for(lambda: len(threads()) >= 2, "the engine's threads")

    def fields(thread):
        return dict(line.split(":\t", 1) for line in (thread / "status").read_text().splitlines() if ":\t" in line)

    wait_for(lambda: all(fields(t)["Seccomp"] == "2" for t in threads()), "the box", 5)
    for status in map(fields, threads()):
        assert status["NoNewPrivs"] == "1"
        assert all(int(status[c], 16) == 0 for c in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"))
        if os.geteuid() == 0:
            assert "0" not in status["Uid"].split() + status["Gid"].split()
    environment = pathlib.Path(f"/proc/{worker}/environ").read_bytes()
    assert environment == b""


def test_a_worker_lets_its_server_go_first(service):
    server = service()
    stream, job = server.begin(ENDLESS)
    worker = server.wait_worker()
    niceness = lambda pid: os.getpriority(os.PRIO_PROCESS, pid)
    expected = min(19, niceness(server.process.pid) + 5)
    wait_for(lambda: all(niceness(int(thread)) == expected for thread in os.listdir(f"/proc/{worker}/task")),
             "all of its threads at the niceness of workers")


def test_the_descriptors_of_a_busy_worker(service, source):
    server = service()
    stream, job = server.begin(ENDLESS)
    worker = server.wait_worker()
    fds = lambda: {int(p.name): os.readlink(p) for p in pathlib.Path(f"/proc/{worker}/fd").iterdir()}
    wait_for(lambda: list(fds().values()).count(str(source)) >= 2, "the open database")
    held = fds()
    kinds = [held.pop(i).split(":")[0] for i in range(4)]
    assert kinds == ["/dev/null", "/dev/null", "pipe", "socket"]
    assert set(held.values()) == {str(source), "anon_inode:[eventfd]"}


@pytest.mark.parametrize("sql", [
    "SELECT * FROM read_text('/etc/passwd')", "SELECT * FROM read_blob('{data}/link.key')", "SELECT * FROM read_blob('{data}/jobs.db')",
    "SELECT * FROM '{data}/files/acme/secret.csv'", "SELECT * FROM glob('{data}/**')", "SELECT * FROM query('FROM read_text(''/etc/passwd'')')",
    "SELECT * FROM read_csv('/proc/self/environ')", "SELECT * FROM enable_logging('QueryLog')", "SELECT * FROM enable_profiling()",
    "SELECT getenv('PATH')", "COPY (SELECT 1) TO '/tmp/out.csv'", "ATTACH '{data}/jobs.db'", "SET threads = 1", "SELECT 1; SELECT 2",
    "SELECT * FROM duckdb_logs()", "SELECT * FROM pragma_database_list()", "FROM checkpoint()"])
def test_sql_sees_nothing_of_the_server(service, sql):
    server = service()
    (server.data / "files" / "acme").mkdir(exist_ok=True)
    (server.data / "files" / "acme" / "secret.csv").write_text("another tenant's secret")
    last = server.run(sql.format(data=server.data))
    said = last.data["message"]
    if last.type == "complete":
        said = server.fetch(said).body.decode()
    for secret in ("root:", "another tenant's secret", (server.data / "link.key").read_text().strip(), str(server.data / "spill"), "SQLite format"):
        assert secret not in said
    assert server.run("SELECT 1 AS a").type == "complete"


def test_what_sql_prints_does_not_reach_the_protocol(service):
    server = service(LOGGER_LEVEL="debug")
    for sql in ("PRAGMA enable_profiling", "SELECT * FROM query('FROM enable_profiling()')", "SELECT * FROM query('FROM enable_logging(''QueryLog'', storage = ''stdout'')')"):
        assert server.run(sql).type in ("complete", "error")
        assert server.run("SELECT 1 AS a").type == "complete"
