/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "backend_fake.h"

#include <assert.h>
#include <inttypes.h>
#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#define LEGAL "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789._-"

struct item {
    char name[BACKEND_NAME_MAX];
    unsigned char *data;
    size_t bytes;
};

/* What is being written, or was when its handle died. */
struct part {
    struct backend_object object;
    char run[BACKEND_NAME_MAX];
    unsigned char *data;
    size_t bytes;
    bool is_abandoned;
    struct part *next;
};

struct fake_store {
    pthread_mutex_t mutex; /* of all that follows, of the parts and of all handles */
    struct item **items;
    size_t count;
    struct part *parts;
};

struct handle {
    struct backend backend;
    struct fake_store *store;
    unsigned operations, left; /* left: until the fault; 0: none is armed */
    enum fake_fault fault;
    bool is_dead;
    void (*before)(void *arg, const char *operation, const char *name);
    void *before_arg;
};

static struct handle *handle_of(const struct backend *b)
{
    return (struct handle *)b;
}

/* ---- the store ---- */

struct fake_store *fake_store_new(void)
{
    struct fake_store *s = calloc(1, sizeof *s);

    assert(s);
    pthread_mutex_init(&s->mutex, NULL);
    return s;
}

static void free_item(struct item *i)
{
    free(i->data);
    free(i);
}

static void free_part(struct part *p)
{
    free(p->data);
    free(p);
}

void fake_store_free(struct fake_store *s)
{
    for (size_t i = 0; i < s->count; i++)
        free_item(s->items[i]);
    while (s->parts) {
        struct part *p = s->parts;

        s->parts = p->next;
        free_part(p);
    }
    free(s->items);
    pthread_mutex_destroy(&s->mutex);
    free(s);
}

/* None is empty, begins with a dot or has what is not allowed; at most two folders. */
static bool is_valid(const char *name)
{
    unsigned folders = 0;

    if (strlen(name) >= BACKEND_NAME_MAX)
        return false;
    for (;;) {
        size_t n = strspn(name, LEGAL);

        if (n == 0 || name[0] == '.')
            return false;
        if (name[n] == '\0')
            return true;
        if (name[n] != '/' || ++folders > 2)
            return false;
        name += n + 1;
    }
}

static struct item **find(const struct fake_store *s, const char *name)
{
    for (size_t i = 0; i < s->count; i++)
        if (strcmp(s->items[i]->name, name) == 0)
            return &s->items[i];
    return NULL;
}

static struct item *add(struct fake_store *s, const char *name)
{
    struct item *i = calloc(1, sizeof *i);

    s->items = reallocarray(s->items, s->count + 1, sizeof *s->items);
    assert(i && s->items);
    snprintf(i->name, sizeof i->name, "%s", name);
    s->items[s->count++] = i;
    return i;
}

static void drop(struct fake_store *s, const char *name)
{
    struct item **i = find(s, name);

    if (!i)
        return;
    free_item(*i);
    *i = s->items[--s->count];
}

/* NULL: it is not in this folder. */
static const char *name_in(const char *name, const char *folder)
{
    size_t n = strlen(folder);

    if (strncmp(name, folder, n) != 0 || name[n] != '/')
        return NULL;
    name += n + 1;
    return strchr(name, '/') ? NULL : name;
}

/* ---- faults ---- */

static int dead(struct error *e)
{
    return error_set(e, FAILED, "fake: this handle is dead");
}

static enum fake_fault count_down(struct handle *h)
{
    h->operations++;
    if (h->left == 0 || --h->left > 0)
        return FAKE_NONE;
    return h->fault;
}

