"""The ETag of a part is another than the store keeps."""
from fault_server import altered


def on(request, seen):
    if request.part == 2:
        return altered(ETag="\"0123456789abcdef0123456789abcdef\"")
