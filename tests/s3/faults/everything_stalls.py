"""The store has stopped answering."""
from fault_server import STALL


def on(request, seen):
    return STALL
