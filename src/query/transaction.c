/* transaction.c - see transaction.h. */
#include "query/transaction.h"

#include "query/env_int.h"

#define TURN_WAIT_NS ((int64_t)10 * 1000000000)
#define TURN_STEP_MS 5

static const Term nowhere = {.type = TERM_DATUM, .frame = -1};

static bool is_bound(const QueryConnection *connection)
{
        return connection && atomic_load_explicit(&((QueryConnection *)connection)->bound, memory_order_relaxed);
}

/* --- options --- */

static Status read_isolation(Env *env, Value options)
{
        if (value_is(options, V_OBJECT) && value_count(options) == 1) {
                Value isolation = value_get_str(options, "isolation");
                env->transaction_options.serializable =
                        value_is(isolation, V_STRING) && value_bytes_are(isolation, "serializable");
                if (env->transaction_options.serializable ||
                    (value_is(isolation, V_STRING) && value_bytes_are(isolation, "snapshot")))
                        return ST_OK;
        }
        return fail(
                env, NULL, ERR_LOGIC,
                "Option `transaction` is true, {isolation: \"snapshot\" or \"serializable\"}, or the id of a row of "
                "`rethinkdb.transactions`.");
}

/* Who commits a transaction, or asks about one, does not do so in one. */
static bool is_about_transactions(const Term *term)
{
        while (term->type != TERM_TABLE && term->type != TERM_DATUM && term->arg_count)
                term = term->args[0];
        const Term *db = term->type == TERM_TABLE && term->arg_count == 2 ? constant_db(term->args[0]) : NULL;
        return db && value_bytes_are(db->datum, "rethinkdb") && term->args[1]->type == TERM_DATUM &&
               value_is(term->args[1]->datum, V_STRING) && value_bytes_are(term->args[1]->datum, "transactions");
}

Status transaction_options(Env *env, const Term *root)
{
        Val val;
        bool present = false, yes;
        env->transaction_use = TRANSACTION_NONE;
        if (env->global_count)
                TRY(opt_val(env, &nowhere, "transaction", &val, &present));
        if (!present) {
                if (is_bound(env->connection) && !is_about_transactions(root))
                        env->transaction_use = TRANSACTION_HELD;
                return ST_OK;
        }
        if (val_is_datum(&val) && value_is(val.datum, V_STRING)) {
                env->transaction_use = TRANSACTION_HELD;
                env->transaction_id = value_bytes(val.datum);
                return ST_OK;
        }
        if (val_is_datum(&val) && value_is(val.datum, V_BOOL)) {
                yes = val.datum.boolean;
        } else { /* nor is null: an id that is missing by mistake must not let writes go by themselves */
                TRY(read_isolation(env, val_is_datum(&val) ? val.datum : value_null()));
                yes = true;
        }
        if (!yes)
                return ST_OK;
        if (is_bound(env->connection))
                return fail(env, NULL, ERR_LOGIC, "This connection is in a transaction already.");
        env->transaction_use = TRANSACTION_OWN;
        return ST_OK;
}

bool transaction_waits(const OptArg *options, size_t count, const QueryConnection *connection)
{
        if (is_bound(connection))
                return true;
        for (size_t i = 0; i < count; i++)
                if (bytes_equal(options[i].name, BYTES_STR("transaction")))
                        return options[i].term->type != TERM_DATUM || value_is(options[i].term->datum, V_STRING);
        return false;
}

/* --- running --- */

/* What changes the catalog is a commit of its own. */
static const Term *find_foreign(const Term *term)
{
        const Term *found = NULL;
        switch (term->type) {
        case TERM_INSERT:
        case TERM_UPDATE:
        case TERM_REPLACE:
        case TERM_DELETE:
        case TERM_FOR_EACH:
        case TERM_SYNC: break;
        default:
                if (term->type != TERM_DATUM && (term_info(term->type)->flags & TF_WRITES))
                        return term;
        }
        if (!(term->tree_flags & TF_WRITES))
                return NULL;
        for (size_t i = 0; i < term->arg_count && !found; i++)
                found = find_foreign(term->args[i]);
        for (size_t i = 0; i < term->opt_count && !found; i++)
                found = find_foreign(term->opts[i].term);
        if (!found && term->body)
                found = find_foreign(term->body);
        return found;
}

static Status enter(Env *env)
{
        const HostOps *host = env->world->host;
        int64_t until = host->mono_ns(host->ctx) + TURN_WAIT_NS;
        for (;;) {
                Transaction *transaction;
                bool busy = false;
                TRY(fail_at(env, NULL,
                            env->source->transaction_enter(env->source->ctx, env->transaction_id, env->user,
                                                           env->connection, &transaction, &busy)));
                if (!busy) {
                        env->transaction = transaction;
                        return ST_OK;
                }
                TRY(env_poll(env));
                if (host->mono_ns(host->ctx) > until)
                        return fail(env, NULL, ERR_OP_FAILED,
                                    "The transaction is busy with another query: it takes one at a time.");
                if (host->sleep_ms)
                        host->sleep_ms(host->ctx, TURN_STEP_MS);
        }
}

Status transaction_start(Env *env, const Term *root)
{
        if (!env->source->transaction_begin)
                return fail(env, NULL, ERR_UNSUPPORTED, "There are no transactions here.");
        const Term *foreign = find_foreign(root);
        if (foreign)
                return fail(env, foreign, ERR_LOGIC, "%s cannot be part of a transaction.",
                            term_info(foreign->type)->name);
        if (env->transaction_use == TRANSACTION_HELD)
                return enter(env);
        return fail_at(env, NULL,
                       env->source->transaction_begin(env->source->ctx, &env->transaction_options, &env->transaction));
}

Status transaction_resume(Env *env)
{
        return env->transaction_use == TRANSACTION_HELD ? enter(env) : ST_OK;
}

void transaction_pause(Env *env)
{
        if (env->transaction_use == TRANSACTION_HELD)
                transaction_done(env);
}

Status transaction_finish(Env *env)
{
        if (env->transaction_use != TRANSACTION_OWN)
                return ST_OK;
        return fail_at(env, NULL, env->source->transaction_commit(env->transaction, &env->durable_position));
}

void transaction_done(Env *env)
{
        if (env->transaction)
                env->source->transaction_leave(take(env->transaction));
}
