/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stories of restore, and of import, with fakes. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/log.h"
#include "engine/journal.h"
#include "domain/savefile.h"
#include "engine/eject.h"
#include "scene.h"

static void flip_byte(const char *name, uint64_t offset)
{
    char byte = byte_at(name, offset) ^ 1;
    AUTO_CLOSE int fd = open(fake_path(name), O_RDWR | O_CLOEXEC);

    assert_int_equal(pwrite_full(fd, &byte, 1, offset), 0);
}

static void restore_brings_all_back(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fill("a.img", 'x');
    assert_int_equal(restore(false, &e), BUSY);
    assert_int_equal(byte_at("a.img", 0), 'x');
    assert_int_equal(restore(true, &e), OK);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(byte_at("a.img", 0), 'a');
    assert_int_equal(byte_at("a.img", 8192), 0);
    assert_int_equal(fake_file_count(fake_path("journal")), 0);
}

static void damage_is_found_before_anything_is_touched(void **state)
{
    static const struct {
        const char *file;
        uint64_t at;
    } damages[] = {
        {"out/linux01.sav", 2999999}, {"out/linux01.sav", 3},     {"out/linux01.xvda.img", 70000},
        {"out/linux01.xvdb.img", 0},  {"out/manifest.json", 150},
    };
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fill("a.img", 'x');
    for (size_t i = 0; i < sizeof damages / sizeof *damages; i++) {
        flip_byte(damages[i].file, damages[i].at);
        assert_int_equal(restore(true, &e), DAMAGED);
        flip_byte(damages[i].file, damages[i].at);
        assert_non_null(strstr(e.text, strrchr(damages[i].file, '/') + 1));
    }
    assert_null(strstr(fake->trace, "destroy"));
    assert_int_equal(byte_at("a.img", 0), 'x');
    assert_int_equal(restore(true, &e), OK);
}

static void a_volume_of_another_size_is_refused(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_int_equal(truncate(fake_path("b.img"), 400 << 10), 0);
    assert_int_equal(restore(true, &e), UNSUPPORTED);
    assert_non_null(strstr(e.text, "xvdb"));
    assert_null(strstr(fake->trace, "destroy"));
}

static void another_domains_disk_is_left_alone(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fill("a.img", 'x');
    fake->fail_at = "check_unused:b.img";
    assert_int_not_equal(restore(true, &e), OK);
    assert_null(strstr(fake->trace, "destroy"));
    assert_int_equal(byte_at("a.img", 0), 'x');
    assert_int_equal(fake_file_count(fake_path("journal")), 0);
}

static void a_restore_cut_short_is_finished_by_recover(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fill("a.img", 'x');
    fake->fail_at = "restore:linux01";
    assert_int_equal(restore(true, &e), NEEDS_RECOVER);
    assert_int_equal(fake->state, DOMAIN_GONE);
    fake->fail_at = NULL;
    assert_int_equal(recover(&e), 1);
    assert_int_equal(e.status, OK);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(byte_at("a.img", 0), 'a');
    assert_int_equal(recover(&e), 0);
}

static void a_guest_that_cannot_have_its_ram_back_boots(void **state)
{
    struct recover_params how = {"linux01", RECOVER_BOOT};
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fill("a.img", 'x');
    fake->fail_at = "restore:linux01";
    assert_int_equal(restore(true, &e), NEEDS_RECOVER);
    assert_non_null(strstr(e.text, "recover --boot"));
    assert_int_equal(recover(&e), 1);
    assert_int_equal(e.status, NEEDS_RECOVER);
    assert_int_equal(recover_by(&how, &e), 1);
    assert_int_equal(e.status, OK);
    assert_non_null(strstr(fake->trace, "boot:linux01"));
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(byte_at("a.img", 0), 'a');
    assert_int_equal(recover_by(&how, &e), 0);
    assert_int_equal(e.status, NOT_FOUND);
}

static char told[2000];

/* In time to stop it. */
static void keep_notes(enum log_level level, const char *line)
{
    if (level != LOG_LEVEL_NOTE)
        return;
    strncat(told, line, sizeof told - strlen(told) - 1);
    assert_null(strstr(fake->trace, "destroy"));
}

static void what_a_boot_does_not_bring_back_is_told(void **state)
{
    static const char ram[] = "what it had in memory", setting[] = "express: b_info.odd";
    struct recover_params how = {"linux01", RECOVER_BOOT};
    struct error e;

    (void)state;
    fake->odd_setting = "value";
    use_repository();
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    log_set_sink(keep_notes);
    told[0] = '\0';
    assert_int_equal(restore_by((struct restore_params){.replace = true, .boot = true}, &e), OK);
    assert_non_null(strstr(told, ram));
    assert_non_null(strstr(told, setting));
    fake->trace[0] = told[0] = '\0';
    fake->fail_at = "restore:linux01";
    assert_int_equal(restore(true, &e), NEEDS_RECOVER);
    assert_null(strstr(told, ram));
    assert_null(strstr(told, setting));
    fake->trace[0] = '\0';
    assert_int_equal(recover_by(&how, &e), 1);
    log_set_sink(NULL);
    assert_int_equal(e.status, OK);
    assert_non_null(strstr(told, ram));
    assert_non_null(strstr(told, setting));
}

