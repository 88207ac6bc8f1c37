/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "volume/lvm_report.h"

#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"

#define BYTES_MAX (UINT64_C(1) << 60)

static const char *field(const json_t *row, const char *key)
{
    const char *s = json_string_value(json_object_get(row, key));

    return s ? s : "";
}

/* Every value of an LVM report is a string. */
static int number(const json_t *row, const char *key, uint64_t *value, struct error *e)
{
    const char *s = field(row, key);
    char *end;

    errno = 0;
    *value = strtoull(s, &end, 10);
    if (errno || *end || strspn(s, "0123456789") == 0 || *value > BYTES_MAX)
        return error_set(e, FAILED, "lvs printed \"%s\" as %s", s, key);
    return OK;
}

/* A flag is its own name, or empty; or 1, or 0. */
static bool is_set(const json_t *row, const char *key)
{
    const char *s = field(row, key);

    return *s && strcmp(s, "0") != 0;
}

static bool contains(const json_t *list, const char *s, size_t len)
{
    const json_t *one;
    size_t i;

    json_array_foreach (list, i, one)
        if (json_string_length(one) == len && memcmp(json_string_value(one), s, len) == 0)
            return true;
    return false;
}

/* "/dev/sda3(0),/dev/sdb(7)", the device and the extent in it, for each stripe of a segment; a row
 * a segment. */
static int add_devices(json_t *devices, const json_t *row, struct error *e)
{
    for (const char *s = field(row, "devices"); *s; s += strcspn(s, ","), s += *s == ',') {
        size_t len = strcspn(s, "(,");

        if (len && !contains(devices, s, len) &&
            json_array_append_new(devices, json_stringn(s, len)) < 0)
            return error_set(e, FAILED, "lvs printed \"%s\" as devices", s);
    }
    return OK;
}

static int parse_row(struct lvm_report *r, const json_t *row, struct error *e)
{
    if (number(row, "lv_size", &r->size_bytes, e) < 0)
        return e->status;
    if (number(row, "vg_free", &r->free_bytes, e) < 0)
        return e->status;
    if (number(row, "vg_extent_size", &r->extent_bytes, e) < 0)
        return e->status;
    if (r->extent_bytes == 0)
        return error_set(e, FAILED, "lvs printed an extent size of 0");
    r->locked = is_set(row, "lv_allocation_locked");
    r->shared = is_set(row, "vg_shared");
    r->layout = strdup(field(row, "lv_layout"));
    r->devices = json_array();
    return r->layout && r->devices ? OK : error_set(e, NO_SPACE, "out of memory");
}

int lvm_report_parse(struct lvm_report *r, const char *text, struct error *e)
{
    json_error_t why;
    AUTO_JSON json_t *report = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    const json_t *rows, *row;
    int rc;
    size_t i;

    *r = (struct lvm_report){0};
    if (!report)
        return error_set(e, FAILED, "lvs printed invalid JSON: %s", why.text);
    rows = json_object_get(json_array_get(json_object_get(report, "report"), 0), "lv");
    if (json_array_size(rows) == 0)
        return error_set(e, NOT_FOUND, "lvs does not list it");
    rc = parse_row(r, json_array_get(rows, 0), e);
    json_array_foreach (rows, i, row)
        if (rc == OK)
            rc = add_devices(r->devices, row, e);
    if (rc < 0)
        lvm_report_release(r);
    return rc;
}

void lvm_report_release(struct lvm_report *r)
{
    free(r->layout);
    json_decref(r->devices);
    *r = (struct lvm_report){0};
}
