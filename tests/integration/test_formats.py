"""How the file is to look: what a request may ask for, what comes of it in key, headers, record and events, and what is refused by
name. What the values look like is for tests/formats."""
import gzip
import hashlib
import json
import os
import re
import signal
import time

import pytest
import zstandard

from service import SLOW_ROWS, USER, program, wait_for

SHEET = "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
PARQUET = "application/vnd.apache.parquet"
PLAIN = {"csv": "text/csv; charset=utf-8", "tsv": "text/tab-separated-values; charset=utf-8", "json": "application/json",
         "ndjson": "application/x-ndjson"}
COMPRESSED = {"gzip": ("gz", "application/gzip"), "zstd": ("zst", "application/zstd")}

# (what is asked for, suffix of the file, its media type, what the record says besides `format`)
FORMS = [({}, "csv", PLAIN["csv"], {}), ({"format": ""}, "csv", PLAIN["csv"], {}), ({"format": None}, "csv", PLAIN["csv"], {})]
for name, media_type in PLAIN.items():
    FORMS += [({"format": name}, name, media_type, {}), ({"format": name, "compression": "none"}, name, media_type, {})]
    FORMS += [({"format": name, "compression": c}, f"{name}.{suffix}", compressed, {"compression": c}) for c, (suffix, compressed) in COMPRESSED.items()]
FORMS += [({"format": "jsonl"}, "ndjson", PLAIN["ndjson"], {}), ({"format": "jsonl", "compression": "gzip"}, "ndjson.gz", "application/gzip", {"compression": "gzip"}),
          ({"format": "parquet"}, "parquet", PARQUET, {}), ({"format": "parquet", "compression": "zstd"}, "parquet", PARQUET, {}),
          ({"format": "parquet", "compression": "snappy"}, "parquet", PARQUET, {"compression": "snappy"}),
          ({"format": "parquet", "compression": "none"}, "parquet", PARQUET, {"compression": "none"}),
          ({"format": "xlsx"}, "xlsx", SHEET, {}), ({"format": "excel", "compression": "none"}, "xlsx", SHEET, {})]
EACH = [{"format": f} for f in ("csv", "tsv", "json", "ndjson", "parquet", "xlsx")]
OF_COMPLETE = ("rows", "bytes", "sha256", "columns", "content_type", "filename", "truncated", "duration_ms")
MAY_BE_THERE = {"compression", "options", "row_limit", "byte_limit"}

THREE = "SELECT i AS id, 'x' || i AS name FROM range(3) r(i)"
TEXTS = {"csv": b"id,name\n0,x0\n1,x1\n2,x2\n", "tsv": b"id\tname\n0\tx0\n1\tx1\n2\tx2\n",
         "ndjson": b'{"id":0,"name":"x0"}\n{"id":1,"name":"x1"}\n{"id":2,"name":"x2"}\n'}


def name_of(form):
    return "-".join(str(v) for v in form.values()) or "nothing"


def unpacked(data, suffix):
    if suffix.endswith(".gz"):
        return gzip.decompress(data)
    if suffix.endswith(".zst"):
        return zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return data


def check_bytes(data, suffix):
    """The three rows, as far as this page looks."""
    kind, text = suffix.split(".")[0], unpacked(data, suffix)
    if kind == "json":
        assert json.loads(text) == [{"id": i, "name": f"x{i}"} for i in range(3)]
    elif kind == "parquet":
        assert text[:4] == text[-4:] == b"PAR1"
    elif kind == "xlsx":
        assert text[:4] == b"PK\x03\x04"
    else:
        assert text == TEXTS[kind]


def post(server, sql, form, headers=USER):
    """The last event. Only what `form` has is sent of the form."""
    return server.run(sql, headers, **{"format": ""} | form)


def finished(server, sql, form):
    """The last event and the record of a download that has to work."""
    last = post(server, sql, form)
    assert last.type == "complete", (form, last.text)
    return last.data, server.get("/downloads/" + last.data["download_id"])


