/* The rules of CSV and TSV, for csv.c and its tests. Pure.
 *
 * They are those of DuckDB's writer (1.5.5), with its options DELIMITER, HEADER, NULLSTR and FORCE_QUOTE *:
 * - NULL is the null text, never in quotes; and no other value or name looks like it, since one that is equal to it is
 *   put in quotes. The null text is empty by default, so that an empty value is "".
 * - The header goes by the same rules, and is quoted by `quote_all` too.
 * - Quotes in a value are doubled; nothing else is escaped.
 *
 * What DuckDB's writer does not have:
 * - `crlf`: every line, the header and the last one too, ends with CR LF. Line ends in values stay as they are.
 * - `bom`: the file begins with EF BB BF, whether or not there is a header or a row.
 * - `excel_safe`: a text that a spreadsheet would run as a formula (csv_is_formula()) gets a ' in front, in quotes:
 *   "'=1+1". So do column names. It is the column's type that says what may be a formula: VARCHAR may, and all that
 *   comes as its text (ENUM, BLOB, JSON, lists, structs, ...). Booleans, numbers (BIGNUM too), dates, times, timestamps,
 *   intervals and UUIDs are never touched: nobody can write a formula in them, negative numbers stay numbers, and -inf,
 *   -infinity and "-3 days" stay what other programs read. NULL's text is the requester's, and is not looked at. */
#ifndef WORKER_CSV_H
#define WORKER_CSV_H

#include <stdbool.h>
#include <stddef.h>

#include "format/file_form.h"

/* True where the writer puts a value in quotes: it is equal to the null text, or has a line feed, a carriage return, a
 * '#', the delimiter or a '"', or all values are. Nothing else matters, blanks and, but in TSV, tabs included. */
bool csv_needs_quotes(const struct file_form *form, const char *data, size_t length);

/* True of a text that begins with = + - @ or one of their full-width forms (U+FF1D, U+FF0B, U+FF0D, U+FF20), a tab, a
 * carriage return, a line feed or a NUL (OWASP, "CSV Injection"; OWASP ASVS 5.0, 1.2.10), also behind blanks, which
 * some programs cut off: space, VT, FF, U+00A0, U+3000, U+FEFF.
 *
 * A program that takes another character for the delimiter makes other cells of the file; that is not looked after. */
bool csv_is_formula(const char *data, size_t length);

#endif
