/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * recover: every journal entry whose owner has died. A create is undone, or published if it was
 * past its commit point; a restore that had begun to write is done again, unless its guest may have
 * come to life: that is not taken back. Run twice, the second finds nothing.
 */
#include <string.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "engine/aside.h"
#include "engine/journal.h"
#include "engine/settle.h"

/* What can be undone is. */
static int abandon_create(struct engine *engine, struct journal *j, char **done, struct error *e)
{
    if (settle_create(engine, j, OK, e) == OK) {
        *done = strdup("an interrupted create was undone");
        return OK;
    }
    *done = format_text("an interrupted create was abandoned, and this is left: %s", e->text);
    return journal_close(j, e);
}

/* Its disks get their names back, so that a person can do with them what is right. */
static int abandon_restore(struct engine *engine, struct journal *j, char **done, struct error *e)
{
    bool writing = journal_phase_of(j->entry) == PHASE_WRITING;

    if (aside_put_back(engine, json_object_get(j->entry, "aside"), e) < 0)
        return e->status;
    *done =
        strdup(writing ? "an interrupted restore was abandoned: its disks are partly overwritten, "
                         "and of no use until they are restored again"
                       : "an interrupted restore was abandoned: its disks are whole");
    return journal_close(j, e);
}

static int recover_create(struct engine *engine, struct journal *j, char **done, struct error *e)
{
    *done = strdup(journal_phase_of(j->entry) == PHASE_PUBLISH
                       ? "an interrupted create was past its commit point: published"
                       : "an interrupted create was undone");
    return settle_create(engine, j, OK, e);
}

/* One that is paused has not lived yet, or is half-made; one that is shutting down may be half-made
 * too. */
static int has_come_to_life(struct engine *engine, const struct journal *j, bool *alive,
                            struct error *e)
{
    const json_t *domain = json_object_get(j->entry, "domain");
    enum domain_state state;
    struct domain_id id;

    *alive = false;
    if (journal_phase_of(j->entry) != PHASE_STARTING)
        return OK;
    if (engine_connect(engine, e) < 0) /* without Xen only what was off is restored */
        return e->status == UNSUPPORTED ? OK : e->status;
    if (engine_find_domain(engine, json_string_value(json_object_get(domain, "name")), &id, e) < 0)
        return e->status;
    if (!id.domid)
        return OK;
    if (engine->domains->state(engine->host, &id, &state, e) < 0)
        return e->status;
    *alive = state == DOMAIN_RUNNING || state == DOMAIN_SUSPENDED || state == DOMAIN_CRASHED;
    return OK;
}

/* Its disks are its own: it is only let run, if it is still there. Who has its name since is
 * somebody else. */
static int let_run(struct engine *engine, const json_t *entry, char **done, struct error *e)
{
    const json_t *domain = json_object_get(entry, "domain");
    const char *name = json_string_value(json_object_get(domain, "name"));
    const char *uuid = json_string_value(json_object_get(domain, "uuid"));
    struct domain_id id;

    if (!name || !uuid)
        return error_set(e, DAMAGED, "the journal does not name the domain");
    if (engine_connect(engine, e) < 0 || engine_find_domain(engine, name, &id, e) < 0)
        return e->status;
    if (!id.domid || strcmp(id.uuid, uuid) != 0) {
        *done = strdup(
            "an interrupted restore was complete; the guest has ended since, and its disks are "
            "left as they are: start it, or restore it again");
        return OK;
    }
    if (json_is_true(json_object_get(entry, "paused"))) {
        *done = strdup("an interrupted restore was complete: the guest is left paused");
        return OK;
    }
    *done = strdup("an interrupted restore was complete but for letting the guest run: it does");
    return engine->domains->unpause(engine->host, &id, e);
}

/* Nothing was touched. The guest may run, or be started by hand again. */
static int undo_restore(struct engine *engine, struct journal *j, char **done, struct error *e)
{
    *done = strdup("an interrupted restore had not begun to write: undone");
    if (aside_put_back(engine, json_object_get(j->entry, "aside"), e) < 0)
        return e->status;
    return journal_close(j, e);
}

/* The lock is given back in between: engine_restore() takes it, and supersedes the entry. */
static int recover_restore(struct engine *engine, struct journal *j, bool boot, char **done,
                           struct error *e)
{
    AUTO_JSON json_t *entry = json_incref(j->entry);
    const json_t *domain = json_object_get(entry, "domain");
    struct restore_params params = {
        .from =
            {
                .folder = json_string_value(json_object_get(entry, "folder")),
                .repo = json_string_value(json_object_get(entry, "repo")),
                .domain = json_string_value(json_object_get(domain, "name")),
                .name = json_string_value(json_object_get(entry, "name")),
            },
        .replace = true,
        .paused = json_is_true(json_object_get(entry, "paused")),
        .eject = json_is_true(json_object_get(entry, "eject")),
        .any_cpu = json_is_true(json_object_get(entry, "any_cpu")),
        .skip_damaged = json_is_true(json_object_get(entry, "skip_damaged")),
        .boot = boot || json_is_true(json_object_get(entry, "boot")),
    };
    struct manifest m;
    bool alive;

