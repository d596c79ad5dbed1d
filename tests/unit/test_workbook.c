/* XLSX: rows become sheets, sheets an archive. The archive is read by its own rules here, and inflated by zlib. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>

#include "base/buf.h"
#include "base/secret_scan.h"
#include "worker/workbook.h"
#include "worker/xlsx.h"
#include "worker/zip.h"

/* --- an archive, read --- */

static uint64_t number(const uint8_t *at, size_t bytes)
{
    uint64_t v = 0;
    while (bytes-- > 0)
        v = v << 8 | at[bytes];
    return v;
}

/* Of the directory. */
struct found {
    char name[80];
    uint64_t offset, in, out, crc32;
};

/* The directory lies at `at` of an archive whose first byte is at `origin` of it, as if what is before were there. */
static size_t read_directory(const uint8_t *data, size_t length, uint64_t origin, struct found *ret, size_t max)
{
    const uint8_t *end = data + length - 22;
    assert_int_equal(number(end, 4), 0x06054b50);
    assert_int_equal(number(end + 20, 2), 0);
    uint64_t count = number(end + 10, 2), bytes = number(end + 12, 4), offset = number(end + 16, 4);
    assert_int_equal(number(end + 8, 2), count);
    if (count == 0xFFFF || bytes == 0xFFFFFFFF || offset == 0xFFFFFFFF) {
        const uint8_t *locator = end - 20, *record;
        assert_int_equal(number(locator, 4), 0x07064b50);
        assert_int_equal(number(locator + 16, 4), 1);
        record = data + (number(locator + 8, 8) - origin);
        assert_ptr_equal(record, locator - 56);
        assert_int_equal(number(record, 4), 0x06064b50);
        assert_int_equal(number(record + 4, 8), 44);
        assert_int_equal(number(record + 24, 8), number(record + 32, 8));
        count = number(record + 32, 8);
        bytes = number(record + 40, 8);
        offset = number(record + 48, 8);
        end = record;
    }
    const uint8_t *at = data + (offset - origin);
    assert_ptr_equal(at + bytes, end);
    assert_in_range(count, 0, max);
    for (size_t i = 0; i < count; i++) {
        assert_int_equal(number(at, 4), 0x02014b50);
        size_t name = number(at + 28, 2), extra = number(at + 30, 2);
        assert_int_equal(number(at + 10, 2), 8);
        struct found *f = &ret[i];
        *f = (struct found){"", number(at + 42, 4), number(at + 24, 4), number(at + 20, 4), number(at + 16, 4)};
        assert_in_range(name, 1, sizeof f->name - 1);
        memcpy(f->name, at + 46, name);
        if (f->offset == 0xFFFFFFFF) {
            assert_int_equal(extra, 12);
            assert_int_equal(number(at + 46 + name, 4), 0x00080001);
            assert_int_equal(number(at + 6, 2), 45);
            f->offset = number(at + 50 + name, 8);
        } else {
            assert_int_equal(extra, 0);
            assert_int_equal(number(at + 6, 2), 20);
        }
        at += 46 + name + extra;
    }
    assert_ptr_equal(at, data + (offset - origin) + bytes);
    return count;
}

/* The entry's content; what stands before and behind it says the same of it as the directory. */
static void read_entry(const struct buf *archive, const struct found *f, struct buf *ret)
{
    const uint8_t *at = (const uint8_t *)archive->data + f->offset;
    assert_int_equal(number(at, 4), 0x04034b50);
    assert_int_equal(number(at + 4, 2), 20);
    assert_int_equal(number(at + 6, 2), 0x0808);
    assert_int_equal(number(at + 14, 4) + number(at + 18, 4) + number(at + 22, 4), 0);
    assert_int_equal(number(at + 26, 2), strlen(f->name));
    assert_int_equal(number(at + 28, 2), 0);
    assert_memory_equal(at + 30, f->name, strlen(f->name));
    at += 30 + strlen(f->name);
    uint8_t *data = test_malloc(f->in + 1);
    z_stream z = {.next_in = (uint8_t *)at, .avail_in = (unsigned)f->out, .next_out = data,
                  .avail_out = (unsigned)f->in + 1};
    assert_int_equal(inflateInit2(&z, -15), Z_OK);
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.total_in, f->out);
    assert_int_equal(z.total_out, f->in);
    inflateEnd(&z);
    assert_int_equal(crc32(0, data, (unsigned)f->in), f->crc32);
    buf_init(ret, 64 << 20);
    buf_append(ret, data, f->in);
    test_free(data);
    at += f->out;
    assert_int_equal(number(at, 4), 0x08074b50);
    assert_int_equal(number(at + 4, 4), f->crc32);
    assert_int_equal(number(at + 8, 4), f->out);
    assert_int_equal(number(at + 12, 4), f->in);
}

