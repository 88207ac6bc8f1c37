/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "fake.h"

#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "domain/savefile.h"

struct fake *fake;

#define IMAGE_BYTES (300u << 10)

/* Note a call; say whether it is to fail. */
static int call(const char *name, const char *subject, struct error *e)
{
    char word[128];
    size_t len = strlen(fake->trace);

    if (getpid() != fake->owner)
        return OK;
    snprintf(word, sizeof word, "%s%s%s", name, *subject ? ":" : "", subject);
    snprintf(fake->trace + len, sizeof fake->trace - len, "%s ", word);
    if (FAULT("driver-called", e) < 0)
        return e->status;
    if (!fake->fail_at || strcmp(fake->fail_at, word) != 0)
        return OK;
    if (fake->fail_times && --fake->fail_times == 0)
        fake->fail_at = NULL;
    return error_set(e, FAILED, "%s was made to fail", word);
}

/* ---- domain ---- */

static int domain_open(struct domain_host **host, struct error *e)
{
    *host = (struct domain_host *)fake;
    return call("open", "", e);
}

static void domain_close(struct domain_host *host)
{
    (void)host;
}

static const char *version(struct domain_host *host)
{
    (void)host;
    return "Fake 1.0";
}

static json_t *config(void)
{
    AUTO_FREE char *a = format_text("%s/a.img", fake->dir);
    bool swapped = fake->others_attach && strstr(fake->trace, "suspend_save");
    AUTO_FREE char *b = format_text("%s/%c.img", fake->dir, swapped ? 'c' : 'b');

    return json_pack("{s:{s:s, s:s, s:s}, s:{s:i, s:i, s:s*}, s:[{s:s, s:s, s:i}, {s:s, s:s, s:i}, "
                     "{s:s, s:s, s:i, s:i}]}",
                     "c_info", "type", "pv", "name", "linux01", "uuid", FAKE_UUID, "b_info",
                     "max_vcpus", 1, "max_memkb", 1024, "odd", fake->odd_setting, "disks", "vdev",
                     "xvda", "pdev_path", a, "readwrite", 1, "vdev", "xvdb", "pdev_path", b,
                     "readwrite", 1, "vdev", "xvdc", "pdev_path", "", "is_cdrom", 1, "removable",
                     1);
}

static int find(struct domain_host *host, const char *name, struct domain_id *id, struct error *e)
{
    (void)host;
    *id = (struct domain_id){name, 7, FAKE_UUID};
    if (call("find", "", e) < 0)
        return e->status;
    return fake->state == DOMAIN_GONE || strcmp(name, "linux01") != 0
               ? error_set(e, NOT_FOUND, "there is no domain of this name")
               : OK;
}

static int describe(struct domain_host *host, const char *name, struct domain *d, struct error *e)
{
    AUTO_JSON json_t *json = config();

    (void)host;
    if (call("describe", "", e) < 0)
        return e->status;
    if (fake->state == DOMAIN_GONE || strcmp(name, "linux01") != 0)
        return error_set(e, NOT_FOUND, "there is no domain of this name");
    if (domain_parse(d, json, e) < 0)
        return e->status;
    d->domid = 7;
    return OK;
}

static int describe_config(const char *text, size_t bytes, const char *file, struct domain *d,
                           struct error *e)
{
    AUTO_JSON json_t *json = config();

    (void)text, (void)bytes, (void)file;
    if (call("describe_config", "", e) < 0)
        return e->status;
    return domain_parse(d, json, e);
}

static int state(struct domain_host *host, const struct domain_id *id, enum domain_state *s,
                 struct error *e)
{
    (void)host, (void)id;
    *s = fake->state;
    return call("state", "", e);
}

static int disk_now(struct domain_host *host, uint32_t domid, const char *vdev, char **path,
                    struct error *e)
{
    (void)host, (void)domid, (void)e;
    *path = fake->renamed && strcmp(vdev, "xvda") == 0 ? strdup(fake_path(fake->renamed)) : NULL;
    return OK;
}

static int check_unused(struct domain_host *host, const char *path, uint32_t except,
                        struct error *e)
{
    (void)host, (void)except;
    return call("check_unused", strrchr(path, '/') + 1, e);
}

