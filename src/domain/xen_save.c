/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A save by libxl, which tells no more of it than what it logs: so that is listened to. Others may
 * save the same domain; who has stopped it, and whose list of changed pages Xen keeps, is to be
 * told apart.
 */
#include "domain/xen_save.h"

#include <poll.h>
#include <stdio.h>
#include <string.h>

#include "base/fault.h"
#include "base/log.h"
#include "base/time.h"
#include "domain/savefile.h"
#include "domain/xen_host.h"
#include "domain/xen_monitor.h"
#include "domain/xen_ram.h"
#include "domain/xen_saver.h"

#define OTHERS_POLL_MS 50
#define OTHERS_LOOK_MS 200

/* A guest that has suspended itself can wait for so long. */
#define SUSPENDED_MS 60000

/* libxl says how far a save is in its log only, and there no more than "Frames iteration 2", so
 * many of so many; and that it is about to ask the guest to stop. */
struct save_log {
    struct domain_host *host;
    const struct save_watcher *watcher;
    const struct domain *domain;
    enum domain_save save;
    struct save_progress at;
    char doing[64];      /* "": not yet */
    uint64_t looked_ns;  /* for others who save the guest */
    bool others;         /* there were some */
    uint64_t size_kb;    /* of the domain's memory, when it began; 0: it does not matter */
    bool stopping;       /* the guest is, or has been, asked to stop */
    struct error failed; /* then */
};

/* ---- others ---- */

static bool is_resized(const struct save_log *log)
{
    uint64_t size_kb = log->size_kb ? xen_size_kb(log->host, log->domain->domid) : 0;

    return size_kb && size_kb != log->size_kb;
}

static int check_size(const struct save_log *log, struct error *e)
{
    if (!is_resized(log))
        return OK;
    return error_set(
        e, AGAIN,
        "the guest's memory was changed while it was saved (xl mem-set, or its balloon), "
        "which this Xen does not follow");
}

/* For others who save it, and for changes of its memory. */
static void look_around(struct save_log *log)
{
    uint64_t now_ns = time_monotonic_ns();

    if (now_ns - log->looked_ns < OTHERS_LOOK_MS * UINT64_C(1000000))
        return;
    log->looked_ns = now_ns;
    log->at.resized |= is_resized(log);
    if (log->others)
        return;
    log->others = xen_other_saver(log->domain->domid) != 0;
    if (log->others)
        log_debug("another program saves or migrates %s too", log->domain->name);
}

/* Another program (xl save, xl migrate) may be at work on the guest by now, and have suspended it.
 * It has to be done first, lest their resume and ours meet. Nothing tells when it is. */
static void let_others_finish(struct save_log *log)
{
    uint64_t began_ns = time_monotonic_ns();
    bool said = false;

    for (;;) {
        bool saved = xen_other_saver(log->domain->domid) != 0;
        enum domain_state state;
        struct error ignored;

        log->others |= saved;
        if (xen_state_now(log->host, log->domain, &state, &ignored) < 0 ||
            (!saved && state != DOMAIN_SUSPENDED) ||
            (!log->others && time_monotonic_ns() - began_ns > SUSPENDED_MS * UINT64_C(1000000)))
            return;
        if (!said)
            log_warning("another program saves or migrates %s: waiting until that is done; only "
                        "SIGKILL ends this, and does no harm",
                        log->domain->name);
        said = true;
        poll(NULL, 0, OTHERS_POLL_MS);
    }
}

/* Each save, live or not, begins and ends with a new list of what the guest changes. */
static int check_list_is_ours(struct save_log *log, struct error *e)
{
    const struct domain *d = log->domain;
    bool followed = xen_ram_is_followed(&log->host->logger.vtable, d->domid);
    enum domain_state state;
    struct error ignored;

    /* libxl tells of one that has ended. */
    if ((followed && !log->others) || xen_state_now(log->host, d, &state, &ignored) < 0 ||
        state != DOMAIN_RUNNING)
        return OK;
    return error_set(e, BUSY,
                     "another program has saved or migrated it meanwhile, so that it is not known "
                     "what else it has changed; try again");
}

