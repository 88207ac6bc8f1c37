/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The connection to Xen: libxl, what it logs, xenstored; and the state of a domain. */
#include "domain/xen_host.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"

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
    if (logger->listener)
        logger->listener->message(logger->listener->arg, line);
}

static void logger_progress(xentoollog_logger *base, const char *context, const char *doing,
                            int percent, unsigned long done, unsigned long total)
{
    struct logger *logger = (struct logger *)base;

    (void)context, (void)percent;
    if (logger->listener)
        logger->listener->progress(logger->listener->arg, doing, done, total);
}

static void logger_destroy(xentoollog_logger *base)
{
    (void)base; /* lives in struct domain_host */
}

void xen_forget_error(struct domain_host *host)
{
    host->logger.first_error[0] = '\0';
}

int xen_failed(struct domain_host *host, struct error *e, const char *what, int libxl_rc)
{
    const char *why = host->logger.first_error;

    error_set(e, FAILED, "%s: %s (libxl error %d)", what, *why ? why : "libxl said no reason",
              libxl_rc);
    xen_forget_error(host);
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

void xen_close(struct domain_host *host)
{
    if (!host)
        return;
    if (host->xs)
        xs_close(host->xs);
    if (host->ctx)
        libxl_ctx_free(host->ctx);
    free(host);
}

void xen_forget(struct domain_host *host)
{
    libxl_postfork_child_noexec(host->ctx);
}

int xen_open(struct domain_host **out, struct error *e)
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

const char *xen_version(struct domain_host *host)
{
    return host->version;
}

/* ---- a domain ---- */

void xen_put_uuid(char uuid[static DOMAIN_UUID_TEXT], const libxl_dominfo *info)
{
    snprintf(uuid, DOMAIN_UUID_TEXT, LIBXL_UUID_FMT, LIBXL_UUID_BYTES(info->uuid));
}

char *xen_read(struct domain_host *host, uint32_t domid, const char *key)
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
        xen_forget_error(host);
        *state = DOMAIN_GONE;
        return OK;
    }
    if (rc != 0)
        return xen_failed(host, e, "its state", rc);
    xen_put_uuid(uuid, &info);
    *state = strcmp(uuid, id->uuid) == 0 ? state_of(&info) : DOMAIN_GONE;
    libxl_dominfo_dispose(&info);
    return OK;
}

uint64_t xen_size_kb(struct domain_host *host, uint32_t domid)
{
    libxl_dominfo info;
    uint64_t kb = 0;

    libxl_dominfo_init(&info);
    if (libxl_domain_info(host->ctx, &info, domid) == 0)
        kb = info.current_memkb;
    libxl_dominfo_dispose(&info);
    xen_forget_error(host);
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
