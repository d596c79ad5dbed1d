"""The columns that a worker tells: names as in the file, types as DESCRIBE writes them."""
import json
import re

import pytest

from worker import ROOT, make_source, run_job, start  # noqa: F401

TYPES = ["BOOLEAN", "TINYINT", "SMALLINT", "INTEGER", "BIGINT", "HUGEINT", "UTINYINT", "USMALLINT", "UINTEGER", "UBIGINT", "UHUGEINT",
         "BIGNUM", "FLOAT", "DOUBLE", "DECIMAL(4,1)", "DECIMAL(9,0)", "DECIMAL(18,3)", "DECIMAL(38,38)", "VARCHAR", "BLOB", "BIT", "UUID",
         "DATE", "TIME", "TIME_NS", "TIMETZ", "TIMESTAMP", "TIMESTAMP_S", "TIMESTAMP_MS", "TIMESTAMP_NS", "TIMESTAMPTZ", "INTERVAL", "JSON",
         "VARIANT", "GEOMETRY", "mood", "celsius", "ENUM('it''s', 'a \"b\"', '')", "INTEGER[]", "VARCHAR[][]", "DOUBLE[3]",
         "INTEGER[2][]", "STRUCT(a INTEGER, B VARCHAR, \"select\" INTEGER, \"Name\" DATE, \"two words\" UUID, \"say \"\"x\"\"\" BIT, \"1st\" TIME, "
         "ä INTEGER, _x1 BIGINT)", "STRUCT(s STRUCT(l DECIMAL(5,2)[]))", "MAP(VARCHAR, INTEGER)", "MAP(STRUCT(k DATE), mood[])",
         "UNION(num INTEGER, str VARCHAR, \"order\" JSON)", "STRUCT(j JSON, c celsius)[]"]

NAMES = ["a", "A", "two words", 'say ""x""', "comma,", "ä", "line\nend", "🦆", "tab\t", "select", "'", "\\", " ", "\u0007"]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    columns = ", ".join(f"NULL::{t} AS c{i}" for i, t in enumerate(TYPES))
    return make_source(tmp_path_factory.mktemp("columns") / "columns.duckdb", "CREATE TYPE mood AS ENUM ('sad', 'happy')",
                       "CREATE TYPE celsius AS DOUBLE", f"CREATE VIEW every AS SELECT {columns}")


def described(source, sql, tmp_path):
    out = tmp_path / "described.json"
    make_source(source, f"COPY (SELECT column_name AS name, column_type AS type FROM (DESCRIBE {sql})) TO '{out}' (FORMAT json, ARRAY true)")
    return json.loads(out.read_text())


def told(source, sql, tmp_path, **options):
    job = run_job(source, sql, tmp_path, **options)
    assert job.done and job.broken == "", job.message
    return job.columns


def test_the_keywords_are_the_engines(tmp_path):
    text = (ROOT / "src/worker/sql_keywords.c").read_text()
    listed = re.findall(r'"([^"]+)"', text[text.index("keywords[] = {"):text.index("};")])
    path = tmp_path / "words.txt"
    make_source(tmp_path / "empty.duckdb", f"COPY (SELECT DISTINCT keyword_name FROM duckdb_keywords()) TO '{path}' (FORMAT csv, HEADER false)")
    assert len(listed) > 400 and listed == sorted(path.read_text().split())


@pytest.mark.parametrize("form", ["csv", "json", "parquet", "xlsx"])
def test_every_type(source, form, tmp_path):
    sql = "FROM every" if form != "parquet" else "SELECT * EXCLUDE (c33, c34) FROM every"
    columns = told(source, sql, tmp_path, format=form)
    assert columns == {"columns": described(source, sql, tmp_path)}
    assert len(columns["columns"]) == len(TYPES) - 2 * (form == "parquet")


def test_types_of_expressions(source, tmp_path):
    sql = """SELECT NULL AS n, [] AS l, {'a': NULL} AS s, [1, NULL] AS i, MAP {'k': [1.5]} AS m, row(1, 'x') AS r, union_value(u := 1) AS u,
        1.5 AS d, 'x' AS v, 170141183460469231731687303715884105727 AS h, c35::VARCHAR AS t, (c36 + 1) AS e FROM every"""
    assert told(source, sql, tmp_path) == {"columns": described(source, sql, tmp_path)}


def test_names(source, tmp_path):
    columns = ", ".join(f'{i} AS "{name}"' for i, name in enumerate(NAMES))
    sql = f"SELECT {columns}, 1 AS a, 2 AS \"A_1\", 1 + 1, count(*) FROM every"
    names = [column["name"] for column in told(source, sql, tmp_path)["columns"]]
    assert names == [column["name"] for column in described(source, f"SELECT * FROM ({sql})", tmp_path)]
    assert names[2:14] == [name.replace('""', '"') for name in NAMES[2:]]


def test_ten_thousand_columns(source, tmp_path):
    sql = "SELECT " + ", ".join(f"{i} AS column_{i}" for i in range(10000)) + " WHERE false"
    columns = told(source, sql, tmp_path, memory="512MiB")
    assert columns == {"columns": [{"name": f"column_{i}", "type": "INTEGER"} for i in range(10000)]}


def test_more_columns_than_are_told(source, tmp_path):
    """What fits is there, in order, and it is said that some are missing; the file has them all."""
    name = "n" * 5000
    sql = "SELECT " + ", ".join(f"{i} AS {name}{i}" for i in range(300))
    job = run_job(source, sql, tmp_path, memory="512MiB")
    assert job.done and job.columns["columns_truncated"] is True
    columns = job.columns["columns"]
    assert len(columns) == 208 and columns == [{"name": f"{name}{i}", "type": "INTEGER"} for i in range(len(columns))]
    assert job.data.split(b"\n")[1] == b",".join(b"%d" % i for i in range(300))


def test_one_name_that_is_too_long(source, tmp_path):
    job = run_job(source, f"SELECT 1 AS {'x' * 1100000}, 2 AS y", tmp_path, memory="512MiB")
    assert job.done and job.columns == {"columns": [], "columns_truncated": True}
    assert job.data.endswith(b",y\n1,2\n")
    name = "\x01" * 170000 + '"\\'  # each of them takes six bytes in JSON
    assert told(source, 'SELECT 1 AS "' + name.replace('"', '""') + '"', tmp_path) == {"columns": [{"name": name, "type": "INTEGER"}]}


def test_a_type_that_is_very_long(tmp_path):
    """An ENUM of 100,000 values: its beginning, whole characters, and three dots."""
    path = make_source(tmp_path / "enum.duckdb",
                       "CREATE TYPE huge AS ENUM (SELECT 'wört ' || i FROM range(100000) r(i))", "CREATE TABLE t (e huge)")
    for sql in ("FROM t", "SELECT e, [e] AS l, {'s': e} AS s FROM t"):
        for column in told(path, sql, tmp_path, memory="512MiB")["columns"]:
            text = column["type"]
            assert re.match(r"(STRUCT\(s )?ENUM\('wört 0', 'wört 1', ", text) and text.endswith("...")
            assert 4000 < len(text.encode()) <= 4096
