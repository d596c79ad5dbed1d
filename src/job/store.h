/* The job store: the record of every download, and the queue of those that wait or run.
 *
 * One interface, a backend each for SQLite and Postgres. Every call blocks; a store belongs to one
 * thread at a time (store_thread.h), and no call is made on the event loop. The clock is the store's own.
 * Calls that write run inside a transaction, alone in it, or each inside a savepoint that is undone when the
 * call fails (store_thread.c puts these around it): so a call that fails leaves no trace. get() and list()
 * may run outside of any.
 *
 * Tables: `downloads` (the contract's, the log), `downloads_jobs` (one row a job: what we know beyond it),
 * `downloads_queue` (one row while it waits or runs; only what is in it ever runs), `downloads_attempts` (one
 * row an attempt; outlives the record).
 *
 * What waits is of three kinds: ready; not yet due (it failed, and is to be tried again after a delay); and held (its organisation
 * runs as many as it may). The end of one of an organisation's jobs lets its first held one go. How the promises of the queue are
 * kept: docs/queue.md.
 *
 * An attempt is fenced: publish, fail, requeue and note_upload change a job only while `attempt` is its current
 * one, the job is `processing` and the queue row is the owner's; otherwise ERROR_STALE. An end that was
 * committed although the answer was lost may be told again: publish, fail and requeue are well then, too.
 * A database that is busy, full, damaged or out of reach is ERROR_UNAVAILABLE. `ret` outputs are written on success only, and are the
 * caller's to release. */
#ifndef JOB_STORE_H
#define JOB_STORE_H

#include <stddef.h>

#include "job/job.h"

/* Characters of `sql` in the records of a list: a hundred of 4 MiB each would be too much for a page. */
#define JOB_LIST_SQL_MAX 65536

/* A list of records; free with job_list_release(). */
struct job_list {
    struct job *jobs;
    size_t count;
};
void job_list_release(struct job_list *l);

/* How much may wait and run. Each instance should be given the same. */
struct job_bounds {
    uint64_t queue_size;      /* jobs that wait, of all organisations */
    uint64_t org_max_queued;  /* that wait, of one */
    uint64_t org_max_running; /* that run at once, of one, at all instances together; 0: no bound */
};

struct job_request {
    const char *user_id, *org_id, *dataset_id, *sql, *format;
    const char *form, *suffix; /* see struct job; NULL is allowed */
};

/* Who calls for which attempt. */
struct job_attempt {
    const char *id;
    uint32_t attempt;
    const char *owner; /* the instance's random id of this boot */
};

struct job_result {
    const char *object_key;
    const char *link;
    int64_t expires_at;
    uint64_t rows, bytes;
    const char *sha256; /* hex */
    const char *columns, *details; /* see struct job; JSON, UTF-8; NULL is allowed */
};

struct job_progress {
    char id[UUID_SIZE];
    uint32_t attempt;
    uint64_t rows, bytes;
    double percent; /* negative: not known */
};

/* An attempt that is over and not published is cleared away twice, since a writer that was thought dead may
 * still write: at once, and once more so much later. */
#define JOB_CLEAR_AGAIN_US (INT64_C(3600) * 1000000)

/* One that could not be cleared away lets others go first. */
#define JOB_CLEAR_RETRY_US (INT64_C(60) * 1000000)

/* An attempt that may have left something to clear away. */
struct job_leftover {
    char id[UUID_SIZE];
    uint32_t attempt;
    char *object_key;
    char *upload_id; /* of a multipart upload that may be open; NULL: none was noted */
    bool again;      /* it was cleared away once */
};
struct job_leftover_list {
    struct job_leftover *items;
    size_t count;
};
void job_leftover_list_release(struct job_leftover_list *l);

