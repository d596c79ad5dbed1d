"""Spares over real workers: the suite of suite_worker_pool.c, plain and under the sanitizers."""
import os
import subprocess

import pytest

from worker import ROOT, WORKER, make_source

BUILDS = [name for name in ("build", "build-sanitize") if (ROOT / name / "tests" / "suite_worker_pool").exists()]


@pytest.mark.parametrize("build", BUILDS)
def test_pool(build, tmp_path):
    source = make_source(tmp_path / "source.duckdb", "CREATE TABLE t AS SELECT 1 AS x")
    done = subprocess.run([ROOT / build / "tests" / "suite_worker_pool"], capture_output=True, text=True, timeout=240,
                          env=os.environ | {"WORKER": str(WORKER), "SOURCE": str(source)})
    assert done.returncode == 0, done.stdout + done.stderr
