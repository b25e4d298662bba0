/* mem.c - malloc behind a countdown. The countdown is per thread so that a sweep in one thread of a test does not hit
 * the helper threads it started; one thread-local load and compare is all that a release build pays. */
#include "base/mem.h"

#include <stdlib.h>

/* `armed` > 0: that many allocations until the failure. */
static _Thread_local long armed;
static _Thread_local int fired;

static inline int fails_now(void)
{
        if (likely(armed == 0))
                return 0;
        if (--armed > 0)
                return 0;
        fired = 1;
        return 1;
}

void *mem_alloc(size_t bytes)
{
        if (unlikely(fails_now()))
                return NULL;
        return malloc(bytes ? bytes : 1);
}

void *mem_zalloc(size_t bytes)
{
        if (unlikely(fails_now()))
                return NULL;
        return calloc(1, bytes ? bytes : 1);
}

void *mem_realloc(void *p, size_t bytes)
{
        if (unlikely(fails_now()))
                return NULL;
        return realloc(p, bytes ? bytes : 1); /* never realloc(p, 0): some C libraries free p then */
}

void *mem_alloc_aligned(size_t alignment, size_t bytes)
{
        void *p;
        if (unlikely(fails_now()))
                return NULL;
        return posix_memalign(&p, MAX(alignment, sizeof(void *)), bytes ? bytes : 1) ? NULL : p;
}

char *mem_strdup(const char *s)
{
        size_t size = strlen(s) + 1;
        char *copy = mem_alloc(size);
        return copy ? memcpy(copy, s, size) : NULL;
}

void mem_free(void *p)
{
        free(p);
}

void mem_fail_nth(long n)
{
        armed = n > 0 ? n : 0;
        fired = 0;
}

int mem_fail_fired(void)
{
        return fired;
}
