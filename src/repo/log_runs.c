/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What is done with the log: runs begin, live, end; snapshots are removed. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/hex.h"
#include "base/text.h"
#include "repo/log.h"

#define DAY_S       86400
#define GIVEN_UP_S  (7 * DAY_S)
#define WORDS_BYTES 256 /* what is said of a run, with the NUL; view_parts.c */

static int64_t now_s(void)
{
    return (int64_t)time(NULL);
}

static int new_run_id(char run[static RUN_ID], struct error *e)
{
    uint8_t random[(RUN_ID - 1) / 2];

    if (getrandom(random, sizeof random, 0) != sizeof random)
        return error_errno(e, "random numbers");
    hex_put(run, random, sizeof random);
    return OK;
}

/* ---- processes ---- */

/* The first bytes of a file of the kernel's, "" if there are none. */
static void read_words(const char *path, char *to, size_t bytes)
{
    AUTO_CLOSE int fd = -1;
    struct error why;
    ssize_t n;

    *to = '\0';
    if (open_in(AT_FDCWD, path, O_RDONLY, &fd, &why) < 0)
        return;
    n = read(fd, to, bytes - 1);
    to[n > 0 ? n : 0] = '\0';
}

/* "MACHINE/BOOT": two hosts may have one name, and containers one boot; machine-id(5). "": nobody
 * can tell. */
static void host_boot(char boot[static WORDS_BYTES])
{
    char machine[WORDS_BYTES / 2 - 1], id[WORDS_BYTES / 2];

    read_words("/etc/machine-id", machine, sizeof machine);
    read_words("/proc/sys/kernel/random/boot_id", id, sizeof id);
    machine[strspn(machine, "0123456789abcdef")] = '\0';
    id[strcspn(id, "\n")] = '\0';
    *boot = '\0';
    if (*machine && *id)
        snprintf(boot, WORDS_BYTES, "%s/%s", machine, id);
}

static void host_name(char host[static WORDS_BYTES])
{
    if (gethostname(host, WORDS_BYTES - 1) < 0)
        *host = '\0';
    host[WORDS_BYTES - 1] = '\0';
    text_make_plain(host);
    if (!text_is_utf8(host))
        *host = '\0';
}

/* 0: unknown. The second field is a name and may hold anything, so count from its end; proc(5). */
static uint64_t process_start(int64_t pid)
{
    char path[64], stat[1024];
    const char *s;

    snprintf(path, sizeof path, "/proc/%" PRId64 "/stat", pid);
    read_words(path, stat, sizeof stat);
    s = strrchr(stat, ')');
    for (int field = 2; s && field < 22; field++)
        s = strchr(s + 1, ' ');
    return s ? strtoull(s + 1, NULL, 10) : 0;
}

static bool is_gone(const struct view_run *r)
{
    uint64_t start;

    if (r->pid <= 0)
        return false;
    if (kill((pid_t)r->pid, 0) < 0 && errno == ESRCH)
        return true;
    start = process_start(r->pid);
    return start && r->start && start != r->start;
}

/* ---- begin, sign, end ---- */

/* As much of it as a run may say, in plain text. */
static char *words(const char *text)
{
    char *s = format_text("%.*s", WORDS_BYTES - 1, text);

    if (!s)
        return NULL;
    text_make_plain(s);
    /* A letter may have been cut. */
    for (size_t n = strlen(s); n && !text_is_utf8(s);)
        s[--n] = '\0';
    return s;
}

static json_t *begin_to_json(const struct view_run *r)
{
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:I, s:I, s:s}", "kind", "begin", "run", r->id,
                     "command", r->command, "host", r->host, "boot", r->boot, "pid",
                     (json_int_t)r->pid, "start", (json_int_t)r->start, "reads", r->reads);
}

static int put_new(struct log *l, json_t *entry, struct error *e)
{
    AUTO_JSON json_t *owned = entry;

    return owned ? log_put(l, owned, e) : error_out_of_memory(e);
}

int log_begin(struct log *l, const char *command, const char *reads, char run[static RUN_ID],
              struct error *e)
{
    char host[WORDS_BYTES], boot[WORDS_BYTES];
    AUTO_FREE char *said = words(command), *from = words(reads);
    struct view_run r = {.command = said, .host = host, .boot = boot, .reads = from};

