/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* driver.h's check_startable. */
#ifndef DOMAIN_XEN_START_H
#define DOMAIN_XEN_START_H

#include "domain/driver.h"

int xen_check_startable(struct domain_host *host, const struct domain_start *start,
                        struct error *e);

#endif
