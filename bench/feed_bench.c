/* feed-bench - what a table's changefeeds cost its writers, and how soon and in how much memory they deliver.
 *
 * Opens `--feeds` feeds, number N of them table.filter({room: N}).changes(), spread over `--connections` connections,
 * each with a CONTINUE outstanding, as drivers do. One thread takes what they give and asks for more; another one
 * writes: documents {id, room, at} of a fixed set of ids, each always in its room, so that a write is one change of one
 * feed. Rooms from `--feeds` on are nobody's. `at` is when the write was sent: what is measured ends when the change
 * has been read, so it is more than from commit to delivery by half of the write's own way.
 *
 *      writes alone | feeds are opened | writes that nobody watches | writes that a feed each watches |
 *      writes at --rate, for the latency | feeds are closed | writes alone |
 *      feeds are opened with tokens and closed | writes for all of them | they all go on from their tokens, at --rate
 *
 * All of it in one run, so that the ratios are of one machine in one state. bench/feeds runs it. */
#define _GNU_SOURCE
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

#include "load.h"
#include "os/thread.h"

#define TABLE        "[15,[[14,[\"bench\"]],\"feeds\"]]"
#define IDS_PER_ROOM 2
#define OPENING      8 /* STARTs in flight on a connection */
#define TOKEN_BYTES  96
#define BARRIER      UINT64_MAX

static struct Settings {
        const char *host;
        int port, connections, writers, pipeline, pid;
        uint64_t feeds, rooms;
        double seconds, rate;
} set = {.host = "127.0.0.1",
         .port = 28015,
         .connections = 100,
         .writers = 16,
         .pipeline = 8,
         .feeds = 1000,
         .seconds = 5,
         .rate = 5000};

typedef struct Connection {
        Wire wire;
        /* --- of feeds --- */
        uint64_t first, count, opened; /* token 1 is feed `first` */
        bool *answered;                /* of each: its first answer has come */
        /* --- of writers --- */
        int in_flight;
} Connection;

/* --- shared by the two threads --- */
static atomic_uint_fast64_t delivered, first_answers, barriers, closed;
static atomic_bool measuring;                     /* latencies count */
static char (*tokens)[TOKEN_BYTES];               /* of each feed: where it goes on */
static enum { PLAIN, TAKE_TOKENS, SINCE } manner; /* of opening; set while the feed thread rests */
static Latencies latency;                         /* of the feed thread; read when it rests */
static uint64_t random_state = RANDOM_SEED;       /* of the writing thread */

/* --- the server's process --- */
static double rss_kib(void)
{
        char path[64], line[256];
        double kib = 0;
        snprintf(path, sizeof path, "/proc/%d/status", set.pid);
        FILE *f = set.pid ? fopen(path, "r") : NULL;
        while (f && fgets(line, sizeof line, f))
                if (strncmp(line, "VmRSS:", 6) == 0)
                        kib = strtod(line + 6, NULL);
        if (f)
                fclose(f);
        return kib;
}

