"""A table of every type, exported and read back: by DuckDB (no row more, none less), by pandas and by openpyxl."""
import datetime
import decimal
import gzip
import json
import re
import subprocess

import openpyxl
import pandas
import pytest
import zstandard

from formats import Files, make_source

ROWS = 8_000

# name: (type, values of row i). One row in seven is NULL.
SCALARS = {
    "flag": ("BOOLEAN", "i % 2 = 0"),
    "tiny": ("TINYINT", "i % 256 - 128"),
    "small": ("SMALLINT", "i * 37 % 65536 - 32768"),
    "whole": ("INTEGER", "(hash(i) % 4294967296)::BIGINT - 2147483648"),
    "big": ("BIGINT", "(hash(i)::HUGEINT - 9223372036854775808)"),
    "huge": ("HUGEINT", "(hash(i)::HUGEINT - 9223372036854775808) * 9007199254740993"),
    "utiny": ("UTINYINT", "i % 256"),
    "usmall": ("USMALLINT", "i * 37 % 65536"),
    "uwhole": ("UINTEGER", "hash(i) % 4294967296"),
    "ubig": ("UBIGINT", "hash(i)"),
    "uhuge": ("UHUGEINT", "hash(i)::UHUGEINT * 1000003"),
    "double": ("DOUBLE", "[i / 7, -0.0, 1e300 * i, 1e-300 * i, 123456789.5, 5e-324][1 + i % 6]"),
    "single": ("FLOAT", "[i / 7, 1e30 * i, -1e-30 * i, 16777216][1 + i % 4]"),
    "money": ("DECIMAL(9,2)", "(i - 10000) / 100"),
    "fine": ("DECIMAL(18,6)", "(hash(i) % 1000000000000000)::BIGINT / 1000000"),
    "wide": ("DECIMAL(38,10)", "(hash(i)::DECIMAL(38,10) + 0.0123456789)"),
    "label": ("VARCHAR", "[NULL, '', 'NULL', 'NA', 'a,b', 'say \"hi\"', E'two\\nlines', E'tab\\there', '🦆' || i, '  x  ', '#' || i, '=1+' || i, "
                         "repeat('long ', i % 500), E'\\r', '\\', chr(1) || 'control', '0012', '1e5', 'true'][1 + i % 19]"),
    "day": ("DATE", "DATE '1900-03-01' + (i * 13 % 60000)::INTEGER"),
    "far": ("DATE", "[DATE 'infinity', DATE '-infinity', DATE '0001-01-01', DATE '9999-12-31', DATE '0044-03-15 (BC)', DATE '12024-01-01'][1 + i % 6]"),
    "clock": ("TIME", "TIME '00:00:00' + to_microseconds((hash(i) % 86400000000)::BIGINT)"),
    "at": ("TIMESTAMP", "TIMESTAMP '1950-01-01' + to_microseconds((hash(i) % 4000000000000000)::BIGINT)"),
    "at_s": ("TIMESTAMP_S", "TIMESTAMP '1950-01-01' + to_seconds((hash(i) % 4000000000)::BIGINT)"),
    "at_ms": ("TIMESTAMP_MS", "TIMESTAMP '1950-01-01' + to_milliseconds((hash(i) % 4000000000000)::BIGINT)"),
    "at_ns": ("TIMESTAMP_NS", "make_timestamp_ns((hash(i) % 4000000000000000000)::BIGINT - 1000000000000000000)"),
    "zoned": ("TIMESTAMPTZ", "TIMESTAMPTZ '1950-01-01 00:00:00+00' + to_microseconds((hash(i) % 4000000000000000)::BIGINT)"),
    "id": ("UUID", "md5(i::VARCHAR)::UUID"),
    "bytes": ("BLOB", "unhex(md5(i::VARCHAR))"),
    "mood": ("ENUM('sad', 'so, so', 'happy')", "['sad', 'so, so', 'happy'][1 + i % 3]"),
}
OTHERS = {
    "bits": ("BIT", "(i % 1024)::INTEGER::BIT"),
    "span": ("INTERVAL", "to_months((i % 100)::INTEGER) + to_days((i % 31)::INTEGER) + to_milliseconds(i * 7919 % 86400000)"),
    "clock_tz": ("TIMETZ", "'12:00:00+05:30'::TIMETZ"),
    "list": ("INTEGER[]", "CASE WHEN i % 5 = 0 THEN [] ELSE [i % 9, NULL, -i] END"),
    "texts": ("VARCHAR[]", "['a', 'b, c', '', NULL, 'it''s ' || i]"),
    "triple": ("INTEGER[3]", "[i, NULL, i % 7]"),
    "place": ("STRUCT(city VARCHAR, zip INTEGER, tags VARCHAR[])", "{'city': 'Zürich ' || i % 10, 'zip': i % 9999, 'tags': ['x', NULL]}"),
    "weights": ("MAP(VARCHAR, DOUBLE)", "MAP {'first': i / 8, 'second \"q\"': NULL}"),
    "deep": ("STRUCT(a INTEGER, b STRUCT(c VARCHAR[])[])[]", "[{'a': i % 3, 'b': [{'c': ['p', NULL]}]}, NULL]"),
    "json": ("JSON", "'{\"n\": ' || i || ', \"list\": [1, null]}'"),
}
EVERY = SCALARS | OTHERS