    if (journal_phase_of(j->entry) == PHASE_ASIDE)
        return undo_restore(engine, j, done, e);
    if (journal_phase_of(j->entry) == PHASE_STARTED)
        return let_run(engine, entry, done, e) < 0 ? e->status : journal_close(j, e);
    if (has_come_to_life(engine, j, &alive, e) < 0)
        return e->status;
    if (alive) {
        *done = strdup("an interrupted restore had started it: it is left running");
        return journal_close(j, e);
    }
    if (!params.from.folder && !(params.from.repo && params.from.domain && params.from.name))
        return error_set(e, DAMAGED, "the journal does not name the snapshot");
    *done = strdup(boot ? "an interrupted restore was finished: the guest boots from its disks"
                        : "an interrupted restore was finished");
    journal_release(j);
    if (engine_restore(engine, &params, &m, e) < 0)
        return e->status;
    manifest_release(&m);
    return OK;
}

static int carry_out(struct engine *engine, struct journal *j, enum recover_way way, char **done,
                     struct error *e)
{
    switch (journal_operation_of(j->entry)) {
    case OPERATION_CREATE:
        return way == RECOVER_ABANDON ? abandon_create(engine, j, done, e)
                                      : recover_create(engine, j, done, e);
    case OPERATION_RESTORE:
        return way == RECOVER_ABANDON ? abandon_restore(engine, j, done, e)
                                      : recover_restore(engine, j, way == RECOVER_BOOT, done, e);
    case OPERATION_NONE:
        break;
    }
    return error_set(e, DAMAGED, "the journal's %s names no operation", j->file);
}

/* Without `r->done` there was nothing to do. */
static int recover_one(struct engine *engine, const char *domain, enum recover_way way,
                       struct recovery *r)
{
    char *done = NULL;
    struct journal j;
    int rc = journal_adopt(&j, engine, domain, &r->error);

    if (rc == NOT_FOUND)
        return OK;
    if (rc == BUSY) {
        done = format_text("left alone: %s", r->error.text);
        rc = OK;
    } else if (rc == OK) {
        rc = carry_out(engine, &j, way, &done, &r->error);
        journal_release(&j);
    }
    if (rc < 0) {
        free(done);
        done = strdup(r->error.text);
    } else { /* what was forgiven on the way is no error */
        r->error.status = OK;
    }
    r->done = done;
    return rc;
}

static bool is_wanted(const struct recover_params *params, const char *domain)
{
    return !params->domain || strcmp(params->domain, domain) == 0;
}

int engine_recover(struct engine *engine, const struct recover_params *params,
                   struct recovery **list, size_t *count, struct error *e)
{
    AUTO_JSON json_t *names = NULL;
    const json_t *name;
    int failed = 0;
    size_t i;

    *list = NULL;
    *count = 0;
    if (journal_list(engine, &names, e) < 0)
        return error_prefix(e, "recover");
    *list = calloc(json_array_size(names) + 1, sizeof **list);
    if (!*list)
        return error_set(e, NO_SPACE, "out of memory");
    json_array_foreach (names, i, name) {
        struct recovery *r = &(*list)[*count];

        if (!is_wanted(params, json_string_value(name)))
            continue;
        *r = (struct recovery){0};
        failed += recover_one(engine, json_string_value(name), params->way, r) < 0;
        if (!r->done)
            continue;
        r->domain = strdup(json_string_value(name));
        ++*count;
    }
    if (params->domain && *count == 0)
        return error_set(e, NOT_FOUND, "recover: no run on %s was interrupted", params->domain);
    if (!failed)
        return OK;
    return error_set(e, NEEDS_RECOVER, "recover: %d of %zu interrupted runs could not be settled",
                     failed, *count);
}

void recovery_release(struct recovery *list, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        free(list[i].domain);
        free(list[i].done);
    }
    free(list);
}

int engine_restoring(const struct engine *engine, json_t **domains, struct error *e)
{
    AUTO_JSON json_t *names = NULL;
    const json_t *name;
    size_t i;

    if (journal_list(engine, &names, e) < 0)
        return e->status;
    *domains = json_array();
    json_array_foreach (names, i, name) {
        AUTO_JSON json_t *entry = NULL;
        struct error gone;

        if (journal_peek(engine, json_string_value(name), &entry, &gone) < 0)
            continue;
        if (journal_operation_of(entry) == OPERATION_RESTORE)
            json_array_append_new(*domains, json_string(json_string_value(name)));
    }
    return OK;
}
