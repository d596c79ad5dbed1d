"""Links to finished files: what they give, and for how long."""
import pytest

from service import wait_for


@pytest.fixture(scope="module")
def link(shared):
    return shared.run("SELECT * FROM t LIMIT 1000").data["message"]


def test_a_file_as_a_browser_gets_it(shared, link):
    response = shared.fetch(link)
    job = link.split("/")[-1].split(".")[0]
    assert response.status == 200 and response.body.startswith(b"id,name,x\n0,name 0,0.0\n")
    assert response.headers["Content-Type"] == "text/csv; charset=utf-8"
    assert response.headers["Content-Disposition"] == f'attachment; filename="{job}.csv"'
    assert response.headers["Content-Length"] == str(len(response.body))
    assert response.headers["Accept-Ranges"] == "bytes"


def test_head_says_what_get_would(shared, link):
    whole, head = shared.fetch(link), shared.fetch(link, "HEAD")
    assert head.status == 200 and head.body == b""
    for name in ("Content-Length", "ETag", "Content-Type", "Content-Disposition"):
        assert head.headers[name] == whole.headers[name]


@pytest.mark.parametrize("asked, start, end", [("bytes=0-9", 0, 10), ("bytes=100-", 100, None), ("bytes=-7", -7, None)])
def test_ranges(shared, link, asked, start, end):
    whole = shared.fetch(link)
    part = shared.fetch(link, Range=asked)
    assert (part.status, part.body) == (206, whole.body[start:end])
    assert part.headers["Content-Range"].endswith(f"/{len(whole.body)}")
    etag = whole.headers["ETag"]
    assert shared.fetch(link, **{"Range": asked, "If-Range": etag}).status == 206
    assert shared.fetch(link, **{"Range": asked, "If-Range": '"another"'}).body == whole.body
    assert shared.fetch(link, **{"If-None-Match": etag}).status == 304


def test_a_range_behind_the_end(shared, link):
    size = len(shared.fetch(link).body)
    response = shared.fetch(link, Range=f"bytes={size}-")
    assert (response.status, response.headers["Content-Range"]) == (416, f"bytes */{size}")


def test_an_altered_link_is_refused(shared, link):
    path, query = link.split("?")
    expires, signature = query.split("&")
    for wrong in (path, f"{path}?{expires}", f"{path}?{signature}", link[:-1] + ("0" if link[-1] != "0" else "1"),
                  f"{path}?expires={int(expires[8:]) + 1}&{signature}", link.replace("acme", "evil"),
                  f"{path.rsplit('/', 1)[0]}/../../link.key?{query}", f"{link}&{signature}",
                  f"{path.rsplit('/', 2)[0]}/%2e%2e/jobs.db?{query}"):
        response = shared.fetch(wrong)
        assert response.status == 403 and b'{"error":' in response.body and b"SQLite" not in response.body, wrong


def test_other_methods_are_refused(shared, link):
    assert shared.fetch(link, "DELETE").status == 405
    assert shared.fetch(link).status == 200


def test_a_file_goes_when_its_link_is_over(service):
    server = service(S3_URL_EXPIRY="2s")
    stream, job = server.begin("SELECT 1 AS a")
    link = list(stream.events())[-1].data["message"]
    other, deleted = server.begin("SELECT 2 AS a")
    list(other.events())
    server.request("DELETE", "/downloads/" + deleted)
    assert server.fetch(link).status == 200
    record = wait_for(lambda: (r := server.get("/downloads/" + job))["status"] == "expired" and r, "the end of the link")
    assert record["expires_at"] <= record["updated_at"] and record["rows"] == 1
    response = server.fetch(link)
    assert response.status == 403 and b"expired" in response.body
    wait_for(lambda: server.files() == [], "the files' end, the deleted record's too")
    last = list(server.follow(job).events())[-1]
    assert (last.type, last.data["message"]) == ("error", "the download link has expired")


def test_links_have_the_configured_base(service):
    server = service(PUBLIC_URL="https://files.example.org/dl/")
    assert server.run("SELECT 1").data["message"].startswith("https://files.example.org/dl/files/acme/")


def test_links_hold_over_a_restart(service):
    server = service()
    link = server.run("SELECT 1 AS a").data["message"]
    assert server.stop() == 0
    server.start()
    assert server.fetch(link).body == b"a\n1\n"
