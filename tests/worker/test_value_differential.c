/* The text of typed values (worker/value_text.h) against the engine's own cast, or its JSON, value by value: of every type
 * random bits, values near each border, and what tables usually hold. Every byte must be equal.
 *
 *     test_value_differential [--seed N] [--count N] [--type NAME] [--all-floats PART]
 *
 * `count` values of each type. Without --seed the time gives one; it is printed, and gives the same values
 * again. --all-floats tests the floats of one 256th, PART, of all bit patterns instead. */
#include <duckdb.h>
#include <getopt.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "random_table.h"
#include "worker/value_text.h"

#define ARRAY_LENGTH(a) (sizeof(a) / sizeof *(a))
#define CHUNK 2048
#define SHOWN 20 /* differences */

/* A value as the engine's vectors hold it. */
union value {
    int8_t int8;
    int16_t int16;
    int32_t int32;
    int64_t int64;
    uint64_t uint64;
    uint64_t pair[2]; /* lower, upper */
    float single;
    double twice;
    duckdb_interval interval;
    duckdb_string_t text;
};

struct test;

struct kind {
    const char *name;
    duckdb_type type;
    size_t size;
    int64_t units; /* times: how many of theirs a second has */
    void (*generate)(struct test *t, union value *v);
    size_t (*text)(const struct test *t, const union value *v, char *to);
    bool json; /* the text is that of the engine's JSON writer */
};

struct test {
    struct random_source random;
    const struct kind *kind;
    unsigned width, scale; /* DECIMAL */
    uint64_t left;         /* values */
    uint64_t next_float;   /* with --all-floats */
    bool all_floats;
    uint64_t next_border; /* of the powers of two and ten, which all come first */
    uint64_t values, different;
};

static _Noreturn void die(const char *what, const char *why)
{
    fprintf(stderr, "%s: %s\n", what, why ? why : "?");
    exit(2);
}

/* --- values --- */

static uint64_t below(struct test *t, uint64_t n)
{
    return random_below(&t->random, n);
}

static uint64_t next(struct test *t)
{
    return random_next(&t->random);
}

static int64_t between(struct test *t, int64_t first, int64_t last)
{
    uint64_t span = (uint64_t)last - (uint64_t)first + 1;
    return (int64_t)((uint64_t)first + (span ? below(t, span) : next(t)));
}

/* 128 bits: random, of random length, or near a power of ten. */
static unsigned __int128 some_integer(struct test *t)
{
    unsigned __int128 v = (unsigned __int128)next(t) << 64 | next(t);
    switch (below(t, 4)) {
    case 0:
        break;
    case 1:
        v >>= below(t, 128);
        break;
    case 2:
        v = 1;
        for (uint64_t i = below(t, 39); i > 0; i--)
            v *= 10;
        v *= 1 + below(t, 3);
        v += below(t, 5) - 2u;
        break;
    default:
        v = below(t, 1000);
    }
    return below(t, 2) ? 0 - v : v;
}

static void integer(struct test *t, union value *v)
{
    unsigned __int128 n = some_integer(t);
    v->pair[0] = (uint64_t)n;
    v->pair[1] = (uint64_t)(n >> 64);
}

static void boolean(struct test *t, union value *v)
{
    v->int8 = (int8_t)below(t, 2);
}

/* As many digits as the type has. */
static void decimal(struct test *t, union value *v)
{
    unsigned __int128 limit = 1, n;
    for (unsigned i = 0; i < t->width; i++)
        limit *= 10;
    n = (unsigned __int128)next(t) << 64 | next(t);
    switch (below(t, 4)) {
    case 0:
        n = limit - 1 - below(t, 3);
        break;
    case 1:
        n >>= below(t, 128);
        break;
    case 2:
        n = below(t, 200);
        break;
    default:
        break;
    }
    n %= limit;
    if (below(t, 2))
        n = 0 - n;
    v->pair[0] = (uint64_t)n;
    v->pair[1] = (uint64_t)(n >> 64);
}

