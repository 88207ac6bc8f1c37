/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Device-mapper, through libdevmapper: the one user of it. Devices go by their UUIDs, which
 * lvrename and vgrename leave alone.
 *
 * A table is text, one target a line, as `dmsetup table` prints it: "0 131072 linear 253:1 2048\n".
 */
#ifndef VOLUME_DM_H
#define VOLUME_DM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* The UUID of a block device, to free(). UNSUPPORTED: it is not a logical volume of LVM's. */
int dm_lvm_uuid(dev_t device, char **uuid, struct error *e);

/* The same, of the active volume of this name. */
int dm_lvm_uuid_of(const char *vg, const char *lv, char **uuid, struct error *e);

/* The names that a logical volume has now, both to free(). */
int dm_lvm_names(const char *uuid, char **vg, char **lv, struct error *e);

struct dm_state {
    bool exists, suspended;
    bool loaded; /* a table waits in the inactive slot, for the next resume */
    unsigned major, minor;
};

/* A device that does not exist is no error. */
int dm_device_state(const char *uuid, struct dm_state *state, struct error *e);

/* The kernel's own node of a device, "/dev/dm-7", to free(): it is there before udev has made
 * any link. */
int dm_device_node(const char *uuid, char **path, struct error *e);

/* A device has two slots for tables: the live one, and one for what the next resume makes live. */
enum dm_slot { DM_LIVE, DM_INACTIVE };

/* The table in one of them, to free(); "" if there is none. */
int dm_table_read(const char *uuid, enum dm_slot slot, char **table, struct error *e);

#define DM_NUMBER_BYTES 24 /* "253:7", as tables name a device */

/*
 * Make a device of our own and activate it. No rule of udev looks into it; nor does LVM, which
 * takes it by its UUID for an internal device of a volume group that it does not know. (What a
 * guest has on its disk may well be a physical volume.) `name` is unique, and its UUID is
 * dm_own_uuid() of it.
 */
#define DM_UUID_BYTES 80
#define DM_OWN_NAME   "domsnap-"    /* begins `name` */
#define DM_OWN_UUID   "LVM-domsnap" /* begins such a UUID */
void dm_own_uuid(char uuid[static DM_UUID_BYTES], const char *name);
int dm_device_create(const char *name, const char *table, struct error *e);

/* One that does not exist is no error; one that something looks at just now is tried again for some
 * seconds. */
int dm_device_remove(const char *uuid, struct error *e);

/* Load `table` into the inactive slot, replacing what is there; dm_device_resume makes it the live
 * one. */
int dm_table_load(const char *uuid, const char *table, struct error *e);

/* Empty the inactive slot. */
int dm_table_clear(const char *uuid, struct error *e);

/* Suspend: requests under way are finished, new ones wait for the resume. */
int dm_device_suspend(const char *uuid, struct error *e);
int dm_device_resume(const char *uuid, struct error *e);

struct dm_store_usage {
    uint64_t used_bytes, total_bytes; /* of the exception store */
    bool invalid;                     /* overflowed or failed, for good */
};

/* How full the exception store of a snapshot is. */
int dm_snapshot_usage(const char *uuid, struct dm_store_usage *usage, struct error *e);

#endif
