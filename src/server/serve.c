#include "server/serve.h"

#include <errno.h>
#include <event2/event.h>
#include <inttypes.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mailbox.h"
#include "base/task_queue.h"
#include "server/api.h"
#include "server/data_dir.h"
#include "server/machine.h"
#include "server/poller.h"
#include "server/spill.h"
#include "server/stores.h"
#include "server/sweeper.h"
#include "server/timer.h"

#define DRAIN_MARGIN_MS 10000 /* behind the grace period: for stopping, storing and saying goodbye */
#define GOODBYE_MS 1000 /* for the last events to leave */
#define GOODBYE_POLL_MS 20
#define RECOVERY_RETRY_MS 1000
#define ANSWERS_AT_ONCE 64 /* of other threads; then the loop's other work has its turn */
#define SPARES_IDLE_MS (5 * 60 * 1000)

struct server {
    const struct settings *settings;
    struct event_base *base;
    struct mailbox *mailbox;
    struct event *mailbox_event, *term_event, *int_event, *hup_event, *deadline, *goodbye, *recover_again;
    struct data_dir data;
    struct http_server *http;
    struct stores stores;
    struct task_queue *housekeeping, *starts;
    struct hub *hub;
    struct drain_rate *drain_rate;
    struct dispatcher *dispatcher;
    struct sweeper *sweeper;
    struct poller *poller; /* NULL: the job store is this instance's alone */
    struct secret_patterns *secrets; /* of MotherDuck's token */
    struct worker_pool *spares;
    struct worker_template *template;
    struct attempt_environment attempts;
    struct api api;
    struct store_task recovery;
    size_t recovered;
    bool stopping;
    bool gives_up; /* what does not answer is not waited for any more */
    int64_t goodbye_until; /* clock_monotonic_ms() */
};

static void on_mailbox(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    mailbox_drain_some(((struct server *)arg)->mailbox, ANSWERS_AT_ONCE);
}

/* --- the end --- */

/* No stream just stops: its client would wait for ever. */
static void say_goodbye(struct server *s)
{
    hub_end_all(s->hub);
    s->goodbye_until = clock_monotonic_ms() + GOODBYE_MS;
    event_active(s->goodbye, EV_TIMEOUT, 0);
}

static void on_deadline(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct server *s = arg;
    log_warn("the shutdown took too long; what still runs is taken up later");
    s->gives_up = true;
    say_goodbye(s);
}

/* The last events leave by the loop: it ends when no connection is left, or after GOODBYE_MS. */
static void on_goodbye(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    struct server *s = arg;
    if (http_server_connections(s->http) > 0 && clock_monotonic_ms() < s->goodbye_until) {
        timer_set(s->goodbye, GOODBYE_POLL_MS);
    } else if (s->gives_up) {
        _exit(0); /* what does not answer would hold stop(), too; workers die with their server */
    } else {
        event_base_loopexit(s->base, NULL);
    }
}

static void on_drained(void *context)
{
    say_goodbye(context);
}

static void on_stop_signal(evutil_socket_t number, short what, void *arg)
{
    (void)what;
    struct server *s = arg;
    if (s->stopping) {
        log_warn("a second signal: ending at once");
        _exit(128 + (int)number); /* workers die with their server */
    }
    s->stopping = true;
    uint64_t grace = s->settings->config.shutdown_grace;
    log_info("shutting down: %u running jobs have %" PRIu64 " s to finish", dispatcher_running(s->dispatcher), grace / 1000);
    s->api.draining = true;
    http_server_stop_accepting(s->http);
    sweeper_stop(s->sweeper);
    if (s->spares)
        worker_pool_stop(s->spares);
    if (s->template)
        worker_template_stop(s->template);
    timer_set(s->deadline, grace + DRAIN_MARGIN_MS);
    dispatcher_drain(s->dispatcher, grace, on_drained, s);
}

static void on_hangup(evutil_socket_t number, short what, void *arg)
{
    (void)number;
    (void)what;
    (void)arg;
    struct error e;
    if (log_reopen(&e))
        log_info("log file opened anew");
    else
        log_error("%s", e.message);
}

/* --- the start --- */

static bool call_recover(struct job_store *store, struct store_task *t, struct error *e)
{
    return store->api->recover(store, &CONTAINER_OF(t, struct server, recovery)->recovered, e);
}

