#include "worker/csv.h"

#include <string.h>

#include "worker/encoder.h"

#define ONES 0x0101010101010101ull
#define HIGHS 0x8080808080808080ull

/* The high bit of some byte is set if a byte of `word` is zero. Bits above the first zero byte may be wrong,
 * which does not matter to a yes or no. */
static inline uint64_t zero_bytes(uint64_t word)
{
    return (word - ONES) & ~word & HIGHS;
}

/* Not zero if one of eight bytes asks for quotes. Zero bytes do not, so a short word may be padded with them.
 */
static inline uint64_t special_bytes(uint64_t word)
{
    return zero_bytes(word ^ (ONES * '\n')) | zero_bytes(word ^ (ONES * '\r')) |
           zero_bytes(word ^ (ONES * ',')) |
           zero_bytes((word & ~ONES) ^ (ONES * '"')); /* '"' is 0x22 and '#' 0x23 */
}

static inline uint64_t load64(const char *data)
{
    uint64_t word;
    memcpy(&word, data, sizeof word);
    return word;
}

bool csv_needs_quotes(const char *data, size_t length)
{
    if (length == 0)
        return true;
    if (length < 8) {
        uint64_t word = 0;
        memcpy(&word, data, length);
        return special_bytes(word) != 0;
    }
    uint64_t found = 0;
    for (size_t i = 0; i + 8 <= length; i += 8) {
        found = special_bytes(load64(data + i));
        if (found)
            return true;
    }
    return special_bytes(load64(data + length - 8)) != 0;
}

/* An inlined value has zeros behind its bytes, so it is looked at whole, whatever its length. */
static inline bool inlined_needs_quotes(const struct text_value *v)
{
    uint32_t tail;
    memcpy(&tail, v->inlined + 8, sizeof tail);
    return v->length == 0 || (special_bytes(load64(v->inlined)) | special_bytes(tail)) != 0;
}

static bool write_quoted(struct output *o, const char *data, size_t length, struct error *e)
{
    if (!output_write_byte(o, '"', e))
        return false;
    const char *end = data + length;
    while (data < end) {
        const char *quote = memchr(data, '"', (size_t)(end - data));
        const char *stop = quote ? quote + 1 : end;
        if (!output_write(o, data, (size_t)(stop - data), e) || (quote && !output_write_byte(o, '"', e)))
            return false;
        data = stop;
    }
    return output_write_byte(o, '"', e);
}

static bool write_text(struct output *o, const char *data, size_t length, struct error *e)
{
    return csv_needs_quotes(data, length) ? write_quoted(o, data, length, e)
                                          : output_write(o, data, length, e);
}

static bool csv_begin(struct output *o, const char *const *names, size_t name_count, struct error *e)
{
    for (size_t i = 0; i < name_count; i++)
        if ((i > 0 && !output_write_byte(o, ',', e)) || !write_text(o, names[i], strlen(names[i]), e))
            return false;
    return output_write_byte(o, '\n', e);
}

/* A value and the byte behind it. The common case, a short value without quotes, is one copy of fixed size:
 * what is copied too much is overwritten by the next value. */
static inline bool write_value(struct output *o, const struct text_value *v, char follow, struct error *e)
{
    if (v->length <= TEXT_INLINE_MAX) {
        if (!inlined_needs_quotes(v)) {
            uint8_t *room = output_reserve(o, TEXT_INLINE_MAX + 1);
            if (room) {
                memcpy(room, v->inlined, TEXT_INLINE_MAX);
                room[v->length] = (uint8_t)follow;
                output_commit(o, v->length + 1);
                return true;
            }
            return output_write(o, v->inlined, v->length, e) && output_write_byte(o, follow, e);
        }
        return write_quoted(o, v->inlined, v->length, e) && output_write_byte(o, follow, e);
    }
    return write_text(o, v->outside.pointer, v->length, e) && output_write_byte(o, follow, e);
}

static bool csv_chunk(struct output *o, const struct text_chunk *chunk, struct error *e)
{
    size_t last = chunk->column_count - 1;
    for (size_t row = 0; row < chunk->rows; row++) {
        for (size_t i = 0; i <= last; i++) {
            const struct text_column *c = &chunk->columns[i];
            char follow = i < last ? ',' : '\n';
            if (text_column_is_null(c, row) ? !output_write_byte(o, follow, e)
                                            : !write_value(o, &c->values[row], follow, e))
                return false;
        }
    }
    return true;
}

static bool csv_end(struct output *o, struct error *e)
{
    (void)o;
    (void)e;
    return true;
}

const struct encoder csv_encoder = {.format = "csv", .begin = csv_begin, .chunk = csv_chunk, .end = csv_end};
