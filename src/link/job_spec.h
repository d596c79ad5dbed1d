/* What a worker is told about its job: one JSON object in a sealed memory file, sent with START (message.h).
 * A file and not a message, since the SQL may have 4 MiB; never the environment or arguments, which others can read. */
#ifndef LINK_JOB_SPEC_H
#define LINK_JOB_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

enum sandbox_mode {
    SANDBOX_REQUIRED,    /* a part of the box that cannot be had fails the job */
    SANDBOX_BEST_EFFORT, /* what the kernel has is used */
    SANDBOX_OFF,         /* for debugging only: the SQL has the process's rights */
};

#define JOB_SPEC_SQL_MAX (4 * 1024 * 1024)

struct job_spec {
    char *sql;         /* at most JOB_SPEC_SQL_MAX bytes */
    char *source_path; /* the DuckDB file, absolute */
    char *spill_dir;   /* absolute; exists, empty, belongs to `uid` where that is set */
    char *format;      /* "csv" */
    uint64_t memory_limit; /* bytes, for the engine; RLIMIT_DATA follows from it (sandbox.c) */
    uint64_t spill_limit;  /* bytes of temporary files */
    uint64_t source_wait_ms; /* how long a source that another process holds for writing is tried again */
    uint32_t threads;        /* of the engine */
    uint32_t uid, gid;       /* to become after the source is open; 0: stay */
    uint32_t part_count;
    uint64_t part_size; /* bytes */
    bool hash_parts;    /* PART carries the SHA-256 of its bytes */
    enum sandbox_mode sandbox;
};

/* Server: writes the specification into a new sealed memory file. -1: `e` says why. The descriptor is the caller's. */
int job_spec_seal(const struct job_spec *spec, struct error *e);

/* Worker: reads it. `fd` stays the caller's. Release with job_spec_release(). */
MUST_CHECK bool job_spec_read(int fd, struct job_spec *ret_spec, struct error *e);
void job_spec_release(struct job_spec *spec);

#endif
