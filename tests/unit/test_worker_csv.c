/* CSV: which values get quotes, what the options do, and that every way of writing a text, by its length and place,
 * writes the same. What typed values look like is held against the engine by worker/test_differential.c. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "worker/csv.h"
#include "worker/encoder.h"
#include "text_values.h"

static const struct file_form usual = {.delimiter = ',', .header = true};

static bool needs_quotes(const struct file_form *form, const char *text)
{
    return csv_needs_quotes(form, text, strlen(text));
}

static void values_are_quoted_as_by_the_engine(void **state)
{
    (void)state;
    const char *const quoted[] = {"", "a,b", "\"", "line\nfeed", "carriage\r", "a long value with # in it"};
    const char *const bare[] = {"a",   " ", "\t", "a;b", "back\\slash", "'", "a long value without anything",
                                "NULL"};
    for (size_t i = 0; i < sizeof quoted / sizeof *quoted; i++)
        assert_true(needs_quotes(&usual, quoted[i]));
    for (size_t i = 0; i < sizeof bare / sizeof *bare; i++)
        assert_false(needs_quotes(&usual, bare[i]));
}

static void options_say_what_is_quoted(void **state)
{
    (void)state;
    const struct file_form semicolon = {.delimiter = ';'}, null = {.delimiter = ',', .null_text = "NA"},
                           all = {.delimiter = ',', .quote_all = true};
    assert_true(needs_quotes(&semicolon, "a;b") && needs_quotes(&semicolon, "a value that is longer;"));
    assert_true(needs_quotes(&semicolon, "#") && needs_quotes(&semicolon, "\"") && needs_quotes(&semicolon, ""));
    assert_false(needs_quotes(&semicolon, "a,b"));
    assert_true(needs_quotes(&null, "NA") && needs_quotes(&null, "a,b"));
    assert_false(needs_quotes(&null, "") || needs_quotes(&null, "N") || needs_quotes(&null, "NAN"));
    assert_false(needs_quotes(&null, "na"));
    assert_true(needs_quotes(&all, "a") && needs_quotes(&all, ""));
}

static void formulas_are_known_by_their_first_sign(void **state)
{
    (void)state;
    static const char *const formulas[] = {"=", "=1+1", "+49 30", "-1", "-", "@SUM(1)", "\tx", "\rx", "\nx",
                                           "\uff1d1", "\uff0b1", "\uff0d1", "\uff201", /**/
                                           " =1", "   -x", "\v\f@", "\u00a0=1", "\u3000+", "\ufeff=1", " \u00a0 \t"};
    static const char *const others[] = {"", " ", "a=1", "1+1", "0", "9", ".5", "/", "A", "z", "~", "'=1", "\"=1\"", "#",
                                         "(=1)", "\xff", "\xef\xbc", "\xef", "\uff1e", "\u2212 1", "\u00e4=", "  a",
                                         "\u00a0", ",", ";=1"};
    for (size_t i = 0; i < ARRAY_SIZE(formulas); i++)
        assert_true(csv_is_formula(formulas[i], strlen(formulas[i])));
    for (size_t i = 0; i < ARRAY_SIZE(others); i++)
        assert_false(csv_is_formula(others[i], strlen(others[i])));
    assert_true(csv_is_formula("\0", 1));
    assert_true(csv_is_formula(" \0x", 3));
    for (int c = 1; c < 256; c++) {
        const char one[] = {(char)c};
        assert_int_equal(csv_is_formula(one, 1), strchr("=+-@\t\r\n", c) != NULL);
    }
}

/* The file of one chunk; returns how many cells were altered. */
static uint64_t encode_as(const struct file_form *form, const struct encoder_columns *columns,
                          const struct chunk *chunk, struct buf *out)
{
    struct block_pool *pool = block_pool_new();
    struct block_writer w;
    struct error e;
    assert_non_null(pool);
    assert_true(block_writer_begin(&w, pool, chunk->rows));
    void *plan = csv_encoder.prepare(form, columns, &e);
    assert_non_null(plan);
    assert_true(csv_encoder.begin(plan, &w));
    assert_true(csv_encoder.chunk(plan, &w, chunk));
    assert_true(csv_encoder.end(plan, &w));
    free(plan);
    struct block *list = block_writer_end(&w, chunk->rows);
    assert_int_equal(list->rows, chunk->rows);
    size_t begin = out->len;
    for (const struct block *b = list; b; b = b->next)
        buf_append(out, b->data, b->length);
    assert_true(buf_ok(out));
    assert_int_equal(list->row_ends[chunk->rows - 1].bytes, out->len - begin);
    assert_int_equal(list->row_ends[chunk->rows - 1].altered, list->altered);
    uint64_t altered = list->altered;
    block_pool_give_back(pool, list);
    block_pool_free(pool);
    return altered;
}

