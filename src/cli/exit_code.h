/* How `get` ends, for scripts: part of the interface, never renumbered. */
#ifndef CLI_EXIT_CODE_H
#define CLI_EXIT_CODE_H

enum exit_code {
    EXIT_OK = 0,
    EXIT_FAILED = 1,      /* the server refused the download, or it failed, or --timeout passed */
    EXIT_USAGE = 2,       /* options */
    EXIT_UNREACHABLE = 3, /* no server, or one that stayed busy or unreachable for --wait */
    EXIT_INTEGRITY = 4,   /* the file that came is not the one that was announced */
    EXIT_WRITE = 5,       /* the file cannot be written */
    EXIT_INTERRUPTED = 130
};

#endif
