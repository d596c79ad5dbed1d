/* The data directory of the embedded stores: jobs.db, files/, tmp/, link.key, spill/. One server a directory. */
#ifndef SERVER_DATA_DIR_H
#define SERVER_DATA_DIR_H

#include "base/error.h"

struct data_dir {
    char *path;       /* absolute, without symbolic links */
    char *jobs_db;    /* paths below it */
    char *link_key;
    char *spill;
    int lock; /* held until release */
};

/* Makes the directory (0700) where it is absent, and takes its lock; ERROR_CONFIG, ERROR_UNAVAILABLE where another server has it. */
MUST_CHECK bool data_dir_open(struct data_dir *ret, const char *path, struct error *e);
void data_dir_release(struct data_dir *d);

#endif
