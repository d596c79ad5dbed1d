"""`downloads-server get`, black box, against scripted faults."""
import hashlib
import json
import os
import pty
import re
import select
import shlex
import signal
import socket
import struct
import subprocess
import fcntl
import termios
import time

import pytest

from fault_server import ID, FaultServer, file_cut_at, happy, record, whole_file

PROGRAM = shlex.split(os.environ.get("DOWNLOADS_SERVER_PROGRAM", "build/downloads-server get"))
PROGRAM[0] = os.path.abspath(PROGRAM[0]) if "/" in PROGRAM[0] else PROGRAM[0]
DEADLINE = 60
EVENTS = f"GET /downloads/{ID}/events"
FILE = "GET /files/o/x.csv"


@pytest.fixture
def server():
    server = FaultServer()
    yield server
    server.released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture
def get(server, tmp_path):
    return Get(server, tmp_path)


class Get:
    """Runs the client in a folder of its own."""

    def __init__(self, server, folder):
        self.server, self.folder = server, folder
        self.environment = {k: v for k, v in os.environ.items() if not k.startswith("DOWNLOADS_")}
        self.environment.update(TERM="xterm", LC_ALL="C.UTF-8")

    def command(self, *args, what=("--sql", "SELECT 1")):
        return PROGRAM + ["--server", self.server.url, "--user", "u", "--org", "o", *what, *args]

    def __call__(self, *args, **options):
        what = options.pop("what", ("--sql", "SELECT 1"))
        return subprocess.run(self.command(*args, what=what), cwd=self.folder, env=self.environment,
                              capture_output=True, timeout=DEADLINE, **options)

    def start(self, *args, **options):
        return subprocess.Popen(self.command(*args), cwd=self.folder, env=self.environment,
                                stdout=subprocess.PIPE, stderr=subprocess.PIPE, **options)

    def files(self):
        return sorted(p.name for p in self.folder.iterdir())

    def expect(self, code, result):
        assert result.returncode == code, result.stderr.decode()
        return result.stderr.decode()


def wait_until(condition):
    deadline = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        select.select([], [], [], 0.02)


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


# The straight way.

def test_the_file_arrives_whole_under_its_name(get, server):
    text = get.expect(0, get("-o", "out.csv"))
    assert (get.folder / "out.csv").read_bytes() == server.file
    assert get.files() == ["out.csv"]
    assert hashlib.sha256(server.file).hexdigest() in text
    assert "Processing query..." in text.splitlines()
    assert "\033" not in text and "signature=" not in text
    request = server.asked("POST /downloads")[0]
    assert json.loads(request.body) == {"dataset_id": "cli", "sql": "SELECT 1", "format": "csv"}
    assert (request.headers["x-user-id"], request.headers["x-organization-id"]) == ("u", "o")
    assert "x-user-id" not in server.asked(FILE)[0].headers


def test_the_default_name_is_the_download_id(get):
    get.expect(0, get())
    assert get.files() == [f"{ID}.csv"]


@pytest.mark.parametrize("told, name", [
    (f"{ID}.csv.gz", f"{ID}.csv.gz"), (f"{ID}.parquet", f"{ID}.parquet"),
    # a name that is not the download's is not taken: it would replace another file, or lie elsewhere
    ("../out.csv", f"{ID}.csv"), (f"{ID}/../../out", f"{ID}.csv"), ("Makefile", f"{ID}.csv"), ("-", f"{ID}.csv"),
    ("", f"{ID}.csv"), (None, f"{ID}.csv"), (7, f"{ID}.csv"),
])
def test_the_server_may_name_the_file(get, server, told, name):
    def naming(reply):
        reply.created()
        reply.complete(filename=told)
    server.script["POST /downloads"] = [naming]
    (get.folder / "Makefile").write_text("mine")
    get.expect(0, get())
    assert get.files() == sorted([name, "Makefile"])
    assert (get.folder / "Makefile").read_text() == "mine" and (get.folder / name).read_bytes() == server.file


