/* What values take in memory. */
#ifndef WORKER_ENGINE_WIDTHS_H
#define WORKER_ENGINE_WIDTHS_H

#include "worker/engine_internal.h"

/* Bytes of one value of a type whose values have all the same size; 0: it has no such size. */
size_t engine_fixed_width(duckdb_logical_type type);

/* The same where there is one; else a guess: of a text some 30 bytes, of a list some elements. */
size_t engine_guessed_width(duckdb_logical_type type);

#endif
