#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <cmocka.h>
#include <zlib.h>
#include <zstd.h>

#include "base/buf.h"
#include "worker/packer.h"

#define PART_SIZE 4096
#define PART_COUNT 4
#define LENGTH ((size_t)5 << 20) /* several pieces of gzip's, several jobs of zstd's */

static const char token[] = "aVeryLongTokenOfTheSource-0123456789abcdefghijklmnopqrstuvwxyz";

/* The file: the output's parts, which are free again at once. */
struct file {
    struct parts *parts;
    struct output *output;
    struct buf bytes;
};

static bool take_part(void *context, uint32_t index, size_t length, const uint8_t *sha256, struct error *e)
{
    (void)sha256;
    struct file *f = context;
    buf_append(&f->bytes, parts_buffer(f->parts, index), length);
    return output_free_buffer(f->output, index) || error_set(e, ERROR_WORKER, "not a part");
}

static void file_init(struct file *f)
{
    struct error e;
    buf_init(&f->bytes, SIZE_MAX);
    f->parts = parts_new(PART_COUNT, PART_SIZE, &e);
    assert_non_null(f->parts);
    f->output = output_new(f->parts, false, take_part, f, &e);
    assert_non_null(f->output);
}

static void file_release(struct file *f)
{
    output_free(f->output);
    parts_free(f->parts);
    buf_release(&f->bytes);
}

static struct packer *packer_make(struct file *f, enum file_compression compression, uint32_t threads)
{
    struct error e;
    struct file_form form = file_form_default(FILE_CSV);
    form.compression = compression;
    struct packer *p = packer_new(&form, f->output, threads, &e);
    assert_non_null(p);
    return p;
}

/* Lines of numbers that are the same in every run. */
static uint8_t *make_lines(size_t length)
{
    uint8_t *data = test_malloc(length + 1);
    uint64_t state = 88172645463325252ull;
    for (size_t at = 0; at < length;) {
        char line[64];
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        int n = snprintf(line, sizeof line, "%zu,%llu,name %llu\n", at, (unsigned long long)state % 100000, (unsigned long long)state % 7);
        for (int i = 0; i < n && at < length; i++)
            data[at++] = (uint8_t)line[i];
    }
    return data;
}

/* The first and the last byte are what stands before and behind the rows. */
static bool pack(struct packer *p, const uint8_t *data, size_t length, size_t step, struct error *e)
{
    size_t head = length > 0, tail = length > 1;
    if (!p->api->begin(p, data, head, e))
        return false;
    for (size_t at = head, n; at < length - tail; at += n) {
        n = step < length - tail - at ? step : length - tail - at;
        if (!p->api->rows(p, data + at, n, e))
            return false;
    }
    return p->api->end(p, data + length - tail, tail, e);
}

static void pack_whole(struct file *f, enum file_compression compression, uint32_t threads, const uint8_t *data, size_t length, size_t step)
{
    struct error e;
    uint8_t digest[SHA256_BYTES];
    struct packer *p = packer_make(f, compression, threads);
    assert_true(pack(p, data, length, step, &e));
    packer_free(p);
    assert_true(output_finish(f->output, digest, &e));
}

static size_t unpack_gzip(const struct buf *file, uint8_t *back, size_t room)
{
    z_stream z = {.next_in = (void *)file->data, .avail_in = (unsigned)file->len, .next_out = back, .avail_out = (unsigned)room};
    assert_int_equal(inflateInit2(&z, 15 + 16), Z_OK); /* gzip alone; looks at the trailer */
    assert_int_equal(inflate(&z, Z_FINISH), Z_STREAM_END);
    assert_int_equal(z.avail_in, 0); /* one member */
    inflateEnd(&z);
    return z.total_out;
}

static size_t unpack_zstd(const struct buf *file, uint8_t *back, size_t room)
{
    assert_int_equal(ZSTD_findFrameCompressedSize(file->data, file->len), file->len); /* one frame */
    assert_true(((uint8_t)file->data[4] & 4) != 0); /* Content_Checksum_flag: RFC 8878, 3.1.1.1.1 */
    size_t length = ZSTD_decompress(back, room, file->data, file->len);
    assert_false(ZSTD_isError(length));
    return length;
}

static size_t unpack(enum file_compression compression, const struct buf *file, uint8_t *back, size_t room)
{
    switch (compression) {
    case COMPRESSION_GZIP:
        return unpack_gzip(file, back, room);
    case COMPRESSION_ZSTD:
        return unpack_zstd(file, back, room);
    default:
        assert_true(file->len <= room);
        if (file->len > 0)
            memcpy(back, file->data, file->len);
        return file->len;
    }
}

static const enum file_compression all[] = {COMPRESSION_NONE, COMPRESSION_GZIP, COMPRESSION_ZSTD};

static void test_what_went_in_comes_out(void **unused)
{
    (void)unused;
    static const size_t lengths[] = {0, 1, 2, 3, 1000, 262144, 1 << 20, (1 << 20) + 1, LENGTH};
    uint8_t *data = make_lines(LENGTH), *back = test_malloc(LENGTH + 1);
    for (size_t c = 0; c < ARRAY_SIZE(all); c++)
        for (size_t i = 0; i < ARRAY_SIZE(lengths); i++) {
            struct file f;
            file_init(&f);
            pack_whole(&f, all[c], 2, data, lengths[i], 10007);
            assert_int_equal(unpack(all[c], &f.bytes, back, LENGTH + 1), lengths[i]);
            assert_memory_equal(back, data, lengths[i]);
            file_release(&f);
        }
    test_free(data);
    test_free(back);
}

