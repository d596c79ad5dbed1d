"""api/openapi.yaml and the server say the same: each documented status, header, field and event comes, and nothing comes that is not
documented. Every answer in here goes through the judge of openapi.py."""
import http.client
import json
import os
import re
import resource
import signal
import sqlite3
import types
import uuid
from urllib.parse import urljoin

import pytest

from openapi import Document
from service import DEADLINE, ENDLESS, ROOT, SLOW_ROWS, USER, Service, Stream, raw, wait_for

FOREIGN = {"x-user-id": "eve", "x-organization-id": "evil"}
UNKNOWN = "/downloads/" + str(uuid.uuid4())

# Documented statuses that are not brought about here, and why. That they do not come in here is tested, too.
UNSEEN = {(path, method, "500"): "the server would have to be out of memory" for path, method in [
    ("/downloads", "post"), ("/downloads", "get"), ("/downloads/{id}", "get"), ("/downloads/{id}", "delete"),
    ("/downloads/{id}/events", "get"), ("/files/{org}/{name}", "get")]}
# The engine seldom says that it cannot tell; tests/unit/test_server.c has the event's text.
MAY_BE_UNSEEN = {("Progress", "indeterminate")}
# Codes of errors that never reach a record: they are answers to a request, or make another attempt.
NOT_IN_RECORDS = {"ok", "unauthorized", "forbidden", "method_not_allowed", "unsupported_media_type", "range_not_satisfiable",
                  "queue_full", "organisation_queue_full", "stale_attempt"}


class Judged:
    """A server whose every answer is held against the document."""

    def __init__(self, document, service):
        self.document, self.service = document, service

    def request(self, method, path, body=None, headers=USER, raw=None, connection=None):
        connection = connection or http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=DEADLINE)
        text = raw if raw is not None else None if body is None else json.dumps(body)
        connection.request(method, path, text, ({"Content-Type": "application/json"} if text is not None else {}) | headers)
        response = connection.getresponse()
        response.body = response.read()
        self.document.check(method, path, response)
        return response

    def expect(self, status, *arguments, **named):
        response = self.request(*arguments, **named)
        assert response.status == status, (arguments, response.status, response.body)
        return response

    def stream(self, method, path, body=None, headers=USER):
        """The stream, and its events, judged as they come."""
        stream = Stream(self.service.port, method, path, body, headers)
        described = self.document.check(method, path, stream.response)
        stream.raw_events = stream.events

        def events():
            for event in stream.raw_events():
                self.document.check_event(path, described, event)
                yield event

        stream.events = events
        return stream

    def post(self, sql, headers=USER, **fields):
        return self.stream("POST", "/downloads", {"dataset_id": "d", "sql": sql, "format": "csv"} | fields, headers)

    def begin(self, sql, headers=USER):
        stream = self.post(sql, headers)
        return stream, stream.until(lambda e: e.name == "job_created").data["id"]

    def run(self, sql):
        stream, job = self.begin(sql)
        return job, list(stream.events())[-1]

    def keep(self):
        """A connection that stays, as one has that a shutdown meets."""
        connection = http.client.HTTPConnection("127.0.0.1", self.service.port, timeout=DEADLINE)
        self.expect(200, "GET", "/health", connection=connection)
        return connection


def drive_health(api, _):
    api.expect(200, "GET", "/health", headers={})


def drive_posts(api, _):
    api.run("SELECT 1 AS a")
    api.run("SELECT nothing")
    api.run("SELECT '" + "x" * 100_000 + "' AS a")  # the event's record is cut
    api.expect(400, "POST", "/downloads", {"sql": "SELECT 1"})
    api.expect(400, "POST", "/downloads", raw=b"{")
    api.expect(400, "POST", "/downloads", {"sql": "SELECT 1", "dataset_id": "d"}, headers=USER | {"x-organization-id": ".."})
    api.expect(401, "POST", "/downloads", {"sql": "SELECT 1", "dataset_id": "d"}, headers={})
    api.expect(415, "POST", "/downloads", raw=b"{}", headers=USER | {"Content-Type": "text/plain"})
    example = api.document.tree["components"]["schemas"]["NewDownload"]["properties"]
    stream = api.stream("POST", "/downloads", {name: example[name]["example"] for name in ("sql", "dataset_id")})
    assert list(stream.events())[-1].type == "complete"