static void beyond_4_gib_offsets_are_long(void **state)
{
    (void)state;
    enum { COUNT = 70000 };
    static struct zip_entry entries[COUNT];
    static struct found found[COUNT];
    const struct {
        size_t count;
        uint64_t offset; /* of the directory; the last entry begins 1000 before */
    } cases[] = {{3, 5000},
                 {3, UINT32_MAX - 1},
                 {3, UINT32_MAX}, /* the number that says: look elsewhere */
                 {3, (uint64_t)UINT32_MAX + 1000},
                 {4, UINT64_C(5) << 32},
                 {UINT16_MAX - 1, 100000},
                 {UINT16_MAX, 100000},
                 {COUNT, UINT64_C(1) << 40}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        size_t count = cases[i].count;
        for (size_t k = 0; k < count; k++) {
            entries[k] = (struct zip_entry){
                .offset = k + 1 < count ? k : cases[i].offset - 1000, .in = ZIP_ENTRY_MAX - k, .out = 7 * k,
                .crc32 = (uint32_t)k * 65537};
            snprintf(entries[k].name, sizeof entries[k].name, "xl/worksheets/sheet%zu.xml", k);
        }
        struct buf out;
        buf_init(&out, 64 << 20);
        zip_put_directory(&out, entries, count, cases[i].offset);
        assert_true(buf_ok(&out));
        assert_int_equal(read_directory((const uint8_t *)out.data, out.len, cases[i].offset, found, COUNT), count);
        for (size_t k = 0; k < count; k++) {
            assert_string_equal(found[k].name, entries[k].name);
            assert_int_equal(found[k].offset, entries[k].offset);
            assert_int_equal(found[k].in, entries[k].in);
            assert_int_equal(found[k].out, entries[k].out);
            assert_int_equal(found[k].crc32, entries[k].crc32);
        }
        buf_release(&out);
    }
}

/* --- a workbook, made --- */

#define PART_SIZE ((size_t)16 << 20) /* the whole file */
#define ENTRIES_MAX 64

struct file {
    struct parts *parts;
    struct output *output;
    struct packer *packer;
    struct buf bytes;
    struct found entries[ENTRIES_MAX];
    size_t count;
};

static bool keep(void *context, uint32_t index, size_t length, const uint8_t *sha256, struct error *e)
{
    (void)sha256;
    (void)e;
    struct file *f = context;
    buf_append(&f->bytes, parts_buffer(f->parts, index), length);
    return true;
}

static void file_begin(struct file *f, const struct file_form *form, const struct workbook_limits *limits)
{
    struct error e = {0};
    *f = (struct file){.parts = parts_new(2, PART_SIZE, &e)};
    assert_non_null(f->parts);
    buf_init(&f->bytes, PART_SIZE);
    f->output = output_new(f->parts, false, keep, f, &e);
    f->packer = workbook_new(form, f->output, 2, limits, &e);
    assert_non_null(f->packer);
}

/* In pieces of at most `step` bytes. */
static bool feed(struct packer *p, bool (*how)(struct packer *, const void *, size_t, struct error *),
                 const char *data, size_t length,
                 size_t step, struct error *e)
{
    for (size_t n; length > 0; data += n, length -= n) {
        char copy[256];
        n = length < step ? length : step;
        memcpy(copy, data, n);
        if (!how(p, copy, n, e))
            return false;
        memset(copy, 1, n); /* the bytes are the caller's */
    }
    return true;
}

