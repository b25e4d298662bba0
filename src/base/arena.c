/* arena.c - chunks from the heap, handed out by moving a pointer. */
#include "base/arena.h"

#include <assert.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"

enum {
        FIRST_CHUNK_BYTES = 4 << 10,
        MAX_CHUNK_BYTES = 1 << 20,
        OWN_CHUNK_BYTES = MAX_CHUNK_BYTES / 4, /* an allocation above this gets a chunk of its own */
        MAX_KEPT_BYTES = 64 << 10,             /* what arena_reset keeps */
};

/*   newest                                                            oldest
 *   arena->chunk --prev--> [own 300K] --prev--> [bump 8K] --prev--> [bump 4K]
 *                             |                  ^   next .. end is its free space
 *                             +------bump--------+
 * A chunk of its own does not end the use of the bump chunk below it; `bump` says which chunk that is, so that a
 * rewind finds it in one step. */
struct ArenaChunk {
        ArenaChunk *prev;
        ArenaChunk *bump; /* itself, or for a chunk of its own the bump chunk at that time (may be NULL) */
        size_t bytes;     /* with this header; a multiple of 8 */
        size_t pad;
};
_Static_assert(sizeof(ArenaChunk) % 16 == 0, "data behind the header is aligned");

static char *chunk_data(ArenaChunk *chunk)
{
        return (char *)(chunk + 1);
}

static char *chunk_end(ArenaChunk *chunk)
{
        return (char *)chunk + chunk->bytes;
}

static void poison(char *from, char *to)
{
#ifdef ARENA_ASAN
        ASAN_POISON_MEMORY_REGION(from, (size_t)(to - from));
#else
        (void)from;
        (void)to;
#endif
}

static void use_bump(Arena *arena, ArenaChunk *bump, char *next)
{
        arena->next = next;
        arena->end = bump ? chunk_end(bump) : NULL;
        if (bump)
                poison(next, arena->end);
}

void arena_init(Arena *arena, size_t max_bytes)
{
        *arena = (Arena){.max_bytes = max_bytes};
}

static void free_chunk(Arena *arena, ArenaChunk *chunk)
{
        if (!chunk)
                return;
        arena->total_bytes -= chunk->bytes;
        mem_free(chunk);
}

/* Keeps the larger of `chunk` and the spare if it is not too large to keep, frees the other. */
static void retire_chunk(Arena *arena, ArenaChunk *chunk, size_t max_kept)
{
        if (chunk->bump == chunk && chunk->bytes <= max_kept && (!arena->spare || arena->spare->bytes < chunk->bytes)) {
                ArenaChunk *old = arena->spare;
                poison(chunk_data(chunk), chunk_end(chunk));
                arena->spare = chunk;
                chunk = old;
        }
        free_chunk(arena, chunk);
}

void arena_done(Arena *arena)
{
        for (ArenaChunk *chunk = arena->chunk, *prev; chunk; chunk = prev) {
                prev = chunk->prev;
                free_chunk(arena, chunk);
        }
        free_chunk(arena, arena->spare);
        assert(arena->total_bytes == 0);
        *arena = (Arena){
                .max_bytes = arena->max_bytes, .oom = arena->oom, .oom_ctx = arena->oom_ctx, .stop = arena->stop};
}

/* The kept chunk becomes the spare, not the current one: marks never point into it and a budget can have it back. */
void arena_reset(Arena *arena)
{
        if (arena->spare && arena->spare->bytes > MAX_KEPT_BYTES)
                free_chunk(arena, take(arena->spare));
        for (ArenaChunk *chunk = arena->chunk, *prev; chunk; chunk = prev) {
                prev = chunk->prev;
                retire_chunk(arena, chunk, MAX_KEPT_BYTES);
        }
        arena->chunk = NULL;
        use_bump(arena, NULL, NULL);
}

void arena_on_oom(Arena *arena, void (*oom)(void *ctx, bool over_budget), void *ctx)
{
        arena->oom = oom;
        arena->oom_ctx = ctx;
}

static bool fits_budget(const Arena *arena, size_t bytes)
{
        return arena->max_bytes == 0 ||
               (arena->total_bytes <= arena->max_bytes && bytes <= arena->max_bytes - arena->total_bytes);
}

/* A chunk of at least `min_bytes`, of `want_bytes` if budget and heap allow; NULL if not even the smaller. */
static ArenaChunk *new_chunk(Arena *arena, size_t min_bytes, size_t want_bytes, bool *ret_over_budget)
{
        if (arena->spare && arena->spare->bytes >= min_bytes) {
                ArenaChunk *chunk = take(arena->spare);
                return chunk;
        }
        if (arena->spare && !fits_budget(arena, want_bytes))
                free_chunk(arena, take(arena->spare));
        if (!fits_budget(arena, want_bytes))
                want_bytes = min_bytes;
        if (!fits_budget(arena, want_bytes)) {
                *ret_over_budget = true;
                return NULL;
        }
        ArenaChunk *chunk = mem_alloc(want_bytes);
        if (!chunk)
                return NULL;
        chunk->bytes = want_bytes;
        arena->total_bytes += want_bytes;
        return chunk;
}

