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

/* Every value of an LVM report is a string in this version. */
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

int lvm_report_parse(struct lvm_report *r, const char *text, struct error *e)
{
    json_error_t why;
    AUTO_JSON json_t *report = json_loads(text, JSON_REJECT_DUPLICATES, &why);
    const json_t *row;

    if (!report)
        return error_set(e, FAILED, "lvs printed invalid JSON: %s", why.text);
    row = json_array_get(
        json_object_get(json_array_get(json_object_get(report, "report"), 0), "lv"), 0);
    if (!row)
        return error_set(e, NOT_FOUND, "lvs does not list it");
    if (number(row, "lv_size", &r->size_bytes, e) < 0 ||
        number(row, "vg_free", &r->free_bytes, e) < 0 ||
        number(row, "vg_extent_size", &r->extent_bytes, e) < 0)
        return e->status;
    if (r->extent_bytes == 0)
        return error_set(e, FAILED, "lvs printed an extent size of 0");
    r->locked = *field(row, "lv_allocation_locked");
    r->layout = strdup(field(row, "lv_layout"));
    return r->layout ? OK : error_set(e, NO_SPACE, "out of memory");
}