static int check_keeper(struct domain_host *host, const char *name, struct error *e)
{
    (void)host, (void)name;
    return call("check_keeper", "", e);
}

static bool is_looked_after(struct domain_host *host, const struct domain_id *id)
{
    (void)host, (void)id;
    return !fake->unwatched;
}

static int can_suspend(struct domain_host *host, const struct domain *d, struct error *e)
{
    (void)host, (void)d;
    if (call("can_suspend", "", e) < 0)
        return e->status;
    return fake->suspendable ? OK : error_set(e, UNSUPPORTED, "it can't suspend");
}

static int can_save_live(struct domain_host *host, const struct domain *d, struct error *e)
{
    (void)host, (void)d;
    return fake->live ? OK : error_set(e, UNSUPPORTED, "not here");
}

static int dirty_pages(struct domain_host *host, const struct domain *d, uint32_t sample_ms,
                       uint64_t *pages, struct error *e)
{
    (void)host, (void)d;
    *pages = 4 * sample_ms;
    return call("dirty_pages", "", e);
}

static int read_ram(struct domain_host *host, const struct domain *d, int fd, uint64_t max_pages,
                    uint64_t *pages, struct error *e)
{
    static const char page[DOMAIN_PAGE_BYTES];

    (void)host, (void)d, (void)max_pages;
    *pages = 1;
    return write_full(fd, page, sizeof page) < 0 ? error_errno(e, "read_ram") : OK;
}

static void set_state(enum domain_state state)
{
    fake->state = state;
    if (state != DOMAIN_RUNNING)
        eventfd_write(fake->stopped, 1);
}

static int wait_stopped(struct domain_host *host, const struct domain_id *id, int wake_fd,
                        int timeout_ms, struct error *e)
{
    (void)host, (void)id;
    if (fake->stops_late && timeout_ms >= 0)
        fake->state = DOMAIN_SUSPENDED;
    for (;;) {
        struct pollfd fds[] = {{fake->stopped, POLLIN, 0}, {wake_fd, POLLIN, 0}};
        eventfd_t n;

        if (fake->state == DOMAIN_SUSPENDED)
            return OK;
        /* Its seconds are short. */
        if (poll(fds, 2, timeout_ms < 0 ? -1 : timeout_ms / 1000) == 0)
            return error_set(e, TIMED_OUT, "it has not stopped");
        if (fds[1].revents)
            return error_set(e, CANCELLED, "woken up");
        eventfd_read(fake->stopped, &n);
    }
}

static int suspend_save(struct domain_host *host, const struct domain *d, enum domain_save save,
                        int fd, const struct save_watcher *watcher, struct error *e)
{
    char block[50000];

    (void)host;
    /* A failure leaves the guest suspended, unless it is live: the worse of the two. */
    if (save != SAVE_LIVE) {
        if (watcher->stopping(watcher->arg, e) < 0)
            return e->status;
        if (fake->stops_late)
            return error_set(e, FAILED, "suspend_save: it does not answer");
        set_state(DOMAIN_SUSPENDED);
    }
    if (save == SAVE_NOTHING)
        return call("suspend_save:nothing", "", e);
    if (savefile_write_head(fd, d->config, e) < 0)
        return e->status;
    memset(block, 'r', sizeof block);
    if (fake->progress.total) {
        watcher->see(watcher->arg, &(struct save_progress){.total = fake->progress.total});
        nanosleep(&(struct timespec){.tv_nsec = 1000000}, NULL);
        watcher->see(watcher->arg, &fake->progress);
    }
    if (save == SAVE_LIVE && fake->live_breaks)
        return error_set(e, FAILED, "suspend_save: no memory to follow it");
    for (size_t left = fake->ram_bytes; left;) {
        size_t n = left < sizeof block ? left : sizeof block;

        if (write_full(fd, block, n) < 0)
            return error_errno(e, "suspend_save");
        left -= n;
    }
    if (save == SAVE_LIVE) {
        if (fake->others_suspend) {
            set_state(DOMAIN_SUSPENDED);
            return error_set(e, FAILED, "suspend_save: others do");
        }
        if (watcher->stopping(watcher->arg, e) < 0)
            return e->status;
        set_state(DOMAIN_SUSPENDED);
    }
    return call(save == SAVE_LIVE ? "suspend_save:live" : "suspend_save", "", e);
}

