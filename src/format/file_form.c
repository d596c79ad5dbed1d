#include "format/file_form.h"

#include <inttypes.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/buf.h"
#include "base/utf8.h"
#include "format/timezones.h"

/* --- the formats --- */

#define BIT(n) (1u << (n))
#define TEXTS (BIT(FILE_CSV) | BIT(FILE_TSV) | BIT(FILE_JSON) | BIT(FILE_NDJSON))
#define TEXT_COMPRESSIONS (BIT(COMPRESSION_NONE) | BIT(COMPRESSION_GZIP) | BIT(COMPRESSION_ZSTD))

static const struct {
    const char *name, *alias; /* of a request; `alias` may be NULL */
    const char *media_type;
    unsigned compressions; /* a bit each */
    enum file_compression compression;
} formats[FILE_FORMATS] = {
    [FILE_CSV] = {"csv", NULL, "text/csv; charset=utf-8", TEXT_COMPRESSIONS, COMPRESSION_NONE},
    [FILE_TSV] = {"tsv", NULL, "text/tab-separated-values; charset=utf-8", TEXT_COMPRESSIONS, COMPRESSION_NONE},
    [FILE_JSON] = {"json", NULL, "application/json", TEXT_COMPRESSIONS, COMPRESSION_NONE},
    [FILE_NDJSON] = {"ndjson", "jsonl", "application/x-ndjson", TEXT_COMPRESSIONS, COMPRESSION_NONE},
    /* https://www.iana.org/assignments/media-types/application/vnd.apache.parquet */
    [FILE_PARQUET] = {"parquet", NULL, "application/vnd.apache.parquet",
                      BIT(COMPRESSION_NONE) | BIT(COMPRESSION_ZSTD) | BIT(COMPRESSION_SNAPPY), COMPRESSION_ZSTD},
    [FILE_XLSX] = {"xlsx", "excel", "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
                   BIT(COMPRESSION_NONE), COMPRESSION_NONE},
};

static const struct {
    const char *name;
    const char *suffix, *media_type; /* of a text that is compressed so */
} compressions[FILE_COMPRESSIONS] = {
    [COMPRESSION_NONE] = {"none", NULL, NULL},
    [COMPRESSION_GZIP] = {"gzip", "gz", "application/gzip"}, /* RFC 6713 */
    [COMPRESSION_ZSTD] = {"zstd", "zst", "application/zstd"}, /* RFC 8878 */
    [COMPRESSION_SNAPPY] = {"snappy", NULL, NULL},
};

const char *file_format_name(enum file_format format)
{
    return formats[format].name;
}

const char *file_compression_name(enum file_compression compression)
{
    return compressions[compression].name;
}

static bool is_text(enum file_format format)
{
    return TEXTS & BIT(format);
}

struct file_form file_form_default(enum file_format format)
{
    return (struct file_form){
        .format = format,
        .compression = formats[format].compression,
        .delimiter = format == FILE_TSV ? '\t' : ',',
        .header = true,
        .timezone = "UTC",
        .sheet_name = "Sheet1",
        .freeze_header = true,
        .bold_header = true,
    };
}

void file_form_suffix(const struct file_form *form, char ret[FILE_SUFFIX_MAX])
{
    const char *more = is_text(form->format) ? compressions[form->compression].suffix : NULL;
    snprintf(ret, FILE_SUFFIX_MAX, "%s%s%s", formats[form->format].name, more ? "." : "", more ? more : "");
}

const char *file_media_type(const char *name)
{
    const char *dot = strrchr(name, '.'), *last = dot ? dot + 1 : name;
    for (int i = 0; i < FILE_FORMATS; i++)
        if (strcmp(last, formats[i].name) == 0)
            return formats[i].media_type;
    for (int i = 0; i < FILE_COMPRESSIONS; i++)
        if (compressions[i].suffix && strcmp(last, compressions[i].suffix) == 0)
            return compressions[i].media_type;
    return "application/octet-stream";
}

