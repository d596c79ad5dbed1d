"""The server as gopie's two clients see it (gopie_clients.py): the page behind gopie-server, which reads lines, and the page alone, which
gets our chunks as they are."""
import io
import json
import signal
import socket
import sqlite3
import time

import pytest

from gopie_clients import GopieServer, ServerError, TokenTooLong, WebPage, go_json
from service import DEADLINE, ENDLESS, USER, Stream, wait_for

WAYS = ["behind gopie-server", "alone"]


def chunks_of(stream):
    while chunk := stream.chunk():
        yield chunk


def open_page(server, way, sql, **fields):
    """A page and the chunks that it will read."""
    fields = {"dataset_id": "sample", "format": "csv"} | fields
    if way == "alone":
        stream = Stream(server.port, "POST", "/downloads", {"sql": sql} | fields)
        assert stream.status == 200, stream.response.read()
        return WebPage(), chunks_of(stream)
    return WebPage(), GopieServer(server.port).create(sql, **fields)


def page_of(server, way, sql, **fields):
    page, chunks = open_page(server, way, sql, **fields)
    page.follow(chunks)
    assert page.settled, "the stream ended, and the page waits for ever"
    return page


def begin(server, way, sql):
    """A page whose job is at work, and the rest of its stream."""
    page, chunks = open_page(server, way, sql)
    for chunk in chunks:
        page.read(chunk)
        if any(text == "Processing query..." for _, text in page.drawn):
            return page, chunks
    raise AssertionError("the stream ended")


@pytest.mark.parametrize("way", WAYS)
def test_success(shared, way):
    page = page_of(shared, way, "SELECT 42 AS answer")
    kind, job, url = page.settled
    assert kind == "resolved" and job == page.job and not page.lost
    assert shared.fetch(url).body == b"answer\n42\n"
    texts = [text for _, text in page.drawn]
    assert [t for t in texts if not t.endswith("rows written")] == [
        "Download job created...", "Processing query...", "Streaming data to storage...", "Generating secure download link...", "Download complete!"]
    record = GopieServer(shared.port).get(job)
    assert (record["status"], record["pre_signed_url"]) == ("completed", url)
    assert job in [r["id"] for r in GopieServer(shared.port).list()]


@pytest.mark.parametrize("way", WAYS)
def test_progress_is_drawn(service, way):
    server = service(WORKER_THREADS=1)
    page = page_of(server, way, "SELECT a.*, b.id % 7 AS k FROM t a, (SELECT * FROM t LIMIT 100) b")
    percents = [percent for percent, text in page.drawn if text.endswith("rows written")]
    assert percents and percents == sorted(percents) and all(0 <= p <= 99 for p in percents)
    assert any(0 < p for p in percents) and page.settled[0] == "resolved" and not page.lost


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("sql, says", [
    ("SELECT no_such_column FROM t", "no_such_column"), ("SELEC 1", "SELEC"), ("SELECT 1; SELECT 2", "one"),
    ("SELECT CASE WHEN id = 99999 THEN error('late') ELSE 'x' END AS a FROM t", "late")])
def test_failing_sql(shared, way, sql, says):
    page = page_of(shared, way, sql)
    kind, text = page.settled
    assert kind == "rejected" and text.startswith("Failed during data processing: ") and says in text and not page.lost
    record = GopieServer(shared.port).get(page.job)
    assert record["status"] == "failed" and text == "Failed during data processing: " + record["error_message"]


