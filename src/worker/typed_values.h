/* The list of the types whose texts we write ourselves, for the encoders of texts. */
#ifndef WORKER_TYPED_VALUES_H
#define WORKER_TYPED_VALUES_H

#include "worker/chunk.h"
#include "worker/value_text.h"

/* One line a type that is not text: its kind, the C type of its values, the most bytes of a value's text, and that
 * text of `v` in column `c`, at `to`, as the engine casts it. None of them ever asks for quotes. */
#define TYPED_VALUES(X) \
    TYPED_FRACTIONS(X)  \
    TYPED_OTHERS(X)

/* Those that the engine's JSON writer does not show as it casts them. */
#define TYPED_FRACTIONS(X)                                                                                          \
    X(FLOAT, float, TEXT_MAX_FLOAT, text_of_float(to, v))                                                            \
    X(DOUBLE, double, TEXT_MAX_DOUBLE, text_of_double(to, v))                                                        \
    X(DECIMAL16, int16_t, TEXT_MAX_DECIMAL, text_of_decimal(to, v, c->is.width, c->is.scale))                        \
    X(DECIMAL32, int32_t, TEXT_MAX_DECIMAL, text_of_decimal(to, v, c->is.width, c->is.scale))                        \
    X(DECIMAL64, int64_t, TEXT_MAX_DECIMAL, text_of_decimal(to, v, c->is.width, c->is.scale))                        \
    X(DECIMAL128, struct value128, TEXT_MAX_DECIMAL128,                                                              \
      text_of_decimal128(to, v.upper, v.lower, c->is.width, c->is.scale))

#define TYPED_OTHERS(X)                                                                                             \
    X(BOOL, uint8_t, TEXT_MAX_BOOL, text_of_bool(to, v != 0))                                                        \
    X(INT8, int8_t, TEXT_MAX_INT8, text_of_int32(to, v))                                                             \
    X(INT16, int16_t, TEXT_MAX_INT16, text_of_int32(to, v))                                                          \
    X(INT32, int32_t, TEXT_MAX_INT32, text_of_int32(to, v))                                                          \
    X(INT64, int64_t, TEXT_MAX_INT64, text_of_int64(to, v))                                                          \
    X(INT128, struct value128, TEXT_MAX_INT128, text_of_int128(to, v.upper, v.lower))                                \
    X(UINT8, uint8_t, TEXT_MAX_UINT8, text_of_uint32(to, v))                                                         \
    X(UINT16, uint16_t, TEXT_MAX_UINT16, text_of_uint32(to, v))                                                      \
    X(UINT32, uint32_t, TEXT_MAX_UINT32, text_of_uint32(to, v))                                                      \
    X(UINT64, uint64_t, TEXT_MAX_UINT64, text_of_uint64(to, v))                                                      \
    X(UINT128, struct value128, TEXT_MAX_UINT128, text_of_uint128(to, (uint64_t)v.upper, v.lower))                   \
    X(DATE, int32_t, TEXT_MAX_DATE, text_of_date(to, v))                                                             \
    X(TIME, int64_t, TEXT_MAX_TIME, text_of_time(to, v))                                                             \
    X(TIME_NS, int64_t, TEXT_MAX_TIME_NS, text_of_time_ns(to, v))                                                    \
    X(TIME_TZ, uint64_t, TEXT_MAX_TIME_TZ, text_of_time_tz(to, v))                                                   \
    X(TIMESTAMP, int64_t, TEXT_MAX_TIMESTAMP, text_of_timestamp(to, v))                                              \
    X(TIMESTAMP_S, int64_t, TEXT_MAX_TIMESTAMP, text_of_timestamp_s(to, v))                                          \
    X(TIMESTAMP_MS, int64_t, TEXT_MAX_TIMESTAMP, text_of_timestamp_ms(to, v))                                        \
    X(TIMESTAMP_NS, int64_t, TEXT_MAX_TIMESTAMP, text_of_timestamp_ns(to, v))                                        \
    X(TIMESTAMP_TZ, int64_t, TEXT_MAX_TIMESTAMP_TZ, text_of_timestamp_tz(to, v))                                     \
    X(INTERVAL, struct value_interval, TEXT_MAX_INTERVAL, text_of_interval(to, v.months, v.days, v.micros))          \
    X(UUID, struct value128, TEXT_MAX_UUID, text_of_uuid(to, v.upper, v.lower))

#endif
