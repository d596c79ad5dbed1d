/* JSON and NDJSON as DuckDB 1.5.5 writes them by `COPY ... TO (FORMAT json, ARRAY true)` and `(FORMAT json)`: an object
 * a row, without blanks; the array's brackets and rows on lines of their own, rows behind a tab.
 *
 * Numbers are bare, and so are booleans; lists and arrays are arrays, structs and maps objects (a map's keys are the
 * texts of its keys), a union an object with its one member. All else is the text that the engine casts it to, in
 * quotes.
 *
 * Where DuckDB's file is no JSON (RFC 8259), ours is: NaN and the infinities, for which there is no word, are null, or
 * texts by which DuckDB knows them; a DECIMAL without digits in front of its point gets a zero there, 0.5 for .5;
 * columns of one name, which DuckDB refuses, have names made different as in CSV; and see json_value.h. */
#include <stdlib.h>

#include "worker/encoder.h"
#include "worker/json_text.h"
#include "worker/json_value.h"
#include "worker/typed_values.h"

/* Ahead of each value there is JSON_ROOM for it, as far as its text is short, with quotes around it, and what the
 * fastest way writes behind it. */
_Static_assert(VALUE_TEXT_MAX + 2 <= JSON_ROOM, "typed values");
_Static_assert(JSON_ESCAPED_MAX * TEXT_INLINE_MAX + 2 + JSON_SLACK <= JSON_ROOM, "short texts");

/* Longer texts are looked through while they are copied, and written in pieces where that finds something. */
#define LONG_TEXT ((size_t)1 << 10)
#define PIECE_MIN ((size_t)256)

#define KEY_COPY 32 /* bytes that are copied of every key */

/* What stands in front of a value of the row: what parts it from the one before, its name, a colon. */
struct key {
    const uint8_t *text; /* KEY_COPY bytes, or more */
    size_t length;
};

struct plan {
    const struct file_form *form;
    bool quoted[VALUE_TYPES]; /* typed values that are in quotes */
    uint8_t *texts;           /* of all keys */
    size_t count;
    struct key keys[];
};

struct target {
    struct block_writer *w;
    const struct plan *plan;
};

static const char array_begin[] = "[\n\t", array_separator[] = ",\n\t", array_end[] = "\n]\n";
#define ARRAY_SEPARATOR (sizeof array_separator - 1)

/* --- values: NULL is out of memory, or refused --- */

static uint8_t *write_long_text(const struct target *t, uint8_t *at, const char *data, size_t length)
{
    *at++ = '"';
    while (length > 0) {
        at = block_writer_room(t->w, at, JSON_ESCAPED_MAX * PIECE_MIN + 2 * JSON_ROOM);
        if (!at)
            return NULL;
        size_t n = ((size_t)(t->w->end - at) - JSON_ROOM) / JSON_ESCAPED_MAX;
        n = n < length ? n : length;
        at = json_escape(at, data, n);
        data += n;
        length -= n;
    }
    *at++ = '"';
    return at;
}

/* Copies `length` bytes, more than TEXT_INLINE_MAX. false: some are to be escaped. */
static inline bool copy_plain(uint8_t *to, const char *data, size_t length)
{
    if (length < 16) {
        uint64_t head = load64(data), tail = load64(data + length - 8);
        memcpy(to, &head, sizeof head);
        memcpy(to + length - 8, &tail, sizeof tail);
        return (json_special_bytes(head) | json_special_bytes(tail)) == 0;
    }
    bytes16 tail = load_bytes(data + length - 16), found = json_special_of(tail);
    size_t i = 0;
    do {
        bytes16 b = load_bytes(data + i);
        found |= json_special_of(b);
        memcpy(to + i, &b, sizeof b);
        i += 16;
    } while (i + 16 <= length);
    memcpy(to + length - 16, &tail, sizeof tail);
    return !any(found);
}

/* A short text that needs no escapes is one load of the whole value, and one store; blanks behind it hide its padding
 * from the look at it. */
