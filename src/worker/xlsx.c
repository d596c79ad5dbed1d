/* Rows as the XML of sheets. What Excel would keep is a value of its own kind; what it would change is text: whole
 * numbers and decimals of more than 15 digits, instants finer than a millisecond or outside of Excel's calendar,
 * NaN, infinities. */
#include "worker/xlsx.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "worker/encoder.h"
#include "worker/typed_values.h"
#include "worker/xlsx_text.h"

/* Room for a cell's tags and a short value, with what the value's text may overwrite. */
#define CELL_ROOM 256

/* Longer texts are written in pieces, so that no memory is kept for what they may need. */
#define PIECE ((size_t)1 << 10)

#define NUMBER_MAX INT64_C(999999999999999) /* Excel keeps 15 digits of what is typed or edited */
#define GENERAL_MAX INT64_C(99999999999)    /* shown by General without an exponent */

/* Days since 1970 and their number in Excel. Before March 1900 that counts a day too many: 1900 is a leap year to
 * it. */
#define DAY_ZERO 25569
#define DAYS_MIN (-25508) /* 1900-03-01 */
#define DAYS_MAX 2932896  /* 9999-12-31 */
#define MILLIS_DAY INT64_C(86400000)

/* The beginning of a column's cells: `<c r="AB\x02"`. */
struct head {
    char text[15];
    uint8_t length;
};

struct plan {
    const struct file_form *form;
    struct encoder_columns columns;
    struct head heads[];
};

/* Where a cell goes. */
struct target {
    const struct plan *plan;
    struct block_writer *w;
    size_t column;
};

/* Of the thread's last call that failed for a value. */
static _Thread_local struct error refused;

/* --- pieces of XML; ahead of `at` there is room --- */

/* `text` is a literal: its length is known to the compiler. */
#define put(at, text) ((uint8_t *)memcpy(at, text, sizeof(text) - 1) + sizeof(text) - 1)

static inline uint8_t *put_head(const struct target *t, uint8_t *at)
{
    const struct head *h = &t->plan->heads[t->column];
    memcpy(at, h->text, sizeof h->text);
    return at + h->length;
}

static inline uint8_t *begin_number(const struct target *t, uint8_t *at, enum xlsx_style style)
{
    at = put_head(t, at);
    if (style != XLSX_GENERAL) {
        at = put(at, " s=\"0\"");
        at[-2] = (uint8_t)('0' + style);
    }
    return put(at, "><v>");
}

static inline uint8_t *end_number(char *at)
{
    return put(at, "</v></c>");
}

static inline uint8_t *begin_text(const struct target *t, uint8_t *at)
{
    return put(put_head(t, at), " t=\"inlineStr\"><is><t>");
}

static inline uint8_t *end_text(void *at)
{
    return put(at, "</t></is></c>");
}

/* --- texts --- */

/* Needs PIECE at most, or makes room. NULL: out of memory. */
static uint8_t *write_escaped(struct block_writer *w, uint8_t *at, const char *data, size_t length)
{
    const char *end = data + length;
    while (data < end) {
        size_t n = (size_t)(end - data) < PIECE ? (size_t)(end - data) : PIECE;
        at = block_writer_room(w, at, XLSX_GROWTH * n + CELL_ROOM);
        if (!at)
            return NULL;
        at = xlsx_escape(at, &data, data + n, end);
    }
    return at;
}

static void refuse_long(const struct target *t, size_t units)
{
    const char *name = t->plan->columns.names[t->column];
    error_set(&refused, ERROR_QUERY,
              "column '%.*s' has a text of %zu characters, and a cell in XLSX holds %d: cut it in the query, or ask "
              "for the option long_text \"cut\"",
              (int)utf8_prefix(name, strlen(name), 64), name, units, XLSX_TEXT_MAX);
    t->w->refused = &refused;
}

/* false: too long, and not to be cut. */
static bool fit(const struct target *t, const char *data, size_t *length)
{
    size_t units = xlsx_units(data, *length);
    if (units <= XLSX_TEXT_MAX)
        return true;
    if (!t->plan->form->cut_long_text) {
        refuse_long(t, units);
        return false;
    }
    *length = xlsx_prefix(data, *length, XLSX_TEXT_MAX);
    t->w->altered++;
    return true;
}

