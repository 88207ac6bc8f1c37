/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/twin.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/seal.h"

#define FOLDER "copy/"

static int copy_name(char copy[BACKEND_NAME_MAX], const char *name, struct error *e)
{
    if (strlen(name) + sizeof FOLDER > BACKEND_NAME_MAX)
        return error_set(e, USAGE, "%s: the name is too long", name);
    snprintf(copy, BACKEND_NAME_MAX, FOLDER "%s", name);
    return OK;
}

/* ---- one of the two ---- */

static int put_one(struct backend *b, const char *run, const char *name, const json_t *object,
                   struct error *e)
{
    AUTO_FREE char *text = json_dumps(object, JSON_INDENT(2));

    if (!text)
        return error_set(e, NO_SPACE, "%s: out of memory", name);
    return backend_put(b, run, name, text, strlen(text), e);
}

/* Each says which it is: one that is whole may stand in another's place. */
static int check_name(const json_t *object, const char *name, struct error *e)
{
    const char *says = json_string_value(json_object_get(object, "object"));
    const char *is = strncmp(name, FOLDER, strlen(FOLDER)) == 0 ? name + strlen(FOLDER) : name;

    if (says && strcmp(says, is) == 0)
        return OK;
    return error_set(e, DAMAGED, "it has the content of another object, \"%.80s\"",
                     says ? says : "?");
}

static int get_one(struct backend *b, const char *name, size_t max_bytes, json_t **object,
                   struct error *e)
{
    AUTO_FREE char *text = NULL;
    AUTO_JSON json_t *json = NULL;
    json_error_t why;
    size_t bytes;

    if (backend_get(b, name, max_bytes, &text, &bytes, e) < 0)
        return e->status;
    json = json_loadb(text, bytes, JSON_REJECT_DUPLICATES, &why);
    if (!json)
        return error_set(e, DAMAGED, "%s: line %d: not valid JSON: %s", name, why.line, why.text);
    if (seal_check(json, e) < 0 || check_name(json, name, e) < 0)
        return error_prefix(e, "%s", name);
    *object = json;
    json = NULL;
    return OK;
}

/* Then the other one may help. Else nobody knows: the storage may be out of reach for now. */
static bool is_lost(const struct error *e)
{
    return e->status == NOT_FOUND || e->status == DAMAGED;
}

/* ---- both ---- */

/* Who has seen the first alone may have put the copy: check does. */
static bool is_there(struct backend *b, const char *copy, const json_t *object, int status)
{
    AUTO_JSON json_t *there = NULL;
    struct error ignored;

    return status == BUSY &&
           get_one(b, copy, json_dumpb(object, NULL, 0, JSON_INDENT(2)), &there, &ignored) == OK &&
           json_equal(there, object);
}

int twin_put(struct backend *b, const char *run, const char *name, json_t *object, struct error *e)
{
    char copy[BACKEND_NAME_MAX];
    struct error why;

    if (copy_name(copy, name, e) < 0)
        return e->status;
    if (json_object_set_new(object, "object", json_string(name)) < 0)
        return error_set(e, NO_SPACE, "%s: out of memory", name);
    if (seal_add(object, e) < 0)
        return error_prefix(e, "%s", name);
    if (put_one(b, run, name, object, e) < 0)
        return e->status;
    if (put_one(b, run, copy, object, &why) < 0 && !is_there(b, copy, object, why.status))
        log_warning("%s was written, but not its copy: %s", name, why.text);
    return OK;
}

/* What went wrong with the pair, given what went wrong with each. */
static int both_lost(const struct error *first, const struct error *second, struct error *e)
{
    *e = *first;
    if (second->status == NOT_FOUND)
        return e->status;
    if (first->status == NOT_FOUND)
        *e = *second;
    else
        error_append(e, "%s", second->text);
    return is_lost(second) ? e->status : (e->status = second->status);
}

int twin_get(struct backend *b, const char *name, size_t max_bytes, json_t **object,
             enum twin_state *state, struct error *why, struct error *e)
{
    AUTO_JSON json_t *from_copy = NULL;
    char copy[BACKEND_NAME_MAX];
    struct error first, second;
    int rc;

