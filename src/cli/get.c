#include "cli/get.h"

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/utf8.h"
#include "cli/client.h"
#include "cli/fetch.h"
#include "format/file_form.h"

#define PROGRAM "downloads-server get"
#define SQL_MAX (4 * 1024 * 1024) /* the server's limit of a body */
#define IDENTITY_MAX \
    900 /* bytes of a user's or an organisation's id: fits into a header line of the client */
#define DEFAULT_WAIT_S 60

static const char help[] =
    "Runs a query on a downloads server and fetches the file that it makes.\n"
    "\n"
    "  " PROGRAM " --user U --org O --sql 'SELECT ...' [-o FILE]\n"
    "  " PROGRAM " --user U --org O --download ID [-o FILE]\n"
    "\n"
    "What to fetch:\n"
    "  --sql TEXT        the query\n"
    "  --sql-file FILE   the query, from a file (-: standard input)\n"
    "  --download ID     a download that exists already\n"
    "  --dataset ID      the dataset that the record names (default: cli)\n"
    "\n"
    "What the file is to look like:\n"
    "  --format NAME     csv (the default), tsv, json, ndjson (or jsonl), parquet, xlsx (or excel)\n"
    "  --compression NAME\n"
    "                    of csv, tsv, json, ndjson: none (the default), gzip, zstd; of parquet: zstd (the\n"
    "                    default), snappy, none\n"
    "  --option NAME=VALUE\n"
    "                    an option of the format, such as delimiter=';', header=false, timezone=Asia/Kolkata;\n"
    "                    as often as you like. docs/formats.md lists them\n"
    "  --row-limit N     the file ends behind N rows\n"
    "  --byte-limit N    the file ends before it has more than N bytes, counted before compression\n"
    "\n"
    "From whom:\n"
    "  --server URL      the server (default: $DOWNLOADS_SERVER, else http://127.0.0.1:8000)\n"
    "  --user ID         who asks (default: $DOWNLOADS_USER)\n"
    "  --org ID          for which organisation (default: $DOWNLOADS_ORG)\n"
    "\n"
    "What to do with it:\n"
    "  -o, --output FILE the file (-: standard output; default: <download id>.<format> here,\n"
    "                    with .gz or .zst behind it where it is compressed)\n"
    "  --print-link      print the link and fetch nothing\n"
    "  -q, --quiet, --no-progress\n"
    "                    show errors only, and that a file ends at a limit\n"
    "  --timeout SECONDS give up after so long (default: never)\n"
    "  --wait SECONDS    how long a server may stay busy or unreachable (default: 60)\n"
    "  -h, --help\n"
    "\n"
    "A broken connection is taken up again, and the file's length and SHA-256 are checked. Progress goes to "
    "standard\n"
    "error: a bar on a terminal (without colours where NO_COLOR is set), lines elsewhere. Ctrl-C stops "
    "waiting, not\n"
    "the download. Proxies of the environment are not used.\n"
    "\n"
    "Exit status: 0 done; 1 the download failed; 2 wrong options; 3 the server cannot be reached or stays "
    "busy;\n"
    "4 the file is not the one that was announced; 5 the file cannot be written; 130 interrupted.\n";

struct get_options {
    char *server; /* without slashes at its end */
    const char *user, *org, *dataset, *output;
    json_t *form; /* what the file is to look like: members of the request */
    const char *sql, *sql_file, *download;
    bool print_link, quiet;
    int64_t timeout_ms; /* 0: none */
    int64_t wait_ms;
};

static bool usage(const char *format, ...) PRINTF_LIKE(1, 2);

static bool usage(const char *format, ...)
{
    va_list args;
    va_start(args, format);
    fputs(PROGRAM ": ", stderr);
    vfprintf(stderr, format, args);
    fputs("\nTry `" PROGRAM " --help`.\n", stderr);
    va_end(args);
    return false;
}