/* It is found out before anything is touched that the guest could not be started. */
static void a_guest_that_could_not_start_is_left_alone(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fill("a.img", 'x');
    fake->fail_at = "check_startable";
    assert_int_equal(restore(true, &e), FAILED);
    assert_null(strstr(fake->trace, "destroy"));
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(byte_at("a.img", 0), 'x');
    assert_int_equal(fake_file_count(fake_path("journal")), 0);
    fake->fail_at = NULL;
    assert_int_equal(restore(true, &e), OK);
}

static void drives_whose_image_is_gone_are_left_empty(void **state)
{
    AUTO_JSON json_t *config =
        json_pack("{s:[{s:s, s:s, s:i}, {s:s, s:s, s:i}, {s:s, s:s, s:i}]}", "disks", "vdev", "hdc",
                  "pdev_path", "/nowhere/gone.iso", "is_cdrom", 1, "vdev", "hdd", "pdev_path", "/",
                  "is_cdrom", 1, "vdev", "xvda", "pdev_path", "/nowhere/gone.img", "is_cdrom", 0);
    static const char *const paths[] = {"", "/", "/nowhere/gone.img"};
    AUTO_JSON json_t *changed = NULL;
    char rest[4] = "";
    int from[2], to[2];
    struct error e;

    (void)state;
    assert_int_equal(pipe(from), 0);
    assert_int_equal(pipe(to), 0);
    assert_int_equal(savefile_write_head(from[1], config, &e), OK);
    assert_int_equal(write(from[1], "RAM", 3), 3);
    close(from[1]);
    assert_int_equal(eject_from_save(from[0], to[1], &e), OK);
    close(to[1]);
    assert_int_equal(savefile_read_head(to[0], &changed, &e), OK);
    for (size_t i = 0; i < 3; i++) {
        const json_t *disk = json_array_get(json_object_get(changed, "disks"), i);

        assert_string_equal(json_string_value(json_object_get(disk, "pdev_path")), paths[i]);
    }
    assert_int_equal(read(to[0], rest, 3), 3);
    assert_string_equal(rest, "RAM");
    close(from[0]);
    close(to[0]);
}

static void a_restore_can_be_abandoned(void **state)
{
    static const char *const fails[] = {"restore:linux01", "destroy"};
    struct recover_params how = {"linux01", RECOVER_ABANDON};
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    for (size_t i = 0; i < 2; i++) {
        fake->state = DOMAIN_RUNNING;
        fake->fail_at = fails[i];
        assert_int_equal(restore(true, &e), NEEDS_RECOVER);
        assert_int_equal(recover_by(&how, &e), 1);
        assert_int_equal(e.status, OK);
        assert_int_equal(access(fake_path("a.img"), F_OK), 0);
        assert_int_equal(access(fake_path("b.img"), F_OK), 0);
        assert_int_equal(fake_file_count(fake_path("journal")), 0);
    }
}

/* Nobody can start a guest from disks that are not whole: they are not found under their names. */
static void disks_that_are_not_whole_have_other_names(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fill("a.img", 'x');
    fake->fail_at = "destroy";
    assert_int_equal(restore(true, &e), NEEDS_RECOVER);
    assert_int_equal(access(fake_path("a.img"), F_OK), -1);
    assert_int_equal(access(fake_path("b.img"), F_OK), -1);
    assert_int_equal(recover(&e), 1);
    assert_int_equal(e.status, NEEDS_RECOVER);
    assert_int_equal(access(fake_path("a.img"), F_OK), -1);
    fake->fail_at = NULL;
    assert_int_equal(recover(&e), 1);
    assert_int_equal(e.status, OK);
    assert_int_equal(byte_at("a.img", 0), 'a');
    assert_int_equal(access(fake_path("a.img.aside"), F_OK), -1);
    assert_int_equal(access(fake_path("b.img.aside"), F_OK), -1);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
}

static void a_volume_that_cannot_be_renamed_leaves_all_as_it_was(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fill("a.img", 'x');
    fake->fail_at = "rename:b.img.aside";
    assert_int_equal(restore(true, &e), FAILED);
    assert_null(strstr(fake->trace, "destroy"));
    assert_int_equal(byte_at("a.img", 0), 'x');
    assert_int_equal(access(fake_path("b.img"), F_OK), 0);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(fake_file_count(fake_path("journal")), 0);
}

/* Where the toolstack needs its name to let go of it. */
static void a_volume_that_must_not_be_renamed_in_use_is_renamed_after(void **state)
{
    const char *destroyed, *renamed;
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fill("a.img", 'x');
    fake_volumes.rename_in_use = false;
    assert_int_equal(restore(true, &e), OK);
    fake_volumes.rename_in_use = true;
    destroyed = strstr(fake->trace, "destroy"), renamed = strstr(fake->trace, "rename:a.img.aside");
    assert_non_null(destroyed);
    assert_non_null(renamed);
    assert_true(destroyed < renamed);
    assert_int_equal(byte_at("a.img", 0), 'a');
    assert_int_equal(access(fake_path("a.img.aside"), F_OK), -1);
}

