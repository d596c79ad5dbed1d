#include "job/pg_internal.h"

#include <string.h>

#include "base/utf8.h"

/* pg_type.dat of the server: types never change their number. */
enum {
    BOOL_OID = 16,
    INT8_OID = 20,
    INT4_OID = 23,
    FLOAT8_OID = 701,
    TIMESTAMPTZ_OID = 1184,
    UUID_OID = 2950,
};
#define POSTGRES_EPOCH_US INT64_C(946684800000000) /* 2000-01-01 */

void pg_rows_free(struct pg_rows **rows)
{
    if (!*rows)
        return;
    PQclear((*rows)->result);
    free(*rows);
    *rows = NULL;
}

size_t pg_rows_count(const struct pg_rows *rows)
{
    return (size_t)PQntuples(rows->result);
}

bool pg_row_is_null(const struct pg_row *r, int column)
{
    return PQgetisnull(r->rows->result, r->row, column);
}

/* The bytes of a value of that type and length (pg_send functions: big-endian), NULL where it is NULL. */
static const unsigned char *fixed(struct pg_row *r, int column, Oid type, int length)
{
    const PGresult *result = r->rows->result;
    if (column >= PQnfields(result) || PQftype(result, column) != type || PQfformat(result, column) != 1) {
        r->wrong = true;
        return NULL;
    }
    if (PQgetisnull(result, r->row, column))
        return NULL;
    if (PQgetlength(result, r->row, column) != length) {
        r->wrong = true;
        return NULL;
    }
    return (const unsigned char *)PQgetvalue(result, r->row, column);
}

static uint64_t big_endian(const unsigned char *bytes, int length)
{
    uint64_t v = 0;
    for (int i = 0; i < length; i++)
        v = v << 8 | bytes[i];
    return v;
}

int64_t pg_row_integer(struct pg_row *r, int column)
{
    bool small = PQftype(r->rows->result, column) == INT4_OID;
    const unsigned char *bytes = small ? fixed(r, column, INT4_OID, 4) : fixed(r, column, INT8_OID, 8);
    if (!bytes)
        return 0;
    return small ? (int32_t)big_endian(bytes, 4) : (int64_t)big_endian(bytes, 8);
}

bool pg_row_bool(struct pg_row *r, int column)
{
    const unsigned char *bytes = fixed(r, column, BOOL_OID, 1);
    return bytes && bytes[0];
}

double pg_row_real(struct pg_row *r, int column)
{
    const unsigned char *bytes = fixed(r, column, FLOAT8_OID, 8);
    uint64_t bits = bytes ? big_endian(bytes, 8) : 0;
    double v;
    memcpy(&v, &bits, sizeof v);
    return v;
}

int64_t pg_row_time(struct pg_row *r, int column)
{
    const unsigned char *bytes = fixed(r, column, TIMESTAMPTZ_OID, 8);
    int64_t v = bytes ? (int64_t)big_endian(bytes, 8) : INT64_MAX;
    bool infinite = v == INT64_MAX || v == INT64_MIN; /* as the server writes `infinity` and `-infinity` */
    return infinite ? 0 : v + POSTGRES_EPOCH_US;
}

char *pg_row_text(struct pg_row *r, int column)
{
    const PGresult *result = r->rows->result;
    if (column >= PQnfields(result)) {
        r->wrong = true;
        return NULL;
    }
    if (PQgetisnull(result, r->row, column))
        return NULL;
    size_t length = (size_t)PQgetlength(result, r->row, column);
    char *text = malloc(length + 1);
    if (!text) {
        r->no_memory = true;
        return NULL;
    }
    memcpy(text, PQgetvalue(result, r->row, column), length);
    text[length] = '\0';
    /* A database of the encoding SQL_ASCII holds whatever bytes it was given. */
    if (!utf8_valid(text, length))
        utf8_scrub(text, length);
    return text;
}

void pg_row_uuid(struct pg_row *r, int column, char ret[UUID_SIZE])
{
    const unsigned char *bytes = fixed(r, column, UUID_OID, 16);
    static const char hyphen_before[16] = {[4] = 1, [6] = 1, [8] = 1, [10] = 1};
    char *out = ret;
    for (int i = 0; bytes && i < 16; i++) {
        if (hyphen_before[i])
            *out++ = '-';
        hex_encode(bytes + i, 1, out);
        out += 2;
    }
    *out = '\0';
}

bool pg_row_ok(const struct pg_row *r, struct error *e)
{
    if (r->no_memory)
        return error_set(e, ERROR_INTERNAL, "out of memory");
    if (r->wrong)
        return error_set(e, ERROR_INTERNAL, "job store: a table is not of the shape that is expected");
    return true;
}
