/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Xen, through libxl. libxl is not a stable binary interface, so all that touches it is in the
 * files xen*.c: here the questions about a domain, and the table of what the others do.
 */
#include <libxl_utils.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "domain/xen_config.h"
#include "domain/xen_disks.h"
#include "domain/xen_host.h"
#include "domain/xen_launch.h"
#include "domain/xen_monitor.h"
#include "domain/xen_ram.h"
#include "domain/xen_resume.h"
#include "domain/xen_save.h"
#include "domain/xen_saver.h"
#include "domain/xen_start.h"

/* ---- who it is ---- */

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
    xen_forget_error(host);
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
        xen_put_uuid(id->uuid, &info);
    libxl_dominfo_dispose(&info);
    if (rc == ERROR_DOMAIN_NOTFOUND) {
        xen_forget_error(host);
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

/* ---- what can be done with it ---- */

/*
 * Linux announces what requests it answers when it boots, and not again when it is restored or
 * migrated: then xenstore tells nothing, and the request itself must. A kernel that has announced
 * other things but not this can't suspend.
 */
static bool announces_suspend(struct domain_host *host, uint32_t domid)
{
    AUTO_FREE char *suspend = xen_read(host, domid, "control/feature-suspend");
    AUTO_FREE char *poweroff = xen_read(host, domid, "control/feature-poweroff");

    if (suspend && *suspend)
        return strcmp(suspend, "0") != 0;
    return !poweroff || !*poweroff;
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
        "libvirt manages %s, and would miss the guest's next reboot after another program has "
        "suspended or restored it; --disks-only snapshots it as it is",
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
    AUTO_FREE char *request = xen_read(host, d->domid, "control/shutdown");

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

    xen_forget_error(host);
    return rc;
}

static int xen_read_ram(struct domain_host *host, const struct domain *d, int fd,
                        uint64_t max_pages, uint64_t *pages, struct error *e)
{
    int rc = xen_ram_read(&host->logger.vtable, d, fd, max_pages, pages, e);

    xen_forget_error(host);
    return rc;
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
