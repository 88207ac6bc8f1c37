/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * xl's monitors are told whatever has become of their program's file, their log's name, or the
 * domain's name. The monitor here is a program called xl that sleeps, with a log that is like xl's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "domain/xen_monitor.h"

#define DOMID 7

struct monitor {
    char dir[32], xl[64], log[64];
    pid_t pid;
};

static void copy_xl(const char *to)
{
    char command[200];

    snprintf(command, sizeof command, "cp \"$(command -v sleep)\" %s.new && mv %s.new %s", to, to,
             to);
    assert_int_equal(system(command), 0);
}

/* The child tells by closing its end, which exec does, that it is what it is to be. */
static pid_t start(const struct monitor *m, const char *program)
{
    int log = open(m->log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644), fds[2];
    pid_t pid;
    char c;

    assert_true(log >= 0);
    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(log, STDOUT_FILENO);
        execl(program, "xl", "600", NULL);
        _exit(127);
    }
    close(fds[1]);
    assert_int_equal(read(fds[0], &c, 1), 0);
    close(fds[0]);
    close(log);
    return pid;
}

static void write_log(const struct monitor *m, const char *name, unsigned domid, long pid)
{
    FILE *log = fopen(m->log, "ae");

    assert_non_null(log);
    fprintf(log, "Waiting for domain %s (domid %u) to die [pid %ld]\n", name, domid, pid);
    assert_int_equal(fclose(log), 0);
}

static int setup(void **state)
{
    struct monitor *m = calloc(1, sizeof *m);

    assert_non_null(m);
    strcpy(m->dir, "/tmp/domsnap-monitor.XXXXXX");
    assert_non_null(mkdtemp(m->dir));
    snprintf(m->xl, sizeof m->xl, "%s/xl", m->dir);
    snprintf(m->log, sizeof m->log, "%s/xl-guest.log", m->dir);
    copy_xl(m->xl);
    m->pid = start(m, m->xl);
    *state = m;
    return 0;
}

static int teardown(void **state)
{
    struct monitor *m = *state;
    char command[64];

    kill(m->pid, SIGKILL);
    waitpid(m->pid, NULL, 0);
    snprintf(command, sizeof command, "rm -r %s", m->dir);
    assert_int_equal(system(command), 0);
    free(m);
    return 0;
}

/* Stopped, or about to be: the signal waits for it. */
static bool is_held(pid_t pid)
{
    char path[64], line[200], state = '?';
    unsigned long pending = 0;
    FILE *status;

    snprintf(path, sizeof path, "/proc/%d/status", pid);
    status = fopen(path, "re");
    assert_non_null(status);
    while (fgets(line, sizeof line, status)) {
        sscanf(line, "State: %c", &state);
        sscanf(line, "ShdPnd: %lx", &pending);
    }
    fclose(status);
    return state == 'T' || pending & 1UL << (SIGSTOP - 1);
}

static void assert_held(const struct monitor *m, const char *name)
{
    int status;

    assert_true(xen_monitor_lives(name, DOMID));
    xen_monitor_hold(name, DOMID);
    /* It stops some time after the signal, or, if it was not held, never. */
    alarm(60);
    assert_int_equal(waitpid(m->pid, &status, WUNTRACED), m->pid);
    alarm(0);
    assert_true(WIFSTOPPED(status));
    xen_monitor_release(name, DOMID);
    assert_int_equal(waitpid(m->pid, &status, WCONTINUED), m->pid);
    assert_true(WIFCONTINUED(status));
}

static void assert_not_held(const struct monitor *m, const char *name)
{
    assert_false(xen_monitor_lives(name, DOMID));
    xen_monitor_hold(name, DOMID);
    assert_false(is_held(m->pid));
}

static void as_xl_left_it(void **state)
{
    struct monitor *m = *state;

    write_log(m, "guest", DOMID, m->pid);
    assert_held(m, "guest");
}

static void xl_was_upgraded(void **state)
{
    struct monitor *m = *state;

    write_log(m, "guest", DOMID, m->pid);
    copy_xl(m->xl);
    assert_held(m, "guest");
    assert_int_equal(unlink(m->xl), 0);
    assert_held(m, "guest");
}

static void log_was_rotated(void **state)
{
    struct monitor *m = *state;
    char other[80];

    write_log(m, "guest", DOMID, m->pid);
    snprintf(other, sizeof other, "%s.1", m->log);
    assert_int_equal(rename(m->log, other), 0);
    assert_held(m, "guest");
    assert_int_equal(unlink(other), 0);
    assert_held(m, "guest");
}

static void log_was_emptied(void **state)
{
    struct monitor *m = *state;
    char other[80];

    write_log(m, "guest", DOMID, m->pid);
    assert_int_equal(truncate(m->log, 0), 0);
    assert_held(m, "guest");
    assert_not_held(m, "gues");
    assert_not_held(m, "guest.log");
    snprintf(other, sizeof other, "%s.1", m->log);
    assert_int_equal(rename(m->log, other), 0);
    assert_held(m, "guest");
}

static void guest_was_renamed(void **state)
{
    struct monitor *m = *state;

    write_log(m, "guest", DOMID, m->pid);
    assert_held(m, "renamed");
}

static void guest_was_rebooted(void **state)
{
    struct monitor *m = *state;

    write_log(m, "guest", 3, m->pid);
    assert_not_held(m, "guest");
    write_log(m, "guest", DOMID, m->pid);
    assert_held(m, "guest");
}

/* Another guest took the name, and its log goes on in the same file. */
static void another_has_its_name(void **state)
{
    struct monitor *m = *state;

    write_log(m, "guest", 8, m->pid);
    write_log(m, "guest", DOMID, m->pid + 1);
    assert_not_held(m, "guest");
}

static void another_program(void **state)
{
    struct monitor *m = *state;
    char other[80];
    pid_t pid;

    snprintf(other, sizeof other, "%s/notxl", m->dir);
    copy_xl(other);
    pid = start(m, other);
    write_log(m, "guest", DOMID, pid);
    xen_monitor_hold("guest", DOMID);
    assert_false(is_held(pid));
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    xen_monitor_release("guest", DOMID);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_xl_left_it, setup, teardown),
        cmocka_unit_test_setup_teardown(xl_was_upgraded, setup, teardown),
        cmocka_unit_test_setup_teardown(log_was_rotated, setup, teardown),
        cmocka_unit_test_setup_teardown(log_was_emptied, setup, teardown),
        cmocka_unit_test_setup_teardown(guest_was_renamed, setup, teardown),
        cmocka_unit_test_setup_teardown(guest_was_rebooted, setup, teardown),
        cmocka_unit_test_setup_teardown(another_has_its_name, setup, teardown),
        cmocka_unit_test_setup_teardown(another_program, setup, teardown),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
