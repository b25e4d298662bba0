/* env.c - what a running query holds: errors and their places, things to close, tables and views, arenas, randomness.
 */
#include <stdio.h>

#include "query/changes_int.h"
#include "query/transaction.h"
#include "value/json.h"

struct Deferred {
        Deferred *older, *newer;
        uint64_t serial;
        const void *owner;
        void (*close)(void *what);
        void *what;
};

struct OpenTable {
        OpenTable *next;
        Bytes db, name;
        TableVal whole;
        TableView *view; /* NULL: not pinned yet, or written to since */
        bool forgotten;  /* its settings have changed: who names it again finds it anew */
        uint64_t serial; /* of the view */
};

/* Each keeps a snapshot of its table from being freed, so a loop must not pile them up. */
#define MAX_RETIRED 1000

struct RetiredView { /* of a table written to since; rows and scans of it may still be in use */
        RetiredView *next;
        TableView *view;
        uint64_t serial;
};

/* --- errors --- */

/* Terms made by rewrites may live in an arena that is gone when the backtrace is asked for; what they stand for lives
 * on. */
static void set_place(Env *env, const Term *at)
{
        while (at && at->frame < 0 && !at->frame_name.data && at->parent)
                at = at->parent;
        env->error_at = at;
        env->empty_error = false;
}

Status fail(Env *env, const Term *at, StatusCode code, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        char *text = arena_vprintf(env->arena, format, args);
        va_end(args);
        set_place(env, at);
        return status_new(code, "%s", text);
}

Status fail_at(Env *env, const Term *at, Status st)
{
        if (st)
                set_place(env, at);
        return st;
}

bool status_missing(Status *st)
{
        if (status_code(*st) != ERR_NON_EXISTENCE)
                return false;
        *st = status_free(*st);
        return true;
}

static size_t memory_used(const Env *env)
{
        return env->query ? query_memory_bytes(env->query) : env->query_arena->total_bytes + env_memory(env);
}

Status env_poll(Env *env)
{
        size_t max = env->world->memory_max_bytes;
        if (unlikely(atomic_load_explicit(env->cancelled, memory_order_relaxed)))
                return fail(env, NULL, ERR_CANCELLED, "The query was cancelled.");
        /* Each arena keeps to the budget by itself; together they may pass it between two looks. */
        if (unlikely((++env->polls & 15) == 0) && max && memory_used(env) > max)
                return fail(env, env->current, ERR_RESOURCE, MEMORY_MESSAGE, max);
        if (unlikely(env->deadline_ns != 0) && env->world->host->mono_ns(env->world->host->ctx) > env->deadline_ns)
                return fail(env, NULL, ERR_OP_INDETERMINATE,
                            "The query took longer than it may (`--query-timeout` of the server, or option "
                            "`query_timeout`).");
        if (unlikely(env->max_polls && env->polls > env->max_polls))
                return fail(env, env->current, ERR_RESOURCE, "The function takes too long.");
        return ST_OK;
}

/* --- things to close --- */

Deferred *env_defer(Env *env, void (*close)(void *what), void *what)
{
        Deferred *deferred = env->free_deferred;
        if (deferred)
                env->free_deferred = deferred->older;
        else
                deferred = arena_alloc(env->query_arena, sizeof *deferred);
        *deferred = (Deferred){.older = env->deferred,
                               .serial = ++env->deferred_serial,
                               .owner = env->owner,
                               .close = close,
                               .what = what};
        if (env->deferred)
                env->deferred->newer = deferred;
        env->deferred = deferred;
        return deferred;
}

/* Behind all others and older than any mark. */
void env_defer_to_end(Env *env, void (*close)(void *what), void *what)
{
        Deferred *deferred = arena_alloc(env->query_arena, sizeof *deferred), *oldest = env->deferred;
        *deferred = (Deferred){.close = close, .what = what};
        while (oldest && oldest->older)
                oldest = oldest->older;
        deferred->newer = oldest;
        if (oldest)
                oldest->older = deferred;
        else
                env->deferred = deferred;
}

