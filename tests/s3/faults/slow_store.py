"""The store takes 2 MiB a second on a connection."""
from fault_server import slowly


def on(request, seen):
    return slowly(2 << 20)