/* Begin an operation. On success the store is locked until leave(). */
static int enter(struct handle *h, const char *operation, const char *name, enum fake_fault *fault,
                 struct error *e)
{
    if (h->before)
        h->before(h->before_arg, operation, name);
    pthread_mutex_lock(&h->store->mutex);
    *fault = count_down(h);
    if (*fault == FAKE_DIE)
        h->is_dead = true;
    if (h->is_dead)
        dead(e);
    else if (*fault == FAKE_FAIL)
        error_set(e, FAILED, "fake: %s %s: made to fail", operation, name);
    else if (*fault == FAKE_NO_SPACE)
        error_set(e, NO_SPACE, "fake: %s %s: made to find no room", operation, name);
    else
        return OK;
    pthread_mutex_unlock(&h->store->mutex);
    return e->status;
}

static int leave(struct handle *h, enum fake_fault fault, int rc, struct error *e)
{
    pthread_mutex_unlock(&h->store->mutex);
    return fault == FAKE_LOST_ANSWER ? error_set(e, FAILED, "fake: the answer was lost") : rc;
}

/* ---- the driver ---- */

static bool fake_is_mine(const char *where)
{
    (void)where;
    return false;
}

static int fake_make(const char *where, struct error *e)
{
    return error_set(e, UNSUPPORTED, "%s: a fake is made by fake_store_new()", where);
}

static int fake_open(struct backend **b, const char *where, struct error *e)
{
    *b = NULL;
    return error_set(e, UNSUPPORTED, "%s: a fake is opened by fake_backend()", where);
}

static void fake_close(struct backend *b)
{
    free(handle_of(b));
}

struct listed {
    char name[BACKEND_NAME_MAX];
    uint64_t bytes;
};

static struct listed *copy_list(const struct fake_store *s, const char *folder, size_t *count)
{
    struct listed *list = calloc(s->count + 1, sizeof *list);

    assert(list);
    *count = 0;
    for (size_t i = 0; i < s->count; i++) {
        const char *name = name_in(s->items[i]->name, folder);

        if (!name)
            continue;
        snprintf(list[*count].name, sizeof list->name, "%s", name);
        list[(*count)++].bytes = s->items[i]->bytes;
    }
    return list;
}

/* The sink is called unlocked: it may use the store. */
static int fake_list(struct backend *b, const char *folder, backend_sink sink, void *arg,
                     struct error *e)
{
    struct handle *h = handle_of(b);
    enum fake_fault fault;
    struct listed *list;
    size_t count;
    int rc;

    assert(is_valid(folder));
    if (enter(h, "list", folder, &fault, e) < 0)
        return e->status;
    list = copy_list(h->store, folder, &count);
    rc = leave(h, fault, OK, e);
    for (size_t i = 0; i < count && rc == OK; i++)
        rc = sink(arg, list[i].name, list[i].bytes, e);
    free(list);
    return rc;
}

static int fake_get(struct backend *b, const char *name, uint64_t offset, void *to, size_t bytes,
                    size_t *got, struct error *e)
{
    struct handle *h = handle_of(b);
    enum fake_fault fault;
    struct item **i;
    int rc = OK;

    *got = 0;
    assert(is_valid(name));
    if (enter(h, "get", name, &fault, e) < 0)
        return e->status;
    i = find(h->store, name);
    if (!i)
        rc = error_set(e, NOT_FOUND, "%s: no such object", name);
    else if (offset < (*i)->bytes) {
        *got = (*i)->bytes - offset < bytes ? (*i)->bytes - offset : bytes;
        memcpy(to, (*i)->data + offset, *got);
    }
    return leave(h, fault, rc, e);
}

static int fake_create(struct backend *b, const char *run, uint64_t bytes,
                       struct backend_object **o, struct error *e)
{
    struct handle *h = handle_of(b);
    struct part *p;
    int rc = OK;

    (void)bytes;
    *o = NULL;
    pthread_mutex_lock(&h->store->mutex);
    if (h->is_dead) {
        rc = dead(e);
    } else {
        p = calloc(1, sizeof *p);
        assert(p);
        p->object.backend = b;
        snprintf(p->run, sizeof p->run, "%s", run);
        p->next = h->store->parts;
        h->store->parts = p;
        *o = &p->object;
    }
    pthread_mutex_unlock(&h->store->mutex);
    return rc;
}

