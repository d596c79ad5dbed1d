/* The packer of XLSX: what the encoder writes becomes sheets of a ZIP archive, as a stream, without a file in between.
 * Memory does not grow with the rows, but for some hundred bytes a sheet.
 *
 * A sheet begins with what came by begin(), which may be called several times, and ends with XLSX_SHEET_END; the
 * next one begins before the row that it has no room for. */
#ifndef WORKER_WORKBOOK_H
#define WORKER_WORKBOOK_H

#include "worker/packer.h"

struct workbook_limits {
    uint32_t rows;  /* of a sheet */
    uint64_t bytes; /* of a sheet's XML, from which on no row begins in it */
    uint64_t most;  /* of it, with its last row: one that goes beyond fails */
    size_t sheets;
};

extern const struct workbook_limits workbook_excel;

/* As packer_new(). The form and the limits outlive it. */
struct packer *workbook_new(const struct file_form *form, struct output *output, uint32_t threads,
                            const struct workbook_limits *limits, struct error *e);

#endif
