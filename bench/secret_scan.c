/* How fast results are scanned for a source's token: MB/s over a CSV, over base64, and over what is slowest.
 *
 *     build/tools/bench_secret_scan */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/secret_scan.h"

#define SIZE (4u << 20) /* of a part buffer */
#define ROUNDS 200

static const char token[] = "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJlbWFpbCI6ImFubkBleGFtcGxlLm9yZyJ9.c2lnbmF0dXJlLXdpdGgtMzItYnl0ZXM";

static void measure(const char *name, const struct secret_patterns *p, const char *text)
{
    struct secret_scan scan;
    secret_scan_init(&scan, p);
    bool found = false;
    int64_t begun = clock_monotonic_ms();
    for (int i = 0; i < ROUNDS; i++)
        found = secret_scan_feed(&scan, text, SIZE) || found;
    int64_t ms = clock_monotonic_ms() - begun;
    printf("%-8s %6.0f MB/s%s\n", name, SIZE / 1e3 * ROUNDS / (double)(ms > 0 ? ms : 1), found ? " (found?)" : "");
}

int main(void)
{
    struct error e;
    struct secret_patterns *p = secret_patterns_new(token, &e);
    char *text = malloc(SIZE + 256);
    if (!p || !text)
        return 1;
    size_t at = 0;
    for (unsigned i = 0; at < SIZE; i++)
        at += (size_t)snprintf(text + at, 256, "%u,%u,%u.25,customer %u,2024-02-%02u,\"text, with \"\"quotes\"\" %u\"\n", i, i % 7, i,
                               i % 5000, i % 28 + 1, i);
    measure("csv", p, text);
    static const char alphabet[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    srandom(1);
    for (at = 0; at < SIZE; at++)
        text[at] = alphabet[random() % 64];
    measure("base64", p, text);
    for (at = 0; at < SIZE; at++) /* the window's last two bytes again and again */
        text[at] = token[sizeof token - 3 + at % 2];
    measure("worst", p, text);
    secret_patterns_free(p);
    free(text);
    return 0;
}
