/* space.c - the layout under a lock, the file beneath it, and what waits to be free.
 *
 *      file_mu   shape of the file and writing: growing, cutting, one writer at a time (os.h)
 *      sync_mu   syncing, through a handle of its own so that writing goes on meanwhile
 *      mu        layout and waiting extents: microseconds, no file call
 *
 * The layout never shows pages that the file does not have: growing enlarges the file first, cutting takes the pages
 * out of the layout first. */
#include "storage/slab/space_int.h"

#include <assert.h>
#include <inttypes.h>
#include <stdlib.h>

#include "base/mem.h"
#include "os/thread.h"

#define GROW_SHARE       16 /* the file grows by this share of itself, */
#define GROW_MIN_PAGES   4u
#define GROW_MAX_PAGES   ((16u << 20) / PAGE_BYTES)
#define RECLAIM_BATCH    256          /* extents a lock: keeps it short */
#define KEEP_WAITING     4096         /* room for waiting extents that is kept when none are left */
#define SAVE_SLACK_BYTES 4096         /* what an allocation can add to the saved bytes */
#define SETTLE_BYTES     (256u << 10) /* discarded extents of a batch wait until there are so many of them */
#define JOIN_BYTES       (256u << 10) /* neighbours are written together up to this */

typedef struct Waiting {
        uint64_t version;
        Extent extent;
} Waiting;

struct Space {
        OsDir *dir;
        char *name;
        uint64_t max_pages;
        bool read_only; /* there is no sync_file then */

        Mutex file_mu; /* order 72 in docs/locks.md */
        OsFile *file;  /* reading: any thread; all else: GUARDED_BY(file_mu) */

        Mutex sync_mu; /* order 73 */
        /* --- GUARDED_BY(sync_mu) --- */
        OsFile *sync_file; /* the same file */

        Mutex mu; /* order 74 */
        /* --- GUARDED_BY(mu) --- */
        Layout layout;
        Waiting *waiting; /* heap, the least version first */
        size_t waiting_count, waiting_capacity;
        Births births;
};

static Status in_file(const Space *space, Status st)
{
        return status_context(st, "page file %s/%s", os_dir_path(space->dir), space->name);
}

/* --- opening and closing --- */

/* The file has whole pages, and the headers at least. */
static Status file_round(Space *space, uint64_t *ret_pages) REQUIRES(space->file_mu)
{
        uint64_t bytes, rounded;
        TRY(os_file_size(space->file, &bytes));
        rounded = MAX((bytes + PAGE_BYTES - 1) / PAGE_BYTES, (uint64_t)HEADER_PAGES) * PAGE_BYTES;
        if (rounded / PAGE_BYTES > MAX_PAGES)
                return status_new(ERR_LIMIT, "%" PRIu64 " bytes; at most %" PRIu64 " are possible", bytes,
                                  MAX_PAGES * PAGE_BYTES);
        /* Even to the size it has: we may see one whose maker died after a sync of it failed, and no sync would ever
         * make that durable. */
        if (!space->read_only)
                TRY(os_file_truncate(space->file, rounded));
        *ret_pages = rounded / PAGE_BYTES;
        return ST_OK;
}

static Status space_open_file(Space *space, OsDir *dir)
{
        uint64_t pages;
        TRY(os_file_open(dir, space->name, OS_READ | OS_WRITE | OS_CREATE, &space->file));
        mutex_lock(&space->sync_mu);
        Status st = os_file_open(dir, space->name, OS_READ | OS_WRITE, &space->sync_file);
        mutex_unlock(&space->sync_mu);
        TRY(st);
        /* Even if the file was there: whoever made it may have died before its name was durable. */
        TRY(os_dir_sync(dir));
        mutex_lock(&space->file_mu);
        st = file_round(space, &pages);
        mutex_unlock(&space->file_mu);
        TRY(st);
        mutex_lock(&space->mu);
        st = layout_init(&space->layout, pages);
        mutex_unlock(&space->mu);
        return st;
}

