/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest's disk as dom0 sees it, and the ways to fix an instant on it.
 *
 * A volume that can be snapshotted goes through
 *
 *     open → plan → (the engine journals v->record) → prepare → lock → hold → commit → (unlock)
 *          → open_image → watch … → discard → close
 *
 * plan only decides. prepare makes what the snapshot needs and does all that can wait or fail. The
 * instant is between hold, of all a guest's volumes, and the first commit. discard and lift need
 * nothing but the journalled record, so that another process can do them.
 */
#ifndef VOLUME_VOLUME_H
#define VOLUME_VOLUME_H

#include <jansson.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"

struct volume_driver;

struct volume {
    const struct volume_driver *driver;
    char *path; /* as in the domain's configuration */
    char *name; /* for messages: "xenvols/linux01", or the path; volume_open() takes it, too */
    uint64_t size_bytes;
    uint64_t copy_bytes; /* at most what a sparse copy of it takes */
    char *group;         /* what `lock` locks: the same of all that share it; NULL: nothing */
    bool encrypt_store;  /* what its snapshot keeps apart is written under a key that is forgotten
                            after: set between open and can_snapshot */
    json_t *record;      /* what discard needs: set by plan, else NULL */
};

struct volume_driver {
    const char *name;   /* stands in journals and manifests */
    const char *method; /* to a person: by what an instant of such a volume is taken */

    /* UNSUPPORTED: a volume of another kind. Allocates `*v`, for close. */
    int (*open)(const char *path, struct volume **v, struct error *e);
    void (*close)(struct volume *v);

    /* Whether this volume can be snapshotted: UNSUPPORTED, or BUSY if that passes,
     * says why not, and what to do instead. */
    int (*can_snapshot)(const struct volume *v, struct error *e);

    /* Decide names and sizes of what `id` (letters and digits) will make for all these volumes,
     * which are copied at the same time, and set their records. NO_SPACE: they can't fit. */
    int (*plan)(struct volume *const vs[], size_t count, const char *id, struct error *e);
    int (*prepare)(struct volume *const vs[], size_t count, struct error *e);

    /* Keep the programs that manage such volumes from changing any of v's group, right before the
     * guest is asked to stop, so that nothing has to be waited for once it is paused: `*lock` is a
     * descriptor, to be closed. hold and commit rely on it; nothing else may be called meanwhile.
     * BUSY: one of them is at work for longer than `timeout_ms`. */
    int (*lock)(const struct volume *v, int timeout_ms, int *lock, struct error *e);

    /* Hold the guest's requests back: those under way are finished, new ones wait. Then fix the
     * instant, and let them through. If either fails, lift is owed for all. */
    int (*hold)(struct volume *const vs[], size_t count, struct error *e);
    int (*commit)(struct volume *const vs[], size_t count, struct error *e);

    /* Let the guest's requests through again. Quick; allocates little; may be called from another
     * process, twice, and before hold. */
    int (*lift)(const json_t *record, struct error *e);

    /* A descriptor, the caller's, that reads the volume as it was at commit. O_DIRECT where it can.
     */
    int (*open_image)(const struct volume *v, int *fd, struct error *e);

    /* Call it often while images are read, and once after: keeps the snapshot from overflowing; an
     * error means that the image is worth nothing. What is before `done_bytes` is read: the
     * snapshot may give way there. */
    int (*watch)(struct volume *v, uint64_t done_bytes, struct error *e);

    /* Another name for it, like v->name, to free(): while a restore writes to it, nobody is to find
     * it by its own. UNSUPPORTED: it can't be renamed. BUSY: another has that name. */
    int (*aside)(const struct volume *v, char **name, struct error *e);

    /* Rename a volume, durably. Fine if that has been done before. BUSY: there is another one of
     * this name. */
    int (*rename)(const char *from, const char *to, struct error *e);

    /* A guest that has it may have it renamed. Not a file: by its name alone does Xen's script for
     * block devices know, at the end of the guest, that it has a loop device to detach. */
    bool rename_in_use;

    /* Undo plan, prepare, commit, whichever were reached. Twice is fine; what does not exist, or
     * does not carry our mark, is left alone. */
    int (*discard)(const json_t *record, struct error *e);
};

extern const struct volume_driver volume_lvm_transient;
extern const struct volume_driver volume_lvm_snapshot;
extern const struct volume_driver volume_plain;

/* All of the above, in the order they are asked, and a NULL. */
extern const struct volume_driver *const volume_drivers[];

/* The same without lvm_transient: LVM's own snapshots only. */
extern const struct volume_driver *const volume_drivers_lvm_snapshot[];

/* Open with the first of `drivers` that knows this kind. The path is one of a libxl disk: without a
 * leading '/', it is below /dev. */
int volume_open(const struct volume_driver *const drivers[], const char *path, struct volume **v,
                struct error *e);
void volume_close(struct volume *v); /* NULL is fine */

/* A descriptor, the caller's, that reads the volume itself. Block devices are opened with O_DIRECT:
 * what a guest has written is not in dom0's page cache, and what is there may be old. */
int volume_open_live(const struct volume *v, int *fd, struct error *e);

/* Write what dom0's cache holds of it, as of a disk that a device model emulates. */
int volume_flush(const struct volume *v, struct error *e);

/* Open it, `mode` being O_RDONLY or O_RDWR. BUSY: a mount or a loop device uses it, or another who
 * claims it for itself. A guest's driver does not claim a block device: who has it as a disk is for
 * domain_driver's check_unused to tell. */
int volume_open_idle(const struct volume *v, int mode, int *fd, struct error *e);

/* BUSY: a loop device has been bound to the image file behind `fd`, as for a guest. */
int volume_check_unbound(const struct volume *v, int fd, struct error *e);

/* A number that is another after anybody has written to the volume or image file behind `fd`. */
int volume_mark(int fd, uint64_t *mark, struct error *e);

/* BUSY if it has been written since it had that mark. */
int volume_check_mark(const struct volume *v, int fd, uint64_t mark, struct error *e);

/* volume_driver's rename, of the driver of this name. */
int volume_rename(const struct volume_driver *const drivers[], const char *driver, const char *from,
                  const char *to, struct error *e);

/* volume_driver's discard, and its lift, of the driver that `record` names. */
int volume_discard(const struct volume_driver *const drivers[], const json_t *record,
                   struct error *e);
int volume_lift(const struct volume_driver *const drivers[], const json_t *record, struct error *e);

#endif
