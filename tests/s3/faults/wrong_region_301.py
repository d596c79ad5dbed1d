"""The bucket is in another region; the header says which."""
from fault_server import error


def on(request, seen):
    return error(301, "PermanentRedirect", x_amz_bucket_region="eu-west-3", Location="http://127.0.0.1:1/elsewhere")