/* Each power of two and of ten, and three numbers before and behind it. */
static bool next_border(struct test *t, int64_t *ret_power, int64_t *ret_step, bool *ret_ten)
{
    uint64_t i = t->next_border++;
    *ret_step = (int64_t)(i % 7) - 3;
    i /= 7;
    *ret_ten = i < 633;
    *ret_power = *ret_ten ? (int64_t)i - 324 : (int64_t)i - 633 - 1074;
    return *ret_power <= 1023;
}

static void floating(struct test *t, union value *v)
{
    int64_t power, step;
    bool ten;
    if (t->all_floats) {
        v->int32 = (int32_t)t->next_float++;
        return;
    }
    if (next_border(t, &power, &step, &ten)) {
        v->single = (float)(ten ? pow(10, (double)power) : ldexp(1, (int)power));
        v->int32 += (int32_t)step;
        return;
    }
    double n;
    switch (below(t, 4)) {
    case 0: /* a price */
        n = (double)below(t, 10000000) / 100;
        break;
    case 1:
        n = (double)below(t, 1 << 24) * pow(10, (double)between(t, -30, 30));
        break;
    case 2:
        n = (double)between(t, -(1ll << 40), 1ll << 40);
        break;
    default:
        v->int32 = (int32_t)next(t);
        return;
    }
    v->single = (float)(below(t, 2) ? n : -n);
}

static void doubling(struct test *t, union value *v)
{
    int64_t power, step;
    bool ten;
    if (next_border(t, &power, &step, &ten)) {
        v->twice = ten ? pow(10, (double)power) : ldexp(1, (int)power);
        v->int64 += step;
        return;
    }
    double n;
    switch (below(t, 8)) {
    case 0:
        n = (double)below(t, 1000000000) / 100;
        break;
    case 1:
        n = (double)below(t, 1ull << 53) * pow(10, (double)between(t, -25, 25));
        break;
    case 2: /* near a power of ten */
        v->twice = pow(10, (double)between(t, -324, 308));
        v->int64 += between(t, -1000, 1000);
        return;
    case 3: /* whole numbers, up to where they have gaps, and beyond */
        n = (double)(next(t) >> below(t, 64));
        break;
    case 4: /* subnormal */
        v->uint64 = next(t) & 0x800FFFFFFFFFFFFF;
        return;
    case 5: /* few bits set */
        v->uint64 = next(t) & next(t) & next(t) & next(t);
        return;
    default:
        v->uint64 = next(t);
        return;
    }
    v->twice = below(t, 2) ? n : -n;
}

static void date(struct test *t, union value *v)
{
    static const int32_t special[] = {INT32_MAX, -INT32_MAX, INT32_MAX - 1, -INT32_MAX + 1, 0, -1};
    uint64_t choice = below(t, 8);
    if (choice == 0)
        v->int32 = special[below(t, ARRAY_LENGTH(special))];
    else if (choice == 1) /* around years 1 and 9999 */
        v->int32 = (int32_t)((below(t, 2) ? VALUE_DAYS_0001 : VALUE_DAYS_9999) + between(t, -800, 800));
    else if (choice < 4)
        v->int32 = (int32_t)between(t, -INT32_MAX, INT32_MAX);
    else
        v->int32 = (int32_t)between(t, -100000, 100000);
}

/* Of a day, in units a second; the end of it too. */
static int64_t of_day(struct test *t, int64_t units)
{
    int64_t seconds = between(t, 0, 86399);
    switch (below(t, 6)) {
    case 0:
        return seconds * units;
    case 1:
        return seconds * units + (int64_t)below(t, 1000) * (units / 1000);
    case 2:
        return below(t, 2) ? 86400 * units : 0;
    case 3:
        return 86400 * units - 1 - (int64_t)below(t, 1500);
    case 4:
        return (int64_t)below(t, 1500);
    default:
        return seconds * units + (int64_t)below(t, (uint64_t)units);
    }
}

static void time_of_day(struct test *t, union value *v)
{
    v->int64 = of_day(t, t->kind->units);
}

static void time_tz(struct test *t, union value *v)
{
    static const int32_t steps[] = {1, 60, 900, 3600};
    int32_t step = steps[below(t, ARRAY_LENGTH(steps))];
    int64_t offset = between(t, -57599 / step, 57599 / step) * step;
    v->uint64 = (uint64_t)of_day(t, 1000000) << 24 | (uint64_t)(57599 - offset);
}

