"""Parquet through the real worker, against what DuckDB's own COPY writes of the same query: schema, and every row both ways."""
import json
import os

import pytest

from worker import make_source, run_job, start  # noqa: F401

ROWS = 300_000
KIND_ROWS = 10_000

# Of each type some values, the limits among them, and NULL; long and short texts; nested ones of every kind.
KINDS = f"""CREATE TABLE kinds AS SELECT
    i AS id,
    i % 2 = 0 AS b,
    (i % 256 - 128)::TINYINT AS i8, (i % 65536 - 32768)::SMALLINT AS i16, (i * 7)::INTEGER AS i32, i * -123456789 AS i64,
    (i % 256)::UTINYINT AS u8, (i % 65536)::USMALLINT AS u16, i::UINTEGER AS u32, (18446744073709551615 - i)::UBIGINT AS u64,
    i::HUGEINT AS i128, i::UHUGEINT AS u128, (i % 7)::BIGNUM AS bignum,
    (i / 7)::FLOAT AS f, CASE i % 5 WHEN 0 THEN 'nan'::DOUBLE WHEN 1 THEN 'inf'::DOUBLE WHEN 2 THEN -0.0 ELSE i / 3 END AS d,
    (i % 1000 / 100)::DECIMAL(4, 2) AS d4, (i / 100)::DECIMAL(9, 2) AS d9, (i / 1000)::DECIMAL(18, 3) AS d18, (i / 10000)::DECIMAL(38, 4) AS d38,
    CASE WHEN i % 3 > 0 THEN 'text ' || i END AS short, CASE WHEN i % 1000 = 0 THEN repeat('long ' || i, 3000) ELSE '' END AS long,
    (i::VARCHAR || '\\x00\\xFF')::BLOB AS blob, i::INTEGER::BIT AS bit, md5(i::VARCHAR)::UUID AS uuid,
    (['a', 'b', 'c'])[i % 3 + 1]::ENUM ('a', 'b', 'c') AS e,
    DATE '1900-01-01' + (i % 100000)::INTEGER AS date, TIME '00:00:00' + INTERVAL (i) MICROSECOND AS time,
    (TIME '00:00:00' + INTERVAL (i) SECOND)::TIMETZ AS timetz, TIMESTAMP '1960-01-01' + INTERVAL (i * 3601) SECOND AS ts,
    (TIMESTAMP '1960-01-01' + INTERVAL (i * 3601) SECOND)::TIMESTAMP_S AS ts_s,
    (TIMESTAMP '1960-01-01' + INTERVAL (i) MILLISECOND)::TIMESTAMP_MS AS ts_ms,
    (TIMESTAMP '1960-01-01' + INTERVAL (i) MICROSECOND)::TIMESTAMP_NS AS ts_ns,
    (TIMESTAMP '2024-01-01' + INTERVAL (i) MINUTE)::TIMESTAMPTZ AS ts_tz, INTERVAL (i % 100) DAY AS interval,
    json_object('a', i) AS json,
    CASE i % 4 WHEN 0 THEN [] WHEN 1 THEN [i, NULL] WHEN 2 THEN range(i % 50) END AS list,
    CASE i % 4 WHEN 0 THEN [[]] WHEN 1 THEN [['x' || i, NULL], NULL] WHEN 2 THEN [[repeat('y', i % 40)]] END AS lists,
    CASE WHEN i % 5 > 0 THEN {{'a': i, 'b': {{'c': 'in ' || i, 'd': [i % 3]}}}} END AS struct,
    MAP {{'k' || i: i, 'z': NULL}} AS map, array_value(i, NULL, i + 1) AS triple,
    CASE WHEN i % 2 = 0 THEN union_value(n := i)::UNION(n BIGINT, s VARCHAR) ELSE union_value(s := 's' || i)::UNION(n BIGINT, s VARCHAR) END AS either
FROM range({KIND_ROWS}) r(i)"""

PLAIN = "CREATE TABLE plain AS SELECT i AS id, 'name ' || i AS name, i / 7 AS d FROM range({}) r(i)".format(ROWS)

