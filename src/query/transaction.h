/* transaction.h - a query as a transaction of its own, or as part of one that its client holds.
 *
 *      option `transaction`   true, {isolation: "serializable"}   the query is one: all or nothing, run again by itself
 *                                                                  when others were faster
 *                             "<id>"                               it belongs to that one
 *                             absent                               it belongs to its connection's, if there is one
 *                             false                                to none
 *
 * What goes by env_view() and TableSource.write is then read and written in env->transaction. */
#ifndef QUERY_TRANSACTION_H
#define QUERY_TRANSACTION_H

#include "query/query_int.h"

#define TRANSACTION_AGAIN 20 /* times that a query is run anew when others were faster, before its client is told */

/* Reads the option into env->transaction_use and what belongs to it. */
Status transaction_options(Env *env, const Term *root) MUST_USE;
/* Begins the query's own, or waits for its turn in the one that it belongs to. Refuses what cannot be part of one. */
Status transaction_start(Env *env, const Term *root) MUST_USE;
/* Before a further batch, and after each. */
Status transaction_resume(Env *env) MUST_USE;
void transaction_pause(Env *env);
/* The answer is made: the query's own is committed. */
Status transaction_finish(Env *env) MUST_USE;
/* With the query: what it has not committed is rolled back. */
void transaction_done(Env *env);
/* May a query with these options wait for others? */
bool transaction_waits(const OptArg *options, size_t count, const QueryConnection *connection);

#endif
