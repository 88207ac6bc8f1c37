/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Device-mapper, through libdevmapper: the one user of it. */
#ifndef VOLUME_DM_H
#define VOLUME_DM_H

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

/* The volume group and logical volume of a block device, both to free(). NOT_FOUND: not a logical
 * volume of LVM's. */
int dm_lvm_names(dev_t device, char **vg, char **lv, struct error *e);

/* The kernel's own node of a logical volume, "/dev/dm-7", to free(): it is there before udev has made
 * any link. */
int dm_device_node(const char *vg, const char *lv, char **path, struct error *e);

struct dm_store_usage {
    uint64_t used_bytes, total_bytes; /* of the exception store */
    bool invalid;                     /* overflowed or failed, for good */
};

/* How full the exception store of the snapshot vg/lv is. */
int dm_snapshot_usage(const char *vg, const char *lv, struct dm_store_usage *usage, struct error *e);

#endif
