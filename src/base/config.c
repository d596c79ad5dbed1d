#include "base/config.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/log.h"

#define PREFIX "GOPIE_DS_"
#define FILE_MAX (1024 * 1024)
#define VALUE_MAX (64 * 1024)

enum kind { TEXT, SECRET, NUMBER, BOOLEAN, DURATION, SIZE, CHOICE };

static const char *const log_levels[] = {"debug", "info", "warn", "error", NULL};
static const char *const log_modes[] = {"dev", "prod", NULL};
static const char *const job_stores[] = {"sqlite", "postgres", NULL};
static const char *const object_stores[] = {"local", "s3", NULL};
static const char *const sources[] = {"duckdb", "motherduck", NULL};
static const char *const addressings[] = {"path", "virtual", NULL};
static const char *const sign_payloads[] = {"auto", "on", "off", NULL};
static const char *const sses[] = {"none", "AES256", "aws:kms", NULL};
static const char *const sslmodes[] = {"default", "disable", "allow", "prefer", "require", "verify-ca", "verify-full", NULL};
static const char *const sandboxes[] = {"required", "best-effort", "off", NULL};

struct variable {
    const char *name; /* without PREFIX */
    enum kind kind;
    size_t offset; /* in struct config */
    const char *fallback; /* the default, as it would be written; NULL: none */
    uint64_t min, max;    /* of NUMBER, DURATION (ms), SIZE (bytes) */
    const char *const *choices;
    const char *meaning;
};

#define SECOND UINT64_C(1000)
#define DAY (24 * 3600 * SECOND)
#define MIB (UINT64_C(1) << 20)
#define TIB (UINT64_C(1) << 40)
#define AT(field) offsetof(struct config, field)

