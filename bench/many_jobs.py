"""Many small downloads: how long one takes, how many a second eight clients get through, what that costs; many posted at once: all
complete, every stream ends with `complete`; and a queue that is full says so.

    /usr/bin/python3 bench/many_jobs.py [--services] SOURCE.duckdb

With --services on a real PostgreSQL and a real S3 server, started here."""
import collections
import contextlib
import sys
import threading
import time

from service import Service, cpu_of_children, cpu_seconds, download_request, median, percentile, read_stream, stores_of, wait_until


def post_all(service, count, sql):
    """Posts at the same moment; the answers as bytes."""
    answers, go = [None] * count, threading.Barrier(count)

    def one(i):
        sock = service.connect()
        go.wait()
        sock.sendall(download_request(sql(i)))
        answers[i] = read_stream(sock) if sock else b""

    threads = [threading.Thread(target=one, args=(i,)) for i in range(count)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return answers


def last_type(answer):
    events = [line for line in answer.split(b"\n") if line.startswith(b"data: ")]
    for kind in (b"complete", b"error"):
        if events and b'"type":"' + kind + b'"' in events[-1]:
            return kind.decode()
    return "none"


def full_queue(source, stores):
    service = Service(source, QUEUE_SIZE=5, QUEUE_WORKERS=4, **stores.variables)
    before = stores.count_records(service)
    answers = [None] * 50

    def one(i, go):
        sock = service.connect()
        sock.settimeout(60)
        go.wait()
        sock.sendall(download_request("SELECT count(*) FROM range(2000000000)"))
        head = sock.recv(65536)
        answers[i] = int(head.split(b" ", 2)[1]), b"Retry-After" in head
        sock.close()

    go = threading.Barrier(50)
    threads = [threading.Thread(target=one, args=(i, go)) for i in range(50)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    stored = stores.count_records(service) - before
    service.kill()
    return collections.Counter(answers), stored


def one_job(service, i):
    """Seconds from the POST to the end of `complete`."""
    begun = time.monotonic()
    with service.connect() as sock:
        sock.sendall(download_request(f"SELECT {i} AS job, * FROM range(10)"))
        answer = read_stream(sock)
    assert last_type(answer) == "complete", answer
    return time.monotonic() - begun


def cpu(service):
    templates = service.templates()
    return cpu_seconds(service.pid), cpu_of_children(service.pid), sum(map(cpu_seconds, templates)), templates


def small_jobs(service, clients, count):
    """`clients` that each have one job after the other: latencies, jobs a second, CPU milliseconds a job."""
    one_job(service, 0)  # the template is there from now on
    wait_until(lambda: not service.workers(), 10, "the first worker's end")
    before, times, begun = cpu(service), [], time.monotonic()

    def client():
        for i in range(count // clients):
            times.append(one_job(service, i))

    threads = [threading.Thread(target=client) for _ in range(clients)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    wall = time.monotonic() - begun
    wait_until(lambda: not service.workers(), 10, "the last worker's end")
    after = cpu(service)
    ms = [f"{(b - a) * 1e3 / len(times):.2f}" for a, b in zip(before[:3], after[:3])]
    same = "" if before[3] == after[3] else " (replaced meanwhile)"
    print(f"{clients} at a time, {len(times)} jobs of 10 rows: {len(times) / wall:.0f} jobs/s; POST to complete median "
          f"{median(times) * 1e3:.1f} ms, p99 {percentile(times, 99) * 1e3:.1f} ms; CPU ms a job: server {ms[0]}, workers {ms[1]}, "
          f"template {ms[2]}{same}")


def main(stack):
    source, stores = sys.argv[-1], stores_of(sys.argv, stack)
    service = Service(source, QUEUE_WORKERS=8, **stores.variables)
    small_jobs(service, 1, 200)
    small_jobs(service, 8, 1000)
    service.stop()
    service = Service(source, QUEUE_WORKERS=10, **stores.variables)
    begun = time.monotonic()
    answers = post_all(service, 200, lambda i: f"SELECT {i} AS job, * FROM range(10)")
    wall = time.monotonic() - begun
    print(f"200 at once, 10 workers: {dict(collections.Counter(map(last_type, answers)))} in {wall:.2f} s "
          f"({200 / wall:.0f} jobs/s); exit status {service.stop()}")
    answers, stored = full_queue(source, stores)
    accepted = sum(n for (status, _), n in answers.items() if status == 200)
    refused = sum(n for (status, retry), n in answers.items() if status == 503 and retry)
    print(f"QUEUE_SIZE=5, 4 workers, 50 at once: {accepted} accepted, {stored} rows stored, "
          f"{refused} refused with 503 and Retry-After")


with contextlib.ExitStack() as ending:
    main(ending)
