/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "repo/log.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "repo/twin.h"

#define ENTRIES "log"
#define STATES  "state"
#define COPIES  "copy/" /* twin.h */

#define REPAIR "`domsnap repair` makes the log anew of what is there"

struct log {
    struct backend *backend;
    struct view view; /* what holds, and surely so */
    uint64_t state;   /* the last state at or before it, as far as is known */
};

/* ---- numbers in names ---- */

struct numbers {
    uint64_t *all; /* sorted, none twice */
    size_t count;
};

static void cleanup_numbers(struct numbers *n)
{
    free(n->all);
}

#define AUTO_NUMBERS __attribute__((cleanup(cleanup_numbers)))

static void name_of(char name[BACKEND_NAME_MAX], const char *folder, uint64_t number)
{
    snprintf(name, BACKEND_NAME_MAX, "%s/%016" PRIu64, folder, number);
}

static bool number_from_name(uint64_t *number, const char *name)
{
    if (strlen(name) != 16 || strspn(name, "0123456789") != 16)
        return false;
    *number = strtoull(name, NULL, 10);
    return true;
}

/* What is not named by a number is not ours to judge. */
static int add_number(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    struct numbers *n = arg;
    uint64_t number, *more;

    (void)bytes;
    if (!number_from_name(&number, name))
        return OK;
    if ((n->count & (n->count - 1)) == 0) {
        more = reallocarray(n->all, n->count ? 2 * n->count : 1, sizeof *n->all);
        if (!more)
            return error_out_of_memory(e);
        n->all = more;
    }
    n->all[n->count++] = number;
    return OK;
}

