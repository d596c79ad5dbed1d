#include <stdlib.h>
#include <zstd.h>
#include <zstd_errors.h>

#include "base/mailbox.h"
#include "worker/packer.h"

/* As small as gzip -6 in a tenth of its time; 3, the usual one, takes nearly twice the time for 3 % of the file, and half as
 * much again of numbers (docs/decisions/compression.md). */
#define LEVEL 1

/* What one thread compresses by itself. Set, so that the file does not follow the number of threads or the library's choice. */
#define JOB_SIZE (1 << 20)

/* Of the library: each has a stack of 8 MiB and some 3 MiB of buffers; sandbox.c reckons with 8. */
#define THREADS_MAX 8

#define OUT_SIZE ((size_t)128 << 10)

struct zstd {
    struct packer packer;
    struct output *output;
    ZSTD_CCtx *context;
    uint8_t out[OUT_SIZE];
};

static struct zstd *zstd_of(struct packer *p)
{
    return CONTAINER_OF(p, struct zstd, packer);
}

static bool failed(size_t status, struct error *e)
{
    if (!ZSTD_isError(status))
        return false;
    if (ZSTD_getErrorCode(status) == ZSTD_error_memory_allocation)
        error_set(e, ERROR_MEMORY, "out of memory");
    else
        error_set(e, ERROR_INTERNAL, "cannot compress: %s", ZSTD_getErrorName(status));
    return true;
}

/* One step, and out with what it gave. `ret_left`: 0 once the frame is at its end. */
static bool compress_step(struct zstd *z, ZSTD_inBuffer *in, ZSTD_EndDirective directive, size_t *ret_left, struct error *e)
{
    ZSTD_outBuffer out = {.dst = z->out, .size = sizeof z->out};
    size_t left = ZSTD_compressStream2(z->context, &out, in, directive);
    if (failed(left, e))
        return false;
    *ret_left = left;
    return output_write(z->output, z->out, out.pos, e);
}

static bool zstd_rows(struct packer *p, const void *data, size_t length, struct error *e)
{
    struct zstd *z = zstd_of(p);
    ZSTD_inBuffer in = {.src = data, .size = length};
    size_t left;
    if (!output_scan(z->output, data, length, e))
        return false;
    while (in.pos < in.size)
        if (!compress_step(z, &in, ZSTD_e_continue, &left, e))
            return false;
    return true;
}

/* The library takes another way where the first it hears of is the end: so it hears of the beginning, even of an empty one. */
static bool zstd_begin(struct packer *p, const void *data, size_t length, struct error *e)
{
    ZSTD_inBuffer nothing = {.src = NULL};
    size_t left;
    return compress_step(zstd_of(p), &nothing, ZSTD_e_continue, &left, e) && zstd_rows(p, data, length, e);
}

static bool zstd_end(struct packer *p, const void *data, size_t length, struct error *e)
{
    ZSTD_inBuffer nothing = {.src = NULL};
    size_t left = 1;
    if (!zstd_rows(p, data, length, e))
        return false;
    while (left > 0)
        if (!compress_step(zstd_of(p), &nothing, ZSTD_e_end, &left, e))
            return false;
    return true;
}

static void zstd_free(struct packer *p)
{
    struct zstd *z = zstd_of(p);
    ZSTD_freeCCtx(z->context);
    free(z);
}

static const struct packer_api zstd_api = {.begin = zstd_begin, .rows = zstd_rows, .end = zstd_end, .free = zstd_free};

static bool set_up(struct zstd *z, uint32_t threads, struct error *e)
{
    const struct {
        ZSTD_cParameter parameter;
        int value;
    } parameters[] = {
        {ZSTD_c_compressionLevel, LEVEL},
        {ZSTD_c_checksumFlag, 1},
        {ZSTD_c_nbWorkers, (int)(threads < THREADS_MAX ? threads : THREADS_MAX)},
        {ZSTD_c_jobSize, JOB_SIZE},
    };
    z->context = ZSTD_createCCtx();
    if (!z->context)
        return error_set(e, ERROR_MEMORY, "out of memory");
    for (size_t i = 0; i < ARRAY_SIZE(parameters); i++)
        if (failed(ZSTD_CCtx_setParameter(z->context, parameters[i].parameter, parameters[i].value), e))
            return false;
    return true;
}

struct packer *zstd_new(struct output *output, uint32_t threads, struct error *e)
{
    struct zstd *z = calloc(1, sizeof *z);
    if (!z) {
        error_set(e, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    z->packer.api = &zstd_api;
    z->output = output;
    if (set_up(z, threads, e))
        return &z->packer;
    zstd_free(&z->packer);
    return NULL;
}
