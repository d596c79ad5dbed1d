/* Runs a fuzz target over the files given. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

#define INPUT_MAX (1 << 20)

int main(int argc, char **argv)
{
    uint8_t *data = malloc(INPUT_MAX);
    for (int i = 1; data && i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");
        if (!file) {
            perror(argv[i]);
            free(data);
            return 1;
        }
        size_t length = fread(data, 1, INPUT_MAX, file);
        fclose(file);
        LLVMFuzzerTestOneInput(data, length);
    }
    free(data);
    printf("%d inputs\n", argc - 1);
    return data && argc > 1 ? 0 : 1;
}
