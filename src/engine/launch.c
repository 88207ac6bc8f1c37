/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/launch.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/log.h"
#include "domain/savestream.h"
#include "domain/xlcfg.h"
#include "engine/eject.h"

bool launch_has_ram(const struct launch *l)
{
    return manifest_has(&l->m->ram) && !l->boot;
}

static uint64_t ram_bytes(const struct manifest *m)
{
    return m->ram.bytes + m->ram_types.bytes + m->ram_frames.bytes;
}

/* ---- the RAM, through a pipe, so that a save file need not exist as one ---- */

struct feeder {
    const struct launch *l;
    struct progress *progress;
    int to;             /* a pipe */
    struct error error; /* why it could not go on; OK if it is who reads that did not */
};

static void *feed(void *arg)
{
    struct feeder *f = arg;
    struct pollfd reader = {f->to, 0, 0};

    if (f->l->driver->write_ram(f->l->source, f->l->m, f->to, f->progress, &f->error) < 0 &&
        poll(&reader, 1, 0) == 1)
        f->error.status = OK;
    close(f->to);
    return NULL;
}

struct changer {
    int from, to; /* pipes */
};

static void *change(void *arg)
{
    struct changer *c = arg;
    struct error ignored; /* who reads sees that it ends */

    eject_from_save(c->from, c->to, &ignored);
    close(c->from);
    close(c->to);
    return NULL;
}

struct ram {
    struct feeder feeder;
    struct changer changer;
    pthread_t threads[2];
    size_t count;
    int fd; /* to read it from */
};

static int begin_thread(struct ram *ram, void *(*run)(void *), void *arg, struct error *e)
{
    errno = pthread_create(&ram->threads[ram->count], NULL, run, arg);
    if (errno)
        return error_errno(e, "thread for the RAM");
    ram->count++;
    return OK;
}

/* Whatever it was read to. */
static void ram_end(struct ram *ram)
{
    if (ram->fd >= 0)
        close(ram->fd);
    while (ram->count)
        pthread_join(ram->threads[--ram->count], NULL);
}

static int begin_changer(struct ram *ram, struct error *e)
{
    int fds[2];

    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_errno(e, "pipe for the RAM");
    ram->changer = (struct changer){ram->fd, fds[1]};
    ram->fd = fds[0];
    if (begin_thread(ram, change, &ram->changer, e) == OK)
        return OK;
    close(ram->changer.from);
    close(ram->changer.to);
    return e->status;
}

static int ram_begin(struct ram *ram, const struct launch *l, struct progress *progress,
                     struct error *e)
{
    int fds[2];

    *ram = (struct ram){.feeder = {.l = l, .progress = progress}, .fd = -1};
    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_errno(e, "pipe for the RAM");
    ram->fd = fds[0];
    ram->feeder.to = fds[1];
    if (begin_thread(ram, feed, &ram->feeder, e) < 0)
        close(fds[1]);
    else if (!l->eject || begin_changer(ram, e) == OK)
        return OK;
    ram_end(ram);
    return e->status;
}

/* ---- check ---- */

static int read_start(const struct launch *l, struct save_start *start, struct error *e)
{
    struct progress progress = {NULL};
    struct ram ram;
    int rc;

    if (ram_begin(&ram, l, &progress, e) < 0)
        return e->status;
    rc = save_start_read(start, ram.fd, e);
    ram_end(&ram);
    if (rc < 0 && ram.feeder.error.status != OK)
        *e = ram.feeder.error;
    return rc < 0 ? error_prefix(e, "RAM") : OK;
}

int launch_check(const struct launch *l, uint32_t replaced, struct error *e)
{
    AUTO_FREE const char **restored = calloc(l->m->disk_count + 1, sizeof *restored);
    struct save_start start;
    int rc;

    if (!restored)
        return error_set(e, NO_SPACE, "out of memory");
    if (!launch_has_ram(l))
        return OK;
    for (size_t i = 0; i < l->m->disk_count; i++)
        restored[i] = l->m->disks[i].vdev;
    if (read_start(l, &start, e) < 0)
        return e->status;
    rc = l->engine->domains->check_startable(
        l->engine->host,
        &(struct domain_start){.name = l->m->domain_name,
                               .config = start.config,
                               .leaves = start.leaves,
                               .leaf_count = start.leaf_count,
                               .restored = restored,
                               .restored_count = l->m->disk_count,
                               .any_cpu = l->any_cpu,
                               .replaced = replaced},
        e);
    save_start_release(&start);
    return rc;
}

int launch_tell_losses(const struct launch *l, struct error *e)
{
    AUTO_FREE char *text = NULL;
    AUTO_FREE char *left_out = NULL;
    AUTO_CLOSE int fd = -1;
    uint64_t bytes;

    if (launch_has_ram(l))
        return OK;
    if (l->driver->open_config(l->source, l->m, &fd, e) < 0 ||
        config_read(fd, &text, &bytes, e) < 0)
        return e->status;
    if (manifest_has(&l->m->ram))
        log_note(
            "without its RAM the guest boots from its disks, as after a power cut: what it had "
            "in memory and not yet written to them is not brought back");
    left_out = xlcfg_left_out(text);
    if (left_out)
        log_note("it boots without these settings that it had, which xl.cfg(5) can't express: %s",
                 left_out);
    return OK;
}

/* ---- start ---- */

static int restore_ram(const struct launch *l, struct error *e)
{
    struct engine *engine = l->engine;
    struct domain_launch launch = {l->m->domain_name, -1, ram_bytes(l->m), l->held_fd};
    struct ram ram;
    int rc;

    progress_begin(&engine->progress, "start", ram_bytes(l->m));
    if (ram_begin(&ram, l, &engine->progress, e) < 0)
        return e->status;
    launch.fd = ram.fd;
    rc = engine->domains->restore(engine->host, &launch, e);
    ram_end(&ram);
    /* The toolstack only sees a stream that ends too early. */
    if (rc < 0 && ram.feeder.error.status != OK)
        *e = ram.feeder.error;
    return rc < 0 ? e->status : OK;
}

static int boot(const struct launch *l, struct error *e)
{
    struct engine *engine = l->engine;
    struct domain_launch launch = {l->m->domain_name, -1, 0, l->held_fd};
    AUTO_CLOSE int fd = -1;

    progress_begin(&engine->progress, "start", 0);
    if (l->driver->open_config(l->source, l->m, &fd, e) < 0)
        return e->status;
    if (l->eject && eject_from_config(engine->domains, &fd, e) < 0)
        return e->status;
    launch.fd = fd;
    return engine->domains->boot(engine->host, &launch, e);
}

int launch_start(const struct launch *l, struct error *e)
{
    return launch_has_ram(l) ? restore_ram(l, e) : boot(l, e);
}
