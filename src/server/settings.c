#include "server/settings.h"

#include <inttypes.h>
#include <pwd.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/secret_scan.h"
#include "server/cors.h"
#include "server/machine.h"

#define CONFIG_FILE "config.env"
#define MIB (UINT64_C(1) << 20)
#define MIN_WORKER_MEMORY (64 * MIB)
#define MAX_DEFAULT_THREADS 4
#define RESERVED_FDS 256 /* for all but connections and workers */
#define FDS_A_WORKER 16
#define ASK_TIMEOUT_MS 10000
#define MIN_MOTHERDUCK_SPILL (256 * MIB) /* its client, 85 MB, is fetched into a worker's temporary directory */

/* Files in a local directory are this instance's alone, jobs in Postgres are everybody's: links of one would not
 * work at another. Chosen by name, it is the operator's word that there is one instance. */
static void check_stores(struct settings *s, struct buf *problems)
{
    const struct config *c = &s->config;
    if (c->job_store != JOB_STORE_POSTGRES || c->object_store != OBJECT_STORE_LOCAL)
        return;
    if (c->object_store_is_default)
        buf_append_text(problems, "GOPIE_DS_OBJECT_STORE: with jobs in Postgres files belong into S3 (GOPIE_DS_S3_...); "
                                  "GOPIE_DS_OBJECT_STORE=local says that there is only this one instance\n");
    else
        buf_append_text(&s->notes, "GOPIE_DS_OBJECT_STORE=local with jobs in Postgres: run only this one instance\n");
}

/* Started as root, workers become another user; otherwise they stay who they are. */
static void choose_user(struct settings *s, struct buf *problems)
{
    if (geteuid() != 0)
        return;
    const struct passwd *user = getpwnam(s->config.worker_user);
    if (!user || user->pw_uid == 0) {
        buf_printf(problems, "GOPIE_DS_WORKER_USER: '%s': allowed: a user of this machine that is not root\n",
                   s->config.worker_user);
        return;
    }
    s->worker_uid = user->pw_uid;
    s->worker_gid = user->pw_gid;
}

static void choose_sandbox(struct settings *s, struct buf *problems)
{
    static const enum sandbox_mode modes[] = {[SANDBOX_CHOICE_REQUIRED] = SANDBOX_REQUIRED,
                                              [SANDBOX_CHOICE_BEST_EFFORT] = SANDBOX_BEST_EFFORT,
                                              [SANDBOX_CHOICE_OFF] = SANDBOX_OFF};
    s->sandbox = s->config.sandbox_is_default ? SANDBOX_REQUIRED : modes[s->config.sandbox];
    if (s->sandbox == SANDBOX_OFF) {
        buf_append_text(&s->notes, "GOPIE_DS_SANDBOX=off: SQL runs with all the rights of this process\n");
        return;
    }
    _cleanup_buf_ struct buf answer;
    buf_init(&answer, 64 * 1024);
    struct error e;
    if (machine_ask_worker(s->worker_program, "--check-sandbox", NULL, -1, ASK_TIMEOUT_MS, &answer, &e))
        return;
    if (s->config.sandbox_is_default) {
        s->sandbox = SANDBOX_BEST_EFFORT;
        buf_printf(&s->notes, "this machine cannot have the whole sandbox, workers use what there is:\n%s\n", e.message);
    } else if (s->sandbox == SANDBOX_BEST_EFFORT) {
        buf_printf(&s->notes, "GOPIE_DS_SANDBOX=best-effort: parts are missing:\n%s\n", e.message);
    } else {
        buf_printf(problems, "GOPIE_DS_SANDBOX: required, but this machine cannot have all of it:\n%s\n", e.message);
    }
}

/* The worker does not share our current directory. */
static void make_absolute(char **path, const char *name, struct buf *problems)
{
    char *absolute, *directory;
    if (**path == '/' || **path == '\0')
        return;
    directory = getcwd(NULL, 0);
    if (!directory || asprintf(&absolute, "%s/%s", directory, *path) < 0) {
        buf_printf(problems, "%s: the current directory cannot be told\n", name);
    } else {
        free(*path);
        *path = absolute;
    }
    free(directory);
}

/* That nobody has to find out from the first download. The server starts all the same: the extension may come later. */
static void look_for_extension(struct settings *s)
{
    _cleanup_buf_ struct buf answer;
    buf_init(&answer, 64 * 1024);
    struct error e;
    if (!machine_ask_worker(s->worker_program, "--check-extension", s->extension_dir, -1, ASK_TIMEOUT_MS, &answer, &e))
        buf_printf(&s->notes, "%s\n", e.message);
}

static void choose_motherduck(struct settings *s, struct buf *problems)
{
    if (s->config.source != SOURCE_MOTHERDUCK)
        return;
    make_absolute(&s->config.duckdb_extension_dir, "GOPIE_DS_DUCKDB_EXTENSION_DIR", problems);
    const char *slash = strrchr(s->worker_program, '/'), *configured = s->config.duckdb_extension_dir;
    if (asprintf(&s->extension_dir, "%.*s%s", *configured ? 0 : (int)(slash - s->worker_program), s->worker_program,
                 *configured ? configured : "/extensions") < 0)
        s->extension_dir = NULL;
    struct error e = {.message = "out of memory"};
    struct secret_patterns *p = *s->config.motherduck_token ? secret_patterns_new(s->config.motherduck_token, &e) : NULL;
    if (*s->config.motherduck_token && !p)
        buf_printf(problems, "GOPIE_DS_MOTHERDUCK_TOKEN: %s\n", e.message);
    secret_patterns_free(p);
    if (strpbrk(s->config.motherduck_db_name, "?&/'\""))
        buf_append_text(problems, "GOPIE_DS_MOTHERDUCK_DB_NAME: allowed: the name of a database, without ? & / and quotes\n");
    if (s->config.spill_limit < MIN_MOTHERDUCK_SPILL)
        buf_append_text(problems, "GOPIE_DS_SPILL_LIMIT: allowed with MotherDuck: at least 256MiB, since its client goes there\n");
    if (s->extension_dir)
        look_for_extension(s);
}

