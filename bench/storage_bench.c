/* storage-bench - one store under measurement: storage-bench SYSTEM DIR [options], then commands on standard input, one
 * a line, each answered by one line of JSON. bench/compare-storage runs several of these beside each other and gives
 * them the same commands in turn, so that a noisy moment of the machine hits all.
 *
 *      load MODE                    rows 0 .. rows-1 in order: tree: bulk, puts; store: puts; lmdb: append; rocksdb:
 * log insert FIRST COUNT BATCH     random keys, COUNT rows in commits of BATCH, soft latency SECONDS BATCH        the
 * same for some seconds; percentiles of the commits get THREADS SECONDS held|fresh    random reads from one snapshot a
 * thread, or from a new one each scan     count TIMES     nth TIMES settle   checkpoint      tables FIRST COUNT report
 * die (at once, as kill -9)     quit */
#define _GNU_SOURCE
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <time.h>
#include <unistd.h>

#include "os/os.h"
#include "os/thread.h"
#include "bench/storage/system.h"

enum { POOL_BYTES = 1 << 16, MAX_THREADS = 16, MAX_BATCH = 10000 };

static const System *sys;
static Handle *handle;
static Settings set = {.engine = "btree", .rows = 1000000, .value_bytes = 100, .cache_bytes = (size_t)1 << 30};
static char pool[POOL_BYTES * 2];
static uint64_t sink; /* what was read goes here, so that no read is optimised away */

void bench_die(const char *what, const char *why)
{
        fprintf(stderr, "storage-bench: %s: %s\n", what, why);
        exit(1);
}

void bench_must(Status st, const char *what)
{
        char text[600];
        if (st)
                bench_die(what, status_text(st, text, sizeof text));
}

Bytes row_value(uint64_t i, size_t bytes)
{
        return BYTES(pool + (mix64(i * 7) & (POOL_BYTES - 1)), bytes);
}

/* --- time --- */

static double wall_now(void)
{
        return (double)os_mono_ns(os_posix()) * 1e-9;
}

static double cpu_now(clockid_t clock)
{
        struct timespec at;
        clock_gettime(clock, &at);
        return (double)at.tv_sec + (double)at.tv_nsec * 1e-9;
}

static uint64_t rss_bytes(void)
{
        unsigned long size, resident = 0;
        FILE *file = fopen("/proc/self/statm", "r");
        if (!file || fscanf(file, "%lu %lu", &size, &resident) != 2)
                resident = 0;
        if (file)
                fclose(file);
        return resident * (uint64_t)sysconf(_SC_PAGESIZE);
}

typedef struct Span {
        double wall, process, thread;
} Span;

static Span span_begin(void)
{
        return (Span){wall_now(), cpu_now(CLOCK_PROCESS_CPUTIME_ID), cpu_now(CLOCK_THREAD_CPUTIME_ID)};
}

/* `cpu`: of all threads of the process; `caller_cpu`: of the one that did the work. */
static void answer(Span from, double caller_cpu, uint64_t ops, const char *more)
{
        double wall = wall_now() - from.wall, cpu = cpu_now(CLOCK_PROCESS_CPUTIME_ID) - from.process;
        struct rusage usage;
        getrusage(RUSAGE_SELF, &usage);
        if (caller_cpu < 0)
                caller_cpu = cpu_now(CLOCK_THREAD_CPUTIME_ID) - from.thread;
        printf("{\"ops\":%" PRIu64 ",\"wall\":%.9f,\"cpu\":%.9f,\"caller_cpu\":%.9f,\"rss\":%" PRIu64
               ",\"peak_rss\":%" PRIu64 "%s",
               ops, wall, cpu, caller_cpu, rss_bytes(), (uint64_t)usage.ru_maxrss * 1024, more);
        if (sys->report && handle)
                sys->report(handle, stdout);
        printf("}\n");
        fflush(stdout);
}

/* --- reading --- */

typedef struct ReadJob {
        Thread thread;
        uint64_t random, ops, sum;
        double seconds, cpu;
        bool fresh;
} ReadJob;

static void read_job(void *arg)
{
        ReadJob *job = arg;
        Reader *reader = sys->reader_open(handle);
        double began = cpu_now(CLOCK_THREAD_CPUTIME_ID), end = wall_now() + job->seconds;
        while (wall_now() < end) {
                for (unsigned n = 0; n < 256; n++) {
                        uint8_t key[ROW_KEY_BYTES];
                        row_key(mix64(job->random++) % set.rows, set.rows, key);
                        if (job->fresh)
                                sys->reader_renew(reader);
                        if (!sys->get(reader, key, &job->sum))
                                bench_die(sys->name, "a row is missing");
                }
                job->ops += 256;
        }
        job->cpu = cpu_now(CLOCK_THREAD_CPUTIME_ID) - began;
        sys->reader_close(reader);
}

