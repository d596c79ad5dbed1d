"""The answer to Create has a megabyte."""
from fault_server import status


def on(request, seen):
    if request.kind == "create":
        return status(200, b"<a>" + b"x" * (1 << 20), after=True)
