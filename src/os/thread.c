/* thread.c - threads, mutexes and conditions: libuv's. */
#if defined(__linux__)
#define _GNU_SOURCE
#include <sched.h>
#endif
#include "os/thread.h"

#include <stdio.h>
#include <stdlib.h>

#include "os/thread_int.h"
#include "os/os.h"

/* Mutexes and conditions fail to initialise only for want of memory, at start; nobody could go on without them. */
void mutex_init(Mutex *mu)
{
        if (uv_mutex_init(&mu->uv) != 0)
                abort();
}

void mutex_done(Mutex *mu)
{
        uv_mutex_destroy(&mu->uv);
}

NO_TSA void mutex_lock(Mutex *mu)
{
        uv_mutex_lock(&mu->uv);
}

NO_TSA void mutex_unlock(Mutex *mu)
{
        uv_mutex_unlock(&mu->uv);
}

void cond_init(Cond *cond)
{
        if (uv_cond_init(&cond->uv) != 0)
                abort();
}

void cond_done(Cond *cond)
{
        uv_cond_destroy(&cond->uv);
}

void cond_wait(Cond *cond, Mutex *mu)
{
        uv_cond_wait(&cond->uv, &mu->uv);
}

bool cond_wait_for(Cond *cond, Mutex *mu, uint64_t timeout_ns)
{
        return uv_cond_timedwait(&cond->uv, &mu->uv, timeout_ns) == 0;
}

void cond_signal(Cond *cond)
{
        uv_cond_signal(&cond->uv);
}

void cond_broadcast(Cond *cond)
{
        uv_cond_broadcast(&cond->uv);
}

static void run_thread(void *arg)
{
        Thread *thread = arg;
#if defined(__linux__)
        pthread_setname_np(pthread_self(), thread->name);
#elif defined(__APPLE__)
        pthread_setname_np(thread->name);
#endif
        thread->main(thread->arg);
}

Status thread_start(Thread *thread, const char *name, void (*main)(void *arg), void *arg)
{
        thread->main = main;
        thread->arg = arg;
        size_t size = MIN(strlen(name), sizeof thread->name - 1);
        memcpy(thread->name, name, size);
        thread->name[size] = '\0';
        /* Said, because the system's limit may be small, and query evaluation counts on it. */
        uv_thread_options_t options = {.flags = UV_THREAD_HAS_STACK_SIZE, .stack_size = THREAD_STACK_BYTES};
        int rc = uv_thread_create_ex(&thread->uv, &options, run_thread, thread);
        return rc == 0 ? ST_OK : status_new(ERR_LIMIT, "cannot start thread %s: %s", thread->name, uv_strerror(rc));
}

void thread_join(Thread *thread)
{
        if (uv_thread_join(&thread->uv) != 0)
                abort();
}

/* --- how many cores: the smallest of what the machine has, the affinity allows and the container's quota pays for ---
 */
static unsigned cores_of_ratio(long long quota, long long period)
{
        if (quota <= 0 || period <= 0)
                return 0;
        long long cores = quota / period + (quota % period != 0);
        return cores > 100000 ? 0 : (unsigned)cores;
}

unsigned cores_of_cpu_max(const char *text)
{
        long long quota, period;
        return sscanf(text, "%lld %lld", &quota, &period) == 2 ? cores_of_ratio(quota, period) : 0;
}

unsigned cores_of_quota(const char *quota_text, const char *period_text)
{
        return cores_of_ratio(strtoll(quota_text, NULL, 10), strtoll(period_text, NULL, 10));
}

/* Is `word` one of the comma-separated `words`? */
static bool has_word(const char *words, size_t size, const char *word)
{
        size_t word_size = strlen(word);
        for (const char *end = words + size; words < end;) {
                const char *comma = memchr(words, ',', (size_t)(end - words));
                size_t n = (size_t)((comma ? comma : end) - words);
                if (n == word_size && memcmp(words, word, n) == 0)
                        return true;
                words += n + 1;
        }
        return false;
}

