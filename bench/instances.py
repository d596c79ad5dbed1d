#!/usr/bin/python3
"""Throughput of 1, 2 and 4 servers on one PostgreSQL and one S3 server (as root; both real, started here), one worker each, where the
line of each towards the store is narrow (a proxy of ours), so that it and not this machine is what a job waits for.

    /usr/bin/python3 bench/instances.py [JOBS_OF_EACH [MB_A_SECOND [ROUNDS]]]"""
import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
import time

from service import BUILD, Service, Services, cpu_seconds, download_request, median, read_stream

SQL = "SELECT i, repeat('x', 90) AS pad FROM range(640000) r(i)"  # 62 MB


def post(server, answers, i):
    sock = server.connect()
    sock.sendall(download_request(SQL))
    answers[i] = read_stream(sock)


def used(servers):
    """CPU seconds of the servers and of their workers that have ended."""
    def children(pid):
        with open(f"/proc/{pid}/stat", encoding="ascii") as f:
            return sum(int(n) for n in f.read().rsplit(")", 1)[1].split()[13:15]) / os.sysconf("SC_CLK_TCK")
    return sum(cpu_seconds(s.pid) + children(s.pid) for s in servers)


def measure(stack, source, stores, count, jobs, rate):
    """Bytes a second, CPU seconds of all, jobs of each server."""
    from peers.tcp_proxy import NarrowProxy  # tests/ is on the path since Services
    host, _, port = stores.swift.endpoint.rpartition("://")[2].partition(":")
    variables = stores.variables | {"POSTGRES_DB": stores.postgres.new_database()}
    lines = [stack.enter_context(NarrowProxy(host, int(port), rate * 1e6)) for _ in range(count)]
    servers = [Service(source, QUEUE_WORKERS=1, WORKER_MEMORY="256MB", **variables | {"S3_ENDPOINT": f"http://{p.host}:{p.port}"})
               for p in lines]
    answers, before, begun = [None] * jobs * count, used(servers), time.monotonic()
    threads = [threading.Thread(target=post, args=(servers[i % count], answers, i)) for i in range(len(answers))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    seconds = time.monotonic() - begun
    ends = [json.loads([line for line in a.split(b"\n") if line.startswith(b"data: ")][-1][6:]) for a in answers]
    assert all(e["type"] == "complete" for e in ends), ends
    cpu = used(servers) - before
    shares = stores.postgres.execute("SELECT count(*) FROM downloads_attempts GROUP BY owner", dbname=variables["POSTGRES_DB"])
    for s in servers:
        s.stop()
    for p in lines:
        p.close()
    return sum(e["bytes"] for e in ends) / seconds, cpu, sorted(n for (n,) in shares)


def main(stack):
    jobs = int(sys.argv[1]) if len(sys.argv) > 1 else 6
    rate = float(sys.argv[2]) if len(sys.argv) > 2 else 20
    rounds = int(sys.argv[3]) if len(sys.argv) > 3 else 3
    directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="downloads-bench-"))
    subprocess.run([BUILD + "/tools/duckdb_run", directory + "/source.duckdb", "SELECT 1"], check=True, stdout=subprocess.DEVNULL)
    stores, one = Services(stack), None
    print(f"| servers | MB/s ({rate:.0f} a line) | times one | CPU seconds a GB | jobs of each |\n| --- | --- | --- | --- | --- |")
    for count in (1, 2, 4):
        runs = [measure(stack, directory + "/source.duckdb", stores, count, jobs, rate) for _ in range(rounds)]
        speed, cpu = median([r[0] for r in runs]), median([r[1] for r in runs])
        one = one or speed
        size = jobs * count * 62e6
        print(f"| {count} | {speed / 1e6:.1f} ({', '.join(f'{r[0] / 1e6:.1f}' for r in runs)}) | {speed / one:.2f} |"
              f" {cpu / size * 1e9:.1f} | {runs[0][2]} |", flush=True)


with contextlib.ExitStack() as ending:
    main(ending)