Status space_open(OsDir *dir, const char *name, const SpaceOptions *options, Space **ret_space)
{
        _cleanup_(space_closep) Space *space = mem_zalloc(sizeof(*space));
        if (!space)
                return status_nomem();
        mutex_init(&space->file_mu);
        mutex_init(&space->sync_mu);
        mutex_init(&space->mu);
        space->dir = dir;
        space->max_pages = MAX_PAGES;
        if (options && options->max_bytes)
                space->max_pages = MIN(options->max_bytes / PAGE_BYTES, MAX_PAGES);
        space->name = mem_strdup(name);
        if (!space->name)
                return status_nomem();
        TRY_CTX(space_open_file(space, dir), "opening page file %s/%s", os_dir_path(dir), name);
        *ret_space = take(space);
        return ST_OK;
}

static Status space_open_file_read(Space *space, OsDir *dir)
{
        uint64_t pages;
        TRY(os_file_open(dir, space->name, OS_READ, &space->file));
        mutex_lock(&space->file_mu);
        Status st = file_round(space, &pages);
        mutex_unlock(&space->file_mu);
        TRY(st);
        mutex_lock(&space->mu);
        st = layout_init(&space->layout, pages);
        mutex_unlock(&space->mu);
        return st;
}

Status space_open_read(OsDir *dir, const char *name, Space **ret_space)
{
        _cleanup_(space_closep) Space *space = mem_zalloc(sizeof(*space));
        if (!space)
                return status_nomem();
        mutex_init(&space->file_mu);
        mutex_init(&space->sync_mu);
        mutex_init(&space->mu);
        space->dir = dir;
        space->max_pages = MAX_PAGES;
        space->read_only = true;
        space->name = mem_strdup(name);
        if (!space->name)
                return status_nomem();
        TRY_CTX(space_open_file_read(space, dir), "opening page file %s/%s", os_dir_path(dir), name);
        *ret_space = take(space);
        return ST_OK;
}

Space *space_close(Space *space) NO_TSA
{
        if (!space)
                return NULL;
        os_file_close(space->file);
        os_file_close(space->sync_file);
        layout_done(&space->layout);
        births_done(&space->births);
        mem_free(space->waiting);
        mutex_done(&space->mu);
        mutex_done(&space->sync_mu);
        mutex_done(&space->file_mu);
        mem_free(space->name);
        mem_free(space);
        return NULL;
}

/* --- the file --- */

static Status grow_to(Space *space, uint64_t pages, uint32_t add) REQUIRES(space->file_mu)
{
        uint64_t device_bytes;
        if (pages > space->max_pages)
                return status_hint(status_new(ERR_NO_SPACE, "full: it may have %" PRIu64 " bytes and needs %" PRIu64,
                                              space->max_pages * PAGE_BYTES, pages * PAGE_BYTES),
                                   "raise the limit, or delete data");
        /* Enlarging reserves nothing, so this is no promise: space_write() may meet a full device too. But most of the
         * time it says so before the tree has done its work. */
        TRY(os_dir_free_bytes(space->dir, &device_bytes));
        if (device_bytes < (uint64_t)add * PAGE_BYTES)
                return status_hint(
                        status_new(ERR_NO_SPACE, "the device is full: %" PRIu64 " bytes are left", device_bytes),
                        "free space on the device of the data directory");
        return os_file_truncate(space->file, pages * PAGE_BYTES);
}

/* So that `missing` pages in a row are free. Nobody else grows or cuts meanwhile; others allocate and free. */
static Status space_grow(Space *space, uint32_t missing) REQUIRES(space->file_mu)
{
        Run *spare;
        TRY(run_new(0, 0, &spare));
        mutex_lock(&space->mu);
        uint64_t count = space->layout.page_count;
        uint32_t tail = layout_tail_pages(&space->layout);
        mutex_unlock(&space->mu);
        if (tail >= missing) {
                run_free(spare);
                return ST_OK;
        }
        uint32_t least = missing - tail, add = (uint32_t)MIN(count / GROW_SHARE, (uint64_t)GROW_MAX_PAGES);
        add = MAX(MAX(add, GROW_MIN_PAGES), least);
        /* Near the limit a sensible step may be too much when what is needed is not. */
        if (count + add > space->max_pages && count + least <= space->max_pages)
                add = (uint32_t)(space->max_pages - count);
        Status st = grow_to(space, count + add, add);
        if (status_code(st) == ERR_NO_SPACE && add > least) {
                status_ignore(st);
                add = least;
                st = grow_to(space, count + add, add);
        }
        if (st) {
                /* A failed one may have enlarged it. What is behind the layout's end is nobody's. */
                run_free(spare);
                return st;
        }
        mutex_lock(&space->mu);
        layout_grow(&space->layout, add, spare);
        mutex_unlock(&space->mu);
        return ST_OK;
}

