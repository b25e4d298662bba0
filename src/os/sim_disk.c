/* sim_disk.c - files and directories that know what is durable. */
#include "os/sim_disk.h"

#include <assert.h>
#include <stdlib.h>

typedef enum ChangeKind { CHANGE_WRITE, CHANGE_TRUNCATE, CHANGE_NAMES } ChangeKind;
struct SimChange {
        SimChange *next;
        ChangeKind kind;
        uint64_t offset; /* CHANGE_WRITE; the new size of CHANGE_TRUNCATE */
        uint8_t *data;
        size_t size;
        char *set, *unset; /* CHANGE_NAMES, either may be NULL */
        SimNode *node;     /* what `set` becomes; counted */
};

/* --- memory that is not the program's --- */
static void *must_alloc(size_t bytes)
{
        void *p = calloc(1, bytes ? bytes : 1);
        if (!p)
                abort();
        return p;
}

static void *must_realloc(void *p, size_t bytes)
{
        p = realloc(p, bytes ? bytes : 1);
        if (!p)
                abort();
        return p;
}

static char *must_strdup(const char *s)
{
        return s ? memcpy(must_alloc(strlen(s) + 1), s, strlen(s) + 1) : NULL;
}

uint64_t sim_rng_next(SimRng *rng)
{
        uint64_t z = rng->state += 0x9e3779b97f4a7c15u;
        z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
        z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
        return z ^ (z >> 31);
}

uint64_t sim_rng_below(SimRng *rng, uint64_t bound)
{
        return sim_rng_next(rng) % bound;
}

/* --- bytes --- */
static void content_resize(SimContent *content, size_t size)
{
        if (size > content->capacity) {
                content->capacity = MAX(size, content->capacity * 2);
                content->data = must_realloc(content->data, content->capacity);
        }
        if (size > content->size)
                memset(content->data + content->size, 0, size - content->size);
        content->size = size;
}

static void content_write(SimContent *content, uint64_t offset, const void *data, size_t size)
{
        if (size == 0)
                return;
        if (offset + size > content->size)
                content_resize(content, offset + size);
        memcpy(content->data + offset, data, size);
}

static void content_copy(SimContent *to, const SimContent *from)
{
        content_resize(to, 0);
        content_write(to, 0, from->data, from->size);
}

/* --- names --- */
static SimEntry *entries_find(const SimEntries *entries, const char *name)
{
        for (size_t i = 0; i < entries->count; i++)
                if (strcmp(entries->items[i].name, name) == 0)
                        return &entries->items[i];
        return NULL;
}

/* `links_by`: 1 for the entries programs see, 0 for durable ones. */
static void entries_unset(SimEntries *entries, const char *name, int links_by)
{
        SimEntry *entry = entries_find(entries, name);
        if (!entry)
                return;
        SimNode *node = entry->node;
        free(entry->name);
        *entry = entries->items[--entries->count];
        node->links -= links_by;
        sim_node_unref(node);
}

static void entries_set(SimEntries *entries, const char *name, SimNode *node, int links_by)
{
        sim_node_ref(node);
        node->links += links_by;
        SimEntry *entry = entries_find(entries, name);
        if (entry) {
                SimNode *old = entry->node;
                entry->node = node;
                old->links -= links_by;
                sim_node_unref(old);
                return;
        }
        if (entries->count == entries->capacity) {
                entries->capacity = MAX(8u, entries->capacity * 2);
                entries->items = must_realloc(entries->items, entries->capacity * sizeof *entries->items);
        }
        entries->items[entries->count++] = (SimEntry){.name = must_strdup(name), .node = node};
}

static void entries_clear(SimEntries *entries, int links_by)
{
        while (entries->count)
                entries_unset(entries, entries->items[entries->count - 1].name, links_by);
}

static void entries_copy_durable(SimNode *dir)
{
        entries_clear(&dir->now_entries, 1);
        for (size_t i = 0; i < dir->durable_entries.count; i++)
                entries_set(&dir->now_entries, dir->durable_entries.items[i].name, dir->durable_entries.items[i].node,
                            1);
}

/* --- changes --- */
static SimChange *add_change(SimNode *node, ChangeKind kind)
{
        SimChange *change = must_alloc(sizeof *change);
        change->kind = kind;
        if (node->last_change)
                node->last_change->next = change;
        else
                node->first_change = change;
        node->last_change = change;
        return change;
}

static void free_change(SimChange *change)
{
        free(change->data);
        free(change->set);
        free(change->unset);
        if (change->node)
                sim_node_unref(change->node);
        free(change);
}

static SimChange *pop_change(SimNode *node)
{
        SimChange *change = node->first_change;
        if (change) {
                node->first_change = change->next;
                if (!node->first_change)
                        node->last_change = NULL;
        }
        return change;
}

/* Makes the first `size` bytes of a write, or any other change as a whole, durable. */
static void apply_durable(SimNode *node, const SimChange *change, size_t size)
{
        switch (change->kind) {
        case CHANGE_WRITE: content_write(&node->durable, change->offset, change->data, MIN(size, change->size)); break;
        case CHANGE_TRUNCATE: content_resize(&node->durable, change->offset); break;
        case CHANGE_NAMES:
                if (change->unset)
                        entries_unset(&node->durable_entries, change->unset, 0);
                if (change->set) {
                        /* When an earlier rename of this node was lost it still has its older name: it moves, a file
                         * never has two. */
                        for (size_t i = node->durable_entries.count; i-- > 0;)
                                if (node->durable_entries.items[i].node == change->node)
                                        entries_unset(&node->durable_entries, node->durable_entries.items[i].name, 0);
                        entries_set(&node->durable_entries, change->set, change->node, 0);
                }
                break;
        }
}

