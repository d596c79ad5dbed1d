"""Complete is done, its answer lost, and a second one told NoSuchUpload, as MinIO does."""
from fault_server import LOSE_ANSWER, error


def on(request, seen):
    if request.kind == "complete":
        return LOSE_ANSWER if seen == 1 else error(404, "NoSuchUpload")
