import pathlib
import shutil
import subprocess
import sys
import tempfile

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "integration"))

from service import Service, make_source, wait_for  # noqa: E402

CACHE = ROOT / "build" / "motherduck"
TOKEN = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJlbWFpbCI6ImFubkBleGFtcGxlLm9yZyJ9.AbCdEfGhIjKlMnOpQrStUvWxYz0123456789-_aZ"
PLACE = pathlib.Path("v1.5.5") / "linux_amd64" / "motherduck.duckdb_extension"


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


def leaves_nothing(service):
    """Waits until nothing but finished files is left: a spill directory goes just after its job's last event."""

    def nothing():
        try:
            return all(name.startswith("files/") for name in service.files())
        except FileNotFoundError:  # it went while we looked
            return False

    wait_for(nothing, "no file left")


class StandIn:
    """A directory of extensions with the stand-in in it, and what it is told to do."""

    def __init__(self, directory, built, data):
        self.directory = directory
        self.beside = directory / PLACE.parent
        self.beside.mkdir(parents=True)
        shutil.copyfile(built, directory / PLACE)
        shutil.copyfile(data, self.beside / "sales.duckdb")
        self.configure()

    def configure(self, **options):
        lines = [f"{name} {value}\n" for name, value in ({"token": TOKEN} | options).items()]
        new = self.beside / "new.conf"
        new.write_text("".join(lines))
        new.rename(self.beside / "standin.conf")


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
