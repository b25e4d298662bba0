/* photon-bench - a closed-loop load generator over the wire protocol.
 *
 * Every connection keeps `--pipeline` queries in flight and sends the next one when an answer arrives, so the rate is
 * what the server can do, not what was asked for. Threads own their connections; nothing is shared but two counters.
 * `photon-bench --help` lists workloads and options; bench/compare runs it beside Redis. */
#define _GNU_SOURCE
#include <getopt.h>
#include <inttypes.h>
#include <stdatomic.h>
#include <unistd.h>

#include "load.h"
#include "os/thread.h"

#define MAX_PIPELINE 256

typedef enum Workload { GET, INSERT, UPDATE, BULK, MIXED, WORKLOADS } Workload;
static const char *const workload_names[WORKLOADS] = {"get", "insert", "update", "bulk", "mixed"};

static struct Settings {
        const char *host, *user, *password_file, *table, *query, *sync_dir;
        int port, connections, threads, pipeline, batch;
        uint64_t keys, ops, load, first_key;
        double seconds;
        size_t doc_bytes;
        Workload workload;
        bool hard, json, keep;
} set = {.host = "127.0.0.1",
         .user = "admin",
         .table = "bench.t",
         .port = 28015,
         .connections = 64,
         .threads = 2,
         .pipeline = 1,
         .batch = 200,
         .keys = 100000,
         .seconds = 5,
         .doc_bytes = 100};
static char password[256];
static atomic_uint_fast64_t next_insert, issued;
static atomic_bool stopping;

typedef struct Worker Worker;
typedef struct Connection {
        Wire wire;
        Worker *worker;
        uint64_t started_ns[MAX_PIPELINE]; /* by token % pipeline */
        uint64_t token;
        int in_flight;
} Connection;

struct Worker {
        Thread thread;
        int epoll;
        Connection *connections;
        int connection_count;
        uint64_t random, ops, documents, errors;
        char first_error[300];
        Latencies latency;
};

static Status add_document(Buf *out, uint64_t key, uint64_t *random)
{
        static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789";
        TRY(buf_printf(out, "{\"id\":%" PRIu64 ",\"n\":%" PRIu64 ",\"payload\":\"", key,
                       random_next(random) % 1000000));
        TRY(buf_reserve(out, set.doc_bytes + 2));
        for (size_t i = 0; i < set.doc_bytes; i++)
                out->data[out->size++] = (uint8_t)letters[random_next(random) % 36];
        return buf_append_str(out, "\"}");
}

/* "db.table" as the TABLE term. */
static Status add_table(Buf *out)
{
        const char *dot = strchr(set.table, '.');
        return buf_printf(out, "[15,[[14,[\"%.*s\"]],\"%s\"]]", (int)(dot - set.table), set.table, dot + 1);
}

static Status add_insert(Buf *out, uint64_t first, int count, uint64_t *random)
{
        TRY(buf_append_str(out, "[1,[56,["));
        TRY(add_table(out));
        TRY(buf_append_str(out, count == 1 ? "," : ",[2,["));
        for (int i = 0; i < count; i++) {
                if (i)
                        TRY(buf_append_byte(out, ','));
                TRY(add_document(out, first + (uint64_t)i, random));
        }
        return buf_printf(out, "%s],{\"durability\":\"%s\"}],{}]", count == 1 ? "" : "]]", set.hard ? "hard" : "soft");
}

static Status add_template(Buf *out, uint64_t *random)
{
        uint64_t key = 0;
        for (const char *p = set.query; *p; p++) {
                if (p[0] == '$' && (p[1] == 'K' || p[1] == 'L')) {
                        if (p[1] == 'K')
                                key = random_next(random) % set.keys;
                        TRY(buf_printf(out, "%" PRIu64, key));
                        p++;
                } else if (p[0] == '$' && p[1] == 'S') {
                        TRY(buf_printf(out, "%" PRIu64, (uint64_t)atomic_fetch_add(&next_insert, 1)));
                        p++;
                } else {
                        TRY(buf_append_byte(out, (uint8_t)*p));
                }
        }
        return ST_OK;
}

/* Appends the next query's text; the number of documents it writes. */
static Status add_query(Worker *w, Buf *out, int *ret_documents)
{
        Workload work = set.workload;
        *ret_documents = 0;
        if (set.query)
                return add_template(out, &w->random);
        if (work == MIXED)
                work = random_next(&w->random) % 10 ? GET : UPDATE;
        switch (work) {
        case INSERT:
        case BULK:
                *ret_documents = work == BULK ? set.batch : 1;
                return add_insert(out, atomic_fetch_add(&next_insert, (uint64_t)*ret_documents), *ret_documents,
                                  &w->random);
        case UPDATE:
                *ret_documents = 1;
                TRY(buf_append_str(out, "[1,[53,[[16,["));
                TRY(add_table(out));
                return buf_printf(out, ",%" PRIu64 "]],{\"n\":%" PRIu64 "}],{\"durability\":\"%s\"}],{}]",
                                  random_next(&w->random) % set.keys, random_next(&w->random) % 1000000,
                                  set.hard ? "hard" : "soft");
        default:
                TRY(buf_append_str(out, "[1,[16,["));
                TRY(add_table(out));
                return buf_printf(out, ",%" PRIu64 "]],{}]", random_next(&w->random) % set.keys);
        }
}

