"""Files of every format, made by the real worker, and read back by DuckDB, pandas and openpyxl."""
import csv
import json
import pathlib
import subprocess
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "worker"), str(ROOT / ".deps" / "python")]
from worker import DRIVER, DUCKDB_RUN, WORKER, make_source  # noqa: E402, F401

PAGE = ROOT / "docs" / "formats.md"
SUFFIXES = {"gzip": ".gz", "zstd": ".zst"}


class Files:
    """Exports of one DuckDB file."""

    def __init__(self, directory, source):
        self.directory, self.source, self.count = directory, source, 0

    def export(self, sql, form, **options):
        """The file, and what the driver says of the job."""
        self.count += 1
        form = {"format": form} if isinstance(form, str) else form
        suffix = "." + form["format"] + (SUFFIXES.get(form.get("compression"), "") if form["format"] != "parquet" else "")
        out, query = self.directory / f"{self.count}{suffix}", self.directory / f"{self.count}.sql"
        query.write_text(sql)
        command = [DRIVER, "--worker", WORKER, "--source", self.source, "--sql-file", query, "--out", out, "--format", json.dumps(form)]
        for name, value in options.items():
            command += ["--" + name.replace("_", "-"), str(value)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        assert done.returncode == 0, done.stdout + done.stderr
        job = json.loads(done.stdout)
        assert job["done"], job["message"]
        return out, job

    def ask(self, sql, *before):
        """The rows of a query, every value as DuckDB's text; None is NULL. `source` is the database, attached."""
        out = self.directory / "answer.csv"
        subprocess.run([DUCKDB_RUN, ":memory:", f"ATTACH '{self.source}' AS source (READ_ONLY)", "USE source", *before,
                        f"COPY (SELECT COLUMNS(*)::VARCHAR FROM ({sql})) TO '{out}' (FORMAT csv, HEADER false, NULLSTR '\x02', FORCE_QUOTE *)"],
                       check=True)
        with open(out, newline="") as f:
            return [tuple(None if v == "\x02" else v for v in row) for row in csv.reader(f)]

    def assert_same_rows(self, one, other, *before):
        """Two queries yield the same rows, equal ones as often."""
        for a, b in ((one, other), (other, one)):
            more = self.ask(f"SELECT count(*) FROM (({a}) EXCEPT ALL ({b}))", *before)
            assert more == [("0",)], f"{more[0][0]} rows only in {a}"
