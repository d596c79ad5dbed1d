/* What values take in memory. */
#ifndef WORKER_ENGINE_WIDTHS_H
#define WORKER_ENGINE_WIDTHS_H

#include "worker/engine_internal.h"

/* Bytes of one value of a type whose values have all the same size; 0: it has no such size. */
size_t engine_fixed_width(duckdb_logical_type type);

#endif