static void file_end(struct file *f)
{
    struct error e = {0};
    uint8_t digest[SHA256_BYTES];
    assert_true(f->packer->api->end(f->packer, "", 0, &e));
    assert_true(output_finish(f->output, digest, &e));
    f->count = read_directory((const uint8_t *)f->bytes.data, f->bytes.len, 0, f->entries, ENTRIES_MAX);
}

static void file_release(struct file *f)
{
    packer_free(f->packer);
    output_free(f->output);
    parts_free(f->parts);
    buf_release(&f->bytes);
}

/* NULL-terminated; buf_release() it. */
static struct buf entry(const struct file *f, const char *name)
{
    struct buf content;
    for (size_t i = 0; i < f->count; i++)
        if (strcmp(f->entries[i].name, name) == 0) {
            read_entry(&f->bytes, &f->entries[i], &content);
            return content;
        }
    fail_msg("no entry %s", name);
    return (struct buf){0};
}

static void assert_entry(const struct file *f, const char *name, const char *expected)
{
    struct buf content = entry(f, name);
    assert_string_equal(content.data, expected);
    buf_release(&content);
}

static size_t sheets_of(const struct file *f)
{
    size_t count = 0;
    for (size_t i = 0; i < f->count; i++)
        count += strncmp(f->entries[i].name, "xl/worksheets/", 14) == 0;
    return count;
}

static bool add(struct file *f, const char *rows, size_t step, struct error *e)
{
    return feed(f->packer, f->packer->api->rows, rows, strlen(rows), step, e);
}

static void begin(struct file *f, const char *text, size_t step)
{
    struct error e;
    assert_true(feed(f->packer, f->packer->api->begin, text, strlen(text), step, &e));
}

static void rows_go_on_in_further_sheets(void **state)
{
    (void)state;
    const struct workbook_limits limits = {.rows = 3, .bytes = 1 << 20, .most = 2 << 20, .sheets = 10};
    const struct file_form form = file_form_default(FILE_XLSX);
    static const size_t steps[] = {1, 2, 3, 7, 8, 9, 16, 50, 255};
    struct buf first = {0};
    for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
        struct file f;
        struct error e = {0};
        file_begin(&f, &form, &limits);
        begin(&f, "<sheetData>\x01<c r=\"A\x02\">head</c></row>", steps[i]);
        assert_true(add(&f, "\x01<c r=\"A\x02\">1</c><c r=\"B\x02\">1</c></row>\x01<c r=\"A\x02\">2</c></row>"
                            "\x01</row>\x01<c r=\"ABC\x02\">a value that is longer than a word</c></row>"
                            "\x01<c r=\"A\x02\">5</c></row>",
                        steps[i], &e));
        file_end(&f);
        static const char *const names[] = {"[Content_Types].xml", "_rels/.rels", "xl/styles.xml",
                                            "xl/worksheets/sheet1.xml",
                                            "xl/worksheets/sheet2.xml", "xl/worksheets/sheet3.xml", "xl/workbook.xml",
                                            "xl/_rels/workbook.xml.rels"};
        assert_int_equal(f.count, ARRAY_SIZE(names));
        for (size_t k = 0; k < f.count; k++)
            assert_string_equal(f.entries[k].name, names[k]);
        assert_entry(&f, names[3], "<sheetData><row r=\"1\"><c r=\"A1\">head</c></row>"
                                   "<row r=\"2\"><c r=\"A2\">1</c><c r=\"B2\">1</c></row>"
                                   "<row r=\"3\"><c r=\"A3\">2</c></row></sheetData></worksheet>");
        assert_entry(&f, names[4], "<sheetData><row r=\"1\"><c r=\"A1\">head</c></row><row r=\"2\"></row>"
                                   "<row r=\"3\"><c r=\"ABC3\">a value that is longer than a word</c></row>"
                                   "</sheetData></worksheet>");
        assert_entry(&f, names[5], "<sheetData><row r=\"1\"><c r=\"A1\">head</c></row>"
                                   "<row r=\"2\"><c r=\"A2\">5</c></row></sheetData></worksheet>");
        if (i == 0)
            buf_append((buf_init(&first, PART_SIZE), &first), f.bytes.data, f.bytes.len);
        assert_int_equal(f.bytes.len, first.len); /* equal content, equal bytes */
        assert_memory_equal(f.bytes.data, first.data, first.len);
        file_release(&f);
    }
    buf_release(&first);
}

