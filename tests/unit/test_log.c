/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The log: whoever comes between, dies, loses an answer: all see the same, and nothing is lost. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "backend_fake.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "repo/log.h"
#include "repo/twin.h"

#define SUM64 "abcdef0123456789abcdef0123456789abcdef0123456789abcdef0123456789"

static struct error e;
static unsigned warnings;
static char last_warning[1200];

static void count_warnings(enum log_level level, const char *line)
{
    warnings += level == LOG_LEVEL_WARNING;
    snprintf(last_warning, sizeof last_warning, "%s", line);
}

#define assert_ok(call)                                                                            \
    do {                                                                                           \
        if ((call) != OK)                                                                          \
            fail_msg("%s: %s", #call, e.text);                                                     \
    } while (0)

#define assert_error(call, what, message)                                                          \
    do {                                                                                           \
        assert_int_equal((call), (what));                                                          \
        assert_int_equal(e.status, (what));                                                        \
        if (!strstr(e.text, (message)))                                                            \
            fail_msg("not \"%s\": %s", (message), e.text);                                         \
    } while (0)

/* ---- names and entries ---- */

/* Run 3's name; pack 7 is of run 3, its second. */
static const char *run_name(unsigned run)
{
    static char names[8][RUN_ID];
    static unsigned next;
    char *name = names[next++ % 8];

    snprintf(name, RUN_ID, "%016x", run);
    return name;
}

static struct pack_name pack_name(unsigned pack)
{
    char text[PACK_NAME_TEXT];
    struct pack_name name;

    snprintf(text, sizeof text, "%016x-%064x", pack / 2, pack);
    assert_true(pack_name_from_text(&name, text));
    return name;
}

static json_t *pack_list(uint64_t packs)
{
    json_t *list = json_array();

    for (unsigned i = 64; i--;) {
        char text[PACK_NAME_TEXT];
        struct pack_name name = pack_name(i);

        if (!(packs >> i & 1))
            continue;
        pack_name_to_text(&name, text);
        json_array_append_new(list, json_pack("[s, i]", text, 1000 + i));
    }
    return list;
}

static json_t *parse(const char *text)
{
    json_error_t why;
    json_t *json = json_loads(text, 0, &why);

    if (!json)
        fail_msg("%s: %s", why.text, text);
    return json;
}

static json_t *begin_entry(unsigned run)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:i, s:i, s:s, s:i}", "kind", "begin", "run",
                     run_name(run), "command", "create linux01", "host", "far", "boot", "b", "pid",
                     1, "start", 2, "reads", "", "at", 1);
}

static json_t *end_entry(unsigned run)
{
    return json_pack("{s:s, s:s, s:i}", "kind", "end", "run", run_name(run), "at", 1);
}

static json_t *add_entry(unsigned run, const char *domain, const char *name, uint64_t packs)
{
    return json_pack("{s:s, s:s, s:i, s:{s:s, s:s, s:s, s:s, s:i, s:i, s:i, s:b}, s:o}", "kind",
                     "add", "run", run_name(run), "at", 1, "snapshot", "domain", domain, "name",
                     name, "created", "2026-11-23T01:55:03Z", "record", SUM64, "bytes", 10,
                     "stored_bytes", 5, "disks", 2, "ram", 1, "packs", pack_list(packs));
}

static json_t *remove_entry(unsigned run)
{
    return json_pack("{s:s, s:s, s:[s], s:i}", "kind", "remove", "run", run_name(99), "snapshots",
                     run_name(run), "at", 1);
}

static json_t *condemn_entry(unsigned run, uint64_t packs, uint64_t named)
{
    return json_pack("{s:s, s:s, s:o, s:o, s:i}", "kind", "condemn", "run", run_name(run), "packs",
                     pack_list(packs), "named", pack_list(named), "at", 1);
}

static json_t *damage_entry(const char *kind, unsigned pack, const char *offsets)
{
    struct pack_name name = pack_name(pack);
    char text[PACK_NAME_TEXT];

    pack_name_to_text(&name, text);
    return json_pack("{s:s, s:s, s:i, s:{s:o}}", "kind", kind, "run", run_name(98), "at", 1,
                     "packs", text, parse(offsets));
}

static json_t *note_entry(unsigned run, const char *notes)
{
    return json_pack("{s:s, s:s, s:s, s:i, s:o}", "kind", "note", "run", run_name(98), "snapshot",
                     run_name(run), "at", 1, "notes", parse(notes));
}

static void apply(struct view *v, json_t *entry)
{
    uint64_t before = v->number;

    assert_non_null(entry);
    assert_ok(view_apply(v, entry, &e));
    assert_int_equal(v->number, before + 1);
    json_decref(entry);
}

static char *view_text(const struct view *v)
{
    json_t *json;
    char *text;

    assert_ok(view_to_json(v, &json, &e));
    text = json_dumps(json, JSON_SORT_KEYS | JSON_INDENT(1));
    json_decref(json);
    assert_non_null(text);
    return text;
}

static void assert_same_view(const struct view *a, const struct view *b)
{
    AUTO_FREE char *x = view_text(a), *y = view_text(b);

    assert_string_equal(x, y);
}

static bool is_named(const struct view *v, unsigned pack)
{
    struct pack_name name = pack_name(pack);

    return view_find_pack(v, &name);
}

static bool is_kept(const struct view *v, unsigned run, unsigned pack)
{
    struct pack_name name = pack_name(pack);

    return view_keeps_for(v, run_name(run), &name);
}

static bool is_needed(const struct view *v, unsigned pack)
{
    struct pack_name name = pack_name(pack);

    return view_needs_pack(v, &name);
}

static const struct view_damage *damage_of(const struct view *v, unsigned pack)
{
    struct pack_name name = pack_name(pack);
    const struct view_pack *p = view_find_pack(v, &name);

    return p ? p->damage : NULL;
}

/* ---- what entries do ---- */

static void runs_begin_sign_and_end(void **state)
{
    struct view v = {0};
    json_t *again = begin_entry(1);

    (void)state;
    apply(&v, begin_entry(1));
    apply(&v, begin_entry(2));
    json_object_set_new(again, "at", json_integer(77));
    json_object_set_new(again, "command", json_string("another"));
    apply(&v, again);
    assert_int_equal(v.run_count, 2);
    assert_int_equal(view_find_run(&v, run_name(1))->signed_s, 77);
    assert_string_equal(view_find_run(&v, run_name(1))->command, "create linux01");
    assert_true(is_needed(&v, 2) && is_needed(&v, 5) && !is_needed(&v, 6));
    assert_true(view_needs_record(&v, run_name(1)) && !view_needs_record(&v, run_name(3)));
    apply(&v, end_entry(1));
    apply(&v, end_entry(1));
    assert_null(view_find_run(&v, run_name(1)));
    assert_non_null(view_find_run(&v, run_name(2)));
    view_release(&v);
}

static void an_add_counts_once_and_only_of_a_run_at_work(void **state)
{
    struct view v = {0};
    size_t count;

    (void)state;
    apply(&v, add_entry(1, "d", "s", 4));
    assert_int_equal(v.snapshot_count, 0);
    apply(&v, begin_entry(1));
    apply(&v, begin_entry(2));
    apply(&v, add_entry(1, "d", "s", 4 | 8));
    assert_null(view_find_run(&v, run_name(1)));
    assert_true(is_named(&v, 2) && is_named(&v, 3));
    assert_string_equal(view_find_snapshot(&v, "d", "s")->run, run_name(1));
    apply(&v, add_entry(1, "d", "other", 4 | 8));
    assert_null(view_find_snapshot(&v, "d", "other"));
    /* Its name is taken: nothing of it counts. */
    apply(&v, add_entry(2, "d", "s", 16));
    assert_non_null(view_find_run(&v, run_name(2)));
    assert_false(is_named(&v, 4));
    apply(&v, add_entry(2, "c", "s", 16));
    assert_int_equal(v.snapshot_count, 2);
    assert_ptr_equal(view_domain(&v, "d", &count), &v.snapshots[1]);
    assert_int_equal(count, 1);
    assert_null(view_domain(&v, "cc", &count));
    apply(&v, remove_entry(1));
    assert_null(view_find_snapshot(&v, "d", "s"));
    assert_true(is_named(&v, 2) && !view_needs_record(&v, run_name(1)));
    apply(&v, add_entry(1, "d", "s", 4));
    assert_null(view_find_snapshot(&v, "d", "s"));
    view_release(&v);
}

