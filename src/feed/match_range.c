/* match_range.c - an interval tree. */
#include "feed/match_range.h"

#include <assert.h>

/* --- bounds --- */

/* Where a range begins: nothing is before no bound, and an open bound lies behind the value. */
static int compare_lows(const KeyBounds *a, const KeyBounds *b)
{
        if (a->low_type == BOUND_NONE || b->low_type == BOUND_NONE)
                return (b->low_type == BOUND_NONE) - (a->low_type == BOUND_NONE);
        int order = value_compare(a->low, b->low);
        return order ? order : (a->low_type == BOUND_OPEN) - (b->low_type == BOUND_OPEN);
}

/* Where it ends: nothing is behind no bound, and an open bound lies before the value. */
static int compare_highs(const KeyBounds *a, const KeyBounds *b)
{
        if (a->high_type == BOUND_NONE || b->high_type == BOUND_NONE)
                return (a->high_type == BOUND_NONE) - (b->high_type == BOUND_NONE);
        int order = value_compare(a->high, b->high);
        return order ? order : (b->high_type == BOUND_OPEN) - (a->high_type == BOUND_OPEN);
}

static bool begins_before(const KeyBounds *bounds, Value v)
{
        if (bounds->low_type == BOUND_NONE)
                return true;
        int order = value_compare(bounds->low, v);
        return order < 0 || (order == 0 && bounds->low_type == BOUND_CLOSED);
}

static bool ends_behind(const KeyBounds *bounds, Value v)
{
        if (bounds->high_type == BOUND_NONE)
                return true;
        int order = value_compare(bounds->high, v);
        return order > 0 || (order == 0 && bounds->high_type == BOUND_CLOSED);
}

/* --- the tree --- */

/* Of equal lower bounds, that of the lower address: any order will do that finds a node again. */
static int compare_nodes(const MatchRange *a, const MatchRange *b)
{
        int order = compare_lows(a->bounds, b->bounds);
        return order ? order : ((uintptr_t)a > (uintptr_t)b) - ((uintptr_t)a < (uintptr_t)b);
}

static void note_greatest(MatchRange *node)
{
        node->greatest = node->bounds;
        if (node->left && compare_highs(node->left->greatest, node->greatest) > 0)
                node->greatest = node->left->greatest;
        if (node->right && compare_highs(node->right->greatest, node->greatest) > 0)
                node->greatest = node->right->greatest;
}

/* Those before `at` and those behind it. */
static void split(MatchRange *node, const MatchRange *at, MatchRange **ret_left, MatchRange **ret_right)
{
        if (!node) {
                *ret_left = *ret_right = NULL;
                return;
        }
        if (compare_nodes(node, at) < 0) {
                split(node->right, at, &node->right, ret_right);
                *ret_left = node;
        } else {
                split(node->left, at, ret_left, &node->left);
                *ret_right = node;
        }
        note_greatest(node);
}

static MatchRange *merge(MatchRange *left, MatchRange *right)
{
        if (!left || !right)
                return left ? left : right;
        if (left->priority > right->priority) {
                left->right = merge(left->right, right);
                note_greatest(left);
                return left;
        }
        right->left = merge(left, right->left);
        note_greatest(right);
        return right;
}

static MatchRange *insert(MatchRange *node, MatchRange *range)
{
        if (!node || range->priority > node->priority) {
                split(node, range, &range->left, &range->right);
                note_greatest(range);
                return range;
        }
        if (compare_nodes(range, node) < 0)
                node->left = insert(node->left, range);
        else
                node->right = insert(node->right, range);
        note_greatest(node);
        return node;
}

static MatchRange *without(MatchRange *node, MatchRange *range)
{
        assert(node); /* it was filed */
        if (node == range)
                return merge(node->left, node->right);
        if (compare_nodes(range, node) < 0)
                node->left = without(node->left, range);
        else
                node->right = without(node->right, range);
        note_greatest(node);
        return node;
}

void match_ranges_add(MatchRanges *ranges, MatchRange *range)
{
        /* splitmix64: priorities need not surprise anybody, the bounds do not know them */
        uint64_t z = ranges->random += 0x9e3779b97f4a7c15u;
        z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
        z = (z ^ z >> 27) * 0x94d049bb133111ebu;
        range->priority = z ^ z >> 31;
        range->left = range->right = NULL;
        ranges->root = insert(ranges->root, range);
}

void match_ranges_remove(MatchRanges *ranges, MatchRange *range)
{
        ranges->root = without(ranges->root, range);
}

static void find(const MatchRange *node, Value v, void (*each)(void *ctx, void *owner), void *ctx)
{
        while (node && ends_behind(node->greatest, v)) {
                find(node->left, v, each, ctx);
                if (!begins_before(node->bounds, v))
                        return; /* nor does any to the right */
                if (ends_behind(node->bounds, v))
                        each(ctx, node->owner);
                node = node->right;
        }
}

void match_ranges_find(const MatchRanges *ranges, Value v, void (*each)(void *ctx, void *owner), void *ctx)
{
        find(ranges->root, v, each, ctx);
}

static void visit(const MatchRange *node, void (*each)(void *ctx, void *owner), void *ctx)
{
        for (; node; node = node->right) {
                visit(node->left, each, ctx);
                each(ctx, node->owner);
        }
}

void match_ranges_each(const MatchRanges *ranges, void (*each)(void *ctx, void *owner), void *ctx)
{
        visit(ranges->root, each, ctx);
}
