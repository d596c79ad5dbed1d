/* The template of the workers for a DuckDB file (worker/template.h): one process that has opened the file and makes those of the jobs.
 *
 * It is started by a job that finds none. Each job's look at the file says whether the template has the file as it is now: if not, that
 * job gets a new one, and the old one ends. It ends as well when no job has come for idle_ms, or somebody tried to write the file, since
 * an open file keeps writers out; and when a process that it made has crashed: its copies lie in memory as it does, and nobody shall find out where by trying. Where there is
 * none (an old kernel, a file system without locks, trouble) a job starts its worker by exec. All on the event loop, but source_look_at(). */
#ifndef SERVER_WORKER_TEMPLATE_H
#define SERVER_WORKER_TEMPLATE_H

#include <sys/stat.h>

#include "base/task_queue.h"
#include "link/worker_spec.h"
#include "server/supervisor.h"

/* What a change of the source changes: the file's, and its write-ahead log's. All zero where there is none. */
struct source_look {
    struct source_file {
        dev_t device;
        ino_t inode;
        off_t size;
        struct timespec modified, changed;
    } file, wal;
};

/* Blocks, as long as the file system likes: for a thread of a pool. */
struct source_look source_look_at(const char *path);

struct worker_template;

struct worker_template_options {
    struct event_base *base;
    struct task_queue *housekeeping; /* removes its directory */
    const char *program, *spill_root;
    const struct worker_spec *spec; /* of all workers: all but spill_dir */
    uint64_t open_timeout_ms;       /* a template that has not opened the file by then is killed */
    uint64_t idle_ms;
};

/* The texts are needed as long as it. Nothing is started yet. */
struct worker_template *worker_template_new(const struct worker_template_options *options, struct error *e);

/* Ends what is left and waits for that; no event comes any more. To be called when housekeeping is over. NULL is fine. */
void worker_template_free(struct worker_template *t);

/* A worker for a job that saw `look`, with `directory` (in spill_root) as its own, as by worker_process_fork(). NULL: there is to be none,
 * start one by exec. */
struct worker_process *worker_template_fork(struct worker_template *t, const struct source_look *look, const char *directory,
                                            const struct worker_process_options *options);

/* The shutdown: what has been asked for is made, and nothing more. */
void worker_template_stop(struct worker_template *t);

#endif