static void condemned_packs_are_kept_for_those_at_work(void **state)
{
    struct view v = {0};

    (void)state;
    apply(&v, begin_entry(1));
    apply(&v, add_entry(1, "d", "s", 4 | 8));
    apply(&v, begin_entry(2));
    apply(&v, begin_entry(3));
    apply(&v, begin_entry(4));
    apply(&v, condemn_entry(9, 4, 0)); /* not at work */
    assert_true(is_named(&v, 2));
    apply(&v, damage_entry("damage", 2, "[1]"));
    /* 60 was never named, so nobody relies on it. */
    apply(&v, condemn_entry(2, 4 | UINT64_C(1) << 60, 16));
    assert_true(!is_named(&v, 2) && is_named(&v, 3) && is_named(&v, 4) && !is_needed(&v, 60));
    assert_true(is_kept(&v, 3, 2) && is_kept(&v, 4, 2) && !is_kept(&v, 2, 2));
    apply(&v, begin_entry(5));
    assert_true(is_needed(&v, 2) && !is_kept(&v, 5, 2));
    apply(&v, end_entry(3));
    assert_true(!is_kept(&v, 3, 2) && is_kept(&v, 4, 2));
    apply(&v, begin_entry(3));
    assert_false(is_kept(&v, 3, 2));
    apply(&v, condemn_entry(4, 8, 0)); /* its end lets go of the first */
    assert_int_equal(v.condemned_count, 1);
    assert_true(!is_needed(&v, 2) && is_kept(&v, 5, 3) && is_kept(&v, 3, 3));
    apply(&v, end_entry(5));
    apply(&v, end_entry(3));
    assert_int_equal(v.condemned_count, 0);
    /* With nobody at work there is nobody to keep it for. */
    apply(&v, begin_entry(6));
    apply(&v, condemn_entry(6, 16, 0));
    assert_true(v.condemned_count == 0 && v.pack_count == 0);
    view_release(&v);
}

static void damage_is_marked_merged_and_mended(void **state)
{
    struct view v = {0};

    (void)state;
    apply(&v, begin_entry(1));
    apply(&v, add_entry(1, "d", "s", 4 | 8));
    apply(&v, damage_entry("damage", 9, "[1]")); /* not named */
    apply(&v, damage_entry("damage", 2, "[70, 5, 5]"));
    apply(&v, damage_entry("damage", 2, "[6, 5, 4294967295]"));
    assert_null(damage_of(&v, 3));
    assert_int_equal(damage_of(&v, 2)->count, 4);
    assert_int_equal(damage_of(&v, 2)->offsets[0], 5);
    assert_int_equal(damage_of(&v, 2)->offsets[1], 6);
    assert_int_equal(damage_of(&v, 2)->offsets[2], 70);
    assert_int_equal(damage_of(&v, 2)->offsets[3], UINT32_MAX);
    apply(&v, damage_entry("mended", 2, "[6, 7, 5]"));
    assert_int_equal(damage_of(&v, 2)->count, 2);
    apply(&v, damage_entry("mended", 2, "[70, 4294967295]"));
    assert_null(damage_of(&v, 2));
    apply(&v, damage_entry("damage", 3, "[1]"));
    apply(&v, damage_entry("damage", 3, "[]"));
    apply(&v, damage_entry("damage", 3, "[2]"));
    assert_int_equal(damage_of(&v, 3)->count, 0);
    apply(&v, damage_entry("mended", 3, "[2]"));
    assert_non_null(damage_of(&v, 3));
    apply(&v, damage_entry("mended", 3, "[]"));
    assert_null(damage_of(&v, 3));
    view_release(&v);
}

static void notes_are_merged(void **state)
{
    AUTO_FREE char *long_text = malloc(40001);
    AUTO_FREE char *one = NULL, *two = NULL;
    struct view v = {0};

    (void)state;
    memset(long_text, 'x', 40000);
    long_text[40000] = '\0';
    one = format_text("{\"one\": \"%s\"}", long_text);
    two = format_text("{\"two\": \"%s\"}", long_text);
    apply(&v, begin_entry(1));
    apply(&v, add_entry(1, "d", "s", 4));
    apply(&v, note_entry(2, "{\"tags\": [\"x\"]}")); /* of none */
    apply(&v, note_entry(1, "{\"tags\": [\"x\"], \"verified\": 17}"));
    apply(&v, note_entry(1, "{\"tags\": null, \"proven\": {\"at\": 1}}"));
    assert_int_equal(json_object_size(v.snapshots[0].notes), 2);
    assert_int_equal(json_integer_value(json_object_get(v.snapshots[0].notes, "verified")), 17);
    apply(&v, note_entry(1, one));
    apply(&v, note_entry(1, two)); /* too much */
    assert_int_equal(json_object_size(v.snapshots[0].notes), 3);
    apply(&v, note_entry(1, "{\"one\": null, \"verified\": null, \"proven\": null}"));
    assert_null(v.snapshots[0].notes);
    view_release(&v);
}

static void make_full_view(struct view *v)
{
    apply(v, begin_entry(1));
    apply(v, begin_entry(2));
    apply(v, begin_entry(3));
    apply(v, begin_entry(4));
    apply(v, add_entry(1, "d\xc3\xbc", "a", 4 | 8));
    apply(v, add_entry(2, "b", "2026-11-23T01:55:03Z", 32));
    apply(v, damage_entry("damage", 2, "[7, 3]"));
    apply(v, damage_entry("damage", 5, "[]"));
    apply(v, note_entry(1, "{\"tags\": [\"x\", {\"y\": 2}]}"));
    apply(v, condemn_entry(3, 8, 64));
}

static void a_state_is_the_whole_view(void **state)
{
    AUTO_JSON json_t *json = NULL;
    struct view v = {0}, w;

    (void)state;
    make_full_view(&v);
    assert_ok(view_to_json(&v, &json, &e));
    assert_ok(view_from_json(&w, json, &e));
    assert_same_view(&v, &w);
    assert_true(is_kept(&w, 4, 3) && is_named(&w, 6) && damage_of(&w, 5)->count == 0);
    assert_int_equal(w.number, 10);
    view_release(&w);
    view_release(&v);
}

/* ---- hostile ---- */

#define R2       "\"run\":\"0000000000000002\",\"at\":1"
#define PACK2    "\"0000000000000002-" SUM64 "\""
#define BEGIN(x) "{\"kind\":\"begin\"," R2 "," x "}"
#define SNAP(domain, name, created, record, rest)                                                  \
    "{\"kind\":\"add\"," R2 ",\"packs\":[],\"snapshot\":{\"domain\":" domain ",\"name\":" name     \
    ",\"created\":" created ",\"record\":" record "," rest "}}"
#define TIME    "\"2026-11-23T01:55:03Z\""
#define RECORD  "\"" SUM64 "\""
#define NUMBERS "\"bytes\":1,\"stored_bytes\":1,\"disks\":1,\"ram\":true"
#define ADD(packs)                                                                                 \
    "{\"kind\":\"add\"," R2 ",\"packs\":" packs ",\"snapshot\":{\"domain\":\"d\",\"name\":\"n\","  \
    "\"created\":" TIME ",\"record\":" RECORD "," NUMBERS "}}"