/* What an instance asks the store twice a second (where others may work on the same store). */
struct job_watch {
    char id[UUID_SIZE];
    int64_t version; /* what the instance knows of it */
    uint64_t rows, bytes;
};
struct job_poll {
    const char *owner;
    const struct job_watch *watched; /* jobs that are followed here and run elsewhere */
    size_t watched_count;
};
struct job_id_list {
    char (*ids)[UUID_SIZE];
    size_t count;
};
struct job_poll_result {
    struct job_list changed;  /* of the watched: a newer version, or other rows or bytes; in these `sql` is "", and
                                 `columns` NULL where it is long */
    struct job_id_list gone;  /* of the watched: the record is deleted */
    struct job_id_list owned; /* the jobs in the queue that are the owner's; also those of a claim() whose answer was
                                 lost, which their owner is to put back */
    uint32_t *owned_attempts; /* of each */
    bool claimable;           /* claim() would find something */
};
void job_poll_result_release(struct job_poll_result *r);

struct job_store {
    const struct job_store_api *api; /* a backend's own struct begins with this one */
    struct job_bounds bounds;        /* set by the opener; org_max_running before settle() */
};

struct job_store_api {
    const char *name; /* "sqlite", "postgres" */

    void (*close)(struct job_store *s); /* a transaction that is open is undone */

    /* Transactions: begin, then for each call savepoint + (release | rollback_to), then commit. A failed
     * commit undoes all. A backend may lose the whole transaction in mid-way (a full disk): then savepoint
     * and commit fail too. rollback() ends what is left of it, and does nothing where nothing is.
     * Or, for a single call: begin_one, then commit, or rollback where the call failed; no savepoint. On
     * Postgres each statement of that call is a transaction of its own, committed before its answer comes: so
     * what a call changes, it changes in one statement, which is right whatever the call sends before or behind
     * it; and a call that fails with ERROR_UNAVAILABLE, or for want of memory to read the answer, may have been
     * committed, as with a failed commit. */
    bool (*begin)(struct job_store *s, struct error *e);
    bool (*begin_one)(struct job_store *s, struct error *e);
    bool (*savepoint)(struct job_store *s, struct error *e);
    bool (*release)(struct job_store *s, struct error *e);
    void (*rollback_to)(struct job_store *s);
    bool (*commit)(struct job_store *s, struct error *e);
    void (*rollback)(struct job_store *s);

    /* At the start, after the bounds are set: holds and lets go what waits, as org_max_running says. */
    bool (*settle)(struct job_store *s, struct error *e);

    /* Stores a new pending job and its place in the queue; ERROR_QUEUE_FULL, ERROR_ORG_QUEUE_FULL where as many
     * wait already as may. */
    bool (*create)(struct job_store *s, const struct job_request *r, struct job *ret, struct error *e);

    /* Takes up to `limit` of those that are ready or due, fairest first: they are `processing` and the owner's then,
     * with the next attempt number, a new version, and an attempt row with the object key. `*ret_next_ms`: when the
     * next one is due that waits for its delay; -1: there is none, or poll() tells. */
    bool (*claim)(struct job_store *s, const char *owner, size_t limit, struct job_list *ret,
                  int64_t *ret_next_ms, struct error *e);

    /* Before the first byte of a multipart upload is sent: so that it can be found and aborted whatever happens
     * to this process. Fenced. */
    bool (*note_upload)(struct job_store *s, const struct job_attempt *a, const char *upload_id, struct error *e);

    /* Writes rows, bytes and percent of running attempts; not a new version. Stale ones are passed over. */
    bool (*progress)(struct job_store *s, const struct job_progress *items, size_t count, struct error *e);

    /* The end of an attempt. `ret` is the record as it is then. fail() is final. requeue() with a reason counts a
     * failure, and the job is not claimed before `delay_ms` is over; without one (a shutdown) it counts none.
     * A job that is put back keeps its place: it was first. */
    bool (*publish)(struct job_store *s, const struct job_attempt *a, const struct job_result *r,
                    struct job *ret, struct error *e);
    bool (*fail)(struct job_store *s, const struct job_attempt *a, const struct error *why, struct job *ret,
                 struct error *e);
    bool (*requeue)(struct job_store *s, const struct job_attempt *a, const struct error *why, uint64_t delay_ms,
                    struct job *ret, struct error *e);

