"""The whole program on its services: a real PostgreSQL and a real S3 server, started here and ended here."""
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "integration"), str(TESTS)]

from peers.postgres import Postgres  # noqa: E402
from peers.swift import Swift  # noqa: E402
from place import Place  # noqa: E402
from service import make_source  # noqa: E402

@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("source") / "shop.duckdb",
                       "CREATE TABLE t AS SELECT i AS id, 'name ' || i AS name, i / 4 AS x FROM range(100000) r(i)")


@pytest.fixture(scope="session")
def postgres():
    with Postgres() as peer:
        yield peer


@pytest.fixture(scope="session")
def swift():
    with Swift() as peer:
        yield peer


@pytest.fixture
def place(tmp_path, source, postgres, swift):
    made = Place(tmp_path, source, postgres, swift)
    yield made
    for server in made.servers:
        if server.process:
            server.__exit__()