static uint8_t *write_text(const struct target *t, uint8_t *at, const char *data, size_t length, enum xlsx_style style)
{
    if (length > XLSX_TEXT_MAX && !fit(t, data, &length))
        return NULL;
    at = block_writer_room(t->w, put_head(t, at), CELL_ROOM);
    if (!at)
        return NULL;
    if (style == XLSX_HEADER)
        at = put(at, " s=\"1\"");
    at = put(at, " t=\"inlineStr\"><is><t");
    if (length > 0 && (xlsx_is_blank(data[0]) || xlsx_is_blank(data[length - 1])))
        at = put(at, " xml:space=\"preserve\"");
    *at++ = '>';
    at = write_escaped(t->w, at, data, length);
    return at ? end_text(at) : NULL;
}

/* Most are short, and plain: one load of the whole value. */
static inline uint8_t *write_value_text(const struct target *t, uint8_t *at, const struct text_value *v)
{
    if (v->length > TEXT_INLINE_MAX)
        return write_text(t, at, v->outside.pointer, v->length, XLSX_GENERAL);
    if (v->length == 0 || xlsx_is_blank(v->inlined[0]) || xlsx_is_blank(v->inlined[v->length - 1]) ||
        !xlsx_is_plain(v->inlined, v->length))
        return write_text(t, at, v->inlined, v->length, XLSX_GENERAL);
    at = begin_text(t, at);
    memcpy(at, v->inlined, TEXT_INLINE_MAX);
    return end_text(at + v->length);
}

/* --- values of a kind of their own; NULL: Excel would change it, so it is to be text --- */

static inline uint8_t *write_bool(const struct target *t, uint8_t *at, bool v)
{
    at = put(put_head(t, at), " t=\"b\"><v>0</v></c>");
    at[-9] = v ? '1' : '0';
    return at;
}

static inline uint8_t *write_small(const struct target *t, uint8_t *at, int64_t v)
{
    return end_number(text_of_int64((char *)begin_number(t, at, XLSX_GENERAL), v));
}

static inline uint8_t *write_integer(const struct target *t, uint8_t *at, int64_t v)
{
    if (v > NUMBER_MAX || v < -NUMBER_MAX)
        return NULL;
    bool general = v <= GENERAL_MAX && v >= -GENERAL_MAX;
    return end_number(text_of_int64((char *)begin_number(t, at, general ? XLSX_GENERAL : XLSX_INTEGER), v));
}

static uint8_t *write_uint64(const struct target *t, uint8_t *at, uint64_t v)
{
    return v <= INT64_MAX ? write_integer(t, at, (int64_t)v) : NULL;
}

static uint8_t *write_int128(const struct target *t, uint8_t *at, struct value128 v)
{
    return v.upper == (int64_t)v.lower >> 63 ? write_integer(t, at, (int64_t)v.lower) : NULL;
}

static uint8_t *write_uint128(const struct target *t, uint8_t *at, struct value128 v)
{
    return v.upper == 0 ? write_uint64(t, at, v.lower) : NULL;
}

/* v x 10^-scale; zeros at the end of the fraction are no digits that count. */
static uint8_t *write_decimal(const struct target *t, uint8_t *at, __int128 v, unsigned scale)
{
    while ((v > NUMBER_MAX || v < -NUMBER_MAX) && scale > 0 && v % 10 == 0) {
        v /= 10;
        scale--;
    }
    if (v > NUMBER_MAX || v < -NUMBER_MAX)
        return NULL;
    if (scale == 0)
        return write_integer(t, at, (int64_t)v);
    /* a width of more than the scale gives a zero before the point, which texts of DECIMAL(2,2) do not have */
    char *to = (char *)begin_number(t, at, XLSX_GENERAL);
    return end_number(text_of_decimal128(to, (int64_t)(v >> 64), (uint64_t)v, 39, scale));
}

static uint8_t *write_decimal128(const struct target *t, uint8_t *at, struct value128 v, unsigned scale)
{
    return write_decimal(t, at, (__int128)((unsigned __int128)(uint64_t)v.upper << 64 | v.lower), scale);
}

