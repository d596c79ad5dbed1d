/* Every statement of the SQLite job store. A header of its own, so that a test can ask SQLite for the plan of
 * each. */
#ifndef JOB_SQLITE_STATEMENTS_H
#define JOB_SQLITE_STATEMENTS_H

/* The columns in the order of read_job(). A record without a row in downloads_jobs is whole, too. `sql` is
 * the expression of that column, `cut` tells whether it is only its beginning; `columns` is of the result's. */
#define SELECT_JOB(sql, cut, columns)                                                               \
    "SELECT d.id, d.user_id, d.org_id, d.dataset_id, " sql ", d.format, d.status, d.created_at,"    \
    " d.updated_at, d.completed_at, d.expires_at, d.pre_signed_url, d.error_message, j.error_code," \
    " j.version, j.attempt, j.rows, j.bytes, j.percent, j.sha256, " cut ","                         \
    " j.failures, j.rescues, j.last_error, j.last_error_code, j.form, j.suffix, " columns ", j.details" \
    " FROM downloads d LEFT JOIN downloads_jobs j ON j.id = d.id "

/* The first that is ready: one that waits for its delay keeps its tag, and would hold the fair order back. */
#define FIRST_READY                                                                                          \
    "(SELECT tag FROM downloads_queue WHERE owner IS NULL AND held = 0 AND retry_at IS NULL ORDER BY tag LIMIT 1)"