def test_a_record_names_the_file_too(get, server):
    def snapshot(reply):
        reply.stream()
        reply.event(record("completed", pre_signed_url=server.link, filename=f"{ID}.tsv.zst", truncated=True, rows=3),
                    "snapshot", 4)
        reply.end()
    server.script[EVENTS] = [snapshot]
    assert "the file ends at a limit: 3 rows" in get.expect(0, get(what=("--download", ID)))
    assert get.files() == [f"{ID}.tsv.zst"]


@pytest.mark.parametrize("more, body", [
    ((), {"format": "csv"}),
    (("--format", "jsonl"), {"format": "jsonl"}),
    (("--format", "excel", "--option", "sheet_name=2024", "--option", "bold_header=false"),
     {"format": "excel", "options": {"sheet_name": "2024", "bold_header": False}}),
    (("--compression", "gzip"), {"format": "csv", "compression": "gzip"}),
    (("--option", "null=a=b", "--option", r"delimiter=\t", "--option", r"line_ending=\r\n", "--option", "header=false"),
     {"format": "csv", "options": {"null": "a=b", "delimiter": r"\t", "line_ending": "\r\n", "header": False}}),
    (("--format", "parquet", "--option", "row_group_size=4096", "--option", "row_group_size=8192"),
     {"format": "parquet", "options": {"row_group_size": 8192}}),
    (("--option", "null="), {"format": "csv", "options": {"null": ""}}),
    (("--option", "nonsense=true"), {"format": "csv", "options": {"nonsense": "true"}}),  # the server knows better
    (("--row-limit", "1000", "--byte-limit", "9223372036854775807"),
     {"format": "csv", "row_limit": 1000, "byte_limit": 2 ** 63 - 1}),
    (("--row-limit", "0"), {"format": "csv", "row_limit": 0}),
])
def test_what_the_file_is_to_look_like(get, server, more, body):
    get.expect(0, get("-o", "out", *more))
    sent = json.loads(server.asked("POST /downloads")[0].body)
    assert sent == {"dataset_id": "cli", "sql": "SELECT 1"} | body


@pytest.mark.parametrize("quiet", [(), ("--quiet",)])
@pytest.mark.parametrize("rows, says", [
    (1_000_000, "the file ends at a limit: 1,000,000 rows\n"), (0, "the file ends at a limit: 0 rows\n"),
    (None, "the file ends at a limit\n")])
def test_a_file_that_ends_at_a_limit_is_told(get, server, quiet, rows, says):
    def cut(reply):
        reply.created()
        reply.complete(truncated=True, rows=rows)
    server.script["POST /downloads"] = [cut]
    assert get.expect(0, get("-o", "out.csv", *quiet)).endswith(says)
    result = get("--print-link", *quiet)
    assert get.expect(0, result).endswith(says) and result.stdout.decode() == server.link + "\n"


def test_a_whole_file_says_nothing_of_limits(get):
    assert "limit" not in get.expect(0, get("-o", "out.csv"))


def test_standard_output_gets_the_bytes_and_nothing_else(get, server):
    result = get("-o", "-")
    get.expect(0, result)
    assert result.stdout == server.file and get.files() == []


def test_a_device_stays_a_device(get):
    get.expect(0, get("-o", "/dev/null"))
    assert not os.path.isfile("/dev/null")


def test_a_symbolic_link_stays_one(get, server):
    (get.folder / "real.csv").write_text("old")
    (get.folder / "out.csv").symlink_to("real.csv")
    get.expect(0, get("-o", "out.csv"))
    assert (get.folder / "out.csv").is_symlink()
    assert (get.folder / "real.csv").read_bytes() == server.file


def test_only_the_link(get, server):
    result = get("--print-link")
    get.expect(0, result)
    assert result.stdout.decode() == server.link + "\n"
    assert not server.asked(FILE) and get.files() == []


def test_quiet_says_nothing(get):
    result = get("--quiet", "-o", "out.csv")
    assert get.expect(0, result) == "" and result.stdout == b""


