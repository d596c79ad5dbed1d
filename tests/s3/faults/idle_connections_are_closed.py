"""Every connection is closed behind its answer, without a word."""
from fault_server import CLOSE_AFTER


def on(request, seen):
    return CLOSE_AFTER
