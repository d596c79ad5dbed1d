/* Calls the job store as the control thread does, one line of standard input a call, so that a test can do
 * something to the server in between. Each line is answered by one: "MILLISECONDS ok ..." or "MILLISECONDS
 * error CODE TEXT". What the store notes goes to standard error. --statements prints the SQL of the
 * Postgres store. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/clock.h"
#include "job/pg_statements.h"
#include "job/store.h"

#define WORDS_MAX 4096
#define LINK_ENDS 4102444800000000

static struct job_store *store;
static int64_t next_ms; /* of claim(): poll() tells */
static bool by_hand; /* between `begin` and `commit` or `rollback` */

struct words {
    char **at;
    size_t count;
};

static const char *word(const struct words *w, size_t i)
{
    return i < w->count ? w->at[i] : "";
}

static uint64_t number(const struct words *w, size_t i)
{
    return strtoull(word(w, i), NULL, 10);
}

static void print_note(void *context, const char *line)
{
    (void)context;
    fprintf(stderr, "%s\n", line);
}

static const char *variable(const char *name)
{
    const char *value = getenv(name);
    return value ? value : "";
}

/* One call, with what the control thread puts around it: alone, or by hand among others. */
#define CALL(e, call)                                                                                        \
    (by_hand ? end_call_by_hand(call) : end_call(store->api->begin_one(store, e) && (call), e))

/* A savepoint is open, and one for the next call. */
static bool end_call_by_hand(bool ok)
{
    struct error ignored; /* the commit fails, too */
    if (!ok) {
        store->api->rollback_to(store);
        (void)!store->api->savepoint(store, &ignored);
    }
    return ok;
}

static bool end_call(bool ok, struct error *e)
{
    if (ok && store->api->commit(store, e))
        return true;
    store->api->rollback(store);
    return false;
}

static struct job_store_postgres_options options(uint64_t lease_ms, uint64_t timeout_ms)
{
    const char *sslmode = variable("JOB_STORE_SSLMODE");
    return (struct job_store_postgres_options){.host = variable("JOB_STORE_HOST"),
                                               .port =
                                                   (uint16_t)strtoul(variable("JOB_STORE_PORT"), NULL, 10),
                                               .database = variable("JOB_STORE_DB"),
                                               .user = variable("JOB_STORE_USER"),
                                               .password = variable("JOB_STORE_PASSWORD"),
                                               .sslmode = sslmode[0] ? sslmode : NULL,
                                               .lease_ms = lease_ms,
                                               .statement_timeout_ms = timeout_ms,
                                               .note = print_note};
}

/* open LEASE_MS TIMEOUT_MS */
static bool do_open(const struct words *w, struct buf *out, struct error *e)
{
    (void)out;
    struct job_store_postgres_options o = options(number(w, 1), number(w, 2));
    return (store = job_store_postgres_open(&o, e));
}

static bool do_check(const struct words *w, struct buf *out, struct error *e)
{
    (void)w;
    (void)out;
    struct job_store_postgres_options o = options(60000, 10000);
    return job_store_postgres_check(&o, e);
}

static bool do_sqlite(const struct words *w, struct buf *out, struct error *e)
{
    (void)out;
    return (store = job_store_sqlite_open(word(w, 1), e));
}

static bool do_close(const struct words *w, struct buf *out, struct error *e)
{
    (void)w;
    (void)out;
    (void)e;
    store->api->close(store);
    store = NULL;
    return true;
}

static bool do_begin(const struct words *w, struct buf *out, struct error *e)
{
    (void)w;
    (void)out;
    by_hand = true;
    return store->api->begin(store, e) && store->api->savepoint(store, e);
}

static bool do_commit(const struct words *w, struct buf *out, struct error *e)
{
    (void)w;
    (void)out;
    by_hand = false;
    if (store->api->release(store, e) && store->api->commit(store, e))
        return true;
    store->api->rollback(store);
    return false;
}

static bool create(const char *org, const char *user, uint64_t queue_size, struct job *ret, struct error *e)
{
    struct job_request r = {
        .user_id = user, .org_id = org, .dataset_id = "set", .sql = "SELECT 1", .format = "csv"};
    store->bounds.queue_size = store->bounds.org_max_queued = queue_size;
    return CALL(e, store->api->create(store, &r, ret, e));
}

/* create ORG USER QUEUE_SIZE */
static bool do_create(const struct words *w, struct buf *out, struct error *e)
{
    _cleanup_(job_release) struct job j = {0};
    if (!create(word(w, 1), word(w, 2), number(w, 3), &j, e))
        return false;
    buf_printf(out, " %s", j.id);
    return true;
}

