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
#include "repo/store.h"
#include "repo/view.h"
#include "shelf/shelf.h"
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

/* ---- create ---- */

enum create_method {
    CREATE_SNAPSHOT, /* the guest is paused for its RAM, or what it changes of it last, and one
                      * instant on its disks */
    CREATE_COLD      /* the guest is paused until its disks are copied: any kind of disk */
};

struct create_params {
    const char *domain;
    struct snapshot_target to;
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
 * runs, and `m` holds nothing; NEEDS_RECOVER when undoing failed. `stats`: of a repository. */
int engine_create(struct engine *engine, const struct create_params *params, struct manifest *m,
                  struct store_stats *stats, struct error *e);

struct create_off_params {
    const char *config_file; /* of the domain, in xl's format */
    const char *domain;      /* its name, which must be that in the file; NULL: whichever */
    struct snapshot_target to;
};

/* Snapshot the disks of a domain that does not run. With image files this needs neither root nor a
 * hypervisor, but on a hypervisor's host. BUSY: it runs. */
int engine_create_off(struct engine *engine, const struct create_off_params *params,
                      struct manifest *m, struct store_stats *stats, struct error *e);

/* ---- repository ---- */

int engine_init(const char *repo, uint32_t chunk_bytes, struct error *e); /* 0: the usual size */

/* The snapshots of a repository, as its log has them. */
struct snapshot_list {
    const struct view_snapshot *items; /* by domain, the oldest first */
    size_t count;
    struct repo *repo; /* whose they are */
};

/* The snapshots of `domain`, or of all (NULL). NOT_FOUND: `domain` has none. Release it, also after
 * a failure. */
int engine_list(const char *repo, const char *domain, struct snapshot_list *list, struct error *e);
void engine_list_release(struct snapshot_list *list);

/* Its record; release it. Of a repository, what is known of it beside its record in `*line`, unless
 * that is NULL: a JSON object, the caller's reference. */
int engine_show(const struct snapshot_ref *ref, struct manifest *m, json_t **line, struct error *e);

/* What became of space. */
struct gc_stats {
    uint64_t freed_bytes;
    uint64_t
        waiting_bytes; /* of no use any more, and kept until the runs have ended that may read it */
    uint64_t copied_bytes; /* what was needed of packs that were condemned */
};

/* Forget snapshots: all of them or (one is not there, or is being restored) none. Then free what no
 * snapshot needs; that it can't be is a failure, too, and the snapshots are forgotten all the same.
 */
int engine_delete(struct engine *engine, const char *repo, const struct snapshot_ref *refs,
                  size_t count, struct gc_stats *stats, struct error *e);

/* Free what no snapshot needs, and what runs that died have left. */
int engine_gc(struct engine *engine, const char *repo, struct gc_stats *stats, struct error *e);

/* Take what can still be read out of damaged packs. Look with engine_check() then. */
struct repair_counts {
    uint64_t packs, emptied_packs, salvaged_pieces, salvaged_bytes, lost_pieces;
};

int engine_repair(struct engine *engine, const char *repo, struct repair_counts *counts,
                  struct error *e);

/* What there is in a repository, and how much room it takes. */
struct repository_stats {
    uint64_t snapshots, domains;
    uint64_t image_bytes;  /* of all snapshots' images */
    uint64_t stored_bytes; /* of all packs */
    uint64_t packs, damaged_packs;
    uint64_t waiting_bytes; /* as of gc_stats */
    uint64_t log_entries;   /* since it was folded */
    uint64_t free_bytes;    /* UINT64_MAX: nobody knows */
    const char *id;
    uint32_t chunk_bytes;
    json_t *runs; /* that are at work: a list of {"command", "host", "pid", "reads"} */
};

/* `sink` is told of it, all of which is valid during the call. */
int engine_stats(const char *repo, void (*sink)(void *arg, const struct repository_stats *stats),
                 void *arg, struct error *e);

/* ---- check ---- */

struct check_params {
    struct snapshot_ref
        what;         /* a folder; or a repository, and of that all, a domain, or one snapshot */
    unsigned percent; /* of the content that is read; 0: none */
};

enum check_kind { CHECKED_GOOD, CHECKED_PACK, CHECKED_RECORD, CHECKED_SNAPSHOT };

/* Told of what was looked at: a snapshot that is good, or what is damaged, and why. Valid during
 * the call. */
typedef void (*checked_sink)(void *arg, enum check_kind kind, const char *name,
                             const struct error *why);

struct check_counts {
    uint64_t snapshots, packs, pack_bytes;
    uint64_t bad_packs, bad_records, bad_snapshots, bad_bytes, mended;
    uint64_t damaged_packs; /* in which something is damaged, whether it hurts a snapshot or not */
};

/*
 * Of a whole repository: see whether all is there that its snapshots need, and read so many percent
 * of it. Of snapshots that are named: read them. All are looked at; DAMAGED if something is, and it
 * is remembered so that writers store it anew. NOT_FOUND: the domain has no snapshots.
 */
int engine_check(struct engine *engine, const struct check_params *params, checked_sink sink,
                 void *arg, struct check_counts *counts, struct error *e);

/* ---- restore ---- */

struct restore_params {
    struct snapshot_ref from;
    bool replace;      /* a domain that runs under this name is destroyed first */
    bool paused;       /* it is left so */
    bool boot;         /* from its disks, though the snapshot has RAM */
    bool any_cpu;      /* though its RAM is of another kind of processor */
    bool eject;        /* CD-ROM drives whose image is gone are left empty */
    bool skip_damaged; /* from a repository: what is not to be had of the disks becomes zeros, and
                          is said; RAM must be whole */
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