/* Numbers below the normal ones are 0 to Excel:
 * https://learn.microsoft.com/office/troubleshoot/excel/floating-point-arithmetic-inaccurate-result */
static inline bool is_normal(double v)
{
    double magnitude = __builtin_fabs(v);
    return (magnitude >= 0x1p-1022 && magnitude <= 0x1.fffffffffffffp1023) || magnitude == 0;
}

/* Three powers of two whose text by text_of_double() is that of another number, as it is the engine's
 * (value_float.c). */
static inline bool is_mistaken(double v)
{
    double magnitude = __builtin_fabs(v);
    return magnitude == 0x1p81 || magnitude == 0x1p91 || magnitude == 0x1p807;
}

static uint8_t *write_double(const struct target *t, uint8_t *at, double v)
{
    if (!is_normal(v))
        return NULL;
    char *to = (char *)begin_number(t, at, XLSX_GENERAL);
    return end_number(is_mistaken(v) ? text_of_json_double(to, v) : text_of_double(to, v));
}

/* The one FLOAT (and its negative) whose shortest text, 7.038531e-26, read as a DOUBLE and rounded, is another
 * FLOAT: all have been tried. */
#define ROUNDED_TWICE 0x1.5c87fap-84f

static uint8_t *write_float(const struct target *t, uint8_t *at, float v)
{
    if (!is_normal(v))
        return NULL;
    char *to = (char *)begin_number(t, at, XLSX_GENERAL);
    bool as_double = is_mistaken(v) || __builtin_fabsf(v) == ROUNDED_TWICE;
    return end_number(as_double ? text_of_json_double(to, v) : text_of_float(to, v));
}

static uint8_t *write_date(const struct target *t, uint8_t *at, int32_t days)
{
    if (days < DAYS_MIN || days > DAYS_MAX)
        return NULL;
    return end_number(text_of_int32((char *)begin_number(t, at, XLSX_DATE), days + DAY_ZERO));
}

/* The serial number: days and their fraction, as the closest DOUBLE. */
static uint8_t *write_serial(const struct target *t, uint8_t *at, int64_t millis, enum xlsx_style whole,
                             enum xlsx_style fine)
{
    char *to = (char *)begin_number(t, at, millis % 1000 == 0 ? whole : fine);
    return end_number(text_of_double(to, (double)millis / MILLIS_DAY));
}

/* Milliseconds since 1970, of any year. */
static uint8_t *write_millis(const struct target *t, uint8_t *at, int64_t millis)
{
    if (millis < DAYS_MIN * MILLIS_DAY || millis >= (DAYS_MAX + 1) * MILLIS_DAY)
        return NULL;
    return write_serial(t, at, millis + DAY_ZERO * MILLIS_DAY, XLSX_TIMESTAMP, XLSX_TIMESTAMP_MS);
}

static uint8_t *write_seconds(const struct target *t, uint8_t *at, int64_t seconds)
{
    int64_t millis;
    return __builtin_mul_overflow(seconds, 1000, &millis) ? NULL : write_millis(t, at, millis);
}

/* `v` units since 1970, of which a millisecond has so many. */
static uint8_t *write_fine(const struct target *t, uint8_t *at, int64_t v, int64_t per_milli)
{
    return v % per_milli == 0 ? write_millis(t, at, v / per_milli) : NULL;
}

/* The same since midnight. */
static uint8_t *write_time(const struct target *t, uint8_t *at, int64_t v, int64_t per_milli)
{
    if (v < 0 || v >= MILLIS_DAY * per_milli || v % per_milli != 0)
        return NULL;
    return write_serial(t, at, v / per_milli, XLSX_TIME, XLSX_TIME_MS);
}

