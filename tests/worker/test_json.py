"""JSON and NDJSON as DuckDB's own writer gives them, byte for byte; nested values of every kind of vector; and what readers of
JSON make of the files."""
import json
import math
import subprocess

import pytest

from worker import DUCKDB_RUN, make_source, run_job

ROWS = 130_000  # more than a row group

# Nested columns as they are stored: constant, dictionary, runs, with NULL at every depth.
TABLE = f"""CREATE TABLE t AS SELECT
    i AS id,
    [i, NULL, -i] AS l,
    CASE WHEN i % 3 = 0 THEN NULL WHEN i % 3 = 1 THEN [] ELSE range(i % 7) END AS sometimes,
    [1, 2, 3] AS same,
    [['red', 'green'], ['blue'], NULL, [NULL, 'a rather long word, not inline']][(hash(i) % 4)::INT + 1] AS words,
    {{'a': i, 'b': CASE WHEN i % 5 > 0 THEN 'text ' || i END, 'c': [i / 4.0, NULL]}} AS s,
    CASE WHEN i % 4 > 0 THEN {{'x': CASE WHEN i % 2 = 0 THEN {{'y': i // 1000}} END, 'z': 'same'}} END AS deep,
    MAP {{'k' || (i % 3): i, 'other': NULL}} AS m,
    [i, i + 1, NULL]::BIGINT[3] AS ar,
    [[i], NULL, CASE WHEN i % 6 > 0 THEN [i, i] END]::BIGINT[][3] AS lists_in_array,
    CASE i % 3 WHEN 0 THEN union_value(n := i) WHEN 1 THEN union_value(t := 'text')::UNION(n BIGINT, t VARCHAR) END AS u,
    [{{'p': [i % 5], 'q': NULL}}, NULL, {{'p': NULL, 'q': 1.5}}] AS structs,
    CASE WHEN hash(i) % 997 = 0 THEN range(3000) END AS long
FROM range({ROWS}) r(i)"""

