/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/engine.h"

#include <stdlib.h>

#include "engine/turn.h"

int engine_connect(struct engine *engine, struct error *e)
{
    return engine->host ? OK : engine->domains->open(&engine->host, e);
}

void engine_disconnect(struct engine *engine)
{
    if (engine->host)
        engine->domains->close(engine->host);
    engine->host = NULL;
}

int engine_take_turn(const struct engine *engine, int *turn, struct error *e)
{
    return turn_take(turn, engine->lock_dir, engine->at_once ? engine->at_once : ENGINE_AT_ONCE, e);
}

int engine_find_domain(const struct engine *engine, const char *name, struct domain_id *id,
                       struct error *e)
{
    if (engine->domains->find(engine->host, name, id, e) == OK)
        return OK;
    *id = (struct domain_id){.name = name};
    return e->status == NOT_FOUND ? OK : e->status;
}

int engine_check_unused(const struct engine *engine, const struct volume *v, uint32_t except,
                        struct error *e)
{
    return engine->host ? engine->domains->check_unused(engine->host, v->path, except, e) : OK;
}
