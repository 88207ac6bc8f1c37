/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The mapping is a table: a path in libxl's JSON, a key of xl.cfg(5), and how the value is written.
 * What was carried over is deleted from a copy of the JSON; what is left at the end is reported.
 * How xl reads each key: Xen's tools/xl/xl_parse.c.
 */
#include "domain/xlcfg.h"

#include <ctype.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"

enum kind {
    TEXT,       /* a string */
    NUMBER,     /* an integer */
    MIB,        /* an integer of KiB, written in MiB */
    MIB_IF_SET, /* the same, rounded up; not if it is negative or 0, which is libxl's own choice */
    BOOLEAN,    /* libxl's defbool, "True" or "False", or a JSON boolean: 1 or 0 */
    LIST,       /* of strings */
    ACTION,     /* what to do when the domain stops: xl and libxl have different words for it */
    IGNORED     /* libxl works it out, or xl sets it, anew */
};

struct mapping {
    const char *path; /* keys from the root, separated by '/' */
    const char *key;
    enum kind kind;
};

static const struct mapping mappings[] = {
    {"c_info/name", "name", TEXT},
    {"c_info/uuid", "uuid", TEXT},
    {"c_info/type", "type", TEXT},
    {"c_info/pool_name", "pool", TEXT},
    {"c_info/hap", "hap", BOOLEAN},
    {"c_info/oos", "oos", BOOLEAN},
    {"c_info/driver_domain", "driver_domain", BOOLEAN},
    {"c_info/ssid_label", "seclabel", TEXT},
    {"c_info/domid", NULL, IGNORED},
    {"c_info/run_hotplug_scripts", NULL, IGNORED},
    {"c_info/passthrough", "passthrough", TEXT},

    {"b_info/target_memkb", "memory", MIB},
    {"b_info/max_memkb", "maxmem", MIB},
    {"b_info/shadow_memkb", "shadow_memory", MIB_IF_SET},
    {"b_info/iommu_memkb", NULL, IGNORED},
    {"b_info/video_memkb", "videoram", MIB_IF_SET},
    {"b_info/max_vcpus", "maxvcpus", NUMBER},
    {"b_info/claim_mode", NULL, IGNORED},
    {"b_info/numa_placement", NULL, IGNORED},
    {"b_info/device_model_version", NULL, IGNORED},
    {"b_info/sched_params/sched", NULL, IGNORED},
    {"b_info/sched_params/weight", "cpu_weight", NUMBER},
    {"b_info/sched_params/cap", "cap", NUMBER},
    {"b_info/tsc_mode", "tsc_mode", TEXT},
    {"b_info/timer_mode", "timer_mode", TEXT},
    {"b_info/localtime", "localtime", BOOLEAN},
    {"b_info/rtc_timeoffset", "rtc_timeoffset", NUMBER},
    {"b_info/disable_migrate", "nomigrate", BOOLEAN},
    {"b_info/max_grant_frames", "max_grant_frames", NUMBER},
    {"b_info/max_maptrack_frames", "max_maptrack_frames", NUMBER},
    {"b_info/max_grant_version", "max_grant_version", NUMBER},
    {"b_info/event_channels", "max_event_channels", NUMBER},
    {"b_info/blkdev_start", "blkdev_start", TEXT},
    {"b_info/device_model", "device_model_override", TEXT},
    {"b_info/device_model_user", "device_model_user", TEXT},
    {"b_info/device_model_stubdomain", "device_model_stubdomain_override", BOOLEAN},
    {"b_info/dm_restrict", "dm_restrict", BOOLEAN},
    {"b_info/extra", "device_model_args", LIST},
    {"b_info/extra_pv", "device_model_args_pv", LIST},
    {"b_info/extra_hvm", "device_model_args_hvm", LIST},
    {"b_info/kernel", "kernel", TEXT},
    {"b_info/ramdisk", "ramdisk", TEXT},
    {"b_info/cmdline", "cmdline", TEXT},
    {"b_info/bootloader", "bootloader", TEXT},
    {"b_info/bootloader_args", "bootloader_args", LIST},
    {"b_info/acpi", "acpi", BOOLEAN},
    {"b_info/apic", "apic", BOOLEAN},
    {"b_info/nested_hvm", "nestedhvm", BOOLEAN},
    {"b_info/altp2m", "altp2m", TEXT},
    {"b_info/vpmu", "vpmu", BOOLEAN},
    {"b_info/arch_x86/msr_relaxed", "msr_relaxed", BOOLEAN},
    {"b_info/type.pv/e820_host", "e820_host", BOOLEAN},
    {"b_info/type.pv/slack_memkb", NULL, IGNORED},
    {"b_info/type.pvh/pvshim", "pvshim", BOOLEAN},
    {"b_info/type.pvh/pvshim_path", "pvshim_path", TEXT},
    {"b_info/type.pvh/pvshim_cmdline", "pvshim_cmdline", TEXT},
    {"b_info/type.pvh/pvshim_extra", "pvshim_extra", TEXT},
    {"b_info/type.hvm/firmware", "firmware_override", TEXT},
    {"b_info/type.hvm/bios", "bios", TEXT},
    {"b_info/type.hvm/system_firmware", "bios_path_override", TEXT},
    {"b_info/type.hvm/acpi_firmware", "acpi_firmware", TEXT},
    {"b_info/type.hvm/smbios_firmware", "smbios_firmware", TEXT},
    {"b_info/type.hvm/pae", "pae", BOOLEAN},
    {"b_info/type.hvm/apic", "apic", BOOLEAN},
    {"b_info/type.hvm/acpi_s3", "acpi_s3", BOOLEAN},
    {"b_info/type.hvm/acpi_s4", "acpi_s4", BOOLEAN},
    {"b_info/type.hvm/acpi_laptop_slate", "acpi_laptop_slate", BOOLEAN},
    {"b_info/type.hvm/nx", "nx", BOOLEAN},
    {"b_info/type.hvm/hpet", "hpet", BOOLEAN},
    {"b_info/type.hvm/vpt_align", "vpt_align", BOOLEAN},
    {"b_info/type.hvm/viridian", "viridian", BOOLEAN},
    {"b_info/type.hvm/nographic", "nographic", BOOLEAN},
    {"b_info/type.hvm/vga/kind", "vga", TEXT},
    {"b_info/type.hvm/vnc/enable", "vnc", BOOLEAN},
    {"b_info/type.hvm/vnc/listen", "vnclisten", TEXT},
    {"b_info/type.hvm/vnc/passwd", "vncpasswd", TEXT},
    {"b_info/type.hvm/vnc/display", "vncdisplay", NUMBER},
    {"b_info/type.hvm/vnc/findunused", "vncunused", BOOLEAN},
    {"b_info/type.hvm/sdl/enable", "sdl", BOOLEAN},
    {"b_info/type.hvm/spice/enable", "spice", BOOLEAN},
    {"b_info/type.hvm/keymap", "keymap", TEXT},
    {"b_info/type.hvm/serial", "serial", TEXT},
    {"b_info/type.hvm/serial_list", "serial", LIST},
    {"b_info/type.hvm/boot", "boot", TEXT},
    {"b_info/type.hvm/usb", "usb", BOOLEAN},
    {"b_info/type.hvm/usbdevice", "usbdevice", TEXT},
    {"b_info/type.hvm/usbdevice_list", "usbdevice", LIST},
    {"b_info/type.hvm/soundhw", "soundhw", TEXT},
    {"b_info/type.hvm/xen_platform_pci", "xen_platform_pci", BOOLEAN},
    {"b_info/type.hvm/hdtype", "hdtype", TEXT},
    {"b_info/type.hvm/gfx_passthru", "gfx_passthru", BOOLEAN},

    {"on_poweroff", "on_poweroff", ACTION},
    {"on_reboot", "on_reboot", ACTION},
    {"on_watchdog", "on_watchdog", ACTION},
    {"on_crash", "on_crash", ACTION},
    {"on_soft_reset", "on_soft_reset", ACTION},
};

