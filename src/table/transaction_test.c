/* transaction_test.c - transactions over tables: what they see, who wins, what is left after a crash; random ones
 * beside a model; concurrent ones whose recorded history is checked. Those that clients hold: transactions_test.c. */
#include "table/table_index_test.h"

#include <stdlib.h>

#include "os/thread.h"
#include "table/transaction.h"

/* --- statements --- */

static Transaction *begin(World *w, bool serializable)
{
        Transaction *transaction;
        ok(w->source->transaction_begin(w->catalog, &(TransactionOptions){serializable}, &transaction));
        return transaction;
}

static Status try_put(World *w, Transaction *transaction, TableRef *table, Value key, Value row, Arena *arena)
{
        RowOutcome outcome = {0};
        WriteOptions options = {.transaction = transaction, .durability = DURABILITY_HARD};
        uint64_t position = 0;
        Status st = w->source->write(table, &key, 1, test_set, &row, &options, arena, &outcome, &position);
        if (!st)
                st = take(outcome.error);
        status_ignore(outcome.error);
        return st;
}

static void tx_put(World *w, Transaction *transaction, TableRef *table, int key, const char *row)
{
        ok(try_put(w, transaction, table, value_number(key), row ? json(w, row) : value_null(), &w->arena));
}

static const char *tx_get(World *w, Transaction *transaction, TableRef *table, int key)
{
        TableView *view;
        Value row;
        ok(w->source->transaction_view(transaction, table, NULL, &view));
        ok(w->source->view_get(view, value_number(key), &w->arena, &row));
        const char *text = text_of_value(w, row);
        w->source->view_close(view);
        return text;
}

static uint64_t tx_count(World *w, Transaction *transaction, TableRef *table, const char *index)
{
        TableView *view;
        uint64_t n;
        ok(w->source->transaction_view(transaction, table, NULL, &view));
        if (index)
                ok(w->source->index_count(view, BYTES_STR(index), NULL, &n));
        else
                ok(w->source->view_count(view, NULL, &n));
        w->source->view_close(view);
        return n;
}

static Status commit(World *w, Transaction *transaction)
{
        uint64_t position = 0;
        Status st = w->source->transaction_commit(transaction, &position);
        w->source->transaction_leave(transaction);
        return st;
}

static void rollback(World *w, Transaction *transaction)
{
        w->source->transaction_leave(transaction);
}

static void set(World *w, TableRef *table, int key, const char *row)
{
        RowOutcome outcome = put(w, table, value_number(key), row ? json(w, row) : value_null());
        ok(outcome.error);
}

static const char *now(World *w, TableRef *table, int key)
{
        return text_of_value(w, get(w, table, value_number(key)));
}

static void setup(World *w, TableRef **ret_t, TableRef **ret_u)
{
        world_init(w, 5);
        w->by_hand = true;
        world_open(w);
        make_table(w, "test", "t");
        make_table(w, "test", "u");
        *ret_t = find(w, "test", "t");
        *ret_u = find(w, "test", "u");
}

static void teardown(World *w, TableRef *t, TableRef *u)
{
        w->source->table_unref(t);
        w->source->table_unref(u);
        world_done(w);
}

/* --- what is seen, and when --- */

static void test_visibility(void **state)
{
        World w;
        TableRef *t, *u;
        setup(&w, &t, &u);
        set(&w, t, 1, "{\"id\":1,\"a\":1}");
        set(&w, u, 1, "{\"id\":1,\"a\":1}");
        Transaction *tx = begin(&w, false);
        set(&w, u, 1, "{\"id\":1,\"a\":2}"); /* before it has looked at u, which it sees as it was */
        assert_string_equal(tx_get(&w, tx, u, 1), "{\"a\":1,\"id\":1}");
        tx_put(&w, tx, t, 1, "{\"id\":1,\"a\":5}");
        tx_put(&w, tx, t, 2, "{\"id\":2,\"a\":6}");
        assert_string_equal(tx_get(&w, tx, t, 1), "{\"a\":5,\"id\":1}"); /* its own writes */
        assert_int_equal(tx_count(&w, tx, t, NULL), 2);
        assert_string_equal(now(&w, t, 1), "{\"a\":1,\"id\":1}"); /* nobody else's */
        assert_int_equal(count(&w, t), 1);
        TableView *view;
        Value row;
        ok(w.source->transaction_view(tx, t, NULL, &view));
        ok(commit(&w, tx));
        ok(w.source->view_get(view, value_number(2), &w.arena, &row)); /* a view may be closed later */
        assert_true(value_is_object(row));
        w.source->view_close(view);
        assert_string_equal(now(&w, t, 1), "{\"a\":5,\"id\":1}");
        assert_int_equal(count(&w, t), 2);

        tx = begin(&w, false);
        tx_put(&w, tx, t, 1, NULL);
        tx_put(&w, tx, u, 9, "{\"id\":9}");
        assert_string_equal(tx_get(&w, tx, t, 1), "null");
        rollback(&w, tx);
        assert_int_equal(count(&w, t), 2);
        assert_int_equal(count(&w, u), 1);
        teardown(&w, t, u);
}