static bool parse_seconds(const char *option, const char *text, int64_t *ret_ms)
{
    char *end;
    errno = 0;
    double seconds = strtod(text, &end);
    if (errno || end == text || *end || !(seconds >= 0 && seconds <= 1e6))
        return usage("%s takes seconds from 0 to 1000000, not '%s'", option, text);
    *ret_ms = (int64_t)(seconds * 1000);
    return true;
}

/* --- what the file is to look like --- */

static bool set_name(json_t *form, const char *option, const char *member, const char *text)
{
    if (!utf8_valid(text, strlen(text)))
        return usage("%s takes UTF-8 text", option);
    return json_object_set_new(form, member, json_string(text)) == 0 || usage("out of memory");
}

static bool set_limit(json_t *form, const char *option, const char *member, const char *text)
{
    errno = 0;
    long long number = strtoll(text, NULL, 10);
    if (errno || !*text || strspn(text, "0123456789") != strlen(text))
        return usage("%s takes a whole number, not '%s'", option, text);
    return json_object_set_new(form, member, json_integer(number)) == 0 || usage("out of memory");
}

/* Which options there are, and which values they take, is the server's to say. */
static bool set_option(json_t *form, const char *text)
{
    const char *equals = strchr(text, '=');
    if (!utf8_valid(text, strlen(text)))
        return usage("--option takes UTF-8 text");
    if (!equals || equals == text)
        return usage("--option takes NAME=VALUE, such as header=false, not '%s'", text);
    _cleanup_free_ char *name = strndup(text, (size_t)(equals - text));
    if (!json_object_get(form, "options"))
        json_object_set_new(form, "options", json_object());
    return (name && file_option_set(json_object_get(form, "options"), name, equals + 1)) || usage("out of memory");
}

static const char *environment(const char *name, const char *otherwise)
{
    const char *value = getenv(name);
    return value && value[0] ? value : otherwise;
}

enum option_id {
    OPT_SERVER = 256,
    OPT_USER,
    OPT_ORG,
    OPT_SQL,
    OPT_SQL_FILE,
    OPT_DOWNLOAD,
    OPT_DATASET,
    OPT_FORMAT,
    OPT_COMPRESSION,
    OPT_OPTION,
    OPT_ROW_LIMIT,
    OPT_BYTE_LIMIT,
    OPT_PRINT_LINK,
    OPT_QUIET,
    OPT_HELP,
    OPT_TIMEOUT,
    OPT_WAIT
};

static const struct option long_options[] = {
    {"server", required_argument, NULL, OPT_SERVER},
    {"user", required_argument, NULL, OPT_USER},
    {"org", required_argument, NULL, OPT_ORG},
    {"sql", required_argument, NULL, OPT_SQL},
    {"sql-file", required_argument, NULL, OPT_SQL_FILE},
    {"download", required_argument, NULL, OPT_DOWNLOAD},
    {"dataset", required_argument, NULL, OPT_DATASET},
    {"format", required_argument, NULL, OPT_FORMAT},
    {"compression", required_argument, NULL, OPT_COMPRESSION},
    {"option", required_argument, NULL, OPT_OPTION},
    {"row-limit", required_argument, NULL, OPT_ROW_LIMIT},
    {"byte-limit", required_argument, NULL, OPT_BYTE_LIMIT},
    {"output", required_argument, NULL, 'o'},
    {"print-link", no_argument, NULL, OPT_PRINT_LINK},
    {"quiet", no_argument, NULL, OPT_QUIET},
    {"no-progress", no_argument, NULL, OPT_QUIET},
    {"timeout", required_argument, NULL, OPT_TIMEOUT},
    {"wait", required_argument, NULL, OPT_WAIT},
    {"help", no_argument, NULL, OPT_HELP},
    {NULL, 0, NULL, 0},
};