/* A sheet that is full to its last row is not followed by an empty one. */
static void sheets_are_filled_to_the_last_row(void **state)
{
    (void)state;
    const struct workbook_limits limits = {.rows = 2, .bytes = 1 << 20, .most = 2 << 20, .sheets = 10};
    const struct file_form form = file_form_default(FILE_XLSX);
    for (size_t rows = 0; rows < 7; rows++) {
        struct file f;
        struct error e = {0};
        file_begin(&f, &form, &limits);
        begin(&f, "<sheetData>", 100);
        for (size_t i = 0; i < rows; i++)
            assert_true(add(&f, "\x01</row>", 100, &e));
        file_end(&f);
        assert_int_equal(sheets_of(&f), rows == 0 ? 1 : (rows + 1) / 2);
        file_release(&f);
    }
}

/* Numbers of all lengths; and rows that fill the stage again and again. */
static void rows_are_numbered(void **state)
{
    (void)state;
    const struct file_form form = file_form_default(FILE_XLSX);
    struct workbook_limits limits = workbook_excel;
    limits.rows = 11000;
    struct file f;
    struct error e = {0};
    struct buf expected, rows;
    enum { ROWS = 12000 };
    buf_init(&expected, PART_SIZE);
    buf_init(&rows, PART_SIZE);
    buf_append_text(&expected, "<sheetData>");
    for (size_t i = 1; i <= ROWS; i++) {
        buf_printf(&rows, "\x01<c r=\"A\x02\">%.*s</c>\x02\x02</row>", (int)(i % 60),
                   "the quick brown fox jumps over the lazy dog and does so again");
        if (i <= 11000)
            buf_printf(&expected, "<row r=\"%zu\"><c r=\"A%zu\">%.*s</c>%zu%zu</row>", i, i, (int)(i % 60),
                       "the quick brown fox jumps over the lazy dog and does so again", i, i);
    }
    buf_append_text(&expected, XLSX_SHEET_END);
    file_begin(&f, &form, &limits);
    begin(&f, "<sheetData>", 100);
    assert_true(f.packer->api->rows(f.packer, rows.data, rows.len, &e));
    file_end(&f);
    assert_entry(&f, "xl/worksheets/sheet1.xml", expected.data);
    struct buf second = entry(&f, "xl/worksheets/sheet2.xml");
    assert_non_null(strstr(second.data, "<sheetData><row r=\"1\"><c r=\"A1\">"));
    assert_non_null(strstr(second.data, "<row r=\"1000\">"));
    assert_null(strstr(second.data, "<row r=\"1001\">"));
    buf_release(&second);
    file_release(&f);
    buf_release(&expected);
    buf_release(&rows);
}

static void a_sheet_ends_before_its_xml_is_too_long(void **state)
{
    (void)state;
    const struct workbook_limits limits = {.rows = 1000, .bytes = 50, .most = 2 << 20, .sheets = 10};
    const struct file_form form = file_form_default(FILE_XLSX);
    struct file f;
    struct error e = {0};
    file_begin(&f, &form, &limits);
    begin(&f, "<sheetData>", 100);
    for (size_t i = 0; i < 5; i++)
        assert_true(add(&f, "\x01twenty bytes of text</row>", 100, &e)); /* 37 with its tag */
    file_end(&f);
    assert_int_equal(sheets_of(&f), 3);
    assert_entry(&f, "xl/worksheets/sheet3.xml",
                 "<sheetData><row r=\"1\">twenty bytes of text</row></sheetData></worksheet>");
    file_release(&f);
}

