/* changes_state_test.c - feeds that remember something: whatever happens to the tables, the changes told, applied to
 * what was told before, are what the query gives when it is run again. */
#include "base/check.h"

#include <stdio.h>

#include "query/closure.h"
#include "query/fake_source.h"

/* --- feeds over the fake tables: events are made when a commit is made, by looking at each row before and after --- */

enum { MAX_EVENTS = 2048, MAX_FEEDS = 8, MAX_SNAPSHOTS = 64, MAX_PAST = 65536 };

struct Feed {
        FeedSpec spec;
        FeedEvent events[MAX_EVENTS];
        size_t first, count;
        FeedPlace place;
        bool lost, paused;
        void (*ready)(void *ctx);
        void *ctx;
};
static Feed *feeds[MAX_FEEDS];
static size_t feed_count;
static uint64_t position;
static bool far_apart; /* a commit's second event, and each one behind it, is found when it is asked for again */
static TableRef snapshots[MAX_SNAPSHOTS];
static size_t snapshot_count;
static struct {
        TableRef *table;
        Value key, old_row, new_row;
        uint64_t position;
} past[MAX_PAST]; /* every change of a row, for feeds that begin behind a place */
static size_t past_count;
static uint64_t reach; /* feeds cannot begin behind an earlier position */

typedef struct Shown { /* a row, as a feed shows it */
        Value index, value;
} Shown;
typedef struct ShownRow {
        Shown items[64];
        size_t count;
        const char *error;
} ShownRow;

static bool in_bounds(const KeyBounds *bounds, Value v)
{
        int low = !bounds || bounds->low_type == BOUND_NONE ? 1 : value_compare(v, bounds->low);
        int high = !bounds || bounds->high_type == BOUND_NONE ? -1 : value_compare(v, bounds->high);
        return (low > 0 || (low == 0 && bounds->low_type == BOUND_CLOSED)) &&
               (high < 0 || (high == 0 && bounds->high_type == BOUND_CLOSED));
}

static size_t times_meant(const FeedSpec *spec, Value v)
{
        size_t count = 0;
        for (size_t i = 0; i < spec->key_count; i++)
                count += value_equal(spec->keys[i], v);
        return spec->key_count ? count : in_bounds(spec->bounds, v);
}

/* What feed/ does with conditions is its own business: here only functions are asked, and conditions one by one. */
static bool condition_holds(const FeedCondition *condition, Value row)
{
        for (size_t i = 0; i < condition->path.count; i++)
                row = value_is_object(row) ? value_get(row, condition->path.fields[i]) : value_none();
        if (value_is(row, V_NONE))
                return false;
        if (condition->kind == FEED_FIELD_BETWEEN)
                return in_bounds(&condition->bounds, row);
        for (size_t i = 0; i < condition->value_count; i++)
                if (value_equal(condition->values[i], row))
                        return true;
        return false;
}

static void show_row(const FeedSpec *spec, Value row, ShownRow *ret)
{
        *ret = (ShownRow){0};
        if (value_is(row, V_NONE))
                return;
        Value shown = value_array(arena_dup(&fake.arena, &row, sizeof row), 1);
        for (size_t i = 0; i < spec->condition_count; i++)
                if (!condition_holds(&spec->conditions[i], row))
                        return;
        if (spec->function.data) {
                Closure *closure;
                Status st = closure_load_inexact(spec->function, &closure);
                if (!st) {
                        st = closure_call_at(closure, spec->now_us, &row, 1, &fake.arena, &shown);
                        closure_unref(closure);
                }
                if (status_code(st) == ERR_NON_EXISTENCE) {
                        status_ignore(st);
                        return;
                }
                if (st) {
                        ret->error = arena_dup(&fake.arena, status_message(st), strlen(status_message(st)));
                        status_ignore(st);
                        return;
                }
        }
        Value values[16];
        size_t value_total = 0;
        Value field = value_get(row, spec->index.data ? spec->index : BYTES_STR("id"));
        bool many = spec->index.data && bytes_equal(spec->index, BYTES_STR("m")) && value_is(field, V_ARRAY);
        for (size_t i = 0; i < (many ? value_count(field) : 1); i++) {
                Value v = many ? value_at(field, i) : field;
                if (!value_is(v, V_NONE) && key_is_secondary(v))
                        values[value_total++] = v;
        }
        for (size_t i = 0; i < value_total; i++)
                for (size_t n = times_meant(spec, values[i]); n > 0; n--)
                        for (size_t j = 0; j < value_count(shown); j++)
                                ret->items[ret->count++] =
                                        (Shown){spec->index.data ? values[i] : value_none(), value_at(shown, j)};
}

static void add_event(Feed *feed, FeedEvent event)
{
        assert_true(feed->count < MAX_EVENTS);
        event.place = (FeedPlace){1, position, (uint32_t)feed->count + 1};
        feed->events[feed->count++] = event;
}

static void add_events(Feed *feed, Value key, Value old_row, Value new_row)
{
        ShownRow before, after;
        bool used[64] = {false};
        show_row(&feed->spec, old_row, &before);
        show_row(&feed->spec, new_row, &after);
        if (after.error || (before.error && feed->spec.tell_mended)) {
                add_event(feed, (FeedEvent){.kind = FEED_ERROR,
                                            .key = key,
                                            .error = before.error ? before.error : after.error,
                                            .error_code = ERR_LOGIC});
                return;
        }
        for (size_t i = 0; i < before.count; i++) {
                const Shown *was = &before.items[i], *is = NULL;
                for (int pass = 0; pass < 2 && !is; pass++)
                        for (size_t j = 0; j < after.count && !is; j++)
                                if (!used[j] && (pass || value_equal(after.items[j].index, was->index))) {
                                        is = &after.items[j];
                                        used[j] = true;
                                }
                bool moved = is && feed->spec.tell_moves && !value_equal(is->index, was->index);
                if (is && value_equal(is->value, was->value) && !moved)
                        continue;
                add_event(feed, (FeedEvent){.key = key,
                                            .old_value = was->value,
                                            .old_index = was->index,
                                            .new_value = is ? is->value : value_none(),
                                            .new_index = is ? is->index : value_none()});
        }
        for (size_t j = 0; j < after.count; j++)
                if (!used[j])
                        add_event(feed, (FeedEvent){.key = key,
                                                    .new_value = after.items[j].value,
                                                    .new_index = after.items[j].index});
}

static TableRef *table_named(const char *name)
{
        for (size_t i = 0; i < fake.table_count; i++)
                if (bytes_equal(fake.tables[i].info.name, BYTES_STR(name)))
                        return &fake.tables[i];
        return NULL;
}

