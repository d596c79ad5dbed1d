#include <stdlib.h>

#include "base/mailbox.h"
#include "worker/deflate_pool.h"
#include "worker/packer.h"

struct gzip {
    struct packer packer;
    struct output *output;
    struct deflate_pool *pool;
};

static struct gzip *gzip_of(const struct packer *p)
{
    return CONTAINER_OF((struct packer *)p, struct gzip, packer);
}

static bool take(void *output, const void *data, size_t length, struct error *e)
{
    return output_write(output, data, length, e);
}

static bool gzip_rows(struct packer *p, const void *data, size_t length, struct error *e)
{
    struct gzip *g = gzip_of(p);
    return output_scan(g->output, data, length, e) && deflate_pool_write(g->pool, data, length, e);
}

/* RFC 1952, 2.3: no flags, no time, no extra flags, of an unknown system. */
static bool gzip_begin(struct packer *p, const void *data, size_t length, struct error *e)
{
    static const uint8_t header[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255};
    return output_write(gzip_of(p)->output, header, sizeof header, e) && gzip_rows(p, data, length, e);
}

static void put_le32(uint8_t *to, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        to[i] = (uint8_t)(value >> (8 * i));
}

static bool gzip_end(struct packer *p, const void *data, size_t length, struct error *e)
{
    struct gzip *g = gzip_of(p);
    struct deflate_sums sums;
    uint8_t trailer[8];
    if (!gzip_rows(p, data, length, e) || !deflate_pool_finish(g->pool, &sums, e))
        return false;
    put_le32(trailer, sums.crc32);
    put_le32(trailer + 4, (uint32_t)sums.in); /* modulo 2^32: RFC 1952, 2.3.1 */
    return output_write(g->output, trailer, sizeof trailer, e);
}

static void gzip_free(struct packer *p)
{
    struct gzip *g = gzip_of(p);
    deflate_pool_free(g->pool);
    free(g);
}

static uint64_t gzip_cpu_ns(const struct packer *p)
{
    return deflate_pool_cpu_ns(gzip_of(p)->pool);
}

static const struct packer_api gzip_api = {
    .begin = gzip_begin, .rows = gzip_rows, .end = gzip_end, .free = gzip_free, .cpu_ns = gzip_cpu_ns};

struct packer *gzip_new(struct output *output, uint32_t threads, struct error *e)
{
    struct gzip *g = calloc(1, sizeof *g);
    if (!g) {
        error_set(e, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    g->packer.api = &gzip_api;
    g->output = output;
    g->pool = deflate_pool_new(threads, take, output, e);
    if (g->pool)
        return &g->packer;
    free(g);
    return NULL;
}
