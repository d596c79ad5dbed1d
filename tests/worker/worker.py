"""Runs jobs through the real worker by the driver that plays the server (play_server.h)."""
import json
import os
import pathlib
import subprocess

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILD = pathlib.Path(os.environ.get("BUILD_DIR", ROOT / "build")).resolve()
WORKER = BUILD / "downloads-worker"
DRIVER = BUILD / "tests" / "worker_driver"
DUCKDB_RUN = BUILD / "tools" / "duckdb_run"


def make_source(path, *statements):
    subprocess.run([DUCKDB_RUN, path, *statements], check=True)
    return path


class Job:
    """The driver's line of JSON as attributes, and the file's bytes."""

    def __init__(self, line, data):
        self.__dict__.update(line)
        self.data = data


START = {}  # options of every job: how its worker is started


@pytest.fixture(autouse=True, params=["exec", "template"])
def start(request):
    """For suites that hold a worker to the same, however it was started."""
    START["template"] = int(request.param == "template")
    yield request.param
    START.clear()


def run_job(source, sql, tmp_path, **options):
    """Every job must keep to the protocol and leave no spill file, whatever becomes of its query."""
    out, query = tmp_path / "out.csv", tmp_path / "query.sql"
    query.write_text(sql)
    command = [DRIVER, "--worker", WORKER, "--source", source, "--sql-file", query, "--out", out]
    for name, value in (START | options).items():
        command += ["--" + name.replace("_", "-"), str(value)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode in (0, 1), done.stderr
    return Job(json.loads(done.stdout), out.read_bytes())
