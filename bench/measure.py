"""What a run costs: CPU seconds by process, memory while it runs, and when what happened."""
import contextlib
import json
import os
import re
import threading
import time

from service import Service, download_request

TICK = os.sysconf("SC_CLK_TCK")
SAMPLE_S = 0.02
GB = 1e9


def stat(pid):
    """utime, stime, cutime, cstime of /proc/PID/stat in seconds; the last two are of children that have ended."""
    with open(f"/proc/{pid}/stat", encoding="utf-8", errors="replace") as f:
        return [int(n) / TICK for n in f.read().rpartition(")")[2].split()[11:15]]


def children(pid):
    found = []
    try:
        for task in os.listdir(f"/proc/{pid}/task"):
            with open(f"/proc/{pid}/task/{task}/children", encoding="ascii") as f:
                found += [int(p) for p in f.read().split()]
    except OSError:
        pass
    return found


def rss_anon(pid):
    """KiB of a process's anonymous memory; 0 once it has ended."""
    try:
        with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as f:
            for line in f:
                if line.startswith("RssAnon:"):
                    return int(line.split()[1])
    except OSError:
        pass
    return 0


def add(*pairs):
    return [sum(p[0] for p in pairs), sum(p[1] for p in pairs)]


def family_cpu(pid):
    """(own, of children): [user, system] each, in seconds. Children count whether they live or have ended."""
    own = stat(pid)
    of_children = own[2:]
    for child in children(pid):
        try:
            of_children = add(of_children, stat(child)[:2])
        except OSError:  # it ended just now: the parent has it, or soon will
            pass
    return own[:2], of_children


def settled_cpu(pid):
    """As family_cpu(), once it stands still: a worker goes on for a moment after its job's end."""
    deadline, last = time.monotonic() + 5, family_cpu(pid)
    while True:
        time.sleep(3 * SAMPLE_S)
        now = family_cpu(pid)
        if now == last or time.monotonic() > deadline:
            return now
        last = now


def processes_cpu(pids):
    return add([0, 0], *[s[:2] for s in map(stat, pids)])


def minus(a, b):
    return [round(x - y, 6) for x, y in zip(a, b)]


class Sampler(threading.Thread):
    """The peak of RssAnon by kind of process, each 20 ms: `kinds` gives pids by name. `probe` is called as often."""

    def __init__(self, kinds, probe=None):
        super().__init__(daemon=True)
        self.kinds, self.probe, self.peaks, self.ending = kinds, probe, {}, threading.Event()
        self.start()

    def run(self):
        while not self.ending.wait(SAMPLE_S):
            for kind, pids in self.kinds().items():
                self.peaks[kind] = max([self.peaks.get(kind, 0)] + [rss_anon(p) for p in pids])
            if self.probe:
                self.probe()

    def stop(self):
        self.ending.set()
        self.join()
        return self.peaks


class Download:
    """Posts, and reads the event stream as it comes. Times are seconds from just before the POST."""

    def __init__(self, service, sql, **form):
        self.begun_at, begun = time.time(), time.monotonic()
        self.first_event = self.wall = None
        data, last = b"", b""
        with service.connect() as sock:
            sock.sendall(download_request(sql, **form))
            while chunk := sock.recv(65536):
                if self.first_event is None and b"event:" in chunk:
                    self.first_event = time.monotonic() - begun
                data += chunk
                at = data.rfind(b"\ndata: ")
                if at >= 0 and b"\n" in data[at + 1:]:
                    last = data[at + 7:].split(b"\n")[0]
                    if b'"type":"complete"' in last or b'"type":"error"' in last:
                        self.wall = time.monotonic() - begun
                        break
                    data = data[at:]
        if self.wall is None or b'"type":"complete"' not in last:
            raise RuntimeError(f"the download failed: {last.decode(errors='replace')}\n{sql[:200]}")
        self.ended, self.event = begun + self.wall, json.loads(last)


