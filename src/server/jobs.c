/* jobs.c - see jobs.h. */
#include "server/jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/thread.h"

#define ID_BYTES       37
#define TEXT_MAX_BYTES 4096 /* of a query; a longer one is cut */
#define LIST_AT_ONCE   256  /* entries, before others may have the lock */

struct Jobs {
        Os *os;
        uint64_t seed[2]; /* ids are made of these and the serial, so that adding needs no random numbers */
        Mutex mu;         /* a leaf of the server's; what `each` builds is under it */
        JobEntry *first;  /* GUARDED_BY(mu); newest first */
        uint64_t serial;  /* GUARDED_BY(mu) */
};

Status jobs_new(Os *os, Jobs **ret_jobs)
{
        uint64_t seed[2];
        TRY(os_random(os, seed, sizeof(seed)));
        Jobs *jobs = mem_zalloc(sizeof(*jobs));
        if (!jobs)
                return status_nomem();
        jobs->os = os;
        memcpy(jobs->seed, seed, sizeof(seed));
        mutex_init(&jobs->mu);
        *ret_jobs = jobs;
        return ST_OK;
}

Jobs *jobs_free(Jobs *jobs)
{
        if (jobs) {
                mutex_done(&jobs->mu);
                mem_free(jobs);
        }
        return NULL;
}

void jobs_add(Jobs *jobs, JobEntry *entry)
{
        entry->started_ns = os_mono_ns(jobs->os);
        entry->prev = NULL;
        atomic_store_explicit(&entry->killed, false, memory_order_relaxed);
        mutex_lock(&jobs->mu);
        entry->serial = ++jobs->serial;
        entry->next = jobs->first;
        if (jobs->first)
                jobs->first->prev = entry;
        jobs->first = entry;
        mutex_unlock(&jobs->mu);
}

static void unlink_entry(Jobs *jobs, JobEntry *entry) REQUIRES(jobs->mu)
{
        if (entry->prev)
                entry->prev->next = entry->next;
        else
                jobs->first = entry->next;
        if (entry->next)
                entry->next->prev = entry->prev;
}

void jobs_remove(Jobs *jobs, JobEntry *entry)
{
        mutex_lock(&jobs->mu);
        unlink_entry(jobs, entry);
        mutex_unlock(&jobs->mu);
}

void jobs_park(Jobs *jobs, JobEntry *entry, FeedCursor *feed)
{
        mutex_lock(&jobs->mu);
        entry->query = NULL;
        entry->feed = feed;
        if (atomic_load_explicit(&entry->killed, memory_order_relaxed))
                feed_cursor_cancel(feed); /* the query was told, too late */
        mutex_unlock(&jobs->mu);
}

/* splitmix64 */
static uint64_t mixed(uint64_t x)
{
        x += 0x9e3779b97f4a7c15;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9;
        x = (x ^ (x >> 27)) * 0x94d049bb133111eb;
        return x ^ (x >> 31);
}

typedef struct JobId {
        uint64_t a, b;
} JobId;
static JobId id_of(const Jobs *jobs, const JobEntry *entry)
{
        uint64_t a = mixed(jobs->seed[0] ^ entry->serial), b = mixed(jobs->seed[1] + entry->serial);
        return (JobId){(a & ~(uint64_t)0xf000) | 0x4000,                /* version 4 */
                       (b & ~((uint64_t)3 << 62)) | (uint64_t)1 << 63}; /* variant 1 */
}

static void id_text(JobId id, char out[ID_BYTES])
{
        snprintf(out, ID_BYTES, "%08" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%012" PRIx64, id.a >> 32,
                 id.a >> 16 & 0xffff, id.a & 0xffff, id.b >> 48, id.b & 0xffffffffffff);
}