static bool saved_by_others(struct domain_host *host, const struct domain_id *id)
{
    (void)host, (void)id;
    return fake->others_save;
}

static int release(struct domain_host *host, const struct domain_id *id, struct error *e)
{
    (void)host, (void)id;
    return call("release", "", e);
}

static int resume(struct domain_host *host, const struct domain_id *id, bool *may_stop,
                  struct error *e)
{
    (void)host, (void)id;
    *may_stop = fake->state == DOMAIN_RUNNING;
    if (call("resume", "", e) < 0)
        return e->status;
    if (fake->resume_breaks)
        return error_set(e, FAILED, "resume: broken");
    if (fake->state == DOMAIN_SUSPENDED) {
        fake->state = DOMAIN_RUNNING;
        eventfd_write(fake->resumed, 1);
    }
    return OK;
}

static int destroy(struct domain_host *host, const struct domain_id *id, struct error *e)
{
    (void)host, (void)id;
    if (call("destroy", "", e) < 0)
        return e->status;
    fake->state = DOMAIN_GONE;
    return OK;
}

static int restore(struct domain_host *host, const struct domain_launch *l, struct error *e)
{
    AUTO_JSON json_t *json = NULL;
    size_t bytes = 0;
    char block[777];
    ssize_t n;

    (void)host;
    if (call("restore", l->name, e) < 0 || savefile_read_head(l->fd, &json, e) < 0)
        return e->status;
    while ((n = read(l->fd, block, sizeof block)) > 0)
        bytes += (size_t)n;
    if (bytes != fake->ram_bytes)
        return error_set(e, FAILED, "%zu bytes of RAM instead of %zu", bytes, fake->ram_bytes);
    fake->state = DOMAIN_PAUSED;
    return OK;
}

static int boot(struct domain_host *host, const struct domain_launch *l, struct error *e)
{
    char text[1000] = "";

    (void)host;
    if (call("boot", l->name, e) < 0)
        return e->status;
    if (read(l->fd, text, sizeof text - 1) < 0 || !strstr(text, "name = "))
        return error_set(e, FAILED, "it is no configuration");
    fake->state = DOMAIN_PAUSED;
    return OK;
}

static int check_startable(struct domain_host *host, const struct domain_start *start,
                           struct error *e)
{
    (void)host;
    if (!start->config || start->restored_count != 2)
        return error_set(e, FAILED, "it was not told what is to be started");
    return call("check_startable", "", e);
}

static int unpause(struct domain_host *host, const struct domain_id *id, struct error *e)
{
    (void)host, (void)id;
    if (call("unpause", "", e) < 0)
        return e->status;
    if (fake->state == DOMAIN_PAUSED)
        fake->state = DOMAIN_RUNNING;
    return OK;
}

static void forget(struct domain_host *host)
{
    (void)host;
}

static const struct domain_driver domains = {
    .name = "fake",
    .open = domain_open,
    .close = domain_close,
    .forget = forget,
    .version = version,
    .find = find,
    .describe = describe,
    .describe_config = describe_config,
    .state = state,
    .disk_now = disk_now,
    .check_unused = check_unused,
    .check_keeper = check_keeper,
    .is_looked_after = is_looked_after,
    .can_suspend = can_suspend,
    .can_save_live = can_save_live,
    .dirty_pages = dirty_pages,
    .read_ram = read_ram,
    .suspend_save = suspend_save,
    .wait_stopped = wait_stopped,
    .saved_by_others = saved_by_others,
    .release = release,
    .resume = resume,
    .check_startable = check_startable,
    .destroy = destroy,
    .restore = restore,
    .boot = boot,
    .unpause = unpause,
};

/* ---- volume: a file, and a copy of it as its snapshot ---- */

