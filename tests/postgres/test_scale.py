"""What the statements read while another program holds a transaction open: each row that was claimed and has left the queue stays in its
indexes, and no call may walk over all of those, whatever the planner's statistics say. Counted, not timed: the entries that the
server took from indexes (dead ones, too) and the rows that it took from tables."""

import time

import pytest

from store import Driver
from test_plans import statements

WAITING, CLAIMS, ORGANISATIONS, MAX_RUNNING = 5000, 3000, 100, 5
LEASE_MS = 500

FILL = [
    """INSERT INTO downloads (id, sql, dataset_id, status, format, user_id, org_id)
       SELECT md5('w' || i)::uuid, 'SELECT 1', 'set', 'pending', 'csv', 'user', 'org-' || 1 + i %% %s FROM generate_series(1, %s) i""",
    """INSERT INTO downloads_jobs (id, version, attempt, rows, bytes)
       SELECT id, 1, 0, 0, 0 FROM downloads WHERE %s > 0 AND %s > 0""",
    """INSERT INTO downloads_queue (id, org_id, tag)
       SELECT md5('w' || i)::uuid, 'org-' || 1 + i %% %s, 1000 + i / 100 FROM generate_series(1, %s) i ORDER BY i""",
]
# As RENEW answers.
FRONTIER = """SELECT coalesce(min(tag), (extract(epoch FROM now()) * 1e6)::bigint), coalesce(min(seq), 0),
    (extract(epoch FROM least(now(), (SELECT min(retry_at) FROM downloads_queue WHERE owner IS NULL AND retry_at IS NOT NULL))) * 1e6)::bigint,
    (extract(epoch FROM now()) * 1e6)::bigint
    FROM (SELECT tag, seq FROM downloads_queue WHERE owner IS NULL AND NOT held AND retry_at IS NULL ORDER BY tag, seq LIMIT 1) first"""
READ = """SELECT sum(pg_stat_get_xact_tuples_returned(oid)) FROM pg_class WHERE relkind IN ('r', 'i') AND relname LIKE 'downloads%'"""


@pytest.fixture(params=["statistics of an empty queue", "statistics from before any was held"])
def held_open(request, pg):
    """A database whose queue was worked off for the most part under a transaction that is still open."""
    name = pg.new_database()
    with Driver(pg, name, lease_ms=LEASE_MS, timeout_ms=60000) as store:
        for table in ("downloads", "downloads_jobs", "downloads_queue", "downloads_attempts"):
            pg.execute(f"ALTER TABLE {table} SET (autovacuum_enabled = false)", dbname=name)
        pg.execute("ANALYZE", dbname=name)
        for statement in FILL:
            pg.execute(statement, ORGANISATIONS, WAITING, dbname=name)
        if request.param != "statistics of an empty queue":
            pg.execute("ANALYZE", dbname=name)
        holder = pg.connect(name, autocommit=False)
        with holder.cursor() as c:
            c.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
            c.execute("SELECT count(*) FROM downloads_schema")
        store.call("bounds", 100000, 100000, MAX_RUNNING)
        store.call("work", "owner", CLAIMS, 10, 0, 1000)
        (job, attempt), = store.claim()
        yield name, job, attempt, time.monotonic()
    holder.close()


def values(c, job, attempt, from_zero):
    c.execute(FRONTIER)
    tag, seq, due, lease = (0, 0, 0, 0) if from_zero else c.fetchone()
    return {
        "CLAIM": ["'owner'", 1, LEASE_MS, "true", tag, seq, due, lease, MAX_RUNNING],
        "CREATE": ["gen_random_uuid()", "'user'", "'org-1'", "'set'", "'SELECT 1'", "'csv'", 100000, "false", 100000, MAX_RUNNING,
                   tag, seq, due, "'{}'", "'csv'"],
        "PUBLISH": [f"'{job}'", attempt, "'owner'", "'2100-01-01'", "'link'", 1, 2, "'hash'", "'key'", MAX_RUNNING, tag, seq,
                    "'[]'", "'{}'"],
        "NOTE_UPLOAD": [f"'{job}'", attempt, "'owner'", "'upload'"],
        "PROGRESS": [f"ARRAY['{job}'::uuid]", f"ARRAY[{attempt}]", "ARRAY[5]", "ARRAY[6]", "ARRAY[7]"],
        "POLL": ["'owner'", "'{}'", "'{}'", "'{}'", "'{}'", "true", tag, seq, due, lease],
        "RENEW": ["'owner'", LEASE_MS, tag, seq, due, lease],
    }


def read_by_each(pg, name, job, attempt, from_zero=False):
    """Entries and rows that each statement reads; all are undone."""
    db, read, texts = pg.connect(name, autocommit=False), {}, statements()
    with db.cursor() as c:
        c.execute("SET plan_cache_mode = force_custom_plan")
        db.commit()
        for statement, given in values(c, job, attempt, from_zero).items():
            db.rollback()
            c.execute(f"PREPARE p AS {texts[statement]}")
            c.execute(READ)
            before = c.fetchone()[0]
            c.execute(f"EXECUTE p({', '.join(str(v) for v in given)})")
            c.execute(READ)
            read[statement] = int(c.fetchone()[0] - before)
            db.rollback()
            c.execute("DEALLOCATE ALL")
    db.close()
    return read


def test_no_call_walks_over_what_has_left_the_queue(pg, held_open):
    name, job, attempt, since = held_open
    while time.monotonic() < since + 2 * LEASE_MS / 1000:  # the leases that were given out are over: time itself
        time.sleep(0.05)
    # That it is there to be walked over: from the beginning, a claim does.
    assert read_by_each(pg, name, job, attempt, from_zero=True)["CLAIM"] >= CLAIMS
    read = read_by_each(pg, name, job, attempt)
    whole = dict(read)
    waiting = WAITING - CLAIMS
    # A creation counts what waits, several times (is there room; its place), and with it the entries of those that were held. It and the
    # end of a job, which lets a held one go, also look at what their organisation had, several times.
    of_one = 12 * WAITING / ORGANISATIONS
    assert read.pop("CREATE") <= 4 * waiting + WAITING + of_one, whole
    assert read.pop("PUBLISH") <= of_one and max(read.values()) <= 50, whole
