"""What existing clients hold us to: requests, records, the event stream of POST /downloads, to the letter."""
import json
import re
import uuid

import pytest

from service import USER, raw

FOREIGN = {"x-user-id": "eve", "x-organization-id": "evil"}


def error_of(response):
    body = json.loads(response.body)
    assert list(body) == ["error"]
    return body["error"]


def test_health_needs_no_identity(shared):
    response = shared.request("GET", "/health", headers={})
    assert (response.status, response.body) == (200, b'"Ok"')


@pytest.mark.parametrize("method, path", [("GET", "/downloads"), ("POST", "/downloads"),
                                          ("GET", "/downloads/" + str(uuid.uuid4())), ("DELETE", "/downloads/" + str(uuid.uuid4()))])
def test_identity_comes_in_headers(shared, method, path):
    body = {"dataset_id": "d", "sql": "SELECT 1", "user_id": "ann", "org_id": "acme"} if method == "POST" else None
    response = shared.request(method, path, body, headers={})
    assert (response.status, error_of(response)) == (401, "user ID not found")
    response = shared.request(method, path, body, headers={"x-user-id": "ann"})
    assert (response.status, error_of(response)) == (401, "organization ID not found")
    response = shared.request(method, path, body, headers={"x-user-id": "", "x-organization-id": "acme"})
    assert (response.status, error_of(response)) == (401, "user ID not found")


@pytest.mark.parametrize("org", ["..", "a/b", "a" * 129, "a b", "."])
def test_an_organisation_becomes_a_directory(shared, org):
    assert shared.request("GET", "/downloads", headers={"x-user-id": "u", "x-organization-id": org}).status == 400


@pytest.mark.parametrize("body", [
    b"", b"{", b"[]", b'"x"', b"{}", b'{"sql":"SELECT 1"}', b'{"dataset_id":"d"}', b'{"dataset_id":"d","sql":""}',
    b'{"dataset_id":"","sql":"SELECT 1"}', b'{"dataset_id":"d","sql":7}', b'{"dataset_id":"d","sql":["SELECT 1"]}',
    b'{"dataset_id":"d","sql":"SELECT 1","format":"docx"}', b'{"dataset_id":"d","sql":"SELECT 1","format":7}',
    b'{"dataset_id":"d","sql":"\xff"}', b'{"dataset_id":"d","sql":"a\\u0000b"}', b'{"dataset_id":"d","sql":" \\n "}',
    b'{"dataset_id":"d","sql":"SELECT 1"} {}', b'{"dataset_id":"d","sql":"SELECT 1"' + b" " * 100])
def test_a_wrong_body_is_refused_and_nothing_is_stored(shared, body):
    who = {"x-user-id": "wrong-bodies", "x-organization-id": "acme"}
    response = shared.request("POST", "/downloads", raw=body, headers=who)
    assert response.status == 400 and error_of(response)
    assert shared.get("/downloads", who) == []


def test_an_unknown_format_is_named_with_those_there_are(shared):
    response = shared.request("POST", "/downloads", {"dataset_id": "d", "sql": "SELECT 1", "format": "docx"})
    assert "docx" in error_of(response) and "csv" in error_of(response)


def test_another_content_type_is_refused(shared):
    body = json.dumps({"dataset_id": "d", "sql": "SELECT 1"})
    assert shared.request("POST", "/downloads", raw=body, headers=USER | {"Content-Type": "text/plain"}).status == 415
    assert shared.request("POST", "/downloads", raw=body, headers=USER | {"Content-Type": "application/json; charset=utf-8"}).status == 200


@pytest.mark.parametrize("many, status", [(900, 200), (1100, 400)])
def test_bodies_have_a_limit_of_values(shared, many, status):
    commas = {"sql": "SELECT 1 AS a -- \\\"" + "," * 2000, "dataset_id": 'd"\\'}  # those in a text are none
    response = shared.request("POST", "/downloads", commas | {str(i): i for i in range(many)})
    assert response.status == status, response.body


