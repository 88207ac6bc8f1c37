/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Every fault point, and every call of a driver, that the stories with fakes pass: there the
 * process is killed, or the step fails. Whatever it was, once recover has run the guest runs,
 * nothing is left, and what is listed is good.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/fault.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "every.h"
#include "fake.h"

/* How a child says that its fault struck; else it exits with 0 or 1. */
#define STRUCK 2

struct story {
    void (*prepare)(void);
    int (*run)(struct error *e);
};

static const struct story *story;
static unsigned tried;

/* ---- the stories ---- */

static int create(struct create_params params, struct error *e)
{
    struct store_stats stats;
    struct manifest m;
    int rc;

    params.domain = "linux01";
    params.deadline_ms = 10000;
    rc = engine_create(&fake->engine, &params, &m, &stats, e);
    if (rc == OK)
        manifest_release(&m);
    return rc;
}

static int restore(struct snapshot_ref from, struct error *e)
{
    const struct restore_params params = {.from = from, .replace = true};
    struct manifest m;
    int rc = engine_restore(&fake->engine, &params, &m, e);

    if (rc == OK)
        manifest_release(&m);
    return rc;
}

static struct snapshot_target to_folder(void)
{
    return (struct snapshot_target){.folder = fake_path("out")};
}

static struct snapshot_target to_repo(void)
{
    return (struct snapshot_target){.repo = fake_path("repo"), .name = "one"};
}

static void nothing(void)
{
}

static void live(void)
{
    fake->live = 1;
}

static void init(void)
{
    struct error e;

    assert_int_equal(engine_init(fake_path("repo"), 0, &e), OK);
}

static int create_still(struct error *e)
{
    return create((struct create_params){.to = to_folder()}, e);
}

static int create_cold(struct error *e)
{
    return create((struct create_params){.to = to_folder(), .method = CREATE_COLD}, e);
}

static int create_disks(struct error *e)
{
    return create((struct create_params){.to = to_folder(), .disks_only = true}, e);
}

static int create_in_repo(struct error *e)
{
    return create((struct create_params){.to = to_repo()}, e);
}

/* The disks differ from the snapshot then. */
static void change_disk(void)
{
    AUTO_CLOSE int fd = open(fake_path("a.img"), O_RDWR | O_CLOEXEC);

    assert_int_equal(pwrite_full(fd, "changed", 7, 0), 0);
}

static void prepare_folder(void)
{
    struct error e;

    assert_int_equal(create_still(&e), OK);
    change_disk();
}

static void prepare_repo(void)
{
    struct error e;

    init();
    assert_int_equal(create_in_repo(&e), OK);
    change_disk();
}

static int restore_folder(struct error *e)
{
    return restore((struct snapshot_ref){.folder = fake_path("out")}, e);
}

static int restore_repo(struct error *e)
{
    return restore(
        (struct snapshot_ref){.repo = fake_path("repo"), .domain = "linux01", .name = "one"}, e);
}

/* ---- what must hold ---- */

static void must_be_good(void *arg, enum check_kind kind, const char *name, const struct error *why)
{
    (void)arg;
    if (kind != CHECKED_GOOD)
        fail_msg("%s: %s", name, why->text);
}

static void verify(const struct snapshot_ref *ref)
{
    struct check_params check = {.what = *ref, .percent = 100};
    struct check_counts counts;
    struct error e;

    if (engine_check(&fake->engine, &check, must_be_good, NULL, &counts, &e) < 0)
        fail_msg("%s", e.text);
}

static size_t recover(struct error *e)
{
    struct recovery *list;
    size_t count;

    *e = (struct error){0};
    engine_recover(&fake->engine, &(struct recover_params){0}, &list, &count, e);
    recovery_release(list, count);
    return count;
}

static void settle(void)
{
    struct error e;

    fake_wait_guardian();
    /* The guest does not have to wait for recover. */
    assert_int_not_equal(fake->state, DOMAIN_SUSPENDED);
    assert_int_equal(fake->held, 0);
    recover(&e);
    if (e.status != OK)
        fail_msg("recover: %s", e.text);
    assert_int_equal(fake_file_count(fake_path("journal")), 0);
    assert_int_equal(recover(&e), 0);
}

static void assert_as_promised(void)
{
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(fake->held, 0);
    assert_string_equal(fake->snapshots, "");
    if (access(fake_path("out"), F_OK) == 0)
        verify(&(struct snapshot_ref){.folder = fake_path("out")});
    if (access(fake_path("repo"), F_OK) == 0)
        verify(&(struct snapshot_ref){.repo = fake_path("repo")});
}

/* ---- one try ---- */

static _Noreturn void run_child(const char *fault)
{
    struct error e = {0};
    int rc;

    fake->owner = getpid();
    rc = fault_arm(fault, &e);
    if (rc == OK)
        rc = story->run(&e);
    if (rc < 0 && !fault_has_struck())
        print_error("%s: %s\n", fault, e.text);
    _exit(fault_has_struck() ? STRUCK : rc < 0);
}

/* False: the point was not passed so often. */
static bool try(const char *point, unsigned n, const char *action)
{
    char fault[100];
    int status;
    pid_t pid;

    fake_setup();
    story->prepare();
    snprintf(fault, sizeof fault, "%s %u %s", point, n, action);
    pid = fork();
    if (pid == 0)
        run_child(fault);
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        assert_int_equal(WTERMSIG(status), SIGKILL);
    fake->owner = getpid();
    if (WIFEXITED(status) && WEXITSTATUS(status) != STRUCK) {
        assert_int_equal(WEXITSTATUS(status), 0);
        fake_teardown();
        return false;
    }
    tried++;
    print_message("%s\n", fault);
    settle();
    assert_as_promised();
    fake_teardown();
    return true;
}

static void try_all(void *arg, const char *point, unsigned passed)
{
    (void)arg, (void)passed;
    for (unsigned n = 1; try(point, n, "kill"); n += every())
        ;
    for (unsigned n = 1; try(point, n, "fail"); n += every())
        ;
}

static void everywhere(void **state)
{
    story = *state;
    tried = 0;
    fault_each(try_all, NULL);
    assert_in_range(tried, 10, 10000);
}

#define STORY(name, ...)                                                                           \
    {                                                                                              \
        name, everywhere, NULL, NULL, (void *)&(const struct story)                                \
        {                                                                                          \
            __VA_ARGS__                                                                            \
        }                                                                                          \
    }

/* As the program has it: a pipe whose reader is gone is an error, not the end. */
static int setup(void **state)
{
    struct error e;

    (void)state;
    return interrupt_catch(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        STORY("create", nothing, create_still),
        STORY("create, live", live, create_still),
        STORY("create --cold", nothing, create_cold),
        STORY("create --disks-only", nothing, create_disks),
        STORY("create, into a repository", init, create_in_repo),
        STORY("restore --replace, from a folder", prepare_folder, restore_folder),
        STORY("restore --replace, from a repository", prepare_repo, restore_repo),
    };

    return cmocka_run_group_tests(tests, setup, NULL);
}
