#include "worker/csv.h"

#include <string.h>

#include "worker/encoder.h"
#include "worker/value_text.h"

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* What the fastest way may write behind a value's end; the next value writes over it. */
#define SLACK VALUE_TEXT_MAX

/* The high bit of some byte is set if a byte of `word` is zero; the lowest such bit is right, those above it may not
 * be. */
static inline uint64_t zero_bytes(uint64_t word)
{
    return (word - ONES) & ~word & HIGHS;
}

/* Not zero if one of eight bytes asks for quotes. Zero bytes do not, so a short word may be padded with them. */
static inline uint64_t special_bytes(uint64_t word)
{
    return zero_bytes(word ^ (ONES * '\n')) | zero_bytes(word ^ (ONES * '\r')) | zero_bytes(word ^ (ONES * ',')) |
           zero_bytes((word & ~ONES) ^ (ONES * '"')); /* '"' is 0x22 and '#' 0x23 */
}

static inline uint64_t load64(const char *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

/* Sixteen bytes at once, as the compiler's vectors: SSE2 on x86-64, NEON on arm64. */
typedef uint8_t bytes16 __attribute__((vector_size(16)));
typedef uint64_t words2 __attribute__((vector_size(16)));

static inline bytes16 load_bytes(const char *data)
{
    bytes16 b;
    memcpy(&b, data, sizeof b);
    return b;
}

static inline bytes16 special_of(bytes16 b)
{
    return (bytes16)((b == '\n') | (b == '\r') | (b == ',') | ((b & 0xfe) == '"'));
}

static inline bool any(bytes16 b)
{
    words2 w = (words2)b;
    return (w[0] | w[1]) != 0;
}

/* A text_value without its length in front: the bytes of a short text, and zeros. */
static inline bytes16 text_of_whole(bytes16 whole)
{
    static const bytes16 zeros = {0};
    return __builtin_shuffle(whole, zeros, (bytes16){4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 16, 16, 16});
}

/* Copies `length` bytes and returns true if one of them asks for quotes. At least eight. */
static inline bool copy_and_look(uint8_t *to, const char *data, size_t length)
{
    if (length < 16) {
        uint64_t head = load64(data), tail = load64(data + length - 8);
        memcpy(to, &head, sizeof head);
        memcpy(to + length - 8, &tail, sizeof tail);
        return (special_bytes(head) | special_bytes(tail)) != 0;
    }
    bytes16 tail = load_bytes(data + length - 16), found = special_of(tail);
    size_t i = 0;
    do {
        bytes16 b = load_bytes(data + i);
        found |= special_of(b);
        memcpy(to + i, &b, sizeof b);
        i += 16;
    } while (i + 16 <= length);
    memcpy(to + length - 16, &tail, sizeof tail);
    return any(found);
}

bool csv_needs_quotes(const char *data, size_t length)
{
    if (length == 0)
        return true;
    uint64_t word = 0;
    while (length >= 8) {
        if (special_bytes(load64(data)))
            return true;
        data += 8;
        length -= 8;
    }
    memcpy(&word, data, length);
    return special_bytes(word) != 0;
}

/* `to` has room for twice the length and SLACK. */
static uint8_t *write_quoted(uint8_t *to, const char *data, size_t length)
{
    const char *end = data + length;
    *to++ = '"';
    while (end - data >= 8) {
        uint64_t word = load64(data);
        memcpy(to, &word, sizeof word);
        uint64_t quotes = zero_bytes(word ^ (ONES * '"'));
        size_t n = quotes ? (size_t)__builtin_ctzll(quotes) / 8 + 1 : 8;
        to += n;
        data += n;
        if (quotes)
            *to++ = '"';
    }
    while (data < end) {
        if (*data == '"')
            *to++ = '"';
        *to++ = (uint8_t)*data++;
    }
    *to++ = '"';
    return to;
}

/* Where the values of a chunk go, and what must be free ahead of each. */
struct target {
    struct block_writer *w;
    size_t row_max; /* bytes of a row whose texts are short, SLACK included */
};

/* A short text without quotes is one load of the whole value, and one store. */
static inline uint8_t *write_text(const struct target *t, uint8_t *at, const struct text_value *v)
{
    if (v->length <= TEXT_INLINE_MAX) {
        bytes16 whole = load_bytes((const char *)v), text = text_of_whole(whole);
        if (v->length == 0 || any(special_of(text)))
            return write_quoted(at, v->inlined, v->length);
        memcpy(at, &text, sizeof text);
        return at + v->length;
    }
    at = block_writer_room(t->w, at, 2 * (size_t)v->length + t->row_max);
    if (!at)
        return NULL;
    return copy_and_look(at, v->outside.pointer, v->length) ? write_quoted(at, v->outside.pointer, v->length)
                                                            : at + v->length;
}

/* The most bytes of a value; texts that are longer make room themselves. */
static const uint8_t value_max[VALUE_TYPES] = {
    [VALUE_TEXT] = 2 * TEXT_INLINE_MAX + 2,
    [VALUE_BOOL] = TEXT_MAX_BOOL,
    [VALUE_INT8] = TEXT_MAX_INT8,
    [VALUE_INT16] = TEXT_MAX_INT16,
    [VALUE_INT32] = TEXT_MAX_INT32,
    [VALUE_INT64] = TEXT_MAX_INT64,
    [VALUE_INT128] = TEXT_MAX_INT128,
    [VALUE_UINT8] = TEXT_MAX_UINT8,
    [VALUE_UINT16] = TEXT_MAX_UINT16,
    [VALUE_UINT32] = TEXT_MAX_UINT32,
    [VALUE_UINT64] = TEXT_MAX_UINT64,
    [VALUE_UINT128] = TEXT_MAX_UINT128,
    [VALUE_FLOAT] = TEXT_MAX_FLOAT,
    [VALUE_DOUBLE] = TEXT_MAX_DOUBLE,
    [VALUE_DECIMAL16] = TEXT_MAX_DECIMAL,
    [VALUE_DECIMAL32] = TEXT_MAX_DECIMAL,
    [VALUE_DECIMAL64] = TEXT_MAX_DECIMAL,
    [VALUE_DECIMAL128] = TEXT_MAX_DECIMAL128,
    [VALUE_DATE] = TEXT_MAX_DATE,
    [VALUE_TIME] = TEXT_MAX_TIME,
    [VALUE_TIME_NS] = TEXT_MAX_TIME_NS,
    [VALUE_TIME_TZ] = TEXT_MAX_TIME_TZ,
    [VALUE_TIMESTAMP] = TEXT_MAX_TIMESTAMP,
    [VALUE_TIMESTAMP_S] = TEXT_MAX_TIMESTAMP,
    [VALUE_TIMESTAMP_MS] = TEXT_MAX_TIMESTAMP,
    [VALUE_TIMESTAMP_NS] = TEXT_MAX_TIMESTAMP,
    [VALUE_TIMESTAMP_TZ] = TEXT_MAX_TIMESTAMP_TZ,
    [VALUE_INTERVAL] = TEXT_MAX_INTERVAL,
    [VALUE_UUID] = TEXT_MAX_UUID,
    [VALUE_ENUM8] = 2 * TEXT_INLINE_MAX + 2,
    [VALUE_ENUM16] = 2 * TEXT_INLINE_MAX + 2,
    [VALUE_ENUM32] = 2 * TEXT_INLINE_MAX + 2,
};

/* The value of `row`. Everything in a column but text is free of what would ask for quotes. */
static inline uint8_t *write_value(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
#define AT(type) (((const type *)c->values)[row])
#define TYPED(call) ((uint8_t *)text_of_##call)
    char *to = (char *)at;
    switch (c->is.type) {
    case VALUE_TEXT:
        return write_text(t, at, &AT(struct text_value));
    case VALUE_BOOL:
        return TYPED(bool(to, AT(uint8_t) != 0));
    case VALUE_INT8:
        return TYPED(int32(to, AT(int8_t)));
    case VALUE_INT16:
        return TYPED(int32(to, AT(int16_t)));
    case VALUE_INT32:
        return TYPED(int32(to, AT(int32_t)));
    case VALUE_INT64:
        return TYPED(int64(to, AT(int64_t)));
    case VALUE_INT128:
        return TYPED(int128(to, AT(struct value128).upper, AT(struct value128).lower));
    case VALUE_UINT8:
        return TYPED(uint32(to, AT(uint8_t)));
    case VALUE_UINT16:
        return TYPED(uint32(to, AT(uint16_t)));
    case VALUE_UINT32:
        return TYPED(uint32(to, AT(uint32_t)));
    case VALUE_UINT64:
        return TYPED(uint64(to, AT(uint64_t)));
    case VALUE_UINT128:
        return TYPED(uint128(to, (uint64_t)AT(struct value128).upper, AT(struct value128).lower));
    case VALUE_FLOAT:
        return TYPED(float(to, AT(float)));
    case VALUE_DOUBLE:
        return TYPED(double(to, AT(double)));
    case VALUE_DECIMAL16:
        return TYPED(decimal(to, AT(int16_t), c->is.width, c->is.scale));
    case VALUE_DECIMAL32:
        return TYPED(decimal(to, AT(int32_t), c->is.width, c->is.scale));
    case VALUE_DECIMAL64:
        return TYPED(decimal(to, AT(int64_t), c->is.width, c->is.scale));
    case VALUE_DECIMAL128:
        return TYPED(decimal128(to, AT(struct value128).upper, AT(struct value128).lower, c->is.width, c->is.scale));
    case VALUE_DATE:
        return TYPED(date(to, AT(int32_t)));
    case VALUE_TIME:
        return TYPED(time(to, AT(int64_t)));
    case VALUE_TIME_NS:
        return TYPED(time_ns(to, AT(int64_t)));
    case VALUE_TIME_TZ:
        return TYPED(time_tz(to, AT(uint64_t)));
    case VALUE_TIMESTAMP:
        return TYPED(timestamp(to, AT(int64_t)));
    case VALUE_TIMESTAMP_S:
        return TYPED(timestamp_s(to, AT(int64_t)));
    case VALUE_TIMESTAMP_MS:
        return TYPED(timestamp_ms(to, AT(int64_t)));
    case VALUE_TIMESTAMP_NS:
        return TYPED(timestamp_ns(to, AT(int64_t)));
    case VALUE_TIMESTAMP_TZ:
        return TYPED(timestamp_tz(to, AT(int64_t)));
    case VALUE_INTERVAL:
        return TYPED(interval(to, AT(struct value_interval).months, AT(struct value_interval).days,
                              AT(struct value_interval).micros));
    case VALUE_UUID:
        return TYPED(uuid(to, AT(struct value128).upper, AT(struct value128).lower));
    case VALUE_ENUM8:
        return write_text(t, at, &c->is.names[AT(uint8_t)]);
    case VALUE_ENUM16:
        return write_text(t, at, &c->is.names[AT(uint16_t)]);
    case VALUE_ENUM32:
        return write_text(t, at, &c->is.names[AT(uint32_t)]);
    case VALUE_TYPES:
        break;
    }
    __builtin_unreachable();
#undef TYPED
#undef AT
}

static bool csv_begin(struct block_writer *w, const char *const *names, size_t name_count)
{
    for (size_t i = 0; i < name_count; i++) {
        size_t length = strlen(names[i]);
        uint8_t *at = block_writer_room(w, w->at, 2 * length + SLACK);
        if (!at)
            return false;
        if (csv_needs_quotes(names[i], length)) {
            at = write_quoted(at, names[i], length);
        } else {
            memcpy(at, names[i], length);
            at += length;
        }
        *at++ = i + 1 < name_count ? ',' : '\n';
        w->at = at;
    }
    return true;
}

static bool csv_chunk(struct block_writer *w, const struct chunk *chunk)
{
    struct target t = {.w = w, .row_max = chunk->column_count + SLACK};
    for (size_t i = 0; i < chunk->column_count; i++)
        t.row_max += value_max[chunk->columns[i].is.type];
    uint8_t *at = w->at;
    for (size_t row = 0; row < chunk->rows; row++) {
        at = block_writer_room(w, at, t.row_max);
        if (!at)
            return false;
        for (size_t i = 0; i < chunk->column_count; i++) {
            const struct column *c = &chunk->columns[i];
            if (!column_is_null(c, row)) {
                at = write_value(&t, at, c, row);
                if (!at)
                    return false;
            }
            *at++ = ',';
        }
        at[-1] = '\n';
    }
    w->at = at;
    return true;
}

static bool csv_end(struct block_writer *w)
{
    (void)w;
    return true;
}

const struct encoder csv_encoder = {.format = "csv", .begin = csv_begin, .chunk = csv_chunk, .end = csv_end};
