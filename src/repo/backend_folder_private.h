/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What the parts of the driver "folder" know of each other: the folder itself, reading, writing. */
#ifndef REPO_BACKEND_FOLDER_PRIVATE_H
#define REPO_BACKEND_FOLDER_PRIVATE_H

#include <pthread.h>

#include "repo/backend.h"

#define FOLDER_PACKS "packs"

/* Packs that are kept open: each is read in many parts. */
#define FOLDER_KEPT 64

struct local_opened;

struct folder {
    struct backend backend;
    char *path;
    int dirfd;
    pthread_mutex_t mutex; /* of all that follows */
    struct local_opened *kept[FOLDER_KEPT];
    size_t kept_count;
    uint64_t uses;     /* a clock, to tell who was used least recently */
    uint64_t removals; /* whatever was opened before the last of them is not kept */
};

/* ---- backend_folder.c ---- */

enum local_absent { FOLDER_ABSENT_FAILS, FOLDER_ABSENT_IS_MADE };

/* Open a folder of the repository, "packs" or "copy/log", without following a symbolic link. */
int local_walk(int dirfd, const char *path, enum local_absent absent, int *fd, struct error *e);

/* The same of the folder that the object `name` is in; `*last` is its name there. USAGE: no object
 * has such a name. */
int local_of(const struct folder *f, const char *name, enum local_absent absent, int *fd,
             const char **last, struct error *e);

/* ---- backend_folder_read.c ---- */

int local_get(struct backend *b, const char *name, uint64_t offset, void *to, size_t bytes,
              size_t *got, struct error *e);
void local_forget(struct folder *f, const char *name); /* it is removed */
void local_forget_all(struct folder *f);

/* ---- backend_folder_write.c ---- */

int local_create(struct backend *b, const char *run, uint64_t bytes, struct backend_object **o,
                 struct error *e);
int local_write(struct backend_object *o, const void *data, size_t bytes, uint64_t offset,
                struct error *e);
int local_publish(struct backend_object *o, const char *name, uint64_t bytes, const uint8_t sum[32],
                  struct error *e);
void local_discard(struct backend_object *o);
int local_clean(struct backend *b, bool (*is_live)(void *arg, const char *run), void *arg,
                uint64_t *bytes, struct error *e);
int local_temporary(struct backend *b, int *fd, uint64_t *free_bytes, struct error *e);

#endif
