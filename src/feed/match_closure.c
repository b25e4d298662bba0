/* match_closure.c - functions of classes, loaded when they are first needed.
 *
 * A loaded function is many times larger than its saved form and a class may never be asked, so classes keep the saved
 * form alone, and a fixed number of loaded ones lie here for whoever needs one next: a set-associative cache, where
 * each place is taken and left with one atomic exchange, as a Closure does with its environments. Whoever has taken one
 * has it for himself; another thread that needs the same meanwhile loads it once more. */
#include "feed/match_int.h"

#define WAYS 4
#define SETS 1024 /* 4096 functions of some 5 KiB each */

struct MatchFunction {
        uint64_t hash;
        Closure *closure;
        Bytes saved; /* behind the struct */
};

static _Atomic(MatchFunction *) places[SETS][WAYS];

void match_function_drop(MatchFunction *function)
{
        if (!function)
                return;
        closure_unref(function->closure);
        mem_free(function);
}

static Status function_load(Bytes saved, uint64_t hash, MatchFunction **ret_function)
{
        MatchFunction *function = mem_alloc(sizeof *function + saved.size);
        if (!function)
                return status_nomem();
        *function = (MatchFunction){.hash = hash, .saved = BYTES(function + 1, saved.size)};
        memcpy(function + 1, saved.data, saved.size);
        Status st = closure_load_inexact(saved, &function->closure);
        if (st)
                match_function_drop(function);
        else
                *ret_function = function;
        return st;
}

Status match_function_take(Bytes saved, MatchFunction **ret_function)
{
        uint64_t hash = bytes_hash(saved.data, saved.size);
        _Atomic(MatchFunction *) *set = places[hash % SETS];
        for (size_t i = 0; i < WAYS; i++) {
                /* Only who has taken it may look into it. */
                MatchFunction *function = atomic_exchange_explicit(&set[i], NULL, memory_order_acquire);
                if (!function)
                        continue;
                if (function->hash == hash && bytes_equal(function->saved, saved)) {
                        *ret_function = function;
                        return ST_OK;
                }
                /* Somebody else's: back, unless the place was given away meanwhile. */
                MatchFunction *none = NULL;
                if (!atomic_compare_exchange_strong_explicit(&set[i], &none, function, memory_order_release,
                                                             memory_order_relaxed))
                        match_function_drop(function);
        }
        return function_load(saved, hash, ret_function);
}

Closure *match_function_closure(const MatchFunction *function)
{
        return function->closure;
}

/* Into a place that is free, or instead of any other one. */
void match_function_leave(MatchFunction *function)
{
        if (!function)
                return;
        _Atomic(MatchFunction *) *set = places[function->hash % SETS];
        for (size_t i = 0; i < WAYS; i++) {
                MatchFunction *none = NULL;
                if (atomic_compare_exchange_strong_explicit(&set[i], &none, function, memory_order_release,
                                                            memory_order_relaxed))
                        return;
        }
        size_t victim = (size_t)(function->hash / SETS) % WAYS;
        match_function_drop(atomic_exchange_explicit(&set[victim], function, memory_order_acq_rel));
}

void match_functions_forget(void)
{
        for (size_t i = 0; i < SETS; i++)
                for (size_t k = 0; k < WAYS; k++)
                        match_function_drop(atomic_exchange_explicit(&places[i][k], NULL, memory_order_acquire));
}
