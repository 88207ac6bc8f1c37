/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* A domain's lock: who has it is named, and what a dead run had begun is waited for. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/file.h"
#include "base/run.h"
#include "engine/lock.h"

static char lock_dir[] = "/tmp/domsnap-test.XXXXXX";

static int make_dir(void **state)
{
    (void)state;
    return mkdtemp(lock_dir) ? 0 : -1;
}

static int remove_dir(void **state)
{
    AUTO_FREE char *file = format_text("%s/linux01.lock", lock_dir);

    (void)state;
    return unlink(file) < 0 || rmdir(lock_dir) < 0 ? -1 : 0;
}

/* A run that is in the midst of a program, which ends with its standard input `in`. */
static pid_t start_run(int in, int out, bool holds)
{
    const char *const argv[] = {"cat", NULL};
    struct run run = {.argv = argv, .timeout_s = 600, .in_fd = in, .out_fd = out, .holds = holds};
    pid_t pid = fork();
    struct error e;
    int lock;

    if (pid != 0)
        return pid;
    if (lock_domain(&lock, lock_dir, "linux01", &e) < 0)
        _exit(1);
    run_hold(lock);
    _exit(run_program(&run, &e) == OK ? 0 : 1);
}

static bool is_free(void)
{
    AUTO_FREE char *file = format_text("%s/linux01.lock", lock_dir);
    AUTO_CLOSE int fd = open(file, O_RDWR | O_CLOEXEC);

    assert_true(fd >= 0);
    return flock(fd, LOCK_EX | LOCK_NB) == 0;
}

static void dies_while_its_program_runs(bool holds)
{
    AUTO_FREE char *name = NULL;
    int in[2], out[2], lock;
    struct error e;
    pid_t run;
    char byte;

    assert_int_equal(pipe2(in, O_CLOEXEC), 0);
    assert_int_equal(pipe2(out, O_CLOEXEC), 0);
    run = start_run(in[0], out[1], holds);
    assert_true(run > 0);
    close(in[0]);
    close(out[1]);
    assert_int_equal(write(in[1], "x", 1), 1);
    assert_int_equal(read(out[0], &byte, 1), 1);

    name = format_text("another domsnap (process %d) is at work on linux01", (int)run);
    assert_int_equal(lock_domain(&lock, lock_dir, "linux01", &e), BUSY);
    assert_non_null(strstr(e.text, name));

    kill(run, SIGKILL);
    assert_int_equal(waitpid(run, NULL, 0), run);
    assert_int_equal(is_free(), !holds);
    close(in[1]);
    assert_int_equal(lock_domain(&lock, lock_dir, "linux01", &e), OK);
    assert_int_equal(read(out[0], &byte, 1), 0); /* it has ended */
    assert_false(is_free());
    close(lock);
    close(out[0]);
}

static void what_a_dead_run_began_is_waited_for(void **state)
{
    (void)state;
    dies_while_its_program_runs(true);
}

static void what_does_not_hold_it_is_not(void **state)
{
    (void)state;
    dies_while_its_program_runs(false);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_a_dead_run_began_is_waited_for),
        cmocka_unit_test(what_does_not_hold_it_is_not),
    };

    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
