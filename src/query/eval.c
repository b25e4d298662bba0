/* eval.c - evaluation: the table of term functions, arguments and options. */
#include "query/env_int.h"
#include "query/profile.h"

static TermEval table[TERM_TYPE_END];

TermFn term_function(unsigned type)
{
        return table[type].fn;
}

/* Before main: the lists are constant, so that no thread ever sees a half-filled table. */
__attribute__((constructor)) static void fill_table(void)
{
        const TermList *const lists[] = {
                &terms_control, &terms_sequence, &terms_aggregate, &terms_sort,  &terms_join,   &terms_table,
                &terms_math,    &terms_string,   &terms_object,    &terms_array, &terms_coerce, &terms_time,
                &terms_geo,     &terms_index,    &terms_geo_index, &terms_write, &terms_admin,  &terms_access,
                &terms_outside, &terms_http,     &terms_changes,
        };
        for (size_t i = 0; i < ELEMENTS(lists); i++)
                for (size_t j = 0; j < lists[i]->count; j++)
                        table[lists[i]->terms[j].type] = lists[i]->terms[j];
}

static Status eval_constant(Env *env, const Term *term, Val *ret)
{
        TRY(check_array_size(env, term, term->longest_array));
        *ret = val_datum(term, term->datum);
        return ST_OK;
}

/* The first argument may be groups: look, and if so apply the term to each. */
static Status eval_grouped(Env *env, const Term *term, TermFn fn, Val *ret)
{
        Val arg0;
        sort_first_rows(env, term);
        TRY(eval(env, term->args[0], &arg0));
        if (arg0.kind == VAL_GROUPED)
                return groups_apply(env, term, fn, &arg0, ret);
        env->injected = &arg0;
        env->injected_term = term;
        Status st = fn(env, term, ret);
        env->injected_term = NULL;
        return st;
}

Status eval(Env *env, const Term *term, Val *ret)
{
        bool literal = env->literal_next;
        env->literal_next = false;
        if (term->type == TERM_DATUM)
                return eval_constant(env, term, ret);

        const TermEval *entry = &table[term->type];
        if (unlikely(!entry->fn))
                return fail(env, term, ERR_LOGIC, "%s is not implemented yet.", term_info(term->type)->name);
        if (unlikely(env->depth >= EVAL_MAX_DEPTH || env_stack_low(env)))
                return fail(env, term, ERR_RESOURCE, "Recursion limit of %d exceeded.", EVAL_MAX_DEPTH);
        /* A term may take milliseconds, so being cancelled is seen at each; the clock and the memory now and then. */
        if (unlikely((++env->tick & (env->deadline_ns ? 3 : 255)) == 0 ||
                     atomic_load_explicit(env->cancelled, memory_order_relaxed)))
                TRY(env_poll(env));

        const Term *outer = env->current;
        bool outer_literal = env->literal_ok;
        bool outer_drops = env->drops_missing;
        env->drops_missing = outer_drops && !(term->tree_flags & TF_WRITES); /* a write reports errors in its answer */
        env->current = term;
        env->literal_ok = literal;
        env->depth++;
        TraceTask *task = trace_begin(env, TRACE_TERM, term);
        bool groups = entry->maps_groups && term->arg_count && (term->args[0]->tree_flags & TF_GROUPS) &&
                      term->args[0]->type != TERM_ARGS;
        Status st = groups ? eval_grouped(env, term, entry->fn, ret) : entry->fn(env, term, ret);
        trace_end(env, task);
        env->depth--;
        env->current = outer;
        env->drops_missing = outer_drops;
        env->literal_ok = outer_literal;
        return st;
}

Status eval_literal(Env *env, const Term *term, Val *ret)
{
        env->literal_next = true;
        return eval(env, term, ret);
}

Status eval_datum(Env *env, const Term *term, Value *ret)
{
        Val val;
        TRY(eval(env, term, &val));
        return val_as_datum(env, &val, ret);
}

/* --- arguments --- */

static Status splice_args(Args *args)
{
        Env *env = args->env;
        const Term *term = args->term;
        const Term **terms = NULL;
        size_t count = 0, capacity = 0;
        for (size_t i = 0; i < term->arg_count; i++) {
                Value values = value_none();
                size_t more = 1;
                if (term->args[i]->type == TERM_ARGS) {
                        TRY(eval_datum(env, term->args[i], &values));
                        more = value_count(values);
                }
                if (count + more > capacity) {
                        size_t grown = MAX(count + more, 2 * capacity);
                        const Term **bigger = arena_array(env->arena, const Term *, grown);
                        if (count)
                                memcpy(bigger, terms, count * sizeof *terms);
                        terms = bigger;
                        capacity = grown;
                }
                if (value_is(values, V_NONE)) {
                        terms[count++] = term->args[i];
                        continue;
                }
                for (size_t j = 0; j < more; j++) {
                        Term *constant = term_make(env->arena, TERM_DATUM, term, 0);
                        constant->datum = value_at(values, j);
                        terms[count++] = constant;
                }
        }
        args->terms = terms;
        args->count = count;
        const TermInfo *info = term_info(term->type);
        if (!term_arity_fits(info, count))
                return fail(env, term, ERR_LOGIC, "Expected %s but found %zu.", term_arity_text(info, env->arena),
                            count);
        return ST_OK;
}

