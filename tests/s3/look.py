"""Lets a test program look into a bucket by another client than ours (boto3), over HTTP: /object (X-Key), /link (fetches it),
/unfinished, /parts (of the open uploads), /clear."""
import threading
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import botocore.exceptions
import requests


def fetch_link(link, ca_file=None, method="GET"):
    """bucket.localhost is loopback (RFC 6761), which not every resolver knows."""
    host = urllib.parse.urlsplit(link).netloc
    name, _, port = host.partition(":")
    if name.endswith(".localhost"):
        link = link.replace(host, f"127.0.0.1:{port}", 1)
    return requests.request(method, link, headers={"Host": host}, verify=ca_file, timeout=20)


class Look:
    def __init__(self, swift):
        self.swift, self.client = swift, swift.client()
        look = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                status, body = look.answer(self.path, self.headers.get("X-Key", "").encode("latin-1").decode())
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def uploads(self):
        return self.client.list_multipart_uploads(Bucket=self.swift.bucket).get("Uploads", [])

    def parts(self, upload):
        answer = self.client.list_parts(Bucket=self.swift.bucket, Key=upload["Key"], UploadId=upload["UploadId"])
        return answer.get("Parts", [])

    def answer(self, path, key):
        if path == "/object":
            try:
                return 200, self.client.get_object(Bucket=self.swift.bucket, Key=key)["Body"].read()
            except botocore.exceptions.ClientError as e:
                assert e.response["Error"]["Code"] == "NoSuchKey", e
                return 404, b""
        if path == "/link":
            answer = fetch_link(key, self.swift.ca_file)
            return answer.status_code, answer.content
        if path == "/unfinished":
            return 200, str(len(self.uploads())).encode()
        if path == "/parts":
            return 200, str(sum(len(self.parts(u)) for u in self.uploads())).encode()
        assert path == "/clear", path
        for key in self.swift.keys():
            self.client.delete_object(Bucket=self.swift.bucket, Key=key)
        for u in self.uploads():
            self.client.abort_multipart_upload(Bucket=self.swift.bucket, Key=u["Key"], UploadId=u["UploadId"])
        return 200, b""

    def close(self):
        self.server.shutdown()
        self.server.server_close()
