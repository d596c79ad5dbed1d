#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <cmocka.h>

#include "object/s3.h"
#include "object/s3_answer.h"
#include "object/s3_parts.h"
#include "object/s3_request.h"
#include "object/s3_xml.h"

/* sigv4: the examples of https://docs.aws.amazon.com/AmazonS3/latest/API/sig-v4-header-based-auth.html and
 * sigv4-query-string-auth.html, stage by stage. tests/s3/test_sigv4.py compares many more with boto3. */

static const struct sigv4_key example_key = {"AKIAIOSFODNN7EXAMPLE",
                                             "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY", "us-east-1"};
#define EXAMPLE_TIME INT64_C(1369353600)
#define EMPTY_SHA256 "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"

static void the_stages_of_a_signature(void **state)
{
    (void)state;
    char time[SIGV4_TIME_SIZE];
    sigv4_time(EXAMPLE_TIME, time);
    assert_string_equal(time, "20130524T000000Z");
    const struct sigv4_pair headers[] = {{"host", "examplebucket.s3.amazonaws.com"},
                                         {"range", "bytes=0-9"},
                                         {"x-amz-content-sha256", EMPTY_SHA256},
                                         {"x-amz-date", time}};
    const struct sigv4_request r = {.method = "GET",
                                    .path = "/test.txt",
                                    .query = "",
                                    .headers = headers,
                                    .header_count = ARRAY_SIZE(headers),
                                    .payload = EMPTY_SHA256};
    _cleanup_buf_ struct buf canonical, to_sign, authorization;
    buf_init(&canonical, 4096);
    buf_init(&to_sign, 4096);
    buf_init(&authorization, 4096);
    sigv4_append_canonical_request(&canonical, &r);
    assert_string_equal(canonical.data,
                        "GET\n/test.txt\n\nhost:examplebucket.s3.amazonaws.com\nrange:bytes=0-9\n"
                        "x-amz-content-sha256:" EMPTY_SHA256 "\nx-amz-date:20130524T000000Z\n\n"
                        "host;range;x-amz-content-sha256;x-amz-date\n" EMPTY_SHA256);
    assert_true(sigv4_append_string_to_sign(&to_sign, time, "us-east-1", canonical.data, canonical.len));
    assert_string_equal(to_sign.data,
                        "AWS4-HMAC-SHA256\n20130524T000000Z\n20130524/us-east-1/s3/aws4_request\n"
                        "7344ae5b7ee6c3e7e6b0fe0640412a37625d1fbfff95c48bbb2dc43964946972");
    char signature[SHA256_HEX_SIZE];
    assert_true(sigv4_signature(&example_key, time, to_sign.data, to_sign.len, signature));
    assert_string_equal(signature, "f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
    assert_true(sigv4_append_authorization(&authorization, &example_key, time, &r));
    assert_string_equal(
        authorization.data,
        "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, "
        "SignedHeaders=host;range;x-amz-content-sha256;x-amz-date, "
        "Signature=f0e8bdb87c964420e857bd35b5d6ed310bd44f0170aba48dd91039c6036bdb41");
}

static void a_link_is_signed(void **state)
{
    (void)state;
    char time[SIGV4_TIME_SIZE];
    sigv4_time(EXAMPLE_TIME, time);
    _cleanup_buf_ struct buf query;
    buf_init(&query, 4096);
    const struct sigv4_link l = {
        .authority = "examplebucket.s3.amazonaws.com", .path = "/test.txt", .seconds = 86400};
    assert_true(sigv4_append_link_query(&query, &example_key, time, &l));
    assert_string_equal(
        query.data,
        "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIAIOSFODNN7EXAMPLE%2F20130524%2Fus-east-1%"
        "2Fs3%2Faws4_request&X-Amz-Date=20130524T000000Z&X-Amz-Expires=86400&X-Amz-SignedHeaders=host&"
        "X-Amz-Signature=aeeed9bbccd4d02ee5c0109b86d86835f995330da4c265957d157751f604d404");
}

/* s3_address */

static void endpoints(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        bool tls_by_default, tls;
        const char *authority; /* NULL: refused */
    } cases[] = {
        {"localhost:9000", false, false, "localhost:9000"},
        {"http://localhost:9000", true, false, "localhost:9000"},
        {"HTTPS://S3.Example", false, true, "s3.example"},
        {"https://s3.example/", false, true, "s3.example"},
        {"https://s3.example:443", false, true, "s3.example"},
        {"http://s3.example:443", false, false, "s3.example:443"},
        {"s3.example:80", false, false, "s3.example"},
        {"s3.example:080", false, false, "s3.example"},
        {"minio", true, true, "minio"},
        {"my_minio:1", false, false, "my_minio:1"},
        {"[::1]:9000", false, false, "[::1]:9000"},
        {"127.0.0.1:65535", false, false, "127.0.0.1:65535"},
        {"", false, false, NULL},
        {"http://", false, false, NULL},
        {"http:///", false, false, NULL},
        {"ftp://s3.example", false, false, NULL},
        {"s3.example:0", false, false, NULL},
        {"s3.example:65536", false, false, NULL},
        {"s3.example:99999999999999999999", false, false, NULL},
        {"s3.example:", false, false, NULL},
        {"s3.example/path", false, false, NULL},
        {"http://s3.example//", false, false, NULL},
        {"user:secret@s3.example", false, false, NULL},
        {"http://user@s3.example", false, false, NULL},
        {"s3.example?x", false, false, NULL},
        {"s3..example", false, false, NULL},
        {"s3 example", false, false, NULL},
        {"s3.example\r\nX: y", false, false, NULL},
        {"[::1", false, false, NULL},
        {"[]", false, false, NULL},
        {"\xC3\xA4.example", false, false, NULL},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct s3_address a = {0};
        struct error e = {0};
        bool ok = s3_address_parse(cases[i].text, cases[i].tls_by_default, &a, &e);
        if (ok != (cases[i].authority != NULL))
            fail_msg("'%s': %s", cases[i].text, ok ? a.authority : e.message);
        if (!ok) {
            assert_int_equal(e.code, ERROR_CONFIG);
            continue;
        }
        assert_string_equal(a.authority, cases[i].authority);
        assert_int_equal(a.tls, cases[i].tls);
    }
    static char longest[300];
    memset(longest, 'a', 253);
    struct s3_address a;
    struct error e;
    assert_true(s3_address_parse(longest, false, &a, &e));
    longest[253] = 'a';
    assert_false(s3_address_parse(longest, false, &a, &e));
}

