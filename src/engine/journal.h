/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is about to exist because of us, durable before it exists. One entry a domain, JSON under a
 * seal (seal.h), in journal_dir/DOMAIN.json; its owner holds lock_dir/DOMAIN.lock (flock), so an
 * entry whose lock is free was left by a run that died.
 *
 *     { "version": 1, "operation": "create", "phase": …, "id": "3f9c01d2", "started": …,
 *       "domain": { "name", "uuid", "domid" },
 *       "suspends": true, "volumes": [records of drivers],
 *       "folder": "/data/x", "folder_made": true, "files": […] }    absent: into a repository
 *
 * Phases, in order; what each one owes if the run dies in it:
 *
 *     create   "prepared"   discard the volumes, abandon the files
 *              "saving"     the same, and release the domain
 *              "suspended"  the same, and resume the domain
 *              "let-go"     as prepared: the run has died, and its guardian has done the rest
 *              "running"    as prepared
 *              "publish"    past the commit point: discard the volumes, publish a folder's files
 *     restore  "aside"      put the volumes back under their names: nothing was touched
 *              "writing"    past the commit point: write the disks and start the domain
 *              "starting"   the same, unless the domain runs: the disks are its own then
 *              "started"    it is whole, and has been let run, or is to be: unpause the domain
 */
#ifndef ENGINE_JOURNAL_H
#define ENGINE_JOURNAL_H

#include <jansson.h>

#include "engine/engine.h"

enum operation { OPERATION_NONE, OPERATION_CREATE, OPERATION_RESTORE };

enum phase {
    PHASE_NONE,
    PHASE_PREPARED,
    PHASE_SAVING,
    PHASE_SUSPENDED,
    PHASE_LET_GO,
    PHASE_RUNNING,
    PHASE_PUBLISH,
    PHASE_ASIDE,
    PHASE_WRITING,
    PHASE_STARTING,
    PHASE_STARTED
};

struct journal {
    int dirfd, lock;
    const char *dir; /* the engine's */
    char *file;      /* "linux01.json" */
    json_t *entry;   /* as it stands on the disk */
};

#define JOURNAL_NONE ((struct journal){.dirfd = -1, .lock = -1})

/*
 * Take the domain's lock (lock.h). BUSY: another domsnap works on it. NEEDS_RECOVER: there is an
 * entry of a run that died, unless its operation is `supersedes`, which is for the caller to go on
 * from (OPERATION_NONE: none).
 */
int journal_open(struct journal *j, const struct engine *engine, const char *domain,
                 enum operation supersedes, struct error *e);

/* What is on the disk, into j->entry: for another process that shares the lock. */
int journal_read(struct journal *j, struct error *e);

/* Write `entry` (a reference is taken) of this operation, then each phase, before what they
 * announce is done. */
int journal_write(struct journal *j, enum operation operation, enum phase phase, json_t *entry,
                  struct error *e);
int journal_phase(struct journal *j, enum phase phase, struct error *e);

/* What an entry says (NULL: there is none); NONE: nothing that is known. */
enum operation journal_operation_of(const json_t *entry);
enum phase journal_phase_of(const json_t *entry);

/* Everything is settled: remove the entry. NEEDS_RECOVER: it may still be there. */
int journal_close(struct journal *j, struct error *e);

/* Give the lock back and free; an entry that was not closed stays, for recover. May follow any of
 * the above. */
void journal_release(struct journal *j);

/* The domains that have entries, a JSON list of names, the caller's. An absent folder is an empty
 * list. */
int journal_list(const struct engine *engine, json_t **names, struct error *e);

/* A domain's entry, the caller's, without its lock: to look at, not to act on. */
int journal_peek(const struct engine *engine, const char *domain, json_t **entry, struct error *e);

/* Take over the entry of a run that died. BUSY: it is alive, or what it had begun is. NOT_FOUND: it
 * is gone by now. */
int journal_adopt(struct journal *j, const struct engine *engine, const char *domain,
                  struct error *e);

#endif
