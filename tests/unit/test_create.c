/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The stories of create with fakes: what is called in which order, and what is left when any call
 * fails. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "engine/journal.h"
#include "engine/precopy.h"
#include "scene.h"

static void ram_is_saved_live_where_possible(void **state)
{
    struct error e;

    (void)state;
    fake->live = 1;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_non_null(
        strstr(fake->trace, "prepare:b.img can_suspend lock:files suspend_save:live hold:a.img"));
    assert_int_equal(fake->state, DOMAIN_RUNNING);
}

static void a_guest_that_others_suspend_is_theirs_to_resume(void **state)
{
    struct error e;

    (void)state;
    fake->live = 1;
    fake->others_suspend = 1;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), FAILED);
    assert_int_equal(fake->state, DOMAIN_SUSPENDED);
    assert_non_null(strstr(fake->trace, "release"));
    fake->state = DOMAIN_RUNNING;
    assert_as_before();
}

static void a_guest_that_others_resume_has_no_snapshot(void **state)
{
    struct error e;

    (void)state;
    fake->others_resume = 1;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), BUSY);
    assert_as_before();
}

/* A command of LVM's in the midst of it: the second try is good; a third there is not. */
static void what_was_disturbed_is_tried_again_once(void **state)
{
    struct error e;

    (void)state;
    fake->others_disturb = 100;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), AGAIN);
    assert_as_before();
    fake->planned = 0;
    fake->others_disturb = 1;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_string_equal(fake->snapshots, "");
    assert_int_equal(fake_file_count(fake_path("journal")), 0);
}

/* The guest was asked, and does not stop while domsnap waits for it, but later on. */
static void a_guest_that_stops_late_is_resumed(void **state)
{
    struct error e;

    (void)state;
    fake->stops_late = 1;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), FAILED);
    assert_as_before();
    /* Unless it is for somebody else that it has stopped. */
    fake->others_save = 1;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), FAILED);
    assert_int_equal(fake->state, DOMAIN_SUSPENDED);
    fake->state = DOMAIN_RUNNING;
    assert_as_before();
}

/* To its RAM a disk is known of which there is no image. */
static void a_guest_whose_disks_were_exchanged_has_no_snapshot(void **state)
{
    struct error e;

    (void)state;
    fake->others_attach = 1;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), BUSY);
    assert_non_null(strstr(e.text, "another disk"));
    assert_as_before();
}

static void past_its_deadline_the_guest_goes_on(void **state)
{
    struct error e;

    (void)state;
    params.deadline_ms = 200;
    fake->commit_hangs = 1;
    for (int i = 0; i < 2; i++) {
        params.disks_only = i;
        assert_int_equal(create(CREATE_SNAPSHOT, &e), TIMED_OUT);
        assert_non_null(strstr(e.text, "--deadline"));
        assert_as_before();
    }
}

static void disks_only_does_not_stop_the_guest(void **state)
{
    struct error e;

    (void)state;
    params.disks_only = true;
    fake->suspendable = 0;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_null(strstr(fake->trace, "suspend"));
    assert_null(strstr(fake->trace, "resume"));
    assert_non_null(strstr(fake->trace, "hold:a.img hold:b.img commit:a.img commit:b.img"));
    assert_int_equal(fake->held, 0);
    assert_int_equal(fake_file_count(fake_path("out")), 4);
    fill("a.img", 'x');
    fake->state = DOMAIN_GONE;
    assert_int_equal(restore(false, &e), OK);
    assert_non_null(strstr(fake->trace, "boot:linux01"));
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(byte_at("a.img", 0), 'a');
}

static void disks_only_and_cold_stops_it(void **state)
{
    struct error e;

    (void)state;
    params.disks_only = true;
    assert_int_equal(create(CREATE_COLD, &e), OK);
    assert_non_null(strstr(fake->trace, "suspend_save:nothing state resume"));
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_int_equal(fake_file_count(fake_path("out")), 4);
}

/* Kill a create once it has stopped the guest, without a deadline that would let it go. */
static void kill_in_the_pause(void)
{
    struct error e;
    eventfd_t n;
    pid_t pid;

    fake->commit_hangs = 1;
    pid = fork();
    if (pid == 0) {
        params.deadline_ms = 0;
        create(CREATE_SNAPSHOT, &e);
        _exit(1);
    }
    assert_int_equal(eventfd_read(fake->hanging, &n), 0);
    assert_int_equal(fake->state, DOMAIN_SUSPENDED);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
}