static void test_one_frame(void **state)
{
        World w;
        TableRef *t, *u;
        StoreStats before, after;
        setup(&w, &t, &u);
        Transaction *tx = begin(&w, false);
        char text[32];
        for (int i = 0; i < 300; i++) { /* more than a batch of writes */
                snprintf(text, sizeof text, "{\"id\":%d}", i);
                tx_put(&w, tx, i % 2 ? t : u, i, text);
        }
        store_stats(w.store, &before);
        ok(commit(&w, tx));
        store_stats(w.store, &after);
        assert_int_equal(after.last_position, before.last_position + 1);
        assert_int_equal(count(&w, t) + count(&w, u), 300);
        /* What ends as it began is no change. */
        tx = begin(&w, false);
        tx_put(&w, tx, u, 0, "{\"id\":0,\"x\":1}");
        tx_put(&w, tx, u, 0, "{\"id\":0}");
        tx_put(&w, tx, u, 1000, "{\"id\":1000}");
        tx_put(&w, tx, u, 1000, NULL);
        set(&w, u, 0, "{\"id\":0,\"y\":1}");
        store_stats(w.store, &before);
        ok(commit(&w, tx));
        store_stats(w.store, &after);
        assert_int_equal(after.last_position, before.last_position);
        assert_string_equal(now(&w, u, 0), "{\"id\":0,\"y\":1}");
        teardown(&w, t, u);
}

/* --- who wins --- */

static void test_first_writer_wins(void **state)
{
        World w;
        TableRef *t, *u;
        setup(&w, &t, &u);
        set(&w, t, 1, "{\"id\":1,\"a\":1}");
        set(&w, t, 2, "{\"id\":2,\"a\":1}");
        Transaction *a = begin(&w, false), *b = begin(&w, false);
        tx_put(&w, a, t, 1, "{\"id\":1,\"a\":10}");
        tx_put(&w, a, u, 1, "{\"id\":1}");
        tx_put(&w, b, t, 1, "{\"id\":1,\"a\":20}");
        tx_put(&w, b, u, 2, "{\"id\":2}");
        ok(commit(&w, a));
        refused(commit(&w, b), ERR_CONFLICT,
                "Transaction conflict: the row of table `test.t` with primary key 1 was changed since the transaction "
                "began. Run it again.");
        assert_string_equal(now(&w, t, 1), "{\"a\":10,\"id\":1}");
        assert_string_equal(now(&w, u, 2), "null"); /* nothing of it */

        /* Other rows of the table are no matter; an insert of the same key, and a deletion, are. */
        a = begin(&w, false);
        tx_put(&w, a, t, 1, "{\"id\":1,\"a\":11}");
        set(&w, t, 2, "{\"id\":2,\"a\":2}");
        ok(commit(&w, a));
        a = begin(&w, false);
        tx_put(&w, a, t, 3, "{\"id\":3,\"a\":1}");
        set(&w, t, 3, "{\"id\":3,\"a\":2}");
        refused(commit(&w, a), ERR_CONFLICT, NULL);
        a = begin(&w, false);
        tx_put(&w, a, t, 2, "{\"id\":2,\"a\":7}");
        set(&w, t, 2, NULL);
        refused(commit(&w, a), ERR_CONFLICT, NULL);
        a = begin(&w, false);
        tx_put(&w, a, t, 1, NULL);
        set(&w, t, 1, NULL); /* both delete it: that is a conflict, too */
        refused(commit(&w, a), ERR_CONFLICT, NULL);
        teardown(&w, t, u);
}

