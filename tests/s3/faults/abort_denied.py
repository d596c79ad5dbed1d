"""Uploads may be opened, not aborted."""
from fault_server import error


def on(request, seen):
    if request.kind == "abort":
        return error(403, "AccessDenied")