def test_the_query_can_come_from_a_file_or_standard_input(get, server):
    (get.folder / "query.sql").write_text("SELECT 'ä'")
    get.expect(0, get("-o", "a", what=("--sql-file", "query.sql")))
    get.expect(0, get("-o", "b", "--dataset", "d", "--format", "csv", what=("--sql-file", "-"), input=b"SELECT 2"))
    bodies = [json.loads(r.body) for r in server.asked("POST /downloads")]
    assert [b["sql"] for b in bodies] == ["SELECT 'ä'", "SELECT 2"]
    assert bodies[1]["dataset_id"] == "d"


def test_the_environment_says_who_and_where(get, server):
    get.environment.update(DOWNLOADS_SERVER=server.url + "/", DOWNLOADS_USER="me", DOWNLOADS_ORG="us")
    result = subprocess.run(PROGRAM + ["--sql", "SELECT 1", "-o", "out.csv"], cwd=get.folder, env=get.environment,
                            capture_output=True, timeout=DEADLINE)
    get.expect(0, result)
    assert server.asked("POST /downloads")[0].headers["x-user-id"] == "me"


# Wrong options.

@pytest.mark.parametrize("args, says", [
    (["--nonsense"], "unknown option: --nonsense"),
    (["-qx", "--sql", "SELECT 1"], "unknown option: -x"),
    (["--quiet=1"], "unknown option: --quiet=1"),
    (["--sql"], "--sql needs a value"),
    (["--sql", "SELECT 1", "more"], "'more' is not an option"),
    ([], "give one of --sql"),
    (["--sql", "SELECT 1", "--download", ID], "give one of --sql"),
    (["--download", "../x"], "--download takes an id"),
    (["--sql", "SELECT 1", "--server", "ftp://x"], "http://"),
    (["--sql", "SELECT 1", "--wait", "soon"], "--wait takes seconds"),
    (["--sql", "SELECT 1", "--wait", "nan"], "--wait takes seconds"),
    (["--sql", "SELECT 1", "--user", "a\nx-organization-id: b"], "--user"),
    (["--sql", "SELECT 1", "--org", ""], "--org"),
    (["--sql", ""], "the query has to be"),
    (["--sql", "SELECT 1", "--option", "header"], "--option takes NAME=VALUE"),
    (["--sql", "SELECT 1", "--option", "=true"], "--option takes NAME=VALUE"),
    (["--sql", "SELECT 1", "--option", b"null=\xff"], "--option takes UTF-8 text"),
    (["--sql", "SELECT 1", "--format", b"\xff"], "--format takes UTF-8 text"),
    (["--sql", "SELECT 1", "--compression", b"gzip\xc3"], "--compression takes UTF-8 text"),
    (["--sql", "SELECT 1", "--row-limit", "many"], "--row-limit takes a whole number, not 'many'"),
    (["--sql", "SELECT 1", "--row-limit", "-1"], "--row-limit takes a whole number"),
    (["--sql", "SELECT 1", "--row-limit", ""], "--row-limit takes a whole number"),
    (["--sql", "SELECT 1", "--byte-limit", "1.5"], "--byte-limit takes a whole number"),
    (["--sql", "SELECT 1", "--byte-limit", "9223372036854775808"], "--byte-limit takes a whole number"),
    (["--download", ID, "--format", "csv"], "--download fetches a file as it was made"),
    (["--download", ID, "--row-limit", "5"], "--download fetches a file as it was made"),
    (["--download", ID, "--option", "header=false"], "--download fetches a file as it was made"),
    (["--sql-file", "/nonexistent"], "cannot read /nonexistent"),
    (["--sql", "SELECT 1", "--print-link", "-o", "x"], "--print-link"),
])
def test_wrong_options_are_told(get, server, args, says):
    result = subprocess.run(PROGRAM + ["--server", server.url, "--user", "u", "--org", "o", *args], cwd=get.folder,
                            env=get.environment, capture_output=True, timeout=DEADLINE)
    assert says in get.expect(2, result)
    assert not server.requests and get.files() == []


