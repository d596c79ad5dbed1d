#include "object/secret_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/digest.h"

#define HEX_MAX (2 * SECRET_FILE_MAX)

static bool decode_hex(const char *hex, uint8_t *out, size_t size)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < 2 * size; i++) {
        const char *digit = memchr(digits, hex[i], sizeof digits - 1);
        if (!digit)
            return false;
        uint8_t value = (uint8_t)(digit - digits);
        out[i / 2] = (uint8_t)(i % 2 ? out[i / 2] | value : value << 4);
    }
    return true;
}

static bool read_secret(int fd, uint8_t *ret_secret, size_t size, struct error *e)
{
    struct stat st;
    if (fstat(fd, &st) < 0)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot read the link key file");
    if (st.st_mode & 077)
        return error_set(e, ERROR_CONFIG, "the link key file may be read by others: set its mode to 0600");
    char hex[HEX_MAX + 2]; /* one byte more than the longest that is right: a line feed at its end is fine */
    ssize_t length = read(fd, hex, sizeof hex);
    if (length > 0 && hex[length - 1] == '\n')
        length--;
    uint8_t secret[SECRET_FILE_MAX];
    if (length != (ssize_t)(2 * size) || !decode_hex(hex, secret, size))
        return error_set(e, ERROR_CONFIG, "the link key file is not %zu lower-case hex digits", 2 * size);
    memcpy(ret_secret, secret, size);
    return true;
}

/* The file gets its name only when it is whole and on disk. */
static bool write_secret(const char *path, const uint8_t *secret, size_t size, struct error *e)
{
    char hex[HEX_MAX + 1];
    hex_encode(secret, size, hex);
    _cleanup_free_ char *directory_of = strdup(path);
    _cleanup_free_ char *new_path = NULL;
    if (!directory_of || asprintf(&new_path, "%s.new", path) < 0)
        return error_set(e, ERROR_INTERNAL, "out of memory");

    unlink(new_path); /* an earlier process may have died right here */
    _cleanup_close_ int fd = open(new_path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, hex, 2 * size) != (ssize_t)(2 * size) || fsync(fd) < 0 ||
        rename(new_path, path) < 0)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot write the link key file");
    _cleanup_close_ int directory = open(dirname(directory_of), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (directory < 0 || fsync(directory) < 0)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot write the link key file");
    return true;
}

bool secret_file_load(const char *path, uint8_t *ret_secret, size_t size, struct error *e)
{
    assert(size <= SECRET_FILE_MAX);
    _cleanup_close_ int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd >= 0)
        return read_secret(fd, ret_secret, size, e);
    if (errno != ENOENT)
        return error_set_errno(e, ERROR_CONFIG, errno, "cannot read the link key file");
    uint8_t secret[SECRET_FILE_MAX];
    if (!random_bytes(secret, size, e) || !write_secret(path, secret, size, e))
        return false;
    memcpy(ret_secret, secret, size);
    return true;
}