static inline uint8_t *write_short_text(uint8_t *at, const struct text_value *v)
{
    static const uint8_t blanks[16 + TEXT_INLINE_MAX] = {[TEXT_INLINE_MAX] = ' ', ' ', ' ', ' ', ' ', ' ', ' ', ' ',
                                                         ' ',                 ' ', ' ', ' ', ' ', ' ', ' ', ' '};
    bytes16 text = text_of_whole(load_bytes((const char *)v));
    text |= load_bytes((const char *)blanks + TEXT_INLINE_MAX - v->length);
    *at = '"';
    if (any(json_special_of(text))) {
        at = json_escape(at + 1, v->inlined, v->length);
    } else {
        memcpy(at + 1, &text, sizeof text);
        at += 1 + v->length;
    }
    *at = '"';
    return at + 1;
}

static inline uint8_t *write_string(const struct target *t, uint8_t *at, const struct text_value *v)
{
    const char *data = v->outside.pointer;
    size_t length = v->length;
    if (length <= TEXT_INLINE_MAX)
        return write_short_text(at, v);
    if (length > LONG_TEXT)
        return write_long_text(t, at, data, length);
    at = block_writer_room(t->w, at, length + JSON_ROOM);
    if (!at)
        return NULL;
    *at = '"';
    if (!copy_plain(at + 1, data, length))
        return write_long_text(t, at, data, length);
    at[length + 1] = '"';
    return at + length + 2;
}

static inline uint8_t *write_text(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    const struct text_value *v = (const struct text_value *)c->values + row;
    switch (c->is.text) {
    case TEXT_JSON:
        return json_put_value(t->w, at, text_value_data(v), v->length, t->plan->form->non_finite_as_text);
    case TEXT_NUMBER:
        if (!t->plan->form->integers_as_text)
            return json_put(t->w, at, text_value_data(v), v->length);
        break;
    case TEXT_PLAIN:
        break;
    }
    return write_string(t, at, v);
}

static inline uint8_t *write_double(const struct target *t, uint8_t *at, double v)
{
    if (__builtin_isfinite(v))
        return (uint8_t *)text_of_json_double((char *)at, v);
    const char *word = !t->plan->form->non_finite_as_text ? "null"
                       : v != v                           ? "\"NaN\""
                       : v < 0                            ? "\"-Infinity\""
                                                          : "\"Infinity\"";
    size_t length = strlen(word);
    return (uint8_t *)memcpy(at, word, length) + length;
}

static inline uint8_t *write_decimal(const struct target *t, uint8_t *at, const struct column *c, struct value128 v)
{
    char *to = (char *)at;
    unsigned width = c->is.width, scale = c->is.scale;
    bool quoted = t->plan->form->decimals_as_text;
    if (!quoted && width <= JSON_DECIMAL_MAX_WIDTH)
        return (uint8_t *)text_of_json_decimal(to, (int64_t)v.lower, scale);
    unsigned shown = width == scale ? width + 1 : width; /* a zero in front of the point */
    *to = '"';
    to += quoted;
    to = c->is.type == VALUE_DECIMAL128 ? text_of_decimal128(to, v.upper, v.lower, shown, scale)
                                        : text_of_decimal(to, (int64_t)v.lower, shown, scale);
    *to = '"';
    return (uint8_t *)to + quoted;
}

static inline uint8_t *write_value(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    char *to = (char *)at;
    bool quoted = t->plan->quoted[c->is.type];
    *to = '"';
    to += quoted;
    switch (c->is.type) {
#define TYPED_CASE(kind, ctype, max, text)                                                                           \
    case VALUE_##kind: {                                                                                             \
        const ctype v = ((const ctype *)c->values)[row];                                                             \
        to = text;                                                                                                   \
        break;                                                                                                       \
    }
        TYPED_OTHERS(TYPED_CASE)
    case VALUE_TEXT:
        return write_text(t, at, c, row);
    case VALUE_FLOAT:
        return write_double(t, at, (double)((const float *)c->values)[row]);
    case VALUE_DOUBLE:
        return write_double(t, at, ((const double *)c->values)[row]);
    case VALUE_DECIMAL16:
        return write_decimal(t, at, c, (struct value128){.lower = (uint64_t)((const int16_t *)c->values)[row]});
    case VALUE_DECIMAL32:
        return write_decimal(t, at, c, (struct value128){.lower = (uint64_t)((const int32_t *)c->values)[row]});
    case VALUE_DECIMAL64:
        return write_decimal(t, at, c, (struct value128){.lower = (uint64_t)((const int64_t *)c->values)[row]});
    case VALUE_DECIMAL128:
        return write_decimal(t, at, c, ((const struct value128 *)c->values)[row]);
    case VALUE_TYPES:
        __builtin_unreachable();
    }
    *to = '"';
    return (uint8_t *)to + quoted;
}

