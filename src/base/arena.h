/* arena.h - memory that lives and dies together: one query, one message, one batch.
 *
 * arena_alloc() never returns NULL: when the heap or the arena's budget is exhausted it calls the arena's oom handler,
 * which must not return (the query layer longjmps to its boundary; see query/README.md). Without a handler it aborts.
 * Zero bytes give a valid pointer.
 * Who fills memory for long in one go can be stopped the same way from another thread: see `stop`.
 * Code that holds locks, heap objects or C++ frames uses arena_try_alloc() instead, which returns NULL.
 * Threads: an arena belongs to one thread at a time. Everything is aligned to 8 bytes. */
#ifndef BASE_ARENA_H
#define BASE_ARENA_H

#include <stdarg.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/macros.h"

/* Under AddressSanitizer what is not allocated is poisoned and allocations are 8 bytes apart, so that overruns and the
 * use of rewound memory are found as with malloc. */
#if defined(__SANITIZE_ADDRESS__)
#define ARENA_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ARENA_ASAN 1
#endif
#endif
#ifdef ARENA_ASAN
#include <sanitizer/asan_interface.h>
#define ARENA_GAP                8
#define ARENA_UNPOISON(p, bytes) ASAN_UNPOISON_MEMORY_REGION((p), (bytes))
#else
#define ARENA_GAP                0
#define ARENA_UNPOISON(p, bytes) ((void)0)
#endif

typedef struct ArenaChunk ArenaChunk;
typedef struct Arena {
        char *next, *end;   /* free space of the chunk that small allocations come from; a multiple of 8 bytes */
        ArenaChunk *chunk;  /* newest chunk; each knows the one before it */
        ArenaChunk *spare;  /* one chunk given back by rewind or reset, for the next need */
        size_t total_bytes; /* taken from the heap, spare included */
        size_t max_bytes;   /* budget; 0 = none */
        void (*oom)(void *ctx, bool over_budget);
        void *oom_ctx;
        const void *stop; /* a const atomic_bool *, looked at with each new chunk: when it is set, the oom handler is
                             called; NULL: none. (C++ includes this header and has another atomic_bool.) */
} Arena;
typedef struct ArenaMark {
        ArenaChunk *chunk;
        char *next;
} ArenaMark;

void arena_init(Arena *arena, size_t max_bytes);
void arena_done(Arena *arena); /* frees all; a zeroed Arena is fine */
/* Forgets everything but keeps one chunk (of at most 64 KiB, so that one large query does not make an idle connection
 * hold a megabyte), so that a loop of messages does not touch the heap. */
void arena_reset(Arena *arena);
void arena_on_oom(Arena *arena, void (*oom)(void *ctx, bool over_budget), void *ctx);

void *arena_alloc_slow(Arena *arena, size_t bytes, bool may_fail);
/* The free space of the current chunk if `bytes` fit, else NULL. Zero bytes wrap around and take the slow path; the
 * space is a multiple of 8, so what fits still fits when rounded up. */
static inline void *arena_alloc_fast(Arena *arena, size_t bytes)
{
        size_t space = (size_t)(arena->end - arena->next);
        if (unlikely(bytes - 1 >= space))
                return NULL;
        size_t step = ((bytes + 7) & ~(size_t)7) + ARENA_GAP;
        char *p = arena->next;
        arena->next += ARENA_GAP ? MIN(step, space) : step;
        ARENA_UNPOISON(p, bytes);
        return p;
}
static inline void *arena_alloc(Arena *arena, size_t bytes)
{
        void *p = arena_alloc_fast(arena, bytes);
        return likely(p != NULL) ? p : arena_alloc_slow(arena, bytes, false);
}
static inline void *arena_try_alloc(Arena *arena, size_t bytes)
{
        void *p = arena_alloc_fast(arena, bytes);
        return likely(p != NULL) ? p : arena_alloc_slow(arena, bytes, true);
}
/* count * size may overflow when a peer names the count: then it is out of memory, not a small block. */
static inline void *arena_alloc_array(Arena *arena, size_t count, size_t size)
{
        size_t bytes;
        return arena_alloc(arena, __builtin_mul_overflow(count, size, &bytes) ? SIZE_MAX : bytes);
}
void *arena_zalloc(Arena *arena, size_t bytes);
void *arena_dup(Arena *arena, const void *bytes, size_t size); /* copies, adds a NUL after */
char *arena_printf(Arena *arena, const char *format, ...) PRINTF_LIKE(2, 3);
char *arena_vprintf(Arena *arena, const char *format, va_list args);
#define arena_new(arena, Type)          ((Type *)arena_zalloc((arena), sizeof(Type)))
#define arena_array(arena, Type, count) ((Type *)arena_alloc_array((arena), (count), sizeof(Type)))

/* Was `p` allocated from it, and is it not forgotten with its chunk? */
bool arena_contains(const Arena *arena, const void *p);
/* Stack discipline: what was allocated after the mark is forgotten. */
ArenaMark arena_mark(Arena *arena);
void arena_rewind(Arena *arena, ArenaMark mark);

#endif
