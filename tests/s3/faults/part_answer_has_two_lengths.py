"""The answer to a part has two lengths, once: nobody knows where it ends."""
from fault_server import raw


def on(request, seen):
    if request.part == 2 and seen == 1:
        return raw("HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 0\r\nContent-Length: 3\r\n\r\nabc")
