/* job_feed_test.c - changefeeds of a session, from a source that gives what the test says: what waits and what does
 * not, who is answered when it ends, turns, peers that do not read, and ready() from another thread while feeds come
 * and go. */
#include "server/session_test.h"

#include <sched.h>

/* --- a source by hand --- */
#define FEEDS_MAX   4000
#define PENDING_MAX 600

struct Feed {
        unsigned number; /* by opening */
        int pending[PENDING_MAX];
        unsigned pending_count, next_count;
        bool late;  /* shows what it has only when it is watched: what came between next and watch */
        bool ended; /* the table is gone */
        uint64_t position;
        void (*ready)(void *ctx);
        void *ctx;
};
static struct Source {
        Mutex mu;
        Feed *feeds[FEEDS_MAX]; /* GUARDED_BY(mu) */
        unsigned opened, open;  /* GUARDED_BY(mu) */
        bool is_long;
} source;

static Status fake_open(void *ctx, const FeedSpec *spec, const FeedOptions *options, Feed **ret_feed)
{
        Feed *feed = mem_zalloc(sizeof(*feed));
        if (!feed)
                return status_nomem();
        mutex_lock(&source.mu);
        assert_true(source.opened < FEEDS_MAX);
        feed->number = source.opened;
        source.feeds[source.opened++] = feed;
        source.open++;
        mutex_unlock(&source.mu);
        *ret_feed = feed;
        return ST_OK;
}

static void fake_close(Feed *feed)
{
        if (!feed)
                return;
        mutex_lock(&source.mu);
        source.feeds[feed->number] = NULL;
        source.open--;
        mutex_unlock(&source.mu);
        mem_free(feed);
}

static Status fake_view(Feed *feed, TableView **ret_view)
{
        return status_new(ERR_INTERNAL, "nobody asks for a view here");
}

static Status fake_next(Feed *feed, Arena *hold, FeedEvent *ret_event, bool *ret_found)
{
        Field *field = arena_alloc(hold, sizeof(*field)); /* jumps away when there is no memory */
        mutex_lock(&source.mu);
        feed->next_count++;
        *ret_found = (feed->pending_count && !feed->late) || feed->ended;
        *ret_event = (FeedEvent){.last_of_commit = true, .place = {1, ++feed->position, UINT32_MAX}};
        if (feed->pending_count && *ret_found) {
                *field = (Field){BYTES_STR("id"), value_number(feed->pending[0])};
                ret_event->kind = FEED_CHANGE;
                ret_event->key = field->value;
                ret_event->new_value = value_object_sorted(field, 1);
                memmove(feed->pending, feed->pending + 1, --feed->pending_count * sizeof(*feed->pending));
        } else if (feed->ended) {
                ret_event->kind = FEED_ENDED;
                ret_event->error = "Changefeed aborted (unavailable).";
                ret_event->error_code = ERR_OP_FAILED;
        }
        mutex_unlock(&source.mu);
        return ST_OK;
}

static bool fake_is_long(Feed *feed)
{
        return source.is_long;
}

static void fake_watch(Feed *feed, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns, uint64_t position)
{
        mutex_lock(&source.mu);
        feed->ready = ready;
        feed->ctx = ctx;
        feed->late = false;
        if (ready && (feed->pending_count || feed->ended)) {
                feed->ready = NULL;
                ready(ctx);
        }
        mutex_unlock(&source.mu);
}

static FeedPlace fake_place(Feed *feed)
{
        return (FeedPlace){1, feed->position, UINT32_MAX};
}
static size_t fake_memory(const Feed *feed)
{
        return sizeof(*feed);
}
static const FeedSource fake_feeds = {
        .open = fake_open,
        .close = fake_close,
        .view = fake_view,
        .next = fake_next,
        .is_long = fake_is_long,
        .watch = fake_watch,
        .place = fake_place,
        .memory_bytes = fake_memory,
};