static const struct hostile {
    const char *text, *message;
    enum status status;
} hostile[] = {
    {"[]", "not an entry", DAMAGED},
    {"{}", "\"kind\" is missing", DAMAGED},
    {"{\"kind\":1}", "\"kind\" is missing", DAMAGED},
    {"{\"kind\":\"drop\"," R2 "}",
     "an entry of kind \"drop\", which this domsnap does not know; use a newer one", UNSUPPORTED},
    {"{\"kind\":\"end\",\"at\":1}", "\"run\" is missing or not the 16 digits", DAMAGED},
    {"{\"kind\":\"end\",\"at\":1,\"run\":\"000000000000000G\"}", "\"run\"", DAMAGED},
    {"{\"kind\":\"end\",\"at\":1,\"run\":\"000000000000000A\"}", "\"run\"", DAMAGED},
    {"{\"kind\":\"end\",\"at\":1,\"run\":\"00000000000000000\"}", "\"run\"", DAMAGED},
    {"{\"kind\":\"end\",\"run\":\"0000000000000002\"}", "\"at\"", DAMAGED},
    {"{\"kind\":\"end\",\"run\":\"0000000000000002\",\"at\":-1}", "\"at\"", DAMAGED},
    {"{\"kind\":\"end\",\"run\":\"0000000000000002\",\"at\":1.5}", "\"at\"", DAMAGED},
    {BEGIN("\"command\":\"\\u001b[2J\""), "\"command\"", DAMAGED},
    {BEGIN("\"command\":\"x\""), "\"host\"", DAMAGED},
    {BEGIN("\"command\":\"x\",\"host\":\"\",\"boot\":\"\",\"reads\":\"\",\"pid\":4294967296"),
     "\"pid\"", DAMAGED},
    {BEGIN("\"command\":\"x\",\"host\":\"\",\"boot\":\"\",\"reads\":\"\",\"pid\":1,\"start\":[]"),
     "\"start\"", DAMAGED},
    {"{\"kind\":\"add\"," R2 "}", "\"snapshot\" is missing", DAMAGED},
    {SNAP("\"a/b\"", "\"n\"", TIME, RECORD, NUMBERS), "\"a/b\" is not the name of a domain",
     DAMAGED},
    {SNAP("\"\"", "\"n\"", TIME, RECORD, NUMBERS), "not the name of a domain", DAMAGED},
    {SNAP("\"a\\nb\"", "\"n\"", TIME, RECORD, NUMBERS), "\"domain\"", DAMAGED},
    {SNAP("\"a\\u009bb\"", "\"n\"", TIME, RECORD, NUMBERS), "\"domain\"", DAMAGED},
    {SNAP("\"" SUM64 SUM64 "x\"", "\"n\"", TIME, RECORD, NUMBERS), "at most 128 bytes", DAMAGED},
    {SNAP("\"d\"", "\"\"", TIME, RECORD, NUMBERS), "not the name of a snapshot", DAMAGED},
    {SNAP("\"d\"", "\".n\"", TIME, RECORD, NUMBERS), "not the name of a snapshot", DAMAGED},
    {SNAP("\"d\"", "\"a@b\"", TIME, RECORD, NUMBERS), "not the name of a snapshot", DAMAGED},
    {SNAP("\"d\"", "\"" SUM64 "x\"", TIME, RECORD, NUMBERS), "at most 64 bytes", DAMAGED},
    {SNAP("\"d\"", "\"n\"", "\"today\"", RECORD, NUMBERS), "\"today\" is not a time", DAMAGED},
    {SNAP("\"d\"", "\"n\"", "\"2026-11-23 01:55:03Z\"", RECORD, NUMBERS), "not a time", DAMAGED},
    {SNAP("\"d\"", "\"n\"", TIME, "\"" SUM64 "a\"", NUMBERS), "\"record\"", DAMAGED},
    {SNAP("\"d\"", "\"n\"", TIME, "\"abc\"", NUMBERS), "\"record\" is not 64", DAMAGED},
    {SNAP("\"d\"", "\"n\"", TIME, RECORD, "\"bytes\":-1"), "\"bytes\"", DAMAGED},
    {SNAP("\"d\"", "\"n\"", TIME, RECORD, "\"bytes\":9223372036854775807"), "\"bytes\"", DAMAGED},
    {SNAP("\"d\"", "\"n\"", TIME, RECORD, "\"bytes\":1,\"stored_bytes\":1,\"disks\":1025"),
     "\"disks\"", DAMAGED},
    {SNAP("\"d\"", "\"n\"", TIME, RECORD, "\"bytes\":1,\"stored_bytes\":1,\"disks\":1,\"ram\":1"),
     "\"ram\"", DAMAGED},
    {ADD("{}"), "\"packs\" is missing or not a list", DAMAGED},
    {ADD("[1]"), "item 1 is not a pack", DAMAGED},
    {ADD("[[" PACK2 "]]"), "item 1 is not a pack", DAMAGED},
    {ADD("[[" PACK2 ",-1]]"), "item 1 is not a pack", DAMAGED},
    {ADD("[[" PACK2 ",1,1]]"), "item 1 is not a pack", DAMAGED},
    {ADD("[[\"../../etc/passwd\",1]]"), "item 1 is not a pack", DAMAGED},
    {ADD("[[\"0000000000000002+" SUM64 "\",1]]"), "item 1 is not a pack", DAMAGED},
    {ADD("[[" PACK2 ",1],[" PACK2 ",1]]"), "has a pack twice", DAMAGED},
    {ADD("[[\"0000000000000001-" SUM64 "\",1]]"), "a pack of another run as its own", DAMAGED},
    {"{\"kind\":\"condemn\"," R2 ",\"packs\":[]}", "\"named\" is missing", DAMAGED},
    {"{\"kind\":\"condemn\"," R2 ",\"named\":[]}", "\"packs\" is missing", DAMAGED},
    {"{\"kind\":\"condemn\"," R2 ",\"packs\":[],\"named\":[[\"0000000000000001-" SUM64 "\",1]]}",
     "a pack of another run as its own", DAMAGED},
    {"{\"kind\":\"remove\"," R2 "}", "\"snapshots\" is missing", DAMAGED},
    {"{\"kind\":\"remove\"," R2 ",\"snapshots\":\"0000000000000001\"}", "not a list of runs",
     DAMAGED},
    {"{\"kind\":\"remove\"," R2 ",\"snapshots\":[\"0000000000000001\",1]}", "16 digits of a run",
     DAMAGED},
    {"{\"kind\":\"damage\"," R2 ",\"packs\":[]}", "\"packs\" is missing or not an object", DAMAGED},
    {"{\"kind\":\"damage\"," R2 ",\"packs\":{\"x\":[]}}", "\"x\" is not a pack", DAMAGED},
    {"{\"kind\":\"damage\"," R2 ",\"packs\":{" PACK2 ":[4294967296]}}", "not an offset", DAMAGED},
    {"{\"kind\":\"mended\"," R2 ",\"packs\":{" PACK2 ":[-1]}}", "not an offset", DAMAGED},
    {"{\"kind\":\"mended\"," R2 ",\"packs\":{" PACK2 ":1}}", "a list of offsets", DAMAGED},
    {"{\"kind\":\"note\"," R2 ",\"snapshot\":\"0000000000000001\"}", "\"notes\" is missing",
     DAMAGED},
    {"{\"kind\":\"note\"," R2 ",\"snapshot\":\"0000000000000001\",\"notes\":{\"a\":\"\\u0007\"}}",
     "plain text", DAMAGED},
    {"{\"kind\":\"note\"," R2 ",\"snapshot\":\"0000000000000001\",\"notes\":{\"\\n\":1}}",
     "plain text", DAMAGED},
    {"{\"kind\":\"note\"," R2 ",\"snapshot\":\"0000000000000001\",\"notes\":{\"a\":"
     "[[[[[[[[[[[[]]]]]]]]]]]]}}",
     "plain text", DAMAGED},
};

static void hostile_entries_change_nothing(void **state)
{
    AUTO_FREE char *before = NULL;
    struct view v = {0};

    (void)state;
    make_full_view(&v);
    apply(&v, begin_entry(2));
    before = view_text(&v);
    for (size_t i = 0; i < sizeof hostile / sizeof *hostile; i++) {
        AUTO_JSON json_t *entry = parse(hostile[i].text);
        AUTO_FREE char *after = NULL;

        assert_error(view_apply(&v, entry, &e), hostile[i].status, hostile[i].message);
        assert_error(view_check_entry(entry, &e), hostile[i].status, hostile[i].message);
        after = view_text(&v);
        assert_string_equal(before, after);
    }
    view_release(&v);
}

