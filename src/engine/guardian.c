/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/guardian.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
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

/*
 * What it does, by what happens and the state it is in:
 *
 *               the deadline passes    domsnap dies, or is done
 *     IDLE      -                      release the guest
 *     ARMED     let go (FIRED)         let go, release
 *     DISARMED  -                      let go, release
 *     FIRED     -                      let go unless it has, release
 *     DONE      -                      -
 *
 * To let go: the requests to the disks go through, and the guest is resumed.
 */
enum state { IDLE, ARMED, DISARMED, FIRED, DONE };

/* What the guardian says. */
enum word { WATCHING, LET_GO, COULD_NOT };

/* Between the two processes. */
struct shared {
    atomic_int state; /* an enum state */
    atomic_uint_least64_t armed_ns;
    atomic_uint_least64_t stopped_ns; /* 0: not yet */
    atomic_uint_least64_t allowed_ns; /* from the later of stopped and this; 0: for ever */
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
    struct journal journal;
    struct domain_id id;
    struct shared *shared;
    bool let_go; /* it has fired, and the guest runs since */
    int socket;
};

static bool say(const struct watch *w, enum word what)
{
    char byte = (char)what;

    return send(w->socket, &byte, 1, MSG_NOSIGNAL) == 1;
}

/* False: domsnap has died, or is done. */
static bool hear(const struct watch *w)
{
    char byte;

    return recv(w->socket, &byte, 1, 0) != 0;
}

static void fire(struct watch *w)
{
    const json_t *entry = w->journal.entry;
    int armed = ARMED, rc;
    struct error ignored;

    if (!atomic_compare_exchange_strong(&w->shared->state, &armed, FIRED))
        return;
    settle_lift(&w->engine, entry);
    /* One that has been seen to stop does not stop again, unless others stop it. */
    rc = atomic_load(&w->shared->stopped_ns) ? settle_resume(&w->engine, entry, &ignored)
                                             : settle_guest(&w->engine, entry, &ignored);
    w->let_go = rc == OK;
    say(w, w->let_go ? LET_GO : COULD_NOT);
}

/* It may have held the disks back since it was too late, or not have come to resume the guest
 * itself. */
static int let_go(struct watch *w)
{
    struct error ignored;

    settle_lift(&w->engine, w->journal.entry);
    return w->let_go ? OK : settle_resume(&w->engine, w->journal.entry, &ignored);
}

/* domsnap has died, or is done. */
static void finish(struct watch *w)
{
    struct error ignored;
    int rc = OK;

    fire(w);
    switch ((enum state)atomic_load(&w->shared->state)) {
    case DONE:
        return;
    case IDLE:
        break;
    case ARMED:
    case DISARMED:
    case FIRED:
        rc = let_go(w);
        break;
    }
    /* If it runs, recover must not resume it once others have suspended it; if not, it must. */
    if (rc == OK && settle_release(&w->engine, w->journal.entry, &ignored) == OK)
        journal_phase(&w->journal, PHASE_LET_GO, &ignored);
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

/* Until domsnap says something or the guest has stopped. Where it can't be told whether it has, it
 * may have since it was asked to. */
static void wait_stopped(struct watch *w)
{
    struct error why;
    int rc = w->engine.domains->wait_stopped(w->engine.host, &w->id, w->socket, -1, &why);

    if (rc == OK)
        atomic_store(&w->shared->stopped_ns, time_monotonic_ns());
    else if (rc != CANCELLED)
        atomic_store(&w->shared->stopped_ns, atomic_load(&w->shared->armed_ns));
}

static void watch(struct watch *w)
{
    struct shared *s = w->shared;

    for (;;) {
        struct pollfd heard = {w->socket, POLLIN, 0};
        bool armed = atomic_load(&s->state) == ARMED;

        if (armed && !atomic_load(&s->stopped_ns))
            wait_stopped(w);
        if (poll(&heard, 1, armed ? left_ms(s) : -1) == 0)
            fire(w);
        else if (heard.revents && !hear(w))
            break;
    }
    finish(w);
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

static bool learn(struct watch *w)
{
    struct error ignored;

    if (journal_read(&w->journal, &ignored) < 0)
        return false;
    if (settle_domain_id(w->journal.entry, &w->id, &ignored) < 0)
        return false;
    if (engine_connect(&w->engine, &ignored) < 0)
        return false;
    survive_lack_of_memory();
    return say(w, WATCHING);
}

static _Noreturn void guard(struct watch *w)
{
    keep_nothing_of_parents();
    if (w->engine.host)
        w->engine.domains->forget(w->engine.host);
    w->engine.host = NULL;
    if (hear(w) && learn(w))
        watch(w);
    _exit(0);
}

/* ---- in domsnap ---- */

static int start_process(struct guardian *g, const struct engine *engine,
                         const struct journal *journal, struct error *e)
{
    int sockets[2];

    if (socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sockets) < 0)
        return error_errno(e, "guardian: socket");
    g->pid = fork();
    if (g->pid == 0) {
        struct watch w = {
            .engine = *engine,
            .journal = *journal,
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

int guardian_start(struct guardian **out, const struct engine *engine,
                   const struct journal *journal, struct error *e)
{
    struct guardian *g = calloc(1, sizeof *g);

    if (!g)
        return error_errno(e, "guardian");
    g->pid = g->socket = -1;
    g->shared =
        mmap(NULL, sizeof *g->shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (g->shared == MAP_FAILED) {
        free(g);
        return error_errno(e, "guardian: memory");
    }
    if (start_process(g, engine, journal, e) == OK) {
        *out = g;
        return OK;
    }
    guardian_stop(g);
    return e->status;
}

static void wake(const struct guardian *g)
{
    send(g->socket, "", 1, MSG_NOSIGNAL);
}

int guardian_brief(struct guardian *g, bool suspends, struct error *e)
{
    char byte;

    g->suspends = suspends;
    wake(g);
    if (recv(g->socket, &byte, 1, 0) == 1)
        return OK;
    return error_set(e, FAILED, "guardian: it could not connect to the hypervisor");
}

void guardian_arm(struct guardian *g)
{
    uint64_t now_ns = time_monotonic_ns();

    atomic_store(&g->shared->armed_ns, now_ns);
    if (!g->suspends)
        atomic_store(&g->shared->stopped_ns, now_ns);
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
static bool leave_to_us(struct guardian *g, enum state next)
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