/* One line a type of which Excel has a kind: how `v` is written. */
#define KINDS(X)                                                                                                     \
    X(BOOL, uint8_t, write_bool(t, at, v != 0))                                                                      \
    X(INT8, int8_t, write_small(t, at, v))                                                                           \
    X(INT16, int16_t, write_small(t, at, v))                                                                         \
    X(INT32, int32_t, write_small(t, at, v))                                                                         \
    X(INT64, int64_t, write_integer(t, at, v))                                                                       \
    X(INT128, struct value128, write_int128(t, at, v))                                                               \
    X(UINT8, uint8_t, write_small(t, at, v))                                                                         \
    X(UINT16, uint16_t, write_small(t, at, v))                                                                       \
    X(UINT32, uint32_t, write_small(t, at, v))                                                                       \
    X(UINT64, uint64_t, write_uint64(t, at, v))                                                                      \
    X(UINT128, struct value128, write_uint128(t, at, v))                                                             \
    X(FLOAT, float, write_float(t, at, v))                                                                           \
    X(DOUBLE, double, write_double(t, at, v))                                                                        \
    X(DECIMAL16, int16_t, write_decimal(t, at, v, c->is.scale))                                                      \
    X(DECIMAL32, int32_t, write_decimal(t, at, v, c->is.scale))                                                      \
    X(DECIMAL64, int64_t, write_decimal(t, at, v, c->is.scale))                                                      \
    X(DECIMAL128, struct value128, write_decimal128(t, at, v, c->is.scale))                                          \
    X(DATE, int32_t, write_date(t, at, v))                                                                           \
    X(TIME, int64_t, write_time(t, at, v, 1000))                                                                     \
    X(TIME_NS, int64_t, write_time(t, at, v, 1000000))                                                               \
    X(TIMESTAMP, int64_t, write_fine(t, at, v, 1000))                                                                \
    X(TIMESTAMP_S, int64_t, write_seconds(t, at, v))                                                                 \
    X(TIMESTAMP_MS, int64_t, write_millis(t, at, v))                                                                 \
    X(TIMESTAMP_NS, int64_t, write_fine(t, at, v, 1000000))

static inline uint8_t *write_kind(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    switch (c->is.type) {
#define KIND_CASE(kind, ctype, written)                                                                              \
    case VALUE_##kind: {                                                                                             \
        const ctype v = ((const ctype *)c->values)[row];                                                             \
        return written;                                                                                              \
    }
        KINDS(KIND_CASE)
    default:
        return NULL;
    }
}

/* --- rows --- */

/* As in CSV. */
static uint8_t *write_as_text(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    char *to = (char *)begin_text(t, at);
    switch (c->is.type) {
#define TEXT_CASE(kind, ctype, max, text)                                                                            \
    case VALUE_##kind: {                                                                                             \
        const ctype v = ((const ctype *)c->values)[row];                                                             \
        return end_text(text);                                                                                       \
    }
        TYPED_VALUES(TEXT_CASE)
    default:
        __builtin_unreachable();
    }
}

/* Ahead of `at` there is CELL_ROOM. NULL: as the encoder's functions fail. */
static inline uint8_t *write_value(const struct target *t, uint8_t *at, const struct column *c, size_t row)
{
    if (c->is.type == VALUE_TEXT)
        return write_value_text(t, at, (const struct text_value *)c->values + row);
    uint8_t *end = write_kind(t, at, c, row);
    return end ? end : write_as_text(t, at, c, row);
}

static bool xlsx_chunk(const void *plan, struct block_writer *w, const struct chunk *chunk)
{
    struct target t = {.plan = plan, .w = w};
    uint8_t *at = w->at;
    for (size_t row = 0; row < chunk->rows; row++) {
        at = block_writer_room(w, at, CELL_ROOM);
        if (!at)
            return false;
        *at++ = XLSX_ROW;
        for (t.column = 0; t.column < chunk->column_count; t.column++) {
            const struct column *c = &chunk->columns[t.column];
            if (column_is_null(c, row))
                continue;
            at = block_writer_room(w, at, CELL_ROOM);
            at = at ? write_value(&t, at, c, row) : NULL;
            if (!at)
                return false;
        }
        at = block_writer_room(w, at, CELL_ROOM);
        if (!at)
            return false;
        at = put(at, "</row>");
        block_writer_end_row(w, at);
    }
    w->at = at;
    return true;
}

/* --- before the first row --- */

/* A, ..., Z, AA, ..., XFD */
static void set_head(struct head *h, size_t column)
{
    char letters[3];
    size_t count = 0;
    for (size_t n = column + 1; n > 0; n = (n - 1) / 26)
        letters[count++] = (char)('A' + (n - 1) % 26);
    *h = (struct head){.text = "<c r=\""};
    h->length = (uint8_t)strlen(h->text);
    while (count > 0)
        h->text[h->length++] = letters[--count];
    h->text[h->length++] = XLSX_ROW_NUMBER;
    h->text[h->length++] = '"';
}