/* layout_alloc(); a batch (may be NULL) has the extent before anybody can save a state that shows it as live. */
static Status alloc_once(Space *space, SpaceBatch *batch, size_t bytes, unsigned max_step, Extent *ret_extent,
                         uint32_t *ret_missing)
{
        Extent extent = 0;
        mutex_lock(&space->mu);
        Status st = batch ? births_reserve(&space->births, batch) : ST_OK;
        if (!st)
                st = layout_alloc(&space->layout, bytes, max_step, &extent, ret_missing);
        if (!st && !*ret_missing && batch)
                births_add(&space->births, batch, extent);
        mutex_unlock(&space->mu);
        *ret_extent = extent;
        return st;
}

static Status alloc_growing(Space *space, SpaceBatch *batch, size_t bytes, Extent *ret_extent) REQUIRES(space->file_mu)
{
        unsigned step = SLAB_STEPS - 1;
        for (;;) {
                uint32_t missing;
                Status st = alloc_once(space, batch, bytes, step, ret_extent, &missing);
                if (st || !missing)
                        return st;
                /* Others may take what we make here, so it may go round; each time the file has grown. */
                st = space_grow(space, missing);
                if (!st)
                        continue;
                if (status_code(st) != ERR_NO_SPACE || bytes > SLAB_MAX_EXTENT || step == 0)
                        return st;
                status_ignore(st);
                step--;
        }
}

static Status alloc_for(Space *space, SpaceBatch *batch, size_t bytes, Extent *ret_extent)
{
        uint32_t missing;
        Extent extent;
        Status st = alloc_once(space, batch, bytes, SLAB_STEPS - 1, &extent, &missing);
        if (!st && missing) {
                mutex_lock(&space->file_mu);
                st = alloc_growing(space, batch, bytes, &extent);
                mutex_unlock(&space->file_mu);
        }
        if (st)
                return in_file(space, st);
        *ret_extent = extent;
        return ST_OK;
}

Status space_alloc(Space *space, size_t bytes, Extent *ret_extent)
{
        return alloc_for(space, NULL, bytes, ret_extent);
}

/* Gives back what is free at the end. */
static Status space_cut(Space *space)
{
        Status st = ST_OK;
        mutex_lock(&space->file_mu);
        mutex_lock(&space->mu);
        Run *tail = layout_cut_tail(&space->layout);
        uint64_t pages = space->layout.page_count;
        mutex_unlock(&space->mu);
        if (tail) {
                st = os_file_truncate(space->file, pages * PAGE_BYTES);
                if (st) {
                        mutex_lock(&space->mu);
                        layout_put_tail(&space->layout, tail);
                        mutex_unlock(&space->mu);
                } else {
                        run_free(tail);
                }
        }
        mutex_unlock(&space->file_mu);
        return st;
}

size_t space_extent_bytes(const Space *space, Extent extent)
{
        return extent_valid(extent) ? extent_bytes(extent) : 0;
}

uint64_t space_extent_offset(const Space *space, Extent extent)
{
        return extent_offset(extent);
}

Status space_write(Space *space, Extent extent, const void *data, size_t bytes)
{
        char text[EXTENT_TEXT_BYTES];
        if (!extent_valid(extent) || bytes > extent_bytes(extent))
                return in_file(space,
                               status_new(ERR_INVALID, "%s: %zu bytes do not fit", extent_text(extent, text), bytes));
        mutex_lock(&space->file_mu);
        Status st = os_file_write_at(space->file, extent_offset(extent), data, bytes);
        mutex_unlock(&space->file_mu);
        return st;
}