def drive_requests_as_documented(api, _):
    """What the schema of the body refuses the server refuses, and what it allows is taken."""
    schema = {"$ref": "#/components/schemas/NewDownload"}
    whole = {"sql": "SELECT 1 AS a", "dataset_id": "d", "format": "csv"}
    options = api.document.tree["components"]["schemas"]["Options"]["properties"]
    allowed_formats = api.document.tree["components"]["schemas"]["NewDownload"]["properties"]["format"]["enum"]
    for changes in ({}, {"sql": ""}, {"sql": 1}, {"sql": ...}, {"dataset_id": ""}, {"dataset_id": ...}, {"dataset_id": []},
                    {"dataset_id": "x" * 1024}, {"dataset_id": "x" * 1025},
                    *({"format": f} for f in (*allowed_formats, None, "docx", "CSV", 1)),
                    *({"compression": c} for c in ("none", "gzip", "zstd", "", None, "lz4", 1)), {"format": "parquet", "compression": "snappy"},
                    *({"row_limit": n} for n in (0, 1, 2 ** 63 - 1, None, -1, 1.5, "1", True)),
                    *({"byte_limit": n} for n in (0, 1000, 2 ** 63 - 1, None, -1, 1.5, "1", True)),
                    *({"options": o} for o in ({}, None, [], "header=true", {"nonsense": True}, {"Header": True})),
                    *({"options": {"delimiter": d}} for d in (*options["delimiter"]["enum"], "x", ",,", 1, None)),
                    *({"options": {"line_ending": d}} for d in (*options["line_ending"]["enum"], "\r", 1, None)),
                    *({"options": {"null": n}} for n in ("", "NULL", "x" * 64, "x" * 65, 1, None)),
                    *({"options": {name: v}} for name in ("header", "quote_all", "bom", "excel_safe") for v in (True, False, None, "true", 1)),
                    *({"format": "json", "options": {name: v}} for name in ("integers", "decimals") for v in ("number", "string", "", None, "text")),
                    *({"format": "jsonl", "options": {"non_finite": v}} for v in ("null", "string", "", None, "NaN")),
                    *({"format": "parquet", "options": {"row_group_size": n}} for n in (2047, 2048, 1048576, 1048577, "2048", None)),
                    *({"format": "xlsx", "options": {"sheet_name": n}} for n in ("", "x" * 31, "x" * 32, 1, None)),
                    *({"format": "excel", "options": {name: v}} for name in ("freeze_header", "bold_header") for v in (True, False, None, "no")),
                    *({"format": "xlsx", "options": {"long_text": v}} for v in ("error", "cut", "", None, "truncate"))):
        body = {k: v for k, v in (whole | changes).items() if v is not ...}
        try:
            api.document.check_value(schema, body, "a body")
            allowed = True
        except AssertionError:
            allowed = False
        if allowed:
            assert list(api.stream("POST", "/downloads", body).events())[-1].type == "complete", changes
        else:
            api.expect(400, "POST", "/downloads", body)


FORMS = [
    {"format": "csv", "compression": "gzip", "row_limit": 2, "byte_limit": 1_000_000,
     "options": {"delimiter": ";", "header": False, "null": "NULL", "quote_all": True, "line_ending": "\r\n", "bom": True, "excel_safe": True,
                 "timezone": "Asia/Kolkata"}},
    {"format": "tsv"},
    {"format": "tsv", "compression": "zstd"},
    {"format": "json", "options": {"integers": "string", "decimals": "string", "non_finite": "string"}},
    {"format": "ndjson"},
    {"format": "parquet", "compression": "snappy", "options": {"row_group_size": 4096}},
    {"format": "xlsx", "options": {"sheet_name": "Orders", "freeze_header": False, "bold_header": False, "long_text": "cut"}},
]


