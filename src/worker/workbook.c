#include "worker/workbook.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "base/mailbox.h"
#include "worker/deflate_pool.h"
#include "worker/text_scan.h"
#include "worker/xlsx.h"
#include "worker/xlsx_text.h"
#include "worker/zip.h"

#define OTHER_PARTS 5 /* beside the sheets */

/* A sheet's header; 16,384 names of 300 characters have their place. */
#define BEGIN_MAX ((size_t)64 << 20)

#define STAGE_SIZE ((size_t)64 << 10) /* stays in a core's cache */
#define STAGE_SLACK 32                /* what one step may write: a tag and a row's number, or a word */

const struct workbook_limits workbook_excel = {
    .rows = XLSX_ROWS_MAX, .bytes = UINT64_C(3) << 30, .most = ZIP_ENTRY_MAX, .sheets = UINT16_MAX - OTHER_PARTS - 1};

struct workbook {
    struct packer packer;
    const struct file_form *form;
    const struct workbook_limits *limits;
    struct output *output;
    struct deflate_pool *deflate;

    struct zip_entry *entries; /* those that are whole, and the one that is written */
    size_t entry_count, entry_room, sheets;
    struct buf scratch;
    struct buf begin; /* of every sheet */

    /* The sheet that is written. */
    bool open;
    uint32_t row;             /* of the sheet, from 1 */
    char number[8];           /* its digits */
    size_t digits;
    uint64_t bytes;           /* of its XML that have left the stage */
    uint8_t *at;              /* in `stage`: behind what is not compressed yet */
    uint8_t stage[STAGE_SIZE];
};

static struct workbook *workbook_of(struct packer *p)
{
    return CONTAINER_OF(p, struct workbook, packer);
}

static bool out_of_memory(struct error *e)
{
    return error_set(e, ERROR_MEMORY, "out of memory");
}

/* --- the archive --- */

static bool take_deflated(void *context, const void *data, size_t length, struct error *e)
{
    struct workbook *b = context;
    return output_write(b->output, data, length, e);
}

/* Writes what is in `scratch`, and clears it. */
static bool write_scratch(struct workbook *b, struct error *e)
{
    bool ok = buf_ok(&b->scratch) ? output_write(b->output, b->scratch.data, b->scratch.len, e) : out_of_memory(e);
    buf_clear(&b->scratch);
    return ok;
}

static bool grow_entries(struct workbook *b, struct error *e)
{
    if (b->entry_count < b->entry_room)
        return true;
    size_t room = b->entry_room ? 2 * b->entry_room : 16;
    struct zip_entry *entries = realloc(b->entries, room * sizeof *entries);
    if (!entries)
        return out_of_memory(e);
    b->entries = entries;
    b->entry_room = room;
    return true;
}

static bool begin_entry(struct workbook *b, const char *name, struct error *e)
{
    if (!grow_entries(b, e))
        return false;
    struct zip_entry *entry = &b->entries[b->entry_count++];
    *entry = (struct zip_entry){.offset = output_bytes(b->output)};
    snprintf(entry->name, sizeof entry->name, "%s", name);
    zip_put_local(&b->scratch, entry);
    return write_scratch(b, e);
}

static bool end_entry(struct workbook *b, struct error *e)
{
    struct zip_entry *entry = &b->entries[b->entry_count - 1];
    struct deflate_sums sums;
    if (!deflate_pool_finish(b->deflate, &sums, e))
        return false;
    entry->in = sums.in;
    entry->out = sums.out;
    entry->crc32 = sums.crc32;
    if (entry->out > ZIP_ENTRY_MAX)
        return error_set(e, ERROR_QUERY, "a sheet of the workbook has more than 4 GiB");
    zip_put_descriptor(&b->scratch, entry);
    return write_scratch(b, e);
}

static bool write_entry(struct workbook *b, const char *name, const char *data, size_t length, struct error *e)
{
    return begin_entry(b, name, e) && deflate_pool_write(b->deflate, data, length, e) && end_entry(b, e);
}

/* --- the parts that are not sheets --- */

#define XML "<?xml version=\"1.0\" encoding=\"UTF-8\" standalone=\"yes\"?>\n"
#define MAIN "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
#define RELATIONS "http://schemas.openxmlformats.org/officeDocument/2006/relationships"
#define PACKAGE_RELATIONS "http://schemas.openxmlformats.org/package/2006/relationships"
#define CONTENT "application/vnd.openxmlformats-officedocument.spreadsheetml."

/* The usual type of .xml is a sheet's: so their number need not be known, and the part can be the first, by which
 * programs tell what the archive is. */