/* A change for the feed that was opened as number `n`, if it is still there. */
static void give(unsigned n, int id)
{
        mutex_lock(&source.mu);
        Feed *feed = source.feeds[n];
        if (feed && feed->pending_count < PENDING_MAX) {
                feed->pending[feed->pending_count++] = id;
                void (*ready)(void *ctx) = take(feed->ready);
                if (ready)
                        ready(feed->ctx);
        }
        mutex_unlock(&source.mu);
}

static void end_feed(unsigned n)
{
        mutex_lock(&source.mu);
        source.feeds[n]->ended = true;
        void (*ready)(void *ctx) = take(source.feeds[n]->ready);
        if (ready)
                ready(source.feeds[n]->ctx);
        mutex_unlock(&source.mu);
}

static bool is_watched(unsigned n)
{
        mutex_lock(&source.mu);
        bool watched = source.feeds[n] && source.feeds[n]->ready;
        mutex_unlock(&source.mu);
        return watched;
}

/* --- a world with it --- */
#define FEED      "[1,[152,[[15,[\"t\"]]]]]"
#define LIMITED   "[1,[71,[[152,[[15,[\"t\"]]]],2]]]"
#define ONE(id)   "{\"t\":3,\"r\":[{\"new_val\":{\"id\":" #id "},\"old_val\":null}],\"n\":[1]}"
#define NOTHING   "{\"t\":3,\"r\":[],\"n\":[1]}"
#define THE_END   "{\"t\":2,\"r\":[],\"n\":[]}"
#define SHUTDOWN  "{\"t\":18,\"e\":4200000,\"r\":[\"Server is shutting down.\"],\"b\":[]}"
#define KILLED    "{\"t\":18,\"e\":4200000,\"r\":[\"Query terminated by the `rethinkdb.jobs` table.\"],\"b\":[]}"
#define DROPPED   "{\"t\":18,\"e\":4100000,\"r\":[\"Changefeed aborted (unavailable).\"],\"b\":[]}"
#define DUPLICATE "{\"t\":16,\"r\":[\"ERROR: duplicate token 1\"],\"b\":[]}"

static void feeds_init(World *world)
{
        source = (struct Source){.is_long = false};
        mutex_init(&source.mu);
        world_init_password(world, "");
        world->query.feeds = &fake_feeds;
        login_v0(world);
        create_table(world);
}

static void feeds_done(World *world)
{
        world_done(world);
        assert_int_equal(source.open, 0);
        mutex_done(&source.mu);
}

/* Opens one, and asks for more. */
static void open_feed(World *world, uint64_t token)
{
        query(world, token, FEED);
        settle(world);
        expect_answer(world, token, NOTHING);
        query(world, token, "[2]");
        settle(world);
        expect_silence(world);
}

static void test_waits(void **state)
{
        World world;
        feeds_init(&world);
        query(&world, 1, FEED);
        settle(&world);
        expect_answer(&world, 1, NOTHING); /* the first answer comes at once */
        assert_int_equal(session_stream_count(world.session), 1);
        give(0, 1); /* before anybody asks */
        query(&world, 1, "[2]");
        assert_int_equal(world.submitted_count, 0); /* on the loop */
        expect_answer(&world, 1, ONE(1));
        query(&world, 1, "[2]");
        expect_silence(&world);
        assert_true(is_watched(0));
        assert_int_equal(world.session->in_flight, 0);
        query(&world, 1, FEED);
        expect_answer(&world, 1, DUPLICATE);
        query(&world, 2, "[1,5]");
        expect_answer(&world, 2, "{\"t\":1,\"r\":[5]}");
        query(&world, 3, "[4]"); /* NOREPLY_WAIT waits for no feed */
        expect_answer(&world, 3, "{\"t\":4,\"r\":[]}");
        give(0, 2);
        expect_silence(&world); /* the loop has not looked yet */
        settle(&world);
        expect_answer(&world, 1, ONE(2));
        /* Several, which are answered one by one. */
        for (int i = 0; i < 3; i++)
                query(&world, 1, "[2]");
        expect_silence(&world);
        for (int i = 0; i < 2; i++) {
                give(0, 2);
                settle(&world);
                expect_answer(&world, 1, ONE(2));
                expect_silence(&world);
        }
        /* It came after it was asked for and before it was watched. */
        source.feeds[0]->late = true;
        give(0, 2);
        settle(&world);
        expect_answer(&world, 1, ONE(2));
        source.feeds[0]->late = true;
        source.feeds[0]->pending[source.feeds[0]->pending_count++] = 3;
        query(&world, 1, "[2]");
        settle(&world);
        expect_answer(&world, 1, ONE(3));
        assert_int_equal(world.session->in_flight, 0);
        /* noreply: nobody could read it */
        query(&world, 9, "[1,[152,[[15,[\"t\"]]]],{\"noreply\":true}]");
        settle(&world);
        expect_silence(&world);
        assert_int_equal(source.open, 1);
        feeds_done(&world);
}