static int piece_compare(const void *a, const void *b)
{
        uint64_t x = extent_offset(((const SpacePiece *)a)->extent), y = extent_offset(((const SpacePiece *)b)->extent);
        return (x > y) - (x < y);
}

/* Pieces from the first on that lie side by side; *ret_bytes from the first's start to the last one's end. */
static size_t pieces_joined(const SpacePiece *pieces, size_t count, size_t *ret_bytes)
{
        size_t n = 1, room = extent_bytes(pieces[0].extent);
        *ret_bytes = pieces[0].bytes;
        for (; n < count && room + pieces[n].bytes <= JOIN_BYTES; n++) {
                if (extent_offset(pieces[n].extent) != extent_offset(pieces[0].extent) + room)
                        break;
                *ret_bytes = room + pieces[n].bytes;
                room += extent_bytes(pieces[n].extent);
        }
        return n;
}

Status space_write_pieces(Space *space, SpacePiece *pieces, size_t count)
{
        _cleanup_(mem_freep) uint8_t *joined = NULL;
        char text[EXTENT_TEXT_BYTES];
        for (size_t i = 0; i < count; i++)
                if (!extent_valid(pieces[i].extent) || pieces[i].bytes > extent_bytes(pieces[i].extent))
                        return in_file(space, status_new(ERR_INVALID, "%s: %zu bytes do not fit",
                                                         extent_text(pieces[i].extent, text), pieces[i].bytes));
        if (count > 1)
                qsort(pieces, count, sizeof(*pieces), piece_compare);
        for (size_t i = 0, n, bytes; i < count; i += n) {
                n = pieces_joined(pieces + i, count - i, &bytes);
                const void *data = pieces[i].data;
                if (n > 1) {
                        if (!joined && !(joined = mem_alloc(JOIN_BYTES)))
                                return status_nomem();
                        uint8_t *at = joined;
                        for (size_t k = i; k < i + n; k++) {
                                /* What is behind a piece in its extent is undefined, but not ours to give away. */
                                size_t room = k + 1 < i + n ? extent_bytes(pieces[k].extent) : pieces[k].bytes;
                                memcpy(at, pieces[k].data, pieces[k].bytes);
                                memset(at + pieces[k].bytes, 0, room - pieces[k].bytes);
                                at += room;
                        }
                        data = joined;
                }
                mutex_lock(&space->file_mu);
                Status st = os_file_write_at(space->file, extent_offset(pieces[i].extent), data, bytes);
                mutex_unlock(&space->file_mu);
                TRY(st);
        }
        return ST_OK;
}

Status space_read(Space *space, Extent extent, void *out, size_t bytes)
{
        char text[EXTENT_TEXT_BYTES];
        size_t got;
        if (!extent_valid(extent))
                return in_file(space, status_new(ERR_CORRUPT, "%s", extent_text(extent, text)));
        if (bytes > extent_bytes(extent))
                return in_file(space,
                               status_new(ERR_INVALID, "%s has not %zu bytes", extent_text(extent, text), bytes));
        TRY(os_file_read_at(space->file, extent_offset(extent), out, bytes, &got));
        if (got < bytes)
                return in_file(space,
                               status_new(ERR_CORRUPT, "%s: the file ends before it does", extent_text(extent, text)));
        return ST_OK;
}

Status space_sync(Space *space)
{
        mutex_lock(&space->sync_mu);
        Status st = os_file_sync(space->sync_file);
        mutex_unlock(&space->sync_mu);
        return st;
}

Status space_resume(Space *space)
{
        OsFile *file;
        TRY(os_file_open(space->dir, space->name, OS_READ | OS_WRITE, &file));
        mutex_lock(&space->sync_mu);
        os_file_close(space->sync_file);
        space->sync_file = file;
        mutex_unlock(&space->sync_mu);
        return ST_OK;
}

