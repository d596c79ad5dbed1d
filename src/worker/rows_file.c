#include "worker/rows_file.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "worker/packer.h"

struct rows_file {
    struct export *x;
    const struct encoder *encoder;
    void *plan;
    struct block_pool *blocks;
    struct packer *packer;
    struct block *ending; /* what stands behind the last row */
    uint64_t rows, bytes; /* that went to the packer */

    struct {
        pthread_mutex_t lock;
        struct error error; /* the first value that was refused */
    } synced;
};

const struct encoder *encoder_of(enum file_format format)
{
    switch (format) {
    case FILE_CSV:
    case FILE_TSV:
        return &csv_encoder;
    case FILE_JSON:
        return &json_encoder;
    case FILE_NDJSON:
        return &ndjson_encoder;
    case FILE_XLSX:
        return &xlsx_encoder;
    default:
        return NULL;
    }
}

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_MEMORY, "out of memory");
}

static bool has_limit(const struct rows_file *f)
{
    return f->x->form->row_limit || f->x->form->byte_limit;
}

/* --- the engine's threads --- */

static void refuse(struct rows_file *f, const struct error *why)
{
    pthread_mutex_lock(&f->synced.lock);
    if (why && f->synced.error.code == ERROR_NONE)
        f->synced.error = *why;
    pthread_mutex_unlock(&f->synced.lock);
}

/* The number is the list of blocks itself. */
static int64_t encode_chunk(void *context, const struct chunk *chunk, size_t *ret_held)
{
    struct rows_file *f = context;
    struct block_writer w;
    if (!block_writer_begin(&w, f->blocks, has_limit(f) ? chunk->rows : 0))
        return 0;
    int64_t start = clock_thread_cpu_ns();
    bool ok = f->encoder->chunk(f->plan, &w, chunk);
    atomic_fetch_add(&f->x->encode_ns, (uint64_t)(clock_thread_cpu_ns() - start));
    if (!ok) {
        refuse(f, w.refused);
        block_writer_discard(&w);
        return 0;
    }
    if (!has_limit(f))
        atomic_fetch_add(&f->x->rows, chunk->rows);
    struct block *list = block_writer_end(&w, chunk->rows);
    *ret_held = list->held;
    return (int64_t)(intptr_t)list;
}

/* --- the job thread --- */

typedef bool pack_fn(struct packer *p, const void *data, size_t length, struct error *e);

/* Gives the list back. The first `skip` bytes are left out. They may lie behind its first block: a column's name that is
 * longer than a block leaves that one empty. */
static bool pack(struct rows_file *f, pack_fn *how, struct block *list, size_t skip, struct error *e)
{
    int64_t start = clock_thread_cpu_ns();
    bool ok = true;
    for (const struct block *b = list; b && ok; b = b->next) {
        size_t out = skip < b->length ? skip : b->length;
        ok = how(f->packer, b->data + out, b->length - out, e);
        f->bytes += b->length - out;
        skip -= out;
    }
    block_pool_give_back(f->blocks, list);
    f->x->hash_ns += (uint64_t)(clock_thread_cpu_ns() - start);
    atomic_store(&f->x->bytes, output_bytes(f->x->output));
    return ok;
}

/* What stands before the first row, or behind the last, in one piece. */
static struct block *encode_edge(struct rows_file *f, bool (*what)(const void *, struct block_writer *), struct error *e)
{
    struct block_writer w;
    struct block *list = NULL;
    if (!block_writer_begin(&w, f->blocks, 0)) {
        out_of_memory(e);
    } else if (what(f->plan, &w)) {
        list = block_writer_end(&w, 0);
        f->x->altered += list->altered;
    } else {
        if (w.refused)
            *e = *w.refused;
        else
            out_of_memory(e);
        block_writer_discard(&w);
    }
    return list;
}

static uint64_t list_bytes(const struct block *list)
{
    uint64_t bytes = 0;
    for (; list; list = list->next)
        bytes += list->length;
    return bytes;
}

/* How many rows of the list the file may still have. */
static size_t rows_within_limits(const struct rows_file *f, const struct block *list, size_t skip)
{
    const struct file_form *form = f->x->form;
    uint64_t rows = list->rows;
    if (form->row_limit && form->row_limit - f->rows < rows)
        rows = form->row_limit - f->rows;
    if (form->byte_limit) {
        uint64_t used = f->bytes + list_bytes(f->ending);
        uint64_t room = form->byte_limit > used ? form->byte_limit - used + skip : 0;
        while (rows > 0 && list->row_ends[rows - 1].bytes > room)
            rows--;
    }
    return (size_t)rows;
}

