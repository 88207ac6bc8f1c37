/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* driver.h's destroy, restore, boot, unpause. */
#ifndef DOMAIN_XEN_LAUNCH_H
#define DOMAIN_XEN_LAUNCH_H

#include "domain/driver.h"

int xen_destroy(struct domain_host *host, const struct domain_id *id, struct error *e);
int xen_restore(struct domain_host *host, const struct domain_launch *l, struct error *e);
int xen_boot(struct domain_host *host, const struct domain_launch *l, struct error *e);
int xen_unpause(struct domain_host *host, const struct domain_id *id, struct error *e);

#endif