/* Two that each read what the other writes: under snapshot isolation both go through, serializable one does not. */
static void test_write_skew(void **state)
{
        for (int serializable = 0; serializable < 2; serializable++) {
                World w;
                TableRef *t, *u;
                setup(&w, &t, &u);
                set(&w, t, 1, "{\"id\":1,\"on\":true}");
                set(&w, t, 2, "{\"id\":2,\"on\":true}");
                Transaction *a = begin(&w, serializable), *b = begin(&w, serializable);
                assert_string_equal(tx_get(&w, a, t, 2), "{\"id\":2,\"on\":true}");
                assert_string_equal(tx_get(&w, b, t, 1), "{\"id\":1,\"on\":true}");
                tx_put(&w, a, t, 1, "{\"id\":1,\"on\":false}");
                tx_put(&w, b, t, 2, "{\"id\":2,\"on\":false}");
                ok(commit(&w, a));
                Status st = commit(&w, b);
                assert_int_equal(status_code(st), serializable ? ERR_CONFLICT : ERR_NONE);
                if (st)
                        assert_string_equal(status_message(st), "Transaction conflict: what it has read of table "
                                                                "`test.t` was changed since it began. Run it again.");
                status_ignore(st);
                /* A row that comes into a range which was read; and a table that was only read. */
                a = begin(&w, serializable);
                assert_int_equal(tx_count(&w, a, t, NULL), 2);
                tx_put(&w, a, u, 1, "{\"id\":1}");
                set(&w, t, 3, "{\"id\":3}");
                st = commit(&w, a);
                assert_int_equal(status_code(st), serializable ? ERR_CONFLICT : ERR_NONE);
                status_ignore(st);
                /* Who only reads is never refused. */
                a = begin(&w, serializable);
                assert_int_equal(tx_count(&w, a, t, NULL), 3);
                set(&w, t, 4, "{\"id\":4}");
                ok(commit(&w, a));
                teardown(&w, t, u);
        }
}

/* --- indexes --- */

static void test_indexes(void **state)
{
        World w;
        TableRef *t, *u;
        KeyBounds seven = bounds_between(value_number(7), BOUND_CLOSED, value_number(7), BOUND_CLOSED);
        setup(&w, &t, &u);
        create(&w, t, "a", SIMPLE, false, false);
        ok(try_build_all(&w));
        set(&w, t, 1, "{\"id\":1,\"a\":7}");
        Transaction *tx = begin(&w, false);
        tx_put(&w, tx, t, 1, "{\"id\":1,\"a\":8}");
        tx_put(&w, tx, t, 2, "{\"id\":2,\"a\":7}");
        tx_put(&w, tx, t, 3, "{\"id\":3,\"a\":9}");
        assert_int_equal(tx_count(&w, tx, t, "a"), 3);
        TableView *view;
        uint64_t n;
        ok(w.source->transaction_view(tx, t, NULL, &view));
        ok(w.source->index_count(view, BYTES_STR("a"), &seven, &n));
        w.source->view_close(view);
        assert_int_equal(n, 1);
        assert_string_equal(scanned(&w, t, "a", &seven, false), "[1]");
        ok(commit(&w, tx));
        assert_string_equal(scanned(&w, t, "a", NULL, true), "[3,1,2]");

        /* An index made while it was open gets its rows; one of before it reads as it was. */
        tx = begin(&w, false);
        tx_put(&w, tx, t, 4, "{\"id\":4,\"a\":1,\"b\":1}");
        create(&w, t, "b", COMPOUND, false, false);
        assert_int_equal(tx_count(&w, tx, t, "a"), 4);
        ok(try_build_all(&w));
        ok(commit(&w, tx));
        w.source->table_unref(t);
        t = find(&w, "test", "t");
        check_agreement_of(&w, (TableRef *[]){t, u}, 2);
        assert_string_equal(scanned(&w, t, "b", NULL, false), "[4]");

        /* A table whose indexes changed before it was looked at cannot be seen as it was. */
        tx = begin(&w, false);
        create(&w, t, "c", SIMPLE, false, false);
        refused(w.source->transaction_view(tx, t, NULL, &view), ERR_CONFLICT,
                "Transaction conflict: the indexes of table `test.t` were changed since the transaction began. Run it "
                "again.");
        rollback(&w, tx);
        tx = begin(&w, false);
        make_table(&w, "test", "v");
        TableRef *v = find(&w, "test", "v");
        refused(w.source->transaction_view(tx, v, NULL, &view), ERR_CONFLICT, NULL);
        rollback(&w, tx);
        w.source->table_unref(v);
        teardown(&w, t, u);
}

static void test_unique(void **state)
{
        World w;
        TableRef *t, *u;
        setup(&w, &t, &u);
        ok(try_create_unique(&w, t, "a", SIMPLE, false));
        ok(try_build_all(&w));
        w.source->table_unref(t);
        t = find(&w, "test", "t");
        set(&w, t, 1, "{\"id\":1,\"a\":1}");
        set(&w, t, 2, "{\"id\":2,\"a\":2}");
        Transaction *tx = begin(&w, false);
        Status st = try_put(&w, tx, t, value_number(3), json(&w, "{\"id\":3,\"a\":1}"), &w.arena);
        assert_int_equal(status_code(st), ERR_OP_FAILED); /* the statement's error, as outside */
        status_ignore(st);
        tx_put(&w, tx, t, 1, NULL);
        tx_put(&w, tx, t, 2, "{\"id\":2,\"a\":1}"); /* two rows change places */
        tx_put(&w, tx, t, 1, "{\"id\":1,\"a\":2}");
        ok(commit(&w, tx));
        assert_string_equal(scanned(&w, t, "a", NULL, false), "[2,1]");
        check_agreement_of(&w, (TableRef *[]){t, u}, 2);
        /* The value was free when it began: somebody else took it. */
        tx = begin(&w, false);
        tx_put(&w, tx, t, 5, "{\"id\":5,\"a\":5}");
        set(&w, t, 6, "{\"id\":6,\"a\":5}");
        refused(commit(&w, tx), ERR_CONFLICT,
                "Transaction conflict: Duplicate value in unique index `a`: 5 is that of the row with primary key 6. "
                "Run it again.");
        check_agreement_of(&w, (TableRef *[]){t, u}, 2);
        teardown(&w, t, u);
}