Status space_header_write(Space *space, unsigned which, const void *data, size_t bytes)
{
        if (which >= HEADER_PAGES || bytes > SPACE_HEADER_BYTES)
                return in_file(space, status_new(ERR_INVALID, "header %u with %zu bytes", which, bytes));
        mutex_lock(&space->file_mu);
        Status st = os_file_write_at(space->file, which * SPACE_HEADER_BYTES, data, bytes);
        mutex_unlock(&space->file_mu);
        return st;
}

Status space_header_read(Space *space, unsigned which, void *out, size_t bytes)
{
        size_t got;
        if (which >= HEADER_PAGES || bytes > SPACE_HEADER_BYTES)
                return in_file(space, status_new(ERR_INVALID, "header %u with %zu bytes", which, bytes));
        TRY(os_file_read_at(space->file, which * SPACE_HEADER_BYTES, out, bytes, &got));
        if (got < bytes && !space->read_only)
                return in_file(space, status_new(ERR_CORRUPT, "header %u: the file ends before it does", which));
        /* Whoever made the file may have died before it had its size. */
        memset((uint8_t *)out + got, 0, bytes - got);
        return ST_OK;
}

/* --- waiting --- */

static Status waiting_reserve(Space *space) REQUIRES(space->mu)
{
        if (space->waiting_count < space->waiting_capacity)
                return ST_OK;
        size_t capacity = MAX((size_t)64, space->waiting_capacity * 2);
        Waiting *waiting = mem_realloc(space->waiting, capacity * sizeof(*waiting));
        if (!waiting)
                return status_nomem();
        space->waiting = waiting;
        space->waiting_capacity = capacity;
        return ST_OK;
}

static void waiting_push(Space *space, Waiting item) REQUIRES(space->mu)
{
        size_t at = space->waiting_count++;
        while (at > 0 && space->waiting[(at - 1) / 2].version > item.version) {
                space->waiting[at] = space->waiting[(at - 1) / 2];
                at = (at - 1) / 2;
        }
        space->waiting[at] = item;
}

static Extent waiting_pop(Space *space) REQUIRES(space->mu)
{
        Extent extent = space->waiting[0].extent;
        size_t count = --space->waiting_count, at = 0;
        Waiting item = space->waiting[count];
        for (size_t child; (child = 2 * at + 1) < count; at = child) {
                if (child + 1 < count && space->waiting[child + 1].version < space->waiting[child].version)
                        child++;
                if (space->waiting[child].version >= item.version)
                        break;
                space->waiting[at] = space->waiting[child];
        }
        space->waiting[at] = item;
        return extent;
}

Status space_free(Space *space, Extent extent, uint64_t version)
{
        mutex_lock(&space->mu);
        Status st = waiting_reserve(space);
        if (!st)
                st = layout_wait(&space->layout, extent);
        if (!st)
                waiting_push(space, (Waiting){version, extent});
        mutex_unlock(&space->mu);
        return in_file(space, st);
}

Status space_discard(Space *space, Extent extent)
{
        mutex_lock(&space->mu);
        Status st = layout_discard(&space->layout, extent);
        mutex_unlock(&space->mu);
        return in_file(space, st);
}

Status space_reclaim(Space *space, uint64_t version)
{
        for (bool more = true; more;) {
                Waiting *unused = NULL;
                mutex_lock(&space->mu);
                births_drop(&space->births, version);
                for (size_t i = 0; i < RECLAIM_BATCH; i++) {
                        more = space->waiting_count > 0 && space->waiting[0].version <= version;
                        if (!more)
                                break;
                        layout_reclaim(&space->layout, waiting_pop(space));
                }
                if (space->waiting_count == 0 && space->waiting_capacity > KEEP_WAITING) {
                        unused = take(space->waiting);
                        space->waiting_capacity = 0;
                }
                mutex_unlock(&space->mu);
                mem_free(unused);
        }
        return in_file(space, space_cut(space));
}

/* --- batches --- */