def drive_formats(api, service):
    """A record has what was asked for, and what came of it; each file comes as its type."""
    types = set()
    for form in FORMS:
        last = list(api.post("SELECT i AS a, '=1+1' AS b, repeat('x', 40000) AS c FROM range(3) r(i)", **form).events())[-1]
        assert last.type == "complete", (form, last.text)
        record = json.loads(api.expect(200, "GET", "/downloads/" + last.data["download_id"]).body)
        assert {name: record[name] for name in form} == form
        assert record["truncated"] is ("row_limit" in form) and ("guarded_cells" in record) == ("excel_safe" in form.get("options", {}))
        assert ("cut_cells" in record) == ("long_text" in form.get("options", {}))
        link = re.sub(r"^http://[^/]*", "", last.data["message"])
        for method in ("HEAD", "GET"):
            file = api.expect(200, method, link, headers={})
            assert file.headers["Content-Type"] == record["content_type"]
            assert file.headers["Content-Disposition"] == f'attachment; filename="{record["filename"]}"'
        api.expect(206, "GET", link, headers={"Range": "bytes=0-9"})
        types.add(file.headers["Content-Type"].split(";")[0])
    assert types | {"text/csv"} == set(api.document.paths["/files/{org}/{name}"]["get"]["responses"]["200"]["content"])


def drive_wide_results(api, _):
    """So many columns that no line has room for their names."""
    job, last = api.run("SELECT " + ", ".join(f"{i} AS {'c' * 60}{i}" for i in range(1600)))
    assert last.type == "complete" and last.data["columns_truncated"] and "columns" not in last.data
    list(api.stream("GET", f"/downloads/{job}/events").events())
    assert len(json.loads(api.expect(200, "GET", "/downloads/" + job).body)["columns"]) == 1600


def drive_lists(api, _):
    api.run("SELECT 1 AS a -- " + "é" * 70_000)
    listed = json.loads(api.expect(200, "GET", "/downloads").body)
    assert any(r.get("sql_truncated") for r in listed)
    api.expect(200, "GET", "/downloads?limit=0&offset=3")
    api.expect(400, "GET", "/downloads?limit=-1")
    api.expect(401, "GET", "/downloads", headers={})


def drive_records(api, _):
    job, _ = api.run("SELECT 1 AS a")
    assert json.loads(api.expect(200, "GET", "/downloads/" + job).body)["status"] == "completed"
    api.expect(200, "HEAD", "/downloads/" + job)
    for path in (UNKNOWN, "/downloads/x"):
        api.expect(404, "GET", path)
    api.expect(404, "GET", "/downloads/" + job, headers=FOREIGN)
    api.expect(401, "GET", "/downloads/" + job, headers={})
    api.expect(400, "GET", "/downloads/" + job, headers=USER | {"x-organization-id": "a b"})
    api.expect(401, "DELETE", "/downloads/" + job, headers={})
    api.expect(400, "DELETE", "/downloads/" + job, headers=USER | {"x-organization-id": "a b"})
    api.expect(404, "DELETE", "/downloads/x")
    api.expect(204, "DELETE", UNKNOWN)
    api.expect(204, "DELETE", "/downloads/" + job)


def drive_events(api, _):
    job, last = api.run("SELECT 1 AS a")
    path = f"/downloads/{job}/events"
    assert [e.name for e in api.stream("GET", path).events()] == ["snapshot", None]
    api.expect(204, "GET", path, headers=USER | {"Last-Event-ID": str(last.id)})
    api.expect(204, "GET", f"{path}?last_event_id={last.id}")
    api.expect(401, "GET", path, headers={})
    api.expect(400, "GET", path, headers=USER | {"x-organization-id": "a b"})
    api.expect(404, "GET", path, headers=FOREIGN)
    job, _ = api.run("SELECT nothing")
    list(api.stream("GET", f"/downloads/{job}/events").events())


