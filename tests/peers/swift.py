"""A real S3 server for tests: OpenStack Swift with its s3api, one node on loopback, from Debian's packages.

    with Swift() as swift:                 # TLS: Swift(tls=True)
        swift.endpoint, swift.bucket, swift.access_key, swift.secret_key, swift.ca_file
        swift.client().list_objects_v2(Bucket=swift.bucket)

Each has ports and directories of its own, so that several can run at once. Needs root (its servers drop to the user
swift) and a file system with extended attributes. It is up in about two seconds."""
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

START_S = 60

RINGS = """
import sys
from swift.common.ring import RingBuilder
for argument in sys.argv[1:]:
    kind, port = argument.split(':')
    builder = RingBuilder(4, 1, 0)  # 16 partitions, one replica
    builder.add_dev(dict(region=1, zone=1, ip='127.0.0.1', port=int(port), replication_ip='127.0.0.1',
                         replication_port=int(port), device='d1', weight=1.0, meta=''))
    builder.rebalance()
    builder.get_ring().save(kind + '.ring.gz')
"""

BACKEND = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = swift
swift_dir = {etc}
devices = {devices}
mount_check = false
workers = 0
fallocate_reserve = 0
log_level = WARNING
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
{more}
"""

OBJECT_MORE = """mb_per_sync = 64
network_chunk_size = 262144
disk_chunk_size = 262144
"""

# The key of tempauth has a colon in it ("test:tester"), which is a good test of escaping.
PROXY = """[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = swift
swift_dir = {etc}
workers = {workers}
client_timeout = 60
{tls}
log_level = WARNING
[pipeline:main]
pipeline = catch_errors cache listing_formats bulk s3api tempauth slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
client_chunk_size = 262144
object_chunk_size = 262144
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
user_test_reader = readersecret
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
s3_acl = {acl}
storage_domain = localhost
auth_pipeline_check = false
dns_compliant_bucket_names = true
max_upload_part_num = 10000
min_segment_size = 5242880
allowable_clock_skew = 900
[filter:slo]
use = egg:swift#slo
max_manifest_segments = 10000
max_manifest_size = 16777216
[filter:dlo]
use = egg:swift#dlo
[filter:bulk]
use = egg:swift#bulk
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
"""


def free_ports(count):
    """Bound at once, so that they are different."""
    sockets = [socket.socket() for _ in range(count)]
    try:
        for s in sockets:
            s.bind(("127.0.0.1", 0))
        return [s.getsockname()[1] for s in sockets]
    finally:
        for s in sockets:
            s.close()


def make_certificate(directory):
    """A self-signed certificate for localhost, its sub-domains and 127.0.0.1: cert.pem and key.pem."""
    subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes",
                    "-days", "2", "-subj", "/CN=localhost", "-addext",
                    "subjectAltName=DNS:localhost,DNS:*.localhost,IP:127.0.0.1", "-keyout", f"{directory}/key.pem",
                    "-out", f"{directory}/cert.pem"], check=True, capture_output=True)
    return f"{directory}/cert.pem", f"{directory}/key.pem"


def is_open(port):
    with socket.socket() as s:
        s.settimeout(1)
        return s.connect_ex(("127.0.0.1", port)) == 0


class Swift:
    access_key, secret_key, region = "test:tester", "testing", "us-east-1"

    def __init__(self, bucket="downloads", tls=False, workers=0, acl=False):
        self.bucket, self.tls = bucket, tls
        if os.geteuid() != 0:
            raise RuntimeError("Swift's servers are started as root, and drop to the user swift")
        self.processes, self._client = [], None
        for attempt in range(3):
            # Not below a directory that only root may enter.
            self.directory = tempfile.mkdtemp(prefix="swift-", dir="/var/tmp")
            try:
                self._start(workers, acl)
                self.client().create_bucket(Bucket=bucket)
                return
            except BaseException as e:
                self.stop()
                # Somebody may have taken a port between our look and Swift's.
                if attempt == 2 or not isinstance(e, RuntimeError):
                    raise

    def _start(self, workers, acl):
        os.chmod(self.directory, 0o755)
        etc, devices, logs = (f"{self.directory}/{name}" for name in ("etc", "srv", "log"))
        for d in (etc, f"{devices}/d1", logs):
            os.makedirs(d)
        for d in (devices, f"{devices}/d1"):
            shutil.chown(d, "swift", "swift")
        account, container, objects, self.port, memcached = free_ports(5)
        subprocess.run(["/usr/bin/python3", "-c", RINGS, f"account:{account}", f"container:{container}",
                        f"object:{objects}"], check=True, cwd=etc, capture_output=True)
        tls, self.ca_file = "", None
        if self.tls:
            self.ca_file, key = make_certificate(etc)
            os.chmod(key, 0o644)
            tls = f"cert_file = {self.ca_file}\nkey_file = {key}"
        self.endpoint = f"http{'s' if self.tls else ''}://127.0.0.1:{self.port}"
        for kind, port in (("account", account), ("container", container), ("object", objects)):
            with open(f"{etc}/{kind}.conf", "w") as f:
                f.write(BACKEND.format(kind=kind, port=port, etc=etc, devices=devices,
                                       more=OBJECT_MORE if kind == "object" else ""))
        with open(f"{etc}/proxy.conf", "w") as f:
            f.write(PROXY.format(port=self.port, etc=etc, workers=workers, tls=tls, acl=str(acl).lower(),
                                 memcached=memcached))
        self._run(logs, "memcached", ["memcached", "-u", "memcache", "-l", "127.0.0.1", "-p", str(memcached), "-U", "0",
                                      "-m", "32"])
        for kind in ("account", "container", "object", "proxy"):
            self._run(logs, kind, [f"swift-{kind}-server", f"{etc}/{kind}.conf"])
        self._wait([memcached, account, container, objects, self.port], logs)

    def _run(self, logs, name, command):
        with open(f"{logs}/{name}", "wb") as log:
            self.processes.append(subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, cwd="/", start_new_session=True,
                env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}))

    def _wait(self, ports, logs):
        deadline = time.monotonic() + START_S
        while True:
            open_ = all(is_open(port) for port in ports)
            ended = any(p.poll() is not None for p in self.processes)
            if open_ and not ended:
                return
            if ended or time.monotonic() > deadline:
                texts = "".join(open(f"{logs}/{name}", errors="replace").read()[-2000:] for name in os.listdir(logs))
                raise RuntimeError(f"Swift did not start:\n{texts}")
            time.sleep(0.02)

    def client(self):
        """A boto3 client; any thread may use it."""
        if not self._client:
            self._client = self._new_client()
        return self._client

    def _new_client(self):
        import boto3
        import botocore.config
        config = botocore.config.Config(s3={"addressing_style": "path"}, signature_version="s3v4",
                                        retries={"max_attempts": 3})
        return boto3.client("s3", endpoint_url=self.endpoint, aws_access_key_id=self.access_key,
                            aws_secret_access_key=self.secret_key, region_name=self.region,
                            verify=self.ca_file or False, config=config)

    def open_uploads(self):
        """Keys of multipart uploads that are open."""
        answer = self.client().list_multipart_uploads(Bucket=self.bucket)
        return [u["Key"] for u in answer.get("Uploads", [])]

    def keys(self):
        return [o["Key"] for o in self.client().list_objects_v2(Bucket=self.bucket).get("Contents", [])]

    def environment(self):
        """For a test program: where it is, and with which keys."""
        return {"S3_ENDPOINT": self.endpoint, "S3_BUCKET": self.bucket, "S3_ACCESS_KEY": self.access_key,
                "S3_SECRET_KEY": self.secret_key, "S3_REGION": self.region, "S3_CA_FILE": self.ca_file or ""}

    def kill_proxy(self):
        """What clients talk to dies, as in a crash; the servers behind it stay."""
        os.killpg(self.processes[-1].pid, signal.SIGKILL)
        self.processes[-1].wait()

    def start_proxy(self):
        self._run(f"{self.directory}/log", "proxy", ["swift-proxy-server", f"{self.directory}/etc/proxy.conf"])
        del self.processes[-2]
        self._wait([self.port], f"{self.directory}/log")

    def _signal(self, number):
        for p in self.processes:
            if p.poll() is None:
                os.killpg(p.pid, number)

    def pause(self):
        """Stands still: connections are taken by the kernel, and nothing answers."""
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    def stop(self):
        self.resume()
        self._signal(signal.SIGTERM)
        for p in self.processes:
            try:
                p.wait(5)
            except subprocess.TimeoutExpired:
                os.killpg(p.pid, signal.SIGKILL)
                p.wait()
        self.processes, self._client = [], None
        shutil.rmtree(self.directory, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()


if __name__ == "__main__":  # by hand: runs until it is interrupted
    with Swift(tls="--tls" in sys.argv) as server:
        print(" ".join(f"{k}={v}" for k, v in server.environment().items()), flush=True)
        signal.sigwait([signal.SIGINT, signal.SIGTERM])
