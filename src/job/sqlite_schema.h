/* The tables of the SQLite job store, as steps: a database whose `PRAGMA user_version` is N has the first N
 * of them. A step that was ever released is never changed; what is new is a step behind it.
 *
 * Times are microseconds since 1970. `downloads` has the contract's columns and no others; see store.h for
 * the rest. */
#ifndef JOB_SQLITE_SCHEMA_H
#define JOB_SQLITE_SCHEMA_H

static const char *const sqlite_schema[] = {
    "CREATE TABLE downloads ("
    "  id TEXT NOT NULL PRIMARY KEY,"
    "  sql TEXT NOT NULL,"
    "  dataset_id TEXT NOT NULL,"
    "  status TEXT NOT NULL DEFAULT 'pending'"
    "    CHECK (status IN ('pending', 'processing', 'completed', 'failed', 'expired')),"
    "  format TEXT NOT NULL,"
    "  pre_signed_url TEXT,"
    "  error_message TEXT,"
    "  created_at INTEGER NOT NULL,"
    "  updated_at INTEGER NOT NULL,"
    "  expires_at INTEGER,"
    "  completed_at INTEGER,"
    "  user_id TEXT NOT NULL,"
    "  org_id TEXT NOT NULL"
    ") STRICT;"
    "CREATE INDEX downloads_of_user ON downloads (org_id, user_id, created_at, id);"
    "CREATE INDEX downloads_link_ends ON downloads (expires_at) WHERE status = 'completed';"

    "CREATE TABLE downloads_jobs ("
    "  id TEXT NOT NULL PRIMARY KEY,"
    "  version INTEGER NOT NULL,"
    "  attempt INTEGER NOT NULL,"
    "  rows INTEGER NOT NULL,"
    "  bytes INTEGER NOT NULL,"
    "  percent REAL,"
    "  sha256 TEXT,"
    "  error_code TEXT"
    ") STRICT, WITHOUT ROWID;"

    /* `owner` is NULL while the job waits. `seq` is the order of creation: a clock may be set back. */
    "CREATE TABLE downloads_queue ("
    "  seq INTEGER NOT NULL PRIMARY KEY,"
    "  id TEXT NOT NULL UNIQUE,"
    "  org_id TEXT NOT NULL,"
    "  tag INTEGER NOT NULL,"
    "  owner TEXT"
    ") STRICT;"
    "CREATE INDEX downloads_queue_waiting ON downloads_queue (tag) WHERE owner IS NULL;"
    "CREATE INDEX downloads_queue_running ON downloads_queue (tag) WHERE owner IS NOT NULL;"
    "CREATE INDEX downloads_queue_of_org ON downloads_queue (org_id, tag);"

    /* How many wait. Counting them would cost each creation a walk over the queue; the triggers keep the
     * number in the transaction that changes the queue, whatever statement does it. */
    "CREATE TABLE downloads_queue_length (waiting INTEGER NOT NULL CHECK (waiting >= 0)) STRICT;"
    "INSERT INTO downloads_queue_length VALUES (0);"
    "CREATE TRIGGER downloads_queue_added AFTER INSERT ON downloads_queue BEGIN"
    "  UPDATE downloads_queue_length SET waiting = waiting + (NEW.owner IS NULL); END;"
    "CREATE TRIGGER downloads_queue_moved AFTER UPDATE OF owner ON downloads_queue BEGIN"
    "  UPDATE downloads_queue_length SET waiting = waiting + (NEW.owner IS NULL) - (OLD.owner IS NULL); END;"
    "CREATE TRIGGER downloads_queue_left AFTER DELETE ON downloads_queue BEGIN"
    "  UPDATE downloads_queue_length SET waiting = waiting - (OLD.owner IS NULL); END;"

    /* `expires_at` is that of a published attempt's link. */
    "CREATE TABLE downloads_attempts ("
    "  id TEXT NOT NULL,"
    "  attempt INTEGER NOT NULL,"
    "  object_key TEXT NOT NULL,"
    "  state TEXT NOT NULL CHECK (state IN ('running', 'published', 'over')),"
    "  expires_at INTEGER,"
    "  PRIMARY KEY (id, attempt)"
    ") STRICT, WITHOUT ROWID;"
    "CREATE INDEX downloads_attempts_over ON downloads_attempts (state) WHERE state = 'over';"
    "CREATE INDEX downloads_attempts_ends ON downloads_attempts (expires_at) WHERE state = 'published';",

    /* `due_at`: when what an attempt left is to be cleared away (again). */
    "ALTER TABLE downloads_attempts ADD COLUMN upload_id TEXT;"
    "ALTER TABLE downloads_attempts ADD COLUMN cleared INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE downloads_attempts ADD COLUMN due_at INTEGER NOT NULL DEFAULT 0;"
    "DROP INDEX downloads_attempts_over;"
    "CREATE INDEX downloads_attempts_over ON downloads_attempts (due_at) WHERE state = 'over';",

    /* Retries: a job that failed waits until `retry_at`. `held`: its organisation runs as many as it may. */
    "ALTER TABLE downloads_jobs ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE downloads_jobs ADD COLUMN rescues INTEGER NOT NULL DEFAULT 0;"
    "ALTER TABLE downloads_jobs ADD COLUMN last_error TEXT;"
    "ALTER TABLE downloads_jobs ADD COLUMN last_error_code TEXT;"
    "ALTER TABLE downloads_queue ADD COLUMN retry_at INTEGER;"
    "ALTER TABLE downloads_queue ADD COLUMN held INTEGER NOT NULL DEFAULT 0;"
    "DROP INDEX downloads_queue_waiting;"
    "DROP INDEX downloads_queue_of_org;"
    "CREATE INDEX downloads_queue_ready ON downloads_queue (tag) WHERE owner IS NULL AND held = 0;"
    "CREATE INDEX downloads_queue_later ON downloads_queue (retry_at) WHERE owner IS NULL AND retry_at IS NOT NULL;"
    "CREATE INDEX downloads_queue_of_org ON downloads_queue (org_id, held, tag);"

    /* The history of a job's attempts. */
    "ALTER TABLE downloads_attempts ADD COLUMN outcome TEXT;"
    "ALTER TABLE downloads_attempts ADD COLUMN owner TEXT;"
    "ALTER TABLE downloads_attempts ADD COLUMN started_at INTEGER;"
    "ALTER TABLE downloads_attempts ADD COLUMN ended_at INTEGER;"
    "ALTER TABLE downloads_attempts ADD COLUMN error TEXT;"
    "ALTER TABLE downloads_attempts ADD COLUMN error_code TEXT;",

    /* What the file is to look like, and what it came to; see struct job. */
    "ALTER TABLE downloads_jobs ADD COLUMN form TEXT;"
    "ALTER TABLE downloads_jobs ADD COLUMN suffix TEXT;"
    "ALTER TABLE downloads_jobs ADD COLUMN columns TEXT;"
    "ALTER TABLE downloads_jobs ADD COLUMN details TEXT;",
};

#endif
