/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "domain/xen_config.h"

#include <errno.h>
#include <libxl.h>
#include <libxlutil.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"

/* What a configuration without a uuid is given: xl makes one up at each start. */
#define NO_UUID "00000000-0000-0000-0000-000000000000"

struct parser {
    XLU_Config *cfg;
    char *complaints; /* of libxlutil, which writes them to a stream */
    size_t complaint_bytes;
    FILE *stream;
};

/* The first line of what libxlutil had to say. */
static int complain(struct parser *p, const char *what, struct error *e)
{
    fflush(p->stream);
    if (p->complaint_bytes == 0)
        return error_set(e, UNSUPPORTED, "%s", what);
    return error_set(e, UNSUPPORTED, "%s: %.*s", what, (int)strcspn(p->complaints, "\n"),
                     p->complaints);
}

/* What it warns of, though it goes on, as xl shows it. */
static void pass_on_warnings(struct parser *p)
{
    char *rest = p->complaints, *line;

    while ((line = strtok_r(rest, "\n", &rest)))
        log_warning("%s", line);
}

static const char *string_of(const struct parser *p, const char *key, const char *otherwise)
{
    const char *value;

    return xlu_cfg_get_string(p->cfg, key, &value, 1) == 0 ? value : otherwise;
}

static long long_of(const struct parser *p, const char *key, long otherwise)
{
    long value;

    return xlu_cfg_get_long(p->cfg, key, &value, 1) == 0 ? value : otherwise;
}

static const char *type_of(const struct parser *p)
{
    /* "builder" is what "type" was called before. */
    const char *builder = string_of(p, "builder", "");

    return string_of(p, "type", strcmp(builder, "hvm") == 0 ? "hvm" : "pv");
}

static json_t *disk_to_json(const libxl_device_disk *disk)
{
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:i, s:s, s:i, s:i}", "vdev", disk->vdev ? disk->vdev : "",
        "pdev_path", disk->pdev_path ? disk->pdev_path : "", "format",
        disk->format == LIBXL_DISK_FORMAT_UNKNOWN ? "raw"
                                                  : libxl_disk_format_to_string(disk->format),
        "script", disk->script ? disk->script : "", "backend_domid", (int)disk->backend_domid,
        "backend_domname", disk->backend_domname ? disk->backend_domname : "", "readwrite",
        disk->readwrite != 0, "is_cdrom", disk->is_cdrom != 0);
}

static int parse_disks(struct parser *p, json_t *disks, struct error *e)
{
    XLU_ConfigList *list;
    int count = 0, rc;

    rc = xlu_cfg_get_list(p->cfg, "disk", &list, &count, 0);
    if (rc == ESRCH)
        return OK;
    if (rc != 0)
        return complain(p, "disk is not a list", e);
    for (int i = 0; i < count; i++) {
        const char *spec = xlu_cfg_get_listitem(list, i);
        libxl_device_disk disk;
        json_t *json;

        if (!spec)
            return error_set(e, UNSUPPORTED, "disk: element %d of the list is not a string", i + 1);
        libxl_device_disk_init(&disk);
        rc = xlu_disk_parse(p->cfg, 1, &spec, &disk);
        json = rc == 0 ? disk_to_json(&disk) : NULL;
        libxl_device_disk_dispose(&disk);
        if (rc != 0)
            return complain(p, "disk", e);
        if (!json)
            return error_set(e, UNSUPPORTED,
                             "disk: element %d of the list is not UTF-8: give the file or device a "
                             "name, or a link, that is",
                             i + 1);
        json_array_append_new(disks, json);
    }
    return (int)json_array_size(disks) == count ? OK : error_set(e, NO_SPACE, "out of memory");
}

/* In libxl's JSON form, which domain_parse() checks. */
static int parse(struct parser *p, const char *text, size_t bytes, struct domain *d,
                 struct error *e)
{
    AUTO_JSON json_t *config = NULL;
    AUTO_JSON json_t *disks = json_array();
    long memory_mib, vcpus;

    if (bytes > INT_MAX || xlu_cfg_readdata(p->cfg, text, (int)bytes) != 0)
        return complain(p, "it can't be read", e);
    memory_mib = long_of(p, "maxmem", long_of(p, "memory", 0));
    vcpus = long_of(p, "maxvcpus", long_of(p, "vcpus", 1));
    if (!*string_of(p, "name", ""))
        return error_set(e, UNSUPPORTED, "the configuration has no name (name = \"...\")");
    if (memory_mib < 0 || memory_mib > INT_MAX)
        return error_set(e, UNSUPPORTED, "memory = %ld", memory_mib);
    if (parse_disks(p, disks, e) < 0)
        return e->status;
    config = json_pack("{s:{s:s, s:s, s:s}, s:{s:I, s:I}, s:O}", "c_info", "name",
                       string_of(p, "name", ""), "uuid", string_of(p, "uuid", NO_UUID), "type",
                       type_of(p), "b_info", "max_memkb", (json_int_t)memory_mib * 1024,
                       "max_vcpus", (json_int_t)vcpus, "disks", disks);
    if (!config)
        return error_set(e, UNSUPPORTED, "its name, type or uuid is not UTF-8");
    return domain_parse(d, config, e);
}

int xen_describe_config(const char *text, size_t bytes, const char *file, struct domain *d,
                        struct error *e)
{
    struct parser p = {0};
    int rc;

    p.stream = open_memstream(&p.complaints, &p.complaint_bytes);
    p.cfg = p.stream ? xlu_cfg_init(p.stream, file) : NULL;
    rc = p.cfg ? parse(&p, text, bytes, d, e) : error_set(e, NO_SPACE, "out of memory");
    if (p.cfg)
        xlu_cfg_destroy(p.cfg);
    if (p.stream)
        fclose(p.stream);
    if (rc == OK)
        pass_on_warnings(&p);
    free(p.complaints);
    return rc < 0 ? error_prefix(e, "%s", file) : OK;
}
