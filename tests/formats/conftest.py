import pytest

from formats import Files, make_source


def pytest_configure(config):
    config.addinivalue_line("filterwarnings", "ignore::DeprecationWarning:pandas")  # Debian's pandas about its numpy


@pytest.fixture
def files(tmp_path):
    """Of an empty database."""
    return Files(tmp_path, make_source(tmp_path / "source.duckdb", "CREATE TABLE nothing (i INTEGER)"))