/* ---- values in xl's syntax: no escapes, so a quote that is inside decides the one that is outside
 * ---- */

/* The quotation mark for `s`, or 0 if there is none that works. */
static char quote_for(const char *s)
{
    for (const char *p = s; *p; p++)
        if (iscntrl((unsigned char)*p) || *p == '\\')
            return 0;
    return !strchr(s, '"') ? '"' : !strchr(s, '\'') ? '\'' : 0;
}

static void put_text(FILE *out, const char *s)
{
    char quote = s ? quote_for(s) : 0;

    if (quote)
        fprintf(out, "%c%s%c", quote, s, quote);
}

static bool texts_are_fine(const json_t *list)
{
    const json_t *item;
    size_t i;

    json_array_foreach (list, i, item)
        if (!json_is_string(item) || !quote_for(json_string_value(item)))
            return false;
    return json_is_array(list);
}

static void put_list(FILE *out, const json_t *list)
{
    const json_t *item;
    size_t i;

    fputs("[ ", out);
    json_array_foreach (list, i, item) {
        fputs(i ? ", " : "", out);
        put_text(out, json_string_value(item));
    }
    fputs(" ]", out);
}

/* 1, 0, or -1: neither. */
static int truth_of(const json_t *value)
{
    const char *s = json_string_value(value);

    if (json_is_boolean(value))
        return json_is_true(value);
    if (json_is_integer(value))
        return json_integer_value(value) != 0;
    return !s ? -1 : strcmp(s, "True") == 0 ? 1 : strcmp(s, "False") == 0 ? 0 : -1;
}

