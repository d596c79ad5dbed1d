#!/usr/bin/python3
"""The benchmark: our server and worker against DuckDB's own ways and against the limits, in one run, interleaved.

    bench/run.py [--full | --smoke] [--rounds N] [--only PART,...] [--output DIR]

Writes RESULTS.md and plots/ beside itself (--full: RESULTS-FULL.md, plots/full/; --smoke: below the cache), and the raw figures
into the cache, .cache/bench. bench/report.py makes the page again out of these. bench/README.md says how to read it.

Needs what the tests need (tools/install-packages test), root for Swift, and a quiet machine for figures that mean something."""
import argparse
import contextlib
import functools
import json
import os
import pathlib
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / ".cache" / "bench"
sys.path[:0] = [str(HERE), str(ROOT / "tests")]

import measure  # noqa: E402
import report  # noqa: E402
import streams  # noqa: E402
import tables  # noqa: E402
from measure import Download, Server, family_cpu, minus, processes_cpu, rss_anon, settled_cpu  # noqa: E402
from opponents import Opponents, client_of, file_hash, hash_cost, make_null  # noqa: E402
from peers.postgres import Postgres  # noqa: E402
from peers.sink import Sink  # noqa: E402
from peers.swift import Swift  # noqa: E402
from service import BUILD  # noqa: E402

PARTS = ["tables", "sizes", "concurrent", "small", "services", "streams"]
CORES = len(os.sched_getaffinity(0))
THREADS = min(4, CORES)
SMALL_MEMORY_MIB = 256  # the engine's limit where memory is looked at


class Settings:
    def __init__(self, options):
        self.kind = "smoke" if options.smoke else "full" if options.full else "default"
        smoke = options.smoke
        self.rounds = options.rounds or (1 if smoke else 3)
        self.sizes = [1e5, 1e6] if smoke else [1e8, 1e9] + ([20e9] if options.full else [])
        self.small, self.small_services = (10, 5) if smoke else (500, 100)
        # 15 s: each stream has its heartbeat once.
        self.streams, self.stream_seconds, self.latency_seconds = (50, 1, 2) if smoke else (10_000, 60, 15) if options.full else (10_000, 15, 6)
        self.concurrent_rounds = 1 if smoke else 2
        self.concurrent = 10


class SinkStore(Sink):
    def pids(self):
        return [self.pid]


class SwiftStore(Swift):
    def pids(self):
        return [p.pid for p in self.processes]

    def clear(self):
        client = client_of(self)
        for key in self.keys():
            client.delete_object(Bucket=self.bucket, Key=key)


def say(words):
    print(f"[{time.monotonic() - BEGUN:5.1f} s] {words}", flush=True)


