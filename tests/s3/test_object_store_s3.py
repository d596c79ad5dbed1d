"""The shared suite of the object stores, on a real S3 server (Swift), from every build that there is."""
import glob
import os
import subprocess

import pytest

from conftest import ROOT
from look import Look

PROGRAMS = sorted(glob.glob(f"{ROOT}/build*/tests/suite_object_store_s3"))


def run_suite(program, swift, **environment):
    look = Look(swift)
    try:
        done = subprocess.run([program], capture_output=True, text=True, timeout=300,
                              env={**os.environ, **swift.environment(), "LOOK_URL": look.url,
                                   "UBSAN_OPTIONS": "halt_on_error=1", **environment})
        assert done.returncode == 0, done.stdout[-4000:] + done.stderr[-8000:]
        assert look.uploads() == [] and swift.keys() == []
    finally:
        look.close()


def test_there_is_a_program():
    assert PROGRAMS


@pytest.mark.parametrize("program", PROGRAMS, ids=lambda p: p[len(ROOT) + 1:].split("/")[0])
def test_http_path_style(program, swift):
    run_suite(program, swift)


def test_https_with_an_authority_of_its_own(swift_tls):
    run_suite(PROGRAMS[0], swift_tls)


def test_virtual_host_style(swift):
    """bucket.localhost is loopback for every resolver (RFC 6761)."""
    run_suite(PROGRAMS[0], swift, S3_ADDRESSING="virtual", S3_ENDPOINT=f"localhost:{swift.port}")