@pytest.mark.parametrize("filler", ["x", "é", "\"", "\n-- ", "🦆", "\\", "<"], ids=["letters", "accents", "quotes", "lines", "ducks", "backslashes", "brackets"])
def test_sql_as_long_as_a_body_may_be(shared, filler):
    """4 MiB of body. Behind gopie-server: its scanner is the one with a limit, and its JSON has more escapes than any other."""
    frame = len(go_json({"id": "", "dataset_id": "sample", "UserID": "ann", "OrgID": "acme", "sql": "", "format": "csv"}))
    room = 4 * 1024 * 1024 - frame - len("SELECT 1 AS a -- ")
    sql = "SELECT 1 AS a -- " + filler * (room // (len(go_json(filler)) - 2))
    page = page_of(shared, "behind gopie-server", sql)
    assert page.settled[0] == "resolved" and not page.lost, page.settled
    gopie = GopieServer(shared.port)
    assert gopie.get(page.job)["sql"] == sql
    listed = next(r for r in gopie.list(limit=100) if r["id"] == page.job)
    assert sql.startswith(listed["sql"]) and listed["sql_truncated"] is True
    gopie.delete(page.job)


def test_a_body_that_is_too_long(shared):
    with pytest.raises(ServerError, match="status 413, body: .*error"):
        GopieServer(shared.port).create("SELECT 1 -- " + "x" * 4 * 1024 * 1024, "sample", "csv")


@pytest.mark.parametrize("way", WAYS)
def test_many_columns(shared, way):
    sql = "SELECT " + ", ".join(f"{i} AS \"column number {i}\"" for i in range(1600))
    page = page_of(shared, way, sql)
    assert page.settled[0] == "resolved" and not page.lost
    assert shared.fetch(page.settled[2]).body.split(b"\n")[1] == b",".join(b"%d" % i for i in range(1600))
    page = page_of(shared, way, sql.replace("1599 AS", "no_such_column AS"))
    assert page.settled[0] == "rejected" and "no_such_column" in page.settled[1]


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("text", [
    "one\ntwo\n\nfour", "data: {\"type\":\"complete\",\"download_id\":\"x\",\"message\":\"http://evil\"}", "\n\ndata: {\"type\":\"complete\"}\n\n",
    "\"quoted\" and \\ and 'so'", "tab\tand\rreturn\r\n", "ünïcode 🦆 \u2028 日本語", "x" * 16384, "é" * 16384, "🦆\n\"" * 8000], ids=lambda t: repr(t[:12]))
def test_error_texts(shared, way, text):
    page = page_of(shared, way, "SELECT error('" + text.replace("'", "''") + "') FROM t")
    kind, told = page.settled
    assert kind == "rejected" and not page.lost
    assert len(told.encode()) <= 16 * 1024
    assert text[:2000] in told


@pytest.mark.parametrize("way", WAYS)
def test_unicode_everywhere(shared, way):
    page = page_of(shared, way, "SELECT 'Ünïcödé 🦆 日本語' AS \"Größe <&>\"", dataset_id="données 🦆")
    assert shared.fetch(page.settled[2]).body.decode() == "Größe <&>\nÜnïcödé 🦆 日本語\n"
    record = GopieServer(shared.port).get(page.job)
    assert (record["dataset_id"], record["sql"]) == ("données 🦆", "SELECT 'Ünïcödé 🦆 日本語' AS \"Größe <&>\"")


def test_fields_that_the_page_left_out(shared):
    """gopie-server sends "" for them."""
    gopie = GopieServer(shared.port)
    assert WebPage().follow(gopie.create("SELECT 1 AS a", "sample", "")).settled[0] == "resolved"
    for sql, dataset in (("", "sample"), ("SELECT 1", "")):
        with pytest.raises(ServerError, match="status 400"):
            gopie.create(sql, dataset, "csv")
    with pytest.raises(ServerError, match="status 400.*docx"):
        gopie.create("SELECT 1", "sample", "docx")


def test_deleting_is_204_whatever_the_record(shared):
    page = page_of(shared, WAYS[0], "SELECT 1 AS a")
    gopie, foreign = GopieServer(shared.port), GopieServer(shared.port, "eve", "evil")
    foreign.delete(page.job)
    assert gopie.get(page.job)["status"] == "completed"
    GopieServer(shared.port, "colleague").delete(page.job)
    gopie.delete(page.job)
    with pytest.raises(ServerError, match="404"):
        gopie.get(page.job)
    with pytest.raises(ServerError, match="404"):
        gopie.delete("malformed")


@pytest.mark.parametrize("way", WAYS)
def test_deleting_a_running_job_settles_its_page(service, way):
    server = service()
    page, chunks = begin(server, way, ENDLESS)
    begun = time.monotonic()
    GopieServer(server.port).delete(page.job)
    assert page.follow(chunks).settled == ("rejected", "Failed during data processing: cancelled")
    assert time.monotonic() - begun < 2


def test_a_full_queue_is_told_at_once(service):
    server = service(QUEUE_SIZE=1, QUEUE_WORKERS=1)
    running, _ = begin(server, WAYS[0], ENDLESS)
    waiting, _ = open_page(server, WAYS[0], "SELECT 1")
    wait_for(lambda: len(GopieServer(server.port).list()) == 2, "the job that waits")
    begun = time.monotonic()
    with pytest.raises(ServerError, match="status 503, body: .*the queue is full"):
        open_page(server, WAYS[0], "SELECT 2")
    assert time.monotonic() - begun < 2
    assert len(GopieServer(server.port).list()) == 2


@pytest.mark.parametrize("way", WAYS)
def test_a_shutdown_tells_the_page_where_it_goes_on(service, way):
    server = service(SHUTDOWN_GRACE="0s")
    page, chunks = begin(server, way, "SELECT a.* FROM t a, (SELECT * FROM t LIMIT 150) b")
    server.process.send_signal(signal.SIGTERM)
    page.follow(chunks)
    kind, text = page.settled
    assert kind == "rejected" and "goes on" in text and f"/downloads/{page.job}" in text
    assert server.ended() == 0
    server.start()
    record = wait_for(lambda: (r := GopieServer(server.port).get(page.job))["status"] == "completed" and r, "the end of the job", 60)
    assert record["rows"] == 15_000_000


@pytest.mark.parametrize("way", WAYS)
def test_a_job_store_that_fails(service, way):
    server = service()
    page_of(server, way, "SELECT 1 AS a")
    with sqlite3.connect(server.data / "jobs.db", isolation_level=None) as intruder:
        intruder.execute("BEGIN IMMEDIATE")  # nobody else can write
        page = page_of(server, way, "SELECT 1 AS a")
        assert page.settled == ("rejected", "could not create download job") and page.job is None
        intruder.execute("ROLLBACK")
    assert page_of(server, way, "SELECT 1 AS a").settled[0] == "resolved"
    assert len(GopieServer(server.port).list()) == 2


@pytest.mark.parametrize("way", WAYS)
def test_an_object_store_that_fails(service, way):
    server = service()
    (server.data / "files").mkdir(exist_ok=True)
    (server.data / "files" / "acme").write_text("in the way of the organisation's directory")
    page = page_of(server, way, "SELECT * FROM t")
    assert page.settled[0] == "rejected" and page.settled[1].startswith("Failed during data processing: ")
    assert str(server.data) not in page.settled[1]
    assert GopieServer(server.port).get(page.job)["status"] == "failed"


def test_each_event_is_one_read_of_the_socket(shared):
    """What a browser reads is what the socket has: our chunks, framing and all, whole."""
    body = json.dumps({"sql": "SELECT * FROM t", "dataset_id": "sample", "format": "csv"})
    head = "".join(f"{k}: {v}\r\n" for k, v in USER.items())
    with socket.create_connection(("127.0.0.1", shared.port), timeout=DEADLINE) as sock:
        sock.sendall(f"POST /downloads HTTP/1.1\r\nHost: x\r\n{head}Content-Length: {len(body)}\r\n\r\n{body}".encode())
        reads = []
        while data := sock.recv(1 << 20):
            reads.append(data)
    reads[0] = reads[0].partition(b"\r\n\r\n")[2]
    page, events = WebPage(), 0
    for data in reads:
        while data and not data.startswith(b"0\r\n"):
            size, _, data = data.partition(b"\r\n")
            length = int(size, 16)
            assert len(data) >= length + 2 and data[length:length + 2] == b"\r\n", "a chunk that goes on in another read"
            page.read(data[:length])
            data, events = data[length + 2:], events + 1
    assert page.settled[0] == "resolved" and not page.lost and events >= 6


def test_the_first_events_fit_what_a_network_carries_in_one_go(shared):
    """Ten segments of 1,448 bytes: beyond that the page may read an event in two pieces, and lose it."""
    stream = Stream(shared.port, "POST", "/downloads", {"sql": "SELECT 1 AS a -- " + "x" * 100_000, "dataset_id": "d" * 1024, "format": "csv"})
    list(stream.events())
    head = sum(len(k) + len(v) + 4 for k, v in stream.headers.items())
    assert head + sum(len(chunk) + 10 for chunk in stream.chunks[:2]) < 14_480 and b'"sql_truncated":true' in stream.chunks[1]


def test_the_clients_would_notice():
    """The doubles themselves: a scanner and a page that forgive nothing."""
    class Response:
        def __init__(self, data):
            self.readline = io.BytesIO(data).readline

    assert list(GopieServer.scan(Response(b"a\r\nb"))) == [b"a\n", b"b\n"]
    assert [len(line) for line in GopieServer.scan(Response(b"x" * 65535 + b"\n"))] == [65536]
    for data in (b"x" * 65536 + b"\n", b"x" * 65536):
        with pytest.raises(TokenTooLong):
            list(GopieServer.scan(Response(data)))
    event = b'data: {"type":"complete","download_id":"1","message":"http://x"}\n\n'
    assert WebPage().follow([event]).settled == ("resolved", "1", "http://x")
    assert WebPage().follow([event[:20], event[20:]]).settled is None
    assert WebPage().follow([b'event: complete\n\n']).settled is None
