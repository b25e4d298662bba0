/* engine.c - the engines this binary has, by name. */
#include "storage/engine.h"

static const EngineOps *const engines[] = {&engine_btree, &engine_slab, &engine_memory};

const EngineOps *engine_at(size_t i)
{
        return i < ELEMENTS(engines) ? engines[i] : NULL;
}

const EngineOps *engine_find(const char *name)
{
        for (size_t i = 0; i < ELEMENTS(engines); i++)
                if (strcmp(engines[i]->name, name) == 0)
                        return engines[i];
        return NULL;
}
