/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device-mapper, through libdevmapper: the one user of it. Devices go by their device-mapper names.
 *
 * A table is text, one target a line, as `dmsetup table` prints it: "0 131072 linear 253:1 2048\n".
 */
#ifndef VOLUME_DM_H
#define VOLUME_DM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* The volume group and logical volume of a block device, both to free(). UNSUPPORTED: it is not a
 * logical volume of LVM's. */
int dm_lvm_names(dev_t device, char **vg, char **lv, struct error *e);

/* The name of a logical volume's device ("xenvols-linux01"), to free(); NULL without memory. */
char *dm_lvm_device(const char *vg, const char *lv);

struct dm_state {
    bool exists, suspended;
    bool loaded; /* a table waits in the inactive slot, for the next resume */
    unsigned major, minor;
};

/* A device that does not exist is no error. */
int dm_device_state(const char *name, struct dm_state *state, struct error *e);

/* The kernel's own node of a device, "/dev/dm-7", to free(): it is there before udev has made
 * any link. */
int dm_device_node(const char *name, char **path, struct error *e);

/* The live table, to free(). */
int dm_table_read(const char *name, char **table, struct error *e);

#define DM_NUMBER_BYTES 24 /* "253:7", as tables name a device */

/*
 * Make a device of our own and activate it. No rule of udev looks into it; nor does LVM if its UUID
 * is of dm_uuid(): it takes it for an internal device of a volume group that it does not know.
 * (What a guest has on its disk may well be a physical volume.) `name` is to be unique, as is
 * `name` with `serial`.
 */
#define DM_UUID_BYTES 80
void dm_uuid(char uuid[static DM_UUID_BYTES], const char *name, unsigned serial);
int dm_device_create(const char *name, const char *uuid, const char *table, struct error *e);

/* One that does not exist is no error; one that something looks at just now is tried again for some
 * seconds. */
int dm_device_remove(const char *name, struct error *e);

/* Load `table` into the inactive slot, replacing what is there; dm_device_resume makes it the live
 * one. */
int dm_table_load(const char *name, const char *table, struct error *e);

/* Suspend: requests under way are finished, new ones wait for the resume. */
int dm_device_suspend(const char *name, struct error *e);
int dm_device_resume(const char *name, struct error *e);

struct dm_store_usage {
    uint64_t used_bytes, total_bytes; /* of the exception store */
    bool invalid;                     /* overflowed or failed, for good */
};

/* How full the exception store of a snapshot is. */
int dm_snapshot_usage(const char *name, struct dm_store_usage *usage, struct error *e);

#endif
