/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Whose disk a device or file is: what xenstore says of all domains. */
#ifndef DOMAIN_XEN_DISKS_H
#define DOMAIN_XEN_DISKS_H

#include "domain/driver.h"

/* domain_driver's check_unused. */
int xen_disk_now(struct domain_host *host, uint32_t domid, const char *vdev, char **path,
                 struct error *e);
int xen_check_unused(struct domain_host *host, const char *path, uint32_t except, struct error *e);

#endif
