/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cache: its folder, and what of its files can be used. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "repo/index_private.h"

/* A segment of packs that nobody names: a run that is at work may have saved it. */
#define UNKNOWN_S (7 * 24 * 3600)

static bool is_file_name(const char *id)
{
    return *id && *id != '.' && strlen(id) <= 100 && !strchr(id, '/');
}

/* NULL: there is none. */
static char *usual_folder(const char *id)
{
    const char *home = getenv("HOME"), *caches = getenv("XDG_CACHE_HOME");

    if (!is_file_name(id))
        return NULL;
    if (caches && *caches == '/')
        return format_text("%s/domsnap/%s", caches, id);
    if (geteuid() == 0)
        return format_text("/var/cache/domsnap/%s", id);
    return home && *home == '/' ? format_text("%s/.cache/domsnap/%s", home, id) : NULL;
}

/* What others can write there could lead a create to rely on what does not exist. */
static int check_owner(int fd, struct error *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return error_errno(e, "stat");
    if (st.st_uid != geteuid() || (st.st_mode & 022))
        return error_set(e, UNSUPPORTED, "others can write to it");
    return OK;
}

static int open_folder(struct index *ix, const char *folder, struct error *e)
{
    struct error ignored;

    if (!folder)
        return error_set(e, NOT_FOUND, "there is no folder for caches");
    /* What can't be made may be there. */
    dir_make(folder, &ignored);
    if (open_in(AT_FDCWD, folder, O_RDONLY | O_DIRECTORY, &ix->dirfd, e) < 0)
        return e->status;
    if (check_owner(ix->dirfd, e) == OK)
        return OK;
    close(ix->dirfd);
    ix->dirfd = -1;
    return error_prefix(e, "%s", folder);
}

/* NOT_FOUND: somebody has merged it since it was listed. */
static int open_file(struct index *ix, const char *file, struct error *e)
{
    struct segment *s;

    if (segment_is_temporary(file))
        index_add_rubbish(ix, file);
    if (!segment_is_whole(file) || ix->segment_count == SEGMENTS_OPEN_MAX)
        return OK;
    if (index_make_room(ix, 1, e) < 0)
        return e->status;
    if (segment_open(&s, ix->dirfd, file, ix->repository, e) == OK) {
        ix->segments[ix->segment_count++] = s;
        return OK;
    }
    if (e->status == NOT_FOUND)
        return e->status;
    log_debug("%s; it is left out", e->text);
    if (e->status == DAMAGED)
        index_add_rubbish(ix, file);
    return OK;
}

static int open_listed(struct index *ix, struct error *e)
{
    AUTO_CLOSEDIR DIR *dir = NULL;
    const char *file;

    if (list_in(ix->dirfd, ".", &dir, e) < 0)
        return e->status;
    while ((file = dir_next(dir)))
        if (open_file(ix, file, e) < 0)
            return e->status;
    return errno ? error_errno(e, "list") : OK;
}

/* What was merged while it was listed is in a new file. */
static void open_segments(struct index *ix)
{
    struct error why;

    for (int i = 0; i < 8; i++) {
        if (open_listed(ix, &why) == OK)
            return;
        if (why.status != NOT_FOUND)
            break;
        if (i < 7)
            index_close_segments(ix);
    }
    log_debug("index: not all of it can be used: %s", why.text);
}

/* Take from it the packs that no other has: how many. `*unknown`: those the view does not name. */
static size_t take_packs(struct index *ix, struct segment *s, size_t *unknown)
{
    size_t at = 0, taken = 0;

    for (uint32_t i = 0; i < s->pack_count; i++) {
        struct segment_pack *p = &s->packs[i];
        struct pack *pack;

        while (at < ix->listed_count && pack_name_compare(&ix->listed[at].told.name, &p->name) < 0)
            at++;
        pack = &ix->listed[at];
        if (at == ix->listed_count || pack_name_compare(&pack->told.name, &p->name) != 0 ||
            pack->told.bytes != p->bytes) {
            ++*unknown;
            continue;
        }
        if (pack->covered)
            continue;
        pack->covered = true;
        p->number = (uint32_t)at;
        s->wanted += p->entries;
        taken++;
    }
    return taken;
}

static int compare_segments(const void *a, const void *b)
{
    const struct segment *x = *(struct segment *const *)a, *y = *(struct segment *const *)b;

    return (x->entries < y->entries) - (x->entries > y->entries);
}

static bool is_old(const struct segment *s)
{
    struct stat st;

    return fstat(s->fd, &st) == 0 && time(NULL) - st.st_mtime > UNKNOWN_S;
}

static void use_segments(struct index *ix)
{
    size_t count = ix->segment_count;

    if (count)
        qsort(ix->segments, count, sizeof *ix->segments, compare_segments);
    ix->segment_count = 0;
    for (size_t i = 0; i < count; i++) {
        struct segment *s = ix->segments[i];
        size_t unknown = 0;

        if (take_packs(ix, s, &unknown)) {
            index_insert(ix, s);
            continue;
        }
        if (!unknown || is_old(s))
            index_add_rubbish(ix, s->name);
        segment_release(s);
    }
}

static int read_others(struct index *ix, struct error *e)
{
    AUTO_FREE uint32_t *numbers = malloc((ix->listed_count + 1) * sizeof *numbers);
    size_t count = 0;

    if (!numbers)
        return error_out_of_memory(e);
    for (uint32_t i = 0; i < ix->listed_count; i++)
        if (!ix->listed[i].covered)
            numbers[count++] = i;
    return index_read_tables(ix, numbers, count, NULL, e);
}

int index_open_files(struct index *ix, const char *id, const char *cache, struct error *e)
{
    AUTO_FREE char *usual = cache ? NULL : usual_folder(id);
    struct error why;

    if (open_folder(ix, cache ? cache : usual, &why) < 0)
        index_give_up(ix, &why);
    else
        open_segments(ix);
    use_segments(ix);
    if (read_others(ix, e) < 0)
        return e->status;
    index_tidy(ix);
    return OK;
}
