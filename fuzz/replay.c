/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* replay NAME FILE...: run a target over files, without libFuzzer. That it comes to its end is the
 * test. */
#include <stdio.h>
#include <stdlib.h>

#include "fuzz.h"

#define INPUT_MAX_BYTES (1u << 20)

int main(int argc, char **argv)
{
    uint8_t *data = malloc(INPUT_MAX_BYTES);

    for (int i = 2; data && i < argc; i++) {
        FILE *file = fopen(argv[i], "rb");

        if (!file) {
            printf("not ok - %s: can't be opened\n", argv[i]);
            return 1;
        }
        LLVMFuzzerTestOneInput(data, fread(data, 1, INPUT_MAX_BYTES, file));
        fclose(file);
    }
    printf("ok - fuzz/%s: %d inputs of before\n", argc > 1 ? argv[1] : "?", argc - 2);
    free(data);
    return 0;
}
