#!/usr/bin/python3
"""Large files of each format, made by a server on the embedded default and read back by others: does all arrive, in how much memory?

    bench/large_formats.py [--only json,ndjson,parquet,wide,xlsx] [--small]

json: 1 GB, `jq -e length`. ndjson, parquet: 6 M rows of lineitem, `EXCEPT ALL` both ways against the table, and for Parquet the
schema of DuckDB's own file. wide: 1,600 columns x 200,000 rows of Parquet, and the worker's memory. xlsx: 2,100,000 rows, sheets
and rows by openpyxl. --small: a hundredth of it. Prints a line each, and fails where a file is not what it should be."""
import argparse
import contextlib
import csv
import os
import pathlib
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / ".cache" / "bench"
sys.path[:0] = [str(HERE), str(ROOT / "tests")]

import tables  # noqa: E402
from measure import Server  # noqa: E402
from service import BUILD  # noqa: E402

RUN = os.path.join(BUILD, "tools", "duckdb_run")
MEMORY = "512MiB"
WIDE_MEMORY = "608MiB"  # a scan of 1,600 columns holds 400 MiB: docs/decisions/parquet.md


class Bench:
    def __init__(self, stack, work, scale):
        self.work, self.scale = pathlib.Path(work), scale
        self.source, self.rows = tables.make(RUN, CACHE, "default")
        self.wide_source = self.work / "wide.duckdb"
        self.stack = stack

    def export(self, source, sql, memory=MEMORY, **form):
        """The file, and what it cost."""
        with contextlib.ExitStack() as stack:
            server = Server(stack, str(source), "ours", None, 2, memory)
            server.clear = lambda: None
            record = server.run(sql, **form)
            files = pathlib.Path(server.service.directory.name) / "data" / "files"
            (path,) = [p for p in files.rglob("*") if p.is_file()]
            kept = self.work / ("file" + "".join(path.suffixes))
            os.replace(path, kept)
        return kept, record | {"memory": memory}

    def ask(self, sql, *before):
        out = self.work / "answer.csv"
        subprocess.run([RUN, ":memory:", "SET memory_limit = '8GB'", f"ATTACH '{self.source}' AS source (READ_ONLY)", "USE source", *before,
                        f"COPY ({sql}) TO '{out}' (FORMAT csv, HEADER false)"], check=True)
        with open(out, newline="") as f:
            return list(csv.reader(f))

    def both_ways(self, one, other):
        for a, b in ((one, other), (other, one)):
            more = self.ask(f"SELECT count(*) FROM (({a}) EXCEPT ALL ({b}))")[0][0]
            if more != "0":
                raise SystemExit(f"{more} rows are only in {a[:200]}")

    def say(self, name, record, words):
        peak = record["peak"]
        print(f"{name}: {record['rows']:,} rows, {record['bytes']:,} bytes in {record['wall']:.1f} s; RssAnon worker {peak['worker'] / 1024:.0f} MiB,"
              f" server {peak['server'] / 1024:.1f} MiB ({record['memory']} for the engine); {words}", flush=True)

    def lines(self, count):
        return tables.lines(count // self.scale, self.rows["lineitem"])

    def json(self):
        path, record = self.export(self.source, self.lines(2_900_000), format="json")
        with open(path, "rb") as f:
            length = subprocess.run(["jq", "-e", "length"], stdin=f, capture_output=True, check=True).stdout.decode().strip()
        if length != str(record["rows"]):
            raise SystemExit(f"jq counts {length}")
        self.say("json", record, f"jq -e length: {length}")

    def ndjson(self):
        sql = self.lines(6_000_000)
        path, record = self.export(self.source, sql, format="ndjson")
        types = self.ask(f"SELECT column_name, column_type FROM (DESCRIBE {sql})")
        columns = ", ".join(f"'{name}': '{kind}'" for name, kind in types)
        self.both_ways(f"FROM read_json('{path}', columns = {{{columns}}})", sql)
        self.say("ndjson", record, "EXCEPT ALL both ways against the table: empty")

    def parquet(self):
        sql = self.lines(6_000_000)
        own = self.work / "own.parquet"
        self.ask("SELECT 1", f"COPY ({sql}) TO '{own}' (FORMAT parquet, CODEC zstd)")
        for name, form in (("parquet", {}), ("parquet, second instance", {"row_limit": 10**12})):
            path, record = self.export(self.source, sql, format="parquet", **form)
            schema = "SELECT name, type, converted_type, logical_type, repetition_type FROM parquet_schema('{}') OFFSET 1"
            if self.ask(schema.format(path)) != self.ask(schema.format(own)) or self.ask(f"FROM (DESCRIBE FROM '{path}')") != self.ask(f"FROM (DESCRIBE FROM '{own}')"):
                raise SystemExit("another schema than DuckDB's own")
            self.both_ways(f"FROM '{path}'", f"FROM '{own}'")
            self.say(name, record, f"DESCRIBE as DuckDB's own, EXCEPT ALL both ways: empty; own file {own.stat().st_size:,} bytes")

    def wide(self):
        rows = 200_000 // self.scale
        kinds = ["i * {n}", "(i * {n} % 1000) / 8.0", "'text ' || i % {n}", "CASE WHEN i % 3 = 0 THEN NULL ELSE i % 128 END"]
        columns = ", ".join(f"{kinds[n % 4].format(n=n + 1)} AS c{n}" for n in range(1600))
        subprocess.run([RUN, self.wide_source, "SET memory_limit = '6GB'", "SET threads = 1",
                        f"CREATE TABLE wide AS SELECT {columns} FROM range({rows}) r(i)", "CHECKPOINT"], check=True)
        path, record = self.export(self.wide_source, "FROM wide", WIDE_MEMORY, format="parquet")
        count = self.ask(f"SELECT count(*), sum(c1599) FROM '{path}'")[0]
        groups = self.ask(f"SELECT max(row_group_num_rows) FROM parquet_metadata('{path}')")[0][0]
        if count[0] != str(rows):
            raise SystemExit(f"{count} rows")
        self.say("wide", record, f"{rows:,} x 1,600 read back; row groups of {groups}")

    def xlsx(self):
        import openpyxl
        rows = 2_100_000 // self.scale
        path, record = self.export(self.source, f"SELECT i AS id, 'name ' || i AS name, i / 4 AS x FROM range({rows}) r(i)", format="xlsx")
        book, counts = openpyxl.load_workbook(path, read_only=True), []
        for sheet in book:
            counts.append(sum(1 for _ in sheet.iter_rows()) - 1)
        if sum(counts) != rows:
            raise SystemExit(f"openpyxl counts {counts}")
        self.say("xlsx", record, f"{len(counts)} sheets of {counts} rows by openpyxl")


def main():
    parser = argparse.ArgumentParser(description="Large files of each format, read back by others.")
    parser.add_argument("--only", default="json,ndjson,parquet,wide,xlsx")
    parser.add_argument("--small", action="store_true")
    options = parser.parse_args()
    CACHE.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(dir=CACHE))
        tempfile.tempdir = work
        bench = Bench(stack, work, 100 if options.small else 1)
        for name in options.only.split(","):
            getattr(bench, name)()


if __name__ == "__main__":
    main()
