"""boto3 and we sign the same request at the same time: the same URL, headers and signature."""
import datetime
import json
import os
import random
import re
import subprocess
import time
import urllib.parse
from unittest import mock

import boto3
import botocore.auth
import botocore.config
import pytest
import requests

from conftest import ROOT

BUILD = os.environ.get("BUILD_DIR", f"{ROOT}/build")
UPLOAD_ID = "2~abc+/=.-_ %25"

KEYS = ["acme/0b4c2c1e-3f0e-4b7a-9a51-000000000001.csv", "a b/c d.csv", "a+b/c+d.csv", "100%/%41%2F.csv",
        "~a/~b~.csv", "äö日本/🦆.csv", "a/b/c/d/e.csv", "a&b=c?d#e/f.csv", "a'b\"c/(d)!*.csv", "$,;:@/[x]{y}|^`<>.csv",
        "back\\slash/x.csv", "...a/b..csv", "org with/many parts/and 100% ~+/x.csv"]

SITES = [
    dict(endpoint="http://127.0.0.1:9000", addressing="path"),
    dict(endpoint="https://minio.example:9443", addressing="path"),
    dict(endpoint="https://s3.eu-central-1.amazonaws.com", addressing="virtual"),
    dict(endpoint="http://s3.example:80", addressing="virtual"),
    dict(endpoint="https://s3.example:8443", addressing="virtual"),
    dict(endpoint="http://[::1]:9000", addressing="path"),
]

CREDENTIALS = [
    dict(access_key="AKIAIOSFODNN7EXAMPLE", secret_key="wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY"),
    dict(access_key="test:tester", secret_key="testing"),
    dict(access_key="ASIAEXAMPLE", secret_key="s+e/c=r", session_token="FwoGZXIvYXdzE//+==" * 20),
]

WHEN = datetime.datetime(2024, 2, 29, 23, 59, 58)


class FrozenTime(datetime.datetime):
    @classmethod
    def utcnow(cls):
        return WHEN

    @classmethod
    def now(cls, tz=None):
        return WHEN.replace(tzinfo=tz)


@pytest.fixture
def frozen():
    patches = [mock.patch("botocore.auth.datetime.datetime", FrozenTime)]
    if hasattr(botocore.auth, "get_current_datetime"):
        patches.append(mock.patch("botocore.auth.get_current_datetime", lambda *a, **k: WHEN))
    for p in patches:
        p.start()
    yield
    for p in patches:
        p.stop()


