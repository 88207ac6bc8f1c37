/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A create, a restore and a recover of the fakes' domain, and what is on its disks: what the
 * stories of the engine are made of. All of them are of one snapshot, "one" in a repository or the
 * folder out/.
 */
#ifndef TESTS_SCENE_H
#define TESTS_SCENE_H

#include "fake.h"

extern struct create_params params; /* of create(): reset by scene_setup() */

/* Of a group: signals are caught, as by the program: a broken pipe is an error. Of each test: new
 * fakes. */
int scene_group_setup(void **state);
int scene_setup(void **state);
int scene_teardown(void **state);

#define SCENE(name) cmocka_unit_test_setup_teardown(name, scene_setup, scene_teardown)

int create(enum create_method method, struct error *e);
int restore(bool replace, struct error *e);
int restore_by(struct restore_params how, struct error *e); /* with `from` filled in */

/* How many domains had something to recover. */
size_t recover(struct error *e);
size_t recover_by(const struct recover_params *how, struct error *e);

/* From here on the snapshot is in a repository. */
void use_repository(void);

/* The promise of every error path. */
void assert_as_before(void);

/* Of a file in fake->dir: the blocks at 0 and 8192 written over; one byte of it. */
void fill(const char *name, char with);
char byte_at(const char *name, uint64_t offset);

#endif