def drive_jobs_at_work(api, service):
    server = service(QUEUE_WORKERS=1, QUEUE_SIZE=1)
    api = Judged(api.document, server)
    running, job = api.begin(SLOW_ROWS)
    joined = api.stream("GET", f"/downloads/{job}/events")
    joined.until(lambda e: e.type == "progress" and e.data["rows"] > 0)
    waiting, other = api.begin("SELECT * FROM t")
    follower = api.stream("GET", f"/downloads/{other}/events")
    api.expect(503, "POST", "/downloads", {"sql": "SELECT 1", "dataset_id": "d"})
    record = wait_for(lambda: (r := json.loads(api.expect(200, "GET", "/downloads/" + job).body)).get("rows") and r, "rows in the record")
    assert record["status"] == "processing"
    api.expect(204, "DELETE", "/downloads/" + job)
    for stream, last in ((running, "error"), (joined, "error"), (waiting, "complete"), (follower, "complete")):
        assert list(stream.events())[-1].type == last
    # a table has a progress that is the engine's, and so a percentage
    job = api.begin("SELECT a.* FROM t a, (SELECT * FROM t LIMIT 200) b")[1]
    wait_for(lambda: "percent" in json.loads(api.expect(200, "GET", "/downloads/" + job).body), "a percentage in the record")


def drive_retries(api, service):
    """One job an organisation may wait; and a worker is killed."""
    server = service(QUEUE_WORKERS=1, QUEUE_SIZE=2, ORG_MAX_QUEUED=1, RETRY_DELAY="60s")
    api = Judged(api.document, server)
    running, job = api.begin(SLOW_ROWS)
    os.kill(server.wait_worker(), signal.SIGKILL)
    assert running.until(lambda e: e.type == "status_update" and "trying again" in e.data["message"])
    record = json.loads(api.expect(200, "GET", "/downloads/" + job).body)
    assert record["status"] == "pending" and record["last_error_code"] == "worker_lost" and record["retry_at"]
    assert record["queue_position"] and record["attempts"][0]["state"] == "failed" and record["attempts"][0]["error_code"] == "worker_lost"
    api.expect(429, "POST", "/downloads", {"sql": "SELECT 1", "dataset_id": "d"})
    api.expect(204, "DELETE", "/downloads/" + job)


def drive_files(api, service):
    server = service()
    api = Judged(api.document, server)
    last = api.run("SELECT * FROM t LIMIT 1000")[1]
    link = re.sub(r"^http://[^/]*", "", last.data["message"])
    etag = api.expect(200, "GET", link, headers={}).headers["ETag"]
    api.expect(200, "HEAD", link, headers={})
    api.expect(206, "GET", link, headers={"Range": "bytes=0-9"})
    api.expect(304, "GET", link, headers={"If-None-Match": etag})
    api.expect(416, "GET", link, headers={"Range": "bytes=99999999-"})
    api.expect(403, "GET", link + "0", headers={})
    gone = re.sub(r"^http://[^/]*", "", api.run("SELECT 1 AS a")[1].data["message"])
    (server.data / gone.split("?")[0].lstrip("/")).unlink()
    api.expect(404, "GET", gone, headers={})
    kept = api.keep()
    limits = resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, (3, limits[1]))  # no file can be opened
    api.expect(503, "GET", link, headers={}, connection=kept)
    resource.prlimit(server.process.pid, resource.RLIMIT_NOFILE, limits)


def drive_links_that_are_over(api, service):
    api = Judged(api.document, service(S3_URL_EXPIRY="1s"))
    job, last = api.run("SELECT 1 AS a")
    record = wait_for(lambda: (r := json.loads(api.expect(200, "GET", "/downloads/" + job).body))["status"] == "expired" and r, "the end of the link")
    api.expect(403, "GET", re.sub(r"^http://[^/]*", "", last.data["message"]), headers={})
    assert "pre_signed_url" in record
    list(api.stream("GET", f"/downloads/{job}/events").events())


