/* transactions.c - transactions that clients hold over many queries, and their table `rethinkdb.transactions`.
 *
 *      insert -> OPEN --query enters--> busy --leaves--> OPEN ... --update state "committed"--> COMMITTED
 *                  |                                                     \-- others were faster --> ABORTED
 *                  |-- no query for its time, by the keeper --> ABORTED
 *                  `-- delete, or the end of its connection --> gone
 *
 * Who has it `busy` is alone with its Transaction, and without the registry's lock; others look at what was noted in
 * the HeldTransaction when it was last left. COMMITTED and ABORTED ones stay for a while, to tell who asks what became
 * of them: a client that lost its connection while it committed has nobody else to ask. A connection stays bound to an
 * ABORTED one until it ends it: the queries that were meant for it must not become true on their own. */
#include "table/transaction.h"

#include <stdio.h>

#include "os/thread.h"
#include "table/system_int.h"
#include "value/json.h"

#define ID_MAX         128
#define WHY_MAX        400
#define ENDED_MAX      1000 /* that are still told of */
#define TIMEOUT_MAX_S  86400
#define COMMIT_WAIT_MS 10000 /* for the turn, of who commits or deletes */
#define WAIT_STEP_MS   20

#define DEFAULT_IDLE_MS  60000
#define DEFAULT_MEMORY   ((size_t)128 << 20)
#define DEFAULT_OPEN_MAX 1000

typedef enum HeldState { HELD_OPEN, HELD_COMMITTED, HELD_ABORTED } HeldState;
static const char *const state_names[] = {"open", "committed", "aborted"};

struct HeldTransaction {
        HeldTransaction *prev, *next; /* GUARDED_BY(mu), as all below but what its busy one has */
        Transactions *all;
        Transaction *transaction; /* with who is busy */
        HeldState state;
        bool busy;
        bool unwanted; /* to be removed by who has it busy */
        int64_t started_us, used_ns, timeout_ns;
        QueryConnection *connection; /* that is bound to it; NULL: none */
        bool of_connection;
        uint64_t written_rows;
        size_t memory_bytes;
        TableRef **tables; /* counted */
        size_t table_count;
        char id[ID_MAX], why[WHY_MAX];
        char user[];
};

struct Transactions {
        TableCatalog *catalog;
        Mutex mu;                      /* order 87 in docs/locks.md; nothing is taken with it */
        Cond changed;                  /* the keeper waits */
        HeldTransaction *first, *last; /* GUARDED_BY(mu); oldest first */
        size_t open_count, ended_count;
        bool closing, keeper_started;
        Thread keeper;
};

static int64_t now_ns(const Transactions *all)
{
        const HostOps *host = all->catalog->host;
        return host->mono_ns(host->ctx);
}

/* --- the list --- */

static void held_free(HeldTransaction *held)
{
        transaction_free(held->transaction);
        for (size_t i = 0; i < held->table_count; i++)
                catalog_table_unref(held->tables[i]);
        mem_free(held->tables);
        mem_free(held);
}

static void list_add(Transactions *all, HeldTransaction *held)
{
        held->prev = all->last;
        if (all->last)
                all->last->next = held;
        else
                all->first = held;
        all->last = held;
        all->open_count++;
}

static void unbind(HeldTransaction *held)
{
        if (held->connection)
                atomic_store(&held->connection->bound, NULL);
        held->connection = NULL;
}

/* It is not busy, or the caller has it busy. The caller frees it, without the lock. */
static void list_remove(Transactions *all, HeldTransaction *held)
{
        unbind(held);
        if (held->prev)
                held->prev->next = held->next;
        else
                all->first = held->next;
        if (held->next)
                held->next->prev = held->prev;
        else
                all->last = held->prev;
        if (held->state == HELD_OPEN)
                all->open_count--;
        else
                all->ended_count--;
}

/* The oldest one that has ended and can be forgotten, out of the list; NULL: there are not too many. */
static HeldTransaction *list_prune(Transactions *all)
{
        HeldTransaction *held = all->ended_count > ENDED_MAX ? all->first : NULL;
        while (held && (held->state == HELD_OPEN || held->busy || held->connection))
                held = held->next;
        if (held)
                list_remove(all, held);
        return held;
}

