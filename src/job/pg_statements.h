/* Every statement of the Postgres job store. A header of its own, so that a test can ask Postgres for the
 * plan of each.
 *
 * Each is one round trip and one snapshot. Rows are looked up by `= ANY (ARRAY(SELECT ...))`, scalar
 * subqueries and OFFSET 0 where a plain join could be planned as a walk over all of the table. `downloads`
 * may be gopie's (its status an enum) or ours (a text): so a status is written as a bare literal or
 * parameter, which takes the type of the column, and read as `::text`. statement_timestamp() is the clock:
 * one value in a statement, and behind the lock of the transaction. */
#ifndef JOB_PG_STATEMENTS_H
#define JOB_PG_STATEMENTS_H

/* The columns in the order of read_job(), of `downloads d` and `downloads_jobs j`; a record without a row
 * in that is whole, too. `sql` is the expression of that column, `cut` tells whether it is only its
 * beginning. */
#define JOB_COLUMNS(sql, cut)                                                                                \
    " d.id, d.user_id, d.org_id, d.dataset_id, " sql ", d.format, d.status::text, d.created_at,"             \
    " d.updated_at, d.completed_at, d.expires_at, d.pre_signed_url, d.error_message, j.error_code,"          \
    " j.version, j.attempt, j.rows, j.bytes, j.percent, j.sha256, " cut " "
#define WHOLE_JOB JOB_COLUMNS("d.sql", "false")

/* The fence of an attempt ($1 id, $2 attempt, $3 owner), and the steps that each end of one takes:
 * `record` is the changed record, and empty where the attempt is not the job's current one. The only
 * places where a job's state changes are these, CLAIM and EXPIRE: pending -> processing -> completed ->
 * expired, processing -> failed, processing -> pending (job_may_become()). */
#define END_RECORD(set)                                                                                      \
    "WITH mine AS (SELECT q.id FROM downloads_queue q, downloads_jobs j"                                     \
    " WHERE q.id = $1 AND q.owner = $3 AND j.id = q.id AND j.attempt = $2 FOR UPDATE OF q),"                 \
    " record AS (UPDATE downloads d SET updated_at = statement_timestamp(), " set                            \
    " FROM mine WHERE d.id = mine.id AND d.status = 'processing' RETURNING d.*),"
#define END_JOB(set)                                                                                         \
    " job AS (UPDATE downloads_jobs j SET version = j.version + 1, percent = NULL, " set                     \
    " FROM record r WHERE j.id = r.id RETURNING j.*),"
#define END_ATTEMPT(set)                                                                                     \
    " attempt AS (UPDATE downloads_attempts a SET " set                                                      \
    " FROM record r WHERE a.id = r.id AND a.attempt = $2),"
#define END_DEQUEUED " queue AS (DELETE FROM downloads_queue q USING record r WHERE q.id = r.id)"
#define END_WAITS                                                                                            \
    " queue AS (UPDATE downloads_queue q SET owner = NULL, lease_until = NULL"                               \
    " FROM record r WHERE q.id = r.id)"
#define ENDED " SELECT" WHOLE_JOB "FROM record d JOIN job j ON j.id = d.id"

/* Records that are not in downloads_seen yet: the original's, and those of instances that list by an
 * index. In one order, so that two who do it at once do not wait for each other. */
#define PG_SEE_RECORDS                                                                                       \
    "INSERT INTO downloads_seen (id, org_id, user_id, created_at)"                                           \
    " SELECT id, org_id, user_id, created_at FROM downloads d"                                               \
    " WHERE NOT EXISTS (SELECT FROM downloads_seen s WHERE s.id = d.id) ORDER BY id ON CONFLICT DO NOTHING"

/* Jobs that another ($1 is not the owner) may take, and those of any owner that have no record any more. */
#define LAPSED                                                                                               \
    "owner IS NOT NULL AND lease_until <= statement_timestamp()"                                             \
    " AND (owner <> $1 OR (SELECT true FROM downloads d WHERE d.id = q.id) IS NULL)"

