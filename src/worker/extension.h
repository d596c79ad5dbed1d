/* MotherDuck's extension of the engine, before the engine sees it: is it there, and for this engine?
 *
 * The engine looks for `<directory>/<version>/<platform>/motherduck.duckdb_extension`. It gets a neutral
 * directory, like a source (source.h): one of links in the current directory (the job's own). So SQL sees no
 * path of the server, and what the extension writes beside itself (it fetches its client there) is scratch of
 * this one process. */
#ifndef WORKER_EXTENSION_H
#define WORKER_EXTENSION_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "worker/source.h"

#define EXTENSION_DIRECTORY JOB_DIRECTORY "/extensions"

/* The last bytes of every extension: eight fields of 32, then 256 of signature. As the engine (1.5.5) reads them in
 * https://github.com/duckdb/duckdb/blob/v1.5.5/src/main/extension/extension_load.cpp */
#define EXTENSION_FOOTER 512

struct extension_footer {
    char engine_version[33], platform[33], extension_version[33];
};

/* False: this is no extension. Bytes that are not printable are told as '?'. Pure. */
MUST_CHECK bool extension_parse_footer(const uint8_t data[EXTENSION_FOOTER], struct extension_footer *ret);

/* Makes EXTENSION_DIRECTORY with a link to each file that is in `directory` for this engine, for user `uid`
 * where that is not 0. A client of MotherDuck among them is the one that the extension will use (by this
 * process's environment); else it fetches one. What is not there is no error: extension_check() tells. */
MUST_CHECK bool extension_link(const char *directory, const char *version, const char *platform, uint32_t uid,
                               uint32_t gid, struct error *e);

/* ERROR_SOURCE where the extension is absent, not readable for this user, or for another engine; says what to
 * do. Its signature is the engine's to check. */
MUST_CHECK bool extension_check(const char *directory, const char *version, const char *platform,
                                struct error *e);

#endif
