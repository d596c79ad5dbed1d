/* One query, from its text to encoded rows in order.
 *
 * The encoder runs inside the query, as a scalar function over all of its columns: so the engine's own threads encode
 * what they have just computed, several chunks at once, nothing is copied before, and the engine's streaming result
 * brings the order (docs/decisions/encoding-in-the-query.md). The function gives a list in a chunk's first row, whose
 * first element is the encoder's number, and empty lists in the others.
 *
 * With MotherDuck a function of ours would have to be known to its service: there the rows are fetched as they are,
 * and encoded on the job thread. */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/digest.h"
#include "worker/engine_columns.h"
#include "worker/engine_types.h"
#include "worker/engine_internal.h"

#define CAUSE_TRIES 2

#define SCAN_BLOCK ((uint64_t)256 << 10) /* the engine's own, of a column */
#define SCAN_SHARE 2                     /* of the memory limit, for all that are held */

/* The engine bounds a streaming result by the bytes that it counts in it (streaming_buffer_size, 6 MB; engine.c): of a
 * list its place in each row, and the capacity, a power of two of elements. So the function's value is a list, which
 * stands for so many bytes of ours; a tenth of what waits for the job thread is counted, some 60 MB in all. The
 * elements behind the first mean nothing. Copying them costs more than their size tells, so a chunk of usual size has
 * the least capacity there is, and one element. Where a list would need more than LIST_MAX it fills the buffer alone. */
#define COUNTED_SHARE 10
#define LIST_MIN 2048 /* the least capacity, whatever the list holds */
#define LIST_MAX (1u << 20)

/* --- the names --- */

