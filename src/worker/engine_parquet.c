#include "worker/engine_parquet.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/buf.h"
#include "worker/engine_internal.h"
#include "worker/engine_scan.h"
#include "worker/engine_types.h"
#include "worker/engine_widths.h"

/* What the engine takes where nothing is said, for its own tables have such groups. */
#define ROW_GROUP_ROWS 122880u

/* While the engine copies, each thread holds up to so many row groups: one that grows, and some that wait for their
 * turn. Where all of them may be more than the memory limit, rows are relayed. */
#define GROUPS_HELD 3

/* The one row group of relayed rows, in memory: a share of the limit, but no more than readers like. Encoding it
 * needs up to four times as much, where all of it is one column of long texts. */
#define GROUP_SHARE 16
#define GROUP_BYTES_MAX (128ull << 20)

/* Of such a row group, handed on at once: a group ends only between two pieces, and a chunk of the engine's has
 * 2,048 rows of any size. */
#define PIECE_SHARE 4

/* Of the memory limit, for a private instance. */
#define PRIVATE_SHARE 2

/* The writer takes a megabyte for the dictionary of each text column at once, where nothing is said. */
#define DICTIONARY_BYTES (1ull << 20)
#define DICTIONARY_BYTES_MIN 4096
#define DICTIONARIES_SHARE 32 /* of the memory limit, for all of them */

/* Of a sum of many. */
#define SUM_TERMS 32

struct parquet_writer {
    struct engine_parquet options;
    struct engine *private;         /* NULL: the query's own instance writes */
    duckdb_connection connection;   /* of a relay: runs its COPY */
    duckdb_prepared_statement copy; /* the statement that writes */
    bool relays;
    idx_t row_width;    /* bytes of a row in memory, without long texts */
    idx_t text_columns; /* columns without a fixed width */

    /* The relay. Used by one thread at a time. */
    duckdb_prepared_statement extended; /* the query with more columns behind its own; NULL: it needs none */
    size_t extra, texts; /* how many more; the first of them that are texts to be scanned */
    bool bound, runs, ended;
    uint64_t rows, bytes; /* handed on; bytes only with a limit of them */
    bool truncated;
    idx_t at, within, at_once; /* of g->chunk: the next row, those that the file may have, those of a piece */
    struct error error; /* why it failed */

    int fd; /* ENGINE_PIPE_FD while it is there, or -1 */
};

static uint64_t group_bytes(const struct engine *g)
{
    uint64_t share = g->memory_limit / GROUP_SHARE;
    return share < GROUP_BYTES_MAX ? share : GROUP_BYTES_MAX;
}

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_MEMORY, "out of memory");
}

/* Nobody can open the pipe by its path any more. */
static void withdraw_pipe(struct parquet_writer *p)
{
    if (p->fd >= 0)
        close(TAKE_FD(p->fd));
}

/* --- relayed rows --- */

/* How many of g->chunk's rows the file may still have. */
static idx_t rows_within_limits(struct engine *g, struct parquet_writer *p)
{
    idx_t rows = duckdb_data_chunk_get_size(g->chunk), within = 0;
    if (p->options.row_limit && p->options.row_limit - p->rows < rows)
        rows = p->options.row_limit - p->rows;
    if (!p->options.byte_limit)
        return rows;
    duckdb_vector last = duckdb_data_chunk_get_vector(g->chunk, g->column_count + p->extra - 1);
    const int64_t *sizes = duckdb_vector_get_data(last);
    while (within < rows && (uint64_t)sizes[within] <= p->options.byte_limit - p->bytes)
        p->bytes += (uint64_t)sizes[within++];
    return within;
}

static bool is_text(duckdb_vector vector)
{
    _cleanup_type_ duckdb_logical_type type = duckdb_vector_get_column_type(vector);
    duckdb_type id = duckdb_get_type_id(type);
    return id == DUCKDB_TYPE_VARCHAR || id == DUCKDB_TYPE_BLOB;
}

/* NULL: the row has no value. */
static duckdb_string_t *text_at(duckdb_vector vector, idx_t row)
{
    uint64_t *validity = duckdb_vector_get_validity(vector);
    duckdb_string_t *texts = duckdb_vector_get_data(vector);
    return !validity || duckdb_validity_row_is_valid(validity, row) ? &texts[row] : NULL;
}

