/* Runs one job through a real worker process and prints what happened as one line of JSON. See --help.
 * Exit status: 0 the worker kept to the protocol (also where the job failed), 1 it did not, 2 the driver
 * could not run. */
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/buf.h"
#include "play_server.h"

static bool write_out(void *context, const uint8_t *data, size_t length)
{
    return fwrite(data, 1, length, context) == length;
}

static char *read_file(const char *path)
{
    FILE *f = fopen(path, "rb");
    char chunk[4096];
    struct buf b;
    buf_init(&b, JOB_SPEC_SQL_MAX);
    for (size_t n; f && (n = fread(chunk, 1, sizeof chunk, f)) > 0;)
        buf_append(&b, chunk, n);
    if (!f || ferror(f)) {
        perror(path);
        exit(2);
    }
    fclose(f);
    return buf_take(&b);
}

static uint64_t parse_size(const char *text)
{
    char *end;
    uint64_t n = strtoull(text, &end, 10);
    static const struct {
        const char *unit;
        uint64_t factor;
    } units[] = {{"", 1},          {"KiB", 1 << 10}, {"MiB", 1 << 20},
                 {"GiB", 1 << 30}, {"MB", 1000000},  {"GB", 1000000000}};
    for (size_t i = 0; i < ARRAY_SIZE(units); i++)
        if (end != text && strcmp(end, units[i].unit) == 0)
            return n * units[i].factor;
    fprintf(stderr, "not a size: %s\n", text);
    exit(2);
}

static enum sandbox_mode parse_mode(const char *text)
{
    return strcmp(text, "off") == 0           ? SANDBOX_OFF
           : strcmp(text, "best-effort") == 0 ? SANDBOX_BEST_EFFORT
                                              : SANDBOX_REQUIRED;
}

/* The name of a format, or a request's members: '{"format":"csv","options":{"header":false}}'. */
static struct file_form parse_form(const char *text)
{
    struct file_form form;
    struct error e;
    json_t *o = *text == '{' ? json_loads(text, 0, NULL) : json_pack("{s:s}", "format", text);
    if (!o || !file_form_read(o, &form, &e)) {
        fprintf(stderr, "not a form: %s\n", text);
        exit(2);
    }
    json_decref(o);
    return form;
}

static void print_result(const struct play_result *r)
{
    char hex[SHA256_HEX_SIZE] = "";
    if (r->done)
        hex_encode(r->digest, SHA256_BYTES, hex);
    json_t *o =
        json_pack("{s:b, s:s, s:s, s:s, s:I, s:I, s:I, s:s, s:f, s:f, s:I, s:i, s:b, s:b, s:I, s:f, s:i, "
                  "s:I, s:i, s:[I,I,I,I], s:I, s:b, s:o?}", /**/
                  "done", r->done, "code", error_code_name(r->error.code), "message", r->error.message,
                  "broken", r->broken, "rows", (json_int_t)r->rows, "bytes", (json_int_t)r->bytes, "parts",
                  (json_int_t)r->parts, "sha256", hex, "wall_s", r->wall_s, "cpu_s", r->cpu_s,
                  "peak_rss_anon", (json_int_t)r->peak_rss_anon, "threads", (int)r->threads, "box_seen",
                  r->box_seen, "boxed", r->boxed, "progress", (json_int_t)r->progress, "percent", r->percent,
                  "spill_left", (int)r->spill_left, "cancel_ms", (json_int_t)r->cancel_ms, "signal",
                  WIFSIGNALED(r->wait_status) ? WTERMSIG(r->wait_status) : 0, "cpu_us",
                  (json_int_t)r->cpu_us[LINK_QUERY], (json_int_t)r->cpu_us[LINK_ENCODE],
                  (json_int_t)r->cpu_us[LINK_PACK], (json_int_t)r->cpu_us[LINK_HASH], "altered", (json_int_t)r->altered, "truncated", r->truncated,
                  "columns", json_loads(r->columns, 0, NULL));
    char *line = o ? json_dumps(o, JSON_COMPACT) : NULL;
    puts(line ? line : "{}");
    free(line);
    json_decref(o);
}