static HeldTransaction *list_find(const Transactions *all, Bytes id)
{
        HeldTransaction *held = all->last; /* most are young */
        while (held && !bytes_equal(id, BYTES_STR(held->id)))
                held = held->prev;
        return held;
}

static void set_ended(HeldTransaction *held, HeldState state, const char *why)
{
        held->state = state;
        snprintf(held->why, sizeof held->why, "%s", why);
        held->all->open_count--;
        held->all->ended_count++;
}

/* What others may see of it; the caller has it busy, and the lock. */
static void note_figures(HeldTransaction *held)
{
        const Transaction *transaction = held->transaction;
        const TableRef *table;
        held->written_rows = transaction->written_rows;
        held->memory_bytes = transaction->draft ? draft_memory_bytes(transaction->draft) : 0;
        while ((table = transaction_table_at(transaction, held->table_count)) != NULL) {
                TableRef **tables = mem_realloc(held->tables, (held->table_count + 1) * sizeof *tables);
                if (!tables)
                        return; /* it shows with fewer */
                held->tables = tables;
                tables[held->table_count++] = catalog_table_ref((TableRef *)table);
        }
}

static bool may_use(const HeldTransaction *held, const char *user)
{
        return !user || strcmp(user, "admin") == 0 || strcmp(user, held->user) == 0;
}

/* --- for queries --- */

static Status none_such(Bytes id)
{
        return status_new(ERR_OP_FAILED, "There is no transaction `%.*s`: it was rolled back, or it is long over.",
                          (int)MIN(id.size, (size_t)ID_MAX), (const char *)id.data);
}

static Status over_error(const HeldTransaction *held)
{
        if (held->state == HELD_COMMITTED)
                return status_new(ERR_OP_FAILED, "The transaction `%s` is committed.", held->id);
        return status_new(ERR_OP_FAILED, "The transaction `%s` was aborted and rolled back: %s", held->id, held->why);
}

/* The lock is held. */
static Status find_usable(Transactions *all, Bytes id, const char *user, QueryConnection *connection,
                          HeldTransaction **ret_held)
{
        HeldTransaction *held = id.data ? list_find(all, id) : connection ? atomic_load(&connection->bound) : NULL;
        if (!held || !may_use(held, user) || held->unwanted)
                return none_such(id.data ? id : BYTES_STR(""));
        if (held->state != HELD_OPEN)
                return over_error(held);
        *ret_held = held;
        return ST_OK;
}

static Status transactions_enter(void *ctx, Bytes id, const char *user, QueryConnection *connection,
                                 Transaction **ret_transaction, bool *ret_busy)
{
        Transactions *all = ((TableCatalog *)ctx)->transactions;
        HeldTransaction *held;
        mutex_lock(&all->mu);
        Status st = find_usable(all, id, user, connection, &held);
        if (!st) {
                *ret_busy = held->busy;
                held->busy = true;
                *ret_transaction = held->transaction;
        }
        mutex_unlock(&all->mu);
        return st;
}

static void give_up_turn(HeldTransaction *held)
{
        Transactions *all = held->all;
        HeldTransaction *gone = NULL;
        mutex_lock(&all->mu);
        note_figures(held);
        held->used_ns = now_ns(all);
        held->busy = false;
        if (held->unwanted) {
                gone = held;
                list_remove(all, held);
        }
        mutex_unlock(&all->mu);
        if (gone)
                held_free(gone);
}

static void transactions_leave(Transaction *transaction)
{
        if (transaction->held)
                give_up_turn(transaction->held);
        else
                transaction_free(transaction);
}

static Status transactions_begin(void *ctx, const TransactionOptions *options, Transaction **ret_transaction)
{
        return transaction_new(ctx, options, ret_transaction);
}

/* Out of the list now, or when who has it busy is done. */
static void discard(Transactions *all, HeldTransaction *held) RELEASE(all->mu)
{
        bool busy = held->busy;
        unbind(held);
        held->unwanted = true;
        if (!busy)
                list_remove(all, held);
        mutex_unlock(&all->mu);
        if (!busy)
                held_free(held);
}

