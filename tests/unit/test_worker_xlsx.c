/* XLSX: the XML of cells, by type and value, and of texts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "worker/encoder.h"
#include "worker/xlsx.h"
#include "worker/xlsx_text.h"
#include "text_values.h"

struct encoded {
    struct buf xml;
    uint64_t altered;
    struct error error; /* ERROR_NONE: it was encoded */
};

static bool write_all(const void *plan, struct block_writer *w, const struct chunk *chunk)
{
    return xlsx_encoder.begin(plan, w) && (!chunk || xlsx_encoder.chunk(plan, w, chunk)) && xlsx_encoder.end(plan, w);
}

/* What stands before the rows, and those of the chunk, if there is one. */
static void encode(const struct file_form *form, const struct encoder_columns *columns, const struct chunk *chunk,
                   struct encoded *ret)
{
    struct block_pool *pool = block_pool_new();
    struct block_writer w;
    assert_non_null(pool);
    assert_true(block_writer_begin(&w, pool, chunk ? chunk->rows : 0));
    *ret = (struct encoded){.error.code = ERROR_NONE};
    buf_init(&ret->xml, 64 << 20);
    void *plan = xlsx_encoder.prepare(form, columns, &ret->error);
    if (plan && write_all(plan, &w, chunk)) {
        assert_int_equal(w.row_count, chunk ? chunk->rows : 0);
        struct block *list = block_writer_end(&w, w.row_count);
        for (const struct block *b = list; b; b = b->next)
            buf_append(&ret->xml, b->data, b->length);
        ret->altered = list->altered;
        block_pool_give_back(pool, list);
    } else {
        if (plan) {
            assert_non_null(w.refused);
            ret->error = *w.refused;
        }
        block_writer_discard(&w);
    }
    free(plan);
    block_pool_free(pool);
    assert_true(buf_ok(&ret->xml));
}

static void encoded_release(struct encoded *x)
{
    buf_release(&x->xml);
}

/* --- values --- */

struct one {
    enum value_type type;
    const void *values;
    const char *cell; /* with the marks */
    uint8_t width, scale;
};

#define V(...) (const void *)(__VA_ARGS__)
#define I64(v) V(&(const int64_t){v})
#define F64(v) V(&(const double){v})
#define F32(v) V(&(const float){v})
#define NUMBER(text) "<c r=\"A\x02\"><v>" text "</v></c>"
#define STYLED(style, text) "<c r=\"A\x02\" s=\"" style "\"><v>" text "</v></c>"
#define TEXT(text) "<c r=\"A\x02\" t=\"inlineStr\"><is><t>" text "</t></is></c>"
#define KEPT(text) "<c r=\"A\x02\" t=\"inlineStr\"><is><t xml:space=\"preserve\">" text "</t></is></c>"
#define DAY_US INT64_C(86400000000)

/* One cell, without what stands around it. */
static void assert_cell(const struct one *o)
{
    static const char before[] = "<sheetData>\x01", after[] = "</row>";
    struct file_form form = file_form_default(FILE_XLSX);
    form.header = false;
    const char *const names[] = {"a"}, *const types[] = {"VARCHAR"};
    const struct column column = {.is = {o->type, o->width, o->scale}, .values = o->values};
    struct encoded x;
    encode(&form, &(struct encoder_columns){.names = names, .count = 1, .types = types},
           &(struct chunk){1, 1, &column}, &x);
    assert_int_equal(x.error.code, ERROR_NONE);
    const char *cell = strstr(x.xml.data, before);
    assert_non_null(cell);
    cell += strlen(before);
    assert_string_equal(x.xml.data + x.xml.len - strlen(after), after);
    x.xml.data[x.xml.len - strlen(after)] = '\0';
    assert_string_equal(cell, o->cell);
    encoded_release(&x);
}

