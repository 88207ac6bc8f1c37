/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xl's monitor: the process that `xl create` and `xl restore` leave behind for each domain, and
 * that carries out on_reboot and on_crash. It takes any suspend for the end of the domain and
 * exits. Held still (SIGSTOP) from before the suspend until after the resume, it then looks at the
 * domain's present state, finds it running, and lives on.
 */
#ifndef DOMAIN_XEN_MONITOR_H
#define DOMAIN_XEN_MONITOR_H

#include <stdbool.h>
#include <stdint.h>

/* Whether the domain has one. */
bool xen_monitor_lives(const char *name, uint32_t domid);

/*
 * Stop, continue the monitors of a domain. xl keeps no file with their process ids. Each writes to
 * its log which domain it waits for; a log that was emptied is told by its name.
 * None is no error (xl create -F, libvirt); both may be called twice.
 */
void xen_monitor_hold(const char *name, uint32_t domid);
void xen_monitor_release(const char *name, uint32_t domid);

#endif
