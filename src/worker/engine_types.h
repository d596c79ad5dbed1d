/* DuckDB's types as SQL writes them. */
#ifndef WORKER_ENGINE_TYPES_H
#define WORKER_ENGINE_TYPES_H

#include "base/buf.h"
#include "worker/engine_internal.h"

/* More of a type's text is left out; "..." stands at its end. */
#define ENGINE_TYPE_TEXT_MAX 4096

/* As the engine's typeof() gives it. free() it; NULL: out of memory. */
char *engine_type_text(duckdb_logical_type type);

/* Stands for a type that the C API does not name, in the text too of a type that is made of it. */
#define ENGINE_TYPE_UNKNOWN "UNKNOWN"

/* A type's text within the limit. free() it; NULL: out of memory. */
char *engine_type_text_cut(const char *text, size_t length);

/* The engine's own texts of types that have such a one, in g->described; engine_describe.c. */
MUST_CHECK bool engine_describe_types(struct engine *g, struct error *e);

/* Whether the text of such a value may be anything (engine.h). */
bool engine_type_is_free_text(duckdb_logical_type type);

/* A type that is not nested, nor an ENUM, as SQL reads it, whatever other name it has. */
void engine_append_leaf(struct buf *out, duckdb_logical_type type);

/* Every quote in it twice. */
void engine_append_quoted(struct buf *out, const char *text, char quote);

#endif