static void values_are_what_excel_keeps(void **state)
{
    (void)state;
    const struct one all[] = {
        {VALUE_BOOL, V(&(uint8_t){1}), "<c r=\"A\x02\" t=\"b\"><v>1</v></c>"},
        {VALUE_BOOL, V(&(uint8_t){0}), "<c r=\"A\x02\" t=\"b\"><v>0</v></c>"},
        {VALUE_INT8, V(&(int8_t){-128}), NUMBER("-128")},
        {VALUE_INT16, V(&(int16_t){-32768}), NUMBER("-32768")},
        {VALUE_INT32, V(&(int32_t){INT32_MIN}), NUMBER("-2147483648")},
        {VALUE_UINT8, V(&(uint8_t){255}), NUMBER("255")},
        {VALUE_UINT16, V(&(uint16_t){65535}), NUMBER("65535")},
        {VALUE_UINT32, V(&(uint32_t){UINT32_MAX}), NUMBER("4294967295")},
        {VALUE_INT64, I64(0), NUMBER("0")},
        {VALUE_INT64, I64(99999999999), NUMBER("99999999999")},
        {VALUE_INT64, I64(100000000000), STYLED("2", "100000000000")},
        {VALUE_INT64, I64(-999999999999999), STYLED("2", "-999999999999999")},
        {VALUE_INT64, I64(1000000000000000), TEXT("1000000000000000")},
        {VALUE_INT64, I64(INT64_MIN), TEXT("-9223372036854775808")},
        {VALUE_UINT64, V(&(uint64_t){7}), NUMBER("7")},
        {VALUE_UINT64, V(&(uint64_t){UINT64_MAX}), TEXT("18446744073709551615")},
        {VALUE_INT128, V(&(struct value128){(uint64_t)-5, -1}), NUMBER("-5")},
        {VALUE_INT128, V(&(struct value128){(uint64_t)-5, 0}), TEXT("18446744073709551611")},
        {VALUE_INT128, V(&(struct value128){0, INT64_MIN}), TEXT("-170141183460469231731687303715884105728")},
        {VALUE_UINT128, V(&(struct value128){42, 0}), NUMBER("42")},
        {VALUE_UINT128, V(&(struct value128){UINT64_MAX, -1}), TEXT("340282366920938463463374607431768211455")},
        {VALUE_DECIMAL16, V(&(int16_t){150}), NUMBER("1.50"), 4, 2},
        {VALUE_DECIMAL16, V(&(int16_t){-5}), NUMBER("-0.05"), 2, 2},
        {VALUE_DECIMAL32, V(&(int32_t){7}), NUMBER("7"), 9, 0},
        {VALUE_DECIMAL64, I64(999999999999999), NUMBER("99999999999.9999"), 18, 4},
        {VALUE_DECIMAL64, I64(1000000000000001), TEXT("100000000000.0001"), 18, 4},
        {VALUE_DECIMAL64, I64(999999999999999000), STYLED("2", "999999999999999"), 18, 3},
        {VALUE_DECIMAL64, I64(100000000000000000), NUMBER("10.0000000000000"), 18, 16},
        {VALUE_DECIMAL64, I64(1000000000000000), TEXT("1000000000000000"), 18, 0},
        /* 15 x 10^36 */
        {VALUE_DECIMAL128, V(&(struct value128){0x816e51f000000000u, 0xb48e51940c76a45}), NUMBER("1.50000000000000"),
         38, 37},
        {VALUE_DECIMAL128, V(&(struct value128){UINT64_MAX, INT64_MAX}),
         TEXT("1.70141183460469231731687303715884105727"), 38, 38},
        {VALUE_DOUBLE, F64(0.1), NUMBER("0.1")},
        {VALUE_DOUBLE, F64(-1e300), NUMBER("-1e+300")},
        {VALUE_DOUBLE, F64(0.1 + 0.2), NUMBER("0.30000000000000004")},
        {VALUE_DOUBLE, F64(-0.0), NUMBER("-0.0")},
        {VALUE_DOUBLE, F64(0x1p-1022), NUMBER("2.2250738585072014e-308")},
        {VALUE_DOUBLE, F64(0x1p-1074), TEXT("5e-324")},
        {VALUE_DOUBLE, F64(-0x1p-1023), TEXT("-1.1125369292536007e-308")},
        {VALUE_DOUBLE, F64(__DBL_MAX__), NUMBER("1.7976931348623157e+308")},
        {VALUE_DOUBLE, F64(__builtin_inf()), TEXT("inf")},
        {VALUE_DOUBLE, F64(-__builtin_inf()), TEXT("-inf")},
        {VALUE_DOUBLE, F64(__builtin_nan("")), TEXT("nan")},
        {VALUE_FLOAT, F32(0.1f), NUMBER("0.1")},
        {VALUE_FLOAT, F32(0x1p-149f), NUMBER("1e-45")},
        /* -7.038531e-26 by way of a double is another */
        {VALUE_FLOAT, F32(-0x1.5c87fap-84f), NUMBER("-7.038530691851209e-26")},
        {VALUE_FLOAT, F32(0x1p81f), NUMBER("2.4178516392292583e24")},
        {VALUE_FLOAT, F32(-__builtin_inff()), TEXT("-inf")},
        {VALUE_FLOAT, F32(__builtin_nanf("")), TEXT("nan")},
        {VALUE_DATE, V(&(int32_t){0}), STYLED("3", "25569")},
        {VALUE_DATE, V(&(int32_t){-25508}), STYLED("3", "61")}, /* 1900-03-01 */
        {VALUE_DATE, V(&(int32_t){-25509}), TEXT("1900-02-28")},
        {VALUE_DATE, V(&(int32_t){2932896}), STYLED("3", "2958465")}, /* 9999-12-31 */
        {VALUE_DATE, V(&(int32_t){2932897}), TEXT("10000-01-01")},
        {VALUE_DATE, V(&(int32_t){INT32_MAX}), TEXT("infinity")},
        {VALUE_DATE, V(&(int32_t){-INT32_MAX}), TEXT("-infinity")},
        {VALUE_TIMESTAMP, I64(0), STYLED("4", "25569.0")},
        {VALUE_TIMESTAMP, I64(DAY_US / 2), STYLED("4", "25569.5")},
        {VALUE_TIMESTAMP, I64(-1000), STYLED("5", "25568.999999988428")},
        {VALUE_TIMESTAMP, I64(1), TEXT("1970-01-01 00:00:00.000001")},
        {VALUE_TIMESTAMP, I64(-25508 * DAY_US), STYLED("4", "61.0")},
        {VALUE_TIMESTAMP, I64(-25508 * DAY_US - 1000), TEXT("1900-02-28 23:59:59.999")},
        {VALUE_TIMESTAMP, I64(2932897 * DAY_US - 1000), STYLED("5", "2958465.9999999884")},
        {VALUE_TIMESTAMP, I64(2932897 * DAY_US), TEXT("10000-01-01 00:00:00")},
        {VALUE_TIMESTAMP, I64(INT64_MAX), TEXT("infinity")},
        {VALUE_TIMESTAMP, I64(-INT64_MAX), TEXT("-infinity")},
        {VALUE_TIMESTAMP_S, I64(43200), STYLED("4", "25569.5")},
        {VALUE_TIMESTAMP_S, I64(INT64_MAX), TEXT("infinity")},
        {VALUE_TIMESTAMP_MS, I64(43200001), STYLED("5", "25569.500000011572")},
        {VALUE_TIMESTAMP_MS, I64(-INT64_MAX), TEXT("-infinity")},
        {VALUE_TIMESTAMP_NS, I64(43200000000000), STYLED("4", "25569.5")},
        {VALUE_TIMESTAMP_NS, I64(1000), TEXT("1970-01-01 00:00:00.000001")},
        {VALUE_TIMESTAMP_NS, I64(-INT64_C(2208988800000000000)), TEXT("1900-01-01 00:00:00")},
        {VALUE_TIMESTAMP_NS, I64(INT64_MAX), TEXT("infinity")},
        {VALUE_TIMESTAMP_TZ, I64(0), TEXT("1970-01-01 00:00:00+00")},
        {VALUE_TIME, I64(0), STYLED("6", "0.0")},
        {VALUE_TIME, I64(DAY_US / 4), STYLED("6", "0.25")},
        {VALUE_TIME, I64(1000), STYLED("7", "1.1574074074074074e-08")},
        {VALUE_TIME, I64(DAY_US - 1), TEXT("23:59:59.999999")},
        {VALUE_TIME, I64(DAY_US), TEXT("24:00:00")},
        {VALUE_TIME_NS, I64(DAY_US / 4 * 1000), STYLED("6", "0.25")},
        {VALUE_TIME_NS, I64(1000001), TEXT("00:00:00.001000001")},
        {VALUE_TIME_TZ, V(&(uint64_t){57599}), TEXT("00:00:00+00")},
        {VALUE_INTERVAL, V(&(struct value_interval){14, 3, 500000}), TEXT("1 year 2 months 3 days 00:00:00.5")},
        {VALUE_UUID, V(&(struct value128){0, INT64_MIN}), TEXT("00000000-0000-0000-0000-000000000000")},
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++)
        assert_cell(&all[i]);
}