/* The run died after it had started the guest, which has written since. */
static void a_guest_that_came_to_life_is_not_taken_back(void **state)
{
    static const struct {
        enum phase phase;
        enum domain_state state;
        bool again;
        enum domain_state then;
    } left[] = {
        {PHASE_STARTING, DOMAIN_RUNNING, false, DOMAIN_RUNNING},
        {PHASE_STARTING, DOMAIN_CRASHED, false, DOMAIN_CRASHED},
        {PHASE_STARTING, DOMAIN_PAUSED, true, DOMAIN_RUNNING},
        {PHASE_STARTING, DOMAIN_SHUTTING_DOWN, true, DOMAIN_RUNNING},
        {PHASE_STARTING, DOMAIN_GONE, true, DOMAIN_RUNNING},
        {PHASE_STARTED, DOMAIN_PAUSED, false, DOMAIN_RUNNING},
        {PHASE_STARTED, DOMAIN_RUNNING, false, DOMAIN_RUNNING},
        {PHASE_STARTED, DOMAIN_SHUTTING_DOWN, false, DOMAIN_SHUTTING_DOWN},
        {PHASE_STARTED, DOMAIN_GONE, false, DOMAIN_GONE},
        {PHASE_WRITING, DOMAIN_RUNNING, true, DOMAIN_RUNNING},
    };
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    for (size_t i = 0; i < sizeof left / sizeof *left; i++) {
        AUTO_JSON json_t *entry = json_pack("{s:{s:s, s:s}, s:s}", "domain", "name", "linux01",
                                            "uuid", FAKE_UUID, "folder", fake_path("out"));
        struct journal j = JOURNAL_NONE;

        assert_int_equal(journal_open(&j, &fake->engine, "linux01", OPERATION_NONE, &e), OK);
        assert_int_equal(journal_write(&j, OPERATION_RESTORE, left[i].phase, entry, &e), OK);
        journal_release(&j);
        fake->state = left[i].state;
        fill("a.img", 'x');
        assert_int_equal(recover(&e), 1);
        assert_int_equal(e.status, OK);
        assert_int_equal(byte_at("a.img", 0), left[i].again ? 'a' : 'x');
        assert_int_equal(fake->state, left[i].then);
        assert_int_equal(recover(&e), 0);
    }
}

/* Until its disks are known to be its own it does not run. */
static void a_guest_is_let_run_last(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fake->fail_at = "unpause";
    assert_int_equal(restore(true, &e), NEEDS_RECOVER);
    assert_int_equal(fake->state, DOMAIN_PAUSED);
    fill("a.img", 'x');
    fake->fail_at = NULL;
    assert_int_equal(recover(&e), 1);
    assert_int_equal(e.status, OK);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(byte_at("a.img", 0), 'x');
}

static void import_makes_a_manifest_that_restore_takes(void **state)
{
    const struct import_disk disk = {"xvdb", "by-hand.img"};
    AUTO_FREE char *folder = strdup(fake_path("out"));
    struct import_params im = {folder, NULL, NULL, 0};
    struct manifest m;
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_COLD, &e), OK);
    assert_int_equal(unlink(fake_path("out/manifest.json")), 0);
    assert_int_equal(rename(fake_path("out/linux01.xvdb.img"), fake_path("out/by-hand.img")), 0);
    assert_int_equal(engine_import(&fake->engine, &im, &m, &e), NOT_FOUND);
    im.disks = &disk;
    im.disk_count = 1;
    assert_int_equal(engine_import(&fake->engine, &im, &m, &e), OK);
    manifest_release(&m);
    assert_int_equal(engine_import(&fake->engine, &im, &m, &e), BUSY);
    fill("b.img", 'x');
    assert_int_equal(restore(true, &e), OK);
    assert_int_equal(byte_at("b.img", 0), 'b');
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(restore_brings_all_back),
        SCENE(damage_is_found_before_anything_is_touched),
        SCENE(a_volume_of_another_size_is_refused),
        SCENE(another_domains_disk_is_left_alone),
        SCENE(disks_that_are_not_whole_have_other_names),
        SCENE(a_volume_that_cannot_be_renamed_leaves_all_as_it_was),
        SCENE(a_volume_that_must_not_be_renamed_in_use_is_renamed_after),
        SCENE(a_restore_cut_short_is_finished_by_recover),
        SCENE(a_guest_that_cannot_have_its_ram_back_boots),
        SCENE(what_a_boot_does_not_bring_back_is_told),
        SCENE(a_guest_that_could_not_start_is_left_alone),
        SCENE(drives_whose_image_is_gone_are_left_empty),
        SCENE(a_restore_can_be_abandoned),
        SCENE(a_guest_that_came_to_life_is_not_taken_back),
        SCENE(a_guest_is_let_run_last),
        SCENE(import_makes_a_manifest_that_restore_takes),
    };

    return cmocka_run_group_tests_name("restore", tests, scene_group_setup, NULL);
}
