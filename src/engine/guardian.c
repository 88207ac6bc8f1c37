/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "base/time.h"
#include "engine/settle.h"

enum { IDLE, ARMED, DISARMED, FIRED, DONE };

/* What the guardian says. */
enum { WATCHING, LET_GO, COULD_NOT };

/* Between the two processes. */
struct shared {
    atomic_int state;
    atomic_uint_least64_t stopped_ns; /* 0: not yet */
    atomic_uint_least64_t allowed_ns; /* from the later of these two; 0: for ever */
    atomic_uint_least64_t allowed_from_ns;
};

struct guardian {
    struct shared *shared;
    pid_t pid;
    bool suspends; /* the guest; else only its disks are held back */
    bool let_go;   /* it has said so */
    /* A byte wakes it; it ends when this is closed, whoever closes it. It says with one that it
     * watches, and later, if it fires, what has come of that. */
    int socket;
};

/* ---- in the guardian ---- */

struct watch {
    struct engine engine; /* its own, with its own connection */
    struct journal *journal;
    struct domain_id id;
    struct shared *shared;
    bool let_go; /* it has fired, and the guest runs since */
    int socket;
};

static bool say(const struct watch *w, char what)
{
    return send(w->socket, &what, 1, MSG_NOSIGNAL) == 1;
}

static int fire(struct watch *w, struct error *e)
{
    const json_t *entry = w->journal->entry;
    int armed = ARMED, rc;

    if (!atomic_compare_exchange_strong(&w->shared->state, &armed, FIRED))
        return OK;
    settle_lift(&w->engine, w->journal->entry);
    /* One that has been seen to stop does not stop again, unless others stop it. */
    rc = atomic_load(&w->shared->stopped_ns) ? settle_resume(&w->engine, entry, e)
                                             : settle_guest(&w->engine, entry, e);
    w->let_go = rc == OK;
    say(w, w->let_go ? LET_GO : COULD_NOT);
    return rc;
}

/* domsnap has died, or waits for this. It may have held the disks back since it was too late, or not
 * have come to resume the guest itself. */
static void finish(struct watch *w)
{
    int state = atomic_load(&w->shared->state), rc = OK;
    struct error e;

    if (state == DONE)
        return;
    if (state == ARMED) {
        rc = fire(w, &e);
    } else if (state != IDLE) {
        settle_lift(&w->engine, w->journal->entry);
        if (!w->let_go)
            rc = settle_resume(&w->engine, w->journal->entry, &e);
    }
    /* If it runs, recover must not resume it once others have suspended it; if not, it must. */
    if (rc == OK && settle_release(&w->engine, w->journal->entry, &e) == OK)
        journal_phase(w->journal, PHASE_LET_GO, &e);
}

/* How long the guest may still be paused; -1: for ever. */
static int left_ms(const struct shared *s)
{
    uint64_t allowed = atomic_load(&s->allowed_ns), stopped = atomic_load(&s->stopped_ns),
             from = atomic_load(&s->allowed_from_ns), now = time_monotonic_ns();

    if (!allowed || !stopped)
        return -1;
    from = from > stopped ? from : stopped;
    return now - from >= allowed ? 0 : (int)((allowed - (now - from)) / 1000000 + 1);
}

/* Until something is on the socket, or the deadline passes. */
static void watch(struct watch *w)
{
    struct shared *s = w->shared;
    struct error ignored;
    char byte;

    for (;;) {
        int left = left_ms(s);
        struct timeval timeout = {left / 1000, left % 1000 * 1000};

        if (atomic_load(&s->state) == ARMED && left == 0)
            fire(w, &ignored);
        if (atomic_load(&s->state) == ARMED && !atomic_load(&s->stopped_ns) &&
            w->engine.domains->wait_stopped(w->engine.host, &w->id, w->socket, -1, &ignored) ==
                OK) {
            atomic_store(&s->stopped_ns, time_monotonic_ns());
            continue;
        }
        if (left < 0)
            timeout = (struct timeval){0};
        setsockopt(w->socket, SOL_SOCKET, SO_RCVTIMEO, &timeout, sizeof timeout);
        if (recv(w->socket, &byte, 1, 0) == 0) {
            finish(w);
            return;
        }
    }
}

static void keep_nothing_of_parents(void)
{
    int null = open("/dev/null", O_RDWR);

    log_set_sink(NULL);
    setsid();
    for (int signo = 1; signo < NSIG; signo++)
        if (signo != SIGCHLD)
            signal(signo, SIG_IGN);
    for (int fd = 0; fd < 3; fd++)
        dup2(null, fd);
}