/* The row with that key becomes `row` (V_NONE: none). */
static void put(TableRef *table, Value key, Value row)
{
        Value old = value_none();
        Value *rows = arena_array(&fake.arena, Value, value_count(table->rows) + 1);
        size_t count = 0;
        for (size_t i = 0; i < value_count(table->rows); i++) {
                Value other = value_at(table->rows, i);
                if (value_equal(value_get_str(other, "id"), key))
                        old = other;
                else
                        rows[count++] = other;
        }
        if (!value_is(row, V_NONE))
                rows[count++] = row;
        qsort(rows, count, sizeof *rows, fake_compare);
        table->rows = value_array(rows, count);
        bool same = value_is(old, V_NONE) == value_is(row, V_NONE) && (value_is(row, V_NONE) || value_equal(old, row));
        if (same)
                return;
        assert_true(past_count < MAX_PAST);
        past[past_count].table = table;
        past[past_count].key = key;
        past[past_count].old_row = old;
        past[past_count].new_row = row;
        past[past_count++].position = position;
        for (size_t i = 0; i < feed_count; i++)
                if (feeds[i]->spec.table == table)
                        add_events(feeds[i], key, old, row);
}

/* All that was put since then is one commit. */
static void begin_commit(void)
{
        position++;
}
static void end_commit_of(Feed *feed)
{
        if (feed->count > feed->first && feed->events[feed->count - 1].place.position == position) {
                feed->events[feed->count - 1].last_of_commit = true;
                feed->events[feed->count - 1].place.index = UINT32_MAX;
        }
}
static void end_commit(void)
{
        for (size_t t = 0; t < fake.table_count; t++)
                for (size_t i = 0; i < fake.tables[t].index_count; i++)
                        fake_fill_index(&fake.tables[t], i);
        for (size_t i = 0; i < feed_count; i++)
                end_commit_of(feeds[i]);
}

static void replay_past(Feed *feed, const FeedPlace *since)
{
        uint64_t now = position;
        assert_int_equal(since->index, UINT32_MAX);
        for (size_t i = 0; i < past_count; i++) {
                position = past[i].position;
                if (past[i].table == feed->spec.table && position > since->position)
                        add_events(feed, past[i].key, past[i].old_row, past[i].new_row);
                if (i + 1 == past_count || past[i + 1].position > position)
                        end_commit_of(feed);
        }
        position = now;
        feed->place = *since;
}

static Status feed_open(void *ctx, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed)
{
        (void)ctx;
        if (options->since && options->since->position < reach)
                return status_new(ERR_NOT_FOUND, "no such place");
        assert_true(feed_count < MAX_FEEDS);
        Feed *feed = mem_zalloc(sizeof *feed);
        if (!feed)
                return status_nomem();
        feed->spec = *spec;
        feed->place = (FeedPlace){1, position, UINT32_MAX};
        if (options->since)
                replay_past(feed, options->since);
        feeds[feed_count++] = feed;
        *ret_feed = feed;
        return ST_OK;
}
static void feed_close(Feed *feed)
{
        for (size_t i = 0; feed && i < feed_count; i++)
                if (feeds[i] == feed)
                        feeds[i--] = feeds[--feed_count];
        mem_free(feed);
}
static Status feed_view(Feed *feed, TableView **ret_view)
{
        TableRef *snapshot = &snapshots[snapshot_count++ % MAX_SNAPSHOTS];
        *snapshot = *feed->spec.table;
        TRY(fake_view_open(snapshot, ret_view));
        feed->first = feed->count = 0;
        feed->lost = false;
        feed->place = (FeedPlace){1, position, UINT32_MAX};
        return ST_OK;
}
static Status feed_next(Feed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        (void)hold;
        *ret_found = feed->lost || feed->first < feed->count;
        if (feed->lost) {
                *ret_event = (FeedEvent){.kind = FEED_LOST};
                return ST_OK;
        }
        if (!*ret_found) {
                feed->place = (FeedPlace){1, position, UINT32_MAX};
                return ST_OK;
        }
        feed->paused = far_apart && !feed->paused && feed->place.index != UINT32_MAX;
        if (feed->paused) {
                *ret_found = false;
                return ST_OK;
        }
        *ret_event = feed->events[feed->first++];
        feed->place = ret_event->place;
        if (feed->first == feed->count)
                feed->first = feed->count = 0;
        return ST_OK;
}
static bool feed_is_long(Feed *feed)
{
        (void)feed;
        return false;
}
static void feed_watch(Feed *feed, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns, uint64_t position)
{
        (void)deadline_ns;
        (void)position;
        feed->ready = ready;
        feed->ctx = ctx;
}
static FeedPlace feed_place(Feed *feed)
{
        return feed->place;
}
static size_t feed_memory(const Feed *feed)
{
        return sizeof *feed;
}
static const FeedSource feed_source = {.open = feed_open,
                                       .close = feed_close,
                                       .view = feed_view,
                                       .next = feed_next,
                                       .is_long = feed_is_long,
                                       .watch = feed_watch,
                                       .place = feed_place,
                                       .memory_bytes = feed_memory};

static QueryWorld world = {
        .source = &fake_source, .host = &fake_host, .feeds = &feed_source, .memory_max_bytes = 64 << 20};

/* --- queries --- */

/* Of the steps of a test (preparing, each batch) one is chosen, in which the nth allocation fails. */
static int chosen_step = -1, step;
static long chosen_n;
static bool fired;

static void arm(void)
{
        if (step++ == chosen_step)
                mem_fail_nth(chosen_n);
}
static void disarm(void)
{
        fired |= mem_fail_fired() && chosen_n;
        mem_fail_nth(0);
}

static Status prepare(const char *text, Query **ret)
{
        uint8_t *buffer;
        Buf frame;
        buf_init(&frame, 1 << 20);
        OK(buf_printf(&frame, "[1,[%d,[", WIRE_TEXT_TERM));
        OK(json_write_string(BYTES_STR(text), &frame));
        OK(buf_append_str(&frame, "]],{\"plan\":false,\"max_batch_rows\":100000}]"));
        arm();
        Status st = query_new(&world, "admin", ret);
        if (!st)
                st = query_text_buffer(*ret, frame.size, &buffer);
        if (!st) {
                memcpy(buffer, frame.data, frame.size);
                st = query_prepare(*ret, BYTES(buffer, frame.size));
        }
        disarm();
        buf_done(&frame);
        return st;
}

static Value parse(const Buf *rows)
{
        Buf text;
        Value parsed;
        buf_init(&text, 64 << 20);
        OK(buf_printf(&text, "[%.*s]", (int)rows->size, (const char *)rows->data));
        OK(json_parse_copy(BYTES(text.data, text.size), JSON_PSEUDO, &fake.arena, &parsed));
        buf_done(&text);
        return parsed;
}

