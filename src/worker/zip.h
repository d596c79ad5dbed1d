/* A ZIP archive written as a stream: nothing is known of an entry before it is written, and nothing is gone back to.
 * Format: APPNOTE.TXT 6.3.10, https://pkware.cachefly.net/webdocs/casestudies/APPNOTE.TXT ; the numbers below are its
 * sections.
 *
 * Pure: what stands between the entries' bytes, for these the caller. Entries are deflated. Sizes come behind them,
 * in four bytes (4.3.9): Excel refuses the longer form there, so an entry has less than 4 GiB, compressed or not;
 * only where an entry begins may be beyond. Dates are the first there are: equal content makes equal archives. */
#ifndef WORKER_ZIP_H
#define WORKER_ZIP_H

#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"

#define ZIP_NAME_MAX 63                /* bytes */
#define ZIP_ENTRY_MAX (UINT32_MAX - 1) /* bytes, of either size; the largest number says: look elsewhere */

struct zip_entry {
    char name[ZIP_NAME_MAX + 1];
    uint64_t offset; /* in the archive, of what stands before the entry */
    uint64_t in, out; /* bytes, before and after compression */
    uint32_t crc32;   /* of the former */
};

/* In front of an entry, and behind it. They append to `out`; its state tells of memory. */
void zip_put_local(struct buf *out, const struct zip_entry *entry);
void zip_put_descriptor(struct buf *out, const struct zip_entry *entry);

/* Behind the last one: the directory, at `offset` of the archive. */
void zip_put_directory(struct buf *out, const struct zip_entry *entries, size_t count, uint64_t offset);

#endif
