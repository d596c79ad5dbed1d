"""What record and `complete` say of a result: its columns, its file, how long it took."""
import time

from service import ENDLESS, wait_for

RESULT = {"content_type": "text/csv; charset=utf-8", "truncated": False}
TYPES = """SELECT 1::BIGINT AS i, 2.5::DECIMAL(10,2) AS "d,1", 'ä' AS "größe ""x", [1] AS l, {'a': 1, 'b': 'x'} AS s, NULL AS n,
    TIMESTAMPTZ '2024-01-01 00:00:00+00' AS t"""
COLUMNS = [("i", "BIGINT"), ("d,1", "DECIMAL(10,2)"), ('größe "x', "VARCHAR"), ("l", "INTEGER[]"), ("s", "STRUCT(a INTEGER, b VARCHAR)"),
           ("n", "INTEGER"), ("t", "TIMESTAMP WITH TIME ZONE")]


def columns_of(record):
    return [(c["name"], c["type"]) for c in record["columns"]]


def listed(server, job):
    return next(r for r in server.get("/downloads?limit=100") if r["id"] == job)


def snapshot(server, job):
    return next(e for e in server.follow(job).events() if e.name == "snapshot").data


def test_record_and_complete_say_the_same(shared):
    started = time.monotonic()
    last = shared.run(TYPES)
    passed_ms = (time.monotonic() - started) * 1000
    job = last.data["download_id"]
    record = shared.get("/downloads/" + job)
    for told in (last.data, record, snapshot(shared, job)):
        assert {k: told[k] for k in RESULT} == RESULT
        assert told["filename"] == job + ".csv"
        assert columns_of(told) == COLUMNS
        assert "columns_truncated" not in told and "guarded_cells" not in told and "cut_cells" not in told
    assert 0 <= last.data["duration_ms"] == record["duration_ms"] <= passed_ms


def test_lists_say_all_but_the_columns(shared):
    last = shared.run("SELECT 1 AS a")
    record = listed(shared, last.data["download_id"])
    assert {k: record[k] for k in RESULT} == RESULT and record["filename"] and record["duration_ms"] >= 0
    assert "columns" not in record and "columns_truncated" not in record


def test_a_wide_result_is_whole_in_its_record_alone(shared):
    names = [f"column {i} {'x' * 50}" for i in range(1600)]
    last = shared.run("SELECT " + ", ".join(f'{i} AS "{name}"' for i, name in enumerate(names)))
    job = last.data["download_id"]
    for told in (last.data, snapshot(shared, job)):
        assert told["columns_truncated"] is True and "columns" not in told
        assert {k: told[k] for k in RESULT} == RESULT
    assert last.text.startswith(b"id: 3\ndata: ") and len(last.text) < 8200
    record = shared.get("/downloads/" + job)
    assert columns_of(record) == [(name, "INTEGER") for name in names] and "columns_truncated" not in record


def test_columns_that_no_record_has_room_for(shared):
    """At the worker's ceiling: as many as there is room for, in their order, and said so."""
    names = [f"{i} {'é' * 250}" for i in range(2500)]
    last = shared.run("SELECT " + ", ".join(f'1 AS "{name}"' for name in names))
    record = shared.get("/downloads/" + last.data["download_id"])
    assert record["columns_truncated"] is True and last.data["columns_truncated"] is True
    assert 100 < len(record["columns"]) < 2500
    assert columns_of(record) == [(name, "INTEGER") for name in names[:len(record["columns"])]]
    assert shared.fetch(last.data["message"]).body.decode().splitlines()[0] == ",".join(names)


def test_a_download_that_is_not_done_has_no_result(service):
    server = service(QUEUE_WORKERS=1)
    stream, job = server.begin(ENDLESS)
    stream.until(lambda e: e.type == "progress")
    running = server.get("/downloads/" + job)
    _, waiting = server.begin("SELECT 1")
    server.request("DELETE", "/downloads/" + job)
    failed = server.run("SELECT error('no')").data["download_id"]
    for record in (running, snapshot(server, failed), server.get("/downloads/" + failed)):
        assert not {"columns", "columns_truncated", "content_type", "filename", "truncated", "duration_ms"} & set(record)
    wait_for(lambda: server.get("/downloads/" + waiting)["status"] == "completed", "the one behind it")


def test_the_log_names_the_file(service):
    server = service()
    server.run("SELECT 1 AS a")
    wait_for(lambda: any(" csv: 1 rows, 4 bytes; worker's CPU ms: query " in line for line in server.log), "the line")


def test_results_outlive_a_restart_and_their_link(service):
    server = service(S3_URL_EXPIRY="1s")
    job = server.run(TYPES).data["download_id"]
    before = server.get("/downloads/" + job)
    server.stop()
    server.start()
    wait_for(lambda: server.get("/downloads/" + job)["status"] == "expired", "its end")
    record = server.get("/downloads/" + job)
    for name in ("columns", "content_type", "filename", "truncated", "duration_ms"):
        assert record[name] == before[name]
