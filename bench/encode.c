/* The encoder alone: one chunk of rows, encoded again and again on one thread. Prints processor time for each kind
 * of column, and for a row as TPC-H's lineitem has.
 *
 *     bench_encode [SECONDS [csv|ndjson]]
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/error.h"
#include "worker/encoder.h"

#define ROWS 2048

static uint64_t state = 88172645463325252u;

static uint64_t random_number(void)
{
    state ^= state << 13;
    state ^= state >> 7;
    return state ^= state << 17;
}

static void *make(size_t size)
{
    void *p = calloc(ROWS, size);
    if (!p)
        exit(2);
    return p;
}

static struct column integers(enum value_type type, uint64_t below)
{
    int32_t *small = make(sizeof *small);
    int64_t *large = make(sizeof *large);
    for (size_t i = 0; i < ROWS; i++)
        small[i] = (int32_t)(large[i] = (int64_t)(random_number() % below));
    bool is_small = type == VALUE_INT32 || type == VALUE_DATE;
    free(is_small ? (void *)large : (void *)small);
    return (struct column){.is = {.type = type, .width = 15, .scale = 2},
                           .values = is_small ? (void *)small : (void *)large};
}

static struct column doubles(bool is_short)
{
    double *v = make(sizeof *v);
    for (size_t i = 0; i < ROWS; i++)
        v[i] = is_short ? (double)(random_number() % 1000000) / 100 : (double)random_number() / 1e7;
    return (struct column){.is.type = VALUE_DOUBLE, .values = v};
}

/* Texts of `least` to `most` bytes; one in `quoted` has a comma and a quote. */
static struct column texts(size_t least, size_t most, size_t quoted)
{
    struct text_value *v = make(sizeof *v);
    for (size_t i = 0; i < ROWS; i++) {
        size_t length = least + random_number() % (most - least + 1);
        char *text = malloc(length);
        if (!text)
            exit(2);
        for (size_t k = 0; k < length; k++)
            text[k] = (char)('a' + random_number() % 26);
        if (quoted && i % quoted == 0) {
            text[length / 2] = '"';
            text[length - 1] = ',';
        }
        v[i].length = (uint32_t)length;
        if (length <= TEXT_INLINE_MAX) {
            memcpy(v[i].inlined, text, length);
            free(text);
        } else {
            v[i].outside.pointer = text;
        }
    }
    return (struct column){.values = v};
}

static void measure(const struct encoder *encoder, const char *what, const struct column *columns, size_t count, double seconds)
{
    static const char *const names[] = {"l_orderkey",   "l_partkey",      "l_suppkey",    "l_linenumber", "l_quantity",   "l_extendedprice",
                                        "l_discount",   "l_tax",          "l_returnflag", "l_linestatus", "l_shipdate",   "l_commitdate",
                                        "l_receiptdate", "l_shipinstruct", "l_shipmode",   "l_comment"};
    struct block_pool *pool = block_pool_new();
    const struct chunk chunk = {.rows = ROWS, .column_count = count, .columns = columns};
    const struct file_form form = file_form_default(encoder == &csv_encoder ? FILE_CSV : FILE_NDJSON);
    struct error e;
    void *plan = encoder->prepare(&form, &(struct encoder_columns){.names = names, .count = count}, &e);
    uint64_t bytes = 0, rounds = 0;
    int64_t best = INT64_MAX, all = clock_thread_cpu_ns();
    while ((double)(clock_thread_cpu_ns() - all) < seconds * 1e9) {
        struct block_writer w;
        int64_t start = clock_thread_cpu_ns();
        if (!block_writer_begin(&w, pool, 0) || !encoder->chunk(plan, &w, &chunk))
            exit(2);
        struct block *list = block_writer_end(&w, ROWS);
        int64_t taken = clock_thread_cpu_ns() - start;
        best = taken < best ? taken : best;
        bytes = 0;
        for (const struct block *b = list; b; b = b->next)
            bytes += b->length;
        block_pool_give_back(pool, list);
        rounds++;
    }
    double mean = (double)(clock_thread_cpu_ns() - all) / (double)rounds;
    printf("%-28s %8.2f %8.2f ns a value %8.3f %8.3f s a GB\n", what, (double)best / (double)(ROWS * count),
           mean / (double)(ROWS * count), (double)best / (double)bytes, mean / (double)bytes);
    (encoder->release ? encoder->release : free)(plan);
    block_pool_free(pool);
}

int main(int argc, char **argv)
{
    double seconds = argc > 1 ? atof(argv[1]) : 0.3;
    const struct encoder *encoder = argc > 2 && strcmp(argv[2], "ndjson") == 0 ? &ndjson_encoder : &csv_encoder;
    const struct {
        const char *name;
        struct column column;
    } kinds[] = {
        {"integer, up to 7", integers(VALUE_INT32, 7)},
        {"bigint, up to 200,000", integers(VALUE_INT64, 200000)},
        {"bigint, any", integers(VALUE_INT64, 1ull << 62)},
        {"decimal(15,2), to 50", integers(VALUE_DECIMAL64, 5000)},
        {"decimal(15,2), to 100,000", integers(VALUE_DECIMAL64, 10000000)},
        {"date", integers(VALUE_DATE, 10000)},
        {"timestamp", integers(VALUE_TIMESTAMP, 1700000000000000)},
        {"double, short", doubles(true)},
        {"double, long", doubles(false)},
        {"text of 1", texts(1, 1, 0)},
        {"text of 3 to 7", texts(3, 7, 0)},
        {"text of 4 to 17", texts(4, 17, 0)},
        {"text of 10 to 44", texts(10, 44, 0)},
        {"text of 200", texts(200, 200, 0)},
        {"text of 40, quoted", texts(40, 40, 1)},
        {"text of 200, quoted", texts(200, 200, 1)},
    };
    printf("%-28s %8s %8s %12s %8s\n", "", "best", "mean", "best", "mean");
    for (size_t i = 0; i < ARRAY_SIZE(kinds); i++) {
        struct column four[4] = {kinds[i].column, kinds[i].column, kinds[i].column, kinds[i].column};
        measure(encoder, kinds[i].name, four, 4, seconds);
    }
    const struct column lineitem[] = {
        integers(VALUE_INT64, 1500000),       integers(VALUE_INT64, 200000),    integers(VALUE_INT64, 10000),
        integers(VALUE_INT32, 7),             integers(VALUE_DECIMAL64, 5000),  integers(VALUE_DECIMAL64, 10000000),
        integers(VALUE_DECIMAL64, 11),        integers(VALUE_DECIMAL64, 9),     texts(1, 1, 0),
        texts(1, 1, 0),                       integers(VALUE_DATE, 10000),      integers(VALUE_DATE, 10000),
        integers(VALUE_DATE, 10000),          texts(4, 17, 0),                  texts(3, 7, 0),
        texts(10, 44, 0),
    };
    measure(encoder, "lineitem", lineitem, ARRAY_SIZE(lineitem), seconds * 3);
    return 0;
}
