#include "link/sealed_json.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static bool write_all(int fd, const char *data, size_t len)
{
    while (len > 0) {
        ssize_t n = write(fd, data, len);
        if (n < 0 && errno != EINTR)
            return false;
        if (n > 0) {
            data += n;
            len -= (size_t)n;
        }
    }
    return true;
}

int sealed_json_write(const char *name, json_t *object, const json_error_t *pack_error, struct error *e)
{
    char *text = object ? json_dumps(object, JSON_COMPACT) : NULL;
    json_decref(object);
    if (!text) {
        error_set(e, ERROR_INVALID, "the job cannot be described: %s", pack_error->text);
        return -1;
    }
    size_t length = strlen(text);
    _cleanup_close_ int fd = memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING);
    bool ok = fd >= 0 && write_all(fd, text, length) &&
              fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) == 0;
    if (!ok)
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a memory file");
    explicit_bzero(text, length); /* it may hold a token */
    free(text);
    return ok ? TAKE_FD(fd) : -1;
}

json_t *sealed_json_read(int fd, size_t max, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0 || st.st_size <= 0 || (size_t)st.st_size > max) {
        error_set(e, ERROR_INTERNAL, "a specification of impossible size");
        return NULL;
    }
    size_t size = (size_t)st.st_size;
    void *text = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    if (text == MAP_FAILED) {
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot map a specification");
        return NULL;
    }
    json_error_t why = {.text = ""};
    json_t *o = json_loadb(text, size, 0, &why);
    munmap(text, size);
    if (!o)
        error_set(e, ERROR_INTERNAL, "a specification cannot be read: %s", why.text);
    return o;
}
