/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/manifest.h"

#include <stdbool.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/text.h"

#define FORMAT    "domsnap-manifest"
#define VERSION   1
#define BYTES_MAX (INT64_C(1) << 60)

const struct manifest_file *manifest_image(const struct manifest *m, size_t i)
{
    const struct manifest_file *const first[] = {&m->ram, &m->ram_frames, &m->ram_types,
                                                 &m->config};
    const size_t count = sizeof first / sizeof *first;

    if (i < count)
        return first[i];
    return i - count < m->disk_count ? &m->disks[i - count].image : NULL;
}

const char *manifest_image_name(const struct manifest *m, size_t i)
{
    static const char *const first[] = {"RAM", "RAM, its pages", "RAM, its pages' types",
                                        "configuration"};
    const size_t count = sizeof first / sizeof *first;

    return i < count ? first[i] : m->disks[i - count].vdev;
}

uint64_t manifest_bytes(const struct manifest *m)
{
    const struct manifest_file *f;
    uint64_t sum = 0;

    for (size_t i = 0; (f = manifest_image(m, i)); i++)
        sum += f->bytes;
    return sum;
}

/* ---- out ---- */

static json_t *drop(json_t *json)
{
    json_decref(json);
    return NULL;
}

static json_t *file_to_json(const struct manifest_file *f)
{
    return json_pack("{s:s*, s:I, s:s}", "file", f->file, "bytes", (json_int_t)f->bytes, "root",
                     f->root);
}

static json_t *ram_to_json(const struct manifest *m)
{
    json_t *json = file_to_json(&m->ram);

    if (json && manifest_has(&m->ram_frames) &&
        (json_object_set_new(json, "pages_at", json_integer((json_int_t)m->ram_pages_at)) < 0 ||
         json_object_set_new(json, "frames", file_to_json(&m->ram_frames)) < 0 ||
         json_object_set_new(json, "types", file_to_json(&m->ram_types)) < 0))
        return drop(json);
    return json;
}

static json_t *owner_to_json(const struct manifest_owner *o)
{
    return o->known ? json_pack("{s:I, s:I, s:I}", "uid", (json_int_t)o->uid, "gid",
                                (json_int_t)o->gid, "mode", (json_int_t)o->mode)
                    : NULL;
}

static json_t *disks_to_json(const struct manifest *m)
{
    json_t *disks = json_array();
    bool ok = disks != NULL;

    for (size_t i = 0; ok && i < m->disk_count; i++) {
        const struct manifest_disk *d = &m->disks[i];

        ok = json_array_append_new(disks, json_pack("{s:s, s:s, s:s, s:o*, s:o}", "vdev", d->vdev,
                                                    "path", d->path, "driver", d->driver, "owner",
                                                    owner_to_json(&d->owner), "image",
                                                    file_to_json(&d->image))) == 0;
    }
    return ok ? disks : drop(disks);
}

static json_t *left_out_to_json(const struct manifest *m)
{
    json_t *left_out = json_array();
    bool ok = left_out != NULL;

    for (size_t i = 0; ok && i < m->left_out_count; i++)
        ok = json_array_append_new(left_out, json_pack("{s:s, s:s}", "vdev", m->left_out[i].vdev,
                                                       "why", m->left_out[i].why)) == 0;
    return ok ? left_out : drop(left_out);
}

json_t *manifest_to_json(const struct manifest *m)
{
    json_t *json =
        json_pack("{s:s, s:i, s:s, s:s, s:s, s:s, s:s}", "format", FORMAT, "version", VERSION,
                  "domsnap", m->domsnap ? m->domsnap : DOMSNAP_VERSION, "created", m->created,
                  "host", m->host, "hypervisor", m->hypervisor, "method", m->method);
    json_t *domain = json_pack("{s:s, s:s, s:s, s:i, s:I}", "name", m->domain_name, "uuid",
                               m->domain_uuid, "type", m->domain_type, "vcpus", (int)m->vcpus,
                               "memory_bytes", (json_int_t)m->memory_bytes);
    json_t *pause = json_pack(
        "{s:I, s:I, s:I, s:I, s:I}", "save_ns", (json_int_t)m->pause.save_ns, "disks_ns",
        (json_int_t)m->pause.disks_ns, "resume_ns", (json_int_t)m->pause.resume_ns, "total_ns",
        (json_int_t)m->pause.total_ns, "asked_ns", (json_int_t)m->pause.asked_ns);
    bool ok = json_object_set_new(json, "domain", domain) == 0;

    if (m->name)
        ok = json_object_set_new(json, "name", json_string(m->name)) == 0 && ok;
    if (manifest_has(&m->ram))
        ok = json_object_set_new(json, "ram", ram_to_json(m)) == 0 && ok;
    if (manifest_has(&m->config))
        ok = json_object_set_new(json, "config", file_to_json(&m->config)) == 0 && ok;
    ok = json_object_set_new(json, "disks", disks_to_json(m)) == 0 && ok;
    ok = json_object_set_new(json, "left_out", left_out_to_json(m)) == 0 && ok;
    ok = json_object_set_new(json, "pause", pause) == 0 && ok;
    return ok ? json : drop(json);
}