static double cpu_seconds(void)
{
        char path[64], line[1024];
        unsigned long user = 0, kernel = 0;
        snprintf(path, sizeof path, "/proc/%d/stat", set.pid);
        FILE *f = set.pid ? fopen(path, "r") : NULL;
        if (f && fgets(line, sizeof line, f)) {
                const char *at = strrchr(line, ')'); /* the name may hold anything */
                if (at)
                        (void)sscanf(at + 1, " %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &user, &kernel);
        }
        if (f)
                fclose(f);
        return (double)(user + kernel) / (double)sysconf(_SC_CLK_TCK);
}

/* --- connections --- */
static void add_frame(Connection *c, uint64_t token, const char *text, size_t size)
{
        Buf *out = &c->wire.out;
        must(buf_reserve(out, 12 + size));
        store_u64(out->data + out->size, token);
        store_u32(out->data + out->size + 8, (uint32_t)size);
        memcpy(out->data + out->size + 12, text, size);
        out->size += 12 + size;
}

static _Noreturn void refuse(const char *body, size_t size)
{
        die(status_new(ERR_IO, "the server answered %.*s", (int)MIN(size, 400), body));
}

/* --- feeds: their thread --- */
typedef struct Feeds {
        Thread thread;
        int epoll;
        Connection *connections;
        atomic_int order; /* what to do next: the writing thread says it */
        atomic_bool end;
} Feeds;
enum { REST, OPEN, CLOSE };

static void open_next(Connection *c)
{
        char text[400], options[200] = "";
        uint64_t room = c->first + c->opened;
        if (manner == TAKE_TOKENS)
                snprintf(options, sizeof options, ",{\"include_tokens\":true}");
        else if (manner == SINCE)
                snprintf(options, sizeof options,
                         ",{\"include_tokens\":true,\"include_states\":false,\"since\":\"%s\"}", tokens[room]);
        int size =
                snprintf(text, sizeof text, "[1,[152,[[39,[" TABLE ",{\"room\":%" PRIu64 "}]]]%s],{}]", room, options);
        c->answered[c->opened++] = false;
        add_frame(c, c->opened, text, (size_t)size);
}

static void first_answer(Connection *c, uint64_t token, const char *body, size_t size)
{
        static const char key[] = "\"token\":\"";
        const char *at = manner == TAKE_TOKENS ? memmem(body, size, key, sizeof key - 1) : NULL;
        if (at) {
                at += sizeof key - 1;
                snprintf(tokens[c->first + token - 1], TOKEN_BYTES, "%.*s", (int)strcspn(at, "\""), at);
        }
        if (manner == TAKE_TOKENS && !at)
                refuse(body, size);
        c->answered[token - 1] = true;
        atomic_fetch_add(&first_answers, 1);
        if (c->opened < c->count)
                open_next(c);
}

static void feed_answered(Wire *wire, uint64_t token, const char *body, size_t size)
{
        Connection *c = (Connection *)wire;
        static const char at[] = "\"at\":";
        uint64_t now = now_ns();
        if (token == BARRIER) {
                atomic_fetch_add(&barriers, 1);
                return;
        }
        if (size < 6 || (body[5] != '3' && body[5] != '2') || memmem(body, size, "\"restarted\"", 11))
                refuse(body, size);
        if (body[5] == '2') { /* two for each: of its CONTINUE, and of its STOP */
                atomic_fetch_add(&closed, 1);
                return;
        }
        /* Each change has the new and the old document's. */
        for (const char *p = body; (p = memmem(p, size - (size_t)(p - body), "\"new_val\":{", 11)); p += 11) {
                const char *stamp = memmem(p, size - (size_t)(p - body), at, sizeof at - 1);
                atomic_fetch_add_explicit(&delivered, 1, memory_order_relaxed);
                if (stamp && atomic_load_explicit(&measuring, memory_order_relaxed))
                        latencies_add(&latency, now - strtoull(stamp + sizeof at - 1, NULL, 10));
        }
        if (!c->answered[token - 1])
                first_answer(c, token, body, size);
        add_frame(c, token, "[2]", 3);
}

static void feeds_main(void *arg)
{
        Feeds *feeds = arg;
        while (!atomic_load(&feeds->end)) {
                int order = atomic_exchange(&feeds->order, REST);
                for (int i = 0; order != REST && i < set.connections; i++) {
                        Connection *c = &feeds->connections[i];
                        if (order == OPEN)
                                c->opened = 0;
                        if (order == OPEN)
                                while (c->opened < MIN(c->count, OPENING))
                                        open_next(c);
                        for (uint64_t token = 1; order == CLOSE && token <= c->count; token++)
                                add_frame(c, token, "[3]", 3);
                        wire_flush(&c->wire);
                }
                wire_serve(feeds->epoll, order == REST ? 20 : 0, feed_answered);
        }
}

/* Everything that was sent before has been looked at: who waits for a change waits now. */
static void pass_barrier(Feeds *feeds)
{
        /* The server takes a connection's frames in order; feeds that wait do not hold it up. */
        for (int i = 0; i < set.connections; i++) {
                uint8_t frame[15];
                store_u64(frame, BARRIER);
                store_u32(frame + 8, 3);
                memcpy(frame + 12, "[5]", 3);
                /* The feed thread rests: nothing of its own is half sent. */
                if (send(feeds->connections[i].wire.fd, frame, sizeof frame, MSG_NOSIGNAL) != sizeof frame)
                        die(status_errno(errno, "sending"));
        }
        while (atomic_load(&barriers) < (uint64_t)set.connections)
                usleep(1000);
        atomic_store(&barriers, 0);
}

static double wait_for(atomic_uint_fast64_t *counter, uint64_t count, double began)
{
        uint64_t last = 0, moved = now_ns();
        for (;;) {
                uint64_t now = atomic_load(counter);
                if (now >= count)
                        return (double)now_ns() / 1e9 - began;
                if (now != last) {
                        last = now;
                        moved = now_ns();
                }
                if (now_ns() - moved > 20000000000ull)
                        die(status_new(ERR_IO, "only %" PRIu64 " of %" PRIu64 " came, and nothing for 20 s", now,
                                       count));
                usleep(1000);
        }
}

/* --- writers: the main thread --- */
typedef struct Run {
        double seconds, cpu;
        uint64_t writes;
} Run;
static uint64_t written, write_first;

static void write_one(Connection *c)
{
        char text[256];
        uint64_t room = write_first + random_next(&random_state) % set.rooms;
        uint64_t id = room * IDS_PER_ROOM + random_next(&random_state) % IDS_PER_ROOM;
        int size = snprintf(text, sizeof text,
                            "[1,[56,[" TABLE ",{\"id\":%" PRIu64 ",\"room\":%" PRIu64 ",\"at\":%" PRIu64
                            "}],{\"conflict\":\"replace\",\"durability\":\"soft\"}],{}]",
                            id, room, now_ns());
        c->in_flight++;
        add_frame(c, 1, text, (size_t)size);
}

static bool writing;

static void written_one(Wire *wire, uint64_t token, const char *body, size_t size)
{
        Connection *c = (Connection *)wire;
        if (size < 6 || body[5] != '1' || memmem(body, size, "first_error", 11) || body[6] != ',')
                refuse(body, size);
        written++;
        c->in_flight--;
        if (writing)
                write_one(c);
}

/* Writes to rooms from `first_room` on for some seconds; rate 0: as fast as the answers come. The token of all is 1: an
 * answer is all that is waited for, and quick writes are answered in order. */
static Run write_for(Connection *writers, int epoll, uint64_t first_room, double seconds, double rate)
{
        double cpu = cpu_seconds();
        uint64_t began = now_ns(), end = began + (uint64_t)(seconds * 1e9), issued = 0;
        written = 0;
        write_first = first_room;
        writing = rate == 0;
        for (int i = 0; i < set.writers && writing; i++) {
                for (int k = 0; k < set.pipeline; k++)
                        write_one(&writers[i]);
                wire_flush(&writers[i].wire);
        }
        while (now_ns() < end) {
                if (rate > 0) {
                        uint64_t due = (uint64_t)((double)(now_ns() - began) / 1e9 * rate);
                        for (; issued < due; issued++) {
                                Connection *c = &writers[issued % (uint64_t)set.writers];
                                write_one(c);
                                wire_flush(&c->wire);
                        }
                }
                wire_serve(epoll, 1, written_one);
        }
        Run run = {.seconds = (double)(now_ns() - began) / 1e9, .writes = written};
        run.cpu = cpu_seconds() - cpu;
        writing = false;
        for (int i = 0; i < set.writers; i++)
                while (writers[i].in_flight)
                        wire_serve(epoll, 100, written_one);
        return run;
}

static void print_run(const char *name, Run run)
{
        printf("\"%s\":{\"per_s\":%.0f,\"server_cpu_us\":%.2f},", name, (double)run.writes / run.seconds,
               run.writes ? run.cpu * 1e6 / (double)run.writes : 0);
}

static void ask(const char *query)
{
        Client *client;
        uint64_t token;
        Bytes body;
        must(client_connect(
                os_posix(),
                &(ClientOptions){
                        .host = set.host, .port = set.port, .user = "admin", .password = "", .timeout_ms = 60000},
                &client));
        must(client_send(client, BYTES_STR(query), &token));
        must(client_receive(client, &token, &body));
        client_close(client);
}

static const char help[] =
        "feed-bench: what changefeeds cost and how fast they are; prints one line of JSON\n\n"
        "  --host H --port P         of the server\n"
        "  --pid P                   its process: memory and processor time\n"
        "  --feeds N     (1000)      filter({room: N}).changes()\n"
        "  --connections N (100)     that they are spread over\n"
        "  --writers N   (16)        connections that write, --pipeline N (8) writes in flight on each\n"
        "  --seconds S   (5)         for each phase\n"
        "  --rate R      (5000)      writes a second while the latency is measured\n";

static double number(const char *text)
{
        char *end;
        double n = strtod(text, &end);
        if (*end || end == text || n < 0)
                die(status_new(ERR_INVALID, "\"%s\" is not a number", text));
        return n;
}

static void parse_options(int argc, char **argv)
{
        static const struct option options[] = {{"host", 1, 0, 'h'},
                                                {"port", 1, 0, 'p'},
                                                {"pid", 1, 0, 'P'},
                                                {"feeds", 1, 0, 'f'},
                                                {"writers", 1, 0, 'w'},
                                                {"connections", 1, 0, 'c'},
                                                {"rate", 1, 0, 'r'},
                                                {"seconds", 1, 0, 's'},
                                                {"pipeline", 1, 0, 'D'},
                                                {"help", 0, 0, '?'},
                                                {0}};
        for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                switch (o) {
                case 'h': set.host = optarg; break;
                case 'p': set.port = (int)number(optarg); break;
                case 'P': set.pid = (int)number(optarg); break;
                case 'f': set.feeds = (uint64_t)number(optarg); break;
                case 'c': set.connections = (int)number(optarg); break;
                case 'w': set.writers = (int)number(optarg); break;
                case 'D': set.pipeline = (int)number(optarg); break;
                case 's': set.seconds = number(optarg); break;
                case 'r': set.rate = number(optarg); break;
                default: fputs(help, stdout); exit(argv[optind - 1] && strcmp(argv[optind - 1], "--help") == 0 ? 0 : 2);
                }
        }
        if (set.feeds < 1 || set.connections < 1 || set.writers < 1 || set.pipeline < 1)
                die(status_new(ERR_INVALID, "feeds, connections, writers and pipeline are at least 1"));
        set.connections = (int)MIN((uint64_t)set.connections, set.feeds);
        set.rooms = set.feeds;
}