static void a_kill_while_the_guest_is_paused_resumes_it(void **state)
{
    struct error e;
    eventfd_t n;

    (void)state;
    kill_in_the_pause();
    assert_int_equal(eventfd_read(fake->resumed, &n), 0);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    fake_wait_guardian();
    recover(&e);
    assert_as_before();
}

static void what_the_guardian_can_not_resume_recover_does(void **state)
{
    struct error e;

    (void)state;
    fake->resume_breaks = 1;
    kill_in_the_pause();
    fake_wait_guardian();
    assert_int_equal(fake->state, DOMAIN_SUSPENDED);
    fake->resume_breaks = 0;
    recover(&e);
    assert_as_before();
}

static void a_budget_stops_before_the_guest_stops(void **state)
{
    struct error e;

    (void)state;
    fake->live = 1;
    fake->ram_bytes = 8 << 20;
    /* Each round as long as the one before: the guest changes RAM as fast as it is written. */
    fake->progress = (struct save_progress){.round = 1, .total = 1 << 30, .last = true};
    params.max_pause_ms = 1;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), TIMED_OUT);
    assert_non_null(strstr(e.text, "would be paused"));
    assert_as_before();
    params.go_on = true;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
}

/* What changes RAM faster than it is written, or can't be followed, is paused for all of it; not
 * where that may not be. */
static void what_cannot_be_saved_live_is_paused(void **state)
{
    struct error e;

    (void)state;
    fake->live = 1;
    fake->ram_bytes = 8 << 20;
    fake->progress = (struct save_progress){.round = 1, .total = 1 << 30};
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_null(strstr(fake->trace, "suspend_save:live"));
    assert_non_null(strstr(fake->trace, "suspend_save "));
    fake->progress = (struct save_progress){0};
    fake->live_breaks = 1;
    use_repository();
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    params.max_pause_ms = 10000;
    params.to.name = "two";
    assert_int_equal(create(CREATE_SNAPSHOT, &e), FAILED);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
}

static void a_guest_whose_memory_changes_is_saved_anew(void **state)
{
    struct error e;

    (void)state;
    fake->live = 1;
    fake->ram_bytes = 8 << 20;
    fake->progress = (struct save_progress){.round = 1, .total = 1, .resized = true};
    assert_int_equal(create(CREATE_SNAPSHOT, &e), AGAIN);
    assert_non_null(strstr(e.text, "memory was changed"));
    assert_as_before();
}

static void a_budget_is_kept_while_the_guest_is_paused(void **state)
{
    struct error e;

    (void)state;
    fake->ram_bytes = 8 << 20;
    fake->progress = (struct save_progress){.done = 1 << 20, .total = 1 << 24, .paused = true};
    params.max_pause_ms = 10;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), TIMED_OUT);
    assert_non_null(strstr(e.text, "is paused"));
    assert_as_before();
}

static void past_its_budget_the_guest_goes_on(void **state)
{
    struct error e;

    (void)state;
    fake->commit_hangs = 1;
    params.max_pause_ms = 10;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), TIMED_OUT);
    assert_non_null(strstr(e.text, "--max-pause"));
    assert_as_before();
}

/* Nor are its disks copied any further; and who stops it from then on is somebody else. */
static void past_its_budget_a_cold_copy_ends(void **state)
{
    struct error e;

    (void)state;
    params.max_pause_ms = 10;
    params.to.bytes_per_second = 1000; /* minutes */
    assert_int_equal(create(CREATE_COLD, &e), TIMED_OUT);
    assert_non_null(strstr(e.text, "--max-pause"));
    assert_null(strstr(fake->trace, "resume"));
    assert_as_before();
}

static void a_pause_is_told_from_the_rounds_before(void **state)
{
    struct precopy p = {.ram_pages = 65536};
    const uint64_t second = 1000000000;

    (void)state;
    /* 65536 pages in a second, 16384 of them changed meanwhile; then a quarter of the time and of
     * the changes. */
    precopy_note(&p, &(struct save_progress){.total = 1 << 20}, 7 * second);
    assert_int_equal(precopy_pause_ns(&p, 7 * second), 0);
    precopy_note(&p, &(struct save_progress){.round = 1, .total = 16384}, 8 * second);
    assert_in_range(precopy_pause_ns(&p, 8 * second), second / 16 - 1, second / 16 + 1);
    precopy_note(&p, &(struct save_progress){.round = 1, .done = 16384, .total = 16384},
                 8 * second + second / 4);
    precopy_note(&p, &(struct save_progress){.round = 2, .total = 4096}, 8 * second + second / 4);
    assert_in_range(precopy_pause_ns(&p, 9 * second), second / 64 - 1, second / 64 + 1);

    assert_in_range(precopy_predict_ns(65536, 65536e-9, 16384e-9), second / 1024 - 1,
                    second / 1024 + 1);
    assert_in_range(precopy_predict_ns(65536, 65536e-9, 65536e-9), second - 1, second + 1);
    assert_int_equal(precopy_predict_ns(65536, 65536e-9, 0), 0);
}