static void grow(struct part *p, size_t bytes)
{
    if (bytes <= p->bytes)
        return;
    p->data = realloc(p->data, bytes);
    assert(p->data);
    memset(p->data + p->bytes, 0, bytes - p->bytes);
    p->bytes = bytes;
}

static int fake_write(struct backend_object *o, const void *data, size_t bytes, uint64_t offset,
                      struct error *e)
{
    struct handle *h = handle_of(o->backend);
    struct part *p = (struct part *)o;
    int rc = OK;

    pthread_mutex_lock(&h->store->mutex);
    if (h->is_dead) {
        rc = dead(e);
    } else if (bytes) {
        grow(p, (size_t)offset + bytes);
        memcpy(p->data + offset, data, bytes);
    }
    pthread_mutex_unlock(&h->store->mutex);
    return rc;
}

static void unlink_part(struct fake_store *s, const struct part *p)
{
    struct part **at = &s->parts;

    while (*at != p)
        at = &(*at)->next;
    *at = p->next;
}

/* Of a handle that is dead it stays, as of a program that was killed. */
static void fake_discard(struct backend_object *o)
{
    struct part *p = (struct part *)o;
    struct handle *h;

    if (!o)
        return;
    h = handle_of(o->backend);
    pthread_mutex_lock(&h->store->mutex);
    if (h->is_dead) {
        p->is_abandoned = true;
    } else {
        unlink_part(h->store, p);
        free_part(p);
    }
    pthread_mutex_unlock(&h->store->mutex);
}

/* Who publishes must know what. */
static int check_sum(const struct part *p, uint64_t bytes, const uint8_t sum[32], struct error *e)
{
    uint8_t found[32];

    if (!EVP_Digest(bytes ? p->data : sum, (size_t)bytes, found, NULL, EVP_sha256(), NULL))
        return error_set(e, FAILED, "libcrypto has no SHA-256");
    return memcmp(found, sum, sizeof found) == 0 ? OK
                                                 : error_set(e, DAMAGED, "fake: another SHA-256");
}

static int publish_locked(struct handle *h, struct part *p, const char *name, uint64_t bytes,
                          const uint8_t sum[32], struct error *e)
{
    struct item *i;

    grow(p, (size_t)bytes);
    if (check_sum(p, bytes, sum, e) < 0)
        return error_prefix(e, "%s", name);
    if (find(h->store, name))
        return error_set(e, BUSY, "%s: there is one already", name);
    i = add(h->store, name);
    i->data = p->data;
    i->bytes = (size_t)bytes;
    p->data = NULL;
    return OK;
}

static int fake_publish(struct backend_object *o, const char *name, uint64_t bytes,
                        const uint8_t sum[32], struct error *e)
{
    struct handle *h = handle_of(o->backend);
    enum fake_fault fault;
    int rc;

    assert(is_valid(name));
    rc = enter(h, "publish", name, &fault, e);
    if (rc == OK) {
        rc = publish_locked(h, (struct part *)o, name, bytes, sum, e);
        rc = leave(h, fault, rc, e);
    }
    fake_discard(o);
    return rc;
}

static int fake_remove(struct backend *b, const char *name, struct error *e)
{
    struct handle *h = handle_of(b);
    enum fake_fault fault;

    assert(is_valid(name));
    if (enter(h, "remove", name, &fault, e) < 0)
        return e->status;
    drop(h->store, name);
    return leave(h, fault, OK, e);
}

