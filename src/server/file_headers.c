#include "server/file_headers.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#define ID_LENGTH 36 /* a download's id, a UUID */

static const char *last_segment(const char *key)
{
    const char *slash = strrchr(key, '/');
    return slash ? slash + 1 : key;
}

void file_disposition(const char *key, char out[FILE_DISPOSITION_SIZE])
{
    const char *name = last_segment(key);
    size_t stem = strcspn(name, "."); /* no id has a dot; ".csv.gz" is two */
    const char *end = name + stem;
    if (stem > ID_LENGTH)
        stem = ID_LENGTH;
    snprintf(out, FILE_DISPOSITION_SIZE, "attachment; filename=\"%.*s%s\"", (int)stem, name, end);
}

void file_etag(uint64_t size, int64_t mtime_us, uint64_t inode, char out[FILE_ETAG_SIZE])
{
    snprintf(out, FILE_ETAG_SIZE, "\"%" PRIx64 "-%" PRIx64 "-%" PRIx64 "\"", size, (uint64_t)mtime_us, inode);
}

/* Not strftime(), whose names depend on the locale. */
void http_date_format(int64_t seconds, char out[HTTP_DATE_SIZE])
{
    static const char days[][4] = {"Sun", "Mon", "Tue", "Wed", "Thu", "Fri", "Sat"};
    static const char months[][4] = {"Jan", "Feb", "Mar", "Apr", "May", "Jun",
                                     "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"};
    time_t t = (time_t)seconds;
    struct tm tm;
    gmtime_r(&t, &tm);
    snprintf(out, HTTP_DATE_SIZE, "%s, %02d %s %04d %02d:%02d:%02d GMT", days[tm.tm_wday], tm.tm_mday,
             months[tm.tm_mon], tm.tm_year + 1900, tm.tm_hour, tm.tm_min, tm.tm_sec);
}

bool etag_is_listed(const char *header, const char *etag)
{
    size_t length = strlen(etag);
    const char *c = header + strspn(header, " \t");
    if (*c == '*')
        return true;
    while (*c) {
        c += strspn(c, " \t,");
        if (c[0] == 'W' && c[1] == '/')
            c += 2;
        if (*c != '"')
            return false;
        const char *end = strchr(c + 1, '"');
        if (!end)
            return false;
        if ((size_t)(end + 1 - c) == length && memcmp(c, etag, length) == 0)
            return true;
        c = end + 1;
    }
    return false;
}

bool if_range_holds(const char *header, const char *etag, const char *last_modified)
{
    return !header || strcmp(header, etag) == 0 || strcmp(header, last_modified) == 0;
}