/* False: end with `*ret_code`. `server` gets what was given, for check_options(). */
static bool parse_options(int argc, char **argv, struct get_options *o, const char **server, int *ret_code)
{
    *ret_code = EXIT_USAGE;
    opterr = 0;
    optind = 1;
    int option;
    while ((option = getopt_long(argc, argv, ":o:qh", long_options, NULL)) != -1) {
        bool ok = true;
        switch (option) {
        case OPT_SERVER:
            *server = optarg;
            break;
        case OPT_USER:
            o->user = optarg;
            break;
        case OPT_ORG:
            o->org = optarg;
            break;
        case OPT_SQL:
            o->sql = optarg;
            break;
        case OPT_SQL_FILE:
            o->sql_file = optarg;
            break;
        case OPT_DOWNLOAD:
            o->download = optarg;
            break;
        case OPT_DATASET:
            o->dataset = optarg;
            break;
        case OPT_FORMAT:
            ok = set_name(o->form, "--format", "format", optarg);
            break;
        case OPT_COMPRESSION:
            ok = set_name(o->form, "--compression", "compression", optarg);
            break;
        case OPT_OPTION:
            ok = set_option(o->form, optarg);
            break;
        case OPT_ROW_LIMIT:
            ok = set_limit(o->form, "--row-limit", "row_limit", optarg);
            break;
        case OPT_BYTE_LIMIT:
            ok = set_limit(o->form, "--byte-limit", "byte_limit", optarg);
            break;
        case OPT_PRINT_LINK:
            o->print_link = true;
            break;
        case OPT_TIMEOUT:
            ok = parse_seconds("--timeout", optarg, &o->timeout_ms);
            break;
        case OPT_WAIT:
            ok = parse_seconds("--wait", optarg, &o->wait_ms);
            break;
        case 'o':
            o->output = optarg;
            break;
        case OPT_QUIET:
        case 'q':
            o->quiet = true;
            break;
        case OPT_HELP:
        case 'h':
            *ret_code = fputs(help, stdout) < 0 || fflush(stdout) != 0 ? EXIT_WRITE : EXIT_OK;
            return false;
        case ':':
            return usage("%s needs a value", argv[optind - 1]);
        default:
            /* A letter may stand in the middle of its word, which then is not behind us yet. */
            return optopt > 0 && optopt < 256 ? usage("unknown option: -%c", optopt)
                                              : usage("unknown option: %s", argv[optind - 1]);
        }
        if (!ok)
            return false;
    }
    if (optind < argc)
        return usage("'%s' is not an option; a query goes behind --sql", argv[optind]);
    return true;
}

/* What goes into a header line of its own. */
static bool is_identity(const char *text)
{
    size_t len = strlen(text);
    for (size_t i = 0; i < len; i++)
        if ((unsigned char)text[i] < 0x20 || text[i] == 0x7F)
            return false;
    return len > 0 && len <= IDENTITY_MAX;
}

static bool check_options(struct get_options *o, const char *server, struct download *d)
{
    int sources = (o->sql != NULL) + (o->sql_file != NULL) + (o->download != NULL);
    if (sources != 1)
        return usage("give one of --sql, --sql-file and --download");
    if (strncmp(server, "http://", 7) != 0 && strncmp(server, "https://", 8) != 0)
        return usage("--server takes a URL that begins with http:// or https://, not '%s'", server);
    if (!is_identity(o->user))
        return usage("give --user (or DOWNLOADS_USER): up to %d bytes, no control characters", IDENTITY_MAX);
    if (!is_identity(o->org))
        return usage("give --org (or DOWNLOADS_ORG): up to %d bytes, no control characters", IDENTITY_MAX);
    if (o->download && !uuid_parse(o->download, d->id))
        return usage("--download takes an id like 6f1c2f0e-0b7a-4c5e-9d2b-1f2a3b4c5d6e, not '%s'",
                     o->download);
    if (o->download && json_object_size(o->form) > 0)
        return usage("--download fetches a file as it was made: formats, options and limits go with a query");
    if (o->print_link && o->output)
        return usage("--print-link fetches nothing: there is no use for --output");
    size_t len = strlen(server);
    while (len && server[len - 1] == '/')
        len--;
    o->server = strndup(server, len);
    return o->server || usage("out of memory");
}