/* The good state with one part exchanged. */
static const struct hostile hostile_states[] = {
    {"{\"format\":\"domsnap-manifest\"}", "not a state", DAMAGED},
    {"{\"version\":3}", "a state of version 3, and this domsnap reads version 2", UNSUPPORTED},
    {"{\"number\":-1}", "\"number\"", DAMAGED},
    {"{\"number\":99999999999999999}", "\"number\"", DAMAGED},
    {"{\"runs\":{}}", "\"runs\" is missing or not a list", DAMAGED},
    {"{\"runs\":[1]}", "run 1: \"run\"", DAMAGED},
    {"{\"packs\":[[1,2]]}", "item 1 is not a pack", DAMAGED},
    {"{\"damage\":[]}", "\"damage\"", DAMAGED},
    {"{\"condemned\":1}", "\"condemned\"", DAMAGED},
    {"{\"condemned\":[{}]}", "\"condemned\", item 1: \"packs\"", DAMAGED},
    {"{\"condemned\":[{\"packs\":[]}]}", "\"keep\"", DAMAGED},
    {"{\"condemned\":[{\"packs\":[],\"keep\":[]}]}", "\"keep\"", DAMAGED},
    {"{\"condemned\":[{\"packs\":[],\"keep\":[\"0000000000000009\"]}]}", "not a run that lives",
     DAMAGED},
    {"{\"condemned\":[{\"packs\":[],\"keep\":[4]}]}", "not a run that lives", DAMAGED},
    {"{\"snapshots\":[{}]}", "snapshot 1: \"run\"", DAMAGED},
    {"{\"snapshots\":null}", "\"snapshots\"", DAMAGED},
};

static void hostile_states_are_refused(void **state)
{
    AUTO_JSON json_t *good = NULL;
    struct view v = {0};
    json_t *twice;

    (void)state;
    make_full_view(&v);
    assert_ok(view_to_json(&v, &good, &e));
    view_release(&v);
    for (size_t i = 0; i < sizeof hostile_states / sizeof *hostile_states; i++) {
        AUTO_JSON json_t *bad = json_deep_copy(good), *change = parse(hostile_states[i].text);

        json_object_update(bad, change);
        assert_error(view_from_json(&v, bad, &e), hostile_states[i].status,
                     hostile_states[i].message);
    }
    for (size_t i = 0; i < 3; i++) {
        static const char *const keys[] = {"runs", "packs", "snapshots"};
        AUTO_JSON json_t *bad = json_deep_copy(good);

        twice = json_object_get(bad, keys[i]);
        json_array_append(twice, json_array_get(twice, 0));
        assert_error(view_from_json(&v, bad, &e), DAMAGED, "twice");
    }
}

/* ---- several at work ---- */

struct party {
    struct backend *b;
    struct log *l;
};

static struct party party_new(struct fake_store *s)
{
    struct party p = {.b = fake_backend(s)};

    assert_ok(log_open(&p.l, p.b, &e));
    return p;
}

static void party_end(struct party *p)
{
    log_close(p->l);
    backend_close(p->b);
}

static int put(struct log *l, json_t *entry)
{
    AUTO_JSON json_t *owned = entry;

    assert_non_null(entry);
    return log_put(l, owned, &e);
}

/* Snapshot 1 with packs 2 and 3; runs 2, 3 and 4 are at work. */
static struct fake_store *scene(bool is_folded)
{
    struct fake_store *s = fake_store_new();
    struct party p = party_new(s);

    for (unsigned run = 1; run <= 4; run++)
        assert_ok(put(p.l, begin_entry(run)));
    assert_ok(put(p.l, add_entry(1, "d", "one", 4 | 8)));
    if (is_folded) {
        assert_ok(log_fold(p.l, run_name(1), &e));
        assert_ok(put(p.l, begin_entry(5)));
    }
    party_end(&p);
    return s;
}

enum act { ACT_READ, ACT_BEGIN, ACT_ADD, ACT_CONDEMN, ACT_REMOVE, ACT_END, ACT_FOLD, ACTS };

static const struct view_snapshot *snapshot_of(const struct log *l, unsigned run)
{
    const struct view *v = log_view(l);

    for (size_t i = 0; i < v->snapshot_count; i++)
        if (strcmp(v->snapshots[i].run, run_name(run)) == 0)
            return &v->snapshots[i];
    return NULL;
}

static bool is_at_work(const struct log *l, unsigned run)
{
    return view_find_run(log_view(l), run_name(run));
}

static int do_add(struct log *l, unsigned run, const char *domain, const char *name, uint64_t packs)
{
    while (!snapshot_of(l, run) && is_at_work(l, run))
        if (put(l, add_entry(run, domain, name, packs)) < 0)
            return e.status;
    return OK;
}

static int do_condemn(struct log *l, unsigned run, uint64_t packs, uint64_t named)
{
    while (is_at_work(l, run))
        if (put(l, condemn_entry(run, packs, named)) < 0)
            return e.status;
    return OK;
}

static int act(struct log *l, enum act what)
{
    char run[RUN_ID];
    int rc;

    switch (what) {
    case ACT_READ:
        return log_read(l, &e);
    case ACT_BEGIN:
        rc = log_begin(l, "restore d@one", "d@one", run, &e);
        assert_true(rc < 0 || view_find_run(log_view(l), run));
        return rc;
    case ACT_ADD:
        return do_add(l, 2, "d", "two", 16);
    case ACT_CONDEMN:
        return do_condemn(l, 3, 4, 64);
    case ACT_REMOVE:
        memcpy(run, run_name(1), RUN_ID);
        return log_remove(l, &run, 1, &e);
    case ACT_END:
        return log_end(l, run_name(4), &e);
    default:
        return log_fold(l, run_name(4), &e);
    }
}

/* It was done, and nothing else was undone. */
static void assert_done(const struct log *l, enum act what)
{
    const struct view *v = log_view(l);

    assert_true(is_named(v, 3));
    assert_true(what == ACT_REMOVE ? !snapshot_of(l, 1) : snapshot_of(l, 1) != NULL);
    if (what == ACT_ADD)
        assert_true(snapshot_of(l, 2) && is_named(v, 4) && !is_at_work(l, 2));
    else
        assert_true(!snapshot_of(l, 2) && is_at_work(l, 2));
    if (what == ACT_CONDEMN)
        assert_true(!is_named(v, 2) && is_kept(v, 2, 2) && is_named(v, 6));
    else
        assert_true(is_named(v, 2) && is_at_work(l, 3));
    assert_int_equal(what == ACT_END, !is_at_work(l, 4));
}

static void assert_all_agree(struct fake_store *s, struct log *const logs[], size_t count)
{
    struct party fresh = party_new(s);

    for (size_t i = 0; i < count; i++) {
        assert_ok(log_read(logs[i], &e));
        assert_same_view(log_view(fresh.l), log_view(logs[i]));
    }
    party_end(&fresh);
}

/* Nothing is left but one state, and its copy. */
static void assert_folds(struct fake_store *s)
{
    struct party p = party_new(s);

    assert_ok(log_fold(p.l, run_name(4), &e));
    assert_int_equal(log_length(p.l), 0);
    assert_int_equal(fake_count(s, "log"), 0);
    assert_int_equal(fake_count(s, "copy/log"), 0);
    assert_int_equal(fake_count(s, "state"), 1);
    assert_int_equal(fake_count(s, "copy/state"), 1);
    assert_all_agree(s, &p.l, 1);
    party_end(&p);
}

/* ---- somebody comes between ---- */

enum intrusion { PUTS, PUTS_TWO, FOLDS, PUTS_AND_FOLDS, FOLDS_AND_PUTS, INTRUSIONS };

struct intruder {
    struct log *l;
    enum intrusion what;
    unsigned at, seen;
};