static int fake_clean(struct backend *b, bool (*is_live)(void *arg, const char *run), void *arg,
                      uint64_t *bytes, struct error *e)
{
    struct handle *h = handle_of(b);
    struct part **at;
    int rc = OK;

    *bytes = 0;
    pthread_mutex_lock(&h->store->mutex);
    if (h->is_dead)
        rc = dead(e);
    at = &h->store->parts;
    while (*at && rc == OK) {
        struct part *p = *at;

        if (!p->is_abandoned || is_live(arg, p->run)) {
            at = &p->next;
            continue;
        }
        *at = p->next;
        *bytes += p->bytes;
        free_part(p);
    }
    pthread_mutex_unlock(&h->store->mutex);
    return rc;
}

static int fake_room(struct backend *b, uint64_t *bytes, struct error *e)
{
    (void)b;
    (void)e;
    *bytes = UINT64_MAX;
    return OK;
}

static int fake_temporary(struct backend *b, int *fd, uint64_t *free_bytes, struct error *e)
{
    (void)b;
    *free_bytes = (uint64_t)1 << 40;
    *fd = memfd_create("fake", MFD_CLOEXEC);
    return *fd < 0 ? error_errno(e, "fake: temporary file") : OK;
}

static const struct backend_driver backend_fake = {
    .name = "fake",
    .is_mine = fake_is_mine,
    .make = fake_make,
    .open = fake_open,
    .close = fake_close,
    .list = fake_list,
    .get = fake_get,
    .create = fake_create,
    .write = fake_write,
    .publish = fake_publish,
    .discard = fake_discard,
    .remove = fake_remove,
    .clean = fake_clean,
    .room = fake_room,
    .temporary = fake_temporary,
};

struct backend *fake_backend(struct fake_store *s)
{
    struct handle *h = calloc(1, sizeof *h);

    assert(h);
    h->backend.driver = &backend_fake;
    h->store = s;
    return &h->backend;
}

/* ---- what tests do to it ---- */

void fake_arm(struct backend *b, unsigned n, enum fake_fault fault)
{
    struct handle *h = handle_of(b);

    pthread_mutex_lock(&h->store->mutex);
    h->left = n;
    h->fault = fault;
    pthread_mutex_unlock(&h->store->mutex);
}

unsigned fake_operations(const struct backend *b)
{
    struct handle *h = handle_of(b);
    unsigned n;

    pthread_mutex_lock(&h->store->mutex);
    n = h->operations;
    pthread_mutex_unlock(&h->store->mutex);
    return n;
}

void fake_before(struct backend *b,
                 void (*before)(void *arg, const char *operation, const char *name), void *arg)
{
    struct handle *h = handle_of(b);

    h->before = before;
    h->before_arg = arg;
}

bool fake_has(const struct fake_store *s, const char *name)
{
    pthread_mutex_t *mutex = &((struct fake_store *)s)->mutex;
    bool has;

    pthread_mutex_lock(mutex);
    has = find(s, name);
    pthread_mutex_unlock(mutex);
    return has;
}

unsigned char *fake_bytes(struct fake_store *s, const char *name, size_t *bytes)
{
    struct item **i;

    pthread_mutex_lock(&s->mutex);
    i = find(s, name);
    assert(i);
    if (bytes)
        *bytes = (*i)->bytes;
    pthread_mutex_unlock(&s->mutex);
    return (*i)->data;
}

void fake_truncate(struct fake_store *s, const char *name, size_t bytes)
{
    struct item **i;

    pthread_mutex_lock(&s->mutex);
    i = find(s, name);
    assert(i && bytes <= (*i)->bytes);
    (*i)->bytes = bytes;
    pthread_mutex_unlock(&s->mutex);
}

void fake_drop(struct fake_store *s, const char *name)
{
    pthread_mutex_lock(&s->mutex);
    drop(s, name);
    pthread_mutex_unlock(&s->mutex);
}

size_t fake_count(const struct fake_store *s, const char *folder)
{
    pthread_mutex_t *mutex = &((struct fake_store *)s)->mutex;
    size_t count;

    pthread_mutex_lock(mutex);
    free(copy_list(s, folder, &count));
    pthread_mutex_unlock(mutex);
    return count;
}
