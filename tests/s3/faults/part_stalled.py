"""A part is neither read nor answered, the first time, for one key only."""
from fault_server import STALL


def on(request, seen):
    if request.part == 1 and seen == 1 and request.key.startswith("stalled/"):
        return STALL