static void buckets(void **state)
{
    (void)state;
    static const struct {
        const char *name;
        bool path, virtual;
    } cases[] = {{"downloads", true, true},   {"a-b.c1", true, true},    {"ab", true, false},
                 {"Old_Bucket", true, false}, {"-ab", true, false},      {"ab.", true, false},
                 {"a..b", true, false},       {"", false, false},        {"..", false, false},
                 {"a/b", false, false},       {"a b", false, false},     {"a?b", false, false},
                 {"a\nb", false, false},      {"\xC3\xA4", false, false}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        assert_int_equal(s3_bucket_ok(cases[i].name, S3_ADDRESSING_PATH), cases[i].path);
        assert_int_equal(s3_bucket_ok(cases[i].name, S3_ADDRESSING_VIRTUAL), cases[i].virtual);
    }
    struct error e;
    struct s3_address a, b;
    assert_true(s3_address_parse("s3.example:9000", false, &a, &e));
    assert_true(s3_address_of_bucket(&a, "downloads", S3_ADDRESSING_VIRTUAL, &b, &e));
    assert_string_equal(b.authority, "downloads.s3.example:9000");
    assert_true(s3_address_parse("10.0.0.1", false, &a, &e));
    assert_false(s3_address_of_bucket(&a, "downloads", S3_ADDRESSING_VIRTUAL, &b, &e));
    assert_true(s3_address_of_bucket(&a, "downloads", S3_ADDRESSING_PATH, &b, &e));
}

