#!/usr/bin/python3
"""RESULTS.md and its plots out of the raw figures of bench/run.py.

    bench/report.py RAW.json [DIRECTORY]"""
import json
import pathlib
import statistics
import sys

import plots
import tables

GB = 1e9
PART = 16 << 20  # of GOPIE_DS_S3_PART_SIZE
# Of the service that this one stands in for (gopie-downloads, in Go), measured earlier, on such a machine, with 6 M rows of lineitem.
GO_CPU_PER_GB, GO_WALL_S, GO_ROWS = 54.8, 44.6, 6_000_000
NAMES = {
    "drain": "limit: drain the query", "copy_null": "DuckDB COPY to /dev/null", "copy_file": "DuckDB COPY to a file",
    "copy_swift": "DuckDB COPY to S3", "copy_sink": "DuckDB COPY to the sink", "upload_swift": "limit: upload to S3",
    "upload_sink": "limit: upload to the sink", "ours_local": "ours, local store", "ours_swift_unsigned": "ours to S3, unsigned",
    "ours_swift_signed": "ours to S3, signed", "ours_sink": "ours to the sink",
}


def spread(values):
    """(median, least, most)."""
    return (statistics.median(values), min(values), max(values)) if values else None


def show(values, digits=2):
    if not values:
        return "–"
    middle, least, most = spread(values)
    if len(values) == 1:
        return f"{middle:,.{digits}f}"
    return f"{middle:,.{digits}f} ({least:,.{digits}f}..{most:,.{digits}f})"


def row(*cells):
    return "| " + " | ".join(str(c) for c in cells) + " |"


def head(*cells):
    return row(*cells) + "\n" + row(*["---"] + ["---:"] * (len(cells) - 1))


def cpu(record, *names):
    """CPU seconds of the processes named; without names of all but the store."""
    return sum(sum(v) for k, v in record["cpu"].items() if (k in names if names else k != "store"))


def per_gb(record, seconds):
    return seconds / record["bytes"] * GB


def cpus_per_gb(records, *names):
    return [per_gb(r, cpu(r, *names)) for r in records]


def pairs(ours, others, value):
    """Ratios, round by round."""
    return [value(a) / value(b) for a, b in zip(ours, others) if value(b)]


def scan_and_encode(record):
    """CPU seconds per GB of the worker's scan and encode, its start included (as in what DuckDB's process costs); of the whole
    worker where it does not tell its stages."""
    stages = record["stages"]
    return per_gb(record, stages["query"] + stages["encode"] if "encode" in stages else cpu(record, "worker"))


def statement_cpu(record):
    return per_gb(record, sum(record["statement"]["cpu"]))


class Targets:
    def __init__(self):
        self.rows = []

    def add(self, number, what, wanted, values, bound, digits=2, note="", unit=""):
        """Reached where the median is at most the bound; a negative bound is the least that is wanted."""
        if not values:
            self.rows.append((number, what, wanted, "not measured in this run", "–", note))
            return
        middle = statistics.median(values)
        reached = middle <= bound if bound >= 0 else middle >= -bound
        self.rows.append((number, what, wanted, show(values, digits) + unit, "reached" if reached else "**not reached**", note))

    def text(self):
        out = [row("", "target", "wanted", "seen: median (least..most)", "", ""), row("---", "---", "---", "---", "---", "---")]
        return "\n".join(out + [row(*r) for r in self.rows])


