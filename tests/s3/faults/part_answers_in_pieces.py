"""Parts are answered as HTTP allows, and few do: interim answers, chunks with extensions and trailers, to the end of the connection."""
from fault_server import raw


def on(request, seen):
    if request.part == 1:
        return raw("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </x>\r\nETag: none\r\n\r\n"
                   "HTTP/1.1 200 OK\r\nETag: {etag}\r\nContent-Length: 0\r\n\r\n")
    if request.part == 2:
        return raw("HTTP/1.1 200\r\ntransfer-encoding:Chunked\r\netag: {etag}\t \r\n\r\n"
                   "3;a=b\r\nabc\r\n000A ;c\r\n0123456789\r\n0\r\nX-Sum: 1\r\n\r\n")
    if request.part == 3:
        return raw("HTTP/1.0 200 OK\nEtag:{etag}\n\nuntil the end")
