"""A real browser (Debian's chromium, driven by browse.js) on the documentation pages, and on web pages that use the API."""
import http.server
import json
import os
import pathlib
import shutil
import subprocess
import sys
import threading

import pytest
import yaml

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / "integration"))

from service import ROOT, Service, make_source  # noqa: E402

CHROMIUM = os.environ.get("CHROMIUM", "/usr/bin/chromium")
DEADLINE = 120


class Page(http.server.BaseHTTPRequestHandler):
    """An empty page, on any path."""

    def do_GET(self):
        body = b"<!DOCTYPE html><title>a page</title>"
        self.send_response(200)
        self.send_header("Content-Type", "text/html")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def seen(tmp_path_factory):
    """What the browser saw, step by step."""
    directory = tmp_path_factory.mktemp("browser")
    source = make_source(directory / "shop.duckdb", "CREATE TABLE t AS SELECT i AS id, 'name ' || i AS name FROM range(1000) r(i)")
    pages = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page)
    threading.Thread(target=pages.serve_forever, daemon=True).start()
    port = pages.server_port
    # The same pages under two names are of two origins.
    with Service(directory, source, CORS_ORIGINS=f"http://localhost:{port}") as service:
        options = {"playwright": str(ROOT / ".deps" / "playwright" / "playwright-core"), "chromium": CHROMIUM,
                   "server": f"http://127.0.0.1:{service.port}", "allowed": f"http://localhost:{port}/", "foreign": f"http://127.0.0.1:{port}/"}
        assert service.run("SELECT 'posted before' AS a").type == "complete"
        # what the browser writes goes where the test's files go
        environment = os.environ | {"HOME": str(directory), "TMPDIR": str(directory)}
        done = subprocess.run([shutil.which("node") or "node", HERE / "browse.js", json.dumps(options)], env=environment, capture_output=True,
                              text=True, timeout=DEADLINE)
        assert done.returncode == 0, done.stderr
        results = json.loads(done.stdout)
        results["service"] = {"evil": service.get("/downloads", {"x-user-id": "evil", "x-organization-id": "acme"}),
                              "page": service.get("/downloads", {"x-user-id": "page", "x-organization-id": "acme"})}
        yield results
    pages.shutdown()
    pages.server_close()


def step(seen, name):
    assert "failed" not in seen[name], seen[name]["failed"]
    return seen[name]


def test_the_pages_show_every_operation(seen):
    document = yaml.safe_load((ROOT / "api" / "openapi.yaml").read_text())
    operations = {f"{method.upper()} {path}" for path, item in document["paths"].items() for method in item
                  if method in ("get", "post", "delete")}
    page = step(seen, "swagger")
    assert sorted(page["operations"]) == sorted(operations)
    assert page["title"].startswith("downloads-server") and page["complaints"] == []


def test_try_it_out(seen):
    page = step(seen, "swagger")
    assert (page["health"]["status"].split()[0], json.loads(page["health"]["body"])) == ("200", "Ok")
    assert page["anonymous"]["status"].startswith("401") and "user ID not found" in page["anonymous"]["body"]


def test_try_it_out_with_an_identity(seen):
    page = step(seen, "swagger")
    assert page["list"]["status"].split()[0] == "200" and page["list"]["url"].endswith("/downloads?limit=10&offset=0")
    assert [r["sql"] for r in json.loads(page["list"]["body"])] == ["SELECT 'posted before' AS a"]
    assert page["create"]["status"].split()[0] == "200" and '"type":"complete"' in page["create"]["body"]


def test_the_pages_need_nothing_that_their_policy_refuses(seen):
    page = step(seen, "swagger")
    assert page["refused"] == []
    assert [e for e in page["errors"] if "401" not in e] == []  # the answer that was asked for without an identity


def test_the_pages_ask_no_other_server(seen):
    page = step(seen, "swagger")
    hosts = {url.split("/")[2] for url in page["requests"] if not url.startswith(("data:", "blob:"))}
    assert len(hosts) == 1 and next(iter(hosts)).startswith("127.0.0.1:")


@pytest.mark.parametrize("which", ["short", "long"])
def test_a_page_of_an_allowed_origin_downloads(seen, which):
    page = step(seen, which)
    assert "error" not in page, page
    assert page["lost"] == [], "a browser got an event in pieces"
    kinds = [e.get("type") for e in page["events"] if e.get("type") != "progress"]
    assert kinds == [None, None, "status_update", "status_update", "status_update", "complete"]
    assert page["reads"] >= 2  # as it goes, not at the end
    assert page["listed"] == [page["job"]] and page["removed"] == 204
    assert page["requestId"]  # a header that pages may see
    assert "event: snapshot" in page["joined"] and '"type":"complete"' in page["joined"]
    assert page["file"].startswith("id,name\n0,name 0\n" if which == "short" else "a\n1\n")
    assert seen["service"]["page"] == []


def test_a_page_of_another_origin_is_refused(seen):
    page = step(seen, "foreign")
    for name in ("post", "simplePost", "list", "health"):
        assert "Failed to fetch" in str(page[name]), (name, page[name])
    assert any("CORS" in error for error in page["errors"])
    assert seen["service"]["evil"] == []  # refused before it was sent
