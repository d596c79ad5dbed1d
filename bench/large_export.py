"""A CSV of 2 GB: bytes against DuckDB's own COPY, peak memory of worker and server, wall time and CPU seconds.

    /usr/bin/python3 bench/large_export.py [--services] [ROWS [MEMORY_LIMIT]]

With --services jobs are in a real PostgreSQL, and the file in a real S3 server (OpenStack Swift; as root), from where
boto3 reads it back; both are started here (tools/install-packages test)."""
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time

from service import BUILD, Peaks, Service, cpu_seconds, download_request, file_blocks, read_stream, sha256, stores_of, wait_until

COLUMNS = """i AS id, i % 7 AS kind, i * 1.25 AS price, (i * 37 % 1000)::DECIMAL(18,2) / 100 AS tax,
'customer ' || (i % 5000) AS customer, DATE '2020-01-01' + (i % 2000)::INT AS day,
TIMESTAMP '2024-01-01' + INTERVAL (i) SECOND AS at, CASE WHEN i % 11 = 0 THEN NULL ELSE 'text, with "quotes" ' || i END AS note"""


def children_cpu():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def main():
    numbers = [a for a in sys.argv[1:] if a != "--services"]
    rows = int(numbers[0]) if numbers else 20_000_000
    memory = numbers[1] if len(numbers) > 1 else "256MB"
    with contextlib.ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="downloads-bench-"))
        stores = stores_of(sys.argv, stack)
        source, own = os.path.join(directory, "source.duckdb"), os.path.join(directory, "copy.csv")
        run = os.path.join(BUILD, "tools/duckdb_run")
        subprocess.run([run, source, f"CREATE TABLE t AS SELECT {COLUMNS} FROM range({rows}) r(i)"], check=True)
        before, begun = children_cpu(), time.monotonic()
        subprocess.run([run, source, f"SET memory_limit='{memory}'", "SET threads=2",
                        f"COPY (SELECT * FROM t) TO '{own}' (FORMAT csv, HEADER)"], check=True)
        copy_wall, copy_cpu = time.monotonic() - begun, children_cpu() - before
        size, expected = os.path.getsize(own), sha256(file_blocks(own))
        os.unlink(own)

        service = Service(source, QUEUE_WORKERS=1, WORKER_MEMORY=memory, WORKER_THREADS=2, **stores.variables)
        peaks, begun = Peaks(service), time.monotonic()
        sock = service.connect()
        sock.sendall(download_request("SELECT * FROM t"))
        answer = read_stream(sock)
        wall = time.monotonic() - begun
        peaks.stop()
        last = json.loads([line for line in answer.split(b"\n") if line.startswith(b"data: ")][-1][6:])
        wait_until(lambda: not service.workers(), 10, "the end of the worker")
        with open(f"/proc/{service.pid}/stat") as f:
            fields = f.read().rsplit(")", 1)[1].split()
        worker_cpu = (int(fields[13]) + int(fields[14])) / os.sysconf("SC_CLK_TCK")
        server_cpu = cpu_seconds(service.pid)
        stored = [sha256(blocks) for blocks in stores.blocks(service)]
        open_uploads = stores.open_uploads()
        equal = last["type"] == "complete" and stored == [expected] == [last["sha256"]]
        print(f"{rows} rows, {size} bytes, memory_limit {memory}")
        print(f"SHA-256 of the file, of the event and of DuckDB's COPY: {'equal' if equal else 'DIFFERENT'} ({expected})")
        print(f"files stored: {len(stored)}; uploads left open: {len(open_uploads)}")
        print(f"peak RssAnon: worker {peaks.worker / 1024:.0f} MiB, server {peaks.server / 1024:.0f} MiB")
        print(f"wall {wall:.1f} s; CPU seconds: worker {worker_cpu:.1f}, server {server_cpu:.1f}; "
              f"{(worker_cpu + server_cpu) / size * 1e9:.1f} a GB")
        print(f"DuckDB's COPY to a file: wall {copy_wall:.1f} s, CPU seconds {copy_cpu:.1f}")
        service.stop()
        return 0 if equal and not open_uploads else 1


sys.exit(main())
