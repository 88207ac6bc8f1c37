/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* driver.h's suspend_save. */
#ifndef DOMAIN_XEN_SAVE_H
#define DOMAIN_XEN_SAVE_H

#include "domain/driver.h"

int xen_save(struct domain_host *host, const struct domain *d, enum domain_save save, int fd,
             const struct save_watcher *watcher, struct error *e);

#endif