Status space_batch_new(Space *space, SpaceBatch **ret_batch)
{
        SpaceBatch *batch = mem_zalloc(sizeof(*batch));
        if (!batch)
                return status_nomem();
        batch->space = space;
        mutex_lock(&space->mu);
        Status st = births_begin(&space->births, batch);
        mutex_unlock(&space->mu);
        if (st) {
                mem_free(batch);
                return st;
        }
        *ret_batch = batch;
        return ST_OK;
}

Status space_batch_alloc(SpaceBatch *batch, size_t bytes, Extent *ret_extent)
{
        TRY(alloc_for(batch->space, batch, bytes, ret_extent));
        batch->bytes += extent_bytes(*ret_extent);
        return ST_OK;
}

static void discard_all(Space *space, const Extent *extents, size_t count) REQUIRES(space->mu)
{
        for (size_t i = 0; i < count; i++) {
                Status st = layout_discard(&space->layout, extents[i]);
                assert(!st); /* a batch's extents are live, and nobody else's */
                status_ignore(st);
        }
}

static int extent_compare(const void *a, const void *b)
{
        Extent x = *(const Extent *)a, y = *(const Extent *)b;
        return (x > y) - (x < y);
}

static void batch_settle(SpaceBatch *batch)
{
        Space *space = batch->space;
        if (batch->dead_count == 0)
                return;
        qsort(batch->dead, batch->dead_count, sizeof(Extent), extent_compare);
        mutex_lock(&space->mu);
        births_forget(&space->births, batch);
        discard_all(space, batch->dead, batch->dead_count);
        mutex_unlock(&space->mu);
        batch->bytes -= batch->dead_bytes;
        batch->dead_bytes = batch->dead_count = 0;
}

Status space_batch_discard(SpaceBatch *batch, Extent extent)
{
        if (batch->dead_count == batch->dead_capacity) {
                size_t capacity = MAX(2 * batch->dead_capacity, (size_t)8);
                Extent *dead = mem_realloc(batch->dead, capacity * sizeof(*dead));
                if (!dead)
                        return status_nomem();
                batch->dead = dead;
                batch->dead_capacity = capacity;
        }
        batch->dead[batch->dead_count++] = extent;
        batch->dead_bytes += extent_bytes(extent);
        /* All the batch's extents are looked at then, so not for each of the dead. */
        if (batch->dead_bytes >= SETTLE_BYTES && 2 * batch->dead_bytes >= batch->bytes)
                batch_settle(batch);
        return ST_OK;
}

const Extent *space_batch_extents(const SpaceBatch *batch, size_t *ret_count)
{
        *ret_count = batch->count;
        return batch->extents;
}

static void batch_free(SpaceBatch *batch)
{
        mem_free(batch->extents);
        mem_free(batch->dead);
        mem_free(batch);
}

void space_batch_commit(SpaceBatch *batch, uint64_t version)
{
        Space *space = batch->space;
        batch_settle(batch);
        mutex_lock(&space->mu);
        births_commit(&space->births, batch, version);
        mutex_unlock(&space->mu);
        batch_free(batch);
}

void space_batch_abort(SpaceBatch *batch)
{
        if (!batch)
                return;
        Space *space = batch->space;
        for (bool more = true; more;) {
                mutex_lock(&space->mu);
                size_t kept = batch->count - MIN(batch->count, (size_t)RECLAIM_BATCH);
                discard_all(space, batch->extents + kept, batch->count - kept);
                births_cut(&space->births, batch, kept);
                more = kept > 0;
                if (!more)
                        births_abort(&space->births, batch);
                mutex_unlock(&space->mu);
        }
        batch_free(batch);
}

/* --- saving and loading --- */

static Status save_locked(Space *space, uint64_t version, bool all_free, Buf *out) REQUIRES(space->mu)
{
        for (size_t i = 0; i < space->waiting_count && !all_free; i++)
                if (space->waiting[i].version >= version)
                        layout_show_live(&space->layout, space->waiting[i].extent, true);
        uint64_t born = all_free ? UINT64_MAX : version;
        births_hide(&space->births, &space->layout, born, true);
        Status st = layout_save(&space->layout, out);
        births_hide(&space->births, &space->layout, born, false);
        for (size_t i = 0; i < space->waiting_count && !all_free; i++)
                if (space->waiting[i].version >= version)
                        layout_show_live(&space->layout, space->waiting[i].extent, false);
        return st;
}