static void test_stop(void **state)
{
        World world;
        feeds_init(&world);
        query(&world, 1, FEED);
        settle(&world);
        expect_answer(&world, 1, NOTHING);
        query(&world, 1, "[3]"); /* nobody waits: one answer */
        expect_answer(&world, 1, THE_END);
        expect_silence(&world);
        open_feed(&world, 1);
        query(&world, 1, "[3]"); /* of the CONTINUE, and of itself */
        expect_answer(&world, 1, THE_END);
        expect_answer(&world, 1, THE_END);
        expect_silence(&world);
        open_feed(&world, 1);
        query(&world, 1, "[2]");
        query(&world, 1, "[3]");
        for (int i = 0; i < 3; i++)
                expect_answer(&world, 1, THE_END);
        /* It was ready, and the loop had not looked: its token is free at once, and nothing comes for it later. */
        open_feed(&world, 1);
        give(3, 1);
        query(&world, 1, "[3]");
        expect_answer(&world, 1, THE_END);
        expect_answer(&world, 1, THE_END);
        assert_int_equal(source.open, 0);
        assert_int_equal(session_group_busy(world.group), 2); /* the session, and what is posted */
        query(&world, 1, FEED);
        settle(&world);
        expect_answer(&world, 1, NOTHING);
        expect_silence(&world);
        assert_int_equal(session_group_busy(world.group), 1);
        query(&world, 1, "[3]");
        expect_answer(&world, 1, THE_END);
        /* STOP while its batch is made by another thread: what is made is delivered. */
        source.is_long = true;
        query(&world, 1, FEED);
        settle(&world);
        expect_answer(&world, 1, NOTHING);
        query(&world, 1, "[2]");
        assert_int_equal(world.submitted_count, 1);
        query(&world, 1, "[3]");
        expect_silence(&world);
        settle(&world);
        expect_answer(&world, 1, THE_END);
        expect_answer(&world, 1, THE_END);
        expect_silence(&world);
        assert_int_equal(source.open, 0);
        assert_int_equal(world.session->in_flight, 0);
        feeds_done(&world);
}

/* A feed with something behind it: kept or parked, it does the same. */
static void test_limited(void **state)
{
        World world;
        feeds_init(&world);
        query(&world, 1, LIMITED);
        settle(&world);
        expect_answer(&world, 1, NOTHING);
        query(&world, 1, "[2]");
        settle(&world);
        expect_silence(&world);
        give(0, 1);
        settle(&world);
        expect_answer(&world, 1, ONE(1));
        query(&world, 1, "[2]");
        settle(&world);
        expect_silence(&world);
        give(0, 2);
        settle(&world);
        expect_answer(&world, 1, "{\"t\":2,\"r\":[{\"new_val\":{\"id\":2},\"old_val\":null}],\"n\":[1]}");
        assert_int_equal(source.open, 0);
        query(&world, 1, LIMITED);
        query(&world, 2, LIMITED);
        settle(&world);
        query(&world, 1, "[2]");
        query(&world, 2, "[2]");
        settle(&world);
        buf_clear(&world.out);
        query(&world, 1, "[3]");
        settle(&world);
        expect_answer(&world, 1, THE_END);
        expect_answer(&world, 1, THE_END);
        give(2, 1);
        disconnect(&world);
        feeds_done(&world);
}

