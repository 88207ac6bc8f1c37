/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/aside.h"

#include <string.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/log.h"

static const char *string_in(const json_t *record, const char *key)
{
    const char *text = json_string_value(json_object_get(record, key));

    return text ? text : "";
}

json_t *aside_record(const json_t *aside, const char *path)
{
    json_t *record;
    size_t i;

    json_array_foreach (aside, i, record)
        if (strcmp(string_in(record, "path"), path) == 0)
            return record;
    return NULL;
}

const char *aside_name(const json_t *aside, const char *path)
{
    const json_t *record = aside_record(aside, path);

    return record ? string_in(record, "to") : NULL;
}

int aside_add(json_t *aside, const char *path, const struct volume *v, struct error *e)
{
    AUTO_FREE char *to = NULL;
    int rc = v->driver->aside(v, &to, e);

    if (rc == UNSUPPORTED) {
        log_note("%s; don't start the guest before this restore has ended", e->text);
        return OK;
    }
    if (rc < 0)
        return rc;
    rc = json_array_append_new(aside, json_pack("{s:s, s:s, s:s, s:s}", "path", path, "driver",
                                                v->driver->name, "from", v->name, "to", to));
    return rc < 0 ? error_set(e, NO_SPACE, "out of memory") : OK;
}

int aside_put_back(const struct engine *engine, const json_t *aside, struct error *e)
{
    const json_t *record;
    size_t i;

    json_array_foreach (aside, i, record) {
        if (volume_rename(engine->volumes, string_in(record, "driver"), string_in(record, "to"),
                          string_in(record, "from"), e) < 0)
            return e->status;
        if (FAULT("volume-put-back", e) < 0)
            return e->status;
    }
    return OK;
}
