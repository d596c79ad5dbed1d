"""MotherDuck's real extension, without MotherDuck: each way in which it fails ends the job in time and says what to do."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

import pytest

from motherduck import PLACE, TOKEN, leaves_nothing
from service import SERVER


@pytest.fixture
def place(public):
    """Puts an extension where the workers look, or elsewhere; returns the directory."""

    def put(source, where=PLACE):
        directory = public / "extensions"
        (directory / where).parent.mkdir(parents=True)
        shutil.copyfile(source, directory / where)
        return directory

    return put


def fails(serve, directory, text):
    """The job's error, and what --check-config says, which must be the same."""
    service = serve(directory, DUCKDB_UNSIGNED_EXTENSIONS="false")
    last = service.run("SELECT 1")
    assert last.type == "error" and text in last.data["message"], last.data
    assert str(directory) not in last.data["message"]
    record = service.get(f"/downloads/{last.data['download_id']}")
    assert text in record["error_message"] and record["status"] == "failed"
    leaves_nothing(service)
    checked = subprocess.run([SERVER, "serve", "--check-config"], env=service.environment, cwd=directory,
                             capture_output=True, text=True, timeout=60)
    assert checked.returncode == 1 and text in checked.stdout, checked.stdout
    return service


def test_absent(serve, public):
    service = fails(serve, public, "MotherDuck's extension for DuckDB v1.5.5 (linux_amd64) is not installed: "
                                   "run tools/fetch-motherduck")
    assert any("warn" in line and "is not installed" in line for line in service.log)  # at the start, which succeeds


def test_for_another_version(serve, place, wrapper):
    directory = place(wrapper, pathlib.Path("v1.4.4") / "linux_amd64" / PLACE.name)
    fails(serve, directory, "is not installed (there is one for v1.4.4)")


def test_for_another_version_in_the_place_of_ours(serve, place, wrapper, tmp_path):
    altered = tmp_path / "altered"
    data = wrapper.read_bytes()
    assert data[-352:-346] == b"v1.5.5"
    altered.write_bytes(data[:-352] + b"v1.4.4" + data[-346:])
    fails(serve, place(altered), "MotherDuck's extension is for DuckDB v1.4.4 (linux_amd64), this is DuckDB v1.5.5")


def test_tampered(serve, place, wrapper, tmp_path):
    altered = tmp_path / "altered"
    data = bytearray(wrapper.read_bytes())
    data[len(data) // 2] ^= 1
    altered.write_bytes(data)
    fails(serve, place(altered), "its maker's signature does not hold")


def test_not_an_extension(serve, place, tmp_path):
    text = tmp_path / "text"
    text.write_text("x" * 10000)
    fails(serve, place(text), "is no extension of DuckDB")


def test_a_client_beside_it_is_used(serve, place, wrapper):
    """Not fetched, that is: this one cannot be loaded, which is told at once and without a network."""
    directory = place(wrapper)
    (directory / PLACE).with_name("motherduck_impl.v9.duckdb_extension").write_bytes(b"x" * 10000)
    service = serve(directory, DUCKDB_UNSIGNED_EXTENSIONS="false")
    last = service.run("SELECT 1")
    assert "MotherDuck's extension cannot be loaded" in last.data["message"]


@pytest.mark.skipif(os.geteuid() != 0, reason="who is not root is the workers' user itself")
def test_not_readable(serve, place, wrapper):
    directory = place(wrapper)
    (directory / PLACE).chmod(0o600)
    service = serve(directory, DUCKDB_UNSIGNED_EXTENSIONS="false")
    last = service.run("SELECT 1")
    assert "cannot be read by the workers' user (GOPIE_DS_WORKER_USER)" in last.data["message"]


def test_no_network(place, wrapper, tmp_path):
    script = pathlib.Path(__file__).with_name("no_network.py")
    alone = ["unshare", "-n"] if os.geteuid() == 0 else []
    home = tmp_path / "home"
    home.mkdir()
    done = subprocess.run(alone + [sys.executable, script, home, place(wrapper), TOKEN], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    last = json.loads(done.stdout)
    assert last["type"] == "error" and "cannot reach MotherDuck over the network" in last["message"], last
