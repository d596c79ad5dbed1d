"""Many downloads posted at once: all complete, every stream ends with `complete`; and a queue that is full says so.

    /usr/bin/python3 bench/many_jobs.py [--services] SOURCE.duckdb

With --services on a real PostgreSQL and a real S3 server, started here."""
import collections
import contextlib
import sys
import threading
import time

from service import Service, download_request, read_stream, stores_of


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


def main(stack):
    source, stores = sys.argv[-1], stores_of(sys.argv, stack)
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
