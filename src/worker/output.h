/* The way of a file's bytes into the part buffers, with back pressure.
 *
 * The job thread fills one buffer after the other; a full one is announced by the `send` function, and belongs to
 * the server until output_free_buffer() gives it back. With no buffer free the job thread waits: that is what
 * slows the engine to the pace of the upload. Every part but the last is full.
 *
 * The job thread calls everything but output_free_buffer(), output_grow() and output_cancel(), which are the
 * control thread's. */
#ifndef WORKER_OUTPUT_H
#define WORKER_OUTPUT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/digest.h"
#include "base/error.h"
#include "base/secret_scan.h"
#include "link/parts.h"

/* Announces `length` bytes in part buffer `index`. `sha256` is of these bytes, NULL unless hash_parts was
 * asked for. Called on the job thread, in the order of the file. */
typedef bool (*output_send_fn)(void *context, uint32_t index, size_t length, const uint8_t *sha256, struct error *e);

struct output;

/* All buffers of `parts`, which must outlive the output, are free at first. NULL: out of memory. */
struct output *output_new(struct parts *parts, bool hash_parts, output_send_fn send, void *context, struct error *e);
void output_free(struct output *o);

/* From now on a part in which the secret ends is not announced: the write that hands it over, or the end, fails
 * with ERROR_SECRET. What came before may be with the server already, a beginning of the secret among it; but a
 * file is visible only as a whole, and this one never becomes whole. `secrets` must outlive the output. */
void output_watch(struct output *o, const struct secret_patterns *secrets);

/* For bytes that are written in another form, compressed: as they are they never pass by. ERROR_SECRET at once where the
 * secret ends in them. */
MUST_CHECK bool output_scan(struct output *o, const void *data, size_t length, struct error *e);

/* Appends bytes, and hashes them on the way: they are still in the processor's cache. Fails with ERROR_CANCELLED
 * after output_cancel(), or with the error of `send`. */
MUST_CHECK bool output_write(struct output *o, const void *data, size_t length, struct error *e);

/* Announces the last, partly filled buffer. Nothing may be written after it. */
MUST_CHECK bool output_finish(struct output *o, uint8_t ret_digest[SHA256_BYTES], struct error *e);

/* Bytes written so far. */
uint64_t output_bytes(const struct output *o);

/* Control thread: the server is done with buffer `index`. false: it did not have it. */
MUST_CHECK bool output_free_buffer(struct output *o, uint32_t index);

/* Control thread: from now on these buffers are filled, numbered behind the first; the one that is being filled is
 * filled to its end. They must outlive the output. false: there are such buffers already, or they are too many. */
MUST_CHECK bool output_grow(struct output *o, struct parts *grown);

/* Control thread: the job thread's next need of a buffer fails, and so does one that waits already. */
void output_cancel(struct output *o);

#endif
