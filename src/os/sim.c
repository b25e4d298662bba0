/* sim.c - the simulated machine: os.h over a SimDisk, failures to order, clock, randomness. */
#include "os/sim.h"

#include <assert.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/os_int.h"
#include "os/sim_disk.h"
#include "os/thread.h"

struct SimOs {
        Os os;
        Mutex mu; /* serialises everything below */
        SimDisk disk;
        SimRng random; /* what os_random hands out; apart from the disk's, so that one does not disturb the other */
        SimRng faults;
        uint64_t generation; /* of handles; a crash begins a new one */
        uint64_t disk_limit;
        int64_t wall_us, mono_ns;
        long calls, fail_at; /* fail_at 0: nothing armed */
        SimFailure failure;
        bool fired, power_off;
        Cond sync_changed; /* of what follows */
        bool hold_syncs;
        unsigned syncs_held, syncs_let;
};
typedef struct SimDirHandle {
        OsDir base;
        SimNode *node;
        uint64_t generation;
} SimDirHandle;
typedef struct SimFileHandle {
        OsFile base;
        SimNode *node;
        uint64_t generation;
} SimFileHandle;

static SimOs *sim_of(Os *os)
{
        return (SimOs *)os;
}

/* Clang's analysis does not see that a cleanup function unlocks. */
NO_TSA static void lock(SimOs *sim)
{
        mutex_lock(&sim->mu);
}

NO_TSA static void unlock(SimOs **sim)
{
        mutex_unlock(&(*sim)->mu);
}
/* Holds the machine until the end of the block. */
#define LOCKED(os_)                                                                                                    \
        _cleanup_(unlock) SimOs *sim = sim_of(os_);                                                                    \
        lock(sim)

/* --- failures --- */
typedef enum Call {
        CALL_READ,   /* changes nothing */
        CALL_CHANGE, /* changes something, needs no space */
        CALL_GROW,   /* may need space */
} Call;
typedef enum Fault { FAULT_NONE, FAULT_IO, FAULT_NO_SPACE, FAULT_POWER, FAULT_OFF } Fault;

/* Counts a call and says whether it fails. */
static Fault count_call(SimOs *sim, Call call)
{
        sim->calls++;
        if (sim->power_off)
                return FAULT_OFF;
        if (!sim->fail_at || sim->calls < sim->fail_at)
                return FAULT_NONE;
        Fault fault = FAULT_NONE;
        switch (sim->failure) {
        case SIM_FAIL_ONCE: fault = sim->calls == sim->fail_at ? FAULT_IO : FAULT_NONE; break;
        case SIM_FAIL_FOREVER: fault = sim->calls == sim->fail_at || call != CALL_READ ? FAULT_IO : FAULT_NONE; break;
        case SIM_FAIL_NO_SPACE: fault = call == CALL_GROW ? FAULT_NO_SPACE : FAULT_NONE; break;
        case SIM_FAIL_POWER:
                sim->power_off = true;
                fault = FAULT_POWER;
                break;
        }
        sim->fired |= fault != FAULT_NONE;
        return fault;
}

/* Did the change a failing call was to make happen all the same? Only when the power went in the middle: a call that
 * answers an error while the machine lives on has changed no name. */
static bool happened(SimOs *sim, Fault fault)
{
        return fault == FAULT_NONE || (fault == FAULT_POWER && sim_rng_below(&sim->faults, 2) == 0);
}

static Status fault_status(Fault fault, const char *path)
{
        switch (fault) {
        case FAULT_NONE: break;
        case FAULT_IO: return status_new(ERR_IO, "%s: simulated input/output error", path);
        case FAULT_NO_SPACE: return status_new(ERR_NO_SPACE, "%s: no space left on simulated device", path);
        case FAULT_POWER:
        case FAULT_OFF: return status_new(ERR_CLOSED, "%s: the simulated power is off", path);
        }
        return ST_OK;
}

static Status closed(const char *path)
{
        return status_new(ERR_CLOSED, "%s: opened before the simulated crash", path);
}
#define CHECK_DIR(dir)                                                                                                 \
        if ((dir)->generation != sim->generation)                                                                      \
        return closed((dir)->base.path)