static void timestamp(struct test *t, union value *v)
{
    int64_t units = t->kind->units, first = -9223372022400000000ll, last = INT64_MAX - 1; /* the engine's range */
    if (units < 1000000) {
        first /= 1000000 / units;
        last /= 1000000 / units;
    } else if (units > 1000000) {
        first = -9223286400000000000ll; /* 1677-09-22 */
    }
    switch (below(t, 8)) {
    case 0:
        v->int64 = below(t, 2) ? INT64_MAX : -INT64_MAX;
        return;
    case 1:
        v->int64 = between(t, first, last);
        return;
    case 2:
        v->int64 = below(t, 2) ? first + (int64_t)below(t, 1000000) : last - (int64_t)below(t, 1000000);
        return;
    case 3:
        if (units <= 1000000) { /* around years 1 and 9999 */
            v->int64 = ((below(t, 2) ? VALUE_DAYS_0001 : VALUE_DAYS_9999) + between(t, -2, 2)) * 86400 * units +
                       of_day(t, units);
            return;
        }
        /* fall through */
    default:
        v->int64 = between(t, -50000, 50000) * 86400 * units + of_day(t, units);
    }
}

static void interval(struct test *t, union value *v)
{
    uint64_t parts = below(t, 8);
    bool wide = below(t, 3) == 0;
    v->interval = (duckdb_interval){0};
    if (parts & 1)
        v->interval.months = (int32_t)(wide ? between(t, INT32_MIN, INT32_MAX) : between(t, -30, 30));
    if (parts & 2)
        v->interval.days = (int32_t)(wide ? between(t, INT32_MIN, INT32_MAX) : between(t, -3, 3));
    if (parts & 4)
        v->interval.micros = wide            ? between(t, INT64_MIN, INT64_MAX)
                             : below(t, 2)   ? of_day(t, 1000000) * (below(t, 2) ? 1 : -1)
                             : below(t, 100) ? between(t, -400, 400) * 1800000000
                                             : INT64_MIN;
}

/* --- our text --- */

#define TEXT(name, call)                                                                                     \
    static size_t name(const struct test *t, const union value *v, char *to)                                 \
    {                                                                                                        \
        (void)t;                                                                                             \
        return (size_t)(call - to);                                                                          \
    }

TEXT(bool_text, text_of_bool(to, v->int8))
TEXT(int8_text, text_of_int32(to, v->int8))
TEXT(int16_text, text_of_int32(to, v->int16))
TEXT(int32_text, text_of_int32(to, v->int32))
TEXT(int64_text, text_of_int64(to, v->int64))
TEXT(int128_text, text_of_int128(to, (int64_t)v->pair[1], v->pair[0]))
TEXT(uint8_text, text_of_uint32(to, (uint8_t)v->int8))
TEXT(uint16_text, text_of_uint32(to, (uint16_t)v->int16))
TEXT(uint32_text, text_of_uint32(to, (uint32_t)v->int32))
TEXT(uint64_text, text_of_uint64(to, v->uint64))
TEXT(uint128_text, text_of_uint128(to, v->pair[1], v->pair[0]))
TEXT(float_text, text_of_float(to, v->single))
TEXT(double_text, text_of_double(to, v->twice))
TEXT(date_text, text_of_date(to, v->int32))
TEXT(time_text, text_of_time(to, v->int64))
TEXT(time_ns_text, text_of_time_ns(to, v->int64))
TEXT(time_tz_text, text_of_time_tz(to, v->uint64))
TEXT(timestamp_text, text_of_timestamp(to, v->int64))
TEXT(timestamp_s_text, text_of_timestamp_s(to, v->int64))
TEXT(timestamp_ms_text, text_of_timestamp_ms(to, v->int64))
TEXT(timestamp_ns_text, text_of_timestamp_ns(to, v->int64))
TEXT(timestamp_tz_text, text_of_timestamp_tz(to, v->int64))
TEXT(interval_text, text_of_interval(to, v->interval.months, v->interval.days, v->interval.micros))
TEXT(uuid_text, text_of_uuid(to, (int64_t)v->pair[1], v->pair[0]))

