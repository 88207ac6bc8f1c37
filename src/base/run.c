/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "base/run.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/time.h"

#define OUT_MAX_BYTES (16u << 20)
#define ERR_MAX_BYTES (64u << 10)

static const char *const clean_environment[] = {
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL=C",
    "HOME=/",
    /* We close all other descriptors; LVM need not complain about the ones it is given. */
    "LVM_SUPPRESS_FD_WARNINGS=1",
    NULL,
};

static int held_fd = -1;

void run_hold(int fd)
{
    held_fd = fd;
}

struct buffer {
    char *data; /* NUL-terminated once anything was appended */
    size_t len, max;
    bool overflowed;
};

/* Returns false at end of file (or on an error, which is the same to us). */
static bool buffer_fill(struct buffer *b, int fd)
{
    char chunk[16384];

    for (;;) {
        ssize_t n = read(fd, chunk, sizeof chunk);
        char *grown;

        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return errno == EAGAIN;
        if (n == 0)
            return false;
        if (b->len + n > b->max || !(grown = realloc(b->data, b->len + n + 1))) {
            b->overflowed = true;
            continue; /* keep reading, so that it can end */
        }
        b->data = grown;
        memcpy(b->data + b->len, chunk, n);
        b->len += n;
        b->data[b->len] = '\0';
    }
}

__attribute__((noreturn)) static void child(const struct run *run, int out, int err)
{
    int in = run->in_fd ? run->in_fd : open("/dev/null", O_RDONLY);
    sigset_t none;

    setpgid(0, 0);
    signal(SIGPIPE, SIG_DFL);
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    if (in < 0 || dup2(in, 0) < 0 || dup2(run->out_fd ? run->out_fd : out, 1) < 0 ||
        dup2(err, 2) < 0)
        _exit(127);
    if (run->holds && held_fd >= 0) {
        /* On itself dup2() would leave it to be closed by execve(). */
        if (held_fd == 3 ? fcntl(3, F_SETFD, 0) < 0 : dup2(held_fd, 3) < 0)
            _exit(127);
        closefrom(4);
    } else {
        closefrom(3);
    }
    execvpe(run->argv[0], (char *const *)run->argv, (char *const *)clean_environment);
    dprintf(2, "%s", strerror(errno));
    _exit(127);
}

/* Feed both buffers until the program has ended or the deadline has passed. What a daemon that it
 * started still holds open is not waited for. */
static int collect(int pidfd, int out_fd, int err_fd, struct buffer *out, struct buffer *err,
                   uint64_t deadline_ns, struct error *e)
{
    struct pollfd fds[] = {{out_fd, POLLIN, 0}, {err_fd, POLLIN, 0}, {pidfd, POLLIN, 0}};

    for (;;) {
        uint64_t now = time_monotonic_ns();

        if (now >= deadline_ns)
            return TIMED_OUT;
        if (poll(fds, 3, (int)((deadline_ns - now) / 1000000) + 1) < 0 && errno != EINTR)
            return error_errno(e, "poll");
        if (fds[0].revents && !buffer_fill(out, out_fd))
            fds[0].fd = -1;
        if (fds[1].revents && !buffer_fill(err, err_fd))
            fds[1].fd = -1;
        if (fds[2].revents)
            break;
    }
    buffer_fill(out, out_fd);
    buffer_fill(err, err_fd);
    return OK;
}

/* The program's own words for a message: its last lines, on one line, bounded. */
static void error_text_of(char *text)
{
    enum { KEEP = 600 };
    size_t len = text ? strlen(text) : 0;

    while (len && (text[len - 1] == '\n' || text[len - 1] == ' '))
        text[--len] = '\0';
    if (len > KEEP)
        memmove(text, text + len - KEEP, KEEP + 1);
    for (char *p = text; p && *p; p++)
        if ((unsigned char)*p < ' ')
            *p = p[1] == ' ' || p == text ? ' ' : '|';
}

static int judge(const struct run *run, int wait_status, struct buffer *out, struct buffer *err,
                 struct error *e)
{
    const char *name = run->argv[0], *said;

    error_text_of(err->data);
    said = err->data && *err->data ? err->data : "it said nothing";
    if (WIFSIGNALED(wait_status))
        return error_set(e, FAILED, "%s: killed by signal %s: %s", name,
                         sigabbrev_np(WTERMSIG(wait_status)), said);
    if (WEXITSTATUS(wait_status) != 0)
        return error_set(e, FAILED, "%s: exit %d: %s", name, WEXITSTATUS(wait_status), said);
    if (out->overflowed)
        return error_set(e, FAILED, "%s: printed more than %u MiB", name, OUT_MAX_BYTES >> 20);
    return OK;
}

static void log_command(const struct run *run)
{
    char line[1024] = "";
    size_t len = 0;

    for (const char *const *arg = run->argv; *arg && len < sizeof line; arg++)
        len += snprintf(line + len, sizeof line - len, " %s", *arg);
    log_debug("run:%s", line);
}

int run_program(const struct run *run, struct error *e)
{
    uint64_t deadline_ns = time_monotonic_ns() + run->timeout_s * UINT64_C(1000000000);
    struct buffer out = {.max = OUT_MAX_BYTES}, err = {.max = ERR_MAX_BYTES};
    AUTO_FREE char *err_text = NULL;
    int out_pipe[2], err_pipe[2], rc, wait_status;
    pid_t pid;

    log_command(run);
    if (pipe2(out_pipe, O_CLOEXEC) < 0)
        return error_errno(e, "%s: pipe", run->argv[0]);
    if (pipe2(err_pipe, O_CLOEXEC) < 0) {
        rc = error_errno(e, "%s: pipe", run->argv[0]);
        close(out_pipe[0]);
        close(out_pipe[1]);
        return rc;
    }
    pid = fork();
    if (pid == 0)
        child(run, out_pipe[1], err_pipe[1]);
    close(out_pipe[1]);
    close(err_pipe[1]);
    if (pid < 0) {
        rc = error_errno(e, "%s: fork", run->argv[0]);
    } else {
        AUTO_CLOSE int pidfd = (int)syscall(SYS_pidfd_open, pid, 0);

        fcntl(out_pipe[0], F_SETFL, O_NONBLOCK);
        fcntl(err_pipe[0], F_SETFL, O_NONBLOCK);
        rc = pidfd < 0 ? error_errno(e, "%s: pidfd_open", run->argv[0])
                       : collect(pidfd, out_pipe[0], err_pipe[0], &out, &err, deadline_ns, e);
        if (rc != OK)
            kill(-pid, SIGKILL);
        while (waitpid(pid, &wait_status, 0) < 0 && errno == EINTR)
            ;
        err_text = err.data;
        if (rc == TIMED_OUT)
            error_set(e, rc, "%s: killed after its deadline of %u s", run->argv[0], run->timeout_s);
        else if (rc == OK)
            rc = judge(run, wait_status, &out, &err, e);
    }
    close(out_pipe[0]);
    close(err_pipe[0]);
    if (rc == OK && run->out && (out.data || (out.data = strdup(""))))
        *run->out = out.data;
    else
        free(out.data);
    return rc;
}