static const char content_types[] =
    XML "<Types xmlns=\"http://schemas.openxmlformats.org/package/2006/content-types\">"
        "<Default Extension=\"rels\" ContentType=\"application/vnd.openxmlformats-package.relationships+xml\"/>"
        "<Default Extension=\"xml\" ContentType=\"" CONTENT "worksheet+xml\"/>"
        "<Override PartName=\"/xl/workbook.xml\" ContentType=\"" CONTENT "sheet.main+xml\"/>"
        "<Override PartName=\"/xl/styles.xml\" ContentType=\"" CONTENT "styles+xml\"/></Types>";

static const char relations[] =
    XML "<Relationships xmlns=\"" PACKAGE_RELATIONS "\"><Relationship Id=\"rId1\" "
        "Type=\"" RELATIONS "/officeDocument\" Target=\"xl/workbook.xml\"/></Relationships>";

/* cellXfs in the order of enum xlsx_style. */
static const char styles[] =
    XML "<styleSheet xmlns=\"" MAIN "\">"
        "<numFmts count=\"5\">"
        "<numFmt numFmtId=\"164\" formatCode=\"yyyy\\-mm\\-dd\"/>"
        "<numFmt numFmtId=\"165\" formatCode=\"yyyy\\-mm\\-dd\\ hh:mm:ss\"/>"
        "<numFmt numFmtId=\"166\" formatCode=\"yyyy\\-mm\\-dd\\ hh:mm:ss.000\"/>"
        "<numFmt numFmtId=\"167\" formatCode=\"hh:mm:ss\"/>"
        "<numFmt numFmtId=\"168\" formatCode=\"hh:mm:ss.000\"/></numFmts>"
        "<fonts count=\"2\"><font><sz val=\"11\"/><name val=\"Calibri\"/><family val=\"2\"/></font>"
        "<font><b/><sz val=\"11\"/><name val=\"Calibri\"/><family val=\"2\"/></font></fonts>"
        "<fills count=\"2\"><fill><patternFill patternType=\"none\"/></fill>"
        "<fill><patternFill patternType=\"gray125\"/></fill></fills>"
        "<borders count=\"1\"><border><left/><right/><top/><bottom/><diagonal/></border></borders>"
        "<cellStyleXfs count=\"1\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\"/></cellStyleXfs>"
        "<cellXfs count=\"8\"><xf numFmtId=\"0\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\"/>"
        "<xf numFmtId=\"0\" fontId=\"1\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyFont=\"1\"/>"
        "<xf numFmtId=\"1\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\"/>"
        "<xf numFmtId=\"164\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\"/>"
        "<xf numFmtId=\"165\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\"/>"
        "<xf numFmtId=\"166\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\"/>"
        "<xf numFmtId=\"167\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\"/>"
        "<xf numFmtId=\"168\" fontId=\"0\" fillId=\"0\" borderId=\"0\" xfId=\"0\" applyNumberFormat=\"1\"/></cellXfs>"
        "<cellStyles count=\"1\"><cellStyle name=\"Normal\" xfId=\"0\" builtinId=\"0\"/></cellStyles></styleSheet>";

static void append_escaped(struct buf *out, const char *data, size_t length)
{
    uint8_t text[XLSX_GROWTH * 3 * FILE_SHEET_MAX + XLSX_SLACK];
    const char *from = data;
    buf_append(out, text, (size_t)(xlsx_escape(text, &from, data + length, data + length) - text));
}

/* In an attribute: quotes are escaped, too. */
static void append_attribute(struct buf *out, const char *text)
{
    for (size_t n = strcspn(text, "\""); *text; text += n, n = strcspn(text, "\"")) {
        append_escaped(out, text, n);
        if (text[n]) {
            buf_append_text(out, "&quot;");
            n++;
        }
    }
}

/* The second one is "Sheet1 (2)", shortened where it must be. A name that ends so itself may then be the first
 * one's: of all names it is the only one that can be equal, and gets an underscore for the blank. `ret` has 3 *
 * FILE_SHEET_MAX + 1 bytes. */
static void name_sheet(const char *name, size_t number, char *ret)
{
    char ending[24] = "";
    if (number > 1)
        snprintf(ending, sizeof ending, " (%zu)", number);
    size_t keep = xlsx_prefix(name, strlen(name), FILE_SHEET_MAX - strlen(ending));
    snprintf(ret, 3 * FILE_SHEET_MAX + 1, "%.*s%s", (int)keep, name, ending);
    if (number > 1 && strcmp(ret, name) == 0)
        *strrchr(ret, ' ') = '_';
}

