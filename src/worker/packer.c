#include "worker/packer.h"

#include <stdlib.h>

#include "base/mailbox.h"
#include "worker/workbook.h"

/* --- as they are --- */

struct plain {
    struct packer packer;
    struct output *output;
};

static bool plain_write(struct packer *p, const void *data, size_t length, struct error *e)
{
    return output_write(CONTAINER_OF(p, struct plain, packer)->output, data, length, e);
}

static void plain_free(struct packer *p)
{
    free(CONTAINER_OF(p, struct plain, packer));
}

static const struct packer_api plain_api = {.begin = plain_write, .rows = plain_write, .end = plain_write, .free = plain_free};

static struct packer *plain_new(struct output *output, struct error *e)
{
    struct plain *p = malloc(sizeof *p);
    if (!p) {
        error_set(e, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    *p = (struct plain){.packer.api = &plain_api, .output = output};
    return &p->packer;
}

/* --- */

struct packer *packer_new(const struct file_form *form, struct output *output, uint32_t threads, struct error *e)
{
    if (form->format == FILE_XLSX)
        return workbook_new(form, output, threads, &workbook_excel, e);
    switch (form->compression) {
    case COMPRESSION_NONE:
        return plain_new(output, e);
    case COMPRESSION_GZIP:
        return gzip_new(output, threads, e);
    case COMPRESSION_ZSTD:
        return zstd_new(output, threads, e);
    default:
        error_set(e, ERROR_NOT_IMPLEMENTED, "the compression %s is not there", file_compression_name(form->compression));
        return NULL;
    }
}