/* False if no id looks like that. */
static bool id_read(Bytes text, JobId *ret_id)
{
        char copy[ID_BYTES], again[ID_BYTES];
        uint64_t part[5];
        if (text.size != ID_BYTES - 1)
                return false;
        memcpy(copy, text.data, text.size);
        copy[text.size] = 0;
        if (sscanf(copy, "%8" SCNx64 "-%4" SCNx64 "-%4" SCNx64 "-%4" SCNx64 "-%12" SCNx64, &part[0], &part[1], &part[2],
                   &part[3], &part[4]) != 5)
                return false;
        *ret_id = (JobId){part[0] << 32 | part[1] << 16 | part[2], part[3] << 48 | part[4]};
        id_text(*ret_id, again);
        return strcmp(copy, again) == 0; /* nothing but what we write */
}

static Status each_entry(Jobs *jobs, JobEntry *entry, int64_t now_ns, Buf *text,
                         Status (*each)(void *ctx, const HostJob *job), void *ctx)
{
        char id[ID_BYTES], address[80];
        const char *colon = strrchr(entry->peer, ':');
        size_t size = colon ? (size_t)(colon - entry->peer) : strlen(entry->peer);
        bool bracketed = size >= 2 && entry->peer[0] == '['; /* [::1]:49152 */
        id_text(id_of(jobs, entry), id);
        snprintf(address, sizeof(address), "%.*s", (int)(bracketed ? size - 2 : size),
                 entry->peer + (bracketed ? 1 : 0));
        buf_clear(text);
        TRY(entry->feed ? feed_cursor_describe(entry->feed, TEXT_MAX_BYTES, text)
                        : query_describe(entry->query, TEXT_MAX_BYTES, text));
        HostJob job = {.type = "query",
                       .id = id,
                       .duration_sec = (double)(now_ns - entry->started_ns) / 1e9,
                       .user = entry->user,
                       .client_address = address,
                       .client_port = colon ? atoi(colon + 1) : 0,
                       .query = BYTES(text->data, text->size),
                       .spilled_bytes = entry->query ? query_spilled_bytes(entry->query) : 0};
        return each(ctx, &job);
}

/* A place in the list, of somebody who lists it. */
static bool is_mark(const JobEntry *entry)
{
        return entry->serial == 0;
}

/* The one behind `entry`, as it is when others have had the lock for a moment. */
static JobEntry *let_others(Jobs *jobs, JobEntry *entry) REQUIRES(jobs->mu)
{
        JobEntry mark = {.prev = entry, .next = entry->next};
        entry->next = &mark;
        if (mark.next)
                mark.next->prev = &mark;
        mutex_unlock(&jobs->mu);
        mutex_lock(&jobs->mu);
        unlink_entry(jobs, &mark);
        return mark.next;
}

Status jobs_each(Jobs *jobs, Status (*each)(void *ctx, const HostJob *job), void *ctx)
{
        Status st = ST_OK;
        Buf text;
        int64_t now_ns = os_mono_ns(jobs->os);
        buf_init(&text, 4 * TEXT_MAX_BYTES); /* printing ends when it is full */
        mutex_lock(&jobs->mu);
        JobEntry *entry = jobs->first;
        for (size_t n = 1; entry && !st; n++) {
                if (!is_mark(entry))
                        st = each_entry(jobs, entry, now_ns, &text, each, ctx);
                if (n % LIST_AT_ONCE == 0)
                        entry = let_others(jobs, entry);
                else
                        entry = entry->next;
        }
        mutex_unlock(&jobs->mu);
        buf_done(&text);
        return st;
}

bool jobs_kill(Jobs *jobs, Bytes text)
{
        JobId id;
        bool found = false;
        if (!id_read(text, &id))
                return false;
        mutex_lock(&jobs->mu);
        for (JobEntry *entry = jobs->first; entry && !found; entry = entry->next) {
                JobId other = id_of(jobs, entry);
                found = !is_mark(entry) && other.a == id.a && other.b == id.b;
                if (!found)
                        continue;
                bool again = atomic_exchange(&entry->killed, true); /* before the query notices */
                if (entry->feed)
                        feed_cursor_cancel(entry->feed);
                else
                        query_cancel(entry->query);
                if (!again && entry->on_kill)
                        entry->on_kill(entry);
        }
        mutex_unlock(&jobs->mu);
        return found;
}
