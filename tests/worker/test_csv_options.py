"""The options of CSV through a real worker: byte for byte COPY's where it has them, and read back by DuckDB and by Python."""
import csv
import io
import json

import pytest

from worker import make_source, run_job

ROWS = 150_000  # more than a row group

TABLE = f"""CREATE TABLE t AS SELECT i AS id,
    [NULL, '', 'NA', 'a;b', 'a,b', 'say "x"', 'line' || chr(10) || 'feed', chr(13), ' x ', '#', 'a text of more than twelve bytes; and "quotes"',
     'tab' || chr(9), '=1+1', 'x' || repeat('y', 9000)][(hash(i) % 14)::INT + 1] AS text,
    CASE WHEN i % 3 = 0 THEN NULL ELSE i - 5 END AS number, TIMESTAMP '2020-01-01' + INTERVAL (i) MINUTE AS moment,
    [i, NULL] AS list FROM range({ROWS}) r(i)"""

COPYABLE = [
    ({}, ""),
    ({"delimiter": ";"}, ", DELIMITER ';'"),
    ({"delimiter": " ", "null": "NA"}, ", DELIMITER ' ', NULLSTR 'NA'"),
    ({"delimiter": ":", "header": False}, ", DELIMITER ':', HEADER false"),
    ({"delimiter": "\x01", "null": "\\N"}, ", DELIMITER '\x01', NULLSTR '\\N'"),
    ({"null": "7"}, ", NULLSTR '7'"),
    ({"quote_all": True}, ", FORCE_QUOTE *"),
    ({"quote_all": True, "null": "NULL", "delimiter": "|", "header": False}, ", FORCE_QUOTE *, NULLSTR 'NULL', DELIMITER '|', HEADER false"),
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("options") / "options.duckdb", TABLE)


def export(source, sql, tmp_path, name="csv", **options):
    job = run_job(source, sql, tmp_path, threads=4, format=json.dumps({"format": name, "options": options}))
    assert job.done and job.broken == "", job.message
    return job


@pytest.mark.parametrize("options,copy", COPYABLE)
def test_every_byte_is_copys(source, options, copy, tmp_path):
    expected = tmp_path / "expected.csv"
    make_source(source, f"COPY t TO '{expected}' (FORMAT csv{copy})")
    job = export(source, "FROM t", tmp_path, **options)
    assert job.data == expected.read_bytes() and job.altered == 0


def test_tsv_is_csv_with_tabs(source, tmp_path):
    expected = tmp_path / "expected.tsv"
    make_source(source, f"COPY t TO '{expected}' (FORMAT csv, DELIMITER '\t')")
    assert export(source, "FROM t", tmp_path, name="tsv").data == expected.read_bytes()
    assert export(source, "FROM t", tmp_path, delimiter="\\t").data == expected.read_bytes()


@pytest.mark.parametrize("options", [{"line_ending": "\r\n"}, {"bom": True}, {"bom": True, "line_ending": "\r\n", "null": "NA", "delimiter": ";"},
                                     {"quote_all": True, "line_ending": "\r\n", "null": "none"}])
def test_what_comes_back(source, options, tmp_path):
    """What COPY cannot write DuckDB reads: the same rows, with NULL where it was."""
    data = export(source, "FROM t", tmp_path, **options).data
    assert data.startswith(b"\xef\xbb\xbf") == options.get("bom", False)
    path = tmp_path / "back.csv"
    path.write_bytes(data)
    out = tmp_path / "answer.csv"
    reader = f"""read_csv('{path}', header = true, delim = '{options.get("delimiter", ",")}', quote = '"', escape = '"', auto_detect = false,
        nullstr = '{options.get("null", "")}', allow_quoted_nulls = false, max_line_size = 100000, new_line = '{options.get("line_ending", chr(10)).encode("unicode_escape").decode()}',
        columns = {{'id': 'BIGINT', 'text': 'VARCHAR', 'number': 'BIGINT', 'moment': 'TIMESTAMP', 'list': 'BIGINT[]'}})"""
    make_source(source, f"""COPY (SELECT (SELECT count(*) FROM {reader}), (SELECT count(*) FROM (FROM t EXCEPT ALL FROM {reader})),
        (SELECT count(*) FROM (FROM {reader} EXCEPT ALL FROM t))) TO '{out}' (HEADER false)""")
    assert out.read_text() == f"{ROWS},0,0\n"


def test_line_ends_are_the_lines_own(source, tmp_path):
    data = export(source, "SELECT text, id FROM t LIMIT 5000", tmp_path, line_ending="\r\n").data
    bare = export(source, "SELECT text, id FROM t LIMIT 5000", tmp_path).data
    rows = [row for row in csv.reader(io.StringIO(data.decode(), newline=""))]
    assert rows == [row for row in csv.reader(io.StringIO(bare.decode(), newline=""))] and len(rows) == 5001
    assert data.endswith(b"\r\n") and len(data) == len(bare) + 5001


def test_a_file_of_nothing(source, tmp_path):
    for options, data in (({"header": False}, b""), ({"header": False, "bom": True}, b"\xef\xbb\xbf"), ({"bom": True}, b"\xef\xbb\xbfid\n"),
                          ({"line_ending": "\r\n"}, b"id\r\n")):
        job = export(source, "SELECT id FROM t WHERE id < 0", tmp_path, **options)
        assert job.data == data and job.rows == 0 and not job.truncated


def test_no_cell_is_a_formula(source, tmp_path):
    """By the column's type, so that numbers stay numbers; the names too; everything that was changed is counted."""
    sql = """SELECT '=1+1' AS "=a", -5 AS "-n", '-5' AS t, '@x'::ENUM('@x') AS e, ['-1'] AS l, union_value(u := -1) AS u, '+1'::BLOB AS b,
        '-7'::BIGNUM AS big, -1.5 AS d, '-inf'::DOUBLE AS inf, INTERVAL '-3 days' AS i, DATE '-infinity' AS day, '"=1' AS q, ' =1' AS s,
        NULL AS z, '' AS nothing, '＝1' AS wide"""
    job = export(source, sql, tmp_path, excel_safe=True)
    names, cells = csv.reader(io.StringIO(job.data.decode()))
    assert names == ["'=a", "'-n", "t", "e", "l", "u", "b", "big", "d", "inf", "i", "day", "q", "s", "z", "nothing", "wide"]
    assert cells == ["'=1+1", "-5", "'-5", "'@x", "[-1]", "'-1", "'+1", "-7", "-1.5", "-inf", "-3 days", "-infinity", '"=1', "' =1", "", "", "'＝1"]
    assert job.altered == 9
    assert job.data.split(b"\n")[1].startswith(b"\"'=1+1\",-5,\"'-5\",")
    assert [column["name"] for column in job.columns["columns"]][:2] == ["=a", "-n"]
    assert export(source, sql, tmp_path).altered == 0


def test_guarded_cells_of_all_threads_are_counted(source, tmp_path):
    job = export(source, "SELECT id, text FROM t", tmp_path, excel_safe=True)
    guarded = [row[1] for row in csv.reader(io.StringIO(job.data.decode(), newline="")) if row[1].startswith("'")]
    assert job.rows == ROWS and job.altered == len(guarded) > ROWS / 10 and set(guarded) == {"'=1+1", "'\r"}
