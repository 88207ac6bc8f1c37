/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Where objects are kept: all drivers hold the same contract. What is there twice outlives
 * either. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "backend_fake.h"
#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "base/seal.h"
#include "repo/twin.h"

#define RUN      "0123456789abcdef"
#define RUN_B    "fedcba9876543210"
#define MAX      (1u << 20)
#define MIB      (1u << 20)
#define COUNT(a) (sizeof(a) / sizeof *(a))

/* ---- system calls that fail on demand ---- */

static bool no_nameless; /* no O_TMPFILE */
static int open_errno;   /* of what would make a file */
static enum { LINK, LINK_LOST, LINK_REFUSED, LINK_NEEDS_PROC } link_mode;
static bool no_rename;
static enum { READ, READ_SHORT, READ_LOST, READ_STALE, READ_UNALIGNED } read_mode;
static atomic_uint reads;

int openat(int fd, const char *path, int flags, ...)
{
    va_list ap;
    mode_t mode;

    va_start(ap, flags);
    mode = va_arg(ap, mode_t);
    va_end(ap);
    if ((flags & O_TMPFILE) == O_TMPFILE && no_nameless)
        errno = EOPNOTSUPP;
    else if (((flags & O_TMPFILE) == O_TMPFILE || flags & O_CREAT) && open_errno)
        errno = open_errno;
    else
        return (int)syscall(SYS_openat, fd, path, flags, mode);
    return -1;
}

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags)
{
    if (link_mode == LINK_REFUSED)
        errno = EPERM;
    else if (link_mode == LINK_NEEDS_PROC && flags & AT_EMPTY_PATH)
        errno = ENOENT;
    else if (syscall(SYS_linkat, from_fd, from, to_fd, to, flags) == 0 && link_mode != LINK_LOST)
        return 0;
    else if (link_mode == LINK_LOST)
        errno = EEXIST;
    return -1;
}

int renameat2(int from_fd, const char *from, int to_fd, const char *to, unsigned flags)
{
    if (!no_rename)
        return (int)syscall(SYS_renameat2, from_fd, from, to_fd, to, flags);
    errno = EINVAL;
    return -1;
}

ssize_t pread(int fd, void *to, size_t bytes, off_t offset)
{
    unsigned n = reads++;

    errno = 0;
    if (read_mode == READ_LOST)
        errno = EIO;
    else if (read_mode == READ_STALE && n == 0)
        errno = ESTALE;
    else if (read_mode == READ_SHORT && n % 2)
        errno = EINTR;
    else if (read_mode == READ_UNALIGNED && fcntl(fd, F_GETFL) & O_DIRECT)
        errno = EINVAL;
    if (errno)
        return -1;
    if (read_mode == READ_SHORT && bytes > 4096)
        bytes = n % 4 ? 4096 : 777;
    /* Where the test itself must not run into it. */
    if (fcntl(fd, F_GETFL) & O_DIRECT && bytes % 4096)
        bytes = 4096;
    return syscall(SYS_pread64, fd, to, bytes, offset);
}

/* ---- the scene ---- */

static char failure; /* what a thread returns that has seen one */

enum kind { FOLDER, PARTS, FAKE };

static enum kind kinds[] = {FOLDER, PARTS, FAKE};
static const enum kind *kind;
static char dir[200], repo[250];
static struct fake_store *store;
static struct backend *b;
static const struct backend_driver *d;
static char warnings[4096];

static void hear(enum log_level level, const char *line)
{
    if (level != LOG_LEVEL_WARNING)
        return;
    strncat(warnings, line, sizeof warnings - strlen(warnings) - 2);
    strcat(warnings, "\n");
}

static const char *in_repo(const char *name)
{
    static char path[4][700];
    static unsigned n;
    char *p = path[n++ % 4];

    snprintf(p, sizeof path[0], "%s/%s", repo, name);
    return p;
}

static struct backend *another(void)
{
    struct backend *other;
    struct error e;

    if (*kind == FAKE)
        return fake_backend(store);
    assert_int_equal(backend_open(&other, repo, &e), OK);
    return other;
}

static void work_properly(void)
{
    no_nameless = *kind == PARTS;
    open_errno = 0;
    link_mode = LINK;
    no_rename = false;
    read_mode = READ;
    reads = 0;
}

static int set_up(void **state)
{
    const char *tmp = getenv("TMPDIR");
    struct error e;

    kind = *state;
    warnings[0] = '\0';
    log_set_sink(hear);
    work_properly();
    store = NULL;
    snprintf(dir, sizeof dir, "%s/domsnap-backend-XXXXXX", tmp ? tmp : "/tmp");
    assert_non_null(mkdtemp(dir));
    snprintf(repo, sizeof repo, "%s/repo", dir);
    if (*kind == FAKE)
        store = fake_store_new();
    else
        assert_int_equal(backend_make(repo, &e), OK);
    b = another();
    d = b->driver;
    return 0;
}

static int tear_down(void **state)
{
    char command[300];

    (void)state;
    work_properly();
    backend_close(b);
    if (store)
        fake_store_free(store);
    snprintf(command, sizeof command, "rm -rf '%s'", dir);
    assert_int_equal(system(command), 0);
    return 0;
}

static void fill(void *to, size_t bytes, unsigned seed)
{
    uint8_t *p = to;
    uint32_t x = seed * 2654435761u + 1;

    for (size_t i = 0; i < bytes; i++) {
        x = x * 1664525 + 1013904223;
        p[i] = (uint8_t)(x >> 24);
    }
}

static void put(const char *name, const void *data, size_t bytes)
{
    struct error e;

    if (backend_put(b, RUN, name, data, bytes, &e) < 0)
        fail_msg("%s", e.text);
}

static void assert_has(struct backend *from, const char *name, const void *data, size_t bytes)
{
    AUTO_FREE char *found = NULL;
    struct error e;
    size_t n;

    if (backend_get(from, name, bytes, &found, &n, &e) < 0)
        fail_msg("%s", e.text);
    assert_int_equal(n, bytes);
    assert_memory_equal(found, data, bytes);
    assert_int_equal(found[n], 0);
}

