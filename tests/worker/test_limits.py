"""row_limit and byte_limit: the file is whole up to the limit, which is never exceeded, and says so where rows are missing."""
import bisect
import gzip
import json

import pytest

from worker import make_source, run_job

ROWS = 300_000  # more than two row groups of 122,880
BORDERS = [1, 2, 2047, 2048, 2049, 122879, 122880, 122881, 245760, ROWS - 1, ROWS, ROWS + 1, 2**62]
SQL = "SELECT id, name, amount FROM t"


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("limits") / "limits.duckdb"
    return make_source(path, f"""CREATE TABLE t AS SELECT i AS id, repeat('n', (hash(i) % 40)::INT) || i AS name,
        CASE WHEN i % 5 = 0 THEN NULL ELSE (i * 0.37)::DECIMAL(12, 2) END AS amount,
        CASE WHEN i % 3 = 0 THEN '=' ELSE '' END || i AS formula FROM range({ROWS}) r(i)""",
                       f"CREATE TABLE wide AS SELECT i AS id, repeat('w', 30000 + (hash(i) % 200000)::INT) AS w FROM range(300) r(i)",
                       "CREATE TABLE one AS SELECT 7 AS x")


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    """The file without a limit, and where each of its lines ends: 0 is the header."""
    data = run_job(source, SQL, tmp_path_factory.mktemp("whole"), threads=2).data
    return data, line_ends(data)


def line_ends(data):
    ends, at = [], -1
    while (at := data.find(b"\n", at + 1)) >= 0:
        ends.append(at + 1)
    return ends


def limited(source, sql, tmp_path, threads=2, form=None, **limits):
    job = run_job(source, sql, tmp_path, threads=threads, format=json.dumps({"format": "csv"} | (form or {}) | limits))
    assert job.done and job.broken == "", job.message
    assert job.bytes == len(job.data)
    return job


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("limit", BORDERS)
def test_row_limit(source, whole, limit, threads, tmp_path):
    data, ends = whole
    job = limited(source, SQL, tmp_path, threads, row_limit=limit)
    rows = min(limit, ROWS)
    assert job.rows == rows and job.truncated == (limit < ROWS)
    assert job.data == data[:ends[rows]]


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("row", [1, 2, 2048, 2049, 122880, 122881, ROWS - 1, ROWS])
@pytest.mark.parametrize("more", [-1, 0, 1])
def test_byte_limit(source, whole, row, more, threads, tmp_path):
    """A row that ends with the last byte is there; one that needs a byte more is not."""
    data, ends = whole
    limit = ends[row] + more
    job = limited(source, SQL, tmp_path, threads, byte_limit=limit)
    rows = row - 1 if more < 0 else row
    assert job.rows == rows and job.bytes <= limit
    assert job.truncated == (rows < ROWS)
    assert job.data == data[:ends[rows]]


def test_no_room_for_a_row(source, whole, tmp_path):
    """The header stays whole, though it alone is more than the limit."""
    data, ends = whole
    for limit in (1, ends[0] - 1, ends[0], ends[0] + 1):
        job = limited(source, SQL, tmp_path, byte_limit=limit)
        assert job.data == data[:ends[0]] and job.rows == 0 and job.truncated
    job = limited(source, SQL, tmp_path, form={"options": {"header": False}}, byte_limit=1)
    assert job.data == b"" and job.rows == 0 and job.truncated


def test_nothing_is_missing_where_there_is_nothing(source, tmp_path):
    for limits in ({"row_limit": 1}, {"byte_limit": 1}, {"byte_limit": 100}, {"row_limit": 5, "byte_limit": 3}):
        job = limited(source, SQL + " WHERE id < 0", tmp_path, **limits)
        assert job.data == b"id,name,amount\n" and job.rows == 0 and not job.truncated
    job = limited(source, "FROM one", tmp_path, row_limit=1, byte_limit=len(b"x\n7\n"))
    assert job.data == b"x\n7\n" and not job.truncated


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_the_first_of_two_limits_counts(source, whole, threads, tmp_path):
    data, ends = whole
    for rows, size, expected in ((1000, ends[999], 999), (1000, ends[1000], 1000), (1000, ends[1001], 1000), (5000, ends[4999] + 1, 4999)):
        job = limited(source, SQL, tmp_path, threads, row_limit=rows, byte_limit=size)
        assert job.rows == expected and job.truncated and job.data == data[:ends[expected]]


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_rows_that_are_larger_than_a_block(source, threads, tmp_path):
    data = run_job(source, "FROM wide", tmp_path, threads=2).data
    ends = line_ends(data)
    for limit in (ends[1] - 1, ends[1], 1_000_000, 10_000_000, ends[150] - 1, ends[150], ends[299], ends[300] - 1, ends[300]):
        job = limited(source, "FROM wide", tmp_path, threads, byte_limit=limit)
        rows = bisect.bisect_right(ends, limit) - 1
        assert job.rows == rows and job.data == data[:ends[rows]] and job.truncated == (rows < 300)


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_only_the_rows_of_the_file_are_counted_as_guarded(source, threads, tmp_path):
    safe = {"options": {"excel_safe": True}}
    for limit in (1, 3, 4, 2048, 2050, 150_000, ROWS):
        job = limited(source, 'SELECT formula AS "=f" FROM t', tmp_path, threads, form=safe, row_limit=limit)
        assert job.rows == limit and job.altered == 1 + (limit + 2) // 3 == job.data.count(b"\"'=")
    job = limited(source, 'SELECT formula AS "=f" FROM t', tmp_path, threads, form=safe, byte_limit=100_000)
    assert job.truncated and job.altered == job.data.count(b"\"'=") and job.altered == 1 + (job.rows + 2) // 3
    job = limited(source, 'SELECT formula AS "=f" FROM t', tmp_path, threads, form=safe, byte_limit=1)
    assert job.data == b"\"'=f\"\n" and job.altered == 1


