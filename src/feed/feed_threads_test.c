/* feed_threads_test.c - writers, feeds that wait and are woken, feeds that come and go, all at once: for
 * ThreadSanitizer, and so that no wake and no change is lost. */
#include "feed/feed_test.h"

#include <assert.h>

#include "os/thread.h"

enum { WRITERS = 2, READERS = 6, COUNT = 300, ROOMS = 4 };

static int64_t now_ns(void)
{
        return os_mono_ns(os_posix());
}

typedef struct Writer {
        Thread thread;
        Hub *h;
        int number;
} Writer;

/* Rows `number`, `number` + WRITERS ...: each a room and the writer's count. */
static void write_rows(void *arg)
{
        Writer *w = arg;
        Arena arena;
        arena_init(&arena, 0);
        for (int i = 0; i < COUNT; i++) {
                uint64_t position = 0;
                RowOutcome outcome = {0};
                WriteOptions options = {.quick = true};
                Value key = value_number(i * WRITERS + w->number), row;
                const char *text = arena_printf(&arena, "{\"id\":%d,\"room\":%d}", i * WRITERS + w->number, i % ROOMS);
                Status st = json_parse_copy(BYTES_STR(text), JSON_PLAIN, &arena, &row);
                if (!st)
                        st = w->h->w.source->write(w->h->table, &key, 1, test_set, &row, &options, &arena, &outcome,
                                                   &position);
                assert(!st && outcome.effect == ROW_INSERTED);
                arena_reset(&arena);
                if (i % 16 == 0)
                        uv_sleep(1);
        }
        arena_done(&arena);
}

typedef struct Reader {
        Thread thread;
        Hub *h;
        int room;  /* -1: all */
        bool slow; /* by a function that takes long: of all rows */
        bool resumes;
        Mutex mu;
        Cond cond;
        bool ready, batched;
        int64_t got[WRITERS]; /* of each writer, the newest row */
        int count;
} Reader;

static void reader_ready(void *ctx)
{
        Reader *r = ctx;
        mutex_lock(&r->mu);
        r->ready = true;
        cond_signal(&r->cond);
        mutex_unlock(&r->mu);
}

static void reader_batch(void *ctx)
{
        Reader *r = ctx;
        mutex_lock(&r->mu);
        r->batched = true;
        mutex_unlock(&r->mu);
}

/* filter(id + 1 > 0): all rows. */
static const char all_rows[] = "[69,[[2,[1]],[65,[[21,[[24,[[170,[[10,[1]],\"id\"]],1]],0]],[2,[[10,[1]]]],[2,[]]]]]]";

static Feed *reader_open(Reader *r, const FeedPlace *since)
{
        static const Bytes field = {(const uint8_t *)"room", 4};
        Feed *feed = NULL;
        Value v = value_number(r->room);
        FeedCondition condition = {.kind = FEED_FIELD_IN, .path = {&field, 1}, .values = &v, .value_count = 1};
        FeedSpec spec = {
                .table = r->h->table, .conditions = &condition, .condition_count = r->room >= 0, .exact = true};
        if (r->slow)
                spec = (FeedSpec){.table = r->h->table, .function = BYTES_STR(all_rows)};
        Status st = r->h->feeds->open(r->h->feeds->ctx, &spec, &(FeedOptions){.since = since}, &feed);
        assert(!st);
        r->h->feeds->set_batch(feed, reader_batch, r);
        return feed;
}

static void reader_wait(Reader *r, Feed *feed)
{
        r->h->feeds->watch(feed, reader_ready, r, now_ns() + 500000000, 0);
        mutex_lock(&r->mu);
        while (!r->ready)
                cond_wait(&r->cond, &r->mu);
        r->ready = false;
        mutex_unlock(&r->mu);
}

/* Whatever its function took. */
static void make_slow(const Reader *r, Feed *feed)
{
        feed_hub_lock(r->h->hub);
        feed_class_took(row_of(feed)->class, 1000000000);
        feed_hub_unlock(r->h->hub);
}