/* fill ORG QUEUE_SIZE COUNT: tries so many, and says how many were taken */
static bool do_fill(const struct words *w, struct buf *out, struct error *e)
{
    uint64_t taken = 0, count = number(w, 3);
    for (uint64_t i = 0; i < count; i++) {
        _cleanup_(job_release) struct job j = {0};
        if (create(word(w, 1), "user", number(w, 2), &j, e))
            taken++;
        else if (e->code != ERROR_QUEUE_FULL)
            return false;
    }
    buf_printf(out, " %" PRIu64, taken);
    return true;
}

/* claim OWNER LIMIT */
static bool do_claim(const struct words *w, struct buf *out, struct error *e)
{
    _cleanup_(job_list_release) struct job_list list = {0};
    if (!CALL(e, store->api->claim(store, word(w, 1), number(w, 2), &list, &next_ms, e)))
        return false;
    for (size_t i = 0; i < list.count; i++)
        buf_printf(out, " %s:%" PRIu32 ":%" PRId64, list.jobs[i].id, list.jobs[i].attempt,
                   list.jobs[i].version);
    return true;
}

static bool end_attempt(const char *how, const char *message, const struct job_attempt *a, struct job *ret,
                        struct error *e)
{
    struct job_result r = {.object_key = "key",
                           .link = "http://host/key",
                           .expires_at = LINK_ENDS,
                           .rows = 1,
                           .bytes = 2,
                           .sha256 = "e3b0",
                           .columns = message,
                           .details = "{}"};
    struct error why;
    error_set(&why, ERROR_QUERY, "%s", message);
    if (strcmp(how, "publish") == 0)
        return CALL(e, store->api->publish(store, a, &r, ret, e));
    if (strcmp(how, "fail") == 0)
        return CALL(e, store->api->fail(store, a, &why, ret, e));
    return CALL(e, store->api->requeue(store, a, NULL, 0, ret, e));
}

/* publish OWNER ID ATTEMPT [COLUMNS]; fail|requeue OWNER ID ATTEMPT [MESSAGE] */
static bool do_end(const struct words *w, struct buf *out, struct error *e)
{
    struct job_attempt a = {.owner = word(w, 1), .id = word(w, 2), .attempt = (uint32_t)number(w, 3)};
    _cleanup_(job_release) struct job j = {0};
    if (!end_attempt(word(w, 0), w->count > 4 ? word(w, 4) : "[]", &a, &j, e))
        return false;
    buf_printf(out, " %s %" PRId64, job_status_name(j.status), j.version);
    return true;
}

/* retry OWNER ID ATTEMPT DELAY_MS: it failed, and is to be tried again */
static bool do_retry(const struct words *w, struct buf *out, struct error *e)
{
    struct job_attempt a = {.owner = word(w, 1), .id = word(w, 2), .attempt = (uint32_t)number(w, 3)};
    struct error why;
    _cleanup_(job_release) struct job j = {0};
    error_set(&why, ERROR_WORKER, "the worker died");
    if (!CALL(e, store->api->requeue(store, &a, &why, number(w, 4), &j, e)))
        return false;
    buf_printf(out, " %s %" PRId64, job_status_name(j.status), j.version);
    return true;
}

/* settle ORG_MAX_RUNNING */
static bool do_settle(const struct words *w, struct buf *out, struct error *e)
{
    (void)out;
    store->bounds.org_max_running = number(w, 1);
    return CALL(e, store->api->settle(store, e));
}

/* note OWNER ID ATTEMPT UPLOAD */
static bool do_note(const struct words *w, struct buf *out, struct error *e)
{
    (void)out;
    struct job_attempt a = {.owner = word(w, 1), .id = word(w, 2), .attempt = (uint32_t)number(w, 3)};
    return CALL(e, store->api->note_upload(store, &a, word(w, 4), e));
}

/* progress ID ATTEMPT ROWS */
static bool do_progress(const struct words *w, struct buf *out, struct error *e)
{
    (void)out;
    struct job_progress p = {.attempt = (uint32_t)number(w, 2), .rows = number(w, 3), .percent = 1};
    snprintf(p.id, sizeof p.id, "%s", word(w, 1));
    return CALL(e, store->api->progress(store, &p, 1, e));
}

/* remove ORG ID */
static bool do_remove(const struct words *w, struct buf *out, struct error *e)
{
    bool found = false;
    if (!CALL(e, store->api->remove(store, word(w, 1), word(w, 2), &found, e)))
        return false;
    buf_printf(out, " %d", found);
    return true;
}

