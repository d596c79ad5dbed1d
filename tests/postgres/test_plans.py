"""How Postgres runs each statement of the store at 100,000 downloads: never by reading a table from end to end, with plans
for the values at hand and with those for any value, with statistics and without, on our table and on gopie's."""

import json
import subprocess

import pytest

from peers.gopie import gopie_migrates
from store import BUILD, Driver

ROWS = 100000
SOME_ID = "md5('1')::uuid"
IDS = "ARRAY[md5('12345')::uuid, md5('12346')::uuid]"

# The values of each statement, as SQL.
VALUES = {
    "CREATE": ["gen_random_uuid()", "'user 1'", "'org 1'", "'set'", "'SELECT 1'", "'csv'", "2000", "true", "1800", "5",
               "0", "0", "0", "'{}'", "'csv'"],
    "CLAIM": ["'owner 1'", "10", "60000", "true", "0", "0", "0", "0", "5"],
    "NOTE_UPLOAD": [SOME_ID, "1", "'owner 1'", "'upload'"],
    "PROGRESS": [IDS, "ARRAY[1, 1]", "ARRAY[5, 5]", "ARRAY[6, 6]", "ARRAY[7, NULL]"],
    "PUBLISH": [SOME_ID, "1", "'owner 1'", "'2100-01-01'", "'link'", "1", "2", "'hash'", "'key'", "5", "0", "0",
                "'[]'", "'{}'"],
    "FAIL": [SOME_ID, "1", "'owner 1'", "'why'", "'code'", "'short'", "5", "0", "0"],
    "REQUEUE": [SOME_ID, "1", "'owner 1'", "'why'", "'code'", "2000"],
    "CURRENT": [SOME_ID, "'owner 1'"],
    "GET": [SOME_ID, "'org 1'"],
    "ATTEMPTS": [SOME_ID],
    "LIST": ["'org 1'", "'user 1'", "10", "20", "65536"],
    "LIST_SEEN": ["'org 1'", "'user 1'", "10", "20", "65536"],
    "REMOVE": [SOME_ID, "'org 1'", "5", "0", "0"],
    "EXPIRE": ["100"],
    "LEFTOVERS": ["100", "true"],
    "CLEANED": [SOME_ID, "1", "3600000000", "true"],
    "LEFT_BEHIND": [SOME_ID, "1", "'key'", "'upload'"],
    "NOT_CLEANED": [SOME_ID, "1", "60000000"],
    "RENEW": ["'owner 1'", "60000", "0", "0", "0", "0"],
    "POLL": ["'owner 1'", IDS, "ARRAY[1, 1]", "ARRAY[1, 1]", "ARRAY[1, 1]", "true", "0", "0", "0", "0"],
    "SETTLE": ["5"],
}
# Reads all records by its nature: at the start, and then once a minute at most while somebody lists, and only where the
# table is another role's and has no index for lists.
READS_ALL = {"SEE_RECORDS"}

FILL = [
    """INSERT INTO downloads (id, sql, dataset_id, status, format, user_id, org_id, created_at, expires_at)
       SELECT md5(i::text)::uuid, 'SELECT ' || i, 'set',
        (ARRAY['completed', 'failed', 'expired', 'pending', 'processing'])[1 + least(i %% 50, 4)]::{status},
        'csv', 'user ' || i %% 40, 'org ' || i %% 20, now() - i * interval '1 minute', now() + i * interval '1 minute'
       FROM generate_series(1, %s) i""",
    """INSERT INTO downloads_jobs (id, version, attempt, rows, bytes, link_ends)
       SELECT id, 3, 1, 10, 100, CASE status::text WHEN 'completed' THEN expires_at END FROM downloads
       WHERE %s > 0 AND sql NOT LIKE '%%7'""",
    """INSERT INTO downloads_attempts (id, attempt, object_key, state, expires_at, due_at)
       SELECT id, 1, 'key', CASE status::text WHEN 'failed' THEN 'over' ELSE 'published' END, expires_at, expires_at
       FROM downloads WHERE %s > 0""",
    """INSERT INTO downloads_seen (id, org_id, user_id, created_at) SELECT id, org_id, user_id, created_at FROM downloads
       WHERE %s > 0""",
    """INSERT INTO downloads_queue (id, org_id, tag, owner, lease_until)
       SELECT id, org_id, tag, owner, CASE WHEN owner IS NOT NULL THEN now() END FROM
        (SELECT id, org_id, row_number() OVER (PARTITION BY org_id ORDER BY id) AS tag,
          CASE WHEN status::text = 'processing' AND sql LIKE '%%77%%' THEN 'owner ' || length(sql) %% 3 END AS owner
         FROM downloads WHERE status::text IN ('pending', 'processing') AND %s > 0 ORDER BY id LIMIT 1030) q""",
]