# The first is copied by the engine on its threads, with enough memory; all others are relayed.
QUERIES = [
    "SELECT id, name FROM plain",
    "FROM plain",
    "FROM kinds",
    "FROM kinds WHERE id % 3 = 0",
    "FROM kinds ORDER BY hash(id) LIMIT 3000",
    "SELECT id, list_transform(list, lambda x: x + 1) AS a, list_filter(lists, lambda x: x IS NOT NULL) AS b, list || list AS c FROM kinds",
    "SELECT id, struct.b AS s, struct.b.d[1] AS x, map_values(map) AS v, map_entries(map) AS e, (triple::BIGINT[])[2:] AS a, union_extract(either, 's') AS u FROM kinds",
    "SELECT id, list_sort(list) AS a, unnest(list) AS b, unnest(lists) AS c FROM kinds",
    "SELECT e, list(id) AS ids, list(struct) AS structs, min(long) AS long, histogram(e) AS h FROM kinds GROUP BY ALL ORDER BY e",
    "SELECT 1 AS one, [1, 2] AS l, {'a': 'const'} AS s, 'constant that is long' AS c, id FROM kinds",
    "SELECT k.id, k.short, p.name, k.lists FROM kinds k LEFT JOIN plain p ON k.id = p.id * 2 ORDER BY k.id",
    "SELECT id, row_number() OVER (ORDER BY id DESC) AS n, lag(list) OVER (ORDER BY id) AS l FROM kinds",
    "FROM kinds WHERE false",
    "SELECT NULL AS n, NULL::VARCHAR[] AS l, 'x' AS x FROM range(5000)",
    "SELECT 1 AS a, 2 AS a, 3 AS \"A\", 4 AS a_1, 5 AS \"with space\", 6 AS \"q\"\"uote\", 7 AS \"ü\"",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 10000) SELECT n, [n] AS l FROM c",
    "VALUES (1, 'a'), (2, NULL)",
    "PIVOT (SELECT 1 AS k, 'a' AS c) ON c IN ('a', 'b') USING count(*)",
    "FROM plain UNION ALL SELECT -id, NULL, d FROM plain",
]


def parquet(**members):
    return json.dumps({"format": "parquet"} | members)


def ask(sql, tmp_path):
    """The first column of the query's rows, as texts."""
    path = tmp_path / "answers.csv"
    make_source(tmp_path / "asked.duckdb", f"COPY (SELECT x::VARCHAR AS x FROM ({sql}) t(x)) TO '{path}' (FORMAT csv, HEADER false, QUOTE '')")
    return path.read_text().splitlines()


def groups(path, tmp_path):
    """Rows of each row group."""
    return [int(n) for n in ask(f"SELECT row_group_num_rows FROM parquet_metadata('{path}') WHERE column_id = 0 ORDER BY row_group_id", tmp_path)]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("source") / "main.duckdb", "SET TimeZone='UTC'", KINDS, PLAIN)


def run(source, sql, tmp_path, form="parquet", **options):
    """The job, and its file under the name .parquet; where it is done the file is whole."""
    job = run_job(source, sql, tmp_path, **({"format": form, "memory": "1GiB"} | options))
    job.path = tmp_path / "out.parquet"
    job.path.write_bytes(job.data)
    assert job.broken == "", job.message
    if job.done:
        assert job.data[:4] == b"PAR1" == job.data[-4:]
        assert job.rows == sum(int(n) for n in ask(f"SELECT num_rows FROM parquet_file_metadata('{job.path}')", tmp_path))
    return job


def same_as_copy(source, sql, path, tmp_path, name="copy"):
    """Types, and rows both ways and in their order."""
    copy = tmp_path / f"{name}.parquet"
    copied = tmp_path / f"{name}.duckdb"
    if not copy.exists():
        make_source(copied, f"ATTACH '{source}' AS s (READ_ONLY)", "USE s", "SET TimeZone='UTC'", f"COPY ({sql}) TO '{copy}' (FORMAT parquet)")
    schema = "SELECT * EXCLUDE file_name FROM parquet_schema('{}')"
    number = "(SELECT *, row_number() OVER () AS in_order FROM '{}')"
    missing = []
    for a, b in ((path, copy), (copy, path)):
        missing.append(f"SELECT count(*) FROM ({schema.format(a)} EXCEPT ALL {schema.format(b)})")
        missing.append(f"SELECT count(*) FROM (FROM {number.format(a)} EXCEPT ALL FROM {number.format(b)})")
    assert ask(" UNION ALL ".join(missing), tmp_path) == ["0"] * 4, sql


