#include "worker/zip.h"

#include <string.h>

#define MAX16 UINT16_MAX /* in a field: the number is in the Zip64 record or field (4.4.1.4) */
#define MAX32 UINT32_MAX

#define VERSION_DEFLATE 20 /* that a reader must know of (4.4.3.2) */
#define VERSION_ZIP64 45
#define FLAG_DESCRIPTOR 0x0008 /* sizes follow the entry (4.4.4) */
#define FLAG_UTF8 0x0800       /* as all names here are ASCII they are UTF-8 */
#define METHOD_DEFLATE 8
#define DATE_1980_01_01 0x0021 /* of MS-DOS (4.4.6); the time is midnight */

static void put_number(struct buf *out, uint64_t v, size_t bytes)
{
    uint8_t little[8];
    for (size_t i = 0; i < bytes; i++)
        little[i] = (uint8_t)(v >> (8 * i));
    buf_append(out, little, bytes);
}

static void put16(struct buf *out, uint64_t v)
{
    put_number(out, v, 2);
}

static void put32(struct buf *out, uint64_t v)
{
    put_number(out, v, 4);
}

static void put64(struct buf *out, uint64_t v)
{
    put_number(out, v, 8);
}

static uint64_t capped(uint64_t v, uint64_t max)
{
    return v < max ? v : max;
}

/* What local header and directory have in common, from the version on (4.3.7, 4.3.12). */
static void put_common(struct buf *out, const struct zip_entry *entry, unsigned version, uint64_t crc32,
                       uint64_t compressed, uint64_t size, size_t extra)
{
    put16(out, version);
    put16(out, FLAG_DESCRIPTOR | FLAG_UTF8);
    put16(out, METHOD_DEFLATE);
    put16(out, 0);
    put16(out, DATE_1980_01_01);
    put32(out, crc32);
    put32(out, compressed);
    put32(out, size);
    put16(out, strlen(entry->name));
    put16(out, extra);
}

void zip_put_local(struct buf *out, const struct zip_entry *entry)
{
    put32(out, 0x04034b50);
    put_common(out, entry, VERSION_DEFLATE, 0, 0, 0, 0);
    buf_append_text(out, entry->name);
}

void zip_put_descriptor(struct buf *out, const struct zip_entry *entry)
{
    put32(out, 0x08074b50);
    put32(out, entry->crc32);
    put32(out, entry->out);
    put32(out, entry->in);
}

/* 4.3.12; where the offset needs eight bytes they are in the extra field (4.5.3). */
static void put_in_directory(struct buf *out, const struct zip_entry *entry)
{
    bool far = entry->offset >= MAX32;
    put32(out, 0x02014b50);
    put16(out, far ? VERSION_ZIP64 : VERSION_DEFLATE); /* made by: as of MS-DOS, with no attributes */
    put_common(out, entry, far ? VERSION_ZIP64 : VERSION_DEFLATE, entry->crc32, entry->out, entry->in, far ? 12 : 0);
    put16(out, 0); /* no comment, */
    put16(out, 0); /* on the first disk, */
    put16(out, 0); /* no attributes */
    put32(out, 0);
    put32(out, capped(entry->offset, MAX32));
    buf_append_text(out, entry->name);
    if (far) {
        put16(out, 0x0001);
        put16(out, 8);
        put64(out, entry->offset);
    }
}

/* 4.3.14 and, behind it, 4.3.15 */
static void put_zip64_end(struct buf *out, size_t count, uint64_t length, uint64_t offset)
{
    put32(out, 0x06064b50);
    put64(out, 44); /* bytes from here on */
    put16(out, VERSION_ZIP64);
    put16(out, VERSION_ZIP64);
    put32(out, 0);
    put32(out, 0);
    put64(out, count);
    put64(out, count);
    put64(out, length);
    put64(out, offset);

    put32(out, 0x07064b50);
    put32(out, 0);
    put64(out, offset + length);
    put32(out, 1);
}

void zip_put_directory(struct buf *out, const struct zip_entry *entries, size_t count, uint64_t offset)
{
    size_t before = out->len;
    for (size_t i = 0; i < count; i++)
        put_in_directory(out, &entries[i]);
    uint64_t length = out->len - before;
    if (count >= MAX16 || length >= MAX32 || offset >= MAX32)
        put_zip64_end(out, count, length, offset);
    put32(out, 0x06054b50); /* 4.3.16 */
    put16(out, 0);
    put16(out, 0);
    put16(out, capped(count, MAX16));
    put16(out, capped(count, MAX16));
    put32(out, capped(length, MAX32));
    put32(out, capped(offset, MAX32));
    put16(out, 0);
}
