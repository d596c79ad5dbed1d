#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "base/buf.h"
#include "format/file_form.h"
#include "format/timezones.h"

/* A request in JSON; single quotes stand for double ones. */
static json_t *parse(const char *text)
{
    _cleanup_free_ char *json = strdup(text);
    assert_non_null(json);
    for (char *p = json; (p = strchr(p, '\'')); p++)
        *p = '"';
    json_error_t why;
    json_t *request = json_loads(json, 0, &why);
    if (!request)
        fail_msg("%s: %s", text, why.text);
    return request;
}

static struct file_form read_json(json_t *request)
{
    struct file_form form;
    struct error e = {.code = ERROR_INTERNAL, .message = "untouched"};
    if (!file_form_read(request, &form, &e))
        fail_msg("refused: %s", e.message);
    assert_string_equal(e.message, "untouched");
    json_decref(request);
    return form;
}

static struct file_form read_form(const char *text)
{
    return read_json(parse(text));
}

/* What the form is as JSON, in the order in which it is made. The caller's. */
static char *dump(const struct file_form *form)
{
    json_t *json = file_form_json(form);
    assert_non_null(json);
    char *text = json_dumps(json, JSON_COMPACT);
    json_decref(json);
    assert_non_null(text);
    assert_true(strlen(text) < FILE_FORM_MAX);
    return text;
}

static void assert_same(const struct file_form *a, const struct file_form *b)
{
    assert_int_equal(a->format, b->format);
    assert_int_equal(a->compression, b->compression);
    assert_int_equal(a->delimiter, b->delimiter);
    assert_string_equal(a->null_text, b->null_text);
    assert_string_equal(a->timezone, b->timezone);
    assert_string_equal(a->sheet_name, b->sheet_name);
    assert_int_equal(a->row_group_size, b->row_group_size);
    assert_int_equal(a->row_limit, b->row_limit);
    assert_int_equal(a->byte_limit, b->byte_limit);
    const bool flags_a[] = {a->quote_all,     a->crlf,        a->bom,           a->excel_safe,
                            a->header,        a->bold_header, a->cut_long_text, a->integers_as_text,
                            a->freeze_header, a->decimals_as_text, a->non_finite_as_text};
    const bool flags_b[] = {b->quote_all,     b->crlf,        b->bom,           b->excel_safe,
                            b->header,        b->bold_header, b->cut_long_text, b->integers_as_text,
                            b->freeze_header, b->decimals_as_text, b->non_finite_as_text};
    assert_memory_equal(flags_a, flags_b, sizeof flags_a);
}

/* `canonical` is what `text` reads to, and reads to itself. */
static void assert_form(const char *text, const char *canonical)
{
    const struct file_form form = read_form(text);
    _cleanup_free_ char *got = dump(&form), *want = strdup(canonical);
    assert_non_null(want);
    for (char *p = want; (p = strchr(p, '\'')); p++)
        *p = '"';
    assert_string_equal(got, want);
    const struct file_form again = read_json(json_loads(got, 0, NULL));
    assert_same(&form, &again);
}

/* Refused with an error that has `says` in it; nothing is given back. */
static void assert_refused_json(json_t *request, const char *says)
{
    struct file_form form = {.row_limit = 7}, before = form;
    struct error e;
    if (file_form_read(request, &form, &e)) {
        _cleanup_free_ char *text = json_dumps(request, JSON_ENCODE_ANY);
        fail_msg("%s was taken", text);
    }
    assert_int_equal(e.code, ERROR_INVALID);
    if (!strstr(e.message, says))
        fail_msg("no '%s' in '%s'", says, e.message);
    assert_same(&form, &before);
    json_decref(request);
}

static void assert_refused(const char *text, const char *says)
{
    assert_refused_json(parse(text), says);
}

/* --- formats and compressions --- */