def quoted(columns):
    return ", ".join(f'"{name}"' for name in columns)


def definition():
    columns = ", ".join(f'CASE WHEN hash(i * 31 + {n}) % 7 = 0 THEN NULL ELSE {value} END::{kind} AS "{name}"'
                        for n, (name, (kind, value)) in enumerate(EVERY.items()))
    return f"CREATE TABLE every AS SELECT i::INTEGER AS number, {columns} FROM range({ROWS}) r(i)"


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("every")
    return Files(directory, make_source(directory / "source.duckdb", definition()))


def types(columns, as_text=()):
    kinds = {name: "VARCHAR" if name in as_text else EVERY[name][0].replace("'", "''") for name in columns}
    return "{'number': 'INTEGER', " + ", ".join(f"'{name}': '{kind}'" for name, kind in kinds.items()) + "}"


TEXT_FORMS = [{"format": form, "compression": compression} for form in ("csv", "tsv", "json", "ndjson") for compression in ("none", "gzip", "zstd")]


def name_of(form):
    return "-".join(str(v) for v in form.values())


# DuckDB's own reader of JSON takes a BLOB's text for its bytes. It reads a number with a point as a double: where a DECIMAL has more
# digits than that, it is to be written as a string.
AS_TEXT = ("bytes",)
EXACT = {"json": {"options": {"decimals": "string"}}, "ndjson": {"options": {"decimals": "string"}}}


def reader(form, path, columns):
    if form["format"] in ("json", "ndjson"):
        cast = ", ".join(f'"{name}"::{EVERY[name][0]}' if name in AS_TEXT else f'"{name}"' for name in columns)
        return f"SELECT number, {cast} FROM read_json('{path}', columns = {types(columns, AS_TEXT)})"
    delimiter = "\\t" if form["format"] == "tsv" else ","
    return f"FROM read_csv('{path}', header = true, delim = '{delimiter}', quote = '\"', escape = '\"', allow_quoted_nulls = false, columns = {types(columns)})"


@pytest.mark.parametrize("form", TEXT_FORMS, ids=name_of)
def test_scalars_typed_by_duckdb(files, form):
    """Every value reads back as what it was, with its type."""
    sql = f"SELECT number, {quoted(SCALARS)} FROM every"
    path, job = files.export(sql, form | EXACT.get(form["format"], {}))
    assert job["rows"] == ROWS
    files.assert_same_rows(reader(form, path, SCALARS), sql)


