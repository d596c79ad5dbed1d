"""XLSX by the real worker, read back by openpyxl and, for what openpyxl would hide, from the archive itself."""
import datetime
import decimal
import io
import json
import random
import re
import zipfile

import openpyxl
import pytest
from openpyxl.utils.escape import unescape

from worker import make_source, run_job

LONGEST = 32767


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("xlsx") / "xlsx.duckdb", "CREATE TABLE t AS FROM range(10000) r(i)")


def export(source, sql, tmp_path, options=None, more=None, **driver):
    form = {"format": "xlsx", "options": options or {}} | (more or {})
    return run_job(source, sql, tmp_path, format=json.dumps(form), **driver)


def workbook(job, **how):
    """Whatever a job says is done must be a sound archive."""
    assert job.done and job.broken == "", job.message
    archive = zipfile.ZipFile(io.BytesIO(job.data))
    assert archive.testzip() is None
    return openpyxl.load_workbook(io.BytesIO(job.data), **how)


def rows(job, sheet=0):
    return list(workbook(job).worksheets[sheet].iter_rows(values_only=True))


def sheet_xml(job, number=1):
    return zipfile.ZipFile(io.BytesIO(job.data)).read(f"xl/worksheets/sheet{number}.xml").decode()


# --- random tables ---

EPOCH = datetime.datetime(1970, 1, 1)
EXCEL_BEGINS = datetime.datetime(1900, 3, 1)
ALPHABET = ["a", "Z", " ", "ä", "中", "🦆", "&", "<", ">", '"', "'", "\t", "\n", "\r", "_", "x", "_x0041_", "_x00", "0041", "\x01", "\x1f", "\x7f",
            "\ufffe", "\uffff", "\ufeff", "=", "]]>", "e\u0301"]


def literal(text):
    """Without the characters that are awkward in a file of SQL."""
    return "decode(unhex('" + text.encode().hex() + "'))"


def random_text(r):
    return "".join(r.choice(ALPHABET) for _ in range(r.choice([0, 1, 2, 5, 11, 12, 13, 40, 300])))


def random_int(bits, signed):
    def make(r):
        v = r.getrandbits(r.randint(1, bits - signed))
        v = -v if signed and r.random() < 0.5 else v
        return str(v), v if abs(v) < 10**15 else str(v)
    return make