static void create_calls_in_order(void **state)
{
    struct error e;
    char *at;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_string_equal(fake->snapshots, "");
    assert_int_equal(fake_file_count(fake_path("journal")), 0);
    assert_int_equal(fake_file_count(fake_path("out")), 5);
    /* Nothing between suspend and resume but the instant. */
    at = strstr(fake->trace,
                "prepare:a.img prepare:b.img can_suspend lock:files suspend_save hold:a.img "
                "hold:b.img commit:a.img commit:b.img state resume ");
    assert_non_null(at);
    assert_non_null(strstr(at, "open_image:a.img"));
    assert_non_null(strstr(at, "discard:b.img"));
}

static void cold_copies_before_resume(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_COLD, &e), OK);
    assert_null(strstr(fake->trace, "prepare:"));
    assert_null(strstr(fake->trace, "commit:"));
    assert_non_null(strstr(fake->trace, "suspend_save state resume"));
    assert_int_equal(byte_at("out/linux01.xvda.img", 0), 'a');
    assert_int_equal(byte_at("out/linux01.xvdb.img", 300 << 10), 'b');
    assert_int_equal(byte_at("out/linux01.xvdb.img", 100 << 10), 0);
}

/* Every call that create makes, made to fail once. */
static void any_failure_is_undone(void **state)
{
    static const char *const calls[] = {
        "open",          "describe",         "can_suspend",
        "open:a.img",    "open:b.img",       "can_snapshot:b.img",
        "plan",          "prepare:a.img",    "prepare:b.img",
        "suspend_save",  "lock:files",       "hold:a.img",
        "hold:b.img",    "commit:a.img",     "commit:b.img",
        "resume",        "open_image:b.img", "watch:b.img",
        "discard:a.img", "discard:b.img",
    };
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof calls / sizeof *calls; i++) {
        fake->fail_at = calls[i];
        fake->fail_times = 1;
        fake->trace[0] = '\0';
        engine_disconnect(&fake->engine);
        if (params.to.repo)
            use_repository();
        if (create(CREATE_SNAPSHOT, &e) == OK)
            fail_msg("%s failed and create did not", calls[i]);
        if (!strstr(e.text, calls[i]))
            fail_msg("%s failed and the message is: %s", calls[i], e.text);
        assert_null(fake->fail_at);
        assert_as_before();
    }
}

/* But for what is removed by the next who frees space. */
static void any_failure_leaves_a_repository_as_it_was(void **state)
{
    struct gc_stats stats;
    struct error e;

    use_repository();
    any_failure_is_undone(state);
    assert_int_equal(engine_gc(&fake->engine, fake_path("repo"), &stats, &e), OK);
    assert_int_equal(fake_file_count(fake_path("repo/packs")), 0);
    assert_int_equal(fake_file_count(fake_path("repo/snapshots")), 0);
}

static void must_be_good(void *arg, enum check_kind kind, const char *name, const struct error *why)
{
    (void)arg;
    if (kind != CHECKED_GOOD)
        fail_msg("%s: %s", name, why->text);
    assert_string_equal(name, "linux01@one");
}

