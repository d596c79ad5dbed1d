"""The first upload that is opened remains unknown to us."""
from fault_server import LOSE_ANSWER


def on(request, seen):
    if request.kind == "create" and seen == 1:
        return LOSE_ANSWER
