"""Complete is answered 200, and an error that stays."""
from fault_server import error


def on(request, seen):
    if request.kind == "complete":
        return error(200, "InvalidPart")