int cgroup_path(const char *text, int v1, char *out, size_t size)
{
        while (*text) {
                size_t line_size = strcspn(text, "\n");
                const char *first = memchr(text, ':', line_size);
                const char *second = first ? memchr(first + 1, ':', line_size - (size_t)(first + 1 - text)) : NULL;
                if (second) {
                        size_t words_size = (size_t)(second - first - 1);
                        size_t path_size = line_size - (size_t)(second + 1 - text);
                        bool match = v1 ? has_word(first + 1, words_size, "cpu") : words_size == 0;
                        if (match && path_size < size) {
                                memcpy(out, second + 1, path_size);
                                out[path_size] = '\0';
                                return true;
                        }
                }
                text += line_size + (text[line_size] == '\n');
        }
        return false;
}

#if defined(__linux__)
static bool read_text(const char *path, char *out, size_t size)
{
        FILE *file = fopen(path, "re");
        if (!file)
                return false;
        size_t n = fread(out, 1, size - 1, file);
        fclose(file);
        out[n] = '\0';
        return n > 0;
}

static unsigned cores_at(const char *root, const char *path, bool v1)
{
        char name[1024], text[64], period[64];
        if (!v1) {
                int n = snprintf(name, sizeof name, "%s%s/cpu.max", root, path);
                return n < (int)sizeof name && read_text(name, text, sizeof text) ? cores_of_cpu_max(text) : 0;
        }
        int n = snprintf(name, sizeof name, "%s%s/cpu.cfs_quota_us", root, path);
        if (n >= (int)sizeof name || !read_text(name, text, sizeof text))
                return 0;
        n = snprintf(name, sizeof name, "%s%s/cpu.cfs_period_us", root, path);
        return n < (int)sizeof name && read_text(name, period, sizeof period) ? cores_of_quota(text, period) : 0;
}

/* The smallest quota of a group and of all above it. In a container the path may be the host's and not be visible here:
 * the root of the mount is then the container's own group and is looked at last. */
static unsigned smallest_quota(const char *root, char *path, bool v1)
{
        unsigned least = 0;
        for (;;) {
                if (strcmp(path, "/") == 0)
                        path[0] = '\0';
                unsigned cores = cores_at(root, path, v1);
                if (cores && (!least || cores < least))
                        least = cores;
                char *slash = strrchr(path, '/');
                if (!slash)
                        return least;
                *slash = '\0';
        }
}

static unsigned quota_cores(void)
{
        char groups[4096], path[768];
        if (!read_text("/proc/self/cgroup", groups, sizeof groups))
                return 0;
        unsigned cores = 0;
        if (cgroup_path(groups, false, path, sizeof path))
                cores = smallest_quota("/sys/fs/cgroup", path, false);
        if (!cores && cgroup_path(groups, true, path, sizeof path))
                cores = smallest_quota("/sys/fs/cgroup/cpu", path, true);
        return cores;
}

static unsigned affinity_cores(void)
{
        /* The fixed cpu_set_t ends at 1024 processors and the call fails on larger machines. */
        for (int count = 1024; count <= 1 << 16; count *= 4) {
                cpu_set_t *set = CPU_ALLOC((size_t)count);
                if (!set)
                        return 0;
                size_t size = CPU_ALLOC_SIZE((size_t)count);
                int rc = sched_getaffinity(0, size, set);
                unsigned cores = rc == 0 ? (unsigned)CPU_COUNT_S(size, set) : 0;
                CPU_FREE(set);
                if (rc == 0)
                        return cores;
        }
        return 0;
}
#endif

unsigned thread_core_count(void)
{
        unsigned cores = 0;
#if defined(__linux__)
        cores = affinity_cores();
        unsigned quota = quota_cores();
        if (quota && (!cores || quota < cores))
                cores = quota;
#endif
        if (!cores) {
                uv_cpu_info_t *info;
                int count;
                if (uv_cpu_info(&info, &count) == 0) {
                        cores = (unsigned)count;
                        uv_free_cpu_info(info, count);
                }
        }
        return MAX(cores, 1u);
}