def test_a_query_that_is_not_text_is_refused(get, server):
    for query in (b"SELECT '\xff'", b"SELECT 1\0", b"x" * (4 * 1024 * 1024 + 1)):
        assert "UTF-8" in get.expect(2, get(what=("--sql-file", "-"), input=query))
    assert not server.requests


def test_help_names_every_option(get):
    result = subprocess.run(PROGRAM + ["--help"], capture_output=True, timeout=DEADLINE)
    assert result.returncode == 0
    for option in ("server user org sql sql-file dataset format compression option row-limit byte-limit output "
                   "download print-link no-progress quiet timeout wait help").split():
        assert f"--{option}" in result.stdout.decode()


# The server says no.

def test_a_refused_request_is_told_in_its_words(get, server):
    server.script["POST /downloads"] = [lambda r: r.answer(400, {"error": "sql is missing"})]
    assert "sql is missing" in get.expect(1, get())
    assert len(server.requests) == 1


def test_a_failed_download(get, server):
    def failing(reply):
        reply.created()
        reply.event({"download_id": ID, "type": "error",
                     "message": "Failed during data processing: \033[31mno\nsuch table"}, id=3)
        reply.end()
    server.script["POST /downloads"] = [failing]
    text = get.expect(1, get("-o", "out.csv"))
    assert "Failed during data processing: ?[31mno\nsuch table" in text
    assert get.files() == []


def test_a_download_that_could_not_be_created(get, server):
    def failing(reply):
        reply.stream()
        reply.event({"message": "Request received"}, "request_received")
        reply.event({"type": "error", "message": "could not create download job"}, "error")
        reply.end()
    server.script["POST /downloads"] = [failing]
    assert "could not create download job" in get.expect(1, get())


def test_nobody_listens(get):
    get.server.url = f"http://127.0.0.1:{free_port()}"
    assert "does not answer" in get.expect(3, get("-o", "out.csv"))
    assert get.files() == []


@pytest.mark.parametrize("status", [503, 429])
def test_a_busy_server_is_asked_again(get, server, status):
    busy = lambda r: r.answer(status, {"error": "the queue is full"}, {"Retry-After": "1"})
    server.script["POST /downloads"] = [busy, busy, happy]
    began = time.monotonic()
    get.expect(0, get("-o", "out.csv"))
    assert len(server.asked("POST /downloads")) == 3
    assert time.monotonic() - began >= 2


def test_a_server_that_stays_busy(get, server):
    server.script["POST /downloads"] = [lambda r: r.answer(503, {"error": "the queue is full"}, {"Retry-After": "9"})]
    assert "the queue is full" in get.expect(3, get("--wait", "2"))
    assert len(server.requests) == 1


def test_a_post_without_an_answer_is_not_sent_twice(get, server):
    server.script["POST /downloads"] = [lambda r: None]
    assert "broke off" in get.expect(3, get())
    assert len(server.requests) == 1


# The event stream breaks.

def cut_after_creation(reply):
    reply.created()
    reply.raw(b"40\r\ndata: {\"download_id\"")


def snapshot_then_complete(reply):
    reply.stream()
    reply.event(record("processing"), "snapshot", 2)
    reply.complete()


def test_a_cut_stream_is_taken_up_behind_the_last_event(get, server):
    server.script["POST /downloads"] = [cut_after_creation]
    server.script[EVENTS] = [snapshot_then_complete]
    get.expect(0, get("-o", "out.csv"))
    assert [r.headers.get("last-event-id") for r in server.asked(EVENTS)] == ["1"]
    assert len(server.asked("POST /downloads")) == 1
    assert (get.folder / "out.csv").read_bytes() == server.file