/* ---- what libxl logs ---- */

/* libxl is about to ask the guest to stop; or, should a libxl not announce it in these words, it
 * has. */
static void before_stop(struct save_log *log, bool runs)
{
    if (log->stopping)
        return;
    log->stopping = true;
    if (runs)
        let_others_finish(log);
    log->watcher->stopping(log->watcher->arg, &log->failed);
    xen_monitor_hold(log->domain->name, log->domain->domid);
    if (log->failed.status < 0 || FAULT("monitor-held", &log->failed) < 0)
        return;
    if (runs && log->save == SAVE_LIVE && check_list_is_ours(log, &log->failed) == OK)
        check_size(log, &log->failed);
}

/* The ways that libxl has to ask a guest. */
static bool announces_stop(const char *line)
{
    return strstr(line, "suspend request via ") ||
           strstr(line, "Calling xc_domain_shutdown on HVM domain");
}

static void on_message(void *arg, const char *line)
{
    if (announces_stop(line))
        before_stop(arg, true);
}

static void on_progress(void *arg, const char *doing, uint64_t done, uint64_t total)
{
    struct save_log *log = arg;
    struct save_progress *at = &log->at;

    if (strncmp(doing, "Frames", 6) != 0)
        return;
    if (!*log->doing) {
        at->paused = log->save == SAVE_STILL;
    } else if (strcmp(doing, log->doing) != 0 || done < at->done) {
        at->round++;
        at->paused |= at->last;
    }
    snprintf(log->doing, sizeof log->doing, "%s", doing);
    at->done = done;
    at->total = total;
    at->last = !at->paused && (at->round + 1 == SAVE_LIVE_ROUNDS || total < SAVE_LAST_PAGES);
    if (at->paused)
        before_stop(log, false);
    else if (!log->stopping)
        look_around(log);
    log->watcher->see(log->watcher->arg, at);
}

/* ---- the save ---- */

/* libxl tells of a guest that has gone its own way as of a failure of its own. */
static int suspend_failed(struct domain_host *host, const struct domain *d, int libxl_rc,
                          struct error *e)
{
    enum domain_state state;
    struct error why;

    xen_failed(host, e, "suspend and save", libxl_rc);
    /* One that is suspended is where it was asked to be. */
    if (xen_state_now(host, d, &state, &why) < 0 || state == DOMAIN_SUSPENDED ||
        xen_check_running(host, d, &why) != BUSY)
        return e->status;
    return error_prefix(e, "%s", why.text);
}

int xen_save(struct domain_host *host, const struct domain *d, enum domain_save save, int fd,
             const struct save_watcher *watcher, struct error *e)
{
    struct save_log log = {.host = host, .watcher = watcher, .domain = d, .save = save};
    const struct listener listener = {on_message, on_progress, &log};
    int flags = save == SAVE_LIVE ? LIBXL_SUSPEND_LIVE : 0;
    int rc;

    if (save != SAVE_NOTHING && savefile_write_head(fd, d->config, e) < 0)
        return e->status;
    if (FAULT("save-begun", e) < 0)
        return e->status;
    if (save == SAVE_LIVE && !host->follows_new_frames)
        log.size_kb = xen_size_kb(host, d->domid);
    host->logger.listener = &listener;
    rc = save == SAVE_NOTHING ? libxl_domain_suspend_only(host->ctx, d->domid, NULL)
                              : libxl_domain_suspend(host->ctx, d->domid, fd, flags, NULL);
    host->logger.listener = NULL;
    if (rc == 0)
        before_stop(&log, false);
    /* It is paused now: what it has is what it had at the end. */
    if (rc == 0 && log.failed.status == OK)
        check_size(&log, &log.failed);
    if (log.failed.status < 0) {
        xen_forget_error(host);
        *e = log.failed;
        return e->status;
    }
    return rc == 0 ? FAULT("guest-suspended", e) : suspend_failed(host, d, rc, e);
}
