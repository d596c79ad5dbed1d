"""The store finds our clock wrong; its own is said to be ten hours ahead."""
import email.utils
import time

from fault_server import error


def on(request, seen):
    date = email.utils.formatdate(time.time() + 36000, usegmt=True)
    return error(403, "RequestTimeTooSkewed", Date=date)
