/* The text of a cell, or of an attribute, in a sheet's XML. Pure.
 *
 * The characters that XML 1.0 cannot have, or does not keep, become _xHHHH_ (ST_Xstring: ECMA-376 part 1,
 * 22.9.2.19): controls but for tab and line feed, carriage returns among them, U+FFFE and U+FFFF. Where the text
 * itself would read as such, its underscore becomes _x005F_. */
#ifndef WORKER_XLSX_TEXT_H
#define WORKER_XLSX_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define XLSX_GROWTH 7 /* bytes, at most, of a byte of text */
#define XLSX_SLACK 32 /* and so many more */

/* Writes the text from *from to `stop`, or up to two bytes behind it: what belongs together is not parted; *from
 * then says where it goes on. The text itself goes up to `end`. Returns the byte behind what it wrote; `to` has room
 * for XLSX_GROWTH bytes of each byte from *from to `stop`, and XLSX_SLACK. */
uint8_t *xlsx_escape(uint8_t *to, const char **from, const char *stop, const char *end);

/* A text without its special characters is itself; UTF-8. */
bool xlsx_is_plain(const char *data, size_t length);

/* XML readers may take blanks at a text's ends away. */
static inline bool xlsx_is_blank(char c)
{
    return c == ' ' || c == '\t' || c == '\n';
}

/* Its length as Excel counts it: in UTF-16 units. */
size_t xlsx_units(const char *data, size_t length);

/* Bytes of its longest beginning of at most so many units that does not end inside a character. */
size_t xlsx_prefix(const char *data, size_t length, size_t units);

#endif