/* Whole, in part, or not at all. */
static void apply_perhaps(SimNode *node, const SimChange *change)
{
        SimRng *rng = &node->disk->rng;
        if (change->kind != CHANGE_WRITE) {
                if (sim_rng_below(rng, 2))
                        apply_durable(node, change, 0);
                return;
        }
        switch (sim_rng_below(rng, 3)) {
        case 0: apply_durable(node, change, change->size); break;
        case 1: apply_durable(node, change, sim_rng_below(rng, change->size + 1)); break;
        default: break;
        }
}

/* --- nodes --- */
SimNode *sim_node_new(SimDisk *disk, bool is_dir)
{
        SimNode *node = must_alloc(sizeof *node);
        node->disk = disk;
        node->is_dir = is_dir;
        node->refs = 1;
        node->next = disk->nodes;
        if (node->next)
                node->next->prev = node;
        disk->nodes = node;
        return node;
}

SimNode *sim_node_ref(SimNode *node)
{
        node->refs++;
        return node;
}

void sim_node_unref(SimNode *node)
{
        assert(node->refs > 0);
        if (--node->refs > 0)
                return;
        entries_clear(&node->now_entries, 1);
        entries_clear(&node->durable_entries, 0);
        for (SimChange *change; (change = pop_change(node));)
                free_change(change);
        free(node->now_entries.items);
        free(node->durable_entries.items);
        free(node->now.data);
        free(node->durable.data);
        if (node->prev)
                node->prev->next = node->next;
        else
                node->disk->nodes = node->next;
        if (node->next)
                node->next->prev = node->prev;
        free(node);
}

SimNode *sim_dir_find(const SimNode *dir, const char *name)
{
        SimEntry *entry = entries_find(&dir->now_entries, name);
        return entry ? entry->node : NULL;
}

void sim_dir_change(SimNode *dir, const char *set, SimNode *node, const char *unset)
{
        SimChange *change = add_change(dir, CHANGE_NAMES);
        change->set = must_strdup(set);
        change->unset = must_strdup(unset);
        change->node = set ? sim_node_ref(node) : NULL;
        if (unset)
                entries_unset(&dir->now_entries, unset, 1);
        if (set)
                entries_set(&dir->now_entries, set, node, 1);
}

void sim_file_write(SimNode *file, uint64_t offset, const void *data, size_t size)
{
        if (size == 0)
                return;
        SimChange *change = add_change(file, CHANGE_WRITE);
        change->offset = offset;
        change->size = size;
        change->data = memcpy(must_alloc(size), data, size);
        content_write(&file->now, offset, data, size);
}

void sim_file_truncate(SimNode *file, uint64_t size)
{
        add_change(file, CHANGE_TRUNCATE)->offset = size;
        content_resize(&file->now, size);
}

void sim_node_sync(SimNode *node)
{
        for (SimChange *change; (change = pop_change(node));) {
                apply_durable(node, change, change->size);
                free_change(change);
        }
}

void sim_node_sync_badly(SimNode *node)
{
        if (node->is_dir) {
                /* The first few, in order: what stays in the list must not be older than what left it, or a later sync
                 * would undo that. */
                while (node->first_change && sim_rng_below(&node->disk->rng, 2)) {
                        SimChange *change = pop_change(node);
                        apply_durable(node, change, 0);
                        free_change(change);
                }
                return;
        }
        for (SimChange *change; (change = pop_change(node));) {
                apply_perhaps(node, change);
                free_change(change);
        }
}

/* --- the disk --- */
void sim_disk_init(SimDisk *disk, uint64_t seed)
{
        *disk = (SimDisk){.rng = {seed}};
        disk->root = sim_node_new(disk, true);
}

void sim_disk_done(SimDisk *disk)
{
        sim_node_unref(disk->root);
        assert(!disk->nodes); /* else a handle is still open */
}

uint64_t sim_disk_used(const SimDisk *disk)
{
        uint64_t used = 0;
        for (const SimNode *node = disk->nodes; node; node = node->next)
                if (node->links > 0 || node->opens > 0)
                        used += node->now.size;
        return used;
}

void sim_disk_crash(SimDisk *disk, SimCrash how)
{
        for (SimNode *node = disk->nodes; node; node = node->next)
                sim_node_ref(node); /* none goes away under our feet */
        for (SimNode *node = disk->nodes; node; node = node->next) {
                node->opens = 0;
                node->lock_owner = NULL;
                if (how == SIM_KEEP) /* the page cache outlives the process; it is still not durable */
                        continue;
                for (SimChange *change; (change = pop_change(node));) {
                        if (how == SIM_TEAR)
                                apply_perhaps(node, change);
                        free_change(change);
                }
                if (node->is_dir)
                        entries_copy_durable(node);
                else
                        content_copy(&node->now, &node->durable);
        }
        for (SimNode *node = disk->nodes, *next; node; node = next) {
                next = node->next;
                sim_node_unref(node);
        }
}
