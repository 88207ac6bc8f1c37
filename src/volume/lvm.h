/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Thick logical volumes: what the two ways to snapshot them share (lvm_transient.c,
 * lvm_snapshot.c), which is all but the snapshot. LVM's supported interface is its commands with
 * JSON reports.
 */
#ifndef VOLUME_LVM_H
#define VOLUME_LVM_H

#include <stdbool.h>

#include "volume/store_size.h"
#include "volume/volume.h"

/* For commands on our own stores. dmeventd is not to watch our snapshots: we do, and it would be
 * left running. Nobody wants what was before them back: LVM would archive it for each, and keep
 * that for a month. Discards of a large store take longer than all the rest. */
#define LVM_OWN_CONFIG                                                                             \
    "--config=activation{monitoring=0} backup{archive=0} devices{issue_discards=0}"

struct lvm_volume {
    struct volume base;
    char *vg, *lv; /* when it was opened */
    char *device;  /* its device-mapper UUID */
    char *lock_dir;
    char *layout;    /* lvs's lv_layout: "linear", "striped", "thin,sparse", … */
    json_t *devices; /* a list of strings: the physical volumes that it lies on */
    bool locked;     /* LVM is at work on where it lies (pvmove) */
    bool shared;     /* the volume group, with other hosts (lvmlockd) */
    uint64_t extent_bytes, free_bytes; /* of the volume group */
    struct store_size store;
    char *store_device;             /* its device-mapper UUID; NULL: there is none yet */
    uint64_t extend_again_at_bytes; /* after a failed extension: not before so much is used */

    /* lvm_transient.c */
    char *own_name;         /* begins the names of all devices that are made for it */
    char *key;              /* of its store, in hexadecimal; NULL: that is not encrypted */
    char *table;            /* the volume's, when the snapshot was prepared */
    char *our_table;        /* the one that was loaded into it last, or is to be */
    uint64_t receded_bytes; /* the snapshot has given way so far */
};

struct lvm_volume *lvm_of(const struct volume *v);

/* Run one of LVM's commands; its output goes to `*out`, to free(), unless that is NULL. */
int lvm_run(const char *const argv[], char **out, struct error *e);

/* volume.h's open, for `driver`, and close, can_snapshot, plan, lock, hold, aside, rename. The
 * records that plan makes hold what the functions below need: "device", a UUID, "vg", "store",
 * "tag", and "lock_dir" (lvm_lock.h). */
int lvm_open(const struct volume_driver *driver, const char *path, struct volume **v,
             struct error *e);
void lvm_close(struct volume *v);
int lvm_can_snapshot(const struct volume *v, struct error *e);
int lvm_plan(struct volume *const vs[], size_t count, const char *id, struct error *e);
int lvm_lock(const struct volume *v, int timeout_ms, int *lock, struct error *e);
int lvm_hold(struct volume *const vs[], size_t count, struct error *e);

int lvm_aside(const struct volume *v, char **name, struct error *e);
int lvm_rename(const char *from, const char *to, struct error *e);

/* The name of a planned store. */
const char *lvm_store_of(const struct volume *v);

/* Make the exception store: a volume of its own, active, tagged from its first moment, zeroed at
 * its head. It lies where the volume does, if there is room: it has to be as fast. */
int lvm_store_make(struct lvm_volume *l, struct error *e);

/* Remove the one that `record` names; fine if it is gone, or was never made. */
int lvm_store_remove(const json_t *record, struct error *e);

/* A volume by the name that it has now, "xenvols/linux01", to free(). */
int lvm_name_now(const char *device, char **name, struct error *e);

/* Open the snapshot `device` (a UUID) of a volume, for volume.h's open_image. */
int lvm_open_snapshot(const struct volume *v, const char *device, int *fd, struct error *e);

/* See how full the store of the snapshot `device` is, and extend it before it is full. */
int lvm_store_watch(struct volume *v, const char *device, bool *extended, struct error *e);

#endif