static void check_origins(const struct config *c, struct buf *problems)
{
    struct error e;
    struct cors *origins = cors_new(c->cors_origins, &e);
    if (!origins)
        buf_printf(problems, "GOPIE_DS_CORS_ORIGINS: %s\n", e.message);
    cors_free(origins);
}

static void choose_host(struct settings *s)
{
    const char *host = s->config.server_host;
    s->host = *host ? host : s->config.job_store == JOB_STORE_POSTGRES ? "" : "127.0.0.1";
    if ((!strcmp(s->host, "localhost") || !strncmp(s->host, "127.", 4)) && machine_is_container())
        buf_printf(&s->notes,
                   "GOPIE_DS_SERVER_HOST is %s, and this looks like a container: nobody outside of it can connect; 0.0.0.0 is "
                   "every address\n",
                   s->host);
}

/* So that no one organisation can fill the queue. */
static void choose_org_max_queued(struct settings *s)
{
    const struct config *c = &s->config;
    s->org_max_queued = c->org_max_queued ? c->org_max_queued : c->queue_size - c->queue_size / 10;
    if (s->org_max_queued > c->queue_size)
        buf_printf(&s->notes, "GOPIE_DS_ORG_MAX_QUEUED is %" PRIu64 ", but only %" PRIu64 " jobs may wait (GOPIE_DS_QUEUE_SIZE)\n",
                   s->org_max_queued, c->queue_size);
}

static void choose_sizes(struct settings *s, struct buf *problems)
{
    const struct config *c = &s->config;
    s->worker_memory = c->worker_memory ? c->worker_memory : machine_memory() / 10 * 6 / c->queue_workers;
    if (s->worker_memory < MIN_WORKER_MEMORY) {
        s->worker_memory = MIN_WORKER_MEMORY;
        buf_printf(&s->notes, "%" PRIu64 " workers do not fit into this machine's memory; each has the least, 64 MiB\n",
                   c->queue_workers);
    }
    unsigned cores = machine_cores();
    s->worker_threads = c->worker_threads ? (unsigned)c->worker_threads
                        : cores < MAX_DEFAULT_THREADS ? cores
                                                      : MAX_DEFAULT_THREADS;
    uint64_t fds = machine_raise_descriptors(), reserved = RESERVED_FDS + FDS_A_WORKER * (c->queue_workers + c->motherduck_spares);
    if (fds <= reserved) {
        buf_printf(problems, "GOPIE_DS_QUEUE_WORKERS: %" PRIu64 ": the limit of open files (%" PRIu64 ") is too low for so many\n",
                   c->queue_workers, fds);
        return;
    }
    uint64_t room = fds - reserved;
    s->max_connections = (unsigned)(c->max_connections < room ? c->max_connections : room);
    if (s->max_connections < c->max_connections)
        buf_printf(&s->notes, "the limit of open files (%" PRIu64 ") leaves room for %u connections\n", fds, s->max_connections);
}

bool settings_load(struct settings *ret, struct buf *problems)
{
    struct settings s = {0};
    struct error e;
    buf_init(&s.notes, 64 * 1024);
    bool ok = config_load(&s.config, CONFIG_FILE, environ, problems, &s.notes);
    check_stores(&s, problems);
    choose_user(&s, problems);
    make_absolute(&s.config.duckdb_path, "GOPIE_DS_DUCKDB_PATH", problems);
    choose_host(&s);
    choose_org_max_queued(&s);
    choose_sizes(&s, problems);
    s.worker_program = machine_worker_program(&e);
    if (s.worker_program) {
        choose_sandbox(&s, problems);
        choose_motherduck(&s, problems);
    } else
        buf_printf(problems, "%s\n", e.message);
    check_origins(&s.config, problems);
    if (!ok || problems->len > 0 || problems->failed) {
        settings_release(&s);
        return false;
    }
    *ret = s;
    return true;
}

void settings_describe_worker(const struct settings *set, struct worker_spec *ret)
{
    const struct config *c = &set->config;
    *ret = (struct worker_spec){.source = (enum source_kind)c->source,
                                .source_path = c->duckdb_path,
                                .source_wait_ms = c->source_wait,
                                .database = c->motherduck_db_name,
                                .token = c->source == SOURCE_MOTHERDUCK ? c->motherduck_token : NULL,
                                .extension_dir = set->extension_dir,
                                .unsigned_extensions = c->duckdb_unsigned_extensions,
                                .memory_limit = set->worker_memory,
                                .spill_limit = c->spill_limit,
                                .threads = set->worker_threads,
                                .uid = set->worker_uid,
                                .gid = set->worker_gid,
                                .sandbox = set->sandbox};
}

void settings_release(struct settings *s)
{
    config_release(&s->config);
    free(s->worker_program);
    free(s->extension_dir);
    buf_release(&s->notes);
    *s = (struct settings){0};
}