static void dispositions(void **state)
{
    (void)state;
    static const struct {
        const char *name, *value;
    } cases[] = {
        {"a-b.csv", "attachment; filename=\"a-b.csv\""},
        {"a b;c.csv", "attachment; filename=\"a b;c.csv\""},
        {"a\"b\\c.csv", "attachment; filename=\"a_b_c.csv\"; filename*=UTF-8''a%22b_c.csv"},
        {"../etc/x", "attachment; filename=\".._etc_x\"; filename*=UTF-8''.._etc_x"},
        {"a\r\nX: y", "attachment; filename=\"a__X: y\"; filename*=UTF-8''a__X%3A%20y"},
        {"100%.csv", "attachment; filename=\"100_.csv\"; filename*=UTF-8''100%25.csv"},
        {"\xC3\xA4\xF0\x9F\xA6\x86.csv",
         "attachment; filename=\"__.csv\"; filename*=UTF-8''%C3%A4%F0%9F%A6%86.csv"},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        _cleanup_buf_ struct buf b;
        buf_init(&b, 4096);
        s3_append_disposition(&b, cases[i].name);
        assert_string_equal(b.data, cases[i].value);
    }
    static char longest[1000];
    memset(longest, 'a', sizeof longest - 1);
    _cleanup_buf_ struct buf b;
    buf_init(&b, 4096);
    s3_append_disposition(&b, longest);
    assert_int_equal(b.len, strlen("attachment; filename=\"\"") + 200);
}

/* s3_xml */

static bool parse_error(const char *text, struct s3_error_document *d)
{
    return s3_xml_error(text, strlen(text), d);
}

static void error_documents(void **state)
{
    (void)state;
    struct s3_error_document d;
    assert_true(parse_error(
        " \n<?xml version=\"1.0\"?>\n<Error><Code>SlowDown</Code><Message>a &amp; b</Message></Error>\n",
        &d));
    assert_string_equal(d.code, "SlowDown");
    assert_string_equal(d.region, "");
    assert_true(parse_error("<Error xmlns='x'><Code>A</Code><Region>eu-west-3</Region></Error>", &d));
    assert_string_equal(d.region, "eu-west-3");
    assert_true(parse_error("<Error/>", &d));
    assert_true(parse_error("<Error><Code>two words</Code></Error>", &d));
    assert_string_equal(d.code, ""); /* not a code */
    assert_true(parse_error("<Error><Inner><Code>A</Code></Inner></Error>", &d));
    assert_string_equal(d.code, "");
    assert_true(parse_error("<Error><Code><![CDATA[Busy]]></Code><!-- x --></Error><!-- y -->", &d));
    assert_string_equal(d.code, "Busy");
    static const char *const broken[] = {"",
                                         "<Error>",
                                         "<Error><Code>A</Code>",
                                         "<Error><Code>A</Error></Code>",
                                         "<Error><Code>A</Code></Error>x",
                                         "<Error><Code>A</Code></Error><Error/>",
                                         "<Errors><Code>A</Code></Errors>",
                                         "<Error><Code>&unknown;</Code></Error>",
                                         "<Error><Code>&#0;</Code></Error>",
                                         "<Error><Code>&#xD800;</Code></Error>",
                                         "<Error><Code>&#99999999999;</Code></Error>",
                                         "<Error><Code>&#;</Code></Error>",
                                         "<!DOCTYPE x><Error/>",
                                         "<Error><?php ?></Error>",
                                         "<Error a=b></Error>",
                                         "<Error a=\"b></Error>",
                                         "<Error><Code>\xFF</Code></Error>",
                                         "<Error><Code>A</Code/></Error>",
                                         "<Error><!-- </Error>",
                                         "<html><body>Bad Gateway</body></html>"};
    for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
        if (parse_error(broken[i], &d))
            fail_msg("'%s' was taken", broken[i]);
}