static int volume_open_fake(const char *path, struct volume **out, struct error *e)
{
    const char *slash = strrchr(path, '/');
    /* By its name: what volume_open() puts below /dev. */
    AUTO_FREE char *full = strdup(strncmp(path, "/dev/", 5) == 0 ? fake_path(slash + 1) : path);
    struct volume *v;
    struct stat st;

    if (call("open", slash + 1, e) < 0)
        return e->status;
    if (stat(full, &st) < 0)
        return error_errno(e, "open");
    v = calloc(1, sizeof *v);
    *v = (struct volume){&fake_volumes,
                         strdup(full),
                         strdup(slash + 1),
                         (uint64_t)st.st_size,
                         (uint64_t)st.st_size,
                         strdup("files"),
                         NULL};
    *out = v;
    return OK;
}

static void volume_close_fake(struct volume *v)
{
    json_decref(v->record);
    free(v->path);
    free(v->name);
    free(v->group);
    free(v);
}

static int can_snapshot(const struct volume *v, struct error *e)
{
    return call("can_snapshot", v->name, e);
}

static int plan(struct volume *const vs[], size_t count, const char *id, struct error *e)
{
    fake->planned++;
    for (size_t i = 0; i < count; i++)
        vs[i]->record =
            json_pack("{s:s, s:s, s:s}", "driver", "fake", "id", id, "volume", vs[i]->name);
    return call("plan", "", e);
}

static void mark(const json_t *record, char out[128])
{
    snprintf(out, 128, " %s/%s", json_string_value(json_object_get(record, "id")),
             json_string_value(json_object_get(record, "volume")));
}

static int prepare(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        char m[128];

        mark(vs[i]->record, m);
        strncat(fake->snapshots, m, sizeof fake->snapshots - strlen(fake->snapshots) - 1);
        if (call("prepare", vs[i]->name, e) < 0)
            return e->status;
    }
    return OK;
}

static unsigned bit_of(const char *name)
{
    return 1u << (*name - 'a');
}

static int lock(const struct volume *v, int timeout_ms, int *fd, struct error *e)
{
    (void)timeout_ms;
    if (call("lock", v->group, e) < 0)
        return e->status;
    *fd = eventfd(0, EFD_CLOEXEC);
    return OK;
}

static int hold(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        if (call("hold", vs[i]->name, e) < 0)
            return e->status;
        fake->held |= bit_of(vs[i]->name);
    }
    return OK;
}

static int commit(struct volume *const vs[], size_t count, struct error *e)
{
    for (size_t i = 0; i < count; i++) {
        if (call("commit", vs[i]->name, e) < 0)
            return e->status;
        if (!fake->commit_hangs)
            fake->held &= ~bit_of(vs[i]->name);
    }
    if (fake->others_resume)
        fake->state = DOMAIN_RUNNING;
    if (fake->commit_hangs) {
        eventfd_t n;

        eventfd_write(fake->hanging, 1);
        eventfd_read(fake->resumed, &n);
    }
    return OK;
}

static int lift(const json_t *record, struct error *e)
{
    const char *name = json_string_value(json_object_get(record, "volume"));
    unsigned held = fake->held, bit = bit_of(name);

    if (call("lift", name, e) < 0)
        return e->status;
    fake->held &= ~bit;
    if (held == bit && fake->state == DOMAIN_RUNNING)
        eventfd_write(fake->resumed, 1);
    return OK;
}

static int open_image(const struct volume *v, int *fd, struct error *e)
{
    if (call("open_image", v->name, e) < 0)
        return e->status;
    *fd = open(v->path, O_RDONLY | O_CLOEXEC);
    return *fd < 0 ? error_errno(e, "open_image") : OK;
}

static int watch(struct volume *v, uint64_t done_bytes, struct error *e)
{
    (void)done_bytes;
    if (fake->planned <= fake->others_disturb)
        return error_set(e, AGAIN, "its table was changed");
    return call("watch", v->name, e);
}

static int discard(const json_t *record, struct error *e)
{
    const char *name = json_string_value(json_object_get(record, "volume"));
    char m[128], *at;

    if (call("discard", name ? name : "?", e) < 0)
        return e->status;
    mark(record, m);
    at = strstr(fake->snapshots, m);
    if (at)
        memmove(at, at + strlen(m), strlen(at + strlen(m)) + 1);
    return OK;
}