static void open_feeds(Feeds *feeds, int how)
{
        manner = how;
        atomic_store(&first_answers, 0);
        atomic_store(&feeds->order, OPEN);
}

static void close_feeds(Feeds *feeds)
{
        atomic_store(&closed, 0);
        atomic_store(&feeds->order, CLOSE);
        wait_for(&closed, 2 * set.feeds, 0);
        pass_barrier(feeds);
}

typedef struct Resumed {
        uint64_t missed, meanwhile; /* changes */
        double seconds;             /* until all of them were there */
} Resumed;

/* They all come back at once, with writes going on. */
static Resumed resume(Feeds *feeds, Connection *writers, int epoll)
{
        Resumed resumed = {0};
        open_feeds(feeds, TAKE_TOKENS);
        wait_for(&first_answers, set.feeds, 0);
        close_feeds(feeds);
        atomic_store(&delivered, 0);
        write_for(writers, epoll, 0, set.seconds, 0);
        resumed.missed = written;
        uint64_t began = now_ns();
        open_feeds(feeds, SINCE);
        while (atomic_load(&delivered) < resumed.missed + resumed.meanwhile) {
                write_for(writers, epoll, 0, 0.1, set.rate);
                resumed.meanwhile += written;
        }
        resumed.seconds = (double)(now_ns() - began) / 1e9;
        wait_for(&first_answers, set.feeds, 0);
        close_feeds(feeds);
        if (atomic_load(&delivered) != resumed.missed + resumed.meanwhile)
                die(status_new(ERR_IO, "%" PRIu64 " changes were delivered after the feeds went on, and not %" PRIu64,
                               (uint64_t)atomic_load(&delivered), resumed.missed + resumed.meanwhile));
        return resumed;
}