/* The three whose text in CSV, which is the engine's, is that of another number. */
static void doubles_read_back_as_themselves(void **state)
{
    (void)state;
    uint64_t random = 88172645463325252;
    for (int i = 0; i < 100000 + 2 * 2046; i++) {
        random ^= random << 13;
        random ^= random >> 7;
        random ^= random << 17;
        uint64_t bits = i < 100000 ? random : (uint64_t)((i - 100000) / 2 + 1) << 52 | (uint64_t)(i % 2) << 63;
        double v, back;
        float f;
        memcpy(&v, &bits, sizeof v);
        memcpy(&f, &bits, sizeof f);
        struct file_form form = file_form_default(FILE_XLSX);
        form.header = false;
        const struct column columns[] = {{.is.type = VALUE_DOUBLE, .values = &v},
                                         {.is.type = VALUE_FLOAT, .values = &f}};
        const char *const names[] = {"a", "b"}, *const types[] = {"DOUBLE", "FLOAT"};
        struct encoded x;
        encode(&form, &(struct encoder_columns){.names = names, .count = 2, .types = types},
               &(struct chunk){1, 2, columns}, &x);
        const char *first = strstr(x.xml.data, "r=\"A"), *second = strstr(x.xml.data, "r=\"B");
        if (v - v == 0 && !(v < 0x1p-1022 && v > -0x1p-1022)) {
            back = strtod(strstr(first, "<v>") + 3, NULL);
            assert_memory_equal(&back, &v, sizeof v);
        }
        if (f - f == 0) {
            float read = (float)strtod(strstr(second, "<v>") + 3, NULL); /* as Excel would: by way of a double */
            assert_memory_equal(&read, &f, sizeof f);
        }
        encoded_release(&x);
    }
}