@pytest.mark.parametrize("options", [{"bom": True}, {"line_ending": "\r\n"}, {"header": False}, {"null": "nothing", "quote_all": True}])
def test_bytes_are_those_of_the_file(source, options, tmp_path):
    data = limited(source, SQL, tmp_path, form={"options": options}).data
    ends = line_ends(data)
    for limit in (ends[5] - 1, ends[5], ends[5] + 1, ends[70_000]):
        job = limited(source, SQL, tmp_path, form={"options": options}, byte_limit=limit)
        assert job.data == data[:ends[bisect.bisect_right(ends, limit) - 1]] and job.truncated


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("limits", [{"row_limit": 3}, {"row_limit": 200_000}, {"byte_limit": 5_000_000}])
def test_a_query_without_end_ends_at_the_limit(source, limits, threads, tmp_path):
    """And the rest is not waited for; nor does progress ever tell more than the file gets (the driver looks at that)."""
    sql = "SELECT a.id, b.name FROM t a, t b"
    job = run_job(source, sql, tmp_path, threads=threads, deadline=60000, format=json.dumps({"format": "csv"} | limits))
    assert job.done and job.broken == "" and job.truncated, job.message
    if "row_limit" in limits:
        assert job.rows == limits["row_limit"]
    assert job.rows == job.data.count(b"\n") - 1


@pytest.mark.parametrize("threads", [1, 2, 8])
def test_an_error_within_the_limit_fails_the_job(source, threads, tmp_path):
    sql = "SELECT CASE WHEN id = 250000 THEN error('this row') ELSE id END AS x FROM t"
    job = run_job(source, sql, tmp_path, threads=threads, format=json.dumps({"format": "csv", "row_limit": 250_001}))
    assert not job.done and job.broken == "" and job.code == "query_failed" and "this row" in job.message


@pytest.mark.parametrize("threads", [1, 8])
@pytest.mark.parametrize("more", [-1, 0, 1])
@pytest.mark.parametrize("rows", [1, 2, 2049, 122881])
def test_a_list_in_json_is_closed_within_the_limit(source, rows, more, threads, tmp_path):
    data = limited(source, SQL, tmp_path, form={"format": "json"}, row_limit=rows).data
    job = limited(source, SQL, tmp_path, threads, form={"format": "json"}, byte_limit=len(data) + more)
    assert job.truncated and job.rows == rows - (more < 0) and job.bytes <= len(data) + more
    assert job.data == data if more >= 0 else [row["id"] for row in json.loads(job.data)] == list(range(rows - 1))


@pytest.mark.parametrize("rows", [0, 1, 2049])
def test_bytes_are_counted_before_compression(source, whole, rows, tmp_path):
    data, ends = whole
    job = limited(source, SQL, tmp_path, form={"compression": "gzip"}, byte_limit=ends[rows])
    assert job.truncated and job.rows == rows and gzip.decompress(job.data) == data[:ends[rows]]
    lines = limited(source, SQL, tmp_path, form={"format": "ndjson"}, row_limit=rows + 1)
    job = limited(source, SQL, tmp_path, form={"format": "ndjson", "compression": "gzip"}, byte_limit=len(lines.data))
    assert job.rows == rows + 1 and gzip.decompress(job.data) == lines.data


def test_a_limit_by_template(source, whole, tmp_path):
    data, ends = whole
    job = run_job(source, SQL, tmp_path, template=1, format=json.dumps({"format": "csv", "row_limit": 2048}))
    assert job.done and job.truncated and job.data == data[:ends[2048]]
