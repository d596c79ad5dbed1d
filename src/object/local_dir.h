/* The directory behind the local store, as local.c uses it: plain, blocking file work, on its threads.
 *
 * Every path is one checked name relative to an open directory, and no symbolic link is followed: nothing in
 * a key, and nothing planted in the directory, leads out of it. Errors are ERROR_STORAGE unless named,
 * without a path of the server. No function keeps state of its own: calls for different files may run beside
 * each other. */
#ifndef OBJECT_LOCAL_DIR_H
#define OBJECT_LOCAL_DIR_H

#include "object/store.h"

struct local_dir {
    int files, tmp; /* -1: not open */
};

/* A key, taken apart into names that cannot leave their directory. */
struct local_place {
    char organisation[OBJECT_LOCAL_SEGMENT_MAX + 1];
    char name[OBJECT_LOCAL_SEGMENT_MAX + 1];
};

/* ERROR_INVALID: the store cannot have such a key. Pure. */
MUST_CHECK bool local_place_parse(const char *key, struct local_place *ret, struct error *e);

/* Makes files/ and tmp/ below `path`, and clears tmp/. ERROR_CONFIG; release it then too. */
MUST_CHECK bool local_dir_open(struct local_dir *d, const char *path, struct error *e);
void local_dir_release(struct local_dir *d);

/* Can a file be written there? */
MUST_CHECK bool local_dir_check(const struct local_dir *d, struct error *e);

/* ERROR_NOT_FOUND: there is no such file, or something else in its place. */
MUST_CHECK bool local_dir_read(const struct local_dir *d, const struct local_place *place,
                               struct object_local_file *ret, struct error *e);

/* An absent object is a success. On disk when it returns. */
MUST_CHECK bool local_dir_remove(const struct local_dir *d, const struct local_place *place, struct error *e);

#define LOCAL_TEMPORARY_SIZE (2 * 16 + 1) /* 16 random bytes as hex */

/* A file on its way: made in tmp/ by its first write or its finish, then moved to its place. After a failure
 * it is to be discarded. Zero but for the descriptor at first. */
struct local_upload {
    int fd; /* -1 before the first byte and after the end */
    enum { LOCAL_NOWHERE, LOCAL_IN_TMP, LOCAL_IN_PLACE } where;
    char temporary[LOCAL_TEMPORARY_SIZE];
    uint64_t written; /* bytes given to the kernel */
    uint64_t settled; /* of these, bytes known to be on disk */
    unsigned char last_byte;
};

MUST_CHECK bool local_upload_write(struct local_upload *u, const struct local_dir *d, const void *data,
                                   size_t length, struct error *e);

/* On success the file is in its place, whole (it has `total` bytes and ends as it was written) and on disk,
 * and closed. A file that is there already is an error, and stays. */
MUST_CHECK bool local_upload_finish(struct local_upload *u, const struct local_dir *d,
                                    const struct local_place *place, uint64_t total, struct error *e);

/* Nothing of the file is left, wherever it was. What cannot be unlinked in tmp/ goes with the next opening.
 */
void local_upload_discard(struct local_upload *u, const struct local_dir *d, const struct local_place *place);

#endif
