/* soak.h - what the soaks have in common: a seed that decides everything, options, and what is said of a seed that
 * fails. */
#ifndef TESTS_SOAK_H
#define TESTS_SOAK_H

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/status.h"
#include "os/os.h"

typedef struct Soak {
        const char *program;
        const char *again;   /* the command that repeats a seed, to which its options are added */
        char options[80];    /* those that it needs beside the seed, each with a space before it */
        const char *current; /* what it was at when something failed; NULL: said otherwise */
        uint64_t seed, from, seeds, step;
        double seconds; /* 0: as long as it takes */
        bool verbose;
} Soak;
static Soak soak = {.from = 1, .seeds = 100, .step = 1};

/* --- what a seed decides --- */

typedef struct Random {
        uint64_t state;
} Random;

#define RANDOM_STEP 0x9e3779b97f4a7c15u

static inline uint64_t random_mix(uint64_t x)
{
        x += RANDOM_STEP;
        x = (x ^ (x >> 30)) * 0xbf58476d1ce4e5b9u;
        x = (x ^ (x >> 27)) * 0x94d049bb133111ebu;
        return x ^ (x >> 31);
}

static inline uint64_t random_next(Random *random)
{
        uint64_t next = random_mix(random->state);
        random->state += RANDOM_STEP;
        return next;
}

/* --- failing --- */

#define NOTE(...)                                                                                                      \
        do {                                                                                                           \
                if (soak.verbose)                                                                                      \
                        fprintf(stderr, __VA_ARGS__);                                                                  \
        } while (0)

static inline void say_seed(void)
{
        fprintf(stderr, "\nseed %" PRIu64 " failed; again with: %s --from %" PRIu64 " --seeds 1%s --verbose\n",
                soak.seed, soak.again, soak.seed, soak.options);
}

static inline void on_signal(int sig)
{
        say_seed();
        signal(sig, SIG_DFL);
        raise(sig);
}

static inline _Noreturn void die(const char *format, ...) PRINTF_LIKE(1, 2);
static inline _Noreturn void die(const char *format, ...)
{
        va_list args;
        va_start(args, format);
        fprintf(stderr, "\n%s: ", soak.program);
        vfprintf(stderr, format, args);
        va_end(args);
        say_seed();
        _exit(1);
}

static inline void must(Status st, const char *doing)
{
        char text[600];
        if (st)
                die("%s: %s\n%s", doing, status_text(st, text, sizeof text), soak.current ? soak.current : "");
}

/* --- running --- */

/* Takes argv[*at], and its value, if it is one of the options that all have. */
static inline bool soak_option(int argc, char **argv, int *at)
{
        static const char *const names[] = {"--from", "--seeds", "--step"};
        uint64_t *const values[] = {&soak.from, &soak.seeds, &soak.step};
        const char *name = argv[*at];
        if (strcmp(name, "--verbose") == 0) {
                soak.verbose = true;
                return true;
        }
        if (*at + 1 == argc)
                return false;
        for (size_t i = 0; i < ELEMENTS(names); i++) {
                if (strcmp(name, names[i]) == 0) {
                        *values[i] = strtoull(argv[++*at], NULL, 10);
                        return true;
                }
        }
        if (strcmp(name, "--seconds") != 0)
                return false;
        soak.seconds = strtod(argv[++*at], NULL);
        return true;
}

#define SOAK_USAGE "[--from SEED] [--seeds N] [--step N] [--seconds S] [--verbose]"

/* The sanitizers end a process without a signal. */
void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));

/* Seed after seed; returns how many. *ret_seconds: how long it took. */
static inline uint64_t soak_run(void (*run_seed)(uint64_t seed), double *ret_seconds)
{
        uint64_t done = 0;
        int64_t began = os_mono_ns(os_posix());
        signal(SIGABRT, on_signal);
        signal(SIGSEGV, on_signal);
        if (__sanitizer_set_death_callback)
                __sanitizer_set_death_callback(say_seed);
        for (*ret_seconds = 0; done < soak.seeds && (soak.seconds <= 0 || *ret_seconds <= soak.seconds); done++) {
                soak.seed = soak.from + done * soak.step;
                run_seed(soak.seed);
                *ret_seconds = (double)(os_mono_ns(os_posix()) - began) * 1e-9;
        }
        return done;
}

#endif