/* --- beside a model --- */

enum { ROWS = 24, OPEN = 5 };
typedef struct Table {
        int of[ROWS]; /* 0: no row */
        unsigned version;
} Table;
typedef struct Model {
        Table tables[2];
} Model;
typedef struct OpenTx {
        Transaction *tx; /* NULL: none */
        bool serializable;
        Model then, now;
        bool read[2][ROWS], wrote[2][ROWS], ranged[2];
} OpenTx;

static uint64_t seed;
static unsigned rnd(unsigned below)
{
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        return (unsigned)((seed * 0x2545f4914f6cdd1dull >> 33) % below);
}

static const char *row_text(char out[64], unsigned key, int a)
{
        if (!a)
                return NULL;
        snprintf(out, 64, "{\"id\":%u,\"a\":%d}", key, a);
        return out;
}

static void check_tx(World *w, TableRef **tables, OpenTx *open)
{
        unsigned t = rnd(2), key = rnd(ROWS);
        TableView *view;
        TableScan *scan;
        uint64_t total;
        Value row;
        Table *model = &open->now.tables[t];
        ok(w->source->transaction_view(open->tx, tables[t], NULL, &view));
        ok(w->source->view_get(view, value_number(key), &w->arena, &row));
        open->read[t][key] = true;
        assert_int_equal(value_is_object(row) ? (int)value_get_str(row, "a").number : 0, model->of[key]);
        if (rnd(3) == 0) {
                KeyBounds bounds = bounds_between(value_number(3), BOUND_OPEN, value_number(15), BOUND_CLOSED);
                bool descending = rnd(2);
                open->ranged[t] = true;
                ok(w->source->index_count(view, BYTES_STR("a"), &bounds, &total));
                unsigned within = 0, all = 0;
                for (unsigned k = 0; k < ROWS; k++) {
                        within += model->of[k] > 3 && model->of[k] <= 15;
                        all += model->of[k] != 0;
                }
                assert_int_equal(total, within);
                ok(w->source->scan_open(view, NULL, descending, &scan));
                for (unsigned i = 0; i < ROWS; i++) {
                        unsigned k = descending ? ROWS - 1 - i : i;
                        if (!model->of[k])
                                continue;
                        ok(w->source->scan_next(scan, &w->arena, &row));
                        assert_int_equal((int)value_get_str(row, "id").number, (int)k);
                }
                ok(w->source->scan_next(scan, &w->arena, &row));
                assert_true(value_is(row, V_NONE));
                w->source->scan_close(scan);
                ok(w->source->view_count(view, NULL, &total));
                assert_int_equal(total, all);
        }
        w->source->view_close(view);
}

static bool should_conflict(const OpenTx *open, const Model *model)
{
        bool wrote = false, conflict = false;
        for (unsigned t = 0; t < 2; t++) {
                bool net = false;
                for (unsigned k = 0; k < ROWS; k++) {
                        int then = open->then.tables[t].of[k], is = model->tables[t].of[k];
                        bool changes = open->now.tables[t].of[k] != then;
                        net |= open->wrote[t][k];
                        conflict |= changes && is != then;
                        conflict |= open->serializable && !open->ranged[t] && open->read[t][k] && is != then;
                }
                wrote |= net;
                conflict |= open->serializable && open->ranged[t] &&
                            model->tables[t].version != open->then.tables[t].version;
        }
        return wrote && conflict;
}

static void commit_tx(World *w, OpenTx *open, Model *model)
{
        bool conflict = should_conflict(open, model);
        Status st = commit(w, open->tx);
        assert_int_equal(status_code(st), conflict ? ERR_CONFLICT : ERR_NONE);
        status_ignore(st);
        for (unsigned t = 0; t < 2 && !conflict; t++) {
                bool changed = false;
                for (unsigned k = 0; k < ROWS; k++)
                        if (open->now.tables[t].of[k] != open->then.tables[t].of[k]) {
                                model->tables[t].of[k] = open->now.tables[t].of[k];
                                changed = true;
                        }
                model->tables[t].version += changed;
        }
        *open = (OpenTx){0};
}