/* It may be a lack of memory that ends domsnap. Where this is not allowed, it is at least small. */
static void survive_lack_of_memory(void)
{
    static const char never[] = "-1000";
    AUTO_CLOSE int fd = open("/proc/self/oom_score_adj", O_WRONLY | O_CLOEXEC);

    (void)!write(fd, never, strlen(never));
    mlockall(MCL_CURRENT | MCL_FUTURE);
}

static _Noreturn void guard(struct watch *w)
{
    struct error ignored;

    keep_nothing_of_parents();
    w->engine.domains->forget(w->engine.host);
    w->engine.host = NULL;
    if (settle_domain_id(w->journal->entry, &w->id, &ignored) < 0 ||
        engine_connect(&w->engine, &ignored) < 0)
        _exit(1);
    survive_lack_of_memory();
    if (say(w, WATCHING))
        watch(w);
    _exit(0);
}

/* ---- in domsnap ---- */

static int start_process(struct guardian *g, const struct engine *engine, struct journal *journal,
                         struct error *e)
{
    int sockets[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
        return error_errno(e, "guardian: socket");
    g->pid = fork();
    if (g->pid == 0) {
        struct watch w = {
            .engine = *engine,
            .journal = journal,
            .shared = g->shared,
            .socket = sockets[1],
        };

        close(sockets[0]);
        guard(&w);
    }
    close(sockets[1]);
    g->socket = sockets[0];
    return g->pid < 0 ? error_errno(e, "guardian: fork") : OK;
}

int guardian_start(struct guardian **out, const struct engine *engine, struct journal *journal,
                   struct error *e)
{
    struct guardian *g = calloc(1, sizeof *g);
    char byte;

    if (!g)
        return error_errno(e, "guardian");
    g->pid = g->socket = -1;
    g->suspends = json_is_true(json_object_get(journal->entry, "suspends"));
    g->shared =
        mmap(NULL, sizeof *g->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g->shared == MAP_FAILED) {
        free(g);
        return error_errno(e, "guardian: memory");
    }
    if (start_process(g, engine, journal, e) == OK) {
        if (recv(g->socket, &byte, 1, 0) == 1) {
            *out = g;
            return OK;
        }
        error_set(e, FAILED, "guardian: it could not connect to the hypervisor");
    }
    guardian_stop(g);
    return e->status;
}

static void wake(const struct guardian *g)
{
    send(g->socket, "", 1, MSG_NOSIGNAL);
}

void guardian_arm(struct guardian *g)
{
    if (!g->suspends)
        atomic_store(&g->shared->stopped_ns, time_monotonic_ns());
    atomic_store(&g->shared->state, ARMED);
    wake(g);
}

void guardian_allow_ms(struct guardian *g, uint32_t ms)
{
    atomic_store(&g->shared->allowed_from_ns, time_monotonic_ns());
    atomic_store(&g->shared->allowed_ns, ms * UINT64_C(1000000));
    wake(g);
}

uint64_t guardian_stopped_ns(const struct guardian *g)
{
    return atomic_load(&g->shared->stopped_ns);
}

bool guardian_has_fired(const struct guardian *g)
{
    return atomic_load(&g->shared->state) == FIRED;
}

bool guardian_has_let_go(struct guardian *g)
{
    char said;

    if (!g->let_go && guardian_has_fired(g))
        g->let_go = recv(g->socket, &said, 1, 0) == 1 && said == LET_GO;
    return g->let_go;
}

/* False: it has fired before. */
static bool leave_to_us(struct guardian *g, int next)
{
    int state = atomic_load(&g->shared->state);

    while (state != FIRED && !atomic_compare_exchange_weak(&g->shared->state, &state, next))
        ;
    return state != FIRED;
}

bool guardian_disarm(struct guardian *g)
{
    return leave_to_us(g, DISARMED);
}

void guardian_stop(struct guardian *g)
{
    if (!g)
        return;
    leave_to_us(g, DONE);
    /* After it has fired it takes its time; the guest is what matters then, and it knows. */
    if (g->socket >= 0)
        close(g->socket);
    if (g->pid > 0)
        while (waitpid(g->pid, NULL, 0) < 0 && errno == EINTR)
            ;
    munmap(g->shared, sizeof *g->shared);
    free(g);
}
