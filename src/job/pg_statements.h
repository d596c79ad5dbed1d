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
 * beginning; `columns` is of the result's. */
#define JOB_COLUMNS(sql, cut, columns)                                                                       \
    " d.id, d.user_id, d.org_id, d.dataset_id, " sql ", d.format, d.status::text, d.created_at,"             \
    " d.updated_at, d.completed_at, d.expires_at, d.pre_signed_url, d.error_message, j.error_code,"          \
    " j.version, j.attempt, j.rows, j.bytes, j.percent, j.sha256, " cut ","                                  \
    " j.failures, j.rescues, j.last_error, j.last_error_code, j.form, j.suffix, " columns ", j.details "
#define WHOLE_JOB JOB_COLUMNS("d.sql", "false", "j.columns")

#define NOW_US "(extract(epoch FROM statement_timestamp()) * 1000000)::bigint"
#define TIME(us) "('epoch'::timestamptz + " us "::bigint * interval '1 microsecond')"

/* The three kinds that wait, in the words of their indexes, and what runs: from the frontier on
 * (store_postgres.c), that is from its first such row. `tag`, `seq`, `us` are parameters. */
#define READY(tag, seq) \
    "owner IS NULL AND NOT held AND retry_at IS NULL AND (tag, seq) >= (" tag "::bigint, " seq "::bigint)"
#define LATER(us) "owner IS NULL AND NOT held AND retry_at IS NOT NULL AND retry_at >= " TIME(us)
#define DUE(us) LATER(us) " AND retry_at <= statement_timestamp()"
/* Of an upper end that excludes nothing the planner expects few rows, where it knows nothing (its statistics are
 * those of an empty queue), and does not compile the statement. */
#define RUNNING(us) "owner IS NOT NULL AND lease_until >= " TIME(us) " AND lease_until <= 'infinity'"

/* Of a row `q` that is looked up by its key. Worded so that no partial index fits: the planner may think the one
 * of running jobs next to empty, and it is full of entries of rows that are long gone. */
#define OWNED_BY(owner) "coalesce(q.owner, '') = " owner

/* Of what runs, what another ($1 is not the owner) may take, and what has no record any more. */
#define LAPSED(us)                                                                                           \
    RUNNING(us) " AND lease_until <= statement_timestamp()"                                                  \
    " AND (owner <> $1 OR (SELECT true FROM downloads d WHERE d.id = q.id) IS NULL)"

/* Where the fair order stands (fair_tag.h): at the first that is ready. Where none is, at a number that is
 * above all that were given out. */
#define FAIR_NOW(tag, seq)                                                                                   \
    "coalesce((SELECT tag FROM downloads_queue WHERE " READY(tag, seq) " ORDER BY tag, seq LIMIT 1), " NOW_US ")"

/* How many of those rows there are, up to `max`. */
#define COUNT(rows, max) "(SELECT count(*) FROM (SELECT FROM downloads_queue WHERE " rows " LIMIT " max ") counted)"

/* The place of a job behind all before (`own`, `own_seq`), as things stand; of one that is `held` also behind
 * those of its organisation that are. */
#define POSITION(own, own_seq, org, held, tag, seq, due)                                                     \
    "least(1 + " COUNT(READY(tag, seq) " AND (tag, seq) < (" own ", " own_seq ")", "10000")                  \
    " + " COUNT(DUE(due) " AND (tag, seq) < (" own ", " own_seq ")", "10000")                                \
    " + CASE WHEN " held " THEN " COUNT("org_id = " org " AND held AND (tag, seq) < (" own ", " own_seq ")", "10000") \
    " ELSE 0 END, 10000)"

/* What `left_queue` (org_id, held) left behind: room for the first of their organisation that is held. It is
 * ready, behind those of its organisation that run; its `seq` is an old one, so its tag is above that of the
 * first (struct frontier). Up to four at once, should a bound have been raised. */
