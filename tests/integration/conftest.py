import pytest

from service import Service, make_source


@pytest.fixture(scope="session")
def source(tmp_path_factory):
    return make_source(tmp_path_factory.mktemp("source") / "shop.duckdb",
                       "CREATE TABLE t AS SELECT i AS id, 'name ' || i AS name, i / 4 AS x FROM range(100000) r(i)")


@pytest.fixture(scope="session")
def shared(tmp_path_factory, source):
    """One server for the tests that leave nothing behind."""
    with Service(tmp_path_factory.mktemp("shared"), source) as service:
        yield service


@pytest.fixture
def service(tmp_path, source):
    """Makes servers that the test may ill-treat: `service(QUEUE_SIZE=5)`. All are ended behind it."""
    made = []

    def make(**variables):
        options = dict(variables)
        made.append(Service(options.pop("directory", tmp_path), options.pop("source", source), **options))
        return made[-1].start()

    yield make
    for one in made:
        one.__exit__()
