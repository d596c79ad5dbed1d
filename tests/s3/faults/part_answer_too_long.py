"""The answer to a part is longer than any error."""
from fault_server import error


def on(request, seen):
    if request.part == 2:
        return error(500, "InternalError", more="x" * 1000000)