@pytest.mark.parametrize("form, suffix, media_type, told", FORMS, ids=[name_of(f[0]) for f in FORMS])
def test_each_format_and_compression(shared, form, suffix, media_type, told):
    began = time.monotonic()
    complete, record = finished(shared, THREE, form)
    job = record["id"]
    assert record["format"] == suffix.split(".")[0]
    assert {k: record[k] for k in MAY_BE_THERE & set(record)} == told
    assert record["columns"] == [{"name": "id", "type": "BIGINT"}, {"name": "name", "type": "VARCHAR"}]
    assert (record["content_type"], record["filename"], record["truncated"]) == (media_type, f"{job}.{suffix}", False)
    assert {k: record[k] for k in OF_COMPLETE} == {k: complete[k] for k in OF_COMPLETE}
    assert not {"columns_truncated", "guarded_cells", "cut_cells"} & (set(record) | set(complete))
    assert 0 <= record["duration_ms"] <= (time.monotonic() - began) * 1000
    assert re.fullmatch(rf"http://[^/]*/files/acme/{job}\.{re.escape(suffix)}\?.*", complete["message"])
    assert (shared.data / "files" / "acme" / f"{job}.{suffix}").stat().st_size == record["bytes"]
    for method in ("GET", "HEAD"):
        file = shared.fetch(complete["message"], method)
        assert (file.status, file.headers["Content-Type"]) == (200, media_type)
        assert file.headers["Content-Disposition"] == f'attachment; filename="{job}.{suffix}"'
        assert "Content-Encoding" not in file.headers and int(file.headers["Content-Length"]) == record["bytes"]
    data = shared.fetch(complete["message"], **{"Accept-Encoding": "gzip, zstd"}).body
    assert hashlib.sha256(data).hexdigest() == record["sha256"] and record["rows"] == 3
    check_bytes(data, suffix)


def test_what_gopie_server_sends(shared):
    """Every field, and those that it has no value for as empty texts."""
    last = shared.run(THREE, format="", user_id="", org_id="", id="", status="", pre_signed_url="", compression="")
    assert last.type == "complete" and last.data["filename"].endswith(".csv")


def test_the_first_event_tells_what_was_understood(shared):
    stream = shared.post("SELECT 1 AS a", format="jsonl", compression="zstd", options={"integers": "string", "decimals": "number"}, row_limit=5,
                         byte_limit=0)
    record = stream.until(lambda e: e.name == "job_created").data
    assert (record["format"], record["compression"], record["options"], record["row_limit"]) == ("ndjson", "zstd", {"integers": "string"}, 5)
    assert "byte_limit" not in record and not set(OF_COMPLETE) & set(record)
    list(stream.events())


def test_lists_and_snapshots_tell_it_too(shared):
    who = {"x-user-id": "formats", "x-organization-id": "acme"}
    last = post(shared, THREE, {"format": "tsv", "compression": "gzip", "options": {"header": False}}, who)
    listed, = shared.get("/downloads", who)
    record = shared.get("/downloads/" + last.data["download_id"], who)
    assert "columns" not in listed and "columns" in record
    alike = ("format", "compression", "options", "content_type", "filename", "truncated", "duration_ms", "rows", "bytes", "sha256")
    assert {k: listed[k] for k in alike} == {k: record[k] for k in alike}
    snapshot, complete = shared.follow(record["id"], **who).events()
    assert {k: snapshot.data[k] for k in alike} == {k: record[k] for k in alike}
    assert {k: complete.data[k] for k in OF_COMPLETE} == {k: record[k] for k in OF_COMPLETE}


def test_columns_have_the_names_of_the_file_and_the_types_of_the_query(shared):
    sql = '''SELECT 1 AS a, 2 AS a, 3 AS "A", 1.5::DECIMAL(18,3) AS "ü, ""x""", [{'k': 1}] AS nested, now() AS t, 'x'::ENUM('x', 'y') AS e'''
    complete, record = finished(shared, sql, {"format": "csv"})
    assert record["columns"] == complete["columns"]
    assert [c["name"] for c in record["columns"]] == ["a", "a_1", "A_2", 'ü, "x"', "nested", "t", "e"]
    assert [c["type"] for c in record["columns"]] == ["INTEGER", "INTEGER", "INTEGER", "DECIMAL(18,3)", "STRUCT(k INTEGER)[]",
                                                      "TIMESTAMP WITH TIME ZONE", "ENUM('x', 'y')"]


