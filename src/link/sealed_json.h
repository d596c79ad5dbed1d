/* A JSON object in a sealed memory file: how server and worker hand over what is too long, or too secret, for a message. */
#ifndef LINK_SEALED_JSON_H
#define LINK_SEALED_JSON_H

#include <jansson.h>
#include <stddef.h>

#include "base/error.h"

/* Writes `object` (released here, also on failure) into a new memory file that nobody can change. -1: `e` says why. The
 * descriptor is the caller's. `pack_error` explains an `object` that is NULL. */
int sealed_json_write(const char *name, json_t *object, const json_error_t *pack_error, struct error *e);

/* Reads one of at most `max` bytes. `fd` stays the caller's. NULL: `e` says why. */
json_t *sealed_json_read(int fd, size_t max, struct error *e);

#endif
