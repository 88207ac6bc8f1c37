/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What create would do with a domain: the domain, the disks it would copy, the ones it leaves out.
 */
#ifndef ENGINE_DESCRIBE_H
#define ENGINE_DESCRIBE_H

#include "engine/engine.h"

struct described_disk {
    const struct domain_disk *disk; /* of the domain */
    struct volume *volume;
    int source;    /* a descriptor that it is copied from; -1: none */
    uint64_t mark; /* volume_mark() of that, if it must not be written meanwhile */
    int lock;      /* of the volume's group; -1: none, or another disk has it */
};

struct undescribed_disk {
    const struct domain_disk *disk;
    const char *why; /* static text */
};

struct description {
    struct domain domain;
    struct described_disk *disks;
    size_t disk_count;
    struct undescribed_disk *left_out;
    size_t left_out_count;
    struct volume **group; /* scratch: the volumes of one driver */
};

/* Open the writable disks of d->domain, which is set. */
int description_open_disks(struct description *d, const struct engine *engine, struct error *e);

/* Describe a running domain and open its writable disks. UNSUPPORTED: it has one that can't be
 * copied at all. An all-zero description holds nothing. */
int description_make(struct description *d, struct engine *engine, const char *name,
                     struct error *e);
void description_release(struct description *d);

/* UNSUPPORTED: it has no disk to snapshot. */
int description_check_any(const struct description *d, struct error *e);

/* Whether the domain, which runs, still has the same writable disks: BUSY if not. */
int description_check_disks(const struct description *d, const struct engine *engine,
                            struct error *e);

/* Close the disks' sources; those that are not open are fine. */
void description_close_sources(struct description *d);

/* All that a manifest says which is known beforehand: not the files, nor the snapshot's name. */
int description_to_manifest(const struct description *d, const struct engine *engine,
                            const char *method, struct manifest *m, struct error *e);

/* Parts of that: why a disk need not be in a snapshot (NULL: it must be); whose it is, when, where
 * and how it was taken. */
const char *describe_left_out(const struct domain_disk *disk);
int describe_origin(struct manifest *m, const struct domain *domain, const char *method,
                    const char *hypervisor, struct error *e);

/* The snapshots of all its volumes, step by step (volume.h), each driver with all that are its. */
int description_plan_snapshots(struct description *d, const char *id, struct error *e);
int description_prepare(struct description *d, struct error *e);
int description_commit(struct description *d, struct error *e);

/* Between those two: keep others from changing the volumes (volume.h's lock) from right before the
 * guest is asked to stop until after the commit. Unlocking twice is fine, and release does so. */
int description_lock(struct description *d, struct error *e);
void description_unlock(struct description *d);

#endif