static void run_get(unsigned threads, double seconds, bool fresh)
{
        static uint64_t round = 1;
        ReadJob jobs[MAX_THREADS] = {0};
        Span span = span_begin();
        double cpu = 0;
        uint64_t ops = 0;
        threads = MIN(threads, MAX_THREADS);
        for (unsigned i = 0; i < threads; i++) {
                jobs[i].random = round++ << 40;
                jobs[i].seconds = seconds;
                jobs[i].fresh = fresh;
                bench_must(thread_start(&jobs[i].thread, "reader", read_job, &jobs[i]), "a thread");
        }
        for (unsigned i = 0; i < threads; i++) {
                thread_join(&jobs[i].thread);
                ops += jobs[i].ops;
                cpu += jobs[i].cpu;
                sink += jobs[i].sum;
        }
        answer(span, cpu, ops, "");
}

static void run_scan(void)
{
        Reader *reader = sys->reader_open(handle);
        Span span = span_begin();
        uint64_t rows = sys->scan(reader, &sink);
        answer(span, -1, rows, "");
        sys->reader_close(reader);
}

static void run_count(uint64_t times)
{
        Reader *reader = sys->reader_open(handle);
        Span span = span_begin();
        for (uint64_t n = 0; n < times; n++) {
                uint64_t low = mix64(n) % set.rows, high = mix64(n + times) % set.rows;
                uint8_t low_key[ROW_KEY_BYTES], high_key[ROW_KEY_BYTES];
                row_key(MIN(low, high), set.rows, low_key);
                row_key(MAX(low, high), set.rows, high_key);
                if (sys->count(reader, low_key, high_key) != MAX(low, high) - MIN(low, high))
                        bench_die(sys->name, "a count is wrong");
        }
        answer(span, -1, times, "");
        sys->reader_close(reader);
}

static void run_nth(uint64_t times)
{
        Reader *reader = sys->reader_open(handle);
        Span span = span_begin();
        for (uint64_t n = 0; n < times; n++)
                if (!sys->nth(reader, mix64(n) % set.rows, &sink))
                        bench_die(sys->name, "a row is missing");
        answer(span, -1, times, "");
        sys->reader_close(reader);
}

/* --- writing --- */

static uint8_t batch_keys[MAX_BATCH][ROW_KEY_BYTES];
static Bytes batch_values[MAX_BATCH];

static void write_random(uint64_t first, unsigned count)
{
        for (unsigned n = 0; n < count; n++) {
                row_key_random(first + n, batch_keys[n]);
                batch_values[n] = row_value(first + n, set.value_bytes);
        }
        sys->write(handle, (const uint8_t(*)[ROW_KEY_BYTES])batch_keys, batch_values, count);
}

static void run_insert(uint64_t first, uint64_t count, unsigned batch)
{
        Span span = span_begin();
        batch = MIN(batch, MAX_BATCH);
        for (uint64_t i = 0; i < count; i += batch)
                write_random(first + i, (unsigned)MIN(batch, count - i));
        answer(span, -1, count, "");
}

static int by_value(const void *a, const void *b)
{
        uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
        return (x > y) - (x < y);
}

static void run_latency(double seconds, unsigned batch)
{
        enum { MOST = 1 << 24 };
        static uint64_t first = UINT64_C(1) << 50;
        uint32_t *ns = malloc(MOST * sizeof *ns);
        size_t n = 0;
        char more[300];
        Span span = span_begin();
        double end = span.wall + seconds;
        batch = MIN(batch, MAX_BATCH);
        while (n < MOST && wall_now() < end) {
                int64_t at = os_mono_ns(os_posix());
                write_random(first, batch);
                ns[n++] = (uint32_t)MIN(os_mono_ns(os_posix()) - at, (int64_t)UINT32_MAX);
                first += batch;
        }
        qsort(ns, n, sizeof *ns, by_value);
#define AT(share) ((double)ns[MIN((size_t)((double)n * (share)), n - 1)] / 1000)
        snprintf(more, sizeof more,
                 ",\"p50_us\":%.1f,\"p99_us\":%.1f,\"p999_us\":%.1f,\"p9999_us\":%.1f,\"max_us\":%.1f", AT(0.5),
                 AT(0.99), AT(0.999), AT(0.9999), AT(1));
        answer(span, -1, n * batch, more);
        free(ns);
}

/* --- the device: random reads of 8 KiB from a file, past the system's cache where the device allows it --- */
static void run_device(const char *path, double seconds)
{
        enum { BLOCK = 8192 };
        bool direct = true;
        int fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
        if (fd < 0) {
                direct = false;
                fd = open(path, O_RDONLY | O_CLOEXEC);
        }
        off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
        void *block = NULL;
        if (size < BLOCK || posix_memalign(&block, BLOCK, BLOCK))
                bench_die(path, "cannot be read");
        Span span = span_begin();
        uint64_t n = 0;
        for (double end = span.wall + seconds; n % 16 || wall_now() < end; n++) {
                off_t at = (off_t)(mix64(n) % (uint64_t)(size / BLOCK)) * BLOCK;
                if (!direct)
                        posix_fadvise(fd, at, BLOCK, POSIX_FADV_DONTNEED);
                if (pread(fd, block, BLOCK, at) != BLOCK)
                        bench_die(path, "reading failed");
        }
        answer(span, -1, n, direct ? ",\"direct\":true" : ",\"direct\":false");
        free(block);
        close(fd);
}