int main(int argc, char **argv)
{
        parse_options(argc, argv);
        ask("[1,[57,[\"bench\"]]]");
        ask("[1,[61,[[14,[\"bench\"]],\"feeds\"]]]");
        ask("[1,[60,[[14,[\"bench\"]],\"feeds\"]]]");

        const ClientOptions options = {
                .host = set.host, .port = set.port, .user = "admin", .password = "", .timeout_ms = 10000};
        Feeds feeds = {.epoll = epoll_create1(EPOLL_CLOEXEC)};
        int epoll = epoll_create1(EPOLL_CLOEXEC);
        Connection *writers = mem_zalloc(sizeof *writers * (size_t)set.writers);
        feeds.connections = mem_zalloc(sizeof *feeds.connections * (size_t)set.connections);
        if (!writers || !feeds.connections)
                die(status_nomem());
        for (int i = 0; i < set.writers; i++)
                wire_open(&writers[i].wire, &options, epoll);
        for (int i = 0; i < set.connections; i++) {
                Connection *c = &feeds.connections[i];
                uint64_t n = (uint64_t)set.connections;
                c->first = set.feeds * (uint64_t)i / n;
                c->count = set.feeds * ((uint64_t)i + 1) / n - c->first;
                c->answered = mem_zalloc(c->count * sizeof *c->answered);
                if (!c->answered)
                        die(status_nomem());
                wire_open(&c->wire, &options, feeds.epoll);
        }
        tokens = mem_zalloc(set.feeds * sizeof *tokens);
        if (!tokens)
                die(status_nomem());
        must(thread_start(&feeds.thread, "feeds", feeds_main, &feeds));

        write_for(writers, epoll, 0, set.seconds, 0); /* every document is there, and memory is warm */
        write_for(writers, epoll, set.feeds, set.seconds, 0);
        Run before = write_for(writers, epoll, set.feeds, set.seconds, 0);

        double rss_before = rss_kib(), began = (double)now_ns() / 1e9;
        open_feeds(&feeds, PLAIN);
        double opening = wait_for(&first_answers, set.feeds, began);
        usleep(100000);
        pass_barrier(&feeds);
        double rss_open = rss_kib();

        Run unwatched = write_for(writers, epoll, set.feeds, set.seconds, 0);
        uint64_t delivered_before = atomic_load(&delivered);
        if (delivered_before)
                die(status_new(ERR_IO, "changes of rooms that nobody watches were delivered"));
        Run watched = write_for(writers, epoll, 0, set.seconds, 0);
        uint64_t all = written;
        wait_for(&delivered, all, 0);

        write_for(writers, epoll, 0, MIN(set.seconds, 1), set.rate);
        all += written;
        atomic_store(&measuring, true);
        Run paced = write_for(writers, epoll, 0, set.seconds, set.rate);
        all += written;
        wait_for(&delivered, all, 0);
        atomic_store(&measuring, false);
        double rss_after = rss_kib();

        close_feeds(&feeds);
        double rss_closed = rss_kib();
        Run after = write_for(writers, epoll, set.feeds, set.seconds, 0);
        Resumed resumed = resume(&feeds, writers, epoll);
        atomic_store(&feeds.end, true);
        thread_join(&feeds.thread);

        double alone = ((double)before.writes / before.seconds + (double)after.writes / after.seconds) / 2;
        printf("{\"feeds\":%" PRIu64 ",\"connections\":%d,", set.feeds, set.connections);
        print_run("alone", before);
        print_run("unwatched", unwatched);
        print_run("watched", watched);
        print_run("paced", paced);
        print_run("alone_again", after);
        printf("\"ratio_unwatched\":%.3f,\"ratio_watched\":%.3f,\"opened_per_s\":%.0f,",
               (double)unwatched.writes / unwatched.seconds / alone, (double)watched.writes / watched.seconds / alone,
               (double)set.feeds / opening);
        printf("\"latency_ms\":{\"p50\":%.3f,\"p99\":%.3f,\"p999\":%.3f,\"max\":%.3f},",
               latencies_us(&latency, 0.5) / 1000, latencies_us(&latency, 0.99) / 1000,
               latencies_us(&latency, 0.999) / 1000, (double)latency.max_ns / 1e6);
        printf("\"resumed\":{\"missed\":%" PRIu64 ",\"meanwhile\":%" PRIu64 ",\"seconds\":%.2f},", resumed.missed,
               resumed.meanwhile, resumed.seconds);
        printf("\"delivered\":%" PRIu64 ",\"rss_mib\":{\"before\":%.1f,\"open\":%.1f,\"after\":%.1f,\"closed\":%.1f},"
               "\"idle_feed_bytes\":%.0f}\n",
               all, rss_before / 1024, rss_open / 1024, rss_after / 1024, rss_closed / 1024,
               (rss_open - rss_before) * 1024 / (double)set.feeds);

        for (int i = 0; i < set.writers; i++)
                wire_close(&writers[i].wire);
        for (int i = 0; i < set.connections; i++) {
                wire_close(&feeds.connections[i].wire);
                mem_free(feeds.connections[i].answered);
        }
        close(feeds.epoll);
        close(epoll);
        mem_free(writers);
        mem_free(feeds.connections);
        mem_free(tokens);
        return 0;
}