/* Bytes that texts have outside of the vectors. Those within lists and structs are not counted. */
static uint64_t long_texts(struct engine *g)
{
    uint64_t bytes = 0;
    idx_t rows = duckdb_data_chunk_get_size(g->chunk);
    for (size_t i = 0; i < g->column_count; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(g->chunk, i);
        if (!is_text(vector))
            continue;
        for (idx_t row = 0; row < rows; row++) {
            duckdb_string_t *text = text_at(vector, row);
            if (text && !duckdb_string_is_inlined(*text))
                bytes += duckdb_string_t_length(*text);
        }
    }
    return bytes;
}

/* A line a value: none begins where another ends. */
static bool scan_text(struct parquet_writer *p, const char *text, size_t length, struct error *e)
{
    return p->options.scan(p->options.context, text, length, e) && p->options.scan(p->options.context, "\n", 1, e);
}

static bool scan_column(struct parquet_writer *p, duckdb_vector vector, idx_t rows, struct error *e)
{
    for (idx_t row = 0; row < rows; row++) {
        duckdb_string_t *text = text_at(vector, row);
        if (text && !scan_text(p, duckdb_string_t_data(text), duckdb_string_t_length(*text), e))
            return false;
    }
    return true;
}

static bool scan_chunk(struct engine *g, struct parquet_writer *p, struct error *e)
{
    for (size_t i = 0; i < g->column_count + p->texts; i++) {
        duckdb_vector vector = duckdb_data_chunk_get_vector(g->chunk, i);
        if (is_text(vector) && !scan_column(p, vector, duckdb_data_chunk_get_size(g->chunk), e))
            return false;
    }
    return true;
}

static bool scan_names(struct engine *g, struct parquet_writer *p, struct error *e)
{
    for (size_t i = 0; i < g->column_count; i++)
        if (!scan_text(p, g->names[i], strlen(g->names[i]), e))
            return false;
    return true;
}

/* With MotherDuck its service may bind the query to other tables than a moment ago. */
static bool has_type(struct engine *g, size_t i, struct error *e)
{
    _cleanup_type_ duckdb_logical_type now = duckdb_column_logical_type(&g->result, i);
    _cleanup_type_ duckdb_logical_type then = duckdb_prepared_statement_column_logical_type(g->names_statement, i);
    _cleanup_free_ char *text = engine_type_text(now);
    if (!text)
        return out_of_memory(e);
    if (strcmp(text, g->types[i]) == 0 && (duckdb_get_type_id(now) != DUCKDB_TYPE_ENUM ||
                                           duckdb_enum_dictionary_size(now) == duckdb_enum_dictionary_size(then)))
        return true;
    return error_set(e, ERROR_SOURCE, "a table was altered while the query began");
}

static bool start_rows(struct engine *g, struct parquet_writer *p, struct error *e)
{
    /* The writer has opened it, and SQL of others runs only now. */
    withdraw_pipe(p);
    p->runs = true;
    if (g->remote && !scan_names(g, p, e))
        return false;
    if (!engine_stream(g, p->extended ? p->extended : g->names_statement, e))
        return false;
    if (duckdb_column_count(&g->result) != g->column_count + p->extra)
        return error_set(e, ERROR_SOURCE, "a table was altered while the query began");
    for (size_t i = 0; i < g->column_count; i++)
        if (!has_type(g, i, e))
            return false;
    return true;
}

static bool next_chunk(struct engine *g, struct parquet_writer *p, struct error *e)
{
    if ((!p->runs && !start_rows(g, p, e)) || !engine_fetch(g, e))
        return false;
    p->at = p->within = 0;
    if (!g->chunk)
        return true;
    if (g->remote && !scan_chunk(g, p, e))
        return false;
    idx_t rows = duckdb_data_chunk_get_size(g->chunk);
    uint64_t bytes = rows * p->row_width + long_texts(g), most = group_bytes(g) / PIECE_SHARE;
    p->within = rows_within_limits(g, p);
    p->truncated = p->within < rows;
    p->at_once = bytes > most ? rows * most / bytes + 1 : rows;
    return true;
}