static void a_repository_instead_of_a_folder(void **state)
{
    struct check_params check = {.what = {.domain = "linux01", .name = "one"}, .percent = 100};
    struct check_counts counts;
    struct error e;

    (void)state;
    use_repository();
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_as_before();
    use_repository();
    assert_int_equal(create(CREATE_SNAPSHOT, &e), BUSY);
    check.what.repo = fake_path("repo");
    assert_int_equal(engine_check(&fake->engine, &check, must_be_good, NULL, &counts, &e), OK);
    assert_int_equal(counts.snapshots, 1);
    /* And as a whole. */
    check.what.domain = check.what.name = NULL;
    check.what.repo = fake_path("repo");
    assert_int_equal(engine_check(&fake->engine, &check, must_be_good, NULL, &counts, &e), OK);
    assert_int_equal(counts.snapshots, 1);
    assert_int_equal(counts.bad_packs + counts.bad_records + counts.bad_snapshots, 0);
    fill("a.img", 'x');
    fake->state = DOMAIN_GONE;
    assert_int_equal(restore(false, &e), OK);
    assert_int_equal(byte_at("a.img", 0), 'a');
    assert_int_equal(byte_at("a.img", 8192), 0);
    assert_int_equal(byte_at("b.img", 300 << 10), 'b');
    assert_int_equal(fake->state, DOMAIN_RUNNING);
}

static void a_resume_that_fails_is_left_to_recover(void **state)
{
    struct error e;

    (void)state;
    fake->fail_at = "resume";
    assert_int_equal(create(CREATE_SNAPSHOT, &e), NEEDS_RECOVER);
    assert_int_equal(fake->state, DOMAIN_SUSPENDED);
    assert_string_equal(fake->snapshots, "");
    assert_int_equal(create(CREATE_SNAPSHOT, &e), NEEDS_RECOVER);
    fake->fail_at = NULL;
    assert_int_equal(recover(&e), 1);
    assert_int_equal(e.status, OK);
    assert_as_before();
    assert_int_equal(recover(&e), 0);
}

static void a_discard_that_fails_is_left_to_recover(void **state)
{
    struct error e;

    (void)state;
    fake->fail_at = "discard:b.img";
    assert_int_equal(create(CREATE_SNAPSHOT, &e), NEEDS_RECOVER);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    fake->fail_at = NULL;
    assert_int_equal(recover(&e), 1);
    assert_as_before();
}

/* What keeps an earlier run from being settled may be gone by the next night. */
static void assert_next_create_settles(const char *failure)
{
    struct error e;

    fake->fail_at = failure;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), NEEDS_RECOVER);
    assert_int_equal(create(CREATE_SNAPSHOT, &e), NEEDS_RECOVER);
    fake->fail_at = NULL;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_int_equal(fake->state, DOMAIN_RUNNING);
    assert_string_equal(fake->snapshots, "");
    assert_int_equal(recover(&e), 0);
}

static void a_resume_that_fails_is_settled_by_the_next_create(void **state)
{
    (void)state;
    assert_next_create_settles("resume");
}

static void a_discard_that_fails_is_settled_by_the_next_create(void **state)
{
    (void)state;
    assert_next_create_settles("discard:b.img");
}

static void a_run_that_died_is_undone(void **state)
{
    static const enum phase phases[] = {PHASE_PREPARED, PHASE_SAVING, PHASE_SUSPENDED, PHASE_LET_GO,
                                        PHASE_RUNNING};
    struct journal j = JOURNAL_NONE;
    struct error e;

    (void)state;
    for (size_t i = 0; i < sizeof phases / sizeof *phases; i++) {
        AUTO_JSON json_t *entry = json_pack(
            "{s:{s:s, s:s, s:i}, s:s, s:b, s:[s, s], s:[{s:s, s:s, s:s}]}", "domain", "name",
            "linux01", "uuid", "11111111-2222-3333-4444-555555555555", "domid", 7, "folder",
            fake_path("out"), "folder_made", 1, "files", "linux01.sav", "manifest.json", "volumes",
            "driver", "fake", "id", "dead", "volume", "a.img");
        bool suspended = phases[i] == PHASE_SUSPENDED;

        assert_int_equal(journal_open(&j, &fake->engine, "linux01", OPERATION_NONE, &e), OK);
        assert_int_equal(journal_write(&j, OPERATION_CREATE, phases[i], entry, &e), OK);
        journal_release(&j);
        strcpy(fake->snapshots, " other/a.img dead/a.img");
        fake->state = DOMAIN_SUSPENDED;
        assert_int_equal(mkdir(fake_path("out"), 0700), 0);
        close(open(fake_path("out/.linux01.sav.part"), O_CREAT | O_RDWR, 0600));
        assert_int_equal(recover(&e), 1);
        /* A guest that somebody else suspended is his. */
        assert_int_equal(fake->state, suspended ? DOMAIN_RUNNING : DOMAIN_SUSPENDED);
        assert_string_equal(fake->snapshots, " other/a.img");
        fake->state = DOMAIN_RUNNING;
        strcpy(fake->snapshots, "");
        assert_as_before();
    }
}