#define LET_NEXT_GO(cap, tag, seq)                                                                           \
    " candidates AS (SELECT w.id, f.org_id, f.freed,"                                                        \
    "  row_number() OVER (PARTITION BY f.org_id ORDER BY w.tag, w.seq) AS place"                             \
    "  FROM (SELECT org_id, count(*) AS freed FROM left_queue WHERE NOT held GROUP BY org_id) f"             \
    "  CROSS JOIN LATERAL (SELECT id, tag, seq FROM downloads_queue h"                                       \
    "   WHERE h.org_id = f.org_id AND h.held ORDER BY h.tag, h.seq LIMIT 4) w),"                             \
    " next AS (UPDATE downloads_queue q SET held = false, retry_at = NULL,"                                  \
    "  tag = greatest(q.tag, " FAIR_NOW(tag, seq) " + 1, c.place +"                                          \
    "   coalesce((SELECT max(a.tag) FROM downloads_queue a"                                                  \
    "    WHERE a.org_id = c.org_id AND NOT a.held AND a.tag >= " tag "::bigint), 0))"                        \
    "  FROM candidates c WHERE q.id = c.id AND (" cap "::bigint = 0 OR c.place <= " cap "::bigint + c.freed" \
    "   - " COUNT("org_id = c.org_id AND NOT held", cap "::bigint + 8") ")),"

/* The fence of an attempt ($1 id, $2 attempt, $3 owner), and the steps that each end of one takes:
 * `record` is the changed record, and empty where the attempt is not the job's current one. The only
 * places where a job's state changes are these, CLAIM and EXPIRE: pending -> processing -> completed ->
 * expired, processing -> failed, processing -> pending (job_may_become()). */
#define END_RECORD(set)                                                                                      \
    "WITH mine AS (SELECT q.id FROM downloads_queue q, downloads_jobs j"                                     \
    " WHERE q.id = $1 AND " OWNED_BY("$3") " AND j.id = q.id AND j.attempt = $2 FOR UPDATE OF q),"                 \
    " record AS (UPDATE downloads d SET updated_at = statement_timestamp(), " set                            \
    " FROM mine WHERE d.id = mine.id AND d.status = 'processing' RETURNING d.*),"
#define END_JOB(set)                                                                                         \
    " job AS (UPDATE downloads_jobs j SET version = j.version + 1, percent = NULL, " set                     \
    " FROM record r WHERE j.id = r.id RETURNING j.*),"
#define END_ATTEMPT(set)                                                                                     \
    " attempt AS (UPDATE downloads_attempts a SET ended_at = statement_timestamp(), " set                    \
    " FROM record r WHERE a.id = r.id AND a.attempt = $2)"
#define END_DEQUEUED(cap, tag, seq)                                                                          \
    " left_queue AS (DELETE FROM downloads_queue q USING record r WHERE q.id = r.id RETURNING q.org_id, q.held)," \
    LET_NEXT_GO(cap, tag, seq)
#define ENDED " SELECT" WHOLE_JOB "FROM record d JOIN job j ON j.id = d.id"

/* Records that are not in downloads_seen yet: the original's, and those of instances that list by an
 * index. In one order, so that two who do it at once do not wait for each other. */
#define PG_SEE_RECORDS                                                                                       \
    "INSERT INTO downloads_seen (id, org_id, user_id, created_at)"                                           \
    " SELECT id, org_id, user_id, created_at FROM downloads d"                                               \
    " WHERE NOT EXISTS (SELECT FROM downloads_seen s WHERE s.id = d.id) ORDER BY id ON CONFLICT DO NOTHING"

/* Of downloads_attempts: what CLEANED may take off the list for good, and what it took. */
#define CLEARED_FOR_GOOD                                                                                     \
    "((state = 'published' AND expires_at <= statement_timestamp())"                                         \
    " OR (state = 'over' AND cleared AND $4::boolean AND due_at <= statement_timestamp()))"
#define KEPT_AS_HISTORY                                                                                      \
    "((state = 'published' AND expires_at = 'infinity') OR (state = 'over' AND due_at = 'infinity'))"

/* Bytes of the result's columns that POLL reads: more than an event has room for (event_text.h). */
#define POLL_COLUMNS_MAX "8192"