struct listing {
    char names[40][BACKEND_NAME_MAX];
    uint64_t bytes[40];
    size_t count;
};

static int note(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    struct listing *l = arg;

    (void)e;
    assert_true(l->count < COUNT(l->names));
    snprintf(l->names[l->count], sizeof l->names[0], "%s", name);
    l->bytes[l->count++] = bytes;
    return OK;
}

static struct listing list(const char *folder)
{
    struct listing l = {.count = 0};
    struct error e;

    if (d->list(b, folder, note, &l, &e) < 0)
        fail_msg("%s", e.text);
    return l;
}

static bool has(const struct listing *l, const char *name)
{
    for (size_t i = 0; i < l->count; i++)
        if (strcmp(l->names[i], name) == 0)
            return true;
    return false;
}

/* All that is there, whatever its name. */
static unsigned count_entries(const char *path)
{
    AUTO_CLOSEDIR DIR *entries = opendir(path);
    unsigned n = 0;

    assert_non_null(entries);
    while (dir_next(entries))
        n++;
    return n;
}

/* ---- what holds for all drivers ---- */

static void what_is_put_comes_back(void **state)
{
    static const size_t sizes[] = {0, 1, 4096, 65535, 65536, 65537, MIB + 5};
    static const char *const names[] = {"config", "packs/a", "copy/log/0000000000000007"};
    static uint8_t data[MIB + 5];
    struct backend *other = another();
    struct error e;
    char *text;
    size_t n;

    (void)state;
    fill(data, sizeof data, 1);
    for (size_t i = 0; i < COUNT(sizes); i++)
        for (size_t j = 0; j < COUNT(names); j++) {
            put(names[j], data, sizes[i]);
            assert_has(b, names[j], data, sizes[i]);
            assert_has(other, names[j], data, sizes[i]);
            if (sizes[i])
                assert_int_equal(backend_get(b, names[j], sizes[i] - 1, &text, &n, &e), DAMAGED);
            assert_int_equal(d->remove(other, names[j], &e), OK);
            assert_int_equal(d->remove(b, names[j], &e), OK);
            assert_int_equal(backend_get(b, names[j], MAX, &text, &n, &e), NOT_FOUND);
            assert_int_equal(backend_get(other, names[j], MAX, &text, &n, &e), NOT_FOUND);
            assert_non_null(strstr(e.text, names[j]));
        }
    backend_close(other);
}

static void none_is_replaced(void **state)
{
    struct error e;

    (void)state;
    put("log/1", "first", 5);
    assert_int_equal(backend_put(b, RUN_B, "log/1", "second", 6, &e), BUSY);
    assert_non_null(strstr(e.text, "log/1"));
    assert_has(b, "log/1", "first", 5);
    assert_int_equal(list("log").count, 1);
}

struct racer {
    pthread_t thread;
    char text[16];
    int rc;
};

static void *race(void *arg)
{
    struct backend *mine = another();
    struct racer *r = arg;
    struct error e;

    r->rc = backend_put(mine, RUN, "log/5", r->text, sizeof r->text, &e);
    backend_close(mine);
    return NULL;
}

static void one_of_many_is_first(void **state)
{
    struct racer racers[8];
    struct error e;

    (void)state;
    for (int round = 0; round < 5; round++) {
        int first = -1;

        for (int i = 0; i < 8; i++) {
            snprintf(racers[i].text, sizeof racers[i].text, "racer %d", i);
            assert_int_equal(pthread_create(&racers[i].thread, NULL, race, &racers[i]), 0);
        }
        for (int i = 0; i < 8; i++) {
            pthread_join(racers[i].thread, NULL);
            if (racers[i].rc == OK) {
                assert_int_equal(first, -1);
                first = i;
            } else {
                assert_int_equal(racers[i].rc, BUSY);
            }
        }
        assert_true(first >= 0);
        assert_has(b, "log/5", racers[first].text, sizeof racers[first].text);
        assert_int_equal(d->remove(b, "log/5", &e), OK);
    }
}

#define LARGE   (4 * MIB + 777)
#define WRITERS 4

struct writer {
    pthread_t thread;
    struct backend_object *o;
    const uint8_t *data;
    size_t part_bytes, begin;
};

static void *write_parts(void *arg)
{
    struct writer *w = arg;
    struct error e;

    for (size_t at = w->begin; at < LARGE; at += WRITERS * w->part_bytes) {
        size_t n = LARGE - at < w->part_bytes ? LARGE - at : w->part_bytes;

        /* The last one is rounded up, as long as all are aligned. */
        if (w->part_bytes % BACKEND_ALIGNMENT == 0)
            n = w->part_bytes;
        if (d->write(w->o, w->data + at, n, at, &e) < 0)
            return &failure;
    }
    return NULL;
}

static void write_large(const char *name, const uint8_t *data, size_t part_bytes)
{
    struct writer writers[WRITERS];
    struct backend_object *o;
    uint8_t sum[32];
    struct error e;
    void *failed;

    assert_true(EVP_Digest(data, LARGE, sum, NULL, EVP_sha256(), NULL));
    assert_int_equal(d->create(b, RUN, 2 * LARGE, &o, &e), OK);
    for (int i = WRITERS - 1; i >= 0; i--) {
        writers[i] = (struct writer){
            .o = o, .data = data, .part_bytes = part_bytes, .begin = (size_t)i * part_bytes};
        assert_int_equal(pthread_create(&writers[i].thread, NULL, write_parts, &writers[i]), 0);
    }
    for (int i = 0; i < WRITERS; i++) {
        pthread_join(writers[i].thread, &failed);
        assert_null(failed);
    }
    assert_int_equal(list("packs").count, 0);
    if (d->publish(o, name, LARGE, sum, &e) < 0)
        fail_msg("%s", e.text);
}