Status space_save(Space *space, Buf *out)
{
        mutex_lock(&space->mu);
        Status st = save_locked(space, 0, true, out);
        mutex_unlock(&space->mu);
        return in_file(space, st);
}

Status space_save_at(Space *space, uint64_t version, Buf *out)
{
        mutex_lock(&space->mu);
        Status st = save_locked(space, version, false, out);
        mutex_unlock(&space->mu);
        return in_file(space, st);
}

Status space_save_extent(Space *space, uint64_t version, Buf *out, Extent *ret_extent)
{
        size_t start = out->size;
        Buf measured;
        buf_init(&measured, out->max_bytes);
        Status st = space_save_at(space, version, &measured);
        size_t bytes = measured.size;
        buf_done(&measured);
        while (!st) {
                Extent extent;
                TRY(space_alloc(space, bytes + SAVE_SLACK_BYTES, &extent));
                st = space_save_at(space, version, out);
                if (!st && out->size - start <= extent_bytes(extent)) {
                        *ret_extent = extent;
                        return ST_OK;
                }
                bytes = out->size - start; /* others allocated meanwhile */
                out->size = start;
                status_ignore(space_discard(space, extent)); /* cannot fail: it is ours */
        }
        return st;
}

/* The new layout in place of an empty one, and for the file as it is. */
static Status space_replace(Space *space, Status (*fill)(void *ctx, Layout *layout, uint64_t page_count), void *ctx)
{
        Layout layout = {0};
        uint64_t pages;
        mutex_lock(&space->file_mu);
        Status st = file_round(space, &pages);
        if (!st)
                st = fill(ctx, &layout, pages);
        if (!st) {
                mutex_lock(&space->mu);
                if (layout_empty(&space->layout)) {
                        births_drop(&space->births, UINT64_MAX);
                        Layout old = space->layout;
                        space->layout = layout;
                        layout = old;
                } else {
                        st = status_new(ERR_INVALID, "it is in use");
                }
                mutex_unlock(&space->mu);
        }
        mutex_unlock(&space->file_mu);
        layout_done(&layout);
        return in_file(space, st);
}

static Status fill_loaded(void *ctx, Layout *layout, uint64_t page_count)
{
        return layout_load(layout, *(Bytes *)ctx, page_count);
}

Status space_load(Space *space, Bytes saved)
{
        return space_replace(space, fill_loaded, &saved);
}

typedef struct Walk {
        SpaceNext next;
        void *ctx;
} Walk;

static Status fill_walked(void *ctx, Layout *layout, uint64_t page_count)
{
        const Walk *walk = ctx;
        for (;;) {
                Extent extent = 0;
                bool more = true;
                TRY(walk->next(walk->ctx, &extent, &more));
                if (!more)
                        return layout_build_finish(layout, page_count);
                TRY(layout_build_extent(layout, extent));
        }
}

Status space_rebuild(Space *space, SpaceNext next, void *ctx)
{
        Walk walk = {next, ctx};
        return space_replace(space, fill_walked, &walk);
}

/* --- looking --- */

void space_stats(Space *space, SpaceStats *ret_stats)
{
        mutex_lock(&space->mu);
        const Layout *layout = &space->layout;
        *ret_stats = (SpaceStats){.file_bytes = layout->page_count * PAGE_BYTES,
                                  .live_bytes = layout->live_bytes,
                                  .free_bytes = layout->free_bytes,
                                  .waiting_bytes = layout->waiting_bytes,
                                  .metadata_bytes = layout->metadata_bytes,
                                  .extent_count = layout->large_live};
        for (unsigned i = 0; i < SLAB_CLASSES; i++) {
                ret_stats->slab_count += layout->classes[i].slab_count;
                ret_stats->extent_count += layout->classes[i].used - layout->classes[i].waiting;
        }
        mutex_unlock(&space->mu);
}