class Bench:
    def __init__(self, stack, settings):
        self.settings, self.stack = settings, None
        say(f"data ({settings.kind})")
        self.source, self.rows = tables.make(os.path.join(BUILD, "tools", "duckdb_run"), CACHE, settings.kind)
        # Read once, so that nobody pays for a cold file.
        file_hash(self.source)
        self.whole = stack  # ends with the run
        self.work = stack.enter_context(tempfile.TemporaryDirectory(prefix=f"run-{os.getpid()}-", dir=CACHE))
        self.null = make_null(self.work)
        self.opponents = self.opponents_with("1GB")
        self.results = {"machine": machine(settings), "tables": {}, "sizes": {}, "concurrent": {}, "small": {}}

    @functools.cached_property
    def sink(self):
        return self.whole.enter_context(SinkStore())

    @functools.cached_property
    def swift(self):
        return self.whole.enter_context(SwiftStore())

    def opponents_with(self, memory):
        return Opponents(BUILD, CACHE, self.source, self.null, THREADS, memory)

    def server(self, name, store=None, **variables):
        return Server(self.stack, self.source, name, store, THREADS, **variables)

    # Every table: who encodes at which cost; lineitem: from end to end, too.

    def tables(self):
        sink = self.server("ours_sink", self.sink)
        local = self.server("ours_local")
        signed = self.server("ours_swift_signed", self.swift, S3_SIGN_PAYLOAD="on")
        unsigned = self.server("ours_swift_unsigned", self.swift, S3_SIGN_PAYLOAD="off")
        o, file = self.opponents, os.path.join(self.work, "copy.csv")
        self.results["hash_cost"] = [hash_cost() for _ in range(3)]
        expected = {}
        for n in range(self.settings.rounds):
            for name in tables.MAKERS:
                say(f"round {n + 1} of {self.settings.rounds}: {name}")
                sql = tables.query(name)
                runs = [lambda: o.drain(sql), lambda: o.copy_null(sql), lambda: sink.run(sql), lambda: o.copy_file(sql, file)]
                if name == "lineitem":
                    runs += [
                        lambda: local.run(sql), lambda: o.copy_s3("copy_swift", sql, self.swift, f"copy-{n}"),
                        lambda: unsigned.run(sql), lambda: signed.run(sql),
                        lambda: o.copy_s3("copy_sink", sql, self.sink, f"copy-{n}"),
                        lambda: o.upload("upload_sink", file, self.sink, f"upload-{n}"),
                        lambda: o.upload("upload_swift", file, self.swift, f"upload-{n}")]
                seen = []
                for run in runs:
                    record = run()
                    seen.append(record)
                    if record["who"] == "copy_file":
                        expected.setdefault(name, (record["bytes"], file_hash(file)))
                    if "swift" in record["who"]:
                        self.swift.clear()
                for record in seen:
                    record.setdefault("bytes", expected[name][0])
                    record.setdefault("rows", self.rows[name])
                    if "sha256" in record and (record["bytes"], record["sha256"]) != expected[name]:
                        raise SystemExit(f"{name}: {record['who']} is not what DuckDB's COPY wrote")
                    self.results["tables"].setdefault(name, {}).setdefault(record["who"], []).append(record)
        if os.path.exists(file):
            os.unlink(file)

    # Cost and memory against size, to the sink.

    def sizes(self):
        ours = self.server("ours_sink", self.sink, memory=f"{SMALL_MEMORY_MIB}MiB")
        limited = self.opponents_with(f"{SMALL_MEMORY_MIB}MiB")
        self.results["idle"] = {"server": rss_anon(ours.service.pid)}
        a_row = ours.run(tables.lines(min(10000, self.rows["lineitem"]), self.rows["lineitem"]))["bytes"] / min(10000, self.rows["lineitem"])
        for n in range(self.settings.rounds):
            for size in self.settings.sizes:
                if size > 5e9 and n > 0:
                    continue  # once is enough: it takes minutes, and evens out within itself
                say(f"round {n + 1} of {self.settings.rounds}: {size / 1e9:g} GB of lineitem to the sink")
                sql = tables.lines(int(size / a_row), self.rows["lineitem"])
                record = ours.run(sql, max(1, min(4, int(4e8 / size))))
                other = limited.copy_null(sql)
                other["bytes"] = record["bytes"] // record["downloads"]
                for r in (record, other):
                    self.results["sizes"].setdefault(r["who"], {}).setdefault(f"{size:.0f}", []).append(r)

    # Ten of a million rows at once.

    def concurrent(self):
        count, rows = self.settings.concurrent, self.rows["lineitem"] // 6
        ours = self.server("ours_sink", self.sink, workers=count, memory=f"{SMALL_MEMORY_MIB}MiB")
        limited = self.opponents_with(f"{SMALL_MEMORY_MIB}MiB")
        queries = [tables.query("lineitem", f"line > {i % 6 * rows} AND line <= {(i % 6 + 1) * rows}") for i in range(count)]
        for n in range(self.settings.concurrent_rounds):
            say(f"round {n + 1} of {self.settings.concurrent_rounds}: {count} downloads of {rows:,} rows at once")
            downloads, record = ours.measure(lambda: at_once([lambda q=q: Download(ours.service, q) for q in queries]))
            record |= {"wall": max(d.wall for d in downloads), "bytes": sum(d.event["bytes"] for d in downloads),
                       "rows": sum(d.event["rows"] for d in downloads)}
            self.results["concurrent"].setdefault("ours_sink", []).append(record)
            if n > 0:
                continue
            self.sink.reset()
            begun, store = time.monotonic(), processes_cpu(self.sink.pids())
            done = at_once([lambda i=i, q=q: limited.copy_s3("copy_sink", q, Uncounted(self.sink), f"many-{i}")
                            for i, q in enumerate(queries)])
            other = {"who": "copy_sink", "wall": time.monotonic() - begun, "rows": record["rows"], "bytes": record["bytes"],
                     "cpu": {"process": measure.add(*[d["cpu"]["process"] for d in done]),
                             "store": minus(processes_cpu(self.sink.pids()), store)},
                     "peak": {"process": sum(d["peak"]["process"] for d in done)}, "requests": self.sink.stats()}
            self.results["concurrent"]["copy_sink"] = [other]

    # Ten rows each.

    def small(self):
        local = self.server("embedded", workers=8, memory=f"{SMALL_MEMORY_MIB}MiB")
        self.results["small"]["embedded"] = self.small_jobs(local, self.settings.small)
        self.results["small"]["embedded_table"] = self.small_jobs(local, max(5, self.settings.small // 5), of_table=True)

    def services(self):
        with Postgres(durable=True) as postgres:
            variables = {"POSTGRES_HOST": postgres.host, "POSTGRES_PORT": postgres.port, "POSTGRES_DB": postgres.new_database(),
                         "POSTGRES_USER": postgres.user, "POSTGRES_PASSWORD": postgres.password}
            # Of its own stack: the server ends before Postgres does.
            with contextlib.ExitStack() as stack:
                server = Server(stack, self.source, "services", self.swift, THREADS, f"{SMALL_MEMORY_MIB}MiB", 8, **variables)
                self.results["small"]["services"] = self.small_jobs(server, self.settings.small_services, {
                    "postgres": postgres._pids, "swift": self.swift.pids})  # pylint: disable=protected-access

    def small_jobs(self, server, count, others=None, of_table=False):
        """of_table: the rows are looked up in lineitem, which costs the engine more than the job costs us."""
        def sql(i):
            if not of_table:
                return f"SELECT {i} AS job, * FROM range(10)"
            at = i * 10 % (self.rows["lineitem"] - 10)
            return f"SELECT {i} AS job, * EXCLUDE (line) FROM lineitem WHERE line > {at} AND line <= {at + 10}"

        def one(i):
            done = Download(server.service, sql(i))
            if done.event["rows"] != 10:
                raise SystemExit(f"a job of ten rows gave {done.event['rows']}")
            return done

        found = {}
        for clients in (1, 8):
            one(count)  # the first pays for what is begun then
            say(f"{count} downloads of 10 rows, {clients} at a time ({server.name})")
            before = family_cpu(server.service.pid)
            before_others = {k: processes_cpu(v()) for k, v in (others or {}).items()}
            begun, numbers, lock, jobs = time.monotonic(), iter(range(count)), threading.Lock(), []

            def client(numbers=numbers, lock=lock, jobs=jobs):
                while True:
                    with lock:
                        i = next(numbers, None)
                    if i is None:
                        return
                    jobs.append(one(i))

            at_once([client] * clients)
            wall = time.monotonic() - begun
            after = settled_cpu(server.service.pid)
            cpu = {"server": minus(after[0], before[0]), "workers": minus(after[1], before[1])}
            for name, pids in (others or {}).items():
                cpu[name] = minus(processes_cpu(pids()), before_others[name])
            jobs.sort(key=lambda j: j.ended)
            fifths = [jobs[i * count // 5:(i + 1) * count // 5] for i in range(5)]
            ends = [begun] + [f[-1].ended for f in fifths]
            found[str(clients)] = {
                # By fifths of the jobs, in the order of their ends, so that there is a spread to be seen.
                "medians": [statistics.median(j.wall for j in f) for f in fifths],
                "rates": [len(f) / (b - a) for f, a, b in zip(fifths, ends, ends[1:])],
                "jobs": count, "wall": wall, "complete": sorted(j.wall for j in jobs), "first_event": sorted(j.first_event for j in jobs),
                "cpu_ms_per_job": {k: sum(v) * 1000 / count for k, v in cpu.items()}}
        server.clear()
        return found

    # Thousands who listen.

    def streams(self):
        """Its programs are stamped (bench/stream_stamp.c): that costs the server nothing, and is not what the other parts ran."""
        count, seconds = self.settings.streams, self.settings.stream_seconds
        directory = self.stack.enter_context(tempfile.TemporaryDirectory())
        self.stack.callback(streams.prepare(directory))
        say(f"{count:,} event streams, {seconds} s idle")
        found = {"idle": streams.idle(self.source, count, seconds), "latency": []}
        few = max(1, count // 1000)
        for jobs, subscribers in ((1, 100 * few), (10, 10 * few)):
            say(f"progress of {jobs} to {subscribers} each")
            found["latency"].append(streams.latency(self.source, jobs, subscribers, 0, seconds=self.settings.latency_seconds))
        self.results["streams"] = found


class Uncounted:
    """A store whose requests and CPU somebody else counts."""

    def __init__(self, store):
        self.bucket, self.environment, self.pids = store.bucket, store.environment, lambda: []


def at_once(works):
    """Runs each on a thread; what they return. The first error is raised."""
    done, errors = [None] * len(works), []

    def run(i):
        try:
            done[i] = works[i]()
        except BaseException as e:  # pylint: disable=broad-except
            errors.append(e)

    threads = [threading.Thread(target=run, args=(i,)) for i in range(len(works))]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    if errors:
        raise errors[0]
    return done


class Others:
    """How much of the machine those had who are no part of the benchmark: its figures are as good as this is small."""

    def __init__(self):
        self.before = self.look()

    @staticmethod
    def look():
        with open("/proc/stat", encoding="ascii") as f:
            busy = sum(int(n) for i, n in enumerate(f.readline().split()[1:9]) if i not in (3, 4)) / measure.TICK
        times = os.times()
        return time.monotonic(), busy, sum(times[:4])

    def share(self):
        """Once all that was started here has ended: cores, on average."""
        wall, busy, own = (b - a for a, b in zip(self.before, self.look()))
        return round(max(0, busy - own) / wall, 2)


def output_of(*command):
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=False)
    return done.stdout.strip()


def field(path, name):
    with open(path, encoding="ascii", errors="replace") as f:
        return next((line.split(":", 1)[1].strip() for line in f if line.startswith(name)), "?")


def machine(settings):
    dirty = " with changes" if output_of("git", "status", "--porcelain", "--untracked-files=no", "src", "bench") else ""
    return {
        "kind": settings.kind, "rounds": settings.rounds, "cpu": field("/proc/cpuinfo", "model name"), "cores": CORES,
        "threads": THREADS, "memory_kib": int(field("/proc/meminfo", "MemTotal").split()[0]), "kernel": platform.release(),
        "system": field_of_os_release(), "compiler": output_of("cc", "--version").split("\n")[0],
        "duckdb": "1.5.5", "python": platform.python_version(),
        "packages": {p: output_of("dpkg-query", "-W", "-f", "${Version}", p)
                     for p in ("libcurl4", "libssl3", "libevent-2.1-7", "swift-proxy", "postgresql-15")},
        "commit": output_of("git", "rev-parse", "--short=12", "HEAD") + dirty, "date": time.strftime("%Y-%m-%d %H:%M UTC", time.gmtime()),
        "load": os.getloadavg()[0], "buildtype": next((o["value"] for o in json.loads(
            output_of("meson", "introspect", "--buildoptions", BUILD) or "[]") if o["name"] == "buildtype"), "?")}


def field_of_os_release():
    with open("/etc/os-release", encoding="utf-8") as f:
        return next((line.split("=", 1)[1].strip().strip('"') for line in f if line.startswith("PRETTY_NAME=")), "?")


def main():
    parser = argparse.ArgumentParser(description="Measures us against DuckDB's own ways, and against the limits.")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--full", action="store_true", help="60 M rows, up to 20 GB; half an hour or more")
    kind.add_argument("--smoke", action="store_true", help="tiny: that it runs, not how fast")
    parser.add_argument("--rounds", type=int, help="how often everything is run")
    parser.add_argument("--only", help="parts, with commas: " + ", ".join(PARTS))
    parser.add_argument("--output", type=pathlib.Path, help="where RESULTS.md and plots/ go")
    options = parser.parse_args()
    only = options.only.split(",") if options.only else PARTS
    if set(only) - set(PARTS):
        parser.error("no such part: " + ", ".join(sorted(set(only) - set(PARTS))))
    CACHE.mkdir(parents=True, exist_ok=True)
    subprocess.run([ROOT / "tools" / "fetch-httpfs", CACHE / "extensions"], check=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    settings = Settings(options)
    others = Others()
    temporary = tempfile.mkdtemp(prefix=f"tmp-{os.getpid()}-", dir=CACHE)
    tempfile.tempdir = temporary
    try:
        with contextlib.ExitStack() as stack:
            bench = Bench(stack, settings)
            for part in PARTS:
                if part in only:
                    with contextlib.ExitStack() as bench.stack:  # of the servers that this part starts
                        getattr(bench, part)()
                    bench.results.setdefault("seconds", {})[part] = round(time.monotonic() - BEGUN, 1)
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    bench.results["machine"]["others"] = others.share()
    raw = CACHE / f"results-{settings.kind}.json"
    raw.write_text(json.dumps(bench.results, indent=1))
    output = options.output or (CACHE / "smoke" if settings.kind == "smoke" else HERE)
    print(report.write(bench.results, output))
    say(f"raw figures: {raw}")


BEGUN = time.monotonic()
if __name__ == "__main__":
    main()
