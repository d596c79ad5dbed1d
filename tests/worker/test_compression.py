"""Compressed files: what is in them is the plain file, whole, in one member or frame, in little memory."""
import gzip
import hashlib
import json
import os
import subprocess
import zlib

import pytest
import zstandard

from worker import make_source, run_job

ROWS = 3_000_000
COMPRESSIONS = ["gzip", "zstd"]
OF_ONE_GB = f"SELECT *, repeat(name, 28) AS long FROM t"


def form(compression, **members):
    return json.dumps({"format": "csv", "compression": compression} | members)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("source") / "main.duckdb"
    return make_source(path, f"CREATE TABLE t AS SELECT i AS id, 'name ' || i AS name, hash(i) AS h FROM range({ROWS}) r(i)",
                       "CREATE TABLE noise AS SELECT from_hex(md5(i::VARCHAR) || md5((-i)::VARCHAR)) AS b FROM range(200000) r(i)")


def unpack_gzip(data):
    """Of the first member; nothing may be behind it."""
    d = zlib.decompressobj(31)
    plain = d.decompress(data)
    assert d.eof and d.unused_data == b""
    return plain


def unpack_zstd(data):
    """Of the first frame, with its checksum; nothing may be behind it."""
    assert zstandard.get_frame_parameters(data).has_checksum
    d = zstandard.ZstdDecompressor().decompressobj()
    plain = d.decompress(data)
    assert d.unused_data == b"" and d.flush() in (b"", None)
    with pytest.raises(zstandard.ZstdError):
        d.decompress(b"more")  # the frame is at its end
    return plain


UNPACK = {"gzip": unpack_gzip, "zstd": unpack_zstd, "none": bytes}


@pytest.mark.parametrize("threads,template", [(1, 0), (4, 0), (4, 1)])
@pytest.mark.parametrize("sql", ["FROM t", "FROM noise", "FROM t LIMIT 0", "SELECT 1 AS a", "FROM t LIMIT 12345"])
def test_the_plain_file_is_in_it(source, sql, threads, template, tmp_path):
    plain = run_job(source, sql, tmp_path, threads=threads)
    assert plain.done and plain.broken == ""
    for compression in COMPRESSIONS:
        job = run_job(source, sql, tmp_path, threads=threads, template=template, format=form(compression))
        assert job.done and job.broken == "" and job.rows == plain.rows
        assert job.bytes == len(job.data) and job.sha256 == hashlib.sha256(job.data).hexdigest()
        assert UNPACK[compression](job.data) == plain.data


def test_programs_read_it(source, tmp_path):
    plain = run_job(source, "FROM t LIMIT 300000", tmp_path).data
    job = run_job(source, "FROM t LIMIT 300000", tmp_path, format=form("gzip"))
    assert gzip.decompress(job.data) == plain
    assert subprocess.run(["gzip", "-t"], input=job.data).returncode == 0
    assert subprocess.run(["gzip", "-dc"], input=job.data, capture_output=True).stdout == plain
    job = run_job(source, "FROM t LIMIT 300000", tmp_path, format=form("zstd"))
    assert subprocess.run(["zstd", "-tq"], input=job.data).returncode == 0
    assert subprocess.run(["zstd", "-dcq"], input=job.data, capture_output=True).stdout == plain


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_same_bytes_however_it_runs(source, compression, tmp_path):
    digests = {run_job(source, "FROM t LIMIT 1000000", tmp_path, threads=threads, part_size=size, format=form(compression)).sha256
               for threads, size in ((1, "4MiB"), (2, "64KiB"), (4, "8MiB"))}
    assert len(digests) == 1


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_limits_are_of_the_plain_file(source, compression, tmp_path):
    for limits in ({"row_limit": 1234567}, {"byte_limit": 10_000_000}):
        plain = run_job(source, "FROM t", tmp_path, format=form("none", **limits))
        job = run_job(source, "FROM t", tmp_path, format=form(compression, **limits))
        assert job.done and job.truncated and plain.truncated and job.rows == plain.rows
        assert UNPACK[compression](job.data) == plain.data


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_gigabyte_in_little_memory(source, compression, tmp_path):
    job = run_job(source, OF_ONE_GB, tmp_path, threads=8, memory="256MiB", format=form(compression))
    assert job.done and job.broken == "" and job.rows == ROWS
    assert job.peak_rss_anon < 300 << 20
    reader = gzip.open if compression == "gzip" else zstandard.open
    with reader(tmp_path / "out.csv") as file:
        digest, length = hashlib.sha256(), 0
        for piece in iter(lambda: file.read(1 << 20), b""):
            digest.update(piece)
            length += len(piece)
    assert length > 1_000_000_000
    os.truncate(tmp_path / "out.csv", 0)
    plain = run_job(source, OF_ONE_GB, tmp_path, threads=8)
    assert (plain.bytes, plain.sha256) == (length, digest.hexdigest())


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_beside_a_query_that_takes_all_its_memory(source, compression, tmp_path):
    """Its threads have their room even then: what does without compression does with it."""
    sql = "SELECT id, name, h FROM t ORDER BY h, id"
    plain = run_job(source, sql, tmp_path, threads=8, memory="128MiB")
    job = run_job(source, sql, tmp_path, threads=8, memory="128MiB", format=form(compression))
    assert plain.done and job.done, (plain.message, job.message)
    assert UNPACK[compression](job.data) == plain.data


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_cancelled_in_the_middle(source, compression, tmp_path):
    sql = "SELECT md5((a.id + b.id * 3000000)::VARCHAR) AS m FROM t a, t b"
    job = run_job(source, sql, tmp_path, threads=4, cancel_after=8 << 20, format=form(compression))
    assert not job.done and job.broken == "" and job.code == "cancelled" and job.cancel_ms < 1000
    job = run_job(source, sql, tmp_path, cancel_after=1 << 20, slow=100, part_size="1MiB", parts=2, format=form(compression))
    assert job.code == "cancelled" and job.cancel_ms < 1000  # while no buffer is free


@pytest.mark.parametrize("compression", COMPRESSIONS)
def test_a_row_that_fails(source, compression, tmp_path):
    sql = f"SELECT id, CASE WHEN id = {ROWS - 1} THEN error('the last row fails') ELSE name END AS x FROM t"
    job = run_job(source, sql, tmp_path, threads=4, format=form(compression))
    assert not job.done and job.broken == "" and job.code == "query_failed" and "the last row fails" in job.message


def test_processor_time_of_compression(source, tmp_path):
    query, encode, pack, hashed = run_job(source, "FROM t", tmp_path, format=form("gzip")).cpu_us
    assert min(query, encode, pack, hashed) > 0
    assert run_job(source, "FROM t", tmp_path).cpu_us[2] == 0
