/* changes.c - the term `changes`: its options, and what it is of. */
#include "query/changes_int.h"

#define SQUASH_MAX_SECONDS 1e9 /* for ever, but no number that overflows */

static Status read_squash(Env *env, const Term *term, ChangesOptions *options)
{
        Val val;
        Value squash;
        bool present;
        TRY(opt_val(env, term, "squash", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_datum(env, &val, &squash));
        if (value_is(squash, V_BOOL)) {
                options->squash = squash.boolean;
                return ST_OK;
        }
        if (!value_is(squash, V_NUMBER))
                return fail(env, val.term, ERR_LOGIC, "Expected BOOL or NUMBER but found %s.", value_type_name(squash));
        if (squash.number < 0)
                return fail(env, val.term, ERR_LOGIC,
                            "Expected BOOL or a positive NUMBER but found a negative NUMBER.");
        options->squash = true;
        options->squash_seconds = MIN(squash.number, SQUASH_MAX_SECONDS);
        return ST_OK;
}

static Status read_bool(Env *env, const Term *term, const char *name, bool *value)
{
        Val val;
        bool present;
        TRY(opt_val(env, term, name, &val, &present));
        return present ? val_as_bool(env, &val, value) : ST_OK;
}

Status changes_queue_size(Env *env, const Term *term, size_t *ret_size)
{
        Val val;
        int64_t size;
        bool present;
        *ret_size = 0;
        TRY(opt_val(env, term, "changefeed_queue_size", &val, &present));
        if (!present)
                return ST_OK;
        TRY(val_as_int(env, &val, &size));
        if (size < 1)
                return fail(env, term, ERR_LOGIC, "Illegal changefeed queue size `%lld`.  (Must be >= 1.)",
                            (long long)size);
        *ret_size = (size_t)size;
        return ST_OK;
}

static Status read_options(Env *env, const Term *term, ChangesOptions *options)
{
        Val val;
        bool present;
        TRY(read_squash(env, term, options));
        TRY(read_bool(env, term, "include_tokens", &options->include_tokens));
        options->include_states = options->include_tokens;
        TRY(read_bool(env, term, "include_states", &options->include_states));
        TRY(read_bool(env, term, "include_types", &options->include_types));
        TRY(read_bool(env, term, "include_initial", &options->include_initial));
        TRY(read_bool(env, term, "include_offsets", &options->include_offsets));
        TRY(opt_val(env, term, "since", &val, &present));
        if (present)
                TRY(val_as_string(env, &val, &options->since));
        return changes_queue_size(env, term, &options->queue_size);
}

static const char *kind_of_feed(int note, const FeedSpec *spec)
{
        if (note == NOTE_ATOM_FEED)
                return "point";
        bool empty = spec->key_count == 0 && spec->bounds && spec->bounds->low_type == BOUND_CLOSED &&
                     spec->bounds->high_type == BOUND_OPEN && value_equal(spec->bounds->low, spec->bounds->high);
        return empty ? "empty" : "range";
}

static Status fail_offsets(Env *env, const Term *term, const char *kind)
{
        return fail(env, term, ERR_LOGIC, "Cannot include offsets for %s subs.", kind);
}

/* `of`: what the feed is of. */
static Status open_feed(Env *env, const Term *term, const Term *of, const ChangesOptions *options, Stream **ret_stream)
{
        FeedState *state;
        FeedSpec *specs;
        size_t count;
        int note;
        TRY(changes_choose(env, &of));
        TRY(feed_state_of(env, of, &state));
        if (state) {
                if (!options->include_offsets || state->offsets)
                        return changes_stream_new(env, term, options, state->specs, state->feed_count, state->note,
                                                  state, ret_stream);
                state->ops->free(state);
                return fail_offsets(env, term, "range");
        }
        TRY(changes_specs_of(env, of, &specs, &count, &note));
        if (options->include_offsets)
                return fail_offsets(env, term, kind_of_feed(note, specs));
        return changes_stream_new(env, term, options, specs, count, note, NULL, ret_stream);
}

static Status term_changes(Env *env, const Term *term, Val *ret)
{
        Args args;
        ChangesOptions options = {0};
        Stream *stream;
        Frame *frame = env->frame;
        TRY(args_begin(env, term, &args));
        if (env->transaction_use != TRANSACTION_NONE)
                return fail(env, term, ERR_LOGIC,
                            "Cannot call `changes` in a transaction: it sees the table as it was when the transaction "
                            "began, so nothing would ever change.");
        if (!env->world->feeds)
                return fail(env, term, ERR_LOGIC, "Changefeeds are not available here.");
        TRY(read_options(env, term, &options));
        Status st = open_feed(env, term, args.terms[0], &options, &stream);
        env->frame = frame;
        TRY(st);
        *ret = val_stream(term, stream);
        return ST_OK;
}

static const TermEval list[] = {{TERM_CHANGES, term_changes, false}};
const TermList terms_changes = {list, ELEMENTS(list)};
