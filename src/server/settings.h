/* What the server works with: the configuration, with the defaults that depend on the machine filled in. */
#ifndef SERVER_SETTINGS_H
#define SERVER_SETTINGS_H

#include <sys/types.h>

#include "base/config.h"
#include "link/worker_spec.h"

struct settings {
    struct config config;
    char *worker_program;
    char *extension_dir; /* absolute; of MotherDuck's extension */
    const char *host; /* to listen on; "" is every address */
    uint64_t worker_memory;
    unsigned worker_threads;
    uid_t worker_uid; /* 0: the server's own */
    gid_t worker_gid;
    enum sandbox_mode sandbox;
    unsigned max_connections;
    uint64_t org_max_queued; /* at least 1 */
    struct buf notes; /* lines for people: what is odd, what is missing */
};

/* Every wrong or missing value is a line in `problems`; false if there is one. Raises the limit of descriptors. */
MUST_CHECK bool settings_load(struct settings *ret, struct buf *problems);
void settings_release(struct settings *s);

/* What every worker is to be, all but its spill_dir. Texts stay the settings'. */
void settings_describe_worker(const struct settings *s, struct worker_spec *ret);

#endif
