/* What a file is to look like: its format, its compression, and the options of the format.
 *
 * One table of formats and one of options (file_form.c) is all that API, record, command line and worker know of them.
 * Plain record without pointers; every field has its default where nothing is said. Pure: any thread. */
#ifndef FORMAT_FILE_FORM_H
#define FORMAT_FILE_FORM_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

enum file_format { FILE_CSV, FILE_TSV, FILE_JSON, FILE_NDJSON, FILE_PARQUET, FILE_XLSX, FILE_FORMATS };

/* Of the whole file for texts; of Parquet the codec of its pages. XLSX is compressed by its own rules. */
enum file_compression { COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD, COMPRESSION_SNAPPY, FILE_COMPRESSIONS };

#define FILE_NULL_MAX 64      /* bytes of the text that stands for NULL */
#define FILE_TIMEZONE_MAX 64  /* bytes; the longest name has 32 */
#define FILE_SHEET_MAX 31     /* characters of a sheet's name as Excel counts them, UTF-16 units: 3 bytes at most */
#define FILE_SUFFIX_MAX 16    /* bytes of "ndjson.zst" and its like */
#define FILE_FORM_MAX 4096    /* bytes of a form as JSON */
#define FILE_ROW_GROUP_MIN 2048
#define FILE_ROW_GROUP_MAX 1048576

struct file_form {
    enum file_format format;
    enum file_compression compression;

    /* CSV, TSV */
    char delimiter;                    /* one byte of ASCII */
    char null_text[FILE_NULL_MAX + 1]; /* never quoted; a value that is equal to it is */
    bool quote_all;                    /* every value but NULL, and the header */
    bool crlf;                         /* lines end with CR LF */
    bool bom;                          /* the file begins with UTF-8's byte order mark */
    bool excel_safe;                   /* texts that a spreadsheet would run as a formula get a ' in front */

    /* CSV, TSV, XLSX */
    bool header;

    /* Of TIMESTAMPTZ, and of the query's session. All formats. */
    char timezone[FILE_TIMEZONE_MAX + 1];

    /* JSON, NDJSON */
    bool integers_as_text; /* of 64 bits and more */
    bool decimals_as_text;
    bool non_finite_as_text; /* NaN and the infinities; else null */

    /* Parquet */
    uint32_t row_group_size; /* rows; 0: as the columns allow */

    /* XLSX */
    char sheet_name[3 * FILE_SHEET_MAX + 1];
    bool freeze_header, bold_header;
    bool cut_long_text; /* cells over 32,767 characters are cut, and counted; else they fail the download */

    /* Of every format. 0: none. Bytes are counted before compression. */
    uint64_t row_limit, byte_limit;
};

/* Reads the members "format", "compression", "options", "row_limit" and "byte_limit" of `request`; others are not
 * looked at. What is missing or null, or "" where a text belongs, is the default, of members and of options; the
 * default format is csv. ERROR_INVALID names the member, or the option, and what would do. */
MUST_CHECK bool file_form_read(const json_t *request, struct file_form *ret_form, struct error *e);

/* The form that file_form_read() gives for the bare format. */
struct file_form file_form_default(enum file_format format);

/* The same members, but only those that are not the default, "format" always: an object that file_form_read() reads to
 * an equal form. NULL: out of memory. */
json_t *file_form_json(const struct file_form *form);

/* Lowers a limit to the deployment's; 0: it has none. */
void file_form_limit(struct file_form *form, uint64_t row_limit, uint64_t byte_limit);

/* "csv", "ndjson", ...; "none", "gzip", ... */
const char *file_format_name(enum file_format format);
const char *file_compression_name(enum file_compression compression);

/* What follows the dot in the file's name: "csv", "csv.gz", "parquet". */
void file_form_suffix(const struct file_form *form, char ret[FILE_SUFFIX_MAX]);

/* The media type of a file whose name ends so ("csv.gz", or a whole name "x/y.csv.gz"); "application/octet-stream"
 * where it is none of ours. */
const char *file_media_type(const char *name);

/* What the record calls the number of cells that such a file has altered: "guarded_cells" (excel_safe), "cut_cells"
 * (cut_long_text). NULL: it alters none. */
const char *file_form_altered_name(const struct file_form *form);

/* For a command line: sets `name` in the object `options`, as JSON of the type that the option has; a name that is not
 * known is set as text, for the server to refuse. false: out of memory. */
MUST_CHECK bool file_option_set(json_t *options, const char *name, const char *text);

#endif
