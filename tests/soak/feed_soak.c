/* feed-soak - feeds are exact: random writes against random feed queries (feed_random.h), in a whole database on a
 * simulated machine. A client keeps the initial result of its feed and applies each change to it. What must hold:
 *
 *      - a change takes away what is there: nothing comes twice, out of order, or for nothing (both sides equal);
 *      - when all is fetched, what the client has is what the query gives without `changes`, with its multiplicity, and
 *        in its order if it has one;
 *      - whoever waits for a feed is woken when it has something;
 *      - all that also over a reconnection with a token, whatever happened between: a restart, a crash, a power cut, a
 *        log that was cut; where the token is of no use any more the feed says `restarted` and begins anew;
 *      - a slow client gets everything, whatever the queues may hold;
 *      - when all clients are gone the hub has nothing left; a table that is dropped ends its feeds.
 *
 * One seed is one database. It decides everything (but for the threads of --threads), so `feed-soak --from SEED --seeds
 * 1` repeats what went wrong. The paths that must have been taken are counted; a run in which one never was has failed.
 */
#include <limits.h>

#include "base/mem.h"
#include "feed/hub_int.h"
#include "feed_random.h"
#include "os/sim.h"
#include "query/changes.h"
#include "soak.h"
#include "table/table.h"
#include "value/json.h"

enum { CLIENTS = 16, OPS_OF_A_SEED = 1000 };

/* --- what a run has seen --- */

typedef enum Path {
        PATH_CHANGE,
        PATH_INITIAL,
        PATH_READY,
        PATH_PARKED,
        PATH_KEPT, /* the feed needs its Query */
        PATH_WOKEN,
        PATH_SLOW,
        PATH_DETACHED,  /* the hub gave up the feed's queue */
        PATH_ATTACHED,  /* it came back to the hub */
        PATH_TRAVELLED, /* feeds were taken through the log together */
        PATH_WORKED,    /* a feed evaluated a function for all of its class */
        PATH_RESUMED,
        PATH_RESUMED_AMID, /* in the middle of a batch */
        PATH_RESUMED_LATE, /* after some hundred operations */
        PATH_RESUMED_BACK, /* with an older token than its last */
        PATH_RESTARTED,
        PATH_RESTARTED_ANEW, /* FeedQuery.anew */
        PATH_FAILED,
        PATH_LOST,
        PATH_REOPENED,
        PATH_KILLED,
        PATH_POWER_LOST,
        PATH_CHECKPOINT,
        PATH_TRANSACTION,
        PATH_SQUASHED,
        PATH_OFFSETS,
        PATH_IDLE,
        PATH_DROPPED,
        PATHS
} Path;
static const char *const path_names[PATHS] = {"changes",
                                              "initial rows",
                                              "ready",
                                              "parked",
                                              "kept with its query",
                                              "woken",
                                              "slow",
                                              "detached",
                                              "attached again",
                                              "taken along",
                                              "work for a class",
                                              "resumed",
                                              "resumed amid a batch",
                                              "resumed late",
                                              "went back",
                                              "restarted",
                                              "restarted for its function",
                                              "failed",
                                              "lost without a token",
                                              "reopened",
                                              "killed",
                                              "power lost",
                                              "checkpoints",
                                              "transactions",
                                              "squashed",
                                              "offsets",
                                              "idle with a token",
                                              "table dropped"};
static uint64_t paths[PATHS], kinds_checked[OF_KINDS], kinds_changed[OF_KINDS], kinds_resumed[OF_KINDS];
static uint64_t op_total, check_total;

static bool threads;
static const char *only_kind; /* NULL: all */

/* --- the database --- */

typedef struct Client Client;
typedef struct World {
        Random random;
        SimOs *sim;
        StoreOptions options;
        Store *store;
        TableCatalog *catalog;
        FeedHub *hub;
        FeedHubOptions hub_options;
        HostOps host;
        QueryWorld query_world;
        Query *query; /* for writes and results */
        Buf answer, text;
        uint64_t op;
        bool pumped; /* since the last write and the last step of the clock */
        Client *clients;
} World;

static int64_t now_us(void *ctx)
{
        return os_wall_us(sim_os(((World *)ctx)->sim));
}

static int64_t mono_ns(void *ctx)
{
        return os_mono_ns(sim_os(((World *)ctx)->sim));
}

static Status random_bytes(void *ctx, void *bytes, size_t size)
{
        return os_random(sim_os(((World *)ctx)->sim), bytes, size);
}

static void world_open(World *w)
{
        must(store_open(&w->options, &w->store), "opening");
        must(table_source_open(w->store, &w->host, "btree", &w->catalog), "the catalog");
        must(feed_hub_open(w->store, w->catalog, &w->host, sim_os(w->sim), &w->hub_options, &w->hub), "the hub");
        w->query_world = (QueryWorld){.source = table_source(w->catalog),
                                      .host = &w->host,
                                      .feeds = feed_hub_source(w->hub),
                                      .memory_max_bytes = 256 << 20,
                                      .scan_min_rows = pick(&w->random, 2) ? 1 : 0};
        must(query_new(&w->query_world, "admin", &w->query), "a query");
}

