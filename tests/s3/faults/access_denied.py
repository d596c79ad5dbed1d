"""The keys are good, and may not write."""
from fault_server import error


def on(request, seen):
    return error(403, "AccessDenied")