static void intrude(void *arg, const char *operation, const char *name)
{
    struct intruder *i = arg;
    struct error mine;
    char run[RUN_ID];

    (void)operation;
    (void)name;
    if (++i->seen != i->at)
        return;
    if (i->what == FOLDS || i->what == FOLDS_AND_PUTS)
        assert_int_equal(log_fold(i->l, run_name(4), &mine), OK);
    if (i->what != FOLDS)
        assert_int_equal(log_begin(i->l, "x", "", run, &mine), OK);
    if (i->what == PUTS_TWO || i->what == PUTS_AND_FOLDS)
        assert_int_equal(log_begin(i->l, "x", "", run, &mine), OK);
    if (i->what == PUTS_AND_FOLDS)
        assert_int_equal(log_fold(i->l, run_name(4), &mine), OK);
}

/* Whether the act had so many operations. */
static bool try_intrusion(enum act what, enum intrusion intrusion, unsigned at, bool is_folded)
{
    struct fake_store *s = scene(is_folded);
    struct party a = party_new(s), b = party_new(s);
    struct intruder intruder = {.l = b.l, .what = intrusion, .at = at};
    bool has_come;

    fake_before(a.b, intrude, &intruder);
    assert_ok(act(a.l, what));
    fake_before(a.b, NULL, NULL);
    has_come = intruder.seen >= at;
    assert_done(a.l, what);
    assert_all_agree(s, (struct log *[]){a.l, b.l}, 2);
    assert_folds(s);
    assert_all_agree(s, (struct log *[]){a.l, b.l}, 2);
    party_end(&a);
    party_end(&b);
    fake_store_free(s);
    return has_come;
}

static void several_are_removed_at_once(void **state)
{
    struct fake_store *s = fake_store_new();
    struct party p = party_new(s);
    char runs[4][RUN_ID];
    uint64_t number;

    (void)state;
    for (unsigned i = 0; i < 5; i++) {
        assert_ok(put(p.l, begin_entry(i)));
        assert_ok(do_add(p.l, i, "d", run_name(i), 0));
    }
    number = log_view(p.l)->number;
    /* One of them twice, and one that is not there. */
    for (unsigned i = 0; i < 4; i++)
        memcpy(runs[i], run_name((unsigned[]){3, 1, 3, 9}[i]), RUN_ID);
    assert_ok(log_remove(p.l, runs, 4, &e));
    assert_int_equal(log_view(p.l)->number, number + 1);
    for (unsigned i = 0; i < 5; i++)
        assert_int_equal(!view_find_made_by(log_view(p.l), run_name(i)), i == 1 || i == 3);
    assert_ok(log_remove(p.l, runs, 4, &e));
    assert_int_equal(log_view(p.l)->number, number + 1);
    party_end(&p);
    fake_store_free(s);
}

static void whoever_comes_between_changes_nothing(void **state)
{
    unsigned tried = 0;

    (void)state;
    for (int what = 0; what < ACTS; what++)
        for (int intrusion = 0; intrusion < INTRUSIONS; intrusion++)
            for (int is_folded = 0; is_folded < 2; is_folded++)
                for (unsigned at = 1; try_intrusion(what, intrusion, at, is_folded); at++)
                    tried++;
    assert_in_range(tried, 300, 10000);
}

/* ---- faults ---- */

static bool try_fault(enum act what, enum fake_fault fault, unsigned at, bool is_folded)
{
    struct fake_store *s = scene(is_folded);
    struct party a = party_new(s), b = party_new(s);
    unsigned before = fake_operations(a.b);
    bool has_come;
    int rc;

    fake_arm(a.b, at, fault);
    rc = act(a.l, what);
    has_come = fake_operations(a.b) - before >= at;
    fake_arm(a.b, 0, FAKE_NONE);
    if (rc < 0 && has_come && fault == FAKE_NO_SPACE)
        assert_int_equal(rc, NO_SPACE);
    if (rc == OK)
        assert_done(a.l, what);
    assert_all_agree(s, (struct log *[]){b.l}, 1);
    if (fault != FAKE_DIE) {
        assert_ok(act(a.l, what));
        assert_all_agree(s, (struct log *[]){a.l, b.l}, 2);
    }
    /* Another one can do what the dead could not. */
    assert_ok(act(b.l, what));
    assert_done(b.l, what);
    assert_folds(s);
    assert_all_agree(s, (struct log *[]){b.l}, 1);
    party_end(&a);
    party_end(&b);
    fake_store_free(s);
    return has_come;
}

static void no_fault_at_any_operation_loses_anything(void **state)
{
    unsigned tried = 0;

    (void)state;
    for (int what = 0; what < ACTS; what++)
        for (int fault = FAKE_FAIL; fault <= FAKE_DIE; fault++)
            for (int is_folded = 0; is_folded < 2; is_folded++)
                for (unsigned at = 1; try_fault(what, fault, at, is_folded); at++)
                    tried++;
    assert_in_range(tried, 200, 10000);
}

static void fail_all_puts(void *arg, const char *operation, const char *name)
{
    (void)name;
    if (strcmp(operation, "publish") == 0)
        fake_arm(arg, 1, FAKE_NO_SPACE);
}

static void a_full_store_ends_with_its_message(void **state)
{
    struct fake_store *s = scene(true);
    struct party a = party_new(s);

    (void)state;
    fake_before(a.b, fail_all_puts, a.b);
    for (int what = ACT_BEGIN; what < ACTS; what++)
        assert_error(act(a.l, what), NO_SPACE, "no room");
    party_end(&a);
    fake_store_free(s);
}

/* ---- late ---- */

static void a_late_put_does_not_count(void **state)
{
    struct fake_store *s = scene(false);
    struct party a = party_new(s), b = party_new(s);
    uint64_t number = log_view(a.l)->number;
    char name[64];

    (void)state;
    for (unsigned run = 10; run < 20; run++)
        assert_ok(put(b.l, begin_entry(run)));
    assert_ok(log_fold(b.l, run_name(4), &e));
    assert_ok(put(b.l, begin_entry(20)));
    assert_ok(put(a.l, begin_entry(21)));
    assert_false(is_at_work(a.l, 21));
    assert_true(is_at_work(a.l, 20));
    snprintf(name, sizeof name, "log/%016" PRIu64, number + 1);
    assert_true(fake_has(s, name));
    assert_all_agree(s, (struct log *[]){a.l, b.l}, 2);
    assert_ok(put(a.l, begin_entry(21)));
    assert_true(is_at_work(a.l, 21));
    assert_all_agree(s, (struct log *[]){a.l, b.l}, 2);
    assert_folds(s);
    party_end(&a);
    party_end(&b);
    fake_store_free(s);
}

static void an_old_handle_catches_up(void **state)
{
    struct fake_store *s = scene(false);
    struct party a = party_new(s), b = party_new(s);

    (void)state;
    for (unsigned run = 10; run < 14; run++) {
        assert_ok(put(b.l, begin_entry(run)));
        assert_ok(put(b.l, begin_entry(run + 10)));
        assert_int_equal(log_fold(b.l, run_name(4), &e), OK);
    }
    assert_int_equal(log_length(b.l), 0);
    assert_ok(put(b.l, begin_entry(30)));
    assert_int_equal(log_length(b.l), 1);
    assert_all_agree(s, (struct log *[]){a.l, b.l}, 2);
    assert_int_equal(log_length(a.l), 1);
    party_end(&a);
    party_end(&b);
    fake_store_free(s);
}

static void nothing_is_put_that_cannot_be_read(void **state)
{
    struct fake_store *s = scene(false);
    struct party a = party_new(s);
    size_t before = fake_count(s, "log");

    (void)state;
    assert_error(put(a.l, parse("{\"kind\":\"drop\"," R2 "}")), UNSUPPORTED, "log/");
    assert_error(put(a.l, parse("{\"kind\":\"end\",\"run\":\"x\"}")), DAMAGED, "\"run\"");
    assert_int_equal(fake_count(s, "log"), before);
    party_end(&a);
    fake_store_free(s);
}

/* ---- damage ---- */

enum harm { FLIP, TRUNCATE, DROP, HARMS };

static void do_harm(struct fake_store *s, const char *name, enum harm harm)
{
    size_t bytes;
    unsigned char *data = fake_bytes(s, name, &bytes);

    assert_non_null(data);
    if (harm == FLIP)
        data[bytes / 2] ^= 1;
    else if (harm == TRUNCATE)
        fake_truncate(s, name, bytes / 2);
    else
        fake_drop(s, name);
}

