"""Complete says that all is well, and the object is gone."""
from fault_server import then


def on(request, seen):
    if request.kind == "complete":
        return then(lambda: request.swift.client().delete_object(Bucket=request.swift.bucket, Key=request.key))