/* A call takes the write lock at its begin: taken in the middle, it could fail there. */
#define SQLITE_STATEMENTS(X)                                                                                 \
    X(BEGIN, "BEGIN IMMEDIATE")                                                                              \
    X(COMMIT, "COMMIT")                                                                                      \
    X(ROLLBACK, "ROLLBACK")                                                                                  \
    X(SAVEPOINT, "SAVEPOINT call")                                                                           \
    X(RELEASE, "RELEASE call")                                                                               \
    X(ROLLBACK_TO, "ROLLBACK TO call")                                                                       \
                                                                                                             \
    /* ?1 organisation. What waits: all, of the organisation, what of it may run or runs; fair_tag()'s two. */ \
    X(QUEUE_STATE, "SELECT waiting,"                                                                         \
                   " (SELECT count(*) FROM downloads_queue WHERE org_id = ?1 AND owner IS NULL),"            \
                   " (SELECT count(*) FROM downloads_queue WHERE org_id = ?1 AND held = 0),"                 \
                   " (SELECT max(tag) FROM downloads_queue WHERE org_id = ?1),"                              \
                   " coalesce(" FIRST_READY ", max("                                                         \
                   "  coalesce((SELECT max(tag) FROM downloads_queue WHERE owner IS NOT NULL), 0),"          \
                   "  coalesce((SELECT max(tag) FROM downloads_queue WHERE owner IS NULL AND held = 0), 0)))" \
                   " FROM downloads_queue_length")                                                           \
    /* ?1 id, ?2 now. Of one that waits: when it is tried again, and the jobs that go before it. */          \
    X(WAITS, "SELECT CASE WHEN q.retry_at > ?2 THEN q.retry_at END, (SELECT count(*) FROM (SELECT 1 FROM downloads_queue b"                     \
             "  WHERE b.owner IS NULL AND b.held = 0 AND (b.retry_at IS NULL OR b.retry_at <= ?2)"           \
             "  AND b.tag <= q.tag AND (b.tag, b.seq) < (q.tag, q.seq) LIMIT ?3)) +"                         \
             " CASE WHEN q.held THEN (SELECT count(*) FROM (SELECT 1 FROM downloads_queue b"                 \
             "  WHERE b.org_id = q.org_id AND b.held = 1 AND b.tag < q.tag LIMIT ?3)) ELSE 0 END"            \
             " FROM downloads_queue q WHERE q.id = ?1 AND q.owner IS NULL")                                  \
    /* ?1 organisation, ?2 org_max_running (0: all of them): lets so many of its held jobs go as there is room \
     * for, behind those that run. */                                                                        \
    X(LET_GO, "UPDATE downloads_queue SET held = 0, tag = max(tag,"                                          \
              "  coalesce(" FIRST_READY ", 0),"                                                              \
              "  1 + coalesce((SELECT max(tag) FROM downloads_queue WHERE org_id = ?1 AND held = 0), 0))"    \
              " WHERE seq = (SELECT seq FROM downloads_queue WHERE org_id = ?1 AND held = 1 ORDER BY tag, seq LIMIT 1)" \
              " AND (?2 = 0 OR (SELECT count(*) FROM downloads_queue WHERE org_id = ?1 AND held = 0) < ?2)") \
    X(NEXT_HELD_ORG, "SELECT org_id FROM downloads_queue WHERE held = 1 AND (?1 = 0 OR"                      \
                     " (SELECT count(*) FROM downloads_queue r WHERE r.org_id = downloads_queue.org_id"      \
                     "  AND r.held = 0) < ?1) LIMIT 1")                                                      \
    X(HOLD, "UPDATE downloads_queue SET held = 1 WHERE ?1 > 0 AND owner IS NULL AND held = 0 AND seq IN"     \
            " (SELECT seq FROM (SELECT seq, row_number() OVER"                                               \
            "   (PARTITION BY org_id ORDER BY owner IS NULL, tag, seq) AS place"                             \
            "  FROM downloads_queue WHERE held = 0) WHERE place > ?1)")                                      \
    X(INSERT_RECORD, "INSERT INTO downloads"                                                                 \
                     " (id, user_id, org_id, dataset_id, sql, format, created_at, updated_at)"               \
                     " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?7)")                                             \
    X(INSERT_JOB, "INSERT INTO downloads_jobs (id, version, attempt, rows, bytes, form, suffix)"             \
                  " VALUES (?1, 1, 0, 0, 0, ?2, ?3)")                                                        \
    X(ENQUEUE, "INSERT INTO downloads_queue (id, org_id, tag, held) VALUES (?1, ?2, ?3, ?4)")                \
                                                                                                             \
    /* ?1 owner, ?2 now. */                                                                                  \
    X(CLAIM_NEXT, "UPDATE downloads_queue SET owner = ?1, retry_at = NULL WHERE seq ="                       \
                  " (SELECT seq FROM downloads_queue WHERE owner IS NULL AND held = 0"                       \
                  "  AND (retry_at IS NULL OR retry_at <= ?2) ORDER BY tag, seq LIMIT 1) RETURNING id")      \
    X(NEXT_DUE, "SELECT min(retry_at) FROM downloads_queue WHERE owner IS NULL AND retry_at IS NOT NULL"     \
                " AND retry_at > ?1 AND held = 0")                                                           \
    X(IS_OWNER, "SELECT 1 FROM downloads_queue WHERE id = ?1 AND owner = ?2")                                \
    X(NEXT_RUNNING, "SELECT id FROM downloads_queue WHERE owner IS NOT NULL ORDER BY tag LIMIT 1")           \
    X(PUT_BACK, "UPDATE downloads_queue SET owner = NULL, retry_at = ?2 WHERE id = ?1")                      \
    X(DEQUEUE, "DELETE FROM downloads_queue WHERE id = ?1 RETURNING org_id")                                 \
                                                                                                             \
    X(INSERT_ATTEMPT, "INSERT INTO downloads_attempts (id, attempt, object_key, state, owner, started_at)"   \
                      " VALUES (?1, ?2, ?3, 'running', ?4, ?5)")                                             \
    X(PUBLISH_ATTEMPT, "UPDATE downloads_attempts SET state = 'published', outcome = 'published',"           \
                       " object_key = ?3, expires_at = ?4, ended_at = ?5 WHERE id = ?1 AND attempt = ?2")    \
    /* ?2 outcome, ?3 now, ?4 message, ?5 code. */                                                           \
    X(END_ATTEMPT, "UPDATE downloads_attempts SET state = 'over', outcome = ?2, ended_at = ?3, error = ?4,"  \
                   " error_code = ?5 WHERE id = ?1 AND state = 'running'")                                   \
    X(ATTEMPTS, "SELECT attempt, coalesce(outcome, state), owner, started_at, ended_at, error, error_code"   \
                " FROM downloads_attempts WHERE id = ?1 ORDER BY attempt")                                   \
    X(NOTE_UPLOAD, "UPDATE downloads_attempts SET upload_id = ?3 WHERE id = ?1 AND attempt = ?2")            \
    X(LEFTOVERS, "SELECT id, attempt, object_key, upload_id, cleared FROM downloads_attempts"                \
                 " WHERE state = 'over' AND due_at <= ?2"                                                    \
                 " UNION ALL"                                                                                \
                 " SELECT id, attempt, object_key, upload_id, 0 FROM downloads_attempts"                     \
                 " WHERE ?1 AND state = 'published' AND expires_at <= ?2 LIMIT ?3")                          \
    X(CLEARED_ONCE, "UPDATE downloads_attempts SET cleared = 1, due_at = ?3"                                 \
                    " WHERE id = ?1 AND attempt = ?2 AND state = 'over' AND cleared = 0")                    \
    X(NOT_CLEARED, "UPDATE downloads_attempts SET due_at = max(due_at, ?3),"                                 \
                   " expires_at = CASE WHEN state = 'published' THEN max(expires_at, ?3) ELSE expires_at END" \
                   " WHERE id = ?1 AND attempt = ?2 AND state <> 'running'")                                 \
    /* ?3: for ever. Its row stays while the record does. */                                                \
    X(KEEP_ATTEMPT,                                                                                          \
      "UPDATE downloads_attempts SET due_at = ?3,"                                                           \
      " expires_at = CASE WHEN state = 'published' THEN ?3 ELSE expires_at END"                              \
      " WHERE id = ?1 AND attempt = ?2 AND state <> 'running'"                                               \
      " AND EXISTS (SELECT 1 FROM downloads WHERE id = ?1)")                                                 \
    X(LEFT_BEHIND,                                                                                           \
      "INSERT INTO downloads_attempts (id, attempt, object_key, upload_id, state) VALUES (?1, ?2, ?3, ?4, 'over')" \
      " ON CONFLICT (id, attempt) DO UPDATE SET cleared = 0, due_at = 0,"                                    \
      " upload_id = coalesce(excluded.upload_id, upload_id) WHERE state = 'over'")                           \
    X(FORGET_ATTEMPT,                                                                                        \
      "DELETE FROM downloads_attempts WHERE id = ?1 AND attempt = ?2 AND state <> 'running'")                \
    X(FORGET_HISTORY, "DELETE FROM downloads_attempts WHERE id = ?1 AND state <> 'running' AND due_at = ?2") \
                                                                                                             \
    X(GET_JOB, SELECT_JOB("d.sql", "0", "j.columns") "WHERE d.id = ?1")                                      \
    X(LIST_JOBS,                                                                                             \
      SELECT_JOB("substr(d.sql, 1, ?5)", "length(d.sql) > ?5", "NULL")                                       \
      "WHERE d.org_id = ?1 AND d.user_id = ?2"                                                               \
      " ORDER BY d.created_at DESC, d.id DESC LIMIT ?3 OFFSET ?4")                                           \
    X(UPDATE_RECORD,                                                                                         \
      "UPDATE downloads SET status = ?2, updated_at = ?3, completed_at = ?4, expires_at = ?5,"               \
      " pre_signed_url = ?6, error_message = ?7 WHERE id = ?1")                                              \
    X(UPDATE_JOB, "UPDATE downloads_jobs SET version = ?2, attempt = ?3, rows = ?4, bytes = ?5,"             \
                  " percent = NULL, sha256 = ?6, error_code = ?7, failures = ?8, rescues = ?9,"              \
                  " last_error = ?10, last_error_code = ?11, columns = ?12, details = ?13 WHERE id = ?1")    \
    X(PROGRESS, "UPDATE downloads_jobs SET rows = ?3, bytes = ?4, percent = ?5"                              \
                " WHERE id = ?1 AND attempt = ?2 AND EXISTS"                                                 \
                " (SELECT 1 FROM downloads_queue q WHERE q.id = ?1 AND q.owner IS NOT NULL)")                \
    X(DELETE_RECORD, "DELETE FROM downloads WHERE id = ?1 AND org_id = ?2")                                  \
    X(DELETE_JOB, "DELETE FROM downloads_jobs WHERE id = ?1")                                                \
    X(NEXT_EXPIRED, "SELECT id FROM downloads WHERE status = 'completed' AND expires_at <= ?1"               \
                    " ORDER BY expires_at LIMIT 1")

#endif