#define CHECK_FILE(file)                                                                                               \
        if ((file)->generation != sim->generation)                                                                     \
        return closed((file)->base.path)

/* --- clock and randomness --- */
static int64_t sim_os_wall_us(Os *os)
{
        LOCKED(os);
        return sim->wall_us;
}

static int64_t sim_os_mono_ns(Os *os)
{
        LOCKED(os);
        return sim->mono_ns;
}

static Status sim_os_random(Os *os, void *out, size_t size)
{
        LOCKED(os);
        for (size_t i = 0; i < size; i++)
                ((uint8_t *)out)[i] = (uint8_t)(sim_rng_next(&sim->random) >> 56);
        return ST_OK;
}

/* --- directories --- */
static Status new_dir_handle(SimOs *sim, const char *path, SimNode *node, OsDir **ret_dir)
{
        SimDirHandle *dir = mem_zalloc(sizeof *dir);
        if (!dir)
                return status_nomem();
        Status st = os_dir_init(&dir->base, &sim->os, path);
        if (st) {
                mem_free(dir);
                return st;
        }
        dir->node = sim_node_ref(node);
        dir->generation = sim->generation;
        *ret_dir = &dir->base;
        return ST_OK;
}

static void sim_dir_close(OsDir *base)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        for (SimNode *node = sim->disk.nodes; node; node = node->next)
                if (node->lock_owner == dir)
                        node->lock_owner = NULL;
        sim_node_unref(dir->node);
        os_dir_done(base);
        mem_free(dir);
}

static Status sync_names(SimOs *sim, SimNode *dir, const char *path)
{
        Fault fault = count_call(sim, CALL_CHANGE);
        if (fault == FAULT_NONE)
                sim_node_sync(dir);
        else if (fault != FAULT_OFF)
                sim_node_sync_badly(dir);
        return fault_status(fault, path);
}

/* Two calls when creating: making the directory and syncing its parent, as on the real machine. */
static Status open_in(SimOs *sim, SimNode *parent, const char *parent_path, const char *name, const char *path,
                      OsDirMode mode, OsDir **ret_dir)
{
        if (mode == OS_DIR_CREATE) {
                bool made = !sim_dir_find(parent, name);
                Fault fault = count_call(sim, CALL_GROW);
                if (made && happened(sim, fault)) {
                        SimNode *node = sim_node_new(&sim->disk, true);
                        sim_dir_change(parent, name, node, NULL);
                        sim_node_unref(node);
                }
                TRY(fault_status(fault, path));
                TRY(sync_names(sim, parent, parent_path));
        }
        TRY(fault_status(count_call(sim, CALL_READ), path));
        SimNode *node = sim_dir_find(parent, name);
        if (!node)
                return status_new(ERR_NOT_FOUND, "cannot open directory %s: it does not exist", path);
        if (!node->is_dir)
                return status_new(ERR_IO, "cannot open directory %s: it is not a directory", path);
        return new_dir_handle(sim, path, node, ret_dir);
}

/* Finds the node of `path` up to its last component, which is copied to `last` ("" for the root). */
static Status walk(SimOs *sim, const char *path, SimNode **ret_parent, char *last, size_t last_size)
{
        SimNode *node = sim->disk.root;
        last[0] = '\0';
        for (const char *at = path; *at;) {
                size_t size = strcspn(at, "/");
                if (size > 0 && !(size == 1 && at[0] == '.')) {
                        if (last[0]) {
                                node = sim_dir_find(node, last);
                                if (!node || !node->is_dir)
                                        return status_new(ERR_NOT_FOUND, "%s: directory %s does not exist", path, last);
                        }
                        if (size >= last_size)
                                return status_new(ERR_INVALID, "%s: a name is too long", path);
                        memcpy(last, at, size);
                        last[size] = '\0';
                }
                at += size + (at[size] == '/');
        }
        *ret_parent = node;
        return ST_OK;
}

