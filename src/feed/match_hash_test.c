/* match_hash_test.c - a hash table of intrusive lists against plain counting. */
#include "base/check.h"

#include <stdbool.h>

#include "feed/match_hash.h"

#include "base/mem.h"

enum { OWNERS = 3000, HASHES = 400 };

typedef struct Owner {
        MatchEntry entry;
        bool filed;
        unsigned seen;
} Owner;

static uint64_t random_state = 7;

static unsigned pick(unsigned n)
{
        random_state = random_state * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
        return (unsigned)(random_state >> 33) % n;
}

static void see(void *ctx, void *owner)
{
        ((Owner *)owner)->seen++;
}

/* Each filed owner is found by its hash, once, and nothing else is. */
static void check(const MatchHash *table, Owner *owners, const size_t *counts)
{
        size_t hashes = 0;
        for (uint64_t hash = 0; hash < HASHES; hash++) {
                size_t found = 0;
                MatchEntry *previous = NULL;
                for (MatchEntry *at = match_hash_find(table, hash); at; previous = at, at = at->next, found++) {
                        Owner *owner = at->owner;
                        assert_true(owner->filed && at->hash == hash && at->previous == previous);
                }
                assert_int_equal(found, counts[hash]);
                hashes += counts[hash] > 0;
        }
        assert_int_equal(table->hash_count, hashes);
        match_hash_each(table, see, NULL);
        for (size_t i = 0; i < OWNERS; i++) {
                assert_int_equal(owners[i].seen, owners[i].filed);
                owners[i].seen = 0;
        }
}

static void finds_what_is_filed(void **state)
{
        static Owner owners[OWNERS];
        size_t counts[HASHES] = {0};
        MatchHash table = {0};
        assert_null(match_hash_find(&table, 1));
        for (unsigned step = 0; step < 40000; step++) {
                Owner *owner = &owners[pick(OWNERS)];
                /* first mostly more, in the end mostly fewer */
                if (!owner->filed && pick(40000) > step) {
                        owner->entry = (MatchEntry){.hash = pick(4) ? pick(HASHES) : 7, .owner = owner};
                        OK(match_hash_add(&table, &owner->entry));
                        counts[owner->entry.hash]++;
                        owner->filed = true;
                } else if (owner->filed) {
                        match_hash_remove(&table, &owner->entry);
                        counts[owner->entry.hash]--;
                        owner->filed = false;
                }
                if (step % 500 == 0)
                        check(&table, owners, counts);
        }
        for (size_t i = 0; i < OWNERS; i++)
                if (owners[i].filed)
                        match_hash_remove(&table, &owners[i].entry);
        assert_int_equal(table.hash_count, 0);
        assert_true(table.slot_count <= 16);
        match_hash_done(&table);
}

static void stays_as_it_is_without_memory(void **state)
{
        static Owner owners[100];
        MatchHash table = {0};
        for (size_t i = 0; i < ELEMENTS(owners); i++) {
                owners[i].entry = (MatchEntry){.hash = i, .owner = &owners[i]};
                mem_fail_nth(1);
                Status st = match_hash_add(&table, &owners[i].entry);
                mem_fail_nth(0);
                if (st) {
                        assert_int_equal(status_code(st), ERR_NOMEM);
                        status_ignore(st);
                        assert_null(match_hash_find(&table, i));
                        OK(match_hash_add(&table, &owners[i].entry));
                }
                assert_ptr_equal(match_hash_find(&table, i), &owners[i].entry);
        }
        /* getting smaller fails in silence */
        for (size_t i = 0; i < ELEMENTS(owners); i++) {
                mem_fail_nth(1);
                match_hash_remove(&table, &owners[i].entry);
                mem_fail_nth(0);
        }
        assert_int_equal(table.hash_count, 0);
        assert_true(table.slot_count >= 100);
        match_hash_done(&table);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(finds_what_is_filed),
                cmocka_unit_test(stays_as_it_is_without_memory),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