def drive_pages(api, _):
    for path, kind in (("index.html", "text/html"), ("openapi.yaml", "application/yaml")):
        page = api.expect(200, "GET", "/swagger/" + path, headers={})
        assert page.headers["Content-Type"].split(";")[0] == kind
        api.expect(200, "HEAD", "/swagger/" + path, headers={})
        unchanged = {"If-None-Match": f'"other", {page.headers["ETag"]}'}
        api.expect(304, "GET", "/swagger/" + path, headers=unchanged)
        api.expect(304, "HEAD", "/swagger/" + path, headers=unchanged)
        api.expect(200, "GET", "/swagger/" + path, headers={"If-None-Match": '"other"'})
    served = api.expect(200, "GET", "/swagger/openapi.yaml", headers={}).body
    assert served == (ROOT / "api" / "openapi.yaml").read_bytes()
    api.expect(302, "GET", "/swagger", headers={})


def drive_methods(api, _):
    for template in api.document.paths:
        path = template.format(id=uuid.uuid4(), org="acme", name="x.csv")
        for method in ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "BREW"):
            # judged: an answer that the document has not for this method fails; an identity is not given, which is one of them
            response = api.request(method, path, headers={})
            assert response.status < 500
            if method in ("PUT", "PATCH", "BREW"):
                assert response.status == 405, (method, path)
            if method == "OPTIONS":
                assert response.status == 204, path


def drive_other_paths(api, _):
    for path in ("/", "/nothing", "/Health", "/downloads/x/y", "/downloadsx", "/files", "/swaggerx", "/swagger/none.js", "/swagger/../health",
                 "/swagger/%2e%2e/health", "/swagger//index.html", "/swagger/index.html/", "/api/openapi.yaml"):
        for method in ("GET", "HEAD", "POST"):
            api.expect(404, method, path)


def drive_a_shutdown(api, service):
    server = service(QUEUE_WORKERS=1, SHUTDOWN_GRACE="2s")
    api = Judged(api.document, server)
    running, job = api.begin(ENDLESS)
    joined = api.stream("GET", f"/downloads/{job}/events")
    server.wait_worker()
    first, second = api.keep(), api.keep()
    server.process.send_signal(signal.SIGTERM)
    wait_for(lambda: any("shutting down" in line for line in server.log), "the shutdown")
    api.expect(503, "POST", "/downloads", {"sql": "SELECT 1", "dataset_id": "d"}, connection=first)
    api.expect(503, "GET", f"/downloads/{job}/events", connection=second)
    assert list(running.events())[-1].data["handed_over"] is True
    assert list(joined.events())[-1].name == "restart"
    assert server.ended() == 0


def drive_a_store_that_fails(api, service):
    """Another process holds the job store: nothing can be written; then its log is cut off: nothing can be read."""
    server = service()
    api = Judged(api.document, server)
    job, _ = api.run("SELECT 1 AS a")
    with sqlite3.connect(server.data / "jobs.db", isolation_level=None) as intruder:
        intruder.execute("BEGIN IMMEDIATE")
        stream = api.post("SELECT 1")
        assert [e.name for e in stream.events()] == ["request_received", "error"]
        api.expect(503, "DELETE", "/downloads/" + job)
        intruder.execute("UPDATE downloads SET sql = sql")
        intruder.execute("COMMIT")
        os.truncate(server.data / "jobs.db-wal", 0)
        api.expect(503, "GET", "/downloads")
        api.expect(503, "GET", "/downloads/" + job)
        api.expect(503, "GET", f"/downloads/{job}/events")
    server.stop(signal.SIGKILL)


def drive_refusals(api, _):
    def parse(answer):
        head, _, body = answer.partition(b"\r\n\r\n")
        lines = head.decode().split("\r\n")
        headers = http.client.HTTPMessage()
        for line in lines[1:]:
            headers.add_header(*line.split(": ", 1))
        return types.SimpleNamespace(status=int(lines[0].split()[1]), headers=headers, body=body)

    port = api.service.port
    for status, data in ((400, b"GET /health HTTP/1.1\r\n\r\n"), (400, b"GET /downloads HTTP/1.1\r\nHost: x\r\nX-A: " + b"y" * 17000 + b"\r\n\r\n"),
                         (413, b"POST /downloads HTTP/1.1\r\nHost: x\r\nContent-Length: 4194305\r\n\r\n")):
        answer = parse(raw(port, data))
        assert answer.status == status
        api.document.check_answer(api.document.tree["x-refused"][str(status)], answer, str(status))
    too_large = api.document.paths["/downloads"]["post"]["responses"]["413"]
    api.document.check_answer(too_large, answer, "413")
    api.document.seen.add(("/downloads", "post", "413"))


