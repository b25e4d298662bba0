/* mem.h - the allocation seam: every heap allocation of the project goes through here, so that a test can fail the nth.
 * Threads: any. Memory from here is freed with mem_free() only. */
#ifndef BASE_MEM_H
#define BASE_MEM_H

#include "base/macros.h"

void *mem_alloc(size_t bytes) MUST_USE; /* uninitialised; NULL when out of memory */
void *mem_zalloc(size_t bytes) MUST_USE;
void *mem_realloc(void *p, size_t bytes) MUST_USE;
/* `alignment` is a power of two. Not for mem_realloc(). */
void *mem_alloc_aligned(size_t alignment, size_t bytes) MUST_USE;
char *mem_strdup(const char *s) MUST_USE;
void mem_free(void *p); /* NULL is fine */
static inline void mem_freep(void *p)
{
        mem_free(*(void **)p);
        *(void **)p = NULL;
}

/* Test seam: the nth allocation from now on (1 = the next) by this thread fails; 0 disarms. */
void mem_fail_nth(long n);
/* True if the armed failure has fired since it was armed. */
int mem_fail_fired(void);

#endif