# What makes vectors that are not flat within others: slices, selections, constants, references.
QUERIES = [
    "FROM t",
    "SELECT words, same FROM t WHERE id % 1009 = 3",
    "SELECT id, l[2:3] AS a, list_slice(sometimes, 1, 2) AS b, sometimes[-2:] AS c, l[:-:2] AS d FROM t",
    "SELECT id, list_sort(l) AS a, list_reverse_sort(l) AS b, list_reverse(sometimes) AS c, list_sort(words, 'DESC') AS d FROM t",
    "SELECT id, list_filter(l, lambda x: x > 3) AS a, list_transform(l, lambda x: x * 2) AS b, list_filter(words, lambda x: x < 'f') AS c FROM t",
    "SELECT id, list_distinct([1, 1, id % 2]).list_sort() AS a, l || [7] AS b, list_concat(sometimes, l, NULL) AS c, flatten([l, sometimes]) AS d FROM t",
    "SELECT id, list_zip(l, sometimes) AS a, list_select(l, [3, 1]) AS b, list_where(l, [true, false, true]) AS c, list_resize(sometimes, 3, 9) AS d FROM t",
    "SELECT id, list_sort([9, 5, 7]) AS a, [9, 5, 7][2:3] AS b, list_filter([1, 2, 3], lambda x: x <> 2) AS c, [[1, 2], [3]][1:1] AS d FROM t",
    "SELECT id, list_sort([id % 3, 5]) AS a FROM t WHERE id % 2 = 0 LIMIT 5000",
    "SELECT s.a, s.c, s.c[1:1] AS c1, deep.x, deep.x.y, struct_insert(deep, new := id) AS n FROM t",
    "SELECT struct_pack(a := l, b := same, c := [same, l[1:2]], d := {'e': words}) AS p FROM t",
    "SELECT map_entries(m) AS e, map_keys(m) AS k, map_values(m) AS v, m['other'] AS o, map_concat(m, MAP {'z': 1::BIGINT}) AS c FROM t",
    "SELECT map_from_entries([(id, l), (-id - 1, NULL)]) AS m, MAP([id], [s]) AS n, MAP {l: id} AS k FROM t",
    "SELECT ar[1:2] AS a, array_value(l, sometimes) AS b, ar::BIGINT[] AS c, [ar, NULL] AS d, list_sort(ar) AS e FROM t",
    "SELECT u, u.n, [u, NULL] AS us, union_tag(u)::VARCHAR AS tag FROM t",
    "SELECT id, unnest(structs) AS x FROM t",
    "SELECT id, unnest(l[1:2]) AS x, same FROM t",
    "SELECT unnest(structs, recursive := true), words FROM t WHERE id % 10 = 0",
    "SELECT a.id, a.words, b.list_col FROM t a POSITIONAL JOIN (SELECT list_sort(l) AS list_col FROM t) b",
    "SELECT a.id, a.words, b.words AS other, a.s FROM t a JOIN t b ON a.id = b.id + 1 ORDER BY a.id",
    "SELECT a.l, c.x, c.y FROM (SELECT list_reverse(l) AS l, id FROM t WHERE id < 3000) a, "
    "(SELECT list_sort([3, 1, 2], 'DESC') AS x, [1, 2, 3, 4][v:] AS y FROM range(3) r(v)) c ORDER BY a.id, c.y",
    "SELECT id, CASE WHEN id % 2 = 0 THEN l[1:1] WHEN id % 7 = 0 THEN NULL ELSE list_sort(sometimes, 'DESC') END AS a, coalesce(sometimes, same) AS b FROM t",
    "SELECT id % 3 AS g, list(id ORDER BY id) AS ids, list(s.c ORDER BY id) AS c, first(words ORDER BY id) AS f FROM t WHERE id < 20000 GROUP BY g ORDER BY g",
    "SELECT histogram(id % 5) AS h, max(l) AS m, arg_max(structs, id) AS a, array_agg(u ORDER BY id) FILTER (id < 9) AS us FROM t",
    "SELECT id, lag(s, 2) OVER (ORDER BY id) AS s2, list(id) OVER (ORDER BY id ROWS 2 PRECEDING) AS w, first_value(words) OVER (ORDER BY id) AS f FROM t ORDER BY id",
    "SELECT words, l FROM t UNION ALL SELECT words[1:1], l[2:] FROM t UNION ALL SELECT NULL, []",
    "SELECT l, structs FROM t ORDER BY hash(id) LIMIT 4000",
    "SELECT * FROM (SELECT list_sort(l) AS l, deep FROM t OFFSET 60000) WHERE l[1] % 3 = 0",
    "WITH RECURSIVE c(n, path) AS (SELECT 1, [1] UNION ALL SELECT n + 1, path || [n + 1] FROM c WHERE n < 300) SELECT n, path, path[n:] AS last FROM c",
    "SELECT (SELECT list(x ORDER BY x DESC) FROM unnest(t.l) u(x)) AS a, [x FOR x IN sometimes IF x > 1] AS b FROM t WHERE id < 20000 ORDER BY id",
    "SELECT list_apply(structs, lambda x: x.p) AS a, list_transform(words, lambda w, i: {'w': w, 'i': i}) AS b FROM t",
    "SELECT string_split('a,b,' || id, ',') AS a, regexp_extract_all('x1y2', '[a-z]') AS b, range(id % 4) AS c, generate_series(id, id + 2) AS d FROM t",
    "SELECT {'b': '\\x00'::BLOB, 'l': l[2:]} AS cast_inside, [interval (id) day, NULL] AS i, MAP {id: '10'::BIT} AS bits FROM t",
    "SELECT long, id FROM t",
    "SELECT [1, 2][1:1] AS a, {'x': list_sort([2, 1])} AS b, MAP {'k': [3, 4][2:]} AS c, [NULL, [5]][2:] AS d FROM range(5000)",
    "VALUES ([1, 2], {'a': 1}), (NULL, NULL), ([], {'a': NULL})",
]


def query_id(sql):
    return sql[:60]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("json") / "json.duckdb", TABLE)


@pytest.fixture(scope="module")
def copied(source, tmp_path_factory):
    directory, files = tmp_path_factory.mktemp("copied"), {}
    for sql in QUERIES:
        files[sql] = directory / f"{len(files)}.ndjson"
    make_source(source, *(f"COPY ({sql}) TO '{path}' (FORMAT json)" for sql, path in files.items()))
    return files


def export(source, sql, tmp_path, form="ndjson", threads=2, **options):
    job = run_job(source, sql, tmp_path, format=json.dumps({"format": form, "options": options}), threads=threads, memory="512MiB")
    assert job.done and job.broken == "", job.message
    return job.data


def copy_of(source, sql, tmp_path, form="json", *before):
    path = tmp_path / "copied.json"
    subprocess.run([DUCKDB_RUN, source, *before, f"COPY ({sql}) TO '{path}' (FORMAT json, ARRAY {str(form == 'json').lower()})"],
                   check=True)
    return path.read_bytes()


