"""Complete is done and never answered, and the store does not let us look."""
from fault_server import STALL, LOSE_ANSWER


def on(request, seen):
    if request.kind == "complete":
        return LOSE_ANSWER
    if request.kind == "look":
        return STALL
