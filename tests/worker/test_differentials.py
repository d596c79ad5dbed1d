"""Random tables in the formats that are not CSV, against the engine's own writers: test_differential.c, which runs for CSV by itself."""
import re
import subprocess

import pytest

from worker import BUILD, ROOT


@pytest.mark.parametrize("form", ["tsv", "json", "ndjson", "parquet"])
def test_random_tables(form):
    done = subprocess.run([BUILD / "tests" / "test_differential", "--format", form, "--count", "60", "--seed", "7"], cwd=ROOT,
                          capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, done.stdout[-2000:] + done.stderr[-2000:]
    assert re.search(r"\b0 different", done.stdout)
