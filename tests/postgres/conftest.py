import pathlib
import sys

import pytest

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1]))

from peers.gopie import gopie_migrates  # noqa: E402
from peers.pgbouncer import PgBouncer  # noqa: E402
from peers.postgres import Postgres  # noqa: E402
from store import Driver  # noqa: E402


@pytest.fixture(scope="session")
def pg():
    with Postgres() as server:
        yield server


@pytest.fixture(scope="session")
def bouncer(pg):
    with PgBouncer(pg) as b:
        yield b


@pytest.fixture
def database(pg):
    return pg.new_database()


@pytest.fixture
def gopies(pg):
    """A database that gopie-server has been in."""
    name = pg.new_database()
    gopie_migrates(pg, name)
    return name


@pytest.fixture
def store(pg, database):
    """Opens stores on `database`, and closes them behind the test."""
    opened = []

    def make(where=None, name=None, **options):
        opened.append(Driver(where or pg, name or database, **options))
        return opened[-1]

    yield make
    for driver in opened:
        driver.close()