/* The next rows of g->chunk, which is not copied. */
static void hand_on(struct engine *g, struct parquet_writer *p, duckdb_data_chunk output)
{
    idx_t rows = p->within - p->at < p->at_once ? p->within - p->at : p->at_once;
    duckdb_selection_vector places = NULL;
    if (p->at > 0) {
        places = duckdb_create_selection_vector(rows);
        for (idx_t i = 0; i < rows; i++)
            duckdb_selection_vector_get_data_ptr(places)[i] = (sel_t)(p->at + i);
    }
    for (size_t i = 0; i < g->column_count; i++) {
        duckdb_vector to = duckdb_data_chunk_get_vector(output, i);
        duckdb_vector_reference_vector(to, duckdb_data_chunk_get_vector(g->chunk, i));
        if (places)
            duckdb_slice_vector(to, places, rows);
    }
    if (places)
        duckdb_destroy_selection_vector(places);
    duckdb_data_chunk_set_size(output, rows);
    p->at += rows;
    p->rows += rows;
    atomic_store(p->options.rows, p->rows);
}

/* No rows: the end. */
static bool relay_rows(struct engine *g, struct parquet_writer *p, duckdb_data_chunk output, struct error *e)
{
    while (p->at == p->within && !p->ended) {
        if (!p->truncated && !next_chunk(g, p, e))
            return false;
        p->ended = p->at == p->within && (p->truncated || !g->chunk);
    }
    if (!p->ended)
        hand_on(g, p, output);
    else if (p->truncated)
        duckdb_interrupt(g->connection); /* nobody wants the rest */
    return true;
}

static void relay(duckdb_function_info info, duckdb_data_chunk output)
{
    struct engine *g = duckdb_function_get_extra_info(info);
    struct parquet_writer *p = g->parquet;
    duckdb_data_chunk_set_size(output, 0);
    if (!p->ended && !relay_rows(g, p, output, &p->error)) {
        p->ended = true;
        duckdb_function_set_error(info, p->error.message);
    }
}

static void bind_relay(duckdb_bind_info info)
{
    struct engine *g = duckdb_bind_get_extra_info(info);
    if (g->parquet->bound) {
        duckdb_bind_set_error(info, "the rows are taken already");
        return;
    }
    g->parquet->bound = true;
    for (size_t i = 0; i < g->column_count; i++) {
        _cleanup_type_ duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(g->names_statement, i);
        duckdb_bind_add_result_column(info, g->names[i], type);
    }
}

/* One thread at a time, by default. */
static void init_relay(duckdb_init_info info)
{
    (void)info;
}

static bool register_relay(struct engine *g, duckdb_connection connection, const char *name, struct error *e)
{
    duckdb_table_function function = duckdb_create_table_function();
    duckdb_table_function_set_name(function, name);
    duckdb_table_function_set_extra_info(function, g, NULL);
    duckdb_table_function_set_bind(function, bind_relay);
    duckdb_table_function_set_init(function, init_relay);
    duckdb_table_function_set_function(function, relay);
    bool ok = duckdb_register_table_function(connection, function) == DuckDBSuccess;
    duckdb_destroy_table_function(&function);
    return ok || error_set(e, ERROR_INTERNAL, "the engine does not take the rows");
}

/* --- the query with the bytes of each row --- */

/* Of our making: of texts the engine counts no byte in what waits in a streaming result, and would run far ahead. */
static void weigh(duckdb_function_info info, duckdb_data_chunk chunk, duckdb_vector result)
{
    idx_t rows = duckdb_data_chunk_get_size(chunk);
    const int64_t *sizes = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    uint64_t bytes = 0;
    for (idx_t i = 0; i < rows; i++)
        bytes += (uint64_t)sizes[i];
    if (rows > 0 && !engine_put_held(result, rows, 0, bytes))
        duckdb_scalar_function_set_error(info, "out of memory");
}

static bool register_weigh(struct engine *g, const char *name, struct error *e)
{
    duckdb_scalar_function function = duckdb_create_scalar_function();
    _cleanup_type_ duckdb_logical_type number = duckdb_create_logical_type(DUCKDB_TYPE_BIGINT);
    _cleanup_type_ duckdb_logical_type list = duckdb_create_list_type(number);
    duckdb_scalar_function_set_name(function, name);
    duckdb_scalar_function_add_parameter(function, number);
    duckdb_scalar_function_set_return_type(function, list);
    duckdb_scalar_function_set_volatile(function); /* else equal sizes would be weighed once */
    duckdb_scalar_function_set_function(function, weigh);
    bool ok = duckdb_register_scalar_function(g->connection, function) == DuckDBSuccess;
    duckdb_destroy_scalar_function(&function);
    return ok || error_set(e, ERROR_INTERNAL, "the engine does not take the rows");
}

