/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A repository of chunks of CHUNK bytes in a temporary folder, new for each test, and what fills it.
 */
#ifndef TESTS_SHELF_H
#define TESTS_SHELF_H

#include <stddef.h>
#include <stdint.h>

#include "repo/store.h"

#define CHUNK (64u << 10)

extern char shelf_dir[]; /* the folder, for other files too */
extern char shelf_repo[];

int shelf_setup(void **state);
int shelf_teardown(void **state);

#define SHELF(name) cmocka_unit_test_setup_teardown(name, shelf_setup, shelf_teardown)

/* The repository and one worker: end() saves what it has put, forget() does not. */
struct hands {
    struct store *store;
    struct store_worker *worker;
};

struct hands begin(void);
void end(struct hands *h);
void forget(struct hands *h);

/* Text that compresses, another for each seed; and what does not, out of random(). */
void fill(uint8_t *to, size_t bytes, unsigned seed);
void fill_random(uint8_t *to, size_t bytes);

/* Of a folder of the repository, "packs". The path, valid until the next call, of the one file in it. */
unsigned count_files(const char *sub, const char *suffix);
const char *only_file(const char *sub);

void remove_tree(const char *path);

#endif