@pytest.fixture(scope="module", params=["ours", "gopies"])
def filled(request, pg):
    name = pg.new_database()
    if request.param == "gopies":
        gopie_migrates(pg, name)
    Driver(pg, name).close()
    for statement in FILL:
        pg.execute(statement.format(status="text" if request.param == "ours" else "download_status"), ROWS, dbname=name)
    return name


def statements():
    out = subprocess.run([BUILD / "tests" / "job_store_driver", "--statements"], check=True, stdout=subprocess.PIPE, text=True)
    return dict(line.split("\t", 1) for line in out.stdout.splitlines())


def test_every_statement_is_looked_at():
    assert set(statements()) == set(VALUES) | READS_ALL


def read_from_end_to_end(node):
    """Tables that a node of a plan or one below it reads without looking anything up. The queue is small, whatever the
    history (GOPIE_DS_QUEUE_SIZE bounds it); and the first or last entry of an index is no scan of it."""
    table = node.get("Relation Name", "")
    if table.startswith("downloads") and table != "downloads_queue" and node["Node Type"] != "ModifyTable" \
            and node["Node Type"] != "Bitmap Heap Scan" and "Index Cond" not in node and "TID Cond" not in node:
        yield f"{node['Node Type']} on {table}"
    for child in node.get("Plans", []):
        yield from read_from_end_to_end(child)


@pytest.mark.parametrize("analyzed", [False, True], ids=["no-statistics", "analyzed"])
def test_no_statement_reads_a_table_from_end_to_end(pg, filled, analyzed):
    db = pg.connect(filled)
    with db.cursor() as c:
        if analyzed:
            c.execute("ANALYZE")
        else:
            c.execute("SELECT count(*) FROM pg_stats WHERE tablename LIKE 'downloads%'")
            if c.fetchone() != (0,):
                pytest.skip("autovacuum was there first")
        for mode in ("force_generic_plan", "force_custom_plan"):
            c.execute(f"SET plan_cache_mode = {mode}")
            for name, sql in statements().items():
                if name in READS_ALL:
                    continue
                c.execute(f"PREPARE p AS {sql}")
                c.execute(f"EXPLAIN (FORMAT JSON) EXECUTE p({', '.join(VALUES[name])})")
                plan = c.fetchone()[0][0]["Plan"]
                read = list(read_from_end_to_end(plan))
                assert not read, f"{name}, {mode}: {read}"
                c.execute("DEALLOCATE p")
    db.close()


READS_THE_QUEUE = {"SETTLE"}  # at the start


def test_statements_are_quick(pg, filled):
    """They are also run, as they are, and undone: with what they read (shared buffers of 8 KiB) bounded."""
    db = pg.connect(filled, autocommit=False)
    with db.cursor() as c:
        for name, sql in statements().items():
            if name in READS_ALL | READS_THE_QUEUE:
                continue
            c.execute(f"PREPARE p AS {sql}")
            c.execute(f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) EXECUTE p({', '.join(VALUES[name])})")
            plan = c.fetchone()[0][0]["Plan"]
            buffers = plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]
            assert buffers < 1500, (name, buffers)
            db.rollback()
            c.execute("DEALLOCATE ALL")
    db.close()
