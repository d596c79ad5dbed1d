"""Complete is answered 200, white space, and an error that passes; once."""
from fault_server import error


def on(request, seen):
    if request.kind == "complete" and seen == 1:
        return error(200, "InternalError", lead="  \n \n")
