/* sim_disk.h - the platters of the simulated machine: files and directories that know what is durable and what is not.
 *
 * Every node holds two states, what programs see (`now`) and what the platters have (`durable`), and in between the
 * list of changes not yet synced. Syncing applies the list to `durable`; a power loss applies none, some or parts of it
 * and makes `now` a copy of `durable`.
 *
 * This is hardware, not program: it allocates with malloc and aborts without memory, so that a sweep over the nth
 * allocation counts the allocations of the code under test alone. Threads: one at a time (sim.c locks). */
#ifndef OS_SIM_DISK_H
#define OS_SIM_DISK_H

#include "os/sim.h"

/* A small generator of its own (splitmix64): a seed repeats a run on every machine. */
typedef struct SimRng {
        uint64_t state;
} SimRng;
uint64_t sim_rng_next(SimRng *rng);
uint64_t sim_rng_below(SimRng *rng, uint64_t bound); /* bound > 0 */

typedef struct SimContent {
        uint8_t *data;
        size_t size, capacity;
} SimContent;
typedef struct SimEntry {
        char *name;
        struct SimNode *node; /* counted */
} SimEntry;
typedef struct SimEntries {
        SimEntry *items;
        size_t count, capacity;
} SimEntries;
typedef struct SimChange SimChange;

typedef struct SimNode {
        struct SimNode *next, *prev; /* all nodes of the disk */
        struct SimDisk *disk;
        int refs;  /* entries of `now` and `durable`, changes, handles */
        int links; /* entries of `now` */
        int opens; /* handles since the last crash */
        bool is_dir;
        void *lock_owner;
        SimContent now, durable;                 /* of a file */
        SimEntries now_entries, durable_entries; /* of a directory */
        SimChange *first_change, *last_change;   /* not synced, oldest first */
} SimNode;

typedef struct SimDisk {
        SimNode *nodes;
        SimNode *root;
        SimRng rng; /* decides what survives */
} SimDisk;

void sim_disk_init(SimDisk *disk, uint64_t seed);
void sim_disk_done(SimDisk *disk);
uint64_t sim_disk_used(const SimDisk *disk); /* bytes of all files that programs can reach */
void sim_disk_crash(SimDisk *disk, SimCrash how);

SimNode *sim_node_new(SimDisk *disk, bool is_dir); /* one reference, the caller's */
SimNode *sim_node_ref(SimNode *node);
void sim_node_unref(SimNode *node);

SimNode *sim_dir_find(const SimNode *dir, const char *name); /* in `now`; NULL if absent */
/* One atomic change of names: `set` (or NULL) becomes `node`, `unset` (or NULL) goes away. */
void sim_dir_change(SimNode *dir, const char *set, SimNode *node, const char *unset);
void sim_file_write(SimNode *file, uint64_t offset, const void *data, size_t size);
void sim_file_truncate(SimNode *file, uint64_t size);

void sim_node_sync(SimNode *node); /* file or directory: all changes become durable */
/* A sync that failed half-way. Some changes of a file became durable, the others never will, though `now` still shows
 * them: so Linux treats pages whose write-back failed. Of a directory the first few changes became durable;
 * the rest can be synced later. */
void sim_node_sync_badly(SimNode *node);

#endif