/* What a reader makes of a serial number: days, and the closest millisecond. */
static void serial_numbers_are_exact_to_the_millisecond(void **state)
{
    (void)state;
    uint64_t random = 1;
    const int64_t first = -25508 * DAY_US / 1000, last = 2932897 * DAY_US / 1000 - 1;
    for (int i = 0; i < 100000; i++) {
        random = random * 6364136223846793005 + 1442695040888963407;
        int64_t millis = i == 0 ? first : i == 1 ? last : first + (int64_t)((random >> 8) % (uint64_t)(last - first));
        struct file_form form = file_form_default(FILE_XLSX);
        form.header = false;
        const struct column column = {.is.type = VALUE_TIMESTAMP_MS, .values = &millis};
        const char *const names[] = {"a"}, *const types[] = {"TIMESTAMP_MS"};
        struct encoded x;
        encode(&form, &(struct encoder_columns){.names = names, .count = 1, .types = types},
               &(struct chunk){1, 1, &column}, &x);
        double serial = strtod(strstr(x.xml.data, "<v>") + 3, NULL);
        int64_t day = (int64_t)serial;
        assert_int_equal((day - 25569) * 86400000 + (int64_t)((serial - (double)day) * 86400000 + 0.5), millis);
        encoded_release(&x);
    }
}

static void texts_are_xml(void **state)
{
    (void)state;
    static const struct {
        const char *text, *cell;
    } all[] = {
        {"", TEXT("")},
        {"plain", TEXT("plain")},
        {"twelve bytes", TEXT("twelve bytes")},
        {"a text of more bytes than that", TEXT("a text of more bytes than that")},
        {" in front", KEPT(" in front")},
        {"behind\n", KEPT("behind\n")},
        {"\t", KEPT("\t")},
        {"in  the\tmiddle\n!", TEXT("in  the\tmiddle\n!")},
        {"a<b>&c\"d'", TEXT("a&lt;b&gt;&amp;c\"d'")},
        {"=1+1", TEXT("=1+1")},
        {"line\r\nend", TEXT("line_x000D_\nend")},
        {"\x01\x02\x1f\x7f", TEXT("_x0001__x0002__x001F_\x7f")},
        {"snake_case_x", TEXT("snake_case_x")},
        {"_x0041_", TEXT("_x005F_x0041_")},
        {"_x00e4_", TEXT("_x005F_x00e4_")},
        {"_x0041", TEXT("_x0041")},
        {"_x004g_", TEXT("_x004g_")},
        {"_X0041_", TEXT("_X0041_")},
        {"_x0041_x0042_", TEXT("_x005F_x0041_x005F_x0042_")},
        {"_x0041\r", TEXT("_x005F_x0041_x000D_")},          /* else its end and our escape's beginning would be one */
        {"_x0041\xEF\xBF\xBF", TEXT("_x005F_x0041_xFFFF_")}, /* as well */
        {"_x0041\xEF\xBC\xA1", TEXT("_x0041\xEF\xBC\xA1")},
        {"\xEF\xBF\xBE\xEF\xBF\xBF", TEXT("_xFFFE__xFFFF_")},
        {"\xEF\xBB\xBF\xEF\xBF\xBD", TEXT("\xEF\xBB\xBF\xEF\xBF\xBD")},
        {"\xF0\x9F\xA6\x86 \xC3\xA4", TEXT("\xF0\x9F\xA6\x86 \xC3\xA4")},
    };
    for (size_t i = 0; i < ARRAY_SIZE(all); i++) {
        const struct text_value v = text(all[i].text);
        assert_cell(&(struct one){VALUE_TEXT, &v, all[i].cell});
    }
    const struct text_value nul = value("a\0b", 3);
    assert_cell(&(struct one){VALUE_TEXT, &nul, TEXT("a_x0000_b")});
}

