"""The worker program as a process: what it does with odd, large, slow and cancelled jobs."""
import hashlib
import os
import subprocess

import pytest

from worker import DUCKDB_RUN, WORKER, make_source, run_job, start  # noqa: F401


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "main.duckdb"
    return make_source(path, "CREATE TABLE t AS SELECT i AS id, 'name ' || i AS name FROM range(3000000) r(i)")


def test_rows_bytes_and_hash(source, tmp_path):
    job = run_job(source, "FROM t", tmp_path)
    expected = tmp_path / "expected.csv"
    make_source(tmp_path / "other.duckdb", f"ATTACH '{source}' AS s (READ_ONLY)", f"COPY s.t TO '{expected}' (FORMAT csv)")
    assert job.done and job.broken == ""
    assert job.rows == 3000000 and job.bytes == len(job.data)
    assert job.data == expected.read_bytes()
    assert job.sha256 == hashlib.sha256(job.data).hexdigest()
    assert job.spill_left == 0


def test_forms_of_a_query(source, tmp_path):
    for sql, data in {
        "VALUES (1, 'a')": b"col0,col1\n1,a\n",
        "WITH x AS (SELECT 1 AS a) FROM x;": b"a\n1\n",
        "FROM t LIMIT 1 -- done": b"id,name\n0,name 0\n",
        "SHOW TABLES": b"name\nt\n",
        "DESCRIBE t": b"column_name,column_type,null,key,default,extra\nid,BIGINT,YES,,,\nname,VARCHAR,YES,,,\n",
        "PIVOT (SELECT 1 AS k, 'a' AS c) ON c IN ('a', 'b') USING count(*)": b"k,a,b\n1,1,0\n",
        "SELECT 1 AS x WHERE false": b"x\n",
        "SELECT NULL AS x": b"x\n\n",
        "(SELECT 1 AS x)": b"x\n1\n",
    }.items():
        job = run_job(source, sql, tmp_path)
        assert job.done, (sql, job.message)
        assert job.data == data
    assert run_job(source, "SUMMARIZE t", tmp_path).rows == 2


def test_a_nul_byte_does_not_end_a_value(tmp_path):
    path = make_source(
        tmp_path / "nul.duckdb",
        "CREATE TYPE mood AS ENUM (SELECT unnest(['plain', 'a' || chr(0) || 'b', 'longer than twelve' || chr(0) || ',']))",
        "CREATE TABLE t AS SELECT unnest(enum_range(NULL::mood)) AS m",
    )
    job = run_job(path, "SELECT m, m::VARCHAR AS v FROM t", tmp_path)
    long = b'"longer than twelve\0,"'
    assert job.data == b"m,v\nplain,plain\na\0b,a\0b\n" + long + b"," + long + b"\n"


def test_errors_are_the_engines_and_point_at_the_line(source, tmp_path):
    job = run_job(source, "SELECT nosuch\nFROM t", tmp_path)
    assert job.code == "query_failed" and "nosuch" in job.message and "LINE 1: SELECT nosuch" in job.message
    job = run_job(source, "SELECT 1,\n  CAST(name AS INT) FROM t", tmp_path)
    assert job.code == "query_failed" and "LINE 2:   CAST(name AS INT)" in job.message and "#1" not in job.message
    job = run_job(source, "SELEC 1", tmp_path)
    assert job.code == "query_failed" and "syntax error" in job.message


def test_an_error_on_the_last_row(source, tmp_path):
    job = run_job(source, "SELECT CASE WHEN id = 2999999 THEN error('the last one') ELSE id END FROM t", tmp_path)
    assert not job.done and job.broken == "" and job.bytes > 0
    assert job.code == "query_failed" and "the last one" in job.message
    assert "Attempting to execute" not in job.message


def test_wide_long_and_large(source, tmp_path):
    columns = ", ".join(f"{i} AS c{i}" for i in range(1600))
    job = run_job(source, f"SELECT {columns} FROM range(3)", tmp_path)
    assert job.done and job.rows == 3 and job.data.split(b"\n")[1] == b",".join(b"%d" % i for i in range(1600))

    job = run_job(source, "SELECT repeat('0123456789abcdef', 1048576) AS s, i FROM range(3) r(i)", tmp_path)
    assert job.done and job.data == b"s,i\n" + b"".join(b"0123456789abcdef" * 1048576 + b",%d\n" % i for i in range(3))

    comment = "-- " + "x" * (4 * 1024 * 1024 - 100) + "\nSELECT 1 AS x"
    assert run_job(source, comment, tmp_path).data == b"x\n1\n"
    text = "y" * (4 * 1024 * 1024 - 100)
    assert run_job(source, f"SELECT length('{text}') AS n", tmp_path).data == b"n\n%d\n" % len(text)