/* Every row of its rooms once, each writer's in order. */
static void read_rows(void *arg)
{
        Reader *r = arg;
        Arena arena;
        FeedPlace place = {0};
        int wanted = COUNT * WRITERS / (r->room < 0 ? 1 : ROOMS), step = 0;
        arena_init(&arena, 0);
        Feed *feed = reader_open(r, NULL);
        mutex_lock(&r->mu);
        r->ready = true; /* it is there: writers may begin */
        cond_signal(&r->cond);
        while (r->ready)
                cond_wait(&r->cond, &r->mu);
        mutex_unlock(&r->mu);
        while (r->count < wanted) {
                FeedEvent e;
                bool found;
                if (r->slow)
                        make_slow(r, feed);
                Status st = r->h->feeds->next(feed, &arena, &e, &found);
                assert(!st);
                if (!found) {
                        reader_wait(r, feed);
                        continue;
                }
                assert(e.kind == FEED_CHANGE && value_is(e.old_value, V_NONE));
                int64_t id = (int64_t)e.key.number;
                assert(id > r->got[id % WRITERS]);
                r->got[id % WRITERS] = id;
                r->count++;
                arena_reset(&arena);
                if (r->resumes && ++step % 20 == 0) {
                        place = r->h->feeds->place(feed);
                        if (step % 40 == 0) /* closed while it waits */
                                r->h->feeds->watch(feed, reader_ready, r, INT64_MAX, 0);
                        r->h->feeds->close(feed);
                        mutex_lock(&r->mu);
                        r->ready = false;
                        mutex_unlock(&r->mu);
                        feed = reader_open(r, &place);
                }
        }
        r->h->feeds->close(feed);
        arena_done(&arena);
}

/* Feeds that come and go beside all that. */
static atomic_bool churn_ends;
static void churn(void *arg)
{
        Hub *h = arg;
        Reader r = {.h = h, .room = 1};
        mutex_init(&r.mu);
        cond_init(&r.cond);
        while (!atomic_load(&churn_ends)) {
                Feed *feeds[8];
                for (int i = 0; i < 8; i++) {
                        r.room = i % 5 - 1;
                        feeds[i] = reader_open(&r, NULL);
                        if (i % 2)
                                h->feeds->watch(feeds[i], reader_ready, &r, i % 4 == 1 ? INT64_MAX : now_ns() + 100000,
                                                0);
                }
                for (int i = 0; i < 8; i++)
                        h->feeds->close(feeds[(i * 3) % 8]);
        }
        cond_done(&r.cond);
        mutex_done(&r.mu);
}

/* `reader_max` 1: whoever resumes while another does goes with the convoy. */
static FeedHubStats run_threads(size_t reader_max)
{
        Hub h;
        Writer writers[WRITERS];
        Reader readers[READERS] = {0};
        Thread churner;
        FeedHubStats stats;
        hub_init_world(&h, true);
        h.hub->options.queue_max_bytes = 2000;
        if (reader_max)
                h.hub->options.reader_max = reader_max;
        atomic_store(&churn_ends, false);
        for (int i = 0; i < READERS; i++) {
                Reader *r = &readers[i];
                *r = (Reader){.h = &h, .room = i < 3 ? i - 1 : -1, .slow = i >= 3, .resumes = i != 1 && i != 4};
                for (int k = 0; k < WRITERS; k++)
                        r->got[k] = -1;
                mutex_init(&r->mu);
                cond_init(&r->cond);
                ok(thread_start(&r->thread, "reader", read_rows, r));
                mutex_lock(&r->mu);
                while (!r->ready)
                        cond_wait(&r->cond, &r->mu);
                r->ready = false;
                cond_signal(&r->cond);
                mutex_unlock(&r->mu);
        }
        ok(thread_start(&churner, "churn", churn, &h));
        for (int i = 0; i < WRITERS; i++) {
                writers[i] = (Writer){.h = &h, .number = i};
                ok(thread_start(&writers[i].thread, "writer", write_rows, &writers[i]));
        }
        for (int i = 0; i < WRITERS; i++)
                thread_join(&writers[i].thread);
        for (int i = 0; i < READERS; i++) {
                thread_join(&readers[i].thread);
                assert_int_equal(readers[i].count, COUNT * WRITERS / (readers[i].room < 0 ? 1 : ROOMS));
                cond_done(&readers[i].cond);
                mutex_done(&readers[i].mu);
        }
        atomic_store(&churn_ends, true);
        thread_join(&churner);
        feed_hub_stats(h.hub, &stats);
        assert_int_equal(stats.feeds + stats.classes + stats.tables + stats.readers + stats.travelling, 0);
        assert_int_equal(stats.queued_events + stats.queued_bytes, 0);
        hub_done(&h);
        return stats;
}

enum { RUNS = 30 }; /* until what is to be tried has happened, which threads decide */

static void test_threads(void **state)
{
        uint64_t worked = 0;
        for (int n = 0; n < RUNS && !worked; n++)
                worked = run_threads(0).worked;
        assert_true(worked > 0);
}

static void test_convoy(void **state)
{
        uint64_t journeys = 0;
        for (int n = 0; n < RUNS && !journeys; n++)
                journeys = run_threads(1).journeys;
        assert_true(journeys > 0);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_threads),
                cmocka_unit_test(test_convoy),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
