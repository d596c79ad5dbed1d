"""The ETag of a part would not be one in XML."""
from fault_server import altered


def on(request, seen):
    if request.part == 2:
        return altered(ETag="\"<&\"")
