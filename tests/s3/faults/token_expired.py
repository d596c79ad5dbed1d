"""The session token ends in the middle of an upload."""
from fault_server import error


def on(request, seen):
    if request.part == 2:
        return error(400, "ExpiredToken")
