"""Complete is done, and its answer lost; once."""
from fault_server import LOSE_ANSWER


def on(request, seen):
    if request.kind == "complete" and seen == 1:
        return LOSE_ANSWER
