"""The real client against the real server."""
import hashlib
import subprocess

import pytest

from service import SERVER


def get(server, directory, *arguments):
    return subprocess.run([SERVER, "get", "--server", f"http://127.0.0.1:{server.port}", "--user", "ann", "--org", "acme", *arguments],
                          cwd=directory, capture_output=True, timeout=60)


def test_a_query_becomes_a_file(shared, tmp_path):
    done = get(shared, tmp_path, "--sql", "SELECT * FROM t", "-o", "t.csv")
    assert done.returncode == 0, done.stderr
    record = shared.get("/downloads?limit=1")[0]
    data = (tmp_path / "t.csv").read_bytes()
    assert hashlib.sha256(data).hexdigest() == record["sha256"] and data.count(b"\n") == 100_001
    assert [p.name for p in tmp_path.iterdir()] == ["t.csv"]


def test_standard_output_and_links(shared, tmp_path):
    assert get(shared, tmp_path, "--sql", "SELECT 1 AS a", "-o", "-").stdout == b"a\n1\n"
    done = get(shared, tmp_path, "--sql", "SELECT 1 AS a", "--print-link")
    assert shared.fetch(done.stdout.decode().strip()).body == b"a\n1\n"


def test_a_query_that_fails(shared, tmp_path):
    done = get(shared, tmp_path, "--sql", "SELECT nothing", "-o", "x.csv")
    assert done.returncode == 1 and b"nothing" in done.stderr and list(tmp_path.iterdir()) == []


def test_taking_a_download_up_again(shared, tmp_path):
    stream, job = shared.begin("SELECT 5 AS a")
    list(stream.events())
    assert get(shared, tmp_path, "--download", job, "-o", "-").stdout == b"a\n5\n"


def test_a_restart_in_between_is_lived_through(service, tmp_path):
    server = service(SHUTDOWN_GRACE="100ms")
    client = subprocess.Popen([SERVER, "get", "--server", f"http://127.0.0.1:{server.port}", "--user", "ann", "--org", "acme", "--sql",
                               "SELECT i, repeat('x', 50) AS pad FROM range(8000000) r(i)", "-o", "big.csv"], cwd=tmp_path, stderr=subprocess.PIPE)
    server.wait_worker()
    server.stop()
    server.environment["GOPIE_DS_SERVER_PORT"] = str(server.port)  # where the client looks for it
    server.start()
    client.communicate(timeout=60)
    assert client.returncode == 0
    record = server.get("/downloads?limit=1")[0]
    assert record["attempt"] == 2
    assert hashlib.sha256((tmp_path / "big.csv").read_bytes()).hexdigest() == record["sha256"]


def test_nobody_there(tmp_path):
    done = subprocess.run([SERVER, "get", "--server", "http://127.0.0.1:1", "--user", "u", "--org", "o", "--sql", "SELECT 1", "--wait", "1"],
                          cwd=tmp_path, capture_output=True, timeout=60)
    assert done.returncode == 3 and done.stderr


@pytest.mark.parametrize("form, suffix", [((), "csv"), (("--compression", "gzip"), "csv.gz"), (("--format", "jsonl", "--compression", "zstd"), "ndjson.zst"),
                                          (("--format", "excel"), "xlsx"), (("--format", "parquet", "--option", "row_group_size=4096"), "parquet")])
def test_a_file_gets_the_name_that_the_server_has_for_it(shared, tmp_path, form, suffix):
    done = get(shared, tmp_path, "--sql", "SELECT * FROM t LIMIT 100", *form)
    assert done.returncode == 0, done.stderr
    record = shared.get("/downloads?limit=1")[0]
    assert [p.name for p in tmp_path.iterdir()] == [f"{record['id']}.{suffix}"]
    assert hashlib.sha256((tmp_path / record["filename"]).read_bytes()).hexdigest() == record["sha256"]


def test_options_and_limits(shared, tmp_path):
    done = get(shared, tmp_path, "--sql", "SELECT i AS a, NULL AS b FROM range(5) r(i)", "-o", "-", "--option", "delimiter=;", "--option", r"null=\N",
               "--option", "header=false", "--option", r"line_ending=\r\n", "--row-limit", "2")
    assert (done.returncode, done.stdout) == (0, b"0;\\N\r\n1;\\N\r\n")
    assert done.stderr.decode().endswith("the file ends at a limit: 2 rows\n")


def test_what_there_is_not_is_told_in_the_servers_words(shared, tmp_path):
    for more, says in ((("--format", "docx"), b"unknown format 'docx'"), (("--compression", "rar"), b"unknown compression 'rar'"),
                       (("--option", "nonsense=1"), b"unknown option 'nonsense' for the format csv"),
                       (("--format", "parquet", "--option", "row_group_size=1"), b"option row_group_size must be a whole number from 2048")):
        done = get(shared, tmp_path, "--sql", "SELECT 1", *more)
        assert done.returncode == 1 and says in done.stderr
    assert list(tmp_path.iterdir()) == []