static void recovered(struct store_task *t)
{
    struct server *s = CONTAINER_OF(t, struct server, recovery);
    if (!t->ok) {
        log_error("cannot take up the jobs of the last run, trying again: %s", t->error.message);
        timer_set(s->recover_again, RECOVERY_RETRY_MS);
        return;
    }
    if (s->recovered > 0)
        log_info("%zu jobs of the last run are taken up again", s->recovered);
    dispatcher_start(s->dispatcher);
}

static void recover(struct server *s)
{
    if (!store_threads_api(s->stores.jobs)->recover) {
        dispatcher_start(s->dispatcher); /* claims find what an instance left when its lease is over */
        return;
    }
    s->recovery.call = call_recover;
    s->recovery.done = recovered;
    store_threads_write(s->stores.jobs, &s->recovery);
}

static void on_recover_again(evutil_socket_t fd, short what, void *arg)
{
    (void)fd;
    (void)what;
    recover(arg);
}

/* Behind the stores, which may have to be waited for: until then a signal has its usual effect. */
static bool make_events(struct server *s, struct error *e)
{
    s->mailbox_event = event_new(s->base, mailbox_fd(s->mailbox), EV_READ | EV_PERSIST, on_mailbox, s);
    s->term_event = evsignal_new(s->base, SIGTERM, on_stop_signal, s);
    s->int_event = evsignal_new(s->base, SIGINT, on_stop_signal, s);
    s->hup_event = evsignal_new(s->base, SIGHUP, on_hangup, s);
    s->deadline = event_new(s->base, -1, 0, on_deadline, s);
    s->goodbye = event_new(s->base, -1, 0, on_goodbye, s);
    s->recover_again = event_new(s->base, -1, 0, on_recover_again, s);
    struct event *persistent[] = {s->mailbox_event, s->term_event, s->int_event, s->hup_event};
    bool ok = s->deadline && s->goodbye && s->recover_again;
    for (size_t i = 0; i < ARRAY_SIZE(persistent); i++)
        ok = ok && persistent[i] && event_add(persistent[i], NULL) == 0;
    return ok || error_set(e, ERROR_INTERNAL, "cannot make the event loop's events");
}

static bool open_http(struct server *s, struct error *e)
{
    const struct http_server_options options = {.base = s->base,
                                                .host = s->settings->host,
                                                .port = (uint16_t)s->settings->config.server_port,
                                                .max_connections = s->settings->max_connections,
                                                .handler = api_handle,
                                                .context = &s->api};
    s->http = http_server_new(&options, e);
    return s->http != NULL;
}

/* The base of links where none is configured: the address that we listen on, as this machine can reach it. */
static char *public_url(const struct server *s)
{
    const char *host = s->settings->host, *configured = s->settings->config.public_url;
    char *url;
    if (*configured)
        return strdup(configured);
    if (!*host || !strcmp(host, "*") || !strcmp(host, "0.0.0.0") || !strcmp(host, "::"))
        host = "localhost";
    bool ipv6 = strchr(host, ':') != NULL;
    int n = asprintf(&url, "http://%s%s%s:%u", ipv6 ? "[" : "", host, ipv6 ? "]" : "", http_server_port(s->http));
    return n < 0 ? NULL : url;
}

static bool open_stores(struct server *s, struct error *e)
{
    _cleanup_free_ char *url = public_url(s);
    if (!url)
        return error_set(e, ERROR_INTERNAL, "out of memory");
    const struct stores_options options = {
        .settings = s->settings, .data = &s->data, .public_url = url, .done = s->mailbox};
    return stores_open(&s->stores, &options, e);
}

static void describe_attempts(struct server *s)
{
    const struct settings *set = s->settings;
    s->attempts = (struct attempt_environment){.base = s->base,
                                               .objects = s->stores.objects,
                                               .housekeeping = s->housekeeping,
                                               .worker_program = set->worker_program,
                                               .spill_root = s->data.spill,
                                               .spares = s->spares,
                                               .template = s->template,
                                               .starts = s->starts,
                                               .secrets = s->secrets,
                                               .open_timeout_ms = set->config.motherduck_timeout,
                                               .job_timeout_ms = set->config.job_timeout,
                                               .stall_timeout_ms = set->config.stall_timeout};
    settings_describe_worker(set, &s->attempts.worker);
}

