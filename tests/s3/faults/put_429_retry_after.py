"""The only request is answered 429 with Retry-After, once."""
from fault_server import status


def on(request, seen):
    if request.kind == "put" and seen == 1:
        return status(429, Retry_After="2")