def targets_of(results):
    t, by = Targets(), results["tables"]
    for name in tables.MAKERS:
        if name in by:
            bound = {"lineitem": 0.25, "text_heavy": 0.5, "numeric": 0.5}.get(name, 1.0)
            ours = by[name]["ours_sink"]
            told = all("encode" in r["stages"] for r in ours)
            ratios = [scan_and_encode(a) / per_gb(b, cpu(b)) for a, b in zip(ours, by[name]["copy_null"])]
            t.add("1", f"scan and encode, {name}: CPU against DuckDB's COPY to /dev/null", f"≤ {bound:.2f}", ratios, bound,
                  note="" if told else "the whole worker, hash too: this build does not tell its stages")
    line = by.get("lineitem", {})
    if line:
        for how, bound in (("unsigned", 0.25), ("signed", 0.30)):
            ours = line[f"ours_swift_{how}"]
            t.add("2", f"to S3, {how}: CPU (server and worker) against DuckDB's COPY to the same", f"≤ {bound:.2f}",
                  pairs(ours, line["copy_swift"], cpu), bound)
        for how in ("unsigned", "signed"):
            ours = line[f"ours_swift_{how}"]
            t.add("2", f"to S3, {how}: wall time against the same COPY", "≤ 0.50", pairs(ours, line["copy_swift"], lambda r: r["wall"]), 0.5)
            t.add("2", f"to S3, {how}: CPU per GB against the Go original's {GO_CPU_PER_GB} s", "≤ 1/16 (0.063)",
                  [c / GO_CPU_PER_GB for c in cpus_per_gb(ours)], 1 / 16, 3, "an earlier measurement, on such a machine")
            t.add("2", f"to S3, {how}: wall time against the Go original's {GO_WALL_S} s for 6 M rows", "≤ 1/12 (0.083)",
                  [r["wall"] / r["rows"] * GO_ROWS / GO_WALL_S for r in ours], 1 / 12, 3, "an earlier measurement, on such a machine")
        ratios, largest = overlap(results)
        t.add("3", "one large export to the sink: wall time against its largest stage", "≤ 1.15", ratios, 1.15, note=f"largest: {largest}")
        cores = [cpu(r, "worker") / r["wall"] for r in line["ours_sink"]]
        t.add("3", "cores that the worker keeps busy meanwhile", "> 1 where encoding is the bottleneck", cores, -1.0)
    for size, records in sorted(results["sizes"].get("ours_sink", {}).items(), key=lambda s: float(s[0])):
        t.add("4", f"worker's peak RssAnon beyond the engine's limit of 256 MiB, {float(size) / GB:g} GB", "≤ 128 MiB",
              [r["peak"].get("worker", 0) / 1024 - 256 for r in records], 128, 0, unit=" MiB")
    large = sorted((float(size), records) for size, records in results["sizes"].get("ours_sink", {}).items() if float(size) >= 1e9)
    peaks = [statistics.median(r["peak"]["worker"] for r in records) for _, records in large]
    t.add("4", "worker's peak RssAnon, 20 GB against 1 GB (FULL=1)", "flat: ≤ 1.10", [peaks[-1] / peaks[0]] if len(peaks) > 1 else [], 1.1)
    if "idle" in results:
        t.add("4", "server's RssAnon, idle", "≤ 20 MiB", [results["idle"]["server"] / 1024], 20, 1, unit=" MiB")
    streams = results.get("streams")
    if streams:
        t.add("4", "server's RssAnon for each open event stream", "≤ 6 KiB", [streams["idle"]["kib_a_stream"]], 6, 2, unit=" KiB")
    small = results["small"].get("embedded")
    if small:
        t.add("5", "10 rows, embedded, one at a time: POST to `complete`, median", "< 15 ms",
              [1000 * m for m in small["1"]["medians"]], 15, 1, unit=" ms")
        t.add("5", "the same, ten rows out of lineitem", "< 15 ms", [1000 * m for m in results["small"]["embedded_table"]["1"]["medians"]], 15, 1, unit=" ms")
        t.add("5", "10 rows, embedded, 8 at a time", "≥ 200 jobs/s", small["8"]["rates"], -200, 0, unit=" jobs/s")
    if streams:
        idle = streams["idle"]
        t.add("6", f"{idle['streams']:,} event streams, idle, heartbeats included", "≤ 2 % of a core", [idle["share"]], 2, 2, unit=" %")
        for r in streams["latency"]:
            t.add("6", f"progress of {r['jobs']} to {r['subscribers']:,} subscribers {'each, ' if r['jobs'] > 1 else ''}at p99", "≤ 100 ms", [r["p99"]], 100, 1,
                  unit=" ms")
    sizes = results["sizes"].get("ours_sink", {})
    if len(sizes) > 1:
        costs = [statistics.median(cpus_per_gb(r)) for _, r in sorted(sizes.items(), key=lambda s: float(s[0]))]
        t.add("7", f"CPU per GB over sizes from {min(map(float, sizes)) / GB:g} to {max(map(float, sizes)) / GB:g} GB: most against least",
              "≤ 1.10", [max(costs) / min(costs)], 1.10)
    others = [r["requests"]["requests"] / r["downloads"] - r["bytes"] / r["downloads"] / PART for rs in sizes.values() for r in rs]
    if others:
        t.add("7", "S3 requests of a file beyond one for each 16 MiB, over all sizes", "≤ 4: begin, complete, look, last part", [max(others)], 4)
    return t


def requests_per_gb(record):
    return per_gb(record, record["requests"]["requests"])