@pytest.mark.parametrize("sql", QUERIES)
def test_schema_and_rows_are_copys(source, sql, tmp_path):
    job = run(source, sql, tmp_path, threads=4)
    assert job.done, job.message
    same_as_copy(source, sql, job.path, tmp_path)
    limited = run(source, sql, tmp_path, parquet(row_limit=10**9, byte_limit=10**12, compression="snappy"), threads=1)
    assert limited.done and not limited.truncated and limited.rows == job.rows, limited.message
    same_as_copy(source, sql, limited.path, tmp_path)


def test_columns_as_they_are_told(source, tmp_path):
    job = run(source, "SELECT 1 AS a, 'x' AS a, [1.5] AS \"l l\"", tmp_path)
    assert job.columns["columns"] == [{"name": "a", "type": "INTEGER"}, {"name": "a_1", "type": "VARCHAR"},
                                      {"name": "l l", "type": "DECIMAL(2,1)[]"}]
    assert ask(f"SELECT column_name FROM (DESCRIBE FROM '{job.path}')", tmp_path) == ["a", "a_1", "l l"]


@pytest.mark.parametrize("name,codec", [("zstd", "ZSTD"), ("snappy", "SNAPPY"), ("none", "UNCOMPRESSED"), (None, "ZSTD")])
def test_codecs(source, name, codec, tmp_path):
    for limit in (0, 10**9):
        job = run(source, "SELECT id, name FROM plain", tmp_path, parquet(compression=name, row_limit=limit))
        assert job.done and ask(f"SELECT DISTINCT compression FROM parquet_metadata('{job.path}')", tmp_path) == [codec]


def test_row_groups(source, tmp_path):
    assert groups(run(source, "SELECT id FROM plain", tmp_path).path, tmp_path) == [122880, 122880, 54240]
    for limit in (0, 10**9):
        job = run(source, "SELECT id FROM plain", tmp_path, parquet(options={"row_group_size": 20480}, row_limit=limit))
        assert groups(job.path, tmp_path) == [20480] * 14 + [13280]
        job = run(source, "SELECT id FROM plain", tmp_path, parquet(options={"row_group_size": 1048576}, row_limit=limit))
        assert groups(job.path, tmp_path) == [ROWS]


def test_a_row_group_stays_within_memory(source, tmp_path):
    """By its bytes, with texts as with many columns: an eighth of the limit, and a piece more."""
    for sql in ("SELECT id, repeat(md5(id::VARCHAR), 100) AS s FROM plain LIMIT 100000",
                "SELECT " + ", ".join(f"id + {i} AS c{i}" for i in range(400)) + " FROM plain LIMIT 100000"):
        job = run(source, sql, tmp_path, memory="256MiB")
        rows = groups(job.path, tmp_path)
        assert job.done and sum(rows) == 100000 and 2048 < max(rows) < 16000, rows
        assert job.peak_rss_anon < 384 << 20


def test_many_columns(tmp_path):
    """With row groups of 122,880 rows these would take 1.5 GB a thread."""
    columns = ", ".join(f"i + {c} AS c{c}" for c in range(1600))
    path = make_source(tmp_path / "wide.duckdb", f"CREATE TABLE t AS SELECT {columns} FROM range(20000) r(i)")
    job = run(path, "FROM t", tmp_path, memory="512MiB")
    assert job.done and job.rows == 20000 and job.peak_rss_anon < 768 << 20
    total = ask(f"SELECT sum(c0) || ' ' || sum(c1599) FROM '{job.path}'", tmp_path)
    assert total == [f"{sum(range(20000))} {sum(range(1599, 21599))}"]


@pytest.mark.parametrize("length,rows", [(9000, 20000), (4 << 20, 20)])
def test_long_texts_do_not_pile_up(source, length, rows, tmp_path):
    """The engine counts no byte of a text in a result that waits."""
    sql = f"SELECT id, repeat(chr(97 + (id % 26)::INT), {length}) AS s FROM plain LIMIT {rows}"
    job = run(source, sql, tmp_path, memory="256MiB", threads=4)
    assert job.done and job.rows == rows and job.peak_rss_anon < 384 << 20
    wrong = f"SELECT count(*) FROM '{job.path}' WHERE s != repeat(chr(97 + (id % 26)::INT), {length})"
    assert ask(wrong, tmp_path) == ["0"]


