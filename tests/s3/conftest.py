import os
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(ROOT, "tests", "peers"), HERE]

from swift import Swift  # noqa: E402


@pytest.fixture(scope="session")
def swift():
    with Swift() as s:
        yield s


@pytest.fixture(scope="session")
def swift_tls():
    with Swift(tls=True) as s:
        yield s