def overlap(results):
    """Wall time of the export to the sink against the longest of its stages had each the machine for itself: that of a query
    that is drained; scan and encode on the engine's threads; hash, with the copy, on the job's; the server's sending; and all CPU
    time, the sink's included, on all cores: nothing on this machine can be quicker than that."""
    cores, threads = results["machine"]["cores"], results["machine"]["threads"]
    line = results["tables"]["lineitem"]
    ratios, names = [], []
    for r, drain, upload in zip(line["ours_sink"], line["drain"], line["upload_sink"]):
        stages = {"the query": drain["statement"]["wall"], "sending": max(cpu(r, "server"), upload["wall"]),
                  "all CPU time on all cores": cpu(r, "server", "worker", "store") / cores}
        if "encode" in r["stages"]:
            stages["scan and encode"] = (r["stages"]["query"] + r["stages"]["encode"]) / min(cores, threads)
            stages["hash"] = r["stages"].get("hash", 0)
        name = max(stages, key=stages.get)
        names.append(name)
        ratios.append(r["wall"] / stages[name])
    return ratios, max(set(names), key=names.count)


def cost_table(by, order):
    out = [head("", "wall s", "CPU s/GB", "user", "system", "MB/s", "M rows/s", "peak RssAnon MiB", "CPU against /dev/null",
                "first event ms", "first byte stored ms", "requests/GB", "the store's CPU s/GB")]
    for who in order:
        records = by.get(who)
        if not records:
            continue
        sums = [[sum(v[i] for k, v in r["cpu"].items() if k != "store") for i in (0, 1)] for r in records]
        peaks = " + ".join(f"{max(r['peak'].get(kind, 0) for r in records) / 1024:.0f}" for kind in records[0]["cpu"] if kind != "store")
        base = by.get("copy_null")
        out.append(row(
            NAMES[who], show([r["wall"] for r in records]), show(cpus_per_gb(records)),
            show([per_gb(r, s[0]) for r, s in zip(records, sums)]), show([per_gb(r, s[1]) for r, s in zip(records, sums)]),
            show([r["bytes"] / 1e6 / r["wall"] for r in records], 0),
            show([r["rows"] / 1e6 / r["wall"] for r in records]) if "upload" not in who else "", peaks,
            show(pairs(records, base, cpu)) if base else "",
            show([1000 * r["first_event"] for r in records if "first_event" in r], 1) if "ours" in who else "",
            show([1000 * r["first_stored"] for r in records if "first_stored" in r], 0) if "ours" in who else "",
            show([requests_per_gb(r) for r in records], 0) if "requests" in records[0] else "",
            show(cpus_per_gb(records, "store")) if "store" in records[0]["cpu"] else ""))
    return "\n".join(out)


def stage_parts(record):
    """CPU seconds per GB by stage of one of our runs."""
    stages, worker = record["stages"], cpu(record, "worker")
    if "encode" not in stages:
        return {"worker (stages not told)": per_gb(record, worker), "send (server)": per_gb(record, cpu(record, "server"))}
    parts = {k: per_gb(record, seconds) for k, seconds in stages.items()}
    return parts | {"send (server)": per_gb(record, cpu(record, "server"))}


SEGMENTS = ["query", "encode", "compress", "hash", "send (server)", "worker (stages not told)"]


def middle_parts(records):
    every = [stage_parts(r) for r in records]
    return {k: statistics.median(p.get(k, 0) for p in every) for k in every[0]}


def stage_rows(results):
    rows = []
    for name, by in results["tables"].items():
        rows.append((f"{name}, ours", middle_parts(by["ours_sink"])))
        scan = statistics.median(statement_cpu(r) for r in by["drain"])
        rows.append((f"{name}, DuckDB", {"query": scan, "encode": statistics.median(statement_cpu(r) for r in by["copy_null"]) - scan}))
    return rows