static void world_close(World *w, bool crashed)
{
        w->query = query_free(w->query);
        w->hub = feed_hub_close(w->hub);
        w->catalog = table_source_close(w->catalog);
        Status st = store_close(take(w->store));
        if (!crashed)
                must(st, "closing");
        else
                status_ignore(st);
}

/* Everything that it answers, as a JSON array; or the error's message. */
static StatusCode run(World *w, const char *term, const char *options, bool *ret_atom)
{
        QueryAnswer answer = ANSWER_PARTIAL;
        size_t size = strlen(term) + strlen(options) + 8;
        uint8_t *text;
        soak.current = term;
        query_reset(w->query);
        must(query_text_buffer(w->query, size, &text), "text buffer");
        size = (size_t)snprintf((char *)text, size, "[1,%s,%s]", term, options);
        buf_clear(&w->answer);
        must(buf_append_byte(&w->answer, '['), "answer");
        Status st = query_prepare(w->query, BYTES(text, size));
        while (!st && answer == ANSWER_PARTIAL) {
                size_t before = w->answer.size;
                if (before > 1)
                        must(buf_append_byte(&w->answer, ','), "answer");
                size_t rows = w->answer.size;
                st = query_next(w->query, &w->answer, &answer);
                if (w->answer.size == rows)
                        w->answer.size = before;
        }
        StatusCode code = status_code(st);
        if (st) {
                buf_clear(&w->answer);
                must(buf_append_str(&w->answer, status_message(st)), "answer");
                status_ignore(st);
        } else {
                must(buf_append_byte(&w->answer, ']'), "answer");
        }
        *ret_atom = answer == ANSWER_ATOM;
        query_reset(w->query);
        return code;
}

static void must_run(World *w, const char *term)
{
        bool atom;
        if (run(w, term, "{}", &atom) != ERR_NONE)
                die("%s\n%.*s", term, (int)w->answer.size, (const char *)w->answer.data);
}

static void advance(World *w, int64_t ns)
{
        sim_advance_ns(w->sim, ns);
        w->pumped = false;
}

/* What is committed is written, and the hub has dealt with it. */
static void pump(World *w)
{
        bool more = true;
        StoreStats stats;
        if (threads) {
                FeedHubStats hub;
                must(store_sync(w->store, UINT64_MAX), "syncing");
                for (int i = 0;; i++) {
                        feed_hub_stats(w->hub, &hub);
                        if (hub.lag_positions == 0 && hub.travelling == 0)
                                return;
                        if (i > 100000)
                                die("the hub does not come to the end of the log");
                        usleep(100);
                        advance(w, 10000000); /* who does not fetch is left behind after a while */
                }
        }
        must(pick(&w->random, 4) ? tail_step(w->store) : store_step(w->store), "writing the log");
        for (int i = 0; more; i++) {
                must(feed_hub_step(w->hub, &more), "a round of the hub");
                if (i > 100000)
                        die("the hub is never done");
        }
        store_stats(w->store, &stats);
        if (stats.written_position != stats.last_position)
                die("not everything is written");
        w->pumped = true;
}

/* --- clients --- */

struct Client {
        FeedQuery of;
        bool world_cuts; /* the log is kept for a while only, so that a new token may be too old soon */
        bool open, tokens, initial, offsets, keeps_order, squashes;
        Query *query;
        FeedCursor *cursor;
        char **items; /* what it has, as JSON texts; one: at [0], none if it is null */
        size_t count, capacity;
        char *token;
        uint64_t token_op; /* when it was given */
        /* An earlier token and what it had then: it may go back to that. */
        char *old_token;
        char **old_items;
        size_t old_count;
        uint64_t old_op;
        bool old_may_restart;
        /* Changes that were joined come together, and only the last of them has a token: what the client had before the
         * first, in case it breaks off in between. */
        char **before;
        size_t before_count;
        bool between; /* `before` is of a meaning */
        bool initializing, ready;
        bool may_restart; /* the log may not reach back to its token */
        bool resumes;     /* nothing came yet */
        bool failed;      /* told so; by a change that the query works again */
        bool lost;        /* without a token, and told that the log does not reach back to it any more */
        bool waits;       /* it watches, and found nothing before */
        atomic_bool woken;
        unsigned sleeps; /* writes to go until it fetches, or comes, again */
        uint64_t last_op, changes;
        Arena hold;
        Buf rows;
};

static const char *text_of(Value v, Arena *arena)
{
        return (const char *)json_text(v, arena).data;
}

static const char *client_name(const Client *c)
{
        return (const char *)c->of.term.data;
}

static _Noreturn void wrong(Client *c, const char *what, const char *document)
{
        fprintf(stderr, "\n%s: %s\n  feed: %s\n  document: %s\n  it has:\n", of_names[c->of.kind], what, client_name(c),
                document);
        for (size_t i = 0; i < c->count; i++)
                fprintf(stderr, "    %s\n", c->items[i]);
        die("%s", what);
}

static void items_clear(Client *c)
{
        while (c->count)
                free(c->items[--c->count]);
}

static void items_insert(Client *c, size_t at, const char *text)
{
        if (c->count == c->capacity) {
                c->capacity = MAX(16, c->capacity * 2);
                c->items = realloc(c->items, c->capacity * sizeof *c->items);
        }
        memmove(c->items + at + 1, c->items + at, (c->count - at) * sizeof *c->items);
        c->items[at] = strdup(text);
        c->count++;
}

