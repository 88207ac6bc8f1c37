/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What `lvs --reportformat json` says of one volume. */
#ifndef VOLUME_LVM_REPORT_H
#define VOLUME_LVM_REPORT_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

/* To be asked for, with "--units b --nosuffix", and with what lvm.conf may say otherwise. */
#define LVM_REPORT_CONFIG "--config=report{binary_values_as_numeric=0}"
#define LVM_REPORT_FIELDS                                                                          \
    "vg_name,lv_name,lv_size,lv_layout,lv_allocation_locked,vg_free,vg_extent_size,vg_shared,"     \
    "devices"

struct lvm_report {
    uint64_t size_bytes;
    uint64_t free_bytes, extent_bytes; /* of the volume group; an extent is not 0 */
    char *layout;
    json_t *devices; /* a list of strings: the physical volumes that it lies on, each once */
    bool locked;     /* LVM is at work on where it lies (pvmove) */
    bool shared;     /* the volume group, with other hosts (lvmlockd) */
};

/* NOT_FOUND: there is no volume in it. On failure `r` holds nothing. */
int lvm_report_parse(struct lvm_report *r, const char *text, struct error *e);
void lvm_report_release(struct lvm_report *r);

#endif
