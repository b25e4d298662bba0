/* memo.h - something derived from immutable data and remembered beside it: a column of one field, say, beside the rows
 * that it was read from.
 * Whoever makes a Memo puts it first in a struct of his own, fills in key, bytes and free, and hands it over to whoever
 * keeps the data; from then on it is immutable, and the keeper frees it when the data goes or the room is needed. */
#ifndef BASE_MEMO_H
#define BASE_MEMO_H

#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>

typedef struct Memo Memo;
struct Memo {
        Memo *next;                /* the keeper's */
        uint64_t key;              /* what it is: those who make memos see to it that their keys do not collide */
        size_t bytes;              /* all that it holds, this struct included */
        void (*free)(Memo *memo);  /* from any thread, perhaps with locks held: frees memory and does nothing else */
        _Atomic unsigned char hot; /* the keeper's: asked for since it looked last */
};

#endif