static const struct variable variables[] = {
    {"SERVER_HOST", TEXT, AT(server_host), NULL, .meaning = "address to listen on; default: loopback, every address with Postgres"},
    {"SERVER_PORT", NUMBER, AT(server_port), "8000", 0, 65535, .meaning = "TCP port; 0: any free one"},
    {"S3_ACCESS_KEY", TEXT, AT(s3_access_key), NULL, .meaning = "access key of the S3 store"},
    {"S3_SECRET_KEY", SECRET, AT(s3_secret_key), NULL, .meaning = "secret key of the S3 store"},
    {"S3_REGION", TEXT, AT(s3_region), "us-east-1", .meaning = "region of the bucket"},
    {"S3_ENDPOINT", TEXT, AT(s3_endpoint), NULL, .meaning = "host, or URL, of the S3 store"},
    {"S3_BUCKET", TEXT, AT(s3_bucket), NULL, .meaning = "bucket that the files go to"},
    {"S3_SSL", BOOLEAN, AT(s3_ssl), "false", .meaning = "https where S3_ENDPOINT names no scheme"},
    {"S3_SESSION_TOKEN", SECRET, AT(s3_session_token), NULL, .meaning = "session token of temporary keys; links end within an hour with one"},
    {"S3_ADDRESSING", CHOICE, AT(s3_addressing), "path", .choices = addressings, .meaning = "path: ENDPOINT/BUCKET/KEY; virtual: BUCKET.ENDPOINT/KEY"},
    {"S3_CA_FILE", TEXT, AT(s3_ca_file), NULL, .meaning = "PEM file of the authorities to trust for https; default: the system's"},
    {"S3_PUBLIC_ENDPOINT", TEXT, AT(s3_public_endpoint), NULL, .meaning = "host, or URL, that links name, where browsers reach the store by another; default: S3_ENDPOINT"},
    {"S3_SSE", CHOICE, AT(s3_sse), "none", .choices = sses, .meaning = "server-side encryption to ask for"},
    {"S3_SSE_KMS_KEY_ID", TEXT, AT(s3_sse_kms_key_id), NULL, .meaning = "key of S3_SSE=aws:kms; default: the store's own"},
    {"S3_SIGN_PAYLOAD", CHOICE, AT(s3_sign_payload), "auto", .choices = sign_payloads, .meaning = "signs a hash of the bytes too; auto: for http, not for https"},
    {"S3_PART_SIZE", SIZE, AT(s3_part_size), "16MiB", 5 * MIB, 512 * MIB, .meaning = "size of a part of an upload; a job's buffers are four of them"},
    {"S3_GROW_AFTER", NUMBER, AT(s3_grow_after), "5000", 1, 9999, .meaning = "after so many parts of a file they are 16 times larger, 256 MiB at most: S3 takes 10,000"},
    {"S3_EQUAL_PARTS", BOOLEAN, AT(s3_equal_parts), "false", .meaning = "for stores that insist on parts of one size: a file of more than 10,000 parts fails instead of growing its parts"},
    {"S3_TIMEOUT", DURATION, AT(s3_timeout), "5m", SECOND, 3600 * SECOND, .meaning = "how long a request to the store is tried again before its job fails"},
    {"S3_URL_EXPIRY", DURATION, AT(s3_url_expiry), "24h", SECOND, 7 * DAY, .meaning = "how long a link lives"},
    {"LOGGER_LEVEL", CHOICE, AT(log_level), "info", .choices = log_levels, .meaning = "least level that is logged"},
    {"LOGGER_FILE", TEXT, AT(log_file), "gopie.log", .meaning = "log file beside stderr"},
    {"LOGGER_MODE", CHOICE, AT(log_mode), "dev", .choices = log_modes, .meaning = "dev: for people; prod: JSON lines"},
    {"MOTHERDUCK_DB_NAME", TEXT, AT(motherduck_db_name), NULL, .meaning = "MotherDuck database"},
    {"MOTHERDUCK_TOKEN", SECRET, AT(motherduck_token), NULL, .meaning = "MotherDuck token"},
    {"MOTHERDUCK_TIMEOUT", DURATION, AT(motherduck_timeout), "60s", SECOND, 3600 * SECOND, .meaning = "how long signing in may take"},
    {"MOTHERDUCK_SPARES", NUMBER, AT(motherduck_spares), "2", 0, 2, .meaning = "workers that have signed in and wait for a job"},
    {"DUCKDB_EXTENSION_DIR", TEXT, AT(duckdb_extension_dir), NULL, .meaning = "where MotherDuck's extension is, as v1.5.5/linux_amd64/motherduck.duckdb_extension; default: extensions, beside the programs"},
    {"DUCKDB_UNSIGNED_EXTENSIONS", BOOLEAN, AT(duckdb_unsigned_extensions), "false", .meaning = "loads an extension without its maker's signature: for tests with a stand-in only"},
    {"POSTGRES_HOST", TEXT, AT(postgres_host), NULL, .meaning = "Postgres server"},
    {"POSTGRES_PORT", NUMBER, AT(postgres_port), "5432", 1, 65535, .meaning = "its port"},
    {"POSTGRES_DB", TEXT, AT(postgres_db), NULL, .meaning = "its database"},
    {"POSTGRES_USER", TEXT, AT(postgres_user), NULL, .meaning = "its user"},
    {"POSTGRES_PASSWORD", SECRET, AT(postgres_password), NULL, .meaning = "the user's password"},
    {"POSTGRES_SSLMODE", CHOICE, AT(postgres_sslmode), "default", .choices = sslmodes, .meaning = "TLS to Postgres, in libpq's words; default: PGSSLMODE, else prefer"},
    {"STARTUP_WAIT", DURATION, AT(startup_wait), "30s", 0, 3600 * SECOND, .meaning = "how long Postgres and S3 are waited for at the start"},
    {"JOB_LEASE", DURATION, AT(job_lease), "20s", SECOND, 600 * SECOND, .meaning = "jobs in Postgres: after so long without a sign of its instance, another may take a running job up"},
    {"JOB_RENEWAL", DURATION, AT(job_renewal), "5s", 100, 300 * SECOND, .meaning = "how often an instance gives that sign; at most half of JOB_LEASE; default: 5s, or a quarter of a shorter lease"},
    {"QUEUE_WORKERS", NUMBER, AT(queue_workers), "10", 1, 256, .meaning = "jobs that run at once"},
    {"QUEUE_SIZE", NUMBER, AT(queue_size), "1000", 1, 1000000, .meaning = "jobs that may wait"},
    {"ORG_MAX_QUEUED", NUMBER, AT(org_max_queued), NULL, 1, 1000000, .meaning = "jobs of one organisation that may wait; default: nine tenths of QUEUE_SIZE"},
    {"ORG_MAX_RUNNING", NUMBER, AT(org_max_running), "0", 0, 1000000, .meaning = "jobs of one organisation that may run at once, on all instances together; 0: no bound"},
    {"MAX_ATTEMPTS", NUMBER, AT(max_attempts), "3", 1, 100, .meaning = "a job that failed so often, for reasons that may pass, has failed"},
    {"RETRY_DELAY", DURATION, AT(retry_delay), "2s", 0, 60 * SECOND, .meaning = "wait before the second attempt; four times as long before each further one, a minute at most"},
    {"MAX_RESCUES", NUMBER, AT(max_rescues), "10", 1, 1000, .meaning = "how often a job whose server was lost while it ran is taken up again"},
    {"DATA_DIR", TEXT, AT(data_dir), "./data", .meaning = "jobs, files and spill of the embedded stores"},
    {"JOB_STORE", CHOICE, AT(job_store), NULL, .choices = job_stores, .meaning = "default: postgres where a POSTGRES_ variable is set, else sqlite"},
    {"OBJECT_STORE", CHOICE, AT(object_store), NULL, .choices = object_stores, .meaning = "default: s3 where an S3_ variable is set (S3_URL_EXPIRY apart), else local"},
    {"OLAPDB_DBTYPE", CHOICE, AT(source), NULL, .choices = sources, .meaning = "default: motherduck where a MOTHERDUCK_ variable is set, else duckdb"},
    {"DUCKDB_PATH", TEXT, AT(duckdb_path), NULL, .meaning = "the DuckDB file that queries read"},
    {"CORS_ORIGINS", TEXT, AT(cors_origins), "http://localhost:3000,https://gopie.factly.dev,https://*.factly.dev", .meaning = "web pages that may use the API, with commas; *. is any sub-domain"},
    {"PUBLIC_URL", TEXT, AT(public_url), NULL, .meaning = "base of the local store's links; default: http://HOST:PORT"},
    {"WORKER_MEMORY", SIZE, AT(worker_memory), NULL, 64 * MIB, TIB, .meaning = "memory limit of a worker's engine; default: 60 % of the machine's divided by the workers"},
    {"WORKER_THREADS", NUMBER, AT(worker_threads), NULL, 1, 64, .meaning = "threads of a worker's engine; default: the cores, at most 4"},
    {"WORKER_USER", TEXT, AT(worker_user), "nobody", .meaning = "user of the workers where the server runs as root"},
    {"SPILL_LIMIT", SIZE, AT(spill_limit), "16GiB", MIB, TIB, .meaning = "temporary files of a worker, at most"},
    {"SOURCE_WAIT", DURATION, AT(source_wait), "10s", 0, 3600 * SECOND, .meaning = "how long a source that another process writes is tried again"},
    {"SOURCE_IDLE", DURATION, AT(source_idle), "2s", 0, 3600 * SECOND, .meaning = "how long the DuckDB file stays open for the next download; writers wait meanwhile; 0: each download opens it"},
    {"JOB_TIMEOUT", DURATION, AT(job_timeout), "1h", SECOND, 7 * DAY, .meaning = "a job that runs longer is stopped"},
    {"STALL_TIMEOUT", DURATION, AT(stall_timeout), "5m", SECOND, 7 * DAY, .meaning = "a job without a row or a byte for so long is stopped"},
    {"ROW_LIMIT", NUMBER, AT(row_limit), "0", 0, UINT64_C(1000000000000000), .meaning = "rows of a file, at most: it ends there, and its record says so; 0: no bound"},
    {"BYTE_LIMIT", SIZE, AT(byte_limit), "0", 0, 1024 * TIB, .meaning = "bytes of a file before compression, at most: it ends behind the last row that fits, and its record says so; 0: no bound"},
    {"SHUTDOWN_GRACE", DURATION, AT(shutdown_grace), "30s", 0, 3600 * SECOND, .meaning = "how long running jobs may finish on SIGTERM"},
    {"SANDBOX", CHOICE, AT(sandbox), NULL, .choices = sandboxes, .meaning = "box of the workers; default: required where the kernel can"},
    {"MAX_CONNECTIONS", NUMBER, AT(max_connections), "16384", 1, 1000000, .meaning = "accepting pauses at this many"},
};