@pytest.mark.parametrize("threads", [1, 2, 4])
@pytest.mark.parametrize("length,rows", [(30, 20000), (9000, 20000), (40000, 5000), (4 << 20, 20)])
def test_long_texts_are_bounded_by_their_bytes(source, length, rows, threads, tmp_path):
    """Far more bytes than may wait, in few rows: nothing is held back for ever, nothing is encoded ahead without end."""
    sql = f"SELECT id, repeat(chr(97 + (id % 26)::INT), {length}) AS s FROM t LIMIT {rows}"
    job = run_job(source, sql, tmp_path, threads=threads, memory="256MiB", deadline=120000)
    assert job.done and job.broken == "" and job.rows == rows
    digest = hashlib.sha256(b"id,s\n")
    for i in range(rows):
        digest.update(b"%d," % i + bytes([97 + i % 26]) * length + b"\n")
    assert job.sha256 == digest.hexdigest()


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("length", [150000, 400000])
def test_a_chunk_too_large_for_memory_is_an_error(source, length, threads, tmp_path):
    """Each chunk of 2,048 rows more than there is, whoever notices first, the engine or the encoder."""
    job = run_job(source, f"SELECT repeat('x', {length}) AS s FROM t LIMIT 5000", tmp_path, threads=threads, memory="64MiB")
    assert not job.done and job.broken == "" and job.code == "out_of_memory"


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_chunks_of_few_rows_hold_nobody_back(source, threads, tmp_path):
    """Each chunk of rows has a block of memory, were it for one row: so many of them must not stop a query whose first row is late."""
    job = run_job(source, "SELECT id FROM t WHERE id % 1000 = 7", tmp_path, threads=threads, deadline=60000)
    assert job.done and job.data.count(b"\n") == job.rows + 1
    assert [int(line) for line in job.data.split()[1:]] == list(range(7, job.rows * 1000, 1000))


def test_what_waits_for_the_upload_is_bounded(source, tmp_path):
    """0.9 GB that nobody takes for a while."""
    sql = "SELECT id, repeat('x', 300) AS s FROM t"
    job = run_job(source, sql, tmp_path, threads=4, memory="128MiB", slow=300, part_size="8MiB", cancel_after=64 << 20)
    assert job.code == "cancelled" and job.broken == ""
    assert job.peak_rss_anon < 300 << 20


