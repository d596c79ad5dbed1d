#include "job/pg_schema.h"

#include <stdio.h>

#include "job/pg_statements.h"

/* Only one brings tables up at a time; the number means nothing but that. */
#define MIGRATION_LOCK INT64_C(7094871302655182)
/* An index on a large table takes its time. */
#define MIGRATION_TIMEOUT_MS (10 * 60 * 1000)
#define TRIES 5

/* Without gopie's enum: its migration creates the type without a guard, and must pass after us. The
 * primary key's default is for whoever inserts without an id, and needs no extension. */
static const char create_downloads[] =
    "CREATE TABLE downloads ("
    "  id uuid PRIMARY KEY DEFAULT gen_random_uuid(),"
    "  sql text NOT NULL,"
    "  dataset_id text NOT NULL,"
    "  status text NOT NULL DEFAULT 'pending'"
    "    CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'expired')),"
    "  format text NOT NULL,"
    "  pre_signed_url text,"
    "  error_message text,"
    "  created_at timestamptz NOT NULL DEFAULT now(),"
    "  updated_at timestamptz NOT NULL DEFAULT now(),"
    "  expires_at timestamptz,"
    "  completed_at timestamptz,"
    "  user_id text NOT NULL,"
    "  org_id text NOT NULL"
    ")";

static const char pg_see_records[] = PG_SEE_RECORDS;

#define LIST_INDEX \
    "CREATE INDEX IF NOT EXISTS downloads_of_user ON downloads (org_id, user_id, created_at, id)"

/* Our own tables, as steps: `downloads_schema` has a row for each that was taken. A step that was ever
 * released is never changed; what is new is a step behind it. Steps only ever add, so that an older
 * version runs on a newer schema (a rolling upgrade, and the way back). No key refers to `downloads`:
 * others may delete from it. */