static bool write_workbook(struct workbook *b, struct error *e)
{
    struct buf out;
    char name[3 * FILE_SHEET_MAX + 1];
    buf_init(&out, SIZE_MAX / 2);
    buf_append_text(&out, XML "<workbook xmlns=\"" MAIN "\" xmlns:r=\"" RELATIONS "\">"
                              "<bookViews><workbookView/></bookViews><sheets>");
    for (size_t i = 1; i <= b->sheets; i++) {
        name_sheet(b->form->sheet_name, i, name);
        buf_append_text(&out, "<sheet name=\"");
        append_attribute(&out, name);
        buf_printf(&out, "\" sheetId=\"%zu\" r:id=\"rId%zu\"/>", i, i);
    }
    buf_append_text(&out, "</sheets></workbook>");
    bool ok = buf_ok(&out) ? write_entry(b, "xl/workbook.xml", out.data, out.len, e) : out_of_memory(e);
    buf_release(&out);
    return ok;
}

static bool write_workbook_relations(struct workbook *b, struct error *e)
{
    struct buf out;
    buf_init(&out, SIZE_MAX / 2);
    buf_append_text(&out, XML "<Relationships xmlns=\"" PACKAGE_RELATIONS "\">");
    for (size_t i = 1; i <= b->sheets; i++)
        buf_printf(&out,
                   "<Relationship Id=\"rId%zu\" Type=\"" RELATIONS "/worksheet\" "
                   "Target=\"worksheets/sheet%zu.xml\"/>",
                   i, i);
    buf_printf(&out,
               "<Relationship Id=\"rId%zu\" Type=\"" RELATIONS "/styles\" Target=\"styles.xml\"/>"
               "</Relationships>",
               b->sheets + 1);
    bool ok = buf_ok(&out) ? write_entry(b, "xl/_rels/workbook.xml.rels", out.data, out.len, e) : out_of_memory(e);
    buf_release(&out);
    return ok;
}

/* --- a sheet --- */

static bool flush(struct workbook *b, struct error *e)
{
    size_t length = (size_t)(b->at - b->stage);
    b->at = b->stage;
    b->bytes += length;
    if (b->bytes + sizeof XLSX_SHEET_END > b->limits->most)
        return error_set(e, ERROR_QUERY,
                         "a row of the result has more than %" PRIu64 " MiB, which do not fit into a sheet of XLSX",
                         (b->limits->most - b->limits->bytes) >> 20);
    return deflate_pool_write(b->deflate, b->stage, length, e);
}

static bool expand(struct workbook *b, const uint8_t *data, size_t length, struct error *e);

static bool open_sheet(struct workbook *b, struct error *e)
{
    char name[ZIP_NAME_MAX + 1];
    if (b->sheets == 0 && (!write_entry(b, "[Content_Types].xml", content_types, strlen(content_types), e) ||
                           !write_entry(b, "_rels/.rels", relations, strlen(relations), e) ||
                           !write_entry(b, "xl/styles.xml", styles, strlen(styles), e)))
        return false;
    if (b->sheets == b->limits->sheets)
        return error_set(e, ERROR_QUERY, "the result does not fit into %zu sheets of XLSX", b->sheets);
    b->sheets++;
    b->row = 0;
    b->bytes = 0;
    b->open = true;
    snprintf(name, sizeof name, "xl/worksheets/sheet%zu.xml", b->sheets);
    return begin_entry(b, name, e) && expand(b, (const uint8_t *)b->begin.data, b->begin.len, e);
}

/* There is room in the stage. */
static bool close_sheet(struct workbook *b, struct error *e)
{
    if (!flush(b, e))
        return false;
    b->open = false;
    return deflate_pool_write(b->deflate, XLSX_SHEET_END, strlen(XLSX_SHEET_END), e) && end_entry(b, e);
}

static uint8_t *put_digits(const struct workbook *b, uint8_t *at)
{
    memcpy(at, b->number, sizeof b->number);
    return at + b->digits;
}

/* Digits as on a mechanical counter. */
static void count_row(struct workbook *b)
{
    if (b->row++ == 0) {
        b->number[0] = '0';
        b->digits = 1;
    }
    size_t i = b->digits;
    while (i > 0 && b->number[i - 1] == '9')
        b->number[--i] = '0';
    if (i > 0) {
        b->number[i - 1]++;
    } else {
        memmove(b->number + 1, b->number, b->digits++);
        b->number[0] = '1';
    }
}