    if (!said || !from)
        return error_out_of_memory(e);
    if (new_run_id(r.id, e) < 0)
        return e->status;
    host_name(host);
    host_boot(boot);
    r.pid = getpid();
    r.start = process_start(r.pid);
    do {
        if (put_new(l, begin_to_json(&r), e) < 0)
            return e->status;
    } while (!view_find_run(log_view(l), r.id));
    memcpy(run, r.id, RUN_ID);
    return OK;
}

int log_check_run(const struct log *l, const char *run, struct error *e)
{
    if (view_find_run(log_view(l), run))
        return OK;
    return error_set(e, CANCELLED,
                     "run %s has been ended by another domsnap, which took it for dead; try again",
                     run);
}

int log_sign(struct log *l, const char *run, struct error *e)
{
    const struct view_run *r;

    while ((r = view_find_run(log_view(l), run)) && now_s() - r->signed_s > DAY_S)
        if (put_new(l, begin_to_json(r), e) < 0)
            return e->status;
    return log_check_run(l, run, e);
}

int log_end(struct log *l, const char *run, struct error *e)
{
    while (view_find_run(log_view(l), run))
        if (put_new(l, json_pack("{s:s, s:s}", "kind", "end", "run", run), e) < 0)
            return e->status;
    return OK;
}

/* ---- condemned ---- */

static bool is_named(const struct view *v, const json_t *pack)
{
    const char *text = json_string_value(json_array_get(pack, 0));
    struct pack_name name;

    return text && pack_name_from_text(&name, text) && view_find_pack(v, &name);
}

bool log_has_condemned(const struct log *l, const json_t *condemn)
{
    const json_t *named = json_object_get(condemn, "named");
    const json_t *packs = json_object_get(condemn, "packs");

    return json_array_size(named) ? is_named(log_view(l), json_array_get(named, 0))
                                  : !is_named(log_view(l), json_array_get(packs, 0));
}

/* ---- the dead ---- */

/* This host; text. */
struct here {
    char boot[WORDS_BYTES], name[WORDS_BYTES];
};

/* Hosts that were cloned may have one machine-id, so that their names count, too. */
static bool is_of(const struct view_run *r, const struct here *here)
{
    size_t machine_bytes = strcspn(here->boot, "/");

    return *here->boot && strncmp(r->boot, here->boot, machine_bytes + 1) == 0 &&
           strcmp(r->host, here->name) == 0;
}

static bool is_dead(const struct view_run *r, const struct here *here)
{
    if (now_s() - r->signed_s > GIVEN_UP_S)
        return true;
    return is_of(r, here) && (strcmp(r->boot, here->boot) != 0 || is_gone(r));
}

static const struct view_run *find_dead(const struct view *v, const struct here *here)
{
    for (size_t i = 0; i < v->run_count; i++)
        if (is_dead(&v->runs[i], here))
            return &v->runs[i];
    return NULL;
}

int log_reap(struct log *l, unsigned *ended, struct error *e)
{
    const struct view_run *r;
    struct here here;
    char run[RUN_ID];

    *ended = 0;
    host_boot(here.boot);
    host_name(here.name);
    while ((r = find_dead(log_view(l), &here))) {
        memcpy(run, r->id, RUN_ID);
        if (put_new(l, json_pack("{s:s, s:s}", "kind", "end", "run", run), e) < 0)
            return e->status;
        if (!view_find_run(log_view(l), run))
            ++*ended;
    }
    return OK;
}

/* ---- snapshots ---- */

static json_t *remove_to_json(const char *me, char (*runs)[RUN_ID], size_t count)
{
    AUTO_JSON json_t *list = json_array();

    for (size_t i = 0; i < count; i++)
        if (json_array_append_new(list, json_string(runs[i])) < 0)
            return NULL;
    return json_pack("{s:s, s:s, s:O}", "kind", "remove", "run", me, "snapshots", list);
}

static bool has_any(const struct view *v, char (*runs)[RUN_ID], size_t count)
{
    for (size_t i = 0; i < count; i++)
        if (view_find_made_by(v, runs[i]))
            return true;
    return false;
}

int log_remove(struct log *l, char (*runs)[RUN_ID], size_t count, struct error *e)
{
    char me[RUN_ID];

    /* It needs no run, but who puts an object has a name. */
    if (new_run_id(me, e) < 0)
        return e->status;
    while (has_any(log_view(l), runs, count))
        if (put_new(l, remove_to_json(me, runs, count), e) < 0)
            return e->status;
    return OK;
}