/* Its rows, or the one value that it is. */
static Status run(const char *text, Value *ret)
{
        Query *query = NULL;
        QueryAnswer answer = ANSWER_PARTIAL;
        Buf rows;
        buf_init(&rows, 64 << 20);
        Status st = prepare(text, &query);
        while (!st && answer == ANSWER_PARTIAL) {
                size_t before = rows.size;
                if (before)
                        st = buf_append_byte(&rows, ',');
                if (!st)
                        st = query_next(query, &rows, &answer);
                if (!st && before && rows.size == before + 1)
                        rows.size = before;
        }
        if (!st) {
                *ret = parse(&rows);
                if (answer == ANSWER_ATOM)
                        *ret = value_at(*ret, 0);
        }
        query_free(query);
        buf_done(&rows);
        return st;
}

/* --- what a client makes of the changes --- */

/* To the last bit, as text. */
static bool same(Value a, Value b)
{
        Buf left, right;
        buf_init(&left, 1 << 20);
        buf_init(&right, 1 << 20);
        OK(json_write(a, &left));
        OK(json_write(b, &right));
        bool equal = left.size == right.size && !memcmp(left.data, right.data, left.size);
        buf_done(&left);
        buf_done(&right);
        return equal;
}

typedef enum Kind {
        LIST,   /* by offsets */
        SINGLE, /* the last new_val */
        BAG,    /* old_val goes, new_val comes */
} Kind;
typedef struct Client {
        Kind kind;
        Query *query;
        Value items[8192];
        size_t count;
        bool failed; /* {"error"} came, and nothing since */
        size_t changes, restarts;
        char token[128]; /* the last one; "": none */
        const char *text;
} Client;

static void remove_at(Client *client, size_t at)
{
        client->count--;
        memmove(&client->items[at], &client->items[at + 1], (client->count - at) * sizeof *client->items);
}

static void insert_at(Client *client, size_t at, Value v)
{
        memmove(&client->items[at + 1], &client->items[at], (client->count - at) * sizeof *client->items);
        client->items[at] = v;
        client->count++;
}

static bool present(Value v)
{
        return !value_is(v, V_NONE) && !value_is(v, V_NULL);
}

static void follow(Client *client, Value change)
{
        Value old_value = value_get_str(change, "old_val"), new_value = value_get_str(change, "new_val");
        Value old_offset = value_get_str(change, "old_offset"), new_offset = value_get_str(change, "new_offset");
        Value token = value_get_str(change, "token");
        client->changes++;
        if (value_is(token, V_STRING))
                snprintf(client->token, sizeof client->token, "%.*s", (int)value_bytes(token).size,
                         (const char *)value_bytes(token).data);
        if (value_bytes_are(value_get_str(change, "state"), "restarted")) {
                client->restarts++;
                client->count = 0;
        }
        if (!value_is(value_get_str(change, "state"), V_NONE))
                return;
        client->failed = !value_is(value_get_str(change, "error"), V_NONE);
        if (client->failed)
                return;
        if (client->kind == SINGLE) {
                if (!value_is(old_value, V_NONE) && client->count)
                        assert_true(same(old_value, client->items[0]));
                client->items[0] = new_value;
                client->count = 1;
                return;
        }
        if (client->kind == BAG) {
                size_t at = 0;
                if (present(old_value)) {
                        while (at < client->count && !value_equal(client->items[at], old_value))
                                at++;
                        assert_true(at < client->count);
                        remove_at(client, at);
                }
                if (present(new_value))
                        insert_at(client, client->count, new_value);
                return;
        }
        if (present(old_offset)) {
                assert_true(old_offset.number < (double)client->count);
                assert_true(value_equal(client->items[(size_t)old_offset.number], old_value));
                remove_at(client, (size_t)old_offset.number);
        }
        if (present(new_offset)) {
                assert_true(new_offset.number <= (double)client->count);
                insert_at(client, (size_t)new_offset.number, new_value);
        }
}

/* Everything that the feed has to say now. */
static Status catch_up(Client *client)
{
        int silent = 0; /* so often in a row */
        Buf rows;
        QueryAnswer answer = ANSWER_PARTIAL;
        Status st;
        buf_init(&rows, 64 << 20);
        OK(buf_reserve(&rows, 1 << 16));
        do {
                buf_clear(&rows);
                arm();
                st = query_next(client->query, &rows, &answer);
                disarm();
                if (st)
                        break;
                assert_int_equal(answer, ANSWER_PARTIAL);
                Value changes = parse(&rows);
                for (size_t i = 0; i < value_count(changes); i++)
                        follow(client, value_at(changes, i));
                silent = rows.size ? 0 : silent + 1;
        } while (silent < (far_apart ? 100 : 1));
        buf_done(&rows);
        return st;
}

static int compare_items(const void *a, const void *b)
{
        return value_compare(*(const Value *)a, *(const Value *)b);
}

static void show_values(const char *what, const Value *values, size_t count)
{
        Buf text;
        buf_init(&text, 1 << 20);
        for (size_t i = 0; i < count; i++) {
                OK(json_write(values[i], &text));
                OK(buf_append_byte(&text, '\n'));
        }
        fprintf(stderr, "%s:\n%.*s", what, (int)text.size, (const char *)text.data);
        buf_done(&text);
}

static void check_client(Client *client)
{
        Value result, sorted[8192], mine[8192];
        const Value *have = client->items;
        size_t count = 1;
        Status st = run(client->text, &result);
        bool nothing = status_code(st) == ERR_NON_EXISTENCE || strstr(status_message(st), "found no entries");
        if (client->kind == SINGLE && client->count == 0)
                client->items[client->count++] = value_null();
        if (client->kind == SINGLE && nothing) {
                status_ignore(st);
                st = ST_OK;
                result = value_null();
        }
        if (st) {
                if (!client->failed)
                        fail_msg("%s: %s", client->text, status_message(st));
                status_ignore(st);
                return;
        }
        if (client->kind == LIST && client->failed && value_count(result) == 1)
                return; /* a single row is not sorted, so the query computes no key; the feed does */
        if (client->kind == SINGLE) {
                sorted[0] = result;
        } else {
                count = 0;
                assert_true(value_count(result) <= ELEMENTS(sorted));
                for (size_t i = 0; i < value_count(result); i++) /* null says "nothing" in a change */
                        if (client->kind == LIST || present(value_at(result, i)))
                                sorted[count++] = value_at(result, i);
                if (client->kind == BAG) {
                        memcpy(mine, client->items, client->count * sizeof *mine);
                        have = mine;
                        qsort(sorted, count, sizeof *sorted, compare_items);
                        qsort(mine, client->count, sizeof *mine, compare_items);
                }
        }
        bool good = count == client->count;
        for (size_t i = 0; good && i < count; i++)
                good = same(sorted[i], have[i]);
        if (good)
                return;
        show_values("the query gives", sorted, count);
        show_values("the feed gave", have, client->count);
        fail_msg("%s", client->text);
}

