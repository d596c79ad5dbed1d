/* What a worker that has opened its source is told about its job: one JSON object in a sealed memory file, sent with START
 * (message.h). A file and not a message, since the SQL may have 4 MiB; never the environment or arguments, which others
 * can read. */
#ifndef LINK_JOB_SPEC_H
#define LINK_JOB_SPEC_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "format/file_form.h"

#define JOB_SPEC_SQL_MAX (4 * 1024 * 1024)

struct job_spec {
    char *sql;    /* at most JOB_SPEC_SQL_MAX bytes */
    struct file_form form;
    uint32_t part_count;
    uint64_t part_size; /* bytes */
    bool hash_parts;    /* PART carries the SHA-256 of its bytes */
};

/* Server: writes the specification into a new sealed memory file. -1: `e` says why. The descriptor is the caller's. */
int job_spec_seal(const struct job_spec *spec, struct error *e);

/* Worker: reads it. `fd` stays the caller's. Release with job_spec_release(). */
MUST_CHECK bool job_spec_read(int fd, struct job_spec *ret_spec, struct error *e);
void job_spec_release(struct job_spec *spec);

#endif