/* A row begins, in a further sheet where this one is full. */
static bool begin_row(struct workbook *b, struct error *e)
{
    bool full = b->row == b->limits->rows || b->bytes + (size_t)(b->at - b->stage) >= b->limits->bytes;
    if (full && (!close_sheet(b, e) || !open_sheet(b, e)))
        return false;
    count_row(b);
    static const char tag[] = "<row r=\"";
    memcpy(b->at, tag, sizeof tag - 1);
    b->at = put_digits(b, b->at + sizeof tag - 1);
    memcpy(b->at, "\">", 2);
    b->at += 2;
    return true;
}

/* Bytes of `word` before the first mark; 8: there is none. */
static inline size_t bytes_before_mark(uint64_t word)
{
    uint64_t less = (word - ONES * (XLSX_ROW_NUMBER + 1)) & ~word & HIGHS; /* the lowest bit is right */
    return less ? (size_t)__builtin_ctzll(less) / 8 : 8;
}

static inline bool is_mark(uint8_t c)
{
    return c <= XLSX_ROW_NUMBER;
}

/* Copies up to the next mark, the end, or until the stage wants to be emptied. */
static const uint8_t *copy_to_mark(struct workbook *b, const uint8_t *data, const uint8_t *end)
{
    const uint8_t *full = b->stage + STAGE_SIZE - STAGE_SLACK;
    uint8_t *at = b->at;
    while (end - data >= 8 && at <= full) {
        uint64_t word;
        memcpy(&word, data, sizeof word);
        memcpy(at, &word, sizeof word);
        size_t n = bytes_before_mark(word);
        data += n;
        at += n;
        if (n < 8)
            break;
    }
    while (end - data < 8 && data < end && at <= full && !is_mark(*data))
        *at++ = *data++;
    b->at = at;
    return data;
}

/* Into the sheet, with every mark replaced. */
static bool expand(struct workbook *b, const uint8_t *data, size_t length, struct error *e)
{
    const uint8_t *end = data + length;
    while (data < end) {
        data = copy_to_mark(b, data, end);
        if (b->at > b->stage + STAGE_SIZE - STAGE_SLACK && !flush(b, e))
            return false;
        if (data == end || !is_mark(*data))
            continue;
        if (*data == XLSX_ROW_NUMBER)
            b->at = put_digits(b, b->at);
        else if (!begin_row(b, e))
            return false;
        data++;
    }
    return true;
}

/* --- the packer --- */

static bool workbook_begin(struct packer *p, const void *data, size_t length, struct error *e)
{
    struct workbook *b = workbook_of(p);
    if (!output_scan(b->output, data, length, e))
        return false;
    buf_append(&b->begin, data, length);
    return buf_ok(&b->begin) ||
           error_set(e, ERROR_QUERY, "the names of the columns have more than %zu MiB", BEGIN_MAX >> 20);
}

static bool workbook_rows(struct packer *p, const void *data, size_t length, struct error *e)
{
    struct workbook *b = workbook_of(p);
    return output_scan(b->output, data, length, e) && (b->open || open_sheet(b, e)) && expand(b, data, length, e);
}

static bool workbook_end(struct packer *p, const void *data, size_t length, struct error *e)
{
    struct workbook *b = workbook_of(p);
    if (!workbook_rows(p, data, length, e) || !close_sheet(b, e) || !write_workbook(b, e) ||
        !write_workbook_relations(b, e))
        return false;
    zip_put_directory(&b->scratch, b->entries, b->entry_count, output_bytes(b->output));
    return write_scratch(b, e);
}

static void workbook_free(struct packer *p)
{
    struct workbook *b = workbook_of(p);
    deflate_pool_free(b->deflate);
    buf_release(&b->scratch);
    buf_release(&b->begin);
    free(b->entries);
    free(b);
}

static uint64_t workbook_cpu_ns(const struct packer *p)
{
    return deflate_pool_cpu_ns(CONTAINER_OF(p, const struct workbook, packer)->deflate);
}

static const struct packer_api workbook_api = {.begin = workbook_begin,
                                               .rows = workbook_rows,
                                               .end = workbook_end,
                                               .free = workbook_free,
                                               .cpu_ns = workbook_cpu_ns};

struct packer *workbook_new(const struct file_form *form, struct output *output, uint32_t threads,
                            const struct workbook_limits *limits, struct error *e)
{
    struct workbook *b = calloc(1, sizeof *b);
    if (!b) {
        out_of_memory(e);
        return NULL;
    }
    b->packer.api = &workbook_api;
    b->form = form;
    b->limits = limits;
    b->output = output;
    b->at = b->stage;
    buf_init(&b->scratch, SIZE_MAX / 2);
    buf_init(&b->begin, BEGIN_MAX);
    b->deflate = deflate_pool_new(threads, take_deflated, b, e);
    if (b->deflate)
        return &b->packer;
    workbook_free(&b->packer);
    return NULL;
}