struct value {
    char *text;       /* NULL: not set */
    const char *from; /* "environment" or the file's name */
};

struct loader {
    struct config config;
    struct value values[ARRAY_SIZE(variables)];
    struct buf *problems, *notes;
};

static int find(const char *name, size_t length)
{
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
        if (strlen(variables[i].name) == length && !memcmp(variables[i].name, name, length))
            return (int)i;
    return -1;
}

/* An empty value is as good as none: compose files pass on what is not set. The first one given wins. */
static void keep(struct loader *l, const char *name, size_t length, char *text, const char *from)
{
    if (length < strlen(PREFIX) || memcmp(name, PREFIX, strlen(PREFIX)) != 0) {
        free(text);
        return;
    }
    int i = find(name + strlen(PREFIX), length - strlen(PREFIX));
    if (i < 0)
        buf_printf(l->notes, "%.*s is not a variable of this program (%s)\n", (int)length, name, from);
    if (i < 0 || !text || !*text || l->values[i].text)
        free(text);
    else
        l->values[i] = (struct value){text, from};
}

static void load_environment(struct loader *l, char *const *environment)
{
    for (; *environment; environment++) {
        const char *equals = strchr(*environment, '=');
        if (equals)
            keep(l, *environment, (size_t)(equals - *environment), strdup(equals + 1), "environment");
    }
}

