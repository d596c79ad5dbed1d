"""A database and a bucket of their own with servers on them; and what becomes of the peers."""
import contextlib
import hashlib
import itertools
import subprocess

from service import DUCKDB_RUN, Service

numbers = itertools.count()


@contextlib.contextmanager
def stopped(postgres):
    """The server is gone, as after a crash, and comes back."""
    postgres.kill()
    try:
        yield
    finally:
        postgres.start()


@contextlib.contextmanager
def paused(peer):
    """All processes of the peer stand still: it accepts, and does not answer."""
    peer.pause()
    try:
        yield
    finally:
        peer.resume()


class Place:
    """A database and a bucket of their own, and any number of servers on them."""

    def __init__(self, directory, source, postgres, swift):
        self.directory, self.source, self.postgres, self.swift = directory, source, postgres, swift
        self.database = postgres.new_database()
        self.bucket = f"place-{next(numbers)}"
        self.s3 = swift.client()
        self.s3.create_bucket(Bucket=self.bucket)
        self.servers = []

    def variables(self, **more):
        p, s = self.postgres, self.swift
        return {"POSTGRES_HOST": p.host, "POSTGRES_PORT": p.port, "POSTGRES_DB": self.database, "POSTGRES_USER": p.user,
                "POSTGRES_PASSWORD": p.password, "S3_ENDPOINT": s.endpoint, "S3_ACCESS_KEY": s.access_key,
                "S3_SECRET_KEY": s.secret_key, "S3_BUCKET": self.bucket, "S3_REGION": s.region,
                "S3_PART_SIZE": "5MiB", "JOB_LEASE": "2s", "SERVER_HOST": "127.0.0.1"} | more

    def make(self, **more):
        """A server that is not started yet."""
        directory = self.directory / f"server{next(numbers)}"
        directory.mkdir()
        self.servers.append(Service(directory, more.pop("source", self.source), **self.variables(**more)))
        return self.servers[-1]

    def start(self, **more):
        return self.make(**more).start()

    def sql(self, statement, *parameters):
        """All rows of a statement, committed."""
        return self.postgres.execute(statement, *parameters, dbname=self.database)

    def objects(self):
        """What the bucket holds, by key."""
        return {o["Key"]: o["Size"] for o in self.s3.list_objects_v2(Bucket=self.bucket).get("Contents", [])}

    def uploads(self):
        """Keys of the multipart uploads that are open."""
        return [u["Key"] for u in self.s3.list_multipart_uploads(Bucket=self.bucket).get("Uploads", [])]

    def sha256(self, key):
        digest = hashlib.sha256()
        for block in self.s3.get_object(Bucket=self.bucket, Key=key)["Body"].iter_chunks(1 << 20):
            digest.update(block)
        return digest.hexdigest()

    def copy_sha256(self, sql):
        """Of what DuckDB's own COPY writes; `sql` reads no table."""
        out = self.directory / "copy.csv"
        subprocess.run([DUCKDB_RUN, self.directory / "copy.duckdb", f"COPY ({sql}) TO '{out}' (FORMAT csv, HEADER)"], check=True)
        return hashlib.sha256(out.read_bytes()).hexdigest()