static void a_row_that_no_sheet_holds_is_refused(void **state)
{
    (void)state;
    const struct workbook_limits limits = {.rows = 1000, .bytes = 1 << 20, .most = 3 << 20, .sheets = 10};
    const struct file_form form = file_form_default(FILE_XLSX);
    static char row[(3 << 20) + 100];
    memset(row, 'x', sizeof row);
    row[0] = XLSX_ROW;
    for (size_t length = (3 << 20) - 200; length <= sizeof row; length += 300) {
        struct file f;
        struct error e = {0};
        file_begin(&f, &form, &limits);
        begin(&f, "<sheetData>", 100);
        bool fits = f.packer->api->rows(f.packer, row, length, &e) && f.packer->api->end(f.packer, "", 0, &e);
        assert_int_equal(fits, length < 3 << 20);
        if (!fits)
            assert_string_equal(e.message,
                                "a row of the result has more than 2 MiB, which do not fit into a sheet of XLSX");
        file_release(&f);
    }
}

static void sheets_are_not_without_number(void **state)
{
    (void)state;
    const struct workbook_limits limits = {.rows = 1, .bytes = 1 << 20, .most = 2 << 20, .sheets = 3};
    const struct file_form form = file_form_default(FILE_XLSX);
    struct file f;
    struct error e = {0};
    file_begin(&f, &form, &limits);
    begin(&f, "<sheetData>", 100);
    assert_true(add(&f, "\x01</row>\x01</row>\x01</row>", 100, &e));
    assert_false(add(&f, "\x01</row>", 100, &e));
    assert_int_equal(e.code, ERROR_QUERY);
    assert_string_equal(e.message, "the result does not fit into 3 sheets of XLSX");
    file_release(&f);
}

static void names_of_columns_have_a_ceiling(void **state)
{
    (void)state;
    const struct file_form form = file_form_default(FILE_XLSX);
    static char names[1 << 20];
    struct file f;
    struct error e = {0};
    file_begin(&f, &form, &workbook_excel);
    for (size_t i = 0; i < 64; i++)
        assert_true(f.packer->api->begin(f.packer, names, sizeof names, &e));
    assert_false(f.packer->api->begin(f.packer, names, 1, &e));
    assert_int_equal(e.code, ERROR_QUERY);
    file_release(&f);
}

/* In the header, and in a cell across two writes. Compressed it is not to be seen, so it is looked for before. */
static void a_secret_does_not_get_through(void **state)
{
    (void)state;
    static const char token[] =
        "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJlbWFpbCI6ImR1Y2tAZXhhbXBsZS5vcmcifQ.Kz3vPqT0mYwQ8";
    static const char row[] = "\x01<c r=\"A\x02\"><v>1</v></c></row>";
    const struct file_form form = file_form_default(FILE_XLSX);
    struct error e = {0};
    struct secret_patterns *patterns = secret_patterns_new(token, &e);
    assert_non_null(patterns);
    for (int in_header = 0; in_header < 2; in_header++)
        for (size_t step = 5; step <= 250; step += 35) {
            struct file f;
            e.code = ERROR_NONE;
            file_begin(&f, &form, &workbook_excel);
            output_watch(f.output, patterns);
            begin(&f, "<sheetData>", 100);
            bool through = !in_header || feed(f.packer, f.packer->api->begin, token, strlen(token), step, &e);
            through = through && add(&f, row, step, &e) && (in_header || add(&f, token, step, &e));
            assert_false(through && f.packer->api->end(f.packer, "", 0, &e));
            assert_int_equal(e.code, ERROR_SECRET);
            file_release(&f);
        }
    secret_patterns_free(patterns);
}

/* --- names of sheets --- */