static const char usage[] =
    "worker_driver --source FILE (--sql TEXT | --sql-file FILE) [--worker PROGRAM] [--out FILE] [--memory "
    "SIZE]\n"
    "  [--spill SIZE] [--threads N] [--parts N] [--part-size SIZE] [--uid N] [--gid N] [--format NAME|JSON]\n"
    "  [--sandbox required|best-effort|off] [--source-wait MS] [--cancel-after BYTES] [--kill-after BYTES]\n"
    "  [--slow MS] [--deadline MS] [--template 1]\n";

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"worker", 1, NULL, 'w'},       {"source", 1, NULL, 's'},     {"sql", 1, NULL, 'q'},
        {"sql-file", 1, NULL, 'f'},     {"out", 1, NULL, 'o'},        {"memory", 1, NULL, 'm'},
        {"spill", 1, NULL, 'S'},        {"threads", 1, NULL, 't'},    {"parts", 1, NULL, 'p'},
        {"part-size", 1, NULL, 'P'},    {"uid", 1, NULL, 'u'},        {"gid", 1, NULL, 'g'},
        {"format", 1, NULL, 'F'},       {"sandbox", 1, NULL, 'b'},    {"source-wait", 1, NULL, 'W'},
        {"cancel-after", 1, NULL, 'c'}, {"kill-after", 1, NULL, 'k'}, {"slow", 1, NULL, 'l'},
        {"deadline", 1, NULL, 'd'},     {"template", 1, NULL, 'T'},   {NULL, 0, NULL, 0},
    };
    struct play_options o = {
        .worker = "build/downloads-worker",
        .worker_spec = {.memory_limit = 256ull << 20, .spill_limit = 4ull << 30, .threads = 2},
        .spec = {.form = file_form_default(FILE_CSV), .part_count = 4, .part_size = 4 << 20},
        .cancel_after = UINT64_MAX,
        .kill_after = UINT64_MAX,
        .deadline_ms = 300000,
    };
    FILE *out = NULL;
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        switch (option) {
        case 'w':
            o.worker = optarg;
            break;
        case 's':
            o.worker_spec.source_path = optarg;
            break;
        case 'q':
            o.spec.sql = optarg;
            break;
        case 'f':
            o.spec.sql = read_file(optarg);
            break;
        case 'o':
            out = fopen(optarg, "wb");
            break;
        case 'm':
            o.worker_spec.memory_limit = parse_size(optarg);
            break;
        case 'S':
            o.worker_spec.spill_limit = parse_size(optarg);
            break;
        case 't':
            o.worker_spec.threads = (uint32_t)parse_size(optarg);
            break;
        case 'p':
            o.spec.part_count = (uint32_t)parse_size(optarg);
            break;
        case 'P':
            o.spec.part_size = parse_size(optarg);
            break;
        case 'u':
            o.worker_spec.uid = (uint32_t)parse_size(optarg);
            break;
        case 'g':
            o.worker_spec.gid = (uint32_t)parse_size(optarg);
            break;
        case 'F':
            o.spec.form = parse_form(optarg);
            break;
        case 'b':
            o.worker_spec.sandbox = parse_mode(optarg);
            break;
        case 'W':
            o.worker_spec.source_wait_ms = parse_size(optarg);
            break;
        case 'c':
            o.cancel_after = parse_size(optarg);
            break;
        case 'k':
            o.kill_after = parse_size(optarg);
            break;
        case 'l':
            o.slow_ms = (uint32_t)parse_size(optarg);
            break;
        case 'T':
            o.template = parse_size(optarg);
            break;
        case 'd':
            o.deadline_ms = (int)parse_size(optarg);
            break;
        default:
            fputs(usage, stderr);
            return 2;
        }
    }
    if (!o.worker_spec.source_path || !o.spec.sql) {
        fputs(usage, stderr);
        return 2;
    }
    if (out) {
        o.take = write_out;
        o.context = out;
    }
    struct play_result r;
    struct error e = {0};
    if (!play_server(&o, &r, &e)) {
        fprintf(stderr, "%s\n", e.message);
        return 2;
    }
    if (out && fclose(out) != 0)
        return 2;
    print_result(&r);
    return r.broken[0] ? 1 : 0;
}
