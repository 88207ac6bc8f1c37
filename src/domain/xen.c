/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Xen, through libxl. libxl is not a stable binary interface, so all that touches it is in the
 * files xen*.c. Facts relied on: a domain that libxl_domain_suspend() left shut down with reason
 * "suspend" runs on in place after libxl_domain_resume(..., 1), called from any process.
 */
#include <libxl_event.h>
#include <libxl_utils.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xenguest.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/log.h"
#include "base/run.h"
#include "base/time.h"
#include "domain/xen_config.h"
#include "domain/xen_disks.h"
#include "domain/xen_host.h"
#include "domain/xen_monitor.h"
#include "domain/xen_ram.h"
#include "domain/xen_saver.h"
#include "domain/xen_start.h"

/* At less than that, and more than an hour, it hangs. */
#define RESTORE_LEAST_S          3600
#define RESTORE_BYTES_PER_SECOND 10000000

/* The helper of a domsnap that has died is gone by then. */
#define ORPHAN_MS      1000
#define ORPHAN_POLL_MS 50

/* How often a domain is looked at for which xenstored is waited for. */
#define LOOK_MS 200

static struct domain_host *host_of(xentoollog_logger *logger)
{
    return (struct domain_host *)((char *)logger - offsetof(struct domain_host, logger.vtable));
}

static void logger_message(xentoollog_logger *base, xentoollog_level level, int errnoval,
                           const char *context, const char *fmt, va_list ap)
{
    struct logger *logger = (struct logger *)base;
    char line[400];
    int n = vsnprintf(line, sizeof line, fmt, ap);

    if (errnoval >= 0 && n >= 0 && (size_t)n < sizeof line)
        snprintf(line + n, sizeof line - n, ": %s", strerror(errnoval));
    if (level >= XTL_ERROR && !logger->first_error[0])
        strcpy(logger->first_error, line);
    if (level >= XTL_DETAIL)
        log_debug("%s: %s", context ? context : "libxl", line);
    xen_save_message(host_of(base), line);
}

static void logger_progress(xentoollog_logger *base, const char *context, const char *doing,
                            int percent, unsigned long done, unsigned long total)
{
    (void)context, (void)percent;
    xen_save_progress(host_of(base), doing, done, total);
}

static void logger_destroy(xentoollog_logger *base)
{
    (void)base; /* lives in struct domain_host */
}

int xen_failed(struct domain_host *host, struct error *e, const char *what, int libxl_rc)
{
    const char *why = host->logger.first_error;

    error_set(e, FAILED, "%s: %s (libxl error %d)", what, *why ? why : "libxl said no reason",
              libxl_rc);
    host->logger.first_error[0] = '\0';
    return e->status;
}

/* ---- connection ---- */

/* Frames that enter a domain while it is saved live are marked as changed
 * since 4.19.5, 4.20.3, 4.21.1 (Xen's commit 98fccdf0ac). */
static bool follows_new_frames(const libxl_version_info *v)
{
    static const int since[] = {[19] = 5, [20] = 3, [21] = 1};
    int minor = v->xen_version_minor, patch = 0;

    if (v->xen_version_major != 4 || minor > 21)
        return v->xen_version_major >= 4;
    sscanf(v->xen_version_extra, ".%d", &patch);
    return minor >= 19 && patch >= since[minor];
}