static void assert_names(const char *name, const char *const *expected, size_t count)
{
    const struct workbook_limits limits = {.rows = 1, .bytes = 1 << 20, .most = 2 << 20, .sheets = 100};
    struct file_form form = file_form_default(FILE_XLSX);
    struct file f;
    struct error e = {0};
    snprintf(form.sheet_name, sizeof form.sheet_name, "%s", name);
    file_begin(&f, &form, &limits);
    begin(&f, "<sheetData>", 100);
    for (size_t i = 0; i < count; i++)
        assert_true(add(&f, "\x01</row>", 100, &e));
    file_end(&f);
    struct buf workbook = entry(&f, "xl/workbook.xml"), relations = entry(&f, "xl/_rels/workbook.xml.rels"), all;
    buf_init(&all, 1 << 20);
    for (size_t i = 0; i < count; i++) {
        buf_printf(&all, "<sheet name=\"%s\" sheetId=\"%zu\" r:id=\"rId%zu\"/>", expected[i], i + 1, i + 1);
        struct buf target;
        buf_init(&target, 1000);
        buf_printf(&target, "<Relationship Id=\"rId%zu\" "
                            "Type=\"http://schemas.openxmlformats.org/officeDocument/2006/relationships/worksheet\" "
                            "Target=\"worksheets/sheet%zu.xml\"/>", i + 1, i + 1);
        assert_non_null(strstr(relations.data, target.data));
        buf_release(&target);
    }
    const char *sheets = strstr(workbook.data, "<sheets>") + strlen("<sheets>");
    assert_int_equal(strstr(sheets, "</sheets>") - sheets, all.len);
    assert_memory_equal(sheets, all.data, all.len);
    buf_release(&all);
    buf_release(&workbook);
    buf_release(&relations);
    file_release(&f);
}

#define DUCKS "\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86"

static void sheets_have_names_of_their_own(void **state)
{
    (void)state;
    assert_names("Sheet1", (const char *const[]){"Sheet1", "Sheet1 (2)", "Sheet1 (3)"}, 3);
    assert_names("a<b>&\"c\"",
                 (const char *const[]){"a&lt;b&gt;&amp;&quot;c&quot;", "a&lt;b&gt;&amp;&quot;c&quot; (2)"}, 2);
    assert_names("_x0041_\xEF\xBF\xBF", (const char *const[]){"_x005F_x0041__xFFFF_"}, 1);
    assert_names("1234567890123456789012345678901",
                 (const char *const[]){"1234567890123456789012345678901", "123456789012345678901234567 (2)",
                                       "123456789012345678901234567 (3)",
                                       "123456789012345678901234567 (4)", "123456789012345678901234567 (5)",
                                       "123456789012345678901234567 (6)", "123456789012345678901234567 (7)",
                                       "123456789012345678901234567 (8)", "123456789012345678901234567 (9)",
                                       "12345678901234567890123456 (10)"},
                 10);
    /* characters of two units: none is cut in halves */
    assert_names("x" DUCKS DUCKS "\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86",
                 (const char *const[]){"x" DUCKS DUCKS "\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86",
                                       "x" DUCKS DUCKS "\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86\xF0\x9F\xA6\x86 (2)"},
                 2);
    /* the second's name would be the first's */
    assert_names("123456789012345678901234567 (2)",
                 (const char *const[]){"123456789012345678901234567 (2)", "123456789012345678901234567_(2)",
                                                                          "123456789012345678901234567 (3)"}, 3);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(beyond_4_gib_offsets_are_long),
        cmocka_unit_test(rows_go_on_in_further_sheets),
        cmocka_unit_test(sheets_are_filled_to_the_last_row),
        cmocka_unit_test(rows_are_numbered),
        cmocka_unit_test(a_sheet_ends_before_its_xml_is_too_long),
        cmocka_unit_test(a_row_that_no_sheet_holds_is_refused),
        cmocka_unit_test(sheets_are_not_without_number),
        cmocka_unit_test(a_secret_does_not_get_through),
        cmocka_unit_test(names_of_columns_have_a_ceiling),
        cmocka_unit_test(sheets_have_names_of_their_own),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
