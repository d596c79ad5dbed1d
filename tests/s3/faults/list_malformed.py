"""The list of uploads is not XML."""
from fault_server import status


def on(request, seen):
    if request.kind == "list":
        return status(200, b"<ListMultipartUploadsResult><Upload><Key>a")