def test_a_server_that_is_away_for_a_while(get, server):
    gone = lambda r: None
    unwell = lambda r: r.answer(502, b"<html>bad gateway</html>")
    server.script["POST /downloads"] = [cut_after_creation]
    server.script[EVENTS] = [gone, unwell, gone, snapshot_then_complete]
    get.expect(0, get("-o", "out.csv"))
    assert len(server.asked(EVENTS)) == 4


def test_a_server_that_does_not_come_back(get, server):
    server.script["POST /downloads"] = [cut_after_creation]
    server.script[EVENTS] = [lambda r: None]
    text = get.expect(3, get("--wait", "1"))
    assert f"--download {ID}" in text


def test_a_restart_event_means_come_back(get, server):
    def restart(reply):
        reply.stream()
        reply.event(record("pending"), "snapshot", 1)
        reply.event({}, "restart")
        server.released.wait(DEADLINE)
    server.script["POST /downloads"] = [cut_after_creation]
    server.script[EVENTS] = [restart, snapshot_then_complete]
    get.expect(0, get("-o", "out.csv"))
    assert len(server.asked(EVENTS)) == 2


def test_a_download_that_is_handed_over_goes_on_elsewhere(get, server):
    def hand_over(reply):
        reply.created()
        reply.event({"download_id": ID, "type": "error", "message": "the download goes on", "handed_over": True},
                    "error")
        reply.end()
    server.script["POST /downloads"] = [hand_over]
    server.script[EVENTS] = [snapshot_then_complete]
    text = get.expect(0, get("-o", "out.csv"))
    assert "failed" not in text


def test_nothing_new_means_look_at_the_record(get, server):
    server.script["POST /downloads"] = [cut_after_creation]
    server.script[EVENTS] = [lambda r: r.head(204)]
    server.script[f"GET /downloads/{ID}"] = [
        lambda r: r.answer(200, record("processing")),
        lambda r: r.answer(200, record("completed", pre_signed_url=server.link, rows=3, bytes=len(server.file),
                                       sha256=hashlib.sha256(server.file).hexdigest()))]
    get.expect(0, get("-o", "out.csv"))
    assert (get.folder / "out.csv").read_bytes() == server.file


def test_every_line_end_and_any_cut(get, server):
    def slow(reply):
        reply.stream()
        text = ("\ufeff: comment\r\nevent: job_created\rid: 1\r\ndata: " + json.dumps(record("pending")) +
                "\r\n\r\n\n: heartbeat\n\ndata: " +
                json.dumps({"type": "complete", "message": server.link}) + "\r\r")
        for byte in text.encode():
            reply.raw(b"1\r\n%c\r\n" % byte)
        reply.end()
    server.script["POST /downloads"] = [slow]
    text = get.expect(0, get("-o", "out.csv"))
    assert "the server told none" in text


def test_an_endless_line_is_not_kept(get, server):
    def endless(reply):
        reply.created()
        while True:
            reply.chunk("x" * 65536)
    server.script["POST /downloads"] = [endless]
    assert "longer than" in get.expect(1, get())


def test_an_existing_download(get, server):
    server.script[EVENTS] = [snapshot_then_complete]
    get.expect(0, get("-o", "out.csv", what=("--download", ID.upper())))
    assert not server.asked("POST /downloads")
    assert "last-event-id" not in server.asked(EVENTS)[0].headers


def test_an_unknown_download(get):
    assert "download not found" in get.expect(1, get(what=("--download", ID)))


@pytest.mark.parametrize("status, more, says", [
    ("failed", {"error_message": "no such table"}, "no such table"),
    ("expired", {}, "expired"),
    ("completed", {}, "without a link"),
])
def test_a_download_that_has_ended_without_a_file(get, server, status, more, says):
    def snapshot(reply):
        reply.stream()
        reply.event(record(status, **more), "snapshot", 4)
        reply.end()
    server.script[EVENTS] = [snapshot]
    assert says in get.expect(1, get(what=("--download", ID)))


# The file's transfer breaks.