static bool items_remove(Client *c, const char *text)
{
        for (size_t i = 0; i < c->count; i++) {
                if (strcmp(c->items[i], text) == 0) {
                        free(c->items[i]);
                        memmove(c->items + i, c->items + i + 1, (--c->count - i) * sizeof *c->items);
                        return true;
                }
        }
        return false;
}

static void copy_free(char ***copy, size_t *count)
{
        while (*count)
                free((*copy)[--*count]);
        free(take(*copy));
}

static void copy_items(const Client *c, char ***ret_copy, size_t *ret_count)
{
        *ret_copy = calloc(c->count + 1, sizeof **ret_copy);
        for (*ret_count = 0; *ret_count < c->count; ++*ret_count)
                (*ret_copy)[*ret_count] = strdup(c->items[*ret_count]);
}

static void items_set(Client *c, char *const *items, size_t count)
{
        items_clear(c);
        for (size_t i = 0; i < count; i++)
                items_insert(c, i, items[i]);
}

static void forget_before(Client *c)
{
        copy_free(&c->before, &c->before_count);
        c->between = false;
}

static void keep_before(Client *c)
{
        if (c->between)
                return;
        copy_items(c, &c->before, &c->before_count);
        c->between = true;
}

/* The line breaks: changes that the token is not behind yet have not happened. */
static void take_back(Client *c)
{
        if (!c->between)
                return;
        items_set(c, c->before, c->before_count);
        forget_before(c);
}

static void forget_old(Client *c)
{
        copy_free(&c->old_items, &c->old_count);
        free(take(c->old_token));
}

static void keep_old(Client *c)
{
        forget_old(c);
        copy_items(c, &c->old_items, &c->old_count);
        c->old_token = strdup(c->token);
        c->old_op = c->token_op;
        c->old_may_restart = c->may_restart;
}

/* As if nothing had come since. */
static void go_back(Client *c)
{
        items_set(c, c->old_items, c->old_count);
        free(c->token);
        c->token = strdup(c->old_token);
        c->token_op = c->old_op;
        c->may_restart = c->old_may_restart;
        c->last_op = 0;
        c->failed = false;
        paths[PATH_RESUMED_BACK]++;
}

/* Before the document is applied: how far it takes the client. */
static void apply_token(Client *c, Value token, bool is_state, const char *document)
{
        if (!c->tokens) {
                if (!value_is(token, V_NONE))
                        wrong(c, "a token that nobody asked for", document);
                return;
        }
        Bytes text = value_is(token, V_STRING) ? value_bytes(token) : BYTES_NONE;
        bool again = text.data && c->token && bytes_equal(text, BYTES_STR(c->token));
        if (is_state && (!text.data || again))
                return;
        if (!text.data) {
                if (c->ready && !c->squashes && !c->of.remembers)
                        wrong(c, "no token", document);
                if (c->ready)
                        keep_before(c);
                return;
        }
        if (again && c->ready) /* who restarts is told at the same place that the query fails */
                wrong(c, "the same token again", document);
        forget_before(c);
        free(c->token);
        c->token = strndup((const char *)text.data, text.size);
        c->token_op = op_total;
        c->may_restart = c->may_restart && c->world_cuts;
}

static void apply_state(Client *c, const char *state, const char *document)
{
        if (strcmp(state, "restarted") == 0) {
                if (!c->may_restart && !(c->of.anew && c->resumes))
                        wrong(c, "it restarted, though the log has everything", document);
                paths[c->may_restart ? PATH_RESTARTED : PATH_RESTARTED_ANEW]++;
                c->failed = false;
                c->initial = true;
                forget_before(c);
                items_clear(c);
                c->last_op = 0;
                c->ready = false;
        } else if (strcmp(state, "initializing") == 0) {
                if (c->ready)
                        wrong(c, "initial rows once more", document);
                c->initializing = true;
        } else if (strcmp(state, "ready") == 0) {
                c->initializing = c->resumes = false;
                c->ready = true;
                paths[PATH_READY]++;
        } else if (strcmp(state, "idle") == 0) {
                paths[PATH_IDLE]++;
        } else {
                wrong(c, "an unknown state", document);
        }
}

static void apply_one(Client *c, const char *old, const char *new, bool initial, const char *document)
{
        if (!initial && (c->count != (old != NULL) || (old && strcmp(c->items[0], old) != 0)))
                wrong(c, "the old value is not what there was", document);
        items_clear(c);
        if (new)
                items_insert(c, 0, new);
}

static void apply_place(Client *c, Value doc, const char *old, const char *new, const char *document)
{
        Value from = value_get_str(doc, "old_offset"), to = value_get_str(doc, "new_offset");
        int64_t at;
        paths[PATH_OFFSETS]++;
        if (old) {
                if (!value_integer(from, &at) || at < 0 || (size_t)at >= c->count || strcmp(c->items[at], old) != 0)
                        wrong(c, "old_offset is not where it was", document);
                free(c->items[at]);
                memmove(c->items + at, c->items + at + 1, (--c->count - (size_t)at) * sizeof *c->items);
        }
        if (new) {
                if (!value_integer(to, &at) || at < 0 || (size_t)at > c->count)
                        wrong(c, "new_offset is no place", document);
                items_insert(c, (size_t)at, new);
        }
}

