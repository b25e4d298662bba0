/* match.c - the classes of a table, filed by what a row must have to concern them.
 *
 *      MatchTable --- primary: Lookup ---------------- values: hash -> classes      get(1), get_all(1, 2)
 *           |                                    `---- ranges: tree -> classes      between(1, 10)
 *           +--- indexes: Lookup, Lookup ...           the same by the values of an index
 *           +--- fields: "room" -> Lookup ["room"], Lookup ["room", "id"] ...       the same by a field's values
 *           +--- always: classes                       those without a condition that says anything
 *
 * A class is filed under one thing only, though it may ask for more; feed_class_show asks for the rest. */
#include "feed/match_int.h"

#include <assert.h>
#include <limits.h>

#include "base/map.h"

typedef enum LookupKind { BY_KEY, BY_INDEX, BY_FIELD, BY_ELEMENT } LookupKind; /* element: of a field's array */

/* Something of a row that classes are filed by. */
typedef struct Lookup Lookup;
typedef struct LookupGroup LookupGroup;
struct Lookup {
        LookupKind kind;
        size_t filed;      /* classes */
        TableIndex *index; /* BY_INDEX */
        IndexPath path;    /* BY_FIELD, BY_ELEMENT; behind the struct */
        MatchHash values;  /* by value_hash */
        MatchRanges ranges;
        Lookup *next;       /* of the same list */
        LookupGroup *group; /* BY_FIELD, BY_ELEMENT */
};

/* Those that begin with the same field, so that a row that lacks it is done with them at once. */
struct LookupGroup {
        Lookup *lookups;
        size_t name_size; /* the name lies behind the struct */
};

/* What filing a class takes. */
typedef struct MatchFiling {
        FeedClass *class;
        MatchTable *table;
        Lookup *lookup; /* NULL: always */
        uint64_t found; /* by this serial of match_find */
        MatchEntry by_spec;
        size_t entry_count; /* in lookup->values; 0: in its ranges */
        union {
                MatchEntry entries[1]; /* and behind */
                MatchRange range;
                struct {
                        struct MatchFiling *previous, *next;
                } always;
        };
} MatchFiling;

struct MatchTable {
        size_t count;
        uint64_t serial; /* of the last match_find */
        MatchHash specs; /* all classes by their hash */
        Lookup primary;
        Lookup *indexes;
        Map *groups; /* name of a field -> LookupGroup */
        MatchFiling *always;
};

/* --- tables --- */

Status match_table_new(MatchTable **ret_table)
{
        MatchTable *table = mem_zalloc(sizeof *table);
        if (!table)
                return status_nomem();
        Status st = map_new(&table->groups);
        if (st) {
                mem_free(table);
                return st;
        }
        table->primary.kind = BY_KEY;
        *ret_table = table;
        return ST_OK;
}

MatchTable *match_table_free(MatchTable *table)
{
        if (!table)
                return NULL;
        /* Slot by slot, and from the first again when a removal has made the table smaller. */
        for (size_t slot = 0, slot_count = 0; table->count;) {
                if (slot_count != table->specs.slot_count) {
                        slot_count = table->specs.slot_count;
                        slot = 0;
                }
                MatchEntry *entry = table->specs.slots[slot];
                if (entry)
                        match_remove(table, ((MatchFiling *)entry->owner)->class);
                else
                        slot++;
        }
        match_hash_done(&table->specs);
        match_hash_done(&table->primary.values);
        map_free(table->groups);
        mem_free(table);
        return NULL;
}

size_t match_count(const MatchTable *table)
{
        return table->count;
}

/* --- lookups --- */

static Bytes group_name(const LookupGroup *group)
{
        return BYTES(group + 1, group->name_size);
}

static Status group_of(MatchTable *table, Bytes name, LookupGroup **ret_group)
{
        *ret_group = map_get(table->groups, name);
        if (*ret_group)
                return ST_OK;
        LookupGroup *group = mem_alloc(sizeof *group + name.size);
        if (!group)
                return status_nomem();
        *group = (LookupGroup){.name_size = name.size};
        memcpy(group + 1, name.data, name.size);
        Status st = map_put(table->groups, name, group, NULL);
        if (st)
                mem_free(group);
        else
                *ret_group = group;
        return st;
}

static void group_release(MatchTable *table, LookupGroup *group)
{
        if (group->lookups)
                return;
        map_remove(table->groups, group_name(group));
        mem_free(group);
}