const char *file_form_altered_name(const struct file_form *form)
{
    switch (form->format) {
    case FILE_CSV:
    case FILE_TSV:
        return form->excel_safe ? "guarded_cells" : NULL;
    case FILE_XLSX:
        return form->cut_long_text ? "cut_cells" : NULL;
    default:
        return NULL;
    }
}

/* --- the options --- */

typedef bool check_fn(const struct file_form *form, const char *text, struct error *e);

/* How an option looks in a request. */
enum kind {
    FLAG,   /* true or false */
    CHOICE, /* one of two words; the second sets the flag */
    NUMBER, /* uint32_t within `least` and `most` */
    LETTER, /* a char */
    TEXT,   /* a text of at most `most` bytes, that `check` allows */
};

struct option {
    const char *name;
    unsigned formats; /* a bit each */
    enum kind kind;
    size_t offset; /* in struct file_form */
    const char *words[2];
    uint32_t least, most;
    check_fn *check;
};

static check_fn check_null_text, check_timezone, check_sheet_name;

#define SEPARATED (BIT(FILE_CSV) | BIT(FILE_TSV))
#define JSONS (BIT(FILE_JSON) | BIT(FILE_NDJSON))
#define AT(member) .offset = offsetof(struct file_form, member)

static const struct option options[] = {
    {"delimiter", SEPARATED, LETTER, AT(delimiter)},
    {"header", SEPARATED | BIT(FILE_XLSX), FLAG, AT(header)},
    {"null", SEPARATED, TEXT, AT(null_text), .most = FILE_NULL_MAX, .check = check_null_text},
    {"quote_all", SEPARATED, FLAG, AT(quote_all)},
    {"line_ending", SEPARATED, CHOICE, AT(crlf), .words = {"\n", "\r\n"}},
    {"bom", SEPARATED, FLAG, AT(bom)},
    {"excel_safe", SEPARATED, FLAG, AT(excel_safe)},
    {"timezone", BIT(FILE_FORMATS) - 1, TEXT, AT(timezone), .most = FILE_TIMEZONE_MAX, .check = check_timezone},
    {"integers", JSONS, CHOICE, AT(integers_as_text), .words = {"number", "string"}},
    {"decimals", JSONS, CHOICE, AT(decimals_as_text), .words = {"number", "string"}},
    {"non_finite", JSONS, CHOICE, AT(non_finite_as_text), .words = {"null", "string"}},
    {"row_group_size", BIT(FILE_PARQUET), NUMBER, AT(row_group_size), .least = FILE_ROW_GROUP_MIN,
     .most = FILE_ROW_GROUP_MAX},
    {"sheet_name", BIT(FILE_XLSX), TEXT, AT(sheet_name), .most = 3 * FILE_SHEET_MAX, .check = check_sheet_name},
    {"freeze_header", BIT(FILE_XLSX), FLAG, AT(freeze_header)},
    {"bold_header", BIT(FILE_XLSX), FLAG, AT(bold_header)},
    {"long_text", BIT(FILE_XLSX), CHOICE, AT(cut_long_text), .words = {"error", "cut"}},
};

static void *place(const struct option *o, const struct file_form *form)
{
    return (char *)form + o->offset;
}

static const struct option *find_option(const char *name)
{
    for (size_t i = 0; i < ARRAY_SIZE(options); i++)
        if (strcmp(options[i].name, name) == 0)
            return &options[i];
    return NULL;
}

/* What is quoted of a name that is not known: whole characters. */
#define SHOWN_MAX 64

static int shown(const char *name)
{
    return (int)utf8_prefix(name, strlen(name), SHOWN_MAX);
}

/* NULL: no string, or one that does not end where it seems to. */
static const char *string_of(const json_t *value)
{
    const char *text = json_string_value(value);
    return text && strlen(text) == json_string_length(value) ? text : NULL;
}

static bool check_null_text(const struct file_form *form, const char *text, struct error *e)
{
    (void)form;
    return !strpbrk(text, "\"\r\n") || error_set(e, ERROR_INVALID, "option null must not have quotes or line ends");
}