static void step(World *w, TableRef **tables, OpenTx *open, Model *model)
{
        OpenTx *one = &open[rnd(OPEN)];
        unsigned t = rnd(2), key = rnd(ROWS);
        int a = rnd(3) ? 1 + (int)rnd(20) : 0;
        char text[64];
        if (rnd(8) == 0) { /* outside of all */
                if (model->tables[t].of[key] != a)
                        model->tables[t].version++;
                model->tables[t].of[key] = a;
                set(w, tables[t], (int)key, row_text(text, key, a));
                return;
        }
        if (!one->tx) {
                *one = (OpenTx){.serializable = rnd(2), .then = *model, .now = *model};
                one->tx = begin(w, one->serializable);
        }
        switch (rnd(6)) {
        case 0:
        case 1:
        case 2:
                tx_put(w, one->tx, tables[t], (int)key, row_text(text, key, a));
                one->read[t][key] = true; /* a write looks at what was there */
                one->wrote[t][key] |= one->now.tables[t].of[key] != a;
                one->now.tables[t].of[key] = a;
                break;
        case 3:
        case 4: check_tx(w, tables, one); break;
        default:
                if (rnd(3) == 0)
                        commit_tx(w, one, model);
        }
}

static void test_model(void **state)
{
        for (unsigned round = 1; round <= 12; round++) {
                World w;
                TableRef *tables[2];
                OpenTx open[OPEN] = {{0}};
                Model model = {0};
                setup(&w, &tables[0], &tables[1]);
                for (unsigned t = 0; t < 2; t++)
                        create(&w, tables[t], "a", SIMPLE, false, false);
                ok(try_build_all(&w));
                seed = round;
                for (unsigned i = 0; i < 1200; i++) {
                        step(&w, tables, open, &model);
                        if (i % 100 == 0)
                                arena_reset(&w.arena);
                }
                for (unsigned i = 0; i < OPEN; i++)
                        if (open[i].tx)
                                rollback(&w, open[i].tx);
                for (unsigned t = 0; t < 2; t++) {
                        for (unsigned k = 0; k < ROWS; k++) {
                                Value row = get(&w, tables[t], value_number(k));
                                assert_int_equal(value_is_object(row) ? (int)value_get_str(row, "a").number : 0,
                                                 model.tables[t].of[k]);
                        }
                }
                check_agreement_of(&w, tables, 2);
                teardown(&w, tables[0], tables[1]);
        }
}

/* --- threads: a history is recorded and checked --- */

enum { THREADS = 4, EACH = 120, CELLS = 6 };
typedef struct Event { /* a committed transaction */
        uint64_t snapshot, position;
        int seen[CELLS];    /* 0: not read */
        int written[CELLS]; /* 0: not written; each value is written once */
} Event;
typedef struct Client {
        World *w;
        TableRef *tables[2]; /* cells are spread over both */
        unsigned number;
        Thread thread;
        Event events[EACH];
        unsigned conflicts;
} Client;

static int read_cell(Client *c, Transaction *tx, unsigned cell, Arena *arena)
{
        TableView *view;
        Value row;
        ok(c->w->source->transaction_view(tx, c->tables[cell % 2], NULL, &view));
        ok(c->w->source->view_get(view, value_number(cell), arena, &row));
        int value = (int)value_get_str(row, "a").number;
        c->w->source->view_close(view);
        return value;
}

static void write_cell(Client *c, Transaction *tx, unsigned cell, int value, Arena *arena)
{
        Field fields[] = {{BYTES_STR("a"), value_number(value)}, {BYTES_STR("id"), value_number(cell)}};
        ok(try_put(c->w, tx, c->tables[cell % 2], value_number(cell), value_object_sorted(fields, 2), arena));
}

static void client_main(void *arg)
{
        Client *c = arg;
        Arena arena;
        uint64_t random = c->number * 7919 + 1;
        arena_init(&arena, 0);
        for (unsigned done = 0, tries = 1; done < EACH; tries++) {
                Event event = {0};
                arena_reset(&arena);
                Transaction *tx;
                ok(c->w->source->transaction_begin(c->w->catalog, &(TransactionOptions){.serializable = false}, &tx));
                event.snapshot = draft_position(tx->draft);
                for (unsigned i = 0; i < 4; i++) {
                        random = random * 6364136223846793005u + 1442695040888963407u;
                        unsigned cell = (unsigned)(random >> 40) % CELLS;
                        if (!event.written[cell] && !event.seen[cell])
                                event.seen[cell] = read_cell(c, tx, cell, &arena);
                        if (i % 2 == 0) {
                                event.written[cell] = (int)(1000 + (c->number * 10000000 + tries) * 10 + i);
                                write_cell(c, tx, cell, event.written[cell], &arena);
                                assert_int_equal(read_cell(c, tx, cell, &arena), event.written[cell]);
                        }
                }
                Status st = c->w->source->transaction_commit(tx, &event.position);
                c->w->source->transaction_leave(tx);
                if (st) {
                        assert_int_equal(status_code(st), ERR_CONFLICT);
                        status_ignore(st);
                        c->conflicts++;
                        continue;
                }
                c->events[done++] = event;
        }
        arena_done(&arena);
}