/* One that there is, NULL if there is none. */
static Lookup *lookup_find(MatchTable *table, LookupKind kind, const TableIndex *index, IndexPath path)
{
        if (kind == BY_KEY)
                return &table->primary;
        Lookup *lookup = table->indexes;
        if (kind != BY_INDEX) {
                LookupGroup *group = map_get(table->groups, path.fields[0]);
                lookup = group ? group->lookups : NULL;
        }
        while (lookup && (lookup->kind != kind || lookup->index != index || !index_paths_equal(lookup->path, path)))
                lookup = lookup->next;
        return lookup;
}

static Lookup *lookup_alloc(LookupKind kind, IndexPath path)
{
        size_t bytes = sizeof(Lookup) + path.count * sizeof(Bytes);
        for (size_t i = 0; i < path.count; i++)
                bytes += path.fields[i].size;
        Lookup *lookup = mem_zalloc(bytes);
        if (!lookup)
                return NULL;
        Bytes *fields = (Bytes *)(lookup + 1);
        uint8_t *at = (uint8_t *)(fields + path.count);
        for (size_t i = 0; i < path.count; i++) {
                fields[i] = BYTES(at, path.fields[i].size);
                if (fields[i].size)
                        memcpy(at, path.fields[i].data, fields[i].size);
                at += fields[i].size;
        }
        lookup->kind = kind;
        lookup->path = (IndexPath){fields, path.count};
        return lookup;
}

static Status lookup_make(MatchTable *table, LookupKind kind, TableIndex *index, IndexPath path, Lookup **ret_lookup)
{
        Lookup *lookup = lookup_alloc(kind, path), **list = &table->indexes;
        if (!lookup)
                return status_nomem();
        if (kind == BY_INDEX) {
                lookup->index = table_index_ref(index);
        } else {
                Status st = group_of(table, path.fields[0], &lookup->group);
                if (st) {
                        mem_free(lookup);
                        return st;
                }
                list = &lookup->group->lookups;
        }
        lookup->next = *list;
        *list = lookup;
        *ret_lookup = lookup;
        return ST_OK;
}

/* Frees it if nothing is filed by it. */
static void lookup_release(MatchTable *table, Lookup *lookup)
{
        if (lookup->filed || lookup->kind == BY_KEY)
                return;
        Lookup **at = lookup->group ? &lookup->group->lookups : &table->indexes;
        while (*at != lookup)
                at = &(*at)->next;
        *at = lookup->next;
        if (lookup->group)
                group_release(table, lookup->group);
        table_index_unref(lookup->index);
        match_hash_done(&lookup->values);
        mem_free(lookup);
}

/* --- choosing --- */

/* What a class may be filed by. */
typedef struct Choice {
        LookupKind kind;
        TableIndex *index;
        IndexPath path;
        const Value *values; /* NULL: bounds */
        size_t value_count;
        const KeyBounds *bounds;
        unsigned cost; /* about how many useless questions come with it; always asking: UINT_MAX */
} Choice;

#define CROWD_MAX   64  /* how far a crowd is counted */
#define COST_COMMON 40  /* true, false, null: many rows have them */
#define COST_CLOSED 80  /* a range with two ends, of which nothing is known */
#define COST_OPEN   400 /* with one */

/* Those that are filed by the same value already: of {active: true, room: 7} the second is chosen as soon as there are
 * others. */
static unsigned crowd(const Lookup *lookup, Value v)
{
        unsigned count = 0;
        if (lookup)
                for (MatchEntry *at = match_hash_find(&lookup->values, value_hash(v)); at && count < CROWD_MAX;
                     at = at->next)
                        count++;
        return count;
}

static unsigned cost_of(MatchTable *table, const Choice *choice)
{
        if (!choice->values)
                return choice->bounds->low_type == BOUND_NONE || choice->bounds->high_type == BOUND_NONE ? COST_OPEN
                                                                                                         : COST_CLOSED;
        /* A key or a field is looked up faster than an index's function is called, an array has many elements. */
        unsigned cost = choice->kind == BY_KEY ? 0 : choice->kind == BY_FIELD ? 1 : choice->kind == BY_INDEX ? 2 : 8;
        const Lookup *lookup = lookup_find(table, choice->kind, choice->index, choice->path);
        for (size_t i = 0; i < choice->value_count && cost < COST_OPEN; i++) {
                bool common = value_is(choice->values[i], V_BOOL) || value_is(choice->values[i], V_NULL);
                cost += 1 + crowd(lookup, choice->values[i]) + (common ? COST_COMMON : 0);
        }
        return cost;
}

static void consider(MatchTable *table, Choice choice, Choice *best)
{
        choice.cost = cost_of(table, &choice);
        if (choice.cost < best->cost)
                *best = choice;
}