static void parts_are_written_in_any_order(void **state)
{
    static const size_t parts[] = {65536, 100003, 4096, 1000000};
    AUTO_FREE uint8_t *data = aligned_alloc(BACKEND_ALIGNMENT, 5 * MIB);
    struct error e;

    (void)state;
    fill(data, 5 * MIB, 2);
    for (size_t i = 0; i < COUNT(parts); i++) {
        write_large("packs/large", data, parts[i]);
        assert_has(b, "packs/large", data, LARGE);
        assert_int_equal(list("packs").bytes[0], LARGE);
        assert_int_equal(d->remove(b, "packs/large", &e), OK);
    }
}

static void any_part_is_read(void **state)
{
    static const char *const names[] = {"packs/a", "snapshots/a"};
    enum { BYTES = 300001, ROOM = 20 * 4096 };
    AUTO_FREE uint8_t *to = aligned_alloc(BACKEND_ALIGNMENT, ROOM + 4096);
    static uint8_t data[BYTES];
    struct error e;
    size_t got;

    (void)state;
    fill(data, BYTES, 3);
    srandom(1);
    for (size_t i = 0; i < COUNT(names); i++) {
        put(names[i], data, BYTES);
        for (int n = 0; n < 2000; n++) {
            size_t unit = n % 2 ? 4096 : 1, skew = n % 4 < 2 ? 0 : 8;
            size_t offset = (size_t)random() % (BYTES + 9000) / unit * unit;
            size_t bytes = (size_t)random() % (n % 3 ? ROOM : 100) / unit * unit;
            size_t rest = offset < BYTES ? BYTES - offset : 0;

            assert_int_equal(d->get(b, names[i], offset, to + skew, bytes, &got, &e), OK);
            assert_int_equal(got, rest < bytes ? rest : bytes);
            if (got)
                assert_memory_equal(to + skew, data + offset, got);
        }
        assert_int_equal(d->get(b, names[i], UINT64_MAX, to, 1, &got, &e), OK);
        assert_int_equal(got, 0);
    }
    assert_int_equal(d->get(b, "packs/b", 0, to, 1, &got, &e), NOT_FOUND);
    assert_int_equal(d->get(b, "nowhere/b", 0, to, 1, &got, &e), NOT_FOUND);
}

static int stop(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    (void)bytes;
    ++*(unsigned *)arg;
    return error_set(e, CANCELLED, "%s is enough", name);
}

static int remove_it(void *arg, const char *name, uint64_t bytes, struct error *e)
{
    char whole[BACKEND_NAME_MAX];

    (void)bytes;
    ++*(unsigned *)arg;
    snprintf(whole, sizeof whole, "log/%s", name);
    return d->remove(b, whole, e);
}

static void a_list_has_what_is_there(void **state)
{
    struct listing l;
    unsigned seen = 0;
    struct error e;

    (void)state;
    assert_int_equal(list("log").count, 0);
    assert_int_equal(list("nowhere").count, 0);
    assert_int_equal(list("nowhere/log").count, 0);
    put("log/1", "a", 1);
    put("log/2", "abc", 3);
    put("copy/log/3", "", 0);
    put("config", "x", 1);
    l = list("log");
    assert_int_equal(l.count, 2);
    assert_true(has(&l, "1") && has(&l, "2"));
    assert_int_equal(l.bytes[strcmp(l.names[0], "2") == 0 ? 0 : 1], 3);
    l = list("copy/log");
    assert_int_equal(l.count, 1);
    assert_string_equal(l.names[0], "3");
    assert_int_equal(list("copy").count, 0);
    assert_int_equal(d->list(b, "log", stop, &seen, &e), CANCELLED);
    assert_int_equal(seen, 1);
    seen = 0;
    assert_int_equal(d->list(b, "log", remove_it, &seen, &e), OK);
    assert_int_equal(seen, 2);
    assert_int_equal(list("log").count, 0);
    assert_int_equal(list("copy/log").count, 1);
}

/* It may have been opened, and be kept. */
static void what_comes_after_a_removal_is_read(void **state)
{
    struct error e;

    (void)state;
    for (int i = 0; i < 5; i++) {
        char text[20];

        snprintf(text, sizeof text, "number %d", i);
        put("packs/a", text, strlen(text));
        assert_has(b, "packs/a", text, strlen(text));
        assert_int_equal(d->remove(b, "packs/a", &e), OK);
    }
    assert_int_equal(d->remove(b, "packs/a", &e), OK);
    assert_int_equal(d->remove(b, "nowhere/a", &e), OK);
}

static void what_is_discarded_was_never_there(void **state)
{
    struct backend_object *o;
    struct error e;

    (void)state;
    d->discard(NULL);
    for (uint64_t announced = 0; announced <= 4 * MIB; announced += 2 * MIB) {
        assert_int_equal(d->create(b, RUN, announced, &o, &e), OK);
        assert_int_equal(d->write(o, "abc", 3, 5, &e), OK);
        assert_int_equal(list("packs").count, 0);
        d->discard(o);
        assert_int_equal(list("packs").count, 0);
        if (*kind != FAKE)
            assert_int_equal(count_entries(in_repo("packs")), 0);
    }
}