void env_undefer(Env *env, Deferred *deferred)
{
        if (deferred->newer)
                deferred->newer->older = deferred->older;
        else
                env->deferred = deferred->older;
        if (deferred->older)
                deferred->older->newer = deferred->newer;
        deferred->close(deferred->what);
        deferred->older = env->free_deferred;
        env->free_deferred = deferred;
}

void env_unwind_slow(Env *env, EnvMark mark)
{
        while (env->deferred && env->deferred->serial > mark.serial)
                env_undefer(env, env->deferred);
}

bool env_is_unwound(const Env *env, EnvMark mark)
{
        return !env->deferred || env->deferred->serial <= mark.serial;
}

void env_close_owned(Env *env, const void *owner)
{
        for (Deferred *deferred = env->deferred, *older; deferred; deferred = older) {
                older = deferred->older;
                if (deferred->owner == owner)
                        env_undefer(env, deferred);
        }
}

/* --- permissions --- */

Status env_permit_slow(Env *env, unsigned what, Bytes db, Bytes table)
{
        return env->source->permit(env->source->ctx, BYTES_STR(env->user), what, db, table);
}

Status env_permit_table_slow(Env *env, TableRef *table, unsigned what)
{
        return env->source->permit_table(table, BYTES_STR(env->user), what);
}

Status env_permit_again(Env *env)
{
        if (likely(env->permits_all))
                return ST_OK;
        for (OpenTable *open = env->tables; open; open = open->next)
                if (open->view)
                        TRY(env_permit_table_slow(env, open->whole.ref, PERMIT_READ));
        return changes_permit_again(env);
}

/* --- tables --- */

Status env_default_db(Env *env, Bytes *ret_db)
{
        const Term *term = NULL;
        for (size_t i = 0; !env->default_db.data && i < env->global_count && !term; i++)
                if (bytes_equal(env->globals[i].name, BYTES_STR("db")))
                        term = env->globals[i].term;
        if (term && constant_db(term)) {
                env->default_db = value_bytes(constant_db(term)->datum); /* what most drivers send */
        } else if (term) {
                Val val;
                Bytes db;
                Frame *frame = env->frame;
                env->frame = NULL; /* global options see no variables */
                Status st = eval(env, term, &val);
                env->frame = frame;
                TRY(st);
                TRY(val_as_db(env, &val, &db));
                env->default_db = BYTES(arena_dup(env->query_arena, db.data, db.size), db.size);
        } else if (!env->default_db.data) {
                env->default_db = BYTES("test", 4);
        }
        *ret_db = env->default_db;
        return ST_OK;
}

Status env_table(Env *env, Bytes db, Bytes name, TableVal **ret)
{
        for (OpenTable *open = env->tables; open; open = open->next) {
                if (!open->forgotten && bytes_equal(open->name, name) && bytes_equal(open->db, db)) {
                        *ret = &open->whole;
                        return ST_OK;
                }
        }
        OpenTable *open = arena_new(env->query_arena, OpenTable);
        open->db = BYTES(arena_dup(env->query_arena, db.data, db.size), db.size);
        open->name = BYTES(arena_dup(env->query_arena, name.data, name.size), name.size);
        TRY(env->source->table_find(env->source->ctx, db, name, &open->whole.ref));
        open->whole.info = env->source->table_info(open->whole.ref);
        open->whole.bounds = (KeyBounds){.low_type = BOUND_NONE, .high_type = BOUND_NONE};
        open->next = env->tables;
        env->tables = open;
        *ret = &open->whole;
        return ST_OK;
}

void env_forget_table(Env *env, const TableVal *table)
{
        for (OpenTable *open = env->tables; open; open = open->next)
                open->forgotten |= open->whole.ref == table->ref;
}

Status env_table_uuids(Env *env, TableVal *table, TableVal **ret)
{
        OpenTable *open = arena_new(env->query_arena, OpenTable);
        open->whole = *table;
        open->whole.ref = env->source->table_with_uuids(table->ref);
        open->whole.info = env->source->table_info(open->whole.ref);
        open->next = env->tables; /* without a name: found by reference only */
        env->tables = open;
        *ret = &open->whole;
        return ST_OK;
}

