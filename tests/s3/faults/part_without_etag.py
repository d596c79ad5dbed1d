"""The answer to a part has no ETag."""
from fault_server import altered


def on(request, seen):
    if request.part == 2:
        return altered(ETag=None)
