/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Whether a domain that was saved could be started on this host: libxl would say so only once the
 * one that it replaces is gone, and its disks are written.
 */
#include "domain/xen_start.h"

#include <libxl_utils.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <xenctrl.h>
#include <xenguest.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "domain/xen_host.h"

#define SCRIPTS "/etc/xen/scripts"

/* ---- what its configuration names ---- */

static bool is_restored(const struct domain_start *start, const char *vdev)
{
    for (size_t i = 0; i < start->restored_count; i++)
        if (strcmp(start->restored[i], vdev) == 0)
            return true;
    return false;
}

static int check_disk(const struct domain_start *start, const libxl_device_disk *disk,
                      struct error *e)
{
    if (!disk->pdev_path || !*disk->pdev_path || is_restored(start, disk->vdev))
        return OK;
    /* What others serve is theirs to have. */
    if (disk->script || disk->backend_domid || (disk->backend_domname && *disk->backend_domname))
        return OK;
    if (access(disk->pdev_path, F_OK) == 0)
        return OK;
    error_errno(e, "disk %s: %s", disk->vdev, disk->pdev_path);
    return error_append(e, disk->is_cdrom
                               ? "it was in the drive when the snapshot was taken: put it "
                                 "there, or leave the drive empty (--eject)"
                               : "it is not in the snapshot, and the guest has it");
}

static int check_script(const char *script, const char *what, int devid, struct error *e)
{
    AUTO_FREE char *path = NULL;

    if (!script || !*script)
        return OK;
    path = *script == '/' ? strdup(script) : format_text(SCRIPTS "/%s", script);
    if (!path)
        return error_set(e, NO_SPACE, "out of memory");
    return access(path, X_OK) == 0 ? OK : error_errno(e, "%s %d: %s", what, devid, path);
}

static int check_nic(const libxl_device_nic *nic, struct error *e)
{
    AUTO_FREE char *bridge = NULL;

    if (nic->backend_domid || (nic->backend_domname && *nic->backend_domname))
        return OK;
    if (check_script(nic->script, "network interface", nic->devid, e) < 0)
        return e->status;
    /* Of other scripts a bridge may be the name of anything. */
    if (!nic->bridge || !*nic->bridge)
        return OK;
    if (nic->script && *nic->script && !strstr(nic->script, "vif-bridge"))
        return OK;
    bridge = format_text("/sys/class/net/%s", nic->bridge);
    if (!bridge)
        return error_set(e, NO_SPACE, "out of memory");
    if (access(bridge, F_OK) == 0)
        return OK;
    return error_set(e, NOT_FOUND,
                     "network interface %d: there is no bridge %s on this host; make it first "
                     "(ip link add %s type bridge)",
                     nic->devid, nic->bridge, nic->bridge);
}

static int check_pool(struct domain_host *host, const char *pool, struct error *e)
{
    uint32_t id;

    if (!pool || !*pool || libxl_name_to_cpupoolid(host->ctx, pool, &id) == 0)
        return OK;
    xen_forget_error(host);
    return error_set(e, NOT_FOUND, "there is no pool of processors \"%s\" (xl cpupool-list)", pool);
}

/* ---- memory ---- */

/* xl may take memory from dom0, so that only what not even that could give is known to fail. */
static int check_memory(struct domain_host *host, const struct domain_start *start,
                        libxl_domain_config *config, struct error *e)
{
    uint64_t need_kb = 0, free_kb = 0, dom0_kb = xen_size_kb(host, 0);

    if (libxl_domain_need_memory(host->ctx, config, INVALID_DOMID, &need_kb) != 0 ||
        libxl_get_free_memory(host->ctx, &free_kb) != 0) {
        xen_forget_error(host);
        return OK;
    }
    if (start->replaced)
        free_kb += xen_size_kb(host, start->replaced);
    if (need_kb <= free_kb)
        return OK;
    if (need_kb > free_kb + dom0_kb)
        return error_set(e, NO_SPACE,
                         "it needs %" PRIu64 " MiB of memory, and %" PRIu64
                         " MiB are free on this host",
                         need_kb >> 10, free_kb >> 10);
    log_warning("it needs %" PRIu64 " MiB of memory, and %" PRIu64
                " MiB are free: xl would take the rest from dom0, if it may (autoballoon)",
                need_kb >> 10, free_kb >> 10);
    return OK;
}

/* ---- the processor ---- */

struct leaves {
    xen_cpuid_leaf_t *list;
    uint32_t count;
};

/* The most that this host's processor can be for a guest. */
static bool host_leaves(xc_interface *xc, bool pv, struct leaves *out)
{
    xc_cpu_policy_t *policy = xc_cpu_policy_init();
    uint32_t msr_count = 0;
    xen_msr_entry_t *msrs = NULL;
    bool ok = policy && xc_cpu_policy_get_size(xc, &out->count, &msr_count) == 0;

    if (ok) {
        out->list = calloc(out->count + 1, sizeof *out->list);
        msrs = calloc(msr_count + 1, sizeof *msrs);
        ok = out->list && msrs &&
             xc_cpu_policy_get_system(
                 xc, pv ? XEN_SYSCTL_cpu_policy_pv_max : XEN_SYSCTL_cpu_policy_hvm_max, policy) ==
                 0 &&
             xc_cpu_policy_serialise(xc, policy, out->list, &out->count, msrs, &msr_count) == 0;
    }
    free(msrs);
    if (policy)
        xc_cpu_policy_destroy(policy);
    return ok;
}

static struct cpuid_leaf guest_leaf(const struct domain_start *start, uint32_t leaf,
                                    uint32_t subleaf)
{
    for (size_t i = 0; i < start->leaf_count; i++)
        if (start->leaves[i].leaf == leaf &&
            (start->leaves[i].subleaf == subleaf || start->leaves[i].subleaf == UINT32_MAX))
            return start->leaves[i];
    return (struct cpuid_leaf){0};
}