/* --- texts of every length --- */

static int hex4(const char *at)
{
    char digits[5] = {at[0], at[1], at[2], at[3], 0};
    char *end;
    long v = strtol(digits, &end, 16);
    return end == digits + 4 ? (int)v : -1;
}

/* A reader: entities, then _xHHHH_ from left to right. */
static void read_back(const char *xml, size_t length, struct buf *out)
{
    static const char *const entities[][2] = {{"&lt;", "<"}, {"&gt;", ">"}, {"&amp;", "&"}};
    for (size_t i = 0; i < length;) {
        size_t before = i;
        for (size_t k = 0; k < ARRAY_SIZE(entities); k++)
            if (strncmp(xml + i, entities[k][0], strlen(entities[k][0])) == 0) {
                buf_append(out, entities[k][1], 1);
                i += strlen(entities[k][0]);
            }
        int code = i + 7 <= length && memcmp(xml + i, "_x", 2) == 0 && xml[i + 6] == '_' ? hex4(xml + i + 2) : -1;
        if (code >= 0) {
            const char tail[] = {(char)0xEF, (char)0xBF, (char)(0x80 | (code & 0x3F))};
            buf_append(out, code > 0xFF ? tail : &(const char){(char)code}, code > 0xFF ? 3 : 1);
            i += 7;
        } else if (i == before) {
            assert_false((uint8_t)xml[i] < 0x20 && xml[i] != '\t' && xml[i] != '\n');
            assert_null(strchr("<>&", xml[i]));
            buf_append(out, xml + i++, 1);
        }
    }
}

static void texts_of_any_length_read_back(void **state)
{
    (void)state;
    static const char *const pieces[] = {
        "_x0041_", "_x004", "_", "x0041_", "\r", "\n", "&", "<", ">", "\x01", "\xEF\xBF\xBE", "\xEF\xBF\xBF", "\xEF\xBC\xA1",
        "a", "plain text of some length", "\xC3\xA4", "\xF0\x9F\xA6\x86", "x", "0", "]]>"};
    enum { ROWS = 1500, LONGEST = 30000 };
    static char texts[ROWS][LONGEST + 32];
    static struct text_value values[ROWS];
    uint32_t random = 1;
    for (size_t row = 0; row < ROWS; row++) {
        size_t length = 0, wanted = row % 100 == 99 ? LONGEST : row % 4 ? row / 8 : row * 3;
        while (length < wanted) {
            random = random * 1103515245 + 12345;
            const char *piece = pieces[(random >> 16) % ARRAY_SIZE(pieces)];
            memcpy(texts[row] + length, piece, strlen(piece));
            length += strlen(piece);
        }
        values[row] = value(texts[row], length);
    }
    struct file_form form = file_form_default(FILE_XLSX);
    const char *const names[] = {"a", "b"}, *const types[] = {"VARCHAR", "VARCHAR"};
    const struct column columns[] = {{.values = values}, {.values = values}};
    struct encoded x;
    encode(&form, &(struct encoder_columns){.names = names, .count = 2, .types = types},
           &(struct chunk){ROWS, 2, columns}, &x);
    struct buf back;
    buf_init(&back, 1 << 20);
    const char *at = strstr(x.xml.data, "</row>");
    for (size_t i = 0; i < 2 * ROWS; i++) {
        at = strstr(strstr(at, "<t") + 2, ">") + 1;
        const char *end = strstr(at, "</t>");
        buf_clear(&back);
        read_back(at, (size_t)(end - at), &back);
        assert_int_equal(back.len, values[i / 2].length);
        assert_memory_equal(back.data ? back.data : "", text_value_data(&values[i / 2]), back.len);
        at = end;
    }
    assert_null(strstr(at, "<t"));
    buf_release(&back);
    encoded_release(&x);
}

