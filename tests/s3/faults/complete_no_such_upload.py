"""Somebody took the upload away."""
from fault_server import error


def on(request, seen):
    if request.kind == "complete":
        return error(404, "NoSuchUpload")
