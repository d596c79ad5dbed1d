"""A download on Postgres and S3, from the request to the bytes behind the link."""
import concurrent.futures
import datetime
import gzip
import hashlib
import json
import os
import re
import signal
import urllib.request

import pytest

from gopie_clients import GopieServer, WebPage
from peers.gopie import gopie_migrates
from peers.pgbouncer import PgBouncer
from service import USER, wait_for

LONG = "SELECT i, repeat('x', 50) AS pad FROM range(800000) r(i)"  # 45 MB, nine parts


def test_a_small_result_is_one_object(place):
    server = place.start()
    last = server.run("SELECT * FROM t WHERE id < 3 ORDER BY id")
    assert last.type == "complete"
    job = last.data["download_id"]
    record = server.get("/downloads/" + job)
    assert record["status"] == "completed" and record["pre_signed_url"] == last.data["message"]
    assert place.objects() == {f"acme/{job}.csv": record["bytes"]}
    with urllib.request.urlopen(record["pre_signed_url"]) as answer:
        assert answer.read() == b"id,name,x\n0,name 0,0.0\n1,name 1,0.25\n2,name 2,0.5\n"
        assert f'filename="{job}.csv"' in answer.headers["Content-Disposition"]
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
    ends = datetime.datetime.fromisoformat(record["expires_at"].replace("Z", "+00:00"))
    signed = re.search(r"X-Amz-Date=(\w+)&", record["pre_signed_url"]).group(1)
    lives = int(re.search(r"X-Amz-Expires=(\d+)", record["pre_signed_url"]).group(1))
    begins = datetime.datetime.strptime(signed, "%Y%m%dT%H%M%SZ").replace(tzinfo=datetime.timezone.utc)
    assert abs((begins + datetime.timedelta(seconds=lives) - ends).total_seconds()) < 1
    assert place.sql("SELECT status::text, pre_signed_url FROM downloads") == [("completed", record["pre_signed_url"])]


@pytest.mark.parametrize("rows", [3, 3000000], ids=["one-object", "in-parts"])
def test_a_compressed_result_is_a_file_of_its_own(place, rows):
    """By its key, its media type and its name; nothing unpacks it on the way."""
    server = place.start()
    last = server.run(f"SELECT i, md5(i::VARCHAR) AS pad FROM range({rows}) r(i)", format="csv", compression="gzip")
    assert last.type == "complete", last.text
    job, key = last.data["download_id"], f"acme/{last.data['download_id']}.csv.gz"
    assert place.objects() == {key: last.data["bytes"]} and place.uploads() == []
    stored = place.s3.head_object(Bucket=place.bucket, Key=key)
    assert stored["ContentType"] == "application/gzip" and not stored.get("ContentEncoding")
    with urllib.request.urlopen(last.data["message"]) as answer:
        data = answer.read()
        assert answer.headers["Content-Type"] == "application/gzip" and "Content-Encoding" not in answer.headers
        assert f'filename="{job}.csv.gz"' in answer.headers["Content-Disposition"]
    assert hashlib.sha256(data).hexdigest() == last.data["sha256"]
    lines = gzip.decompress(data).splitlines()
    assert len(lines) == rows + 1 and lines[:2] == [b"i,pad", b"0," + hashlib.md5(b"0").hexdigest().encode()]
    record = server.get("/downloads/" + job)
    assert (record["filename"], record["content_type"]) == (f"{job}.csv.gz", "application/gzip")
    told = place.sql("SELECT form, suffix, columns, details FROM downloads_jobs")[0]
    assert json.loads(told[0]) == {"format": "csv", "compression": "gzip"} and told[1] == "csv.gz"
    assert json.loads(told[2]) == record["columns"] and json.loads(told[3]).keys() == {"truncated", "duration_ms"}
    assert place.sql("SELECT object_key FROM downloads_attempts") == [(key,)]


def test_a_later_attempt_has_a_key_of_its_own_and_the_downloads_name(place):
    server = place.start(QUEUE_WORKERS=1, MAX_ATTEMPTS=2, RETRY_DELAY="1s")
    stream, job = server.begin("SELECT i, repeat('x', 50) AS pad FROM range(6000000) r(i)", format="csv", compression="gzip")
    os.kill(server.wait_worker(), signal.SIGKILL)
    last = list(stream.events())[-1]
    assert last.type == "complete" and last.data["filename"] == f"{job}.csv.gz"
    keys = [f"acme/{job}.csv.gz", f"acme/{job}-2.csv.gz"]
    assert [k for k, in place.sql("SELECT object_key FROM downloads_attempts ORDER BY attempt")] in (keys, keys[1:])
    assert list(place.objects()) == keys[1:]
    with urllib.request.urlopen(last.data["message"]) as answer:
        assert f'filename="{job}.csv.gz"' in answer.headers["Content-Disposition"]


def test_a_large_result_is_whole(place):
    server = place.start()
    last = server.run(LONG)
    assert last.type == "complete"
    key = f"acme/{last.data['download_id']}.csv"
    assert place.sha256(key) == last.data["sha256"] == place.copy_sha256(LONG)
    assert place.uploads() == [] and list(place.objects()) == [key]


def test_a_failed_query_leaves_nothing(place):
    server = place.start()
    last = server.run("SELECT i, repeat('x', 100), CASE WHEN i = 700000 THEN error('no more') END FROM range(700001) r(i)")
    assert last.type == "error" and "no more" in last.data["message"]
    assert place.objects() == {} and place.uploads() == []
    assert server.get("/downloads/" + last.data["download_id"])["status"] == "failed"


