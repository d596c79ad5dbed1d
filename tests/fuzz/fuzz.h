/* A fuzz target: looks at one input, any bytes. With -Dfuzzers=true (clang) libFuzzer calls it; else replay.c does, with
 * each file that is given, so that what is kept in corpus/ is a test. */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t length);

#endif
