/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A repository as a whole: what it is (its config), what is in it (its log), and the run of this
 * process on it. docs/domsnap-repository.5 specifies all of it.
 *
 *     repo_open → (repo_begin) → … → repo_close
 *
 * Who only lists needs no run; who reads or writes packs does, so that nothing is removed under it.
 */
#ifndef REPO_REPO_H
#define REPO_REPO_H

#include "repo/log.h"

#define REPO_CHUNK_DEFAULT_BYTES (256u << 10)

struct repo;

/* Make a repository in a place that is empty or does not exist. `chunk_bytes`: a power of two from
 * CHUNK_MIN_BYTES to CHUNK_MAX_BYTES. */
int repo_init(const char *where, uint32_t chunk_bytes, struct error *e);

int repo_open(struct repo **r, const char *where, struct error *e);

/* The same on a backend: to make one, where nothing is; and to open it, when the backend is the
 * repository's, on failure too. */
int repo_init_on(struct backend *b, uint32_t chunk_bytes, struct error *e);
int repo_open_on(struct repo **r, struct backend *b, struct error *e);

/* Whether a backend's config is a repository's that we can use, whatever its log is like. */
int repo_check_config(struct backend *b, struct error *e);

/* Ends its run, too; that it could not is a warning. NULL is fine. */
void repo_close(struct repo *r);

const char *repo_id(const struct repo *r);
uint32_t repo_chunk_bytes(const struct repo *r);
struct backend *repo_backend(const struct repo *r);
struct log *repo_log(const struct repo *r);
const struct view *repo_view(const struct repo *r);

enum repo_use {
    REPO_READS, /* packs: what can't be written is read without a run, which is said as a note */
    REPO_WRITES
};

/* Begin this process's run, and end those of this host that are dead. `command` and `reads` as in
 * log.h. */
int repo_begin(struct repo *r, enum repo_use use, const char *command, const char *reads,
               struct error *e);

/* Once a day: say that the run is alive; to be called now and then by what takes long. CANCELLED:
 * somebody has ended it. */
int repo_sign(struct repo *r, struct error *e);

/* "": it has none. */
const char *repo_run(const struct repo *r);

/* What was put ended it. */
void repo_has_ended(struct repo *r);

/* Put a "damage" or a "mended" entry; `packs`, as log.h has it, is taken over. That it could not is
 * a warning: nothing depends on it. */
void repo_note(struct repo *r, const char *kind, json_t *packs);

#endif