static bool do_expire(const struct words *w, struct buf *out, struct error *e)
{
    size_t count = 0;
    if (!CALL(e, store->api->expire(store, number(w, 1), &count, e)))
        return false;
    buf_printf(out, " %zu", count);
    return true;
}

static bool do_leftovers(const struct words *w, struct buf *out, struct error *e)
{
    _cleanup_(job_leftover_list_release) struct job_leftover_list list = {0};
    if (!CALL(e, store->api->leftovers(store, number(w, 1), true, &list, e)))
        return false;
    for (size_t i = 0; i < list.count; i++)
        buf_printf(out, " %s:%" PRIu32, list.items[i].id, list.items[i].attempt);
    return true;
}

static bool do_cleaned(const struct words *w, struct buf *out, struct error *e)
{
    (void)out;
    struct job_leftover l = {.attempt = (uint32_t)number(w, 2)};
    snprintf(l.id, sizeof l.id, "%s", word(w, 1));
    return CALL(e, store->api->cleaned(store, &l, e));
}

/* renew OWNER */
static bool do_renew(const struct words *w, struct buf *out, struct error *e)
{
    (void)out;
    return CALL(e, store->api->renew(store, word(w, 1), e));
}

/* poll OWNER RENEW [ID:VERSION...] */
static bool do_poll(const struct words *w, struct buf *out, struct error *e)
{
    struct job_watch watched[16] = {0};
    struct job_poll p = {.owner = word(w, 1), .watched = watched};
    _cleanup_(job_poll_result_release) struct job_poll_result r = {0};
    for (size_t i = 3; i < w->count && p.watched_count < ARRAY_SIZE(watched); i++) {
        struct job_watch *one = &watched[p.watched_count++];
        snprintf(one->id, sizeof one->id, "%.36s", word(w, i));
        one->version = strtoll(word(w, i) + strlen(one->id) + 1, NULL, 10);
    }
    if ((number(w, 2) && !CALL(e, store->api->renew(store, p.owner, e))) || !store->api->poll(store, &p, &r, e))
        return false;
    buf_printf(out, " claimable:%d owned:%zu", r.claimable, r.owned.count);
    for (size_t i = 0; i < r.owned.count; i++)
        buf_printf(out, " %s:owned:%" PRIu32, r.owned.ids[i], r.owned_attempts[i]);
    for (size_t i = 0; i < r.changed.count; i++)
        buf_printf(out, " %s:%s", r.changed.jobs[i].id, job_status_name(r.changed.jobs[i].status));
    for (size_t i = 0; i < r.gone.count; i++)
        buf_printf(out, " %s:gone", r.gone.ids[i]);
    return true;
}

/* get ORG ID */
static bool do_get(const struct words *w, struct buf *out, struct error *e)
{
    _cleanup_(job_release) struct job j = {0};
    if (!store->api->get(store, word(w, 1), word(w, 2), &j, e))
        return false;
    buf_printf(out, " %s %" PRId64 " %" PRIu32, job_status_name(j.status), j.version, j.attempt);
    return true;
}

/* columns ORG ID */
static bool do_columns(const struct words *w, struct buf *out, struct error *e)
{
    _cleanup_(job_release) struct job j = {0};
    if (!store->api->get(store, word(w, 1), word(w, 2), &j, e))
        return false;
    buf_printf(out, " %s", j.columns ? j.columns : "none");
    return true;
}

/* list ORG USER LIMIT */
static bool do_list(const struct words *w, struct buf *out, struct error *e)
{
    _cleanup_(job_list_release) struct job_list list = {0};
    if (!store->api->list(store, word(w, 1), word(w, 2), number(w, 3), 0, &list, e))
        return false;
    for (size_t i = 0; i < list.count; i++)
        buf_printf(out, " %s", list.jobs[i].id);
    return true;
}

/* drain OWNER: claims and ends until nothing waits for a while: says what was claimed. Of the first
 * attempts each third is put back and each fifth fails; each seventh job is deleted while it runs. */
