/* closure_fuzz.c - any bytes as a saved function: what a client can send behind CLOSURE_PREFIX. What loads is called
 * with a document, printed, and must load again. */
#include <stdlib.h>

#include "query/closure.h"
#include "value/json.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Arena arena;
static Value row;

static void start(void)
{
        static const char document[] = "{\"id\":1,\"a\":5,\"b\":{\"c\":\"x\"},\"l\":[{\"k\":1},{\"k\":2},3],\"n\":null,"
                                       "\"t\":{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+00:00\"}}";
        arena_init(&arena, 256 << 20);
        if (json_parse_copy(BYTES_STR(document), JSON_PSEUDO, &arena, &row))
                abort();
}

static void call(Closure *closure)
{
        ArenaMark mark = arena_mark(&arena);
        Value value, args[3] = {row, row, value_null()};
        if (closure_index_value(closure, row, &arena, &value))
                abort(); /* only memory may be missing */
        Status st = closure_call_at(closure, 1700000000000000, args, MIN(closure_param_count(closure), (size_t)3),
                                    &arena, &value);
        status_ignore(st);
        arena_rewind(&arena, mark);
}

/* What RethinkDB's form gives is for closure_load to judge. */
static void import(const uint8_t *data, size_t size)
{
        Closure *closure = NULL;
        bool multi, geo;
        Buf saved;
        ArenaMark mark = arena_mark(&arena);
        buf_init(&saved, 1 << 20);
        Status st = closure_import(BYTES(data, size), &arena, &saved, &multi, &geo);
        if (!st)
                st = closure_load(BYTES(saved.data, saved.size), &closure);
        status_ignore(st);
        closure_unref(closure);
        buf_done(&saved);
        arena_rewind(&arena, mark);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Closure *closure;
        IndexSpec spec;
        Buf text;
        if (!row.type)
                start();
        (void)closure_binary_read(BYTES(data, size), &spec);
        import(data, size);
        Status st = closure_load(BYTES(data, size), &closure);
        if (st) {
                status_ignore(st);
                return 0;
        }
        buf_init(&text, 16 << 20);
        st = closure_print(closure, &text);
        if (st && status_code(st) != ERR_LIMIT)
                abort();
        status_ignore(st);
        call(closure);
        call(closure);
        closure_unref(closure);
        buf_done(&text);
        return 0;
}