/* Somebody who dies while he writes. */
static void leave_a_part(const char *run)
{
    struct backend *other;
    struct backend_object *o;
    struct error e;
    int status;
    pid_t pid;

    if (*kind == FAKE) {
        other = another();
        assert_int_equal(d->create(other, run, 5000, &o, &e), OK);
        assert_int_equal(d->write(o, "abc", 3, 4997, &e), OK);
        fake_arm(other, 1, FAKE_DIE);
        assert_int_equal(d->publish(o, "packs/late", 5000, (const uint8_t *)"", &e), FAILED);
        assert_int_equal(d->create(other, run, 5000, &o, &e), FAILED);
        backend_close(other);
        return;
    }
    pid = fork();
    if (pid == 0) {
        if (d->create(b, run, 5000, &o, &e) == OK && d->write(o, "abc", 3, 4997, &e) == OK)
            _exit(0);
        _exit(1);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

static bool lives(void *arg, const char *run)
{
    return strcmp(arg, run) == 0;
}

static void what_the_dead_leave_is_cleaned(void **state)
{
    uint64_t bytes = 1;
    struct error e;

    (void)state;
    put("packs/whole", "abc", 3);
    leave_a_part(RUN);
    leave_a_part(RUN_B);
    assert_int_equal(list("packs").count, 1);
    assert_int_equal(d->clean(b, lives, (char *)RUN, &bytes, &e), OK);
    if (*kind != FOLDER)
        assert_in_range(bytes, 3, 65536);
    if (*kind != FAKE)
        assert_int_equal(count_entries(in_repo("packs")), *kind == PARTS ? 2 : 1);
    assert_int_equal(d->clean(b, lives, (char *)RUN, &bytes, &e), OK);
    assert_int_equal(bytes, 0);
    assert_int_equal(d->clean(b, lives, (char *)"", &bytes, &e), OK);
    if (*kind != FOLDER)
        assert_in_range(bytes, 3, 65536);
    if (*kind != FAKE)
        assert_int_equal(count_entries(in_repo("packs")), 1);
    assert_has(b, "packs/whole", "abc", 3);
}

static void there_is_room(void **state)
{
    uint64_t bytes = 0, more = 0;
    struct error e;
    char back[3];
    int fd;

    (void)state;
    assert_int_equal(d->room(b, &bytes, &e), OK);
    assert_true(bytes > MIB);
    assert_int_equal(d->temporary(b, &fd, &more, &e), OK);
    assert_true(more > MIB);
    assert_int_equal(pwrite_full(fd, "abc", 3, 100000), 0);
    assert_int_equal(pread_full(fd, back, 3, 100000), 0);
    assert_memory_equal(back, "abc", 3);
    close(fd);
    assert_int_equal(list("packs").count, 0);
    if (*kind != FAKE)
        assert_int_equal(count_entries(in_repo("packs")), 0);
}

/* ---- the folder alone ---- */

static void a_place_must_be_empty(void **state)
{
    char path[300];
    struct backend *other;
    struct error e;
    struct stat st;

    (void)state;
    assert_int_equal(backend_make(repo, &e), BUSY);
    assert_non_null(strstr(e.text, "is not empty"));
    assert_int_equal(stat(repo, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(stat(in_repo("copy/snapshots"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    put("packs/a", "a", 1);
    assert_int_equal(stat(in_repo("packs/a"), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0600);
    assert_int_equal(st.st_nlink, 1);
    snprintf(path, sizeof path, "%s/deep/er", dir);
    assert_int_equal(backend_open(&other, path, &e), NOT_FOUND);
    assert_int_equal(backend_make(path, &e), OK);
    assert_int_equal(backend_open(&other, path, &e), OK);
    backend_close(other);
    snprintf(path, sizeof path, "%s/empty", dir);
    assert_int_equal(mkdir(path, 0755), 0);
    assert_int_equal(backend_make(path, &e), OK);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700);
    assert_int_equal(backend_make("s3://bucket/x", &e), UNSUPPORTED);
    assert_non_null(strstr(e.text, "s3://bucket/x"));
    assert_int_equal(backend_open(&other, "s3://bucket/x", &e), UNSUPPORTED);
    backend_close(NULL);
}

/* Past the driver, and past its syncs, which take their time. */
static void make_file(const char *name, const void *data, size_t bytes)
{
    int fd = open(in_repo(name), O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

    assert_true(fd >= 0);
    assert_int_equal(write_full(fd, data, bytes), 0);
    close(fd);
}

static void strays_stop_nothing(void **state)
{
    static const char *const files[] = {
        "packs/s1 copy.json", "packs/.hidden",  "packs/caf\xc3\xa9",
        "packs/a\nb",         "packs/~lock.x#", "packs/README",
    };
    char name[250] = "packs/";
    struct listing l;
    uint64_t bytes;
    struct error e;

    (void)state;
    put("packs/real", "abc", 3);
    for (size_t i = 0; i < COUNT(files); i++)
        make_file(files[i], "", 0);
    memset(name + strlen(name), 'x', 200);
    make_file(name, "", 0);
    assert_int_equal(mkdir(in_repo("packs/lost+found"), 0700), 0);
    assert_int_equal(mkdir(in_repo("packs/folder"), 0700), 0);
    assert_int_equal(mkfifo(in_repo("packs/pipe"), 0600), 0);
    assert_int_equal(symlink("real", in_repo("packs/link")), 0);
    assert_int_equal(symlink("nowhere", in_repo("packs/broken")), 0);
    l = list("packs");
    assert_int_equal(l.count, 2);
    assert_true(has(&l, "real") && has(&l, "README"));
    assert_int_equal(d->clean(b, lives, (char *)"", &bytes, &e), OK);
    assert_int_equal(count_entries(in_repo("packs")), 13);
}

static void nothing_planted_is_followed(void **state)
{
    struct error e;
    char *text;
    size_t n;

    (void)state;
    put("packs/real", "abc", 3);
    assert_int_equal(symlink("real", in_repo("packs/link")), 0);
    assert_int_equal(mkfifo(in_repo("packs/pipe"), 0600), 0);
    assert_int_equal(mkdir(in_repo("packs/folder"), 0700), 0);
    alarm(10); /* who waits for the pipe waits for ever */
    assert_int_equal(backend_get(b, "packs/link", MAX, &text, &n, &e), DAMAGED);
    assert_non_null(strstr(e.text, "packs/link"));
    assert_int_equal(backend_get(b, "packs/pipe", MAX, &text, &n, &e), DAMAGED);
    assert_int_equal(backend_get(b, "packs/folder", MAX, &text, &n, &e), DAMAGED);
    assert_int_equal(backend_put(b, RUN, "packs/link", "x", 1, &e), BUSY);
    assert_int_equal(backend_put(b, RUN, "packs/pipe", "x", 1, &e), BUSY);
    alarm(0);
    assert_has(b, "packs/real", "abc", 3);
    /* Nor is a folder. */
    assert_int_equal(rename(in_repo("log"), in_repo("elsewhere")), 0);
    assert_int_equal(symlink("elsewhere", in_repo("log")), 0);
    make_file("elsewhere/1", "", 0);
    assert_int_equal(backend_get(b, "log/1", MAX, &text, &n, &e), DAMAGED);
    assert_int_equal(backend_put(b, RUN, "log/2", "x", 1, &e), DAMAGED);
    assert_int_equal(d->list(b, "log", note, NULL, &e), DAMAGED);
    assert_int_equal(count_entries(in_repo("elsewhere")), 1);
    assert_int_equal(count_entries(in_repo("packs")), 4);
}

static void names_lead_nowhere_else(void **state)
{
    static const char *const names[] = {
        "../x", "packs/../../x", "/etc/passwd", "packs//x", "packs/", "", ".x", "packs/.x", "a b",
    };
    char long_name[6 + BACKEND_NAME_MAX + 1] = "packs/";
    struct listing l;
    struct error e;
    char *text;
    size_t n;

    (void)state;
    for (size_t i = 0; i < COUNT(names); i++) {
        assert_int_equal(backend_get(b, names[i], MAX, &text, &n, &e), USAGE);
        assert_int_equal(backend_put(b, RUN, names[i], "x", 1, &e), USAGE);
        assert_int_equal(d->remove(b, names[i], &e), USAGE);
    }
    memset(long_name + 6, 'x', BACKEND_NAME_MAX);
    assert_int_equal(backend_get(b, long_name, MAX, &text, &n, &e), USAGE);
    assert_int_equal(backend_put(b, RUN, long_name, "x", 1, &e), USAGE);
    assert_int_equal(d->list(b, "..", note, &l, &e), USAGE);
    assert_int_equal(count_entries(dir), 1);
    assert_int_equal(count_entries(in_repo("packs")), 0);
}

#define PACKS 200

static void *read_packs(void *arg)
{
    unsigned seed = *(unsigned *)arg;
    AUTO_FREE uint8_t *to = aligned_alloc(BACKEND_ALIGNMENT, 8192);

    for (int i = 0; i < 1500; i++) {
        unsigned n = seed = seed * 1103515245 + 12345, at;
        uint8_t expected[5000];
        char name[30];
        struct error e;
        size_t got;

        n = n >> 16;
        at = n % 3 ? 0 : 4096;
        n %= PACKS;
        snprintf(name, sizeof name, "packs/%u", n);
        fill(expected, sizeof expected, n);
        if (d->get(b, name, at, to, i % 2 ? 8192 : 8191, &got, &e) < 0 ||
            got != sizeof expected - at || memcmp(to, expected + at, got) != 0)
            return &failure;
    }
    return NULL;
}

static void few_of_many_packs_are_kept_open(void **state)
{
    unsigned before = count_entries("/proc/self/fd"), seeds[4] = {1, 2, 3, 4};
    pthread_t threads[4];
    uint8_t data[5000];
    struct error e;
    void *failed;

    (void)state;
    for (unsigned i = 0; i < PACKS; i++) {
        char name[30];

        snprintf(name, sizeof name, "packs/%u", i);
        fill(data, sizeof data, i);
        make_file(name, data, sizeof data);
    }
    assert_int_equal(count_entries("/proc/self/fd"), before);
    for (int i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, read_packs, &seeds[i]), 0);
    for (int i = 0; i < 4; i++) {
        pthread_join(threads[i], &failed);
        assert_null(failed);
    }
    assert_in_range(count_entries("/proc/self/fd"), before + 64, before + 128);
    for (unsigned i = 0; i < PACKS; i++) {
        char name[30];

        snprintf(name, sizeof name, "packs/%u", i);
        assert_int_equal(d->remove(b, name, &e), OK);
    }
    assert_int_equal(count_entries("/proc/self/fd"), before);
}

/* While others read: whoever has it open has all of it, whoever comes later none. */
static void *read_until_gone(void *arg)
{
    unsigned *times = arg;
    uint8_t expected[5000], to[5000];
    struct error e;
    size_t got;
    int rc;

    fill(expected, sizeof expected, 1);
    while ((rc = d->get(b, "packs/a", 0, to, sizeof to, &got, &e)) == OK) {
        if (got != sizeof to || memcmp(to, expected, got) != 0)
            return &failure;
        ++*times;
    }
    return rc == NOT_FOUND ? NULL : &failure;
}

static void removal_spoils_no_reading(void **state)
{
    unsigned before = count_entries("/proc/self/fd"), times[4] = {0};
    pthread_t threads[4];
    uint8_t data[5000];
    struct error e;
    void *failed;

    (void)state;
    fill(data, sizeof data, 1);
    for (int round = 0; round < 10; round++) {
        put("packs/a", data, sizeof data);
        for (int i = 0; i < 4; i++)
            assert_int_equal(pthread_create(&threads[i], NULL, read_until_gone, &times[i]), 0);
        usleep(1000);
        assert_int_equal(d->remove(b, "packs/a", &e), OK);
        for (int i = 0; i < 4; i++) {
            pthread_join(threads[i], &failed);
            assert_null(failed);
        }
    }
    assert_true(times[0] + times[1] + times[2] + times[3] > 0);
    assert_int_equal(count_entries("/proc/self/fd"), before);
}

static void what_the_disk_has_lost_is_damaged(void **state)
{
    static const char *const names[] = {"packs/a", "log/1"};
    AUTO_FREE uint8_t *to = aligned_alloc(BACKEND_ALIGNMENT, 40960);
    uint8_t data[40960];
    struct error e;
    size_t got;

    (void)state;
    fill(data, sizeof data, 9);
    for (size_t i = 0; i < COUNT(names); i++) {
        put(names[i], data, sizeof data);
        read_mode = READ_LOST;
        assert_int_equal(d->get(b, names[i], 0, to, sizeof data, &got, &e), DAMAGED);
        assert_non_null(strstr(e.text, names[i]));
        for (read_mode = READ_SHORT; read_mode <= READ_UNALIGNED; read_mode++) {
            if (read_mode == READ_LOST)
                continue;
            reads = 0;
            memset(to, 0, sizeof data);
            assert_int_equal(d->get(b, names[i], 0, to, sizeof data, &got, &e), OK);
            assert_int_equal(got, sizeof data);
            assert_memory_equal(to, data, sizeof data);
        }
        read_mode = READ;
    }
    /* A server that has been asked anew says so. */
    assert_int_equal(unlink(in_repo("packs/a")), 0);
    assert_int_equal(d->get(b, "packs/a", 0, to, 1, &got, &e), OK);
    read_mode = READ_STALE;
    reads = 0;
    assert_int_equal(d->get(b, "packs/a", 0, to, 1, &got, &e), NOT_FOUND);
}

static void a_cut_file_is_short(void **state)
{
    static uint8_t data[100000], to[100000];
    struct error e;
    size_t got;

    (void)state;
    put("packs/a", data, sizeof data);
    assert_int_equal(d->get(b, "packs/a", 0, to, sizeof to, &got, &e), OK);
    assert_int_equal(truncate(in_repo("packs/a"), 5), 0);
    assert_int_equal(d->get(b, "packs/a", 0, to, sizeof to, &got, &e), OK);
    assert_int_equal(got, 5);
}

static void a_lost_answer_is_asked_after(void **state)
{
    struct error e;

    (void)state;
    link_mode = LINK_LOST;
    put("log/1", "abc", 3);
    assert_int_equal(backend_put(b, RUN, "log/1", "abd", 3, &e), BUSY);
    link_mode = LINK_NEEDS_PROC;
    put("log/2", "abc", 3);
    assert_int_equal(backend_put(b, RUN, "log/2", "abd", 3, &e), BUSY);
    link_mode = LINK;
    assert_has(b, "log/1", "abc", 3);
    assert_has(b, "log/2", "abc", 3);
    assert_int_equal(count_entries(in_repo("packs")), 0);
}

static void links_can_be_done_without(void **state)
{
    struct error e;

    (void)state;
    link_mode = LINK_REFUSED;
    put("log/1", "abc", 3);
    assert_int_equal(backend_put(b, RUN, "log/1", "abd", 3, &e), BUSY);
    assert_has(b, "log/1", "abc", 3);
    no_rename = true;
    assert_int_equal(backend_put(b, RUN, "log/2", "abd", 3, &e), UNSUPPORTED);
    assert_int_equal(count_entries(in_repo("log")), 1);
    assert_int_equal(count_entries(in_repo("packs")), 0);
}

static void what_can_not_be_written_is_read(void **state)
{
    struct backend_object *o;
    struct backend *other;
    uint64_t bytes;
    struct error e;
    int fd;

    (void)state;
    put("log/1", "abc", 3);
    open_errno = EROFS;
    other = another();
    assert_has(other, "log/1", "abc", 3);
    assert_int_equal(d->create(other, RUN, 1, &o, &e), FAILED);
    assert_null(o);
    assert_non_null(strstr(e.text, repo));
    assert_non_null(strstr(e.text, "Read-only"));
    assert_int_equal(d->temporary(other, &fd, &bytes, &e), FAILED);
    open_errno = ENOSPC;
    assert_int_equal(d->create(other, RUN, 1, &o, &e), NO_SPACE);
    backend_close(other);
}

/* As after a copy by a program that leaves out empty folders. */
static void lost_folders_are_made_again(void **state)
{
    struct listing l;

    (void)state;
    assert_int_equal(rmdir(in_repo("copy/log")), 0);
    assert_int_equal(rmdir(in_repo("copy/state")), 0);
    assert_int_equal(rmdir(in_repo("copy/snapshots")), 0);
    assert_int_equal(rmdir(in_repo("copy")), 0);
    assert_int_equal(rmdir(in_repo("packs")), 0);
    put("copy/log/1", "abc", 3);
    assert_has(b, "copy/log/1", "abc", 3);
    l = list("copy/log");
    assert_int_equal(l.count, 1);
}

static void room_not_used_is_given_back(void **state)
{
    AUTO_FREE uint8_t *data = aligned_alloc(BACKEND_ALIGNMENT, 8192);
    struct backend_object *o;
    uint8_t sum[32];
    struct error e;
    struct stat st;

    (void)state;
    fill(data, 8192, 4);
    assert_true(EVP_Digest(data, 5000, sum, NULL, EVP_sha256(), NULL));
    assert_int_equal(d->create(b, RUN, 8 * MIB, &o, &e), OK);
    assert_int_equal(d->write(o, data, 8192, 0, &e), OK);
    assert_int_equal(d->publish(o, "packs/a", 5000, sum, &e), OK);
    assert_int_equal(stat(in_repo("packs/a"), &st), 0);
    assert_int_equal(st.st_size, 5000);
    assert_in_range(st.st_blocks, 1, 65536 / 512);
    assert_has(b, "packs/a", data, 5000);
}

static void only_parts_are_cleaned(void **state)
{
    static const char *const files[] = {
        "packs/." RUN "-" RUN_B ".part", /* the one that is a part */
        "packs/." RUN "-" RUN_B ".parts",       "packs/" RUN "-" RUN_B ".part",
        "packs/." RUN "-" RUN ".part.x",        "packs/." RUN "_" RUN_B ".part",
        "packs/.X123456789abcdef-" RUN ".part", "packs/." RUN ".part",
        "log/." RUN "-" RUN_B ".part",
    };
    uint64_t bytes;
    struct error e;

    (void)state;
    for (size_t i = 0; i < COUNT(files); i++)
        make_file(files[i], "", 0);
    assert_int_equal(mkdir(in_repo("packs/." RUN "-" RUN ".part"), 0700), 0);
    assert_int_equal(d->clean(b, lives, (char *)RUN, &bytes, &e), OK);
    assert_int_equal(count_entries(in_repo("packs")), COUNT(files));
    assert_int_equal(d->clean(b, lives, (char *)RUN_B, &bytes, &e), OK);
    assert_int_equal(count_entries(in_repo("packs")), COUNT(files) - 1);
    assert_int_equal(access(in_repo(files[0]), F_OK), -1);
    assert_int_equal(count_entries(in_repo("log")), 1);
    assert_int_equal(rmdir(in_repo("packs/." RUN "-" RUN ".part")), 0);
}

/* ---- what is there twice ---- */

#define NAME "snapshots/" RUN
#define COPY "copy/" NAME

static json_t *thing(int n)
{
    return json_pack("{s:i, s:[s, s]}", "number", n, "words", "one", "two");
}

static void put_twice(int n)
{
    AUTO_JSON json_t *json = thing(n);
    struct error e;

    if (twin_put(b, RUN, NAME, json, &e) < 0)
        fail_msg("%s", e.text);
}

static int get_number(enum twin_state *how, struct error *why, struct error *e)
{
    AUTO_JSON json_t *json = NULL;

    if (twin_get(b, NAME, MAX, &json, how, why, e) < 0)
        return e->status;
    return (int)json_integer_value(json_object_get(json, "number"));
}

static void assert_both(int n)
{
    size_t a_bytes, b_bytes;
    enum twin_state how;
    unsigned char *first, *second;
    struct error e;
    bool healed;

    assert_true(fake_has(store, NAME) && fake_has(store, COPY));
    first = fake_bytes(store, NAME, &a_bytes);
    second = fake_bytes(store, COPY, &b_bytes);
    assert_int_equal(a_bytes, b_bytes);
    assert_memory_equal(first, second, a_bytes);
    assert_int_equal(get_number(&how, NULL, &e), n);
    assert_int_equal(how, TWIN_WHOLE);
    assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), OK);
    assert_false(healed);
}

enum damage { FLIPPED, TRUNCATED, REMOVED };

static void damage(const char *name, enum damage what)
{
    size_t bytes;
    unsigned char *data = fake_bytes(store, name, &bytes);

    if (what == FLIPPED)
        data[bytes / 2] ^= 1;
    else if (what == TRUNCATED)
        fake_truncate(store, name, bytes - 3);
    else
        fake_drop(store, name);
}

static void it_is_put_twice(void **state)
{
    AUTO_JSON json_t *other = thing(2);
    struct error e;
    bool healed;

    (void)state;
    assert_int_equal(get_number(NULL, NULL, &e), NOT_FOUND);
    assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), NOT_FOUND);
    assert_int_equal(twin_remove(b, NAME, &e), OK);
    put_twice(1);
    assert_both(1);
    assert_int_equal(twin_put(b, RUN, NAME, other, &e), BUSY);
    assert_both(1);
    assert_int_equal(twin_remove(b, NAME, &e), OK);
    assert_false(fake_has(store, NAME) || fake_has(store, COPY));
    assert_string_equal(warnings, "");
}

static void either_is_enough(void **state)
{
    static const char *const names[] = {NAME, COPY};
    enum twin_state how;
    struct error e, why;
    bool healed;

    (void)state;
    for (int which = 0; which < 2; which++)
        for (enum damage what = FLIPPED; what <= REMOVED; what++) {
            put_twice(7);
            damage(names[which], what);
            memset(&why, 0, sizeof why);
            assert_int_equal(get_number(&how, &why, &e), 7);
            assert_int_equal(how, which == 0 ? TWIN_COPY_ONLY : TWIN_WHOLE);
            if (which == 0) {
                assert_non_null(strstr(why.text, NAME ": "));
                assert_non_null(strstr(why.text, "; its copy was read"));
                assert_int_equal(why.status, what == REMOVED ? NOT_FOUND : DAMAGED);
            }
            assert_int_equal(get_number(NULL, NULL, &e), 7);
            assert_int_equal(twin_check(b, RUN, NAME, MAX, false, &healed, &e), DAMAGED);
            assert_false(healed);
            assert_non_null(strstr(e.text, names[which]));
            assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), DAMAGED);
            assert_true(healed);
            assert_both(7);
            assert_int_equal(twin_remove(b, NAME, &e), OK);
        }
}

static void both_may_be_lost(void **state)
{
    struct error e;
    bool healed;

    (void)state;
    for (enum damage one = FLIPPED; one <= REMOVED; one++)
        for (enum damage two = FLIPPED; two <= REMOVED; two++) {
            int status = one == REMOVED && two == REMOVED ? NOT_FOUND : DAMAGED;

            put_twice(7);
            damage(NAME, one);
            damage(COPY, two);
            assert_int_equal(get_number(NULL, NULL, &e), status);
            assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), status);
            assert_false(healed);
            assert_int_equal(fake_has(store, NAME), one != REMOVED);
            assert_int_equal(fake_has(store, COPY), two != REMOVED);
            assert_int_equal(twin_remove(b, NAME, &e), OK);
        }
}