/* libxl: restart_rename, coredump_destroy; xl: rename-restart, coredump-destroy. */
static void put_action(FILE *out, const char *s)
{
    fputc('"', out);
    if (strcmp(s, "restart_rename") == 0)
        s = "rename-restart";
    for (; *s; s++)
        fputc(*s == '_' ? '-' : *s, out);
    fputc('"', out);
}

static bool can_put(const json_t *value, enum kind kind)
{
    switch (kind) {
    case TEXT:
    case ACTION:
        return json_is_string(value) && quote_for(json_string_value(value));
    case NUMBER:
    case MIB:
    case MIB_IF_SET:
        return json_is_integer(value);
    case BOOLEAN:
        return truth_of(value) >= 0;
    case LIST:
        return texts_are_fine(value);
    case IGNORED:
        return true;
    }
    return false;
}

static void put(FILE *out, const char *key, const json_t *value, enum kind kind)
{
    if (kind == IGNORED || (kind == MIB_IF_SET && json_integer_value(value) <= 0))
        return;
    fprintf(out, "%s = ", key);
    if (kind == TEXT)
        put_text(out, json_string_value(value));
    else if (kind == ACTION)
        put_action(out, json_string_value(value));
    else if (kind == NUMBER)
        fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value));
    else if (kind == MIB_IF_SET)
        fprintf(out, "%" JSON_INTEGER_FORMAT, (json_integer_value(value) + 1023) / 1024);
    else if (kind == MIB)
        fprintf(out, "%" JSON_INTEGER_FORMAT, json_integer_value(value) / 1024);
    else if (kind == BOOLEAN)
        fprintf(out, "%d", truth_of(value));
    else
        put_list(out, value);
    fputc('\n', out);
}

/* ---- paths ---- */

/* The object that holds the last key of `path`, and that key; NULL if there is none. */
static json_t *parent_of(json_t *root, const char *path, const char **key)
{
    const char *slash;

    while ((slash = strchr(path, '/'))) {
        root = json_object_getn(root, path, (size_t)(slash - path));
        path = slash + 1;
    }
    *key = path;
    return root;
}

static void put_mapped(FILE *out, json_t *left)
{
    for (size_t i = 0; i < sizeof mappings / sizeof *mappings; i++) {
        const struct mapping *m = &mappings[i];
        const char *key;
        json_t *parent = parent_of(left, m->path, &key);
        const json_t *value = json_object_get(parent, key);

        if (!value || !can_put(value, m->kind))
            continue;
        put(out, m->key, value, m->kind);
        json_object_del(parent, key);
    }
}

/* ---- what is no scalar ---- */

/* xl says which CPUs are online at the start as a number; libxl as a list of them, the first ones.
 */
static void put_vcpus(FILE *out, json_t *left)
{
    json_t *build = json_object_get(left, "b_info");
    const json_t *online = json_object_get(build, "avail_vcpus"), *cpu;
    size_t i;

    if (!json_is_array(online))
        return;
    json_array_foreach (online, i, cpu)
        if (json_integer_value(cpu) != (json_int_t)i)
            return;
    fprintf(out, "vcpus = %zu\n", json_array_size(online));
    json_object_del(build, "avail_vcpus");
}