static size_t decimal_text(const struct test *t, const union value *v, char *to)
{
    return (size_t)((t->width <= 4    ? text_of_decimal(to, v->int16, t->width, t->scale)
                     : t->width <= 9  ? text_of_decimal(to, v->int32, t->width, t->scale)
                     : t->width <= 18 ? text_of_decimal(to, v->int64, t->width, t->scale)
                                      : text_of_decimal128(to, (int64_t)v->pair[1], v->pair[0], t->width,
                                                           t->scale)) -
                    to);
}

/* What is not finite has other words in our files, since JSON has none. */
static size_t json_double(double v, char *to)
{
    if (isfinite(v))
        return (size_t)(text_of_json_double(to, v) - to);
    const char *word = isnan(v) ? "NaN" : v < 0 ? "-Infinity" : "Infinity";
    memcpy(to, word, strlen(word));
    return strlen(word);
}

static size_t json_float_text(const struct test *t, const union value *v, char *to)
{
    (void)t;
    return json_double((double)v->single, to);
}

static size_t json_double_text(const struct test *t, const union value *v, char *to)
{
    (void)t;
    return json_double(v->twice, to);
}

static size_t json_decimal_text(const struct test *t, const union value *v, char *to)
{
    int64_t number = t->width <= 4 ? v->int16 : t->width <= 9 ? v->int32 : v->int64;
    return (size_t)(text_of_json_decimal(to, number, t->scale) - to);
}

static const struct kind kinds[] = {
    {"boolean", DUCKDB_TYPE_BOOLEAN, 1, 0, boolean, bool_text},
    {"tinyint", DUCKDB_TYPE_TINYINT, 1, 0, integer, int8_text},
    {"smallint", DUCKDB_TYPE_SMALLINT, 2, 0, integer, int16_text},
    {"integer", DUCKDB_TYPE_INTEGER, 4, 0, integer, int32_text},
    {"bigint", DUCKDB_TYPE_BIGINT, 8, 0, integer, int64_text},
    {"hugeint", DUCKDB_TYPE_HUGEINT, 16, 0, integer, int128_text},
    {"utinyint", DUCKDB_TYPE_UTINYINT, 1, 0, integer, uint8_text},
    {"usmallint", DUCKDB_TYPE_USMALLINT, 2, 0, integer, uint16_text},
    {"uinteger", DUCKDB_TYPE_UINTEGER, 4, 0, integer, uint32_text},
    {"ubigint", DUCKDB_TYPE_UBIGINT, 8, 0, integer, uint64_text},
    {"uhugeint", DUCKDB_TYPE_UHUGEINT, 16, 0, integer, uint128_text},
    {"decimal", DUCKDB_TYPE_DECIMAL, 0, 0, decimal, decimal_text},
    {"float", DUCKDB_TYPE_FLOAT, 4, 0, floating, float_text},
    {"double", DUCKDB_TYPE_DOUBLE, 8, 0, doubling, double_text},
    {"date", DUCKDB_TYPE_DATE, 4, 0, date, date_text},
    {"time", DUCKDB_TYPE_TIME, 8, 1000000, time_of_day, time_text},
    {"time_ns", DUCKDB_TYPE_TIME_NS, 8, 1000000000, time_of_day, time_ns_text},
    {"timetz", DUCKDB_TYPE_TIME_TZ, 8, 0, time_tz, time_tz_text},
    {"timestamp", DUCKDB_TYPE_TIMESTAMP, 8, 1000000, timestamp, timestamp_text},
    {"timestamp_s", DUCKDB_TYPE_TIMESTAMP_S, 8, 1, timestamp, timestamp_s_text},
    {"timestamp_ms", DUCKDB_TYPE_TIMESTAMP_MS, 8, 1000, timestamp, timestamp_ms_text},
    {"timestamp_ns", DUCKDB_TYPE_TIMESTAMP_NS, 8, 1000000000, timestamp, timestamp_ns_text},
    {"timestamptz", DUCKDB_TYPE_TIMESTAMP_TZ, 8, 1000000, timestamp, timestamp_tz_text},
    {"interval", DUCKDB_TYPE_INTERVAL, 16, 0, interval, interval_text},
    {"uuid", DUCKDB_TYPE_UUID, 16, 0, integer, uuid_text},
    {"json float", DUCKDB_TYPE_FLOAT, 4, 0, floating, json_float_text, .json = true},
    {"json double", DUCKDB_TYPE_DOUBLE, 8, 0, doubling, json_double_text, .json = true},
    {"json decimal", DUCKDB_TYPE_DECIMAL, 0, 0, decimal, json_decimal_text, .json = true},
};