static bool do_drain(const struct words *w, struct buf *out, struct error *e)
{
    int64_t quiet_since = clock_monotonic_ms();
    while (clock_monotonic_ms() - quiet_since < 300) {
        _cleanup_(job_list_release) struct job_list list = {0};
        if (!CALL(e, store->api->claim(store, word(w, 1), 5, &list, &next_ms, e)))
            return false;
        bool ok = true;
        for (size_t i = 0; ok && i < list.count; i++) {
            const struct job *j = &list.jobs[i];
            unsigned kind = (unsigned)strtoul((char[]){j->id[0], j->id[1], j->id[2], '\0'}, NULL, 16);
            struct job_attempt a = {.owner = word(w, 1), .id = j->id, .attempt = j->attempt};
            _cleanup_(job_release) struct job done = {0};
            bool found;
            buf_printf(out, " %s:%" PRIu32, j->id, j->attempt);
            ok = kind % 7 == 0 ? CALL(e, store->api->remove(store, j->org_id, j->id, &found, e))
                               : end_attempt(kind % 3 == 0 && j->attempt == 1   ? "requeue"
                                             : kind % 5 == 0                    ? "fail"
                                                                                : "publish",
                                             "why", &a, &done, e);
        }
        if (list.count > 0)
            quiet_since = clock_monotonic_ms();
        if (!ok)
            return false;
    }
    return true;
}

/* Behind one of a number of calls: the next one's savepoint, or the next one's transaction. */
static bool next_call(struct error *e)
{
    return !by_hand || (store->api->release(store, e) && store->api->savepoint(store, e));
}

/* life COUNT BATCH: jobs are created, claimed and published, BATCH calls a transaction (1: alone in it) */
static bool do_life(const struct words *w, struct buf *out, struct error *e)
{
    uint64_t count = number(w, 1), batch = number(w, 2);
    int64_t start = clock_monotonic_ms();
    for (uint64_t made = 0; made < count; made += batch) {
        _cleanup_(job_list_release) struct job_list list = {0};
        bool ok = batch == 1 || do_begin(w, out, e);
        for (uint64_t i = 0; ok && i < batch; i++) {
            _cleanup_(job_release) struct job j = {0};
            ok = create("org", "user", 1000000, &j, e) && (i + 1 == batch || next_call(e));
        }
        ok = ok && (batch == 1 || do_commit(w, out, e)) &&
             CALL(e, store->api->claim(store, "owner", batch, &list, &next_ms, e)) &&
             (batch == 1 || do_begin(w, out, e));
        for (size_t i = 0; ok && i < list.count; i++) {
            struct job_attempt a = {.owner = "owner", .id = list.jobs[i].id, .attempt = list.jobs[i].attempt};
            _cleanup_(job_release) struct job done = {0};
            ok = end_attempt("publish", "", &a, &done, e) && (i + 1 == list.count || next_call(e));
        }
        if (!ok || (batch > 1 && !do_commit(w, out, e)))
            return false;
    }
    int64_t took = clock_monotonic_ms() - start;
    buf_printf(out, " %" PRIu64, took > 0 ? count * 1000 / (uint64_t)took : 0);
    return true;
}

/* Calls of one kind, what each took in microseconds. */
struct times {
    const char *name;
    struct buf text;
};

static int64_t now_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000) + t.tv_nsec / 1000;
}

static void took(struct times *t, int64_t since_us)
{
    buf_printf(&t->text, "%c%" PRId64, t->text.len > 0 ? ',' : '=', now_us() - since_us);
}

enum { CLAIMS, PUBLICATIONS, CREATIONS, RENEWALS, POLLS, KINDS };

static bool work_once(const char *owner, uint64_t limit, uint64_t create_for, struct times *times, uint64_t *done,
                      struct error *e)
{
    _cleanup_(job_list_release) struct job_list list = {0};
    int64_t since = now_us();
    if (!CALL(e, store->api->claim(store, owner, limit, &list, &next_ms, e)))
        return false;
    took(&times[CLAIMS], since);
    *done = list.count;
    for (size_t i = 0; i < list.count; i++) {
        struct job_attempt a = {.owner = owner, .id = list.jobs[i].id, .attempt = list.jobs[i].attempt};
        _cleanup_(job_release) struct job j = {0};
        since = now_us();
        if (!end_attempt("publish", "", &a, &j, e))
            return false;
        took(&times[PUBLICATIONS], since);
    }
    if (create_for > 0) {
        char org[32];
        _cleanup_(job_release) struct job j = {0};
        snprintf(org, sizeof org, "org-%" PRIu64, create_for);
        since = now_us();
        if (!create(org, "user", 1000000, &j, e))
            return false;
        took(&times[CREATIONS], since);
    }
    return true;
}

/* work OWNER COUNT LIMIT CREATE RENEWAL_MS: claims, LIMIT at a time, and publishes each, as one that runs nothing,
 * until COUNT are done or none is left; with CREATE, a creation behind each claim, for one organisation (org-1, ...)
 * after the other; renews and polls (each 500 ms) like the server. Says what each call took: "claim=1,2,3". */
