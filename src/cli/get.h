/* `downloads-server get`: runs a query on a server and fetches its result. */
#ifndef CLI_GET_H
#define CLI_GET_H

/* The whole subcommand: argv[0] is its name. Returns the exit code of exit_code.h. To be called before
 * threads start; it sets signal handlers and the locale. */
int cli_get_main(int argc, char **argv);

#endif