static int compare_names(const void *a, const void *b)
{
    return strcmp(a, *(const char *const *)b);
}

static bool check_timezone(const struct file_form *form, const char *text, struct error *e)
{
    (void)form;
    return bsearch(text, timezone_names, timezone_count, sizeof *timezone_names, compare_names) ||
           error_set(e, ERROR_INVALID, "option timezone must be a name like UTC or Asia/Kolkata; '%s' is not known",
                     text);
}

/* Excel's rules: https://support.microsoft.com/office/3f1f7148-ee83-404d-8ef0-9ff99fbad1f9. And U+FFFE and U+FFFF
 * are no characters of XML 1.0 (2.2). */
static bool check_sheet_name(const struct file_form *form, const char *text, struct error *e)
{
    (void)form;
    size_t units = 0, length = strlen(text);
    for (size_t i = 0; i < length; i++) {
        unsigned char c = (unsigned char)text[i];
        units += (c & 0xc0) != 0x80;
        units += c >= 0xf0; /* two UTF-16 units */
        bool no_xml = strncmp(text + i, "\xef\xbf\xbe", 3) == 0 || strncmp(text + i, "\xef\xbf\xbf", 3) == 0;
        if (c < 0x20 || c == 0x7f || no_xml || strchr("[]:*?/\\", c))
            return error_set(e, ERROR_INVALID,
                             "option sheet_name must not have any of []:*?/\\ or a control character");
    }
    if (units > FILE_SHEET_MAX)
        return error_set(e, ERROR_INVALID, "option sheet_name must have at most %d characters", FILE_SHEET_MAX);
    if (text[0] == '\'' || text[length - 1] == '\'' || strcasecmp(text, "History") == 0)
        return error_set(e, ERROR_INVALID, "option sheet_name must not be History, and not begin or end with '");
    return true;
}

/* A letter of the null text, or one that a number or a word has, would make the file unreadable. */
static bool set_delimiter(const struct option *o, struct file_form *form, const char *text, struct error *e)
{
    static const char allowed[] = ",;|\t:~^!*$%&\x01\x1f ";
    const char *letter = strcmp(text, "\\t") == 0 ? "\t" : text;
    if (strlen(letter) != 1 || !strchr(allowed, *letter))
        return error_set(e, ERROR_INVALID,
                         "option delimiter must be one of , ; | : ~ ^ ! * $ %% & a tab, a space, U+0001 or U+001F");
    *(char *)place(o, form) = *letter;
    return true;
}

static bool set_choice(const struct option *o, struct file_form *form, const char *text, struct error *e)
{
    for (int i = 0; i < 2; i++)
        if (strcmp(text, o->words[i]) == 0) {
            *(bool *)place(o, form) = i == 1;
            return true;
        }
    if (o->words[0][0] == '\n')
        return error_set(e, ERROR_INVALID, "option %s must be \"\\n\" or \"\\r\\n\"", o->name);
    return error_set(e, ERROR_INVALID, "option %s must be \"%s\" or \"%s\"", o->name, o->words[0], o->words[1]);
}

static bool set_text(const struct option *o, struct file_form *form, const char *text, struct error *e)
{
    if (strlen(text) > o->most)
        return error_set(e, ERROR_INVALID, "option %s must have at most %" PRIu32 " bytes", o->name, o->most);
    if (!o->check(form, text, e))
        return false;
    memcpy(place(o, form), text, strlen(text) + 1);
    return true;
}

