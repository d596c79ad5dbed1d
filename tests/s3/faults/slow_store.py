"""The store takes 1 MiB a second on a connection."""
from fault_server import slowly


def on(request, seen):
    return slowly(1 << 20)