static void what_is_not_said_is_the_default(void **state)
{
    (void)state;
    assert_form("{}", "{'format':'csv'}");
    assert_form("{'format':'','compression':''}", "{'format':'csv'}");
    assert_form("{'format':null,'compression':null,'options':null,'row_limit':null,'byte_limit':null}",
                "{'format':'csv'}");
    assert_form("{'sql':1,'other':{'format':'x'}}", "{'format':'csv'}");
    assert_form("{'options':{}}", "{'format':'csv'}");
    assert_form("{'options':{'null':'','delimiter':'','timezone':'','line_ending':''}}", "{'format':'csv'}");
    assert_form("{'format':'xlsx','options':{'sheet_name':'','long_text':''}}", "{'format':'xlsx'}");
    const struct file_form form = read_form("{}");
    assert_int_equal(form.delimiter, ',');
    assert_string_equal(form.null_text, "");
    assert_string_equal(form.timezone, "UTC");
    assert_true(form.header);
    assert_false(form.quote_all || form.crlf || form.bom || form.excel_safe);
    assert_int_equal(form.row_limit | form.byte_limit, 0);
    for (int i = 0; i < FILE_FORMATS; i++) {
        const struct file_form usual = file_form_default((enum file_format)i);
        _cleanup_free_ char *text = dump(&usual);
        const struct file_form same = read_json(json_loads(text, 0, NULL));
        assert_same(&usual, &same);
    }
    const struct file_form sheet = file_form_default(FILE_XLSX), table = file_form_default(FILE_TSV),
                           pages = file_form_default(FILE_PARQUET);
    assert_true(sheet.freeze_header && sheet.bold_header && !sheet.cut_long_text);
    assert_string_equal(sheet.sheet_name, "Sheet1");
    assert_int_equal(table.delimiter, '\t');
    assert_int_equal(pages.compression, COMPRESSION_ZSTD);
    assert_int_equal(pages.row_group_size, 0);
}

static void formats_have_names_suffixes_and_types(void **state)
{
    (void)state;
#define SHEET "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet"
#define PARQUET "application/vnd.apache.parquet"
#define TSV "text/tab-separated-values; charset=utf-8"
    static const struct {
        const char *format, *compression, *name, *suffix, *type;
    } cases[] = {
        {"csv", "", "csv", "csv", "text/csv; charset=utf-8"},
        {"csv", "none", "csv", "csv", "text/csv; charset=utf-8"},
        {"csv", "gzip", "csv", "csv.gz", "application/gzip"},
        {"csv", "zstd", "csv", "csv.zst", "application/zstd"},
        {"tsv", "", "tsv", "tsv", TSV},
        {"tsv", "none", "tsv", "tsv", TSV},
        {"tsv", "gzip", "tsv", "tsv.gz", "application/gzip"},
        {"tsv", "zstd", "tsv", "tsv.zst", "application/zstd"},
        {"json", "", "json", "json", "application/json"},
        {"json", "none", "json", "json", "application/json"},
        {"json", "gzip", "json", "json.gz", "application/gzip"},
        {"json", "zstd", "json", "json.zst", "application/zstd"},
        {"ndjson", "", "ndjson", "ndjson", "application/x-ndjson"},
        {"ndjson", "gzip", "ndjson", "ndjson.gz", "application/gzip"},
        {"jsonl", "", "ndjson", "ndjson", "application/x-ndjson"},
        {"jsonl", "zstd", "ndjson", "ndjson.zst", "application/zstd"},
        {"parquet", "", "parquet", "parquet", PARQUET},
        {"parquet", "zstd", "parquet", "parquet", PARQUET},
        {"parquet", "snappy", "parquet", "parquet", PARQUET},
        {"parquet", "none", "parquet", "parquet", PARQUET},
        {"xlsx", "", "xlsx", "xlsx", SHEET},
        {"xlsx", "none", "xlsx", "xlsx", SHEET},
        {"excel", "", "xlsx", "xlsx", SHEET},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct file_form form =
            read_json(json_pack("{s:s, s:s}", "format", cases[i].format, "compression", cases[i].compression));
        char suffix[FILE_SUFFIX_MAX], name[64];
        file_form_suffix(&form, suffix);
        snprintf(name, sizeof name, "org.csv/1-2.%s", suffix);
        assert_string_equal(file_format_name(form.format), cases[i].name);
        if (*cases[i].compression)
            assert_string_equal(file_compression_name(form.compression), cases[i].compression);
        assert_string_equal(suffix, cases[i].suffix);
        assert_string_equal(file_media_type(suffix), cases[i].type);
        assert_string_equal(file_media_type(name), cases[i].type);
    }
    static const char *const foreign[] = {"", ".", "csv.", "gz.", "x.csv.bz2", "csv.gzip", "CSV", "a.csv/b", "snappy",
                                          "jsonl"};
    for (size_t i = 0; i < ARRAY_SIZE(foreign); i++)
        assert_string_equal(file_media_type(foreign[i]), "application/octet-stream");
}

