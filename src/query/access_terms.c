/* access_terms.c - grant: who may do what. Who may ask for that, and what is wrong with it, the source knows. */
#include "query/query_int.h"

static Status term_grant(Env *env, const Term *term, Val *ret)
{
        Args args;
        Val scope;
        TableVal *table;
        Bytes user, db = BYTES_NONE, name = BYTES_NONE;
        Value permissions, result;
        uint64_t position = 0;
        TRY(args_begin(env, term, &args));
        TRY(args_string(&args, args.count - 2, &user));
        TRY(args_datum(&args, args.count - 1, &permissions));
        if (args.count == 3) {
                TRY(args_val(&args, 0, &scope));
                if (scope.kind == VAL_DB) {
                        TRY(val_as_db(env, &scope, &db));
                } else {
                        TRY(val_as_table(env, &scope, &table));
                        db = table->info->db;
                        name = table->info->name;
                }
        }
        if (!env->source->grant)
                return fail(env, term, ERR_OP_FAILED, "There are no users here.");
        TRY(fail_at(env, term,
                    env->source->grant(env->source->ctx, BYTES_STR(env->user), user, db, name, permissions, env->arena,
                                       &result, &position)));
        env->durable_position = MAX(env->durable_position, position);
        *ret = val_datum(term, result);
        return ST_OK;
}

static const TermEval evals[] = {
        {TERM_GRANT, term_grant, false},
};
const TermList terms_access = {evals, ELEMENTS(evals)};
