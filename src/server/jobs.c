/* jobs.c - see jobs.h. */
#include "server/jobs.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/thread.h"

#define ID_BYTES       37
#define TEXT_MAX_BYTES 4096 /* of a query; a longer one is cut */

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

void jobs_remove(Jobs *jobs, JobEntry *entry)
{
        mutex_lock(&jobs->mu);
        if (entry->prev)
                entry->prev->next = entry->next;
        else
                jobs->first = entry->next;
        if (entry->next)
                entry->next->prev = entry->prev;
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

static void id_text(const Jobs *jobs, const JobEntry *entry, char out[ID_BYTES])
{
        uint64_t a = mixed(jobs->seed[0] ^ entry->serial), b = mixed(jobs->seed[1] + entry->serial);
        a = (a & ~(uint64_t)0xf000) | 0x4000;               /* version 4 */
        b = (b & ~((uint64_t)3 << 62)) | (uint64_t)1 << 63; /* variant 1 */
        snprintf(out, ID_BYTES, "%08" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%04" PRIx64 "-%012" PRIx64, a >> 32,
                 a >> 16 & 0xffff, a & 0xffff, b >> 48, b & 0xffffffffffff);
}

static Status each_entry(Jobs *jobs, JobEntry *entry, int64_t now_ns, Buf *text,
                         Status (*each)(void *ctx, const HostJob *job), void *ctx)
{
        char id[ID_BYTES], address[80];
        const char *colon = strrchr(entry->peer, ':');
        size_t size = colon ? (size_t)(colon - entry->peer) : strlen(entry->peer);
        bool bracketed = size >= 2 && entry->peer[0] == '['; /* [::1]:49152 */
        id_text(jobs, entry, id);
        snprintf(address, sizeof(address), "%.*s", (int)(bracketed ? size - 2 : size),
                 entry->peer + (bracketed ? 1 : 0));
        buf_clear(text);
        Status st = query_describe(entry->query, TEXT_MAX_BYTES, text);
        if (st)
                return st;
        HostJob job = {.type = "query",
                       .id = id,
                       .duration_sec = (double)(now_ns - entry->started_ns) / 1e9,
                       .user = entry->user,
                       .client_address = address,
                       .client_port = colon ? atoi(colon + 1) : 0,
                       .query = BYTES(text->data, text->size),
                       .spilled_bytes = query_spilled_bytes(entry->query)};
        return each(ctx, &job);
}

Status jobs_each(Jobs *jobs, Status (*each)(void *ctx, const HostJob *job), void *ctx)
{
        Status st = ST_OK;
        Buf text;
        int64_t now_ns = os_mono_ns(jobs->os);
        buf_init(&text, 4 * TEXT_MAX_BYTES); /* printing ends when it is full */
        mutex_lock(&jobs->mu);
        for (JobEntry *entry = jobs->first; entry && !st; entry = entry->next)
                st = each_entry(jobs, entry, now_ns, &text, each, ctx);
        mutex_unlock(&jobs->mu);
        buf_done(&text);
        return st;
}

bool jobs_kill(Jobs *jobs, Bytes id)
{
        bool found = false;
        mutex_lock(&jobs->mu);
        for (JobEntry *entry = jobs->first; entry && !found; entry = entry->next) {
                char text[ID_BYTES];
                id_text(jobs, entry, text);
                found = bytes_equal(id, BYTES_STR(text));
                if (found) {
                        atomic_store(&entry->killed, true); /* before the query notices */
                        query_cancel(entry->query);
                }
        }
        mutex_unlock(&jobs->mu);
        return found;
}