static int compare_events(const void *a, const void *b)
{
        const Event *x = *(const Event *const *)a, *y = *(const Event *const *)b;
        return (x->position > y->position) - (x->position < y->position);
}

/* Snapshot isolation, by its definition: each reads what the last commit at or before its snapshot left, and nobody
 * else committed a write of a cell that it wrote between its snapshot and its commit. */
static void check_history(const Event **events, size_t count, const int *initial)
{
        for (size_t i = 0; i < count; i++) {
                const Event *event = events[i];
                int state[CELLS];
                memcpy(state, initial, sizeof state);
                assert_true(event->snapshot < event->position);
                for (size_t k = 0; k < i; k++) {
                        const Event *before = events[k];
                        assert_true(before->position < event->position);
                        for (unsigned cell = 0; cell < CELLS; cell++) {
                                if (before->position <= event->snapshot && before->written[cell])
                                        state[cell] = before->written[cell];
                                if (before->position > event->snapshot)
                                        assert_false(before->written[cell] && event->written[cell]);
                        }
                }
                for (unsigned cell = 0; cell < CELLS; cell++)
                        if (event->seen[cell])
                                assert_int_equal(event->seen[cell], state[cell]);
        }
}

static void test_history(void **state)
{
        World w;
        static Client clients[THREADS];
        static const Event *events[THREADS * EACH];
        int initial[CELLS];
        char text[64];
        size_t count = 0;
        world_init(&w, 9);
        w.background = true;
        world_open(&w);
        make_table(&w, "test", "t");
        make_table(&w, "test", "u");
        TableRef *tables[] = {find(&w, "test", "t"), find(&w, "test", "u")};
        for (unsigned cell = 0; cell < CELLS; cell++) {
                initial[cell] = (int)cell + 1;
                set(&w, tables[cell % 2], (int)cell, row_text(text, cell, initial[cell]));
        }
        for (unsigned i = 0; i < THREADS; i++) {
                clients[i] = (Client){.w = &w, .tables = {tables[0], tables[1]}, .number = i};
                ok(thread_start(&clients[i].thread, "client", client_main, &clients[i]));
        }
        for (unsigned i = 0; i < THREADS; i++) {
                thread_join(&clients[i].thread);
                for (unsigned k = 0; k < EACH; k++)
                        events[count++] = &clients[i].events[k];
        }
        qsort(events, count, sizeof *events, compare_events);
        check_history(events, count, initial);
        w.source->table_unref(tables[0]);
        w.source->table_unref(tables[1]);
        world_done(&w);
}

/* Money goes between accounts of two tables; whoever looks sees all of it, and none is lost or made. */
enum { ACCOUNTS = 8, MOVES = 150 };

static Status try_move(Client *c, Transaction *tx, unsigned from, unsigned to, Arena *arena)
{
        for (unsigned i = 0; i < 2; i++) {
                unsigned cell = i ? to : from;
                TableView *view;
                Value row;
                TRY(c->w->source->transaction_view(tx, c->tables[cell % 2], NULL, &view));
                ok(c->w->source->view_get(view, value_number(cell), arena, &row));
                int value = (int)value_get_str(row, "a").number;
                c->w->source->view_close(view);
                write_cell(c, tx, cell, value + (i ? 1 : -1), arena);
        }
        return ST_OK;
}

static void mover_main(void *arg)
{
        Client *c = arg;
        Arena arena;
        uint64_t random = c->number + 77;
        arena_init(&arena, 0);
        for (unsigned done = 0; done < MOVES;) {
                Transaction *tx;
                uint64_t position = 0;
                random = random * 6364136223846793005u + 1442695040888963407u;
                unsigned from = (unsigned)(random >> 40) % ACCOUNTS,
                         to = (from + 1 + (unsigned)(random >> 50) % 3) % ACCOUNTS;
                arena_reset(&arena);
                ok(c->w->source->transaction_begin(c->w->catalog, &(TransactionOptions){.serializable = done % 2},
                                                   &tx));
                Status st = try_move(c, tx, from, to, &arena);
                if (!st)
                        st = c->w->source->transaction_commit(tx, &position);
                c->w->source->transaction_leave(tx);
                done += !st;
                assert_true(!st || status_code(st) == ERR_CONFLICT);
                status_ignore(st);
        }
        arena_done(&arena);
}

