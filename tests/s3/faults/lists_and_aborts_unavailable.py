"""What is opened first can neither be found nor aborted, until something else is opened."""
from fault_server import error

opened = []


def on(request, seen):
    if request.kind == "create":
        opened.append(request.key)
    elif request.kind in ("list", "abort") and len(opened) < 2:
        return error(503, "ServiceUnavailable")
