"""Uploads a file's worth of bytes to a real S3 server (Swift): our store against boto3, same parts, as many at a time.

    /usr/bin/python3 bench/s3_upload.py [MIB [PART_MIB]]

CPU seconds are the client's. Over http both sign a SHA-256 of each part; over https neither does. boto3 runs with checksums
off where its version knows them, and with 4 threads, from a file in memory."""
import os
import resource
import subprocess
import sys
import tempfile
import time

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.environ.get("BUILD_DIR", f"{ROOT}/build")
sys.path.insert(0, f"{ROOT}/tests/peers")

from swift import Swift  # noqa: E402

MIB = 1 << 20

BOTO3 = """
import os, sys, boto3, botocore.config
from boto3.s3.transfer import TransferConfig
path, part = sys.argv[1], int(sys.argv[2])
options = {}
if hasattr(botocore.config.Config(), 'request_checksum_calculation'):
    options['request_checksum_calculation'] = 'when_required'
e = os.environ
c = boto3.client('s3', endpoint_url=e['S3_ENDPOINT'], region_name=e['S3_REGION'], aws_access_key_id=e['S3_ACCESS_KEY'],
                 aws_secret_access_key=e['S3_SECRET_KEY'], verify=e['S3_CA_FILE'] or False,
                 config=botocore.config.Config(signature_version='s3v4', s3={'addressing_style': 'path'}, **options))
c.upload_file(path, e['S3_BUCKET'], 'bench/boto3', Config=TransferConfig(
    multipart_threshold=part, multipart_chunksize=part, max_concurrency=4))
"""


def measure(command, environment):
    before, begun = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    done = subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True)
    wall = time.monotonic() - begun
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert done.returncode == 0 and "failed" not in done.stdout, done.stdout + done.stderr
    return wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def main():
    mib, part = (int(sys.argv[i]) if len(sys.argv) > i else d for i, d in ((1, 1024), (2, 16)))
    print(f"{mib} MiB in parts of {part} MiB, 4 at a time\n{'':22}{'wall s':>8}{'MB/s':>8}{'CPU s':>8}")
    for tls in (False, True):
        with Swift(tls=tls) as swift, tempfile.NamedTemporaryFile(dir="/dev/shm") as f:
            for _ in range(mib):
                f.write(os.urandom(1024) * 1024)
            f.flush()
            environment = {**swift.environment(), "S3_PART_SIZE": str(part * MIB), "SAME_BYTES": "1"}
            runs = {"ours": [f"{BUILD}/tests/s3_driver", "upload", f"bench/ours={mib * MIB}"],
                    "boto3": ["/usr/bin/python3", "-c", BOTO3, f.name, str(part * MIB)]}
            for name, command in runs.items():
                best = min(measure(command, environment) for _ in range(2))
                size = swift.client().head_object(Bucket=swift.bucket, Key=f"bench/{name}")["ContentLength"]
                assert size == mib * MIB
                print(f"{name + (', https' if tls else ', http'):22}{best[0]:8.2f}{mib * MIB / 1e6 / best[0]:8.0f}{best[1]:8.2f}",
                      flush=True)


main()