static Status begin_client(Client *client, const char *options)
{
        char text[1024], since[160] = "";
        client->query = NULL;
        if (client->token[0])
                snprintf(since, sizeof since, ", since: \"%s\"", client->token);
        snprintf(text, sizeof text, "%s.changes({includeInitial: true%s%s%s})", client->text,
                 client->kind == LIST ? ", includeOffsets: true" : "", options, since);
        TRY(prepare(text, &client->query));
        return catch_up(client);
}

static Status open_client(Client *client, Kind kind, const char *query, const char *options)
{
        client->kind = kind;
        client->count = client->changes = client->restarts = 0;
        client->failed = false;
        client->text = query;
        client->token[0] = 0;
        return begin_client(client, options);
}

/* --- random tables --- */

static unsigned seed;
static unsigned any(unsigned n)
{
        seed = seed * 1103515245 + 12345;
        return (seed >> 8) % n;
}

static int odd_rows; /* of a hundred: rows that make queries fail */

static void random_text(char *out, size_t size, const char *kinds)
{
        switch (kinds[any((unsigned)strlen(kinds))]) {
        case 'n': snprintf(out, size, "%u", any(6)); break;
        case 'd': snprintf(out, size, "%.17g", any(1000) / 100.0); break;
        case 'e': snprintf(out, size, "%d.%de%d", (int)any(19) - 9, any(10), (int)any(60) - 30); break;
        case 's': snprintf(out, size, "\"%c\"", 'a' + (int)any(4)); break;
        case 'b': snprintf(out, size, "%s", any(2) ? "true" : "false"); break;
        case '0': snprintf(out, size, "null"); break;
        case 'a': snprintf(out, size, "[%u,%u]", any(3), 3 + any(3)); break;
        default: out[0] = 0;
        }
}

static Value random_row(unsigned id)
{
        char text[512], a[64], b[64], v[64], m[64];
        Value row;
        random_text(a, sizeof a, "nnnnnnsb0- ");
        random_text(b, sizeof b, "nnnnns-");
        random_text(v, sizeof v, (int)any(100) < odd_rows ? "sb" : "nnddee0-");
        random_text(m, sizeof m, "aan-");
        int size = snprintf(text, sizeof text, "{\"id\":%u,\"w\":%u", id, any(3));
        const char *const names[] = {"a", "b", "v", "m"}, *const texts[] = {a, b, v, m};
        for (size_t i = 0; i < ELEMENTS(names); i++)
                if (texts[i][0])
                        size += snprintf(text + size, sizeof text - (size_t)size, ",\"%s\":%s", names[i], texts[i]);
        snprintf(text + size, sizeof text - (size_t)size, "}");
        OK(json_parse_copy(BYTES_STR(text), JSON_PSEUDO, &fake.arena, &row));
        return row;
}

static void random_commit(unsigned keys)
{
        begin_commit();
        for (unsigned n = 1 + any(any(4) ? 2 : 6); n > 0; n--) {
                TableRef *table = table_named(any(4) ? "t" : "u");
                unsigned id = any(table == table_named("t") ? keys : 8);
                Value key = value_number(id);
                put(table, key, any(3) ? random_row(id) : value_none());
        }
        end_commit();
}

typedef struct Case {
        Kind kind;
        const char *query;
} Case;

