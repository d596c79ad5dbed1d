"""Results of several row groups and all of the engine's threads, byte for byte what COPY writes."""
import hashlib

import pytest

from worker import make_source, run_job

ROWS = 400_000  # more than three row groups of 122,880

# By column: how it is stored (constant, dictionary, runs, FSST, bit-packed, ALP, uncompressed), and where it is NULL.
TABLE = f"""CREATE TABLE big AS SELECT
    i AS id,
    'all the same' AS same,
    NULL::INTEGER AS nothing,
    ['red', 'green, or so', '', 'say "blue"', NULL][(hash(i) % 5)::INT + 1] AS dictionary,
    (i // 5000)::SMALLINT AS runs,
    'https://example.org/a/' || (hash(i) % 1000) || '/page#' || i AS fsst,
    CASE WHEN i % 7 = 0 THEN NULL ELSE (hash(i + 1) % 1000000)::INTEGER END AS sometimes,
    CASE WHEN i < 130000 OR i > 260000 THEN i / 7.0 END AS in_the_middle,
    (((hash(i + 2) % 100000000)::BIGINT - 50000000)::DECIMAL(18, 2) * 0.01)::DECIMAL(18, 2) AS amount,
    TIMESTAMP '2020-01-01' + INTERVAL (i * 37) SECOND AS at,
    CASE WHEN hash(i) % 1000 = 0 THEN repeat('long, ', 2000) ELSE 'short' END AS now_and_then,
    CASE hash(i) % 3 WHEN 0 THEN [] WHEN 1 THEN [i, NULL] END AS list,
    (hash(i) // 4)::HUGEINT * (hash(i + 3) // 4)::HUGEINT AS huge
FROM range({ROWS}) r(i)"""

IN_ORDER = [
    "FROM big",
    "SELECT same, nothing FROM big",
    "SELECT 1 AS one, NULL AS n, 'x' AS x FROM big",
    "SELECT dictionary, same, runs FROM big WHERE dictionary = 'say \"blue\"'",
    "SELECT id, fsst FROM big WHERE id % 997 = 3",
    "SELECT * FROM big WHERE id = 399999",
    "SELECT * FROM big WHERE in_the_middle IS NULL",
    "SELECT * EXCLUDE now_and_then FROM big WHERE sometimes IS NULL OR runs = 40",
    "FROM big LIMIT 150000",
    "SELECT id, fsst FROM big LIMIT 130000 OFFSET 200000",
    "SELECT id, amount FROM big OFFSET 399000",
    "SELECT id, dictionary, list FROM big ORDER BY huge, id",
    "SELECT id, fsst FROM big ORDER BY fsst DESC LIMIT 10000",
    "SELECT id, fsst FROM big UNION ALL SELECT -id, dictionary FROM big UNION ALL SELECT 0, NULL",
    "SELECT a.id, b.fsst FROM big a JOIN big b ON a.id = b.id + 1 ORDER BY a.id",
    "SELECT id, (SELECT count(*) FROM big) AS n FROM big",
    "SELECT id, row_number() OVER (ORDER BY huge, id) AS n, lag(dictionary) OVER (ORDER BY id) AS d FROM big ORDER BY id",
    "SELECT id, sum(id) OVER (PARTITION BY runs ORDER BY id ROWS 3 PRECEDING) AS s FROM big ORDER BY id",
    "WITH RECURSIVE c(n) AS (SELECT 1 UNION ALL SELECT n + 1 FROM c WHERE n < 20000) SELECT n, n::VARCHAR AS t FROM c",
    "SELECT id, unnest([id, -id, NULL]) AS u FROM big",
    "SELECT unnest(range(300000)) AS u, 'y' AS y",
    "SELECT i, i::VARCHAR || ',' AS t FROM range(300000) r(i)",
    "SELECT runs, count(*) AS n, sum(amount) AS s, min(fsst) AS f FROM big GROUP BY runs ORDER BY runs",
    "SELECT DISTINCT dictionary, runs FROM big ORDER BY ALL",
    "PIVOT (SELECT runs, dictionary FROM big) ON dictionary IN ('red', '') USING count(*) GROUP BY runs ORDER BY runs",
]

IN_ANY_ORDER = [
    "WITH m AS MATERIALIZED (SELECT id, fsst FROM big WHERE id % 2 = 0) FROM m",
    "SELECT a.id, b.dictionary FROM big a JOIN big b ON a.id = b.id + 1",
    "SELECT id, fsst, a.runs FROM big a LEFT JOIN (SELECT DISTINCT runs FROM big WHERE runs % 2 = 0) b ON a.runs = b.runs",
    "SELECT fsst, count(*) AS n FROM big GROUP BY fsst",
    "SELECT id, row_number() OVER (PARTITION BY runs ORDER BY huge, id) AS n FROM big",
    "SELECT id FROM big EXCEPT SELECT id FROM big WHERE id % 3 = 0",
]


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    path = tmp_path_factory.mktemp("large") / "large.duckdb"
    return make_source(path, TABLE)


@pytest.fixture(scope="module")
def copied(source, tmp_path_factory):
    """The query's file as COPY writes it, once for all."""
    directory, files = tmp_path_factory.mktemp("copied"), {}
    for sql in IN_ORDER + IN_ANY_ORDER:
        files[sql] = directory / f"{len(files)}.csv"
    make_source(source, *(f"COPY ({sql}) TO '{path}' (FORMAT csv, HEADER)" for sql, path in files.items()))
    return files


@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.parametrize("sql", IN_ORDER)
def test_every_byte_in_order(source, copied, sql, threads, tmp_path):
    job = run_job(source, sql, tmp_path, threads=threads, memory="512MiB")
    expected = copied[sql].read_bytes()
    assert job.done and job.broken == "", job.message
    assert hashlib.sha256(job.data).hexdigest() == hashlib.sha256(expected).hexdigest()


@pytest.mark.parametrize("sql", IN_ANY_ORDER)
def test_every_line_once(source, copied, sql, tmp_path):
    job = run_job(source, sql, tmp_path, threads=4, memory="512MiB")
    ours, theirs = job.data.split(b"\n"), copied[sql].read_bytes().split(b"\n")
    assert job.done and job.broken == "", job.message
    assert ours[0] == theirs[0] and sorted(ours) == sorted(theirs)


@pytest.mark.parametrize("threads", [1, 4])
def test_no_error_is_taken_for_the_end(source, threads, tmp_path):
    """Wherever a query fails, and with whatever words: no file is called complete."""
    for row in (0, 1, 2047, 2048, 122879, 122880, 250001, ROWS - 1):
        for words in ("'the row fails'", "''"):
            sql = f"SELECT id, CASE WHEN id = {row} THEN error({words}) ELSE fsst END AS x FROM big"
            job = run_job(source, sql, tmp_path, threads=threads, memory="512MiB")
            assert not job.done and job.broken == "" and job.code == "query_failed", (row, words, job.message)


def test_memory_that_just_does_is_enough_or_an_error(source, copied, tmp_path):
    """From too little to plenty: each job fails as one without memory, or every byte is right."""
    sql = "SELECT id, dictionary, list FROM big ORDER BY huge, id"
    expected, done = copied[sql].read_bytes(), 0
    for mebibytes in (8, 16, 24, 32, 48, 64, 128, 512):
        job = run_job(source, sql, tmp_path, threads=4, memory=f"{mebibytes}MiB")
        if job.done:
            assert job.data == expected
            done += 1
        else:
            assert job.code == "out_of_memory" or "died" in job.broken, (mebibytes, job.message)
    assert done > 0
