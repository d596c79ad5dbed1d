#include "server/drain_rate.h"

#include <stdlib.h>

struct end {
    int64_t at_ms;
    uint64_t org; /* hash; two that share one share their rate */
};

struct drain_rate {
    struct end ends[DRAIN_RATE_ENDS]; /* a ring */
    uint64_t count;                   /* ever; the newest is the one before count % DRAIN_RATE_ENDS */
};

struct drain_rate *drain_rate_new(void)
{
    return calloc(1, sizeof(struct drain_rate));
}

void drain_rate_free(struct drain_rate *r)
{
    free(r);
}

/* FNV-1a, 64 bits. */
static uint64_t hash(const char *text)
{
    uint64_t h = UINT64_C(0xcbf29ce484222325);
    for (; *text; text++)
        h = (h ^ (unsigned char)*text) * UINT64_C(0x100000001b3);
    return h;
}

void drain_rate_note(struct drain_rate *r, int64_t now_ms, const char *org)
{
    r->ends[r->count++ % DRAIN_RATE_ENDS] = (struct end){now_ms, hash(org)};
}

/* How many ends there are in the window, and when the oldest of them was. */
static uint64_t measure(const struct drain_rate *r, int64_t now_ms, const uint64_t *org, int64_t *ret_oldest)
{
    uint64_t found = 0, kept = r->count < DRAIN_RATE_ENDS ? r->count : DRAIN_RATE_ENDS;
    for (uint64_t i = 1; i <= kept; i++) {
        const struct end *e = &r->ends[(r->count - i) % DRAIN_RATE_ENDS];
        if (now_ms - e->at_ms > DRAIN_RATE_WINDOW_MS)
            break;
        if (org && e->org != *org)
            continue;
        *ret_oldest = e->at_ms;
        found++;
    }
    return found;
}

unsigned drain_rate_retry_after_s(const struct drain_rate *r, int64_t now_ms, const char *org, uint64_t places)
{
    int64_t oldest = now_ms;
    uint64_t key = org ? hash(org) : 0, ends = org ? measure(r, now_ms, &key, &oldest) : 0;
    if (ends == 0)
        ends = measure(r, now_ms, NULL, &oldest);
    if (ends == 0)
        return DRAIN_RATE_UNKNOWN_S;
    /* Between n ends lie n - 1 gaps, and the one that is open now. One end alone is no rate: as if nothing were known,
     * but for the time that has passed since. */
    double span_s = (double)(now_ms - oldest) / 1000;
    double gap_s = ends > 1 ? span_s / (double)(ends - 1) : span_s > DRAIN_RATE_UNKNOWN_S ? span_s : DRAIN_RATE_UNKNOWN_S;
    double wait_s = gap_s * (double)places;
    if (wait_s >= DRAIN_RATE_MAX_S)
        return DRAIN_RATE_MAX_S;
    unsigned whole = (unsigned)wait_s;
    whole += whole < wait_s;
    return whole < DRAIN_RATE_MIN_S ? DRAIN_RATE_MIN_S : whole;
}