@pytest.mark.parametrize("limit", [1, 2047, 2048, 2049, 122880, ROWS - 1, ROWS, ROWS + 1])
def test_a_limit_of_rows(source, limit, tmp_path):
    job = run(source, "SELECT id, name, d FROM plain", tmp_path, parquet(row_limit=limit), threads=4)
    assert job.done and job.rows == min(limit, ROWS) and job.truncated == (limit < ROWS)
    same_as_copy(source, f"FROM plain LIMIT {limit}", job.path, tmp_path)


def test_a_limit_of_rows_without_an_end(source, tmp_path):
    job = run(source, "SELECT a.id FROM plain a, plain b, plain c", tmp_path, parquet(row_limit=10000), deadline=60000)
    assert job.done and job.rows == 10000 and job.truncated


def test_a_limit_of_bytes(source, tmp_path):
    """Eight bytes, and the text's: 'name 0' has six."""
    for limit, rows in ((13, 0), (14, 1), (27, 1), (28, 2), (140, 10), (154, 10), (155, 11), (10**9, ROWS)):
        job = run(source, "SELECT id, name FROM plain", tmp_path, parquet(byte_limit=limit))
        assert job.done and job.rows == rows and job.truncated == (rows < ROWS), limit
        same_as_copy(source, f"SELECT id, name FROM plain LIMIT {rows}", job.path, tmp_path, f"copy{rows}")
    both = parquet(byte_limit=10**6, row_limit=5)
    assert run(source, "SELECT id, name FROM plain", tmp_path, both).rows == 5
    # NULL has the size of its type, or none; a list that of its text.
    for value, size in (("NULL::BIGINT", 8), ("NULL::VARCHAR", 0), ("'ä'", 2), ("'\\xFF'::BLOB", 1), ("[1, 2]", 6), ("1.5::DECIMAL(38, 1)", 16)):
        job = run(source, f"SELECT {value} AS v, 1::TINYINT AS t FROM range(1000)", tmp_path, parquet(byte_limit=10 * (size + 1)))
        assert job.rows == 10 and job.truncated, value


def test_a_limit_of_bytes_with_many_columns(source, tmp_path):
    columns = ", ".join(f"'x' AS c{c}" for c in range(1600))
    job = run(source, f"SELECT {columns} FROM range(100)", tmp_path, parquet(byte_limit=16000), memory="512MiB")
    assert job.done and job.rows == 10 and job.truncated


@pytest.mark.parametrize("form", [parquet(), parquet(row_limit=10**9), parquet(byte_limit=10**12)])
@pytest.mark.parametrize("row", [0, 2048, 122880, ROWS - 1])
def test_a_row_that_fails(source, row, form, tmp_path):
    job = run(source, f"SELECT id, CASE WHEN id = {row} THEN error('the row fails') ELSE name END AS x FROM plain", tmp_path, form, threads=4)
    assert not job.done and job.code == "query_failed" and "the row fails" in job.message
    assert "/dev" not in job.message and "Attempting" not in job.message


def test_errors_point_at_the_line(source, tmp_path):
    for form in (parquet(), parquet(row_limit=5), parquet(byte_limit=5)):
        job = run(source, "SELECT nosuch\nFROM plain", tmp_path, form)
        assert job.code == "query_failed" and "LINE 1: SELECT nosuch" in job.message
        job = run(source, "SELECT 1,\n  CAST(name AS INT) FROM plain", tmp_path, form)
        assert job.code == "query_failed" and "LINE 2:   CAST(name AS INT)" in job.message


def test_what_parquet_cannot_hold(source, tmp_path):
    job = run(source, "SELECT INTERVAL '-3 days' AS i", tmp_path)
    assert job.code == "query_failed" and job.message == "IO Error: Parquet files do not support negative intervals"
    assert not job.done and job.bytes == 0


def test_no_memory_for_a_row_group(source, tmp_path):
    form = parquet(options={"row_group_size": 1048576})
    job = run(source, "SELECT md5(id::VARCHAR) || id AS s, * FROM plain, range(4)", tmp_path, form, memory="64MiB", spill="16MiB")
    assert not job.done and job.code in ("out_of_memory", "spill_limit")
    assert "/dev" not in job.message


ENDLESS = {"copied": "SELECT id, name FROM plain", "relayed": "SELECT a.id, hash(b.id) AS h FROM plain a, plain b"}


@pytest.mark.parametrize("way", ENDLESS)
def test_cancel_while_the_upload_stands(source, way, tmp_path):
    job = run(source, ENDLESS[way], tmp_path, slow=200, part_size="16KiB", parts=2, cancel_after=40000)
    assert job.code == "cancelled" and job.cancel_ms < 5000


