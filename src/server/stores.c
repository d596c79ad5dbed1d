#include "server/stores.h"

#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "object/s3.h"

#define TRY_AGAIN_MS 500
#define S3_CONNECTIONS_A_JOB 4 /* a job's parts */
#define S3_CONNECTIONS_MORE 32 /* for tidying up */
#define STATEMENT_TIMEOUT_MS 2000     /* of the control thread: no lease waits longer for the store */
#define API_STATEMENT_TIMEOUT_MS 5000 /* of a list or a record; then 503 */

/* A try that failed: is there to be another? Says once what is waited for. */
static bool try_again(const struct settings *s, const char *what, int64_t started, bool *said, const struct error *e)
{
    int64_t left = started + (int64_t)s->config.startup_wait - clock_monotonic_ms();
    if (e->code != ERROR_UNAVAILABLE || left <= 0)
        return false;
    if (!*said)
        log_warn("waiting for %s, %lld s at most: %s", what, (long long)(left + 999) / 1000, e->message);
    *said = true;
    poll(NULL, 0, left < TRY_AGAIN_MS ? (int)left : TRY_AGAIN_MS);
    return true;
}

/* --- the job store --- */

static void note(void *context, const char *line)
{
    (void)context;
    log_info("%s", line);
}

static struct job_store_postgres_options postgres_options(const struct config *c, bool for_control)
{
    return (struct job_store_postgres_options){.host = c->postgres_host,
                                               .port = (uint16_t)c->postgres_port,
                                               .database = c->postgres_db,
                                               .user = c->postgres_user,
                                               .password = c->postgres_password,
                                               .sslmode = config_sslmode_name(c),
                                               .lease_ms = c->job_lease,
                                               .statement_timeout_ms =
                                                   for_control ? STATEMENT_TIMEOUT_MS : API_STATEMENT_TIMEOUT_MS,
                                               .note = for_control ? note : NULL}; /* else each line twice */
}

static struct job_store *open_postgres(const struct settings *s, bool for_control, struct error *e)
{
    const struct job_store_postgres_options options = postgres_options(&s->config, for_control);
    int64_t started = clock_monotonic_ms();
    bool said = false;
    for (;;) {
        struct job_store *store = job_store_postgres_open(&options, e);
        if (store || !try_again(s, "Postgres", started, &said, e))
            return store;
    }
}

/* The queue as the bounds of this start would have it. */
static bool settle(const struct settings *set, struct job_store *s, struct error *e)
{
    int64_t started = clock_monotonic_ms();
    bool said = false;
    for (;;) {
        if (s->api->begin_one(s, e) && s->api->settle(s, e) && s->api->commit(s, e))
            return true;
        s->api->rollback(s);
        if (!try_again(set, "the job store", started, &said, e))
            return false;
    }
}

static struct job_store *open_jobs(void *context, bool for_control, struct error *e)
{
    const struct stores_options *o = context;
    const struct settings *set = o->settings;
    struct job_store *s = set->config.job_store == JOB_STORE_POSTGRES ? open_postgres(set, for_control, e)
                                                                      : job_store_sqlite_open(o->data->jobs_db, e);
    if (!s)
        return NULL;
    s->bounds = (struct job_bounds){.queue_size = set->config.queue_size,
                                    .org_max_queued = set->org_max_queued,
                                    .org_max_running = set->config.org_max_running};
    if (for_control && !settle(set, s, e)) {
        s->api->close(s);
        return NULL;
    }
    return s;
}

/* --- the object store --- */

static struct object_store *open_s3(const struct config *c, struct mailbox *done, struct error *e)
{
    const struct object_s3_options options = {
        .endpoint = c->s3_endpoint,
        .public_endpoint = c->s3_public_endpoint,
        .ssl = c->s3_ssl,
        .ca_file = c->s3_ca_file,
        .region = c->s3_region,
        .bucket = c->s3_bucket,
        .access_key = c->s3_access_key,
        .secret_key = c->s3_secret_key,
        .session_token = c->s3_session_token,
        .addressing = (enum s3_addressing)c->s3_addressing,
        .sse = (enum s3_sse)c->s3_sse,
        .kms_key_id = c->s3_sse_kms_key_id,
        .sign_payload = (enum s3_sign_payload)c->s3_sign_payload,
        .part_size = c->s3_part_size,
        .grow_at = (uint32_t)c->s3_grow_after,
        .equal_parts = c->s3_equal_parts,
        .timeout_ms = (int64_t)c->s3_timeout,
        .connections = (unsigned)(S3_CONNECTIONS_A_JOB * c->queue_workers + S3_CONNECTIONS_MORE),
        .done = done,
    };
    return object_store_s3_open(&options, e);
}