static void encode(const char *const *names, const struct chunk *chunk, struct buf *out)
{
    const struct encoder_columns columns = {.names = names, .count = chunk->column_count};
    assert_int_equal(encode_as(&usual, &columns, chunk, out), 0);
}

static void rows_become_lines(void **state)
{
    (void)state;
    struct buf out;
    const char *const names[] = {"plain", "say \"hi\"", "n"};
    const struct text_value left[] = {text("twelve bytes"), text("thirteen byte"), text(""), text("a\"b")};
    const struct text_value right[] = {text("1"), text("with \"quotes\", long"), text("x"), text("#")};
    const int32_t numbers[] = {0, -1, INT32_MIN, 7};
    const uint64_t not_third = ~4ull;
    const struct column columns[] = {{.values = left},
                                     {.values = right, .validity = &not_third},
                                     {.is.type = VALUE_INT32, .values = numbers, .validity = &not_third}};
    static const char expected[] = "plain,\"say \"\"hi\"\"\",n\n"
                                   "twelve bytes,1,0\n"
                                   "thirteen byte,\"with \"\"quotes\"\", long\",-1\n"
                                   "\"\",,\n"
                                   "\"a\"\"b\",\"#\",7\n";
    buf_init(&out, 1 << 20);
    encode(names, &(struct chunk){.rows = 4, .column_count = 3, .columns = columns}, &out);
    assert_int_equal(out.len, sizeof expected - 1);
    assert_memory_equal(out.data, expected, out.len);
    buf_release(&out);
}

/* A table with one of each: what the options make of it. */
static void expect_file(const struct file_form *form, uint64_t altered, const char *expected, size_t length)
{
    static const char *const names[] = {"=name", "n", "at", "NA", "d"};
    const struct text_value texts[] = {text("=1+1"), text("NA"), text(""), text("-a \"long\" text, guarded")};
    const struct text_value big[] = {text("-1"), text("7"), text("NA"), text("-100000000000000000000")};
    const int32_t numbers[] = {-7, 0, 0, 12};
    const int64_t times[] = {0, 0, 3600000000, 0};
    const struct value_interval intervals[] = {{0, -3, 0}, {0, 3, 0}, {0, 0, -1000000}, {1, 0, 0}};
    const uint64_t not_second = ~2ull;
    const struct column columns[] = {{.values = texts},
                                     {.is.type = VALUE_INT32, .values = numbers, .validity = &not_second},
                                     {.is.type = VALUE_TIMESTAMP, .values = times},
                                     {.values = big},
                                     {.is.type = VALUE_INTERVAL, .values = intervals}};
    static const bool free_text[] = {true, false, false, false, false};
    struct buf out;
    buf_init(&out, 1 << 20);
    assert_int_equal(altered, encode_as(form, &(struct encoder_columns){names, free_text, 5},
                                        &(struct chunk){.rows = 4, .column_count = 5, .columns = columns}, &out));
    assert_int_equal(out.len, length);
    assert_memory_equal(out.data, expected, length);
    buf_release(&out);
}

#define EXPECT_FILE(form, altered, expected) expect_file(form, altered, expected, sizeof expected - 1)