def test_a_cut_transfer_is_taken_up_where_it_broke(get, server):
    server.file = os.urandom(1_000_000)
    server.script[FILE] = [file_cut_at(700_001), whole_file]
    get.expect(0, get("-o", "out.csv"))
    assert (get.folder / "out.csv").read_bytes() == server.file
    again = server.asked(FILE)[1].headers
    assert again["range"] == "bytes=700001-" and again["if-range"] == '"v1"'


def test_a_server_without_ranges_starts_over(get, server):
    server.file = os.urandom(100_000)
    server.script[FILE] = [file_cut_at(70_000), lambda r: r.answer(200, server.file, {"ETag": '"v2"'})]
    get.expect(0, get("-o", "out.csv"))
    assert (get.folder / "out.csv").read_bytes() == server.file


def test_a_pipe_cannot_start_over(get, server):
    server.script[FILE] = [file_cut_at(5), lambda r: r.answer(200, server.file)]
    assert "cannot take it up" in get.expect(4, get("-o", "-"))


def test_a_wrong_range_is_noticed(get, server):
    wrong = lambda r: r.answer(206, server.file, {"Content-Range": "bytes 0-11/12"})
    server.script[FILE] = [file_cut_at(5), wrong]
    assert "another range" in get.expect(4, get("-o", "out.csv"))
    assert get.files() == []


def test_a_range_beyond_the_file_starts_over(get, server):
    server.script[FILE] = [file_cut_at(5), lambda r: r.answer(416), whole_file]
    get.expect(0, get("-o", "out.csv"))
    assert (get.folder / "out.csv").read_bytes() == server.file


def test_a_store_that_is_slow_down(get, server):
    server.script[FILE] = [lambda r: r.answer(503, b"<Error><Code>SlowDown</Code></Error>"), whole_file]
    get.expect(0, get("-o", "out.csv"))


def test_a_link_that_is_refused(get, server):
    server.script[FILE] = [lambda r: r.answer(403, {"error": "the link has expired"})]
    text = get.expect(1, get("-o", "out.csv"))
    assert "the link has expired" in text and "secret" not in text
    assert get.files() == []


def test_a_link_is_not_followed_elsewhere(get, server):
    server.script[FILE] = [lambda r: r.answer(302, b"", {"Location": server.url + "/elsewhere"})]
    get.expect(1, get("-o", "out.csv"))
    assert not server.asked("GET /elsewhere")


@pytest.mark.parametrize("changed", [{"sha256": "0" * 64}, {"bytes": 11}, {"bytes": 13}])
def test_another_file_than_announced(get, server, changed):
    def lying(reply):
        reply.created()
        reply.complete(**changed)
    server.script["POST /downloads"] = [lying]
    (get.folder / "out.csv").write_text("old")
    get.expect(4, get("-o", "out.csv"))
    assert get.files() == ["out.csv"] and (get.folder / "out.csv").read_text() == "old"


# The file cannot be written.

def test_a_missing_folder_is_told_before_the_query_runs(get, server):
    assert "missing/out.csv" in get.expect(5, get("-o", "missing/out.csv"))
    assert not server.requests


def test_a_full_disk(get):
    assert "No space left" in get.expect(5, get("-o", "/dev/full"))


def test_a_reader_that_goes_away(get, server):
    server.file = os.urandom(1_000_000)
    process = get.start("-o", "-")
    process.stdout.close()
    assert process.wait(DEADLINE) == 5


# Waiting ends.

@pytest.mark.parametrize("sig", [signal.SIGINT, signal.SIGTERM])
def test_an_interrupt_tells_how_to_take_it_up_again(get, server, sig):
    def waiting(reply):
        reply.created()
        server.released.wait(DEADLINE)
    server.script["POST /downloads"] = [waiting]
    process = get.start("-o", "it's.csv")
    wait_until(lambda: server.requests)
    line = b""
    while b"queue" not in line:
        line = process.stderr.readline()
        assert line, "ended early"
    process.send_signal(sig)
    text = process.communicate(timeout=DEADLINE)[1].decode()
    assert process.returncode == 130
    assert get.files() == []
    words = shlex.split(text.strip().splitlines()[-1])
    assert words == ["downloads-server", "get", "--server", server.url, "--user", "u", "--org", "o", "--download", ID,
                     "-o", "it's.csv"]
    server.script[EVENTS] = [snapshot_then_complete]
    result = subprocess.run(PROGRAM + words[2:], cwd=get.folder, env=get.environment, capture_output=True,
                            timeout=DEADLINE)
    get.expect(0, result)
    assert get.files() == ["it's.csv"]


