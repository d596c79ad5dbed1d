"""The sink of bench/ counts what our server really sends it, and answers as S3 does what clients ask of it."""
import os
import subprocess
import sys

import boto3
import botocore.config
import botocore.exceptions
import pytest

from conftest import ROOT

sys.path[:0] = [os.path.join(ROOT, "tests"), os.path.join(ROOT, "tests", "integration")]

from peers.sink import BUILD, Sink  # noqa: E402
from service import Service, make_source  # noqa: E402

MIB = 1 << 20
PART = 5 * MIB


@pytest.fixture
def sink():
    with Sink() as s:
        yield s


@pytest.fixture
def client(sink):
    return boto3.client("s3", endpoint_url=sink.endpoint, region_name=sink.region, aws_access_key_id=sink.access_key,
                        aws_secret_access_key=sink.secret_key, config=botocore.config.Config(
                            s3={"addressing_style": "path"}, signature_version="s3v4", retries={"total_max_attempts": 1}))


def counts(stats, *kinds):
    return {k: stats[k] for k in kinds}


@pytest.mark.parametrize("sign", ["on", "off"])
def test_downloads_of_the_server(tmp_path, sink, sign):
    source = make_source(tmp_path / "s.duckdb", "CREATE TABLE t AS SELECT i AS id, md5(i::VARCHAR) AS text FROM range(700000) r(i)")
    variables = sink.environment() | {"S3_PART_SIZE": f"{PART}", "S3_SIGN_PAYLOAD": sign}
    with Service(tmp_path, source, **variables) as server:
        assert counts(sink.reset(), "create", "list", "abort", "refused") == {"create": 1, "list": 1, "abort": 1, "refused": 0}
        large = server.run("SELECT * FROM t").data
        assert large["type"] == "complete", large
        assert large["bytes"] > 3 * PART
        stats = sink.reset()
        assert stats["body_bytes"] == large["bytes"]
        parts = -(-large["bytes"] // PART)
        assert counts(stats, "create", "part", "complete", "get", "requests", "refused") == {
            "create": 1, "part": parts, "complete": 1, "get": 1, "requests": parts + 3, "refused": 0}
        assert 0 < stats["first_body_us"] <= stats["first_stored_us"] < stats["last_stored_us"]

        small = server.run("SELECT * FROM t LIMIT 10").data
        assert small["type"] == "complete", small
    stats = sink.stop()
    assert stats["body_bytes"] == small["bytes"]
    assert counts(stats, "put", "get", "requests", "refused") == {"put": 1, "get": 1, "requests": 2, "refused": 0}


def test_uploads_side_by_side(sink):
    sizes = [0, 1, PART, PART + 1, 3 * PART + 17]
    keys = [f"k {i}/ü&<" for i in range(len(sizes))]
    done = subprocess.run([BUILD / "tests" / "s3_driver", "upload", *(f"{k}={s}" for k, s in zip(keys, sizes))],
                          env={**os.environ, **sink.environment()}, capture_output=True, text=True, timeout=60)
    assert done.stdout.count(" finished ") == done.stdout.count("\n") == len(sizes), done.stdout + done.stderr
    stats = sink.stats()
    assert stats["body_bytes"] == sum(sizes)
    assert counts(stats, "create", "complete", "put", "refused") == {"create": 2, "complete": 2, "put": 3, "refused": 0}


def test_more_at_once_than_connections(sink):
    """Eight uploads with four parts each under way, over four connections: two of them for parts."""
    uploads = [f"k{i}={6 * PART}" for i in range(8)]
    done = subprocess.run([BUILD / "tests" / "s3_driver", "upload", *uploads], capture_output=True, text=True, timeout=60,
                          env={**os.environ, **sink.environment(), "S3_CONNECTIONS": "4", "S3_PARTS_A_JOB": "4"})
    assert done.stdout.count(" finished ") == done.stdout.count("\n") == 8, done.stdout + done.stderr
    stats = sink.stats()
    assert stats["body_bytes"] == 8 * 6 * PART
    assert counts(stats, "create", "part", "complete", "get", "refused") == {
        "create": 8, "part": 48, "complete": 8, "get": 8, "refused": 0}
    assert stats["connections"] <= 8 + 8 + 4 + 1  # Creates have new ones, each; and this look


def test_another_client(sink, client):
    def refused(code, call, **arguments):
        with pytest.raises(botocore.exceptions.ClientError) as e:
            call(Bucket="b", **arguments)
        assert e.value.response["Error"]["Code"] == code

    client.head_bucket(Bucket="b")
    client.put_object(Bucket="b", Key="small", Body=b"x" * (2 * MIB) + b"y")  # "Expect: 100-continue"
    assert client.head_object(Bucket="b", Key="small")["ContentLength"] == 2 * MIB + 1
    last = client.get_object(Bucket="b", Key="small", Range=f"bytes={2 * MIB}-{2 * MIB}")
    assert last["Body"].read() == b"y" and last["ContentRange"] == f"bytes {2 * MIB}-{2 * MIB}/{2 * MIB + 1}"
    refused("InvalidRange", client.get_object, Key="small", Range="bytes=0-0")
    client.delete_object(Bucket="b", Key="small")
    refused("NoSuchKey", client.get_object, Key="small", Range="bytes=0-0")

    upload = client.create_multipart_upload(Bucket="b", Key="a/<&>")["UploadId"]
    etags = [client.upload_part(Bucket="b", Key="a/<&>", UploadId=upload, PartNumber=n, Body=bytes([n]) * n * MIB)["ETag"]
             for n in (1, 2, 3)]
    assert [(u["Key"], u["UploadId"]) for u in client.list_multipart_uploads(Bucket="b", Prefix="a/")["Uploads"]] == [("a/<&>", upload)]
    assert "Uploads" not in client.list_multipart_uploads(Bucket="b", Prefix="z")
    parts = [{"PartNumber": n, "ETag": e} for n, e in enumerate(etags, 1)]
    named = {"Key": "a/<&>", "UploadId": upload}
    refused("InvalidPart", client.complete_multipart_upload, MultipartUpload={"Parts": parts[:2]}, **named)
    client.complete_multipart_upload(Bucket="b", MultipartUpload={"Parts": parts}, **named)
    assert client.head_object(Bucket="b", Key="a/<&>")["ContentLength"] == 6 * MIB
    refused("NoSuchUpload", client.abort_multipart_upload, **named)
    refused("NoSuchUpload", client.upload_part, PartNumber=1, Body=b"z", **named)

    upload = client.create_multipart_upload(Bucket="b", Key="k")["UploadId"]
    client.abort_multipart_upload(Bucket="b", Key="k", UploadId=upload)
    assert "Uploads" not in client.list_multipart_uploads(Bucket="b", Prefix="")
    assert sink.stats()["refused"] == 5
