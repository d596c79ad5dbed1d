/* downloads-worker: one job, in a box, for downloads-server. By hand it only answers questions. */
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "link/message.h"
#include "worker/engine.h"
#include "worker/extension.h"
#include "worker/job.h"
#include "worker/sandbox.h"

/* Only for --check-source, which reads no data. */
#define CHECK_MEMORY (256ull << 20)

static const char usage[] =
    "Usage: downloads-worker [OPTION]\n"
    "Runs one query in a sandbox and hands its result to downloads-server, which starts it.\n"
    "\n"
    "  --check-sandbox      what this machine can do, a line a part; exit 0 if the whole sandbox can be had\n"
    "  --check-source FILE  opens a DuckDB file read-only; prints ok, or why not and exits 1\n"
    "  --check-source -     the same for the source that downloads-server describes on descriptor 3\n"
    "  --check-extension DIRECTORY\n"
    "                       is MotherDuck's extension there, and for this engine? Prints it, or why not and exits 1\n"
    "  --version            prints the version\n"
    "  --help               prints this\n";

static int check_extension(const char *directory)
{
    struct error e = {0};
    bool ok = extension_check(directory, engine_version(), engine_platform(), &e);
    if (ok)
        printf("MotherDuck's extension for DuckDB %s (%s)\n", engine_version(), engine_platform());
    else
        puts(e.message);
    return ok ? 0 : 1;
}

/* The process ends without an orderly end of the engine, as that of a job. */
static _Noreturn void check_described_source(void)
{
    struct error e = {0};
    sandbox_begin();
    bool ok = job_check_source(&e);
    puts(ok ? "ok" : e.message);
    fflush(stdout);
    _exit(ok ? 0 : 1);
}

static int check_source(const char *path)
{
    struct error e = {0};
    if (strcmp(path, "-") == 0)
        check_described_source();
    struct engine *engine = engine_open(path, CHECK_MEMORY, 1, &e);
    puts(engine ? "ok" : e.message);
    engine_free(engine);
    return engine ? 0 : 1;
}

static int serve(void)
{
    int type = 0;
    socklen_t size = sizeof type;
    if (getsockopt(LINK_WORKER_FD, SOL_SOCKET, SO_TYPE, &type, &size) < 0 || type != SOCK_SEQPACKET) {
        fputs("downloads-worker is started by downloads-server; see --help\n", stderr);
        return 2;
    }
    sandbox_begin();
    job_serve();
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"check-sandbox", no_argument, NULL, 'b'},
        {"check-source", required_argument, NULL, 's'},
        {"check-extension", required_argument, NULL, 'e'},
        {"version", no_argument, NULL, 'v'},
        {"help", no_argument, NULL, 'h'},
        {NULL, 0, NULL, 0},
    };
    int option = getopt_long(argc, argv, "", options, NULL);
    if (option == -1 && optind == argc)
        return serve();
    switch (option) {
    case 'b':
        return sandbox_describe(stdout) ? 0 : 1;
    case 's':
        return check_source(optarg);
    case 'e':
        return check_extension(optarg);
    case 'v':
        puts("downloads-worker " VERSION);
        return 0;
    case 'h':
        fputs(usage, stdout);
        return 0;
    default:
        fputs(usage, stderr);
        return 2;
    }
}