static const Case cases[] = {
        /* the first rows by an index */
        {LIST, "r.table(\"t\").orderBy({index: \"a\"}).limit(3)"},
        {LIST, "r.table(\"t\").orderBy({index: r.desc(\"a\")}).limit(3)"},
        {LIST, "r.table(\"t\").orderBy({index: \"id\"}).limit(5)"},
        {LIST, "r.table(\"t\").orderBy({index: r.desc(\"id\")}).limit(2)"},
        {LIST, "r.table(\"t\").orderBy({index: \"m\"}).limit(4)"},
        {LIST, "r.table(\"t\").between(1, 4, {index: \"a\"}).orderBy({index: \"a\"}).limit(4)"},
        {LIST, "r.table(\"t\").orderBy({index: \"a\"}).between(1, 4).limit(4)"},
        {LIST, "r.table(\"t\").orderBy({index: \"a\"}).filter({w: 1}).limit(3)"},
        {LIST, "r.table(\"t\").orderBy({index: \"a\"}).filter(x => x(\"b\") > 2).pluck(\"a\", \"b\").limit(3)"},
        {LIST, "r.table(\"t\").orderBy({index: r.desc(\"a\")}).limit(4).pluck(\"id\", \"w\")"},
        {LIST, "r.table(\"t\").orderBy({index: \"a\"}).limit(4).map(x => x.merge({c: x(\"w\") + 1}))"},
        {LIST, "r.table(\"t\").orderBy({index: \"a\"}).limit(0)"},
        {LIST, "r.table(\"t\").orderBy({index: \"a\"}).limit(1000)"},
        {LIST, "r.table(\"t\").orderBy({index: \"a\"}).slice(0, 3)"},
        {LIST, "r.table(\"t\").orderBy({index: \"a\"}).slice(2, 4, {rightBound: \"closed\"})"},
        {LIST, "r.table(\"t\").orderBy(\"w\").skip(2).limit(4)"},
        {LIST, "r.table(\"t\").orderBy({index: \"id\"}).limit(5).slice(1, 9)"},
        {BAG, "r.table(\"t\").orderBy({index: \"a\"}).limit(5).filter({w: 1})"},
        {SINGLE, "r.table(\"t\").min({index: \"a\"})"},
        {SINGLE, "r.table(\"t\").max({index: \"a\"})"},
        {SINGLE, "r.table(\"t\").max({index: \"id\"})"},
        {SINGLE, "r.table(\"t\").min()"},
        /* by functions */
        {LIST, "r.table(\"t\").orderBy(\"b\").limit(3)"},
        {LIST, "r.table(\"t\").orderBy(r.desc(\"b\"), \"a\").limit(3)"},
        {LIST, "r.table(\"t\").orderBy(\"w\").limit(6)"},
        {LIST, "r.table(\"t\").orderBy(\"b\", {index: \"a\"}).limit(4)"},
        {LIST, "r.table(\"t\").orderBy(r.desc(\"b\"), {index: r.desc(\"a\")}).limit(4)"},
        {LIST, "r.table(\"t\").orderBy(x => x(\"w\") + x(\"b\")).limit(4).without(\"v\")"},
        {LIST, "r.table(\"t\").orderBy(\"b\").filter({w: 1}).limit(3)"},
        {LIST, "r.table(\"t\").filter({w: 1}).orderBy(\"b\").limit(3)"},
        {LIST, "r.table(\"t\").orderBy(\"w\").concatMap(x => [x(\"id\"), x(\"w\")]).limit(5)"},
        {LIST, "r.table(\"t\").between(1, 5, {index: \"a\"}).orderBy(\"w\").limit(4)"},
        {LIST, "r.table(\"t\").getAll(3, 1, {index: \"a\"}).orderBy(\"w\").limit(4)"},
        {LIST, "r.table(\"t\").getAll(7, 3, 5).orderBy(\"w\").limit(3)"},
        {LIST, "r.table(\"t\").pluck(\"w\", \"b\").orderBy(\"w\").limit(7)"},
        /* single values */
        {SINGLE, "r.table(\"t\").count()"},
        {SINGLE, "r.table(\"t\").filter({w: 1}).count()"},
        {SINGLE, "r.table(\"t\").count(x => x(\"b\") > 2)"},
        {SINGLE, "r.table(\"t\")(\"b\").count(3)"},
        {SINGLE, "r.table(\"t\").map(x => r.expr([1, 2, 2]).group(y => y + x(\"w\")).count().ungroup().count()).sum()"},
        {SINGLE, "r.table(\"t\").sum(\"v\")"},
        {SINGLE, "r.table(\"t\").avg(\"v\")"},
        {SINGLE, "r.table(\"t\").getAll(1, 2, {index: \"a\"}).sum(x => x(\"v\") * 3)"},
        {SINGLE, "r.table(\"t\").min(\"v\")"},
        {SINGLE, "r.table(\"t\").max(\"v\")"},
        {SINGLE, "r.table(\"t\").max(x => x(\"w\"))"},
        {SINGLE, "r.table(\"t\")(\"v\").max()"},
        {SINGLE, "r.table(\"t\").getAll(3, 1, {index: \"a\"}).min(\"w\")"},
        {SINGLE, "r.table(\"t\").filter({w: 1}).pluck(\"a\", \"id\").min(\"a\")"},
        /* groups */
        {BAG, "r.table(\"t\").group(\"a\").count().ungroup()"},
        {BAG, "r.table(\"t\").group(\"a\", \"w\").count().ungroup()"},
        {BAG, "r.table(\"t\").group(\"m\", {multi: true}).count().ungroup()"},
        {BAG, "r.table(\"t\").group({index: \"a\"}).count().ungroup()"},
        {BAG, "r.table(\"t\").group({index: \"m\"}).count().ungroup()"},
        {BAG, "r.table(\"t\").group(\"w\", {index: \"a\"}).sum(\"v\").ungroup()"},
        {BAG, "r.table(\"t\").group({index: \"id\"}).count().ungroup()"},
        {BAG, "r.table(\"t\").group(\"a\").sum(\"v\").ungroup()"},
        {BAG, "r.table(\"t\").group(\"a\").avg(\"v\").ungroup()"},
        {BAG, "r.table(\"t\").group(\"w\").min(\"v\").ungroup()"},
        {BAG, "r.table(\"t\").group(\"w\").max(\"v\").ungroup()"},
        {BAG, "r.table(\"t\").group(\"w\")(\"v\").sum().ungroup()"},
        {BAG, "r.table(\"t\").group(\"w\").filter(x => x(\"b\") > 2).count(x => x(\"a\") < 4).ungroup()"},
        {BAG, "r.table(\"t\").filter({w: 1}).group(\"b\").map(x => x(\"a\").default(0)).max().ungroup()"},
        /* distinct */
        {BAG, "r.table(\"t\").distinct()"},
        {BAG, "r.table(\"t\")(\"a\").distinct()"},
        {BAG, "r.table(\"t\").pluck(\"w\", \"b\").distinct()"},
        {BAG, "r.table(\"t\").distinct({index: \"a\"})"},
        {BAG, "r.table(\"t\").distinct({index: \"m\"})"},
        {BAG, "r.table(\"t\").distinct({index: \"id\"})"},
        {BAG, "r.table(\"t\").between(1, 4, {index: \"a\"}).distinct({index: \"a\"})"},
        {BAG, "r.table(\"t\").between(1, 4, {index: \"a\"}).distinct({index: \"id\"})"},
        {BAG, "r.table(\"t\")(\"a\").distinct().map(x => [x, x])"},
        /* joins */
        {BAG, "r.table(\"t\").eqJoin(\"w\", r.table(\"u\"))"},
        {BAG, "r.table(\"t\").eqJoin(\"w\", r.table(\"u\")).zip()"},
        {BAG, "r.table(\"t\").eqJoin(\"w\", r.table(\"u\"), {index: \"a\"})"},
        {BAG, "r.table(\"t\").eqJoin(\"w\", r.table(\"u\"), {index: \"m\"}).without({right: \"id\"}).zip()"},
        {BAG, "r.table(\"t\").filter({w: 1}).eqJoin(x => x(\"id\") / 2, r.table(\"u\"))"},
        {BAG, "r.table(\"t\").eqJoin(\"w\", r.table(\"t\"), {index: \"a\"}).filter(x => x(\"left\")(\"w\") > 0)"},
};

static void setup_tables(void)
{
        arena_done(&fake.arena);
        memset(&fake, 0, sizeof fake);
        arena_init(&fake.arena, 0);
        fake_add("t", "[]");
        fake_add_index("a", false, false);
        fake_add_index("m", true, false);
        fake_add("u", "[]");
        fake_add_index("a", false, false);
        fake_add_index("m", true, false);
        position = 1;
        past_count = 0;
        reach = 0;
}

static void delete_all(unsigned keys)
{
        for (unsigned id = 0; id < keys; id++) {
                begin_commit();
                put(table_named("t"), value_number(id), value_none());
                end_commit();
        }
}

static Client client;

static void run_case(const Case *one, const char *options, unsigned keys, int commits)
{
        setup_tables();
        for (int i = 0; i < 10; i++)
                random_commit(keys);
        OK(open_client(&client, one->kind, one->query, options));
        check_client(&client);
        for (int i = 0; i < commits; i++) {
                for (unsigned n = any(4) ? 1 : 3; n > 0; n--)
                        random_commit(keys);
                if (any(50) == 0)
                        delete_all(keys);
                if (any(60) == 0)
                        feeds[any((unsigned)feed_count)]->lost = true;
                if (client.token[0] && any(5) == 0) {                      /* away, and back again */
                        size_t restarts = client.restarts + client.failed; /* what was shown before is not known */
                        query_free(client.query);
                        for (unsigned n = any(12); n > 0; n--)
                                random_commit(keys);
                        OK(begin_client(&client, options));
                        if (!odd_rows && client.restarts > restarts)
                                fail_msg("%s: it began anew", one->query);
                }
                OK(catch_up(&client));
                check_client(&client);
        }
        query_free(client.query);
        assert_true(fake_all_closed());
        assert_int_equal(feed_count, 0);
}