/* One value of a line of the file, from behind the `=`: in quotes, or up to a blank and a `#`. NULL: an open quote. */
static char *parse_value(const char *text)
{
    struct buf value;
    buf_init(&value, VALUE_MAX);
    buf_append(&value, "", 0);
    text += strspn(text, " \t");
    char quote = *text;
    if (quote == '"' || quote == '\'') {
        const char *p = text + 1;
        for (; *p && *p != quote; p++) {
            if (quote == '"' && *p == '\\' && p[1]) {
                p++;
                char c = *p == 'n' ? '\n' : *p == 't' ? '\t' : *p;
                buf_append(&value, &c, 1);
            } else
                buf_append(&value, p, 1);
        }
        if (!*p)
            buf_release(&value);
        return *p ? buf_take(&value) : NULL;
    }
    size_t length = 0;
    while (text[length] && !(text[length] == '#' && (length == 0 || isblank((unsigned char)text[length - 1]))))
        length++;
    while (length > 0 && isspace((unsigned char)text[length - 1]))
        length--;
    buf_append(&value, text, length);
    return buf_take(&value);
}

static void load_line(struct loader *l, char *line, unsigned number, const char *file)
{
    line += strspn(line, " \t");
    line[strcspn(line, "\r")] = '\0';
    if (!*line || *line == '#')
        return;
    if (!strncmp(line, "export ", 7))
        line += 7 + strspn(line + 7, " \t");
    size_t length = strspn(line, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_");
    const char *p = line + length + strspn(line + length, " \t");
    if (length == 0 || *p != '=') {
        buf_printf(l->problems, "%s line %u: not NAME=value\n", file, number);
        return;
    }
    char *value = parse_value(p + 1);
    if (!value)
        buf_printf(l->problems, "%s line %u: the value of %.*s has an open quote\n", file, number, (int)length, line);
    else
        keep(l, line, length, value, file);
}

static void load_file(struct loader *l, const char *file)
{
    _cleanup_close_ int fd = open(file, O_RDONLY | O_CLOEXEC);
    if (fd < 0) {
        if (errno != ENOENT)
            buf_printf(l->problems, "%s: cannot be read: %s\n", file, strerror(errno));
        return;
    }
    struct stat st;
    if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode) || st.st_size > FILE_MAX) {
        buf_printf(l->problems, "%s: not a file of at most %d bytes\n", file, FILE_MAX);
        return;
    }
    _cleanup_free_ char *text = malloc((size_t)st.st_size + 1);
    size_t got = 0;
    ssize_t n = 1;
    while (text && got < (size_t)st.st_size && (n = read(fd, text + got, (size_t)st.st_size - got)) > 0)
        got += (size_t)n;
    if (!text || n < 0) {
        buf_printf(l->problems, "%s: cannot be read\n", file);
        return;
    }
    text[got] = '\0';
    unsigned number = 1;
    for (char *line = text, *next; line; line = next, number++) {
        next = strchr(line, '\n');
        if (next)
            *next++ = '\0';
        load_line(l, line, number, file);
    }
}

/* A whole number and a unit. The number alone counts in the unit with the empty name. */
static bool parse_quantity(const char *text, const char *const *names, const uint64_t *factors, uint64_t *ret)
{
    if (!isdigit((unsigned char)*text))
        return false;
    char *end;
    errno = 0;
    uint64_t number = strtoull(text, &end, 10);
    if (errno)
        return false;
    for (size_t i = 0; names[i]; i++)
        if (!strcasecmp(end, names[i]))
            return !__builtin_mul_overflow(number, factors[i], ret);
    return false;
}