def ours(cases):
    done = subprocess.run([f"{BUILD}/tests/sigv4_sign"], input=json.dumps(cases), capture_output=True, text=True,
                          timeout=60)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def client(site, credentials):
    return boto3.client(
        "s3", endpoint_url=site["endpoint"], region_name="eu-central-1", aws_access_key_id=credentials["access_key"],
        aws_secret_access_key=credentials["secret_key"], aws_session_token=credentials.get("session_token"),
        config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": site["addressing"]}))


class Captured(Exception):
    pass


def capture(c, operation, **arguments):
    """The request as boto3 would send it."""
    caught = []

    def before_send(request, **_):
        caught.append(request)
        raise Captured

    c.meta.events.register("before-send.s3", before_send)
    with pytest.raises(Captured):
        getattr(c, operation)(**arguments)
    c.meta.events.unregister("before-send.s3", before_send)
    return caught[0]


def text(value):
    return value.decode() if isinstance(value, bytes) else value


def case_of(request, site, credentials, key, query):
    """What boto3 signed, as a question to us."""
    headers = {k.lower(): text(v) for k, v in request.headers.items()}
    signed = re.search("SignedHeaders=([^,]*),", headers["authorization"]).group(1).split(";")
    own = ("host", "x-amz-date", "x-amz-content-sha256", "x-amz-security-token")
    sha256 = headers["x-amz-content-sha256"]
    return dict(site, **credentials, bucket="downloads", region="eu-central-1", method=request.method, key=key,
                time=int(WHEN.replace(tzinfo=datetime.timezone.utc).timestamp()), query=query,
                headers={k: headers[k] for k in signed if k not in own},
                sha256="" if sha256 == "UNSIGNED-PAYLOAD" else sha256)


def parameters(url):
    return sorted(urllib.parse.parse_qsl(url.query, keep_blank_values=True))


def compare(cases, requests_):
    for case, request, answer in zip(cases, requests_, ours(cases)):
        headers = {k.lower(): text(v) for k, v in request.headers.items()}
        lines = dict(line.split(": ", 1) for line in answer["lines"])
        assert lines["authorization"] == headers["authorization"], case
        for name in ("x-amz-date", "x-amz-content-sha256", "x-amz-security-token"):
            assert lines.get(name) == headers.get(name)
        theirs, mine = urllib.parse.urlsplit(request.url), urllib.parse.urlsplit(answer["url"])
        assert (mine.scheme, mine.path) == (theirs.scheme, theirs.path)
        assert mine.netloc == re.sub(":80$", "", theirs.netloc)
        assert parameters(mine) == parameters(theirs)


def requests_of(c, key):
    """Every kind of request that we make: operation, arguments, query."""
    where = dict(Bucket="downloads", Key=key)
    return [
        ("put_object", dict(where, Body=b"id,name\n", ContentType="text/csv; charset=utf-8"), {}),
        ("put_object", dict(where, Body=b"", ServerSideEncryption="aws:kms", SSEKMSKeyId="arn:aws:kms:x:1:key/2  3"), {}),
        ("get_object", dict(where, Range="bytes=7-7"), {}),
        ("head_object", where, {}),
        ("delete_object", where, {}),
        ("create_multipart_upload", dict(where, ContentType="text/csv", ServerSideEncryption="AES256"), {"uploads": ""}),
        ("upload_part", dict(where, UploadId=UPLOAD_ID, PartNumber=10000, Body=b"part"),
         {"partNumber": "10000", "uploadId": UPLOAD_ID}),
        ("abort_multipart_upload", dict(where, UploadId=UPLOAD_ID), {"uploadId": UPLOAD_ID}),
        ("complete_multipart_upload", dict(where, UploadId=UPLOAD_ID, MultipartUpload={
            "Parts": [{"ETag": '"abc"', "PartNumber": 1}]}), {"uploadId": UPLOAD_ID}),
    ]


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("credentials", CREDENTIALS, ids=lambda c: c["access_key"])
@pytest.mark.parametrize("site", SITES, ids=lambda s: f"{s['endpoint']}-{s['addressing']}")
def test_headers(site, credentials):
    c = client(site, credentials)
    cases, caught = [], []
    for key in KEYS:
        for operation, arguments, query in requests_of(c, key):
            request = capture(c, operation, **arguments)
            caught.append(request)
            cases.append(case_of(request, site, credentials, key, query))
    compare(cases, caught)


@pytest.mark.usefixtures("frozen")
def test_unsigned_payload():
    site, credentials = SITES[1], CREDENTIALS[0]
    c = boto3.client("s3", endpoint_url=site["endpoint"], region_name="eu-central-1",
                     aws_access_key_id=credentials["access_key"], aws_secret_access_key=credentials["secret_key"],
                     config=botocore.config.Config(signature_version="s3v4", s3={"addressing_style": "path",
                                                                                "payload_signing_enabled": False}))
    request = capture(c, "upload_part", Bucket="downloads", Key=KEYS[0], UploadId="u", PartNumber=1, Body=b"part")
    case = case_of(request, site, credentials, KEYS[0], {"partNumber": "1", "uploadId": "u"})
    assert case["sha256"] == ""
    compare([case], [request])


def link_pairs(site, credentials, keys, seconds):
    """Our links, and boto3's for the same."""
    c = client(site, credentials)
    cases = [dict(site, **credentials, bucket="downloads", region="eu-central-1", key=key, seconds=seconds,
                  time=int(WHEN.replace(tzinfo=datetime.timezone.utc).timestamp()), file_name=key.rsplit("/", 1)[-1],
                  content_type="text/csv; charset=utf-8") for key in keys]
    for case, answer in zip(cases, ours(cases)):
        query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(answer["url"]).query))
        theirs = c.generate_presigned_url("get_object", ExpiresIn=seconds, Params=dict(
            Bucket="downloads", Key=case["key"], ResponseContentDisposition=query["response-content-disposition"],
            ResponseContentType=case["content_type"]))
        yield answer["url"], theirs


@pytest.mark.usefixtures("frozen")
@pytest.mark.parametrize("credentials", CREDENTIALS, ids=lambda c: c["access_key"])
@pytest.mark.parametrize("site", SITES, ids=lambda s: f"{s['endpoint']}-{s['addressing']}")
def test_links(site, credentials):
    for mine, theirs in link_pairs(site, credentials, KEYS, 86400):
        assert sorted_link(mine) == sorted_link(theirs)


def sorted_link(link):
    parts = urllib.parse.urlsplit(link)
    return parts.scheme, re.sub(":80$", "", parts.netloc), parts.path, parameters(parts)


