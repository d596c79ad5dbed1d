/* DuckDB's types as SQL writes them. */
#ifndef WORKER_ENGINE_TYPES_H
#define WORKER_ENGINE_TYPES_H

#include "base/buf.h"
#include "worker/engine_internal.h"

/* More of a type's text is left out; "..." stands at its end. */
#define ENGINE_TYPE_TEXT_MAX 4096

/* As the engine's typeof() gives it. free() it; NULL: out of memory. */
char *engine_type_text(duckdb_logical_type type);

/* Whether the text of such a value may be anything (engine.h). */
bool engine_type_is_free_text(duckdb_logical_type type);

/* A type that is not nested, nor an ENUM, as SQL reads it, whatever other name it has. */
void engine_append_leaf(struct buf *out, duckdb_logical_type type);

/* Every quote in it twice. */
void engine_append_quoted(struct buf *out, const char *text, char quote);

#endif
