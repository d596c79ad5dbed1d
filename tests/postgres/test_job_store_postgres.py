"""The suite that every job store passes, against a real PostgreSQL: on our table and on gopie's, directly and through
PgBouncer, as it is built and under the sanitizers."""

import os
import subprocess

import pytest

from store import BUILD, ROOT

SANITIZED = ROOT / "build-sanitize"
CASES = [(BUILD, "ours", False), (BUILD, "ours", True), (BUILD, "gopies", False), (BUILD, "gopies", True),
         (SANITIZED, "ours", False), (SANITIZED, "gopies", True)]


@pytest.mark.parametrize("build, table, pooled", [c for c in CASES if (c[0] / "tests" / "suite_job_store_postgres").exists()],
                         ids=lambda v: getattr(v, "name", str(v)))
def test_suite(request, pg, bouncer, build, table, pooled):
    database = request.getfixturevalue("database" if table == "ours" else "gopies")
    where = bouncer if pooled else pg
    env = dict(os.environ, JOB_STORE_HOST=where.host, JOB_STORE_PORT=str(where.port), JOB_STORE_DB=database,
               JOB_STORE_USER=where.user, JOB_STORE_PASSWORD=where.password, UBSAN_OPTIONS="halt_on_error=1")
    done = subprocess.run([build / "tests" / "suite_job_store_postgres"], env=env, timeout=300, check=False,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 0, done.stdout[-6000:]
    kind = pg.execute("SELECT data_type FROM information_schema.columns WHERE table_name = 'downloads'"
                      " AND column_name = 'status'", dbname=database)
    assert kind == [("text" if table == "ours" else "USER-DEFINED",)]