static const struct {
    const char *name;
    const char *const statements[16];
} steps[] = {
    {"jobs, queue and attempts",
     {/* `link_ends` is set while the job is completed and its link not over. */
      "CREATE TABLE downloads_jobs ("
      "  id uuid PRIMARY KEY,"
      "  version bigint NOT NULL,"
      "  attempt integer NOT NULL,"
      "  rows bigint NOT NULL,"
      "  bytes bigint NOT NULL,"
      "  percent double precision,"
      "  sha256 text,"
      "  error_code text,"
      "  link_ends timestamptz"
      ") WITH (fillfactor = 80)",
      "CREATE INDEX downloads_jobs_link_ends ON downloads_jobs (link_ends) WHERE link_ends IS NOT NULL",

      /* `owner` is NULL while the job waits. `seq` is the order of creation: a clock may be set back.
       * Small and busy: vacuumed by the number of dead rows, not by a share. */
      "CREATE TABLE downloads_queue ("
      "  id uuid PRIMARY KEY,"
      "  seq bigint GENERATED ALWAYS AS IDENTITY,"
      "  org_id text NOT NULL,"
      "  tag bigint NOT NULL,"
      "  owner text,"
      "  lease_until timestamptz"
      ") WITH (autovacuum_vacuum_scale_factor = 0, autovacuum_vacuum_threshold = 500)",
      "CREATE INDEX downloads_queue_waiting ON downloads_queue (tag, seq) WHERE owner IS NULL",
      "CREATE INDEX downloads_queue_running ON downloads_queue (tag) WHERE owner IS NOT NULL",
      "CREATE INDEX downloads_queue_leases ON downloads_queue (lease_until) WHERE owner IS NOT NULL",
      "CREATE INDEX downloads_queue_owners ON downloads_queue (owner) WHERE owner IS NOT NULL",
      "CREATE INDEX downloads_queue_of_org ON downloads_queue (org_id, tag)",

      /* `expires_at` is that of a published attempt's link; `due_at`: when what an attempt left is to be
       * cleared away (again). */
      "CREATE TABLE downloads_attempts ("
      "  id uuid NOT NULL,"
      "  attempt integer NOT NULL,"
      "  object_key text NOT NULL,"
      "  state text NOT NULL CHECK (state IN ('running', 'published', 'over')),"
      "  expires_at timestamptz,"
      "  upload_id text,"
      "  cleared boolean NOT NULL DEFAULT false,"
      "  due_at timestamptz NOT NULL DEFAULT '-infinity',"
      "  PRIMARY KEY (id, attempt)"
      ")",
      "CREATE INDEX downloads_attempts_over ON downloads_attempts (due_at) WHERE state = 'over'",
      "CREATE INDEX downloads_attempts_ends ON downloads_attempts (expires_at) WHERE state = 'published'",

      /* What a list looks for, of every record: only kept where `downloads` is another role's and has no
       * index for it. */
      "CREATE TABLE downloads_seen ("
      "  id uuid PRIMARY KEY,"
      "  org_id text NOT NULL,"
      "  user_id text NOT NULL,"
      "  created_at timestamptz NOT NULL"
      ")",
      "CREATE INDEX downloads_seen_of_user ON downloads_seen (org_id, user_id, created_at, id)"}},
    {"retries, bounds of organisations, history of attempts",
     {"ALTER TABLE downloads_jobs ADD COLUMN failures integer NOT NULL DEFAULT 0,"
      "  ADD COLUMN rescues integer NOT NULL DEFAULT 0, ADD COLUMN last_error text, ADD COLUMN last_error_code text",

      /* Three kinds wait: ready, due at `retry_at`, held. An index each, small, and in the order of what takes
       * from it, which begins where it left off (struct frontier in store_postgres.c). */
      "ALTER TABLE downloads_queue ADD COLUMN retry_at timestamptz, ADD COLUMN held boolean NOT NULL DEFAULT false",
      "CREATE INDEX downloads_queue_ready ON downloads_queue (tag, seq)"
      "  WHERE owner IS NULL AND NOT held AND retry_at IS NULL",
      "CREATE INDEX downloads_queue_due ON downloads_queue (retry_at)"
      "  WHERE owner IS NULL AND NOT held AND retry_at IS NOT NULL",
      "CREATE INDEX downloads_queue_held ON downloads_queue (org_id, tag, seq) WHERE held",
      "CREATE INDEX downloads_queue_orgs ON downloads_queue (org_id, held, tag, seq)",
      "DROP INDEX downloads_queue_waiting",
      "DROP INDEX downloads_queue_running",
      "DROP INDEX downloads_queue_owners",
      "DROP INDEX downloads_queue_of_org",

      "ALTER TABLE downloads_attempts ADD COLUMN outcome text, ADD COLUMN owner text,"
      "  ADD COLUMN started_at timestamptz, ADD COLUMN ended_at timestamptz,"
      "  ADD COLUMN error text, ADD COLUMN error_code text"}},
    {"formats",
     {"ALTER TABLE downloads_jobs ADD COLUMN form text, ADD COLUMN suffix text, ADD COLUMN columns text,"
      "  ADD COLUMN details text"}},
};

/* What is there. */
struct schema {
    bool downloads, versions; /* tables */
    bool indexed;             /* lists have an index */
    bool may_index;           /* and we may make it */
    int64_t steps;
};

static const char look_at_tables[] =
    "SELECT to_regclass('downloads') IS NOT NULL, to_regclass('downloads_schema') IS NOT NULL,"
    " EXISTS (SELECT FROM pg_index i WHERE i.indrelid = to_regclass('downloads') AND i.indisvalid"
    "  AND i.indpred IS NULL AND ARRAY['org_id', 'user_id', 'created_at', 'id'] ="
    "   ARRAY(SELECT a.attname::text FROM unnest(i.indkey::int2[]) WITH ORDINALITY k (number, place)"
    "    JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.number ORDER BY k.place)),"
    " coalesce((SELECT pg_has_role(c.relowner, 'USAGE') AND has_schema_privilege(c.relnamespace, 'CREATE')"
    "  FROM pg_class c WHERE c.oid = to_regclass('downloads')), false),"
    " coalesce(has_table_privilege(to_regclass('downloads_schema'), 'SELECT'), true)";