static void append_size(struct buf *query, size_t i, duckdb_logical_type type)
{
    duckdb_type id = duckdb_get_type_id(type);
    if (id == DUCKDB_TYPE_VARCHAR)
        buf_printf(query, "coalesce(strlen(#%zu), 0)", i + 1);
    else if (id == DUCKDB_TYPE_BLOB)
        buf_printf(query, "coalesce(octet_length(#%zu), 0)", i + 1);
    else
        buf_printf(query, "coalesce(strlen(#%zu::VARCHAR), 0)", i + 1);
}

/* "(12 + (a + b + ...) + (c + d + ...) ...)": a single chain would be too deep for the parser. */
static void append_sizes(struct engine *g, struct buf *query)
{
    size_t width = 0, terms = 0;
    buf_append_text(query, "(");
    for (size_t i = 0; i < g->column_count; i++) {
        _cleanup_type_ duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(g->names_statement, i);
        width += engine_fixed_width(type);
        if (engine_fixed_width(type) > 0)
            continue;
        buf_append_text(query, terms % SUM_TERMS ? " + " : terms ? ") + (" : "(");
        append_size(query, i, type);
        terms++;
    }
    buf_printf(query, "%s%zu)::BIGINT", terms ? ") + " : "", width);
}

static bool has_texts(struct engine *g)
{
    for (size_t i = 0; i < g->column_count; i++) {
        _cleanup_type_ duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(g->names_statement, i);
        if (engine_fixed_width(type) == 0 || duckdb_get_type_id(type) == DUCKDB_TYPE_ENUM)
            return true;
    }
    return false;
}

/* Texts that scan_chunk() does not find as they are. */
static bool hides_text(duckdb_logical_type type)
{
    duckdb_type id = duckdb_get_type_id(type);
    return id == DUCKDB_TYPE_ENUM ||
           (engine_fixed_width(type) == 0 && id != DUCKDB_TYPE_VARCHAR && id != DUCKDB_TYPE_BLOB);
}

static void append_hidden_texts(struct engine *g, struct parquet_writer *p, struct buf *query)
{
    for (size_t i = 0; i < g->column_count; i++) {
        _cleanup_type_ duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(g->names_statement, i);
        if (!hides_text(type))
            continue;
        buf_printf(query, ", #%zu::VARCHAR", i + 1);
        p->texts++;
    }
}

/* Behind the columns comes, of a file, what makes the engine count the row, and with MotherDuck the texts of columns
 * whose own cannot be read here; and at last the size of the row, where there is a limit of them. In one projection:
 * each has a chunk of its own for every thread, of 32 KiB a text column. */
static bool prepare_extended(struct engine *g, struct parquet_writer *p, struct error *e)
{
    char name[ENGINE_FUNCTION_NAME_SIZE];
    _cleanup_buf_ struct buf query;
    buf_init(&query, QUERY_MAX);
    if (!g->remote && (!engine_function_name(name, e) || !register_weigh(g, name, e)))
        return false;
    buf_append_text(&query, "SELECT *");
    if (g->remote) {
        append_hidden_texts(g, p, &query);
    } else {
        buf_printf(&query, ", %s(", name);
        append_sizes(g, &query);
        buf_append_text(&query, ")");
    }
    p->extra = g->remote ? p->texts : 1;
    if (p->options.byte_limit) {
        buf_append_text(&query, ", ");
        append_sizes(g, &query);
        p->extra++;
    }
    buf_append_text(&query, " FROM (\n");
    buf_append(&query, g->sql, g->sql_length);
    buf_append_text(&query, "\n)");
    if (!buf_ok(&query))
        return out_of_memory(e);
    return duckdb_prepare(g->connection, query.data, &p->extended) == DuckDBSuccess ||
           engine_fail_wrapped(e, duckdb_prepare_error(p->extended));
}

/* --- the statement that writes --- */

static void measure(struct engine *g, struct parquet_writer *p)
{
    for (size_t i = 0; i < g->column_count; i++) {
        _cleanup_type_ duckdb_logical_type type = duckdb_prepared_statement_column_logical_type(g->names_statement, i);
        size_t width = engine_fixed_width(type);
        p->row_width += width ? width : sizeof(duckdb_string_t);
        p->text_columns += width == 0;
    }
}

