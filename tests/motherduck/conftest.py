import pathlib
import shutil
import subprocess
import tempfile

import pytest

from motherduck import CACHE, PLACE, ROOT, TOKEN, StandIn
from service import Service, make_source


@pytest.fixture(scope="session")
def wrapper():
    """MotherDuck's real extension, as its maker publishes it."""
    subprocess.run([ROOT / "tools" / "fetch-motherduck", CACHE / "extensions"], check=True, timeout=300)
    return CACHE / "extensions" / PLACE


@pytest.fixture
def public():
    """A directory that the workers' user can read, as pytest's own cannot be."""
    directory = pathlib.Path(tempfile.mkdtemp(prefix="downloads-motherduck."))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


@pytest.fixture(scope="session")
def built(tmp_path_factory):
    directory = tmp_path_factory.mktemp("built")
    subprocess.run([ROOT / "tests" / "motherduck" / "standin" / "build", directory / "standin"], check=True, timeout=600)
    data = make_source(directory / "sales.duckdb",
                       "CREATE TABLE t AS SELECT i AS id, 'name ' || i AS name FROM range(1000000) r(i)",
                       "CREATE TABLE kinds AS SELECT 1.50::DECIMAL(4,2) AS d, '2024-01-02 03:04:05+02'::TIMESTAMPTZ AS z, [1, NULL] AS l")
    return directory / "standin", data


@pytest.fixture
def standin(public, built):
    return StandIn(public / "extensions", *built)


@pytest.fixture
def serve(tmp_path):
    """Makes servers on MotherDuck; all are ended behind the test, and have told the token to nobody."""
    made = []

    def make(extensions, **variables):
        home = tmp_path / f"server{len(made)}"
        home.mkdir()
        options = {"MOTHERDUCK_DB_NAME": "sales", "MOTHERDUCK_TOKEN": TOKEN, "MOTHERDUCK_SPARES": 0, "LOGGER_LEVEL": "debug",
                   "MAX_ATTEMPTS": 1,  # one attempt is what is looked at; tests/integration/test_retries.py has more
                   "DUCKDB_EXTENSION_DIR": extensions, "DUCKDB_UNSIGNED_EXTENSIONS": "true"}
        made.append(Service(home, **(options | variables)))
        return made[-1].start()

    yield make
    for one in made:
        if one.process.poll() is None:
            one.stop()
        one.__exit__()
        secret = TOKEN[-20:].encode()
        assert secret not in "".join(one.log).encode()
        for path in one.directory.rglob("*"):
            assert path.is_symlink() or not path.is_file() or secret not in path.read_bytes(), path