def test_bodies_have_a_limit(shared):
    start = b'{"dataset_id":"d","sql":"SELECT 1 -- '
    size = 4 * 1024 * 1024
    response = shared.request("POST", "/downloads", raw=start + b"x" * (size - len(start) - 2) + b'"}')
    assert response.status == 200
    response = shared.request("POST", "/downloads", raw=start + b"x" * (size + 1 - len(start) - 2) + b'"}')
    assert response.status == 413 and error_of(response)


@pytest.mark.parametrize("method, path, allow", [
    ("PUT", "/downloads", "GET, HEAD, POST, OPTIONS"), ("POST", "/health", "GET, HEAD, OPTIONS"), ("BREW", "/health", "GET, HEAD, OPTIONS"),
    ("PATCH", "/downloads/" + str(uuid.uuid4()), "GET, HEAD, DELETE, OPTIONS"),
    ("POST", "/downloads/" + str(uuid.uuid4()) + "/events", "GET, OPTIONS")])
def test_other_methods(shared, method, path, allow):
    response = shared.request(method, path)
    assert (response.status, response.headers["Allow"]) == (405, allow)
    assert error_of(response)


@pytest.mark.parametrize("path", ["/", "/nothing", "/downloads/x/y", "/Downloads", "/files"])
def test_unknown_paths(shared, path):
    response = shared.request("GET", path)
    assert response.status == 404 and error_of(response)


def test_head_has_no_body(shared):
    response = shared.request("HEAD", "/health")
    assert (response.status, response.body, response.headers["Content-Length"]) == (200, b"", "4")


def test_the_event_stream_to_the_letter(shared):
    stream = shared.post("SELECT 42 AS answer, NULL AS nothing", user_id="x", org_id="y", id="z")
    assert stream.status == 200
    assert stream.headers["Content-Type"] == "text/event-stream"
    assert (stream.headers["Cache-Control"], stream.headers["X-Accel-Buffering"]) == ("no-cache", "no")
    events = [e for e in stream.events() if e.type != "progress"]
    assert stream.response.fp.read() == b""  # the connection closes
    assert events[0].text == (b"event: request_received\n"
                              b'data: {"message": "Request received, preparing to submit to queue..."}')
    assert events[1].name == "job_created" and events[1].text.startswith(b"event: job_created\n")
    record = events[1].data
    job = record["id"]
    assert str(uuid.UUID(job)) == job
    assert {k: record[k] for k in ("sql", "dataset_id", "status", "format", "user_id", "org_id")} == {
        "sql": "SELECT 42 AS answer, NULL AS nothing", "dataset_id": "d", "status": "pending", "format": "csv",
        "user_id": "ann", "org_id": "acme"}
    assert not {"pre_signed_url", "error_message", "expires_at", "completed_at"} & set(record)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", record[k]) for k in ("created_at", "updated_at"))
    for event, message in zip(events[2:5], ["Processing query...", "Streaming data to storage...", "Generating secure download link..."]):
        assert event.name is None
        assert event.data == {"download_id": job, "type": "status_update", "message": message}
    last = events[5]
    assert len(events) == 6 and last.name is None
    assert (last.data["download_id"], last.type) == (job, "complete")
    assert last.data["message"].startswith("http")
    assert [e.id for e in events if e.id] == [1, 2, 3]  # ids only where the record changed
    record = shared.get("/downloads/" + job)
    assert (record["status"], record["pre_signed_url"], record["version"]) == ("completed", last.data["message"], 3)
    assert {"expires_at", "completed_at"} <= set(record) and "error_message" not in record
    assert {k: record[k] for k in ("rows", "bytes", "sha256")} == {k: last.data[k] for k in ("rows", "bytes", "sha256")}
    assert shared.fetch(last.data["message"]).body == b"answer,nothing\n42,\n"


def test_each_event_is_one_chunk(shared):
    stream = shared.post("SELECT 1")
    list(stream.events())
    assert all(chunk.count(b"\n\n") == 1 for chunk in stream.chunks)


@pytest.mark.parametrize("given", [{"format": ""}, {"format": None}])
def test_no_format_means_csv(shared, given):
    assert shared.run("SELECT 1 AS a", **given).type == "complete"