/* --- limits --- */

/* `count` times the character. */
static char *repeat(const char *character, size_t count)
{
    size_t length = strlen(character);
    char *all = test_malloc(count * length + 1);
    for (size_t i = 0; i < count; i++)
        memcpy(all + i * length, character, length);
    all[count * length] = '\0';
    return all;
}

static void assert_long(const char *character, size_t count, size_t kept, bool cut)
{
    struct file_form form = file_form_default(FILE_XLSX);
    form.cut_long_text = cut;
    const char *const names[] = {"short", "a long one"}, *const types[] = {"INTEGER", "VARCHAR"};
    char *long_text = repeat(character, count);
    const struct text_value v = text(long_text);
    const struct column columns[] = {{.is.type = VALUE_INT32, .values = &(int32_t){1}}, {.values = &v}};
    struct encoded x;
    encode(&form, &(struct encoder_columns){.names = names, .count = 2, .types = types},
           &(struct chunk){1, 2, columns}, &x);
    if (kept == 0) {
        assert_int_equal(x.error.code, ERROR_QUERY);
        assert_non_null(strstr(x.error.message, "'a long one'"));
        assert_non_null(strstr(x.error.message, "32768"));
    } else {
        const char *end = strstr(x.xml.data, "</t></is></c></row>");
        const char *begin = strstr(end + 1, "<t>") + 3;
        end = strstr(begin, "</t>");
        assert_int_equal(x.error.code, ERROR_NONE);
        assert_int_equal(x.altered, kept < count);
        assert_int_equal((size_t)(end - begin), kept * strlen(character));
        assert_memory_equal(begin, long_text, kept * strlen(character));
    }
    test_free(long_text);
    encoded_release(&x);
}

static void long_texts_are_refused_or_cut(void **state)
{
    (void)state;
    assert_long("x", 32767, 32767, false);
    assert_long("x", 32768, 0, false);
    assert_long("x", 32768, 32767, true);
    assert_long("\xC3\xA4", 32767, 32767, false); /* bytes do not count */
    assert_long("\xC3\xA4", 32768, 0, false);
    assert_long("\xC3\xA4", 40000, 32767, true);
    assert_long("\xF0\x9F\xA6\x86", 16383, 16383, false); /* two units each */
    assert_long("\xF0\x9F\xA6\x86", 16384, 0, false);
    assert_long("\xF0\x9F\xA6\x86", 16384, 16383, true); /* and none is cut in halves */
}

static void names_have_the_same_limit(void **state)
{
    (void)state;
    struct file_form form = file_form_default(FILE_XLSX);
    char *name = repeat("n", 32768);
    const char *const names[] = {name}, *const types[] = {"INTEGER"};
    struct encoded x;
    encode(&form, &(struct encoder_columns){.names = names, .count = 1, .types = types}, NULL, &x);
    assert_int_equal(x.error.code, ERROR_QUERY);
    encoded_release(&x);
    form.cut_long_text = true;
    encode(&form, &(struct encoder_columns){.names = names, .count = 1, .types = types}, NULL, &x);
    assert_int_equal(x.error.code, ERROR_NONE);
    assert_int_equal(x.altered, 1);
    encoded_release(&x);
    form.header = false;
    encode(&form, &(struct encoder_columns){.names = names, .count = 1, .types = types}, NULL, &x);
    assert_int_equal(x.altered, 0);
    encoded_release(&x);
    test_free(name);
}