/* Only MotherDuck has a token to hide, and a sign-in to hide by spares. */
static bool open_motherduck(struct server *s, struct error *e)
{
    const struct config *c = &s->settings->config;
    if (c->source != SOURCE_MOTHERDUCK)
        return true;
    s->secrets = secret_patterns_new(c->motherduck_token, e);
    if (!s->secrets)
        return false;
    if (c->motherduck_spares == 0)
        return true;
    const struct worker_pool_options pool = {.base = s->base,
                                             .housekeeping = s->housekeeping,
                                             .program = s->settings->worker_program,
                                             .spill_root = s->data.spill,
                                             .spec = &s->attempts.worker,
                                             .secrets = s->secrets,
                                             .spares = (unsigned)c->motherduck_spares,
                                             .open_timeout_ms = c->motherduck_timeout,
                                             .idle_ms = SPARES_IDLE_MS};
    s->spares = worker_pool_new(&pool, e);
    return s->spares != NULL;
}

/* Only a file can be opened once for many jobs. */
static bool open_template(struct server *s, struct error *e)
{
    const struct config *c = &s->settings->config;
    if (c->source != SOURCE_DUCKDB || c->source_idle == 0)
        return true;
    const struct task_queue_options starts = {.name = "starts", .threads = 1, .done = s->mailbox};
    s->starts = task_queue_new(&starts, e);
    if (!s->starts)
        return false;
    const struct worker_template_options options = {.base = s->base,
                                                    .housekeeping = s->housekeeping,
                                                    .program = s->settings->worker_program,
                                                    .spill_root = s->data.spill,
                                                    .spec = &s->attempts.worker,
                                                    .open_timeout_ms = c->source_wait + c->stall_timeout,
                                                    .idle_ms = c->source_idle};
    s->template = worker_template_new(&options, e);
    return s->template != NULL;
}

static bool open_poller(struct server *s, struct error *e)
{
    if (!store_threads_api(s->stores.jobs)->poll)
        return true;
    const struct poller_options options = {.base = s->base,
                                           .store = s->stores.jobs,
                                           .hub = s->hub,
                                           .dispatcher = s->dispatcher,
                                           .workers = (unsigned)s->settings->config.queue_workers,
                                           .renewal_ms = s->settings->config.job_renewal};
    s->poller = poller_new(&options, e);
    return s->poller != NULL;
}

static bool open_core(struct server *s, struct error *e)
{
    const struct task_queue_options housekeeping = {.name = "housekeeping", .threads = 1, .done = s->mailbox};
    s->housekeeping = task_queue_new(&housekeeping, e);
    s->hub = hub_new(s->base, e);
    s->drain_rate = drain_rate_new();
    if (!s->drain_rate)
        return error_set(e, ERROR_INTERNAL, "out of memory");
    if (!s->housekeeping || !s->hub || !open_motherduck(s, e) || !open_template(s, e))
        return false;
    describe_attempts(s);
    const struct dispatcher_options dispatcher = {.base = s->base,
                                                  .store = s->stores.jobs,
                                                  .objects = s->stores.objects,
                                                  .hub = s->hub,
                                                  .attempts = &s->attempts,
                                                  .drain_rate = s->drain_rate,
                                                  .workers = (unsigned)s->settings->config.queue_workers,
                                                  .claims_at_each_end = !store_threads_api(s->stores.jobs)->poll ||
                                                                        s->settings->config.org_max_running > 0,
                                                  .max_attempts = (uint32_t)s->settings->config.max_attempts,
                                                  .max_rescues = (uint32_t)s->settings->config.max_rescues,
                                                  .retry_delay_ms = s->settings->config.retry_delay,
                                                  .link_lifetime_ms = s->settings->config.s3_url_expiry};
    s->dispatcher = dispatcher_new(&dispatcher, e);
    s->sweeper = s->dispatcher ? sweeper_new(s->base, s->stores.jobs, s->stores.objects, e) : NULL;
    return s->sweeper && open_poller(s, e);
}

