/* Plays the server to one real worker process, for tests: starts it as the server does (no environment, four
 * descriptors), hands it a job, takes its parts, and holds it to every rule of link/message.h. */
#ifndef TESTS_PLAY_SERVER_H
#define TESTS_PLAY_SERVER_H

#include <stdbool.h>
#include <stdint.h>

#include "base/digest.h"
#include "link/job_spec.h"
#include "link/message.h"
#include "link/worker_spec.h"

struct play_options {
    const char *worker;    /* the program */
    bool template;         /* starts a template, which makes the worker */
    struct worker_spec worker_spec; /* spill_dir is made by play_server() */
    struct job_spec spec;
    uint64_t cancel_after; /* bytes of parts after which CANCEL is sent; UINT64_MAX: never. 0: with START */
    uint64_t kill_after;   /* the same for SIGKILL */
    uint32_t slow_ms;      /* each buffer is kept this long */
    int deadline_ms;
    /* Takes the file's bytes in order; may be NULL. false: give up. */
    bool (*take)(void *context, const uint8_t *data, size_t length);
    void *context;
};

struct play_result {
    bool done; /* DONE came; else `error` is what FAILED said */
    struct error error;
    char broken[512]; /* not empty: the worker broke this rule, or it died */
    uint64_t rows, bytes;
    uint64_t parts;
    uint8_t digest[SHA256_BYTES]; /* of the bytes, taken here */
    int wait_status;
    uint64_t cpu_us[LINK_STAGES]; /* of the worker, as it says */
    uint64_t altered;
    bool truncated;
    char columns[LINK_COLUMNS_MAX + 1]; /* as JSON */
    double wall_s, cpu_s;
    uint64_t peak_rss_anon; /* bytes, sampled */
    uint32_t threads;       /* the most that were seen */
    bool box_seen;          /* /proc was looked at while rows streamed */
    bool boxed;             /* no_new_privs, a filter and no capability on every thread, each time */
    uint64_t progress;      /* PROGRESS messages */
    double percent;         /* the highest told */
    uint32_t spill_left;    /* entries in the spill directory at the end */
    int64_t cancel_ms;      /* from CANCEL to the worker's end; -1: none was sent */
};

/* false: the test's own surroundings failed, `e` says how. A worker that misbehaves is a result. */
bool play_server(const struct play_options *o, struct play_result *ret, struct error *e);

#endif