/* The query, from `o->sql` or its file, as the caller's heap string; NULL when it cannot be had. */
static char *read_sql(const struct get_options *o)
{
    _cleanup_buf_ struct buf sql;
    buf_init(&sql, SQL_MAX);
    if (o->sql) {
        buf_append_text(&sql, o->sql);
    } else {
        bool from_stdin = strcmp(o->sql_file, "-") == 0;
        FILE *file = from_stdin ? stdin : fopen(o->sql_file, "re");
        char chunk[16 * 1024];
        size_t n;
        while (file && buf_ok(&sql) && (n = fread(chunk, 1, sizeof chunk, file)) > 0)
            buf_append(&sql, chunk, n);
        int error = !file || ferror(file) ? errno : 0;
        if (file && !from_stdin)
            fclose(file);
        if (error) {
            usage("cannot read %s: %s", o->sql_file, strerror(error));
            return NULL;
        }
    }
    json_t *text = buf_ok(&sql) && sql.len ? json_stringn(sql.data, sql.len) : NULL;
    bool is_text = text && !memchr(sql.data, '\0', sql.len);
    json_decref(text);
    if (!is_text) {
        usage("the query has to be UTF-8 text of 1 to %d bytes", SQL_MAX);
        return NULL;
    }
    return buf_take(&sql);
}

/* As a word of the shell's. */
static void append_quoted(struct buf *out, const char *option, const char *value)
{
    buf_printf(out, " %s '", option);
    for (; *value; value++)
        if (*value == '\'')
            buf_append_text(out, "'\\''");
        else
            buf_append(out, value, 1);
    buf_append_text(out, "'");
}

/* The download goes on without us: how to come back to it. */
static void say_how_to_resume(struct session *s, const struct get_options *o, const struct download *d)
{
    _cleanup_buf_ struct buf command;
    buf_init(&command, 64 * 1024);
    buf_append_text(&command, PROGRAM);
    append_quoted(&command, "--server", o->server);
    append_quoted(&command, "--user", o->user);
    append_quoted(&command, "--org", o->org);
    buf_printf(&command, " --download %s", d->id);
    if (o->print_link)
        buf_append_text(&command, " --print-link");
    if (o->output)
        append_quoted(&command, "-o", o->output);
    if (buf_ok(&command))
        display_print(&s->display, "The download goes on at the server. To take it up again:\n  %s",
                      command.data);
}

static void say_what_came(struct session *s, const char *path, const struct download *d, int64_t bytes,
                          const char *sha256)
{
    _cleanup_buf_ struct buf text;
    buf_init(&text, 1024);
    if (d->rows >= 0) {
        format_count(&text, d->rows);
        buf_append_text(&text, " rows, ");
    }
    format_count(&text, bytes);
    buf_printf(&text, " bytes in ");
    format_elapsed(&text, clock_monotonic_ms() - s->display.started_ms);
    buf_printf(&text, ", SHA-256 %s%s", sha256, d->sha256 ? "" : " (the server told none)");
    if (s->display.mode != DISPLAY_QUIET && buf_ok(&text))
        display_print(&s->display, "%s: %s", strcmp(path, "-") == 0 ? "standard output" : path, text.data);
}

