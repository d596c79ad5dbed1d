"""Real servers, workers, PostgreSQL and S3 server, and everything that can go wrong with them (settings.py: the variables)."""
import functools
import pathlib
import sys

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / name) for name in ("integration", "services", "s3")] + [str(TESTS)]

import report  # noqa: E402
from load import Expected  # noqa: E402
from peers.postgres import Postgres  # noqa: E402
from peers.swift import Swift  # noqa: E402
from place import Place  # noqa: E402
from scene import Scene  # noqa: E402
from service import make_source  # noqa: E402
from verdict import Counts  # noqa: E402


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("source") / "source.duckdb", "CREATE TABLE t AS SELECT 1 AS a")


@pytest.fixture(scope="session")
def expected(tmp_path_factory):
    return Expected(tmp_path_factory.mktemp("expected"))


@pytest.fixture(scope="session")
def postgres():
    with Postgres() as peer:
        yield peer


@pytest.fixture(scope="session")
def swift():
    with Swift() as peer:
        yield peer


@pytest.fixture
def stage(tmp_path, source, postgres, swift, expected, counts):
    """Makes scenes: stage(count=2, ...) with the variables of a Cluster."""
    return functools.partial(Scene, lambda: Place(tmp_path, source, postgres, swift), expected, counts)


@pytest.fixture
def counts(request):
    report.ALL.append(Counts(request.node.name.removeprefix("test_")))
    return report.ALL[-1]


def pytest_terminal_summary(terminalreporter):
    for line in report.lines():
        terminalreporter.write_line(line)