@pytest.mark.parametrize("form", EACH, ids=name_of)
def test_a_failing_row_leaves_nothing(service, form):
    server = service()
    last = post(server, "SELECT CASE WHEN i = 150000 THEN error('no more') ELSE i END AS i FROM range(200000) r(i)", form)
    assert last.type == "error" and "no more" in last.data["message"]
    record = server.get("/downloads/" + last.data["download_id"])
    assert record["error_code"] == "query_failed" and not (set(OF_COMPLETE) - {"rows", "bytes"}) & set(record)
    wait_for(lambda: server.files() == [], "nothing that is left")


@pytest.mark.parametrize("form, suffix", [({"format": "ndjson", "compression": "gzip"}, "ndjson.gz"), ({"format": "parquet"}, "parquet")], ids=["ndjson.gz", "parquet"])
def test_a_repeated_attempt_has_its_own_key_and_the_same_name(service, form, suffix):
    server = service(RETRY_DELAY="10ms")
    stream = server.post(SLOW_ROWS, **form | {"row_limit": 2_000_000})
    job = stream.until(lambda e: e.name == "job_created").data["id"]
    os.kill(wait_for(lambda: next((p for p in server.workers() if program(p) == "downloads-worker"), None), "a worker"), signal.SIGKILL)
    last = list(stream.events())[-1]
    assert last.type == "complete" and last.data["filename"] == f"{job}.{suffix}"
    wait_for(lambda: server.files() == [f"files/acme/{job}-2.{suffix}"], "nothing else that is left")
    file = server.fetch(last.data["message"], "HEAD")
    assert file.headers["Content-Disposition"] == f'attachment; filename="{job}.{suffix}"'


# --- what is refused ---

REFUSED = [
    ({"format": "docx"}, "unknown format 'docx': there are csv, tsv, json, ndjson (or jsonl), parquet, xlsx (or excel)"),
    ({"format": "CSV"}, "unknown format 'CSV'"),
    ({"format": 1}, "format must be a string"),
    ({"compression": "brotli"}, "unknown compression 'brotli' for the format csv: allowed is none, gzip, zstd"),
    ({"compression": ["gzip"]}, "compression must be a string"),
    ({"format": "json", "compression": "snappy"}, "unknown compression 'snappy' for the format json"),
    ({"format": "parquet", "compression": "gzip"}, "for the format parquet: allowed is none, zstd, snappy"),
    ({"format": "xlsx", "compression": "gzip"}, "for the format xlsx: allowed is none"),
    ({"options": []}, "options must be an object"),
    ({"options": {"separator": ";"}}, "unknown option 'separator' for the format csv: there are delimiter, header, null,"),
    ({"format": "json", "options": {"delimiter": ";"}}, "unknown option 'delimiter' for the format json: there are timezone, integers,"),
    ({"format": "parquet", "options": {"header": True}}, "unknown option 'header' for the format parquet"),
    ({"options": {"header": "false"}}, "option header must be true or false"),
    ({"options": {"delimiter": ";;"}}, "option delimiter must be one of"),
    ({"options": {"null": "a,b"}}, "option null must not have the delimiter in it"),
    ({"options": {"null": "\""}}, "option null must not have quotes or line ends"),
    ({"options": {"null": "x" * 65}}, "option null must have at most 64 bytes"),
    ({"options": {"null": "\0"}}, "not valid JSON"),
    ({"options": {"timezone": "Mars/Olympus"}}, "option timezone must be a name like UTC or Asia/Kolkata; 'Mars/Olympus' is not known"),
    ({"format": "json", "options": {"integers": "text"}}, 'option integers must be "number" or "string"'),
    ({"format": "parquet", "options": {"row_group_size": 2047}}, "option row_group_size must be a whole number from 2048 to 1048576"),
    ({"format": "excel", "options": {"sheet_name": "a/b"}}, "option sheet_name must not have any of"),
    ({"format": "excel", "options": {"long_text": "wrap"}}, 'option long_text must be "error" or "cut"'),
    ({"row_limit": -1}, "row_limit must be a whole number that is not negative"),
    ({"row_limit": "5"}, "row_limit must be a whole number that is not negative"),
    ({"byte_limit": 1.5}, "byte_limit must be a whole number that is not negative"),
    ({"byte_limit": 2 ** 63}, "not valid JSON: too big integer"),
]


