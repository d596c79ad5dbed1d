"""1,000 open event streams and the latency of /health beside them; far more connections than the limit allows.

    /usr/bin/python3 bench/connections.py SOURCE.duckdb [STREAMS [CONNECTIONS]]"""
import os
import resource
import socket
import sys
import time

from service import Service, cpu_seconds, download_request, median, percentile, request, status_of

LIMIT = 1000
IDLE_S = 10


def health(sock):
    begun = time.perf_counter()
    sock.sendall(request("GET", "/health"))
    answer = b""
    while b'"Ok"' not in answer:
        answer += sock.recv(4096)
    return (time.perf_counter() - begun) * 1000


def streams(source, count):
    service = Service(source, QUEUE_WORKERS=1, QUEUE_SIZE=10 * count)
    before = status_of(service.pid, "RssAnon")[0]
    # The first runs for long; the others wait behind it, their streams open.
    open_streams = []
    for _ in range(count):
        sock = service.connect()
        sock.sendall(download_request("SELECT count(*) FROM range(1000000000000)"))
        open_streams.append(sock)
    for sock in open_streams:
        got = b""
        while b"job_created" not in got:
            got += sock.recv(65536)
    grown = status_of(service.pid, "RssAnon")[0] - before
    sock = service.connect()
    times = [health(sock) for _ in range(2000)]
    print(f"{count} open streams: /health over 2,000 requests: median {median(times):.2f} ms, p99 {percentile(times, 99):.2f} ms, "
          f"worst {max(times):.2f} ms; {grown / count:.1f} KiB a stream (RssAnon)")
    service.kill()


def flood(source, count):
    service = Service(source, MAX_CONNECTIONS=LIMIT)
    sockets = []
    for _ in range(count):
        s = socket.socket()
        s.setblocking(False)
        s.connect_ex(("127.0.0.1", service.port))
        sockets.append(s)
    held = len(os.listdir(f"/proc/{service.pid}/fd"))
    before, begun = cpu_seconds(service.pid), time.monotonic()
    time.sleep(IDLE_S)  # the figure is the CPU time of an idle server
    spent = (cpu_seconds(service.pid) - before) / (time.monotonic() - begun) * 100
    for s in sockets:
        s.close()
    sock = service.connect()
    begun = time.monotonic()
    health(sock)
    print(f"{count} connections tried, limit {LIMIT}: {held} descriptors, CPU of the idle server {spent:.1f} %; "
          f"after they closed /health answers in {(time.monotonic() - begun) * 1000:.0f} ms; exit status {service.stop()}")


def main():
    source = sys.argv[1]
    count = int(sys.argv[2]) if len(sys.argv) > 2 else 1000
    tried = int(sys.argv[3]) if len(sys.argv) > 3 else 19000
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    streams(source, count)
    flood(source, min(tried, hard - 100))


main()