static void options_change_the_file(void **state)
{
    (void)state;
    EXPECT_FILE(&((struct file_form){.delimiter = '\t', .header = true, .crlf = true}), 0,
                "=name\tn\tat\tNA\td\r\n"
                "=1+1\t-7\t1970-01-01 00:00:00\t-1\t-3 days\r\n"
                "NA\t\t1970-01-01 00:00:00\t7\t3 days\r\n"
                "\"\"\t0\t1970-01-01 01:00:00\tNA\t-00:00:01\r\n"
                "\"-a \"\"long\"\" text, guarded\"\t12\t1970-01-01 00:00:00\t-100000000000000000000\t1 month\r\n");
    EXPECT_FILE(&((struct file_form){.delimiter = ' ', .header = true, .bom = true, .null_text = "NA"}), 0,
                "\xef\xbb\xbf=name n at \"NA\" d\n"
                "=1+1 -7 \"1970-01-01 00:00:00\" -1 \"-3 days\"\n"
                "\"NA\" NA \"1970-01-01 00:00:00\" 7 \"3 days\"\n"
                " 0 \"1970-01-01 01:00:00\" \"NA\" -00:00:01\n"
                "\"-a \"\"long\"\" text, guarded\" 12 \"1970-01-01 00:00:00\" -100000000000000000000 \"1 month\"\n");
    EXPECT_FILE(&((struct file_form){.delimiter = ':', .bom = true, .null_text = "0"}), 0,
                "\xef\xbb\xbf=1+1:-7:\"1970-01-01 00:00:00\":-1:-3 days\n"
                "NA:0:\"1970-01-01 00:00:00\":7:3 days\n"
                ":\"0\":\"1970-01-01 01:00:00\":NA:\"-00:00:01\"\n"
                "\"-a \"\"long\"\" text, guarded\":12:\"1970-01-01 00:00:00\":-100000000000000000000:1 month\n");
    EXPECT_FILE(&((struct file_form){.delimiter = ',', .header = true, .quote_all = true}), 0,
                "\"=name\",\"n\",\"at\",\"NA\",\"d\"\n"
                "\"=1+1\",\"-7\",\"1970-01-01 00:00:00\",\"-1\",\"-3 days\"\n"
                "\"NA\",,\"1970-01-01 00:00:00\",\"7\",\"3 days\"\n"
                "\"\",\"0\",\"1970-01-01 01:00:00\",\"NA\",\"-00:00:01\"\n"
                "\"-a \"\"long\"\" text, guarded\",\"12\",\"1970-01-01 00:00:00\","
                "\"-100000000000000000000\",\"1 month\"\n");
    EXPECT_FILE(&((struct file_form){.delimiter = ',', .header = true, .excel_safe = true, .null_text = "-"}), 3,
                "\"'=name\",n,at,NA,d\n"
                "\"'=1+1\",-7,1970-01-01 00:00:00,-1,-3 days\n"
                "NA,-,1970-01-01 00:00:00,7,3 days\n"
                ",0,1970-01-01 01:00:00,NA,-00:00:01\n"
                "\"'-a \"\"long\"\" text, guarded\",12,1970-01-01 00:00:00,-100000000000000000000,1 month\n");
}

static bool asks_for_quotes(const struct file_form *form, const char *data, size_t length)
{
    for (size_t i = 0; i < length; i++)
        if (strchr("\n\r\"#", data[i]) && data[i])
            return true;
    return form->quote_all || memchr(data, form->delimiter, length) ||
           (length == strlen(form->null_text) && memcmp(data, form->null_text, length) == 0);
}

/* The rule in its simplest form, a byte at a time. */
static void append_expected(struct buf *out, const struct file_form *form, const char *data, size_t length)
{
    bool guard = form->excel_safe && csv_is_formula(data, length);
    bool quotes = guard || asks_for_quotes(form, data, length);
    buf_append(out, "\"'", (size_t)quotes + guard);
    for (size_t i = 0; i < length; i++) {
        if (data[i] == '"')
            buf_append(out, "\"", 1);
        buf_append(out, data + i, 1);
    }
    buf_append(out, "\"", quotes);
}

static const struct file_form forms[] = {
    {.delimiter = ',', .header = true},
    {.delimiter = '\t', .header = true},
    {.delimiter = ';', .header = true, .null_text = "xxxxxxxxxxxxxxxxxxxxx"},
    {.delimiter = ',', .header = true, .quote_all = true},
    {.delimiter = '|', .header = true, .excel_safe = true, .crlf = true},
};

static void append_line_end(struct buf *out, const struct file_form *form)
{
    buf_append_text(out, form->crlf ? "\r\n" : "\n");
}