static void transactions_connection_end(void *ctx, QueryConnection *connection)
{
        Transactions *all = ((TableCatalog *)ctx)->transactions;
        if (likely(!atomic_load(&connection->bound)))
                return;
        mutex_lock(&all->mu);
        HeldTransaction *held = atomic_load(&connection->bound);
        if (held)
                discard(all, held);
        else
                mutex_unlock(&all->mu);
}

/* --- the keeper: a thread that there is once somebody has held a transaction --- */

/* Aborts one that was idle for too long; *ret_wait_ns: until the next one may be. */
static bool expire_one(Transactions *all, uint64_t *ret_wait_ns) REQUIRES(all->mu)
{
        int64_t now = now_ns(all);
        *ret_wait_ns = UINT64_MAX;
        for (HeldTransaction *held = all->first; held; held = held->next) {
                if (held->state != HELD_OPEN || held->busy)
                        continue;
                int64_t left = held->used_ns + held->timeout_ns - now;
                if (left > 0) {
                        *ret_wait_ns = MIN(*ret_wait_ns, (uint64_t)left);
                        continue;
                }
                char why[WHY_MAX];
                snprintf(why, sizeof why, "idle for %g s", (double)held->timeout_ns / 1e9);
                set_ended(held, HELD_ABORTED, why);
                held->busy = true;
                mutex_unlock(&all->mu);
                transaction_end(held->transaction); /* may take long, and takes locks */
                give_up_turn(held);
                mutex_lock(&all->mu);
                return true;
        }
        return false;
}

static void keeper_main(void *arg)
{
        Transactions *all = arg;
        mutex_lock(&all->mu);
        while (!all->closing) {
                uint64_t wait_ns;
                if (expire_one(all, &wait_ns))
                        continue;
                if (wait_ns == UINT64_MAX)
                        cond_wait(&all->changed, &all->mu);
                else
                        (void)cond_wait_for(&all->changed, &all->mu, wait_ns);
        }
        mutex_unlock(&all->mu);
}

void transactions_expire(TableCatalog *catalog)
{
        Transactions *all = catalog->transactions;
        uint64_t wait_ns;
        mutex_lock(&all->mu);
        while (expire_one(all, &wait_ns))
                ;
        mutex_unlock(&all->mu);
}

static Status keeper_start(Transactions *all) REQUIRES(all->mu)
{
        if (all->keeper_started || all->catalog->by_hand)
                return ST_OK;
        TRY(thread_start(&all->keeper, "transactions", keeper_main, all));
        all->keeper_started = true;
        return ST_OK;
}

/* --- life --- */

Status transactions_new(TableCatalog *catalog, Transactions **ret_transactions)
{
        Transactions *all = mem_zalloc(sizeof *all);
        if (!all)
                return status_nomem();
        all->catalog = catalog;
        mutex_init(&all->mu);
        cond_init(&all->changed);
        catalog->limits = (TransactionLimits){DEFAULT_IDLE_MS, DEFAULT_MEMORY, DEFAULT_OPEN_MAX};
        *ret_transactions = all;
        return ST_OK;
}

Transactions *transactions_free(Transactions *all) NO_TSA
{
        if (!all)
                return NULL;
        mutex_lock(&all->mu);
        all->closing = true;
        cond_signal(&all->changed);
        mutex_unlock(&all->mu);
        if (all->keeper_started)
                thread_join(&all->keeper);
        while (all->first) {
                HeldTransaction *held = all->first;
                list_remove(all, held);
                held_free(held);
        }
        cond_done(&all->changed);
        mutex_done(&all->mu);
        mem_free(all);
        return NULL;
}

void table_source_limit_transactions(TableCatalog *catalog, const TransactionLimits *limits)
{
        if (limits->idle_ms)
                catalog->limits.idle_ms = limits->idle_ms;
        if (limits->memory_max_bytes)
                catalog->limits.memory_max_bytes = limits->memory_max_bytes;
        if (limits->open_max)
                catalog->limits.open_max = limits->open_max;
}

