/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/startable.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "domain/savestream.h"

struct reader {
    const struct place_driver *driver;
    struct place *place;
    const struct manifest *m;
    int pipe;
};

/* It ends when nobody reads any more. */
static void *read_ram(void *arg)
{
    struct reader *r = arg;
    struct progress progress = {NULL};
    struct error ignored;

    r->driver->write_ram(r->place, r->m, r->pipe, &progress, &ignored);
    close(r->pipe);
    return NULL;
}

static int read_start(struct reader *r, struct save_start *start, struct error *e)
{
    pthread_t thread;
    int fds[2], rc;

    if (pipe2(fds, O_CLOEXEC) < 0)
        return error_errno(e, "pipe for the RAM");
    r->pipe = fds[1];
    if ((errno = pthread_create(&thread, NULL, read_ram, r)) != 0) {
        close(fds[0]);
        close(fds[1]);
        return error_errno(e, "thread for the RAM");
    }
    rc = save_start_read(start, fds[0], e);
    close(fds[0]);
    pthread_join(thread, NULL);
    return rc;
}

int startable_check(struct engine *engine, const struct place_driver *driver, struct place *place,
                    const struct manifest *m, uint32_t replaced, struct error *e)
{
    struct reader reader = {driver, place, m, -1};
    AUTO_FREE const char **restored = calloc(m->disk_count + 1, sizeof *restored);
    struct save_start start;
    int rc;

    if (!restored)
        return error_set(e, NO_SPACE, "out of memory");
    for (size_t i = 0; i < m->disk_count; i++)
        restored[i] = m->disks[i].vdev;
    if (read_start(&reader, &start, e) < 0)
        return error_prefix(e, "RAM");
    rc = engine->domains->check_startable(engine->host,
                                          &(struct domain_start){.name = m->domain_name,
                                                                 .config = start.config,
                                                                 .leaves = start.leaves,
                                                                 .leaf_count = start.leaf_count,
                                                                 .restored = restored,
                                                                 .restored_count = m->disk_count,
                                                                 .replaced = replaced},
                                          e);
    save_start_release(&start);
    return rc;
}
