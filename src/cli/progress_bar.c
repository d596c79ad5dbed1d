#include "cli/progress_bar.h"

#include <stdio.h>
#include <string.h>

#define STATE_COLUMNS 32 /* the longest of the server's usual states; narrow lines give it a third */
#define BAR_MAX 40
#define BAR_MIN 8

/* The character at `s` and its length in bytes; 0 for what is not UTF-8 (RFC 3629), then of length 1. */
static unsigned long decode(const unsigned char *s, size_t *ret_len)
{
    static const struct {
        unsigned char mask, lead;
        unsigned long least;
    } forms[] = {{0x80, 0x00, 1}, {0xE0, 0xC0, 0x80}, {0xF0, 0xE0, 0x800}, {0xF8, 0xF0, 0x10000}};
    *ret_len = 1;
    for (size_t extra = 0; extra < ARRAY_SIZE(forms); extra++) {
        if ((s[0] & forms[extra].mask) != forms[extra].lead)
            continue;
        unsigned long c = s[0] & (unsigned char)~forms[extra].mask;
        for (size_t i = 1; i <= extra; i++) {
            if ((s[i] & 0xC0) != 0x80)
                return 0;
            c = c << 6 | (s[i] & 0x3F);
        }
        if (c < forms[extra].least || (c >= 0xD800 && c < 0xE000) || c > 0x10FFFF)
            return 0;
        *ret_len = extra + 1;
        return c;
    }
    return 0;
}

/* Controls, and the marks that turn the direction of writing, with which a text can pose as another. */
static bool is_unsafe(unsigned long c)
{
    return c < 0x20 || (c >= 0x7F && c < 0xA0) || (c >= 0x200E && c <= 0x200F) ||
           (c >= 0x2028 && c <= 0x202E) || (c >= 0x2066 && c <= 0x2069);
}

unsigned append_safe_text(struct buf *out, const char *text, bool utf8, bool lines, unsigned columns)
{
    unsigned taken = 0;
    for (const unsigned char *s = (const unsigned char *)text; *s;) {
        size_t len;
        unsigned long c = decode(s, &len);
        unsigned width = c > 0x10FF && utf8 ? 2 : 1;
        if (width > columns - taken)
            break;
        taken += width;
        if (c == '\n' || c == '\t')
            buf_append(out, lines ? (const char *)s : " ", 1);
        else if (is_unsafe(c) || (c > 0x7F && !utf8))
            buf_append(out, "?", 1);
        else
            buf_append(out, s, len);
        s += len;
    }
    return taken;
}

void format_bytes(struct buf *out, double bytes)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB"};
    size_t unit = 0;
    while (bytes >= 999.5 && unit + 1 < ARRAY_SIZE(units)) {
        bytes /= 1000;
        unit++;
    }
    int decimals = unit == 0 || bytes >= 99.95 ? 0 : bytes >= 9.995 ? 1 : 2;
    buf_printf(out, "%.*f %s", decimals, bytes, units[unit]);
}

void format_elapsed(struct buf *out, int64_t ms)
{
    long long s = ms / 1000;
    if (s >= 3600)
        buf_printf(out, "%lld:%02lld:%02lld", s / 3600, s / 60 % 60, s % 60);
    else
        buf_printf(out, "%lld:%02lld", s / 60, s % 60);
}

void format_count(struct buf *out, int64_t count)
{
    char digits[24];
    int len = snprintf(digits, sizeof digits, "%lld", (long long)count);
    for (int i = 0; i < len; i++) {
        buf_append(out, digits + i, 1);
        if ((len - i) % 3 == 1 && i + 1 < len)
            buf_append(out, ",", 1);
    }
}

/* The parts behind the bar, in the order of the line. */
enum part { PART_PERCENT, PART_ROWS, PART_BYTES, PART_RATE, PART_ELAPSED, PART_COUNT };

/* Their least columns, so that the bar does not twitch with every number. */
static const int part_columns[PART_COUNT] = {5, 0, 7, 9, 4};

/* Those that go first when the line is too narrow. */
static const enum part least_important_first[] = {PART_RATE, PART_ROWS, PART_BYTES, PART_ELAPSED,
                                                  PART_PERCENT};