@pytest.mark.parametrize("threads", [1, 2, 8])
@pytest.mark.parametrize("sql", QUERIES, ids=query_id)
def test_nested_values_of_every_vector(source, copied, sql, threads, tmp_path):
    ours, theirs = export(source, sql, tmp_path, threads=threads), copied[sql].read_bytes()
    if ours != theirs:  # not the whole of both
        for a, b in zip(ours.split(b"\n"), theirs.split(b"\n")):
            assert a[:2000] == b[:2000]
    assert ours == theirs


@pytest.mark.parametrize("form", ["json", "ndjson"])
@pytest.mark.parametrize("sql", ["SELECT 1 AS a", "SELECT 1 AS a WHERE false", "SELECT i AS a, 'x' AS \"b\"\"\nc\" FROM range(5000) r(i)",
                                 "SELECT NULL AS n", "SELECT 'é🦆' AS \"ü, a name that is longer than thirty-two bytes\", 2 AS b"])
def test_the_frame(source, sql, form, tmp_path):
    assert export(source, sql, tmp_path, form) == copy_of(source, sql, tmp_path, form)


def test_equal_names_are_made_different(source, tmp_path):
    data = export(source, "SELECT 1 AS a, 2 AS a, 3 AS A, 4 AS a_1", tmp_path)
    assert data == b'{"a":1,"a_1":2,"A_2":3,"a_1_1":4}\n'


def test_numbers_that_json_has_no_word_for(source, tmp_path):
    sql = "SELECT 'nan'::DOUBLE AS n, 'inf'::FLOAT AS i, ['-inf'::DOUBLE, 1.5] AS l, '[NaN, -Infinity, {\"a\": inf}]'::JSON AS j"
    assert export(source, sql, tmp_path) == b'{"n":null,"i":null,"l":[null,1.5],"j":[null,null,{"a":null}]}\n'
    texts = export(source, sql, tmp_path, non_finite="string")
    assert texts == b'{"n":"NaN","i":"Infinity","l":["-Infinity",1.5],"j":["NaN","-Infinity",{"a":"Infinity"}]}\n'
    path = tmp_path / "back.ndjson"
    path.write_bytes(texts)
    back = export(source, f"SELECT 'NaN'::DOUBLE AS n, 'Infinity'::DOUBLE AS i, '-Infinity'::DOUBLE AS m", tmp_path, non_finite="string")
    assert back == b'{"n":"NaN","i":"Infinity","m":"-Infinity"}\n'


def test_integers_as_texts(source, tmp_path):
    sql = ("SELECT 1::BIGINT AS a, 2::UBIGINT AS b, -3::HUGEINT AS c, 4::UHUGEINT AS d, '5'::BIGNUM AS e, 6 AS f, 7::UINTEGER AS g, "
           "[8::BIGINT, NULL] AS l, MAP {9::BIGINT: {'x': 10::HUGEINT, 'y': '-11'::BIGNUM}} AS m, row(12::BIGINT, 13) AS r, 14::JSON AS j")
    assert export(source, sql, tmp_path) == (b'{"a":1,"b":2,"c":-3,"d":4,"e":5,"f":6,"g":7,"l":[8,null],"m":{"9":{"x":10,"y":-11}},'
                                             b'"r":{"":12,"":13},"j":14}\n')
    assert export(source, sql, tmp_path, integers="string") == (
        b'{"a":"1","b":"2","c":"-3","d":"4","e":"5","f":6,"g":7,"l":["8",null],"m":{"9":{"x":"10","y":"-11"}},"r":{"":"12","":13},"j":14}\n')


def test_decimals_as_texts(source, tmp_path):
    sql = "SELECT 1.50::DECIMAL(4,2) AS a, -0.5::DECIMAL(2,2) AS b, -0.5::DECIMAL(18,18) AS c, [1.0::DECIMAL(38,3), NULL] AS l, 7::DECIMAL(5,0) AS i"
    assert export(source, sql, tmp_path) == b'{"a":1.5,"b":-0.5,"c":-0.500000000000000000,"l":[1.000,null],"i":7.0}\n'
    assert export(source, sql, tmp_path, decimals="string") == b'{"a":"1.50","b":"-0.50","c":"-0.500000000000000000","l":["1.000",null],"i":"7"}\n'