@pytest.mark.parametrize("size", [1, 7, 4096])
def test_parts_of_any_size(source, size, tmp_path):
    job = run_job(source, "FROM t LIMIT 500", tmp_path, part_size=size, parts=2)
    assert job.done and job.broken == "" and job.parts == -(-job.bytes // size)


def test_spilling_and_its_limit(source, tmp_path):
    sql = "SELECT * FROM t ORDER BY hash(id)"
    job = run_job(source, sql, tmp_path, memory="32MiB", threads=1)
    assert job.done and job.rows == 3000000 and job.spill_left == 0
    job = run_job(source, sql, tmp_path, memory="32MiB", threads=1, spill="1MiB")
    assert job.code == "spill_limit" and job.broken == ""


@pytest.mark.parametrize(
    "sql,after",
    [
        ("FROM t", 0),  # with START
        ("SELECT a.* FROM t a, t b", 4 << 20),  # in mid-stream
        ("SELECT count(*) FROM t a, t b WHERE a.name > b.name", 0),  # before the first row
    ],
)
def test_cancel(source, sql, after, tmp_path):
    job = run_job(source, sql, tmp_path, cancel_after=after)
    assert not job.done and job.broken == "" and job.code == "cancelled"
    assert job.cancel_ms < 1000


def test_cancel_while_no_buffer_is_free(source, tmp_path):
    job = run_job(source, "SELECT a.* FROM t a, t b", tmp_path, cancel_after=1 << 20, slow=100, part_size="1MiB", parts=2)
    assert job.code == "cancelled" and job.cancel_ms < 1000


def test_a_killed_worker_is_seen(source, tmp_path):
    job = run_job(source, "SELECT a.* FROM t a, t b", tmp_path, kill_after=1)
    assert job.signal == 9 and not job.done


def test_progress(source, tmp_path):
    job = run_job(source, "FROM t", tmp_path, slow=100, part_size="1MiB")
    assert job.done and job.progress >= 3 and 0 < job.percent <= 100


def test_a_writer_holds_the_file(source, start, tmp_path):
    path = make_source(tmp_path / "busy.duckdb", "CREATE TABLE t AS SELECT 1 AS x")
    writer = subprocess.Popen([DUCKDB_RUN, "--hold", path, "INSERT INTO t VALUES (2)"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    job = run_job(path, "FROM t", tmp_path, source_wait=300)
    assert job.code == "source_unavailable" and job.message == "the database is in use by a writer"
    assert job.wall_s >= 0.3
    if start == "exec":  # a job that waits for a template is the server's to cancel
        job = run_job(path, "FROM t", tmp_path, source_wait=60000, cancel_after=0)
        assert job.code == "cancelled" and job.cancel_ms < 1000
    writer.communicate()
    assert run_job(path, "FROM t", tmp_path).data == b"x\n1\n2\n"


def test_a_write_ahead_log_is_read(tmp_path):
    """A writer that died leaves its log: what it committed is there."""
    path = make_source(tmp_path / "wal.duckdb", "CREATE TABLE t AS SELECT 1 AS x")
    writer = subprocess.Popen([DUCKDB_RUN, "--hold", path, "PRAGMA disable_checkpoint_on_shutdown",
                               "SET wal_autocheckpoint='1GB'", "INSERT INTO t VALUES (2)"],
                              stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert writer.stdout.readline() == b"ready\n"
    writer.kill()
    writer.wait()
    assert os.path.exists(f"{path}.wal")
    users = [{}] + ([{"uid": 65534, "gid": 65534}] if os.geteuid() == 0 else [])
    for user in users:
        job = run_job(path, "FROM t", tmp_path, **user)
        assert job.data == b"x\n1\n2\n", job.message


def test_sources_that_do_not_open(source, tmp_path):
    not_a_database = tmp_path / "text.duckdb"
    not_a_database.write_text("hello " * 1000)
    for path in (tmp_path / "missing.duckdb", not_a_database, tmp_path, "/dev/zero"):
        job = run_job(path, "SELECT 1", tmp_path)
        assert job.code == "source_unavailable" and job.broken == ""
        assert str(tmp_path) not in job.message and "/dev" not in job.message


def test_names_of_sources(source, tmp_path):
    for name in ("with space.duckdb", "quote'd.db", "md:x.duckdb", ":memory:", "no-suffix", "ü.duckdb"):
        path = tmp_path / name
        os.link(source, path)
        assert run_job(path, "SELECT count(*) AS n FROM t", tmp_path).data == b"n\n3000000\n", name


@pytest.mark.parametrize("mode", ["required", "best-effort", "off"])
def test_modes_of_the_sandbox(source, mode, tmp_path):
    job = run_job(source, "SELECT 1 AS x", tmp_path, sandbox=mode)
    assert job.data == b"x\n1\n" and (job.boxed or mode == "off")


def worker(*arguments):
    return subprocess.run([WORKER, *arguments], capture_output=True, text=True)


def test_by_hand(source, tmp_path):
    assert worker().returncode == 2 and "downloads-server" in worker().stderr
    assert worker("--version").stdout.startswith("downloads-worker ")
    assert "--check-sandbox" in worker("--help").stdout
    assert worker("--nonsense").returncode == 2
    assert worker("--check-source", str(source)).stdout == "ok\n"
    missing = worker("--check-source", str(tmp_path / "missing.duckdb"))
    assert missing.returncode == 1 and missing.stdout
    sandbox = worker("--check-sandbox")
    assert sandbox.returncode in (0, 1) and "landlock" in sandbox.stdout and "seccomp" in sandbox.stdout


@pytest.mark.parametrize("file_format", ["csv", "tsv", "json", "ndjson", "parquet"])
def test_a_name_longer_than_a_block(source, tmp_path, file_format):
    name = "n" * 200_000
    job = run_job(source, f'SELECT 1 AS "{name}", 2 AS b', tmp_path, format=file_format)
    assert job.done and job.broken == "", (job.message, job.broken)
    expected = {
        "csv": f"{name},b\n1,2\n",
        "tsv": f"{name}\tb\n1\t2\n",
        "json": '[\n\t{"' + name + '":1,"b":2}\n]\n',
        "ndjson": '{"' + name + '":1,"b":2}\n',
    }
    if file_format in expected:
        assert job.data.decode() == expected[file_format]


@pytest.mark.parametrize("file_format", ["csv", "json", "parquet"])
def test_names_that_differ_only_behind_a_nul(tmp_path, file_format):
    path = make_source(
        tmp_path / "nul.duckdb",
        "CREATE TYPE mood AS ENUM (SELECT unnest(['a' || chr(0) || 'b', 'a' || chr(0) || 'c']))",
        "CREATE TABLE t AS SELECT 1 AS k, unnest(enum_range(NULL::mood)) AS m",
    )
    job = run_job(path, "PIVOT t ON m IN mood USING count(*)", tmp_path, format=file_format)
    assert not job.done and job.data == b""
    assert (job.code, job.message) == ("query_failed", "names of columns differ only behind a U+0000: give them others")


@pytest.mark.parametrize("file_format", ["csv", "parquet"])
def test_memory_that_is_gone_before_the_threads_use_it_is_told(source, tmp_path, file_format):
    """Each level of a list costs the engine some MB of addresses, as for a vector of rows."""
    job = run_job(source, "SELECT " + "[" * 140 + "1" + "]" * 140 + " AS a", tmp_path, format=file_format)
    assert job.broken == "", job.broken
    assert job.done or job.code == "out_of_memory", (job.code, job.message)
