/* The values of columns of the type JSON, on their way into a file of JSON. Pure.
 *
 * DuckDB keeps such a value as the text it was given, and what it takes for JSON is a little more than RFC 8259 does.
 * Nor does it look at all that comes into a table. Whatever it is, what is written is one value of RFC 8259 in one
 * line, or it is refused:
 * - blanks and line ends between tokens are left out, and so is a comma in front of a closing bracket;
 * - NaN, Inf and Infinity, in upper and lower case, with or without a minus, are null, or "NaN", "Infinity",
 *   "-Infinity";
 * - all other numbers and strings stay byte for byte what they are: no digit is lost, where DuckDB's writer writes 2.5
 *   for 2.50 and a double for numbers of many digits. */
#ifndef WORKER_JSON_VALUE_H
#define WORKER_JSON_VALUE_H

#include <stddef.h>
#include <stdint.h>

#include "worker/block.h"

#define JSON_DEPTH_MAX 10000 /* arrays and objects in each other */

/* Bytes that are free at the place where a writer of a value begins, and again where it ends: for what needs few. */
#define JSON_ROOM 256

/* As many bytes as there are, into as many blocks as they need. NULL: out of memory. */
uint8_t *json_put(struct block_writer *w, uint8_t *at, const char *data, size_t length);

/* NULL: out of memory, or w->refused says what is wrong. */
uint8_t *json_put_value(struct block_writer *w, uint8_t *at, const char *data, size_t length, bool non_finite_as_text);

#endif