/* null is the default, as if it were missing; so is an empty text where a text belongs. */
static bool set_option(const struct option *o, struct file_form *form, const json_t *value, struct error *e)
{
    if (json_is_null(value))
        return true;
    if (o->kind == FLAG) {
        if (!json_is_boolean(value))
            return error_set(e, ERROR_INVALID, "option %s must be true or false", o->name);
        *(bool *)place(o, form) = json_is_true(value);
        return true;
    }
    if (o->kind == NUMBER) {
        if (!json_is_integer(value) || json_integer_value(value) < o->least || json_integer_value(value) > o->most)
            return error_set(e, ERROR_INVALID, "option %s must be a whole number from %" PRIu32 " to %" PRIu32, o->name,
                             o->least, o->most);
        *(uint32_t *)place(o, form) = (uint32_t)json_integer_value(value);
        return true;
    }
    const char *text = string_of(value);
    if (!text)
        return error_set(e, ERROR_INVALID, "option %s must be a string", o->name);
    if (!*text)
        return true;
    if (o->kind == LETTER)
        return set_delimiter(o, form, text, e);
    return o->kind == CHOICE ? set_choice(o, form, text, e) : set_text(o, form, text, e);
}

static bool fail_unknown(const char *name, const struct file_form *form, struct error *e)
{
    char known[512] = "";
    for (size_t i = 0, length = 0; i < ARRAY_SIZE(options); i++)
        if (options[i].formats & BIT(form->format))
            length += (size_t)snprintf(known + length, sizeof known - length, "%s%s", length ? ", " : "",
                                       options[i].name);
    return error_set(e, ERROR_INVALID, "unknown option '%.*s' for the format %s: there are %s", shown(name), name,
                     formats[form->format].name, known);
}

static bool read_options(const json_t *given, struct file_form *form, struct error *e)
{
    const char *name;
    json_t *value;
    if (!given || json_is_null(given))
        return true;
    if (!json_is_object(given))
        return error_set(e, ERROR_INVALID, "options must be an object");
    json_object_foreach((json_t *)given, name, value)
    {
        const struct option *o = find_option(name);
        if (!o || !(o->formats & BIT(form->format)))
            return fail_unknown(name, form, e);
        if (!set_option(o, form, value, e))
            return false;
    }
    if (form->null_text[0] && strchr(form->null_text, form->delimiter))
        return error_set(e, ERROR_INVALID, "option null must not have the delimiter in it");
    return true;
}

/* --- the members of a request --- */

/* Missing, null and "" are NULL. */
static bool read_text(const json_t *request, const char *name, const char **ret, struct error *e)
{
    const json_t *value = json_object_get(request, name);
    const char *text = string_of(value);
    if (value && !text && !json_is_null(value))
        return error_set(e, ERROR_INVALID, "%s must be a string", name);
    *ret = text && *text ? text : NULL;
    return true;
}

static bool find_format(const char *name, enum file_format *ret, struct error *e)
{
    *ret = FILE_CSV;
    if (!name)
        return true;
    for (int i = 0; i < FILE_FORMATS; i++)
        if (strcmp(name, formats[i].name) == 0 || (formats[i].alias && strcmp(name, formats[i].alias) == 0)) {
            *ret = (enum file_format)i;
            return true;
        }
    return error_set(e, ERROR_INVALID,
                     "unknown format '%.*s': there are csv, tsv, json, ndjson (or jsonl), parquet, xlsx (or excel)",
                     shown(name), name);
}

static bool find_compression(const char *name, struct file_form *form, struct error *e)
{
    char allowed[64] = "";
    if (!name)
        return true;
    for (int i = 0; i < FILE_COMPRESSIONS; i++) {
        if (!(formats[form->format].compressions & BIT(i)))
            continue;
        if (strcmp(name, compressions[i].name) == 0) {
            form->compression = (enum file_compression)i;
            return true;
        }
        size_t length = strlen(allowed);
        snprintf(allowed + length, sizeof allowed - length, "%s%s", length ? ", " : "", compressions[i].name);
    }
    return error_set(e, ERROR_INVALID, "unknown compression '%.*s' for the format %s: allowed is %s", shown(name), name,
                     formats[form->format].name, allowed);
}

static bool read_limit(const json_t *request, const char *name, uint64_t *ret, struct error *e)
{
    const json_t *value = json_object_get(request, name);
    if (!value || json_is_null(value))
        return true;
    if (!json_is_integer(value) || json_integer_value(value) < 0)
        return error_set(e, ERROR_INVALID, "%s must be a whole number that is not negative (0: no limit)", name);
    *ret = (uint64_t)json_integer_value(value);
    return true;
}

