/* downloads-server: the program's front door. */
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/config.h"
#include "cli/get.h"
#include "server/check_config.h"
#include "server/serve.h"

static const char usage[] =
    "Usage: downloads-server [serve] [--check-config | --help]\n"
    "       downloads-server get --server URL --user U --org O --sql '...' [-o FILE]\n"
    "       downloads-server version\n"
    "\n"
    "SQL in, a finished file and a link out.\n"
    "\n"
    "  serve     runs the service (the default); `serve --help` lists its variables\n"
    "  get       posts a query, shows how it goes, fetches the file; `get --help`\n"
    "  version   prints the version\n";

static const char serve_usage[] =
    "Usage: downloads-server serve [OPTION]\n"
    "Runs the service, configured by the environment and by the file config.env in the current directory.\n"
    "\n"
    "  --check-config   reads the configuration, says whether each dependency answers, and ends\n"
    "  --print-names    prints the names of all variables\n"
    "  --help           prints this\n"
    "\n"
    "Variables:\n";

static int run_serve(bool check_only)
{
    struct buf problems;
    struct settings settings;
    buf_init(&problems, 256 * 1024);
    int status = 2;
    if (settings_load(&settings, &problems)) {
        status = check_only ? check_config(&settings) : serve(&settings);
        settings_release(&settings);
    } else {
        fprintf(stderr, "downloads-server: the configuration cannot be used:\n%s", problems.data ? problems.data : "");
    }
    buf_release(&problems);
    return status;
}

/* Where a standard descriptor is closed, a file of ours would get its number, and the log be written into that. */
static void fill_standard_descriptors(void)
{
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++)
        if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", O_RDWR) != fd) /* the lowest that is free */
            _exit(1);
}

static int serve_main(int argc, char **argv)
{
    static const struct option options[] = {{"check-config", no_argument, NULL, 'c'},
                                            {"print-names", no_argument, NULL, 'n'},
                                            {"help", no_argument, NULL, 'h'},
                                            {NULL, 0, NULL, 0}};
    int option = getopt_long(argc, argv, "h", options, NULL);
    if (option == '?' || optind < argc) {
        if (option != '?')
            fprintf(stderr, "downloads-server: unexpected argument '%s'\n", argv[optind]);
        fputs("Try 'downloads-server serve --help'.\n", stderr);
        return 2;
    }
    switch (option) {
    case 'n':
        config_print_names(stdout);
        return 0;
    case 'h':
        fputs(serve_usage, stdout);
        config_print_help(stdout);
        return 0;
    default:
        return run_serve(option == 'c');
    }
}

int main(int argc, char **argv)
{
    const char *command = argc > 1 ? argv[1] : "serve";
    fill_standard_descriptors();
    if (!strcmp(command, "--help") || !strcmp(command, "-h") || !strcmp(command, "help")) {
        fputs(usage, stdout);
        return 0;
    }
    if (!strcmp(command, "version") || !strcmp(command, "--version")) {
        bool extra = argc > 2 && strcmp(argv[2], "--help") != 0;
        fputs(extra ? usage : "downloads-server " VERSION "\n", extra ? stderr : stdout);
        return extra ? 2 : 0;
    }
    if (!strcmp(command, "get"))
        return cli_get_main(argc - 1, argv + 1);
    if (!strcmp(command, "serve"))
        return serve_main(argc > 1 ? argc - 1 : argc, argc > 1 ? argv + 1 : argv);
    if (command[0] == '-')
        return serve_main(argc, argv);
    fprintf(stderr, "downloads-server: unknown command '%s'\n%s", command, usage);
    return 2;
}