static bool look(struct pg_db *db, struct schema *ret, struct error *e)
{
    struct schema s = {0};
    _cleanup_pg_rows_ struct pg_rows *tables = pg_db_query(db, look_at_tables, NULL, 0, e);
    if (!tables)
        return false;
    struct pg_row r = {.rows = tables};
    s.downloads = pg_row_bool(&r, 0);
    s.versions = pg_row_bool(&r, 1);
    s.indexed = pg_row_bool(&r, 2);
    s.may_index = pg_row_bool(&r, 3);
    bool readable = pg_row_bool(&r, 4);
    if (!pg_row_ok(&r, e))
        return false;
    if (!readable)
        return error_set(e, ERROR_CONFIG,
                         "Postgres (%s): the role lacks permission: GRANT SELECT, INSERT, UPDATE, DELETE ON"
                         " downloads, downloads_attempts, downloads_jobs, downloads_queue, downloads_schema,"
                         " downloads_seen TO it",
                         pg_db_name(db));
    if (s.versions) {
        _cleanup_pg_rows_ struct pg_rows *versions =
            pg_db_query(db, "SELECT coalesce(max(step), 0) FROM downloads_schema", NULL, 0, e);
        if (!versions)
            return false;
        struct pg_row v = {.rows = versions};
        s.steps = pg_row_integer(&v, 0);
        if (!pg_row_ok(&v, e))
            return false;
    }
    *ret = s;
    return true;
}

static bool complete(const struct schema *s)
{
    return s->downloads && s->steps >= (int64_t)ARRAY_SIZE(steps) && (s->indexed || !s->may_index);
}

static bool execute(struct pg_db *db, const char *sql, struct error *e)
{
    _cleanup_pg_rows_ struct pg_rows *rows = pg_db_query(db, sql, NULL, 0, e);
    return rows;
}

/* A text of its own transaction, said when that is committed. */
struct report {
    char lines[8][96];
    size_t count;
};

static void report(struct report *r, const char *format, const char *name)
{
    if (r->count < ARRAY_SIZE(r->lines))
        snprintf(r->lines[r->count++], sizeof r->lines[0], "job store: %s %s", format, name);
}

static bool take_steps(struct pg_db *db, const struct schema *s, struct report *done, struct error *e)
{
    if (!s->versions &&
        !execute(db,
                 "CREATE TABLE downloads_schema (step integer PRIMARY KEY, name text NOT NULL,"
                 " taken_at timestamptz NOT NULL DEFAULT now())",
                 e))
        return false;
    for (size_t i = (size_t)s->steps; i < ARRAY_SIZE(steps); i++) {
        for (const char *const *sql = steps[i].statements; *sql; sql++)
            if (!execute(db, *sql, e))
                return false;
        const struct pg_value values[] = {{.type = PG_VALUE_INTEGER, .integer = (int64_t)i + 1},
                                          {.type = PG_VALUE_TEXT, .text = steps[i].name}};
        _cleanup_pg_rows_ struct pg_rows *rows =
            pg_db_query(db, "INSERT INTO downloads_schema (step, name) VALUES ($1, $2)", values, 2, e);
        if (!rows)
            return false;
        report(done, "made the tables of", steps[i].name);
    }
    return true;
}

static bool make_missing(struct pg_db *db, struct report *done, struct error *e)
{
    struct schema s;
    if (!look(db, &s, e)) /* again, now that nobody else is at it */
        return false;
    if (!s.downloads) {
        if (!execute(db, create_downloads, e))
            return false;
        report(done, "made the table", "downloads");
    }
    if (!take_steps(db, &s, done, e))
        return false;
    if (!s.indexed && (s.may_index || !s.downloads)) {
        if (!execute(db, LIST_INDEX, e))
            return false;
        report(done, "made the index", "downloads_of_user");
    }
    return true;
}

static bool migrate(struct pg_db *db, struct report *done, struct error *e)
{
    *done = (struct report){0};
    if (!pg_db_begin(db, MIGRATION_LOCK, MIGRATION_TIMEOUT_MS, e))
        return false;
    if (make_missing(db, done, e) && pg_db_commit(db, e))
        return true;
    pg_db_rollback(db);
    return false;
}

