"""Every format on a real PostgreSQL and a real S3 server: its key, its headers, its record; and nothing where a row fails."""
import hashlib
import urllib.request

import pytest

FORMS = [
    ({"format": "csv"}, "csv", "text/csv; charset=utf-8"),
    ({"format": "csv", "compression": "gzip"}, "csv.gz", "application/gzip"),
    ({"format": "tsv", "compression": "zstd"}, "tsv.zst", "application/zstd"),
    ({"format": "json"}, "json", "application/json"),
    ({"format": "jsonl"}, "ndjson", "application/x-ndjson"),
    ({"format": "ndjson", "compression": "gzip"}, "ndjson.gz", "application/gzip"),
    ({"format": "parquet"}, "parquet", "application/vnd.apache.parquet"),
    ({"format": "parquet", "row_limit": 10**9}, "parquet", "application/vnd.apache.parquet"),
    ({"format": "excel"}, "xlsx", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"),
]
# md5 does not compress: every format has several parts of 5 MiB.
ROWS = 600_000
GOOD = f"SELECT i, md5(i::VARCHAR) AS a, md5((i + 1)::VARCHAR) AS b FROM range({ROWS}) r(i)"
BAD = f"SELECT i, md5(i::VARCHAR) AS a, CASE WHEN i = {ROWS - 10} THEN error('no more') ELSE md5((i + 1)::VARCHAR) END AS b FROM range({ROWS}) r(i)"


def name_of(form):
    return "-".join(str(v) for v in form.values())


@pytest.mark.parametrize("form, suffix, media_type", FORMS, ids=[name_of(f) for f, _, _ in FORMS])
def test_a_result_of_several_parts(place, form, suffix, media_type):
    server = place.start()
    last = server.run(GOOD, **form)
    assert last.type == "complete", last.data
    job = last.data["download_id"]
    record = server.get("/downloads/" + job)
    key = f"acme/{job}.{suffix}"
    assert place.objects() == {key: record["bytes"]} and place.uploads() == []
    assert record["bytes"] > 5 << 20 and record["rows"] == ROWS
    with urllib.request.urlopen(record["pre_signed_url"]) as answer:
        data = answer.read()
        assert answer.headers["Content-Type"] == media_type and "Content-Encoding" not in answer.headers
        assert f'filename="{job}.{suffix}"' in answer.headers["Content-Disposition"]
    assert hashlib.sha256(data).hexdigest() == record["sha256"] == last.data["sha256"]
    for told in (record, last.data):
        assert told["content_type"] == media_type and told["filename"] == f"{job}.{suffix}"
        assert told["columns"] == [{"name": "i", "type": "BIGINT"}, {"name": "a", "type": "VARCHAR"}, {"name": "b", "type": "VARCHAR"}]
        assert told["truncated"] is False and told["duration_ms"] > 0
    assert place.sql("SELECT format::text FROM downloads") == [(suffix.split(".")[0],)]


@pytest.mark.parametrize("form", [f for f, _, _ in FORMS], ids=name_of)
def test_a_failing_row_leaves_nothing(place, form):
    server = place.start()
    last = server.run(BAD, **form)
    assert last.type == "error" and "no more" in last.data["message"]
    assert place.objects() == {} and place.uploads() == []
    record = server.get("/downloads/" + last.data["download_id"])
    assert record["status"] == "failed" and record["error_code"] == "query_failed"


@pytest.mark.parametrize("form", [f for f, _, _ in FORMS], ids=name_of)
def test_a_limit_is_said(place, form):
    server = place.start()
    last = server.run(GOOD, **form | {"row_limit": 12345})
    assert last.type == "complete" and last.data["truncated"] is True and last.data["rows"] == 12345
    record = server.get("/downloads/" + last.data["download_id"])
    assert record["truncated"] is True and record["rows"] == 12345 and record["row_limit"] == 12345