static void test_ends(void **state)
{
        World world;
        feeds_init(&world);
        /* the table goes: who waits hears it now, who does not when he asks */
        open_feed(&world, 1);
        query(&world, 2, FEED);
        settle(&world);
        expect_answer(&world, 2, NOTHING);
        end_feed(0);
        end_feed(1);
        settle(&world);
        expect_answer(&world, 1, DROPPED);
        expect_silence(&world);
        query(&world, 2, "[2]");
        settle(&world);
        expect_answer(&world, 2, DROPPED);
        assert_int_equal(session_stream_count(world.session), 0);
        assert_int_equal(source.open, 0);
        /* the server goes */
        open_feed(&world, 1);
        open_feed(&world, 3);
        query(&world, 2, FEED);
        settle(&world);
        expect_answer(&world, 2, NOTHING);
        source.is_long = true;
        query(&world, 2, "[2]");
        assert_int_equal(world.submitted_count, 1);
        session_stop(world.session);
        expect_answer(&world, 3, SHUTDOWN);
        expect_answer(&world, 1, SHUTDOWN);
        assert_false(world.finished);
        settle(&world);
        expect_answer(&world, 2, SHUTDOWN);
        expect_silence(&world);
        assert_true(world.finished);
        feeds_done(&world);
}

/* --- the table `jobs` --- */
typedef struct Listed {
        unsigned count;
        char id[40], query[200];
} Listed;
static Status note_job(void *ctx, const HostJob *job)
{
        Listed *listed = ctx;
        listed->count++;
        snprintf(listed->id, sizeof(listed->id), "%s", job->id);
        snprintf(listed->query, sizeof(listed->query), "%.*s", (int)job->query.size, (const char *)job->query.data);
        return ST_OK;
}
static Listed list(World *world)
{
        Listed listed = {0};
        OK(jobs_each(world->jobs, note_job, &listed));
        return listed;
}

static void test_jobs(void **state)
{
        World world;
        feeds_init(&world);
        open_feed(&world, 1); /* waits */
        Listed listed = list(&world);
        assert_int_equal(listed.count, 1);
        assert_string_equal(listed.query, "r.table(\"t\").changes()");
        assert_true(jobs_kill(world.jobs, BYTES_STR(listed.id)));
        assert_true(jobs_kill(world.jobs, BYTES_STR(listed.id))); /* it is not gone yet */
        settle(&world);
        expect_answer(&world, 1, KILLED);
        expect_silence(&world);
        assert_int_equal(list(&world).count, 0);
        assert_int_equal(source.open, 0);
        /* nobody waits: whoever asks next hears it */
        query(&world, 1, FEED);
        settle(&world);
        expect_answer(&world, 1, NOTHING);
        assert_true(jobs_kill(world.jobs, BYTES_STR(list(&world).id)));
        settle(&world);
        expect_silence(&world);
        query(&world, 1, "[2]");
        settle(&world);
        expect_answer(&world, 1, KILLED);
        /* ready, killed and stopped before the loop has looked */
        open_feed(&world, 1);
        give(2, 1);
        assert_true(jobs_kill(world.jobs, BYTES_STR(list(&world).id)));
        query(&world, 1, "[3]");
        expect_answer(&world, 1, THE_END);
        expect_answer(&world, 1, THE_END);
        settle(&world);
        expect_silence(&world);
        /* while its batch is made */
        open_feed(&world, 1);
        source.is_long = true;
        give(3, 1);
        assert_true(run_posted(&world));
        assert_int_equal(world.submitted_count, 1);
        assert_true(jobs_kill(world.jobs, BYTES_STR(list(&world).id)));
        settle(&world);
        expect_answer(&world, 1, KILLED);
        expect_silence(&world);
        assert_int_equal(session_stream_count(world.session), 0);
        feeds_done(&world);
}