static Status sim_dir_open(Os *os, const char *path, OsDirMode mode, OsDir **ret_dir)
{
        LOCKED(os);
        SimNode *parent;
        char last[256];
        TRY(walk(sim, path, &parent, last, sizeof last));
        if (last[0])
                return open_in(sim, parent, "the parent directory", last, path, mode, ret_dir);
        TRY(fault_status(count_call(sim, CALL_READ), path));
        return new_dir_handle(sim, path, sim->disk.root, ret_dir);
}

static Status sim_dir_open_sub(OsDir *base, const char *name, OsDirMode mode, OsDir **ret_dir)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        CHECK_DIR(dir);
        _cleanup_(mem_freep) char *path = os_path_join(base->path, name);
        if (!path)
                return status_nomem();
        return open_in(sim, dir->node, base->path, name, path, mode, ret_dir);
}

static Status sim_dir_sync(OsDir *base)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        CHECK_DIR(dir);
        return sync_names(sim, dir->node, base->path);
}

static Status sim_dir_rename(OsDir *base, const char *from, const char *to)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        CHECK_DIR(dir);
        Fault fault = count_call(sim, CALL_CHANGE);
        SimNode *node = sim_dir_find(dir->node, from), *target = sim_dir_find(dir->node, to);
        if (fault == FAULT_NONE && !node)
                return status_new(ERR_NOT_FOUND, "cannot rename %s/%s to %s: it does not exist", base->path, from, to);
        if (fault == FAULT_NONE && target && target != node && (target->is_dir || node->is_dir))
                return status_new(ERR_EXISTS, "cannot rename %s/%s to %s: a directory is in the way", base->path, from,
                                  to);
        if (node && node != target && happened(sim, fault))
                sim_dir_change(dir->node, to, node, from);
        return fault_status(fault, base->path);
}

static Status sim_dir_remove(OsDir *base, const char *name)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        CHECK_DIR(dir);
        Fault fault = count_call(sim, CALL_CHANGE);
        SimNode *node = sim_dir_find(dir->node, name);
        if (fault == FAULT_NONE && !node)
                return status_new(ERR_NOT_FOUND, "cannot remove %s/%s: it does not exist", base->path, name);
        if (fault == FAULT_NONE && node->now_entries.count > 0)
                return status_new(ERR_IO, "cannot remove %s/%s: the directory is not empty", base->path, name);
        if (node && node->now_entries.count == 0 && happened(sim, fault))
                sim_dir_change(dir->node, NULL, NULL, name);
        return fault_status(fault, base->path);
}

/* A copy of the names, because `each` may call back into this machine. */
static Status copy_names(OsDir *base, char **ret_names, size_t *ret_count)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        CHECK_DIR(dir);
        TRY(fault_status(count_call(sim, CALL_READ), base->path));
        const SimEntries *entries = &dir->node->now_entries;
        size_t bytes = 1, used = 0;
        for (size_t i = 0; i < entries->count; i++)
                bytes += strlen(entries->items[i].name) + 1;
        char *names = mem_alloc(bytes);
        if (!names)
                return status_nomem();
        for (size_t i = 0; i < entries->count; i++) {
                size_t size = strlen(entries->items[i].name) + 1;
                memcpy(names + used, entries->items[i].name, size);
                used += size;
        }
        *ret_names = names;
        *ret_count = entries->count;
        return ST_OK;
}

static Status sim_dir_list(OsDir *base, Status (*each)(void *ctx, const char *name), void *ctx)
{
        _cleanup_(mem_freep) char *names = NULL;
        size_t count = 0;
        TRY(copy_names(base, &names, &count));
        for (const char *name = names; count-- > 0; name += strlen(name) + 1)
                TRY(each(ctx, name));
        return ST_OK;
}

static SimNode *create_file(SimOs *sim, SimNode *dir, const char *name)
{
        SimNode *node = sim_node_new(&sim->disk, false);
        sim_dir_change(dir, name, node, NULL);
        sim_node_unref(node); /* the directory holds it */
        return node;
}

