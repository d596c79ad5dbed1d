"""Which web pages may use the API from a browser, as gopie's deployments configure it. tests/browser has a real browser's word."""
import pytest

from service import USER

HEADERS = ["Content-Type", "Accept", "Authorization", "x-user-id", "x-organization-id", "x-project-ids", "x-dataset-ids", "x-chat-id", "userID",
           "X-Requested-With", "X-CSRF-Token", "Last-Event-ID"]


def allowed(server, origin, method="GET", path="/downloads"):
    """What a browser would hold: may a page of this origin, with credentials, see the answer?"""
    response = server.request(method, path, headers=USER | {"Origin": origin})
    assert response.headers.get_all("Vary") == ["Origin"]
    got = response.headers.get_all("Access-Control-Allow-Origin")
    assert got in (None, [origin]) and response.headers["Access-Control-Allow-Credentials"] == ("true" if got else None)
    return got is not None


@pytest.mark.parametrize("origin, may", [
    ("http://localhost:3000", True), ("https://gopie.factly.dev", True), ("https://a.factly.dev", True), ("https://a.b.factly.dev", True),
    ("https://GOPIE.factly.dev", True),
    ("http://localhost", False), ("http://localhost:3001", False), ("https://localhost:3000", False), ("http://a.factly.dev", False),
    ("https://factly.dev", False), ("https://evilfactly.dev", False), ("https://factly.dev.evil.org", False), ("https://a.factly.dev:8443", False),
    ("https://evil.org/.factly.dev", False), ("https://evil.org?.factly.dev", False), ("https://evil.org#.factly.dev", False),
    ("https://user@.factly.dev", False), ("https://*.factly.dev", False), ("null", False), ("https://", False), ("", False)])
def test_the_defaults_are_the_originals(shared, origin, may):
    assert allowed(shared, origin) == may


def test_origins_are_configured(service):
    server = service(CORS_ORIGINS=" https://App.example.org/ ,http://*.example.org:8080,, http://10.0.0.1:3000")
    for origin in ("https://app.example.org", "http://a.example.org:8080", "http://a.b.example.org:8080", "http://10.0.0.1:3000"):
        assert allowed(server, origin), origin
    for origin in ("http://localhost:3000", "https://gopie.factly.dev", "http://app.example.org", "http://a.example.org", "http://10.0.0.1:3001"):
        assert not allowed(server, origin), origin


@pytest.mark.parametrize("path", ["/downloads", "/downloads/x", "/health", "/files/a/b.csv", "/nothing"])
@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
def test_preflight_requests_need_no_identity(shared, path, method):
    asked = {"Origin": "http://localhost:3000", "Access-Control-Request-Method": method, "Access-Control-Request-Headers": ",".join(HEADERS).lower()}
    response = shared.request("OPTIONS", path, headers=asked)
    assert (response.status, response.body) == (204, b"")
    assert response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert response.headers["Access-Control-Allow-Credentials"] == "true"
    # with credentials `*` would be a name like any other
    assert [h.strip() for h in response.headers["Access-Control-Allow-Headers"].split(",")] == HEADERS
    assert method in [m.strip() for m in response.headers["Access-Control-Allow-Methods"].split(",")]
    foreign = shared.request("OPTIONS", path, headers=asked | {"Origin": "https://evil.org"})
    assert foreign.status == 204 and not [h for h in foreign.headers if h.lower().startswith("access-control")]


def test_streams_and_errors_are_for_the_page_too(shared):
    origin = {"Origin": "http://localhost:3000"}
    stream = shared.post("SELECT 1 AS a", USER | origin)
    assert stream.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
    assert list(stream.events())[-1].type == "complete"
    for response in (shared.request("GET", "/downloads", headers=origin), shared.request("GET", "/downloads/x", headers=USER | origin)):
        assert response.status in (401, 404) and response.headers["Access-Control-Allow-Origin"] == "http://localhost:3000"