static const char *const no_units[] = {"", NULL};
static const uint64_t no_factors[] = {1};
static const char *const time_units[] = {"", "ms", "s", "m", "h", "d", NULL};
static const uint64_t time_factors[] = {SECOND, 1, SECOND, 60 * SECOND, 3600 * SECOND, DAY};
static const char *const size_units[] = {"", "B", "KB", "MB", "GB", "TB", "KiB", "MiB", "GiB", "TiB", NULL};
static const uint64_t size_factors[] = {1, 1, 1000, 1000000, 1000000000, 1000000000000, 1024, MIB, 1024 * MIB, TIB};

static bool parse_boolean(const char *text, bool *ret)
{
    static const char *const yes[] = {"true", "1", "yes", "on"}, *const no[] = {"false", "0", "no", "off"};
    for (size_t i = 0; i < ARRAY_SIZE(yes); i++) {
        if (!strcasecmp(text, yes[i]) || !strcasecmp(text, no[i])) {
            *ret = !strcasecmp(text, yes[i]);
            return true;
        }
    }
    return false;
}

/* What is allowed, in words, behind "allowed: ". */
static void describe(struct buf *b, const struct variable *v)
{
    switch (v->kind) {
    case TEXT:
    case SECRET:
        buf_append_text(b, "text without control characters");
        break;
    case NUMBER:
        buf_printf(b, "a whole number from %" PRIu64 " to %" PRIu64, v->min, v->max);
        break;
    case BOOLEAN:
        buf_append_text(b, "true or false");
        break;
    case DURATION:
        buf_printf(b, "a duration such as 500ms, 30s, 5m, 24h or 7d, from %" PRIu64 "%s to %" PRIu64 "s",
                   v->min % SECOND ? v->min : v->min / SECOND, v->min % SECOND ? "ms" : "s", v->max / SECOND);
        break;
    case SIZE:
        buf_printf(b, "a size such as 256MB or 2GiB, from %" PRIu64 "MiB to %" PRIu64 "GiB", v->min / MIB,
                   v->max / (1024 * MIB));
        break;
    case CHOICE:
        for (size_t i = 0; v->choices[i]; i++)
            buf_printf(b, "%s%s", i ? ", " : "", v->choices[i]);
        break;
    }
}

static bool set_value(struct config *c, const struct variable *v, const char *text)
{
    void *field = (char *)c + v->offset;
    uint64_t number = 0;
    bool ok = false;
    switch (v->kind) {
    case TEXT:
    case SECRET:
        for (const char *p = text; *p; p++)
            if ((unsigned char)*p < 0x20 || *p == 0x7F)
                return false;
        free(*(char **)field);
        *(char **)field = strdup(text);
        return *(char **)field != NULL;
    case BOOLEAN:
        return parse_boolean(text, field);
    case CHOICE:
        for (size_t i = 0; v->choices[i]; i++)
            if (!strcasecmp(text, v->choices[i])) {
                *(uint64_t *)field = i;
                return true;
            }
        return false;
    case NUMBER:
        ok = parse_quantity(text, no_units, no_factors, &number);
        break;
    case DURATION:
        ok = parse_quantity(text, time_units, time_factors, &number);
        break;
    case SIZE:
        ok = parse_quantity(text, size_units, size_factors, &number);
        break;
    }
    if (!ok || number < v->min || number > v->max)
        return false;
    *(uint64_t *)field = number;
    return true;
}

static bool given(const struct loader *l, const char *name)
{
    return l->values[find(name, strlen(name))].text != NULL;
}

static bool any_given(const struct loader *l, const char *prefix, const char *except)
{
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
        if (l->values[i].text && !strncmp(variables[i].name, prefix, strlen(prefix)) &&
            !(except && !strcmp(variables[i].name, except)))
            return true;
    return false;
}

static void require(struct loader *l, const char *name, const char *why)
{
    if (!given(l, name))
        buf_printf(l->problems, PREFIX "%s: missing: %s\n", name, why);
}