static struct object_store *open_objects(const struct stores_options *o, struct error *e)
{
    if (o->settings->config.object_store == OBJECT_STORE_S3)
        return open_s3(&o->settings->config, o->done, e);
    const struct object_local_options local = {
        .directory = o->data->path, .public_url = o->public_url, .key_file = o->data->link_key, .done = o->done};
    return object_store_local_open(&local, e);
}

static bool wait_for_objects(const struct stores_options *o, struct object_store *objects, struct error *e)
{
    int64_t started = clock_monotonic_ms();
    bool said = false;
    while (!objects->api->check(objects, e))
        if (!try_again(o->settings, "the object store", started, &said, e))
            return false;
    return true;
}

bool stores_open(struct stores *s, const struct stores_options *o, struct error *e)
{
    const struct store_threads_options jobs = {.open = open_jobs, .context = (void *)o, .done = o->done};
    s->jobs = store_threads_new(&jobs, e);
    s->objects = s->jobs ? open_objects(o, e) : NULL;
    return s->objects && wait_for_objects(o, s->objects, e);
}

static void describe_jobs(const struct config *c, struct buf *out)
{
    if (c->job_store == JOB_STORE_POSTGRES)
        buf_printf(out, "jobs in postgres (%s:%u/%s)", c->postgres_host, (unsigned)c->postgres_port, c->postgres_db);
    else
        buf_append_text(out, "jobs in sqlite");
}

static void describe_objects(const struct config *c, const char *directory, struct buf *out)
{
    if (c->object_store == OBJECT_STORE_S3)
        buf_printf(out, "files in s3 (bucket %s at %s)", c->s3_bucket, c->s3_endpoint);
    else
        buf_printf(out, "files in %s", directory);
}

void stores_describe(const struct settings *settings, const struct data_dir *data, struct buf *out)
{
    describe_jobs(&settings->config, out);
    buf_append_text(out, ", ");
    describe_objects(&settings->config, data->path, out);
}

/* --- looking only --- */

static void keep_note(void *context, const char *line)
{
    buf_printf(context, "; %s", line);
}

static bool check_jobs(const struct config *c, const struct data_dir *data, stores_report *report)
{
    struct error e;
    if (c->job_store == JOB_STORE_POSTGRES) {
        struct job_store_postgres_options options = postgres_options(c, true);
        _cleanup_buf_ struct buf text;
        buf_init(&text, 4096);
        describe_jobs(c, &text);
        options.note = keep_note;
        options.context = &text;
        bool ok = job_store_postgres_check(&options, &e);
        return report("job store", ok, !ok ? e.message : buf_ok(&text) ? text.data : "");
    }
    if (!data || access(data->jobs_db, F_OK) != 0)
        return report("job store", true, "to be made at the first start");
    struct job_store *jobs = job_store_sqlite_open(data->jobs_db, &e);
    bool ok = report("job store", jobs != NULL, jobs ? data->jobs_db : e.message);
    if (jobs)
        jobs->api->close(jobs);
    return ok;
}

static bool check_objects(const struct settings *settings, const struct data_dir *data, stores_report *report)
{
    const struct config *c = &settings->config;
    struct error e;
    if (c->object_store == OBJECT_STORE_LOCAL && (!data || access(data->link_key, F_OK) != 0))
        return report("files", true, "to be made at the first start");
    struct mailbox *mailbox = mailbox_new(&e);
    const struct stores_options options = {
        .settings = settings, .data = data, .public_url = "", .done = mailbox};
    struct object_store *objects = mailbox ? open_objects(&options, &e) : NULL;
    bool ok = objects && objects->api->check(objects, &e);
    _cleanup_buf_ struct buf text;
    buf_init(&text, 4096);
    describe_objects(c, data ? data->path : "", &text);
    report("files", ok, !ok ? e.message : buf_ok(&text) ? text.data : "");
    if (objects)
        objects->api->close(objects);
    if (mailbox)
        mailbox_drain(mailbox);
    mailbox_free(mailbox);
    return ok;
}

bool stores_check(const struct settings *settings, const struct data_dir *data, stores_report *report)
{
    return check_jobs(&settings->config, data, report) & check_objects(settings, data, report);
}
