/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain is destroyed, and one is started from a save file or a configuration: by xl. */
#include "domain/xen_launch.h"

#include <libxl_utils.h>

#include "base/fault.h"
#include "base/run.h"
#include "domain/xen_host.h"

/* At less than that, and more than an hour, it hangs. */
#define RESTORE_LEAST_S          3600
#define RESTORE_BYTES_PER_SECOND 10000000

int xen_destroy(struct domain_host *host, const struct domain_id *id, struct error *e)
{
    enum domain_state state = DOMAIN_GONE;
    int rc;

    if (xen_state(host, id, &state, e) < 0)
        return e->status;
    if (state == DOMAIN_GONE)
        return OK;
    rc = libxl_domain_destroy(host->ctx, id->domid, NULL);
    return rc == 0 ? FAULT("guest-destroyed", e) : xen_failed(host, e, "destroy", rc);
}

/* How long reading its RAM back may take. */
static unsigned timeout_s(const struct domain_launch *l)
{
    return RESTORE_LEAST_S + (unsigned)(l->ram_bytes / RESTORE_BYTES_PER_SECOND);
}

/* The program, not libxl: it stays behind as the domain's monitor (on_reboot, on_crash). As that it
 * has its log for its standard output; before, it is what is to be held, and the few words that xl
 * has for it go there. */
static int run_xl(struct domain_host *host, const char *verb, const struct domain_launch *l,
                  struct error *e)
{
    const char *const argv[] = {"xl", verb, "-p", "/proc/self/fd/0", NULL};
    struct run run = {
        .argv = argv,
        .timeout_s = timeout_s(l),
        .in_fd = l->fd,
        .out_fd = l->held_fd,
    };
    uint32_t domid;

    /* Else what is taken down below might be somebody else's. */
    if (libxl_name_to_domid(host->ctx, l->name, &domid) == 0)
        return error_set(e, BUSY, "somebody has started %s meanwhile; shut it down first", l->name);
    xen_forget_error(host);
    if (run_program(&run, e) == OK)
        return FAULT("guest-started", e);
    /* xl takes down what it half-made, unless it was killed. */
    if (libxl_name_to_domid(host->ctx, l->name, &domid) == 0)
        libxl_domain_destroy(host->ctx, domid, NULL);
    xen_forget_error(host);
    return e->status;
}

int xen_restore(struct domain_host *host, const struct domain_launch *l, struct error *e)
{
    return run_xl(host, "restore", l, e);
}

int xen_boot(struct domain_host *host, const struct domain_launch *l, struct error *e)
{
    return run_xl(host, "create", l, e);
}

int xen_unpause(struct domain_host *host, const struct domain_id *id, struct error *e)
{
    enum domain_state state = DOMAIN_GONE;
    int rc;

    if (xen_state(host, id, &state, e) < 0)
        return e->status;
    if (state != DOMAIN_PAUSED)
        return OK;
    rc = libxl_domain_unpause(host->ctx, id->domid, NULL);
    return rc == 0 ? FAULT("guest-unpaused", e) : xen_failed(host, e, "unpause", rc);
}