static void test_file_depends_on_the_input_alone(void **unused)
{
    (void)unused;
    uint8_t *data = make_lines(LENGTH);
    for (size_t c = 0; c < ARRAY_SIZE(all); c++) {
        struct file first, other;
        file_init(&first);
        file_init(&other);
        pack_whole(&first, all[c], 1, data, LENGTH, 999);
        pack_whole(&other, all[c], 5, data, LENGTH, LENGTH);
        assert_int_equal(first.bytes.len, other.bytes.len);
        assert_memory_equal(first.bytes.data, other.bytes.data, first.bytes.len);
        file_release(&first);
        file_release(&other);
    }
    test_free(data);
}

static void test_gzip_has_no_name_and_no_time(void **unused)
{
    (void)unused;
    struct file f;
    file_init(&f);
    pack_whole(&f, COMPRESSION_GZIP, 1, (const uint8_t *)"", 0, 1);
    static const uint8_t empty[] = {0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 0, 255, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0};
    assert_int_equal(f.bytes.len, sizeof empty);
    assert_memory_equal(f.bytes.data, empty, sizeof empty);
    file_release(&f);
}

static void test_freed_at_any_time(void **unused)
{
    (void)unused;
    uint8_t *data = make_lines(LENGTH);
    for (size_t c = 0; c < ARRAY_SIZE(all); c++)
        for (size_t length = 0; length <= LENGTH; length += LENGTH / 5) {
            struct error e;
            struct file f;
            file_init(&f);
            struct packer *p = packer_make(&f, all[c], 3);
            assert_true(length == 0 || (p->api->begin(p, data, 1, &e) && p->api->rows(p, data + 1, length - 1, &e)));
            packer_free(p);
            file_release(&f);
        }
    test_free(data);
}

static void test_error_of_the_output(void **unused)
{
    (void)unused;
    uint8_t *data = make_lines(LENGTH);
    for (size_t c = 0; c < ARRAY_SIZE(all); c++) {
        struct error e = {0};
        struct file f;
        file_init(&f);
        struct packer *p = packer_make(&f, all[c], 3);
        output_cancel(f.output);
        assert_false(pack(p, data, LENGTH, 65536, &e));
        assert_int_equal(e.code, ERROR_CANCELLED);
        packer_free(p);
        file_release(&f);
    }
    test_free(data);
}

/* Compressed it is not to be seen: it is looked for before. */
static void test_a_secret_does_not_get_through(void **unused)
{
    (void)unused;
    struct error e = {0};
    struct secret_patterns *patterns = secret_patterns_new(token, &e);
    assert_non_null(patterns);
    uint8_t *data = make_lines(LENGTH);
    for (size_t c = 0; c < ARRAY_SIZE(all); c++)
        for (size_t at = 1000; at < LENGTH; at += LENGTH / 3) {
            struct file f;
            file_init(&f);
            output_watch(f.output, patterns);
            uint8_t *with = test_malloc(LENGTH), digest[SHA256_BYTES];
            memcpy(with, data, LENGTH);
            memcpy(with + at, token, sizeof token - 1);
            struct packer *p = packer_make(&f, all[c], 2);
            e.code = ERROR_NONE;
            assert_false(pack(p, with, LENGTH, 17, &e) && output_finish(f.output, digest, &e));
            assert_int_equal(e.code, ERROR_SECRET);
            packer_free(p);
            test_free(with);
            file_release(&f);
        }
    test_free(data);
    secret_patterns_free(patterns);
}

static void test_a_secret_does_not_get_into_a_workbook(void **unused)
{
    (void)unused;
    static const char begin[] = "<worksheet><sheetData>", row[] = "<row r=\"\x01\"><c r=\"A\x01\" t=\"inlineStr\"><is><t>%s</t></is></c></row>";
    struct error e = {0};
    struct secret_patterns *patterns = secret_patterns_new(token, &e);
    assert_non_null(patterns);
    const struct file_form form = file_form_default(FILE_XLSX);
    for (int secret = 0; secret < 2; secret++) {
        char text[256];
        uint8_t digest[SHA256_BYTES];
        struct file f;
        file_init(&f);
        output_watch(f.output, patterns);
        struct packer *p = packer_new(&form, f.output, 1, &e);
        assert_non_null(p);
        snprintf(text, sizeof text, row, secret ? token : "honest");
        bool ok = p->api->begin(p, begin, strlen(begin), &e) && p->api->rows(p, text, strlen(text), &e) &&
                  p->api->end(p, "", 0, &e) && output_finish(f.output, digest, &e);
        assert_int_equal(ok, !secret);
        assert_true(ok || e.code == ERROR_SECRET);
        packer_free(p);
        file_release(&f);
    }
    secret_patterns_free(patterns);
}

static void test_processor_time(void **unused)
{
    (void)unused;
    struct error e;
    struct file f;
    uint8_t *data = make_lines(LENGTH);
    file_init(&f);
    struct packer *p = packer_make(&f, COMPRESSION_GZIP, 2);
    assert_true(pack(p, data, LENGTH, 65536, &e));
    assert_in_range(packer_cpu_ns(p), 100000, 60ull * 1000 * 1000 * 1000);
    packer_free(p);
    p = packer_make(&f, COMPRESSION_NONE, 2);
    assert_int_equal(packer_cpu_ns(p), 0);
    packer_free(p);
    file_release(&f);
    test_free(data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_what_went_in_comes_out),
        cmocka_unit_test(test_file_depends_on_the_input_alone),
        cmocka_unit_test(test_gzip_has_no_name_and_no_time),
        cmocka_unit_test(test_freed_at_any_time),
        cmocka_unit_test(test_error_of_the_output),
        cmocka_unit_test(test_a_secret_does_not_get_through),
        cmocka_unit_test(test_a_secret_does_not_get_into_a_workbook),
        cmocka_unit_test(test_processor_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