/* PHOTON_STATE_ROUNDS: more of them. */
static int rounds(void)
{
        const char *text = getenv("PHOTON_STATE_ROUNDS");
        return text ? atoi(text) : 1;
}

static void test_random(void **state)
{
        (void)state;
        for (int round = 0; round < rounds(); round++) {
                seed = 100 + (unsigned)round;
                odd_rows = 0;
                for (size_t i = 0; i < ELEMENTS(cases); i++)
                        run_case(&cases[i], round % 2 ? ", squash: true" : "", i % 2 ? 12 : 40, 150);
        }
}

static void put_rows(const char *table, const char *rows)
{
        Value parsed;
        OK(json_parse_copy(BYTES_STR(rows), JSON_PSEUDO, &fake.arena, &parsed));
        for (size_t i = 0; i < value_count(parsed); i++) {
                Value row = value_at(parsed, i);
                bool gone = value_count(row) == 1; /* only an id */
                put(table_named(table), value_get_str(row, "id"), gone ? value_none() : row);
        }
}

static void commit(const char *table, const char *rows)
{
        begin_commit();
        put_rows(table, rows);
        end_commit();
}

#define TOKENS ", includeTokens: true"

/* Clients that go on behind their last token, again and again, and never begin anew. */
static void test_since(void **state)
{
        (void)state;
        for (int round = 0; round < rounds(); round++) {
                seed = 400 + (unsigned)round;
                odd_rows = 0;
                for (size_t i = 0; i < ELEMENTS(cases); i++)
                        run_case(&cases[i], round % 2 ? TOKENS ", squash: true" : TOKENS, i % 2 ? 12 : 40, 100);
        }
}

/* The log is read bit by bit. */
static void test_since_bit_by_bit(void **state)
{
        static const Case some[] = {
                {LIST, "r.table(\"t\").orderBy({index: \"m\"}).limit(4)"},
                {SINGLE, "r.table(\"t\").count()"},
                {BAG, "r.table(\"t\").eqJoin(\"w\", r.table(\"u\"))"},
        };
        (void)state;
        seed = 500;
        far_apart = true;
        for (size_t i = 0; i < ELEMENTS(some); i++)
                run_case(&some[i], TOKENS, 12, 60);
        far_apart = false;
}

/* Where that cannot be had: it begins anew, and goes on. */
static void test_since_anew(void **state)
{
        static const char *const queries[] = {
                "r.table(\"t\").filter(x => r.now().year() > x(\"w\")).count()", /* another moment */
                "r.table(\"t\").sum(\"w\")",                                     /* beyond the log's reach */
                "r.table(\"t\").max(\"w\")",                                     /* too much happened */
                "r.table(\"t\").map(x => x(\"w\") + 1).max()",                   /* a row failed in between */
        };
        (void)state;
        for (size_t i = 0; i < ELEMENTS(queries); i++) {
                setup_tables();
                commit("t", "[{\"id\":1,\"w\":1,\"s\":\"\"}]");
                OK(open_client(&client, SINGLE, queries[i], TOKENS));
                query_free(client.query);
                for (int j = 0; j < 20; j++) {
                        char row[9000];
                        snprintf(row, sizeof row, "[{\"id\":%d,\"w\":%d,\"s\":\"%d%8000d\"}]", j, j, j, j);
                        commit("t", row);
                }
                if (i == 1)
                        reach = position;
                if (i == 2)
                        world.memory_max_bytes = 512 << 10;
                if (i == 3) {
                        commit("t", "[{\"id\":50,\"w\":\"x\"}]");
                        commit("t", "[{\"id\":50}]");
                }
                OK(begin_client(&client, TOKENS));
                assert_int_equal(client.restarts, 1);
                check_client(&client);
                commit("t", "[{\"id\":30,\"w\":30,\"s\":\"\"}]");
                OK(catch_up(&client));
                check_client(&client);
                assert_int_equal(client.restarts, 1);
                query_free(client.query);
                world.memory_max_bytes = 64 << 20;
                assert_true(fake_all_closed());
                assert_int_equal(feed_count, 0);
        }
}

/* Some rows make the query fail: it is told, and the feed goes on when they are gone. */
static void test_failing_rows(void **state)
{
        static const Case failing[] = {
                {SINGLE, "r.table(\"t\").sum(\"v\")"},
                {SINGLE, "r.table(\"t\").map(x => x(\"w\") + x(\"v\").default(0)).count()"},
                {BAG, "r.table(\"t\").group(\"w\").avg(\"v\").ungroup()"},
                {LIST, "r.table(\"t\").orderBy(x => x(\"w\") + x(\"v\").default(0)).limit(3)"},
                {LIST, "r.table(\"t\").orderBy({index: \"a\"}).filter(x => x(\"v\").default(0) + 1 > 2).limit(3)"},
                {BAG, "r.table(\"t\").map(x => x(\"w\") + x(\"v\").default(0)).distinct()"},
                {BAG, "r.table(\"t\").eqJoin(x => x(\"w\") + x(\"v\").default(0), r.table(\"u\"))"},
        };
        (void)state;
        for (int round = 0; round < rounds(); round++) {
                seed = 200 + (unsigned)round;
                odd_rows = 3;
                for (size_t i = 0; i < ELEMENTS(failing); i++) {
                        run_case(&failing[i], "", 12, 200);
                        run_case(&failing[i], TOKENS, 12, 200); /* may begin anew */
                }
        }
        odd_rows = 0;
}

/* A right table that is too large to be remembered: only what left rows ask for is. */
static Status large_count(TableView *view, const KeyBounds *bounds, uint64_t *ret_count)
{
        TRY(fake_count(view, bounds, ret_count));
        *ret_count += 1000000;
        return ST_OK;
}

static void test_large_right_table(void **state)
{
        (void)state;
        TableSource source = fake_source;
        source.view_count = large_count;
        world.source = &source;
        for (int round = 0; round < rounds(); round++) {
                seed = 300 + (unsigned)round;
                for (size_t i = 0; i < ELEMENTS(cases); i++)
                        if (strstr(cases[i].query, "eqJoin"))
                                run_case(&cases[i], round % 2 ? "" : TOKENS, i % 2 ? 12 : 40, 200);
        }
        world.source = &fake_source;
}

/* --- what exactly is told --- */