static bool open_api(struct server *s, struct error *e)
{
    const struct api_files_options files = {.store = s->stores.objects, .done = s->mailbox, .base = s->base};
    bool serves_files = s->settings->config.object_store == OBJECT_STORE_LOCAL;
    s->api.files = serves_files ? api_files_new(&files, e) : NULL;
    if (serves_files && !s->api.files)
        return false;
    s->api.cors = cors_new(s->settings->config.cors_origins, e);
    s->api.store = s->stores.jobs;
    s->api.objects = s->stores.objects;
    s->api.hub = s->hub;
    s->api.dispatcher = s->dispatcher;
    s->api.drain_rate = s->drain_rate;
    s->api.org_max_queued = s->settings->org_max_queued;
    s->api.queue_size = s->settings->config.queue_size;
    s->api.row_limit = s->settings->config.row_limit;
    s->api.byte_limit = s->settings->config.byte_limit;
    return s->api.cors != NULL;
}

static bool start(struct server *s, struct error *e)
{
    s->base = event_base_new();
    if (!s->base)
        return error_set(e, ERROR_INTERNAL, "cannot make an event loop");
    s->mailbox = mailbox_new(e);
    if (!s->mailbox || !data_dir_open(&s->data, s->settings->config.data_dir, e) ||
        !spill_open(s->data.spill, e) || !open_http(s, e) || !open_stores(s, e) || !make_events(s, e) ||
        !open_core(s, e) || !open_api(s, e))
        return false;
    if (s->spares)
        worker_pool_start(s->spares);
    recover(s);
    return true;
}

/* Accepts half-built servers. The stores finish what they have, and their answers are heard while all who asked
 * are there; nobody submits anything new then. */
static void stop(struct server *s)
{
    if (s->sweeper)
        sweeper_stop(s->sweeper);
    if (s->api.files)
        api_files_free(s->api.files);
    if (s->poller)
        poller_stop(s->poller);
    store_threads_free(s->stores.jobs);
    if (s->mailbox)
        mailbox_drain(s->mailbox);
    task_queue_free(s->starts);
    task_queue_free(s->housekeeping);
    if (s->stores.objects)
        s->stores.objects->api->close(s->stores.objects);
    if (s->mailbox)
        mailbox_drain(s->mailbox);
    worker_pool_free(s->spares);
    worker_template_free(s->template);
    secret_patterns_free(s->secrets);
    http_server_free(s->http);
    poller_free(s->poller);
    sweeper_free(s->sweeper);
    dispatcher_free(s->dispatcher);
    drain_rate_free(s->drain_rate);
    hub_free(s->hub);
    cors_free(s->api.cors);
    struct event *events[] = {s->mailbox_event, s->term_event, s->int_event,    s->hup_event,
                              s->deadline,      s->goodbye,    s->recover_again};
    for (size_t i = 0; i < ARRAY_SIZE(events); i++)
        if (events[i])
            event_free(events[i]);
    mailbox_free(s->mailbox);
    if (s->base)
        event_base_free(s->base);
    data_dir_release(&s->data);
}

static void log_notes(const struct settings *s)
{
    const char *line = s->notes.data;
    while (line && *line) {
        size_t length = strcspn(line, "\n");
        log_warn("%.*s", (int)length, line);
        line += length + (line[length] == '\n');
    }
}

int serve(const struct settings *settings)
{
    const struct config *c = &settings->config;
    struct error e;
    if (!log_open((enum log_level)c->log_level, (enum log_mode)c->log_mode, c->log_file, &e)) {
        log_error("%s", e.message);
        return 2;
    }
    struct server s = {.settings = settings, .data = {.lock = -1}};
    bool started = start(&s, &e);
    if (started) {
        _cleanup_buf_ struct buf stores;
        buf_init(&stores, 4096);
        stores_describe(settings, &s.data, &stores);
        log_info("downloads-server " VERSION " listens on %s; %" PRIu64 " workers with %" PRIu64 " MiB and %u threads each; "
                 "%s, source %s%s",
                 http_server_address(s.http), c->queue_workers, settings->worker_memory >> 20, settings->worker_threads,
                 buf_ok(&stores) ? stores.data : "", c->source == SOURCE_MOTHERDUCK ? "md:" : "",
                 c->source == SOURCE_MOTHERDUCK ? c->motherduck_db_name : c->duckdb_path);
        log_notes(settings);
        event_base_dispatch(s.base);
        log_info("ended");
    } else {
        log_error("cannot start: %s", e.message);
    }
    stop(&s);
    return started ? 0 : 1;
}