def test_a_failed_job_says_why(shared):
    stream, job = shared.begin("SELECT no_such_column FROM t")
    last = list(stream.events())[-1]
    assert last.name is None and set(last.data) == {"download_id", "type", "message"}
    assert last.data["message"].startswith("Failed during data processing: ") and "no_such_column" in last.data["message"]
    record = shared.get("/downloads/" + job)
    assert record["status"] == "failed" and record["completed_at"]
    assert "Failed during data processing: " + record["error_message"] == last.data["message"]
    assert "pre_signed_url" not in record


def test_no_line_reaches_64_kib(shared):
    sql = "SELECT 1 AS a -- " + "é" * 200_000
    stream, job = shared.begin(sql)
    list(stream.events())
    assert max(len(line) for chunk in stream.chunks for line in chunk.split(b"\n")) < 9 * 1024
    assert b'"sql_truncated":true' in b"".join(stream.chunks)
    assert shared.get("/downloads/" + job)["sql"] == sql
    stream, job = shared.begin("SELECT " + "y" * 100_000)
    last = list(stream.events())[-1]
    assert len(last.text) < 17 * 1024


def test_lists(shared):
    who = {"x-user-id": "lister", "x-organization-id": "acme"}
    assert shared.request("GET", "/downloads", headers=who).body == b"[]"
    ids = []
    for i in range(12):
        stream, job = shared.begin(f"SELECT {i}", who)
        list(stream.events())
        ids.insert(0, job)
    shared.run("SELECT 1", {"x-user-id": "other", "x-organization-id": "acme"})
    shared.run("SELECT 1", {"x-user-id": "lister", "x-organization-id": "other"})

    def listed(query):
        return [r["id"] for r in shared.get("/downloads" + query, who)]

    assert listed("") == ids[:10]
    assert listed("?limit=3&offset=2") == ids[2:5]
    assert listed("?limit=1000") == ids
    assert listed("?limit=0") == [] == listed("?offset=12")
    for query in ("?limit=-1", "?limit=x", "?offset=-1", "?offset=1.5", "?limit=99999999999999999999"):
        assert shared.request("GET", "/downloads" + query, headers=who).status == 400


def test_a_record_is_its_organisations(shared):
    stream, job = shared.begin("SELECT 1")
    list(stream.events())
    colleague = {"x-user-id": "bob", "x-organization-id": "acme"}
    assert shared.get("/downloads/" + job, colleague)["id"] == job
    assert shared.get("/downloads/" + job.upper(), colleague)["id"] == job
    for path, who in ((job, FOREIGN), (str(uuid.uuid4()), USER), ("not-a-uuid", USER), (job + "0", USER)):
        response = shared.request("GET", "/downloads/" + path, headers=who)
        assert (response.status, error_of(response)) == (404, "download not found")


def test_delete(shared):
    stream, job = shared.begin("SELECT 1 AS kept")
    link = list(stream.events())[-1].data["message"]
    for path, who in ((job, FOREIGN), (str(uuid.uuid4()), USER)):
        response = shared.request("DELETE", "/downloads/" + path, headers=who)
        assert (response.status, response.body) == (204, b"")
    assert shared.request("DELETE", "/downloads/malformed").status == 404
    assert shared.get("/downloads/" + job)["status"] == "completed"
    assert shared.request("DELETE", "/downloads/" + job, headers={"x-user-id": "bob", "x-organization-id": "acme"}).status == 204
    assert shared.request("GET", "/downloads/" + job).status == 404
    assert shared.fetch(link).body == b"kept\n1\n"  # the file stays until its link is over


def test_the_gate_stands_before_the_api(shared):
    for head in (b"POST /downloads HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nContent-Length: 5\r\n\r\n{}\n",
                 b"POST /downloads HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
                 b"GET /health HTTP/1.1\r\n\r\n", b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n"):
        answer = raw(shared.port, head)
        assert answer.startswith(b"HTTP/1.1 400 ") and answer.count(b"HTTP/1.1") == 1 and b'{"error":' in answer
