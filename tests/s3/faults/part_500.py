"""A part is answered 500 InternalError, twice."""
from fault_server import error


def on(request, seen):
    if request.part == 2 and seen <= 2:
        return error(500, "InternalError")