static void expect(Query *query, const char *want)
{
        Buf rows;
        QueryAnswer answer;
        buf_init(&rows, 1 << 20);
        OK(query_next(query, &rows, &answer));
        OK(buf_append_byte(&rows, 0));
        assert_string_equal((const char *)rows.data, want);
        buf_done(&rows);
}

static void test_limit_documents(void **state)
{
        Query *query;
        (void)state;
        setup_tables();
        commit("t", "[{\"id\":1,\"a\":10},{\"id\":2,\"a\":20},{\"id\":3,\"a\":30}]");
        OK(prepare("r.table('t').orderBy({index: 'a'}).limit(2).changes({includeInitial: true, includeOffsets: true})",
                   &query));
        expect(query, "{\"new_offset\":0,\"new_val\":{\"a\":10,\"id\":1}},"
                      "{\"new_offset\":1,\"new_val\":{\"a\":20,\"id\":2}}");
        /* one comes, and pushes the last one out */
        commit("t", "[{\"id\":4,\"a\":5}]");
        expect(query,
               "{\"new_offset\":0,\"new_val\":{\"a\":5,\"id\":4},\"old_offset\":1,\"old_val\":{\"a\":20,\"id\":2}}");
        /* one goes, and the next one comes */
        commit("t", "[{\"id\":4}]");
        expect(query,
               "{\"new_offset\":1,\"new_val\":{\"a\":20,\"id\":2},\"old_offset\":0,\"old_val\":{\"a\":5,\"id\":4}}");
        /* one moves */
        commit("t", "[{\"id\":1,\"a\":25}]");
        expect(query,
               "{\"new_offset\":1,\"new_val\":{\"a\":25,\"id\":1},\"old_offset\":0,\"old_val\":{\"a\":10,\"id\":1}}");
        /* behind the limit nothing is to be seen */
        commit("t", "[{\"id\":5,\"a\":50}]");
        expect(query, "");
        commit("t", "[{\"id\":1},{\"id\":2},{\"id\":3}]");
        expect(query,
               "{\"new_offset\":1,\"new_val\":{\"a\":50,\"id\":5},\"old_offset\":0,\"old_val\":{\"a\":20,\"id\":2}},"
               "{\"new_offset\":null,\"new_val\":null,\"old_offset\":0,\"old_val\":{\"a\":25,\"id\":1}}");
        query_free(query);
}

static void test_value_documents(void **state)
{
        Query *query;
        (void)state;
        setup_tables();
        OK(prepare("r.table('t').avg('a').changes({includeInitial: true})", &query));
        expect(query, "{\"new_val\":null}");
        commit("t", "[{\"id\":1,\"a\":0.25},{\"id\":2,\"a\":0.75}]");
        expect(query, "{\"new_val\":0.5,\"old_val\":null}");
        commit("t", "[{\"id\":1},{\"id\":2}]");
        expect(query, "{\"new_val\":null,\"old_val\":0.5}");
        query_free(query);

        OK(prepare("r.table('t').group('a').count().changes()", &query));
        expect(query, "");
        commit("t", "[{\"id\":1,\"a\":1},{\"id\":2,\"a\":1}]");
        expect(query, "{\"new_val\":{\"group\":1,\"reduction\":2},\"old_val\":null}");
        commit("t", "[{\"id\":1,\"a\":1,\"b\":1}]"); /* the row is another one, the count is not */
        expect(query, "");
        commit("t", "[{\"id\":1},{\"id\":2}]");
        expect(query, "{\"new_val\":null,\"old_val\":{\"group\":1,\"reduction\":2}}");
        query_free(query);
        assert_true(fake_all_closed());
}

/* A feed that reads the log comes to a large commit bit by bit: nothing is told before the end of it. */
static void test_bit_by_bit(void **state)
{
        static const struct {
                const char *query, *first, *then;
        } cases[] = {
                {"r.table('t').count()", "{\"new_val\":2}", "{\"new_val\":1,\"old_val\":2}"},
                {"r.table('t').orderBy({index: 'a'}).limit(1)('id')", "{\"new_val\":1}",
                 "{\"new_val\":3,\"old_val\":1}"},
                {"r.table('t').eqJoin('a', r.table('u'))('right')('id')", "{\"new_val\":1}",
                 "{\"new_val\":null,\"old_val\":1},{\"new_val\":3,\"old_val\":null}"},
        };
        (void)state;
        for (size_t i = 0; i < ELEMENTS(cases); i++) {
                Query *query;
                char text[256];
                setup_tables();
                commit("t", "[{\"id\":1,\"a\":1},{\"id\":2,\"a\":5}]");
                commit("u", "[{\"id\":1,\"b\":1}]");
                snprintf(text, sizeof text, "%s.changes({includeInitial: true})", cases[i].query);
                OK(prepare(text, &query));
                expect(query, cases[i].first);
                begin_commit();
                put_rows("t", "[{\"id\":1},{\"id\":2},{\"id\":3,\"a\":3}]");
                put_rows("u", "[{\"id\":1},{\"id\":3,\"b\":3}]");
                end_commit();
                far_apart = true;
                Buf told;
                QueryAnswer answer;
                buf_init(&told, 1 << 20);
                for (int n = 0; n < 10; n++)
                        OK(query_next(query, &told, &answer));
                OK(buf_append_byte(&told, 0));
                assert_string_equal((const char *)told.data, cases[i].then);
                buf_done(&told);
                far_apart = false;
                query_free(query);
        }
        assert_true(fake_all_closed());
}

/* Too large a sum is an error as long as it is one. */
static void test_infinite(void **state)
{
        static const char *const queries[] = {"r.table('t').sum('a')", "r.table('t').group('b').sum('a')"};
        static const char *const expected[][2] = {
                {"{\"new_val\":1e308,\"old_val\":0}", "{\"new_val\":1.5e308,\"old_val\":1e308}"},
                {"{\"new_val\":{\"group\":null,\"reduction\":1e308},\"old_val\":null}",
                 "{\"new_val\":{\"group\":null,\"reduction\":1.5e308},\"old_val\":"
                 "{\"group\":null,\"reduction\":1e308}}"}};
        const char *const error = "{\"error\":\"Non-finite number: inf\"}";
        (void)state;
        for (size_t i = 0; i < ELEMENTS(queries); i++) {
                Query *query;
                char text[128];
                setup_tables();
                snprintf(text, sizeof text, "%s.changes()", queries[i]);
                OK(prepare(text, &query));
                expect(query, "");
                commit("t", "[{\"id\":1,\"a\":1e308}]");
                expect(query, expected[i][0]);
                commit("t", "[{\"id\":2,\"a\":1e308}]");
                expect(query, error);
                commit("t", "[{\"id\":3,\"a\":-0.5e308}]");
                expect(query, expected[i][1]);
                query_free(query);
        }
        assert_true(fake_all_closed());
}

