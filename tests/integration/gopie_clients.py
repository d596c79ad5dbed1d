"""gopie's two clients of the downloads service, as its public sources have them, with their weaknesses: what they do not forgive we
must not do. gopie-server asks us, and passes our stream on line by line to gopie's web page."""
import codecs
import datetime
import http.client
import json
import re

from service import DEADLINE

SCANNER_MAX = 64 * 1024  # Go, bufio.MaxScanTokenSize: a line with its end must fit


class ServerError(Exception):
    """What gopie-server makes of an answer it does not expect: a 500 of its own, with this text in its log."""


class TokenTooLong(Exception):
    """Go's bufio.ErrTooLong: gopie-server ends the stream, and its page waits for ever."""


def go_json(value):
    """json.Marshal: compact, and <, >, & and the two line separators escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text.encode()


class GopieServer:
    """gopie-server's client: a request with all fields, `""` where the page sent none; any status of 400 and more is an error; reading is
    by Go's bufio.Scanner."""

    def __init__(self, port, user="ann", org="acme"):
        self.port, self.identity = port, {"x-user-id": user, "x-organization-id": org}

    def ask(self, method, path, body=None):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        connection.request(method, path, body, self.identity | ({"Content-Type": "application/json"} if body else {}))
        return connection.getresponse()

    def create(self, sql="", dataset_id="", format=""):
        """The lines that go to the page, each as gopie-server writes it."""
        body = go_json({"id": "", "dataset_id": dataset_id, "UserID": self.identity["x-user-id"], "OrgID": self.identity["x-organization-id"],
                        "sql": sql, "format": format})
        response = self.ask("POST", "/downloads", body)
        if response.status >= 400:
            raise ServerError(f"downloads server returned an error: status {response.status}, body: {response.read().decode()}")
        return self.scan(response)

    @staticmethod
    def scan(response):
        while line := response.readline(SCANNER_MAX + 1):
            if len(line) > SCANNER_MAX or (len(line) == SCANNER_MAX and not line.endswith(b"\n")):
                raise TokenTooLong(line[:100])
            yield line.removesuffix(b"\n").removesuffix(b"\r") + b"\n"

    def list(self, limit=10, offset=0):
        return [self.record(r) for r in self.decoded("GET", f"/downloads?limit={limit}&offset={offset}")]

    def get(self, job):
        return self.record(self.decoded("GET", f"/downloads/{job}"))

    def decoded(self, method, path):
        response = self.ask(method, path)
        body = response.read()
        if response.status != 200:
            raise ServerError(f"server returned status {response.status}")
        return json.loads(body)

    def delete(self, job):
        response = self.ask("DELETE", f"/downloads/{job}")
        response.read()
        if response.status != 204:
            raise ServerError(f"server returned status {response.status}")

    @staticmethod
    def record(fields):
        """Into its struct: a wrong type or a time that is not RFC 3339 is an error there; unknown fields are let go."""
        texts = ("id", "sql", "dataset_id", "status", "format", "user_id", "org_id", "pre_signed_url", "error_message")
        for name in texts:
            assert isinstance(fields.get(name, ""), str), name
        for name in ("created_at", "updated_at", "expires_at", "completed_at"):
            if name in fields:
                assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?(Z|[+-]\d\d:\d\d)", fields[name]), fields[name]
                datetime.datetime.fromisoformat(fields[name].replace("Z", "+00:00"))
        for name in ("id", "sql", "dataset_id", "status", "format", "created_at", "updated_at", "user_id", "org_id"):
            assert name in fields, name
        return fields


class WebPage:
    """gopie's web page: what a read of the stream gives is split at newlines, and a rest is not carried over; only lines that begin with
    `data: ` count; a line that is no JSON is lost (`lost`); `complete` and `error` settle it, the end of the stream does not."""

    def __init__(self):
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.settled = None  # ("resolved", id, url) or ("rejected", text); None: it waits
        self.drawn = []  # (percent, text)
        self.job = None
        self.lost = []

    def read(self, chunk):
        for line in self.decoder.decode(chunk).split("\n"):
            if self.settled:
                return
            if not line.startswith("data: ") or not line[6:].strip():
                continue
            try:
                data = json.loads(line[6:])
            except ValueError:
                self.lost.append(line)
                continue
            self.take(data)

    def take(self, data):
        kind, message = data.get("type"), data.get("message")
        if kind == "progress":
            self.drawn.append((data.get("progress") or 0, message or "Processing..."))
        elif kind == "status_update":
            self.drawn.append((50, message or "Processing..."))
        elif kind == "complete":
            self.drawn.append((100, "Download complete!"))
        elif kind == "error":
            self.drawn.append((0, message or "Download failed"))
        elif data.get("id") and data.get("status") == "pending":
            self.job = data["id"]
            self.drawn.append((10, "Download job created..."))
        if kind == "complete" and data.get("download_id") and message:
            self.settled = ("resolved", data["download_id"], message)
        elif kind == "error":
            self.settled = ("rejected", message or "Download failed")

    def follow(self, chunks):
        """To the end of the stream, or of its interest."""
        for chunk in chunks:
            self.read(chunk)
            if self.settled:
                break
        return self