/* --- the engine: SELECT v, v::VARCHAR FROM test_values() --- */

static size_t value_size(const struct test *t)
{
    if (t->kind->type != DUCKDB_TYPE_DECIMAL)
        return t->kind->size;
    return t->width <= 4 ? 2 : t->width <= 9 ? 4 : t->width <= 18 ? 8 : 16;
}

static void bind(duckdb_bind_info info)
{
    struct test *t = duckdb_bind_get_extra_info(info);
    duckdb_logical_type type = t->kind->type == DUCKDB_TYPE_DECIMAL
                                   ? duckdb_create_decimal_type((uint8_t)t->width, (uint8_t)t->scale)
                                   : duckdb_create_logical_type(t->kind->type);
    duckdb_bind_add_result_column(info, "v", type);
    duckdb_destroy_logical_type(&type);
}

static void init(duckdb_init_info info)
{
    duckdb_init_set_max_threads(info, 1);
}

static void fill(duckdb_function_info info, duckdb_data_chunk chunk)
{
    struct test *t = duckdb_function_get_extra_info(info);
    char *data = duckdb_vector_get_data(duckdb_data_chunk_get_vector(chunk, 0));
    size_t size = value_size(t), count = t->left < CHUNK ? (size_t)t->left : CHUNK;
    for (size_t i = 0; i < count; i++) {
        union value v = {0};
        t->kind->generate(t, &v);
        memcpy(data + i * size, &v, size);
    }
    t->left -= count;
    duckdb_data_chunk_set_size(chunk, count);
}

static void show(const struct test *t, const char *value, size_t size, const char *theirs, size_t their_length,
                 const char *ours, size_t our_length)
{
    printf("DIFFERENT: %s", t->kind->name);
    if (t->kind->type == DUCKDB_TYPE_DECIMAL)
        printf("(%u,%u)", t->width, t->scale);
    for (size_t i = size; i-- > 0;)
        printf("%s%02x", i + 1 == size ? " 0x" : "", (unsigned char)value[i]);
    printf(" is <%.*s> by the engine, <%.*s> by us\n", (int)their_length, theirs, (int)our_length, ours);
}

static void compare(struct test *t, duckdb_data_chunk chunk)
{
    duckdb_vector values = duckdb_data_chunk_get_vector(chunk, 0), texts = duckdb_data_chunk_get_vector(chunk, 1);
    const char *data = duckdb_vector_get_data(values);
    duckdb_string_t *text = duckdb_vector_get_data(texts);
    uint64_t *validity = duckdb_vector_get_validity(texts);
    size_t size = value_size(t);
    for (size_t i = 0; i < duckdb_data_chunk_get_size(chunk); i++) {
        char ours[VALUE_TEXT_MAX * 2];
        union value v;
        memcpy(&v, data + i * size, size);
        size_t length = t->kind->text(t, &v, ours);
        bool none = validity && !duckdb_validity_row_is_valid(validity, i);
        const char *theirs = none ? "(refused)" : duckdb_string_t_data(&text[i]);
        size_t their_length = none ? 9 : duckdb_string_t_length(text[i]);
        t->values++;
        if (length == their_length && memcmp(ours, theirs, length) == 0)
            continue;
        if (t->different++ < SHOWN)
            show(t, data + i * size, size, theirs, their_length, ours, length);
    }
}