def write_plots(results, directory):
    directory.mkdir(parents=True, exist_ok=True)
    written = []

    def put(name, what, text):
        (directory / name).write_text(text, encoding="utf-8")
        written.append((name, what))

    by = results["tables"]
    if by:
        rows = stage_rows(results)
        used = [s for s in SEGMENTS if any(parts.get(s) for _, parts in rows)]
        put("stages.svg", "Where the time goes", plots.stacked(
            "Where the time goes", "ours to the sink; DuckDB's COPY to /dev/null, which neither hashes nor sends", "CPU seconds per GB of CSV", used, rows))
        line = by["lineitem"]
        order = [w for w in ("ours_swift_unsigned", "ours_swift_signed", "copy_swift", "ours_sink", "copy_sink", "ours_local", "copy_file",
                             "copy_null", "drain", "upload_swift", "upload_sink") if w in line]
        for name, what, values, label in (
                ("cpu.svg", "CPU, lineitem", cpus_per_gb, "CPU seconds per GB of CSV, without the store's"),
                ("wall.svg", "Wall time, lineitem", lambda rs: [per_gb(r, r["wall"]) for r in rs], "seconds per GB of CSV")):
            put(name, what, plots.bars(what + ": ours against opponents", "medians; lines are from least to most; store on the same cores", label,
                                       [(NAMES[w], spread(values(line[w])), w.startswith("ours")) for w in order]))
        put("tables.svg", "CPU by table", plots.bars(
            "CPU by table: ours to the sink, hashed and sent, against COPY to /dev/null", "medians; lines are from least to most", "CPU seconds per GB of CSV",
            [(f"{t}, {'ours' if w == 'ours_sink' else 'DuckDB'}", spread(cpus_per_gb(d[w])), w == "ours_sink")
             for t, d in by.items() for w in ("ours_sink", "copy_null")]))
    if results["sizes"]:
        for name, what, label, value in (
                ("size.svg", "Cost against size", "CPU seconds per GB of CSV", lambda rs, w: spread(cpus_per_gb(rs))),
                ("memory.svg", "Memory against size", "peak RssAnon of the worker or of DuckDB's process, MiB",
                 lambda rs, w: spread([r["peak"].get("worker", r["peak"].get("process", 0)) / 1024 for r in rs]))):
            put(name, what, plots.curves(
                what, "lineitem; the engine's limit is 256 MiB; ours to the sink, hashed and sent; DuckDB's COPY to /dev/null", "GB of CSV (logarithmic)", label,
                {NAMES[w]: [(statistics.median(r["bytes"] for r in rs) / GB, value(rs, w))
                            for _, rs in sorted(sizes.items(), key=lambda s: float(s[0]))] for w, sizes in results["sizes"].items()}))
    return written


def small_table(small):
    out = [head("", "jobs/s", "`complete` ms: median", "p99", "first event ms: median", "CPU ms a job, by process")]
    for where, runs in small.items():
        for clients, r in runs.items():
            p99 = r["complete"][min(len(r["complete"]) - 1, int(len(r["complete"]) * 0.99))]
            parts = ", ".join(f"{k} {v:.1f}" for k, v in sorted(r["cpu_ms_per_job"].items(), key=lambda p: -p[1]))
            name = {"embedded": "embedded", "embedded_table": "embedded, out of lineitem", "services": "Postgres and S3 (Swift)"}[where]
            out.append(row(f"{name}, {clients} at a time",
                           show(r["rates"], 0), f"{1000 * statistics.median(r['complete']):.1f}", f"{1000 * p99:.1f}",
                           f"{1000 * statistics.median(r['first_event']):.1f}", parts))
    return "\n".join(out)


def dominates(small):
    parts = small.get("services", {}).get("8", {}).get("cpu_ms_per_job")
    if not parts:
        return ""
    name, value = max(parts.items(), key=lambda p: p[1])
    return f"With Postgres and S3, 8 at a time, {name} has most of the CPU time: {value:.1f} of {sum(parts.values()):.1f} ms a job."


def stream_text(streams):
    idle = streams["idle"]
    out = [f"Without a stream the server takes {idle['bare_share']:.2f} % of a core and {idle['bare_kib'] / 1024:.1f} MiB (RssAnon). With {idle['streams']:,} open, "
           f"one job running and the others waiting: {idle['share']:.2f} % of a core over {idle['seconds']} s, {idle['heartbeats']:,} heartbeats, {idle['lost']} streams lost, "
           f"{idle['kib_a_stream']:.2f} KiB a stream; the loop's longest pass {idle['longest_ms']:.1f} ms; {idle['closed_kib'] / 1024:.1f} MiB once all are closed.", "",
           "Progress, from the worker's message to the client's read:", "", head("", "events", "median ms", "p99 ms", "longest ms", "the loop's longest pass ms", "% of a core")]
    for r in streams["latency"]:
        out.append(row(f"{r['jobs']} to {r['subscribers']:,} subscribers{' each' if r['jobs'] > 1 else ''}", f"{r['events']:,}", f"{r['p50']:.1f}", f"{r['p99']:.1f}",
                       f"{r['max']:.1f}", f"{r['longest_ms']:.1f}", f"{r['share']:.1f}"))
    return "\n".join(out)


def describe(m):
    packages = ", ".join(f"{k} {v}" for k, v in m["packages"].items() if v)
    return "\n".join([
        f"- {m['date']}, commit `{m['commit']}`, build type `{m['buildtype']}`",
        f"- {m['cpu']}, {m['cores']} cores, {m['memory_kib'] / 1048576:.1f} GiB; load when it began: {m['load']:.2f};"
        f" others had {m['others']:.2f} cores meanwhile" + (": **too much for wall times to mean anything**" if m["others"] > 0.1 * m["cores"] else ""),
        f"- {m['system']}, kernel {m['kernel']}; {m['compiler']}; DuckDB {m['duckdb']}; {packages}; Python {m['python']}",
        f"- run: {m['kind']}, {m['rounds']} rounds, interleaved; engine threads: {m['threads']}, for us and for DuckDB"])


