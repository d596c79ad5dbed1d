"""A part is taken before it has come, once: that is no answer to it."""
from fault_server import raw


def on(request, seen):
    if request.part == 2 and seen == 1:
        return raw("HTTP/1.1 200 OK\r\nETag: \"1\"\r\nContent-Length: 0\r\n\r\n", early=True, deaf=True)
