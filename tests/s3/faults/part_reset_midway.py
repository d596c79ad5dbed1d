"""The connection is reset in the middle of a part, once."""
from fault_server import RESET_MIDWAY


def on(request, seen):
    if request.part == 2 and seen == 1:
        return RESET_MIDWAY