void transactions_fill(TableSource *source)
{
        source->transaction_begin = transactions_begin;
        source->transaction_enter = transactions_enter;
        source->transaction_leave = transactions_leave;
        source->transaction_view = transaction_view;
        source->transaction_commit = transaction_commit;
        source->connection_end = transactions_connection_end;
}

/* --- the table: reading --- */

typedef struct HeldRow {
        const HeldTransaction *held;
        int64_t now_ns;
} HeldRow;

static Value tables_value(const HeldTransaction *held, Arena *arena)
{
        ArrayBuilder names;
        array_init(&names, arena, held->table_count);
        for (size_t i = 0; i < held->table_count; i++) {
                const TableInfo *info = &held->tables[i]->info;
                array_add(&names, value_str(arena_printf(arena, "%s.%s", (const char *)info->db.data,
                                                         (const char *)info->name.data)));
        }
        return array_take(&names);
}

static Value build_held(void *ctx, Arena *arena)
{
        const HeldRow *row = ctx;
        const HeldTransaction *held = row->held;
        bool open = held->state == HELD_OPEN;
        ObjectBuilder object;
        object_init(&object, arena, 12);
        object_add_str(&object, "connection", value_bool(held->of_connection));
        object_add_str(&object, "error", *held->why ? system_printed(arena, held->why) : value_null());
        object_add_str(&object, "id", system_printed(arena, held->id));
        object_add_str(&object, "idle_sec",
                       open && !held->busy ? value_number((double)(row->now_ns - held->used_ns) / 1e9) : value_null());
        object_add_str(&object, "isolation", value_str(held->transaction->serializable ? "serializable" : "snapshot"));
        object_add_str(&object, "memory_bytes", value_number((double)held->memory_bytes));
        object_add_str(&object, "running", value_bool(open && held->busy));
        object_add_str(&object, "started", value_time(arena, (double)held->started_us / 1e6, BYTES_STR("+00:00")));
        object_add_str(&object, "state", value_str(state_names[held->state]));
        object_add_str(&object, "tables", tables_value(held, arena));
        object_add_str(&object, "timeout", value_number((double)held->timeout_ns / 1e9));
        object_add_str(&object, "user", system_printed(arena, held->user));
        object_add_str(&object, "written_rows", value_number((double)held->written_rows));
        return object_take(&object);
}

static Status transactions_collect(SystemCollector *c)
{
        Transactions *all = c->table->catalog->transactions;
        Status st = ST_OK;
        HeldRow row = {.now_ns = now_ns(all)};
        mutex_lock(&all->mu);
        for (row.held = all->first; row.held && !st; row.held = row.held->next)
                if (may_use(row.held, c->user) && !row.held->unwanted)
                        st = system_add(c, build_held, &row);
        mutex_unlock(&all->mu);
        return st;
}

Status transactions_each_open(TableCatalog *catalog, Status (*each)(void *ctx, const OpenTransaction *open), void *ctx)
{
        Transactions *all = catalog->transactions;
        int64_t now_us = catalog->host->now_us(catalog->host->ctx);
        Status st = ST_OK;
        mutex_lock(&all->mu);
        for (HeldTransaction *held = all->first; held && !st; held = held->next) {
                OpenTransaction open = {.id = held->id,
                                        .user = held->user,
                                        .duration_sec = (double)(now_us - held->started_us) / 1e6,
                                        .written_rows = held->written_rows};
                if (held->state == HELD_OPEN)
                        st = each(ctx, &open);
        }
        mutex_unlock(&all->mu);
        return st;
}

/* --- the table: writing --- */

#define WRONG "It's illegal to write this to the `rethinkdb.transactions` table: "

typedef struct HeldOptions {
        Bytes id;
        int64_t timeout_ms;
        bool serializable, of_connection;
} HeldOptions;

