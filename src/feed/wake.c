/* wake.c - timers, and calling those that wait: feed_int.h.
 *
 * Calls are made in rounds of FEED_CALLS_MAX, by one thread, without the lock. While a round is on, FeedWaiter.call
 * says that a waiter is part of it; whoever wants to be sure that it is not called any more waits for the end of the
 * round, which nobody can hold up, as ready() does not block. */
#include "feed/hub_int.h"

void feed_hub_lock(FeedHub *hub) NO_TSA
{
        mutex_lock(&hub->mu);
}

void feed_hub_unlock(FeedHub *hub) NO_TSA
{
        mutex_unlock(&hub->mu);
}

int64_t feed_hub_now_ns(const FeedHub *hub)
{
        return os_mono_ns(hub->os);
}

/* Called from inside of ready(), batch_ready() or fire(). */
static bool from_inside(FeedHub *hub)
{
        uv_thread_t self = uv_thread_self();
        return hub->calling && uv_thread_equal(&self, &hub->caller);
}

/* --- timers: a heap --- */

static void heap_put(FeedHub *hub, size_t place, FeedTimer *timer)
{
        hub->timers[place] = timer;
        timer->place = (uint32_t)place;
}

static void heap_up(FeedHub *hub, size_t place, FeedTimer *timer)
{
        while (place > 1 && hub->timers[place / 2]->due_ns > timer->due_ns) {
                heap_put(hub, place, hub->timers[place / 2]);
                place /= 2;
        }
        heap_put(hub, place, timer);
}

static void heap_down(FeedHub *hub, size_t place, FeedTimer *timer)
{
        for (size_t child; (child = 2 * place) <= hub->timer_count; place = child) {
                if (child < hub->timer_count && hub->timers[child + 1]->due_ns < hub->timers[child]->due_ns)
                        child++;
                if (hub->timers[child]->due_ns >= timer->due_ns)
                        break;
                heap_put(hub, place, hub->timers[child]);
        }
        heap_put(hub, place, timer);
}

static void heap_remove(FeedHub *hub, FeedTimer *timer)
{
        size_t place = timer->place;
        if (!place)
                return;
        FeedTimer *last = hub->timers[hub->timer_count--];
        timer->place = 0;
        if (last == timer)
                return;
        if (place > 1 && hub->timers[place / 2]->due_ns > last->due_ns)
                heap_up(hub, place, last);
        else
                heap_down(hub, place, last);
}

static Status heap_reserve(FeedHub *hub)
{
        if (hub->timer_count + 1 < hub->timer_capacity)
                return ST_OK;
        size_t capacity = hub->timer_capacity ? 2 * hub->timer_capacity : 64;
        FeedTimer **timers = mem_realloc(hub->timers, capacity * sizeof(FeedTimer *));
        if (!timers)
                return status_nomem();
        hub->timers = timers;
        hub->timer_capacity = capacity;
        return ST_OK;
}

Status feed_timer_set(FeedHub *hub, FeedTimer *timer, int64_t due_ns)
{
        if (timer->place && timer->due_ns == due_ns)
                return ST_OK;
        if (!timer->place)
                TRY(heap_reserve(hub));
        heap_remove(hub, timer);
        timer->due_ns = due_ns;
        heap_up(hub, ++hub->timer_count, timer);
        if (timer->place == 1)
                feed_hub_wake(hub);
        return ST_OK;
}

static void wait_for_calls(FeedHub *hub) NO_TSA
{
        hub->cancelling++;
        cond_wait(&hub->calls_done, &hub->mu);
        hub->cancelling--;
}

void feed_timer_cancel(FeedHub *hub, FeedTimer *timer)
{
        heap_remove(hub, timer);
        while (hub->firing == timer && !from_inside(hub)) {
                wait_for_calls(hub);
                heap_remove(hub, timer); /* it may have set itself again */
        }
}

/* --- waiters --- */

static void list_waiter(FeedHub *hub, FeedWaiter *waiter)
{
        waiter->listed = true;
        waiter->next = NULL;
        waiter->previous = hub->ready_last;
        if (hub->ready_last)
                hub->ready_last->next = waiter;
        else
                hub->ready_first = waiter;
        hub->ready_last = waiter;
}

static void unlist_waiter(FeedHub *hub, FeedWaiter *waiter)
{
        if (!waiter->listed)
                return;
        waiter->listed = false;
        if (waiter->previous)
                waiter->previous->next = waiter->next;
        else
                hub->ready_first = waiter->next;
        if (waiter->next)
                waiter->next->previous = waiter->previous;
        else
                hub->ready_last = waiter->previous;
}

void feed_waiter_signal(FeedHub *hub, FeedWaiter *waiter)
{
        if (!waiter->ready || waiter->listed)
                return;
        bool first = !hub->ready_first;
        heap_remove(hub, &waiter->timer);
        list_waiter(hub, waiter);
        if (first)
                feed_hub_wake(hub);
}

