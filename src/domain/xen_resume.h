/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* driver.h's wait_stopped, saved_by_others, release, resume. */
#ifndef DOMAIN_XEN_RESUME_H
#define DOMAIN_XEN_RESUME_H

#include "domain/driver.h"

int xen_wait_stopped(struct domain_host *host, const struct domain_id *id, int wake_fd,
                     int timeout_ms, struct error *e);
bool xen_saved_by_others(struct domain_host *host, const struct domain_id *id);
int xen_release(struct domain_host *host, const struct domain_id *id, struct error *e);
int xen_resume(struct domain_host *host, const struct domain_id *id, bool *may_stop,
               struct error *e);

#endif