@pytest.mark.parametrize("sql, ends", [(LONG, "resolved"), ("SELECT nonsense", "rejected")])
def test_gopies_own_clients(place, sql, ends):
    """gopie-server reads our stream by lines, its page what gopie-server passes on, or (as it was) our chunks."""
    server = place.start()
    gopie = GopieServer(server.port)
    behind = WebPage().follow(gopie.create(sql, dataset_id="sample"))
    stream, alone = server.post(sql), WebPage()
    while not alone.settled and (chunk := stream.chunk()):
        alone.read(chunk)
    for page in (behind, alone):
        assert page.settled and page.settled[0] == ends and not page.lost
        record = gopie.get(page.job)
        if ends == "resolved":
            assert page.settled[2] == record["pre_signed_url"]
            with urllib.request.urlopen(page.settled[2]) as answer:
                assert len(answer.read()) == record["bytes"]
        else:
            assert page.settled[1] == "Failed during data processing: " + record["error_message"]
        gopie.delete(page.job)
    assert gopie.list() == []


def test_200_at_once_all_complete(place):
    server = place.start(QUEUE_WORKERS=10, WORKER_MEMORY="64MiB")
    with concurrent.futures.ThreadPoolExecutor(200) as pool:
        last = list(pool.map(lambda i: server.run(f"SELECT {i} AS job, * FROM range(10)"), range(200)))
    assert {e.type for e in last} == {"complete"}
    assert len(place.objects()) == 200
    assert place.sql("SELECT status::text, count(*) FROM downloads GROUP BY 1") == [("completed", 200)]
    assert place.sql("SELECT count(*) FROM downloads_queue") == [(0,)]


def test_a_full_queue_answers_at_once(place):
    server = place.start(QUEUE_SIZE=5, QUEUE_WORKERS=1, WORKER_MEMORY="64MiB")

    def post(_):
        stream = server.post("SELECT count(*) FROM range(100000000000000)")
        return stream.status, stream.headers.get("Retry-After"), stream

    with concurrent.futures.ThreadPoolExecutor(50) as pool:
        answers = list(pool.map(post, range(50)))
    accepted = [a for a in answers if a[0] == 200]
    assert len(accepted) >= 5
    assert all(status == 503 and retry for status, retry, _ in answers if status != 200)
    assert place.sql("SELECT count(*) FROM downloads") == [(len(accepted),)]


def test_organisations_with_odd_names(place):
    server = place.start()
    for organisation in ("a b+c%d~e", "Zürich/été", "x" * 200):
        headers = USER | {"x-organization-id": organisation.encode().decode("latin-1")}
        last = server.run("SELECT 1 AS a", headers)
        assert last.type == "complete", last.data
        with urllib.request.urlopen(last.data["message"]) as answer:
            assert answer.read() == b"a\n1\n"
        assert f"{organisation}/{last.data['download_id']}.csv" in place.objects()
    for organisation in ("..", "a/../b", "a//b", "/a", "a/"):
        answer = server.request("GET", "/downloads", headers=USER | {"x-organization-id": organisation})
        assert answer.status == 400, organisation


def test_old_rows_are_history(place):
    gopie_migrates(place.postgres, place.database)
    place.sql("INSERT INTO downloads (sql, dataset_id, format, user_id, org_id, status, created_at)"
              " SELECT 'SELECT ' || i, 'd', 'csv', 'ann', 'acme', 'pending', now() - interval '90 days' + i * interval '1 s'"
              " FROM generate_series(1, 1000) s(i)")
    before = place.sql("SELECT xmin::text, * FROM downloads ORDER BY id")
    server = place.start()
    assert server.run("SELECT 1 AS a").type == "complete"
    seen = [r for offset in range(0, 1100, 100) for r in server.get(f"/downloads?limit=100&offset={offset}")]
    assert len({r["id"] for r in seen}) == 1001 and sum(r["status"] == "pending" for r in seen) == 1000
    wait_for(lambda: place.sql("SELECT count(*) FROM downloads_queue") == [(0,)], "an empty queue")
    assert place.sql("SELECT xmin::text, * FROM downloads WHERE status = 'pending' ORDER BY id") == before
    assert len(place.objects()) == 1


def test_behind_a_transaction_pooler(place):
    with PgBouncer(place.postgres) as bouncer:
        server = place.start(POSTGRES_PORT=bouncer.port)
        with concurrent.futures.ThreadPoolExecutor(20) as pool:
            last = list(pool.map(lambda i: server.run(f"SELECT {i} AS job"), range(20)))
        assert {e.type for e in last} == {"complete"}
        assert server.run(LONG).type == "complete"
        stream, job = server.begin("SELECT count(*) FROM range(100000000000000)")
        assert server.request("DELETE", "/downloads/" + job).status == 204
        assert list(stream.events())[-1].type == "error"
        assert len(server.get("/downloads?limit=100")) == 21
        assert server.stop() == 0


def test_parts_grow(place):
    server = place.start(S3_GROW_AFTER=2)
    sql = "SELECT i, repeat('x', 50) AS pad FROM range(3500000) r(i)"  # 200 MB: two parts of 5 MiB, then of 80 MiB
    last = server.run(sql)
    key = f"acme/{last.data['download_id']}.csv"
    assert place.sha256(key) == last.data["sha256"] == place.copy_sha256(sql)
    parts = int(place.s3.head_object(Bucket=place.bucket, Key=key)["ETag"].strip('"').rsplit("-", 1)[1])
    assert 4 <= parts <= 9  # the worker may have filled its four small buffers before it got larger ones; else it would be 41
