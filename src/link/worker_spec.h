/* What a worker is told before it knows its job: its source, its limits and its box. One JSON object in a sealed memory file,
 * sent with OPEN (message.h). It carries MotherDuck's token: hence never the environment or arguments, which others can
 * read.
 *
 * A template (worker/template.h) is a worker that opens a DuckDB file and then makes a process for each job. */
#ifndef LINK_WORKER_SPEC_H
#define LINK_WORKER_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/config.h"
#include "base/error.h"

enum sandbox_mode {
    SANDBOX_REQUIRED,    /* a part of the box that cannot be had fails the job */
    SANDBOX_BEST_EFFORT, /* what the kernel has is used */
    SANDBOX_OFF,         /* for debugging only: the SQL has the process's rights */
};

/* Texts that a source does not need are "" after worker_spec_read(), and may be NULL before worker_spec_seal(). */
struct worker_spec {
    enum source_kind source;

    /* SOURCE_DUCKDB */
    char *source_path;       /* the file, absolute */
    uint64_t source_wait_ms; /* how long a file that another process holds for writing is tried again */

    /* SOURCE_MOTHERDUCK */
    char *database, *token;
    char *extension_dir;      /* absolute; holds v<engine>/<platform>/motherduck.duckdb_extension */
    bool unsigned_extensions; /* for tests with a stand-in */

    char *spill_dir;       /* absolute; exists, empty, belongs to `uid` where that is set */
    uint64_t memory_limit; /* bytes, for the engine; RLIMIT_DATA follows from it (sandbox.c) */
    uint64_t spill_limit;  /* bytes of temporary files */
    uint32_t threads;      /* of the engine */
    uint32_t uid, gid;     /* whom to become; 0: stay */
    enum sandbox_mode sandbox;
    bool is_template; /* its jobs' directories lie beside spill_dir; SOURCE_DUCKDB only */
};

/* Server: writes the specification into a new sealed memory file. -1: `e` says why. The descriptor is the caller's. */
int worker_spec_seal(const struct worker_spec *spec, struct error *e);

/* Worker: reads it. `fd` stays the caller's. Release with worker_spec_release(). */
MUST_CHECK bool worker_spec_read(int fd, struct worker_spec *ret_spec, struct error *e);
void worker_spec_release(struct worker_spec *spec); /* wipes the token */

#endif