void feed_waiter_due(FeedHub *hub, FeedWaiter *waiter, int64_t deadline_ns)
{
        bool sooner = waiter->timer.place ? deadline_ns < waiter->timer.due_ns : deadline_ns != INT64_MAX;
        if (!waiter->ready || waiter->listed || !sooner)
                return;
        Status st = feed_timer_set(hub, &waiter->timer, deadline_ns);
        if (st) { /* too early is better than never */
                status_ignore(st);
                feed_waiter_signal(hub, waiter);
        }
}

void feed_waiter_cancel(FeedHub *hub, FeedWaiter *waiter)
{
        waiter->ready = NULL;
        unlist_waiter(hub, waiter);
        heap_remove(hub, &waiter->timer);
        if (waiter->call && from_inside(hub)) {
                hub->calls[waiter->call - 1] = (FeedCall){0};
                waiter->call = 0;
        }
        while (waiter->call)
                wait_for_calls(hub);
}

void feed_waiter_watch(FeedHub *hub, FeedWaiter *waiter, void (*ready)(void *ctx), void *ctx, int64_t deadline_ns)
{
        if (!ready) {
                feed_waiter_cancel(hub, waiter);
                return;
        }
        unlist_waiter(hub, waiter);
        heap_remove(hub, &waiter->timer);
        waiter->ready = ready;
        waiter->ctx = ctx;
        feed_waiter_due(hub, waiter, deadline_ns);
}

/* --- the hub's thread --- */

static size_t take_calls(FeedHub *hub)
{
        size_t count = 0;
        while (hub->ready_first && count < FEED_CALLS_MAX) {
                FeedWaiter *waiter = hub->ready_first;
                unlist_waiter(hub, waiter);
                hub->calls[count++] =
                        (FeedCall){waiter, take(waiter->ready), waiter->ctx, waiter->batch_ready, waiter->batch_ctx};
                waiter->call = (uint32_t)count;
        }
        return count;
}

/* Each different one once. There are as many as event loops. */
static void call_batches(FeedHub *hub)
{
        struct {
                void (*ready)(void *ctx);
                void *ctx;
        } seen[16];
        size_t seen_count = 0;
        for (size_t i = 0; i < hub->call_count; i++) {
                const FeedCall *call = &hub->calls[i];
                bool known = !call->batch_ready;
                for (size_t k = 0; k < seen_count && !known; k++)
                        known = seen[k].ready == call->batch_ready && seen[k].ctx == call->batch_ctx;
                if (known)
                        continue;
                if (seen_count < ELEMENTS(seen)) {
                        seen[seen_count].ready = call->batch_ready;
                        seen[seen_count++].ctx = call->batch_ctx;
                }
                call->batch_ready(call->batch_ctx);
        }
}

static void call_ready(FeedHub *hub) NO_TSA
{
        hub->call_count = take_calls(hub);
        mutex_unlock(&hub->mu);
        for (size_t i = 0; i < hub->call_count; i++)
                if (hub->calls[i].ready)
                        hub->calls[i].ready(hub->calls[i].ctx);
        call_batches(hub);
        mutex_lock(&hub->mu);
        for (size_t i = 0; i < hub->call_count; i++)
                if (hub->calls[i].waiter)
                        hub->calls[i].waiter->call = 0;
        hub->call_count = 0;
        if (hub->cancelling)
                cond_broadcast(&hub->calls_done);
}

static void fire(FeedHub *hub, FeedTimer *timer) NO_TSA
{
        heap_remove(hub, timer);
        if (!timer->fire) {
                feed_waiter_signal(hub, (FeedWaiter *)timer);
                return;
        }
        hub->firing = timer;
        mutex_unlock(&hub->mu);
        timer->fire(timer);
        mutex_lock(&hub->mu);
        hub->firing = NULL;
        if (hub->cancelling)
                cond_broadcast(&hub->calls_done);
}

void feed_wake_round(FeedHub *hub, int64_t *ret_next_ns, bool *ret_called) NO_TSA
{
        int64_t now_ns = os_mono_ns(hub->os);
        *ret_called = false;
        mutex_lock(&hub->mu);
        hub->caller = uv_thread_self();
        hub->calling = true;
        bool more = feed_hub_stir(hub);
        while (hub->timer_count && hub->timers[1]->due_ns <= now_ns) {
                *ret_called = true;
                fire(hub, hub->timers[1]);
        }
        while (hub->ready_first) {
                *ret_called = true;
                call_ready(hub);
        }
        hub->calling = false;
        *ret_next_ns = more ? now_ns : hub->timer_count ? hub->timers[1]->due_ns : INT64_MAX;
        mutex_unlock(&hub->mu);
}

void feed_wake_done(FeedHub *hub)
{
        mem_free(hub->timers);
}