static void append_part(struct buf *out, enum part part, const struct progress *p)
{
    switch (part) {
    case PART_PERCENT:
        if (p->percent >= 0)
            buf_printf(out, "%d %%", (int)p->percent);
        break;
    case PART_ROWS:
        if (p->rows >= 0) {
            format_count(out, p->rows);
            buf_append_text(out, " rows");
        }
        break;
    case PART_BYTES:
        if (p->bytes >= 0)
            format_bytes(out, (double)p->bytes);
        break;
    case PART_RATE:
        if (p->rate > 0) {
            format_bytes(out, p->rate);
            buf_append_text(out, "/s");
        }
        break;
    case PART_ELAPSED:
        format_elapsed(out, p->elapsed_ms);
        break;
    case PART_COUNT:
        break;
    }
}

/* `columns` wide; eighths of a block in UTF-8. Where the percentage is unknown a block wanders to and fro. */
static void append_bar(struct buf *out, const struct progress_style *style, const struct progress *p,
                       unsigned columns)
{
    static const char *const eighths[] = {" ", "▏", "▎", "▍", "▌", "▋", "▊", "▉"};
    unsigned from = 0, eighth = 0;
    if (p->percent >= 0) {
        double share = p->percent > 100 ? 1 : p->percent / 100;
        eighth = (unsigned)(share * columns * 8);
    } else {
        unsigned way = columns - 3;
        unsigned step = (unsigned)(p->elapsed_ms / 150 % (2 * way));
        from = step < way ? step : 2 * way - step;
        eighth = (from + 3) * 8;
    }
    buf_append_text(out, style->colour ? "[\033[36m" : "[");
    for (unsigned i = 0; i < columns; i++) {
        unsigned filled = i < from || eighth <= i * 8 ? 0 : eighth - i * 8;
        if (filled >= 8)
            buf_append_text(out, style->utf8 ? "█" : "#");
        else
            buf_append_text(out, style->utf8 ? eighths[filled] : " ");
    }
    buf_append_text(out, style->colour ? "\033[0m]" : "]");
}

void progress_bar_render(struct buf *out, const struct progress_style *style, const struct progress *p)
{
    unsigned room = style->columns > 1 ? style->columns - 1 : 0;
    char text[PART_COUNT][48] = {""};
    unsigned width = 0; /* of all parts, two spaces before each */
    for (int part = 0; part < PART_COUNT; part++) {
        _cleanup_buf_ struct buf b;
        buf_init(&b, sizeof text[0] - 1);
        append_part(&b, part, p);
        if (b.len && buf_ok(&b))
            snprintf(text[part], sizeof text[part], "%*s", part_columns[part], b.data);
        if (text[part][0])
            width += 2 + (unsigned)strlen(text[part]);
    }
    unsigned state = room / 3 < STATE_COLUMNS ? room / 3 : STATE_COLUMNS;
    for (size_t i = 0; i < ARRAY_SIZE(least_important_first); i++) {
        char *part = text[least_important_first[i]];
        unsigned bar_least = least_important_first[i] == PART_PERCENT ? 0 : BAR_MIN + 3;
        if (!part[0] || width + bar_least <= room - state)
            continue;
        width -= 2 + (unsigned)strlen(part);
        part[0] = '\0';
    }
    unsigned bar = room - state - width; /* with its brackets, and a space before them */
    if (bar > BAR_MAX + 3)
        bar = BAR_MAX + 3;
    unsigned taken = append_safe_text(out, p->state, style->utf8, false, state);
    if (bar >= BAR_MIN + 3) {
        buf_printf(out, "%*s", (int)(state - taken + 1), "");
        append_bar(out, style, p, bar - 3);
    }
    for (int part = 0; part < PART_COUNT; part++)
        if (text[part][0])
            buf_printf(out, "  %s", text[part]);
}

void progress_line_render(struct buf *out, const struct progress *p)
{
    for (int part = 0; part < PART_COUNT; part++) {
        _cleanup_buf_ struct buf b;
        buf_init(&b, 64);
        append_part(&b, part, p);
        if (b.len)
            buf_printf(out, "%s%s", out->len ? ", " : "", b.data);
    }
}
