#!/usr/bin/python3
"""Every format at one size of output: what a download costs, beside DuckDB's own writer to a file.

    bench/formats.py [--bytes 2e9] [--rounds 1] [--only csv,json,...] [--rows N] [--ours]

The rows are lineitem's, as many as give a file of about so many bytes; the embedded default (SQLite, local directory) stores it.
DuckDB's extension excel writes one sheet, 1,048,575 rows: so it is asked for no more, and ours beside it for as many (`xlsx 1M`).
Peaks are of RssAnon. Prints a table."""
import argparse
import contextlib
import os
import pathlib
import statistics
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / ".cache" / "bench"
sys.path[:0] = [str(HERE), str(ROOT / "tests")]

import tables  # noqa: E402
from measure import Server  # noqa: E402
from opponents import Opponents  # noqa: E402
from service import BUILD  # noqa: E402

SHEET = 1_048_575
EXCEL = ["--extension", str(CACHE / "extensions" / "excel.duckdb_extension")]
# name: members of the request, the options of COPY, those of the opponent's program
FORMATS = {
    "csv": ({"format": "csv"}, "FORMAT csv, HEADER", []),
    "csv.gz": ({"format": "csv", "compression": "gzip"}, "FORMAT csv, HEADER, COMPRESSION gzip", []),
    "csv.zst": ({"format": "csv", "compression": "zstd"}, "FORMAT csv, HEADER, COMPRESSION zstd", []),
    "json": ({"format": "json"}, "FORMAT json, ARRAY true", []),
    "ndjson": ({"format": "ndjson"}, "FORMAT json", []),
    "ndjson.gz": ({"format": "ndjson", "compression": "gzip"}, "FORMAT json, COMPRESSION gzip", []),
    "parquet": ({"format": "parquet"}, "FORMAT parquet, CODEC zstd", []),
    "parquet snappy": ({"format": "parquet", "compression": "snappy"}, "FORMAT parquet, CODEC snappy", []),
    "parquet limited": ({"format": "parquet", "row_limit": 10**15}, "FORMAT parquet, CODEC zstd", []),
    "xlsx": ({"format": "xlsx"}, None, []),
    "xlsx 1M": ({"format": "xlsx"}, "FORMAT xlsx, HEADER true", EXCEL),
}


def both(pair):
    return sum(pair)


def main():
    parser = argparse.ArgumentParser(description="Every format beside DuckDB's own writer.")
    parser.add_argument("--bytes", type=float, default=2e9, help="of each file, about")
    parser.add_argument("--rows", type=int, help="instead of a size")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--memory", default="1GB", help="the engine's limit, of both")
    parser.add_argument("--ours", action="store_true", help="ours alone: DuckDB's gzip of 2 GB takes minutes")
    parser.add_argument("--only", help="formats, with commas: " + ", ".join(FORMATS))
    options = parser.parse_args()
    names = options.only.split(",") if options.only else list(FORMATS)
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run([ROOT / "tools" / "fetch-excel", CACHE / "extensions"], check=True)
    source, rows = tables.make(os.path.join(BUILD, "tools", "duckdb_run"), CACHE, "default")
    threads = min(4, len(os.sched_getaffinity(0)))
    print("| format | rows | bytes | ours: wall s | CPU s | DuckDB: wall s | CPU s | worker MiB | server MiB | DuckDB MiB |\n"
          "| --- | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: | ---: |", flush=True)
    with contextlib.ExitStack() as stack:
        work = stack.enter_context(tempfile.TemporaryDirectory(dir=CACHE))
        tempfile.tempdir = work
        ours = Server(stack, source, "ours", None, threads, options.memory)
        other = Opponents(BUILD, CACHE, source, None, threads, options.memory)
        for name in names:
            form, copy, more = FORMATS[name]
            count = options.rows
            if not count:
                sample = 300_000
                count = int(options.bytes / ours.run(tables.lines(sample, rows["lineitem"]), **form)["bytes"] * sample)
            count = min(count, SHEET) if more else count
            sql, path = tables.lines(count, rows["lineitem"]), os.path.join(work, "copy")
            seen, copied = [], []
            for _ in range(options.rounds):
                seen.append(ours.run(sql, **form))
                if copy and not options.ours:
                    copied.append(other.copy("copy", sql, path, *more, form=copy))
                    os.unlink(path)
            median = statistics.median
            cpu = median(both(r["cpu"]["server"]) + both(r["cpu"]["worker"]) for r in seen)
            theirs = [f"{median(r['wall'] for r in copied):.1f}", f"{median(both(r['cpu']['process']) for r in copied):.1f}"] if copied else ["-", "-"]
            peak = f"{max(r['peak']['process'] for r in copied) / 1024:.0f}" if copied else "-"
            print(f"| {name} | {count:,} | {seen[0]['bytes']:,} | {median(r['wall'] for r in seen):.1f} | {cpu:.1f} | {theirs[0]} | {theirs[1]} |"
                  f" {max(r['peak']['worker'] for r in seen) / 1024:.0f} | {max(r['peak']['server'] for r in seen) / 1024:.1f} | {peak} |", flush=True)


if __name__ == "__main__":
    main()