static Status sim_dir_lock(OsDir *base, const char *name)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        CHECK_DIR(dir);
        SimNode *node = sim_dir_find(dir->node, name);
        Fault fault = count_call(sim, node ? CALL_CHANGE : CALL_GROW);
        if (!node && happened(sim, fault))
                node = create_file(sim, dir->node, name);
        TRY(fault_status(fault, base->path));
        if (node->is_dir)
                return status_new(ERR_IO, "cannot open the lock file %s/%s: it is a directory", base->path, name);
        if (node->lock_owner)
                return status_new(ERR_BUSY, "directory %s is in use by another process", base->path);
        node->lock_owner = dir;
        return ST_OK;
}

/* Here one reader keeps another out, which the real machine does not. */
static Status sim_dir_lock_existing(OsDir *base, const char *name, bool *ret_locked)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        CHECK_DIR(dir);
        SimNode *node = sim_dir_find(dir->node, name);
        TRY(fault_status(count_call(sim, CALL_READ), base->path));
        *ret_locked = false;
        if (!node)
                return ST_OK;
        if (node->is_dir)
                return status_new(ERR_IO, "cannot open the lock file %s/%s: it is a directory", base->path, name);
        if (node->lock_owner)
                return status_new(ERR_BUSY, "directory %s is in use by another process", base->path);
        node->lock_owner = dir;
        *ret_locked = true;
        return ST_OK;
}

static uint64_t space_left(const SimOs *sim)
{
        uint64_t used = sim_disk_used(&sim->disk);
        return sim->disk_limit > used ? sim->disk_limit - used : 0;
}

static Status sim_dir_free_bytes(OsDir *base, uint64_t *ret_bytes)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        CHECK_DIR(dir);
        TRY(fault_status(count_call(sim, CALL_READ), base->path));
        *ret_bytes = sim->disk_limit ? space_left(sim) : (uint64_t)1 << 40;
        return ST_OK;
}

/* --- files --- */
static Status sim_file_open(OsDir *base, const char *name, int flags, OsFile **ret_file)
{
        SimDirHandle *dir = (SimDirHandle *)base;
        LOCKED(base->os);
        CHECK_DIR(dir);
        SimNode *node = sim_dir_find(dir->node, name);
        bool creates = !node && (flags & OS_CREATE), truncates = node && (flags & OS_TRUNCATE) && node->now.size > 0;
        SimFileHandle *file = mem_zalloc(sizeof *file);
        Status st = file ? os_file_init(&file->base, base, name, flags) : status_nomem();
        if (!st) {
                Fault fault = count_call(sim, creates ? CALL_GROW : truncates ? CALL_CHANGE : CALL_READ);
                if (fault == FAULT_NONE && !node && !creates)
                        st = status_new(ERR_NOT_FOUND, "cannot open %s: it does not exist", file->base.path);
                else if (fault == FAULT_NONE && node && (flags & OS_CREATE) && (flags & OS_EXCLUSIVE))
                        st = status_new(ERR_EXISTS, "cannot open %s: it exists already", file->base.path);
                else if (fault == FAULT_NONE && node && node->is_dir)
                        st = status_new(ERR_INVALID, "%s is not a regular file", file->base.path);
                else if (creates && happened(sim, fault))
                        node = create_file(sim, dir->node, name);
                else if (truncates && happened(sim, fault))
                        sim_file_truncate(node, 0);
                if (!st)
                        st = fault_status(fault, file->base.path);
        }
        if (st) {
                if (file)
                        os_file_done(&file->base);
                mem_free(file);
                return st;
        }
        file->node = sim_node_ref(node);
        file->node->opens++;
        file->generation = sim->generation;
        *ret_file = &file->base;
        return ST_OK;
}

static void sim_file_close(OsFile *base)
{
        SimFileHandle *file = (SimFileHandle *)base;
        LOCKED(base->os);
        if (file->generation == sim->generation)
                file->node->opens--;
        sim_node_unref(file->node);
        os_file_done(base);
        mem_free(file);
}