static void the_canonical_form_has_only_what_is_unusual(void **state)
{
    (void)state;
    assert_form("{'format':'jsonl'}", "{'format':'ndjson'}");
    assert_form("{'format':'excel'}", "{'format':'xlsx'}");
    assert_form("{'format':'csv','compression':'none'}", "{'format':'csv'}");
    assert_form("{'compression':'gzip'}", "{'format':'csv','compression':'gzip'}");
    assert_form("{'format':'parquet','compression':'zstd'}", "{'format':'parquet'}");
    assert_form("{'format':'parquet','compression':'none'}", "{'format':'parquet','compression':'none'}");
    assert_form("{'options':{'header':true,'delimiter':','}}", "{'format':'csv'}");
    assert_form("{'format':'tsv','options':{'delimiter':','}}", "{'format':'tsv','options':{'delimiter':','}}");
    assert_form("{'format':'tsv','options':{'delimiter':'\\t'}}", "{'format':'tsv'}");
    /* Whatever the order in which it was asked for. */
    assert_form("{'byte_limit':2,'row_limit':1,'options':{'bom':true,'header':false},'compression':'zstd'}",
                "{'format':'csv','compression':'zstd','options':{'header':false,'bom':true},"
                "'row_limit':1,'byte_limit':2}");
}

static void unknown_formats_and_compressions_are_named(void **state)
{
    (void)state;
    static const char known[] = "there are csv, tsv, json, ndjson (or jsonl), parquet, xlsx (or excel)";
    static const char *const names[] = {"docx", "CSV", " csv", "csv.gz", "ndjson,csv"};
    for (size_t i = 0; i < ARRAY_SIZE(names); i++) {
        char says[256];
        snprintf(says, sizeof says, "unknown format '%s': %s", names[i], known);
        assert_refused_json(json_pack("{s:s}", "format", names[i]), says);
    }
    assert_refused("{'format':1}", "format must be a string");
    assert_refused("{'format':['csv']}", "format must be a string");
    assert_refused("{'format':true}", "format must be a string");
    assert_refused("{'compression':{}}", "compression must be a string");
    assert_refused("{'compression':'snappy'}",
                   "unknown compression 'snappy' for the format csv: allowed is none, gzip, zstd");
    assert_refused("{'format':'json','compression':'gz'}", "for the format json: allowed is none, gzip, zstd");
    assert_refused("{'format':'parquet','compression':'gzip'}",
                   "unknown compression 'gzip' for the format parquet: allowed is none, zstd, snappy");
    assert_refused("{'format':'xlsx','compression':'zstd'}", "for the format xlsx: allowed is none");
}

/* What is quoted is cut between characters: 63 letters leave no room for one of two bytes. */
static void long_names_are_cut_at_a_whole_character(void **state)
{
    (void)state;
    char name[128], says[128];
    memset(name, 'x', sizeof name);
    memcpy(name + 63, "\xc3\xa9\xc3\xa9", sizeof "\xc3\xa9\xc3\xa9");
    snprintf(says, sizeof says, "'%.63s'", name);
    assert_refused_json(json_pack("{s:s}", "format", name), says);
    assert_refused_json(json_pack("{s:s}", "compression", name), says);
    assert_refused_json(json_pack("{s:{s:b}}", "options", name, 1), says);
}

/* --- options --- */

static const char separated[] = "delimiter, header, null, quote_all, line_ending, bom, excel_safe, timezone";
static const char jsons[] = "timezone, integers, decimals, non_finite";
static const char *const options_of[FILE_FORMATS] = {
    [FILE_CSV] = separated,
    [FILE_TSV] = separated,
    [FILE_JSON] = jsons,
    [FILE_NDJSON] = jsons,
    [FILE_PARQUET] = "timezone, row_group_size",
    [FILE_XLSX] = "header, timezone, sheet_name, freeze_header, bold_header, long_text",
};