    /* Of one organisation; ERROR_NOT_FOUND. The list is of one user too, newest first, and has no `columns`. attempts()
     * is of a job that get() found. */
    bool (*get)(struct job_store *s, const char *org_id, const char *id, struct job *ret, struct error *e);
    bool (*attempts)(struct job_store *s, const char *id, struct job_attempt_list *ret, struct error *e);
    bool (*list)(struct job_store *s, const char *org_id, const char *user_id, size_t limit, size_t offset,
                 struct job_list *ret, struct error *e);

    /* Takes record and queue row away; a running attempt is over from then on, a published one stays until
     * its link ends. `*ret_found` is false for an unknown id. */
    bool (*remove)(struct job_store *s, const char *org_id, const char *id, bool *ret_found, struct error *e);

    /* Turns up to `limit` completed jobs whose link is over into expired ones. */
    bool (*expire)(struct job_store *s, size_t limit, size_t *ret_count, struct error *e);

    /* Up to `limit` attempts that are over, unpublished and due to be cleared away; with `published_too` also
     * published ones whose link is over, their record deleted or not. cleaned() takes such an attempt off the
     * list: an unpublished one at first for JOB_CLEAR_AGAIN_US, then for good; a published one for good. Its row stays
     * as history while the record is there.
     * not_cleaned() takes it off the list for JOB_CLEAR_RETRY_US, and brings nothing forward: another instance may
     * have cleared it meanwhile. Both are told the item that leftovers() gave. */
    bool (*leftovers)(struct job_store *s, size_t limit, bool published_too, struct job_leftover_list *ret,
                      struct error *e);
    bool (*cleaned)(struct job_store *s, const struct job_leftover *l, struct error *e);
    bool (*not_cleaned)(struct job_store *s, const struct job_leftover *l, struct error *e);

    /* Of an attempt that ended here and whose job was not ours any more (deleted, or taken by another): it may have
     * written after it was cleared away, so it is to be cleared away anew, unless it is the published one. */
    bool (*left)(struct job_store *s, const struct job_leftover *l, struct error *e);

    /* The three below: NULL where the backend has no need of it. */

    /* SQLite (one server a directory), at start: what ran when the last server ended waits again, in its place,
     * its attempt lost. Postgres: claim() also takes jobs whose lease is over, in the same way. */
    bool (*recover)(struct job_store *s, size_t *ret_count, struct error *e);

    /* Postgres, where other instances work on the same store. renew(): the leases of the owner's jobs; also one that
     * is over, while nobody took the job. poll(): what others did; it only reads, outside of any transaction. */
    bool (*renew)(struct job_store *s, const char *owner, struct error *e);
    bool (*poll)(struct job_store *s, const struct job_poll *p, struct job_poll_result *ret, struct error *e);
};

/* Opens (and makes, mode 0600: it holds links) the database file. Any number may be open on one file: one
 * that writes, others that read. NULL on failure. */
struct job_store *job_store_sqlite_open(const char *path, struct error *e);

struct job_store_postgres_options {
    const char *host, *database, *user, *password; /* "" where not given: libpq's own defaults (PG*) */
    uint16_t port;
    const char *sslmode; /* libpq's words; NULL: its own default (PGSSLMODE) */
    uint64_t lease_ms;
    uint64_t statement_timeout_ms; /* of each statement, and of the wait for its answer */
    /* What is worth a line in the log: tables made, the connection lost and made anew. Optional; called on the
     * thread that calls the store. */
    void (*note)(void *context, const char *line);
    void *context;
};

/* Connects, and brings the tables to the newest step (store_postgres.c says how it lives with gopie's own).
 * ERROR_UNAVAILABLE: there is no server, or it is not ready: try again. ERROR_CONFIG: it refuses us (password,
 * database, permission), with what to do. A connection that breaks later is made anew by the calls themselves,
 * at most once a second; until then they fail at once with ERROR_UNAVAILABLE. */
struct job_store *job_store_postgres_open(const struct job_store_postgres_options *o, struct error *e);

/* Whether that would do, without a change to the database; `note` hears what is to be made. */
MUST_CHECK bool job_store_postgres_check(const struct job_store_postgres_options *o, struct error *e);

#endif
