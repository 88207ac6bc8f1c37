/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/records.h"

#include <ctype.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "repo/twin.h"

int record_name_check(const char *name, struct error *e)
{
    size_t len = strlen(name);

    if (len == 0 || len > RECORD_NAME_MAX)
        return error_set(e, USAGE, "a snapshot's name has 1 to %d characters", RECORD_NAME_MAX);
    if (strcmp(name, RECORD_LATEST) == 0)
        return error_set(
            e, USAGE, "\"%s\" stands for the newest snapshot, and can't be the name of one", name);
    for (const char *p = name; *p; p++)
        if (!isalnum((unsigned char)*p) && (p == name || !strchr("._:+-", *p)))
            return error_set(e, USAGE,
                             "\"%s\": a snapshot's name has letters, digits, and \"._:+-\" in it, "
                             "and begins with a letter or digit",
                             name);
    return OK;
}

void record_name_of_now(char name[static 17])
{
    time_t now = time(NULL);
    struct tm tm;

    gmtime_r(&now, &tm);
    strftime(name, 17, "%Y%m%dT%H%M%SZ", &tm);
}

int record_find(const struct repo *r, const char *domain, const char *name,
                const struct view_snapshot **s, struct error *e)
{
    const struct view_snapshot *row;
    size_t count;

    if (strcmp(name, RECORD_LATEST) != 0 && record_name_check(name, e) < 0)
        return e->status;
    row = view_domain(repo_view(r), domain, &count);
    if (strcmp(name, RECORD_LATEST) == 0) {
        if (count == 0)
            return error_set(e, NOT_FOUND, "there is no snapshot of %s; `domsnap list` shows all",
                             domain);
        *s = &row[count - 1];
        return OK;
    }
    *s = view_find_snapshot(repo_view(r), domain, name);
    return *s ? OK
              : error_set(e, NOT_FOUND, "there is no snapshot %s@%s; `domsnap list` shows them",
                          domain, name);
}

void record_object(const char *run, char object[static RECORD_OBJECT_MAX])
{
    snprintf(object, RECORD_OBJECT_MAX, "snapshots/%s", run);
}

int record_put(struct repo *r, const struct manifest *m, char sum[static 65], struct error *e)
{
    AUTO_JSON json_t *json = manifest_to_json(m);
    char object[RECORD_OBJECT_MAX];

    if (!json)
        return error_out_of_memory(e);
    record_object(repo_run(r), object);
    if (twin_put(repo_backend(r), repo_run(r), object, json, e) < 0)
        return error_prefix(e, "record");
    snprintf(sum, 65, "%s", json_string_value(json_object_get(json, "sha256")));
    return OK;
}

static int check_is_of(const struct view_snapshot *s, const struct manifest *m, struct error *e)
{
    if (strcmp(m->domain_name, s->domain) == 0 && m->name && strcmp(m->name, s->name) == 0)
        return OK;
    return error_set(e, DAMAGED, "it is that of %s@%s", m->domain_name, m->name ? m->name : "");
}

static int get(struct repo *r, const struct view_snapshot *s, struct manifest *m, struct error *e)
{
    AUTO_JSON json_t *json = NULL;
    char object[RECORD_OBJECT_MAX];
    enum twin_state state;
    struct error why;

    record_object(s->run, object);
    if (twin_get(repo_backend(r), object, RECORD_MAX_BYTES, &json, &state, &why, e) < 0)
        return e->status == NOT_FOUND ? error_set(e, DAMAGED, "it is missing") : e->status;
    if (state == TWIN_COPY_ONLY)
        log_warning("the record of %s@%s: %s; its copy was read (`domsnap check` mends it)",
                    s->domain, s->name, why.text);
    if (strcmp(json_string_value(json_object_get(json, "sha256")), s->record_sum) != 0)
        return error_set(e, DAMAGED,
                         "it is not the one that was put: its checksum is not that in the log");
    if (manifest_parse(m, json, MANIFEST_REPOSITORY, e) < 0)
        return e->status;
    if (check_is_of(s, m, e) == OK)
        return OK;
    manifest_release(m);
    return e->status;
}

int record_get(struct repo *r, const struct view_snapshot *s, struct manifest *m, struct error *e)
{
    return get(r, s, m, e) < 0 ? error_prefix(e, "the record of %s@%s", s->domain, s->name) : OK;
}