static void past_the_commit_point_it_is_published(void **state)
{
    AUTO_JSON json_t *entry = json_pack(
        "{s:{s:s, s:s, s:i}, s:s, s:b, s:[s, s], s:[]}", "domain", "name", "linux01", "uuid",
        "11111111-2222-3333-4444-555555555555", "domid", 7, "folder", fake_path("out"),
        "folder_made", 1, "files", "linux01.sav", "manifest.json", "volumes");
    struct journal j = JOURNAL_NONE;
    struct error e;

    (void)state;
    assert_int_equal(mkdir(fake_path("out"), 0700), 0);
    assert_int_equal(journal_open(&j, &fake->engine, "linux01", OPERATION_NONE, &e), OK);
    assert_int_equal(journal_write(&j, OPERATION_CREATE, PHASE_PUBLISH, entry, &e), OK);
    journal_release(&j);
    /* The first was renamed before the crash. */
    close(open(fake_path("out/linux01.sav"), O_CREAT | O_RDWR, 0600));
    close(open(fake_path("out/.manifest.json.part"), O_CREAT | O_RDWR, 0600));
    assert_int_equal(recover(&e), 1);
    assert_int_equal(access(fake_path("out/manifest.json"), F_OK), 0);
    assert_int_equal(fake_file_count(fake_path("out")), 2);
}

static void nothing_is_overwritten(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(mkdir(fake_path("out"), 0700), 0);
    close(open(fake_path("out/linux01.xvdb.img"), O_CREAT | O_RDWR, 0600));
    assert_int_equal(create(CREATE_SNAPSHOT, &e), BUSY);
    assert_non_null(strstr(e.text, "linux01.xvdb.img exists"));
    assert_null(strstr(fake->trace, "prepare:"));
    assert_int_equal(fake_file_count(fake_path("out")), 1);
}

/* Until *go is closed, another process has a journal of the guest. */
static pid_t another_at_work(int *go)
{
    struct journal other = JOURNAL_NONE;
    struct error e;
    int ready[2], end[2];
    pid_t pid;
    char c;

    assert_int_equal(pipe(ready), 0);
    assert_int_equal(pipe(end), 0);
    pid = fork();
    if (pid == 0) {
        close(end[1]);
        if (journal_open(&other, &fake->engine, "linux01", OPERATION_NONE, &e) < 0)
            _exit(1);
        if (write(ready[1], "", 1) != 1)
            _exit(1);
        if (read(end[0], &c, 1) != 0)
            _exit(1);
        journal_release(&other);
        _exit(0);
    }
    close(ready[1]);
    close(end[0]);
    assert_int_equal(read(ready[0], &c, 1), 1);
    close(ready[0]);
    *go = end[1];
    return pid;
}

static void two_creates_of_one_domain(void **state)
{
    struct error e;
    int go, status;
    pid_t pid = another_at_work(&go);

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), BUSY);
    assert_non_null(strstr(e.text, "is at work on linux01"));
    close(go);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
    assert_as_before();
}

static char warned[2048];

static void keep_warnings(enum log_level level, const char *line)
{
    if (level == LOG_LEVEL_WARNING)
        strncat(warned, line, sizeof warned - strlen(warned) - 1);
}

/* Nobody would start it again when it reboots. */
static void a_guest_that_nobody_looks_after_is_told_of(void **state)
{
    struct error e;

    (void)state;
    warned[0] = '\0';
    log_set_sink(keep_warnings);
    params.disks_only = true;
    fake->unwatched = 1;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_string_equal(warned, "");
    use_repository();
    params.disks_only = false;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    log_set_sink(NULL);
    assert_non_null(strstr(warned, "linux01 has no process of xl's"));
}

/* Another may have the name that is in the configuration. */
static void a_disk_that_was_renamed_is_the_guests_all_the_same(void **state)
{
    struct error e;

    (void)state;
    assert_int_equal(rename(fake_path("a.img"), fake_path("c.img")), 0);
    fake->renamed = "c.img";
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    assert_int_equal(byte_at("out/linux01.xvda.img", 0), 'a');
    assert_non_null(strstr(fake->trace, "hold:c.img hold:b.img"));
}

static sem_t waits;

static void tell_who_waits(enum log_level level, const char *line)
{
    (void)level;
    if (strstr(line, "waiting for a turn"))
        sem_post(&waits);
}

struct turn_taker {
    atomic_bool has;
    int turn, rc;
    struct error e;
};