def test_cancel_before_the_first_row(source, tmp_path):
    for form in (parquet(), parquet(row_limit=5)):
        job = run(source, "SELECT count(*) FROM plain a, plain b, plain c WHERE hash(a.id + b.id + c.id) = 1", tmp_path, form, cancel_after=0)
        assert job.code == "cancelled" and job.cancel_ms < 5000


def test_a_killed_worker_is_seen(source, tmp_path):
    job = run_job(source, ENDLESS["relayed"], tmp_path, format="parquet", part_size="64KiB", kill_after=1)
    assert job.signal == 9 and not job.done


def test_a_slow_upload(source, tmp_path):
    for form in (parquet(), parquet(row_limit=10**9)):
        job = run(source, "SELECT id, name FROM plain", tmp_path, form, slow=20, part_size="16KiB", parts=2)
        assert job.done and job.progress > 1
        same_as_copy(source, "SELECT id, name FROM plain", job.path, tmp_path)


PIPE = "/dev/fd/200"
ATTACKS = [
    f"FROM query('FROM read_blob(''{PIPE}'')')",
    f"FROM query('FROM read_csv(''{PIPE}'')')",
    f"FROM query('FROM read_parquet(''{PIPE}'')')",
    f"FROM query('FROM read_text(''/proc/self/fd/200'')')",
    f"FROM query('FROM glob(''{PIPE}'')')",
    f"FROM query('FROM glob(''/dev/fd/*'')')",
    f"FROM '{PIPE}'",
    f"SELECT * FROM plain, query('FROM read_blob(''{PIPE}'')')",
    f"SELECT id, (SELECT content FROM query('FROM read_blob(''{PIPE}'')')) AS c FROM plain",
    f"FROM plain UNION ALL SELECT 1, content::VARCHAR, 1.0 FROM query('FROM read_blob(''{PIPE}'')')",
    f"FROM query(CASE WHEN current_query() LIKE 'COPY%' THEN 'FROM read_blob(''{PIPE}'')' ELSE 'FROM plain' END)",
    "FROM query((SELECT 'FROM ' || function_name || '()' FROM duckdb_functions() WHERE length(function_name) = 32))",
    "FROM query('FROM ' || regexp_extract(current_query(), 'e[0-9a-f]{31}') || '()')",
]


@pytest.mark.parametrize("sql", ATTACKS)
def test_the_pipe_is_not_the_querys(source, sql, tmp_path):
    """The query finds no such file, does not wait for one, and writes none: the job fails, or its file is whole without it."""
    for form in (parquet(), parquet(row_limit=10**9), "csv"):
        job = run_job(source, sql, tmp_path, format=form, deadline=60000)
        assert job.broken == "", job.message
        if job.done and form != "csv":
            path = tmp_path / "a.parquet"
            path.write_bytes(job.data)
            assert b"PAR1" == job.data[-4:]
            found = ask(f"SELECT count(*) FROM '{path}' t WHERE t::VARCHAR LIKE '%PAR1%'", tmp_path)
            assert found == ["0"]
        elif not job.done:
            assert job.code in ("query_failed", "sql_refused")


def test_the_pipe_is_not_there_for_other_jobs(source, tmp_path):
    job = run_job(source, f"FROM query('SELECT count(*) AS n FROM glob(''{PIPE}'')')", tmp_path)
    assert job.data in (b"n\n0\n", b"") and job.broken == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="needs another user")
def test_as_another_user(source, tmp_path):
    for form in (parquet(), parquet(row_limit=5)):
        job = run(source, "SELECT id, name FROM plain", tmp_path, form, uid=65534, gid=65534)
        assert job.done and job.boxed


def test_the_time_zone_is_the_sessions(source, tmp_path):
    """Instants stay what they are; what the query makes of them follows."""
    sql = "SELECT ts_tz, ts_tz::DATE AS day FROM kinds LIMIT 5000"
    job = run(source, sql, tmp_path, parquet(options={"timezone": "Asia/Kolkata"}))
    days = ask(f"SELECT count(*) FROM '{job.path}' WHERE day = (timezone('Asia/Kolkata', ts_tz))::DATE", tmp_path)
    assert job.done and days == ["5000"]


def test_cpu_is_told(source, tmp_path):
    job = run(source, "SELECT id, name FROM plain", tmp_path)
    assert job.cpu_us[0] > 0