/* What one variable asks of another. */
static void check_together(struct loader *l)
{
    struct config *c = &l->config;
    if (!given(l, "JOB_STORE"))
        c->job_store = any_given(l, "POSTGRES_", NULL) ? JOB_STORE_POSTGRES : JOB_STORE_SQLITE;
    if (!given(l, "OBJECT_STORE"))
        c->object_store = any_given(l, "S3_", "S3_URL_EXPIRY") ? OBJECT_STORE_S3 : OBJECT_STORE_LOCAL;
    if (!given(l, "OLAPDB_DBTYPE"))
        c->source = any_given(l, "MOTHERDUCK_", NULL) ? SOURCE_MOTHERDUCK : SOURCE_DUCKDB;
    c->object_store_is_default = !given(l, "OBJECT_STORE");
    c->sandbox_is_default = !given(l, "SANDBOX");

    if (c->job_store == JOB_STORE_POSTGRES) {
        static const char *const names[] = {"POSTGRES_HOST", "POSTGRES_DB", "POSTGRES_USER"};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            require(l, names[i], "jobs are to be kept in Postgres");
    }
    if (c->object_store == OBJECT_STORE_S3) {
        static const char *const names[] = {"S3_ACCESS_KEY", "S3_SECRET_KEY", "S3_ENDPOINT", "S3_BUCKET"};
        for (size_t i = 0; i < ARRAY_SIZE(names); i++)
            require(l, names[i], "files are to be kept in S3");
    }
    if (c->s3_sse != S3_SSE_KMS && given(l, "S3_SSE_KMS_KEY_ID"))
        buf_printf(l->problems, PREFIX "S3_SSE_KMS_KEY_ID: only with " PREFIX "S3_SSE=aws:kms\n");
    if (c->source == SOURCE_MOTHERDUCK) {
        require(l, "MOTHERDUCK_DB_NAME", "queries are to run on MotherDuck");
        require(l, "MOTHERDUCK_TOKEN", "queries are to run on MotherDuck");
    } else
        require(l, "DUCKDB_PATH", "the DuckDB file that queries read");

    /* A renewal that is late or fails once must find the lease still there. */
    if (!given(l, "JOB_RENEWAL") && c->job_renewal > c->job_lease / 4)
        c->job_renewal = c->job_lease / 4;
    if (c->job_renewal > c->job_lease / 2)
        buf_printf(l->problems, PREFIX "JOB_RENEWAL: %" PRIu64 "ms: allowed: at most half of " PREFIX "JOB_LEASE, which is %" PRIu64 "ms\n",
                   c->job_renewal, c->job_lease);

    size_t length = strlen(c->public_url);
    while (length > 0 && c->public_url[length - 1] == '/')
        c->public_url[--length] = '\0';
    if (length && strncmp(c->public_url, "http://", 7) != 0 && strncmp(c->public_url, "https://", 8) != 0)
        buf_printf(l->problems, PREFIX "PUBLIC_URL: '%s': allowed: a URL that begins with http:// or https://\n",
                   c->public_url);
}

bool config_load(struct config *ret, const char *file, char *const *environment, struct buf *problems,
                 struct buf *notes)
{
    struct loader l = {.problems = problems, .notes = notes};
    load_environment(&l, environment);
    if (file)
        load_file(&l, file);
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
        const struct variable *v = &variables[i];
        const char *text = l.values[i].text;
        bool is_text = v->kind == TEXT || v->kind == SECRET;
        if (!text)
            text = v->fallback ? v->fallback : is_text ? "" : NULL;
        if (!text || set_value(&l.config, v, text))
            continue;
        buf_printf(problems, PREFIX "%s: '%s' (from %s): allowed: ", v->name, v->kind == SECRET ? "..." : text,
                   l.values[i].from);
        describe(problems, v);
        buf_append(problems, "\n", 1);
        if (v->fallback || is_text) /* so that the checks behind this need not look */
            set_value(&l.config, v, v->fallback ? v->fallback : "");
    }
    check_together(&l);
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
        free(l.values[i].text);
    *ret = l.config;
    return problems->len == 0 && buf_ok(problems);
}

void config_release(struct config *c)
{
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
        if (variables[i].kind == TEXT || variables[i].kind == SECRET)
            free(*(char **)((char *)c + variables[i].offset));
    *c = (struct config){0};
}

const char *config_sslmode_name(const struct config *c)
{
    return c->postgres_sslmode == 0 ? NULL : sslmodes[c->postgres_sslmode];
}

void config_print_help(FILE *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++) {
        const struct variable *v = &variables[i];
        struct buf allowed;
        buf_init(&allowed, VALUE_MAX);
        if (v->kind == CHOICE)
            describe(&allowed, v);
        fprintf(out, "  " PREFIX "%s%s%s\n      %s%s%s\n", v->name, v->fallback ? "=" : "",
                v->fallback ? v->fallback : "", v->meaning, allowed.len ? "; one of " : "",
                allowed.len ? allowed.data : "");
        buf_release(&allowed);
    }
}

void config_print_names(FILE *out)
{
    for (size_t i = 0; i < ARRAY_SIZE(variables); i++)
        fprintf(out, PREFIX "%s\n", variables[i].name);
}
