"""No fault."""


def on(request, seen):
    return None
