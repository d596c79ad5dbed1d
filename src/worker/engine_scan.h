/* Does a query do no more than read a table? */
#ifndef WORKER_ENGINE_SCAN_H
#define WORKER_ENGINE_SCAN_H

#include "worker/engine_internal.h"

/* Bytes in memory that no row of the result exceeds, where the query is one table's rows, with each of them and
 * in their order, and its texts have a known bound. Else 0; where the engine does not tell, too. Behind
 * engine_begin(). */
uint64_t engine_scan_width(struct engine *g);

#endif