static int compare_numbers(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void sort_numbers(struct numbers *n)
{
    size_t left = 0;

    if (n->count)
        qsort(n->all, n->count, sizeof *n->all, compare_numbers);
    for (size_t i = 0; i < n->count; i++)
        if (left == 0 || n->all[left - 1] != n->all[i])
            n->all[left++] = n->all[i];
    n->count = left;
}

/* The numbers of a folder of pairs: of those, too, of which only the copy is there. */
static int list_numbers(struct backend *b, const char *folder, struct numbers *n, struct error *e)
{
    char copies[BACKEND_NAME_MAX];

    snprintf(copies, sizeof copies, COPIES "%s", folder);
    if (b->driver->list(b, folder, add_number, n, e) < 0 ||
        b->driver->list(b, copies, add_number, n, e) < 0)
        return e->status;
    sort_numbers(n);
    return OK;
}

/* The highest; 0: there is none. */
static uint64_t last_of(const struct numbers *n)
{
    return n->count ? n->all[n->count - 1] : 0;
}

/* ---- reading ---- */

/*
 * Entries that follow what is known, read but not believed yet: those that a fold has removed can
 * have been put again by somebody who was late, and then don't count.
 */
struct walk {
    json_t **entries;
    char **warnings; /* of each; NULL: it is whole */
    size_t count;
    struct error end;  /* why it goes no further: NOT_FOUND or DAMAGED */
    uint64_t vanished; /* a state that was listed and then was not there */
};

/* All but how it ended. */
static void walk_forget(struct walk *w)
{
    for (size_t i = 0; i < w->count; i++) {
        json_decref(w->entries[i]);
        free(w->warnings[i]);
    }
    free(w->entries);
    free(w->warnings);
    w->entries = NULL;
    w->warnings = NULL;
    w->count = 0;
}

#define AUTO_WALK __attribute__((cleanup(walk_forget)))

static int walk_add(struct walk *w, json_t *entry, const struct error *warning, struct error *e)
{
    json_t **entries = reallocarray(w->entries, w->count + 1, sizeof *entries);
    char **warnings;

    if (entries)
        w->entries = entries;
    warnings = reallocarray(w->warnings, w->count + 1, sizeof *warnings);
    if (warnings)
        w->warnings = warnings;
    if (!entries || !warnings) {
        json_decref(entry);
        return error_out_of_memory(e);
    }
    w->entries[w->count] = entry;
    w->warnings[w->count++] = warning ? strdup(warning->text) : NULL;
    return OK;
}

static uint64_t walked_to(const struct log *l, const struct walk *w)
{
    return l->view.number + w->count;
}

static int walk_on(const struct log *l, struct walk *w, struct error *e)
{
    for (;;) {
        char name[BACKEND_NAME_MAX];
        enum twin_state state;
        struct error why;
        json_t *entry;

        name_of(name, ENTRIES, walked_to(l, w) + 1);
        if (twin_get(l->backend, name, LOG_ENTRY_MAX_BYTES, &entry, &state, &why, &w->end) < 0)
            break;
        if (walk_add(w, entry, state == TWIN_COPY_ONLY ? &why : NULL, e) < 0)
            return e->status;
    }
    if (w->end.status == NOT_FOUND || w->end.status == DAMAGED)
        return OK;
    *e = w->end;
    return e->status;
}

static int read_state(const struct log *l, uint64_t number, struct view *v, struct error *e)
{
    AUTO_JSON json_t *json = NULL;
    char name[BACKEND_NAME_MAX];
    enum twin_state state;
    struct error why;

    name_of(name, STATES, number);
    if (twin_get(l->backend, name, LOG_STATE_MAX_BYTES, &json, &state, &why, e) < 0)
        return e->status;
    if (view_from_json(v, json, e) < 0)
        return error_prefix(e, "%s", name);
    if (v->number != number) {
        view_release(v);
        return error_set(e, DAMAGED, "%s: the number in it differs from the one in its name", name);
    }
    if (state == TWIN_COPY_ONLY)
        log_warning("%s", why.text);
    return OK;
}

/*
 * The highest state past what is known; while it is damaged, one before it. NOT_FOUND: it has been
 * removed, so there is a newer one. DAMAGED: none of them is whole.
 */
static int take_state(struct log *l, const struct numbers *states, struct error *e)
{
    struct error first = {.status = OK};

    for (size_t i = states->count; i-- && states->all[i] > l->view.number;) {
        struct view v;

        if (read_state(l, states->all[i], &v, e) == OK) {
            view_release(&l->view);
            l->view = v;
            l->state = v.number;
            return OK;
        }
        if (e->status != DAMAGED)
            return e->status;
        if (first.status == OK)
            first = *e;
    }
    *e = first;
    return e->status;
}

/* Nothing past what is known had been removed when the states were listed: so it is all true. */
static int believe(struct log *l, struct walk *w, struct error *e)
{
    for (size_t i = 0; i < w->count; i++) {
        if (view_apply(&l->view, w->entries[i], e) < 0)
            return error_prefix(e, ENTRIES "/%016" PRIu64, l->view.number + 1);
        if (w->warnings[i])
            log_warning("%s", w->warnings[i]);
    }
    return OK;
}

/* What to do with the walk. */
enum settled {
    GO_ON,  /* somebody else was at work: walk on */
    BELIEVE /* it is all true */
};

/* A state past what is known is there: what was walked over may not be what was there at first. */
static int settle_by_state(struct log *l, struct walk *w, const struct numbers *states,
                           enum settled *settled, struct error *e)
{
    uint64_t last = last_of(states);
    int rc = take_state(l, states, e);

    *settled = GO_ON;
    if (rc == DAMAGED && walked_to(l, w) >= last) {
        /* Its fold has not come far. */
        log_warning("%s; the entries before it are still there, and were read", e->text);
        *settled = BELIEVE;
        return OK;
    }
    if (rc == NOT_FOUND && last == w->vanished)
        return error_set(e, DAMAGED, STATES "/%016" PRIu64 " is listed, and is not there; " REPAIR,
                         last);
    if (rc == DAMAGED)
        return error_append(e, REPAIR);
    if (rc < 0 && rc != NOT_FOUND)
        return rc;
    if (rc == NOT_FOUND)
        w->vanished = last;
    walk_forget(w);
    return OK;
}

/* Nobody puts an entry without having read the one before it. */
static int look_for_loss(struct log *l, struct walk *w, enum settled *settled, struct error *e)
{
    AUTO_NUMBERS struct numbers entries = {0}, states = {0};
    uint64_t next = walked_to(l, w) + 1;

    *settled = BELIEVE;
    if (list_numbers(l->backend, ENTRIES, &entries, e) < 0)
        return e->status;
    if (last_of(&entries) <= next)
        return OK;
    /* It may have been put since we looked, and even removed again. */
    *settled = GO_ON;
    if (walk_on(l, w, e) < 0)
        return e->status;
    if (walked_to(l, w) >= next)
        return OK;
    if (list_numbers(l->backend, STATES, &states, e) < 0)
        return e->status;
    if (last_of(&states) >= next)
        return OK;
    return error_set(e, DAMAGED,
                     ENTRIES "/%016" PRIu64
                             " is missing, and so nothing after it can be trusted; " REPAIR,
                     next);
}

static int settle(struct log *l, struct walk *w, enum settled *settled, struct error *e)
{
    AUTO_NUMBERS struct numbers states = {0};

    *settled = BELIEVE;
    if (list_numbers(l->backend, STATES, &states, e) < 0)
        return e->status;
    if (last_of(&states) > l->view.number && settle_by_state(l, w, &states, settled, e) < 0)
        return e->status;
    if (*settled == GO_ON)
        return OK;
    if (w->end.status == DAMAGED) {
        *e = w->end;
        return error_append(e, "nothing after it can be trusted; " REPAIR);
    }
    if (look_for_loss(l, w, settled, e) < 0)
        return e->status;
    if (*settled == BELIEVE)
        l->state = last_of(&states);
    return OK;
}

/*
 * Each time around either a higher state was taken, or somebody has put an entry, or a state: it
 * ends when others do no more than one reads.
 */
int log_read(struct log *l, struct error *e)
{
    AUTO_WALK struct walk w = {0};
    enum settled settled = GO_ON;

    while (settled == GO_ON)
        if (walk_on(l, &w, e) < 0 || settle(l, &w, &settled, e) < 0)
            return e->status;
    return believe(l, &w, e);
}

int log_open(struct log **l, struct backend *b, struct error *e)
{
    struct log *new = calloc(1, sizeof *new);

    *l = NULL;
    if (!new)
        return error_out_of_memory(e);
    new->backend = b;
    if (log_read(new, e) < 0) {
        log_close(new);
        return e->status;
    }
    *l = new;
    return OK;
}

void log_close(struct log *l)
{
    if (!l)
        return;
    view_release(&l->view);
    free(l);
}

const struct view *log_view(const struct log *l)
{
    return &l->view;
}

uint64_t log_length(const struct log *l)
{
    return l->view.number - l->state;
}

/* ---- putting ---- */

/* What could not be read again would be the end of the log. */
static int check_entry(const json_t *entry, struct error *e)
{
    if (view_check_entry(entry, e) < 0)
        return e->status;
    if (json_dumpb(entry, NULL, 0, JSON_INDENT(2)) > LOG_ENTRY_MAX_BYTES - 4096)
        return error_set(e, UNSUPPORTED, "it would have more than %u bytes", LOG_ENTRY_MAX_BYTES);
    return OK;
}

int log_put_ours(struct log *l, json_t *entry, bool *ours, struct error *e)
{
    uint64_t before = l->view.number;
    char name[BACKEND_NAME_MAX];
    struct error why;
    int put;

    name_of(name, ENTRIES, before + 1);
    if (json_object_set_new(entry, "at", json_integer((json_int_t)time(NULL))) < 0)
        return error_set(e, NO_SPACE, "%s: out of memory", name);
    if (check_entry(entry, e) < 0)
        return error_prefix(e, "%s", name);
    put = twin_put(l->backend, json_string_value(json_object_get(entry, "run")), name, entry, &why);
    *ours = put == OK;
    /* Its answer says nothing for sure: what counts is what is read now. */
    if (log_read(l, e) < 0)
        return e->status;
    if (l->view.number > before)
        return OK;
    if (put == OK)
        return error_set(e, FAILED, "%s was put, and is not there", name);
    *e = why;
    return e->status;
}

int log_put(struct log *l, json_t *entry, struct error *e)
{
    bool ignored;

    return log_put_ours(l, entry, &ignored, e);
}

/* ---- folding ---- */

/* BUSY: there is one already. */
static int write_state(struct log *l, const char *run, const char *name, struct error *e)
{
    AUTO_JSON json_t *json = NULL;

    if (view_to_json(&l->view, &json, e) < 0)
        return e->status;
    if (json_dumpb(json, NULL, 0, JSON_INDENT(2)) > LOG_STATE_MAX_BYTES - 4096)
        return error_set(e, UNSUPPORTED, "%s: it would have more than %u bytes", name,
                         LOG_STATE_MAX_BYTES);
    return twin_put(l->backend, run, name, json, e);
}

/* After it, the state is there, both of it, and it is one that can be read. NOT_FOUND: somebody has
 * put a later one meanwhile, and removed this. */
static int put_state(struct log *l, const char *run, struct error *e)
{
    uint64_t number = l->view.number;
    char name[BACKEND_NAME_MAX];
    struct view v = {0};
    struct error why;
    bool healed;
    int put;

    name_of(name, STATES, number);
    put = write_state(l, run, name, &why);
    if (read_state(l, number, &v, e) < 0) {
        if (e->status == NOT_FOUND && put < 0 && put != BUSY)
            *e = why;
        return e->status;
    }
    view_release(&v);
    if (twin_check(l->backend, run, name, LOG_STATE_MAX_BYTES, true, &healed, e) < 0 && !healed)
        return e->status;
    return OK;
}

/* Entries, or states, up to this number; their copies, too, if nothing else of them is left. */
static int remove_up_to(struct log *l, const char *folder, uint64_t number, struct error *e)
{
    AUTO_NUMBERS struct numbers n = {0};
    char name[BACKEND_NAME_MAX];

    if (list_numbers(l->backend, folder, &n, e) < 0)
        return e->status;
    for (size_t i = 0; i < n.count && n.all[i] <= number; i++) {
        name_of(name, folder, n.all[i]);
        if (twin_remove(l->backend, name, e) < 0)
            return e->status;
    }
    return OK;
}

int log_fold(struct log *l, const char *run, struct error *e)
{
    uint64_t number;

    if (log_read(l, e) < 0)
        return e->status;
    number = l->view.number;
    if (number == 0)
        return OK;
    /* From here on the entries are in the way only of those who read. */
    if (put_state(l, run, e) < 0)
        return e->status == NOT_FOUND ? OK : e->status;
    l->state = number;
    if (remove_up_to(l, ENTRIES, number, e) < 0)
        return e->status;
    return remove_up_to(l, STATES, number - 1, e);
}