Status args_begin(Env *env, const Term *term, Args *ret)
{
        ret->env = env;
        ret->term = term;
        ret->count = term->arg_count;
        ret->terms = (const Term **)term->args;
        ret->has_arg0 = env->injected_term == term;
        if (ret->has_arg0) {
                ret->arg0 = *env->injected;
                env->injected_term = NULL;
        }
        return term->has_args_splice ? splice_args(ret) : ST_OK;
}

Status args_first(Args *args)
{
        if (args->has_arg0 || args->count == 0)
                return ST_OK;
        TRY(eval(args->env, args->terms[0], &args->arg0));
        args->has_arg0 = true;
        return ST_OK;
}

Status args_val(Args *args, size_t i, Val *ret)
{
        if (i == 0 && args->has_arg0) {
                *ret = args->arg0;
                return ST_OK;
        }
        return eval(args->env, args->terms[i], ret);
}

Status args_val_literal(Args *args, size_t i, Val *ret)
{
        args->env->literal_next = true;
        Status st = args_val(args, i, ret);
        args->env->literal_next = false;
        return st;
}

Status args_datum(Args *args, size_t i, Value *ret)
{
        Val val;
        TRY(args_val(args, i, &val));
        return val_as_datum(args->env, &val, ret);
}

Status args_number(Args *args, size_t i, double *ret)
{
        Val val;
        TRY(args_val(args, i, &val));
        return val_as_number(args->env, &val, ret);
}

Status args_int(Args *args, size_t i, int64_t *ret)
{
        Val val;
        TRY(args_val(args, i, &val));
        return val_as_int(args->env, &val, ret);
}

Status args_int32(Args *args, size_t i, int32_t *ret)
{
        Val val;
        TRY(args_val(args, i, &val));
        return val_as_int32(args->env, &val, ret);
}

Status args_string(Args *args, size_t i, Bytes *ret)
{
        Val val;
        TRY(args_val(args, i, &val));
        return val_as_string(args->env, &val, ret);
}

Status args_stream(Args *args, size_t i, Stream **ret)
{
        Val val;
        TRY(args_val(args, i, &val));
        return val_as_stream(args->env, &val, ret);
}

Status args_func(Args *args, size_t i, FuncShortcut shortcut, Func **ret)
{
        Val val;
        TRY(args_val(args, i, &val));
        return val_to_func(args->env, &val, shortcut, ret);
}

/* --- options --- */

Status opt_val(Env *env, const Term *term, const char *name, Val *ret, bool *ret_present)
{
        const Term *opt = term->opt_count ? term_opt(term, name) : NULL;
        Frame *frame = env->frame;
        *ret_present = false;
        if (!opt) {
                Bytes want = BYTES_STR(name);
                for (size_t i = 0; i < env->global_count && !opt; i++)
                        if (bytes_equal(env->globals[i].name, want))
                                opt = env->globals[i].term;
                if (!opt)
                        return ST_OK;
                env->frame = NULL; /* global options see no variables */
        }
        Status st = eval(env, opt, ret);
        env->frame = frame;
        *ret_present = st == ST_OK;
        return st;
}

Status opt_datum(Env *env, const Term *term, const char *name, Value *ret)
{
        Val val;
        bool present;
        TRY(opt_val(env, term, name, &val, &present));
        *ret = value_none();
        return present ? val_as_datum(env, &val, ret) : ST_OK;
}

Status opt_bound_open(Env *env, const Term *term, const char *name, bool open_by_default, bool *ret_open)
{
        Val val;
        bool present;
        Bytes text;
        TRY(opt_val(env, term, name, &val, &present));
        *ret_open = open_by_default;
        if (!present)
                return ST_OK;
        TRY(val_as_string(env, &val, &text));
        *ret_open = bytes_equal(text, BYTES_STR("open"));
        if (*ret_open || bytes_equal(text, BYTES_STR("closed")))
                return ST_OK;
        Bytes shown = val_print(env, &val, true);
        return fail(env, term, ERR_LOGIC, "Expected `open` or `closed` for optarg `%s` (got `%.*s`).", name,
                    (int)shown.size, (const char *)shown.data);
}