static void expect_equal(const struct buf *out, const struct buf *expected)
{
    assert_int_equal(out->len, expected->len);
    assert_memory_equal(out->data, expected->data, out->len);
}

#define LENGTH_MAX 80

/* Every byte at every place of every length. */
static void every_byte_at_every_place_is_seen(void **state)
{
    (void)state;
    static const char *const names[] = {"x"};
    static char texts[LENGTH_MAX * 256][LENGTH_MAX];
    static struct text_value values[LENGTH_MAX * 256];
    struct buf out, expected;
    buf_init(&out, 64 << 20);
    buf_init(&expected, 64 << 20);
    for (size_t length = 1; length <= LENGTH_MAX; length++) {
        const struct encoder_columns columns = {.names = names, .count = 1};
        size_t rows = length * 256;
        for (size_t row = 0; row < rows; row++) {
            memset(texts[row], 'x', length);
            texts[row][row / 256] = (char)(row % 256);
            values[row] = value(texts[row], length);
        }
        for (const struct file_form *form = forms; form < forms + ARRAY_SIZE(forms); form++) {
            out.len = expected.len = 0;
            append_expected(&expected, form, "x", 1);
            append_line_end(&expected, form);
            for (size_t row = 0; row < rows; row++) {
                const char *text = texts[row];
                if (!form->excel_safe)
                    assert_int_equal(csv_needs_quotes(form, text, length), asks_for_quotes(form, text, length));
                append_expected(&expected, form, text, length);
                append_line_end(&expected, form);
            }
            const struct column column = {.values = values};
            encode_as(form, &columns, &(struct chunk){.rows = rows, .column_count = 1, .columns = &column}, &out);
            expect_equal(&out, &expected);
        }
    }
    buf_release(&out);
    buf_release(&expected);
}

/* Long texts full of quotes, across the ends of blocks; one is longer than a block. */
static void texts_of_any_length_are_whole(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "b"};
    static char bytes[BLOCK_SIZE + 1000];
    struct text_value left[600], right[600];
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = i % 50 == 7 ? '=' : i % 5 == 0 || i % 7 == 0 ? '"' : (char)('a' + i % 26);
    for (size_t row = 0; row < ARRAY_SIZE(left); row++) {
        size_t length = row == 300 ? sizeof bytes : row * 13 % 4000;
        left[row] = value(bytes, length);
        right[row] = value(bytes + row % 50, length / 2);
    }
    const struct column columns[] = {{.values = left}, {.values = right}};
    for (const struct file_form *form = forms; form < forms + ARRAY_SIZE(forms); form++) {
        struct buf out, expected;
        buf_init(&out, 64 << 20);
        buf_init(&expected, 64 << 20);
        append_expected(&expected, form, "a", 1);
        buf_append(&expected, &form->delimiter, 1);
        append_expected(&expected, form, "b", 1);
        append_line_end(&expected, form);
        for (size_t row = 0; row < ARRAY_SIZE(left); row++) {
            append_expected(&expected, form, text_value_data(&left[row]), left[row].length);
            buf_append(&expected, &form->delimiter, 1);
            append_expected(&expected, form, text_value_data(&right[row]), right[row].length);
            append_line_end(&expected, form);
        }
        encode_as(form, &(struct encoder_columns){.names = names, .count = 2},
                  &(struct chunk){.rows = ARRAY_SIZE(left), .column_count = 2, .columns = columns}, &out);
        expect_equal(&out, &expected);
        buf_release(&out);
        buf_release(&expected);
    }
}

