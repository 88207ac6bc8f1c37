/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain as domsnap sees it: what its configuration says. The same description is made from a
 * running guest (driver.h) and from the configuration inside a save file (savefile.h), since
 * both are libxl's JSON form of a libxl_domain_config.
 */
#ifndef DOMAIN_DOMAIN_H
#define DOMAIN_DOMAIN_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/error.h"

#define DOMAIN_PAGE_BYTES 4096
#define DOMAIN_UUID_TEXT  37  /* with the NUL */
#define DOMAIN_NAME_MAX   100 /* bytes, without the NUL; names become file names with suffixes */

struct domain_disk {
    char *vdev;        /* as the guest knows it: "xvda" */
    char *path;        /* as dom0 knows it: "/dev/xenvols/linux01"; may be "" (empty drive) */
    bool raw;          /* the path's content is the disk's; false for qcow2, vhd, qed */
    bool local_device; /* served by a block device or file of dom0's own, without a script */
    bool writable;
    bool cdrom;
};

struct domain {
    char *name;
    char uuid[DOMAIN_UUID_TEXT];
    uint32_t domid; /* of the running domain; 0 in a saved configuration */
    char *type;     /* "pv", "pvh", "hvm" */
    unsigned vcpus;
    uint64_t memory_bytes;
    unsigned passthrough_devices; /* PCI, USB, device tree: no save with those */
    struct domain_disk *disks;
    size_t disk_count;
    json_t *config; /* libxl's JSON, whole */
};

/* A leaf of CPUID, as Xen's xen_cpuid_leaf_t. */
struct cpuid_leaf {
    uint32_t leaf, subleaf; /* subleaf UINT32_MAX: it has none */
    uint32_t a, b, c, d;
};

/* How a domain is told from one that took its name or number later. */
struct domain_id {
    const char *name; /* borrowed */
    uint32_t domid;
    char uuid[DOMAIN_UUID_TEXT];
};

struct domain_id domain_id_of(const struct domain *d);

/* Fill `d` from libxl's JSON. On failure `d` holds nothing. DAMAGED names what is missing or not
 * of the expected type; nothing in `config` is trusted. Takes a reference to `config`. */
int domain_parse(struct domain *d, json_t *config, struct error *e);

/* Free what it holds; an all-zero domain holds nothing. */
void domain_release(struct domain *d);

/* Refuse names that can't be file names of ours, or words of the command line: empty, too long,
 * with '/', '@', control characters, or a '.' or '-' in front. */
int domain_name_check(const char *name, struct error *e);

#endif
