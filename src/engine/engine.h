/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The stories that domsnap tells: create, restore, recover, import, doctor. Each is one file that
 * reads from top to bottom, and one function here.
 */
#ifndef ENGINE_ENGINE_H
#define ENGINE_ENGINE_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"
#include "copy/progress.h"
#include "domain/driver.h"
#include "repo/manifest.h"
#include "volume/volume.h"

#define ENGINE_AT_ONCE 2

/* What the stories work with. The command line makes one of the real drivers, tests of fakes. */
struct engine {
    const struct domain_driver *domains;
    struct domain_host *host;                     /* opened by engine_connect */
    const struct volume_driver *const *volumes;   /* all that there are */
    const struct volume_driver *const *snapshots; /* those that are asked to take one, in this
                                                     order; NULL: all */
    const char *journal_dir;                      /* survives a reboot */
    const char *lock_dir;                         /* does not */
    unsigned at_once; /* so many snapshots are taken on this host (turn.h); 0: ENGINE_AT_ONCE */
    struct progress progress;
};

/* Wait for a turn to take a snapshot: a descriptor that holds it (turn.h). */
int engine_take_turn(const struct engine *engine, int *turn, struct error *e);

/* The absolute path of a folder or repository that is there, to free(). UNSUPPORTED: the journal
 * could not name it. */
int engine_resolve(const char *path, char **absolute, struct error *e);

/* Connect to the hypervisor, once. */
int engine_connect(struct engine *engine, struct error *e);
void engine_disconnect(struct engine *engine);

/* Of whatever state it is, once connected; domid 0: there is none. `id` keeps `name`. */
int engine_find_domain(const struct engine *engine, const char *name, struct domain_id *id,
                       struct error *e);

/* Whether no domain but `except` (0: none at all) has the volume as a disk; without a hypervisor
 * none has. BUSY names it. */
int engine_check_unused(const struct engine *engine, const struct volume *v, uint32_t except,
                        struct error *e);

/* A snapshot: in a folder, or (`folder` is NULL) in a repository. */
struct snapshot_ref {
    const char *folder;
    const char *repo, *domain, *name;
};

/* ---- create ---- */

enum create_method {
    CREATE_SNAPSHOT, /* the guest is paused for its RAM, or what it changes of it last, and one
                      * instant on its disks */
    CREATE_COLD      /* the guest is paused until its disks are copied: any kind of disk */
};

/* Where to: files in a folder, or (`folder` is NULL) a repository. */
struct create_target {
    const char *folder; /* made if it does not exist, in a folder that does */
    const char *repo;
    const char *name;          /* of the snapshot; NULL: the time */
    uint64_t bytes_per_second; /* of reading; 0: no limit */
};

/* What it cost, in a repository: store_stats of repo/store.h. */
struct create_stats {
    uint64_t put_bytes, known_bytes, stored_bytes;
};

struct create_params {
    const char *domain;
    struct create_target to;
    enum create_method method;
    bool disks_only; /* no RAM; with CREATE_SNAPSHOT the guest does not stop, only its requests wait
                      */
    uint32_t
        deadline_ms; /* how long the guest may be paused beyond what its RAM takes, before it is
                      * resumed and the snapshot dropped; 0: for ever. Not for CREATE_COLD. */
    uint32_t max_pause_ms; /* the snapshot is dropped rather than that the guest is paused for
                            * longer, in all; 0: no matter how long */
    bool go_on;            /* only warn of that */
    bool encrypt_stores;   /* of struct volume; not for CREATE_COLD */
};

/* Snapshot a running domain. `m` then describes it; release it. On failure all is undone, the guest
 * runs, and `m` holds nothing; NEEDS_RECOVER when undoing failed. */
int engine_create(struct engine *engine, const struct create_params *params, struct manifest *m,
                  struct create_stats *stats, struct error *e);

struct create_off_params {
    const char *config_file; /* of the domain, in xl's format */
    const char *domain;      /* its name, which must be that in the file; NULL: whichever */
    struct create_target to;
};

/* Snapshot the disks of a domain that does not run. With image files this needs neither root nor a
 * hypervisor, but on a hypervisor's host. BUSY: it runs. */
int engine_create_off(struct engine *engine, const struct create_off_params *params,
                      struct manifest *m, struct create_stats *stats, struct error *e);

/* ---- repository ---- */

int engine_init(const char *repo, uint32_t chunk_bytes, struct error *e); /* 0: the usual size */

/* Told of one snapshot, "DOMAIN@NAME"; `why` is NULL if it is good. Both are valid during the
 * call. */
typedef void (*snapshot_sink)(void *arg, const char *snapshot, const struct error *why);

/*
 * The snapshots of `domain`, or of all (NULL), by domain, the oldest first; release with
 * engine_list_release(), which is fine after a failure too. DAMAGED: `bad` was told of those whose
 * records can't be read, and the list has the others. NOT_FOUND: `domain` has none.
 */
int engine_list(const char *repo, const char *domain, snapshot_sink bad, void *arg,
                struct manifest **list, size_t *count, struct error *e);