/* which: 1 the first, 2 the copy, 3 both */
static int open_harmed(struct fake_store *s, const char *folder, uint64_t number, enum harm harm,
                       unsigned which, struct view *expected)
{
    char first[64], copy[80];
    struct party p;
    int rc;

    snprintf(first, sizeof first, "%s/%016" PRIu64, folder, number);
    snprintf(copy, sizeof copy, "copy/%s", first);
    if (which & 1)
        do_harm(s, first, harm);
    if (which & 2)
        do_harm(s, copy, harm);
    warnings = 0;
    p.b = fake_backend(s);
    rc = log_open(&p.l, p.b, &e);
    if (rc == OK && expected)
        assert_same_view(log_view(p.l), expected);
    party_end(&p);
    return rc;
}

/* As a fold that died before it removed anything. */
static void put_state_only(struct party *p, const char *name)
{
    json_t *json;

    assert_ok(view_to_json(log_view(p->l), &json, &e));
    assert_ok(twin_put(p->b, run_name(1), name, json, &e));
    json_decref(json);
}

/* State 5 and entries 6 to 8; with `unfolded`, 1 to 5 as well, as when a fold has just begun. */
static struct fake_store *damage_scene(struct view *v, bool unfolded)
{
    struct fake_store *s = fake_store_new();
    struct party p = party_new(s);

    for (unsigned run = 1; run <= 5; run++)
        assert_ok(put(p.l, begin_entry(run)));
    if (unfolded)
        put_state_only(&p, "state/0000000000000005");
    else
        assert_ok(log_fold(p.l, run_name(4), &e));
    for (unsigned run = 6; run <= 8; run++)
        assert_ok(put(p.l, begin_entry(run)));
    *v = (struct view){0};
    for (unsigned run = 1; run <= 8; run++) {
        AUTO_JSON json_t *entry = begin_entry(run);

        apply(v, json_incref(entry));
    }
    for (size_t i = 0; i < v->run_count; i++)
        v->runs[i].signed_s = log_view(p.l)->runs[i].signed_s;
    assert_same_view(v, log_view(p.l));
    assert_int_equal(fake_count(s, "log"), unfolded ? 8 : 3);
    assert_int_equal(fake_count(s, "state"), 1);
    party_end(&p);
    return s;
}

static void one_of_two_is_enough(void **state)
{
    (void)state;
    for (uint64_t number = 5; number <= 8; number++)
        for (int harm = 0; harm < HARMS; harm++)
            for (unsigned which = 1; which <= 2; which++) {
                struct view v;
                struct fake_store *s = damage_scene(&v, false);

                assert_ok(open_harmed(s, number == 5 ? "state" : "log", number, harm, which, &v));
                assert_int_equal(warnings, which == 1);
                view_release(&v);
                fake_store_free(s);
            }
}

static void both_lost_is_said(void **state)
{
    (void)state;
    for (uint64_t number = 5; number <= 8; number++)
        for (int harm = 0; harm < HARMS; harm++) {
            struct view v;
            struct fake_store *s = damage_scene(&v, false);
            char name[64];

            snprintf(name, sizeof name, "%s/%016" PRIu64, number == 5 ? "state" : "log", number);
            if (number == 5 && harm == DROP)
                assert_error(open_harmed(s, "state", number, harm, 3, NULL), DAMAGED,
                             "log/0000000000000001 is missing, and so nothing after it can be");
            else if (number == 8 && harm == DROP)
                assert_ok(open_harmed(s, "log", number, harm, 3, NULL)); /* as if never put */
            else
                assert_error(open_harmed(s, number == 5 ? "state" : "log", number, harm, 3, NULL),
                             DAMAGED, name);
            view_release(&v);
            fake_store_free(s);
        }
}

static void the_entries_do_for_a_state_while_they_are_there(void **state)
{
    (void)state;
    for (int harm = 0; harm < HARMS; harm++) {
        struct view v;
        struct fake_store *s = damage_scene(&v, true);

        assert_ok(open_harmed(s, "state", 5, harm, 3, &v));
        assert_int_equal(warnings, harm != DROP);
        /* But not if one of them is lost, too. */
        assert_error(open_harmed(s, "log", 7, harm, 3, NULL), DAMAGED, "log/0000000000000007");
        assert_error(open_harmed(s, "log", 3, harm, 3, NULL), DAMAGED,
                     harm == DROP ? "log/0000000000000003" : "state/0000000000000005");
        view_release(&v);
        fake_store_free(s);
    }
}

/* A fold that stopped between removing the entries and the older state. */
static void an_older_state_does_while_the_entries_are_there(void **state)
{
    struct fake_store *s = fake_store_new();
    struct party p = party_new(s), old;
    json_t *json;
    struct view v;

    (void)state;
    for (unsigned run = 1; run <= 4; run++)
        assert_ok(put(p.l, begin_entry(run)));
    assert_ok(log_fold(p.l, run_name(4), &e));
    assert_ok(put(p.l, begin_entry(5)));
    assert_ok(put(p.l, begin_entry(6)));
    old = party_new(s);
    put_state_only(&p, "state/0000000000000006");
    assert_ok(put(p.l, begin_entry(7)));
    assert_ok(view_to_json(log_view(p.l), &json, &e));
    assert_ok(view_from_json(&v, json, &e));
    json_decref(json);
    assert_ok(open_harmed(s, "state", 6, FLIP, 3, &v));
    assert_int_equal(warnings, 1);
    assert_all_agree(s, (struct log *[]){old.l}, 1);
    assert_folds(s);
    view_release(&v);
    party_end(&p);
    party_end(&old);
    fake_store_free(s);
}

/* ---- who is dead ---- */

static void put_raw(struct fake_store *s, uint64_t number, json_t *entry)
{
    struct backend *b = fake_backend(s);
    char name[64];

    snprintf(name, sizeof name, "log/%016" PRIu64, number);
    assert_ok(twin_put(b, run_name(1), name, entry, &e));
    json_decref(entry);
    backend_close(b);
}

static json_t *like(const struct view_run *r, unsigned run, const char *host, const char *boot,
                    int64_t pid, uint64_t start, int64_t age_s)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s, s:I}", "kind", "begin", "run",
                     run_name(run), "command", r->command, "host", host, "boot", boot, "pid",
                     (json_int_t)pid, "start", (json_int_t)start, "reads", "", "at",
                     (json_int_t)(time(NULL) - age_s));
}

static void the_dead_are_ended(void **state)
{
    struct fake_store *s = fake_store_new();
    struct party a = party_new(s), b;
    const struct view_run *r;
    char run[RUN_ID], before[300];
    uint64_t number;
    unsigned ended;

    (void)state;
    assert_ok(log_begin(a.l, "create x\n\xff", "", run, &e));
    b = party_new(s);
    r = view_find_run(log_view(b.l), run);
    assert_int_equal(r->pid, getpid());
    assert_true(r->start > 0 && *r->host && *r->boot);
    put_raw(s, 2, like(r, 12, r->host, r->boot, r->pid, r->start, 86400 * 6));
    snprintf(before, sizeof before, "%.*s/other", (int)strcspn(r->boot, "/"), r->boot);
    put_raw(s, 3, like(r, 13, r->host, before, r->pid, r->start, 0)); /* before a reboot */
    /* Its number is used again. */
    put_raw(s, 4, like(r, 14, r->host, r->boot, r->pid, r->start + 1, 0));
    put_raw(s, 5, like(r, 15, r->host, r->boot, 2147483646, 1, 0)); /* no such process */
    put_raw(s, 6, like(r, 16, "other", "other", 2147483646, 1, 86400 * 6));
    put_raw(s, 7, like(r, 17, "other", "other", 1, 1, 86400 * 7 + 60));
    put_raw(s, 8, like(r, 18, r->host, "", 2147483646, 1, 0)); /* nobody knows */
    /* Another machine of the same name. */
    put_raw(s, 9, like(r, 19, r->host, "0123/other", 2147483646, 1, 0));
    put_raw(s, 10, like(r, 20, "clone", before, r->pid, r->start, 0));
    assert_ok(log_read(a.l, &e));
    assert_ok(log_reap(a.l, &ended, &e));
    assert_int_equal(ended, 4);
    for (unsigned i = 12; i <= 20; i++)
        assert_int_equal(is_at_work(a.l, i), i == 12 || i == 16 || i >= 18);
    assert_ok(log_check_run(a.l, run, &e));
    assert_error(log_check_run(a.l, run_name(13), &e), CANCELLED, "took it for dead");
    assert_error(log_sign(a.l, run_name(13), &e), CANCELLED, "took it for dead");
    /* It was signed just now, 12 was not. */
    ended = fake_operations(a.b);
    assert_ok(log_sign(a.l, run, &e));
    assert_int_equal(fake_operations(a.b), ended);
    assert_ok(log_sign(a.l, run_name(12), &e));
    assert_true(time(NULL) - view_find_run(log_view(a.l), run_name(12))->signed_s < 60);
    assert_ok(log_end(a.l, run, &e));
    assert_ok(log_end(a.l, run, &e));
    number = log_view(a.l)->number;
    assert_ok(log_remove(a.l, &run, 1, &e));
    assert_int_equal(log_view(a.l)->number, number);
    party_end(&a);
    party_end(&b);
    fake_store_free(s);
}

