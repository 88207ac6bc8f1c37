/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Looks into a running domain's RAM, which libxl has no calls for: driver.h's dirty_pages and
 * read_ram, by libxenctrl and libxenforeignmemory.
 */
#ifndef DOMAIN_XEN_RAM_H
#define DOMAIN_XEN_RAM_H

#include <xentoollog.h>

#include "base/error.h"
#include "domain/domain.h"

int xen_ram_dirty_pages(xentoollog_logger *logger, const struct domain *d, uint32_t sample_ms,
                        uint64_t *pages, struct error *e);

/* Whether it is followed what a domain writes to; if it was not, it is from here on. */
bool xen_ram_is_followed(xentoollog_logger *logger, uint32_t domid);

/* Stop following what a domain writes to, which a save that was broken off has left on, and which
 * costs the guest. Fine if it is off. */
void xen_ram_forget_dirty(xentoollog_logger *logger, uint32_t domid);

int xen_ram_read(xentoollog_logger *logger, const struct domain *d, int fd, uint64_t max_pages,
                 uint64_t *pages, struct error *e);

#endif