@pytest.mark.parametrize("form, says", REFUSED, ids=[json.dumps(f)[1:-1][:60] for f, _ in REFUSED])
def test_what_there_is_not_is_refused_by_name(shared, form, says):
    who = {"x-user-id": "refused", "x-organization-id": "acme"}
    response = shared.request("POST", "/downloads", {"dataset_id": "d", "sql": "SELECT 1"} | form, who)
    body = json.loads(response.body)
    assert response.status == 400 and list(body) == ["error"] and says in body["error"], response.body
    assert shared.get("/downloads", who) == []


def test_a_long_name_is_quoted_whole_characters_only(shared):
    for form in ({"format": "é" * 100}, {"compression": "é" * 100}, {"options": {"é" * 100: 1}}, {"format": "x" + "é" * 100}):
        response = shared.request("POST", "/downloads", {"dataset_id": "d", "sql": "SELECT 1"} | form)
        text = json.loads(response.body.decode())["error"]  # which is UTF-8
        assert response.status == 400 and "�" not in text and "é" * 31 + "'" in text


# --- limits ---

TEN = "SELECT i, 'y' || i AS y FROM range(10) r(i)"
MANY = "SELECT i, md5(i::VARCHAR) AS a FROM range(500000) r(i)"


@pytest.mark.parametrize("form", EACH + [{"format": "csv", "compression": "gzip"}, {"format": "ndjson", "compression": "zstd"}], ids=name_of)
@pytest.mark.parametrize("sql, limit, rows", [(TEN, 9, 9), (TEN, 10, 10), (TEN, 11, 10), (TEN, 1, 1), (MANY, 123_457, 123_457)])
def test_a_file_ends_at_its_limit_of_rows(shared, form, sql, limit, rows):
    complete, record = finished(shared, sql, form | {"row_limit": limit})
    truncated = sql == MANY or limit < 10
    assert record["row_limit"] == limit
    assert all((told["rows"], told["truncated"]) == (rows, truncated) for told in (complete, record))
    data = shared.fetch(complete["message"]).body
    assert hashlib.sha256(data).hexdigest() == record["sha256"]
    text = unpacked(data, record["filename"])
    if form["format"] in ("csv", "tsv"):
        assert text.count(b"\n") == rows + 1 and text.endswith(b"\n")
    elif form["format"] == "ndjson":
        assert [json.loads(line)["i"] for line in text.splitlines()] == list(range(rows))
    elif form["format"] == "json":
        assert [row["i"] for row in json.loads(text)] == list(range(rows))