/* Puts the next query into the connection's output; false when the run is over. */
static bool issue(Worker *w, Connection *c)
{
        Buf *out = &c->wire.out;
        int documents;
        if (atomic_load_explicit(&stopping, memory_order_relaxed))
                return false;
        if (set.ops && atomic_fetch_add(&issued, 1) >= set.ops)
                return false;
        size_t at = out->size;
        must(buf_reserve(out, 12));
        out->size += 12;
        must(add_query(w, out, &documents));
        store_u64(out->data + at, c->token);
        store_u32(out->data + at + 8, (uint32_t)(out->size - at - 12));
        c->started_ns[c->token % (uint64_t)set.pipeline] = now_ns();
        c->token++;
        c->in_flight++;
        w->documents += (uint64_t)documents;
        return true;
}

static void answered(Wire *wire, uint64_t token, const char *body, size_t size)
{
        Connection *c = (Connection *)wire;
        Worker *w = c->worker;
        latencies_add(&w->latency, now_ns() - c->started_ns[token % (uint64_t)set.pipeline]);
        w->ops++;
        c->in_flight--;
        /* {"t":18,... is an error; a write's statistics count failed documents too */
        if ((size > 6 && body[5] == '1' && body[6] >= '6' && body[6] <= '8') ||
            memmem(body, size, "\"first_error\"", 13)) {
                if (!w->errors++)
                        snprintf(w->first_error, sizeof w->first_error, "%.*s",
                                 (int)MIN(size, sizeof w->first_error - 1), body);
        }
        issue(w, c);
}

static void worker_main(void *arg)
{
        Worker *w = arg;
        int active = 0;
        for (int i = 0; i < w->connection_count; i++) {
                Connection *c = &w->connections[i];
                for (int k = 0; k < set.pipeline; k++)
                        issue(w, c);
                wire_flush(&c->wire);
        }
        do {
                wire_serve(w->epoll, 1000, answered);
                active = 0;
                for (int i = 0; i < w->connection_count; i++)
                        active += w->connections[i].in_flight;
        } while (active);
}

static ClientOptions client_options(void)
{
        return (ClientOptions){
                .host = set.host, .port = set.port, .user = set.user, .password = password, .timeout_ms = 10000};
}

/* Runs one query and returns its answer's text (static). */
static const char *ask(Client *client, const char *query)
{
        static char text[4096];
        uint64_t token;
        Bytes body;
        must(client_send(client, BYTES_STR(query), &token));
        must(client_receive(client, &token, &body));
        snprintf(text, sizeof text, "%.*s", (int)body.size, (const char *)body.data);
        return text;
}

static void prepare(Client *client)
{
        char query[512];
        const char *dot = strchr(set.table, '.'), *answer;
        if (!dot)
                die(status_new(ERR_INVALID, "--table wants DB.TABLE, not \"%s\"", set.table));
        snprintf(query, sizeof query, "[1,[57,[\"%.*s\"]],{}]", (int)(dot - set.table), set.table);
        ask(client, query);
        snprintf(query, sizeof query, "[1,[60,[[14,[\"%.*s\"]],\"%s\"]],{}]", (int)(dot - set.table), set.table,
                 dot + 1);
        answer = ask(client, query);
        if (!strstr(answer, "tables_created") && !strstr(answer, "already exists"))
                die(status_new(ERR_IO, "creating table %s: %s", set.table, answer));
        uint64_t random = RANDOM_SEED;
        for (uint64_t key = 0; key < set.load; key += 200) {
                Buf buf;
                uint64_t token;
                Bytes body;
                buf_init(&buf, 64 << 20);
                bool hard = set.hard;
                set.hard = false;
                must(add_insert(&buf, key, (int)MIN(200, set.load - key) == 1 ? 1 : (int)MIN(200, set.load - key),
                                &random));
                set.hard = hard;
                must(client_send(client, BYTES(buf.data, buf.size), &token));
                must(client_receive(client, &token, &body));
                buf_done(&buf);
        }
}