static OpenTable *find_open(Env *env, TableRef *table)
{
        OpenTable *open = env->tables;
        while (open && open->whole.ref != table)
                open = open->next;
        return open;
}

static Status open_view(Env *env, TableRef *table, TableView **ret_view)
{
        if (unlikely(env->transaction != NULL))
                return env->source->transaction_view(env->transaction, table, env->user, ret_view);
        if (unlikely(!env->permits_all && env->source->view_open_for))
                return env->source->view_open_for(table, env->user, ret_view);
        return env->source->view_open(table, ret_view);
}

Status env_view(Env *env, TableRef *table, TableView **ret_view)
{
        OpenTable *open = find_open(env, table);
        if (!open) { /* a table that came another way (writes): it gets an entry of its own */
                open = arena_new(env->query_arena, OpenTable);
                open->whole.ref = env->source->table_ref(table);
                open->whole.info = env->source->table_info(table);
                open->db = open->whole.info->db;
                open->name = open->whole.info->name;
                open->whole.bounds = (KeyBounds){.low_type = BOUND_NONE, .high_type = BOUND_NONE};
                open->next = env->tables;
                env->tables = open;
        }
        if (!open->view) {
                TRY(env_permit_table(env, table, PERMIT_READ));
                if (unlikely(env->retired_count >= MAX_RETIRED))
                        return status_new(ERR_RESOURCE,
                                          "The query reads and writes table `%.*s` by turns more than %d times: use "
                                          "for_each.",
                                          (int)open->name.size, (const char *)open->name.data, MAX_RETIRED);
                TRY(open_view(env, table, &open->view));
                open->serial = env->view_serial++;
        }
        *ret_view = open->view;
        return ST_OK;
}

static void retire_view(Env *env, OpenTable *open)
{
        if (!open->view)
                return;
        RetiredView *old = env->free_retired;
        if (old)
                env->free_retired = old->next;
        else
                old = arena_new(env->query_arena, RetiredView);
        *old = (RetiredView){.next = env->retired, .view = take(open->view), .serial = open->serial};
        env->retired = old;
        env->retired_count++;
}

void env_wrote(Env *env, TableRef *table)
{
        env->writes++;
        OpenTable *open = find_open(env, table);
        if (open)
                retire_view(env, open);
}

void env_retire_views(Env *env)
{
        for (OpenTable *open = env->tables; open; open = open->next)
                retire_view(env, open);
}

void env_close_views(Env *env, uint64_t mark)
{
        if (likely(env->view_serial == mark))
                return;
        for (RetiredView **at = &env->retired; *at;) {
                RetiredView *old = *at;
                if (old->serial < mark) {
                        at = &old->next;
                        continue;
                }
                env->source->view_close(old->view);
                env->retired_count--;
                *at = old->next;
                old->next = env->free_retired;
                env->free_retired = old;
        }
        for (OpenTable *open = env->tables; open; open = open->next)
                if (open->view && open->serial >= mark)
                        env->source->view_close(take(open->view));
}

bool env_has_views(const Env *env, uint64_t mark)
{
        const OpenTable *open = env->tables;
        const RetiredView *old = env->retired;
        while (open && (!open->view || open->serial < mark))
                open = open->next;
        while (old && old->serial < mark)
                old = old->next;
        return open || old;
}

/* --- arenas --- */

Scratch *scratch_get(Env *env)
{
        for (Scratch *scratch = env->scratches; scratch; scratch = scratch->next) {
                if (!scratch->in_use) {
                        scratch->in_use = true;
                        scratch->serial = env->deferred_serial;
                        return scratch;
                }
        }
        Scratch *scratch = arena_new(env->query_arena, Scratch);
        arena_init(&scratch->arena, env->query_arena->max_bytes);
        arena_on_oom(&scratch->arena, env->query_arena->oom, env->query_arena->oom_ctx);
        scratch->arena.stop = env->query_arena->stop;
        scratch->in_use = true;
        scratch->env = env;
        scratch->serial = env->deferred_serial;
        scratch->next = env->scratches;
        env->scratches = scratch;
        return scratch;
}

/* After an error streams in it may still be open: what would be closed later, when their memory is gone, is closed now.
 */