/* That it is gopie's table, and that we may do our work. */
static bool check_permissions(struct pg_db *db, struct error *e)
{
    struct error why;
    _cleanup_pg_rows_ struct pg_rows *rows = pg_db_query(
        db,
        "SELECT string_agg(DISTINCT t, ', '), current_user::text FROM"
        " unnest(ARRAY['downloads', 'downloads_jobs', 'downloads_queue', 'downloads_attempts',"
        "  'downloads_seen']) t,"
        " unnest(ARRAY['SELECT', 'INSERT', 'UPDATE', 'DELETE']) p WHERE NOT has_table_privilege(t, p)",
        NULL, 0, e);
    if (!rows)
        return false;
    struct pg_row r = {.rows = rows};
    _cleanup_free_ char *tables = pg_row_text(&r, 0), *role = pg_row_text(&r, 1);
    if (!pg_row_ok(&r, e))
        return false;
    if (tables)
        return error_set(e, ERROR_CONFIG,
                         "Postgres (%s): the role lacks permission:"
                         " GRANT SELECT, INSERT, UPDATE, DELETE ON %s TO \"%s\"",
                         pg_db_name(db), tables, role);
    _cleanup_pg_rows_ struct pg_rows *columns =
        pg_db_query(db,
                    "SELECT id, sql, dataset_id, status, format, pre_signed_url, error_message, created_at,"
                    " updated_at, expires_at, completed_at, user_id, org_id FROM downloads LIMIT 0",
                    NULL, 0, &why);
    if (columns)
        return true;
    if (why.code == ERROR_INTERNAL)
        return error_set(e, ERROR_CONFIG, "Postgres (%s): the table downloads is another's: %s",
                         pg_db_name(db), why.message);
    *e = why;
    return false;
}

/* All at once; later ones a few at a time (store_postgres.c). */
static bool see_all(struct pg_db *db, struct error *e)
{
    if (pg_db_begin(db, MIGRATION_LOCK, MIGRATION_TIMEOUT_MS, e) && execute(db, pg_see_records, e) &&
        pg_db_commit(db, e))
        return true;
    pg_db_rollback(db);
    return false;
}

static bool may_not_create(struct pg_db *db, struct error *e)
{
    return error_set(e, ERROR_CONFIG,
                     "Postgres (%s): tables are missing, and the role may not create them: GRANT USAGE, CREATE"
                     " ON SCHEMA public TO it (or the schema of its search_path), or start once as a role that"
                     " may",
                     pg_db_name(db));
}

bool pg_schema_bring_up(struct pg_db *db, void (*note)(void *context, const char *line),
                        void *context, bool *ret_indexed, struct error *e)
{
    struct schema s;
    struct error why;
    struct report done;
    for (int tries = 1;; tries++) {
        if (!look(db, &s, e))
            return false;
        if (complete(&s))
            break;
        if (migrate(db, &done, &why)) {
            for (size_t i = 0; note && i < done.count; i++)
                note(context, done.lines[i]);
            continue;
        }
        if (why.code == ERROR_CONFIG)
            return may_not_create(db, e);
        /* Gopie's migration knows no lock of ours: what it made at this moment is not to be made again. */
        if (why.code != ERROR_INTERNAL || tries == TRIES) {
            *e = why;
            return false;
        }
    }
    if (!check_permissions(db, e) || (!s.indexed && !see_all(db, e)))
        return false;
    if (!s.indexed && note)
        note(context, "job store: the table downloads is another role's;"
                      " lists are cheaper once its owner runs: " LIST_INDEX);
    *ret_indexed = s.indexed;
    return true;
}

bool pg_schema_check(struct pg_db *db, void (*note)(void *context, const char *line), void *context,
                     struct error *e)
{
    struct schema s;
    if (!look(db, &s, e))
        return false;
    if (complete(&s))
        return check_permissions(db, e);
    _cleanup_pg_rows_ struct pg_rows *rows =
        pg_db_query(db, "SELECT coalesce(has_schema_privilege(current_schema(), 'CREATE'), false)", NULL, 0, e);
    if (!rows)
        return false;
    struct pg_row r = {.rows = rows};
    bool may_create = pg_row_bool(&r, 0);
    if (!pg_row_ok(&r, e))
        return false;
    if (!may_create)
        return may_not_create(db, e);
    if (note)
        note(context, "job store: tables are to be made at the first start");
    return true;
}