static int connect_to_xen(struct domain_host *host, struct error *e)
{
    static const libxl_childproc_hooks hooks = {
        /* run_program() and the guest's save helper may have children at the same time. */
        .chldowner = libxl_sigchld_owner_libxl_always_selective_reap,
    };
    const libxl_version_info *info;

    host->logger.vtable = (xentoollog_logger){logger_message, logger_progress, logger_destroy};
    if (libxl_ctx_alloc(&host->ctx, LIBXL_VERSION, 0, &host->logger.vtable) != 0)
        return error_set(e, FAILED,
                         "libxl can't talk to Xen: %s; is xenstored running "
                         "(systemctl status xenstored)?",
                         host->logger.first_error);
    libxl_childproc_setmode(host->ctx, &hooks, NULL);
    host->xs = xs_open(0);
    if (!host->xs)
        return error_errno(e, "xenstored does not answer");
    info = libxl_get_version_info(host->ctx);
    if (!info)
        return xen_failed(host, e, "version of Xen", ERROR_FAIL);
    host->follows_new_frames = follows_new_frames(info);
    snprintf(host->version, sizeof host->version, "Xen %d.%d%s", info->xen_version_major,
             info->xen_version_minor, info->xen_version_extra);
    return OK;
}

static void xen_close(struct domain_host *host)
{
    if (!host)
        return;
    if (host->xs)
        xs_close(host->xs);
    if (host->ctx)
        libxl_ctx_free(host->ctx);
    free(host);
}

static void xen_forget(struct domain_host *host)
{
    libxl_postfork_child_noexec(host->ctx);
}

static int xen_open(struct domain_host **out, struct error *e)
{
    char version[DOMAIN_XEN_VERSION_TEXT];
    struct domain_host *host;

    if (domain_xen_version(version, e) < 0)
        return e->status;
    if (strcmp(version, DOMSNAP_XEN) != 0)
        return error_set(e, FAILED,
                         "this domsnap-xen is for Xen " DOMSNAP_XEN
                         ", and this machine runs Xen %s: install the package domsnap-xen-%s, or "
                         "build domsnap for that Xen",
                         version, version);
    /* Not that there are no guests: who must not ask does not know of them. */
    if (geteuid() != 0)
        return error_set(e, FAILED, "only root may talk to Xen: run it as root");
    host = calloc(1, sizeof *host);
    if (!host)
        return error_errno(e, "connect to Xen");
    if (connect_to_xen(host, e) < 0) {
        xen_close(host);
        return e->status;
    }
    *out = host;
    return OK;
}

static const char *xen_version(struct domain_host *host)
{
    return host->version;
}

/* ---- questions ---- */

static void put_uuid(char uuid[static DOMAIN_UUID_TEXT], const libxl_dominfo *info)
{
    snprintf(uuid, DOMAIN_UUID_TEXT, LIBXL_UUID_FMT, LIBXL_UUID_BYTES(info->uuid));
}

static int describe_domid(struct domain_host *host, uint32_t domid, struct domain *d,
                          struct error *e)
{
    AUTO_JSON json_t *config = NULL;
    AUTO_FREE char *text = NULL;
    libxl_domain_config xl_config;
    int rc;

    libxl_domain_config_init(&xl_config);
    rc = libxl_retrieve_domain_configuration(host->ctx, domid, &xl_config, NULL);
    if (rc == 0) {
        /* A save file does not ask for the number that the domain has now. */
        xl_config.c_info.domid = 0;
        text = libxl_domain_config_to_json(host->ctx, &xl_config);
    }
    libxl_domain_config_dispose(&xl_config);
    if (!text)
        return xen_failed(host, e, "its configuration", rc);
    config = json_loads(text, 0, NULL);
    if (!config || domain_parse(d, config, e) < 0)
        return config ? e->status : error_set(e, FAILED, "libxl gave its configuration garbled");
    d->domid = domid;
    return OK;
}

static int name_to_domid(struct domain_host *host, const char *name, uint32_t *domid,
                         struct error *e)
{
    if (libxl_name_to_domid(host->ctx, name, domid) == 0)
        return OK;
    host->logger.first_error[0] = '\0';
    return error_set(e, NOT_FOUND, "there is no domain of this name; `xl list` shows them");
}

/* Not by its configuration: one that is being made has none yet. */
static int xen_find(struct domain_host *host, const char *name, struct domain_id *id,
                    struct error *e)
{
    libxl_dominfo info;
    int rc;