static void close_inside(Scratch *scratch)
{
        for (Deferred *deferred = scratch->env->deferred, *older; deferred; deferred = older) {
                older = deferred->older;
                if (deferred->serial <= scratch->serial || !arena_contains(&scratch->arena, deferred->what))
                        continue;
                env_undefer(scratch->env, deferred);
                older = scratch->env->deferred; /* closing may have closed others */
        }
}

void scratch_put(Scratch *scratch)
{
        if (!scratch)
                return;
        if (unlikely(scratch->env->deferred && scratch->env->deferred_serial != scratch->serial))
                close_inside(scratch);
        arena_reset(&scratch->arena);
        scratch->in_use = false;
}

static void close_scratch(void *scratch)
{
        scratch_put(scratch);
}

Arena *stream_arena(Env *env)
{
        Scratch *scratch = scratch_get(env);
        env_defer(env, close_scratch, scratch);
        return &scratch->arena;
}

/* --- the end --- */

void env_done(Env *env)
{
        while (env->deferred)
                env_undefer(env, env->deferred);
        for (RetiredView *old = env->retired; old; old = old->next)
                env->source->view_close(old->view);
        for (OpenTable *open = env->tables; open; open = open->next)
                if (open->view)
                        env->source->view_close(open->view);
        for (OpenTable *open = env->tables; open; open = open->next)
                if (open->whole.ref)
                        env->source->table_unref(open->whole.ref);
        transaction_done(env);
        for (Scratch *scratch = env->scratches; scratch; scratch = scratch->next)
                arena_done(&scratch->arena);
        env->tables = NULL;
        env->retired = env->free_retired = NULL;
        env->retired_count = 0;
        env->scratches = NULL;
        env->free_deferred = NULL;
}

size_t env_memory(const Env *env)
{
        size_t bytes = env->kept_bytes;
        for (const Scratch *scratch = env->scratches; scratch; scratch = scratch->next)
                bytes += scratch->arena.total_bytes;
        return bytes;
}

/* --- randomness: xoshiro256**, seeded by the host --- */

static uint64_t rotl(uint64_t x, int k)
{
        return (x << k) | (x >> (64 - k));
}

Status env_random(Env *env, uint64_t *ret)
{
        uint64_t *s = env->random_state;
        if (!env->random_seeded) {
                const HostOps *host = env->world->host;
                TRY(host->random(host->ctx, s, sizeof env->random_state));
                s[0] |= 1; /* all zero would stay so */
                env->random_seeded = true;
        }
        uint64_t result = rotl(s[1] * 5, 7) * 9, t = s[1] << 17;
        s[2] ^= s[0];
        s[3] ^= s[1];
        s[1] ^= s[2];
        s[0] ^= s[3];
        s[2] ^= t;
        s[3] = rotl(s[3], 45);
        *ret = result;
        return ST_OK;
}

/* --- messages --- */

#define MESSAGE_BYTES 300 /* RethinkDB's trunc_print */

Bytes message_datum_whole(Env *env, Value v)
{
        if (v.type == V_MINVAL || v.type == V_MAXVAL)
                return v.type == V_MINVAL ? BYTES_STR("r.minval") : BYTES_STR("r.maxval");
        return json_pretty_text(v, env->arena);
}

Bytes message_cut(Env *env, Bytes text)
{
        if (text.size <= MESSAGE_BYTES)
                return text;
        char *cut = arena_dup(env->arena, text.data, MESSAGE_BYTES);
        memcpy(cut + MESSAGE_BYTES - 3, "...", 3);
        return BYTES(cut, MESSAGE_BYTES);
}

Bytes message_datum(Env *env, Value v)
{
        return message_cut(env, message_datum_whole(env, v));
}

Status fail_no_attribute(Env *env, const Term *at, Bytes key, Value object)
{
        if (env->drops_missing)
                return fail(env, at, ERR_NON_EXISTENCE, "No attribute.");
        Bytes text = message_datum_whole(env, object);
        return fail(env, at, ERR_NON_EXISTENCE, "No attribute `%.*s` in object:\n%.*s", (int)key.size,
                    (const char *)key.data, (int)text.size, (const char *)text.data);
}