@pytest.mark.usefixtures("frozen")
def test_random_keys():
    seed = random.randrange(1 << 32)
    print(f"seed {seed}")
    r = random.Random(seed)
    alphabet = "abcXYZ019-_.~ +%/&=?#'\"()!*$,;:@[]{}|^`<>\\äß日🦆\u00a0\u2028"
    keys = []
    while len(keys) < 150:
        key = "".join(r.choice(alphabet) for _ in range(r.randrange(1, 60)))
        if all(s not in ("", ".", "..") for s in key.split("/")):
            keys.append(key)
    for i, site in enumerate(SITES):
        credentials = CREDENTIALS[i % 3]
        c = client(site, credentials)
        some = keys[i * 25:(i + 1) * 25]
        caught = [capture(c, "upload_part", Bucket="downloads", Key=k, UploadId=UPLOAD_ID, PartNumber=7, Body=b"x")
                  for k in some]
        compare([case_of(q, site, credentials, k, {"partNumber": "7", "uploadId": UPLOAD_ID})
                 for q, k in zip(caught, some)], caught)
        for mine, theirs in link_pairs(site, credentials, some, r.randrange(1, 604801)):
            assert sorted_link(mine) == sorted_link(theirs)


def make_link(swift, key, name, seconds, **environment):
    done = subprocess.run([f"{BUILD}/tests/s3_driver", "link", key, name, str(seconds)], capture_output=True, text=True,
                          timeout=30, env={**os.environ, **swift.environment(), **environment})
    assert done.returncode == 0, done.stdout + done.stderr
    expires, link = done.stdout.split(" ", 1)
    return int(expires), link.strip()


def test_links_of_the_real_server(swift):
    key = "org/a b+ä.csv"
    c = swift.client()
    c.put_object(Bucket=swift.bucket, Key=key, Body=b"id\n1\n", ContentType="application/octet-stream")
    try:
        expires, link = make_link(swift, key, 'résumé "1"/x\\y.csv', 60)
        assert abs(expires - time.time() - 60) < 3
        answer = requests.get(link, timeout=20)
        assert answer.status_code == 200 and answer.content == b"id\n1\n"
        assert answer.headers["Content-Type"] == "text/csv; charset=utf-8"
        assert answer.headers["Content-Disposition"] == (
            'attachment; filename="r_sum_ _1__x_y.csv"; filename*=UTF-8\'\'r%C3%A9sum%C3%A9%20%221%22_x_y.csv')
        for altered in (link.replace("a%20b", "a%20c"), link.replace("Expires=60", "Expires=600"),
                        link.replace("text%2Fcsv", "text%2Fhtml"), link[:-1] + ("0" if link[-1] != "0" else "1")):
            assert requests.get(altered, timeout=20).status_code == 403
        assert requests.delete(link, timeout=20).status_code == 403
        _, link = make_link(swift, key, "a.csv", 1)
        deadline = time.monotonic() + 20
        while requests.get(link, timeout=20).status_code != 403:  # until it has expired
            assert time.monotonic() < deadline
            time.sleep(0.1)
    finally:
        c.delete_object(Bucket=swift.bucket, Key=key)


def test_links_name_the_public_endpoint_and_never_outlive_their_keys(swift):
    for environment, host, most in (
            ({"S3_PUBLIC_ENDPOINT": "https://files.example"}, "https://files.example/downloads/", 604800),
            ({"S3_PUBLIC_ENDPOINT": "files.example:9000"}, "http://files.example:9000/downloads/", 604800),
            ({"S3_PUBLIC_ENDPOINT": "files.example", "S3_ENDPOINT": "minio:9000", "S3_ADDRESSING": "virtual"},
             "http://downloads.files.example/", 604800),
            ({"S3_SESSION_TOKEN": "token"}, f"http://127.0.0.1:{swift.port}/downloads/", 3600)):
        for asked in (60, 3600, 604800, 10 ** 9):
            expires, link = make_link(swift, "org/a.csv", "a.csv", asked, **environment)
            assert link.startswith(host + "org/a.csv?")
            query = dict(urllib.parse.parse_qsl(urllib.parse.urlsplit(link).query))
            assert int(query["X-Amz-Expires"]) == min(asked, most) or abs(int(query["X-Amz-Expires"]) - asked) <= 1
            begun = datetime.datetime.strptime(query["X-Amz-Date"], "%Y%m%dT%H%M%SZ").replace(
                tzinfo=datetime.timezone.utc).timestamp()
            assert expires == begun + int(query["X-Amz-Expires"])
            assert query.get("X-Amz-Security-Token") == environment.get("S3_SESSION_TOKEN")
