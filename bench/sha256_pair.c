/* What the hashes of a file and its parts cost: CPU seconds per GB over blocks that are warm; and with them the copy of
 * the blocks to where it is cold, as into a worker's part buffers.
 *
 *     build/bench/sha256_pair [BLOCK_KIB]
 *
 * The block, 256 KiB unless said otherwise, is hashed over and over. Medians of ROUNDS interleaved rounds. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/sha256_pair.h"

#define BYTES ((size_t)256 << 20) /* a round */
#define ROUNDS 9
#define WAYS 8
#define COLD ((size_t)64 << 20)

/* The lowest bit: parts too; the next: a pair of our own; the next: copies. */
static const char *const names[WAYS] = {"OpenSSL, file", "OpenSSL, file and parts", "pair, file", "pair, file and parts",
                                        "OpenSSL and memcpy, file", "OpenSSL and memcpy, file and parts",
                                        "pair that copies, file", "pair that copies, file and parts"};

static double cpu_s(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double measure(int way, const char *block, size_t size)
{
    static char cold[COLD];
    uint8_t digest[SHA256_BYTES];
    sha256_pair_use_openssl(!(way & 2));
    struct sha256_pair *p = sha256_pair_new(way % 2);
    if (!p)
        exit(1);
    if (way % 2) /* the first part costs nothing */
        sha256_pair_cut(p, digest);
    double begun = cpu_s();
    for (size_t done = 0; done < BYTES; done += size)
        if (way & 4)
            sha256_pair_copy(p, cold + done % COLD, block, size);
        else
            sha256_pair_update(p, block, size);
    double took = cpu_s() - begun;
    sha256_pair_final(p, digest);
    sha256_pair_free(p);
    return took / BYTES * 1e9;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

int main(int argc, char **argv)
{
    size_t size = (argc > 1 ? strtoul(argv[1], NULL, 10) : 256) << 10;
    char *block = malloc(size);
    double results[WAYS][ROUNDS];
    if (!block || size == 0 || COLD % size > 0)
        return 1;
    memset(block, 'x', size);
    for (int round = 0; round < ROUNDS; round++)
        for (int way = 0; way < WAYS; way++)
            results[way][round] = measure(way, block, size);
    for (int way = 0; way < WAYS; way++) {
        qsort(results[way], ROUNDS, sizeof(double), compare);
        printf("%-36s %.3f s/GB (%.3f to %.3f)\n", names[way], results[way][ROUNDS / 2], results[way][0], results[way][ROUNDS - 1]);
    }
    printf("SHA instructions: %s\n", sha256_pair_is_native() ? "yes" : "no");
    free(block);
    return 0;
}
