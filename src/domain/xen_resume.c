/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A domain goes on after it was stopped, or asked to. Relied on: one that libxl_domain_suspend()
 * left shut down with reason "suspend" runs on in place after libxl_domain_resume(..., 1), called
 * from any process.
 */
#include "domain/xen_resume.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <xenctrl.h>
#include <xenguest.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/time.h"
#include "domain/xen_host.h"
#include "domain/xen_monitor.h"
#include "domain/xen_ram.h"
#include "domain/xen_saver.h"

/* The helper of a domsnap that has died is gone by then. */
#define ORPHAN_MS      1000
#define ORPHAN_POLL_MS 50

/* How often a domain is looked at for which xenstored is waited for. */
#define LOOK_MS 200

static int left_ms(uint64_t deadline_ns)
{
    uint64_t now_ns = time_monotonic_ns();

    return now_ns > deadline_ns ? 0 : (int)((deadline_ns - now_ns + 999999) / 1000000);
}

/* False: there will be no more. */
static bool forget_event(struct domain_host *host)
{
    AUTO_FREE char **event = xs_read_watch(host->xs, &(unsigned){0});

    return event;
}

/* xenstored tells of every domain that stops; it is looked at now and then all the same. */
int xen_wait_stopped(struct domain_host *host, const struct domain_id *id, int wake_fd,
                     int timeout_ms, struct error *e)
{
    uint64_t deadline_ns = time_monotonic_ns() + (uint64_t)timeout_ms * 1000000;
    enum domain_state state = DOMAIN_GONE;
    struct pollfd fds[] = {{xs_fileno(host->xs), POLLIN, 0}, {wake_fd, POLLIN, 0}};

    /* Twice is fine: the second is refused. */
    xs_watch(host->xs, "@releaseDomain", "domsnap");
    for (;;) {
        int wait_ms = timeout_ms < 0 ? LOOK_MS : left_ms(deadline_ns);

        if (xen_state(host, id, &state, e) < 0)
            return e->status;
        if (state != DOMAIN_RUNNING && state != DOMAIN_PAUSED)
            return OK;
        if (poll(fds, 2, wait_ms < LOOK_MS ? wait_ms : LOOK_MS) < 0 && errno != EINTR)
            return error_errno(e, "poll");
        if (fds[1].revents)
            return error_set(e, CANCELLED, "woken up");
        if (fds[0].revents && !forget_event(host))
            fds[0].fd = -1;
        if (wait_ms == 0)
            return error_set(e, TIMED_OUT, "it has not stopped");
    }
}

/* The guest takes a request by clearing it: one that is still there can be taken back, and whether
 * it is there must be one question with taking it back. It could be in the way for ever. */
static bool take_back_request(struct domain_host *host, uint32_t domid)
{
    AUTO_FREE char *path = format_text("/local/domain/%u/control/shutdown", domid);

    for (int tries = 0; path && tries < 100; tries++) {
        xs_transaction_t t = xs_transaction_start(host->xs);
        AUTO_FREE char *request = t ? xs_read(host->xs, t, path, NULL) : NULL;
        bool ours = request && strcmp(request, "suspend") == 0;

        if (ours)
            xs_write(host->xs, t, path, "", 0);
        if (t && xs_transaction_end(host->xs, t, !ours))
            return ours;
        if (!t || errno != EAGAIN)
            return false;
    }
    return false;
}

static bool can_go_on(enum domain_state state)
{
    return state == DOMAIN_RUNNING || state == DOMAIN_PAUSED;
}

/* The helper of a domsnap that has died dies soon. */
bool xen_saved_by_others(struct domain_host *host, const struct domain_id *id)
{
    (void)host;
    for (int tries = 0; xen_other_saver(id->domid); tries++) {
        if (tries == ORPHAN_MS / ORPHAN_POLL_MS)
            return true;
        poll(NULL, 0, ORPHAN_POLL_MS);
    }
    return false;
}

int xen_release(struct domain_host *host, const struct domain_id *id, struct error *e)
{
    enum domain_state state = DOMAIN_GONE;

    if (xen_state(host, id, &state, e) < 0)
        return e->status;
    if (state != DOMAIN_SUSPENDED)
        xen_monitor_release(id->name, id->domid);
    /* If it is another program that saves it, the list of what the domain changes is that one's. */
    if (!xen_saved_by_others(host, id) && can_go_on(state))
        xen_ram_forget_dirty(&host->logger.vtable, id->domid);
    xen_forget_error(host);
    return OK;
}

/* libxl resumes the guest's processors only once its device model has answered. One that does not
 * must not keep the guest paused. */
static bool resume_processors(struct domain_host *host, uint32_t domid)
{
    xc_interface *xc = xc_interface_open(&host->logger.vtable, NULL, 0);
    bool resumed = xc && xc_domain_resume(xc, domid, 1) == 0;

    if (xc)
        xc_interface_close(xc);
    if (resumed)
        xs_resume_domain(host->xs, domid);
    return resumed;
}

static int resume_suspended(struct domain_host *host, const struct domain_id *id, struct error *e)
{
    enum domain_state state;
    struct error ignored;
    int rc = libxl_domain_resume(host->ctx, id->domid, 1, NULL);

    if (rc == 0)
        return OK;
    xen_failed(host, e, "resume", rc);
    if (xen_state(host, id, &state, &ignored) < 0 || state != DOMAIN_SUSPENDED ||
        !resume_processors(host, id->domid))
        return e->status;
    xen_forget_error(host);
    log_warning(
        "%s goes on, but its device model (QEMU) has not answered, and may have stopped the "
        "disks that it emulates: %s",
        id->name, e->text);
    return OK;
}

int xen_resume(struct domain_host *host, const struct domain_id *id, bool *may_stop,
               struct error *e)
{
    enum domain_state state = DOMAIN_GONE;
    int rc = OK;

    *may_stop = false;
    if (xen_state(host, id, &state, e) < 0)
        return e->status;
    if (can_go_on(state)) {
        *may_stop = !take_back_request(host, id->domid);
        if (xen_state(host, id, &state, e) < 0)
            return e->status;
        *may_stop = *may_stop && can_go_on(state);
    }
    if (state == DOMAIN_SUSPENDED)
        rc = resume_suspended(host, id, e);
    if (rc == OK && FAULT("guest-resumed", e) < 0)
        return e->status;
    /* Whatever became of the domain, its monitor must go on and see it. */
    xen_monitor_release(id->name, id->domid);
    return rc;
}
