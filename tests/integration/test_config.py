"""Configuration: all problems at once, the file and the environment, and the documents that list it."""
import os
import re
import subprocess

import pytest

from service import ROOT, SERVER

# The seed's file.
SEED = """# Server Configuration
GOPIE_DS_SERVER_HOST=localhost
GOPIE_DS_SERVER_PORT=8000

GOPIE_DS_S3_ACCESS_KEY=minioadmin
GOPIE_DS_S3_SECRET_KEY=minioadmin
GOPIE_DS_S3_REGION=us-east-1
GOPIE_DS_S3_ENDPOINT=http://localhost:9000
GOPIE_DS_S3_BUCKET=downloads
GOPIE_DS_S3_SSL=false

GOPIE_DS_LOGGER_LEVEL=info
GOPIE_DS_LOGGER_FILE=gopie.log
GOPIE_DS_LOGGER_MODE=dev # 'dev' for pretty console logs, 'prod' for JSON

GOPIE_DS_MOTHERDUCK_DB_NAME=your_db_name
GOPIE_DS_MOTHERDUCK_TOKEN=your_motherduck_token

GOPIE_DS_POSTGRES_HOST=localhost
GOPIE_DS_POSTGRES_PORT=5432
GOPIE_DS_POSTGRES_DB=gopie_sas
GOPIE_DS_POSTGRES_USER=postgres
GOPIE_DS_POSTGRES_PASSWORD=postgres

GOPIE_DS_QUEUE_WORKERS=10  # Number of concurrent download jobs
GOPIE_DS_QUEUE_SIZE=1000   # Max number of jobs waiting in the queue
"""


def run(directory, *arguments, **variables):
    environment = {k: v for k, v in os.environ.items() if not k.startswith("GOPIE_DS_")}
    environment |= {"GOPIE_DS_" + k: str(v) for k, v in variables.items()}
    return subprocess.run([SERVER, *arguments], cwd=directory, env=environment, capture_output=True, text=True, timeout=30)


def names():
    return run(ROOT, "serve", "--print-names").stdout.split()


def test_all_problems_are_told_at_once(tmp_path):
    done = run(tmp_path, SERVER_PORT="many", QUEUE_WORKERS="0", LOGGER_LEVEL="loud", S3_URL_EXPIRY="8d", SANDBOX="maybe",
               CORS_ORIGINS="everybody")
    assert done.returncode == 2
    for name, was, allowed in (("SERVER_PORT", "'many'", "0 to 65535"), ("QUEUE_WORKERS", "'0'", "1 to 256"), ("LOGGER_LEVEL", "'loud'", "debug"),
                               ("S3_URL_EXPIRY", "'8d'", "604800"), ("SANDBOX", "'maybe'", "best-effort"), ("CORS_ORIGINS", "'everybody'", "https://"),
                               ("DUCKDB_PATH", "missing", "DuckDB file")):
        line = next(line for line in done.stderr.splitlines() if "GOPIE_DS_" + name in line)
        assert was in line and allowed in line


def test_the_seeds_file_is_a_configuration(tmp_path):
    """Its services are not there; each is named with what is wrong."""
    (tmp_path / "config.env").write_text(SEED.replace("=5432", "=1").replace(":9000", ":1"))
    done = run(tmp_path, "serve", "--check-config")
    assert done.returncode == 1, done.stderr
    for what in ("job store", "files", "extension"):
        assert f"{what:<12} FAILED" in done.stdout, done.stdout
    assert "your_motherduck_token" not in done.stdout + done.stderr


def test_what_a_chosen_service_misses_is_told(tmp_path):
    done = run(tmp_path, S3_BUCKET="downloads", POSTGRES_HOST="db")
    for name in ("S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_ENDPOINT", "POSTGRES_DB", "POSTGRES_USER"):
        assert f"GOPIE_DS_{name}: missing" in done.stderr


def test_the_environment_wins_over_the_file(tmp_path, source):
    (tmp_path / "config.env").write_text(f"GOPIE_DS_DUCKDB_PATH={source} # the shop\nGOPIE_DS_QUEUE_WORKERS=0\n")
    assert run(tmp_path, "serve", "--check-config").returncode == 2
    assert run(tmp_path, "serve", "--check-config", QUEUE_WORKERS="3").returncode == 0


def test_check_config_says_what_answers(tmp_path, source):
    done = run(tmp_path, "serve", "--check-config", DUCKDB_PATH=source)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[:4]] == ["data", "job", "files", "source"]
    assert list(tmp_path.iterdir()) == []  # it only looks
    assert run(tmp_path, "serve", "--check-config", DUCKDB_PATH=tmp_path / "none").returncode == 1


def test_check_config_beside_a_server_and_behind_it(service, tmp_path, source):
    server = service()
    server.run("SELECT 1")
    done = run(tmp_path, "serve", "--check-config", DUCKDB_PATH=source)
    assert done.returncode == 0 and "in use by another downloads-server" in done.stdout
    assert server.stop() == 0
    done = run(tmp_path, "serve", "--check-config", DUCKDB_PATH=source)
    assert done.returncode == 0
    assert [line.split()[0] for line in done.stdout.splitlines()[:4]] == ["data", "job", "files", "source"]
    (tmp_path / "data" / "jobs.db").write_bytes(b"no database" * 1000)
    done = run(tmp_path, "serve", "--check-config", DUCKDB_PATH=source)
    assert done.returncode == 1 and "job store    FAILED" in done.stdout


@pytest.mark.parametrize("arguments, status, stream, text", [
    (["--help"], 0, "stdout", "downloads-server get"), (["serve", "--help"], 0, "stdout", "GOPIE_DS_SERVER_PORT"), (["get", "--help"], 0, "stdout", "--sql"),
    (["version"], 0, "stdout", "downloads-server "), (["version", "--help"], 0, "stdout", "downloads-server"), (["nonsense"], 2, "stderr", "unknown command"),
    (["serve", "--nonsense"], 2, "stderr", "--help"), (["serve", "more"], 2, "stderr", "more")])
def test_the_command_line(tmp_path, arguments, status, stream, text):
    done = run(tmp_path, *arguments)
    assert done.returncode == status and text in getattr(done, stream)


@pytest.mark.parametrize("document", ["config.env.example", "README.md"])
def test_every_variable_is_documented(document):
    text = (ROOT / document).read_text()
    missing = [name for name in names() if not re.search(rf"\b{name}\b", text)]
    assert not missing and len(names()) > 30


def test_the_example_is_a_file_that_can_be_used(tmp_path, source):
    (tmp_path / "config.env").write_text((ROOT / "config.env.example").read_text())
    assert run(tmp_path, "serve", "--check-config", DUCKDB_PATH=source).returncode == 0


def test_a_bound_of_an_organisation_beyond_the_queues_is_only_noted(tmp_path, source):
    done = run(tmp_path, "serve", "--check-config", DUCKDB_PATH=source, QUEUE_SIZE=10, ORG_MAX_QUEUED=11)
    assert done.returncode == 0 and "GOPIE_DS_ORG_MAX_QUEUED is 11, but only 10" in done.stdout + done.stderr
    for size in (1, 10):  # the default is never beyond it
        done = run(tmp_path, "serve", "--check-config", DUCKDB_PATH=source, QUEUE_SIZE=size)
        assert done.returncode == 0 and "ORG_MAX_QUEUED" not in done.stdout + done.stderr