#define PG_STATEMENTS(X)                                                                                     \
    /* $1 id, $2 user, $3 organisation, $4 dataset, $5 sql, $6 format, $7 queue size, $8 whether             \
     * lists go by downloads_seen. No row: it is full. The tag is fair_tag()'s. */                           \
    X(CREATE,                                                                                                \
      "WITH state AS MATERIALIZED (SELECT"                                                                   \
      " (SELECT count(*) FROM (SELECT FROM downloads_queue WHERE owner IS NULL LIMIT $7) w) AS waiting,"     \
      " coalesce((SELECT max(tag) FROM downloads_queue WHERE org_id = $3), 0) AS last_of_org,"               \
      " coalesce((SELECT min(tag) FROM downloads_queue WHERE owner IS NULL),"                                \
      "  (SELECT max(tag) FROM downloads_queue WHERE owner IS NOT NULL), 0) AS now),"                        \
      " record AS (INSERT INTO downloads"                                                                    \
      "  (id, user_id, org_id, dataset_id, sql, format, status, created_at, updated_at)"                     \
      "  SELECT $1, $2, $3, $4, $5, $6, 'pending', statement_timestamp(), statement_timestamp()"             \
      "  FROM state WHERE waiting < $7 RETURNING id, org_id, user_id, created_at),"                          \
      " job AS (INSERT INTO downloads_jobs (id, version, attempt, rows, bytes)"                              \
      "  SELECT id, 1, 0, 0, 0 FROM record),"                                                                \
      " queue AS (INSERT INTO downloads_queue (id, org_id, tag)"                                             \
      "  SELECT id, org_id, greatest(last_of_org + 1, now) FROM record, state),"                             \
      " seen AS (INSERT INTO downloads_seen (id, org_id, user_id, created_at)"                               \
      "  SELECT id, org_id, user_id, created_at FROM record WHERE $8::boolean)"                              \
      " SELECT created_at FROM record")                                                                      \
    /* $1 owner, $2 limit, $3 lease (ms), $4 whether others' jobs whose lease is over may be taken too: as   \
     * if put back and claimed, hence two versions on. What has no record any more leaves the queue.         \
     * The key is job_object_key()'s. */                                                                     \
    X(CLAIM,                                                                                                 \
      "WITH waiting AS (SELECT id, tag, seq, false AS lapsed FROM downloads_queue WHERE owner IS NULL"       \
      "  ORDER BY tag, seq LIMIT $2 FOR UPDATE SKIP LOCKED),"                                                \
      " lapsed AS (SELECT id, tag, seq, true AS lapsed FROM downloads_queue q"                               \
      "  WHERE $4::boolean AND " LAPSED                                                                      \
      "  ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED),"                                             \
      " picked AS (SELECT * FROM (SELECT * FROM waiting UNION ALL SELECT * FROM lapsed) both_of_them"        \
      "  ORDER BY tag, seq LIMIT $2),"                                                                       \
      " record AS (UPDATE downloads d SET status = 'processing', updated_at = statement_timestamp()"         \
      "  WHERE d.id = ANY (ARRAY(SELECT id FROM picked)) AND d.status IN ('pending', 'processing')"          \
      "  RETURNING d.*),"                                                                                    \
      " job AS (UPDATE downloads_jobs j SET version = j.version + CASE WHEN p.lapsed THEN 2 ELSE 1 END,"     \
      "  attempt = j.attempt + 1, rows = 0, bytes = 0, percent = NULL"                                       \
      "  FROM picked p WHERE j.id = ANY (ARRAY(SELECT id FROM record)) AND p.id = j.id"                      \
      "  RETURNING j.*, p.tag, p.seq),"                                                                      \
      " taken AS (UPDATE downloads_queue q SET owner = $1,"                                                  \
      "  lease_until = statement_timestamp() + $3::bigint * interval '1 millisecond'"                        \
      "  FROM job WHERE q.id = job.id),"                                                                     \
      " gone AS (DELETE FROM downloads_queue q USING picked p WHERE q.id = p.id"                             \
      "  AND NOT EXISTS (SELECT FROM job WHERE job.id = p.id)),"                                             \
      " over AS (UPDATE downloads_attempts a SET state = 'over'"                                             \
      "  WHERE a.id = ANY (ARRAY(SELECT id FROM picked)) AND a.state = 'running'),"                          \
      " attempt AS (INSERT INTO downloads_attempts (id, attempt, object_key, state)"                         \
      "  SELECT r.id, job.attempt, r.org_id || '/' || r.id ||"                                               \
      "   CASE WHEN job.attempt > 1 THEN '-' || job.attempt ELSE '' END || '.' || r.format, 'running'"       \
      "  FROM record r JOIN job ON job.id = r.id)"                                                           \
      " SELECT" WHOLE_JOB "FROM record d JOIN job j ON j.id = d.id ORDER BY j.tag, j.seq")                   \
    X(NOTE_UPLOAD,                                                                                           \
      "UPDATE downloads_attempts a SET upload_id = $4 FROM downloads_queue q, downloads_jobs j, downloads d" \
      " WHERE a.id = $1 AND a.attempt = $2 AND a.state = 'running' AND q.id = $1 AND q.owner = $3"           \
      " AND j.id = $1 AND j.attempt = $2 AND d.id = $1 AND d.status = 'processing' RETURNING a.id")          \
    /* Arrays: ids, attempts, rows, bytes, percents. */                                                      \
    X(PROGRESS,                                                                                              \
      "UPDATE downloads_jobs j SET rows = p.rows, bytes = p.bytes, percent = p.percent"                      \
      " FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::bigint[], $5::double precision[])"          \
      "  p (id, attempt, rows, bytes, percent)"                                                              \
      " WHERE j.id = p.id AND j.attempt = p.attempt"                                                         \
      " AND EXISTS (SELECT FROM downloads_queue q WHERE q.id = p.id AND q.owner IS NOT NULL)")               \
    /* $4 end of the link, $5 link, $6 rows, $7 bytes, $8 SHA-256, $9 object key. */                         \
    X(PUBLISH, END_RECORD("status = 'completed', completed_at = statement_timestamp(),"                      \
                          " expires_at = $4::timestamptz, pre_signed_url = $5")                              \
                   END_JOB("rows = $6, bytes = $7, sha256 = $8, link_ends = r.expires_at")                   \
                       END_ATTEMPT("state = 'published', object_key = $9, expires_at = r.expires_at")        \
                           END_DEQUEUED ENDED)                                                               \
    /* $4 message, $5 code. */                                                                               \
    X(FAIL, END_RECORD("status = 'failed', completed_at = statement_timestamp(), error_message = $4")        \
                END_JOB("rows = 0, bytes = 0, error_code = $5") END_ATTEMPT("state = 'over'") END_DEQUEUED   \
                    ENDED)                                                                                   \
    X(REQUEUE, END_RECORD("status = 'pending'") END_JOB("rows = 0, bytes = 0") END_ATTEMPT("state = 'over'") \
                   END_WAITS ENDED)                                                                          \
    /* Why an end found nothing to change. $2: whether the job is that owner's. */                           \
    X(CURRENT, "SELECT" WHOLE_JOB ", EXISTS"                                                                 \
               " (SELECT FROM downloads_queue q WHERE q.id = d.id AND q.owner = $2)"                         \
               " FROM downloads d LEFT JOIN downloads_jobs j ON j.id = d.id WHERE d.id = $1")                \
    X(GET, "SELECT" WHOLE_JOB "FROM downloads d LEFT JOIN downloads_jobs j ON j.id = d.id"                   \
           " WHERE d.id = $1 AND d.org_id = $2")                                                             \
    /* $3 limit, $4 offset, $5 characters. Only as much of a long text is read as is shown. */               \
    X(LIST, "SELECT" JOB_COLUMNS("CASE WHEN octet_length(d.sql) <= $5 THEN d.sql ELSE left(d.sql, $5) END",  \
                                 "octet_length(d.sql) > $5 AND length(left(d.sql, $5 + 1)) > $5")            \
            "FROM (SELECT * FROM downloads WHERE org_id = $1 AND user_id = $2"                               \
            "  ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4) d"                                      \
            " LEFT JOIN downloads_jobs j ON j.id = d.id ORDER BY d.created_at DESC, d.id DESC")              \
    /* The same by downloads_seen. */                                                                        \
    X(LIST_SEEN,                                                                                             \
      "SELECT" JOB_COLUMNS("CASE WHEN octet_length(d.sql) <= $5 THEN d.sql ELSE left(d.sql, $5) END",        \
                           "octet_length(d.sql) > $5 AND length(left(d.sql, $5 + 1)) > $5")                  \
      "FROM (SELECT d.* FROM downloads_seen s JOIN downloads d ON d.id = s.id"                               \
      "  WHERE s.org_id = $1 AND s.user_id = $2"                                                             \
      "  ORDER BY s.created_at DESC, s.id DESC LIMIT $3 OFFSET $4) d"                                        \
      " LEFT JOIN downloads_jobs j ON j.id = d.id ORDER BY d.created_at DESC, d.id DESC")                    \
    X(SEE_RECORDS, PG_SEE_RECORDS)                                                                           \
    X(REMOVE, "WITH record AS (DELETE FROM downloads WHERE id = $1 AND org_id = $2 RETURNING id),"           \
              " job AS (DELETE FROM downloads_jobs j USING record r WHERE j.id = r.id),"                     \
              " queue AS (DELETE FROM downloads_queue q USING record r WHERE q.id = r.id),"                  \
              " seen AS (DELETE FROM downloads_seen s USING record r WHERE s.id = r.id),"                    \
              " attempt AS (UPDATE downloads_attempts a SET state = 'over' FROM record r"                    \
              "  WHERE a.id = r.id AND a.state = 'running')"                                                 \
              " SELECT id FROM record")                                                                      \
    /* Only ours: the original's records stay as they are. A row whose record is gone goes, too. */          \
    X(EXPIRE,                                                                                                \
      "WITH due AS (SELECT id FROM downloads_jobs WHERE link_ends <= statement_timestamp()"                  \
      "  ORDER BY link_ends LIMIT $1 FOR UPDATE SKIP LOCKED),"                                               \
      " record AS (UPDATE downloads d SET status = 'expired', updated_at = statement_timestamp()"            \
      "  WHERE d.id = ANY (ARRAY(SELECT id FROM due)) AND d.status = 'completed' RETURNING d.id),"           \
      " job AS (UPDATE downloads_jobs j SET version = j.version + 1, link_ends = NULL"                       \
      "  WHERE j.id = ANY (ARRAY(SELECT id FROM record))),"                                                  \
      " gone AS (DELETE FROM downloads_jobs j"                                                               \
      "  WHERE j.id = ANY (ARRAY(SELECT id FROM due EXCEPT SELECT id FROM record)))"                         \
      " SELECT count(*) FROM record")                                                                        \
    X(LEFTOVERS,                                                                                             \
      "(SELECT id, attempt, object_key, upload_id FROM downloads_attempts"                                   \
      " WHERE state = 'over' AND due_at <= statement_timestamp() ORDER BY due_at LIMIT $1)"                  \
      " UNION ALL"                                                                                           \
      " (SELECT id, attempt, object_key, upload_id FROM downloads_attempts"                                  \
      " WHERE $2::boolean AND state = 'published' AND expires_at <= statement_timestamp()"                   \
      " ORDER BY expires_at LIMIT $1) LIMIT $1")                                                             \
    /* $3: when it is due again (microseconds from now). Only what is due goes for good: another instance may \
     * have cleared the same thing at the same time. */                                                      \
    X(CLEANED,                                                                                               \
      "WITH once AS (UPDATE downloads_attempts SET cleared = true,"                                          \
      "  due_at = statement_timestamp() + $3::bigint * interval '1 microsecond'"                             \
      "  WHERE id = $1 AND attempt = $2 AND state = 'over' AND NOT cleared)"                                 \
      " DELETE FROM downloads_attempts WHERE id = $1 AND attempt = $2"                                       \
      " AND (state = 'published' OR (state = 'over' AND cleared AND due_at <= statement_timestamp()))")      \
    /* $3: when it is due again, as of CLEANED. */                                                           \
    X(NOT_CLEANED,                                                                                           \
      "UPDATE downloads_attempts SET due_at = statement_timestamp() + $3::bigint * interval '1 microsecond',"\
      " expires_at = CASE WHEN state = 'published'"                                                          \
      "  THEN statement_timestamp() + $3::bigint * interval '1 microsecond' ELSE expires_at END"             \
      " WHERE id = $1 AND attempt = $2 AND state <> 'running'")                                              \
    /* $1 owner, $2 lease to renew by (ms; NULL: none), $3 to $6 what is watched (ids, versions, rows,       \
     * bytes), $7 as $4 of CLAIM. */                                                                         \
    X(POLL,                                                                                                  \
      "WITH watched AS MATERIALIZED (SELECT * FROM"                                                          \
      "  unnest($3::uuid[], $4::bigint[], $5::bigint[], $6::bigint[]) w (id, version, rows, bytes)),"        \
      " renewed AS (UPDATE downloads_queue q"                                                                \
      "  SET lease_until = statement_timestamp() + $2::bigint * interval '1 millisecond'"                    \
      "  WHERE $2::bigint IS NOT NULL AND q.owner = $1"                                                      \
      "  AND (SELECT true FROM downloads d WHERE d.id = q.id))"                                              \
      " SELECT CASE WHEN d.id IS NULL THEN 'gone' ELSE 'changed' END, w.id," JOB_COLUMNS("''", "true")       \
      "  FROM watched w LEFT JOIN LATERAL (SELECT * FROM downloads d WHERE d.id = w.id OFFSET 0) d ON true"  \
      "  LEFT JOIN LATERAL (SELECT * FROM downloads_jobs j WHERE j.id = w.id OFFSET 0) j ON true"            \
      "  WHERE d.id IS NULL OR j.version > w.version OR j.rows <> w.rows OR j.bytes <> w.bytes"              \
      " UNION ALL"                                                                                           \
      " SELECT 'owned', q.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL," \
      "  NULL, NULL, (SELECT j.attempt FROM downloads_jobs j WHERE j.id = q.id),"                            \
      "  NULL, NULL, NULL, NULL, NULL"                                                                       \
      "  FROM downloads_queue q WHERE q.owner = $1 AND (SELECT true FROM downloads d WHERE d.id = q.id)"     \
      " UNION ALL"                                                                                           \
      " SELECT 'claimable', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"   \
      "  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"                                               \
      "  WHERE EXISTS (SELECT FROM downloads_queue WHERE owner IS NULL) OR ($7::boolean AND EXISTS"          \
      "   (SELECT FROM downloads_queue q WHERE " LAPSED "))")

#endif