static void apply(Client *c, Value doc)
{
        const char *document = text_of(doc, &c->hold), *old = NULL, *new = NULL;
        Value state = value_get_str(doc, "state"), token = value_get_str(doc, "token");
        Value old_value = value_get_str(doc, "old_val"), new_value = value_get_str(doc, "new_val");
        NOTE("      %s\n", document);
        apply_token(c, token, value_is(state, V_STRING), document);
        if (value_is(state, V_STRING)) {
                apply_state(c, arena_dup(&c->hold, value_bytes(state).data, value_bytes(state).size), document);
                return;
        }
        Value error = value_get_str(doc, "error");
        if (!value_is(error, V_NONE)) {
                const char *text = text_of(error, &c->hold);
                if (strncmp(text, "\"Changes were lost: ", 20) == 0 && !c->tokens && c->may_restart) {
                        c->lost = true;
                        paths[PATH_LOST]++;
                } else if (c->of.kind == OF_FAILING) {
                        c->failed = true;
                        paths[PATH_FAILED]++;
                        return;
                } else {
                        wrong(c, "an error", document);
                }
        }
        if (c->lost)
                return;
        bool initial = value_is(old_value, V_NONE);
        if (value_is(new_value, V_NONE))
                wrong(c, "neither a change nor an initial row", document);
        if (initial && (c->ready || !c->initial))
                wrong(c, "an initial row at the wrong time", document);
        if (!initial && !value_is(old_value, V_NULL))
                old = text_of(old_value, &c->hold);
        if (!value_is(new_value, V_NULL))
                new = text_of(new_value, &c->hold);
        if (!initial && (old && new ? strcmp(old, new) == 0 : !old && !new))
                wrong(c, "a change of nothing", document);
        paths[initial ? PATH_INITIAL : PATH_CHANGE]++;
        c->failed = c->resumes = false;
        if (!initial) {
                c->changes++;
                paths[PATH_SQUASHED] += c->squashes;
                kinds_changed[c->of.kind]++;
                c->ready = true; /* without states nobody says so */
        }
        if (c->of.one) {
                apply_one(c, old, new, initial, document);
        } else if (c->keeps_order) {
                if (initial)
                        items_insert(c, c->count, new ? new : "null");
                else
                        apply_place(c, doc, old, new, document);
        } else {
                if (old && !items_remove(c, old))
                        wrong(c, "the old value is not there", document);
                if (new)
                        items_insert(c, c->count, new);
        }
        int64_t op;
        if (c->of.rows && !c->squashes && !initial && new &&value_integer(value_get_str(new_value, "op"), &op)) {
                if ((uint64_t)op < c->last_op)
                        wrong(c, "changes in another order than that of commits", document);
                c->last_op = (uint64_t)op;
        }
}

static void client_ready(void *ctx)
{
        atomic_store(&((Client *)ctx)->woken, true);
}

static void client_disconnect(Client *c)
{
        take_back(c);
        c->query = query_free(c->query);
        c->cursor = feed_cursor_free(c->cursor);
        c->waits = c->open = false;
}

static Status next_batch(Client *c)
{
        QueryAnswer answer;
        buf_clear(&c->rows);
        must(buf_append_byte(&c->rows, '['), "answer");
        soak.current = client_name(c);
        Status st =
                c->cursor ? feed_cursor_next(c->cursor, &c->rows, &answer) : query_next(c->query, &c->rows, &answer);
        if (st)
                return st;
        if (answer != ANSWER_PARTIAL)
                wrong(c, "the feed ended", "");
        return buf_append_byte(&c->rows, ']');
}

/* Applies what came; with `only`, that many documents of it, and then it is disconnected. False: nothing came. */
static bool take_batch(Client *c, unsigned only)
{
        Value rows;
        bool any;
        arena_reset(&c->hold);
        must(json_parse_copy(BYTES(c->rows.data, c->rows.size), JSON_PLAIN, &c->hold, &rows), "a batch as JSON");
        any = value_count(rows) > 0;
        for (size_t i = 0; i < value_count(rows); i++) {
                if (only && i == only && c->token && c->ready) {
                        paths[PATH_RESUMED_AMID]++;
                        client_disconnect(c);
                        break;
                }
                apply(c, value_at(rows, i));
        }
        return any;
}

static void watch(Client *c)
{
        atomic_store(&c->woken, false);
        c->waits = true;
        if (c->cursor)
                feed_cursor_watch(c->cursor, client_ready, c, NULL, NULL);
        else
                query_watch(c->query, client_ready, c, NULL, NULL);
}

