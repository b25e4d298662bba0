/* throttle.c - writers wait for the checkpoint when an engine's cache fills with what is not in its files yet.
 *
 *      pressure   0 ........ 65 ........... 75 ................. 95 ........ 100
 *                 | nothing  | checkpoint   | at the disk's pace | wait      | a put fails with ERR_LIMIT
 *
 * The pace is what the checkpoints before took for the bytes that were logged meanwhile: commits are spread over that
 * time, and none of them stands still while the others fill the rest of the cache. The fuller it is the slower they go:
 * at 90 as fast as the disk, so that it stays there, with room for the moments in which a disk only syncs. */
#include "storage/store_int.h"

#include <inttypes.h>

#define PRESSURE_PACE   75
#define PRESSURE_LEVEL  90 /* as fast as the disk */
#define PRESSURE_WAIT   95
#define PRESSURE_ROOM   80
#define PACE_LEAST      (1 << 20)        /* a checkpoint of fewer bytes says nothing */
#define PACE_MOST_BYTES (4 << 20)        /* in one go */
#define PACE_SLEEP_NS   INT64_C(100000)  /* less is not worth a wait: it adds up */
#define PACE_MOST_NS    INT64_C(3000000) /* in one go */
#define POLL_NS         UINT64_C(1000000)
#define POLLS_MAX       3000 /* with no checkpoint running: somebody's open commit holds it all */

static Status refused(const Store *store, StatusCode code, const char *text)
{
        return status_hint(status_new(code,
                                      "the data in %s cannot be written (%s); writes are refused until it can, reads "
                                      "go on",
                                      os_dir_path(store->dir), text),
                           code == ERR_NO_SPACE ? "free space on the device of the data directory"
                                                : "look at the device of the data directory");
}

/* Nobody else makes checkpoints. */
static Status throttle_alone(Store *store, const StoreEngine *host)
{
        char text[512];
        Status st = checkpoint_try(store, checkpoint_kind(store));
        if (!st || host->ops->pressure(host->engine) < PRESSURE_WAIT) {
                status_ignore(st);
                return ST_OK;
        }
        StatusCode code = status_code(st);
        status_text(st, text, sizeof(text));
        status_ignore(st);
        return refused(store, code, text);
}

void throttle_learn(Store *store, uint64_t bytes, uint64_t ns)
{
        uint64_t covered = bytes - store->begun_bytes;
        if (covered < PACE_LEAST)
                return;
        uint64_t pace_ns = ns * 1024 / covered;
        store->pace_ns = store->pace_ns ? (store->pace_ns + pace_ns) / 2 : pace_ns;
        store->begun_bytes = bytes;
}

/* Every committer takes the next stretch of one common time for what was logged since the last one did. */
static void pace(Store *store, unsigned pressure) REQUIRES(store->wake_mu)
{
        uint64_t logged = atomic_load_explicit(&store->logged_bytes, memory_order_relaxed);
        uint64_t bytes = MIN(logged - store->paced_bytes, (uint64_t)PACE_MOST_BYTES);
        store->paced_bytes = logged;
        int64_t now = os_mono_ns(store->os), until = MAX(store->paced_until_ns, now);
        until += (int64_t)(bytes * store->pace_ns / 1024 * (pressure - PRESSURE_PACE) /
                           (PRESSURE_LEVEL - PRESSURE_PACE));
        store->paced_until_ns = MIN(until, now + 4 * PACE_MOST_NS);
        if (until - now >= PACE_SLEEP_NS) {
                cond_wait_for(&store->eased, &store->wake_mu, (uint64_t)MIN(until - now, PACE_MOST_NS));
                store->throttled_count++;
                store->throttled_ns += (uint64_t)(os_mono_ns(store->os) - now);
        }
}

/* Waits for checkpoints until the pressure is below `enough`. */
static Status wait_below(Store *store, const StoreEngine *host, unsigned enough) REQUIRES(store->wake_mu)
{
        Status st = ST_OK;
        int64_t started = os_mono_ns(store->os);
        for (unsigned polls = 0; !st && host->ops->pressure(host->engine) >= enough;) {
                if (store->closing) {
                        st = status_new(ERR_CLOSED, "the store is being closed");
                } else if (store->failed && !store->running) {
                        store->refused = true; /* the next attempt is sooner */
                        st = refused(store, store->checkpoint_error, store->checkpoint_text);
                } else if (!store->running && ++polls > POLLS_MAX) {
                        break;
                } else {
                        store->pressed = true;
                        cond_signal(&store->wake);
                        cond_wait_for(&store->eased, &store->wake_mu, POLL_NS);
                }
        }
        store->throttled_count++;
        store->throttled_ns += (uint64_t)(os_mono_ns(store->os) - started);
        return st;
}

Status throttle_wait(Store *store, const StoreEngine *host)
{
        if (!host->ops->pressure)
                return ST_OK;
        unsigned pressure = host->ops->pressure(host->engine);
        if (likely(pressure < PRESSURE_START))
                return ST_OK;
        if (!store->options.background)
                return pressure < PRESSURE_ROOM ? ST_OK : throttle_alone(store, host);
        checkpoint_press(store);
        if (pressure <= PRESSURE_PACE)
                return ST_OK;
        mutex_lock(&store->wake_mu);
        pace(store, pressure);
        Status st = host->ops->pressure(host->engine) >= PRESSURE_WAIT ? wait_below(store, host, PRESSURE_WAIT) : ST_OK;
        mutex_unlock(&store->wake_mu);
        return st;
}

bool throttle_full(const StoreEngine *host)
{
        return host->ops->pressure && host->ops->pressure(host->engine) >= PRESSURE_ROOM;
}

Status throttle_room(Store *store, const StoreEngine *host)
{
        if (!store->options.background)
                return throttle_alone(store, host);
        mutex_lock(&store->wake_mu);
        Status st = wait_below(store, host, PRESSURE_ROOM);
        mutex_unlock(&store->wake_mu);
        return st;
}
