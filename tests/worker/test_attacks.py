"""SQL that tries to see or touch what is not its own: each job ends cleanly, the protocol holds, nothing leaks."""
import os
import socket
import threading

import pytest

from worker import make_source, run_job, start  # noqa: F401

SECRET = "a deleted row that nobody may read"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("the-servers-own-directory") / "shop.duckdb"
    make_source(
        path,
        f"CREATE TABLE gone AS SELECT '{SECRET}' AS s",
        "CHECKPOINT",
        "DROP TABLE gone",
        "CREATE TABLE t AS SELECT i AS id, 'name ' || i AS name FROM range(1000) r(i)",
        "CREATE VIEW peek AS SELECT 1 AS x",
    )
    assert SECRET.encode() in path.read_bytes()  # else the test below shows nothing
    return path


USERS = [{}] + ([{"uid": 65534, "gid": 65534}] if os.geteuid() == 0 else [])


@pytest.fixture(params=USERS, ids=lambda u: f"uid-{u['uid']}" if u else "same-user")
def user(request):
    return request.param


def says_nothing_of_the_server(job, source):
    said = (job.message + job.data.decode(errors="replace")).lower()
    for word in (str(source.parent), "/tmp/worker-spill", "the-servers-own", "root:x:", SECRET):
        assert word.lower() not in said


# An answer with rows of the server, its files or other jobs would be a leak; so each must fail, or have no rows.
READS = [
    "SELECT * FROM read_text('/etc/passwd')",
    "SELECT * FROM READ_TEXT('/etc/' || 'passwd')",
    "FROM query('FROM read_text(''/etc/passwd'')')",
    "FROM query('FROM read_blob(''{source}'')')",
    "SELECT * FROM read_blob('{source}')",
    "FROM query('FROM read_blob(''/proc/self/cwd/shop.duckdb'')')",
    "FROM query('FROM read_blob(''/proc/self/cwd/./shop.duckdb'')')",
    "FROM query('FROM read_blob(''/proc/self/cwd/*'')')",
    "FROM query('FROM read_blob(''/proc/thread-self/cwd/shop.duckdb'')')",
    "FROM query('FROM read_blob(''./shop.duckdb'')')",
    "FROM query('FROM read_blob(''shop.duckdb'')')",
    "FROM query('FROM read_blob(''file:///proc/self/cwd/shop.duckdb'')')",
    "FROM query('FROM read_blob(''/proc/self/fd/4'')')",
    "FROM query('FROM read_blob(''/proc/self/fd/5'')')",
    "FROM query('FROM read_text(''/proc/self/maps'')')",
    "FROM query('FROM read_blob(''/proc/self/cwd/shop.duckdb.wal'')')",
    "FROM query('FROM read_blob(''/proc/self/cwd/../../{source}'')')",
    "FROM query('FROM read_duckdb(''/proc/self/cwd/shop.duckdb'')')",
    "FROM '/proc/self/cwd/shop.duckdb'",
    "FROM glob('/**')",
    "FROM query('FROM glob(''/*'')')",
    "FROM query('FROM glob(''/proc/self/cwd/*'')')",
    "FROM query('FROM glob(''/proc/self/fd/*'')')",
    "SELECT * FROM read_csv('/proc/self/environ')",
    "FROM query('FROM read_csv(''/proc/self/environ'')')",
    "FROM '/proc/self/environ'",
    "FROM 'names.csv'",
    "FROM query('FROM read_csv(''http://127.0.0.1:1/x.csv'')')",
    "FROM 'http://127.0.0.1:1/x.parquet'",
    "FROM 's3://bucket/x.parquet'",
    "SELECT getenv('HOME')",
    "FROM duckdb_secrets()",
    "FROM query('FROM duckdb_secrets()')",
    "FROM query('FROM sniff_csv(''/etc/passwd'')')",
]


@pytest.mark.parametrize("sql", READS)
def test_nothing_is_read(source, sql, user, tmp_path):
    job = run_job(source, sql.format(source=source), tmp_path, **user)
    assert job.broken == ""
    if job.done:
        assert job.rows == 0
    else:
        assert job.code in ("query_failed", "sql_refused")
    # What the client wrote itself may come back in an error.
    if "{source}" not in sql:
        says_nothing_of_the_server(job, source)
    assert SECRET.encode() not in job.data and b"root:x" not in job.data


NOT_ONE_QUERY = [
    ("INSERT INTO t VALUES (1, 'x')", "an INSERT"),
    ("UPDATE t SET id = 1", "an UPDATE"),
    ("DELETE FROM t", "a DELETE"),
    ("CREATE TABLE x (a INT)", "a CREATE"),
    ("ATTACH '/tmp/x.duckdb' AS x", "an ATTACH"),
    ("ATTACH ':memory:' AS x", "an ATTACH"),
    ("COPY t TO '/tmp/attack.csv'", "a COPY"),
    ("EXPORT DATABASE '/tmp/attack'", "an EXPORT"),
    ("INSTALL httpfs", "an INSTALL"),
    ("LOAD httpfs", "a LOAD"),
    ("SET threads=64", "a SET"),
    ("set memory_limit='100GB'", "a SET"),
    ("RESET lock_configuration", "a RESET"),
    ("PRAGMA database_list", "a PRAGMA"),
    ("PRAGMA enable_profiling", "a PRAGMA"),
    ("PRAGMA memory_limit='10GB'", "a PRAGMA"),
    ("CALL enable_logging('QueryLog')", "a CALL"),
    ("EXPLAIN SELECT 1", "an EXPLAIN"),
    ("BEGIN", "a BEGIN"),
    ("SELECT 1; SELECT 2", "2"),
    ("SELECT 1; COPY t TO '/tmp/attack.csv'", "2"),
    ("", "no statement"),
    (" ; -- nothing", "no statement"),
    ("SELECT ?", "parameters"),
    ("SELECT $1", "parameters"),
    ("PIVOT t ON name", "PIVOT"),
    ("SELECT * FROM enable_logging('QueryLog')", "enable_logging"),
    ("SELECT * FROM enable_profiling()", "enable_profiling"),
    ("FROM checkpoint()", "checkpoint"),
    ("SELECT * FROM (FROM read_text('/etc/passwd'))", "read_text"),
]