    *id = (struct domain_id){.name = name};
    if (name_to_domid(host, name, &id->domid, e) < 0)
        return e->status;
    libxl_dominfo_init(&info);
    rc = libxl_domain_info(host->ctx, &info, id->domid);
    if (rc == 0)
        put_uuid(id->uuid, &info);
    libxl_dominfo_dispose(&info);
    if (rc == ERROR_DOMAIN_NOTFOUND) {
        host->logger.first_error[0] = '\0';
        return error_set(e, NOT_FOUND, "it has just ended");
    }
    return rc == 0 ? OK : xen_failed(host, e, "its state", rc);
}

static int xen_describe(struct domain_host *host, const char *name, struct domain *d,
                        struct error *e)
{
    uint32_t domid;

    if (name_to_domid(host, name, &domid, e) < 0)
        return e->status;
    if (domid == 0)
        return error_set(e, UNSUPPORTED, "this is dom0, the host itself");
    return describe_domid(host, domid, d, e);
}

static char *xenstore_read(struct domain_host *host, uint32_t domid, const char *key)
{
    AUTO_FREE char *path = format_text("/local/domain/%u/%s", domid, key);

    return path ? xs_read(host->xs, XBT_NULL, path, NULL) : NULL;
}

static enum domain_state state_of(const libxl_dominfo *info)
{
    if (info->dying)
        return DOMAIN_SHUTTING_DOWN;
    if (!info->shutdown)
        return info->paused ? DOMAIN_PAUSED : DOMAIN_RUNNING;
    switch (info->shutdown_reason) {
    case LIBXL_SHUTDOWN_REASON_SUSPEND:
        return DOMAIN_SUSPENDED;
    case LIBXL_SHUTDOWN_REASON_CRASH:
    case LIBXL_SHUTDOWN_REASON_WATCHDOG:
        return DOMAIN_CRASHED;
    default:
        return DOMAIN_SHUTTING_DOWN;
    }
}

int xen_state(struct domain_host *host, const struct domain_id *id, enum domain_state *state,
              struct error *e)
{
    char uuid[DOMAIN_UUID_TEXT];
    libxl_dominfo info;
    int rc;

    libxl_dominfo_init(&info);
    rc = libxl_domain_info(host->ctx, &info, id->domid);
    if (rc == ERROR_DOMAIN_NOTFOUND) {
        host->logger.first_error[0] = '\0';
        *state = DOMAIN_GONE;
        return OK;
    }
    if (rc != 0)
        return xen_failed(host, e, "its state", rc);
    put_uuid(uuid, &info);
    *state = strcmp(uuid, id->uuid) == 0 ? state_of(&info) : DOMAIN_GONE;
    libxl_dominfo_dispose(&info);
    return OK;
}

/*
 * Linux announces what requests it answers when it boots, and not again when it is restored or
 * migrated: then xenstore tells nothing, and the request itself must. A kernel that has announced
 * other things but not this can't suspend.
 */
static bool announces_suspend(struct domain_host *host, uint32_t domid)
{
    AUTO_FREE char *suspend = xenstore_read(host, domid, "control/feature-suspend");
    AUTO_FREE char *poweroff = xenstore_read(host, domid, "control/feature-poweroff");

    if (suspend && *suspend)
        return strcmp(suspend, "0") != 0;
    return !poweroff || !*poweroff;
}

uint64_t xen_size_kb(struct domain_host *host, uint32_t domid)
{
    libxl_dominfo info;
    uint64_t kb = 0;

    libxl_dominfo_init(&info);
    if (libxl_domain_info(host->ctx, &info, domid) == 0)
        kb = info.current_memkb;
    libxl_dominfo_dispose(&info);
    host->logger.first_error[0] = '\0';
    return kb;
}

int xen_state_now(struct domain_host *host, const struct domain *d, enum domain_state *state,
                  struct error *e)
{
    struct domain_id id = domain_id_of(d);

    return xen_state(host, &id, state, e);
}

