"""What we are measured against on the same data: DuckDB's own ways to write a CSV, and the limits that nobody can pass."""
import hashlib
import json
import os
import stat
import subprocess
import threading
import time
import urllib.parse

import botocore.auth
import botocore.awsrequest
import botocore.credentials

from measure import SAMPLE_S, minus, processes_cpu, rss_anon

HTTPFS = "httpfs.duckdb_extension"


class Opponents:
    def __init__(self, build, cache, source, null, threads=2, memory="1GB"):
        """cache: where tools/fetch-httpfs has put its extension; null: of make_null()."""
        self.build, self.cache, self.source, self.null, self.threads, self.memory = build, cache, source, null, threads, memory

    def start(self, sql, *options):
        return Running([os.path.join(self.build, "bench", "query"), "--threads", str(self.threads), "--memory", self.memory,
                        *options, self.source, sql])

    def run(self, who, sql, *options, store=None):
        return self.start(sql, *options).finish(who, store)

    def drain(self, sql):
        """Fetches the engine's chunks and drops them."""
        return self.run("drain", sql, "--drain")

    def copy(self, who, sql, target, *options, store=None, form="FORMAT csv, HEADER"):
        return self.run(who, f"COPY ({sql}) TO '{target}' ({form})", *options, store=store)

    def copy_null(self, sql):
        return self.copy("copy_null", sql, self.null)

    def copy_file(self, sql, path):
        record = self.copy("copy_file", sql, path)
        record["bytes"] = os.path.getsize(path)
        return record

    def s3_options(self, store):
        e = store.environment()
        host = urllib.parse.urlsplit(e["S3_ENDPOINT"]).netloc
        secret = f"""CREATE SECRET (TYPE s3, KEY_ID '{e["S3_ACCESS_KEY"]}', SECRET '{e["S3_SECRET_KEY"]}', REGION '{e["S3_REGION"]}',
                     ENDPOINT '{host}', USE_SSL false, URL_STYLE 'path')"""
        return ["--extension", os.path.join(self.cache, "extensions", HTTPFS), "--setup", secret]

    def copy_s3(self, who, sql, store, key):
        """DuckDB's COPY to an S3 server, by its extension httpfs."""
        if hasattr(store, "reset"):
            store.reset()
        record = self.copy(who, sql, f"s3://{store.bucket}/{key}", *self.s3_options(store), store=store)
        if hasattr(store, "reset"):
            record["requests"] = store.stats()
        return record

    def upload(self, who, path, store, key, part=16 << 20, connections=4):
        """The bytes of `path` sent to an S3 server by a program that does nothing else: no reading, no signing, no hashing."""
        client, size = client_of(store), os.path.getsize(path)
        upload = client.create_multipart_upload(Bucket=store.bucket, Key=key)["UploadId"]
        count = max(1, -(-size // part))
        targets = []
        for n in range(count):
            target = presigned(store, f"/{store.bucket}/{key}", {"partNumber": str(n + 1), "uploadId": upload})
            targets.append(f"{n * part} {min(part, size - n * part)} {target}\n")
        port = urllib.parse.urlsplit(store.environment()["S3_ENDPOINT"]).port
        running = Running([os.path.join(self.build, "bench", "send_parts"), str(port), path, str(connections)], "".join(targets))
        record = running.finish(who, store)
        etags = record.pop("lines")
        client.complete_multipart_upload(Bucket=store.bucket, Key=key, UploadId=upload, MultipartUpload={
            "Parts": [{"PartNumber": i + 1, "ETag": etag} for i, etag in enumerate(etags)]})
        record["wall"] = record["statement"]["wall"]
        record["bytes"] = size
        return record


def make_null(directory):
    """A /dev/null of our own. DuckDB locks what it writes: one that writes /dev/null keeps all others on the machine from it."""
    path = os.path.join(directory, "null")
    try:
        os.mknod(path, stat.S_IFCHR | 0o666, os.makedev(1, 3))
        with open(path, "wb"):
            return path
    except OSError:  # not root, or a file system without devices
        return "/dev/null"


def client_of(store):
    import boto3
    import botocore.config
    e = store.environment()
    return boto3.client("s3", endpoint_url=e["S3_ENDPOINT"], aws_access_key_id=e["S3_ACCESS_KEY"],
                        aws_secret_access_key=e["S3_SECRET_KEY"], region_name=e["S3_REGION"],
                        config=botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4"))


def presigned(store, path, query):
    """The target of a pre-signed PUT."""
    e = store.environment()
    credentials = botocore.credentials.Credentials(e["S3_ACCESS_KEY"], e["S3_SECRET_KEY"])
    request = botocore.awsrequest.AWSRequest("PUT", e["S3_ENDPOINT"] + path + "?" + urllib.parse.urlencode(query))
    botocore.auth.S3SigV4QueryAuth(credentials, "s3", e["S3_REGION"], expires=3600).add_auth(request)
    url = urllib.parse.urlsplit(request.url)
    return f"{url.path}?{url.query}"


class Running:
    """A program that prints one line of JSON at its end; sampled while it runs."""

    def __init__(self, command, text=None):
        self.begun = time.monotonic()
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE if text else subprocess.DEVNULL, stdout=subprocess.PIPE,
                                        stderr=subprocess.PIPE)
        self.text, self.usage, self.peak = text, None, 0

    def finish(self, who, store=None):
        pids = store.pids() if store else []
        before = processes_cpu(pids)
        try:
            if self.text:
                self.process.stdin.write(self.text.encode())
                self.process.stdin.close()
            ended = threading.Event()
            sampler = threading.Thread(target=self._sample, args=(ended,), daemon=True)
            sampler.start()
            output, errors = self.process.stdout.read(), self.process.stderr.read()
            _, status, usage = os.wait4(self.process.pid, 0)
            wall = time.monotonic() - self.begun
            self.process.returncode = os.waitstatus_to_exitcode(status)
            ended.set()
            sampler.join()
        finally:
            if self.process.returncode is None:
                self.process.kill()
                self.process.wait()
        if self.process.returncode != 0:
            raise RuntimeError(f"{who}: {errors.decode(errors='replace')[:2000]}")
        *lines, last = output.decode().splitlines()
        told = json.loads(last)
        record = {
            "who": who, "wall": wall, "cpu": {"process": [usage.ru_utime, usage.ru_stime]}, "peak": {"process": self.peak},
            "statement": {"wall": told["wall_us"] / 1e6, "cpu": [told["user_us"] / 1e6, told["system_us"] / 1e6]}}
        if "rows" in told:
            record["rows"] = told["rows"]
        if lines:
            record["lines"] = lines
        if store:
            record["cpu"]["store"] = minus(processes_cpu(pids), before)
        return record

    def _sample(self, ended):
        while not ended.wait(SAMPLE_S):
            self.peak = max(self.peak, rss_anon(self.process.pid))


def hash_cost(blocks=200):
    """CPU seconds per GB of a SHA-256 over warm memory, by the library that the server has."""
    block = os.urandom(1 << 20)
    digest, begun = hashlib.sha256(), time.process_time()
    for _ in range(blocks):
        digest.update(block)
    return (time.process_time() - begun) / (blocks * len(block)) * 1e9


def file_hash(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while block := f.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()