static void auditor_main(void *arg)
{
        Client *c = arg;
        Arena arena;
        arena_init(&arena, 0);
        for (unsigned i = 0; i < 200; i++) {
                Transaction *tx;
                int sum = 0;
                arena_reset(&arena);
                ok(c->w->source->transaction_begin(c->w->catalog, &(TransactionOptions){.serializable = i % 2}, &tx));
                for (unsigned cell = 0; cell < ACCOUNTS; cell++)
                        sum += read_cell(c, tx, cell, &arena);
                assert_int_equal(sum, 1000 * ACCOUNTS);
                c->w->source->transaction_leave(tx);
        }
        arena_done(&arena);
}

static void test_bank(void **state)
{
        World w;
        static Client clients[THREADS + 1];
        char text[64];
        int sum = 0;
        world_init(&w, 10);
        w.background = true;
        world_open(&w);
        make_table(&w, "test", "t");
        make_table(&w, "test", "u");
        TableRef *tables[] = {find(&w, "test", "t"), find(&w, "test", "u")};
        for (unsigned i = 0; i < ACCOUNTS; i++)
                set(&w, tables[i % 2], (int)i, row_text(text, i, 1000));
        for (unsigned i = 0; i <= THREADS; i++) {
                clients[i] = (Client){.w = &w, .tables = {tables[0], tables[1]}, .number = i};
                ok(thread_start(&clients[i].thread, "client", i < THREADS ? mover_main : auditor_main, &clients[i]));
        }
        for (unsigned i = 0; i <= THREADS; i++)
                thread_join(&clients[i].thread);
        for (unsigned i = 0; i < ACCOUNTS; i++)
                sum += (int)value_get_str(get(&w, tables[i % 2], value_number(i)), "a").number;
        assert_int_equal(sum, 1000 * ACCOUNTS);
        w.source->table_unref(tables[0]);
        w.source->table_unref(tables[1]);
        world_done(&w);
}

static void open_both(World *w, TableRef **tables)
{
        tables[0] = find(w, "test", "t");
        tables[1] = find(w, "test", "u");
}

static void close_both(World *w, TableRef **tables)
{
        w->source->table_unref(tables[0]);
        w->source->table_unref(tables[1]);
}

/* Indexes come and go beside transactions: each that is there in the end has the entries of its rows. */
static void test_indexes_change(void **state)
{
        World w;
        static Client clients[2];
        char text[64];
        world_init(&w, 12);
        w.background = true;
        world_open(&w);
        make_table(&w, "test", "t");
        make_table(&w, "test", "u");
        TableRef *tables[] = {find(&w, "test", "t"), find(&w, "test", "u")};
        for (unsigned i = 0; i < ACCOUNTS; i++)
                set(&w, tables[i % 2], (int)i, row_text(text, i, 1000));
        for (unsigned i = 0; i < 2; i++) {
                clients[i] = (Client){.w = &w, .tables = {tables[0], tables[1]}, .number = i};
                ok(thread_start(&clients[i].thread, "client", mover_main, &clients[i]));
        }
        for (unsigned i = 0; i < 40; i++) {
                TableRef *t = find(&w, "test", "t");
                Value result;
                uint64_t position = 0;
                if (i % 3 != 2)
                        create(&w, t, i % 3 ? "b" : "a", SIMPLE, false, false);
                else
                        ok(w.source->index_drop(t, BYTES_STR("a"), &w.arena, &result, &position));
                if (i % 3 == 2)
                        ok(w.source->index_drop(t, BYTES_STR("b"), &w.arena, &result, &position));
                w.source->table_unref(t);
                if (i % 2)
                        wait_until_ready(&w);
        }
        for (unsigned i = 0; i < 2; i++)
                thread_join(&clients[i].thread);
        wait_until_ready(&w);
        close_both(&w, tables);
        open_both(&w, tables);
        check_agreement_of(&w, tables, 2);
        close_both(&w, tables);
        world_done(&w);
}

/* --- faults --- */

static jmp_buf out_of_memory;
static WriteGuard guard;
static void jump(void *ctx, bool over_budget)
{
        longjmp(out_of_memory, 1);
}