static Status sim_file_read_at(OsFile *base, uint64_t offset, void *out, size_t size, size_t *ret_size)
{
        SimFileHandle *file = (SimFileHandle *)base;
        LOCKED(base->os);
        CHECK_FILE(file);
        TRY(fault_status(count_call(sim, CALL_READ), base->path));
        if (!(base->flags & OS_READ))
                return status_new(ERR_IO, "%s is not open for reading", base->path);
        const SimContent *now = &file->node->now;
        size_t n = offset < now->size ? MIN(size, now->size - offset) : 0;
        if (n)
                memcpy(out, now->data + offset, n);
        *ret_size = n;
        return ST_OK;
}

static Status sim_file_write_at(OsFile *base, uint64_t offset, const void *data, size_t size)
{
        SimFileHandle *file = (SimFileHandle *)base;
        LOCKED(base->os);
        CHECK_FILE(file);
        Fault fault = count_call(sim, CALL_GROW);
        if (!(base->flags & OS_WRITE))
                return status_new(ERR_IO, "%s is not open for writing", base->path);
        if (fault == FAULT_OFF)
                return fault_status(fault, base->path);
        size_t written = fault == FAULT_NONE ? size : sim_rng_below(&sim->faults, size + 1);
        uint64_t end = offset + size, now_size = file->node->now.size;
        if (fault == FAULT_NONE && sim->disk_limit && end > now_size) {
                uint64_t left = space_left(sim);
                if (end - now_size > left) {
                        fault = FAULT_NO_SPACE;
                        written = now_size + left > offset ? now_size + left - offset : 0;
                }
        }
        sim_file_write(file->node, offset, data, written);
        return fault_status(fault, base->path);
}

NO_TSA static void sync_wait(SimOs *sim)
{
        sim->syncs_held++;
        cond_broadcast(&sim->sync_changed);
        while (sim->hold_syncs && sim->syncs_let == 0)
                cond_wait(&sim->sync_changed, &sim->mu);
        sim->syncs_let -= sim->hold_syncs;
        sim->syncs_held--;
}

static Status sim_file_sync(OsFile *base)
{
        SimFileHandle *file = (SimFileHandle *)base;
        LOCKED(base->os);
        sync_wait(sim);
        CHECK_FILE(file);
        Fault fault = count_call(sim, CALL_CHANGE);
        if (fault == FAULT_NONE)
                sim_node_sync(file->node);
        else if (fault != FAULT_OFF)
                sim_node_sync_badly(file->node);
        return fault_status(fault, base->path);
}

static Status sim_file_truncate_op(OsFile *base, uint64_t size)
{
        SimFileHandle *file = (SimFileHandle *)base;
        LOCKED(base->os);
        CHECK_FILE(file);
        Fault fault = count_call(sim, CALL_CHANGE);
        if (!(base->flags & OS_WRITE))
                return status_new(ERR_IO, "%s is not open for writing", base->path);
        if (happened(sim, fault))
                sim_file_truncate(file->node, size);
        return fault_status(fault, base->path);
}

static Status sim_file_size(OsFile *base, uint64_t *ret_size)
{
        SimFileHandle *file = (SimFileHandle *)base;
        LOCKED(base->os);
        CHECK_FILE(file);
        TRY(fault_status(count_call(sim, CALL_READ), base->path));
        *ret_size = file->node->now.size;
        return ST_OK;
}

/* --- the machine --- */
static const OsOps sim_ops = {
        .wall_us = sim_os_wall_us,
        .mono_ns = sim_os_mono_ns,
        .random = sim_os_random,
        .dir_open = sim_dir_open,
        .dir_open_sub = sim_dir_open_sub,
        .dir_close = sim_dir_close,
        .dir_sync = sim_dir_sync,
        .dir_rename = sim_dir_rename,
        .dir_remove = sim_dir_remove,
        .dir_list = sim_dir_list,
        .dir_lock = sim_dir_lock,
        .dir_lock_existing = sim_dir_lock_existing,
        .dir_free_bytes = sim_dir_free_bytes,
        .file_open = sim_file_open,
        .file_close = sim_file_close,
        .file_read_at = sim_file_read_at,
        .file_write_at = sim_file_write_at,
        .file_sync = sim_file_sync,
        .file_truncate = sim_file_truncate_op,
        .file_size = sim_file_size,
};

