/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/interrupt.h"
#include "scene.h"

struct create_params params;

int scene_group_setup(void **state)
{
    struct error e;

    (void)state;
    return interrupt_catch(&e);
}

int scene_setup(void **state)
{
    (void)state;
    params = (struct create_params){.domain = "linux01", .deadline_ms = 60000};
    fake_setup();
    return 0;
}

int scene_teardown(void **state)
{
    (void)state;
    fake_teardown();
    return 0;
}

int create(enum create_method method, struct error *e)
{
    struct store_stats stats;
    struct manifest m;
    int rc;

    params.method = method;
    if (!params.to.repo)
        params.to.folder = fake_path("out");
    *e = (struct error){0};
    rc = engine_create(&fake->engine, &params, &m, &stats, e);
    if (rc == OK)
        manifest_release(&m);
    return rc;
}

void use_repository(void)
{
    struct error e;

    if (access(fake_path("repo"), F_OK) < 0)
        assert_int_equal(engine_init(fake_path("repo"), 0, &e), OK);
    params.to = (struct snapshot_target){.repo = fake_path("repo"), .name = "one"};
}

int restore(bool replace, struct error *e)
{
    return restore_by((struct restore_params){.replace = replace}, e);
}

int restore_by(struct restore_params from, struct error *e)
{
    struct manifest m;
    int rc;

    if (params.to.repo)
        from.from =
            (struct snapshot_ref){.repo = fake_path("repo"), .domain = "linux01", .name = "one"};
    else
        from.from = (struct snapshot_ref){.folder = fake_path("out")};
    *e = (struct error){0};
    rc = engine_restore(&fake->engine, &from, &m, e);
    if (rc == OK)
        manifest_release(&m);
    return rc;
}

size_t recover_by(const struct recover_params *how, struct error *e)
{
    struct recovery *list;
    size_t count;

    *e = (struct error){0};
    engine_recover(&fake->engine, how, &list, &count, e);
    recovery_release(list, count);
    return count;
}

size_t recover(struct error *e)
{
    return recover_by(&(struct recover_params){0}, e);
}

void assert_as_before(void)
{
    struct stat st;

    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(fake->held, 0);
    assert_string_equal(fake->snapshots, "");
    assert_int_equal(fake_file_count(fake_path("journal")), 0);
    assert_int_not_equal(stat(fake_path("out"), &st), 0);
}

void fill(const char *name, char with)
{
    AUTO_CLOSE int fd = open(fake_path(name), O_RDWR | O_CLOEXEC);
    char block[4096];

    memset(block, with, sizeof block);
    assert_int_equal(pwrite_full(fd, block, sizeof block, 8192), 0);
    assert_int_equal(pwrite_full(fd, block, sizeof block, 0), 0);
}

char byte_at(const char *name, uint64_t offset)
{
    AUTO_CLOSE int fd = open(fake_path(name), O_RDONLY | O_CLOEXEC);
    char byte;

    assert_true(fd >= 0);
    assert_int_equal(pread_full(fd, &byte, 1, offset), 0);
    return byte;
}