/* ---- in ---- */

static int take_text(char **to, const json_t *from, const char *key, struct error *e)
{
    const char *s = json_string_value(json_object_get(from, key));

    if (!s || !text_is_plain(s))
        return error_set(e, DAMAGED, "\"%s\" is missing or not plain text", key);
    *to = strdup(s);
    return *to ? OK : error_set(e, NO_SPACE, "out of memory");
}

static int take_number(uint64_t *to, const json_t *from, const char *key, struct error *e)
{
    const json_t *n = json_object_get(from, key);

    if (!json_is_integer(n) || json_integer_value(n) < 0 || json_integer_value(n) > BYTES_MAX)
        return error_set(e, DAMAGED, "\"%s\" is missing or not a sensible number", key);
    *to = (uint64_t)json_integer_value(n);
    return OK;
}

static int take_hex(char to[65], const json_t *from, const char *key, struct error *e)
{
    const char *s = json_string_value(json_object_get(from, key));

    if (!s || strlen(s) != 64 || strspn(s, "0123456789abcdef") != 64)
        return error_set(e, DAMAGED, "\"%s\" is missing or not 64 hexadecimal digits", key);
    strcpy(to, s);
    return OK;
}

static int take_tree(struct manifest_file *f, const json_t *json, struct error *e)
{
    return take_number(&f->bytes, json, "bytes", e) < 0 ? e->status
                                                        : take_hex(f->root, json, "root", e);
}

bool manifest_is_file_name(const char *name)
{
    return name && *name && *name != '.' && !strchr(name, '/');
}

static int take_named(struct manifest_file *f, const json_t *json, struct error *e)
{
    if (take_text(&f->file, json, "file", e) < 0 || take_tree(f, json, e) < 0)
        return e->status;
    if (!manifest_is_file_name(f->file))
        return error_set(e, DAMAGED, "\"%s\" is not the name of a file in its folder", f->file);
    return OK;
}

static int take_file(struct manifest_file *f, const json_t *from, const char *key,
                     enum manifest_place place, struct error *e)
{
    const json_t *json = json_object_get(from, key);

    if ((place == MANIFEST_FOLDER ? take_named(f, json, e) : take_tree(f, json, e)) < 0)
        return error_prefix(e, "\"%s\"", key);
    return OK;
}

static int take_ram(struct manifest *m, const json_t *from, enum manifest_place place,
                    struct error *e)
{
    const json_t *ram = json_object_get(from, "ram");

    if (!ram)
        return OK;
    if (take_file(&m->ram, from, "ram", place, e) < 0)
        return e->status;
    if (!json_object_get(ram, "frames"))
        return OK;
    if (take_number(&m->ram_pages_at, ram, "pages_at", e) < 0 ||
        take_file(&m->ram_frames, ram, "frames", MANIFEST_REPOSITORY, e) < 0 ||
        take_file(&m->ram_types, ram, "types", MANIFEST_REPOSITORY, e) < 0)
        return error_prefix(e, "\"ram\"");
    return OK;
}

static int take_id(uint32_t *to, const json_t *from, const char *key, uint32_t max, struct error *e)
{
    uint64_t number;

    if (take_number(&number, from, key, e) < 0)
        return e->status;
    if (number > max)
        return error_set(e, DAMAGED, "\"%s\" is too large", key);
    *to = (uint32_t)number;
    return OK;
}

static int take_owner(struct manifest_owner *o, const json_t *disk, struct error *e)
{
    const json_t *json = json_object_get(disk, "owner");

    if (!json)
        return OK;
    o->known = true;
    if (take_id(&o->uid, json, "uid", UINT32_MAX - 1, e) < 0)
        return e->status;
    if (take_id(&o->gid, json, "gid", UINT32_MAX - 1, e) < 0)
        return e->status;
    return take_id(&o->mode, json, "mode", 0777, e);
}

static int take_disks(struct manifest *m, const json_t *from, enum manifest_place place,
                      struct error *e)
{
    const json_t *disks = json_object_get(from, "disks");
    size_t count = json_array_size(disks);

    if (!json_is_array(disks) || count > MANIFEST_DISKS_MAX)
        return error_set(e, DAMAGED, "\"disks\" is missing or not a list of at most %d",
                         MANIFEST_DISKS_MAX);
    m->disks = calloc(count + 1, sizeof *m->disks);
    if (!m->disks)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const json_t *json = json_array_get(disks, i);
        struct manifest_disk *d = &m->disks[m->disk_count++];