/* cost UINT_MAX: nothing is of use. */
static Choice choose(MatchTable *table, const FeedClass *class)
{
        Choice best = {.cost = UINT_MAX};
        if (class->keys || class->bounds)
                consider(table,
                         (Choice){.kind = class->index ? BY_INDEX : BY_KEY,
                                  .index = class->index,
                                  .values = class->keys,
                                  .value_count = class->key_count,
                                  .bounds = class->bounds},
                         &best);
        for (size_t i = 0; i < class->condition_count; i++) {
                const MatchCondition *condition = &class->conditions[i];
                bool between = condition->kind == FEED_FIELD_BETWEEN;
                if (condition->path.count == 0 || (between ? !condition->bounds : !condition->values))
                        continue;
                consider(table,
                         (Choice){.kind = condition->kind == FEED_FIELD_CONTAINS ? BY_ELEMENT : BY_FIELD,
                                  .path = condition->path,
                                  .values = condition->values,
                                  .value_count = condition->value_count,
                                  .bounds = condition->bounds},
                         &best);
        }
        return best;
}

/* --- filing --- */

static void unfile_entries(MatchFiling *filing, size_t count)
{
        for (size_t i = 0; i < count; i++)
                match_hash_remove(&filing->lookup->values, &filing->entries[i]);
}

static Status file_values(MatchFiling *filing, const Choice *choice)
{
        size_t count = 0;
        for (size_t i = 0; i < choice->value_count; i++) {
                if (i > 0 && value_equal(choice->values[i], choice->values[i - 1]))
                        continue;
                MatchEntry *entry = &filing->entries[count];
                *entry = (MatchEntry){.hash = value_hash(choice->values[i]), .owner = filing};
                Status st = match_hash_add(&filing->lookup->values, entry);
                if (st) {
                        unfile_entries(filing, count);
                        return st;
                }
                count++;
        }
        filing->entry_count = count;
        return ST_OK;
}

static void file_always(MatchTable *table, MatchFiling *filing)
{
        filing->always.previous = NULL;
        filing->always.next = table->always;
        if (table->always)
                table->always->always.previous = filing;
        table->always = filing;
}

static Status file_in(MatchTable *table, MatchFiling *filing, const Choice *choice)
{
        if (choice->cost == UINT_MAX) {
                file_always(table, filing);
                return ST_OK;
        }
        filing->lookup = lookup_find(table, choice->kind, choice->index, choice->path);
        if (!filing->lookup)
                TRY(lookup_make(table, choice->kind, choice->index, choice->path, &filing->lookup));
        if (choice->values) {
                Status st = file_values(filing, choice);
                if (st) {
                        lookup_release(table, filing->lookup);
                        return st;
                }
        } else {
                filing->range = (MatchRange){.bounds = choice->bounds, .owner = filing};
                match_ranges_add(&filing->lookup->ranges, &filing->range);
        }
        filing->lookup->filed++;
        return ST_OK;
}

static Status file_new(MatchTable *table, FeedClass *class)
{
        Choice choice = choose(table, class);
        size_t more = choice.value_count > 1 ? choice.value_count - 1 : 0;
        MatchFiling *filing = mem_zalloc(sizeof *filing + more * sizeof(MatchEntry));
        if (!filing)
                return status_nomem();
        filing->class = class;
        filing->table = table;
        filing->by_spec = (MatchEntry){.hash = class->hash, .owner = filing};
        Status st = match_hash_add(&table->specs, &filing->by_spec);
        if (!st) {
                st = file_in(table, filing, &choice);
                if (st)
                        match_hash_remove(&table->specs, &filing->by_spec);
        }
        if (st) {
                mem_free(filing);
                return st;
        }
        class->filing = filing;
        table->count++;
        return ST_OK;
}

Status match_add(MatchTable *table, FeedClass *class, FeedClass **ret_filed)
{
        for (MatchEntry *at = match_hash_find(&table->specs, class->hash); at; at = at->next) {
                FeedClass *other = ((MatchFiling *)at->owner)->class;
                if (other == class || feed_class_equal(other, class)) {
                        *ret_filed = feed_class_ref(other);
                        return ST_OK;
                }
        }
        assert(!class->filing); /* in no other table either: a class is of one */
        TRY(file_new(table, class));
        feed_class_ref(class); /* the table's */
        *ret_filed = feed_class_ref(class);
        return ST_OK;
}

void match_remove(MatchTable *table, FeedClass *filed)
{
        MatchFiling *filing = filed->filing;
        assert(filing && filing->table == table);
        Lookup *lookup = filing->lookup;
        match_hash_remove(&table->specs, &filing->by_spec);
        if (!lookup) {
                if (filing->always.previous)
                        filing->always.previous->always.next = filing->always.next;
                else
                        table->always = filing->always.next;
                if (filing->always.next)
                        filing->always.next->always.previous = filing->always.previous;
        } else {
                if (filing->entry_count)
                        unfile_entries(filing, filing->entry_count);
                else
                        match_ranges_remove(&lookup->ranges, &filing->range);
                lookup->filed--;
                lookup_release(table, lookup);
        }
        filed->filing = NULL;
        memset(filed->users, 0, sizeof filed->users);
        table->count--;
        mem_free(filing);
        feed_class_unref(filed);
}

