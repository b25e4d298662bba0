/* transaction.h - inside table/: transactions, which are drafts (storage/draft.h) of tables with rows, indexes and
 * hooks. transactions.c keeps those that outlive a query.
 *
 *      transaction_new -> { transaction_view | table_write with WriteOptions.transaction }... -> transaction_commit
 *
 * The commit puts what has changed over what is there now, all in one commit of the store, if no row that it writes was
 * changed by others since it began (first writer wins); with `serializable`, if nothing that it read was. It plans the
 * index entries anew, for the indexes that there are then.
 * Threads: one at a time. */
#ifndef TABLE_TRANSACTION_H
#define TABLE_TRANSACTION_H

#include "storage/draft.h"
#include "table/index_int.h"
#include "table/table_int.h"

#define CONFLICT_BEGINS "Transaction conflict: " /* of every message of ERR_CONFLICT; documented */
#define CONFLICT_ENDS   " Run it again."

typedef struct HeldTransaction HeldTransaction;
typedef struct TransactionTable TransactionTable;
struct Transaction {
        TableCatalog *catalog;
        HeldTransaction *held; /* transactions.c; NULL: of one query */
        Draft *draft;          /* NULL: it has ended */
        bool serializable;
        bool committed;
        bool hard; /* one of its writes was */
        TransactionTable *tables;
        size_t table_count;
        uint64_t written_rows; /* by its queries; a row may count more than once */
};

Status transaction_new(TableCatalog *catalog, const TransactionOptions *options,
                       Transaction **ret_transaction) MUST_USE;
/* Forgets its changes, unless it is committed. NULL is fine; returns NULL. */
Transaction *transaction_free(Transaction *transaction);
/* The same, but the struct stays, to tell who asks that it has ended. */
void transaction_end(Transaction *transaction);
Status transaction_view(Transaction *transaction, TableRef *table, const char *user, TableView **ret_view) MUST_USE;
Status transaction_commit(Transaction *transaction, uint64_t *ret_position) MUST_USE;
/* For table_write: the draft of a table, and the schema that its rows are planned for; both live as long as the
 * transaction. */
Status transaction_draft(Transaction *transaction, TableRef *table, DraftTable **ret_draft,
                         Schema **ret_schema) MUST_USE;
void transaction_wrote(Transaction *transaction, const RowOutcome *outcomes, size_t count, bool hard);
/* Its tables so far, in no order. */
const TableRef *transaction_table_at(const Transaction *transaction, size_t i);
Status conflict_error(const char *format, ...) PRINTF_LIKE(1, 2) MUST_USE;

/* --- transactions.c: those that clients hold, and table `transactions` --- */
typedef struct Transactions Transactions;
Status transactions_new(TableCatalog *catalog, Transactions **ret_transactions) MUST_USE;
Transactions *transactions_free(Transactions *transactions); /* NULL is fine; returns NULL */
void transactions_fill(TableSource *source);
/* By hand, in a catalog without threads: aborts those that were idle for too long. */
void transactions_expire(TableCatalog *catalog);
typedef struct OpenTransaction { /* for `jobs`; valid during the call */
        const char *id, *user;
        double duration_sec;
        uint64_t written_rows;
} OpenTransaction;
/* `each` takes no lock; ends at the first error. */
Status transactions_each_open(TableCatalog *catalog, Status (*each)(void *ctx, const OpenTransaction *open),
                              void *ctx) MUST_USE;

#endif