/* Transaction i puts i into row i % 4 of both tables. */
static Status try_transactions(World *w, TableRef **tables, unsigned first, unsigned count, Transaction **tx)
{
        for (unsigned i = first; i < first + count; i++) {
                uint64_t position = 0;
                TRY(w->source->transaction_begin(w->catalog, &(TransactionOptions){.serializable = i % 2}, tx));
                for (unsigned t = 0; t < 2; t++) {
                        Field fields[] = {{BYTES_STR("a"), value_number(i)}, {BYTES_STR("id"), value_number(i % 4)}};
                        Value key = value_number(i % 4), row = value_object_sorted(fields, 2);
                        RowOutcome outcome = {0};
                        WriteOptions options = {.transaction = *tx, .guard = &guard};
                        Status st = w->source->write(tables[t], &key, 1, test_set, &row, &options, &w->arena, &outcome,
                                                     &position);
                        if (!st)
                                st = outcome.error;
                        else
                                status_ignore(outcome.error);
                        TRY(st);
                }
                TRY(w->source->transaction_commit(*tx, &position));
                w->source->transaction_leave(take(*tx));
                TRY(store_step(w->store));
                if (i % 5 == 4)
                        TRY(store_checkpoint(w->store));
        }
        return ST_OK;
}

/* All or nothing: the tables are equal, and what is there is as after transaction 1, or 2, or ... */
static unsigned check_equal(World *w, TableRef **tables)
{
        unsigned last = 0;
        int value[4];
        for (unsigned k = 0; k < 4; k++) {
                Value a = get(w, tables[0], value_number(k)), b = get(w, tables[1], value_number(k));
                assert_true(value_equal(a, b));
                value[k] = value_is_object(a) ? (int)value_get_str(a, "a").number : -1;
                last = MAX(last, (unsigned)MAX(value[k], 0));
        }
        for (unsigned k = 0; k < 4; k++) {
                int expected = (int)last - (((int)last - (int)k) % 4 + 4) % 4;
                assert_true(value[k] == expected || (expected < 1 && value[k] == -1));
        }
        check_agreement_of(w, tables, 2);
        return last;
}

static void faults_setup(World *w, TableRef **tables)
{
        setup(w, &tables[0], &tables[1]);
        for (unsigned t = 0; t < 2; t++)
                create(w, tables[t], "a", SIMPLE, false, false);
        ok(try_build_all(w));
        ok(store_step(w->store));
}

static void test_power_loss(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                World w;
                TableRef *tables[2];
                Transaction *tx = NULL;
                faults_setup(&w, tables);
                ok(try_transactions(&w, tables, 1, 2, &tx));
                sim_fail_nth(w.sim, n, SIM_FAIL_POWER);
                Status st = try_transactions(&w, tables, 3, 10, &tx);
                fired = sim_fired(w.sim);
                assert_true(fired || !st);
                status_ignore(st);
                if (tx)
                        w.source->transaction_leave(tx);
                close_both(&w, tables);
                world_close(&w);
                sim_heal(w.sim);
                sim_crash(w.sim, n % 3 == 0 ? SIM_DROP : n % 3 == 1 ? SIM_TEAR : SIM_KEEP);
                world_open(&w);
                open_both(&w, tables);
                unsigned last = check_equal(&w, tables);
                assert_true(last >= 2 && last <= 12);
                tx = NULL;
                ok(try_transactions(&w, tables, last + 1, 2, &tx));
                close_both(&w, tables);
                world_done(&w);
        }
}

static void fail_at(World *w, TableRef **tables, long n, Transaction **tx)
{
        arena_on_oom(&w->arena, jump, NULL);
        guard = (WriteGuard){0};
        if (setjmp(out_of_memory) == 0) {
                mem_fail_nth(n);
                status_ignore(try_transactions(w, tables, 1, 6, tx));
        } else if (guard.undo) {
                guard.undo(&guard);
        }
        arena_on_oom(&w->arena, NULL, NULL);
}

static void test_out_of_memory(void **state)
{
        for (long n = 1, fired = 1; fired; n++) {
                World w;
                TableRef *tables[2];
                Transaction *tx = NULL;
                faults_setup(&w, tables);
                fail_at(&w, tables, n, &tx);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                if (tx)
                        w.source->transaction_leave(tx);
                ok(store_step(w.store));
                unsigned last = check_equal(&w, tables);
                tx = NULL;
                ok(try_transactions(&w, tables, last + 1, 2, &tx));
                close_both(&w, tables);
                world_done(&w);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_visibility),
                cmocka_unit_test(test_one_frame),
                cmocka_unit_test(test_first_writer_wins),
                cmocka_unit_test(test_write_skew),
                cmocka_unit_test(test_indexes),
                cmocka_unit_test(test_unique),
                cmocka_unit_test(test_model),
                cmocka_unit_test(test_history),
                cmocka_unit_test(test_bank),
                cmocka_unit_test(test_indexes_change),
                cmocka_unit_test(test_power_loss),
                cmocka_unit_test(test_out_of_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