static void *take_turn(void *arg)
{
    struct turn_taker *t = arg;

    t->rc = engine_take_turn(&fake->engine, &t->turn, &t->e);
    t->has = true;
    return NULL;
}

static void snapshots_wait_for_their_turn(void **state)
{
    struct turn_taker first = {0}, second = {0}, third = {0};
    struct timespec deadline;
    pthread_t thread;

    (void)state;
    sem_init(&waits, 0, 0);
    log_set_sink(tell_who_waits);
    fake->engine.at_once = 2;
    take_turn(&first);
    take_turn(&second);
    assert_int_equal(first.rc, OK);
    assert_int_equal(second.rc, OK);
    pthread_create(&thread, NULL, take_turn, &third);
    clock_gettime(CLOCK_REALTIME, &deadline);
    deadline.tv_sec += 60;
    assert_int_equal(sem_timedwait(&waits, &deadline), 0);
    assert_false(third.has);
    close(first.turn);
    pthread_join(thread, NULL);
    log_set_sink(NULL);
    assert_int_equal(third.rc, OK);
    close(second.turn);
    close(third.turn);
    sem_destroy(&waits);
}

static void an_entry_that_cannot_be_read_is_named(void **state)
{
    struct error e;
    int fd;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    fd = open(fake_path("journal/linux01.json"), O_WRONLY | O_CREAT, 0600);
    assert_true(fd >= 0);
    close(fd);
    use_repository();
    assert_int_equal(create(CREATE_SNAPSHOT, &e), DAMAGED);
    assert_non_null(strstr(e.text, fake_path("journal/linux01.json")));
    assert_non_null(strstr(e.text, "remove that file"));
}

static void files_are_private(void **state)
{
    mode_t old = umask(0);
    struct stat st;
    struct error e;

    (void)state;
    assert_int_equal(create(CREATE_SNAPSHOT, &e), OK);
    umask(old);
    assert_int_equal(stat(fake_path("out"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    assert_int_equal(stat(fake_path("out/linux01.sav"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(fake_path("out/manifest.json"), &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        SCENE(ram_is_saved_live_where_possible),
        SCENE(a_guest_that_others_suspend_is_theirs_to_resume),
        SCENE(a_guest_that_others_resume_has_no_snapshot),
        SCENE(what_was_disturbed_is_tried_again_once),
        SCENE(a_guest_that_stops_late_is_resumed),
        SCENE(a_guest_whose_disks_were_exchanged_has_no_snapshot),
        SCENE(past_its_deadline_the_guest_goes_on),
        SCENE(disks_only_does_not_stop_the_guest),
        SCENE(disks_only_and_cold_stops_it),
        SCENE(a_kill_while_the_guest_is_paused_resumes_it),
        SCENE(what_the_guardian_can_not_resume_recover_does),
        SCENE(a_budget_stops_before_the_guest_stops),
        SCENE(what_cannot_be_saved_live_is_paused),
        SCENE(a_guest_whose_memory_changes_is_saved_anew),
        SCENE(a_budget_is_kept_while_the_guest_is_paused),
        SCENE(past_its_budget_the_guest_goes_on),
        SCENE(past_its_budget_a_cold_copy_ends),
        SCENE(a_pause_is_told_from_the_rounds_before),
        SCENE(create_calls_in_order),
        SCENE(cold_copies_before_resume),
        SCENE(any_failure_is_undone),
        SCENE(any_failure_leaves_a_repository_as_it_was),
        SCENE(a_repository_instead_of_a_folder),
        SCENE(a_resume_that_fails_is_left_to_recover),
        SCENE(a_discard_that_fails_is_left_to_recover),
        SCENE(a_resume_that_fails_is_settled_by_the_next_create),
        SCENE(a_discard_that_fails_is_settled_by_the_next_create),
        SCENE(a_run_that_died_is_undone),
        SCENE(past_the_commit_point_it_is_published),
        SCENE(nothing_is_overwritten),
        SCENE(two_creates_of_one_domain),
        SCENE(a_disk_that_was_renamed_is_the_guests_all_the_same),
        SCENE(a_guest_that_nobody_looks_after_is_told_of),
        SCENE(snapshots_wait_for_their_turn),
        SCENE(an_entry_that_cannot_be_read_is_named),
        SCENE(files_are_private),
    };

    return cmocka_run_group_tests_name("create", tests, scene_group_setup, NULL);
}