/* What the device itself can do: small appends, each followed by fdatasync. */
static void measure_sync(void)
{
        OsDir *dir;
        OsFile *file;
        char block[512] = {0};
        uint64_t count = 0, began, end;
        must(os_dir_open(os_posix(), set.sync_dir, OS_DIR_EXISTING, &dir));
        must(os_file_open(dir, "photon-bench.sync", OS_READ | OS_WRITE | OS_CREATE | OS_TRUNCATE, &file));
        began = now_ns();
        end = began + (uint64_t)(set.seconds * 1e9);
        while (now_ns() < end) {
                must(os_file_write_at(file, count * sizeof block, block, sizeof block));
                must(os_file_sync(file));
                count++;
        }
        double seconds = (double)(now_ns() - began) / 1e9;
        os_file_close(file);
        must(os_dir_remove(dir, "photon-bench.sync"));
        os_dir_close(dir);
        printf(set.json ? "{\"syncs_per_s\":%.1f}\n" : "%.1f fdatasync/s\n", (double)count / seconds);
}

static void report(Worker *workers, double seconds)
{
        static Latencies all;
        uint64_t ops = 0, documents = 0, errors = 0;
        const char *first_error = "";
        for (int t = 0; t < set.threads; t++) {
                Worker *w = &workers[t];
                for (size_t i = 0; i < LATENCY_BUCKETS; i++)
                        all.counts[i] += w->latency.counts[i];
                all.total += w->latency.total;
                all.max_ns = MAX(all.max_ns, w->latency.max_ns);
                ops += w->ops;
                documents += w->documents;
                errors += w->errors;
                if (w->first_error[0])
                        first_error = w->first_error;
        }
        const char *name = set.query ? "query" : workload_names[set.workload];
        if (set.json)
                printf("{\"workload\":\"%s\",\"connections\":%d,\"pipeline\":%d,\"ops\":%" PRIu64
                       ",\"seconds\":%.3f,\"ops_per_s\":%.1f,"
                       "\"documents_per_s\":%.1f,\"errors\":%" PRIu64
                       ",\"p50_us\":%.1f,\"p95_us\":%.1f,\"p99_us\":%.1f,\"max_us\":%.1f}\n",
                       name, set.connections, set.pipeline, ops, seconds, (double)ops / seconds,
                       (double)documents / seconds, errors, latencies_us(&all, 0.5), latencies_us(&all, 0.95),
                       latencies_us(&all, 0.99), (double)all.max_ns / 1000);
        else
                printf("%-7s c=%-4d D=%-3d %10" PRIu64
                       " ops in %.2f s: %9.0f ops/s %9.0f docs/s  p50 %.0f us  p95 %.0f us  p99 %.0f us  max %.0f us  "
                       "errors %" PRIu64 "\n",
                       name, set.connections, set.pipeline, ops, seconds, (double)ops / seconds,
                       (double)documents / seconds, latencies_us(&all, 0.5), latencies_us(&all, 0.95),
                       latencies_us(&all, 0.99), (double)all.max_ns / 1000, errors);
        if (errors)
                fprintf(stderr, "photon-bench: first error: %s\n", first_error);
        if (errors)
                exit(1);
}

static const char help[] =
        "photon-bench: closed-loop load over the ReQL wire protocol\n\n"
        "  photon-bench [options] WORKLOAD        get | insert | update | bulk | mixed\n"
        "  photon-bench --query '[1,[16,[[15,[[14,[\"bench\"]],\"t\"]],$K]],{}]'    $K random key, $S next number\n"
        "                                                                           $L the last $K again\n"
        "  photon-bench --fdatasync DIR           what the device can do\n\n"
        "  --host H --port P --user U --password-file F\n"
        "  --connections N   (64)      --threads N   (2)       --pipeline N  queries in flight per connection (1)\n"
        "  --seconds S       (5)       --ops N       stop after N instead\n"
        "  --table DB.TABLE  (bench.t) created when absent     --load N      insert keys 0..N-1 first\n"
        "  --keys N          key space of get and update (100000)            --doc-bytes N  payload (100)\n"
        "  --batch N         documents per bulk insert (200)                 --first-key N  of inserts (keys)\n"
        "  --hard            writes with hard durability (soft)              --json         one JSON line\n";

static uint64_t number(const char *text)
{
        char *end;
        errno = 0;
        unsigned long long n = strtoull(text, &end, 10);
        if (errno || *end || end == text)
                die(status_new(ERR_INVALID, "\"%s\" is not a number", text));
        return n;
}