static enum exit_code fetch(struct session *s, const struct get_options *o, const struct download *d,
                            struct sink *sink)
{
    char by_id[UUID_SIZE + sizeof d->format + 1];
    snprintf(by_id, sizeof by_id, "%s.%s", d->id, d->format[0] ? d->format : "download");
    const char *path = o->output ? o->output : d->name[0] ? d->name : by_id;
    struct error e;
    if (sink->fd < 0 && !sink_open(sink, path, &e)) {
        display_print(&s->display, "%s", e.message);
        return EXIT_WRITE;
    }
    int64_t bytes;
    char sha256[SHA256_HEX_SIZE];
    enum exit_code code = fetch_file(
        s, &(struct fetch_options){.url = d->link, .sha256 = d->sha256 ? d->sha256 : "", .bytes = d->bytes},
        sink, &bytes, sha256);
    if (!code)
        say_what_came(s, path, d, bytes, sha256);
    return code;
}

/* Of those who asked for quiet, too: what is missing is worth a line. */
static void say_truncated(struct session *s, const struct download *d)
{
    _cleanup_buf_ struct buf rows;
    buf_init(&rows, 64);
    if (d->rows >= 0)
        format_count(&rows, d->rows);
    if (rows.len && buf_ok(&rows))
        display_print(&s->display, "the file ends at a limit: %s rows", rows.data);
    else
        display_print(&s->display, "the file ends at a limit");
}

static enum exit_code print_link(const char *link)
{
    return printf("%s\n", link) < 0 || fflush(stdout) != 0 ? EXIT_WRITE : EXIT_OK;
}

static enum exit_code run(struct session *s, const struct get_options *o, const char *sql, struct download *d,
                          struct sink *sink)
{
    enum exit_code code = client_follow(s,
                                        &(struct client_options){.server = o->server,
                                                                 .user = o->user,
                                                                 .org = o->org,
                                                                 .sql = sql,
                                                                 .dataset = o->dataset,
                                                                 .form = o->form},
                                        d);
    bool waits = d->id[0] && !d->link;
    if (!code)
        code = o->print_link ? print_link(d->link) : fetch(s, o, d, sink);
    if (!code && d->truncated)
        say_truncated(s, d);
    bool can_resume =
        code == EXIT_INTERRUPTED || code == EXIT_UNREACHABLE ||
        (code == EXIT_FAILED && s->deadline_ms && clock_monotonic_ms() >= s->deadline_ms && waits);
    if (d->id[0] && can_resume)
        say_how_to_resume(s, o, d);
    return code;
}

int cli_get_main(int argc, char **argv)
{
    setlocale(LC_CTYPE, "");
    json_auto_t *form = json_object();
    struct get_options o = {.form = form,
                            .user = environment("DOWNLOADS_USER", ""),
                            .org = environment("DOWNLOADS_ORG", ""),
                            .dataset = "cli",
                            .wait_ms = DEFAULT_WAIT_S * 1000};
    const char *server = environment("DOWNLOADS_SERVER", "http://127.0.0.1:8000");
    int code;
    if (!parse_options(argc, argv, &o, &server, &code))
        return code;
    struct download d = {0};
    if (!check_options(&o, server, &d))
        return EXIT_USAGE;

    _cleanup_free_ char *base = o.server;
    _cleanup_free_ char *sql = o.download ? NULL : read_sql(&o);
    if (!o.download && !sql)
        return EXIT_USAGE;
    struct error e;
    /* Before the query runs: a folder that is not there is better known at once. */
    _cleanup_(sink_release) struct sink sink = SINK_CLOSED;
    if (o.output && !sink_open(&sink, o.output, &e)) {
        fprintf(stderr, PROGRAM ": %s\n", e.message);
        return EXIT_WRITE;
    }
    struct session s = {.http = http_client_new(&e), .wait_ms = o.wait_ms};
    if (!s.http) {
        fprintf(stderr, PROGRAM ": %s\n", e.message);
        return EXIT_FAILED;
    }
    if (o.timeout_ms)
        s.deadline_ms = clock_monotonic_ms() + o.timeout_ms;
    session_catch_signals();
    display_init(&s.display, o.quiet);
    code = run(&s, &o, sql, &d, &sink);
    display_release(&s.display);
    http_client_free(s.http);
    download_release(&d);
    return code;
}
