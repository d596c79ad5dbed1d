"""What the S3 store does when the S3 server does not: each fault of faults/, between us and a real server."""
import os
import re
import subprocess
import time

import pytest

from conftest import ROOT
from fault_server import FaultServer, error

BUILD = os.environ.get("BUILD_DIR", f"{ROOT}/build")
MIB = 1 << 20
PART = 5 * MIB
SIZE = 2 * PART + 4321  # three parts
PATTERN = [bytes((block + i) % 251 for i in range(4096 + 251)) for block in range(251)]


def content(size):
    """As driver.c fills objects."""
    blocks = []
    for block in range((size + 4095) // 4096):
        at = (block + block * 4096) % 251
        blocks.append(PATTERN[0][at:at + 4096])
    return b"".join(blocks)[:size]


class Outcome:
    def __init__(self, line):
        self.key, self.what, ms, parts, self.code, self.message = line.split(" ", 5)
        self.ms, self.parts_done = int(ms), int(parts)


class Driver:
    """A run of driver.c against a server with a fault."""

    def __init__(self, swift, fault, **environment):
        self.swift = swift
        self.server = FaultServer(swift, fault)
        self.environment = {**os.environ, **swift.environment(), "S3_ENDPOINT": self.server.endpoint, **environment}

    def run(self, *arguments, timeout=60):
        done = subprocess.run([f"{BUILD}/tests/s3_driver", *arguments], capture_output=True, text=True, timeout=timeout,
                              env=self.environment)
        assert done.returncode == 0 and done.stderr == "", done.stdout + done.stderr
        for secret in (self.swift.secret_key, "X-Amz-Signature"):
            assert secret not in done.stdout
        return done.stdout.splitlines()

    def upload(self, *arguments, **options):
        """By key and outcome."""
        outcomes = [Outcome(line) for line in self.run("upload", *arguments, **options)]
        return {(o.key, o.what): o for o in outcomes}

    def __enter__(self):
        self.server.__enter__()
        return self

    def __exit__(self, *_):
        self.server.__exit__()


def read(swift, key):
    return swift.client().get_object(Bucket=swift.bucket, Key=key)["Body"].read()


@pytest.fixture(autouse=True)
def bucket_is_left_clean(swift):
    yield
    left = swift.open_uploads()
    client = swift.client()
    for key in swift.keys():
        client.delete_object(Bucket=swift.bucket, Key=key)
    for u in client.list_multipart_uploads(Bucket=swift.bucket).get("Uploads", []):
        client.abort_multipart_upload(Bucket=swift.bucket, Key=u["Key"], UploadId=u["UploadId"])
    assert left == []


PASSING = ["none", "part_500", "part_503_slow_down", "part_400_request_timeout", "part_reset_midway",
           "idle_connections_are_closed", "complete_200_with_error", "complete_answer_lost",
           "complete_no_such_upload_after_a_retry", "complete_is_not_xml", "create_answer_lost", "slow_store",
           "part_answers_in_pieces", "part_taken_before_it_is_sent", "part_answer_is_not_http", "part_answer_is_cut_off",
           "part_answer_has_two_lengths"]


@pytest.mark.parametrize("fault", PASSING)
def test_a_fault_that_passes(swift, fault):
    with Driver(swift, fault) as d:
        outcomes = d.upload(f"org/{fault}.csv={SIZE}")
        assert set(outcomes) == {(f"org/{fault}.csv", "finished")}, [o.message for o in outcomes.values()]
        assert outcomes[f"org/{fault}.csv", "finished"].parts_done == 3
        assert read(swift, f"org/{fault}.csv") == content(SIZE)
        tries = d.server.count("part") + d.server.count("complete") + d.server.count("create") - 5
        expected = {"none": 0, "idle_connections_are_closed": 0, "complete_is_not_xml": 0, "slow_store": 0,
                    "part_answers_in_pieces": 0, "part_500": 2, "part_503_slow_down": 3}
        assert tries == expected.get(fault, 1)


@pytest.mark.parametrize("fault, connections", [("none", 3), ("idle_connections_are_closed", 9)])
def test_connections_are_used_again_while_they_live(swift, fault, connections):
    """Two parts at a time: the rest of the requests has a connection of its own (Create is never on one that was kept)."""
    with Driver(swift, fault, S3_PARTS_A_JOB="2") as d:
        outcomes = d.upload(f"org/a.csv={6 * PART}")
        assert set(outcomes) == {("org/a.csv", "finished")}
        assert read(swift, "org/a.csv") == content(6 * PART)
        assert d.server.count("part") == 6
        assert d.server.connections == connections


FAILING = {
    "complete_200_with_invalid_part": ("storage_failed", "lost a part"),
    "complete_no_such_upload": ("storage_failed", "does not have the object"),
    "part_without_etag": ("storage_failed", "ETag"),
    "part_with_malformed_etag": ("storage_failed", "ETag"),
    "part_with_wrong_etag": ("storage_failed", "InvalidPart"),
    "object_missing_after_complete": ("storage_failed", "does not have the object"),
    "object_truncated_after_complete": ("storage_failed", "another object"),
    "token_expired": ("configuration", "session token is over"),
    "wrong_region_301": ("configuration", "region eu-west-3"),
    "redirect_307": ("configuration", "sends us elsewhere"),
    "create_oversized": ("storage_failed", "too long"),
    "create_malformed": ("storage_failed", "not understood"),
    "access_denied": ("configuration", "s3:PutObject"),
    "part_refused_early_in_chunks": ("configuration", "s3:PutObject"),
    "part_answer_too_long": ("storage_failed", "too long"),
    "clock_skew": ("configuration", "36000 s behind"),
}


@pytest.mark.parametrize("fault", FAILING)
def test_a_fault_that_stays(swift, fault):
    code, message = FAILING[fault]
    key = f"org/{fault}.csv"
    with Driver(swift, fault) as d:
        outcomes = d.upload(f"{key}={SIZE}")
        assert set(outcomes) == {(key, "failed"), (key, "aborted")}
        assert outcomes[key, "failed"].code == code
        assert message in outcomes[key, "failed"].message, outcomes[key, "failed"].message
        assert outcomes[key, "aborted"].ms < 10000
        assert key not in swift.keys()
        if fault in ("token_expired", "access_denied", "wrong_region_301"):  # not tried again
            assert all(d.server.seen.count(s) == 1 for s in d.server.seen)


def test_another_last_byte(swift):
    with Driver(swift, "object_other_after_put") as d:
        outcomes = d.upload("org/small.csv=1000")
        assert "another object" in outcomes["org/small.csv", "failed"].message
        assert swift.keys() == []


def test_retry_after_is_honoured(swift):
    with Driver(swift, "put_429_retry_after") as d:
        outcomes = d.upload("org/small.csv=1000")
        assert 2000 <= outcomes["org/small.csv", "finished"].ms < 10000
        assert read(swift, "org/small.csv") == content(1000)


def test_a_stalled_connection_delays_no_other(swift):
    """It is broken off after 2 s without a byte, and tried again; beside it, five others are long done."""
    with Driver(swift, "part_stalled", S3_SILENCE_S="2") as d:
        others = [f"org/other-{i}.csv" for i in range(5)]
        outcomes = d.upload(f"stalled/a.csv={SIZE}", *(f"{k}={PART + 1}" for k in others))
        stalled = outcomes["stalled/a.csv", "finished"]
        assert stalled.ms >= 2000
        assert max(outcomes[k, "finished"].ms for k in others) < stalled.ms
        assert read(swift, "stalled/a.csv") == content(SIZE)
        assert d.server.seen.count(("part", "stalled/a.csv", 1)) == 2


def test_a_store_that_never_answers_is_given_up_in_time(swift):
    with Driver(swift, "everything_stalls", S3_TIMEOUT_MS="3000", S3_SILENCE_S="1", S3_ABORT_MS="1500") as d:
        outcomes = d.upload("org/a.csv=100")
        assert "does not answer" in outcomes["org/a.csv", "failed"].message
        assert "tried" in outcomes["org/a.csv", "failed"].message
        assert outcomes["org/a.csv", "failed"].ms < 12000
        assert outcomes["org/a.csv", "aborted"].ms - outcomes["org/a.csv", "failed"].ms < 5000


def test_abort_is_answered_when_the_store_does_not(swift):
    with Driver(swift, "everything_stalls", S3_ABORT_MS="1000") as d:
        outcomes = d.upload("--abort-after", "300", f"org/a.csv={SIZE}")
        assert set(outcomes) == {("org/a.csv", "aborted")}
        assert outcomes["org/a.csv", "aborted"].ms < 3000


def test_abort_in_the_middle_of_parts(swift):
    with Driver(swift, "slow_store") as d:
        outcomes = d.upload("--abort-after", "1500", f"org/a.csv={8 * PART}")
        assert set(outcomes) == {("org/a.csv", "aborted")}
        assert d.server.count("part") > 0 and d.server.count("complete") == 0
        assert swift.keys() == []


def test_close_takes_back_what_is_under_way(swift):
    with Driver(swift, "slow_store") as d:
        outcomes = d.upload("--close-after", "1000", f"org/a.csv={8 * PART}", f"org/b.csv={8 * PART}", "org/c.csv=3000000")
        assert set(outcomes) == {("-", "closed")} and outcomes["-", "closed"].ms < 4000
        assert d.server.count("part") > 0 and d.server.count("abort") == 2
        assert swift.keys() == []


def test_close_does_not_wait_for_a_store_that_is_silent(swift):
    with Driver(swift, "everything_stalls") as d:
        outcomes = d.upload("--close-after", "300", f"org/a.csv={SIZE}", "org/b.csv=10")
        assert set(outcomes) == {("-", "closed")} and outcomes["-", "closed"].ms < 4000


def test_a_torn_part_is_the_stores_own_error(swift):
    with Driver(swift, "none", TORN_PART="1") as d:
        outcomes = d.upload(f"org/a.csv={SIZE}")
        assert "bytes were changed on their way" in outcomes["org/a.csv", "failed"].message
        assert d.server.seen.count(("part", "org/a.csv", 2)) == 1


def test_unsigned_payload_and_session_token(swift):
    """Swift has no session tokens: it only sees that they are signed."""
    for environment in ({"S3_SIGN_PAYLOAD": "off"}, {"S3_SESSION_TOKEN": "token+/=="}):
        headers = []
        with Driver(swift, lambda request, seen: headers.append(request.headers), **environment) as d:
            outcomes = d.upload(f"org/a.csv={SIZE}", "org/b.csv=10")
            assert len(outcomes) == 2 and {what for _, what in outcomes} == {"finished"}
            assert read(swift, "org/a.csv") == content(SIZE)
        for h in headers:
            assert h["X-Amz-Security-Token"] == environment.get("S3_SESSION_TOKEN")
            assert h["Expect"] is None
        unsigned = [h["X-Amz-Content-Sha256"] for h in headers].count("UNSIGNED-PAYLOAD")
        assert unsigned == (4 if "S3_SIGN_PAYLOAD" in environment else 0)  # three parts and the small object


@pytest.mark.parametrize("sse,expected", [("AES256", ("AES256", None)), ("aws:kms", ("aws:kms", "arn:aws:kms:key/1"))])
def test_encryption_is_asked_for(swift, sse, expected):
    """Swift does not know it: what is asked for is looked at on the way."""
    asked = {}

    def on(request, seen):
        h = request.headers
        asked[request.kind] = h["X-Amz-Server-Side-Encryption"], h["X-Amz-Server-Side-Encryption-Aws-Kms-Key-Id"]
        signed = h["Authorization"].split("SignedHeaders=")[1].split(",")[0].split(";")
        for name in ("x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"):
            assert (name in signed) == (h[name] is not None)
        return error(501, "NotImplemented") if request.kind in ("create", "put") else None

    with Driver(swift, on, S3_SSE=sse, S3_SSE_KMS_KEY_ID="arn:aws:kms:key/1") as d:
        outcomes = d.upload(f"org/a.csv={SIZE}", "org/b.csv=10")
        assert "GOPIE_DS_S3_SSE" in outcomes["org/a.csv", "failed"].message
    assert asked["create"] == asked["put"] == expected
    assert asked["delete"] == (None, None)


def test_an_upload_is_left_alone_after_a_complete_that_nobody_knows_of(swift):
    """Only the object is removed: an abort that meets the Complete would leave half an object on some stores."""
    with Driver(swift, "complete_never_answered_and_no_look", S3_TIMEOUT_MS="2000", S3_SILENCE_S="1",
                S3_ABORT_MS="2000") as d:
        outcomes = d.upload(f"org/a.csv={SIZE}")
        assert set(outcomes) == {("org/a.csv", "failed"), ("org/a.csv", "aborted")}
        assert d.server.count("abort") == 0 and d.server.count("delete") == 1
        assert swift.keys() == []


def test_the_unknown_upload_of_a_lost_answer_is_found(swift):
    with Driver(swift, "create_answer_lost") as d:
        d.upload(f"org/a.csv={SIZE}")
        assert d.server.count("create") == 2 and d.server.count("list") == 1 and d.server.count("abort") == 1


def test_removal_fails_clearly(swift):
    for fault, expected in (("list_malformed", "storage_failed the S3 store lists its uploads in a way"),
                            ("access_denied", "configuration the S3 store answers 403 AccessDenied"),
                            ("none", "ok -")):
        with Driver(swift, fault) as d:
            assert d.run("remove", "org/a.csv")[0].startswith(expected)


CHECKS = {
    "none": "ok -",
    "access_denied": r"configuration bucket \"downloads\" at http://127.0.0.1:\d+: .*AccessDenied.*s3:PutObject",
    "clock_skew": r"configuration .*the clock of this machine is 36000 s behind that of the S3 store.*NTP",
    "wrong_region_301": r"configuration .*region eu-west-3: set GOPIE_DS_S3_REGION",
    "not_an_s3_store": r"configuration http://127.0.0.1:\d+ does not answer as an S3 store does: check GOPIE_DS_S3_ENDPOINT",
    "abort_denied": r"configuration .*uploads can be opened, but not listed and aborted: .*s3:AbortMultipartUpload",
    "everything_stalls": r"unavailable .*does not answer: no answer in time.*check that it runs there",
}


@pytest.mark.parametrize("fault", CHECKS)
def test_check(swift, fault):
    with Driver(swift, fault) as d:
        begun = time.monotonic()
        line, = d.run("check")
        assert re.match(CHECKS[fault], line), line
        assert time.monotonic() - begun < 15
    if fault == "abort_denied":  # what the fault left
        for u in swift.client().list_multipart_uploads(Bucket=swift.bucket)["Uploads"]:
            swift.client().abort_multipart_upload(Bucket=swift.bucket, Key=u["Key"], UploadId=u["UploadId"])


def test_a_check_that_was_cut_off_is_made_again(swift):
    with Driver(swift, "lists_and_aborts_unavailable") as d:
        first, second = d.run("check", "2")
    assert re.match(r"unavailable .*uploads can be opened, but not listed and aborted: ", first), first
    assert second == "ok -"  # and nothing of the first is left: bucket_is_left_clean


def check_directly(swift, **environment):
    done = subprocess.run([f"{BUILD}/tests/s3_driver", "check"], capture_output=True, text=True, timeout=30,
                          env={**os.environ, **swift.environment(), **environment})
    for secret in (swift.secret_key, "wrongsecret"):
        assert secret not in done.stdout
    return done.stdout.strip()


def test_check_against_the_real_server(swift, swift_tls):
    assert check_directly(swift) == "ok -"
    assert check_directly(swift_tls) == "ok -"
    assert re.match(r'configuration bucket "nowhere" .*NoSuchBucket: the bucket does not exist: create it, or check '
                    'GOPIE_DS_S3_BUCKET', check_directly(swift, S3_BUCKET="nowhere"))
    for wrong in ({"S3_SECRET_KEY": "wrongsecret"}, {"S3_ACCESS_KEY": "test:nobody"}):
        assert re.match("configuration .*GOPIE_DS_S3_ACCESS_KEY, GOPIE_DS_S3_SECRET_KEY", check_directly(swift, **wrong))
    assert re.match("configuration .*AccessDenied", check_directly(swift, S3_ACCESS_KEY="test:reader",
                                                                    S3_SECRET_KEY="readersecret"))
    assert re.match("configuration .*region us-east-1: set GOPIE_DS_S3_REGION",
                    check_directly(swift, S3_REGION="eu-north-1"))
    assert re.match("configuration .*certificate is not trusted.*GOPIE_DS_S3_CA_FILE",
                    check_directly(swift_tls, S3_CA_FILE=""))
    assert re.match("unavailable .*does not answer", check_directly(swift, S3_ENDPOINT="http://127.0.0.1:1"))
    assert re.match("unavailable .*does not answer", check_directly(swift, S3_ENDPOINT=f"https://127.0.0.1:{swift.port}"))
    assert re.match("unavailable .*does not answer", check_directly(swift, S3_ENDPOINT="http://nowhere.invalid"))
    assert swift.open_uploads() == [] and swift.keys() == []
