"""Complete is done and answered with 200 and something else."""
from fault_server import status


def on(request, seen):
    if request.kind == "complete":
        return status(200, b"OK", after=True)