bool file_form_read(const json_t *request, struct file_form *ret_form, struct error *e)
{
    const char *format_name, *compression;
    enum file_format format;
    if (!read_text(request, "format", &format_name, e) || !read_text(request, "compression", &compression, e) ||
        !find_format(format_name, &format, e))
        return false;
    struct file_form form = file_form_default(format);
    if (!find_compression(compression, &form, e) || !read_options(json_object_get(request, "options"), &form, e) ||
        !read_limit(request, "row_limit", &form.row_limit, e) ||
        !read_limit(request, "byte_limit", &form.byte_limit, e))
        return false;
    *ret_form = form;
    return true;
}

void file_form_limit(struct file_form *form, uint64_t row_limit, uint64_t byte_limit)
{
    if (row_limit && (!form->row_limit || form->row_limit > row_limit))
        form->row_limit = row_limit;
    if (byte_limit && (!form->byte_limit || form->byte_limit > byte_limit))
        form->byte_limit = byte_limit;
}

/* --- back --- */

/* NULL: as `usual`. */
static json_t *option_json(const struct option *o, const struct file_form *form, const struct file_form *usual)
{
    const void *at = place(o, form), *other = place(o, usual);
    switch (o->kind) {
    case FLAG:
        return *(const bool *)at == *(const bool *)other ? NULL : json_boolean(*(const bool *)at);
    case CHOICE:
        return *(const bool *)at == *(const bool *)other ? NULL : json_string(o->words[*(const bool *)at]);
    case NUMBER:
        return *(const uint32_t *)at == *(const uint32_t *)other ? NULL : json_integer(*(const uint32_t *)at);
    case LETTER:
        return *(const char *)at == *(const char *)other ? NULL : json_stringn(at, 1);
    case TEXT:
        break;
    }
    return strcmp(at, other) == 0 ? NULL : json_string(at);
}

json_t *file_form_json(const struct file_form *form)
{
    const struct file_form usual = file_form_default(form->format);
    json_t *all = json_pack("{s:s}", "format", formats[form->format].name), *set = json_object();
    bool ok = all && set;
    if (ok && form->compression != usual.compression)
        ok = json_object_set_new(all, "compression", json_string(compressions[form->compression].name)) == 0;
    for (size_t i = 0; i < ARRAY_SIZE(options) && ok; i++) {
        json_t *value = options[i].formats & BIT(form->format) ? option_json(&options[i], form, &usual) : NULL;
        ok = !value || json_object_set_new(set, options[i].name, value) == 0;
    }
    if (ok && json_object_size(set) > 0)
        ok = json_object_set(all, "options", set) == 0;
    if (ok && form->row_limit)
        ok = json_object_set_new(all, "row_limit", json_integer((json_int_t)form->row_limit)) == 0;
    if (ok && form->byte_limit)
        ok = json_object_set_new(all, "byte_limit", json_integer((json_int_t)form->byte_limit)) == 0;
    json_decref(set);
    if (ok)
        return all;
    json_decref(all);
    return NULL;
}

bool file_option_set(json_t *given, const char *name, const char *text)
{
    const struct option *o = find_option(name);
    json_t *value = NULL;
    char *end = NULL;
    if (o && o->kind == FLAG && (strcmp(text, "true") == 0 || strcmp(text, "false") == 0))
        value = json_boolean(text[0] == 't');
    else if (o && o->kind == NUMBER && *text >= '0' && *text <= '9')
        value = json_integer(strtoll(text, &end, 10));
    if (value && (!end || !*end))
        return json_object_set_new(given, name, value) == 0;
    json_decref(value);
    if (o && o->kind == CHOICE && (strcmp(text, "\\n") == 0 || strcmp(text, "\\r\\n") == 0)) /* as a shell gives it */
        text = strlen(text) > 2 ? "\r\n" : "\n";
    return json_object_set_new(given, name, json_string(text)) == 0;
}