/* Each option with another value than its default. */
static const struct {
    const char *name, *value;
} unusual[] = {
    {"delimiter", "'|'"},        {"header", "false"},        {"null", "'NULL'"},          {"quote_all", "true"},
    {"line_ending", "'\\r\\n'"}, {"bom", "true"},            {"excel_safe", "true"},      {"timezone", "'Asia/Tokyo'"},
    {"integers", "'string'"},    {"decimals", "'string'"},   {"non_finite", "'string'"},  {"row_group_size", "4096"},
    {"sheet_name", "'Orders'"},  {"freeze_header", "false"}, {"bold_header", "false"},    {"long_text", "'cut'"},
};

static bool has_option(enum file_format format, const char *name)
{
    const char *at = strstr(options_of[format], name);
    size_t length = strlen(name);
    return at && (at == options_of[format] || at[-1] == ' ') && (at[length] == ',' || !at[length]);
}

static void each_format_has_its_options(void **state)
{
    (void)state;
    for (int format = 0; format < FILE_FORMATS; format++) {
        const char *name = file_format_name((enum file_format)format);
        char text[256], says[256];
        for (size_t i = 0; i < ARRAY_SIZE(unusual); i++) {
            snprintf(text, sizeof text, "{'format':'%s','options':{'%s':%s}}", name, unusual[i].name, unusual[i].value);
            if (has_option((enum file_format)format, unusual[i].name)) {
                assert_form(text, text);
                continue;
            }
            snprintf(says, sizeof says, "unknown option '%s' for the format %s: there are %s", unusual[i].name, name,
                     options_of[format]);
            assert_refused(text, says);
        }
        snprintf(text, sizeof text, "{'format':'%s','options':{'Header':true}}", name);
        snprintf(says, sizeof says, "unknown option 'Header' for the format %s: there are %s", name,
                 options_of[format]);
        assert_refused(text, says);
    }
}

/* An option that is null is as good as none, but it must be one of the format's. */
static void null_is_the_default(void **state)
{
    (void)state;
    for (int format = 0; format < FILE_FORMATS; format++)
        for (size_t i = 0; i < ARRAY_SIZE(unusual); i++) {
            json_t *request = json_pack("{s:s, s:{s:n}}", "format", file_format_name((enum file_format)format),
                                        "options",
                                        unusual[i].name);
            if (has_option((enum file_format)format, unusual[i].name)) {
                const struct file_form form = read_json(request), usual = file_form_default((enum file_format)format);
                assert_same(&form, &usual);
            } else
                assert_refused_json(request, unusual[i].name);
        }
}