static void put_cpu_list(FILE *out, const json_t *cpus)
{
    const json_t *cpu;
    size_t i;

    fputc('"', out);
    json_array_foreach (cpus, i, cpu)
        fprintf(out, "%s%" JSON_INTEGER_FORMAT, i ? "," : "", json_integer_value(cpu));
    fputc('"', out);
}

/* One list of CPUs for each virtual one. */
static void put_affinity(FILE *out, json_t *left, const char *path, const char *key)
{
    json_t *build = json_object_get(left, "b_info");
    const json_t *all = json_object_get(build, path), *cpus;
    size_t i;

    json_array_foreach (all, i, cpus)
        if (json_array_size(cpus) == 0)
            return;
    if (json_array_size(all) == 0)
        return;
    fprintf(out, "%s = [ ", key);
    json_array_foreach (all, i, cpus) {
        fputs(i ? ", " : "", out);
        put_cpu_list(out, cpus);
    }
    fputs(" ]\n", out);
    json_object_del(build, path);
}

/* What Xen does for Windows, by libxl's numbers. */
static const char *const viridian[] = {
    "base",
    "freq",
    "time_ref_count",
    "reference_tsc",
    "hcall_remote_tlb_flush",
    "apic_assist",
    "crash_ctl",
    "synic",
    "stimer",
    "hcall_ipi",
    "ex_processor_masks",
    "no_vp_limit",
    "cpu_hotplug",
};
#define VIRIDIAN (json_int_t)(sizeof viridian / sizeof *viridian)

static bool are_viridian(const json_t *list)
{
    const json_t *number;
    size_t i;

    json_array_foreach (list, i, number)
        if (!json_is_integer(number) || json_integer_value(number) < 0 ||
            json_integer_value(number) >= VIRIDIAN)
            return false;
    return true;
}

/* Names, and, of those that it is to do without, names with a '!'. */
static void put_viridian(FILE *out, json_t *left)
{
    json_t *hvm = json_object_get(json_object_get(left, "b_info"), "type.hvm"), *number;
    const json_t *enable = json_object_get(hvm, "viridian_enable"),
                 *disable = json_object_get(hvm, "viridian_disable");
    const char *separator = "";
    size_t i;

    if (json_array_size(enable) + json_array_size(disable) == 0)
        return;
    if (!are_viridian(enable) || !are_viridian(disable))
        return;
    fputs("viridian = [ ", out);
    if (truth_of(json_object_get(hvm, "viridian")) == 1) {
        fputs("\"defaults\"", out);
        separator = ", ";
    }
    json_array_foreach (enable, i, number) {
        fprintf(out, "%s\"%s\"", separator, viridian[json_integer_value(number)]);
        separator = ", ";
    }
    json_array_foreach (disable, i, number) {
        fprintf(out, "%s\"!%s\"", separator, viridian[json_integer_value(number)]);
        separator = ", ";
    }
    fputs(" ]\n", out);
    json_object_del(hvm, "viridian");
    json_object_del(hvm, "viridian_enable");
    json_object_del(hvm, "viridian_disable");
}

/* A device is a list of key=value, in one quoted string; commas separate, so none may be inside. */
struct field {
    const char *json, *key;
    enum kind kind;
};

static const struct field nic_fields[] = {
    {"mac", "mac", TEXT},
    {"bridge", "bridge", TEXT},
    {"ip", "ip", TEXT},
    {"script", "script", TEXT},
    {"model", "model", TEXT},
    {"ifname", "vifname", TEXT},
    {"gatewaydev", "gatewaydev", TEXT},
    {"backend_domname", "backend", TEXT},
    {"nictype", "type", TEXT},
    {"mtu", NULL, IGNORED},
    {"devid", NULL, IGNORED},
    {"trusted", "trusted", BOOLEAN},
};