static int aside(const struct volume *v, char **name, struct error *e)
{
    if (call("aside", v->name, e) < 0)
        return e->status;
    *name = format_text("%s.aside", v->name);
    return OK;
}

static int rename_fake(const char *from, const char *to, struct error *e)
{
    if (call("rename", to, e) < 0)
        return e->status;
    if (rename(fake_path(from), fake_path(to)) < 0 && access(fake_path(to), F_OK) < 0)
        return error_errno(e, "%s", to);
    return OK;
}

struct volume_driver fake_volumes = {
    .name = "fake",
    .method = "a fake",
    .open = volume_open_fake,
    .close = volume_close_fake,
    .can_snapshot = can_snapshot,
    .plan = plan,
    .prepare = prepare,
    .lock = lock,
    .hold = hold,
    .commit = commit,
    .lift = lift,
    .open_image = open_image,
    .watch = watch,
    .aside = aside,
    .rename = rename_fake,
    .rename_in_use = true,
    .discard = discard,
};

static const struct volume_driver *const volumes[] = {&fake_volumes, NULL};

/* ---- the stage ---- */

const char *fake_path(const char *name)
{
    static char paths[4][300];
    static unsigned next;
    char *path = paths[next++ % 4];

    snprintf(path, sizeof paths[0], "%s/%s", fake->dir, name);
    return path;
}

static void make_image(const char *name, char fill)
{
    AUTO_CLOSE int fd = open(fake_path(name), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    char block[4096];

    memset(block, fill, sizeof block);
    /* Data, a hole, data up to an odd end. */
    if (fd < 0 || ftruncate(fd, IMAGE_BYTES + 512) < 0 ||
        pwrite_full(fd, block, sizeof block, 0) < 0 || pwrite_full(fd, block, 512, IMAGE_BYTES) < 0)
        abort();
}

void fake_setup(void)
{
    char dir[] = "/tmp/domsnap-test-XXXXXX";

    /* Shared with the guardian, which is a child process. */
    fake = mmap(NULL, sizeof *fake, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    fake->stopped = eventfd(0, EFD_CLOEXEC);
    fake->resumed = eventfd(0, EFD_CLOEXEC);
    fake->hanging = eventfd(0, EFD_CLOEXEC);
    fake->owner = getpid();
    fake->dir = strdup(mkdtemp(dir));
    fake->state = DOMAIN_RUNNING;
    fake->suspendable = 1;
    fake->ram_bytes = 3000000;
    make_image("a.img", 'a');
    make_image("b.img", 'b');
    fake->engine = (struct engine){
        .domains = &domains,
        .volumes = volumes,
        .journal_dir = strdup(fake_path("journal")),
        .lock_dir = strdup(fake_path("lock")),
    };
}

static void remove_tree(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;

    while (dir && (entry = readdir(dir))) {
        char child[600];

        if (!strcmp(entry->d_name, ".") || !strcmp(entry->d_name, ".."))
            continue;
        snprintf(child, sizeof child, "%s/%s", path, entry->d_name);
        if (unlink(child) < 0)
            remove_tree(child);
    }
    if (dir)
        closedir(dir);
    rmdir(path);
}

void fake_teardown(void)
{
    engine_disconnect(&fake->engine);
    remove_tree(fake->dir);
    free((char *)fake->engine.journal_dir);
    free((char *)fake->engine.lock_dir);
    free(fake->dir);
    close(fake->stopped);
    close(fake->resumed);
    close(fake->hanging);
    munmap(fake, sizeof *fake);
    fake = NULL;
}

void fake_wait_guardian(void)
{
    AUTO_CLOSE int lock = open(fake_path("lock/linux01.lock"), O_RDWR | O_CLOEXEC);

    if (lock >= 0 && flock(lock, LOCK_EX) < 0)
        abort();
}

size_t fake_file_count(const char *path)
{
    DIR *dir = opendir(path);
    struct dirent *entry;
    size_t count = 0;

    while (dir && (entry = readdir(dir)))
        count += strcmp(entry->d_name, ".") && strcmp(entry->d_name, "..");
    if (dir)
        closedir(dir);
    return count;
}