/* Fetches up to `max` batches, or all there is. */
static void fetch(World *w, Client *c, unsigned max, unsigned only)
{
        bool woken = atomic_load(&c->woken);
        NOTE("  fetch by %s %s\n", of_names[c->of.kind], client_name(c));
        for (unsigned i = 0; i < max && c->open; i++) {
                must(next_batch(c), "the next batch");
                uint64_t before = c->changes;
                bool any = take_batch(c, only);
                if (i == 0 && c->changes > before && c->waits && w->pumped) {
                        if (!woken && !w->hub_options.reader_max) /* else it may have been its turn just now */
                                wrong(c, "it was not woken", "(see the last that it has)");
                        paths[PATH_WOKEN]++;
                }
                c->waits = false;
                if (!any) {
                        if (c->open)
                                watch(c);
                        return;
                }
                if (i > 1000000)
                        wrong(c, "it never ends", "");
        }
}

/* A feed that reads the log may stop in between with nothing to show for it, and is woken at once. */
static void fetch_all(World *w, Client *c)
{
        do {
                fetch(w, c, UINT_MAX, 0);
        } while (c->open && atomic_load(&c->woken));
}

static int compare_texts(const void *a, const void *b)
{
        return strcmp(*(const char *const *)a, *(const char *const *)b);
}

/* What the query gives now: into items. False: it fails. */
static bool result_of(World *w, const FeedQuery *of, Client *ret)
{
        bool atom;
        Value rows;
        /* Which of equal rows is the first depends on the order in which they are read: not by whatever index helps. */
        StatusCode code = run(w, (const char *)of->result.data, "{\"plan\":false}", &atom);
        items_clear(ret);
        if (code != ERR_NONE) {
                bool empty =
                        code == ERR_NON_EXISTENCE || of->kind == OF_MIN_MAX; /* of an index without rows: ERR_LOGIC */
                if (!of->one || !empty) {
                        NOTE("  fails: %.*s\n", (int)w->answer.size, (const char *)w->answer.data);
                        return false;
                }
                return true;
        }
        arena_reset(&ret->hold);
        must(json_parse_copy(BYTES(w->answer.data, w->answer.size), JSON_PLAIN, &ret->hold, &rows), "a result");
        if (atom && !of->one)
                rows = value_at(rows, 0);
        for (size_t i = 0; i < value_count(rows); i++) {
                if (!of->one || !value_is(value_at(rows, i), V_NULL))
                        items_insert(ret, i, text_of(value_at(rows, i), &ret->hold));
        }
        return true;
}

/* Compares, where the query does not fail. */
static bool has_all(World *w, Client *c, Client *now)
{
        if (!result_of(w, &c->of, now)) {
                if (c->of.kind != OF_FAILING)
                        die("%s: its query fails: %.*s", client_name(c), (int)w->answer.size,
                            (const char *)w->answer.data);
                return !c->of.remembers || c->failed;
        }
        if (!c->keeps_order && now->count)
                qsort(now->items, now->count, sizeof *now->items, compare_texts);
        if (!c->keeps_order && c->count)
                qsort(c->items, c->count, sizeof *c->items, compare_texts);
        bool same = now->count == c->count;
        for (size_t i = 0; i < now->count && same; i++)
                same = strcmp(now->items[i], c->items[i]) == 0;
        return same;
}

/* The client gets everything that there is. That takes some time where it gathers changes (squash), is taken through
 * the log with others, or has to wait until fewer read it: two feeds of one query may take turns event by event. */
static void check(World *w, Client *c)
{
        Client now = {0};
        arena_init(&now.hold, 0);
        for (int i = 0; c->open && !c->lost; i++) {
                fetch_all(w, c);
                if (!c->open || c->lost)
                        break;
                if (has_all(w, c, &now)) {
                        kinds_checked[c->of.kind]++;
                        check_total++;
                        break;
                }
                if (i == (threads ? 30000 : 3000)) {
                        fprintf(stderr, "\nthe query gives:\n");
                        for (size_t k = 0; k < now.count; k++)
                                fprintf(stderr, "    %s\n", now.items[k]);
                        wrong(c, "the client has not what the query gives", "(all is fetched)");
                }
                if (threads)
                        usleep(1000);
                advance(w, 250000000);
                pump(w);
        }
        items_clear(&now);
        free(now.items);
        arena_done(&now.hold);
}

static void client_open(World *w, Client *c)
{
        uint8_t *text;
        Buf *to = &w->text;
        Random *random = &w->random;
        bool resumes = c->token != NULL;
        if (resumes && c->old_token && pick(random, 4) == 0)
                go_back(c);
        const uint64_t resumed_op = c->token_op;
        if (!resumes && !c->initial && !result_of(w, &c->of, c)) {
                if (c->of.kind != OF_FAILING)
                        die("%s: %.*s", client_name(c), (int)w->answer.size, (const char *)w->answer.data);
                c->initial = true;
        }
        buf_clear(to);
        out(to, "[1,[152,[%s],{\"squash\":%s", client_name(c),
            !c->squashes      ? "false"
            : pick(random, 2) ? "true"
                              : "0.2");
        if (c->tokens)
                out(to, ",\"include_tokens\":true");
        if (resumes)
                out(to, ",\"since\":\"%s\"", c->token);
        else if (c->initial)
                out(to, ",\"include_initial\":true");
        if (pick(random, 2))
                out(to, ",\"include_states\":true");
        if (c->offsets)
                out(to, ",\"include_offsets\":true");
        out(to, "}],{");
        if (pick(random, 2))
                out(to, "\"max_batch_rows\":%u", 1 + pick(random, 20));
        out(to, "}]");
        NOTE("  open %.*s\n", (int)to->size, (const char *)to->data);
        soak.current = client_name(c);
        must(query_new(&w->query_world, "admin", &c->query), "a query");
        must(query_text_buffer(c->query, to->size, &text), "text buffer");
        memcpy(text, to->data, to->size);
        c->ready = resumes || !c->initial;
        c->initializing = c->waits = false;
        c->open = true;
        c->resumes = resumes;
        must(query_prepare(c->query, BYTES(text, to->size)), "the feed");
        must(next_batch(c), "the feed's first answer");
        if (!query_is_feed(c->query))
                wrong(c, "it is no feed", "");
        take_batch(c, 0);
        paths[PATH_RESUMED] += resumes;
        kinds_resumed[c->of.kind] += resumes;
        paths[PATH_RESUMED_LATE] += resumes && op_total - resumed_op > 300;
        if (c->open && pick(random, 3)) {
                must(query_park(c->query, &c->cursor), "parking");
                if (c->cursor)
                        c->query = query_free(c->query);
                paths[c->cursor ? PATH_PARKED : PATH_KEPT]++;
        }
}