    if (copy_name(copy, name, e) < 0)
        return e->status;
    if (state)
        *state = TWIN_WHOLE;
    if (get_one(b, name, max_bytes, object, &first) == OK)
        return OK;
    *e = first;
    if (!is_lost(&first))
        return e->status;
    if (get_one(b, copy, max_bytes, &from_copy, &second) < 0)
        return both_lost(&first, &second, e);
    /* Both may have been put between the two looks. */
    rc = first.status == NOT_FOUND ? get_one(b, name, max_bytes, object, &first) : first.status;
    if (rc == OK)
        return OK;
    if (state)
        *state = TWIN_COPY_ONLY;
    if (why) {
        *why = first;
        error_append(why, "its copy was read");
    }
    *object = from_copy;
    from_copy = NULL;
    return OK;
}

/* ---- checking and healing ---- */

struct look {
    char name[BACKEND_NAME_MAX];
    json_t *json; /* NULL: it is not to be had, and why is in `why` */
    struct error why;
};

static int look_at(struct backend *b, size_t max_bytes, struct look *l, struct error *e)
{
    l->why.status = OK;
    if (get_one(b, l->name, max_bytes, &l->json, &l->why) == OK || is_lost(&l->why))
        return OK;
    *e = l->why;
    return e->status;
}

static int look_at_both(struct backend *b, size_t max_bytes, struct look *first,
                        struct look *second, struct error *e)
{
    if (look_at(b, max_bytes, first, e) < 0 || look_at(b, max_bytes, second, e) < 0)
        return e->status;
    /* Both may have been put between the two looks. */
    if (first->why.status == NOT_FOUND && second->json && look_at(b, max_bytes, first, e) < 0)
        return e->status;
    if (!first->json && !second->json)
        return both_lost(&first->why, &second->why, e);
    if (!first->json || !second->json || json_equal(first->json, second->json))
        return OK;
    /* The first one decides, here too. */
    error_set(&second->why, DAMAGED, "%s: it is intact, but differs from %s", second->name,
              first->name);
    json_decref(second->json);
    second->json = NULL;
    return OK;
}

/* Put `bad` anew from `good`. */
static int mend(struct backend *b, const char *run, const struct look *bad, const struct look *good,
                struct error *e)
{
    int rc;

    if (bad->why.status == DAMAGED && b->driver->remove(b, bad->name, e) < 0)
        return e->status;
    rc = put_one(b, run, bad->name, good->json, e);
    /* Somebody else has just done it, its writer perhaps. */
    return rc == BUSY ? OK : rc;
}

static int check_pair(struct backend *b, const char *run, const struct look *first,
                      const struct look *second, bool heal, bool *healed, struct error *e)
{
    const struct look *bad = first->json ? second : first;
    const struct look *good = first->json ? first : second;
    struct error why;

    if (first->json && second->json)
        return OK;
    *e = bad->why;
    e->status = DAMAGED;
    if (!heal)
        return e->status;
    if (mend(b, run, bad, good, &why) < 0)
        return error_append(e, "it could not be put again from %s: %s", good->name, why.text);
    *healed = true;
    return error_append(e, "it was put again from %s", good->name);
}

int twin_check(struct backend *b, const char *run, const char *name, size_t max_bytes, bool heal,
               bool *healed, struct error *e)
{
    struct look first = {.json = NULL}, second = {.json = NULL};
    int rc;

    *healed = false;
    if (copy_name(second.name, name, e) < 0)
        return e->status;
    snprintf(first.name, sizeof first.name, "%s", name);
    rc = look_at_both(b, max_bytes, &first, &second, e);
    if (rc == OK)
        rc = check_pair(b, run, &first, &second, heal, healed, e);
    json_decref(first.json);
    json_decref(second.json);
    return rc;
}

int twin_remove(struct backend *b, const char *name, struct error *e)
{
    char copy[BACKEND_NAME_MAX];

    if (copy_name(copy, name, e) < 0)
        return e->status;
    if (b->driver->remove(b, copy, e) < 0)
        return e->status;
    return b->driver->remove(b, name, e);
}