int xen_check_running(struct domain_host *host, const struct domain *d, struct error *e)
{
    static const char *const words[] = {
        [DOMAIN_GONE] = "it has just ended, or been rebooted",
        [DOMAIN_PAUSED] = "it is paused, and a paused guest can't answer; `xl unpause` it",
        [DOMAIN_SUSPENDED] = "it stands suspended: somebody saves it just now, or a save was "
                             "interrupted (`domsnap recover`)",
        [DOMAIN_SHUTTING_DOWN] = "it is shutting down",
        [DOMAIN_CRASHED] = "it has crashed",
    };
    enum domain_state state = DOMAIN_GONE;

    if (xen_state_now(host, d, &state, e) < 0)
        return e->status;
    return state == DOMAIN_RUNNING ? OK : error_set(e, BUSY, "%s", words[state]);
}

/* libvirt keeps the state of each domain that it has started in a file of its name. It hears of one
 * shutdown a domain, and a suspend is one: of a later reboot it would never know. */
static int xen_check_keeper(struct domain_host *host, const char *name, struct error *e)
{
    AUTO_FREE char *state = format_text("/run/libvirt/libxl/%s.xml", name);

    (void)host;
    if (!state)
        return error_set(e, NO_SPACE, "out of memory");
    if (access(state, F_OK) < 0)
        return OK;
    return error_set(
        e, UNSUPPORTED,
        "%s is libvirt's, which would not hear of the guest's next reboot after it was "
        "suspended or restored by others; --disks-only snapshots it as it is",
        name);
}

static bool xen_is_looked_after(struct domain_host *host, const struct domain_id *id)
{
    (void)host;
    return xen_monitor_lives(id->name, id->domid);
}

static int check_others(const struct domain *d, struct error *e)
{
    pid_t saver = xen_other_saver(d->domid);

    if (!saver)
        return OK;
    return error_set(
        e, BUSY, "another program saves or migrates it (process %d); wait until it is done", saver);
}

static int xen_can_suspend(struct domain_host *host, const struct domain *d, struct error *e)
{
    AUTO_FREE char *request = xenstore_read(host, d->domid, "control/shutdown");

    if (d->passthrough_devices)
        return error_set(e, UNSUPPORTED,
                         "%u of the host's devices are assigned to it, and Xen can't save a guest "
                         "with those; detach them (xl pci-detach), or shut the guest down",
                         d->passthrough_devices);
    if (request && *request)
        return error_set(e, BUSY, "it is on its way to \"%s\"; wait until it is done", request);
    if (xen_check_keeper(host, d->name, e) < 0)
        return e->status;
    if (xen_check_running(host, d, e) < 0)
        return e->status;
    if (check_others(d, e) < 0)
        return e->status;
    /* An HVM guest without PV drivers is suspended without its help. */
    if (strcmp(d->type, "hvm") != 0 && !announces_suspend(host, d->domid))
        return error_set(e, UNSUPPORTED,
                         "the guest's kernel says that it can't suspend (xenstore: "
                         "control/feature-suspend); it may be too old, or still booting");
    return OK;
}

/* ---- suspend and resume ---- */

/* Xen follows what a guest writes to by its own page tables (HAP); a PV guest has none but its own,
 * and needs shadow ones. */
static int xen_can_save_live(struct domain_host *host, const struct domain *d, struct error *e)
{
    bool pv = strcmp(d->type, "pv") == 0, possible;
    libxl_physinfo info;
    int rc;

    libxl_physinfo_init(&info);
    rc = libxl_get_physinfo(host->ctx, &info);
    if (rc != 0)
        return xen_failed(host, e, "what Xen can do", rc);
    possible = info.cap_shadow || (!pv && info.cap_hap);
    libxl_physinfo_dispose(&info);
    if (possible)
        return OK;
    return error_set(
        e, UNSUPPORTED,
        pv ? "this Xen is built without shadow paging, which it needs to save a PV guest live"
           : "this host has neither hardware assisted nor shadow paging");
}