static void depth_has_a_limit(void **state)
{
    (void)state;
    for (int depth = S3_XML_DEPTH_MAX - 1; depth <= S3_XML_DEPTH_MAX; depth++) {
        _cleanup_buf_ struct buf b;
        buf_init(&b, 4096);
        buf_append_text(&b, "<Error>");
        for (int i = 0; i < depth; i++)
            buf_append_text(&b, "<a>");
        for (int i = 0; i < depth; i++)
            buf_append_text(&b, "</a>");
        buf_append_text(&b, "</Error>");
        struct s3_error_document d;
        assert_int_equal(s3_xml_error(b.data, b.len, &d), depth < S3_XML_DEPTH_MAX);
    }
}

static void upload_ids(void **state)
{
    (void)state;
    char id[S3_UPLOAD_ID_MAX + 1], text[3000], longest[S3_UPLOAD_ID_MAX + 2] = "";
    memset(longest, 'a', S3_UPLOAD_ID_MAX + 1);
    for (int extra = 0; extra <= 1; extra++) {
        snprintf(text, sizeof text,
                 "<InitiateMultipartUploadResult><UploadId>%s</UploadId></InitiateMultipartUploadResult>",
                 longest + !extra);
        assert_int_equal(s3_xml_upload_id(text, strlen(text), id), !extra);
    }
    assert_int_equal(strlen(id), S3_UPLOAD_ID_MAX);
    static const char *const broken[] = {
        "<InitiateMultipartUploadResult/>",
        "<InitiateMultipartUploadResult><UploadId/></InitiateMultipartUploadResult>",
        "<InitiateMultipartUploadResult><UploadId>a b</UploadId></InitiateMultipartUploadResult>",
        "<InitiateMultipartUploadResult><a><UploadId>a</UploadId></a></InitiateMultipartUploadResult>"};
    for (size_t i = 0; i < ARRAY_SIZE(broken); i++)
        assert_false(s3_xml_upload_id(broken[i], strlen(broken[i]), id));
}

static void append_upload(void *context, const char *key, const char *upload_id)
{
    buf_printf(context, "%s=%s;", key, upload_id);
}

static void lists_of_uploads(void **state)
{
    (void)state;
    static const char text[] =
        "<ListMultipartUploadsResult><IsTruncated>true</IsTruncated><NextKeyMarker>b</NextKeyMarker>"
        "<NextUploadIdMarker>2</NextUploadIdMarker><Upload><Key>a&amp;&#228;.csv</Key><UploadId>1</UploadId>"
        "<Owner><ID>x</ID><Key>no</Key></Owner></Upload><Upload><UploadId>2</UploadId><Key>b</Key></Upload>"
        "<Upload><Key>c</Key></Upload></ListMultipartUploadsResult>";
    _cleanup_buf_ struct buf b;
    buf_init(&b, 4096);
    struct s3_uploads_page page;
    assert_true(s3_xml_uploads(text, strlen(text), append_upload, &b, &page));
    assert_string_equal(b.data, "a&\xC3\xA4.csv=1;b=2;");
    assert_true(page.more);
    assert_string_equal(page.next_key, "b");
    assert_string_equal(page.next_upload_id, "2");
    for (size_t cut = 0; cut < strlen(text); cut++)
        assert_false(s3_xml_uploads(text, cut, append_upload, &b, &page));
}

/* s3_parts */

