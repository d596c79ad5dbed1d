"""The answer to Create is cut off."""
from fault_server import status


def on(request, seen):
    if request.kind == "create":
        return status(200, b"<InitiateMultipartUploadResult><UploadId>abc</Up", after=True)
