"""The answer to a part ends in the middle of its body, once."""
from fault_server import raw


def on(request, seen):
    if request.part == 2 and seen == 1:
        return raw("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 10\r\n\r\nabc")