/* Sums of rows are exact; those of arrays are added one by one, as in RethinkDB. */
static void test_sums(void **state)
{
        Value sum;
        (void)state;
        setup_tables();
        begin_commit();
        for (int i = 0; i < 10; i++) {
                char text[64];
                Value row;
                snprintf(text, sizeof text, "{\"id\":%d,\"v\":0.1,\"w\":%s}", i,
                         i == 3   ? "1e100"
                         : i == 6 ? "-1e100"
                                  : "1");
                OK(json_parse_copy(BYTES_STR(text), JSON_PSEUDO, &fake.arena, &row));
                put(table_named("t"), value_number(i), row);
        }
        end_commit();
        OK(run("r.table('t').sum('v')", &sum));
        assert_true(sum.number == 1);
        OK(run("r.table('t').avg('w')", &sum));
        assert_true(sum.number == 0.8);
        OK(run("r.table('t').group('v').sum('w').ungroup()(0)('reduction')", &sum));
        assert_true(sum.number == 8);
        OK(run("r.expr([0.1, 0.2, 0.3]).sum()", &sum));
        assert_true(sum.number == 0.1 + 0.2 + 0.3);
}

/* A queue: its first row is taken all the time. The reserve is used up ever more rarely. */
static void test_queue(void **state)
{
        enum { COUNT = 600 };
        (void)state;
        setup_tables();
        Client *client = arena_new(&fake.arena, Client);
        begin_commit();
        for (unsigned i = 0; i < COUNT; i++)
                put(table_named("t"), value_number(i), random_row(i));
        end_commit();
        OK(open_client(client, LIST, "r.table('t').orderBy({index: 'id'}).limit(3)", ""));
        size_t before = snapshot_count;
        for (unsigned i = 0; i < COUNT; i++) {
                begin_commit();
                put(table_named("t"), value_number(i), value_none());
                end_commit();
                OK(catch_up(client));
                if (i % 50 == 0)
                        check_client(client);
        }
        assert_int_equal(client->count, 0);
        assert_in_range(snapshot_count - before, 2, 8);
        query_free(client->query);
}

static void test_refused(void **state)
{
        static const char *const refused[][2] = {
                {"r.table('t').map(x => r.random()).count()", "non-deterministic"},
                {"r.table('t').count(x => r.random() > 0.5)", "non-deterministic"},
                {"r.table('t').orderBy({index: 'a'}).limit(2).map(x => r.table('u').get(1))", "non-deterministic"},
                {"r.table('t').orderBy({index: 'none'}).limit(2)", "Index `none` was not found"},
                {"r.table('t').min({index: 'none'})", "Index `none` was not found"},
                {"r.table('t').group({index: 'none'}).count()", "Index `none` was not found"},
                {"r.table('t').eqJoin('a', r.table('u'), {index: 'none'})", "Index `none` was not found"},
                {"r.table('t').orderBy({index: 'a'}).limit(-1)", "LIMIT takes a non-negative argument"},
                {"r.table('t').get(1).count()", ""},
                {"r.expr([1, 2]).count()", ""},
                {"r.expr([1, 2]).distinct()", "eager stream"},
                {"r.table('t').limit(2)", "unordered stream"},
                {"r.table('t').orderBy({index: 'a'}).limit(100001)", "Array size limit `100000` exceeded."},
                {"r.table('t').group('a')", "after `group`"},
        };
        (void)state;
        setup_tables();
        for (size_t i = 0; i < ELEMENTS(refused); i++) {
                char text[256];
                Query *query;
                Buf rows;
                QueryAnswer answer;
                buf_init(&rows, 1 << 20);
                snprintf(text, sizeof text, "%s.changes()", refused[i][0]);
                OK(prepare(text, &query));
                Status st = query_next(query, &rows, &answer);
                if (!st || !strstr(status_message(st), refused[i][1]))
                        fail_msg("%s: %s", text, status_message(st));
                status_ignore(st);
                query_free(query);
                buf_done(&rows);
        }
        assert_true(fake_all_closed());
}

/* More than the query may hold: it ends, and says why. */
static void test_too_much(void **state)
{
        static Client client;
        (void)state;
        setup_tables();
        world.memory_max_bytes = 512 << 10;
        OK(open_client(&client, BAG, "r.table('t')('s').distinct()", ""));
        Status st = ST_OK;
        for (int i = 0; !st && i < 200; i++) {
                char row[9000];
                snprintf(row, sizeof row, "[{\"id\":%d,\"s\":\"%d%8000d\"}]", i, i, i);
                commit("t", row);
                st = catch_up(&client);
        }
        assert_int_equal(status_code(st), ERR_RESOURCE);
        assert_non_null(strstr(status_message(st), "--query-memory"));
        status_ignore(st);
        query_free(client.query);
        world.memory_max_bytes = 64 << 20;
        assert_true(fake_all_closed());
}

/* True: the allocation chosen failed, and so did the feed, leaving nothing. */
static bool run_short(const Case *one)
{
        static Client client;
        setup_tables();
        seed = 5;
        step = 0;
        fired = false;
        for (int i = 0; i < 10; i++)
                random_commit(12);
        Status st = open_client(&client, one->kind, one->query, TOKENS);
        for (int i = 0; !st && i < 3; i++) {
                random_commit(12);
                if (i == 1) {
                        query_free(client.query);
                        st = begin_client(&client, TOKENS);
                } else {
                        st = catch_up(&client);
                }
        }
        assert_true(!st || fired);
        status_ignore(st);
        query_free(client.query);
        assert_true(fake_all_closed());
        assert_int_equal(feed_count, 0);
        return fired;
}

static void test_no_memory(void **state)
{
        (void)state;
        for (size_t i = 0; i < ELEMENTS(cases); i += 3)
                for (chosen_step = 0; chosen_step < 8; chosen_step++)
                        for (chosen_n = 1; run_short(&cases[i]); chosen_n++)
                                continue;
        chosen_n = 0;
        chosen_step = -1;
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_random),           cmocka_unit_test(test_since),
                cmocka_unit_test(test_since_bit_by_bit), cmocka_unit_test(test_since_anew),
                cmocka_unit_test(test_failing_rows),     cmocka_unit_test(test_large_right_table),
                cmocka_unit_test(test_limit_documents),  cmocka_unit_test(test_value_documents),
                cmocka_unit_test(test_bit_by_bit),       cmocka_unit_test(test_sums),
                cmocka_unit_test(test_infinite),         cmocka_unit_test(test_queue),
                cmocka_unit_test(test_refused),          cmocka_unit_test(test_too_much),
                cmocka_unit_test(test_no_memory),
        };
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        arena_done(&fake.arena);
        return failed;
}