static void *xlsx_prepare(const struct file_form *form, const struct encoder_columns *columns, struct error *e)
{
    if (columns->count > XLSX_COLUMNS_MAX) {
        error_set(e, ERROR_QUERY, "the result has %zu columns, and a sheet in XLSX holds %d", columns->count,
                  XLSX_COLUMNS_MAX);
        return NULL;
    }
    struct plan *p = malloc(sizeof *p + columns->count * sizeof p->heads[0]);
    if (!p) {
        error_set(e, ERROR_MEMORY, "out of memory");
        return NULL;
    }
    *p = (struct plan){.form = form, .columns = *columns};
    for (size_t i = 0; i < columns->count; i++)
        set_head(&p->heads[i], i);
    return p;
}

/* In characters; 0: the usual one. A date in a column that is too narrow is shown as ####. */
static unsigned width_of(const char *type)
{
    static const struct {
        const char *type;
        unsigned width;
    } widths[] = {
        {"TIMESTAMP", 24}, /* and all that begin with this word */
        {"TIME", 14},      /* as well */
        {"DATE", 12},      {"BIGINT", 17}, {"UBIGINT", 17}, {"HUGEINT", 17}, {"UHUGEINT", 17},
    };
    for (size_t i = 0; i < ARRAY_SIZE(widths); i++)
        if (strncmp(type, widths[i].type, strlen(widths[i].type)) == 0)
            return widths[i].width;
    return 0;
}

static bool write_widths(const struct plan *p, struct block_writer *w)
{
    bool any = false;
    for (size_t i = 0; i < p->columns.count; i++) {
        unsigned width = width_of(p->columns.types[i]);
        if (width == 0)
            continue;
        w->at = block_writer_room(w, w->at, CELL_ROOM);
        if (!w->at)
            return false;
        w->at += snprintf((char *)w->at, CELL_ROOM, "%s<col min=\"%zu\" max=\"%zu\" width=\"%u\" customWidth=\"1\"/>",
                          any ? "" : "<cols>", i + 1, i + 1, width);
        any = true;
    }
    if (any)
        w->at = put(w->at, "</cols>");
    return true;
}

static bool write_header(const struct plan *p, struct block_writer *w)
{
    struct target t = {.plan = p, .w = w};
    *w->at++ = XLSX_ROW;
    for (; t.column < p->columns.count; t.column++) {
        const char *name = p->columns.names[t.column];
        uint8_t *at = block_writer_room(w, w->at, CELL_ROOM);
        at = at ? write_text(&t, at, name, strlen(name), p->form->bold_header ? XLSX_HEADER : XLSX_GENERAL) : NULL;
        at = at ? block_writer_room(w, at, CELL_ROOM) : NULL;
        if (!at)
            return false;
        w->at = at;
    }
    w->at = put(w->at, "</row>");
    return true;
}

static bool xlsx_begin(const void *plan, struct block_writer *w)
{
    const struct plan *p = plan;
    w->at = block_writer_room(w, w->at, 4 * CELL_ROOM);
    if (!w->at)
        return false;
    w->at = put(w->at, "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n"
                       "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\">");
    if (p->form->header && p->form->freeze_header)
        w->at = put(w->at, "<sheetViews><sheetView workbookViewId=\"0\"><pane ySplit=\"1\" topLeftCell=\"A2\" "
                           "activePane=\"bottomLeft\" state=\"frozen\"/></sheetView></sheetViews>");
    if (!write_widths(p, w))
        return false;
    w->at = block_writer_room(w, w->at, CELL_ROOM);
    if (!w->at)
        return false;
    w->at = put(w->at, "<sheetData>");
    return !p->form->header || write_header(p, w);
}

static bool xlsx_end(const void *plan, struct block_writer *w)
{
    (void)plan;
    (void)w;
    return true;
}

const struct encoder xlsx_encoder = {
    .local_time = true, .prepare = xlsx_prepare, .begin = xlsx_begin, .chunk = xlsx_chunk, .end = xlsx_end};