static void columns_have_letters_up_to_excels_last(void **state)
{
    (void)state;
    struct file_form form = file_form_default(FILE_XLSX);
    static const char *names[XLSX_COLUMNS_MAX + 1], *types[XLSX_COLUMNS_MAX + 1];
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        names[i] = "c";
        types[i] = "INTEGER";
    }
    struct encoded x;
    encode(&form, &(struct encoder_columns){.names = names, .count = XLSX_COLUMNS_MAX, .types = types}, NULL, &x);
    static const char *const seen[] = {"\"A\x02", "\"Z\x02", "\"AA\x02", "\"AZ\x02", "\"BA\x02", "\"ZZ\x02",
                                       "\"AAA\x02", "\"XFD\x02"};
    for (size_t i = 0; i < ARRAY_SIZE(seen); i++)
        assert_non_null(strstr(x.xml.data, seen[i]));
    encoded_release(&x);
    encode(&form, &(struct encoder_columns){.names = names, .count = XLSX_COLUMNS_MAX + 1, .types = types}, NULL, &x);
    assert_int_equal(x.error.code, ERROR_QUERY);
    assert_non_null(strstr(x.error.message, "16385"));
    encoded_release(&x);
}

static void a_sheet_begins_as_the_options_say(void **state)
{
    (void)state;
    struct file_form form = file_form_default(FILE_XLSX);
    const char *const names[] = {"a<b", "when"}, *const types[] = {"VARCHAR", "TIMESTAMP WITH TIME ZONE"};
    const struct encoder_columns columns = {.names = names, .count = 2, .types = types};
    struct encoded x;
    encode(&form, &columns, NULL, &x);
    assert_string_equal(
        x.xml.data,
        "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n"
        "<worksheet xmlns=\"http://schemas.openxmlformats.org/spreadsheetml/2006/main\">"
        "<sheetViews><sheetView workbookViewId=\"0\"><pane ySplit=\"1\" topLeftCell=\"A2\" activePane=\"bottomLeft\" "
        "state=\"frozen\"/></sheetView></sheetViews><cols><col min=\"2\" max=\"2\" width=\"24\" "
        "customWidth=\"1\"/></cols>"
        "<sheetData>\x01<c r=\"A\x02\" s=\"1\" t=\"inlineStr\"><is><t>a&lt;b</t></is></c>"
        "<c r=\"B\x02\" s=\"1\" t=\"inlineStr\"><is><t>when</t></is></c></row>");
    encoded_release(&x);
    form.freeze_header = form.bold_header = false;
    encode(&form, &columns, NULL, &x);
    assert_null(strstr(x.xml.data, "pane"));
    assert_null(strstr(x.xml.data, "s=\"1\""));
    assert_non_null(strstr(x.xml.data, "<t>when</t>"));
    encoded_release(&x);
    form.header = false;
    form.freeze_header = true;
    encode(&form, &columns, NULL, &x);
    assert_null(strstr(x.xml.data, "pane"));
    assert_string_equal(strstr(x.xml.data, "<sheetData>"), "<sheetData>");
    encoded_release(&x);
}

/* NULL is no cell; the others keep their columns. */
static void null_is_no_cell(void **state)
{
    (void)state;
    struct file_form form = file_form_default(FILE_XLSX);
    form.header = false;
    const char *const names[] = {"a", "b", "c"}, *const types[] = {"INTEGER", "INTEGER", "INTEGER"};
    const int32_t numbers[] = {1, 2};
    const uint64_t second = 2, none = 0;
    const struct column columns[] = {{.is.type = VALUE_INT32, .values = numbers, .validity = &second},
                                     {.is.type = VALUE_INT32, .values = numbers, .validity = &none},
                                     {.is.type = VALUE_INT32, .values = numbers, .validity = &second}};
    struct encoded x;
    encode(&form, &(struct encoder_columns){.names = names, .count = 3, .types = types},
           &(struct chunk){2, 3, columns}, &x);
    assert_string_equal(strstr(x.xml.data, "<sheetData>"),
                        "<sheetData>\x01</row>\x01<c r=\"A\x02\"><v>2</v></c><c r=\"C\x02\"><v>2</v></c></row>");
    encoded_release(&x);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_what_excel_keeps),
        cmocka_unit_test(doubles_read_back_as_themselves),
        cmocka_unit_test(serial_numbers_are_exact_to_the_millisecond),
        cmocka_unit_test(texts_are_xml),
        cmocka_unit_test(texts_of_any_length_read_back),
        cmocka_unit_test(long_texts_are_refused_or_cut),
        cmocka_unit_test(names_have_the_same_limit),
        cmocka_unit_test(columns_have_letters_up_to_excels_last),
        cmocka_unit_test(a_sheet_begins_as_the_options_say),
        cmocka_unit_test(null_is_no_cell),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
