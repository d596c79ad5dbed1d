/* The CSV rules of DuckDB's writer, for csv.c and its tests. Pure. */
#ifndef WORKER_CSV_H
#define WORKER_CSV_H

#include <stdbool.h>
#include <stddef.h>

/* True where the writer puts a value in quotes: it is empty (bare emptiness is NULL) or has a line feed, a
 * carriage return, a '#', a ',' or a '"'. Nothing else matters, blanks and tabs included. */
bool csv_needs_quotes(const char *data, size_t length);

#endif