static void run(struct test *t, duckdb_connection c)
{
    duckdb_prepared_statement statement;
    duckdb_result result;
    const char *sql = t->kind->json ? "SELECT v, to_json(v)::VARCHAR FROM test_values()"
                                    : "SELECT v, TRY_CAST(v AS VARCHAR) FROM test_values()";
    if (duckdb_prepare(c, sql, &statement) != DuckDBSuccess)
        die("prepare", duckdb_prepare_error(statement));
    if (duckdb_execute_prepared_streaming(statement, &result) != DuckDBSuccess)
        die(t->kind->name, duckdb_result_error(&result));
    duckdb_data_chunk chunk;
    while ((chunk = duckdb_fetch_chunk(result))) {
        compare(t, chunk);
        duckdb_destroy_data_chunk(&chunk);
    }
    const char *why = duckdb_result_error(&result);
    if (why && *why)
        die(t->kind->name, why);
    duckdb_destroy_result(&result);
    duckdb_destroy_prepare(&statement);
}

/* DECIMAL: every width and scale. */
static void run_decimals(struct test *t, duckdb_connection c, uint64_t count)
{
    for (t->width = 1; t->width <= (t->kind->json ? JSON_DECIMAL_MAX_WIDTH : 38); t->width++)
        for (t->scale = 0; t->scale <= t->width; t->scale++) {
            t->left = 1 + count / 400;
            run(t, c);
        }
}

static duckdb_connection start(struct test *t, duckdb_database *ret)
{
    duckdb_connection c;
    duckdb_result result;
    duckdb_config config;
    duckdb_create_config(&config);
    duckdb_set_config(config, "threads", "1");
    if (duckdb_open_ext(NULL, ret, config, NULL) != DuckDBSuccess || duckdb_connect(*ret, &c) != DuckDBSuccess)
        die("open", NULL);
    duckdb_destroy_config(&config);
    if (duckdb_query(c, "SET TimeZone='UTC'", &result) != DuckDBSuccess)
        die("time zone", duckdb_result_error(&result));
    duckdb_destroy_result(&result);
    duckdb_table_function f = duckdb_create_table_function();
    duckdb_table_function_set_name(f, "test_values");
    duckdb_table_function_set_extra_info(f, t, NULL);
    duckdb_table_function_set_bind(f, bind);
    duckdb_table_function_set_init(f, init);
    duckdb_table_function_set_function(f, fill);
    if (duckdb_register_table_function(c, f) != DuckDBSuccess)
        die("register", NULL);
    duckdb_destroy_table_function(&f);
    return c;
}

int main(int argc, char **argv)
{
    static const struct option options[] = {
        {"seed", 1, NULL, 's'}, {"count", 1, NULL, 'c'}, {"type", 1, NULL, 't'}, {"all-floats", 1, NULL, 'f'}, {0}};
    uint64_t seed = (uint64_t)clock_wall_us(), count = 200000;
    const char *only = NULL;
    struct test t = {0};
    for (int option; (option = getopt_long(argc, argv, "", options, NULL)) != -1;) {
        if (option == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (option == 'c')
            count = strtoull(optarg, NULL, 10);
        else if (option == 't')
            only = optarg;
        else if (option == 'f') {
            t.all_floats = true;
            t.next_float = strtoull(optarg, NULL, 10) << 24;
            count = 1 << 24;
            only = "float";
        } else
            return 2;
    }
    printf("seed %" PRIu64 "\n", seed);
    fflush(stdout);
    t.random.state = seed;
    duckdb_database database;
    duckdb_connection c = start(&t, &database);
    uint64_t different = 0;
    for (size_t i = 0; i < ARRAY_LENGTH(kinds); i++) {
        t.kind = &kinds[i];
        if (only && strcmp(only, t.kind->name) != 0)
            continue;
        t.left = t.kind->type == DUCKDB_TYPE_UHUGEINT ? count / 20 : count; /* 60 us each, by the engine */
        t.values = t.different = t.next_border = 0;
        if (t.kind->type == DUCKDB_TYPE_DECIMAL)
            run_decimals(&t, c, count);
        else
            run(&t, c);
        printf("%-12s %" PRIu64 " values, %" PRIu64 " different\n", t.kind->name, t.values, t.different);
        fflush(stdout);
        different += t.different;
    }
    duckdb_disconnect(&c);
    duckdb_close(&database);
    return different ? 1 : 0;
}
