/* sim.h - a simulated machine for tests: a disk in memory, a settable clock, seeded randomness, and failures to order.
 *
 *      SimOs *sim; sim_new(seed, &sim);  Os *os = sim_os(sim);
 *      sim_fail_nth(sim, n, SIM_FAIL_IO);       the nth file call from now on fails once (or for ever)
 *      sim_crash(sim, SIM_DROP);                power loss: open files and directories become useless (ERR_CLOSED),
 * what was not synced is dropped, torn or reordered; then open again Threads: any; calls are serialised inside. */
#ifndef OS_SIM_H
#define OS_SIM_H

#include "os/os.h"

typedef struct SimOs SimOs;
MUST_USE Status sim_new(uint64_t seed, SimOs **ret_sim);
SimOs *sim_free(SimOs *sim); /* after every handle is closed; NULL is fine */
Os *sim_os(SimOs *sim);

typedef enum SimFailure {
        SIM_FAIL_ONCE, /* the nth call fails with ERR_IO, later ones succeed; a failed write leaves a random prefix */
        SIM_FAIL_FOREVER,  /* it and every later mutating call fail */
        SIM_FAIL_NO_SPACE, /* writes from the nth on fail with ERR_NO_SPACE until sim_heal() */
        SIM_FAIL_POWER,    /* the power goes during the nth call: it and all later calls fail with ERR_CLOSED;
                              follow with sim_crash() */
} SimFailure;
/* Counts every file and directory call from now on (not closes, clock or randomness); n = 1 is the next. n = 0 disarms.
 */
void sim_fail_nth(SimOs *sim, long n, SimFailure how);
int sim_fired(SimOs *sim);                       /* the armed failure has happened */
long sim_calls(SimOs *sim);                      /* calls since the last sim_fail_nth */
void sim_heal(SimOs *sim);                       /* disarms; what failed or was lost stays so */
void sim_disk_limit(SimOs *sim, uint64_t bytes); /* ERR_NO_SPACE beyond; 0 = none */

typedef enum SimCrash {
        SIM_DROP, /* nothing unsynced survives */
        SIM_TEAR, /* each unsynced write survives whole, in part (torn at a random byte) or not at all */
        SIM_KEEP, /* everything survives: kill -9 rather than power loss */
} SimCrash;
/* Also brings the power back and disarms the failure; sim_fired() and sim_calls() keep their answers. Handles from
 * before answer ERR_CLOSED; closing them is fine. A SIM_KEEP does not make anything durable: a second crash may drop
 * it. */
void sim_crash(SimOs *sim, SimCrash how);
/* While they are held, syncs of files stay in flight until sim_let_sync() lets one of them go on, or none is held any
 * more: it works or fails as it would have then. */
void sim_hold_syncs(SimOs *sim, bool hold);
void sim_let_sync(SimOs *sim);
void sim_await_sync(SimOs *sim); /* returns when one is in flight */
void sim_set_wall_us(SimOs *sim, int64_t us);
void sim_advance_ns(SimOs *sim, int64_t ns);
/* Flips one bit of a file, for corruption tests. */
MUST_USE Status sim_flip_bit(SimOs *sim, const char *path, uint64_t offset, int bit);

#endif