Status sim_new(uint64_t seed, SimOs **ret_sim)
{
        SimOs *sim = mem_zalloc(sizeof *sim);
        if (!sim)
                return status_nomem();
        sim->os.ops = &sim_ops;
        mutex_init(&sim->mu);
        cond_init(&sim->sync_changed);
        sim_disk_init(&sim->disk, seed);
        sim->random.state = seed ^ 0x6a09e667f3bcc909u;
        sim->faults.state = seed ^ 0xbb67ae8584caa73bu;
        sim->wall_us = INT64_C(1767225600000000); /* 2026-01-01 */
        sim->mono_ns = 1000000000;
        *ret_sim = sim;
        return ST_OK;
}

SimOs *sim_free(SimOs *sim)
{
        if (sim) {
                sim_disk_done(&sim->disk);
                cond_done(&sim->sync_changed);
                mutex_done(&sim->mu);
                mem_free(sim);
        }
        return NULL;
}

Os *sim_os(SimOs *sim)
{
        return &sim->os;
}

void sim_fail_nth(SimOs *machine, long n, SimFailure how)
{
        LOCKED(&machine->os);
        sim->calls = 0;
        sim->fail_at = n > 0 ? n : 0;
        sim->failure = how;
        sim->fired = false;
}

int sim_fired(SimOs *machine)
{
        LOCKED(&machine->os);
        return sim->fired;
}

long sim_calls(SimOs *machine)
{
        LOCKED(&machine->os);
        return sim->calls;
}

void sim_heal(SimOs *machine)
{
        LOCKED(&machine->os);
        sim->fail_at = 0;
}

void sim_disk_limit(SimOs *machine, uint64_t bytes)
{
        LOCKED(&machine->os);
        sim->disk_limit = bytes;
}

void sim_crash(SimOs *machine, SimCrash how)
{
        LOCKED(&machine->os);
        sim_disk_crash(&sim->disk, how);
        sim->generation++;
        sim->power_off = false;
        sim->fail_at = 0;
}

void sim_hold_syncs(SimOs *machine, bool hold)
{
        LOCKED(&machine->os);
        sim->hold_syncs = hold;
        sim->syncs_let = 0;
        cond_broadcast(&sim->sync_changed);
}

void sim_let_sync(SimOs *machine)
{
        LOCKED(&machine->os);
        sim->syncs_let++;
        cond_broadcast(&sim->sync_changed);
}

NO_TSA void sim_await_sync(SimOs *machine)
{
        LOCKED(&machine->os);
        while (sim->syncs_held <= sim->syncs_let)
                cond_wait(&sim->sync_changed, &sim->mu);
}

void sim_set_wall_us(SimOs *machine, int64_t us)
{
        LOCKED(&machine->os);
        sim->wall_us = us;
}

void sim_advance_ns(SimOs *machine, int64_t ns)
{
        LOCKED(&machine->os);
        sim->mono_ns += ns;
        sim->wall_us += ns / 1000;
}

Status sim_flip_bit(SimOs *machine, const char *path, uint64_t offset, int bit)
{
        LOCKED(&machine->os);
        SimNode *parent;
        char last[256];
        TRY(walk(sim, path, &parent, last, sizeof last));
        SimNode *file = last[0] ? sim_dir_find(parent, last) : NULL;
        if (!file || file->is_dir)
                return status_new(ERR_NOT_FOUND, "%s: there is no such file", path);
        if (offset >= file->now.size)
                return status_new(ERR_INVALID, "%s has %zu bytes, none at %" PRIu64, path, file->now.size, offset);
        uint8_t flipped = file->now.data[offset] ^ (uint8_t)(1u << (bit & 7));
        if (file->first_change)
                sim_file_write(file, offset, &flipped, 1); /* after what is not yet synced */
        else
                file->durable.data[offset] = file->now.data[offset] = flipped;
        return ST_OK;
}
