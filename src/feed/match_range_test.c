/* match_range_test.c - the interval tree against asking every range. */
#include "base/check.h"

#include "feed/match_range.h"

#include "value/value_gen.h"

enum { RANGES = 400 };

typedef struct Owner {
        MatchRange range;
        KeyBounds bounds;
        bool filed;
        unsigned seen;
} Owner;

static bool holds(const KeyBounds *bounds, Value v)
{
        int low = bounds->low_type == BOUND_NONE ? 1 : value_compare(v, bounds->low);
        int high = bounds->high_type == BOUND_NONE ? -1 : value_compare(v, bounds->high);
        return (low > 0 || (low == 0 && bounds->low_type == BOUND_CLOSED)) &&
               (high < 0 || (high == 0 && bounds->high_type == BOUND_CLOSED));
}

static void see(void *ctx, void *owner)
{
        ((Owner *)owner)->seen++;
}

/* Few values, so that ends meet. */
static Value some_value(Gen *gen)
{
        return gen_below(gen, 3) ? value_number((double)gen_below(gen, 40)) : gen_value(gen, 1);
}

static BoundType some_type(Gen *gen)
{
        static const BoundType types[] = {BOUND_OPEN, BOUND_CLOSED, BOUND_CLOSED, BOUND_OPEN, BOUND_NONE};
        return types[gen_below(gen, ELEMENTS(types))];
}

/* The highest priority is on top. How many there are. */
static size_t check_tree(const MatchRange *node)
{
        if (!node)
                return 0;
        for (size_t i = 0; i < 2; i++) {
                const MatchRange *below = i ? node->right : node->left;
                assert_true(!below || below->priority <= node->priority);
        }
        return 1 + check_tree(node->left) + check_tree(node->right);
}

static void finds_the_ranges_of_a_value(void **state)
{
        static Owner owners[RANGES];
        Arena arena, scratch;
        arena_init(&arena, 0);
        arena_init(&scratch, 0);
        Gen gen = {.state = 11, .arena = &arena}, points = {.state = 12, .arena = &scratch};
        MatchRanges ranges = {0};
        size_t filed = 0, found = 0;
        for (unsigned step = 0; step < 20000; step++) {
                Owner *owner = &owners[gen_below(&gen, RANGES)];
                if (owner->filed) {
                        match_ranges_remove(&ranges, &owner->range);
                        filed--;
                } else {
                        owner->bounds = (KeyBounds){.low = some_value(&gen),
                                                    .high = some_value(&gen), /* perhaps below: it holds nothing then */
                                                    .low_type = some_type(&gen),
                                                    .high_type = some_type(&gen)};
                        owner->range = (MatchRange){.bounds = &owner->bounds, .owner = owner};
                        match_ranges_add(&ranges, &owner->range);
                        filed++;
                }
                owner->filed = !owner->filed;
                if (step % 20)
                        continue;
                assert_int_equal(check_tree(ranges.root), filed);
                Value v = some_value(&points);
                match_ranges_find(&ranges, v, see, NULL);
                for (size_t i = 0; i < RANGES; i++) {
                        assert_int_equal(owners[i].seen, owners[i].filed && holds(&owners[i].bounds, v));
                        found += owners[i].seen;
                        owners[i].seen = 0;
                }
                match_ranges_each(&ranges, see, NULL);
                for (size_t i = 0; i < RANGES; i++) {
                        assert_int_equal(owners[i].seen, owners[i].filed);
                        owners[i].seen = 0;
                }
                arena_reset(&scratch);
        }
        assert_true(found > 10000);
        for (size_t i = 0; i < RANGES; i++)
                if (owners[i].filed)
                        match_ranges_remove(&ranges, &owners[i].range);
        assert_null(ranges.root);
        arena_done(&arena);
        arena_done(&scratch);
}

static unsigned depth_of(const MatchRange *node)
{
        if (!node)
                return 0;
        unsigned left = depth_of(node->left), right = depth_of(node->right);
        return 1 + MAX(left, right);
}

/* Ranges that come in order make no list of the tree. */
static void stays_flat(void **state)
{
        enum { MANY = 20000 };
        static Owner owners[MANY];
        MatchRanges ranges = {0};
        for (size_t i = 0; i < MANY; i++) {
                owners[i].bounds = (KeyBounds){.low = value_number((double)(i / 2)),
                                               .high = value_number((double)i + 5),
                                               .low_type = BOUND_CLOSED,
                                               .high_type = BOUND_OPEN};
                owners[i].range = (MatchRange){.bounds = &owners[i].bounds, .owner = &owners[i]};
                match_ranges_add(&ranges, &owners[i].range);
        }
        assert_true(depth_of(ranges.root) < 60);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(finds_the_ranges_of_a_value),
                cmocka_unit_test(stays_flat),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
