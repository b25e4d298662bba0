/* macros.h - compiler attributes and ownership helpers used everywhere. */
#ifndef BASE_MACROS_H
#define BASE_MACROS_H

#include <stddef.h>
#include <string.h>

#define MUST_USE          __attribute__((warn_unused_result))
#define PRINTF_LIKE(f, a) __attribute__((format(printf, f, a)))
#define NORETURN          __attribute__((noreturn))
#define _cleanup_(fn)     __attribute__((cleanup(fn)))
#define likely(x)         __builtin_expect(!!(x), 1)
#define unlikely(x)       __builtin_expect(!!(x), 0)
#define UNUSED            __attribute__((unused))

#define ELEMENTS(array) (sizeof(array) / sizeof((array)[0]))
#ifndef MIN /* libuv brings in sys/param.h, which has the same two */
#define MIN(a, b) ((a) < (b) ? (a) : (b))
#define MAX(a, b) ((a) > (b) ? (a) : (b))
#endif

/* Moves a pointer out of a variable, leaving NULL: ownership leaves only on success. */
#define take(p)                                                                                                        \
        ({                                                                                                             \
                __typeof__(p) taken_ = (p);                                                                            \
                (p) = NULL;                                                                                            \
                taken_;                                                                                                \
        })

/* Clang's thread-safety analysis; nothing under gcc. */
#if defined(__clang__)
#define TSA(x) __attribute__((x))
#else
#define TSA(x)
#endif
#define GUARDED_BY(mu) TSA(guarded_by(mu))
#define REQUIRES(mu)   TSA(requires_capability(mu))
#define ACQUIRE(mu)    TSA(acquire_capability(mu))
#define RELEASE(mu)    TSA(release_capability(mu))
#define NO_TSA         TSA(no_thread_safety_analysis)

#endif
