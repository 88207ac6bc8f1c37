/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Who else saves or migrates a domain. Xen keeps one list of the pages that a domain has changed,
 * so that of two who write its RAM while it runs each would miss what the other has seen. All
 * programs that use libxl (xl, libvirt) have a helper of libxl's do it.
 */
#ifndef DOMAIN_XEN_SAVER_H
#define DOMAIN_XEN_SAVER_H

#include <stdint.h>
#include <sys/types.h>

/* The process that does so just now, other than a child of this one; 0: none. */
pid_t xen_other_saver(uint32_t domid);

#endif