/* ---- large ---- */

#define SNAPSHOTS 10000
#define PACKS     20000

static json_t *large_state(void)
{
    json_t *snapshots = json_array(), *packs = json_array();

    for (unsigned i = 0; i < SNAPSHOTS; i++) {
        char name[64];

        snprintf(name, sizeof name, "s%u", i);
        json_array_append_new(snapshots,
                              json_pack("{s:s, s:s++, s:s, s:s, s:s, s:i, s:i, s:i, s:b}", "run",
                                        run_name(i), "domain", "guest", name + strlen(name) - 1,
                                        "-of-some-department", "name", name, "created",
                                        "2026-11-23T01:55:03Z", "record", SUM64, "bytes", 1,
                                        "stored_bytes", 1, "disks", 1, "ram", 1));
    }
    for (unsigned i = 0; i < PACKS; i++) {
        struct pack_name name = pack_name(i * 2654435761u);
        char text[PACK_NAME_TEXT];

        pack_name_to_text(&name, text);
        json_array_append_new(packs, json_pack("[s, i]", text, 64 << 20));
    }
    return json_pack("{s:s, s:i, s:i, s:[], s:{}, s:[], s:o, s:o}", "format", "domsnap-state",
                     "version", 2, "number", 1000, "runs", "damage", "condemned", "packs", packs,
                     "snapshots", snapshots);
}

/* Of this process: others may have the processors. */
static double now_ms(void)
{
    return (double)clock() * 1000 / CLOCKS_PER_SEC;
}

static void a_large_one_is_quick(void **state)
{
    struct fake_store *s = fake_store_new();
    struct backend *b = fake_backend(s);
    AUTO_JSON json_t *json = large_state();
    double begin = now_ms(), ms = begin;
    struct party p, q;
    size_t count;

    (void)state;
    assert_ok(twin_put(b, run_name(1), "state/0000000000001000", json, &e));
    printf("put %.0f ms, ", now_ms() - ms);
    ms = now_ms();
    p = party_new(s);
    printf("open %.0f ms, ", now_ms() - ms);
    assert_int_equal(log_view(p.l)->pack_count, PACKS);
    assert_non_null(view_domain(log_view(p.l), "guest7-of-some-department", &count));
    assert_int_equal(count, SNAPSHOTS / 10);
    ms = now_ms();
    for (unsigned i = 0; i < 50; i++) {
        assert_ok(put(p.l, begin_entry(900000 + i)));
        assert_ok(do_add(p.l, 900000 + i, "new", run_name(i), 0));
    }
    printf("100 entries %.0f ms, ", now_ms() - ms);
    ms = now_ms();
    assert_ok(log_fold(p.l, run_name(1), &e));
    printf("fold %.0f ms\n", now_ms() - ms);
    q = party_new(s);
    assert_same_view(log_view(p.l), log_view(q.l));
    assert_int_equal(log_view(q.l)->snapshot_count, SNAPSHOTS + 50);
    /* Of seconds; what is quadratic takes many minutes. */
    assert_true(now_ms() - begin < 100000);
    party_end(&p);
    party_end(&q);
    backend_close(b);
    fake_store_free(s);
}

/* ---- at random, against the model ---- */

#define RUNS    32 /* of one sequence, each with two packs */
#define PARTIES 3
#define STEPS   150

/* model/log.pml, View */
struct truth {
    uint64_t number, named;
    uint32_t live, snaps;
    struct {
        uint64_t packs;
        uint32_t keep;
    } condemned[RUNS]; /* by the run that did it */
};

static struct random_play {
    struct fake_store *s;
    struct truth t;
    struct party parties[PARTIES];
    unsigned own[PARTIES]; /* its run; 0: none */
    unsigned next_run, depth;
    uint32_t acknowledged, perhaps_removed;
    uint64_t random;
} play;

static unsigned dice(unsigned sides)
{
    play.random = play.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (unsigned)(play.random >> 33) % sides;
}

static uint64_t packs_of(const json_t *entry, const char *key)
{
    uint64_t packs = 0;
    json_t *pair;
    size_t i;

    json_array_foreach (json_object_get(entry, key), i, pair)
        packs |= UINT64_C(1) << strtoul(json_string_value(json_array_get(pair, 0)) + 72, NULL, 16);
    return packs;
}

/* model/log.pml, apply(): written a second time, from the model. */
static void truth_apply(struct truth *t, const json_t *entry)
{
    const char *kind = json_string_value(json_object_get(entry, "kind"));
    unsigned run = (unsigned)strtoul(json_string_value(json_object_get(entry, "run")), NULL, 16);
    uint32_t bit = run < RUNS ? UINT32_C(1) << run : 0;
    const json_t *removed;
    size_t n;

    if (strcmp(kind, "begin") == 0) {
        t->live |= bit;
    } else if (strcmp(kind, "end") == 0) {
        t->live &= ~bit;
    } else if (strcmp(kind, "add") == 0) {
        assert_true(t->live & bit); /* by the rules of a create */
        assert_false(t->snaps & bit);
        t->live &= ~bit;
        t->snaps |= bit;
        t->named |= packs_of(entry, "packs");
    } else if (strcmp(kind, "remove") == 0) {
        json_array_foreach (json_object_get(entry, "snapshots"), n, removed)
            t->snaps &= ~(UINT32_C(1) << strtoul(json_string_value(removed), NULL, 16));
    } else {
        assert_string_equal(kind, "condemn");
        assert_true(t->live & bit);
        t->live &= ~bit;
        t->condemned[run].packs = packs_of(entry, "packs") & t->named;
        t->condemned[run].keep = t->live;
        t->named = (t->named & ~packs_of(entry, "packs")) | packs_of(entry, "named");
    }
    for (unsigned i = 0; i < RUNS; i++) {
        t->condemned[i].keep &= t->live;
        if (t->condemned[i].keep == 0)
            t->condemned[i].packs = 0;
    }
    t->number++;
}

/* What has been put is seen before anybody can remove it. */
static void truth_observe(void)
{
    char name[64];

    for (;;) {
        unsigned char *data;
        size_t bytes;
        json_t *entry;

        snprintf(name, sizeof name, "log/%016" PRIu64, play.t.number + 1);
        if (!fake_has(play.s, name))
            break;
        data = fake_bytes(play.s, name, &bytes);
        entry = json_loadb((char *)data, bytes, 0, NULL);
        assert_non_null(entry);
        truth_apply(&play.t, entry);
        json_decref(entry);
    }
}