@pytest.mark.parametrize("sql,word", NOT_ONE_QUERY)
def test_what_is_no_query_is_refused_by_name(source, sql, word, tmp_path):
    job = run_job(source, sql, tmp_path)
    assert job.broken == "" and not job.done
    assert job.code == "sql_refused" and word in job.message
    assert not os.path.exists("/tmp/attack.csv") and not os.path.exists("/tmp/attack")


@pytest.mark.parametrize(
    "sql",
    [
        "FROM query('SELECT * FROM enable_logging(''QueryLog'')')",
        "FROM query('SELECT * FROM enable_logging(storage=''stdout'')')",
        "FROM query('SELECT * FROM enable_logging(storage=''file'', storage_path=''/proc/self/cwd/log'')')",
        "FROM query('SELECT * FROM enable_logging(storage=''file'', storage_path=''/tmp/attack-log'')')",
        "FROM query('SELECT * FROM enable_profiling()')",
        "FROM query('FROM checkpoint()')",
        "SELECT error('<<' || repeat('x', 100000) || '>>')",
    ],
)
def test_the_protocol_survives(source, sql, user, tmp_path):
    """Whatever this prints, writes or breaks inside: the job ends by the rules, and the next is not touched."""
    job = run_job(source, sql, tmp_path, **user)
    says_nothing_of_the_server(job, source)
    assert job.broken == "" or "died" in job.broken
    assert not os.path.exists("/tmp/attack-log")
    assert run_job(source, "SELECT count(*) AS n FROM t", tmp_path, **user).data == b"n\n1000\n"


def test_nothing_of_the_server_is_shown(source, user, tmp_path):
    for sql in ("FROM duckdb_databases()", "FROM duckdb_settings()", "FROM duckdb_extensions()", "FROM duckdb_logs"):
        job = run_job(source, sql, tmp_path, **user)
        says_nothing_of_the_server(job, source)
    job = run_job(source, "SELECT path FROM duckdb_databases() WHERE NOT internal", tmp_path, **user)
    assert job.data == b"path\n/proc/self/cwd/shop.duckdb\n"
    job = run_job(source, "SELECT current_database()", tmp_path, **user)
    assert job.data.endswith(b"\nshop\n")  # the catalog keeps its name


NAME = "regexp_extract(current_query(), 'e[0-9a-f]{31}')"


@pytest.mark.parametrize(
    "sql",
    [
        "FROM query((SELECT 'SELECT ' || function_name || '(1)' FROM duckdb_functions() WHERE length(function_name) = 32))",
        f"FROM query('SELECT ' || CASE WHEN {NAME} = '' THEN '1 AS x' ELSE {NAME} || '(id) AS x FROM t' END)",
        f"FROM json_execute_serialized_sql(json_serialize_sql('SELECT ' || {NAME} || '(1) AS x'))",
        "SELECT list_transform([1], lambda x: (SELECT max(function_name) FROM duckdb_functions())(x))",
    ],
)
def test_the_encoder_cannot_be_called(source, sql, tmp_path):
    """Its name can be seen once the query runs; then it is too late to be bound to it."""
    job = run_job(source, sql, tmp_path)
    assert not job.done and job.broken == "" and job.code == "query_failed"
    says_nothing_of_the_server(job, source)
    assert "Stack Trace" not in job.message and "libduckdb" not in job.message


def test_too_much_memory_is_an_error(source, user, tmp_path):
    for sql in ("SELECT length(repeat('x', 4000000000))", "SELECT length(repeat('x', 2000000000))"):
        job = run_job(source, sql, tmp_path, **user)
        assert job.broken == "" and job.code == "out_of_memory"
        assert "SET " not in job.message  # advice that nobody could follow
    assert run_job(source, "SELECT 1 AS x", tmp_path, **user).data == b"x\n1\n"


def test_no_network(source, tmp_path):
    """A listener that anybody could reach hears nothing."""
    server = socket.create_server(("127.0.0.1", 0))
    heard = []
    thread = threading.Thread(target=lambda: heard.append(server.accept()), daemon=True)
    thread.start()
    port = server.getsockname()[1]
    for sql in (f"FROM 'http://127.0.0.1:{port}/x.csv'", f"FROM query('FROM read_text(''http://127.0.0.1:{port}/x'')')"):
        job = run_job(source, sql, tmp_path)
        assert job.broken == "" and not job.done
    assert heard == []
    server.close()


def test_every_thread_is_in_the_box(source, user, tmp_path):
    job = run_job(source, "SELECT i, hash(i) AS h FROM range(2000000) r(i)", tmp_path, threads=4, **user)
    assert job.done and job.broken == ""
    assert job.box_seen and job.boxed and job.threads >= 4


def test_no_function_of_another_query_is_there(source, tmp_path):
    """The encoder is a function under a random name, and the template has rehearsed with one."""
    sql = "SELECT count(*) AS n FROM duckdb_functions() WHERE regexp_matches(function_name, '^e[0-9a-f]{15,}$')"
    job = run_job(source, sql, tmp_path)
    assert job.data == b"n\n1\n"
