"""A part is answered 400 RequestTimeout, once."""
from fault_server import error


def on(request, seen):
    if request.part == 1 and seen == 1:
        return error(400, "RequestTimeout")