@pytest.mark.parametrize("form", [f for f in TEXT_FORMS if f["compression"] == "none"], ids=name_of)
def test_everything_as_duckdb_writes_it(files, form):
    """Nested values too: the bytes are those of DuckDB's own COPY."""
    sql = f"SELECT number, {quoted(EVERY)} FROM every ORDER BY number"
    ours, _ = files.export(sql, form)
    theirs = files.directory / "theirs"
    options = {"csv": "FORMAT csv, HEADER", "tsv": "FORMAT csv, HEADER, DELIMITER '\\t'", "json": "FORMAT json, ARRAY true", "ndjson": "FORMAT json"}
    files.ask("SELECT 1", "SET TimeZone = 'UTC'", f"COPY ({sql}) TO '{theirs}' ({options[form['format']]})")
    assert ours.read_bytes() == theirs.read_bytes()


@pytest.mark.parametrize("form", [f for f in TEXT_FORMS if f["compression"] != "none"], ids=name_of)
def test_compression_changes_nothing(files, form):
    sql = "SELECT * FROM every ORDER BY number"
    plain, _ = files.export(sql, form | {"compression": "none"})
    packed, _ = files.export(sql, form)
    data = packed.read_bytes()
    if form["compression"] == "gzip":
        assert gzip.decompress(data) == plain.read_bytes()
    else:
        assert zstandard.ZstdDecompressor().decompressobj().decompress(data) == plain.read_bytes()


@pytest.mark.parametrize("limited", [False, True], ids=["own", "second instance"])
@pytest.mark.parametrize("codec", ["zstd", "snappy", "none"])
def test_parquet(files, codec, limited):
    """As DuckDB's own file: the schema, and every row."""
    columns = quoted(EVERY)
    ours, job = files.export(f"SELECT number, {columns} FROM every", {"format": "parquet", "compression": codec} | ({"row_limit": ROWS} if limited else {}))
    assert job["rows"] == ROWS and not job["truncated"]
    theirs = files.directory / "theirs.parquet"
    codec = "uncompressed" if codec == "none" else codec
    write = f"COPY (SELECT number, {columns} FROM every) TO '{theirs}' (FORMAT parquet, CODEC {codec})"
    schema = "SELECT name, type, converted_type, logical_type, repetition_type, num_children FROM parquet_schema('{}') OFFSET 1"
    assert files.ask(schema.format(ours)) == files.ask(schema.format(theirs), write)
    assert files.ask(f"DESCRIBE FROM '{ours}'") == files.ask(f"DESCRIBE FROM '{theirs}'")
    files.assert_same_rows(f"FROM '{ours}'", f"FROM '{theirs}'")
    assert files.ask(f"SELECT DISTINCT compression FROM parquet_metadata('{ours}')") == [(codec.upper(),)]
    columns = ["number", *(name for name in EVERY if name not in ("far", "triple"))]  # dates beyond Python's, an ARRAY with NULL
    one, other = (pandas.read_parquet(path, columns=columns) for path in (ours, theirs))
    pandas.testing.assert_frame_equal(one, other)


def test_csv_by_pandas(files):
    """Texts as they are: pandas does not tell NULL from the empty text, and is not asked for types."""
    path, _ = files.export("SELECT * FROM every ORDER BY number", "csv")
    frame = pandas.read_csv(path, dtype=str, keep_default_na=False)
    expected = files.ask("SELECT * FROM every ORDER BY number", "SET TimeZone = 'UTC'")
    assert [tuple(row) for row in frame.itertuples(index=False)] == [tuple(v or "" for v in row) for row in expected]