static void *alloc_slow(Arena *arena, size_t bytes, bool *ret_over_budget)
{
        if (bytes == 0) {
                bytes = 1;
                void *p = arena_alloc_fast(arena, bytes);
                if (p)
                        return p;
        }
        if (bytes > SIZE_MAX / 2) {
                *ret_over_budget = true; /* no budget and no machine has this */
                return NULL;
        }
        size_t need = sizeof(ArenaChunk) + ((bytes + 7) & ~(size_t)7) + ARENA_GAP;
        ArenaChunk *bump = arena->chunk ? arena->chunk->bump : NULL, *chunk;

        if (bytes > OWN_CHUNK_BYTES) {
                ArenaChunk *spare = take(arena->spare); /* not for this: it would be lost as a bump chunk */
                chunk = new_chunk(arena, need, need, ret_over_budget);
                if (!chunk && spare) {
                        free_chunk(arena, take(spare));
                        *ret_over_budget = false;
                        chunk = new_chunk(arena, need, need, ret_over_budget);
                }
                arena->spare = spare;
                if (!chunk)
                        return NULL;
                chunk->bump = bump;
                chunk->prev = arena->chunk;
                arena->chunk = chunk;
                poison(chunk_data(chunk), chunk_end(chunk));
                ARENA_UNPOISON(chunk_data(chunk), bytes);
                return chunk_data(chunk);
        }

        size_t want = bump ? MIN(bump->bytes * 2, (size_t)MAX_CHUNK_BYTES) : (size_t)FIRST_CHUNK_BYTES;
        while (want < 2 * need)
                want *= 2;
        chunk = new_chunk(arena, need, want, ret_over_budget);
        if (!chunk)
                return NULL;
        chunk->bump = chunk;
        chunk->prev = arena->chunk;
        arena->chunk = chunk;
        use_bump(arena, chunk, chunk_data(chunk));
        return arena_alloc_fast(arena, bytes);
}

void *arena_alloc_slow(Arena *arena, size_t bytes, bool may_fail)
{
        bool over_budget = false;
        if (!may_fail && arena->stop && atomic_load_explicit((const atomic_bool *)arena->stop, memory_order_relaxed) &&
            arena->oom)
                arena->oom(arena->oom_ctx, false);
        void *p = alloc_slow(arena, bytes, &over_budget);
        if (p || may_fail)
                return p;
        if (arena->oom)
                arena->oom(arena->oom_ctx, over_budget);
        abort(); /* no handler, or one that returned: nobody above checks for NULL */
}

void *arena_zalloc(Arena *arena, size_t bytes)
{
        return memset(arena_alloc(arena, bytes), 0, bytes);
}

void *arena_dup(Arena *arena, const void *bytes, size_t size)
{
        char *copy = arena_alloc(arena, size == SIZE_MAX ? size : size + 1);
        if (size)
                memcpy(copy, bytes, size);
        copy[size] = '\0';
        return copy;
}

char *arena_vprintf(Arena *arena, const char *format, va_list args)
{
        char small[256];
        va_list again;
        va_copy(again, args);
        int length = vsnprintf(small, sizeof small, format, args);
        assert(length >= 0);
        char *text;
        if ((size_t)length < sizeof small) {
                text = arena_dup(arena, small, (size_t)length);
        } else {
                text = arena_alloc(arena, (size_t)length + 1);
                vsnprintf(text, (size_t)length + 1, format, again);
        }
        va_end(again);
        return text;
}

char *arena_printf(Arena *arena, const char *format, ...)
{
        va_list args;
        va_start(args, format);
        char *text = arena_vprintf(arena, format, args);
        va_end(args);
        return text;
}

bool arena_contains(const Arena *arena, const void *p)
{
        for (const ArenaChunk *chunk = arena->chunk; chunk; chunk = chunk->prev)
                if ((const char *)p >= (const char *)chunk && (const char *)p < (const char *)chunk + chunk->bytes)
                        return true;
        return false;
}

ArenaMark arena_mark(Arena *arena)
{
        return (ArenaMark){.chunk = arena->chunk, .next = arena->next};
}

void arena_rewind(Arena *arena, ArenaMark mark)
{
        if (!mark.chunk) { /* taken when the arena was empty */
                arena_reset(arena);
                return;
        }
        while (arena->chunk != mark.chunk) {
                ArenaChunk *chunk = arena->chunk;
                assert(chunk); /* the mark is of this arena and was not rewound past */
                arena->chunk = chunk->prev;
                retire_chunk(arena, chunk, MAX_CHUNK_BYTES);
        }
        use_bump(arena, mark.chunk->bump, mark.next);
}