/* --- many --- */
static void test_many(void **state)
{
        enum { FEEDS = 3000 };
        World world;
        feeds_init(&world);
        for (uint64_t token = 1; token <= FEEDS; token++)
                open_feed(&world, token);
        assert_int_equal(world.session->in_flight, 0);
        assert_int_equal(session_stream_count(world.session), FEEDS);
        assert_int_equal(list(&world).count, FEEDS);
        query(&world, 9999, "[1,5]"); /* there is room for more */
        expect_answer(&world, 9999, "{\"t\":1,\"r\":[5]}");
        /* all at once: some, then the others of the loop have their turn */
        session_group_turn_over(world.group);
        for (unsigned n = 0; n < FEEDS; n++)
                give(n, 7);
        assert_true(run_posted(&world));
        for (uint64_t token = 1; token <= FEED_TURN_MAX; token++)
                expect_answer(&world, token, ONE(7));
        expect_silence(&world);
        query(&world, 9999, "[1,5]");
        expect_answer(&world, 9999, "{\"t\":1,\"r\":[5]}");
        query(&world, FEEDS, "[3]"); /* one that waits for its turn */
        expect_answer(&world, FEEDS, THE_END);
        expect_answer(&world, FEEDS, THE_END);
        settle(&world);
        for (uint64_t token = FEED_TURN_MAX + 1; token < FEEDS; token++)
                expect_answer(&world, token, ONE(7));
        expect_silence(&world);
        assert_int_equal(world.session->in_flight, 0);
        /* not more than some with the pool, and nobody is forgotten */
        source.is_long = true;
        for (uint64_t token = 1; token < 100; token++)
                query(&world, token, "[2]");
        assert_int_equal(world.submitted_count, FEED_AWAY_MAX);
        query(&world, 50, "[3]");
        expect_answer(&world, 50, THE_END);
        expect_answer(&world, 50, THE_END);
        for (unsigned n = 0; n < 99; n++)
                give(n, 8);
        while (world.submitted_count) {
                assert_true(world.submitted_count <= FEED_AWAY_MAX);
                run_one(&world, world.submitted_count - 1);
        }
        settle(&world);
        buf_clear(&world.out);
        for (uint64_t token = 1; token < 100; token++)
                if (token != 50)
                        assert_int_equal(source.feeds[token - 1]->pending_count, 0);
        feeds_done(&world);
}