#define PG_STATEMENTS(X)                                                                                     \
    /* $1: org_max_running. At a start, when it may be another than before. */                               \
    X(SETTLE,                                                                                                \
      "UPDATE downloads_queue q SET held = NOT q.held,"                                                      \
      " retry_at = CASE WHEN q.held THEN NULL ELSE q.retry_at END,"                         \
      " tag = CASE WHEN q.held THEN greatest(q.tag, p.now + p.place) ELSE q.tag END"                         \
      " FROM (SELECT id, row_number() OVER"                                                                  \
      "   (PARTITION BY org_id ORDER BY owner IS NULL, held, tag, seq) AS place, " FAIR_NOW("0", "0") " AS now" \
      "  FROM downloads_queue) p"                                                                            \
      " WHERE q.id = p.id AND q.owner IS NULL AND q.held <> ($1::bigint > 0 AND p.place > $1::bigint)")      \
    /* $1 id, $2 user, $3 organisation, $4 dataset, $5 sql, $6 format, $7 queue size, $8 whether             \
     * lists go by downloads_seen, $9 org_max_queued, $10 org_max_running, $11, $12, $13 the frontier        \
     * (tag, seq, due), $14 form, $15 suffix. The time is NULL where there is no room. The tag is            \
     * fair_tag()'s. */                                                                                      \
    X(CREATE,                                                                                                \
      "WITH state AS MATERIALIZED (SELECT"                                                                   \
      " " COUNT(READY("$11", "$12"), "$7") " + " COUNT(LATER("$13"), "$7") " + " COUNT("held", "$7")         \
      "  >= $7::bigint AS full_of_all,"                                                                      \
      " " COUNT("org_id = $3 AND owner IS NULL", "$9") " >= $9::bigint AS full_of_org,"                      \
      " $10::bigint > 0 AND " COUNT("org_id = $3 AND NOT held", "$10") " >= $10::bigint AS held,"            \
      " greatest("                                                                                           \
      "  (SELECT max(tag) FROM downloads_queue WHERE org_id = $3 AND NOT held AND tag >= $11::bigint),"      \
      "  (SELECT max(tag) FROM downloads_queue WHERE org_id = $3 AND held), 0) AS last_of_org,"              \
      " " FAIR_NOW("$11", "$12") " AS now),"                                                                 \
      " place AS MATERIALIZED (SELECT held, full_of_all, full_of_org, greatest(last_of_org + 1, now) AS tag FROM state)," \
      " record AS (INSERT INTO downloads"                                                                    \
      "  (id, user_id, org_id, dataset_id, sql, format, status, created_at, updated_at)"                     \
      "  SELECT $1, $2, $3, $4, $5, $6, 'pending', statement_timestamp(), statement_timestamp()"             \
      "  FROM place WHERE NOT full_of_all AND NOT full_of_org RETURNING id, org_id, user_id, created_at),"   \
      " job AS (INSERT INTO downloads_jobs (id, version, attempt, rows, bytes, form, suffix)"                \
      "  SELECT id, 1, 0, 0, 0, $14, $15 FROM record),"                                                      \
      " queue AS (INSERT INTO downloads_queue (id, org_id, tag, held)"                                       \
      "  SELECT id, org_id, tag, held FROM record, place),"                                                  \
      " seen AS (INSERT INTO downloads_seen (id, org_id, user_id, created_at)"                               \
      "  SELECT id, org_id, user_id, created_at FROM record WHERE $8::boolean)"                              \
      " SELECT r.created_at, full_of_all, CASE WHEN r.id IS NOT NULL THEN "                                  \
      POSITION("place.tag", "9223372036854775807", "$3", "place.held", "$11", "$12", "$13") " END"                                  \
      " FROM place LEFT JOIN record r ON true")                                                              \
    /* $1 owner, $2 limit, $3 lease (ms), $4 whether others' jobs whose lease is over may be taken too: as   \
     * if put back and claimed, hence two versions on; $5 to $8 the frontier (tag, seq, due, lease),         \
     * $9 org_max_running. What has no record any more leaves the queue. The key is job_object_key()'s. */   \
    X(CLAIM,                                                                                                 \
      "WITH ready AS (SELECT id, tag, seq, false AS lapsed, true AS ready FROM downloads_queue"              \
      "  WHERE " READY("$5", "$6") " ORDER BY tag, seq LIMIT $2 FOR UPDATE SKIP LOCKED),"                    \
      " due AS (SELECT id, tag, seq, false AS lapsed, false AS ready FROM downloads_queue"                   \
      "  WHERE " DUE("$7") " ORDER BY retry_at LIMIT $2 FOR UPDATE SKIP LOCKED),"                            \
      " lapsed AS (SELECT id, tag, seq, true AS lapsed, false AS ready FROM downloads_queue q"               \
      "  WHERE $4::boolean AND " LAPSED("$8") " ORDER BY lease_until LIMIT $2 FOR UPDATE SKIP LOCKED),"      \
      " picked AS (SELECT * FROM (SELECT * FROM ready UNION ALL SELECT * FROM due"                           \
      "   UNION ALL SELECT * FROM lapsed) all_of_them ORDER BY tag, seq LIMIT $2),"                          \
      " record AS (UPDATE downloads d SET status = 'processing', updated_at = statement_timestamp()"         \
      "  WHERE d.id = ANY (ARRAY(SELECT id FROM picked)) AND d.status IN ('pending', 'processing')"          \
      "  RETURNING d.*),"                                                                                    \
      " job AS (UPDATE downloads_jobs j SET version = j.version + CASE WHEN p.lapsed THEN 2 ELSE 1 END,"     \
      "  attempt = j.attempt + 1, rescues = j.rescues + p.lapsed::integer, rows = 0, bytes = 0, percent = NULL" \
      "  FROM picked p WHERE j.id = ANY (ARRAY(SELECT id FROM record)) AND p.id = j.id"                      \
      "  RETURNING j.*, p.tag, p.seq, p.ready),"                                                             \
      " taken AS (UPDATE downloads_queue q SET owner = $1, retry_at = NULL,"                                 \
      "  lease_until = statement_timestamp() + $3::bigint * interval '1 millisecond'"                        \
      "  FROM job WHERE q.id = job.id),"                                                                     \
      " left_queue AS (DELETE FROM downloads_queue q USING picked p WHERE q.id = p.id"                       \
      "  AND NOT EXISTS (SELECT FROM job WHERE job.id = p.id) RETURNING q.org_id, q.held),"                  \
      LET_NEXT_GO("$9", "$5", "$6")                                                                          \
      " over AS (UPDATE downloads_attempts a SET state = 'over', outcome = 'lost',"                          \
      "  ended_at = statement_timestamp() WHERE a.id = ANY (ARRAY(SELECT id FROM picked))"                   \
      "  AND a.state = 'running'),"                                                                          \
      " attempt AS (INSERT INTO downloads_attempts (id, attempt, object_key, state, owner, started_at)"      \
      "  SELECT r.id, job.attempt, r.org_id || '/' || r.id ||"                                               \
      "   CASE WHEN job.attempt > 1 THEN '-' || job.attempt ELSE '' END || '.' ||"                           \
      "   coalesce(job.suffix, r.format), 'running',"                                                        \
      "   $1, statement_timestamp() FROM record r JOIN job ON job.id = r.id)"                                \
      " SELECT" WHOLE_JOB ", j.ready, j.tag, j.seq FROM record d JOIN job j ON j.id = d.id"                  \
      " ORDER BY j.tag, j.seq")                                                                              \
    X(NOTE_UPLOAD,                                                                                           \
      "UPDATE downloads_attempts a SET upload_id = $4 FROM downloads_queue q, downloads_jobs j, downloads d" \
      " WHERE a.id = $1 AND a.attempt = $2 AND a.state = 'running' AND q.id = $1 AND " OWNED_BY("$3")        \
      " AND j.id = $1 AND j.attempt = $2 AND d.id = $1 AND d.status = 'processing' RETURNING a.id")          \
    /* Arrays: ids, attempts, rows, bytes, percents. */                                                      \
    X(PROGRESS,                                                                                              \
      "UPDATE downloads_jobs j SET rows = p.rows, bytes = p.bytes, percent = p.percent"                      \
      " FROM unnest($1::uuid[], $2::integer[], $3::bigint[], $4::bigint[], $5::double precision[])"          \
      "  p (id, attempt, rows, bytes, percent)"                                                              \
      " WHERE j.id = p.id AND j.attempt = p.attempt"                                                         \
      " AND EXISTS (SELECT FROM downloads_queue q WHERE q.id = p.id AND NOT " OWNED_BY("''") ")")            \
    /* $4 end of the link, $5 link, $6 rows, $7 bytes, $8 SHA-256, $9 object key, $10 org_max_running,       \
     * $11, $12 the frontier (tag, seq), $13 columns, $14 details. */                                        \
    X(PUBLISH, END_RECORD("status = 'completed', completed_at = statement_timestamp(),"                      \
                          " expires_at = $4::timestamptz, pre_signed_url = $5")                              \
                   END_JOB("rows = $6, bytes = $7, sha256 = $8, link_ends = r.expires_at, columns = $13,"    \
                           " details = $14")                                                                 \
                       END_DEQUEUED("$10", "$11", "$12")                                                     \
                           END_ATTEMPT("state = 'published', outcome = 'published', object_key = $9,"        \
                                       " expires_at = r.expires_at") ENDED)                                  \
    /* $4 message, $5 code, $6 message of the attempt, $7 org_max_running, $8, $9 the frontier (tag, seq). */ \
    X(FAIL, END_RECORD("status = 'failed', completed_at = statement_timestamp(), error_message = $4")        \
                END_JOB("rows = 0, bytes = 0, error_code = $5, failures = j.failures + 1")                   \
                    END_DEQUEUED("$7", "$8", "$9")                                                           \
                        END_ATTEMPT("state = 'over', outcome = 'failed', error = $6, error_code = $5") ENDED) \
    /* $4 message of a failure (NULL: it is none), $5 its code, $6 delay (ms). */                            \
    X(REQUEUE,                                                                                               \
      END_RECORD("status = 'pending'")                                                                       \
          END_JOB("rows = 0, bytes = 0, failures = j.failures + ($4::text IS NOT NULL)::integer,"            \
                  " last_error = coalesce($4, j.last_error), last_error_code = coalesce($5, j.last_error_code)") \
      " waits AS (UPDATE downloads_queue q SET owner = NULL, lease_until = NULL,"                            \
      "  retry_at = statement_timestamp() + $6::bigint * interval '1 millisecond' FROM record r WHERE q.id = r.id)," \
          END_ATTEMPT("state = 'over', error = $4, error_code = $5,"                                         \
                      " outcome = CASE WHEN $4::text IS NULL THEN 'handed_over' ELSE 'failed' END") ENDED)   \
    /* Why an end found nothing to change. $2: whether the job is that owner's. */                           \
    X(CURRENT, "SELECT" WHOLE_JOB ", EXISTS"                                                                 \
               " (SELECT FROM downloads_queue q WHERE q.id = d.id AND " OWNED_BY("$2") ")"                   \
               " FROM downloads d LEFT JOIN downloads_jobs j ON j.id = d.id WHERE d.id = $1")                \
    /* With when it is tried again and its place in the queue, where it waits. */                            \
    X(GET,                                                                                                   \
      "SELECT" WHOLE_JOB ", CASE WHEN q.retry_at > statement_timestamp() THEN q.retry_at END, CASE WHEN q.id IS NOT NULL THEN "                                    \
      POSITION("q.tag", "q.seq", "q.org_id", "q.held", "0", "0", "0") " END"                                          \
      " FROM downloads d LEFT JOIN downloads_jobs j ON j.id = d.id"                                          \
      " LEFT JOIN downloads_queue q ON q.id = d.id AND q.owner IS NULL"                                      \
      " WHERE d.id = $1 AND d.org_id = $2")                                                                  \
    X(ATTEMPTS,                                                                                              \
      "SELECT attempt, coalesce(outcome, state), owner, started_at, ended_at, error, error_code"             \
      " FROM downloads_attempts WHERE id = $1 ORDER BY attempt")                                             \
    /* $3 limit, $4 offset, $5 characters. Only as much of a long text is read as is shown. */               \
    X(LIST, "SELECT" JOB_COLUMNS("CASE WHEN octet_length(d.sql) <= $5 THEN d.sql ELSE left(d.sql, $5) END",  \
                                 "octet_length(d.sql) > $5 AND length(left(d.sql, $5 + 1)) > $5", "NULL")            \
            "FROM (SELECT * FROM downloads WHERE org_id = $1 AND user_id = $2"                               \
            "  ORDER BY created_at DESC, id DESC LIMIT $3 OFFSET $4) d"                                      \
            " LEFT JOIN downloads_jobs j ON j.id = d.id ORDER BY d.created_at DESC, d.id DESC")              \
    /* The same by downloads_seen. */                                                                        \
    X(LIST_SEEN,                                                                                             \
      "SELECT" JOB_COLUMNS("CASE WHEN octet_length(d.sql) <= $5 THEN d.sql ELSE left(d.sql, $5) END",        \
                           "octet_length(d.sql) > $5 AND length(left(d.sql, $5 + 1)) > $5", "NULL")                  \
      "FROM (SELECT d.* FROM downloads_seen s JOIN downloads d ON d.id = s.id"                               \
      "  WHERE s.org_id = $1 AND s.user_id = $2"                                                             \
      "  ORDER BY s.created_at DESC, s.id DESC LIMIT $3 OFFSET $4) d"                                        \
      " LEFT JOIN downloads_jobs j ON j.id = d.id ORDER BY d.created_at DESC, d.id DESC")                    \
    X(SEE_RECORDS, PG_SEE_RECORDS)                                                                           \
    /* $1 id, $2 organisation, $3 org_max_running, $4, $5 the frontier (tag, seq). An attempt that left       \
     * nothing to clear away is forgotten. */                                                                \
    X(REMOVE, "WITH record AS (DELETE FROM downloads WHERE id = $1 AND org_id = $2 RETURNING id),"           \
              " job AS (DELETE FROM downloads_jobs j USING record r WHERE j.id = r.id),"                     \
              " left_queue AS (DELETE FROM downloads_queue q USING record r WHERE q.id = r.id"               \
              "  RETURNING q.org_id, q.held),"                                                               \
              LET_NEXT_GO("$3", "$4", "$5")                                                                  \
              " seen AS (DELETE FROM downloads_seen s USING record r WHERE s.id = r.id),"                    \
              " attempt AS (UPDATE downloads_attempts a SET state = 'over' FROM record r"                    \
              "  WHERE a.id = r.id AND a.state = 'running'),"                                                \
              " history AS (DELETE FROM downloads_attempts a USING record r WHERE a.id = r.id AND "          \
              KEPT_AS_HISTORY ")"                                                                            \
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
      "(SELECT id, attempt, object_key, upload_id, cleared FROM downloads_attempts"                          \
      " WHERE state = 'over' AND due_at <= statement_timestamp() ORDER BY due_at LIMIT $1)"                  \
      " UNION ALL"                                                                                           \
      " (SELECT id, attempt, object_key, upload_id, false FROM downloads_attempts"                           \
      " WHERE $2::boolean AND state = 'published' AND expires_at <= statement_timestamp()"                   \
      " ORDER BY expires_at LIMIT $1) LIMIT $1")                                                             \
    /* $3: when it is due again (microseconds from now), $4 whether it had been cleared once when it was read:  \
     * only then, and only while it is due, it goes for good, since another instance may have cleared the same  \
     * thing at the same time. For good means: it stays while the record does. */                            \
    X(CLEANED,                                                                                               \
      "WITH once AS (UPDATE downloads_attempts SET cleared = true,"                                          \
      "  due_at = statement_timestamp() + $3::bigint * interval '1 microsecond'"                             \
      "  WHERE id = $1 AND attempt = $2 AND state = 'over' AND NOT cleared),"                                \
      " kept AS (UPDATE downloads_attempts SET"                                                              \
      "  due_at = CASE WHEN state = 'over' THEN 'infinity' ELSE due_at END,"                                 \
      "  expires_at = CASE WHEN state = 'published' THEN 'infinity' ELSE expires_at END"                     \
      "  WHERE id = $1 AND attempt = $2 AND " CLEARED_FOR_GOOD                                               \
      "  AND EXISTS (SELECT FROM downloads d WHERE d.id = $1))"                                              \
      " DELETE FROM downloads_attempts WHERE id = $1 AND attempt = $2 AND " CLEARED_FOR_GOOD                 \
      " AND NOT EXISTS (SELECT FROM downloads d WHERE d.id = $1)")                                           \
    /* $3: when it is due again, as of CLEANED; what is due later stays so. */                              \
    X(NOT_CLEANED,                                                                                           \
      "UPDATE downloads_attempts SET"                                                                        \
      " due_at = greatest(due_at, statement_timestamp() + $3::bigint * interval '1 microsecond'),"           \
      " expires_at = CASE WHEN state = 'published' THEN"                                                     \
      "  greatest(expires_at, statement_timestamp() + $3::bigint * interval '1 microsecond') ELSE expires_at END" \
      " WHERE id = $1 AND attempt = $2 AND state <> 'running'")                                              \
    /* $3 object key, $4 upload id. */                                                                       \
    X(LEFT_BEHIND,                                                                                           \
      "INSERT INTO downloads_attempts (id, attempt, object_key, upload_id, state) VALUES ($1, $2, $3, $4, 'over')" \
      " ON CONFLICT (id, attempt) DO UPDATE SET cleared = false, due_at = '-infinity',"                      \
      " upload_id = coalesce(excluded.upload_id, downloads_attempts.upload_id)"                              \
      " WHERE downloads_attempts.state = 'over'")                                                            \
    /* $1 owner, $2 lease (ms), $3 to $6 the frontier (tag, seq, due, lease). Answers with the new one. */    \
    X(RENEW,                                                                                                 \
      "WITH renewed AS (UPDATE downloads_queue q"                                                            \
      "  SET lease_until = statement_timestamp() + $2::bigint * interval '1 millisecond'"                    \
      "  WHERE q.owner = $1 AND " RUNNING("$6") " AND (SELECT true FROM downloads d WHERE d.id = q.id)),"    \
      " first AS (SELECT tag, seq FROM downloads_queue WHERE " READY("$3", "$4") " ORDER BY tag, seq LIMIT 1)" \
      " SELECT coalesce((SELECT tag FROM first), " NOW_US "), coalesce((SELECT seq FROM first), 0),"         \
      " least(statement_timestamp(), (SELECT min(retry_at) FROM downloads_queue WHERE " LATER("$5") ")),"    \
      " least(statement_timestamp(), (SELECT min(lease_until) FROM downloads_queue WHERE " RUNNING("$6") "))") \
    /* $1 owner, $2 to $5 what is watched (ids, versions, rows, bytes), $6 as $4 of CLAIM, $7 to $10 the     \
     * frontier (tag, seq, due, lease). The first in its index, not EXISTS: that may read the table instead. */ \
    X(POLL,                                                                                                  \
      "WITH watched AS MATERIALIZED (SELECT * FROM"                                                          \
      "  unnest($2::uuid[], $3::bigint[], $4::bigint[], $5::bigint[]) w (id, version, rows, bytes))"         \
      " SELECT CASE WHEN d.id IS NULL THEN 'gone' ELSE 'changed' END, w.id," JOB_COLUMNS("''", "true",       \
             "CASE WHEN octet_length(j.columns) <= " POLL_COLUMNS_MAX " THEN j.columns END")                   \
      "  FROM watched w LEFT JOIN LATERAL (SELECT * FROM downloads d WHERE d.id = w.id OFFSET 0) d ON true"  \
      "  LEFT JOIN LATERAL (SELECT * FROM downloads_jobs j WHERE j.id = w.id OFFSET 0) j ON true"            \
      "  WHERE d.id IS NULL OR j.version > w.version OR j.rows <> w.rows OR j.bytes <> w.bytes"              \
      " UNION ALL"                                                                                           \
      " SELECT 'owned', q.id, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL," \
      "  NULL, NULL, (SELECT j.attempt FROM downloads_jobs j WHERE j.id = q.id),"                            \
      "  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL"                       \
      "  FROM downloads_queue q WHERE q.owner = $1 AND " RUNNING("$10")                                      \
      "  AND (SELECT true FROM downloads d WHERE d.id = q.id)"                                               \
      " UNION ALL"                                                                                           \
      " SELECT 'claimable', NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL,"   \
      "  NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL" \
      "  WHERE (SELECT true FROM downloads_queue WHERE " READY("$7", "$8") " ORDER BY tag, seq LIMIT 1)"     \
      "  OR (SELECT true FROM downloads_queue WHERE " DUE("$9") " ORDER BY retry_at LIMIT 1)"                \
      "  OR ($6::boolean AND (SELECT true FROM downloads_queue q WHERE " LAPSED("$10")                       \
      "   ORDER BY lease_until LIMIT 1))")

#endif