@pytest.mark.parametrize("form", EACH[:4] + [{"format": "csv", "compression": "gzip"}], ids=name_of)
def test_a_text_ends_behind_the_last_row_that_fits(shared, form):
    whole = unpacked(shared.fetch(finished(shared, TEN, form)[0]["message"]).body, form["format"] + (".gz" if "compression" in form else ""))
    rows = {}
    for limit in (1, len(whole) - 1, len(whole), len(whole) // 2):
        complete, record = finished(shared, TEN, form | {"byte_limit": limit})
        text = unpacked(shared.fetch(complete["message"]).body, record["filename"])
        assert record["byte_limit"] == limit and record["truncated"] is (limit < len(whole))
        assert len(text) <= limit or record["rows"] == 0  # what stands around the rows is there in any case
        rows[limit] = record["rows"]
        if form["format"] == "json":
            assert [row["i"] for row in json.loads(text)] == list(range(record["rows"]))
        else:
            assert whole.startswith(text) and (text.endswith(b"\n") or not text)
    assert (rows[1], rows[len(whole) - 1], rows[len(whole)]) == (0, 9, 10) and 0 < rows[len(whole) // 2] < 9


@pytest.mark.parametrize("form", EACH[4:], ids=name_of)
def test_other_files_end_at_their_limit_of_bytes(shared, form):
    complete, record = finished(shared, MANY, form | {"byte_limit": 1_000_000})
    assert record["truncated"] is complete["truncated"] is True and 1000 < record["rows"] < 40_000
    complete, record = finished(shared, TEN, form | {"byte_limit": 1_000_000})
    assert record["truncated"] is complete["truncated"] is False and record["rows"] == 10


def test_a_result_that_never_ends_ends_at_its_limit(shared):
    complete, record = finished(shared, "SELECT i FROM range(100000000000000) r(i)", {"row_limit": 1000})
    assert (record["rows"], record["truncated"]) == (1000, True)


def test_a_deployment_has_limits(service):
    server = service(ROW_LIMIT=5)
    for asked, got, told in ((None, 5, 5), (0, 5, 5), (3, 3, 3), (5, 5, 5), (100, 5, 5)):
        complete, record = finished(server, TEN, {} if asked is None else {"row_limit": asked})
        assert (record["rows"], record["row_limit"], record["truncated"]) == (got, told, True) and "byte_limit" not in record
    complete, record = finished(server, THREE, {})
    assert (record["rows"], record["row_limit"], record["truncated"]) == (3, 5, False)
    assert server.stop() == 0
    server.environment |= {"GOPIE_DS_ROW_LIMIT": "", "GOPIE_DS_BYTE_LIMIT": "1KB"}
    server.start()
    for asked, limit in ((None, 1000), (500, 500), (10 ** 9, 1000)):
        complete, record = finished(server, MANY, {"format": "ndjson"} if asked is None else {"format": "ndjson", "byte_limit": asked})
        assert limit - 60 < record["bytes"] <= limit == record["byte_limit"] and record["truncated"] is True and "row_limit" not in record


# --- what cells became ---

def test_guarded_cells_are_counted(shared):
    sql = """SELECT '=1+1' AS "@a", -5 AS b, 'plain' AS c UNION ALL SELECT '+x', -6, '@y'"""
    for form, count in (({"options": {"excel_safe": True}}, 4), ({"format": "tsv", "options": {"excel_safe": True, "header": False}}, 3)):
        complete, record = finished(shared, sql, form)
        assert complete["guarded_cells"] == record["guarded_cells"] == count
    complete, record = finished(shared, "SELECT 1 AS a", {"options": {"excel_safe": True}})
    assert complete["guarded_cells"] == record["guarded_cells"] == 0


def test_cut_cells_are_counted_or_refused(shared):
    sql = "SELECT repeat('x', 32767 + i::INTEGER) AS a FROM range(3) r(i)"
    complete, record = finished(shared, sql, {"format": "xlsx", "options": {"long_text": "cut"}})
    assert complete["cut_cells"] == record["cut_cells"] == 2
    last = post(shared, sql, {"format": "xlsx"})
    assert last.type == "error" and "32767" in last.data["message"]


@pytest.mark.parametrize("sandbox", ["required", "best-effort", "off"])
def test_every_format_in_every_box(service, sandbox):
    """Without the box the engine sees where /dev/fd leads: into the process that asks, which is not the template."""
    server = service(SANDBOX=sandbox)
    for form in EACH + [{"format": "parquet", "row_limit": 3}]:
        last = server.run("SELECT id, name FROM t LIMIT 3", **form)
        assert last.type == "complete", (form, last.text)
        assert last.data["rows"] == 3
    last = server.run("FROM '/etc/passwd'")
    assert last.type == "error", last.text
    last = server.run("SELECT value FROM duckdb_settings() WHERE name = 'enable_external_access'")
    assert server.fetch(last.data["message"]).body == b"value\nfalse\n"
