/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What all targets share. A target is one function, as libFuzzer has it; linked with replay.c
 * instead it runs over files that were found before.
 */
#ifndef FUZZ_FUZZ_H
#define FUZZ_FUZZ_H

#include <stddef.h>
#include <stdint.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* A file in memory with this content, at its start; to close(). */
int fuzz_file(const uint8_t *data, size_t size);

/* An empty folder in memory, the same for the whole run, removed at its end. */
const char *fuzz_folder(void);

/* Write a file in there. */
void fuzz_write(const char *name, const uint8_t *data, size_t size);

#endif