static bool log_is_cut(const World *w)
{
        return w->options.log_keep_bytes < 1 << 20;
}

static void client_new(World *w, Client *c)
{
        Random *random = &w->random;
        c->sleeps = 0;
        c->last_op = c->changes = 0;
        OfKind kind = (OfKind)pick(random, OF_KINDS);
        while (only_kind && !strstr(only_kind, of_names[kind]))
                kind = (OfKind)pick(random, OF_KINDS);
        random_feed_query(random, kind, &c->of);
        c->tokens = pick(random, 3) > 0;
        c->initial = pick(random, 4) > 0;
        c->squashes = pick(random, 4) == 0;
        c->keeps_order = c->offsets = c->of.ordered && pick(random, 3) > 0;
        c->world_cuts = log_is_cut(w);
        arena_init(&c->hold, 0);
        buf_init(&c->rows, 128 << 20);
        client_open(w, c);
}

static void client_forget(Client *c)
{
        client_disconnect(c);
        items_clear(c);
        forget_before(c);
        forget_old(c);
        free(c->items);
        free(c->token);
        feed_query_done(&c->of);
        arena_done(&c->hold);
        buf_done(&c->rows);
        *c = (Client){0};
}

/* --- what happens --- */

static bool exists(const Client *c)
{
        return c->of.term.size > 0;
}

static void write_something(World *w)
{
        bool transaction, atom;
        w->op++;
        op_total++;
        w->pumped = false;
        buf_clear(&w->text);
        random_writes(&w->random, w->op, &w->text, &transaction);
        must(buf_append_byte(&w->text, 0), "a write");
        NOTE("%" PRIu64 " %s%s\n", w->op, transaction ? "transaction " : "", (const char *)w->text.data);
        paths[PATH_TRANSACTION] += transaction;
        if (run(w, (const char *)w->text.data, transaction ? "{\"transaction\":true}" : "{}", &atom) != ERR_NONE) {
                if (!transaction) /* a write that only counts its errors is the end of a transaction */
                        die("%s\n%.*s", (const char *)w->text.data, (int)w->answer.size, (const char *)w->answer.data);
        }
}

static void check_all(World *w)
{
        advance(w, 1000000000);
        pump(w);
        for (Client *c = w->clients; c < w->clients + CLIENTS; c++)
                check(w, c);
}

/* Mostly they are back at once. */
static unsigned time_away(Random *random)
{
        return pick(random, 6) ? 0 : pick(random, 600);
}

/* The database goes away and comes back; clients with tokens go on, the others are gone. */
static void reopen(World *w)
{
        static const SimCrash crashes[] = {SIM_KEEP, SIM_DROP, SIM_TEAR};
        unsigned how = pick(&w->random, 4);
        for (Client *c = w->clients; c < w->clients + CLIENTS; c++) {
                if (!exists(c))
                        continue;
                if (pick(&w->random, 2) && c->open)
                        fetch(w, c, 1, 1 + pick(&w->random, 3));
                client_disconnect(c);
                if (!c->token)
                        client_forget(c);
                else if (how > 1 || log_is_cut(w)) /* of a commit that the power has taken, or that is cut off now */
                        c->may_restart = c->old_may_restart = true;
                c->sleeps = time_away(&w->random);
        }
        NOTE("  reopened, %u\n", how);
        paths[how == 0 ? PATH_REOPENED : how == 1 ? PATH_KILLED : PATH_POWER_LOST]++;
        if (how > 0) {
                if (how == 1 && !threads)
                        must(tail_step(w->store), "writing the log");
                sim_crash(w->sim, crashes[how - 1]);
        }
        world_close(w, how > 0);
        if (how > 0)
                sim_crash(w->sim, crashes[how - 1]);
        world_open(w);
}