static struct cpuid_leaf host_leaf(const struct leaves *host, uint32_t leaf, uint32_t subleaf)
{
    for (uint32_t i = 0; i < host->count; i++) {
        const xen_cpuid_leaf_t *l = &host->list[i];

        if (l->leaf == leaf && (l->subleaf == subleaf || l->subleaf == XEN_CPUID_NO_SUBLEAF))
            return (struct cpuid_leaf){l->leaf, l->subleaf, l->a, l->b, l->c, l->d};
    }
    return (struct cpuid_leaf){0};
}

static void put_vendor(char vendor[static 13], const struct cpuid_leaf *l)
{
    memcpy(vendor, &l->b, 4);
    memcpy(vendor + 4, &l->d, 4);
    memcpy(vendor + 8, &l->c, 4);
    vendor[12] = '\0';
}

/* Bits that say what an operating system, or Xen, has switched on. */
#define LEAF1_C_DYNAMIC (1u << 27 | 1u << 31) /* OSXSAVE, hypervisor */
#define LEAF1_D_DYNAMIC (1u << 9)             /* APIC */
#define LEAF7_C_DYNAMIC (1u << 4)             /* OSPKE */

/* What AMD repeats of leaf 1, which the most that a processor can be leaves out. */
#define EXTENDED1_D_REPEATED 0x0183f3ffu

/* Which of the guest's features the host lacks; 0: none. */
static uint32_t missing_features(const struct domain_start *start, const struct leaves *host,
                                 uint32_t *leaf)
{
    static const uint32_t leaves[] = {1, 7, 0x80000001};

    for (size_t i = 0; i < sizeof leaves / sizeof *leaves; i++) {
        struct cpuid_leaf g = guest_leaf(start, leaves[i], 0), h = host_leaf(host, leaves[i], 0);
        uint32_t b = leaves[i] == 7 ? g.b & ~h.b : 0, c = g.c & ~h.c, d = g.d & ~h.d;

        if (leaves[i] == 1) {
            c &= ~LEAF1_C_DYNAMIC;
            d &= ~LEAF1_D_DYNAMIC;
        } else if (leaves[i] == 7) {
            c &= ~LEAF7_C_DYNAMIC;
        } else {
            d &= ~EXTENDED1_D_REPEATED;
        }
        *leaf = leaves[i];
        if (b || c || d)
            return b ? b : c ? c : d;
    }
    return 0;
}

static int compare_processors(const struct domain_start *start, const struct leaves *host,
                              struct error *e)
{
    struct cpuid_leaf g = guest_leaf(start, 0, 0), h = host_leaf(host, 0, 0);
    char guest_vendor[13], host_vendor[13];
    uint32_t leaf, missing;

    put_vendor(guest_vendor, &g);
    put_vendor(host_vendor, &h);
    if (strcmp(guest_vendor, host_vendor) != 0)
        return error_set(
            e, UNSUPPORTED,
            "its RAM is from a host with a processor of %s, and this one's is of %s: --boot "
            "starts it without its RAM, --any-cpu with it all the same",
            guest_vendor, host_vendor);
    missing = missing_features(start, host, &leaf);
    if (missing)
        return error_set(
            e, UNSUPPORTED,
            "it has run with features of a processor that this host's does not have (CPUID "
            "leaf %#" PRIx32 ", bits %#" PRIx32 "), and would crash when it uses them: --boot "
            "starts it without its RAM, --any-cpu with it all the same",
            leaf, missing);
    return OK;
}

static int check_processor(struct domain_host *host, const struct domain_start *start, bool pv,
                           struct error *e)
{
    xc_interface *xc;
    struct leaves leaves = {0};
    int rc = OK;

    if (!start->leaf_count)
        return OK;
    xc = xc_interface_open(&host->logger.vtable, NULL, 0);
    if (xc && host_leaves(xc, pv, &leaves))
        rc = compare_processors(start, &leaves, e);
    else
        log_debug("what this host's processor can be for a guest can't be told");
    if (rc < 0 && start->any_cpu) {
        log_warning("%s", e->text);
        rc = OK;
    }
    free(leaves.list);
    if (xc)
        xc_interface_close(xc);
    xen_forget_error(host);
    return rc;
}

/* ---- the whole ---- */

static int check(struct domain_host *host, const struct domain_start *start,
                 libxl_domain_config *config, struct error *e)
{
    for (int i = 0; i < config->num_disks; i++)
        if (check_disk(start, &config->disks[i], e) < 0)
            return e->status;
    for (int i = 0; i < config->num_nics; i++)
        if (check_nic(&config->nics[i], e) < 0)
            return e->status;
    if (check_pool(host, config->c_info.pool_name, e) < 0)
        return e->status;
    if (check_processor(host, start, config->c_info.type == LIBXL_DOMAIN_TYPE_PV, e) < 0)
        return e->status;
    return check_memory(host, start, config, e);
}

int xen_check_startable(struct domain_host *host, const struct domain_start *start, struct error *e)
{
    AUTO_FREE char *text = json_dumps(start->config, 0);
    libxl_domain_config config;
    int rc;

    if (!text)
        return error_set(e, NO_SPACE, "out of memory");
    libxl_domain_config_init(&config);
    if (libxl_domain_config_from_json(host->ctx, &config, text) == 0)
        rc = check(host, start, &config, e);
    else
        rc = xen_failed(host, e, "its configuration", ERROR_FAIL);
    libxl_domain_config_dispose(&config);
    return rc < 0 ? error_prefix(e, "%s could not be started", start->name) : OK;
}