/* --- values in values --- */

static uint8_t *write_nested(const struct target *t, uint8_t *at, const struct column *c, size_t row);

/* JSON_ROOM is there. */
static inline uint8_t *write_any(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    if (column_is_null(c, row)) {
        memcpy(at, "null", 4);
        return at + 4;
    }
    return c->is.shape == SHAPE_VALUE ? write_value(t, at, c, row) : write_nested(t, at, c, row);
}

/* `count` rows from `first` on. */
static uint8_t *write_array(const struct target *t, uint8_t *at, const struct column *items, uint64_t first,
                            uint64_t count)
{
    *at++ = '[';
    for (uint64_t i = 0; i < count; i++) {
        at = block_writer_room(t->w, at, JSON_ROOM + 1);
        if (!at)
            return NULL;
        if (i > 0)
            *at++ = ',';
        at = write_any(t, at, items, first + i);
        if (!at)
            return NULL;
    }
    at = block_writer_room(t->w, at, 2);
    if (at)
        *at++ = ']';
    return at;
}

/* `"name":value`, with a comma in front if it is not the first. */
static uint8_t *write_member(const struct target *t, uint8_t *at, bool is_first, const struct text_value *name,
                             const struct column *c, size_t row)
{
    at = block_writer_room(t->w, at, JSON_ROOM + 1);
    if (!at)
        return NULL;
    if (!is_first)
        *at++ = ',';
    at = write_string(t, at, name);
    at = at ? block_writer_room(t->w, at, JSON_ROOM + 1) : NULL;
    if (!at)
        return NULL;
    *at++ = ':';
    return write_any(t, at, c, row);
}

static uint8_t *write_map(const struct target *t, uint8_t *at, const struct column *c, struct list_place place)
{
    const struct column *keys = &c->children[0];
    bool is_first = true;
    *at++ = '{';
    for (uint64_t i = place.first; i < place.first + place.count && at; i++) {
        const struct text_value *key = (const struct text_value *)keys->values + i;
        if (column_is_null(keys, i)) /* the engine has none */
            continue;
        at = write_member(t, at, is_first, key, &c->children[1], i);
        is_first = false;
    }
    return at;
}

/* Without what closes it. */
static uint8_t *write_object(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    *at++ = '{';
    if (c->is.shape == SHAPE_UNION) {
        uint32_t tag = ((const uint8_t *)c->children[0].values)[row];
        if (column_is_null(&c->children[0], row) || tag + 1 >= c->is.child_count)
            return at;
        return write_member(t, at, true, &c->children[tag + 1].is.name, &c->children[tag + 1], row);
    }
    for (uint32_t i = 0; i < c->is.child_count && at; i++)
        at = write_member(t, at, i == 0, &c->children[i].is.name, &c->children[i], row);
    return at;
}

static uint8_t *write_nested(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    const struct list_place *places = c->values;
    switch (c->is.shape) {
    case SHAPE_LIST:
        return write_array(t, at, c->children, places[row].first, places[row].count);
    case SHAPE_ARRAY:
        return write_array(t, at, c->children, (uint64_t)row * c->is.array_size, c->is.array_size);
    case SHAPE_MAP:
        at = write_map(t, at, c, places[row]);
        break;
    case SHAPE_STRUCT:
    case SHAPE_UNION:
        at = write_object(t, at, c, row);
        break;
    case SHAPE_VALUE:
        __builtin_unreachable();
    }
    at = at ? block_writer_room(t->w, at, 2) : NULL;
    if (at)
        *at++ = '}';
    return at;
}

/* --- the file --- */

static size_t key_max(const char *name)
{
    return ARRAY_SEPARATOR + JSON_ESCAPED_MAX * strlen(name) + sizeof "{\"\":" + KEY_COPY + JSON_SLACK;
}