/* From now on some functions take long, until they have been quick for a while. */
static void make_slow(World *w)
{
        size_t cursor = 0;
        uint64_t id;
        void *table;
        feed_hub_lock(w->hub);
        while (nummap_next(w->hub->tables, &cursor, &id, &table)) {
                for (RowFeed *feed = ((FeedTable *)table)->feeds; feed; feed = feed->table_next) {
                        if (pick(&w->random, 2))
                                feed_class_took(feed->class, 1000000000);
                }
        }
        feed_hub_unlock(w->hub);
}

static void client_step(World *w, Client *c)
{
        Random *random = &w->random;
        if (!exists(c)) {
                if (pick(random, 8) == 0)
                        client_new(w, c);
        } else if (c->lost) {
                client_forget(c);
        } else if (c->sleeps > 0) {
                c->sleeps--;
        } else if (!c->open) {
                if (pick(random, 4) == 0)
                        client_open(w, c);
        } else {
                if (c->token && c->ready && !c->initializing && !c->between && pick(random, 60) == 0)
                        keep_old(c);
                switch (pick(random, 40)) {
                case 0:
                        if (pick(random, 6) == 0)
                                client_forget(c);
                        break;
                case 1:
                        c->sleeps = 20 + pick(random, 100);
                        paths[PATH_SLOW]++;
                        break;
                case 2: /* the line breaks; what came and was not applied is lost */
                        if (!c->tokens)
                                break;
                        fetch(w, c, 1, 1 + pick(random, 4));
                        if (c->token && c->ready && !c->initializing)
                                client_disconnect(c);
                        if (!c->open)
                                c->sleeps = time_away(random);
                        break;
                case 3:
                        pump(w);
                        check(w, c);
                        break;
                default:
                        if (pick(random, 3) == 0)
                                fetch(w, c, 1 + pick(random, 4), 0);
                }
        }
}

static void make_tables(World *w)
{
        static const char *const indexes[] = {
                "\"a\"]", "\"num\"]", "\"tags\"],{\"multi\":true}",
                "\"ab\",[69,[[2,[1]],[2,[[170,[[10,[1]],\"a\"]],[170,[[10,[1]],\"b\"]]]]]]]"};
        static const char *const engines[] = {"btree", "memory", "slab"};
        static const char *const tables[] = {"t", "u"};
        char text[400];
        for (size_t t = 0; t < 2; t++) {
                snprintf(text, sizeof text, "[60,[[14,[\"test\"]],\"%s\"],{\"storage\":\"%s\"}]", tables[t],
                         engines[pick(&w->random, 3)]);
                must_run(w, text);
                for (size_t i = 0; i < ELEMENTS(indexes); i++) {
                        snprintf(text, sizeof text, "[75,[%s,%s]", t ? TABLE_U : TABLE_T, indexes[i]);
                        must_run(w, text);
                }
                must_run(w, t ? "[140,[" TABLE_U "]]" : "[140,[" TABLE_T "]]");
        }
}

/* Who has to compute something anew is told that there is no table. */
static bool is_end(const Client *c, Status st)
{
        return st && (strcmp(status_message(st), "Changefeed aborted (unavailable).") == 0 ||
                      (c->of.remembers && strstr(status_message(st), "does not exist.")));
}

/* The end of a table is told to everybody who follows it; the hub has nothing left afterwards. */
static void finish(World *w)
{
        FeedHubStats stats;
        check_all(w);
        if (pick(&w->random, 2)) {
                must_run(w, "[61,[[14,[\"test\"]],\"t\"]]");
                must_run(w, "[61,[[14,[\"test\"]],\"u\"]]");
                pump(w);
                for (Client *c = w->clients; c < w->clients + CLIENTS; c++) {
                        if (!c->open)
                                continue;
                        Status st = next_batch(c);
                        for (int i = 0; !st && i < 100;
                             i++) { /* rows that went with the table are told before, or not */
                                watch(c);
                                advance(w, 1000000000);
                                pump(w);
                                st = next_batch(c);
                        }
                        if (!is_end(c, st))
                                wrong(c, "it does not end with the table", st ? status_message(st) : "nothing");
                        status_ignore(st);
                        paths[PATH_DROPPED]++;
                }
        }
        for (Client *c = w->clients; c < w->clients + CLIENTS; c++) {
                if (exists(c))
                        client_forget(c);
        }
        pump(w);
        feed_hub_stats(w->hub, &stats);
        if (stats.feeds || stats.attached || stats.travelling || stats.classes || stats.tables || stats.queued_events ||
            stats.queued_bytes || stats.readers)
                die("something is left: %zu feeds, %zu attached, %zu classes, %zu tables, %zu events, %zu bytes, %zu "
                    "readers",
                    stats.feeds, stats.attached, stats.classes, stats.tables, stats.queued_events, stats.queued_bytes,
                    stats.readers);
}

static void note_hub(World *w)
{
        FeedHubStats stats;
        feed_hub_stats(w->hub, &stats);
        paths[PATH_DETACHED] += stats.detached_slow;
        paths[PATH_ATTACHED] += stats.caught_up > 0;
        paths[PATH_TRAVELLED] += stats.journeys;
        paths[PATH_WORKED] += stats.worked;
}