void match_set_user(FeedClass *filed, unsigned number, void *user)
{
        filed->users[number] = user;
}

void *match_user(const FeedClass *filed, unsigned number)
{
        return filed->users[number];
}

size_t match_filing_bytes(const FeedClass *class)
{
        return sizeof(MatchFiling) + (class->key_count > 1 ? class->key_count - 1 : 0) * sizeof(MatchEntry);
}

/* --- finding --- */

typedef struct Find {
        MatchTable *table;
        Value key, rows[2];
        Arena *scratch;
        FeedClass **found;
        size_t count, capacity;
} Find;

static void note(void *ctx, void *owner)
{
        Find *find = ctx;
        MatchFiling *filing = owner;
        if (filing->found == find->table->serial)
                return;
        filing->found = find->table->serial;
        if (find->count == find->capacity) {
                size_t capacity = find->capacity ? 2 * find->capacity : 64;
                FeedClass **found = arena_array(find->scratch, FeedClass *, capacity);
                if (find->count)
                        memcpy(found, find->found, find->count * sizeof(FeedClass *));
                find->found = found;
                find->capacity = capacity;
        }
        find->found[find->count++] = filing->class;
}

static void find_value(Find *find, const Lookup *lookup, Value v)
{
        if (lookup->values.hash_count)
                for (MatchEntry *at = match_hash_find(&lookup->values, value_hash(v)); at; at = at->next)
                        note(find, at->owner);
        if (lookup->ranges.root)
                match_ranges_find(&lookup->ranges, v, note, find);
}

static void find_field(Find *find, const Lookup *lookup, Value row)
{
        Value v;
        switch (match_walk(lookup->path, row, &v)) {
        case MATCH_ABSENT: return;
        case MATCH_ASK:
                match_hash_each(&lookup->values, note, find);
                match_ranges_each(&lookup->ranges, note, find);
                return;
        case MATCH_VALUE: break;
        }
        if (lookup->kind == BY_FIELD)
                find_value(find, lookup, v);
        else if (value_is(v, V_ARRAY))
                for (size_t i = 0; i < value_count(v); i++)
                        find_value(find, lookup, value_at(v, i));
}

static void find_group(Find *find, const LookupGroup *group, Value row)
{
        for (const Lookup *lookup = group->lookups; lookup; lookup = lookup->next)
                find_field(find, lookup, row);
}

/* By the names of the groups or those of the row's fields, whichever are fewer. */
static void find_fields(Find *find, Value row)
{
        const Map *groups = find->table->groups;
        if (map_count(groups) <= value_count(row)) {
                size_t cursor = 0;
                Bytes name;
                void *group;
                while (map_next(groups, &cursor, &name, &group))
                        find_group(find, group, row);
                return;
        }
        for (size_t i = 0; i < value_count(row); i++) {
                Bytes name;
                (void)value_field_at(row, i, &name);
                LookupGroup *group = map_get(groups, name);
                if (group)
                        find_group(find, group, row);
        }
}

static Status run_find(void *ctx)
{
        Find *find = ctx;
        MatchTable *table = find->table;
        for (MatchFiling *filing = table->always; filing; filing = filing->always.next)
                note(find, filing);
        if (table->primary.filed)
                find_value(find, &table->primary, find->key);
        for (size_t side = 0; side < ELEMENTS(find->rows); side++) {
                Value row = find->rows[side];
                if (!value_is_object(row))
                        continue;
                find_fields(find, row);
                for (const Lookup *lookup = table->indexes; lookup; lookup = lookup->next) {
                        MatchPlaces places;
                        TRY(match_places(lookup->index, row, find->scratch, &places));
                        for (size_t i = 0; i < places.count; i++)
                                find_value(find, lookup, places.values[i]);
                }
        }
        return ST_OK;
}

Status match_find(MatchTable *table, Value key, Value old_row, Value new_row, Arena *scratch,
                  Status (*each)(void *ctx, FeedClass *class), void *ctx)
{
        Find find = {.table = table, .key = key, .rows = {old_row, new_row}, .scratch = scratch};
        table->serial++;
        TRY(match_guarded(scratch, run_find, &find));
        for (size_t i = 0; i < find.count; i++)
                TRY(each(ctx, find.found[i]));
        return ST_OK;
}