/* In whole chunks; the writer sizes what it needs for each column by it. */
static unsigned group_rows(const struct engine *g, const struct parquet_writer *p)
{
    idx_t chunk = duckdb_vector_size(), rows = group_bytes(g) / p->row_width / chunk * chunk;
    return rows < chunk ? (unsigned)chunk : rows > ROW_GROUP_ROWS ? ROW_GROUP_ROWS : (unsigned)rows;
}

static uint64_t dictionary_bytes(const struct engine *g, const struct parquet_writer *p)
{
    uint64_t share = p->text_columns ? g->memory_limit / DICTIONARIES_SHARE / p->text_columns : DICTIONARY_BYTES;
    return share > DICTIONARY_BYTES ? DICTIONARY_BYTES : share < DICTIONARY_BYTES_MIN ? DICTIONARY_BYTES_MIN : share;
}

static void append_options(struct engine *g, struct parquet_writer *p, struct buf *sql)
{
    uint32_t rows = p->options.row_group_size;
    buf_printf(sql, ") TO '" ENGINE_PIPE_PATH "' (FORMAT parquet, CODEC '%s', ROW_GROUP_SIZE %u, ", p->options.codec,
               rows ? rows : p->relays ? group_rows(g, p) : ROW_GROUP_ROWS);
    if (p->relays && !rows)
        buf_printf(sql, "ROW_GROUP_SIZE_BYTES %llu, ", (unsigned long long)group_bytes(g));
    if (dictionary_bytes(g, p) < DICTIONARY_BYTES)
        buf_printf(sql, "STRING_DICTIONARY_PAGE_SIZE_LIMIT %llu, ", (unsigned long long)dictionary_bytes(g, p));
    buf_append_text(sql, "USE_TMP_FILE false, RETURN_STATS)");
}

static bool prepare_copy(duckdb_connection connection, const struct buf *sql, struct parquet_writer *p, struct error *e)
{
    duckdb_destroy_prepare(&p->copy);
    if (!buf_ok(sql))
        return out_of_memory(e);
    return duckdb_prepare(connection, sql->data, &p->copy) == DuckDBSuccess ||
           engine_fail_wrapped(e, duckdb_prepare_error(p->copy));
}

static bool prepare_copied(struct engine *g, struct parquet_writer *p, struct error *e)
{
    _cleanup_buf_ struct buf sql;
    buf_init(&sql, QUERY_MAX);
    buf_append_text(&sql, "COPY (SELECT * FROM (\n");
    buf_append(&sql, g->sql, g->sql_length);
    buf_append_text(&sql, "\n)");
    append_options(g, p, &sql);
    return prepare_copy(g->connection, &sql, p, e);
}

static bool prepare_relayed(struct engine *g, struct parquet_writer *p, struct error *e)
{
    char name[ENGINE_FUNCTION_NAME_SIZE];
    _cleanup_buf_ struct buf sql;
    buf_init(&sql, QUERY_MAX);
    if (g->remote && !p->private && !(p->private = engine_open_private(g->memory_limit / PRIVATE_SHARE, e)))
        return false;
    duckdb_connection connection = p->private ? p->private->connection : p->connection;
    p->relays = true;
    if (((p->options.byte_limit || has_texts(g)) && !prepare_extended(g, p, e)) || !engine_function_name(name, e) ||
        !register_relay(g, connection, name, e))
        return false;
    buf_printf(&sql, "COPY (SELECT * FROM %s()", name);
    append_options(g, p, &sql);
    return prepare_copy(connection, &sql, p, e);
}

/* Only where the engine is sure to hold no more than fits: it keeps all rows that come of one of a table's row groups,
 * however many a join makes of them, before it writes the first. */
static bool may_copy(struct engine *g, const struct engine_parquet *parquet)
{
    if (g->remote || parquet->row_limit || parquet->byte_limit)
        return false;
    uint64_t width = engine_scan_width(g), rows = parquet->row_group_size;
    rows = rows > ROW_GROUP_ROWS ? rows : ROW_GROUP_ROWS;
    return width > 0 && width <= g->memory_limit / (rows * GROUPS_HELD * g->threads) &&
           dictionary_bytes(g, g->parquet) == DICTIONARY_BYTES;
}

/* The relay's connection is made before the settings are shut: a writer that keeps the order of rows, which it could
 * not with several threads otherwise, takes no bound of a row group's bytes. The relay has one thread, and rows stay
 * in order. */