static int xen_dirty_pages(struct domain_host *host, const struct domain *d, uint32_t sample_ms,
                           uint64_t *pages, struct error *e)
{
    int rc = xen_ram_dirty_pages(&host->logger.vtable, d, sample_ms, pages, e);

    host->logger.first_error[0] = '\0';
    return rc;
}

static int xen_read_ram(struct domain_host *host, const struct domain *d, int fd,
                        uint64_t max_pages, uint64_t *pages, struct error *e)
{
    int rc = xen_ram_read(&host->logger.vtable, d, fd, max_pages, pages, e);

    host->logger.first_error[0] = '\0';
    return rc;
}

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
static int xen_wait_stopped(struct domain_host *host, const struct domain_id *id, int wake_fd,
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
static bool xen_saved_by_others(struct domain_host *host, const struct domain_id *id)
{
    (void)host;
    for (int tries = 0; xen_other_saver(id->domid); tries++) {
        if (tries == ORPHAN_MS / ORPHAN_POLL_MS)
            return true;
        poll(NULL, 0, ORPHAN_POLL_MS);
    }
    return false;
}

static int xen_release(struct domain_host *host, const struct domain_id *id, struct error *e)
{
    enum domain_state state = DOMAIN_GONE;

    if (xen_state(host, id, &state, e) < 0)
        return e->status;
    if (state != DOMAIN_SUSPENDED)
        xen_monitor_release(id->name, id->domid);
    /* If it is another program that saves it, the list of what the domain changes is that one's. */
    if (!xen_saved_by_others(host, id) && can_go_on(state))
        xen_ram_forget_dirty(&host->logger.vtable, id->domid);
    host->logger.first_error[0] = '\0';
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
    host->logger.first_error[0] = '\0';
    log_warning(
        "%s goes on, but its device model (QEMU) has not answered, and may have stopped the "
        "disks that it emulates: %s",
        id->name, e->text);
    return OK;
}

static int xen_resume(struct domain_host *host, const struct domain_id *id, bool *may_stop,
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

static int xen_destroy(struct domain_host *host, const struct domain_id *id, struct error *e)
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
    host->logger.first_error[0] = '\0';
    if (run_program(&run, e) == OK)
        return FAULT("guest-started", e);
    /* xl takes down what it half-made, unless it was killed. */
    if (libxl_name_to_domid(host->ctx, l->name, &domid) == 0)
        libxl_domain_destroy(host->ctx, domid, NULL);
    host->logger.first_error[0] = '\0';
    return e->status;
}

static int xen_restore(struct domain_host *host, const struct domain_launch *l, struct error *e)
{
    return run_xl(host, "restore", l, e);
}

static int xen_boot(struct domain_host *host, const struct domain_launch *l, struct error *e)
{
    return run_xl(host, "create", l, e);
}

static int xen_unpause(struct domain_host *host, const struct domain_id *id, struct error *e)
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

const struct domain_driver domain_xen = {
    .name = "xen",
    .open = xen_open,
    .close = xen_close,
    .forget = xen_forget,
    .version = xen_version,
    .find = xen_find,
    .describe = xen_describe,
    .describe_config = xen_describe_config,
    .state = xen_state,
    .disk_now = xen_disk_now,
    .check_unused = xen_check_unused,
    .check_keeper = xen_check_keeper,
    .is_looked_after = xen_is_looked_after,
    .can_suspend = xen_can_suspend,
    .can_save_live = xen_can_save_live,
    .dirty_pages = xen_dirty_pages,
    .read_ram = xen_read_ram,
    .suspend_save = xen_save,
    .wait_stopped = xen_wait_stopped,
    .saved_by_others = xen_saved_by_others,
    .release = xen_release,
    .resume = xen_resume,
    .check_startable = xen_check_startable,
    .destroy = xen_destroy,
    .restore = xen_restore,
    .boot = xen_boot,
    .unpause = xen_unpause,
};
