/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A repository of chunks of CHUNK bytes, new for each test, and what fills it: in a temporary
 * folder, or (stock_fake) in memory behind a backend that fails. The cache is in the folder, too;
 * of what is in memory there is none.
 */
#ifndef TESTS_STOCK_H
#define TESTS_STOCK_H

#include <stddef.h>
#include <stdint.h>

#include "backend_fake.h"
#include "random.h"
#include "repo/manifest.h"
#include "repo/store.h"

#define CHUNK (64u << 10)

extern char stock_dir[]; /* the folder, for other files too */
extern char stock_repo[];
extern struct fake_store *stock_fake; /* NULL: the repository is in the folder */

int stock_setup(void **state);
int stock_setup_fake(void **state);
int stock_teardown(void **state);

#define STOCK(name)      cmocka_unit_test_setup_teardown(name, stock_setup, stock_teardown)
#define STOCK_FAKE(name) cmocka_unit_test_setup_teardown(name, stock_setup_fake, stock_teardown)

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) != OK)                                                                          \
            fail_msg("%s: %s", #call, e.text);                                                     \
    } while (0)

/* A run on the repository, and one worker. */
struct hands {
    struct repo *repo;
    struct store *store;
    struct store_worker *worker;
};

struct hands begin(void);
/* By a handle of the fake's. */
struct hands begin_on(struct backend *b);
int try_begin_on(struct hands *h, struct backend *b, struct error *e);

/* What was put is named, though by no snapshot; or it is not. Both end the run. */
void end(struct hands *h);
void forget(struct hands *h);

/* The repository, open, without a run; to be closed. */
struct repo *open_repo(void);

/* An image of one leaf at most. */
struct picture {
    struct chunk_id root, chunks[LIST_IDS];
    uint32_t bytes;
};

/* `before` is what it was, or NULL. */
struct picture put_picture(struct hands *h, const uint8_t *from, uint32_t bytes,
                           const struct picture *before);
int try_put_picture(struct hands *h, struct picture *p, const uint8_t *from, uint32_t bytes,
                    const struct picture *before, struct error *e);

/* The record of a snapshot of one disk; it holds nothing, and is valid until the next call. */
const struct manifest *record_of(const char *domain, const char *name, const struct picture *p);

/* Make it a snapshot: ends the run. */
void commit(struct hands *h, const char *domain, const char *name, const struct picture *p);

/* The same of what somebody else has put. */
void record(const char *domain, const char *name, const struct picture *p);

void delete (const char *domain, const char *name);

/* Whether it can be read, and is right. */
int read_picture(const struct picture *p, const uint8_t *is, struct error *e);
void assert_there(const struct picture *p, const uint8_t *is);

/* All packs that the log names, to free(); what is said of damage is not valid. */
size_t named_packs(struct view_pack **packs);
unsigned known_damage(void); /* how many places, a whole pack being one */

/* Text that compresses, another for each seed. */
void fill(uint8_t *to, size_t bytes, unsigned seed);

/* Of a folder of the repository, "packs". */
unsigned count_files(const char *sub);

/* The path, valid until the fourth call after, of a named pack of that kind: the `n`-th of them.
 * Fails if there is none. */
const char *pack_path(enum pack_kind kind, unsigned n);
void flip(const char *path, uint64_t at);
uint64_t bytes_of(const char *path);

void drop_cache(void);

void remove_tree(const char *path);

#endif