void engine_list_release(struct manifest *list, size_t count);

/* What became of the space of snapshots that were deleted. */
struct delete_stats {
    bool collected; /* false: somebody uses the repository; the next collection frees it */
    uint64_t freed_bytes;
};

/* Forget snapshots, all of them or (one is not there, or is being restored) none, and free what no
 * snapshot needs. */
int engine_delete(struct engine *engine, const char *repo, const struct snapshot_ref *refs,
                  size_t count, struct delete_stats *stats, struct error *e);

/* Its record; release it. */
int engine_show(const struct snapshot_ref *ref, struct manifest *m, struct error *e);

/*
 * Read a snapshot, or all of a domain, or all, or so many percent of them (in a repository), and
 * hold every byte against its sum: DAMAGED. What they share is read once. All are looked at; the
 * first error is returned, and how many follow it. NOT_FOUND: the domain has no snapshots.
 */
int engine_verify(struct engine *engine, const struct snapshot_ref *ref, unsigned percent,
                  snapshot_sink sink, void *arg, struct error *e);

struct repository_stats {
    uint64_t packs, pack_bytes, snapshots;
};

/* Called for each pack or snapshot that is damaged; `what` and `why` are valid during the call. */
typedef void (*damage_sink)(void *arg, const char *what, const struct error *why);

/* See whether all is there that the snapshots name, without reading content: DAMAGED if not. */
int engine_check(struct engine *engine, const char *repo, bool rebuild_index, damage_sink sink,
                 void *arg, struct repository_stats *stats, struct error *e);

/* ---- restore ---- */

struct restore_params {
    struct snapshot_ref from;
    bool replace; /* a domain that runs under this name is destroyed first */
    bool paused;  /* it is left so */
    bool boot;    /* from its disks, though the snapshot has RAM */
    bool any_cpu; /* though its RAM is of another kind of processor */
    bool eject;   /* CD-ROM drives whose image is gone are left empty */
};

/* Bring a domain back; from a snapshot without RAM it boots, from one of when it did not run, only
 * its disks come back. Everything is checked before anything is touched. Once disks are being
 * overwritten there is no way back: a failure is then NEEDS_RECOVER, and recover goes on forward.
 */
int engine_restore(struct engine *engine, const struct restore_params *params, struct manifest *m,
                   struct error *e);

/* Whether it could be done on this host: all that engine_restore() finds out before it touches
 * anything, but for reading content. Its record in `*m`, to be released. */
int engine_check_restore(struct engine *engine, const struct restore_params *params,
                         struct manifest *m, struct error *e);

/* ---- import ---- */

struct import_disk {
    const char *vdev, *file;
};

struct import_params {
    const char *folder;
    const char *save_file;           /* in the folder; NULL: the only one whose name ends in .sav */
    const struct import_disk *disks; /* which image is which disk; else NAME.VDEV.img */
    size_t disk_count;
};

/* Write the manifest for files that were made by hand (xl save -p, dd). */
int engine_import(struct engine *engine, const struct import_params *params, struct manifest *m,
                  struct error *e);

/* ---- recover ---- */

/* What became of one interrupted run. */
struct recovery {
    char *domain;
    char *done;         /* in words */
    struct error error; /* status OK: settled */
};

/* What becomes of what was interrupted. */
enum recover_way {
    RECOVER_FINISH, /* it is finished, or undone */
    RECOVER_BOOT, /* the same, but the domain of a restore boots from its disks, without its RAM */
    RECOVER_ABANDON /* it is forgotten, however it is: for a person to go on from */
};

struct recover_params {
    const char *domain; /* NULL: all, and `way` is RECOVER_FINISH */
    enum recover_way way;
};

/* Settle every run that was interrupted. Runs that are alive are left alone. `*list`, of `*count`,
 * is to be released with recovery_release(). Fails if anything could not be settled. NOT_FOUND:
 * none of `domain` was interrupted. */
int engine_recover(struct engine *engine, const struct recover_params *params,
                   struct recovery **list, size_t *count, struct error *e);
void recovery_release(struct recovery *list, size_t count);

/* The domains, a JSON list of names, whose restore has begun and is not complete: their disks are
 * of no use until it is. Somebody is at work on it, or recover is needed. */
int engine_restoring(const struct engine *engine, json_t **domains, struct error *e);

/* ---- doctor ---- */

enum finding_level {
    FINDING_GOOD,
    FINDING_NOTE, /* works, with something to know */
    FINDING_BAD   /* create, or restore, would refuse */
};

/* Called once for each finding; `subject` and `text` are valid during the call. */
typedef void (*finding_sink)(void *arg, enum finding_level level, const char *subject,
                             const char *text);

/* Look at the host, and at a domain, or a snapshot that is to come back, and change nothing. `what`
 * names the one, or the other; or nothing. Fails if a finding was bad. */
int engine_doctor(struct engine *engine, const struct snapshot_ref *what, finding_sink sink,
                  void *arg, struct error *e);

#endif
