"""The object has the right size and another last byte."""
from fault_server import then


def on(request, seen):
    if request.kind == "put":
        return then(lambda: request.swift.client().put_object(Bucket=request.swift.bucket, Key=request.key,
                                                              Body=b"x" * request.length))