/* Whatever becomes of any byte of it. */
static void nothing_wrong_is_read(void **state)
{
    unsigned char *data;
    unsigned told = 0;
    struct error e;
    size_t bytes;

    (void)state;
    put_twice(7);
    fake_drop(store, COPY);
    data = fake_bytes(store, NAME, &bytes);
    for (size_t i = 0; i < 8 * bytes; i++) {
        int n;

        data[i / 8] ^= (unsigned char)(1 << i % 8);
        n = get_number(NULL, NULL, &e);
        assert_true(n == 7 || n == DAMAGED);
        told += n == DAMAGED;
        data[i / 8] ^= (unsigned char)(1 << i % 8);
    }
    assert_true(told > 7 * bytes);
    assert_int_equal(get_number(NULL, NULL, &e), 7);
    assert_int_equal(twin_get(b, NAME, bytes - 1, &(json_t *){NULL}, NULL, NULL, &e), DAMAGED);
}

/* Out of reach is not lost. */
static void failures_heal_nothing(void **state)
{
    struct error e;
    bool healed;

    (void)state;
    put_twice(7);
    for (unsigned n = 1; n <= 2; n++) {
        fake_arm(b, n, FAKE_FAIL);
        assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), FAILED);
        assert_false(healed);
        assert_both(7);
    }
    fake_arm(b, 1, FAKE_FAIL);
    assert_int_equal(get_number(NULL, NULL, &e), FAILED);
    /* It is removed, and there is no room for it: the copy stays, and the next one heals it. */
    damage(NAME, FLIPPED);
    fake_arm(b, 4, FAKE_NO_SPACE);
    assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), DAMAGED);
    assert_false(healed);
    assert_false(fake_has(store, NAME));
    assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), DAMAGED);
    assert_true(healed);
    assert_both(7);
    /* Of one that is lost, and one out of reach, nobody knows. */
    damage(NAME, REMOVED);
    fake_arm(b, 2, FAKE_FAIL);
    assert_int_equal(get_number(NULL, NULL, &e), FAILED);
}

