"""A part is answered by something that is not HTTP, once."""
from fault_server import raw


def on(request, seen):
    if request.part == 2 and seen == 1:
        return raw("SSH-2.0-OpenSSH_9.2\r\n")
