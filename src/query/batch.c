/* batch.c - how many rows a batch holds: RethinkDB's options and defaults, since drivers and their users see them. */
#include "query/env_int.h"

#define UNLIMITED        SIZE_MAX
#define MIN_ROWS         8
#define MAX_BYTES        (1 << 20)
#define SCALEDOWN        4
#define MAX_SECONDS      0.5
#define DAY_SECONDS      86400.0
#define RANGE_ROWS       500 /* a range is cut for latency */
#define SHARDS           8   /* RethinkDB reads a table as 8 hash shards, each with a share of the batch ... */
#define SHARE_EXTRA_ROWS 32  /* ... of an eighth, divided by 7/8, plus this */

static Status int_option(Env *env, const char *name, size_t *value)
{
        Val val;
        bool present;
        int64_t n;
        static const Term nowhere = {.type = TERM_DATUM};
        TRY(opt_val(env, &nowhere, name, &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_int(env, &val, &n));
        if (n < 1)
                return fail(env, NULL, ERR_LOGIC, "`%s` must be at least 1 (got `%lld`).", name, (long long)n);
        *value = (size_t)n;
        return ST_OK;
}

Status batch_options(Env *env)
{
        Val val;
        bool present;
        static const Term nowhere = {.type = TERM_DATUM};
        env->max_batch_rows = UNLIMITED;
        env->min_batch_rows = 0;
        env->max_batch_bytes = MAX_BYTES;
        env->first_batch_scaledown = SCALEDOWN;
        env->max_batch_seconds = MAX_SECONDS;
        if (env->global_count) {
                TRY(int_option(env, "min_batch_rows", &env->min_batch_rows));
                TRY(int_option(env, "max_batch_rows", &env->max_batch_rows));
                TRY(int_option(env, "max_batch_bytes", &env->max_batch_bytes));
                TRY(int_option(env, "first_batch_scaledown_factor", &env->first_batch_scaledown));
                TRY(opt_val(env, &nowhere, "max_batch_seconds", &val, &present));
                if (present) {
                        double seconds;
                        TRY(val_as_number(env, &val, &seconds));
                        if (!(seconds < DAY_SECONDS))
                                return fail(env, NULL, ERR_LOGIC,
                                            "max_batch_seconds is too large (got `%.20g`, must be less than %.20g).",
                                            seconds, DAY_SECONDS);
                        if (seconds < 0)
                                return fail(env, NULL, ERR_LOGIC, "max_batch_seconds must be positive (got `%.20g`).",
                                            seconds);
                        env->max_batch_seconds = seconds;
                }
        }
        if (env->min_batch_rows == 0)
                env->min_batch_rows = MIN_ROWS;
        env->min_batch_rows = MIN(env->min_batch_rows, env->max_batch_rows);
        return ST_OK;
}

void batch_start(Env *env, BatchKind kind)
{
        env->batch_kind = kind;
        env->batch_deadline_ns = INT64_MAX;
        if (kind == BATCH_TERMINAL)
                return;
        double seconds = env->max_batch_seconds;
        if (kind == BATCH_FIRST)
                seconds /= (double)env->first_batch_scaledown;
        env->batch_deadline_ns = env->world->host->mono_ns(env->world->host->ctx) + (int64_t)(seconds * 1e9);
}

static size_t share(size_t n)
{
        if (n > SIZE_MAX / SHARDS)
                return n;
        return MIN(n, n * SHARDS / ((SHARDS - 1) * SHARDS) + SHARE_EXTRA_ROWS);
}

static size_t times_shards(size_t n)
{
        return n > SIZE_MAX / SHARDS ? n : n * SHARDS;
}

BatchLimits batch_limits(const Env *env, SourceKind kind, size_t want)
{
        if (env->batch_kind == BATCH_TERMINAL)
                return (BatchLimits){.max_rows = want, .max_bytes = env->max_batch_bytes, .deadline_ns = INT64_MAX};

        size_t rows = env->max_batch_rows, bytes = env->max_batch_bytes, min_rows = env->min_batch_rows;
        if (kind == SOURCE_RANGE)
                rows = MAX(MIN(rows, (size_t)RANGE_ROWS), min_rows);
        if (kind == SOURCE_TABLE) {
                rows = MAX(share(rows), min_rows);
                bytes = share(bytes);
        }
        if (env->batch_kind == BATCH_FIRST) {
                size_t factor = env->first_batch_scaledown;
                if (rows != UNLIMITED)
                        rows = MAX(rows / factor, (size_t)1);
                bytes = MAX(bytes / factor, (size_t)1);
                min_rows = MAX(min_rows / factor, (size_t)1);
        }
        if (kind == SOURCE_TABLE) {
                rows = times_shards(rows);
                bytes = times_shards(bytes);
                min_rows = times_shards(min_rows);
        }
        return (BatchLimits){.min_rows = MIN(min_rows, want),
                             .max_rows = MIN(rows, want),
                             .max_bytes = bytes,
                             .deadline_ns = env->batch_deadline_ns};
}

bool batcher_add(Batcher *batcher, const Env *env, Value row)
{
        const BatchLimits *limits = &batcher->limits;
        batcher->rows++;
        batcher->bytes += value_encoded_size(row);
        if (batcher->rows >= limits->max_rows ||
            (batcher->bytes >= limits->max_bytes && batcher->rows >= limits->min_rows))
                return true;
        if (limits->deadline_ns == INT64_MAX || (++batcher->tick & 15))
                return false;
        return env->world->host->mono_ns(env->world->host->ctx) >= limits->deadline_ns;
}