static void a_copy_that_fails_is_said(void **state)
{
    AUTO_JSON json_t *json = thing(7);
    struct error e;

    (void)state;
    fake_arm(b, 2, FAKE_NO_SPACE);
    assert_int_equal(twin_put(b, RUN, NAME, json, &e), OK);
    assert_non_null(strstr(warnings, NAME));
    assert_true(fake_has(store, NAME));
    assert_false(fake_has(store, COPY));
    fake_arm(b, 1, FAKE_NO_SPACE);
    assert_int_equal(twin_remove(b, NAME, &e), NO_SPACE);
    assert_true(fake_has(store, NAME));
    assert_int_equal(twin_remove(b, NAME, &e), OK);
    fake_arm(b, 1, FAKE_FAIL);
    assert_int_equal(twin_put(b, RUN, NAME, json, &e), FAILED);
    assert_false(fake_has(store, NAME) || fake_has(store, COPY));
}

static void the_first_one_decides(void **state)
{
    struct error e;
    bool healed;

    (void)state;
    put_twice(1);
    fake_drop(store, NAME);
    put_twice(2);
    assert_non_null(strstr(warnings, COPY));
    assert_int_equal(get_number(NULL, NULL, &e), 2);
    assert_int_equal(twin_check(b, RUN, NAME, MAX, false, &healed, &e), DAMAGED);
    assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), DAMAGED);
    assert_true(healed);
    assert_both(2);
}

