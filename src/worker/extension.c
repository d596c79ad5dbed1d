#include "worker/extension.h"

#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"

#define FILE_NAME "motherduck.duckdb_extension"
#define FIELD 32
#define MAGIC_AT (7 * FIELD)
#define PLATFORM_AT (6 * FIELD)
#define ENGINE_VERSION_AT (5 * FIELD)
#define EXTENSION_VERSION_AT (4 * FIELD)
#define LINKS_MAX 64

static void take_field(const uint8_t *from, char ret[FIELD + 1])
{
    for (size_t i = 0; i < FIELD; i++)
        ret[i] = (char)(from[i] == 0 || isprint(from[i]) ? from[i] : '?');
    ret[FIELD] = '\0';
}

bool extension_parse_footer(const uint8_t data[EXTENSION_FOOTER], struct extension_footer *ret)
{
    static const uint8_t magic[FIELD] = {'4'};
    if (memcmp(data + MAGIC_AT, magic, FIELD) != 0)
        return false;
    take_field(data + ENGINE_VERSION_AT, ret->engine_version);
    take_field(data + PLATFORM_AT, ret->platform);
    take_field(data + EXTENSION_VERSION_AT, ret->extension_version);
    return true;
}

static bool make_directory(const char *path, uint32_t uid, uint32_t gid, struct error *e)
{
    if (mkdir(path, 0700) < 0 || (uid != 0 && uid != geteuid() && chown(path, uid, gid) < 0))
        return error_set_errno(e, ERROR_INTERNAL, errno, "cannot prepare the job's directory");
    return true;
}

/* The real extension fetches its client as `motherduck_impl.<version>.duckdb_extension` beside itself, unless its
 * environment names the version of one that is there. */
static void use_client(const char *file)
{
    static const char prefix[] = "motherduck_impl.", suffix[] = ".duckdb_extension";
    size_t length = strlen(file), ends = sizeof prefix + sizeof suffix - 2;
    if (length <= ends || strncmp(file, prefix, sizeof prefix - 1) != 0 ||
        strcmp(file + length - (sizeof suffix - 1), suffix) != 0)
        return;
    _cleanup_free_ char *version = strndup(file + sizeof prefix - 1, length - ends);
    if (version)
        setenv("MOTHERDUCK_EXT_VERSION", version, 1);
}

bool extension_link(const char *directory, const char *version, const char *platform, uint32_t uid, uint32_t gid,
                    struct error *e)
{
    _cleanup_free_ char *from = NULL, *outer = NULL, *inner = NULL;
    if (asprintf(&from, "%s/%s/%s", directory, version, platform) < 0 ||
        asprintf(&outer, "extensions/%s", version) < 0 || asprintf(&inner, "extensions/%s/%s", version, platform) < 0)
        return error_set(e, ERROR_MEMORY, "out of memory");
    if (!make_directory("extensions", uid, gid, e) || !make_directory(outer, uid, gid, e) ||
        !make_directory(inner, uid, gid, e))
        return false;
    _cleanup_closedir_ DIR *files = opendir(from);
    struct dirent *entry;
    for (int count = 0; files && count < LINKS_MAX && (entry = readdir(files));) {
        if (entry->d_name[0] == '.')
            continue;
        _cleanup_free_ char *target = NULL, *name = NULL;
        if (asprintf(&target, "%s/%s", from, entry->d_name) < 0 || asprintf(&name, "%s/%s", inner, entry->d_name) < 0)
            return error_set(e, ERROR_MEMORY, "out of memory");
        if (symlink(target, name) < 0)
            return error_set_errno(e, ERROR_INTERNAL, errno, "cannot prepare the job's directory");
        use_client(entry->d_name);
        count++;
    }
    return true;
}

/* Names of the directories of other engines, for the error. */
static void list_versions(const char *directory, struct buf *ret)
{
    _cleanup_closedir_ DIR *d = opendir(directory);
    struct dirent *entry;
    buf_init(ret, 256);
    while (d && (entry = readdir(d)))
        if (entry->d_name[0] == 'v' && isdigit((unsigned char)entry->d_name[1]) && strlen(entry->d_name) < 24)
            buf_printf(ret, "%s%s", ret->len ? ", " : "", entry->d_name);
}

static bool fail_absent(const char *directory, const char *version, const char *platform, struct error *e)
{
    _cleanup_buf_ struct buf others;
    list_versions(directory, &others);
    return error_set(e, ERROR_SOURCE,
                     "MotherDuck's extension for DuckDB %s (%s) is not installed%s%s%s: run "
                     "tools/fetch-motherduck, or put it where GOPIE_DS_DUCKDB_EXTENSION_DIR says, as %s/%s/" FILE_NAME,
                     version, platform, others.len ? " (there is one for " : "", others.len ? others.data : "",
                     others.len ? ")" : "", version, platform);
}

bool extension_check(const char *directory, const char *version, const char *platform, struct error *e)
{
    _cleanup_free_ char *path = NULL;
    if (asprintf(&path, "%s/%s/%s/" FILE_NAME, directory, version, platform) < 0)
        return error_set(e, ERROR_MEMORY, "out of memory");
    _cleanup_close_ int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;
    if (fd < 0 && errno == ENOENT)
        return fail_absent(directory, version, platform, e);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_set_errno(e, ERROR_SOURCE, errno,
                               "MotherDuck's extension cannot be read by the workers' user (GOPIE_DS_WORKER_USER)");
    uint8_t data[EXTENSION_FOOTER];
    struct extension_footer footer;
    if (!S_ISREG(st.st_mode) || st.st_size < EXTENSION_FOOTER ||
        pread(fd, data, sizeof data, st.st_size - EXTENSION_FOOTER) != EXTENSION_FOOTER ||
        !extension_parse_footer(data, &footer))
        return error_set(e, ERROR_SOURCE, "MotherDuck's extension is damaged: " FILE_NAME
                                          " is no extension of DuckDB; install it again");
    if (strcmp(footer.engine_version, version) != 0 || strcmp(footer.platform, platform) != 0)
        return error_set(e, ERROR_SOURCE,
                         "MotherDuck's extension is for DuckDB %s (%s), this is DuckDB %s (%s): install the one "
                         "for this version",
                         footer.engine_version, footer.platform, version, platform);
    return true;
}