static void parts_are_put_together(void **state)
{
    (void)state;
    struct s3_parts p = {0};
    assert_true(s3_parts_set(&p, 2, "plain-2"));
    assert_true(s3_parts_set(&p, 1, "\"0123abc\""));
    assert_true(s3_parts_set(&p, 10000, "\"last\"")); /* in any order, with room for all */
    _cleanup_buf_ struct buf b;
    buf_init(&b, 4096);
    s3_parts_append_complete(&p, 2, &b);
    assert_string_equal(
        b.data, "<CompleteMultipartUpload xmlns=\"http://s3.amazonaws.com/doc/2006-03-01/\">"
                "<Part><PartNumber>1</PartNumber><ETag>&quot;0123abc&quot;</ETag></Part>"
                "<Part><PartNumber>2</PartNumber><ETag>plain-2</ETag></Part></CompleteMultipartUpload>");
    s3_parts_release(&p);

    static const char *const good[] = {"a", "\"a\"", "\"d41d8cd98f00b204e9800998ecf8427e-10000\"",
                                       "A+/=_.:-"};
    static const char *const bad[] = {"",         "\"",  "\"\"", "\"a",   "a\"",     "W/\"a\"",
                                      "\"a\"b\"", "a b", "<a>",  "&amp;", "\xC3\xA4"};
    for (size_t i = 0; i < ARRAY_SIZE(good); i++)
        assert_true(s3_etag_ok(good[i]));
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(s3_etag_ok(bad[i]));
}

/* s3_answer */

static void answers(void **state)
{
    (void)state;
    static const struct {
        int status;
        const char *code; /* NULL: no body */
        bool may_hide_error;
        enum s3_verdict verdict;
        enum error_code error;
    } cases[] = {
        {200, NULL, false, S3_DONE, ERROR_NONE},
        {204, NULL, false, S3_DONE, ERROR_NONE},
        {206, "Odd", false, S3_DONE, ERROR_NONE}, /* a byte of somebody's file */
        {200, "InternalError", true, S3_AGAIN, ERROR_STORAGE},
        {200, "InvalidPart", true, S3_GIVE_UP, ERROR_STORAGE},
        {200, "", true, S3_AGAIN, ERROR_STORAGE},
        {301, NULL, false, S3_GIVE_UP, ERROR_CONFIG},
        {307, "TemporaryRedirect", false, S3_GIVE_UP, ERROR_CONFIG},
        {400, "RequestTimeout", false, S3_AGAIN, ERROR_STORAGE},
        {400, "ExpiredToken", false, S3_GIVE_UP, ERROR_CONFIG},
        {400, "EntityTooLarge", false, S3_GIVE_UP, ERROR_TOO_LARGE},
        {400, "SomethingNew", false, S3_GIVE_UP, ERROR_STORAGE},
        {401, NULL, false, S3_GIVE_UP, ERROR_CONFIG},
        {403, NULL, false, S3_GIVE_UP, ERROR_CONFIG},
        {403, "AccessDenied", false, S3_GIVE_UP, ERROR_CONFIG},
        {403, "SignatureDoesNotMatch", false, S3_GIVE_UP, ERROR_CONFIG},
        {403, "InvalidAccessKeyId", false, S3_GIVE_UP, ERROR_CONFIG},
        {403, "RequestTimeTooSkewed", false, S3_GIVE_UP, ERROR_CONFIG},
        {404, "NoSuchBucket", false, S3_GIVE_UP, ERROR_CONFIG},
        {404, "NoSuchUpload", false, S3_GIVE_UP, ERROR_STORAGE},
        {408, NULL, false, S3_AGAIN, ERROR_STORAGE},
        {409, "OperationAborted", false, S3_AGAIN, ERROR_STORAGE},
        {429, NULL, false, S3_AGAIN, ERROR_STORAGE},
        {500, NULL, false, S3_AGAIN, ERROR_STORAGE},
        {501, "NotImplemented", false, S3_GIVE_UP, ERROR_CONFIG},
        {502, NULL, false, S3_AGAIN, ERROR_STORAGE},
        {503, "SlowDown", false, S3_AGAIN, ERROR_STORAGE},
        {504, NULL, false, S3_AGAIN, ERROR_STORAGE},
    };
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        char body[256] = "";
        if (cases[i].code)
            snprintf(body, sizeof body, "<Error><Code>%s</Code></Error>", cases[i].code);
        const struct s3_answer a = {.status = cases[i].status,
                                    .body = body,
                                    .body_len = strlen(body),
                                    .may_hide_error = cases[i].may_hide_error};
        struct s3_judgement j;
        struct error e = {0};
        s3_answer_judge(&a, 0, &j, &e);
        if (j.verdict != cases[i].verdict || e.code != cases[i].error)
            fail_msg("%d %s: %d, %s", cases[i].status, body, j.verdict, e.message);
        assert_int_equal(j.slow_down, j.verdict == S3_AGAIN && (a.status == 429 || a.status == 503));
    }
}

