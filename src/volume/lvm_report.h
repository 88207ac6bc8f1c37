/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `lvs --reportformat json` says of one volume. */
#ifndef VOLUME_LVM_REPORT_H
#define VOLUME_LVM_REPORT_H

#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* To be asked for, with "--units b --nosuffix". */
#define LVM_REPORT_FIELDS                                                                          \
    "vg_name,lv_name,lv_size,lv_layout,lv_allocation_locked,vg_free,vg_extent_size"

struct lvm_report {
    uint64_t size_bytes;
    uint64_t free_bytes, extent_bytes; /* of the volume group; an extent is not 0 */
    char *layout;                      /* the caller's to free() */
    bool locked;                       /* LVM is at work on where it lies (pvmove) */
};

/* NOT_FOUND: there is no volume in it. */
int lvm_report_parse(struct lvm_report *r, const char *text, struct error *e);

#endif
