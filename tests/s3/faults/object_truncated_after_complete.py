"""Complete says that all is well, and the object is shorter."""
from fault_server import then


def on(request, seen):
    if request.kind == "complete":
        return then(lambda: request.swift.client().put_object(Bucket=request.swift.bucket, Key=request.key, Body=b"short"))
