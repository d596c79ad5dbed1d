#include "server/spill.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#define WALK_FDS 16 /* directories that a walk holds open */

static int remove_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)st;
    (void)type;
    (void)at;
    return remove(path) < 0 && errno != ENOENT ? -1 : 0;
}

bool spill_remove(const char *directory, struct error *e)
{
    /* Symbolic links are removed, not followed. */
    if (nftw(directory, remove_entry, WALK_FDS, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) < 0 && errno != ENOENT)
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot remove a directory of temporary files");
    return true;
}

bool spill_open(const char *root, struct error *e)
{
    if (!spill_remove(root, e))
        return false;
    if (mkdir(root, 0711) < 0)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot make the directory %s", root);
    return true;
}

char *spill_make(const char *root, const char *id, uint32_t attempt, uid_t uid, gid_t gid, struct error *e)
{
    char *path;
    if (asprintf(&path, "%s/%s-%u", root, id, attempt) < 0) {
        error_set(e, ERROR_INTERNAL, "out of memory");
        return NULL;
    }
    if (mkdir(path, 0700) < 0 || ((uid || gid) && chown(path, uid, gid) < 0)) {
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a directory for temporary files");
        rmdir(path);
        free(path);
        return NULL;
    }
    return path;
}

static _Thread_local uint64_t counted; /* nftw() has no argument for it */

static int count_entry(const char *path, const struct stat *st, int type, struct FTW *at)
{
    (void)path;
    (void)at;
    if (type == FTW_F)
        counted += (uint64_t)st->st_blocks * 512;
    return 0;
}

uint64_t spill_usage(const char *directory)
{
    counted = 0;
    nftw(directory, count_entry, WALK_FDS, FTW_PHYS | FTW_MOUNT);
    return counted;
}