/* --- a peer that does not read --- */
static void test_blocked(void **state)
{
        World world;
        feeds_init(&world);
        open_feed(&world, 1);
        open_feed(&world, 2);
        open_feed(&world, 3);
        unsigned asked = source.feeds[0]->next_count;
        world.pending_extra = CONN_OUT_HIGH_BYTES + 1;
        session_feed(world.session, (const uint8_t *)"", 0);
        assert_true(world.want_drained);
        for (int i = 0; i < 100; i++)
                for (unsigned n = 0; n < 3; n++)
                        give(n, i);
        settle(&world);
        expect_silence(&world);
        assert_int_equal(source.feeds[0]->next_count, asked); /* nothing is made for it */
        assert_false(is_watched(0));
        world.pending_extra = 0;
        session_drained(world.session);
        settle(&world);
        assert_true(world.out.size > 300);
        for (unsigned n = 0; n < 3; n++)
                assert_int_equal(source.feeds[n]->pending_count, 0);
        buf_clear(&world.out);
        /* The first answer already is too much: the others go on waiting. */
        for (uint64_t token = 1; token <= 3; token++)
                query(&world, token, "[2]");
        world.pending_extra = CONN_OUT_HIGH_BYTES + 1;
        session_feed(world.session, (const uint8_t *)"", 0);
        for (unsigned n = 0; n < 3; n++)
                give(n, 1);
        settle(&world);
        world.pending_extra = CONN_OUT_HIGH_BYTES - 1;
        session_drained(world.session);
        settle(&world);
        expect_answer(&world, 1, ONE(1));
        expect_silence(&world);
        /* STOP would not be read now, but the connection may go, or the server. */
        world.pending_extra = 0;
        session_drained(world.session);
        settle(&world);
        expect_answer(&world, 2, ONE(1));
        expect_answer(&world, 3, ONE(1));
        source.is_long = true;
        query(&world, 1, "[2]");
        query(&world, 2, "[2]");
        assert_int_equal(world.submitted_count, 2);
        world.pending_extra = CONN_OUT_HIGH_BYTES + 1;
        session_feed(world.session, (const uint8_t *)"", 0);
        give(0, 1);
        settle(&world); /* they come back unrun */
        assert_int_equal(world.session->in_flight, 0);
        world.pending_extra = 0;
        session_drained(world.session);
        settle(&world);
        expect_answer(&world, 1, ONE(1));
        expect_silence(&world);
        assert_true(is_watched(1));
        world.pending_extra = CONN_OUT_HIGH_BYTES + 1;
        session_feed(world.session, (const uint8_t *)"", 0);
        give(1, 1);
        settle(&world);
        world.pending_extra = 0;
        session_stop(world.session);
        expect_answer(&world, 2, SHUTDOWN);
        feeds_done(&world);
}

/* Those who wait for a place in the pool, and do not take it for their peer does not read, hold up nobody. */
static void test_places(void **state)
{
        World world;
        feeds_init(&world);
        Session *busy = world.session;
        source.is_long = true;
        for (uint64_t token = 1; token <= 2 * FEED_AWAY_MAX; token++) {
                query(&world, token, FEED);
                run_all(&world);
                expect_answer(&world, token, NOTHING);
        }
        connect_again(&world);
        login_v0(&world);
        Session *other = world.session;
        query(&world, 1, FEED);
        run_all(&world);
        expect_answer(&world, 1, NOTHING);
        world.session = busy;
        for (uint64_t token = 1; token <= 2 * FEED_AWAY_MAX; token++)
                query(&world, token, "[2]");
        assert_int_equal(world.submitted_count, FEED_AWAY_MAX);
        give(2 * FEED_AWAY_MAX, 1);
        world.session = other;
        query(&world, 1, "[2]"); /* behind them all */
        assert_int_equal(world.submitted_count, FEED_AWAY_MAX);
        world.pending_extra = CONN_OUT_HIGH_BYTES + 1;
        session_feed(busy, (const uint8_t *)"", 0);
        assert_true(world.want_drained);
        world.pending_extra = 0;
        run_all(&world);
        expect_answer(&world, 1, ONE(1));
        session_end(busy);
        feeds_done(&world);
}

/* The connection goes while feeds are in every state there is. */
static void test_disconnect(void **state)
{
        World world;
        for (int way = 0; way < 6; way++) {
                feeds_init(&world);
                query(&world, 1, FEED);
                if (way == 0)
                        disconnect(&world); /* not even answered */
                if (way > 0) {
                        settle(&world);
                        expect_answer(&world, 1, NOTHING); /* idle */
                }
                if (way > 1)
                        open_feed(&world, 2); /* waits */
                if (way > 2)
                        give(1, 1); /* ready */
                if (way > 3) {
                        source.is_long = true;
                        run_posted(&world); /* with another thread */
                        assert_int_equal(world.submitted_count, 1);
                }
                if (way > 4) {
                        for (uint64_t token = 3; token < 10; token++) { /* wait for a place there */
                                query(&world, token, FEED);
                                query(&world, token, "[2]");
                        }
                        for (int i = 0; i < 8; i++)
                                run_one(&world, world.submitted_count - 1);
                }
                feeds_done(&world);
        }
}

