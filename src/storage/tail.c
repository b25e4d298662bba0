/* tail.c - following what a store commits: the log's readers, watches and runs, as a store shows them. */
#include "storage/tail.h"
#include "storage/store_int.h"

#include <stdlib.h>

static WalReader *wal_reader(const TailReader *reader)
{
        return (WalReader *)(uintptr_t)reader;
}

Status tail_open(Store *store, uint64_t after_position, TailReader **ret_reader)
{
        WalReader *reader;
        TRY(wal_reader_open(store->wal, after_position, &reader));
        *ret_reader = (TailReader *)reader;
        return ST_OK;
}

Status tail_next(TailReader *reader, TailCommit *ret_commit, bool *ret_found)
{
        WalFrame frame;
        TRY(wal_reader_next(wal_reader(reader), &frame, ret_found));
        if (*ret_found)
                *ret_commit = (TailCommit){.position = frame.position, .wall_us = frame.wall_us, .body = frame.body};
        return ST_OK;
}

uint64_t tail_position(const TailReader *reader)
{
        return wal_reader_position(wal_reader(reader));
}

void tail_close(TailReader *reader)
{
        wal_reader_close(wal_reader(reader));
}

uint64_t tail_present(Store *store)
{
        mutex_lock(&store->commit_mu); /* one that has its position is published under the same lock */
        uint64_t position = wal_last(store->wal);
        mutex_unlock(&store->commit_mu);
        return position;
}

uint64_t tail_written_position(Store *store)
{
        return wal_written(store->wal);
}

uint64_t tail_reach(Store *store)
{
        return wal_reach(store->wal);
}

void tail_written(void *ctx)
{
        Store *store = ctx;
        mutex_lock(&store->watch_mu);
        for (size_t i = 0; i < WATCH_MAX; i++)
                if (store->watches[i].changed && store->watches[i].of_written)
                        store->watches[i].changed(store->watches[i].ctx);
        mutex_unlock(&store->watch_mu);
}

Status tail_watch(Store *store, void (*changed)(void *ctx), void *ctx, TailWatch **ret_watch)
{
        StoreWatch watch = {.store = store, .changed = changed, .ctx = ctx, .of_written = true};
        TRY(store_watch_add(store, &watch, ret_watch));
        wal_eager(store->wal, true);
        return ST_OK;
}

void tail_unwatch(TailWatch *watch)
{
        if (!watch)
                return;
        Store *store = watch->store; /* the place may be another's as soon as it is free */
        store_unwatch(watch);
        wal_eager(store->wal, false);
}

uint64_t store_incarnation(Store *store, uint64_t position)
{
        return wal_run_at(store->wal, position);
}

bool store_incarnation_of(Store *store, uint64_t id, uint64_t *ret_last_position)
{
        return wal_run_find(store->wal, id, ret_last_position);
}

Status tail_step(Store *store)
{
        return wal_step_write(store->wal);
}
