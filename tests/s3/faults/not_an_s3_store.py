"""Some web server."""
from fault_server import status


def on(request, seen):
    return status(200, b"<html><body>It works!</body></html>")