static void retry_after(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t wait_ms;
    } cases[] = {{NULL, 0},
                 {"0", 0},
                 {"3", 3000},
                 {"60", 60000},
                 {"61", 60000},
                 {"99999999999999999999999", 60000},
                 {"-1", 0},
                 {"1.5", 0},
                 {"soon", 0},
                 {"", 0},
                 {"Tue, 14 Nov 2023 22:13:30 GMT", 10000},
                 {"Tue, 14 Nov 2023 22:13:10 GMT", 0},
                 {"Fri, 14 Nov 2053 22:13:10 GMT", 60000}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        const struct s3_answer a = {.status = 503, .body = "", .retry_after = cases[i].text};
        struct s3_judgement j;
        struct error e;
        s3_answer_judge(&a, 1700000000, &j, &e);
        assert_int_equal(j.wait_ms, cases[i].wait_ms);
    }
}

static void backoff_doubles_up_to_its_limit(void **state)
{
    (void)state;
    static const struct {
        unsigned tries;
        bool slow_down;
        int64_t most;
    } cases[] = {{1, false, 200}, {2, false, 400}, {3, false, 800},  {4, false, 1000},   {1000, false, 1000},
                 {1, true, 200},  {6, true, 6400}, {7, true, 10000}, {1000, true, 10000}};
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        int64_t most = 0, least = INT64_MAX;
        for (uint32_t random = 0; random < 40000; random++) {
            int64_t wait = s3_backoff_ms(cases[i].tries, cases[i].slow_down, random);
            most = wait > most ? wait : most;
            least = wait < least ? wait : least;
        }
        assert_int_equal(least, 0);
        assert_int_equal(most, cases[i].most);
    }
}

/* s3 */

static void wrong_options_are_refused(void **state)
{
    (void)state;
    const struct object_s3_options good = {.endpoint = "127.0.0.1:1",
                                           .bucket = "downloads",
                                           .region = "us-east-1",
                                           .access_key = "a",
                                           .secret_key = "secretsecret"};
    static const struct {
        const char *variable;
        struct object_s3_options change;
    } cases[] = {
        {"GOPIE_DS_S3_ENDPOINT", {.endpoint = ""}},
        {"GOPIE_DS_S3_ENDPOINT", {.endpoint = "a/b"}},
        {"GOPIE_DS_S3_ENDPOINT", {.addressing = S3_ADDRESSING_VIRTUAL}},
        {"GOPIE_DS_S3_PUBLIC_ENDPOINT", {.public_endpoint = "a/b"}},
        {"GOPIE_DS_S3_BUCKET", {.bucket = "a/b"}},
        {"GOPIE_DS_S3_BUCKET", {.bucket = "a_b", .addressing = S3_ADDRESSING_VIRTUAL}},
        {"GOPIE_DS_S3_REGION", {.region = "a b"}},
        {"GOPIE_DS_S3_ACCESS_KEY", {.access_key = "a\nb"}},
        {"GOPIE_DS_S3_SECRET_KEY", {.secret_key = ""}},
        {"GOPIE_DS_S3_SESSION_TOKEN", {.session_token = "a\r\nX: y"}},
        {"GOPIE_DS_S3_PART_SIZE", {.part_size = S3_PART_SIZE_MIN - 1}},
    };
    struct error e = {0};
    struct mailbox *mailbox = mailbox_new(&e);
    for (size_t i = 0; i < ARRAY_SIZE(cases); i++) {
        struct object_s3_options o = good;
        const struct object_s3_options *c = &cases[i].change;
        o.done = mailbox;
        o.endpoint = c->endpoint ? c->endpoint : o.endpoint;
        o.public_endpoint = c->public_endpoint;
        o.bucket = c->bucket ? c->bucket : o.bucket;
        o.region = c->region ? c->region : o.region;
        o.access_key = c->access_key ? c->access_key : o.access_key;
        o.secret_key = c->secret_key ? c->secret_key : o.secret_key;
        o.session_token = c->session_token;
        o.addressing = c->addressing;
        o.part_size = c->part_size;
        assert_null(object_store_s3_open(&o, &e));
        assert_int_equal(e.code, ERROR_CONFIG);
        if (!strstr(e.message, cases[i].variable) || strstr(e.message, "secretsecret"))
            fail_msg("case %zu: %s", i, e.message);
    }
    mailbox_free(mailbox);
}

