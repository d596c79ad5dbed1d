/* Typed values as text: byte for byte what DuckDB 1.5.5 gives for CAST(value AS VARCHAR).
 *
 * Each function writes at `to`, without a NUL, and returns the byte behind the text. `to` has room for
 * VALUE_TEXT_MAX bytes, all of which may be overwritten, whatever the length of the text is; TEXT_MAX_... are
 * the lengths of the texts themselves, so that a row needs their sum and VALUE_TEXT_MAX more behind it.
 *
 * Pure, without allocation or locks: any thread, any value. A value that its type cannot hold (a TIME of 30
 * hours, a DECIMAL of too many digits) gets some text within the bounds.
 *
 * The values are what stands in the engine's vectors: 128 bits as (upper, lower), a UUID with its top bit
 * flipped, a TIMETZ as bits. */
#ifndef WORKER_VALUE_TEXT_H
#define WORKER_VALUE_TEXT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define VALUE_TEXT_MAX 80

#define TEXT_MAX_BOOL 5          /* false */
#define TEXT_MAX_INT8 4          /* -128 */
#define TEXT_MAX_INT16 6         /* -32768 */
#define TEXT_MAX_INT32 11        /* -2147483648 */
#define TEXT_MAX_INT64 20        /* -9223372036854775808 */
#define TEXT_MAX_INT128 40       /* -170141183460469231731687303715884105728 */
#define TEXT_MAX_UINT8 3         /* 255 */
#define TEXT_MAX_UINT16 5        /* 65535 */
#define TEXT_MAX_UINT32 10       /* 4294967295 */
#define TEXT_MAX_UINT64 20       /* 18446744073709551615 */
#define TEXT_MAX_UINT128 39      /* 340282366920938463463374607431768211455 */
#define TEXT_MAX_FLOAT 19        /* -1000000000000000.0 */
#define TEXT_MAX_DOUBLE 24       /* -2.2250738585072014e-308 */
#define TEXT_MAX_DECIMAL 21      /* up to 18 digits, the sign, the point; and one for what does not fit its type */
#define TEXT_MAX_DECIMAL128 42   /* up to 38 digits */
#define TEXT_MAX_DATE 18         /* 5877642-06-25 (BC) */
#define TEXT_MAX_TIME 24         /* 23:59:59.999999; more where it is none */
#define TEXT_MAX_TIME_NS 24      /* 23:59:59.999999999 */
#define TEXT_MAX_TIME_TZ 33      /* 23:59:59.999999-15:59:59 */
#define TEXT_MAX_TIMESTAMP 33    /* 290309-12-22 (BC) 00:00:00.000001 */
#define TEXT_MAX_TIMESTAMP_TZ 36 /* the same, and +00 */
#define TEXT_MAX_INTERVAL 69     /* -178956970 years -8 months -2147483648 days -2562047788:00:54.775808 */
#define TEXT_MAX_UUID 36
#define TEXT_MAX_BLOB_BYTE 4 /* of each of its bytes: \x00 */

char *text_of_bool(char *to, bool v);
char *text_of_int32(char *to, int32_t v);
char *text_of_int64(char *to, int64_t v);
char *text_of_uint32(char *to, uint32_t v);
char *text_of_uint64(char *to, uint64_t v);
char *text_of_int128(char *to, int64_t upper, uint64_t lower);
char *text_of_uint128(char *to, uint64_t upper, uint64_t lower);

/* The fewest digits that read back as the same number. */
char *text_of_float(char *to, float v);
char *text_of_double(char *to, double v);

/* DECIMAL(width, scale); 64 bits up to width 18. */
char *text_of_decimal(char *to, int64_t v, unsigned width, unsigned scale);
char *text_of_decimal128(char *to, int64_t upper, uint64_t lower, unsigned width, unsigned scale);

char *text_of_date(char *to, int32_t days);
char *text_of_time(char *to, int64_t micros);
char *text_of_time_ns(char *to, int64_t nanos);
char *text_of_time_tz(char *to, uint64_t bits);
char *text_of_timestamp(char *to, int64_t micros);
char *text_of_timestamp_s(char *to, int64_t seconds);
char *text_of_timestamp_ms(char *to, int64_t millis);
char *text_of_timestamp_ns(char *to, int64_t nanos);
char *text_of_timestamp_tz(char *to, int64_t micros); /* in a session whose time zone is UTC */
char *text_of_interval(char *to, int32_t months, int32_t days, int64_t micros);

char *text_of_uuid(char *to, int64_t upper, uint64_t lower);

/* Here `to` has room for TEXT_MAX_BLOB_BYTE bytes for each of `length`, and returned is how many are used. */
size_t text_of_blob(char *to, const char *data, size_t length);

#endif