/* --- commands --- */

static bool unsupported(const void *function)
{
        if (!function)
                printf("{\"unsupported\":true}\n"), fflush(stdout);
        return !function;
}

static bool run_command(char *line)
{
        char word[32] = "", text[4096] = "";
        double a = 0, b = 0, c = 0;
        if (sscanf(line, "%31s", word) != 1)
                return true;
        sscanf(line, "%*s %lf %lf %lf", &a, &b, &c);
        sscanf(line, "%*s %4095s", text);
        if (strcmp(word, "load") == 0) {
                Span span = span_begin();
                sys->load(handle, text);
                answer(span, -1, set.rows, "");
        } else if (strcmp(word, "insert") == 0) {
                run_insert((uint64_t)a, (uint64_t)b, (unsigned)c);
        } else if (strcmp(word, "latency") == 0) {
                run_latency(a, (unsigned)b);
        } else if (strcmp(word, "get") == 0) {
                run_get((unsigned)a, b, strstr(line, "fresh") != NULL);
        } else if (strcmp(word, "scan") == 0) {
                run_scan();
        } else if (strcmp(word, "count") == 0) {
                run_count((uint64_t)a);
        } else if (strcmp(word, "nth") == 0) {
                run_nth((uint64_t)a);
        } else if (strcmp(word, "device") == 0) {
                sscanf(line, "%*s %4095s %lf", text, &a);
                run_device(text, a);
        } else if (strcmp(word, "settle") == 0 || strcmp(word, "checkpoint") == 0) {
                void (*work)(Handle *) = word[0] == 's' ? sys->settle : sys->checkpoint;
                Span span = span_begin();
                if (work)
                        work(handle);
                answer(span, -1, 1, "");
        } else if (strcmp(word, "tables") == 0) {
                if (unsupported((const void *)sys->create_tables))
                        return true;
                Span span = span_begin();
                sys->create_tables(handle, (uint64_t)a, (unsigned)b);
                answer(span, -1, (uint64_t)b, "");
        } else if (strcmp(word, "report") == 0) {
                answer(span_begin(), -1, 0, "");
        } else if (strcmp(word, "die") == 0) {
                _exit(0);
        } else if (strcmp(word, "quit") == 0) {
                return false;
        } else {
                bench_die(word, "there is no such command");
        }
        return true;
}

int main(int argc, char **argv)
{
        static const struct option options[] = {
                {"rows", required_argument, NULL, 'r'},   {"value-bytes", required_argument, NULL, 'v'},
                {"cache", required_argument, NULL, 'c'},  {"log-budget", required_argument, NULL, 'l'},
                {"engine", required_argument, NULL, 'e'}, {"bloom", required_argument, NULL, 'b'},
                {"compress", no_argument, NULL, 'z'},     {0}};
        static const System *const systems[] = {&system_tree, &system_store, &system_lmdb, &system_rocksdb};
        for (int o; (o = getopt_long(argc, argv, "", options, NULL)) != -1;) {
                switch (o) {
                case 'r': set.rows = strtoull(optarg, NULL, 10); break;
                case 'v': set.value_bytes = MIN(strtoull(optarg, NULL, 10), (uint64_t)POOL_BYTES); break;
                case 'c': set.cache_bytes = strtoull(optarg, NULL, 10); break;
                case 'l': set.log_budget_bytes = strtoull(optarg, NULL, 10); break;
                case 'e': set.engine = optarg; break;
                case 'b': set.bloom_bits = atoi(optarg); break;
                case 'z': set.compress = true; break;
                default: return 2;
                }
        }
        if (optind + 2 != argc || set.rows == 0)
                bench_die("usage", "storage-bench [options] SYSTEM DIR; commands: see the source");
        for (size_t i = 0; i < ELEMENTS(systems); i++)
                if (strcmp(systems[i]->name, argv[optind]) == 0)
                        sys = systems[i];
        if (!sys)
                bench_die(argv[optind], "there is no such system");
        set.dir = argv[optind + 1];
        for (size_t i = 0; i < sizeof pool; i++)
                pool[i] = "abcdefghijklmnopqrstuvwxyz0123456789"[mix64(i) % 36];
        Span span = span_begin();
        handle = sys->open(&set);
        answer(span, -1, 1, "");
        char *line = NULL;
        size_t capacity = 0;
        while (getline(&line, &capacity, stdin) > 0 && run_command(line))
                ;
        sys->close(handle);
        free(line);
        fprintf(stderr, "%s", sink == 1 ? " " : "");
        return 0;
}