static bool do_work(const struct words *w, struct buf *out, struct error *e)
{
    struct times times[KINDS] = {{.name = "claim"}, {.name = "publish"}, {.name = "create"}, {.name = "renew"}, {.name = "poll"}};
    const char *owner = word(w, 1);
    uint64_t claims = 0, done = 0, last = 1;
    int64_t renewed = 0, polled = 0;
    bool ok = true;
    for (size_t i = 0; i < KINDS; i++)
        buf_init(&times[i].text, 16 << 20);
    while (ok && done < number(w, 2) && last > 0) {
        int64_t since = now_us();
        if (since - renewed >= (int64_t)number(w, 5) * 1000) {
            ok = CALL(e, store->api->renew(store, owner, e));
            took(&times[RENEWALS], since);
            renewed = since;
        }
        since = now_us();
        if (ok && since - polled >= 500000) {
            struct job_poll p = {.owner = owner};
            _cleanup_(job_poll_result_release) struct job_poll_result r = {0};
            ok = store->api->poll(store, &p, &r, e);
            took(&times[POLLS], since);
            polled = since;
        }
        claims++;
        ok = ok && work_once(owner, number(w, 3), number(w, 4) ? 1 + claims % 1000 : 0, times, &last, e);
        done += last;
    }
    for (size_t i = 0; i < KINDS; i++) {
        if (times[i].text.len > 0)
            buf_printf(out, " %s%s", times[i].name, times[i].text.data);
        buf_release(&times[i].text);
    }
    return ok;
}

/* bounds QUEUE_SIZE ORG_MAX_QUEUED ORG_MAX_RUNNING, and what follows from the last */
static bool do_bounds(const struct words *w, struct buf *out, struct error *e)
{
    (void)out;
    store->bounds = (struct job_bounds){
        .queue_size = number(w, 1), .org_max_queued = number(w, 2), .org_max_running = number(w, 3)};
    return CALL(e, store->api->settle(store, e));
}

static const struct {
    const char *name;
    bool (*call)(const struct words *w, struct buf *out, struct error *e);
} commands[] = {
    {"open", do_open},         {"sqlite", do_sqlite},       {"close", do_close},     {"begin", do_begin},
    {"commit", do_commit},     {"create", do_create},       {"fill", do_fill},       {"claim", do_claim},
    {"publish", do_end},       {"fail", do_end},            {"requeue", do_end},     {"note", do_note},
    {"progress", do_progress}, {"remove", do_remove},       {"expire", do_expire},   {"leftovers", do_leftovers},
    {"cleaned", do_cleaned},   {"poll", do_poll},           {"get", do_get},         {"columns", do_columns}, {"list", do_list},
    {"drain", do_drain},       {"life", do_life},           {"check", do_check},
    {"renew", do_renew},       {"retry", do_retry},       {"settle", do_settle},
    {"work", do_work},         {"bounds", do_bounds},
};

static void answer(char *line)
{
    char *at[WORDS_MAX], *rest = NULL;
    struct words w = {.at = at};
    struct error e = {0};
    _cleanup_buf_ struct buf out;
    buf_init(&out, 64 << 20);
    for (char *p = strtok_r(line, " \n", &rest); p && w.count < WORDS_MAX; p = strtok_r(NULL, " \n", &rest))
        at[w.count++] = p;
    int64_t start = clock_monotonic_ms();
    bool ok = error_set(&e, ERROR_INVALID, "unknown command");
    for (size_t i = 0; i < ARRAY_SIZE(commands); i++)
        if (strcmp(word(&w, 0), commands[i].name) == 0)
            ok = commands[i].call(&w, &out, &e);
    int64_t took = clock_monotonic_ms() - start;
    if (ok)
        printf("%" PRId64 " ok%s\n", took, out.data ? out.data : "");
    else
        printf("%" PRId64 " error %s %s\n", took, error_code_name(e.code), e.message);
    fflush(stdout);
}

int main(int argc, char **argv)
{
    char *line = NULL;
    size_t size = 0;
    if (argc > 1 && strcmp(argv[1], "--statements") == 0) {
#define PRINT(name, sql) printf("%s\t%s\n", #name, sql);
        PG_STATEMENTS(PRINT)
#undef PRINT
        return 0;
    }
    while (getline(&line, &size, stdin) > 0)
        answer(line);
    free(line);
    if (store)
        store->api->close(store);
    return 0;
}