class Server:
    """A downloads-server of ours whose jobs are measured. `store` has environment(), and pids() of its processes, stats() and
    reset() where it can; None: the embedded stores."""

    def __init__(self, stack, source, name, store=None, threads=2, memory="1GB", workers=1, **variables):
        self.name, self.store, self.threads = name, store, threads
        if store:
            variables |= {k: v for k, v in store.environment().items() if v}
        self.service = Service(source, QUEUE_WORKERS=workers, WORKER_THREADS=threads, WORKER_MEMORY=memory, LOGGER_MODE="prod",
                               **variables)
        # On the way out of an error or an interrupt nothing is waited for.
        stack.push(lambda kind, *_: self.end(kind is not None))

    def end(self, at_once):
        if at_once:
            self.service.kill()
            self.service.directory.cleanup()
        else:
            self.service.stop()

    def stored_probe(self, seen):
        """When the embedded store's first byte is in a file."""
        directory = os.path.join(self.service.directory.name, "data")

        def probe():
            with contextlib.suppress(FileNotFoundError):  # renamed just now
                if not seen and any(os.path.getsize(os.path.join(d, n)) for sub in ("tmp", "files")
                                    for d, _, names in os.walk(os.path.join(directory, sub)) for n in names):
                    seen.append(time.time())
        return probe

    def kinds(self):
        return {"server": [self.service.pid], "worker": children(self.service.pid)}

    def clear(self):
        """Removes the files of the embedded store: what was measured is not needed any more."""
        files = os.path.join(self.service.directory.name, "data", "files")
        for d, _, names in os.walk(files):
            for n in names:
                os.unlink(os.path.join(d, n))

    def measure(self, work):
        """Runs work() with clocks and samples around; what it returned, and a record of the cost."""
        sink = hasattr(self.store, "reset")
        if sink:
            self.store.reset()
        self.service.take_log()
        seen = []
        store_pids = self.store.pids() if self.store else []
        server, workers = family_cpu(self.service.pid)
        store, begun = processes_cpu(store_pids), time.time()
        sampler = Sampler(self.kinds, None if self.store else self.stored_probe(seen))
        try:
            done = work()
        finally:
            peaks = sampler.stop()
        server_after, workers_after = settled_cpu(self.service.pid)
        record = {
            "who": self.name,
            "cpu": {"server": minus(server_after, server), "worker": minus(workers_after, workers)},
            "peak": peaks,
        }
        if self.store:
            record["cpu"]["store"] = minus(processes_cpu(store_pids), store)
        if sink:
            record["requests"] = stats = self.store.stats()
            if stats["first_body_us"]:
                seen.append(stats["first_body_us"] / 1e6)
        if seen:
            record["first_stored"] = seen[0] - begun
        record["stages"] = stages_of(self.service.take_log())
        return done, record

    def run(self, sql, times=1, **form):
        """One download; or several, one after the other, where one alone is too short for the clocks: sums then, but for the
        times of events."""
        done, record = self.measure(lambda: [Download(self.service, sql, **form) for _ in range(times)])
        event = done[0].event
        record |= {"downloads": times, "wall": sum(d.wall for d in done), "first_event": done[0].first_event,
                   "rows": times * event["rows"], "bytes": times * event["bytes"], "sha256": event["sha256"]}
        self.clear()
        return record


TOLD = re.compile(r"worker's CPU ms: ((?:\w+ [\d.]+(?:, )?)+)")


def stages_of(log):
    """CPU seconds of the workers' stages, summed over the jobs that the server's log tells of; {} where it tells none. `query` is
    all that is none of the others, the start of the process included."""
    total = {}
    for line in log:
        if found := TOLD.search(line):
            for stage, ms in (part.split() for part in found.group(1).rstrip(", ").split(", ")):
                total[stage] = total.get(stage, 0) + float(ms) / 1000
    return total
