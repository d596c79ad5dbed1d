#include "link/parts.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#define SEALS (F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_SEAL)

static struct parts *map(int fd, uint32_t count, size_t size, struct error *e)
{
    struct parts *p = malloc(sizeof *p);
    void *base = p ? mmap(NULL, count * size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0) : MAP_FAILED;
    if (base == MAP_FAILED) {
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot map %u part buffers of %zu bytes", count, size);
        free(p);
        close(fd);
        return NULL;
    }
    *p = (struct parts){.fd = fd, .count = count, .size = size, .base = base};
    return p;
}

struct parts *parts_new(uint32_t count, size_t size, struct error *e)
{
    _cleanup_close_ int fd = memfd_create("parts", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    if (fd < 0 || ftruncate(fd, (off_t)(count * size)) < 0 || fcntl(fd, F_ADD_SEALS, SEALS) < 0) {
        error_set_errno(e, ERROR_INTERNAL, errno, "cannot make a memory file");
        return NULL;
    }
    return map(TAKE_FD(fd), count, size, e);
}

struct parts *parts_map(int fd, uint32_t count, size_t size, struct error *e)
{
    struct stat st;
    if (count < 2 || count > PARTS_MAX_BUFFERS || fstat(fd, &st) < 0 || (uint64_t)st.st_size != count * size ||
        (fcntl(fd, F_GET_SEALS) & SEALS) != SEALS) {
        error_set(e, ERROR_INTERNAL, "the part buffers are not what was announced");
        close(fd);
        return NULL;
    }
    return map(fd, count, size, e);
}

void parts_close_fd(struct parts *p)
{
    if (p->fd >= 0)
        close(p->fd);
    p->fd = -1;
}

void parts_free(struct parts *p)
{
    if (!p)
        return;
    munmap(p->base, p->count * p->size);
    parts_close_fd(p);
    free(p);
}

const struct parts *part_buffers_find(const struct part_buffers *b, uint32_t index, uint32_t *ret_place)
{
    const struct parts *p = b->first;
    if (index >= p->count && b->grown) {
        index -= p->count;
        p = b->grown;
    }
    *ret_place = index;
    return index < p->count ? p : NULL;
}