static void assert_true_view(const struct view *v)
{
    assert_int_equal(v->number, play.t.number);
    for (unsigned run = 1; run < RUNS; run++) {
        uint32_t bit = UINT32_C(1) << run;
        bool has_snapshot = false;

        for (size_t i = 0; i < v->snapshot_count; i++)
            has_snapshot = has_snapshot || strcmp(v->snapshots[i].run, run_name(run)) == 0;
        assert_int_equal(has_snapshot, !!(play.t.snaps & bit));
        assert_int_equal(!!view_find_run(v, run_name(run)), !!(play.t.live & bit));
    }
    for (unsigned pack = 0; pack < 2 * RUNS; pack++) {
        uint64_t bit = UINT64_C(1) << pack;
        bool needed = play.t.named & bit || play.t.live >> pack / 2 & 1;

        assert_int_equal(is_named(v, pack), !!(play.t.named & bit));
        for (unsigned i = 0; i < RUNS; i++)
            needed = needed || play.t.condemned[i].packs & bit;
        assert_int_equal(is_needed(v, pack), needed);
    }
}

static void assert_truly_kept(const struct view *v)
{
    for (unsigned run = 1; run < RUNS; run++)
        for (unsigned pack = 0; pack < 2 * RUNS; pack++) {
            bool kept = false;

            for (unsigned i = 0; i < RUNS; i++)
                kept = kept || (play.t.condemned[i].packs >> pack & 1 &&
                                play.t.condemned[i].keep >> run & 1);
            assert_int_equal(is_kept(v, run, pack), kept);
        }
}

static unsigned number_of_run(const char *run)
{
    return (unsigned)strtoul(run, NULL, 16);
}

static void play_begin(unsigned who)
{
    struct log *l = play.parties[who].l;
    unsigned run = play.next_run;

    if (run >= RUNS)
        return;
    play.next_run++;
    play.own[who] = run;
    while (!is_at_work(l, run))
        if (put(l, begin_entry(run)) < 0)
            return;
}

static void play_add(unsigned who)
{
    struct log *l = play.parties[who].l;
    unsigned run = play.own[who];
    char name[16];

    snprintf(name, sizeof name, "s%u", run);
    if (do_add(l, run, run % 2 ? "odd" : "even", name, (uint64_t)dice(4) << (2 * run)) < 0)
        return;
    play.own[who] = 0;
    if (snapshot_of(l, run))
        play.acknowledged |= UINT32_C(1) << run;
}

static void play_condemn(unsigned who)
{
    struct log *l = play.parties[who].l;
    unsigned run = play.own[who];

    while (is_at_work(l, run)) {
        uint64_t doomed = 0;

        for (unsigned pack = 2; pack < 2 * RUNS; pack++)
            if (is_named(log_view(l), pack) && dice(2))
                doomed |= UINT64_C(1) << pack;
        if (put(l, condemn_entry(run, doomed, (uint64_t)dice(4) << (2 * run))) < 0)
            return;
    }
    play.own[who] = 0;
}

static void play_remove(unsigned who)
{
    const struct view *v = log_view(play.parties[who].l);
    char run[RUN_ID];

    if (v->snapshot_count == 0)
        return;
    memcpy(run, v->snapshots[dice((unsigned)v->snapshot_count)].run, RUN_ID);
    play.perhaps_removed |= UINT32_C(1) << number_of_run(run);
    (void)log_remove(play.parties[who].l, &run, 1, &e);
}

static void play_kill(unsigned who)
{
    const struct view *v = log_view(play.parties[who].l);

    if (v->run_count)
        (void)put(play.parties[who].l,
                  end_entry(number_of_run(v->runs[dice((unsigned)v->run_count)].id)));
}

static void play_act(unsigned who)
{
    struct log *l = play.parties[who].l;
    unsigned what = dice(12);

    if (play.own[who] == 0 && what < 6)
        play_begin(who);
    else if (what < 3)
        play_add(who);
    else if (what < 5)
        play_condemn(who);
    else if (what == 6)
        play_remove(who);
    else if (what == 7)
        play_kill(who);
    else if (what < 10)
        (void)log_fold(l, run_name(90), &e);
    else
        (void)log_read(l, &e);
}

static void play_before(void *arg, const char *operation, const char *name);

static void play_reopen(unsigned who)
{
    struct party *p = &play.parties[who];

    party_end(p);
    *p = party_new(play.s);
    play.own[who] = 0;
    fake_before(p->b, play_before, p);
}

/* At times another one acts before the next operation of this one. */
static void play_before(void *arg, const char *operation, const char *name)
{
    unsigned who = dice(PARTIES);
    struct error mine = e;

    (void)operation;
    (void)name;
    truth_observe();
    if (play.depth == 0 && &play.parties[who] != arg && dice(8) == 0) {
        play.depth++;
        play_act(who);
        play.depth--;
        truth_observe();
    }
    e = mine;
}

static void play_step(void)
{
    static const enum fake_fault faults[] = {FAKE_FAIL, FAKE_NO_SPACE, FAKE_LOST_ANSWER,
                                             FAKE_LOST_ANSWER, FAKE_DIE};
    unsigned who = dice(PARTIES);
    enum fake_fault fault = dice(3) ? FAKE_NONE : faults[dice(5)];
    struct party fresh;

    if (fault != FAKE_NONE)
        fake_arm(play.parties[who].b, 1 + dice(16), fault);
    play_act(who);
    truth_observe();
    if (fault == FAKE_DIE)
        play_reopen(who);
    fake_arm(play.parties[who].b, 0, FAKE_NONE);
    fresh = party_new(play.s);
    assert_true_view(log_view(fresh.l));
    assert_truly_kept(log_view(fresh.l));
    play.depth++;
    for (unsigned i = 0; i < PARTIES; i++)
        if (dice(3) == 0) {
            assert_ok(log_read(play.parties[i].l, &e));
            assert_same_view(log_view(fresh.l), log_view(play.parties[i].l));
        }
    play.depth--;
    party_end(&fresh);
    assert_int_equal(play.acknowledged & ~play.perhaps_removed & ~play.t.snaps, 0);
}

static unsigned play_sequence(uint64_t seed)
{
    unsigned steps;

    play = (struct random_play){.s = fake_store_new(), .next_run = 1, .random = seed};
    for (unsigned i = 0; i < PARTIES; i++) {
        play.parties[i] = party_new(play.s);
        fake_before(play.parties[i].b, play_before, &play.parties[i]);
    }
    for (steps = 0; steps < STEPS && play.next_run < RUNS; steps++)
        play_step();
    for (unsigned i = 0; i < PARTIES; i++)
        party_end(&play.parties[i]);
    assert_folds(play.s);
    fake_store_free(play.s);
    return steps;
}

static void the_code_does_what_the_model_does(void **state)
{
    const char *seeds = getenv("LOG_SEEDS");
    unsigned count = seeds ? (unsigned)atoi(seeds) : 20, steps = 0;

    (void)state;
    for (unsigned seed = 1; seed <= count; seed++)
        steps += play_sequence(seed);
    printf("%u steps\n", steps);
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(runs_begin_sign_and_end),
        cmocka_unit_test(an_add_counts_once_and_only_of_a_run_at_work),
        cmocka_unit_test(condemned_packs_are_kept_for_those_at_work),
        cmocka_unit_test(damage_is_marked_merged_and_mended),
        cmocka_unit_test(notes_are_merged),
        cmocka_unit_test(a_state_is_the_whole_view),
        cmocka_unit_test(hostile_entries_change_nothing),
        cmocka_unit_test(hostile_states_are_refused),
        cmocka_unit_test(several_are_removed_at_once),
        cmocka_unit_test(whoever_comes_between_changes_nothing),
        cmocka_unit_test(no_fault_at_any_operation_loses_anything),
        cmocka_unit_test(a_full_store_ends_with_its_message),
        cmocka_unit_test(a_late_put_does_not_count),
        cmocka_unit_test(an_old_handle_catches_up),
        cmocka_unit_test(nothing_is_put_that_cannot_be_read),
        cmocka_unit_test(one_of_two_is_enough),
        cmocka_unit_test(both_lost_is_said),
        cmocka_unit_test(the_entries_do_for_a_state_while_they_are_there),
        cmocka_unit_test(an_older_state_does_while_the_entries_are_there),
        cmocka_unit_test(the_dead_are_ended),
        cmocka_unit_test(a_large_one_is_quick),
        cmocka_unit_test(the_code_does_what_the_model_does),
    };

    if (argc > 1)
        cmocka_set_test_filter(argv[1]);
    log_set_sink(count_warnings);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