static bool pack_rows(struct rows_file *f, struct block *list, struct error *e)
{
    size_t skip = f->rows == 0 ? f->encoder->separator : 0;
    size_t rows = has_limit(f) ? rows_within_limits(f, list, skip) : list->rows;
    f->x->truncated = rows < list->rows;
    if (f->x->truncated)
        block_list_cut(list, rows);
    f->rows += rows;
    if (has_limit(f)) /* else they were counted when they were encoded; these may be more than the file gets */
        atomic_store(&f->x->rows, f->rows);
    f->x->altered += list->altered;
    return pack(f, f->packer->api->rows, list, rows > 0 ? skip : 0, e);
}

/* The engine, which is told only that the encoder failed, has given up: with the encoder's own reason, if that is why. */
static bool fail_with_reason(struct rows_file *f, struct error *e)
{
    pthread_mutex_lock(&f->synced.lock);
    if (f->synced.error.code != ERROR_NONE)
        *e = f->synced.error;
    pthread_mutex_unlock(&f->synced.lock);
    return false;
}

static bool next_list(struct rows_file *f, struct block **ret_list, struct error *e)
{
    int64_t number = 0;
    if (!engine_next(f->x->engine, &number, e))
        return fail_with_reason(f, e);
    *ret_list = (struct block *)(intptr_t)number;
    return true;
}

/* The columns are known, and no row has come. */
static bool prepare(void *context, const struct engine_columns *columns, struct error *e)
{
    struct rows_file *f = context;
    const struct encoder_columns heads = {
        .names = columns->names, .free_text = columns->free_text, .types = columns->types, .count = columns->count};
    f->plan = f->encoder->prepare(f->x->form, &heads, e);
    return f->plan && export_tell_columns(f->x, columns, e);
}

static bool write_rows(struct rows_file *f, struct block *list, struct error *e)
{
    while (list && !f->x->truncated) {
        if (!pack_rows(f, list, e))
            return false;
        if (atomic_load(f->x->cancelled))
            return export_fail_cancelled(e);
        if (!f->x->truncated && !next_list(f, &list, e))
            return false;
    }
    uint64_t yielded = engine_rows(f->x->engine);
    if (f->x->truncated)
        engine_interrupt(f->x->engine); /* nobody wants the rest */
    else if (f->rows != yielded)
        return error_set(e, ERROR_INTERNAL, "the engine yielded %" PRIu64 " rows, and %" PRIu64 " were written", yielded,
                         f->rows);
    return true;
}

static bool write_file(struct rows_file *f, struct error *e)
{
    const struct engine_sink sink = {.begin = prepare, .encode = encode_chunk, .context = f};
    const struct engine_query query = {.sql = f->x->sql,
                                       .timezone = f->x->form->timezone,
                                       .nested = f->encoder->nested,
                                       .local_time = f->encoder->local_time};
    struct block *list, *beginning;
    if (!engine_start(f->x->engine, &query, &sink, e))
        return fail_with_reason(f, e); /* a small result is made at once */
    if (!next_list(f, &list, e))
        return false;
    f->x->tell_streaming(f->x->context);
    beginning = encode_edge(f, f->encoder->begin, e);
    f->ending = beginning ? encode_edge(f, f->encoder->end, e) : NULL;
    return f->ending && pack(f, f->packer->api->begin, beginning, 0, e) && write_rows(f, list, e) &&
           pack(f, f->packer->api->end, f->ending, 0, e);
}

struct rows_file *rows_file_new(struct export *x, const struct encoder *encoder, struct error *e)
{
    struct rows_file *f = calloc(1, sizeof *f);
    if (!f) {
        out_of_memory(e);
        return NULL;
    }
    *f = (struct rows_file){.x = x, .encoder = encoder, .blocks = block_pool_new()};
    pthread_mutex_init(&f->synced.lock, NULL);
    if (!f->blocks)
        out_of_memory(e);
    else
        f->packer = packer_new(x->form, x->output, x->threads, e);
    if (f->packer)
        return f;
    rows_file_free(f);
    return NULL;
}

bool rows_file_write(struct rows_file *f, uint8_t ret_digest[SHA256_BYTES], struct error *e)
{
    bool ok = write_file(f, e) && output_finish(f->x->output, ret_digest, e);
    f->x->pack_ns = packer_cpu_ns(f->packer);
    return ok;
}

void rows_file_free(struct rows_file *f)
{
    if (!f)
        return;
    packer_free(f->packer);
    if (f->plan)
        (f->encoder->release ? f->encoder->release : free)(f->plan);
    block_pool_free(f->blocks);
    pthread_mutex_destroy(&f->synced.lock);
    free(f);
}