/* The first one has what parts rows. */
static void make_keys(struct plan *p, const struct encoder_columns *columns)
{
    uint8_t *at = p->texts;
    for (size_t i = 0; i < p->count; i++) {
        uint8_t *begin = at;
        if (i == 0 && p->form->format == FILE_JSON) {
            memcpy(at, array_separator, ARRAY_SEPARATOR);
            at += ARRAY_SEPARATOR;
        }
        *at++ = i == 0 ? '{' : ',';
        *at++ = '"';
        at = json_escape(at, columns->names[i], strlen(columns->names[i]));
        *at++ = '"';
        *at++ = ':';
        p->keys[i] = (struct key){begin, (size_t)(at - begin)};
        at += KEY_COPY;
    }
}

static void json_release(void *plan)
{
    struct plan *p = plan;
    if (p)
        free(p->texts);
    free(p);
}

static void *json_prepare(const struct file_form *form, const struct encoder_columns *columns, struct error *e)
{
    static const enum value_type bare[] = {VALUE_BOOL,  VALUE_INT8,   VALUE_INT16,  VALUE_INT32,
                                           VALUE_UINT8, VALUE_UINT16, VALUE_UINT32};
    static const enum value_type large[] = {VALUE_INT64, VALUE_INT128, VALUE_UINT64, VALUE_UINT128};
    size_t size = 0;
    for (size_t i = 0; i < columns->count; i++)
        size += key_max(columns->names[i]);
    struct plan *p = malloc(sizeof *p + columns->count * sizeof p->keys[0]);
    if (p)
        *p = (struct plan){.form = form, .texts = calloc(1, size), .count = columns->count};
    if (!p || !p->texts) {
        json_release(p);
        error_set(e, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    memset(p->quoted, true, sizeof p->quoted);
    for (size_t i = 0; i < ARRAY_SIZE(bare); i++)
        p->quoted[bare[i]] = false;
    for (size_t i = 0; i < ARRAY_SIZE(large); i++)
        p->quoted[large[i]] = form->integers_as_text;
    make_keys(p, columns);
    return p;
}

static bool put_edge(struct block_writer *w, const char *text)
{
    w->at = json_put(w, w->at, text, strlen(text));
    return w->at != NULL;
}

static bool json_begin(const void *plan, struct block_writer *w)
{
    (void)plan;
    return put_edge(w, array_begin);
}

static bool json_end(const void *plan, struct block_writer *w)
{
    (void)plan;
    return put_edge(w, array_end);
}

static bool write_rows(const struct plan *p, struct block_writer *w, const struct chunk *chunk, bool lines)
{
    const struct target t = {.w = w, .plan = p};
    uint8_t *at = w->at;
    for (size_t row = 0; row < chunk->rows; row++) {
        for (size_t i = 0; i < p->count; i++) {
            const struct key *key = &p->keys[i];
            at = block_writer_room(w, at, key->length + KEY_COPY + JSON_ROOM);
            if (!at)
                return false;
            memcpy(at, key->text, KEY_COPY);
            if (key->length > KEY_COPY)
                memcpy(at + KEY_COPY, key->text + KEY_COPY, key->length - KEY_COPY);
            at = write_any(&t, at + key->length, &chunk->columns[i], row);
            if (!at)
                return false;
        }
        at = block_writer_room(w, at, 2);
        if (!at)
            return false;
        *at++ = '}';
        if (lines)
            *at++ = '\n';
        block_writer_end_row(w, at);
    }
    w->at = at;
    return true;
}

static bool json_chunk(const void *plan, struct block_writer *w, const struct chunk *chunk)
{
    return write_rows(plan, w, chunk, false);
}

static bool ndjson_chunk(const void *plan, struct block_writer *w, const struct chunk *chunk)
{
    return write_rows(plan, w, chunk, true);
}

static bool nothing(const void *plan, struct block_writer *w)
{
    (void)plan;
    (void)w;
    return true;
}

const struct encoder json_encoder = {.nested = true,
                                     .separator = ARRAY_SEPARATOR,
                                     .prepare = json_prepare,
                                     .release = json_release,
                                     .begin = json_begin,
                                     .chunk = json_chunk,
                                     .end = json_end};

const struct encoder ndjson_encoder = {.nested = true,
                                       .prepare = json_prepare,
                                       .release = json_release,
                                       .begin = nothing,
                                       .chunk = ndjson_chunk,
                                       .end = nothing};