static const struct field vfb_fields[] = {
    {"vnc/enable", "vnc", BOOLEAN},
    {"vnc/listen", "vnclisten", TEXT},
    {"vnc/passwd", "vncpasswd", TEXT},
    {"vnc/display", "vncdisplay", NUMBER},
    {"vnc/findunused", "vncunused", BOOLEAN},
    {"sdl/enable", "sdl", BOOLEAN},
    {"sdl/display", "display", TEXT},
    {"sdl/xauthority", "xauthority", TEXT},
    {"keymap", "keymap", TEXT},
    {"devid", NULL, IGNORED},
};

static const struct field disk_fields[] = {
    {"format", "format", TEXT},
    {"vdev", "vdev", TEXT},
    {"backend", "backendtype", TEXT},
    {"backend_domname", "backend", TEXT},
    {"script", "script", TEXT},
    {"removable", NULL, IGNORED},
    {"colo_restore_enable", NULL, IGNORED},
    {"trusted", "trusted", BOOLEAN},
};

static bool put_field(FILE *out, const char *separator, const struct field *field,
                      const json_t *value)
{
    const char *s = json_string_value(value);

    if (field->kind == TEXT) {
        if (!s || quote_for(s) == 0 || strpbrk(s, ",'\""))
            return false;
        /* libxl calls an interface of an emulated card and a PV one "vif_ioemu", xl "ioemu". */
        if (strcmp(field->json, "nictype") == 0 && strcmp(s, "vif_ioemu") == 0)
            s = "ioemu";
        fprintf(out, "%s%s=%s", separator, field->key, s);
    } else {
        if (!can_put(value, field->kind))
            return false;
        fprintf(out, "%s%s=%" JSON_INTEGER_FORMAT, separator, field->key,
                field->kind == NUMBER ? json_integer_value(value) : truth_of(value));
    }
    return true;
}

static bool put_fields(FILE *out, json_t *device, const struct field *fields, size_t count)
{
    const char *separator = "";

    for (size_t i = 0; i < count; i++) {
        const char *key;
        json_t *parent = parent_of(device, fields[i].json, &key);
        const json_t *value = json_object_get(parent, key);

        if (!value)
            continue;
        if (fields[i].kind != IGNORED) {
            if (!put_field(out, separator, &fields[i], value))
                return false;
            separator = ",";
        }
        json_object_del(parent, key);
    }
    return true;
}

/* access=, and target= last: it takes the rest of the string, commas too. */
static bool put_disk(FILE *out, json_t *disk)
{
    const char *target = json_string_value(json_object_get(disk, "pdev_path"));
    bool writable = json_integer_value(json_object_get(disk, "readwrite")) != 0;

    if (target && (!quote_for(target) || strpbrk(target, "'\"")))
        return false;
    if (!put_fields(out, disk, disk_fields, sizeof disk_fields / sizeof *disk_fields))
        return false;
    fprintf(out, ",access=%s", writable ? "rw" : "ro");
    if (json_integer_value(json_object_get(disk, "is_cdrom")) != 0)
        fputs(",devtype=cdrom", out);
    if (truth_of(json_object_get(disk, "discard_enable")) >= 0)
        fputs(truth_of(json_object_get(disk, "discard_enable")) ? ",discard" : ",no-discard", out);
    if (truth_of(json_object_get(disk, "direct_io_safe")) == 1)
        fputs(",direct-io-safe", out);
    if (target)
        fprintf(out, ",target=%s", target);
    for (const char *const *key = (const char *const[]){"pdev_path", "readwrite", "is_cdrom",
                                                        "discard_enable", "direct_io_safe", NULL};
         *key; key++)
        json_object_del(disk, *key);
    return true;
}

/* So many bytes in so many microseconds. */
static void put_rate(FILE *out, json_t *nic)
{
    json_int_t bytes = json_integer_value(json_object_get(nic, "rate_bytes_per_interval"));
    json_int_t interval_us = json_integer_value(json_object_get(nic, "rate_interval_usecs"));

    if (bytes > 0 && bytes < INT64_MAX / 2000000 && interval_us > 0 && interval_us < INT32_MAX)
        /* xl rounds down what it makes of it. */
        fprintf(out, ",rate=%" JSON_INTEGER_FORMAT "B/s@%" JSON_INTEGER_FORMAT "us",
                (bytes * 1000000 + interval_us - 1) / interval_us, interval_us);
    else if (bytes)
        return;
    json_object_del(nic, "rate_bytes_per_interval");
    json_object_del(nic, "rate_interval_usecs");
}