static int compare_names(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* The engine gives names up to a U+0000, which those of a PIVOT by a type ENUM may have. Names that a subquery had made
 * different can be equal then, and of members of one name in JSON a reader sees one. */
static bool names_differ(const struct engine *g, struct error *e)
{
    _cleanup_free_ char **sorted = calloc(g->column_count, sizeof *sorted);
    if (!sorted)
        return error_set(e, ERROR_MEMORY, "out of memory");
    memcpy(sorted, g->names, g->column_count * sizeof *sorted);
    qsort(sorted, g->column_count, sizeof *sorted, compare_names);
    for (size_t i = 1; i < g->column_count; i++)
        if (strcmp(sorted[i - 1], sorted[i]) == 0)
            return error_set(e, ERROR_QUERY, "names of columns differ only behind a U+0000: give them others");
    return true;
}

/* COPY makes equal names different as a subquery does. */
static bool take_names(struct engine *g, struct error *e)
{
    _cleanup_buf_ struct buf query;
    buf_init(&query, QUERY_MAX);
    buf_append_text(&query, "SELECT * FROM (\n");
    buf_append(&query, g->sql, g->sql_length);
    buf_append_text(&query, "\n)");
    if (!buf_ok(&query))
        return error_set(e, ERROR_MEMORY, "out of memory");
    if (duckdb_prepare(g->connection, query.data, &g->names_statement) != DuckDBSuccess)
        return engine_fail_wrapped(e, duckdb_prepare_error(g->names_statement));
    size_t count = duckdb_prepared_statement_column_count(g->names_statement);
    g->names = calloc(count, sizeof *g->names);
    if (!g->names)
        return error_set(e, ERROR_MEMORY, "out of memory");
    g->column_count = count;
    for (size_t i = 0; i < count; i++)
        if (!(g->names[i] = duckdb_prepared_statement_column_name(g->names_statement, i)))
            return error_set(e, ERROR_MEMORY, "out of memory");
    return names_differ(g, e);
}

static bool take_types(struct engine *g, struct error *e)
{
    g->types = calloc(g->column_count, sizeof *g->types);
    g->free_text = calloc(g->column_count, sizeof *g->free_text);
    g->described = calloc(g->column_count, sizeof *g->described);
    if (!g->types || !g->free_text || !g->described)
        return error_set(e, ERROR_MEMORY, "out of memory");
    for (size_t i = 0; i < g->column_count; i++) {
        _cleanup_type_ duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(g->names_statement, i);
        g->free_text[i] = engine_type_is_free_text(type);
        if (!(g->types[i] = engine_type_text(type)))
            return error_set(e, ERROR_MEMORY, "out of memory");
    }
    return engine_describe_types(g, e);
}

static bool tell_columns(struct engine *g, struct error *e)
{
    for (size_t i = 0; i < g->column_count; i++)
        if (!g->described[i])
            g->described[i] = g->types[i];
    const struct engine_columns columns = {.names = g->names,
                                           .types = (const char *const *)g->described,
                                           .free_text = g->free_text,
                                           .count = g->column_count};
    return g->sink.begin(g->sink.context, &columns, e);
}

/* --- the encoder as a function of the engine --- */

static int64_t encode(struct engine *g, const struct column_set *s, duckdb_data_chunk chunk, size_t *ret_held)
{
    struct column_view view;
    int64_t block = 0;
    if (column_view_init(&view, s, chunk))
        block = g->sink.encode(g->sink.context,
                               &(struct chunk){.rows = duckdb_data_chunk_get_size(chunk),
                                               .column_count = s->count,
                                               .columns = view.columns},
                               ret_held);
    column_view_release(&view);
    if (block == 0)
        atomic_store(&g->sink_failed, true);
    return block;
}

/* How many elements make the engine count a share of `held` bytes: one more than half the capacity that counts as
 * much, since fewer are to be copied. */
static idx_t list_length(idx_t rows, size_t held)
{
    size_t wanted = held / COUNTED_SHARE, places = rows * sizeof(duckdb_list_entry), capacity = LIST_MIN;
    wanted = wanted > places ? (wanted - places) / sizeof(int64_t) : 0;
    while (capacity < LIST_MAX && capacity + capacity / 2 < wanted)
        capacity *= 2;
    return capacity == LIST_MIN ? 1 : capacity / 2 + 1;
}

bool engine_put_held(duckdb_vector result, idx_t rows, int64_t number, size_t held)
{
    idx_t length = list_length(rows, held);
    duckdb_list_entry *lists = duckdb_vector_get_data(result);
    memset(lists, 0, rows * sizeof *lists);
    if (duckdb_list_vector_reserve(result, length) != DuckDBSuccess ||
        duckdb_list_vector_set_size(result, length) != DuckDBSuccess)
        return false;
    int64_t *elements = duckdb_vector_get_data(duckdb_list_vector_get_child(result));
    elements[0] = number;
    lists[0].length = length;
    return true;
}

static void encode_function(duckdb_function_info info, duckdb_data_chunk chunk, duckdb_vector result)
{
    struct engine *g = duckdb_scalar_function_get_extra_info(info);
    const struct column_set *s = duckdb_scalar_function_get_bind_data(info);
    idx_t rows = duckdb_data_chunk_get_size(chunk);
    size_t held = 0;
    if (rows == 0)
        return;
    int64_t block = encode(g, s, chunk, &held);
    if (block == 0 || !engine_put_held(result, rows, block, held)) {
        atomic_store(&g->sink_failed, true);
        duckdb_scalar_function_set_error(info, "out of memory");
    }
}

static void unref_set(void *s)
{
    column_set_unref(s);
}

static void *ref_set(void *s)
{
    return column_set_ref(s);
}

/* The types of what comes; NULL: there is none, or one of them is not as planned. */
static struct column_set *take_set(const struct engine *g, size_t count, duckdb_logical_type (*type_of)(void *from, size_t i),
                                   void *from)
{
    const struct column_rules rules = {.nested = g->query.nested, .utc = true};
    _cleanup_buf_ struct buf ignored;
    buf_init(&ignored, QUERY_MAX);
    struct column_set *s = column_set_new(count);
    bool ok = s != NULL;
    for (size_t i = 0; i < count && ok; i++) {
        _cleanup_type_ duckdb_logical_type type = type_of(from, i);
        ok = type && column_set_type(s, i, type, &rules, &ignored) == COLUMN_AS_IT_IS;
        ignored.len = 0;
    }
    if (ok && column_set_adopt(s, g->columns))
        return s;
    column_set_unref(s);
    return NULL;
}

static duckdb_logical_type type_of_argument(void *info, size_t i)
{
    duckdb_expression argument = duckdb_scalar_function_bind_get_argument(info, i);
    duckdb_logical_type type = duckdb_expression_return_type(argument);
    duckdb_destroy_expression(&argument);
    return type;
}

/* Takes the types from the engine itself: memory is never read as something that it is not. */
static void bind_function(duckdb_bind_info info)
{
    const struct engine *g = duckdb_scalar_function_bind_get_extra_info(info);
    struct column_set *s = take_set(g, duckdb_scalar_function_bind_get_argument_count(info), type_of_argument, info);
    if (!s) {
        duckdb_scalar_function_bind_set_error(info, "these columns cannot be encoded");
        return;
    }
    duckdb_scalar_function_set_bind_data(info, s, unref_set);
    duckdb_scalar_function_set_bind_data_copy(info, ref_set);
}

bool engine_function_name(char name[ENGINE_FUNCTION_NAME_SIZE], struct error *e)
{
    uint8_t random[(ENGINE_FUNCTION_NAME_SIZE - 1) / 2];
    if (!random_bytes(random, sizeof random, e))
        return false;
    hex_encode(random, sizeof random, name);
    name[0] = 'e'; /* a word must not begin with a digit */
    return true;
}

static bool register_function(struct engine *g, char name[ENGINE_FUNCTION_NAME_SIZE], struct error *e)
{
    if (!engine_function_name(name, e))
        return false;
    duckdb_scalar_function function = duckdb_create_scalar_function();
    duckdb_logical_type any = duckdb_create_logical_type(DUCKDB_TYPE_ANY);
    duckdb_logical_type number = duckdb_create_logical_type(DUCKDB_TYPE_BIGINT);
    duckdb_logical_type list = duckdb_create_list_type(number);
    duckdb_scalar_function_set_name(function, name);
    duckdb_scalar_function_set_varargs(function, any);
    duckdb_scalar_function_set_return_type(function, list);
    duckdb_scalar_function_set_volatile(function); /* else constants would be encoded once for all rows */
    duckdb_scalar_function_set_special_handling(function);
    duckdb_scalar_function_set_extra_info(function, g, NULL);
    duckdb_scalar_function_set_bind(function, bind_function);
    duckdb_scalar_function_set_function(function, encode_function);
    bool ok = duckdb_register_scalar_function(g->connection, function) == DuckDBSuccess;
    duckdb_destroy_scalar_function(&function);
    duckdb_destroy_logical_type(&any);
    duckdb_destroy_logical_type(&number);
    duckdb_destroy_logical_type(&list);
    return ok || error_set(e, ERROR_INTERNAL, "the engine does not take the encoder");
}

/* --- the query --- */

static bool is_utc(const char *timezone)
{
    return strcmp(timezone, "UTC") == 0;
}

/* `#3` of a type that an encoder knows, `#3::VARCHAR` of another, `#3::STRUCT("a" VARCHAR, "b" INTEGER)[]` of one that is
 * nested and has both. */
static bool append_column(struct engine *g, struct buf *query, size_t i, duckdb_logical_type type, struct error *e)
{
    const struct column_rules rules = {.nested = g->query.nested, .utc = is_utc(g->query.timezone)};
    _cleanup_buf_ struct buf cast;
    buf_init(&cast, QUERY_MAX);
    buf_append_text(query, i == 0 ? "" : ", ");
    if (g->query.local_time && duckdb_get_type_id(type) == DUCKDB_TYPE_TIMESTAMP_TZ) {
        g->columns->types[i].type = VALUE_TIMESTAMP;
        buf_printf(query, "timezone('%s', #%zu)", g->query.timezone, i + 1);
        return true;
    }
    switch (column_set_type(g->columns, i, type, &rules, &cast)) {
    case COLUMN_AS_IT_IS:
        buf_printf(query, "#%zu", i + 1);
        return true;
    case COLUMN_CAST:
        buf_printf(query, "#%zu::", i + 1);
        buf_append(query, cast.data, cast.len);
        return true;
    case COLUMN_TOO_DEEP:
        return error_set(e, ERROR_QUERY, "column %zu has more than %d lists, structs and their like in each other", i + 1,
                         COLUMN_DEPTH_MAX);
    case COLUMN_NO_MEMORY:
        break;
    }
    return error_set(e, ERROR_MEMORY, "out of memory");
}

static bool append_columns(struct engine *g, struct buf *query, struct error *e)
{
    column_set_unref(g->columns);
    g->columns = column_set_new(g->column_count);
    if (!g->columns)
        return error_set(e, ERROR_MEMORY, "out of memory");
    for (size_t i = 0; i < g->column_count; i++) {
        _cleanup_type_ duckdb_logical_type type =
            duckdb_prepared_statement_column_logical_type(g->names_statement, i);
        if (!append_column(g, query, i, type, e))
            return false;
    }
    return true;
}

static bool make_query(struct engine *g, struct buf *query, struct error *e)
{
    buf_append_text(query, "SELECT ");
    if (!g->remote)
        buf_printf(query, "%s(", g->function);
    if (!append_columns(g, query, e))
        return false;
    buf_append_text(query, g->remote ? " FROM (\n" : ") FROM (\n");
    buf_append(query, g->sql, g->sql_length);
    buf_append_text(query, "\n)");
    return buf_ok(query) || error_set(e, ERROR_MEMORY, "out of memory");
}

static bool fail_running(struct engine *g, const char *why, struct error *e)
{
    return atomic_load(&g->sink_failed) ? error_set(e, ERROR_MEMORY, "out of memory") : engine_fail_wrapped(e, why);
}

static duckdb_logical_type type_of_result(void *result, size_t i)
{
    return duckdb_column_logical_type(result, i);
}

/* With MotherDuck its service may bind the query to other tables than a moment ago, when the names were taken: so the
 * types are those of the rows that come. */
static bool take_remote_types(struct engine *g, struct error *e)
{
    struct column_set *s = take_set(g, duckdb_column_count(&g->result), type_of_result, &g->result);
    if (!s)
        return error_set(e, ERROR_SOURCE, "a table was altered while the query began");
    column_set_unref(g->columns);
    g->columns = s;
    return true;
}

bool engine_stream(struct engine *g, duckdb_prepared_statement statement, struct error *e)
{
    _cleanup_pending_ duckdb_pending_result pending = NULL;
    if (duckdb_pending_prepared_streaming(statement, &pending) != DuckDBSuccess)
        return engine_fail_wrapped(e, duckdb_pending_error(pending));
    g->has_result = true;
    return duckdb_execute_pending(pending, &g->result) == DuckDBSuccess || fail_running(g, duckdb_result_error(&g->result), e);
}

static bool execute(struct engine *g, struct error *e)
{
    _cleanup_buf_ struct buf query;
    _cleanup_prepared_ duckdb_prepared_statement statement = NULL;
    buf_init(&query, QUERY_MAX);
    if (!g->remote && !*g->function && !register_function(g, g->function, e))
        return false;
    if (!make_query(g, &query, e))
        return false;
    if (duckdb_prepare(g->connection, query.data, &statement) != DuckDBSuccess)
        return engine_fail_wrapped(e, duckdb_prepare_error(statement));
    return engine_stream(g, statement, e) && (!g->remote || take_remote_types(g, e));
}

/* A scan of a table holds a block of each column for each thread. Where that is too much of the memory, threads take the
 * blocks away from each other, and the query comes to a near standstill: fewer are faster. */
static bool settle_threads(struct engine *g, struct error *e)
{
    uint64_t room = g->memory_limit / SCAN_SHARE / (g->column_count * SCAN_BLOCK);
    bool ok = g->remote || g->rehearses || engine_use_threads(g, room < 1 ? 1 : (uint32_t)(room < UINT32_MAX ? room : UINT32_MAX), e);
    atomic_store(&g->threads_settled, ok);
    return ok;
}

bool engine_begin(struct engine *g, const struct engine_query *query, const struct engine_sink *sink, struct error *e)
{
    const char *sql = query->sql;
    struct sql_text text = sql_text_scan(sql, strlen(sql));
    if (text.statements == 0)
        return error_set(e, ERROR_SQL, "there is no statement in the SQL");
    g->sql = sql + text.begin;
    g->sql_length = text.end - text.begin;
    g->query = *query;
    g->sink = *sink;
    return engine_lock(g, query->timezone, e) && engine_check_statement(g, sql, &text, e) && take_names(g, e) &&
           take_types(g, e) && settle_threads(g, e) && tell_columns(g, e);
}

bool engine_start(struct engine *g, const struct engine_query *query, const struct engine_sink *sink, struct error *e)
{
    return engine_begin(g, query, sink, e) && execute(g, e);
}

bool engine_fetch(struct engine *g, struct error *e)
{
    do {
        duckdb_destroy_data_chunk(&g->chunk);
        g->chunk = duckdb_fetch_chunk(g->result);
    } while (g->chunk && duckdb_data_chunk_get_size(g->chunk) == 0);
    g->chunk_row = 0;
    if (g->chunk) {
        g->rows += duckdb_data_chunk_get_size(g->chunk);
        return true;
    }
    /* An error in mid-stream looks like the end; only this tells. */
    const char *why = duckdb_result_error(&g->result);
    return ((!why || !*why) && !atomic_load(&g->sink_failed)) || fail_running(g, why, e);
}

/* The chunk's next number; 0: it has no more. */
static int64_t next_in_chunk(struct engine *g)
{
    idx_t rows = duckdb_data_chunk_get_size(g->chunk);
    if (g->remote) {
        size_t held;
        int64_t block = g->chunk_row == 0 ? encode(g, g->columns, g->chunk, &held) : 0;
        g->chunk_row = rows;
        return block;
    }
    duckdb_vector vector = duckdb_data_chunk_get_vector(g->chunk, 0);
    const duckdb_list_entry *lists = duckdb_vector_get_data(vector);
    const int64_t *elements = duckdb_vector_get_data(duckdb_list_vector_get_child(vector));
    while (g->chunk_row < rows) {
        const duckdb_list_entry *list = &lists[g->chunk_row++];
        if (list->length > 0)
            return elements[list->offset];
    }
    return 0;
}

bool engine_next(struct engine *g, int64_t *ret_block, struct error *e)
{
    for (;;) {
        *ret_block = g->chunk ? next_in_chunk(g) : 0;
        if (*ret_block != 0)
            return true;
        if (atomic_load(&g->sink_failed))
            return error_set(e, ERROR_MEMORY, "out of memory");
        if (!engine_fetch(g, e))
            return false;
        if (!g->chunk)
            return true;
    }
}

uint64_t engine_rows(const struct engine *g)
{
    return g->rows;
}

/* --- more threads --- */

/* Its allocator makes its part for a thread at the first call from it, and crashes where there is no memory for that: so the
 * call comes now, before the query has taken it. */
static void warm_allocator(void)
{
    duckdb_logical_type type = duckdb_create_logical_type(DUCKDB_TYPE_BIGINT);
    duckdb_data_chunk chunk = duckdb_create_data_chunk(&type, 1);
    duckdb_destroy_data_chunk(&chunk);
    duckdb_destroy_logical_type(&type);
}

static void *help(void *state)
{
    warm_allocator();
    duckdb_execute_tasks_state(state);
    return NULL;
}

bool engine_start_helpers(struct engine *g)
{
    if (g->remote || g->helpers_state)
        return true;
    if (!atomic_load(&g->threads_settled))
        return false;
    g->helpers_state = duckdb_create_task_state(g->database);
    while (g->helpers_state && g->helper_count + 1 < g->threads && g->helper_count < ENGINE_MAX_HELPERS)
        if (pthread_create(&g->helpers[g->helper_count], NULL, help, g->helpers_state) == 0)
            g->helper_count++;
        else
            break; /* it is only slower */
    return true;
}

/* --- the end --- */

static int64_t discard(void *context, const struct chunk *chunk, size_t *ret_held)
{
    (void)context;
    (void)chunk;
    *ret_held = 0;
    return 1;
}

/* None of the engine's threads is in the sink afterwards. */
static void end_run(struct engine *g)
{
    if (g->has_result)
        duckdb_destroy_result(&g->result);
    g->has_result = false;
    duckdb_destroy_data_chunk(&g->chunk);
}

/* True where the query now ends without an error. */
static bool run_again(struct engine *g, struct error *e)
{
    int64_t block;
    end_run(g);
    if (!execute(g, e))
        return false;
    do
        if (!engine_next(g, &block, e))
            return false;
    while (block != 0);
    return true;
}

void engine_find_cause(struct engine *g, struct error *e)
{
    bool ended = false;
    end_run(g);
    g->sink = (struct engine_sink){.encode = discard};
    for (int i = 0; i < CAUSE_TRIES && !ended && e->code == ERROR_CANCELLED; i++)
        ended = run_again(g, e);
    if (e->code == ERROR_CANCELLED)
        error_set(e, ERROR_QUERY, "the query failed, and the engine gave no reason");
}

static void release_types(struct engine *g)
{
    for (size_t i = 0; g->types && i < g->column_count; i++) {
        if (g->described && g->described[i] != g->types[i])
            free(g->described[i]);
        free(g->types[i]);
    }
    free(g->described);
    free(g->types);
}

void engine_release_query(struct engine *g)
{
    engine_release_parquet(g);
    duckdb_destroy_data_chunk(&g->chunk);
    if (g->has_result)
        duckdb_destroy_result(&g->result);
    duckdb_destroy_prepare(&g->names_statement);
    if (g->helpers_state)
        duckdb_finish_execution(g->helpers_state);
    for (uint32_t i = 0; i < g->helper_count; i++)
        pthread_join(g->helpers[i], NULL);
    if (g->helpers_state)
        duckdb_destroy_task_state(g->helpers_state);
    for (size_t i = 0; g->names && i < g->column_count; i++)
        duckdb_free((void *)g->names[i]);
    free(g->names);
    release_types(g);
    free(g->free_text);
    column_set_unref(g->columns);
}
