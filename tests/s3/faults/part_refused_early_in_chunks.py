"""Parts are refused before they are read, by chunks that name the reason, as AWS does."""
from fault_server import raw


def on(request, seen):
    if request.kind == "part":
        text = "<Error><Code>AccessDenied</Code><Message>as asked</Message></Error>"
        return raw("HTTP/1.1 403 Forbidden\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
                   f"{len(text):x}\r\n{text}\r\n0\r\n\r\n", early=True)