static void options_of_a_wrong_type_are_named(void **state)
{
    (void)state;
    static const struct {
        const char *format, *option, *says;
    } cases[] = {
        {"csv", "'header':1", "option header must be true or false"},
        {"csv", "'header':'true'", "option header must be true or false"},
        {"csv", "'header':''", "option header must be true or false"},
        {"parquet", "'row_group_size':''", "option row_group_size must be a whole number"},
        {"xlsx", "'header':''", "option header must be true or false"},
        {"csv", "'bom':0", "option bom must be true or false"},
        {"csv", "'quote_all':[]", "option quote_all must be true or false"},
        {"csv", "'excel_safe':{}", "option excel_safe must be true or false"},
        {"csv", "'delimiter':44", "option delimiter must be a string"},
        {"csv", "'null':false", "option null must be a string"},
        {"csv", "'line_ending':true", "option line_ending must be a string"},
        {"json", "'integers':'text'", "option integers must be \"number\" or \"string\""},
        {"json", "'integers':true", "option integers must be a string"},
        {"ndjson", "'decimals':'text'", "option decimals must be \"number\" or \"string\""},
        {"ndjson", "'non_finite':'NaN'", "option non_finite must be \"null\" or \"string\""},
        {"xlsx", "'long_text':'truncate'", "option long_text must be \"error\" or \"cut\""},
        {"xlsx", "'sheet_name':5", "option sheet_name must be a string"},
        {"xlsx", "'freeze_header':'yes'", "option freeze_header must be true or false"},
        {"xlsx", "'bold_header':1.0", "option bold_header must be true or false"},
        {"csv", "'line_ending':'\\n\\r'", "option line_ending must be \"\\n\" or \"\\r\\n\""},
        {"csv", "'line_ending':'CRLF'", "option line_ending must be \"\\n\" or \"\\r\\n\""},
        {"csv", "'timezone':5.5", "option timezone must be a string"},
        {"parquet", "'row_group_size':'4096'", "option row_group_size must be a whole number from 2048 to 1048576"},
        {"parquet", "'row_group_size':4096.0", "option row_group_size must be a whole number"},
        {"parquet", "'row_group_size':true", "option row_group_size must be a whole number"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char text[256];
        snprintf(text, sizeof text, "{'format':'%s','options':{%s}}", cases[i].format, cases[i].option);
        assert_refused(text, cases[i].says);
    }
    assert_refused("{'options':[]}", "options must be an object");
    assert_refused("{'options':''}", "options must be an object");
    assert_refused("{'options':'header=true'}", "options must be an object");
    assert_refused("{'options':{'':1}}", "unknown option ''");
}

static void numbers_have_bounds(void **state)
{
    (void)state;
    static const struct {
        json_int_t size;
        bool ok;
    } cases[] = {{-1, false},   {0, false},      {2047, false},       {2048, true},       {1048576, true},
                 {1048577, false}, {4294967296 + 4096, false}, {INT64_MAX, false}, {INT64_MIN, false}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        json_t *request = json_pack("{s:s, s:{s:I}}", "format", "parquet", "options", "row_group_size", cases[i].size);
        if (cases[i].ok)
            assert_int_equal(read_json(request).row_group_size, cases[i].size);
        else
            assert_refused_json(request, "option row_group_size must be a whole number from 2048 to 1048576");
    }
}

static void a_delimiter_is_one_of_a_few(void **state)
{
    (void)state;
    for (int c = 1; c < 128; c++) {
        const char letter[] = {(char)c, '\0'};
        json_t *request = json_pack("{s:{s:s}}", "options", "delimiter", letter);
        if (strchr(",;|\t:~^!*$%&\x01\x1f ", c))
            assert_int_equal(read_json(request).delimiter, c);
        else
            assert_refused_json(request, "option delimiter must be one of , ; | : ~ ^ ! * $ % & a tab");
    }
    assert_int_equal(read_form("{'options':{'delimiter':'\\\\t'}}").delimiter, '\t'); /* as a shell gives it */
    static const char *const bad[] = {",,", "\xc2\xa7", "\\n", "||"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_refused_json(json_pack("{s:{s:s}}", "options", "delimiter", bad[i]), "option delimiter must be one of");
    assert_refused_json(json_pack("{s:{s:s#}}", "options", "delimiter", ",\0", 2), "option delimiter must be a string");
}

static void the_text_of_null_leaves_the_file_readable(void **state)
{
    (void)state;
    char text[FILE_NULL_MAX + 2];
    memset(text, 'x', sizeof text);
    text[FILE_NULL_MAX] = '\0';
    assert_string_equal(read_json(json_pack("{s:{s:s}}", "options", "null", text)).null_text, text);
    text[FILE_NULL_MAX] = 'x';
    text[FILE_NULL_MAX + 1] = '\0';
    assert_refused_json(json_pack("{s:{s:s}}", "options", "null", text), "option null must have at most 64 bytes");
    assert_string_equal(read_form("{'options':{'null':'\\\\N'}}").null_text, "\\N");
    assert_string_equal(read_form("{'options':{'null':''}}").null_text, "");
    assert_refused("{'options':{'null':'a\\nb'}}", "option null must not have quotes or line ends");
    assert_refused("{'options':{'null':'a\\rb'}}", "option null must not have quotes or line ends");
    assert_refused_json(json_pack("{s:{s:s}}", "options", "null", "\""),
                        "option null must not have quotes or line ends");
    assert_refused_json(json_pack("{s:{s:s#}}", "options", "null", "a\0b", 3), "option null must be a string");
    /* Whichever comes first. */
    assert_refused("{'options':{'null':'a,b'}}", "option null must not have the delimiter in it");
    assert_refused("{'options':{'null':'a;b','delimiter':';'}}", "option null must not have the delimiter in it");
    assert_refused("{'options':{'delimiter':';','null':';'}}", "option null must not have the delimiter in it");
    assert_refused("{'format':'tsv','options':{'null':'\\t'}}", "option null must not have the delimiter in it");
    assert_string_equal(read_form("{'options':{'null':'a,b','delimiter':';'}}").null_text, "a,b");
}

static void time_zones_are_those_of_the_list(void **state)
{
    (void)state;
    for (size_t i = 0; i < timezone_count; i++) {
        assert_true(strlen(timezone_names[i]) <= FILE_TIMEZONE_MAX);
        assert_true(i == 0 || strcmp(timezone_names[i - 1], timezone_names[i]) < 0);
        for (int format = 0; format < FILE_FORMATS; format++) {
            json_t *request = json_pack("{s:s, s:{s:s}}", "format", file_format_name((enum file_format)format),
                                        "options",
                                        "timezone", timezone_names[i]);
            assert_string_equal(read_json(request).timezone, timezone_names[i]);
        }
    }
    static const char *const bad[] = {"utc", "Asia/Atlantis", "+05:30", "UTC ", "'UTC'", "Africa", "zzz"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_refused_json(json_pack("{s:{s:s}}", "options", "timezone", bad[i]),
                            "option timezone must be a name like UTC");
    char text[FILE_TIMEZONE_MAX + 2];
    memset(text, 'x', sizeof text - 1);
    text[sizeof text - 1] = '\0';
    assert_refused_json(json_pack("{s:{s:s}}", "options", "timezone", text),
                        "option timezone must have at most 64 bytes");
    assert_refused_json(json_pack("{s:{s:s#}}", "options", "timezone", "UTC\0x", 5),
                        "option timezone must be a string");
}

static json_t *sheet(const char *name)
{
    return json_pack("{s:s, s:{s:s}}", "format", "xlsx", "options", "sheet_name", name);
}

/* `count` times `letter`, as a heap string. */
static char *repeat(const char *letter, int count)
{
    struct buf text;
    buf_init(&text, 4096);
    for (int i = 0; i < count; i++)
        buf_append_text(&text, letter);
    return buf_take(&text);
}

static void sheets_are_named_as_excel_allows(void **state)
{
    (void)state;
    static const char *const good[] = {"a", "It's", "2024 (1)",
                                       "\xe0\xa4\xac\xe0\xa4\xbf\xe0\xa4\x95\xe0\xa5\x8d\xe0\xa4\xb0\xe0\xa5\x80",
                                       "Historys", " ", "<&>\"", "\xef\xbf\xbd"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_string_equal(read_json(sheet(good[i])).sheet_name, good[i]);
    static const char *const forbidden[] = {"a[", "]", "a:b", "*", "a?", "a/b", "a\\b", "a\tb", "\x01", "a\x7f",
                                            "a\xef\xbf\xbe", "\xef\xbf\xbf"};
    for (size_t i = 0; i < ARRAY_SIZE(forbidden); i++)
        assert_refused_json(sheet(forbidden[i]), "option sheet_name must not have any of []:*?/\\");
    static const char *const reserved[] = {"'a", "a'", "'", "History", "history", "HISTORY"};
    for (size_t i = 0; i < ARRAY_SIZE(reserved); i++)
        assert_refused_json(sheet(reserved[i]), "option sheet_name must not be History, and not begin or end with '");
    /* UTF-16 counts what is beyond U+FFFF twice. */
    static const struct {
        const char *letter;
        int most;
    } lengths[] = {{"x", 31}, {"\xc3\xa9", 31}, {"\xe2\x82\xac", 31}, {"\xf0\x9f\x98\x80", 15}};
    for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
        _cleanup_free_ char *longest = repeat(lengths[i].letter, lengths[i].most),
                            *longer = repeat(lengths[i].letter, lengths[i].most + 1),
                            *huge = repeat(lengths[i].letter, 94);
        assert_string_equal(read_json(sheet(longest)).sheet_name, longest);
        assert_refused_json(sheet(longer), "option sheet_name must have");
        assert_refused_json(sheet(huge), "option sheet_name must have at most 93 bytes");
    }
}

/* --- limits --- */

static void limits_are_whole_numbers(void **state)
{
    (void)state;
    assert_form("{'row_limit':0,'byte_limit':0}", "{'format':'csv'}");
    assert_form("{'row_limit':1}", "{'format':'csv','row_limit':1}");
    assert_form("{'format':'parquet','byte_limit':9223372036854775807}",
                "{'format':'parquet','byte_limit':9223372036854775807}");
    static const char *const bad[] = {"-1", "1.0", "1e3", "'5'", "''", "true", "[]", "{}", "-9223372036854775808"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++) {
        char text[64];
        snprintf(text, sizeof text, "{'row_limit':%s}", bad[i]);
        assert_refused(text, "row_limit must be a whole number that is not negative");
        snprintf(text, sizeof text, "{'byte_limit':%s}", bad[i]);
        assert_refused(text, "byte_limit must be a whole number that is not negative");
    }
}

static void a_deployment_lowers_limits(void **state)
{
    (void)state;
    static const struct {
        uint64_t asked, deployment, result;
    } cases[] = {{0, 0, 0}, {5, 0, 5}, {0, 9, 9}, {5, 9, 5}, {9, 9, 9}, {10, 9, 9}, {INT64_MAX, 1, 1}, 
                 {1, INT64_MAX, 1}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct file_form form = file_form_default(FILE_CSV);
        form.row_limit = cases[i].asked;
        form.byte_limit = 77;
        file_form_limit(&form, cases[i].deployment, 0);
        assert_int_equal(form.row_limit, cases[i].result);
        assert_int_equal(form.byte_limit, 77);
        form.byte_limit = cases[i].asked;
        form.row_limit = 77;
        file_form_limit(&form, 0, cases[i].deployment);
        assert_int_equal(form.byte_limit, cases[i].result);
        assert_int_equal(form.row_limit, 77);
    }
}

/* --- JSON's edges --- */

static void what_is_no_object_is_all_default(void **state)
{
    (void)state;
    struct error e;
    struct file_form form, usual = file_form_default(FILE_CSV);
    assert_true(file_form_read(NULL, &form, &e));
    assert_same(&form, &usual);
    json_t *list = json_array();
    assert_true(file_form_read(list, &form, &e));
    assert_same(&form, &usual);
    json_decref(list);
}

/* As the API's reader, jansson, has it: of two members of one name the last is meant; a NUL in a text, which would end
 * it early, and a number beyond 64 bits do not get so far; and where a text comes by another way, we look ourselves. */
static void twice_and_too_much(void **state)
{
    (void)state;
    assert_form("{'format':'docx','format':'json'}", "{'format':'json'}");
    assert_form("{'options':{'header':false,'header':true}}", "{'format':'csv'}");
    assert_refused("{'options':{'header':true,'header':1}}", "option header");
    assert_null(json_loads("{\"format\":\"csv\\u0000\"}", 0, NULL));
    assert_null(json_loads("{\"options\":{\"header\\u0000\":true}}", 0, NULL));
    assert_null(json_loads("{\"row_limit\":9223372036854775808}", 0, NULL));
    assert_refused_json(json_pack("{s:s#}", "format", "csv\0x", 5), "format must be a string");
    assert_refused_json(json_pack("{s:s#}", "format", "\0", 1), "format must be a string");
    assert_refused_json(json_pack("{s:s#}", "compression", "gzip\0", 5), "compression must be a string");
    assert_refused_json(json_pack("{s:{s:s#}}", "options", "line_ending", "\n\0", 2),
                        "option line_ending must be a string");
}

/* All that a form can have is far from the limit that stores and messages count with. */
static void the_longest_form_has_room(void **state)
{
    (void)state;
    for (int format = 0; format < FILE_FORMATS; format++) {
        struct file_form form = file_form_default((enum file_format)format);
        form.compression = form.compression == COMPRESSION_NONE ? COMPRESSION_GZIP : COMPRESSION_SNAPPY;
        form.delimiter = '\x01';
        memset(form.null_text, '\x02', FILE_NULL_MAX);
        memset(form.timezone, 'x', FILE_TIMEZONE_MAX);
        memset(form.sheet_name, '"', 3 * FILE_SHEET_MAX);
        form.header = form.freeze_header = form.bold_header = false;
        form.quote_all = form.crlf = form.bom = form.excel_safe = form.cut_long_text = true;
        form.integers_as_text = form.decimals_as_text = form.non_finite_as_text = true;
        form.row_group_size = UINT32_MAX;
        form.row_limit = form.byte_limit = INT64_MAX;
        free(dump(&form));
    }
}

/* --- the command line's options --- */

static void assert_option(const char *name, const char *text, const char *json)
{
    json_t *options = json_object();
    assert_true(file_option_set(options, name, text));
    _cleanup_free_ char *got = json_dumps(json_object_get(options, name), JSON_ENCODE_ANY);
    assert_string_equal(got, json);
    json_decref(options);
}

static void options_of_a_command_line_get_their_types(void **state)
{
    (void)state;
    assert_option("header", "true", "true");
    assert_option("excel_safe", "false", "false");
    assert_option("header", "yes", "\"yes\""); /* for the server to refuse */
    assert_option("header", "", "\"\"");
    assert_option("row_group_size", "4096", "4096");
    assert_option("row_group_size", "4096x", "\"4096x\"");
    assert_option("row_group_size", "-1", "\"-1\"");
    assert_option("row_group_size", "99999999999999999999", "9223372036854775807");
    assert_option("line_ending", "\\r\\n", "\"\\r\\n\"");
    assert_option("line_ending", "\\n", "\"\\n\"");
    assert_option("line_ending", "\r\n", "\"\\r\\n\"");
    assert_option("integers", "string", "\"string\"");
    assert_option("null", "true", "\"true\"");
    assert_option("null", "\\N", "\"\\\\N\"");
    assert_option("sheet_name", "2024", "\"2024\"");
    assert_option("delimiter", "\\t", "\"\\\\t\"");
    assert_option("nonsense", "true", "\"true\"");
    for (size_t i = 0; i < ARRAY_SIZE(unusual); i++)
        for (int format = 0; format < FILE_FORMATS; format++) {
            if (!has_option((enum file_format)format, unusual[i].name))
                continue;
            _cleanup_free_ char *text = strdup(unusual[i].value);
            assert_non_null(text);
            if (*text == '\'') {
                text[strlen(text) - 1] = '\0';
                memmove(text, text + 1, strlen(text));
            }
            json_t *request = json_pack("{s:s, s:{}}", "format", file_format_name((enum file_format)format), "options");
            assert_true(file_option_set(json_object_get(request, "options"), unusual[i].name, text));
            const struct file_form form = read_json(request);
            char expected[256];
            snprintf(expected, sizeof expected, "{'format':'%s','options':{'%s':%s}}",
                     file_format_name((enum file_format)format), unusual[i].name, unusual[i].value);
            const struct file_form same = read_form(expected);
            assert_same(&form, &same);
        }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_not_said_is_the_default),
        cmocka_unit_test(formats_have_names_suffixes_and_types),
        cmocka_unit_test(the_canonical_form_has_only_what_is_unusual),
        cmocka_unit_test(unknown_formats_and_compressions_are_named),
        cmocka_unit_test(long_names_are_cut_at_a_whole_character),
        cmocka_unit_test(each_format_has_its_options),
        cmocka_unit_test(null_is_the_default),
        cmocka_unit_test(options_of_a_wrong_type_are_named),
        cmocka_unit_test(numbers_have_bounds),
        cmocka_unit_test(a_delimiter_is_one_of_a_few),
        cmocka_unit_test(the_text_of_null_leaves_the_file_readable),
        cmocka_unit_test(time_zones_are_those_of_the_list),
        cmocka_unit_test(sheets_are_named_as_excel_allows),
        cmocka_unit_test(limits_are_whole_numbers),
        cmocka_unit_test(a_deployment_lowers_limits),
        cmocka_unit_test(what_is_no_object_is_all_default),
        cmocka_unit_test(twice_and_too_much),
        cmocka_unit_test(the_longest_form_has_room),
        cmocka_unit_test(options_of_a_command_line_get_their_types),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