static void run_seed(uint64_t seed)
{
        static Client clients[CLIENTS];
        World w = {.random = {seed}, .clients = clients};
        buf_init(&w.answer, 128 << 20);
        buf_init(&w.text, 16 << 20);
        must(sim_new(seed, &w.sim), "the simulated machine");
        w.host = (HostOps){.now_us = now_us,
                           .mono_ns = mono_ns,
                           .random = random_bytes,
                           .ctx = &w,
                           .server_name = "soak",
                           .server_id = "11111111-2222-4333-8444-555555555555"};
        bool cuts = pick(&w.random, 4) == 0; /* the log is kept for a while only */
        w.options = (StoreOptions){.os = sim_os(w.sim),
                                   .path = "data",
                                   .log_segment_bytes = cuts ? 9000 : 10000 + pick(&w.random, 200000),
                                   .log_keep_bytes = cuts ? 5000 : UINT64_C(1) << 40,
                                   .log_recent_bytes = pick(&w.random, 2) ? 1000 + pick(&w.random, 100000) : 0,
                                   .background = threads};
        w.hub_options = (FeedHubOptions){.by_hand = !threads};
        if (pick(&w.random, 2))
                w.hub_options.queue_max_bytes = 500 + pick(&w.random, 20000);
        if (pick(&w.random, 3) == 0)
                w.hub_options.memory_max_bytes = 2000 + pick(&w.random, 50000);
        if (pick(&w.random, 2)) /* more than read the log at once are taken through it together */
                w.hub_options.reader_max = (threads ? 4 : 1) + pick(&w.random, 3);
        world_open(&w);
        make_tables(&w);
        must(threads ? store_sync(w.store, UINT64_MAX) : store_step(w.store), "the tables on the disk");
        unsigned checks = 20 + pick(&w.random, 100), reopens = 200 + pick(&w.random, 600);
        unsigned ops = pick(&w.random, 20) ? OPS_OF_A_SEED : 4 * OPS_OF_A_SEED;
        for (unsigned i = 0; i < ops; i++) {
                write_something(&w);
                advance(&w, (int64_t)pick(&w.random, 20) * 1000000);
                if (pick(&w.random, 3))
                        pump(&w);
                for (Client *c = clients; c < clients + CLIENTS; c++)
                        client_step(&w, c);
                if (pick(&w.random, 40) == 0)
                        make_slow(&w);
                if (pick(&w.random, checks) == 0)
                        check_all(&w);
                if (pick(&w.random, 150) == 0) {
                        NOTE("  checkpoint\n");
                        must(store_checkpoint(w.store), "a checkpoint");
                        paths[PATH_CHECKPOINT]++;
                        for (Client *c = clients; log_is_cut(&w) && c < clients + CLIENTS; c++)
                                c->may_restart = c->old_may_restart = exists(c);
                }
                if (pick(&w.random, reopens) == 0) {
                        note_hub(&w);
                        reopen(&w);
                }
        }
        for (Client *c = clients; c < clients + CLIENTS; c++) {
                if (exists(c) && !c->open)
                        client_open(&w, c);
        }
        finish(&w);
        note_hub(&w);
        world_close(&w, false);
        buf_done(&w.answer);
        buf_done(&w.text);
        sim_free(w.sim);
}

/* --- the program --- */

static bool all_taken(bool enough)
{
        bool all = true;
        for (size_t i = 0; i < PATHS; i++) {
                printf("%s%s %" PRIu64, i ? ", " : "", path_names[i], paths[i]);
                all = all &&
                      (paths[i] || (threads && i == PATH_WOKEN)); /* with threads nobody knows when it ought to be */
        }
        printf("\nchanges/comparisons/resumed: ");
        for (size_t i = 0; i < OF_KINDS; i++) {
                printf("%s%s %" PRIu64 "/%" PRIu64 "/%" PRIu64, i ? ", " : "", of_names[i], kinds_changed[i],
                       kinds_checked[i], kinds_resumed[i]);
                all = all && kinds_changed[i] && kinds_checked[i] && kinds_resumed[i];
        }
        printf("\n%" PRIu64 " operations, %" PRIu64 " comparisons with the query: %s\n", op_total, check_total,
               all      ? "all exact"
               : enough ? "exact, but NOT EVERYTHING HAPPENED"
                        : "exact");
        return all || !enough;
}

int main(int argc, char **argv)
{
        double seconds;
        soak.program = soak.again = "feed-soak";
        for (int i = 1; i < argc; i++) {
                size_t size = strlen(soak.options);
                if (strcmp(argv[i], "--threads") == 0) {
                        threads = true;
                        snprintf(soak.options + size, sizeof soak.options - size, " --threads");
                } else if (strcmp(argv[i], "--kind") == 0 && i + 1 < argc) {
                        only_kind = argv[++i];
                        snprintf(soak.options + size, sizeof soak.options - size, " --kind %s", only_kind);
                } else if (!soak_option(argc, argv, &i)) {
                        fprintf(stderr, "usage: feed-soak " SOAK_USAGE " [--threads] [--kind KIND]\n");
                        return 2;
                }
        }
        uint64_t done = soak_run(run_seed, &seconds);
        printf("seeds %" PRIu64 " to %" PRIu64 " by %" PRIu64 ", %.0f s\n", soak.from,
               soak.from + (done - 1) * soak.step, soak.step, seconds);
        return all_taken(done >= 20 && !only_kind) ? 0 : 1;
}
