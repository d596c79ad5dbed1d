"""The store redirects to another host."""
from fault_server import status


def on(request, seen):
    return status(307, Location="http://127.0.0.1:1/elsewhere")