static const char *layout_at(const Layout *layout, uint64_t offset, Extent *ret_extent)
{
        const Run *run = layout->first;
        *ret_extent = 0;
        if (offset / PAGE_BYTES < HEADER_PAGES)
                return "header";
        while (run && (uint64_t)run->page + run->pages <= offset / PAGE_BYTES)
                run = run->next;
        if (!run)
                return "outside";
        if (run->kind == RUN_FREE)
                return "free";
        if (run->kind != RUN_SLAB) {
                *ret_extent = extent_make(CLASS_LARGE, 0, run->pages, run->page);
                return run->kind == RUN_LARGE_WAITING ? "waiting" : "live";
        }
        uint32_t slot = (uint32_t)((offset - (uint64_t)run->page * PAGE_BYTES) / class_bytes(run->class));
        if (slot >= run->slots)
                return "slack";
        *ret_extent = extent_make(run->class, run->step, slot, run->page);
        if (run->waiting && run->waiting[slot / 64] >> slot % 64 & 1)
                return "waiting";
        return run->bits[slot / 64] >> slot % 64 & 1 ? "live" : "free";
}

const char *space_at(Space *space, uint64_t offset, Extent *ret_extent)
{
        mutex_lock(&space->mu);
        const char *what = layout_at(&space->layout, offset, ret_extent);
        mutex_unlock(&space->mu);
        return what;
}

void space_class_stats(Space *space, SpaceClassStats ret_classes[SPACE_CLASS_COUNT])
{
        mutex_lock(&space->mu);
        const Layout *layout = &space->layout;
        for (unsigned i = 0; i < SLAB_CLASSES; i++) {
                const SlabClass *class = &layout->classes[i];
                ret_classes[i] = (SpaceClassStats){.extent_bytes = class_bytes(i),
                                                   .slab_count = class->slab_count,
                                                   .live_count = class->used - class->waiting,
                                                   .waiting_count = class->waiting,
                                                   .free_count = class->slots - class->used,
                                                   .live_bytes = (class->used - class->waiting) * class_bytes(i),
                                                   .waiting_bytes = class->waiting * class_bytes(i)};
        }
        ret_classes[CLASS_LARGE] = (SpaceClassStats){.live_count = layout->large_live,
                                                     .waiting_count = layout->large_waiting,
                                                     .live_bytes = layout->large_live_bytes,
                                                     .waiting_bytes = layout->large_waiting_bytes};
        mutex_unlock(&space->mu);
}

Status space_check(Space *space, SpaceNext next, void *ctx)
{
        _cleanup_(census_freep) Census *census = NULL;
        uint64_t file_bytes = 0, layout_bytes = 0;
        mutex_lock(&space->file_mu);
        Status st = os_file_size(space->file, &file_bytes);
        mutex_lock(&space->mu);
        if (!st)
                st = layout_verify(&space->layout);
        if (!st) {
                births_hide(&space->births, &space->layout, UINT64_MAX, true);
                st = census_new(&space->layout, &census);
                births_hide(&space->births, &space->layout, UINT64_MAX, false);
        }
        layout_bytes = space->layout.page_count * PAGE_BYTES;
        mutex_unlock(&space->mu);
        mutex_unlock(&space->file_mu);
        if (space->read_only) /* nobody has rounded it after a torn write */
                file_bytes = (file_bytes + PAGE_BYTES - 1) / PAGE_BYTES * PAGE_BYTES;
        /* Longer is possible when enlarging or cutting failed half-way. */
        if (!st && file_bytes < layout_bytes)
                st = status_new(ERR_CORRUPT, "it has %" PRIu64 " bytes, %" PRIu64 " are accounted for", file_bytes,
                                layout_bytes);
        while (!st) {
                Extent extent = 0;
                bool more = true;
                st = next(ctx, &extent, &more);
                if (!st && !more) {
                        st = census_finish(census);
                        break;
                }
                if (!st)
                        st = census_count(census, extent);
        }
        return in_file(space, st);
}
