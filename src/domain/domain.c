/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "domain/domain.h"

#include <ctype.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

struct domain_id domain_id_of(const struct domain *d)
{
    struct domain_id id = {.name = d->name, .domid = d->domid};

    memcpy(id.uuid, d->uuid, sizeof id.uuid);
    return id;
}

int domain_name_check(const char *name, struct error *e)
{
    size_t len = strlen(name);

    if (len == 0 || len > DOMAIN_NAME_MAX)
        return error_set(e, USAGE, "a domain's name has 1 to %d characters", DOMAIN_NAME_MAX);
    if (name[0] == '.' || name[0] == '-')
        return error_set(e, USAGE, "a domain's name can't begin with '%c'", name[0]);
    if (strpbrk(name, "/@") || !text_is_plain(name))
        return error_set(e, USAGE,
                         "the name of this domain has a '/', '@' or control character in it, "
                         "and can't become a file's name; see `xl rename`");
    return OK;
}

static const char *string_of(const json_t *object, const char *key)
{
    const char *s = json_string_value(json_object_get(object, key));

    return s ? s : "";
}

/* libxl writes its lower-case UUID; anything else is not one. */
static bool uuid_is_valid(const char *uuid)
{
    if (strlen(uuid) != DOMAIN_UUID_TEXT - 1)
        return false;
    for (int i = 0; i < DOMAIN_UUID_TEXT - 1; i++) {
        bool dash = i == 8 || i == 13 || i == 18 || i == 23;

        if (dash ? uuid[i] != '-' : !isxdigit((unsigned char)uuid[i]))
            return false;
    }
    return true;
}

/* What "backend" may call dom0. */
static bool is_this_host(const char *backend)
{
    return !*backend || strcmp(backend, "0") == 0 || strcmp(backend, "Domain-0") == 0;
}

static int parse_disk(struct domain_disk *disk, const json_t *json, struct error *e)
{
    const char *format = string_of(json, "format"), *script = string_of(json, "script");
    const json_t *backend_domid = json_object_get(json, "backend_domid");

    disk->vdev = strdup(string_of(json, "vdev"));
    disk->path = strdup(string_of(json, "pdev_path"));
    if (!disk->vdev || !disk->path)
        return error_set(e, NO_SPACE, "out of memory");
    /* It becomes part of a file's name. */
    for (const char *p = disk->vdev; *p; p++)
        if (!isalnum((unsigned char)*p))
            return error_set(e, DAMAGED, "a disk has the impossible name \"%s\"", disk->vdev);
    if (!*disk->vdev)
        return error_set(e, DAMAGED, "a disk without a name (vdev)");
    /* Absent means a default: raw, read-only, no CD-ROM. */
    disk->raw = !*format || strcmp(format, "raw") == 0;
    disk->local_device = !*script && json_integer_value(backend_domid) == 0 &&
                         is_this_host(string_of(json, "backend_domname"));
    disk->writable = json_integer_value(json_object_get(json, "readwrite")) != 0;
    disk->cdrom = json_integer_value(json_object_get(json, "is_cdrom")) != 0;
    return OK;
}

static int parse_disks(struct domain *d, struct error *e)
{
    const json_t *disks = json_object_get(d->config, "disks");
    size_t count = json_array_size(disks);

    d->disks = calloc(count ? count : 1, sizeof *d->disks);
    if (!d->disks)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < count; i++) {
        d->disk_count++;
        if (parse_disk(&d->disks[i], json_array_get(disks, i), e) < 0)
            return e->status;
        for (size_t j = 0; j < i; j++)
            if (strcmp(d->disks[i].vdev, d->disks[j].vdev) == 0)
                return error_set(e, DAMAGED, "two disks named %s", d->disks[i].vdev);
    }
    return OK;
}

static int parse(struct domain *d, struct error *e)
{
    const json_t *create = json_object_get(d->config, "c_info");
    const json_t *build = json_object_get(d->config, "b_info");
    const char *name = string_of(create, "name"), *uuid = string_of(create, "uuid");
    json_int_t memory_kb = json_integer_value(json_object_get(build, "max_memkb"));
    json_int_t vcpus = json_integer_value(json_object_get(build, "max_vcpus"));

    if (domain_name_check(name, e) < 0)
        return e->status;
    if (!uuid_is_valid(uuid))
        return error_set(e, DAMAGED, "the configuration of %s has no valid uuid", name);
    d->name = strdup(name);
    d->type = strdup(string_of(create, "type"));
    if (!d->name || !d->type)
        return error_set(e, NO_SPACE, "out of memory");
    strcpy(d->uuid, uuid);
    if (memory_kb < 0 || memory_kb > INT64_C(1) << 40)
        return error_set(e, DAMAGED, "the configuration of %s has an impossible memory size", name);
    d->memory_bytes = (uint64_t)memory_kb << 10;
    d->vcpus = vcpus > 0 ? (unsigned)vcpus : 1;
    d->passthrough_devices = (unsigned)(json_array_size(json_object_get(d->config, "pcidevs")) +
                                        json_array_size(json_object_get(d->config, "usbdevs")) +
                                        json_array_size(json_object_get(d->config, "dtdevs")));
    return parse_disks(d, e);
}

int domain_parse(struct domain *d, json_t *config, struct error *e)
{
    *d = (struct domain){.config = json_incref(config)};
    if (parse(d, e) < 0) {
        domain_release(d);
        return e->status;
    }
    return OK;
}

void domain_release(struct domain *d)
{
    for (size_t i = 0; i < d->disk_count; i++) {
        free(d->disks[i].vdev);
        free(d->disks[i].path);
    }
    free(d->disks);
    free(d->name);
    free(d->type);
    json_decref(d->config);
    *d = (struct domain){0};
}