static void put_between(void *arg, const char *operation, const char *name)
{
    struct backend *other = another();
    AUTO_JSON json_t *json = thing(7);
    struct error e;

    assert_string_equal(operation, "get");
    if (strcmp(name, COPY) == 0 && !*(bool *)arg)
        assert_int_equal(twin_put(other, RUN, NAME, json, &e), OK);
    *(bool *)arg = *(bool *)arg || strcmp(name, COPY) == 0;
    backend_close(other);
}

static void what_is_put_just_now_is_whole(void **state)
{
    enum twin_state how;
    bool done = false, healed;
    struct error e;

    (void)state;
    fake_before(b, put_between, &done);
    assert_int_equal(get_number(&how, NULL, &e), 7);
    assert_int_equal(how, TWIN_WHOLE);
    fake_drop(store, NAME);
    fake_drop(store, COPY);
    done = false;
    assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), OK);
    fake_before(b, NULL, NULL);
    assert_both(7);
}

static void twins_live_in_folders_too(void **state)
{
    enum twin_state how;
    struct error e, why;
    bool healed;

    (void)state;
    put_twice(7);
    assert_int_equal(truncate(in_repo(NAME), 20), 0);
    assert_int_equal(get_number(&how, &why, &e), 7);
    assert_int_equal(how, TWIN_COPY_ONLY);
    assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), DAMAGED);
    assert_true(healed);
    assert_int_equal(unlink(in_repo(COPY)), 0);
    assert_int_equal(get_number(&how, &why, &e), 7);
    assert_int_equal(how, TWIN_WHOLE);
    assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), DAMAGED);
    assert_true(healed);
    assert_int_equal(twin_check(b, RUN, NAME, MAX, true, &healed, &e), OK);
}