static void parse_options(int argc, char **argv)
{
        static const struct option options[] = {
                {"host", 1, 0, 'h'},          {"port", 1, 0, 'p'},        {"user", 1, 0, 'u'},
                {"password-file", 1, 0, 'w'}, {"connections", 1, 0, 'c'}, {"threads", 1, 0, 't'},
                {"pipeline", 1, 0, 'D'},      {"seconds", 1, 0, 's'},     {"ops", 1, 0, 'o'},
                {"table", 1, 0, 'T'},         {"load", 1, 0, 'L'},        {"keys", 1, 0, 'n'},
                {"doc-bytes", 1, 0, 'z'},     {"batch", 1, 0, 'B'},       {"first-key", 1, 0, 'F'},
                {"hard", 0, 0, 'H'},          {"json", 0, 0, 'j'},        {"query", 1, 0, 'q'},
                {"fdatasync", 1, 0, 'f'},     {"help", 0, 0, '?'},        {0}};
        bool first_key = false;
        for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                switch (o) {
                case 'h': set.host = optarg; break;
                case 'p': set.port = (int)number(optarg); break;
                case 'u': set.user = optarg; break;
                case 'w': set.password_file = optarg; break;
                case 'c': set.connections = (int)number(optarg); break;
                case 't': set.threads = (int)number(optarg); break;
                case 'D': set.pipeline = (int)number(optarg); break;
                case 's': set.seconds = strtod(optarg, NULL); break;
                case 'o': set.ops = number(optarg); break;
                case 'T': set.table = optarg; break;
                case 'L': set.load = number(optarg); break;
                case 'n': set.keys = number(optarg); break;
                case 'z': set.doc_bytes = number(optarg); break;
                case 'B': set.batch = (int)number(optarg); break;
                case 'F':
                        set.first_key = number(optarg);
                        first_key = true;
                        break;
                case 'H': set.hard = true; break;
                case 'j': set.json = true; break;
                case 'q': set.query = optarg; break;
                case 'f': set.sync_dir = optarg; break;
                default: fputs(help, stdout); exit(argv[optind - 1] && strcmp(argv[optind - 1], "--help") == 0 ? 0 : 2);
                }
        }
        if (optind < argc) {
                int w = 0;
                while (w < WORKLOADS && strcmp(argv[optind], workload_names[w]) != 0)
                        w++;
                if (w == WORKLOADS)
                        die(status_hint(status_new(ERR_INVALID, "no workload \"%s\"", argv[optind]),
                                        "one of get, insert, update, bulk, mixed"));
                set.workload = (Workload)w;
        }
        if (set.pipeline < 1 || set.pipeline > MAX_PIPELINE || set.connections < 1 || set.threads < 1 ||
            set.batch < 1 || set.keys < 1)
                die(status_new(ERR_INVALID, "connections, threads, batch and keys are at least 1, pipeline is 1..%d",
                               MAX_PIPELINE));
        set.threads = MIN(set.threads, set.connections);
        atomic_store(&next_insert, first_key ? set.first_key : set.keys);
}

int main(int argc, char **argv)
{
        parse_options(argc, argv);
        if (set.sync_dir) {
                measure_sync();
                return 0;
        }
        if (set.password_file) {
                FILE *f = fopen(set.password_file, "r");
                if (!f || !fgets(password, sizeof password, f))
                        die(status_errno(errno, "reading %s", set.password_file));
                fclose(f);
                password[strcspn(password, "\r\n")] = 0;
        }
        const ClientOptions options = client_options();
        Client *client;
        must(client_connect(os_posix(), &options, &client));
        prepare(client);
        client_close(client);

        Worker *workers = mem_zalloc(sizeof *workers * (size_t)set.threads);
        Connection *connections = mem_zalloc(sizeof *connections * (size_t)set.connections);
        if (!workers || !connections)
                die(status_nomem());
        for (int t = 0, at = 0; t < set.threads; t++) {
                Worker *w = &workers[t];
                w->connections = connections + at;
                w->connection_count = set.connections / set.threads + (t < set.connections % set.threads);
                at += w->connection_count;
                w->random = 0x9e3779b97f4a7c15ull * (uint64_t)(t + 1);
                w->epoll = epoll_create1(EPOLL_CLOEXEC);
                for (int i = 0; i < w->connection_count; i++) {
                        Connection *c = &w->connections[i];
                        wire_open(&c->wire, &options, w->epoll);
                        c->worker = w;
                        c->token = 1;
                }
        }
        uint64_t began = now_ns();
        for (int t = 0; t < set.threads; t++)
                must(thread_start(&workers[t].thread, "bench", worker_main, &workers[t]));
        if (!set.ops) {
                struct timespec pause = {.tv_sec = (time_t)set.seconds, .tv_nsec = (long)(fmod(set.seconds, 1) * 1e9)};
                nanosleep(&pause, NULL);
                atomic_store(&stopping, true);
        }
        for (int t = 0; t < set.threads; t++)
                thread_join(&workers[t].thread);
        report(workers, (double)(now_ns() - began) / 1e9);
        for (int i = 0; i < set.connections; i++) {
                wire_close(&connections[i].wire);
        }
        for (int t = 0; t < set.threads; t++)
                close(workers[t].epoll);
        mem_free(workers);
        mem_free(connections);
        return 0;
}
