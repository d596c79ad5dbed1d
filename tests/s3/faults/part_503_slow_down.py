"""Parts are answered 503 SlowDown, once each."""
from fault_server import error


def on(request, seen):
    if request.kind == "part" and seen == 1:
        return error(503, "SlowDown")
