/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* driver.h's describe_config: an xl configuration, read by Xen's own parser (libxlutil). Needs no
 * Xen to run. */
#ifndef DOMAIN_XEN_CONFIG_H
#define DOMAIN_XEN_CONFIG_H

#include <stddef.h>

#include "base/error.h"
#include "domain/domain.h"

int xen_describe_config(const char *text, size_t bytes, const char *file, struct domain *d,
                        struct error *e);

#endif