/* As query(), with no allocation of its own. */
static void send_text(World *world, const char *text)
{
        uint8_t frame[256];
        size_t size = make_frame(frame, 1, text);
        if (!world->aborted)
                assert_int_equal(session_feed(world->session, frame, size), size);
        settle(world);
}

static void test_every_allocation_fails(void **state)
{
        static const char *const texts[] = {FEED, "[2]", "[2]", "[3]"};
        for (long n = 1, fired = 1; fired; n++) {
                World world;
                feeds_init(&world);
                mem_fail_nth(n);
                for (size_t i = 0; i < ELEMENTS(texts); i++) {
                        send_text(&world, texts[i]);
                        if (source.open)
                                give(0, 1);
                        settle(&world);
                }
                fired = mem_fail_fired();
                mem_fail_nth(0);
                if (!world.aborted) {
                        assert_int_equal(world.session->in_flight, 0);
                        assert_int_equal(source.open,
                                         session_stream_count(world.session)); /* STOP was not understood */
                        buf_clear(&world.out);
                        query(&world, 50, "[1,50]");
                        expect_answer(&world, 50, "{\"t\":1,\"r\":[50]}");
                }
                feeds_done(&world);
        }
}

/* --- ready() from another thread, at every moment --- */
static atomic_bool hub_over;

static void be_hub(void *arg)
{
        uint64_t random = 88172645463325252ull;
        while (!atomic_load(&hub_over)) {
                random ^= random << 13;
                random ^= random >> 7;
                random ^= random << 17;
                mutex_lock(&source.mu);
                unsigned opened = source.opened;
                mutex_unlock(&source.mu);
                if (opened)
                        give(opened - 1 - (unsigned)(random % MIN(opened, 8u)), 1);
                sched_yield(); /* the lock is the loop's, too */
        }
}

static void test_threads(void **state)
{
        World world;
        Thread hub;
        feeds_init(&world);
        atomic_store(&hub_over, false);
        assert_null(thread_start(&hub, "hub", be_hub, NULL));
        uint64_t random = 1;
        for (unsigned round = 0; source.opened < 1500; round++) {
                random = random * 6364136223846793005ull + 1442695040888963407ull;
                uint64_t token = 1 + (random >> 33) % 8;
                Job *job = session_find(world.session, token);
                if (!job)
                        query(&world, token, FEED);
                else if ((random >> 40) % 4)
                        query(&world, token, "[2]");
                else
                        query(&world, token, "[3]");
                if ((random >> 45) % 3 == 0)
                        settle(&world);
                buf_clear(&world.out);
                if (world.want_drained) {
                        world.want_drained = false;
                        session_drained(world.session);
                }
                if (round % 64 == 0) {
                        session_group_turn_over(world.group);
                        (void)jobs_kill(world.jobs, BYTES_STR(list(&world).id));
                }
                if (round % 1000 == 999) {
                        disconnect(&world);
                        connect_again(&world);
                        login_v0(&world);
                }
        }
        disconnect(&world);
        atomic_store(&hub_over, true);
        thread_join(&hub);
        settle(&world);
        feeds_done(&world);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_waits),
                cmocka_unit_test(test_stop),
                cmocka_unit_test(test_limited),
                cmocka_unit_test(test_ends),
                cmocka_unit_test(test_jobs),
                cmocka_unit_test(test_many),
                cmocka_unit_test(test_blocked),
                cmocka_unit_test(test_places),
                cmocka_unit_test(test_disconnect),
                cmocka_unit_test(test_threads),
                cmocka_unit_test(test_every_allocation_fails),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