def render(results, written, plots_at):
    t = targets_of(results)
    out = ["# What the benchmark saw", "",
           "Written by `bench/run.py`; not to be edited. How to read it: [README.md](README.md).", "", describe(results["machine"]), "",
           "## Targets", "", t.text(), ""]
    for name, what in written:
        out += [f"![{what}]({plots_at}/{name})", ""]
    for name, by in results["tables"].items():
        some = by["ours_sink"][0]
        out += [f"## {name}: {tables.WHAT[name]}", "",
                f"{some['rows']:,} rows, {some['bytes'] / 1e6:,.0f} MB of CSV; ours are byte for byte what DuckDB's COPY wrote (SHA-256).", "",
                cost_table(by, NAMES), ""]
    if results["tables"]:
        rows = stage_rows(results)
        used = [s for s in SEGMENTS if any(parts.get(s) for _, parts in rows)]
        out += ["## Where the time goes", "", "CPU seconds per GB. DuckDB's scan is the drain beside it, its encoding what COPY to /dev/null takes beyond.",
                f"A SHA-256 by OpenSSL over warm memory: {show(results['hash_cost'])} here.", "",
                head("", *used, "sum")]
        out += [row(name, *[f"{parts[s]:.2f}" if s in parts else "" for s in used], f"{sum(parts.values()):.2f}") for name, parts in rows] + [""]
    if results["sizes"]:
        out += ["## Against size", "", "lineitem, engine's memory limit 256 MiB, to the sink.", "",
                head("", "GB", "wall s", "CPU s/GB", "MB/s", "peak RssAnon MiB: worker or process", "server", "requests/GB")]
        for who, sizes in results["sizes"].items():
            for size, rs in sorted(sizes.items(), key=lambda s: float(s[0])):
                out.append(row(NAMES[who], f"{float(size) / GB:g}", show([r["wall"] / r.get("downloads", 1) for r in rs]), show(cpus_per_gb(rs)),
                               show([r["bytes"] / 1e6 / r["wall"] for r in rs], 0),
                               show([r["peak"].get("worker", r["peak"].get("process", 0)) / 1024 for r in rs], 0),
                               show([r["peak"]["server"] / 1024 for r in rs if "server" in r["peak"]], 1),
                               show([requests_per_gb(r) for r in rs if "requests" in r], 0)))
        out.append("")
        out += ["Small files are taken four at a time, one after the other; wall time is of one.", ""]
    if results["concurrent"]:
        some = results["concurrent"]["ours_sink"][0]
        out += ["## Ten at once", "", f"{some['rows'] // 10:,} rows each, to the sink; DuckDB: ten processes of COPY.", "",
                head("", "wall s", "CPU s/GB", "MB/s", "M rows/s")]
        for who, rs in results["concurrent"].items():
            out.append(row(NAMES[who], show([r["wall"] for r in rs]), show(cpus_per_gb(rs)),
                           show([r["bytes"] / 1e6 / r["wall"] for r in rs], 0), show([r["rows"] / 1e6 / r["wall"] for r in rs])))
        out.append("")
    if results["small"]:
        out += ["## Small jobs", "", "Ten rows each (of `range(10)` where nothing else is said), a process each; the clients (Python) are on the same cores.", "", small_table(results["small"]), "",
                dominates(results["small"]), ""]
    if results.get("streams"):
        out += ["## Event streams", "", stream_text(results["streams"]), ""]
    if "seconds" in results:
        out += [f"The run took {max(results['seconds'].values()):.0f} s.", ""]
    return "\n".join(out), t.text()


def write(results, directory):
    """Writes page and plots; returns the targets as text."""
    full = results["machine"]["kind"] == "full"
    plots_at = "plots/full" if full else "plots"
    written = write_plots(results, directory / plots_at)
    page, targets = render(results, written, plots_at)
    (directory / ("RESULTS-FULL.md" if full else "RESULTS.md")).write_text(page, encoding="utf-8")
    return targets


if __name__ == "__main__":
    raw_file = pathlib.Path(sys.argv[1])
    print(write(json.loads(raw_file.read_text()), pathlib.Path(sys.argv[2]) if len(sys.argv) > 2 else pathlib.Path(__file__).parent))
