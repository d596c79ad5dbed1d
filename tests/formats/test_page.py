"""docs/formats.md, held to the program: every row of its tables, and every example."""
import datetime
import json
import re

import openpyxl
import pytest

from formats import PAGE, Files, make_source

HEAD = "| in SQL | CSV | JSON, NDJSON | Parquet reads back as | XLSX |"


def rows_of_page():
    lines = PAGE.read_text().split("\n")
    return [tuple(cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]) for at, first in enumerate(lines) if first == HEAD
            for line in lines[at + 2:lines.index("", at)]]


ROWS = rows_of_page()


def code(cell):
    return re.fullmatch(r"`(.*)`", cell).group(1)


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    directory = tmp_path_factory.mktemp("page")
    return Files(directory, make_source(directory / "source.duckdb", "CREATE TABLE nothing (i INTEGER)"))


def select(row):
    return f"SELECT {code(row[0])} AS v"


def test_the_page_has_rows():
    assert len(ROWS) > 60


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_csv(files, row):
    out, _ = files.export(select(row), "csv")
    assert out.read_bytes().decode() == f"v\n{'' if row[1] == 'nothing' else code(row[1])}\n"


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_json(files, row):
    lines, _ = files.export(select(row), "ndjson")
    assert lines.read_text() == f'{{"v":{code(row[2])}}}\n'
    whole, _ = files.export(select(row), "json")
    json.loads(whole.read_text(), parse_constant=lambda word: pytest.fail(word))
    files.assert_same_rows(f"SELECT v::VARCHAR FROM read_json('{lines}', columns = {{v: 'JSON'}})",
                           f"SELECT v::VARCHAR FROM read_json('{whole}', columns = {{v: 'JSON'}})")


@pytest.mark.parametrize("row", [r for r in ROWS if not r[3].startswith("fails")], ids=lambda row: row[0])
def test_parquet(files, row):
    out, _ = files.export(select(row), "parquet")
    kind, _, text = row[3].partition(": ")
    assert files.ask(f"SELECT column_type FROM (DESCRIBE FROM '{out}')") == [(code(kind),)]
    expected = [(code(text),)] if text else files.ask(select(row))
    assert files.ask(f"FROM '{out}'") == expected


@pytest.mark.parametrize("row", [r for r in ROWS if r[3].startswith("fails")], ids=lambda row: row[0])
def test_parquet_fails(files, row):
    with pytest.raises(AssertionError, match="negative intervals"):
        files.export(select(row), "parquet")


def shown(cell):
    """A cell in the page's words."""
    value = cell.value
    if cell.data_type == "n" and value is None:
        return "no cell"
    if cell.data_type == "b":
        return str(value).upper()
    if isinstance(value, str) or cell.data_type == "inlineStr":
        return f"text `{value or ''}`"
    if isinstance(value, datetime.datetime):
        is_date = "h" not in cell.number_format.lower()
        return f"date {value:%Y-%m-%d}" if is_date else f"date-time {value.isoformat(' ', 'auto')}"
    if isinstance(value, datetime.time):
        return f"time {value.isoformat()}"
    return f"number {value!r}"


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_xlsx(files, row):
    out, _ = files.export(select(row), "xlsx")
    sheet = openpyxl.load_workbook(out)["Sheet1"]
    assert sheet["A1"].value == "v"
    got, expected = shown(sheet["A2"]), row[4]
    if expected.startswith("number"):  # 1e+16 and 10000000000000000 are one number
        assert got.startswith("number") and float(got.split()[1]) == float(expected.split()[1])
    elif expected.startswith("date-time"):
        assert got.ljust(40, "0").split(".")[0] == expected.ljust(40, "0").split(".")[0]
        assert got.partition(".")[2].ljust(6, "0") == expected.partition(".")[2].ljust(6, "0")
    else:
        assert got == expected


# --- the examples ---

ORDERS = """SELECT CASE WHEN i % 5 = 0 THEN NULL ELSE i END AS id, ['NA', '', 'it''s, "so"', 'ä' || i][1 + i % 4] AS name,
TIMESTAMP '2024-01-01 00:00:00' + INTERVAL 61 SECOND * i AS "at" FROM range(1000) r(i)"""


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", PAGE.read_text(), re.S)


@pytest.fixture(scope="module")
def orders(files):
    return {form: files.export(ORDERS, form)[0] for form in ("csv", "ndjson", "json", "parquet", "xlsx")}


def test_sql_examples(files, orders):
    statements = [s for s in "".join(line for line in blocks("sql")[0].splitlines(True) if not line.startswith("--")).split(";") if s.strip()]
    assert len(statements) == 3
    for statement in statements:
        form = re.search(r"FILE\.(\w+)", statement).group(1)
        for compression in ("none", "gzip", "zstd") if form != "parquet" else ("snappy", "zstd", "none"):
            out, _ = files.export(ORDERS, {"format": form, "compression": compression})
            files.assert_same_rows(statement.replace(f"FILE.{form}", str(out)), ORDERS)


def test_pandas_examples(files, orders):
    text = blocks("python")[0]
    for form, path in orders.items():
        text = text.replace(f'"FILE.{form}"', repr(str(path)))
    assert "FILE" not in text
    made = {}
    exec(text, made)
    expected = files.ask(f"SELECT id, name, strftime(orders.at, '%Y-%m-%d %H:%M:%S') FROM ({ORDERS}) orders")
    for name in ("csv", "lines", "parquet", "xlsx"):
        frame = made[name]
        assert list(frame.columns) == ["id", "name", "at"], name
        got = [(None if i != i else str(int(i)), "" if n is None or n != n else str(n), str(a)[:19]) for i, n, a in frame.itertuples(index=False)]
        assert got == expected, name


def test_the_request_example_is_one(files):
    request = json.loads(blocks("json")[0])
    out, job = files.export("SELECT 1 AS a, 'ä' AS b", request)
    assert out.suffixes[-1] == ".gz" and job["rows"] == 1