def random_decimal(width, scale):
    """A number where 15 digits do, the zeros at the end of a fraction not counted."""
    def make(r):
        unscaled = r.randrange(10**r.randint(1, width))
        if r.random() < 0.3:
            unscaled -= unscaled % 10**(scale * 2 // 3)
        v = decimal.Decimal(unscaled * r.choice([-1, 1])).scaleb(-scale, decimal.Context(prec=50))
        digits = f"{unscaled:0{scale + 1}d}"
        whole, fraction = digits[:len(digits) - scale], digits[len(digits) - scale:]
        text = ("-" if v < 0 else "") + (whole if width > scale else "") + ("." + fraction if scale else "")
        fits = len((whole + fraction.rstrip("0")).lstrip("0")) <= 15
        return f"'{v:f}'", float(v) if fits else text
    return make


def random_double(r):
    v = r.choice([r.uniform(-1e6, 1e6), r.random() * 10.0**r.randint(-300, 300), float(r.randint(-10**6, 10**6)), 2.0**r.randint(-1000, 1000), 0.0])
    return f"'{v!r}'", v


def random_date(r):
    v = datetime.date.fromordinal(r.randint(1, datetime.date.max.toordinal()))
    moment = datetime.datetime(v.year, v.month, v.day)
    return f"'{v}'", moment if moment >= EXCEL_BEGINS else str(v)


def random_timestamp(unit, finest):
    def make(r):
        micros = r.randrange(-3 * 10**15, 10**16) // unit * unit
        v = EPOCH + datetime.timedelta(microseconds=micros)
        text = re.sub(r"(\.\d*?)0+$", r"\1", str(v))
        return f"'{text}'", v if v >= EXCEL_BEGINS and micros % finest == 0 else text
    return make


def random_time(unit):
    def make(r):
        v = (EPOCH + datetime.timedelta(microseconds=r.randrange(86400 * 10**6) // unit * unit)).time()
        text = re.sub(r"(\.\d*?)0+$", r"\1", str(v))
        return f"'{text}'", v if v.microsecond % 1000 == 0 else text
    return make


def random_bool(r):
    v = r.random() < 0.5
    return str(v).upper(), v


def random_varchar(r):
    v = random_text(r)
    return literal(v), v


KINDS = {
    "BOOLEAN": random_bool, "TINYINT": random_int(8, True), "SMALLINT": random_int(16, True), "INTEGER": random_int(32, True),
    "BIGINT": random_int(64, True), "HUGEINT": random_int(127, True), "UTINYINT": random_int(8, False),
    "USMALLINT": random_int(16, False), "UINTEGER": random_int(32, False), "UBIGINT": random_int(64, False),
    "UHUGEINT": random_int(128, False), "DECIMAL(4,2)": random_decimal(4, 2), "DECIMAL(9,9)": random_decimal(9, 9),
    "DECIMAL(18,3)": random_decimal(18, 3), "DECIMAL(38,20)": random_decimal(38, 20), "DECIMAL(38,0)": random_decimal(38, 0),
    "DOUBLE": random_double, "DATE": random_date, "TIMESTAMP": random_timestamp(1, 1000), "TIMESTAMP_MS": random_timestamp(1000, 1000),
    "TIMESTAMP_S": random_timestamp(10**6, 1000), "TIME": random_time(1), "VARCHAR": random_varchar,
}  # fmt: skip


def same(got, expected):
    if isinstance(expected, str):
        return isinstance(got, str) and unescape(got) == expected
    if isinstance(expected, bool) or isinstance(got, bool):
        return got is expected
    return not isinstance(got, str) and got == expected


@pytest.mark.parametrize("seed", range(6))
def test_random_tables(source, seed, tmp_path):
    r = random.Random(seed)
    kinds = [r.choice(list(KINDS)) for _ in range(r.randint(1, 30))] + [k for k in KINDS if seed == 0]
    table, values = [], []
    for _ in range(r.choice([1, 50, 300])):
        made = [(None, None) if r.random() < 0.2 else KINDS[kind](r) for kind in kinds]
        table.append([expected for _, expected in made])
        values.append("(" + ", ".join(f"({text or 'NULL'})::{kind}" for (text, _), kind in zip(made, kinds)) + ")")
    names = [f"c{i}" for i in range(len(kinds))]
    sql = f"SELECT * FROM (VALUES {', '.join(values)}) v({', '.join(names)})"
    got = rows(export(source, sql, tmp_path, threads=r.choice([1, 4])))
    assert got[0] == tuple(names) and len(got) == len(table) + 1
    for cells, expected in zip(got[1:], table):
        for value, wanted, kind in zip(cells, expected, kinds):
            assert same(value, wanted), (kind, value, wanted)


def test_the_escapes_test_is_not_openpyxls_alone(source, tmp_path):
    """The XML is parsed, and the format's rule applied from left to right, by nobody's library."""
    texts = [random_text(random.Random(i)) for i in range(500)]
    job = export(source, f"SELECT unnest([{', '.join(map(literal, texts))}]) AS v", tmp_path, {"header": False})
    import xml.etree.ElementTree as ElementTree
    cells = ElementTree.fromstring(sheet_xml(job)).iter("{http://schemas.openxmlformats.org/spreadsheetml/2006/main}t")
    got = [re.sub("_x([0-9A-Fa-f]{4})_", lambda m: chr(int(m.group(1), 16)), cell.text or "") for cell in cells]
    assert got == texts


# --- limits ---

def test_as_many_columns_as_excel_has(source, tmp_path):
    job = export(source, f"SELECT {', '.join(f'{i} AS c{i}' for i in range(16384))}", tmp_path, memory="512MiB")
    names, values = rows(job)
    assert names == tuple(f"c{i}" for i in range(16384)) and values == tuple(range(16384))
    job = export(source, f"SELECT {', '.join(f'{i} AS c{i}' for i in range(16385))}", tmp_path, memory="512MiB")
    assert not job.done and job.code == "query_failed" and "16385 columns" in job.message and job.data == b""


def test_rows_go_on_in_further_sheets(source, tmp_path):
    """Every row once, in order, with its own number."""
    total, filled = 2_100_000, 1_048_575
    job = export(source, f"SELECT i FROM range({total}) r(i)", tmp_path, threads=2, memory="512MiB")
    archive = zipfile.ZipFile(io.BytesIO(job.data))
    following = 0
    for number, count in ((1, filled), (2, filled), (3, total - 2 * filled)):
        xml = archive.read(f"xl/worksheets/sheet{number}.xml").partition(b"<sheetData>")[2]
        assert xml == b"".join((b'<row r="1"><c r="A1" s="1" t="inlineStr"><is><t>i</t></is></c></row>',
                                *(b'<row r="%d"><c r="A%d"><v>%d</v></c></row>' % (i + 2, i + 2, following + i) for i in range(count)),
                                b"</sheetData></worksheet>"))
        following += count
    assert following == total == job.rows and len(archive.namelist()) == 8
    assert workbook(job, read_only=True).sheetnames == ["Sheet1", "Sheet1 (2)", "Sheet1 (3)"]


def test_memory_does_not_follow_the_rows(source, tmp_path):
    peaks = [export(source, f"SELECT i, 'text ' || i AS a, i / 7 AS b FROM range({n}) r(i)", tmp_path, threads=2).peak_rss_anon
             for n in (300_000, 3_000_000)]
    assert peaks[1] < peaks[0] + (32 << 20), peaks


@pytest.mark.parametrize("text, length", [("x", LONGEST), ("ä", LONGEST), ("🦆", LONGEST // 2)])
def test_the_longest_text_is_whole(source, text, length, tmp_path):
    assert rows(export(source, f"SELECT repeat('{text}', {length}) AS v", tmp_path))[1] == (text * length,)


def test_longer_texts_fail_or_are_cut_and_counted(source, tmp_path):
    sql = "SELECT i, CASE WHEN i % 1000 = 999 THEN repeat('🦆', 16384) ELSE 'short' END AS ducks FROM t"
    job = export(source, sql, tmp_path)
    assert not job.done and job.code == "query_failed" and "'ducks' has a text of 32768 characters" in job.message
    job = export(source, sql, tmp_path, {"long_text": "cut"})
    got = rows(job)
    assert job.altered == 10 and len(got) == 10001
    assert got[1000] == (999, "🦆" * 16383) and got[999] == (998, "short")


@pytest.mark.parametrize("threads", [1, 4])
def test_a_limit_leaves_a_whole_file(source, threads, tmp_path):
    for limit in (1, 2047, 2048, 5000):
        job = export(source, "FROM t ORDER BY i", tmp_path, more={"row_limit": limit}, threads=threads)
        assert job.truncated and rows(job) == [("i",)] + [(i,) for i in range(limit)]
    job = export(source, "FROM t ORDER BY i", tmp_path, more={"row_limit": 10000}, threads=threads)
    assert not job.truncated and len(rows(job)) == 10001
    job = export(source, "FROM t ORDER BY i", tmp_path, more={"byte_limit": 50000}, threads=threads)
    count = len(rows(job)) - 1
    assert job.truncated and 1000 < count < 2000 and rows(job)[-1] == (count - 1,)


@pytest.mark.parametrize("row", [0, 2048, 9999])
def test_a_row_that_fails_leaves_no_file(source, row, tmp_path):
    job = export(source, f"SELECT CASE WHEN i = {row} THEN error('the row fails') ELSE i END AS v FROM t", tmp_path)
    assert not job.done and job.broken == "" and job.code == "query_failed" and "the row fails" in job.message


# --- the rest ---

def test_options_shape_the_sheet(source, tmp_path):
    sql = "SELECT 1 AS a, 'x' AS b"
    sheet = workbook(export(source, sql, tmp_path)).active
    assert sheet.title == "Sheet1" and sheet.freeze_panes == "A2" and sheet["A1"].font.b and not sheet["A2"].font.b
    sheet = workbook(export(source, sql, tmp_path, {"sheet_name": "R&D \"2024\" <ä>", "freeze_header": False, "bold_header": False})).active
    assert sheet.title == "R&D \"2024\" <ä>" and sheet.freeze_panes is None and not sheet["A1"].font.b
    sheet = workbook(export(source, sql, tmp_path, {"header": False})).active
    assert [c.value for c in sheet[1]] == [1, "x"] and sheet.max_row == 1 and sheet.freeze_panes is None


def test_a_time_zone_is_its_clock(source, tmp_path):
    sql = """SELECT unnest(['2024-01-01 00:00:00+00', '2024-07-01 00:00:00.5+00', '2024-07-01 00:00:00.000001+00', 'infinity']::TIMESTAMPTZ[]) AS at,
             [1, 2] AS l"""
    got = [at for at, _ in rows(export(source, sql, tmp_path, {"timezone": "Asia/Kolkata"}))[1:]]
    assert got == [datetime.datetime(2024, 1, 1, 5, 30), datetime.datetime(2024, 7, 1, 5, 30, 0, 500000), "2024-07-01 05:30:00.000001", "infinity"]


def test_an_empty_result_has_its_header(source, tmp_path):
    assert rows(export(source, "SELECT 1 AS a, DATE '2024-01-01' AS b WHERE false", tmp_path)) == [("a", "b")]
    assert rows(export(source, "SELECT 1 AS a WHERE false", tmp_path, {"header": False})) == []


@pytest.mark.parametrize("threads", [2, 4])
def test_threads_change_nothing(source, threads, tmp_path):
    sql = "SELECT i, 'text ' || i AS a, i / 7 AS b, TIMESTAMP '2024-01-01' + to_seconds(i) AS c FROM range(300000) r(i)"
    entries = [[(e.filename, e.CRC, e.file_size) for e in zipfile.ZipFile(io.BytesIO(job.data)).infolist()]
               for job in (export(source, sql, tmp_path, threads=n, memory="512MiB") for n in (1, threads))]
    assert entries[0] == entries[1]


def test_programs_see_what_it_is(source, tmp_path):
    """The first entries are those by which an Office file is told from another archive."""
    job = export(source, "SELECT 1 AS a", tmp_path)
    entries = zipfile.ZipFile(io.BytesIO(job.data)).infolist()
    assert [e.filename for e in entries] == ["[Content_Types].xml", "_rels/.rels", "xl/styles.xml", "xl/worksheets/sheet1.xml", "xl/workbook.xml",
                                             "xl/_rels/workbook.xml.rels"]
    assert {e.date_time for e in entries} == {(1980, 1, 1, 0, 0, 0)}