def test_an_interrupt_in_the_transfer_leaves_no_part_of_a_file(get, server):
    def stuck(reply):
        file_cut_at(5)(reply)
        server.released.wait(DEADLINE)
    server.script[FILE] = [stuck]
    process = get.start("-o", "out.csv")
    wait_until(lambda: server.asked(FILE))
    process.send_signal(signal.SIGINT)
    assert process.wait(DEADLINE) == 130
    assert get.files() == []


def test_a_timeout(get, server):
    def waiting(reply):
        reply.created()
        server.released.wait(DEADLINE)
    server.script["POST /downloads"] = [waiting]
    text = get.expect(1, get("--timeout", "1"))
    assert "--timeout" in text and f"--download {ID}" in text


# On a terminal.

def on_terminal(get, server, columns=100, **environment):
    """Runs with a terminal as standard error; returns the exit code and what was drawn. The stream goes on only once a
    frame with 50 % has been seen."""
    def steps(reply):
        reply.created()
        reply.status("Processing query...", 2)
        reply.progress(50, 1234567, 4_000_000)
        server.released.wait(DEADLINE)
        reply.complete()
    server.script["POST /downloads"] = [steps]
    get.environment.update(environment)
    try:
        master, slave = pty.openpty()
    except OSError as e:
        pytest.skip(f"no pseudo-terminal here: {e}")
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 24, columns, 0, 0))
    process = subprocess.Popen(get.command("-o", "out.csv"), cwd=get.folder, env=get.environment, stderr=slave)
    os.close(slave)
    drawn = b""
    deadline = time.monotonic() + DEADLINE
    while time.monotonic() < deadline:
        if not select.select([master], [], [], 1)[0]:
            continue
        try:
            piece = os.read(master, 65536)
        except OSError:  # the last of its users has closed it
            break
        drawn += piece
        if b"50 %" in drawn:
            server.released.set()
    os.close(master)
    return process.wait(DEADLINE), drawn.decode()


def frames(drawn):
    plain = re.sub(r"\033\[\?25[lh]", "", drawn)
    plain = re.sub(r"\033\[\d*m", "", plain)
    return [f for f in re.split(r"\r|\033\[K|\n", plain) if f]


def test_a_bar_on_a_terminal(get, server):
    code, drawn = on_terminal(get, server)
    assert code == 0
    assert "█" in drawn and "\033[36m" in drawn
    frame = next(f for f in frames(drawn) if "50 %" in f)
    assert frame.startswith("Processing query...") and "1,234,567 rows" in frame and "4.00 MB" in frame
    assert all(len(f) < 100 for f in frames(drawn) if "%" in f)
    assert drawn.rindex("\033[?25h") > drawn.rindex("\033[?25l")


def test_the_bar_keeps_to_a_narrow_terminal_in_ascii_without_colour(get, server):
    code, drawn = on_terminal(get, server, columns=60, LC_ALL="C", NO_COLOR="1")
    assert code == 0
    assert drawn.isascii() and not re.search(r"\033\[\d*m", drawn)
    bars = [f for f in frames(drawn) if "50 %" in f]
    assert bars and all(len(f) < 60 for f in bars) and any("#" in f for f in bars)


def test_a_dumb_terminal_gets_lines(get, server):
    server.released.set()
    code, drawn = on_terminal(get, server, TERM="dumb")
    assert code == 0
    assert "\033" not in drawn and "Processing query...\r\n" in drawn