static Status read_options(const SystemWrite *w, HeldOptions *options)
{
        SystemFields fields = {.row = w->new_row, .arena = w->arena, .prefix = WRONG};
        Value v;
        TRY(fields_get(&fields, "id", &v));
        if (!value_is(v, V_STRING) || v.size == 0 || v.size >= ID_MAX)
                return fields_wrong(&fields, "id", "Expected a string of 1 to 127 bytes; got ", v);
        options->id = value_bytes(v);
        if (fields_has(&fields, "timeout")) {
                TRY(fields_get(&fields, "timeout", &v));
                if (!value_is(v, V_NUMBER) || !(v.number > 0) || v.number > TIMEOUT_MAX_S)
                        return fields_wrong(&fields, "timeout", "Expected seconds, more than 0 and at most 86400; got ",
                                            v);
                options->timeout_ms = MAX((int64_t)(v.number * 1000), (int64_t)1);
        }
        if (fields_has(&fields, "isolation")) {
                TRY(fields_get(&fields, "isolation", &v));
                options->serializable = value_is(v, V_STRING) && value_bytes_are(v, "serializable");
                if (!options->serializable && !(value_is(v, V_STRING) && value_bytes_are(v, "snapshot")))
                        return fields_wrong(&fields, "isolation", "Expected \"snapshot\" or \"serializable\"; got ", v);
        }
        if (fields_has(&fields, "connection")) {
                TRY(fields_get(&fields, "connection", &v));
                if (!value_is(v, V_BOOL))
                        return fields_wrong(&fields, "connection", "Expected a boolean; got ", v);
                options->of_connection = v.boolean;
        }
        return fields_no_others(&fields);
}

static Status held_new(Transactions *all, const HeldOptions *options, const char *user, HeldTransaction **ret_held)
{
        TableCatalog *catalog = all->catalog;
        HeldTransaction *held = mem_zalloc(sizeof *held + strlen(user) + 1);
        if (!held)
                return status_nomem();
        Status st = transaction_new(catalog, &(TransactionOptions){.serializable = options->serializable},
                                    &held->transaction);
        if (st) {
                mem_free(held);
                return st;
        }
        held->transaction->held = held;
        held->all = all;
        held->started_us = catalog->host->now_us(catalog->host->ctx);
        held->used_ns = now_ns(all);
        held->timeout_ns = (options->timeout_ms ? options->timeout_ms : catalog->limits.idle_ms) * 1000000;
        held->of_connection = options->of_connection;
        snprintf(held->id, sizeof held->id, "%.*s", (int)options->id.size, (const char *)options->id.data);
        memcpy(held->user, user, strlen(user) + 1);
        *ret_held = held;
        return ST_OK;
}

/* Under the lock: into the list, and bound to its connection. */
static Status held_add(Transactions *all, HeldTransaction *held, QueryConnection *connection) REQUIRES(all->mu)
{
        size_t most = all->catalog->limits.open_max;
        if (list_find(all, BYTES_STR(held->id)))
                return status_new(ERR_OP_FAILED, "There is a transaction `%s` already.", held->id);
        if (all->open_count >= most)
                return status_new(ERR_RESOURCE,
                                  "%zu transactions are open, which is the most there may be (`--max-transactions`).",
                                  most);
        TRY(keeper_start(all));
        if (held->of_connection) {
                HeldTransaction *before = atomic_load(&connection->bound);
                if (before && before->state == HELD_OPEN)
                        return status_new(ERR_OP_FAILED, "This connection is in the transaction `%s` already.",
                                          before->id);
                if (before)
                        unbind(before);
                held->connection = connection;
                atomic_store(&connection->bound, held);
        }
        list_add(all, held);
        cond_signal(&all->changed);
        return ST_OK;
}

static Status insert_held(const SystemWrite *w)
{
        Transactions *all = w->table->catalog->transactions;
        HeldOptions options = {.timeout_ms = 0};
        HeldTransaction *held;
        TRY(read_options(w, &options));
        if (options.of_connection && !w->connection)
                return status_new(ERR_OP_FAILED, WRONG "there is no connection that could be in a transaction.");
        TRY(held_new(all, &options, w->user, &held));
        HeldRow row = {.held = held, .now_ns = held->used_ns};
        Status st = build_guarded(w->arena, build_held, &row, w->ret_row);
        mutex_lock(&all->mu);
        if (!st)
                st = held_add(all, held, w->connection);
        HeldTransaction *pruned = list_prune(all);
        mutex_unlock(&all->mu);
        if (pruned)
                held_free(pruned);
        if (st)
                held_free(held);
        return st;
}