def drive_web_pages(api, _):
    def ask(method, path, headers):
        response = api.service.request(method, path, headers=headers)
        return response

    document = api.document
    allowed = {"Origin": "https://gopie.factly.dev"}
    for path in ("/health", "/downloads", UNKNOWN, "/nothing", "/swagger/openapi.yaml"):
        document.check("GET", path, ask("GET", path, USER | allowed), cross_origin=True)
        document.check("GET", path, ask("GET", path, USER | {"Origin": "https://evil.example"}))
        preflight = ask("OPTIONS", path, allowed | {"Access-Control-Request-Method": "DELETE"})
        assert preflight.status == 204
        document.check_answer(document.tree["x-preflight"]["204"], preflight, "preflight", besides=document.tree["x-every-answer-headers"])
        foreign = ask("OPTIONS", path, {"Origin": "https://evil.example", "Access-Control-Request-Method": "DELETE"})
        assert foreign.status == 204 and not [h for h in foreign.headers if h.lower().startswith("access-control")]


DRIVES = [value for name, value in sorted(globals().items()) if name.startswith("drive_")]


@pytest.fixture(scope="module")
def judged(shared):
    return Judged(Document(), shared)


@pytest.fixture(scope="module")
def driven(judged, tmp_path_factory, source):
    """Runs a drive, once: `driven(drive)`."""
    done = set()

    def drive(function):
        if function in done:
            return
        made = []

        def service(**variables):
            made.append(Service(tmp_path_factory.mktemp("openapi"), source, **variables))
            return made[-1].start()

        try:
            function(judged, service)
        finally:
            for one in made:
                one.__exit__()
        done.add(function)

    return drive


@pytest.mark.parametrize("drive", DRIVES, ids=lambda drive: drive.__name__.removeprefix("drive_"))
def test_answers_are_as_documented(driven, drive):
    driven(drive)


@pytest.fixture
def document(judged, driven):
    """The document, when everything has been asked for."""
    for drive in DRIVES:
        driven(drive)
    return judged.document


def test_every_documented_status_comes(document):
    documented = {(path, method, status) for path, item in document.paths.items() for method, operation in item.items()
                  if method in ("get", "post", "delete") for status in operation["responses"]}
    seen = {s for s in document.seen if s[1] in document.paths[s[0]] and s[1] != "options" and s[2] != "405"}
    assert documented - seen == set(UNSEEN)
    assert seen <= documented


def test_every_path_answers_405(document):
    assert {path for path, _, status in document.seen if status == "405"} == set(document.paths)


def test_every_documented_event_comes(document):
    documented = set()
    for path, item in document.paths.items():
        for method in ("get", "post"):
            content = item.get(method, {}).get("responses", {}).get("200", {}).get("content", {})
            for event in content.get("text/event-stream", {}).get("x-events", []):
                documented.add((path, event.get("event"), event.get("type")))
    assert documented == document.seen_events


def test_every_documented_field_comes(document):
    documented = {(name, field) for name, schema in document.tree["components"]["schemas"].items() for field in schema.get("properties", {})
                  if name != "NewDownload"}
    seen = {(name, field) for name, field in document.seen_fields if name != "NewDownload"}
    assert documented - MAY_BE_UNSEEN <= seen <= documented
    statuses = {value for where, value in document.seen_values if where == "Download.status"}
    assert statuses == {"pending", "processing", "completed", "failed", "expired"}


def test_every_error_code_is_documented(judged):
    header = (ROOT / "src" / "base" / "error.h").read_text()
    names = set(re.findall(r'X\(ERROR_\w+, "(\w+)"', header))
    documented = set(judged.document.tree["components"]["schemas"]["ErrorCode"]["enum"])
    assert documented == names - NOT_IN_RECORDS