        if (take_text(&d->vdev, json, "vdev", e) < 0 || take_text(&d->path, json, "path", e) < 0 ||
            take_text(&d->driver, json, "driver", e) < 0 || take_owner(&d->owner, json, e) < 0 ||
            take_file(&d->image, json, "image", place, e) < 0)
            return error_prefix(e, "disk %zu", i + 1);
    }
    return OK;
}

static int take_left_out(struct manifest *m, const json_t *from, struct error *e)
{
    const json_t *left_out = json_object_get(from, "left_out");
    size_t count = json_array_size(left_out);

    if (!json_is_array(left_out) || count > MANIFEST_DISKS_MAX)
        return error_set(e, DAMAGED, "\"left_out\" is missing or not a list");
    m->left_out = calloc(count + 1, sizeof *m->left_out);
    if (!m->left_out)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < count; i++) {
        const json_t *json = json_array_get(left_out, i);
        struct manifest_left_out *l = &m->left_out[m->left_out_count++];

        if (take_text(&l->vdev, json, "vdev", e) < 0 || take_text(&l->why, json, "why", e) < 0)
            return e->status;
    }
    return OK;
}

static int take_domain(struct manifest *m, const json_t *from, struct error *e)
{
    const json_t *domain = json_object_get(from, "domain");
    uint64_t vcpus = 0;

    if (take_text(&m->domain_name, domain, "name", e) < 0 ||
        take_text(&m->domain_uuid, domain, "uuid", e) < 0 ||
        take_text(&m->domain_type, domain, "type", e) < 0 ||
        take_number(&vcpus, domain, "vcpus", e) < 0 ||
        take_number(&m->memory_bytes, domain, "memory_bytes", e) < 0)
        return error_prefix(e, "\"domain\"");
    m->vcpus = (unsigned)vcpus;
    return OK;
}

static int take_pause(struct manifest_pause *p, const json_t *from, struct error *e)
{
    const json_t *pause = json_object_get(from, "pause");

    if (take_number(&p->save_ns, pause, "save_ns", e) < 0 ||
        take_number(&p->disks_ns, pause, "disks_ns", e) < 0 ||
        take_number(&p->resume_ns, pause, "resume_ns", e) < 0 ||
        take_number(&p->total_ns, pause, "total_ns", e) < 0 ||
        take_number(&p->asked_ns, pause, "asked_ns", e) < 0)
        return error_prefix(e, "\"pause\"");
    return OK;
}

static int take_all(struct manifest *m, const json_t *json, enum manifest_place place,
                    struct error *e)
{
    const char *format = json_string_value(json_object_get(json, "format"));
    json_int_t version = json_integer_value(json_object_get(json, "version"));

    if (!format || strcmp(format, FORMAT) != 0)
        return error_set(e, DAMAGED, "not a manifest of domsnap's");
    if (version != VERSION)
        return error_set(
            e, UNSUPPORTED,
            "a manifest of version %lld, and this domsnap reads version %d; use a newer one",
            (long long)version, VERSION);
    if (place == MANIFEST_REPOSITORY && take_text(&m->name, json, "name", e) < 0)
        return e->status;
    if (take_text(&m->domsnap, json, "domsnap", e) < 0 ||
        take_text(&m->created, json, "created", e) < 0 ||
        take_text(&m->host, json, "host", e) < 0 ||
        take_text(&m->hypervisor, json, "hypervisor", e) < 0 ||
        take_text(&m->method, json, "method", e) < 0 || take_domain(m, json, e) < 0 ||
        take_ram(m, json, place, e) < 0 ||
        (json_object_get(json, "config") && take_file(&m->config, json, "config", place, e) < 0) ||
        take_disks(m, json, place, e) < 0 || take_left_out(m, json, e) < 0)
        return e->status;
    if (!manifest_has(&m->ram) && !manifest_has(&m->config))
        return error_set(e, DAMAGED,
                         "it has neither RAM nor a configuration to start a domain from");
    return take_pause(&m->pause, json, e);
}

int manifest_parse(struct manifest *m, const json_t *json, enum manifest_place place,
                   struct error *e)
{
    *m = (struct manifest){0};
    if (take_all(m, json, place, e) < 0) {
        manifest_release(m);
        return e->status;
    }
    return OK;
}

void manifest_release(struct manifest *m)
{
    for (size_t i = 0; i < m->disk_count; i++) {
        free(m->disks[i].vdev);
        free(m->disks[i].path);
        free(m->disks[i].driver);
        free(m->disks[i].image.file);
    }
    for (size_t i = 0; i < m->left_out_count; i++) {
        free(m->left_out[i].vdev);
        free(m->left_out[i].why);
    }
    free(m->disks);
    free(m->left_out);
    free(m->ram.file);
    free(m->config.file);
    free(m->name);
    free(m->domsnap);
    free(m->created);
    free(m->host);
    free(m->hypervisor);
    free(m->method);
    free(m->domain_name);
    free(m->domain_uuid);
    free(m->domain_type);
    *m = (struct manifest){0};
}