/* The turn of who ends it: it has it already, or waits for it. */
static Status take_turn(Transactions *all, const SystemWrite *w, HeldTransaction **ret_held)
{
        const HostOps *host = all->catalog->host;
        Bytes id = value_bytes(w->id);
        for (unsigned waited = 0;; waited += WAIT_STEP_MS) {
                mutex_lock(&all->mu);
                Status st = find_usable(all, id, w->user, NULL, ret_held);
                bool mine = !st && ((*ret_held)->busy == false || (*ret_held)->transaction == w->transaction);
                if (mine)
                        (*ret_held)->busy = true;
                mutex_unlock(&all->mu);
                if (st || mine)
                        return st;
                if (waited >= COMMIT_WAIT_MS)
                        return status_new(ERR_OP_FAILED, "The transaction `%.*s` is busy with another query.",
                                          (int)id.size, (const char *)id.data);
                if (host->sleep_ms)
                        host->sleep_ms(host->ctx, WAIT_STEP_MS);
        }
}

static Status commit_held(const SystemWrite *w)
{
        Transactions *all = w->table->catalog->transactions;
        HeldTransaction *held;
        TRY(take_turn(all, w, &held));
        Status st = transaction_commit(held->transaction, w->position);
        bool conflict = status_code(st) == ERR_CONFLICT, over = !st || conflict;
        if (over)
                transaction_end(held->transaction);
        mutex_lock(&all->mu);
        if (over) {
                set_ended(held, conflict ? HELD_ABORTED : HELD_COMMITTED, conflict ? status_message(st) : "");
                unbind(held); /* whoever committed has been told how it went */
        }
        mutex_unlock(&all->mu);
        if (held->transaction != w->transaction)
                give_up_turn(held);
        return st;
}

static bool asks_for_commit(const SystemWrite *w)
{
        Value state = value_get_str(w->new_row, "state");
        if (!value_is(state, V_STRING) || !value_bytes_are(state, "committed") ||
            value_count(w->new_row) != value_count(w->old_row))
                return false;
        for (size_t i = 0; i < value_count(w->new_row); i++) {
                Bytes field, old_field;
                Value v = value_field_at(w->new_row, i, &field), old = value_field_at(w->old_row, i, &old_field);
                if (!bytes_equal(field, old_field) || (!bytes_equal(field, BYTES_STR("state")) && !value_equal(v, old)))
                        return false;
        }
        return true;
}

static Status delete_held(const SystemWrite *w)
{
        Transactions *all = w->table->catalog->transactions;
        mutex_lock(&all->mu);
        HeldTransaction *held = list_find(all, value_bytes(w->id));
        if (held && may_use(held, w->user))
                discard(all, held);
        else
                mutex_unlock(&all->mu); /* gone already */
        return ST_OK;
}

static Status transactions_write(const SystemWrite *w)
{
        bool had = !value_is(w->old_row, V_NULL), has = !value_is(w->new_row, V_NULL);
        if (!had && !has) /* who commits what is gone must not take silence for a yes */
                return w->deletes ? ST_OK : none_such(value_is(w->id, V_STRING) ? value_bytes(w->id) : BYTES_STR(""));
        if (!had)
                return insert_held(w);
        if (!has)
                return delete_held(w);
        if (value_equal(w->old_row, w->new_row))
                return ST_OK;
        if (asks_for_commit(w))
                return commit_held(w);
        return status_new(ERR_OP_FAILED, WRONG "only its field `state` can be changed, to \"committed\". Delete a "
                                               "transaction to roll it back.");
}

const SystemTable system_transactions = {.name = "transactions",
                                         .id = "5b1f6a1e-9b0a-5d0a-8f57-2a9d3c0e7c41",
                                         .collect = transactions_collect,
                                         .write = transactions_write,
                                         .own_rows = true,
                                         .in_transactions = true,
                                         .asks_always = true,
                                         .unlisted = true,
                                         .look_ms = 250,
                                         .strict = true};