/* ---- all of them ---- */

#define ON(test, what, name)                                                                       \
    {                                                                                              \
#test name, test, set_up, tear_down, &kinds[what]                                          \
    }
#define ON_FAKE(test)   ON(test, FAKE, "")
#define ON_FOLDER(test) ON(test, FOLDER, " (folder)"), ON(test, PARTS, " (folder, parts)")
#define ON_ALL(test)    ON_FOLDER(test), ON(test, FAKE, " (fake)")

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_ALL(what_is_put_comes_back),
        ON_ALL(none_is_replaced),
        ON_ALL(one_of_many_is_first),
        ON_ALL(parts_are_written_in_any_order),
        ON_ALL(any_part_is_read),
        ON_ALL(a_list_has_what_is_there),
        ON_ALL(what_comes_after_a_removal_is_read),
        ON_ALL(what_is_discarded_was_never_there),
        ON_ALL(what_the_dead_leave_is_cleaned),
        ON_ALL(there_is_room),
        ON_FOLDER(a_place_must_be_empty),
        ON_FOLDER(strays_stop_nothing),
        ON_FOLDER(nothing_planted_is_followed),
        ON_FOLDER(names_lead_nowhere_else),
        ON_FOLDER(few_of_many_packs_are_kept_open),
        ON_FOLDER(removal_spoils_no_reading),
        ON_FOLDER(what_the_disk_has_lost_is_damaged),
        ON_FOLDER(a_cut_file_is_short),
        ON_FOLDER(a_lost_answer_is_asked_after),
        ON(links_can_be_done_without, PARTS, " (folder, parts)"),
        ON_FOLDER(what_can_not_be_written_is_read),
        ON_FOLDER(lost_folders_are_made_again),
        ON_FOLDER(room_not_used_is_given_back),
        ON_FOLDER(only_parts_are_cleaned),
        ON_FAKE(it_is_put_twice),
        ON_FAKE(either_is_enough),
        ON_FAKE(both_may_be_lost),
        ON_FAKE(nothing_wrong_is_read),
        ON_FAKE(failures_heal_nothing),
        ON_FAKE(a_copy_that_fails_is_said),
        ON_FAKE(the_first_one_decides),
        ON_FAKE(what_is_put_just_now_is_whole),
        ON_FOLDER(twins_live_in_folders_too),
    };

    return cmocka_run_group_tests_name("backend", tests, NULL, NULL);
}