static bool put_nic(FILE *out, json_t *nic)
{
    if (!put_fields(out, nic, nic_fields, sizeof nic_fields / sizeof *nic_fields))
        return false;
    put_rate(out, nic);
    return true;
}

static bool put_vfb(FILE *out, json_t *vfb)
{
    return put_fields(out, vfb, vfb_fields, sizeof vfb_fields / sizeof *vfb_fields);
}

/* Each device by itself, into a string of its own: one that can't be written leaves no half. */
static void put_devices(FILE *out, json_t *left, const char *name, const char *key,
                        bool (*put_one)(FILE *out, json_t *device))
{
    json_t *devices = json_object_get(left, name);
    const char *separator = "";
    size_t count = json_array_size(devices);

    if (count == 0)
        return;
    fprintf(out, "%s = [", key);
    for (size_t i = 0; i < count; i++) {
        AUTO_FREE char *text = NULL;
        size_t size;
        FILE *one = open_memstream(&text, &size);
        json_t *copy = json_deep_copy(json_array_get(devices, i));
        bool fine = one && put_one(one, copy);

        if (one)
            fclose(one);
        if (fine) {
            fprintf(out, "%s '%s'", separator, text);
            json_array_set_new(devices, i, copy);
            separator = ",";
        } else {
            json_decref(copy);
        }
    }
    fputs(" ]\n", out);
}

/* ---- what is left ---- */

#define DEPTH_MAX  16
#define PATH_BYTES 400

static void put_left_over(FILE *out, const json_t *value, const char *path, int depth)
{
    char child[PATH_BYTES];
    const json_t *item;
    const char *key;
    size_t i;

    if (json_is_object(value) && depth < DEPTH_MAX) {
        json_object_foreach ((json_t *)value, key, item) {
            snprintf(child, sizeof child, "%s%s%s", path, *path ? "." : "", key);
            put_left_over(out, item, child, depth + 1);
        }
    } else if (json_is_array(value) && depth < DEPTH_MAX) {
        json_array_foreach (value, i, item) {
            snprintf(child, sizeof child, "%s[%zu]", path, i);
            put_left_over(out, item, child, depth + 1);
        }
    } else if (!json_is_null(value)) {
        fputs("# not carried over: ", out);
        for (const char *p = path; *p; p++)
            fputc(iscntrl((unsigned char)*p) ? '?' : *p, out);
        fputc('\n', out);
    }
}

static void put_all(FILE *out, json_t *left)
{
    fputs("# Written by domsnap from the running domain's configuration; see xl.cfg(5).\n", out);
    put_viridian(out, left);
    put_mapped(out, left);
    put_vcpus(out, left);
    put_affinity(out, left, "vcpu_hard_affinity", "cpus");
    put_affinity(out, left, "vcpu_soft_affinity", "cpus_soft");
    put_devices(out, left, "disks", "disk", put_disk);
    put_devices(out, left, "nics", "vif", put_nic);
    put_devices(out, left, "vfbs", "vfb", put_vfb);
    put_left_over(out, left, "", 0);
}

char *xlcfg_left_out(const char *text)
{
    static const char begin[] = "\n# not carried over: ";
    char *list = strdup("");

    for (const char *p = text; list && (p = strstr(p, begin));) {
        char *before = list;

        p += strlen(begin);
        list = format_text("%s%s%.*s", before, *before ? ", " : "", (int)strcspn(p, "\n"), p);
        free(before);
    }
    if (list && !*list) {
        free(list);
        return NULL;
    }
    return list;
}

int xlcfg_from_json(const json_t *config, char **text, struct error *e)
{
    AUTO_JSON json_t *left = json_deep_copy(config);
    const char *key;
    size_t size;
    FILE *out;

    if (!json_is_string(json_object_get(parent_of(left, "c_info/name", &key), "name")))
        return error_set(e, DAMAGED, "the configuration has no name");
    *text = NULL;
    out = open_memstream(text, &size);
    if (out)
        put_all(out, left);
    if (out && fclose(out) == 0)
        return OK;
    free(*text);
    return error_set(e, NO_SPACE, "out of memory");
}