static bool make_connection(struct engine *g, struct parquet_writer *p, struct error *e)
{
    if (g->remote)
        return true;
    if (duckdb_connect(g->database, &p->connection) != DuckDBSuccess)
        return error_set(e, ERROR_INTERNAL, "the engine gives no connection");
    return engine_run(p->connection, "SET SESSION preserve_insertion_order=false", e);
}

bool engine_parquet_start(struct engine *g, const struct engine_query *query, const struct engine_sink *sink,
                          const struct engine_parquet *parquet, struct error *e)
{
    struct parquet_writer *p = g->parquet = calloc(1, sizeof *p);
    if (!p)
        return out_of_memory(e);
    p->options = *parquet;
    p->fd = -1;
    if (!make_connection(g, p, e) || !engine_begin(g, query, sink, e))
        return false;
    measure(g, p);
    return may_copy(g, parquet) ? prepare_copied(g, p, e) : prepare_relayed(g, p, e);
}

/* --- writing --- */

/* What RETURN_STATS gives: name, rows, bytes, and more that nobody needs. */
static bool take_counts(duckdb_result *result, struct engine_parquet_result *ret, struct error *e)
{
    duckdb_data_chunk chunk = duckdb_fetch_chunk(*result);
    bool ok = chunk && duckdb_data_chunk_get_size(chunk) == 1 && duckdb_column_type(result, 1) == DUCKDB_TYPE_UBIGINT &&
              duckdb_column_type(result, 2) == DUCKDB_TYPE_UBIGINT;
    if (ok) {
        ret->rows = *(uint64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 1));
        ret->bytes = *(uint64_t *)duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 2));
    }
    duckdb_destroy_data_chunk(&chunk);
    return ok || error_set(e, ERROR_INTERNAL, "the engine does not tell what it wrote");
}

/* The writer's words name our pipe where they name a file. */
static bool fail_writing(struct parquet_writer *p, const char *why, struct error *e)
{
    if (p->error.code != ERROR_NONE)
        *e = p->error;
    else if (why && strstr(why, ENGINE_PIPE_PATH))
        error_set(e, ERROR_INTERNAL, "the file cannot be written");
    else
        engine_fail_wrapped(e, why);
    return false;
}

static bool copy(struct engine *g, struct engine_parquet_result *ret, struct error *e)
{
    struct parquet_writer *p = g->parquet;
    _cleanup_result_ duckdb_result result = {0};
    if (duckdb_execute_prepared(p->copy, &result) != DuckDBSuccess)
        return fail_writing(p, duckdb_result_error(&result), e);
    if (!take_counts(&result, ret, e))
        return false;
    if (p->relays && (ret->rows != p->rows || !p->ended))
        return error_set(e, ERROR_INTERNAL, "the engine yielded %llu rows, and %llu were written",
                         (unsigned long long)p->rows, (unsigned long long)ret->rows);
    ret->truncated = p->truncated;
    return true;
}

/* Under its number. Takes `fd`. */
static bool place_pipe(struct parquet_writer *p, int fd, struct error *e)
{
    p->fd = fcntl(fd, F_DUPFD_CLOEXEC, ENGINE_PIPE_FD);
    int failed = errno;
    close(fd);
    if (p->fd < 0)
        return error_set_errno(e, ERROR_INTERNAL, failed, "cannot prepare the worker");
    return p->fd == ENGINE_PIPE_FD || error_set(e, ERROR_INTERNAL, "cannot prepare the worker: too many descriptors");
}

bool engine_parquet_write(struct engine *g, int fd, struct engine_parquet_result *ret_result, struct error *e)
{
    struct parquet_writer *p = g->parquet;
    bool ok = place_pipe(p, fd, e) && copy(g, ret_result, e);
    duckdb_destroy_prepare(&p->copy); /* where it failed, its plan still holds the file */
    withdraw_pipe(p);
    return ok;
}

void engine_release_parquet(struct engine *g)
{
    struct parquet_writer *p = g->parquet;
    if (!p)
        return;
    withdraw_pipe(p);
    duckdb_destroy_prepare(&p->copy);
    duckdb_destroy_prepare(&p->extended);
    duckdb_disconnect(&p->connection);
    engine_free(p->private);
    free(p);
    g->parquet = NULL;
}