/* Written in pieces, over several blocks, with what asks for quotes here and there or nowhere; blocks are filled. */
static void long_texts_go_on_in_the_next_block(void **state)
{
    (void)state;
    static const char *const names[] = {"a", "n", "b"};
    enum { LONGEST = 768 << 10 };
    static char bytes[8][LONGEST];
    static const size_t odd[] = {0, 1, 15, 8191, 100000, LONGEST - 17, LONGEST - 1};
    for (size_t i = 0; i < 8; i++)
        for (size_t at = 0; at < sizeof bytes[i]; at++)
            bytes[i][at] = i == 7 ? '"' : (char)('a' + at % 26);
    for (size_t i = 0; i < ARRAY_SIZE(odd); i++)
        bytes[i % 3 + 1][odd[i]] = ",\"\n"[i % 3];
    for (size_t at = 5; at < sizeof bytes[4]; at += 11)
        bytes[4][at] = '"';
    bytes[5][0] = '=';
    enum { ROWS = 120 };
    struct text_value left[ROWS], right[ROWS];
    int32_t numbers[ROWS];
    for (size_t row = 0; row < ROWS; row++) {
        left[row] = value(bytes[row % 8], row % 5 == 0 ? sizeof bytes[0] : 8000 + row * 7919 % (LONGEST - 8000));
        right[row] = value(bytes[row / 8 % 8], row * 977 % 20000);
        numbers[row] = (int32_t)row;
    }
    const struct column columns[] = {
        {.values = left}, {.is.type = VALUE_INT32, .values = numbers}, {.values = right}};
    static const bool free_text[] = {true, false, true};
    for (const struct file_form *form = forms; form < forms + ARRAY_SIZE(forms); form++) {
        struct buf out, expected;
        buf_init(&out, 256 << 20);
        buf_init(&expected, 256 << 20);
        for (size_t i = 0; i < 3; i++) {
            append_expected(&expected, form, names[i], 1);
            buf_append(&expected, &form->delimiter, i < 2);
        }
        append_line_end(&expected, form);
        for (size_t row = 0; row < ROWS; row++) {
            char number[12];
            append_expected(&expected, form, left[row].outside.pointer, left[row].length);
            buf_append(&expected, &form->delimiter, 1);
            append_expected(&expected, form, number, (size_t)snprintf(number, sizeof number, "%zu", row));
            buf_append(&expected, &form->delimiter, 1);
            append_expected(&expected, form, text_value_data(&right[row]), right[row].length);
            append_line_end(&expected, form);
        }
        encode_as(form, &(struct encoder_columns){names, free_text, 3},
                  &(struct chunk){.rows = ROWS, .column_count = 3, .columns = columns}, &out);
        expect_equal(&out, &expected);
        buf_release(&out);
        buf_release(&expected);
    }
}

/* Memory for few bytes more than the text: not for what each row or text might have needed. */
static void blocks_are_filled(void **state)
{
    (void)state;
    enum { COLUMNS = 20000, ROWS = 100 };
    static struct column columns[COLUMNS];
    static char bytes[300000];
    struct text_value short_texts[ROWS], long_texts[ROWS];
    memset(bytes, 'x', sizeof bytes);
    for (size_t row = 0; row < ROWS; row++) {
        short_texts[row] = text("y");
        long_texts[row] = value(bytes, 50000 + row * 2500);
    }
    for (size_t i = 0; i < COLUMNS; i++)
        columns[i].values = short_texts;
    for (int wide = 0; wide < 2; wide++) {
        struct block_pool *pool = block_pool_new();
        struct block_writer w;
        struct error e;
        void *plan = csv_encoder.prepare(&usual, &(struct encoder_columns){0}, &e);
        assert_true(block_writer_begin(&w, pool, 0));
        const struct column one = {.values = long_texts};
        const struct chunk chunk = {ROWS, wide ? COLUMNS : 1, wide ? columns : &one};
        assert_true(csv_encoder.chunk(plan, &w, &chunk));
        struct block *list = block_writer_end(&w, ROWS);
        size_t length = 0;
        for (const struct block *b = list; b; b = b->next)
            length += b->length;
        assert_true(length > (wide ? (size_t)COLUMNS * ROWS * 2 - 1 : (size_t)ROWS * 50000));
        assert_in_range(list->held, length, length + length / 10 + BLOCK_SIZE);
        block_pool_give_back(pool, list);
        free(plan);
        block_pool_free(pool);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_are_quoted_as_by_the_engine),
        cmocka_unit_test(options_say_what_is_quoted),
        cmocka_unit_test(formulas_are_known_by_their_first_sign),
        cmocka_unit_test(rows_become_lines),
        cmocka_unit_test(options_change_the_file),
        cmocka_unit_test(every_byte_at_every_place_is_seen),
        cmocka_unit_test(texts_of_any_length_are_whole),
        cmocka_unit_test(long_texts_go_on_in_the_next_block),
        cmocka_unit_test(blocks_are_filled),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