@pytest.mark.parametrize("zone", ["UTC", "Asia/Kolkata", "America/New_York"])
def test_time_zones_reach_into_nested_values(source, zone, tmp_path):
    sql = ("SELECT TIMESTAMPTZ '2024-07-01 12:00:00+00' AS a, [TIMESTAMPTZ '2024-01-01 00:00:00+00', NULL, 'infinity'] AS l, "
           "{'b': MAP {TIMESTAMPTZ '2024-01-01 00:00:00+00': row(1, TIMESTAMPTZ '1900-01-01 00:00:00+00')}} AS s")
    assert export(source, sql, tmp_path, timezone=zone) == copy_of(source, sql, tmp_path, "ndjson", f"SET TimeZone='{zone}'")


def test_json_columns_are_embedded_as_they_are(source, tmp_path):
    sql = r"""SELECT '{ "a" : [ 1 , 2.50, 1e3, 123456789012345678901234567890, 0.1000000000000000055, ],
              "b": {}, "ü\u0041\/": "\ud83e\udd86 \\ \"" , }'::JSON AS j, ['[ ]'::JSON, NULL] AS l, 'null'::JSON AS n, NULL::JSON AS s"""
    assert export(source, sql, tmp_path).decode() == (
        r'{"j":{"a":[1,2.50,1e3,123456789012345678901234567890,0.1000000000000000055],'
        r'"b":{},"ü\u0041\/":"\ud83e\udd86 \\ \""},"l":[[],null],"n":null,"s":null}' + "\n")


def test_values_that_are_too_deep_fail(source, tmp_path):
    sql = "SELECT (repeat('[', {0}) || repeat(']', {0}))::JSON AS j"
    assert export(source, sql.format(10000), tmp_path) == b'{"j":' + b"[" * 10000 + b"]" * 10000 + b"}\n"
    job = run_job(source, sql.format(10001), tmp_path, format="ndjson")
    assert not job.done and job.code == "query_failed" and "10000" in job.message
    assert export(source, "SELECT " + "[" * 100 + "1" + "]" * 100 + " AS l", tmp_path) == b'{"l":' + b"[" * 100 + b"1" + b"]" * 100 + b"}\n"
    job = run_job(source, "SELECT " + "[" * 101 + "1" + "]" * 101 + " AS l", tmp_path, format="ndjson")
    assert not job.done and job.code == "query_failed" and "more than 100 lists" in job.message


def test_jq_and_python_read_it(source, tmp_path):
    sql = ("SELECT id, s, deep, m, u, words, chr((id % 128)::INT) || ' \"\\ ' AS text, (id / 7.0)::DOUBLE AS d, (id % 9 / 10.0 - 0.4)::DECIMAL(18,18) AS z "
           "FROM t WHERE id < 20000")
    path = tmp_path / "whole.json"
    path.write_bytes(export(source, sql, tmp_path, "json"))
    assert subprocess.run(["jq", "-e", "length", path], capture_output=True, text=True, check=True).stdout == "20000\n"
    rows = json.loads(path.read_bytes())
    assert [row["id"] for row in rows] == list(range(20000))
    assert all(row["text"] == chr(row["id"] % 128) + ' "\\ ' and math.isclose(row["d"], row["id"] / 7) for row in rows)
    lines = export(source, sql, tmp_path, "ndjson").decode().split("\n")
    assert [json.loads(line) for line in lines[:-1]] == rows and lines[-1] == ""


def test_duckdb_reads_the_same_rows_back(source, tmp_path):
    sql = "SELECT * EXCLUDE (u) FROM t WHERE id % 3 = 0"
    path, back = tmp_path / "back.ndjson", tmp_path / "back.csv"
    path.write_bytes(export(source, sql, tmp_path, threads=4))
    types = tmp_path / "types.csv"
    make_source(source, f"COPY (SELECT column_name, column_type FROM (DESCRIBE {sql})) TO '{types}' (FORMAT csv, HEADER false, DELIMITER '|')")
    columns = ", ".join("{}: '{}'".format(*line.split("|")) for line in types.read_text().replace('"', "").strip().split("\n"))
    read = f"SELECT * FROM read_json('{path}', columns = {{{columns}}})"
    make_source(source, f"COPY (SELECT (SELECT count(*) FROM (({read}) EXCEPT ALL ({sql}))) AS a, "
                        f"(SELECT count(*) FROM (({sql}) EXCEPT ALL ({read}))) AS b, (SELECT count(*) FROM ({read})) AS n) TO '{back}' (FORMAT csv, HEADER false)")
    assert back.read_text() == f"0,0,{(ROWS + 2) // 3}\n"
