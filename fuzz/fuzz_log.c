/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log: a JSON list is entries, one after the other; an object is a state. Whatever holds is
 * written down, and read again. */
#include "fuzz.h"

#include <stdlib.h>

#include "base/cleanup.h"
#include "repo/view.h"

/* It must be the same. */
static void there_and_back(const struct view *v)
{
    AUTO_JSON json_t *state = NULL, *again = NULL;
    struct view copy = {0};
    struct error e;

    if (view_to_json(v, &state, &e) < 0 || view_from_json(&copy, state, &e) < 0 ||
        view_to_json(&copy, &again, &e) < 0 || !json_equal(state, again))
        abort();
    view_release(&copy);
}

static void look_up_all(const struct view *v)
{
    size_t count;

    for (size_t i = 0; i < v->pack_count; i++)
        if (!view_find_pack(v, &v->packs[i].name) || !view_needs_pack(v, &v->packs[i].name))
            abort();
    for (size_t i = 0; i < v->run_count; i++)
        if (!view_find_run(v, v->runs[i].id) || !view_needs_record(v, v->runs[i].id))
            abort();
    for (size_t i = 0; i < v->snapshot_count; i++) {
        const struct view_snapshot *s = &v->snapshots[i];

        if (view_find_snapshot(v, s->domain, s->name) != s || !view_needs_record(v, s->run) ||
            !view_domain(v, s->domain, &count) || !count)
            abort();
    }
    for (size_t i = 0; i < v->condemned_count; i++)
        for (size_t j = 0; j < v->condemned[i].count; j++)
            if (!view_needs_pack(v, &v->condemned[i].packs[j]))
                abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    AUTO_JSON json_t *json = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    struct view v = {0};
    struct error e;
    const json_t *entry;
    size_t i;

    if (json_is_array(json)) {
        json_array_foreach (json, i, entry) {
            uint64_t before = v.number;
            bool good = view_check_entry(entry, &e) == OK;

            /* What is refused does nothing. */
            if ((view_apply(&v, entry, &e) == OK) != good || v.number != before + good)
                abort();
        }
    } else if (!json || view_from_json(&v, json, &e) < 0) {
        return 0;
    }
    look_up_all(&v);
    there_and_back(&v);
    view_release(&v);
    return 0;
}