def test_ndjson_by_python(files):
    """Every line is strict JSON, with the columns in their order; integers whole, decimals by their digits."""
    path, _ = files.export(f"SELECT number, {quoted(EVERY)} FROM every ORDER BY number", "ndjson")
    expected = files.ask("SELECT big, huge, ubig, fine, wide, label FROM every ORDER BY number")
    fail = pytest.fail
    for line, row in zip(path.read_text().splitlines(), expected, strict=True):
        got = json.loads(line, parse_float=decimal.Decimal, parse_constant=fail)
        assert list(got) == ["number", *EVERY]
        for name, text in zip(("big", "huge", "ubig", "fine", "wide", "label"), row):
            if name == "label" or text is None:
                assert got[name] == text
            elif name in ("fine", "wide"):
                assert decimal.Decimal(got[name]) == decimal.Decimal(text)
            else:
                assert str(got[name]) == text


def test_json_is_one_array(files):
    path, _ = files.export("SELECT * FROM every", "json")
    assert subprocess.run(["jq", "-e", "length"], stdin=open(path, "rb"), capture_output=True, check=True).stdout == f"{ROWS}\n".encode()
    empty, _ = files.export("SELECT * FROM every WHERE false", "json")
    assert json.loads(empty.read_text()) == []


def unescaped(text):
    return re.sub(r"_x([0-9A-Fa-f]{4})_", lambda m: chr(int(m.group(1), 16)), text)


def test_xlsx_by_openpyxl(files):
    """Every cell, by its type; where it is a text, the text is the CSV's."""
    columns = [c for c in EVERY if c != "label"] + ["label"]
    sql = f"SELECT number, {quoted(columns)} FROM every ORDER BY number LIMIT 5000"
    path, _ = files.export(sql, "xlsx")
    sheet = openpyxl.load_workbook(path, read_only=True)["Sheet1"]
    rows = sheet.iter_rows(values_only=True)
    assert next(rows) == ("number", *columns)
    count = 0
    for got, expected in zip(rows, files.ask(sql, "SET TimeZone = 'UTC'"), strict=True):
        count += 1
        for name, value, text in zip(("number", *columns), got, expected):
            kind = "INTEGER" if name == "number" else EVERY[name][0]
            where = (name, value, text)
            if text is None:
                assert value is None, where
            elif isinstance(value, bool):
                assert kind == "BOOLEAN" and str(value).lower() == text, where
            elif isinstance(value, (int, float)):
                assert number_is(kind, value, text), where
            elif isinstance(value, datetime.time):
                assert kind == "TIME" and value == datetime.time.fromisoformat(padded(text)), where
            elif isinstance(value, datetime.datetime):
                assert value == datetime.datetime.fromisoformat(padded(text.removesuffix("+00"))), where
            else:
                assert unescaped(value or "") == (text.removesuffix("+00") if kind == "TIMESTAMPTZ" else text), where
                assert not kind.endswith("INT") or abs(int(text)) >= 10**15, where
    assert count == 5000


def padded(text):
    """With a fraction of six digits, as Python 3.10 wants it."""
    head, dot, fraction = text.partition(".")
    return head + (f".{fraction:0<6}" if dot else "")


def number_is(kind, value, text):
    if kind == "DOUBLE":
        return value == float(text)
    if kind == "FLOAT":
        import numpy
        return numpy.float32(value) == numpy.float32(float(text))
    digits = text.lstrip("-").replace(".", "").strip("0")
    return len(digits) <= 15 and decimal.Decimal(repr(value)) == decimal.Decimal(text)


def test_the_order_is_the_query_s(files):
    """Several row groups, several threads: the rows come as ORDER BY has them, in every format."""
    sql = "SELECT number FROM every ORDER BY hash(number)"
    expected = [row[0] for row in files.ask(sql)]
    csv, _ = files.export(sql, "csv", threads=4)
    assert csv.read_text().split()[1:] == expected
    lines, _ = files.export(sql, "ndjson", threads=4)
    assert [str(json.loads(line)["number"]) for line in lines.read_text().splitlines()] == expected
    parquet, _ = files.export(sql, "parquet", threads=4)
    assert [str(n) for n in pandas.read_parquet(parquet)["number"]] == expected
    sheet, _ = files.export(sql, "xlsx", threads=4)
    assert [str(n) for n in pandas.read_excel(sheet)["number"]] == expected