static void limits_follow_the_options(void **state)
{
    (void)state;
    struct error e;
    struct mailbox *mailbox = mailbox_new(&e);
    struct object_s3_options o = {.endpoint = "127.0.0.1:1",
                                  .bucket = "downloads",
                                  .region = "us-east-1",
                                  .access_key = "a",
                                  .secret_key = "s",
                                  .done = mailbox};
    struct object_store *s = object_store_s3_open(&o, &e);
    assert_non_null(s);
    assert_int_equal(s->part_size, 16 << 20);
    assert_int_equal(s->parts_a_job, 4);
    assert_int_equal(s->grow_at, 5000);
    assert_int_equal(s->grown_part_size, 256 << 20);
    assert_true(s->sign_parts); /* http */
    char longest[1024 - 64 + 2];
    memset(longest, 'a', sizeof longest);
    longest[sizeof longest - 1] = '\0';
    assert_false(s->api->organisation_ok(longest, &e));
    assert_true(s->api->organisation_ok(longest + 1, &e));
    static const char *const bad[] = {"", ".", "..", "a/../b", "a//b", "/a", "a/", "a\nb", "\xFF", "a\x7F"};
    for (size_t i = 0; i < ARRAY_SIZE(bad); i++)
        assert_false(s->api->organisation_ok(bad[i], &e));
    s->api->close(s);

    o.endpoint = "https://127.0.0.1:1";
    o.part_size = (size_t)300 << 20;
    o.parts_a_job = 1;
    assert_non_null(s = object_store_s3_open(&o, &e));
    assert_false(s->sign_parts);
    assert_int_equal(s->parts_a_job, 2);
    assert_int_equal(s->grow_at, 0); /* they are large */
    s->api->close(s);

    o.equal_parts = true;
    o.part_size = 5 << 20;
    o.sign_payload = S3_SIGN_PAYLOAD_ON;
    assert_non_null(s = object_store_s3_open(&o, &e));
    assert_true(s->sign_parts);
    assert_int_equal(s->grow_at, 0);
    assert_int_equal(s->grown_part_size, 0);
    s->api->close(s);
    mailbox_free(mailbox);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_stages_of_a_signature),
        cmocka_unit_test(a_link_is_signed),
        cmocka_unit_test(endpoints),
        cmocka_unit_test(buckets),
        cmocka_unit_test(dispositions),
        cmocka_unit_test(error_documents),
        cmocka_unit_test(depth_has_a_limit),
        cmocka_unit_test(upload_ids),
        cmocka_unit_test(lists_of_uploads),
        cmocka_unit_test(parts_are_put_together),
        cmocka_unit_test(answers),
        cmocka_unit_test(retry_after),
        cmocka_unit_test(backoff_doubles_up_to_its_limit),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(limits_follow_the_options),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