def test_every_option_is_documented(judged):
    """Those that src/format/file_form.c knows, in this document and on docs/formats.md, with their formats; and no other."""
    code = (ROOT / "src" / "format" / "file_form.c").read_text()
    table = dict(re.findall(r'^    \{"(\w+)", ([^,]*), (?:FLAG|CHOICE|NUMBER|LETTER|TEXT),', code, re.M))
    assert set(table) == set(judged.document.tree["components"]["schemas"]["Options"]["properties"]) and len(table) > 10
    rows = re.findall(r"^\| (`\w+`(?:, `\w+`)*) \| ([\w, ]+) \|", (ROOT / "docs" / "formats.md").read_text(), re.M)
    told = {name: formats for names, formats in rows for name in re.findall(r"\w+", names)}
    words = {"SEPARATED": "csv, tsv", "JSONS": "json, ndjson", "BIT(FILE_FORMATS) - 1": "all", "BIT(FILE_XLSX)": "xlsx",
             "BIT(FILE_PARQUET)": "parquet", "SEPARATED | BIT(FILE_XLSX)": "csv, tsv, xlsx"}
    assert {name: told.get(name) for name in table} == {name: words[formats] for name, formats in table.items()}


def test_every_route_is_documented(judged):
    """The paths that src/server/api.c knows, each the beginning of a documented one."""
    code = (ROOT / "src" / "server" / "api.c").read_text()
    routes = set(re.findall(r'"(/[a-z/]*)"', code)) - {"/", "/events"}
    assert {"/health", "/downloads", "/files/"} <= routes
    for route in routes:
        assert any(path.startswith(route.rstrip("/")) for path in judged.document.paths), route


def test_the_document_is_openapi(judged):
    """No reference leads nowhere, nothing is defined in vain, ids are unique; and only JSON's values, as the standard asks."""
    text = json.dumps(judged.document.tree)
    assert judged.document.tree["openapi"] == "3.0.3"
    references = set(re.findall(r'"\$ref": "(#/components/[^"]*)"', text))
    for reference in references:
        assert judged.document.resolve({"$ref": reference})
    defined = {f"#/components/{kind}/{name}" for kind in ("schemas", "responses", "headers") for name in judged.document.tree["components"][kind]}
    assert defined == references | {"#/components/schemas/NewDownload"}
    ids = re.findall(r'"operationId": "(\w+)"', text)
    assert len(ids) == len(set(ids)) == sum(m in ("get", "post", "delete") for item in judged.document.paths.values() for m in item)
    assert "<<" not in (ROOT / "api" / "openapi.yaml").read_text()  # merging is not among them


def test_the_pages_bring_all_they_need(judged):
    """Each file beside the page, with the page's own headers; no page asks another server for anything."""
    described = judged.document.paths["/swagger/index.html"]["get"]["responses"]["200"]
    page = judged.service.request("GET", "/swagger/index.html", headers={}).body.decode()
    names = re.findall(r'(?:src|href)="([^"]*)"', page)
    assert len(names) >= 4 and not any("//" in name for name in names)
    kinds = {"js": "text/javascript", "css": "text/css", "png": "image/png", "yaml": "application/yaml", "txt": "text/plain"}
    for name in names + ["swagger-ui-bundle.js.LICENSE.txt"]:
        response = judged.service.request("GET", "/swagger/" + name, headers={})
        assert response.status == 200, name
        judged.document.check_headers(described["headers"] | judged.document.tree["x-every-answer-headers"], response.headers, name)
        assert response.headers["Content-Type"].split(";")[0] == kinds[name.rsplit(".", 1)[1]]
        assert len(response.body) == int(response.headers["Content-Length"]) > 0
    assert "script" not in re.sub(r"<script src=\"[^\"]*\"></script>|<noscript>.*</noscript>", "", page)
    for front in ("/swagger", "/swagger/"):
        assert urljoin(front, judged.service.request("GET", front, headers={}).headers["Location"]) == "/swagger/index.html"
    policy = response.headers["Content-Security-Policy"]
    assert "default-src 'none'" in policy and "script-src 'self';" in policy and "unsafe" not in policy
