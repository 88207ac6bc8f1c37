/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "engine/engine.h"

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
