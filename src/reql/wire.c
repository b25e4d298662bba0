/* wire.c - the JSON wire form to a checked tree, in one pass from the root.
 *
 * build() gives a Node: a constant (no Term is made for it until somebody needs one) or a Term. An object or array of
 * constants is a constant again, so that the documents of an insert stay the handles that the JSON parser made.
 * Recursion is bounded by the parser, which refuses text nested deeper than VALUE_MAX_DEPTH. */
#include "reql/wire.h"

#include <math.h>

#include "value/json.h"

typedef struct Scope Scope;
struct Scope { /* a function being built; innermost first */
        Scope *outer;
        Term *func;
};

typedef struct Wire {
        Arena *arena;
        Scope *scope;
        const Term *error_at;
} Wire;

/* Where a node is to stand. */
typedef struct Place {
        const Term *parent;
        Bytes name;    /* option name; data NULL: argument `frame` */
        int32_t frame; /* -1: the root */
        bool writes_legal;
} Place;

typedef struct Node {
        Term *term; /* NULL: a constant */
        Value constant;
        size_t longest_array;
} Node;

static Status build(Wire *wire, Value v, Place place, Node *ret_node) MUST_USE;

static Term *new_term(Wire *wire, unsigned type, Place place)
{
        Term *term = arena_new(wire->arena, Term);
        term->type = (uint16_t)type;
        term->parent = place.parent;
        term->frame_name = place.name;
        term->frame = place.name.data ? -1 : place.frame;
        term->tree_flags = term_info(type)->flags;
        return term;
}

#define compile_error(wire, at, ...) ((wire)->error_at = (at), status_new(ERR_COMPILE, __VA_ARGS__))

static Term *datum_term(Wire *wire, Value v, size_t longest_array, Place place)
{
        Term *term = new_term(wire, TERM_DATUM, place);
        term->datum = v;
        term->longest_array = longest_array;
        return term;
}

static Status build_term(Wire *wire, Value v, Place place, Term **ret_term)
{
        Node node;
        TRY(build(wire, v, place, &node));
        *ret_term = node.term ? node.term : datum_term(wire, node.constant, node.longest_array, place);
        return ST_OK;
}

static Place place_arg(const Term *term, size_t i, bool writes_legal)
{
        bool forbids = i > 0 && (term_info(term->type)->flags & TF_FORBIDS_WRITES);
        return (Place){.parent = term, .frame = (int32_t)i, .writes_legal = writes_legal && !forbids};
}

static Place place_opt(const Term *term, Bytes name, bool writes_legal)
{
        bool forbids = term_info(term->type)->flags & TF_FORBIDS_WRITES;
        return (Place){.parent = term, .name = name, .frame = -1, .writes_legal = writes_legal && !forbids};
}

/* --- constants: objects, arrays, raw datums --- */

/* Objects with `$reql_type$` become what they claim to be. One that lies is no constant: evaluating it gives the error.
 */
static bool classify(Wire *wire, Value object, Value *ret_value)
{
        if (!value_is(value_get_str(object, "$reql_type$"), V_STRING)) {
                *ret_value = object;
                return value_is(value_get_str(object, "$reql_type$"), V_NONE);
        }
        _cleanup_(status_freep) Status st = value_classify(object, wire->arena, ret_value);
        return st == ST_OK && !(value_is(*ret_value, V_OBJECT)); /* LITERAL is for the evaluator, too */
}

static Status build_object(Wire *wire, Value v, Place place, Node *ret_node)
{
        size_t count = value_count(v), longest = 0;
        Term *term = new_term(wire, TERM_MAKE_OBJ, place);
        Node *nodes = arena_array(wire->arena, Node, count);
        bool constant = true, changed = false;

        for (size_t i = 0; i < count; i++) {
                Value child = v.fields[i].value;
                if (!value_is(child, V_ARRAY) && !value_is(child, V_OBJECT)) {
                        nodes[i] = (Node){.constant = child};
                        continue;
                }
                TRY(build(wire, child, place_opt(term, v.fields[i].key, place.writes_legal), &nodes[i]));
                constant &= nodes[i].term == NULL;
                changed |= nodes[i].constant.fields != child.fields;
                longest = MAX(longest, nodes[i].longest_array);
        }
        if (constant) {
                Value object = v;
                if (changed) {
                        Field *fields = arena_array(wire->arena, Field, count);
                        for (size_t i = 0; i < count; i++)
                                fields[i] = (Field){v.fields[i].key, nodes[i].constant};
                        object = value_object_sorted(fields, count);
                }
                if (classify(wire, object, &object)) {
                        *ret_node = (Node){.constant = object, .longest_array = longest};
                        return ST_OK;
                }
        }
        term->opt_count = (uint32_t)count;
        term->opts = arena_array(wire->arena, OptArg, count);
        for (size_t i = 0; i < count; i++) {
                Term *child = nodes[i].term;
                if (!child)
                        child = datum_term(wire, nodes[i].constant, nodes[i].longest_array,
                                           place_opt(term, v.fields[i].key, true));
                term->opts[i] = (OptArg){v.fields[i].key, child};
                term->tree_flags |= child->tree_flags;
        }
        *ret_node = (Node){.term = term};
        return ST_OK;
}

static Status build_array(Wire *wire, Value items, Place place, Node *ret_node)
{
        size_t count = value_count(items), longest = count;
        Term *term = new_term(wire, TERM_MAKE_ARRAY, place);
        Value *constants = NULL; /* what differs from items.items */
        Term **args = NULL;      /* from the first that is no constant */

        for (size_t i = 0; i < count; i++) {
                Value child = items.items[i];
                Node node = {.constant = child};
                if (value_is(child, V_ARRAY) || value_is(child, V_OBJECT)) {
                        TRY(build(wire, child, place_arg(term, i, place.writes_legal), &node));
                        longest = MAX(longest, node.longest_array);
                }
                if (args || node.term) {
                        if (!args) {
                                args = arena_array(wire->arena, Term *, count);
                                for (size_t j = 0; j < i; j++) {
                                        Value before = constants ? constants[j] : items.items[j];
                                        size_t before_longest = value_is(before, V_ARRAY) ? value_count(before) : 0;
                                        args[j] = datum_term(wire, before, before_longest, place_arg(term, j, true));
                                }
                        }
                        args[i] = node.term ? node.term
                                            : datum_term(wire, node.constant, node.longest_array,
                                                         place_arg(term, i, true));
                        term->tree_flags |= args[i]->tree_flags;
                        term->has_args_splice |= args[i]->type == TERM_ARGS;
                        continue;
                }
                if (!constants && (node.constant.type != child.type || node.constant.items != child.items)) {
                        constants = arena_array(wire->arena, Value, count);
                        memcpy(constants, items.items, i * sizeof(Value));
                }
                if (constants)
                        constants[i] = node.constant;
        }
        if (!args) {
                *ret_node =
                        (Node){.constant = constants ? value_array(constants, count) : items, .longest_array = longest};
                return ST_OK;
        }
        term->args = args;
        term->arg_count = (uint32_t)count;
        *ret_node = (Node){.term = term};
        return ST_OK;
}

/* [1, datum]: JSON as it stands, arrays without MAKE_ARRAY. */
static Status raw_datum(Wire *wire, Value v, const Term *at, Value *ret_value)
{
        if (value_is(v, V_ARRAY)) {
                Value *items = arena_array(wire->arena, Value, v.size);
                for (size_t i = 0; i < v.size; i++)
                        TRY(raw_datum(wire, v.items[i], at, &items[i]));
                *ret_value = value_array(items, v.size);
                return ST_OK;
        }
        if (!value_is(v, V_OBJECT)) {
                *ret_value = v;
                return ST_OK;
        }
        Field *fields = arena_array(wire->arena, Field, v.size);
        for (size_t i = 0; i < v.size; i++) {
                fields[i].key = v.fields[i].key;
                TRY(raw_datum(wire, v.fields[i].value, at, &fields[i].value));
        }
        Status st = value_classify(value_object_sorted(fields, v.size), wire->arena, ret_value);
        if (st) {
                wire->error_at = at;
                _cleanup_(status_freep) Status cause = st;
                return status_new(ERR_COMPILE, "%s", status_message(cause));
        }
        return ST_OK;
}

/* --- variables and functions --- */

static Status number_id(Wire *wire, Value v, const Term *at, const char *message, uint32_t *ret_id)
{
        int64_t id;
        if (!value_is(v, V_NUMBER) || !value_integer(v, &id) || id < INT32_MIN || id > UINT32_MAX)
                return compile_error(wire, at, "%s", message);
        *ret_id = (uint32_t)id;
        return ST_OK;
}

/* [1, [names]] or [2, [names]], each name a number or [1, number]. */
static Status func_params(Wire *wire, Term *func, Value vars)
{
        bool is_term = value_is(vars, V_ARRAY) && vars.size >= 1 && value_is(vars.items[0], V_NUMBER);
        double type = is_term ? vars.items[0].number : value_is(vars, V_OBJECT) ? TERM_MAKE_OBJ : TERM_DATUM;
        Value list = is_term ? value_array(NULL, 0) : vars;
        if (is_term && vars.size >= 2)
                list = vars.items[1];
        if (type == TERM_DATUM && !value_is(list, V_ARRAY))
                return compile_error(wire, func, "CLIENT ERROR: FUNC variables must be a literal *array* of numbers.");
        if ((type != TERM_DATUM && type != TERM_MAKE_ARRAY) || !value_is(list, V_ARRAY))
                return compile_error(wire, func, "CLIENT ERROR: FUNC variables must be a *literal array of numbers*.");
        uint32_t *ids = arena_array(wire->arena, uint32_t, list.size);
        for (size_t i = 0; i < list.size; i++) {
                Value name = list.items[i];
                if (type == TERM_MAKE_ARRAY && value_is(name, V_ARRAY) && name.size == 2 &&
                    value_is(name.items[0], V_NUMBER) && name.items[0].number == TERM_DATUM)
                        name = name.items[1];
                else if (type == TERM_MAKE_ARRAY && (value_is(name, V_ARRAY) || value_is(name, V_OBJECT)))
                        return compile_error(wire, func,
                                             "CLIENT ERROR: FUNC variables must be a *literal* array of numbers.");
                TRY(number_id(wire, name, func, "CLIENT ERROR: FUNC variables must be a literal array of *numbers*.",
                              &ids[i]));
        }
        func->param_count = list.size;
        func->param_ids = ids;
        return ST_OK;
}

static Status build_func(Wire *wire, Value args, size_t opt_count, Place place, Term **ret_term)
{
        Term *func = new_term(wire, TERM_FUNC, place);
        if (opt_count)
                return compile_error(wire, func, "FUNC takes no optional arguments.");
        if (value_count(args) != 2)
                return compile_error(wire, func, "Func takes exactly two arguments (got %zu)", value_count(args));
        TRY(func_params(wire, func, args.items[0]));

        Scope scope = {.outer = wire->scope, .func = func};
        wire->scope = &scope;
        TRY(build_term(wire, args.items[1], place_arg(func, 1, place.writes_legal), &func->body));
        wire->scope = scope.outer;
        func->tree_flags |= func->body->tree_flags;
        *ret_term = func;
        return ST_OK;
}

/* Everything between the variable and its function looks outside itself. */
static void resolve(Wire *wire, Term *var, Scope *home, uint32_t depth, uint32_t index)
{
        var->var_depth = depth;
        var->var_index = index;
        for (Scope *scope = wire->scope; scope != home; scope = scope->outer)
                scope->func->uses_outer = true;
}

static Status build_var(Wire *wire, Value args, Place place, Term **ret_term)
{
        Term *var = new_term(wire, TERM_VAR, place);
        uint32_t id, depth = 0;
        if (value_count(args) != 1)
                return compile_error(wire, var, "A variable term has the wrong number of arguments.");
        Value name = args.items[0];
        if (value_is(name, V_ARRAY) && name.size == 2 && value_is(name.items[0], V_NUMBER) &&
            name.items[0].number == TERM_DATUM)
                name = name.items[1];
        if (value_is(name, V_ARRAY) || value_is(name, V_OBJECT))
                return compile_error(wire, var, "A variable term has a non-datum argument.");
        TRY(number_id(wire, name, var, "A variable term has a non-numeric name datum.", &id));
        for (Scope *scope = wire->scope; scope; scope = scope->outer, depth++) {
                for (uint32_t i = scope->func->param_count; i-- > 0;) {
                        if (scope->func->param_ids[i] != id)
                                continue;
                        resolve(wire, var, scope, depth, i);
                        *ret_term = var;
                        return ST_OK;
                }
        }
        return compile_error(wire, var, "Variable name not found.");
}

/* r.row is the argument of the one enclosing function that has exactly one. */
static Status build_implicit_var(Wire *wire, size_t arg_count, size_t opt_count, Place place, Term **ret_term)
{
        Term *var = new_term(wire, TERM_IMPLICIT_VAR, place);
        Scope *home = NULL;
        uint32_t depth = 0, home_depth = 0;
        if (arg_count || opt_count)
                return compile_error(wire, var,
                                     "Expected no arguments or optional arguments on implicit variable term.");
        for (Scope *scope = wire->scope; scope; scope = scope->outer, depth++) {
                if (scope->func->param_count != 1)
                        continue;
                if (home)
                        return compile_error(wire, var, "Cannot use r.row in nested queries.  Use functions instead.");
                home = scope;
                home_depth = depth;
        }
        if (!home)
                return compile_error(wire, var, "r.row is not defined in this context.");
        resolve(wire, var, home, home_depth, 0);
        *ret_term = var;
        return ST_OK;
}

/* --- terms --- */

static Status check_arity(Wire *wire, const Term *term, const TermInfo *info)
{
        if (term->has_args_splice || term_arity_fits(info, term->arg_count))
                return ST_OK;
        return compile_error(wire, term, "Expected %s but found %zu.", term_arity_text(info, wire->arena),
                             (size_t)term->arg_count);
}

static Status build_opts(Wire *wire, Term *term, const TermInfo *info, Value opts, bool writes_legal)
{
        size_t count = value_count(opts);
        term->opts = arena_array(wire->arena, OptArg, count);
        for (size_t i = 0; i < count; i++) {
                Bytes name = opts.fields[i].key;
                Place place = place_opt(term, name, writes_legal);
                bool known = false;
                for (const char *const *known_name = info->optargs; *known_name && !known; known_name++)
                        known = bytes_equal(name, BYTES_STR(*known_name));
                if (!known)
                        return compile_error(wire, new_term(wire, TERM_DATUM, place),
                                             "Unrecognized optional argument `%.*s`.", (int)name.size,
                                             (const char *)name.data);
                Term *value;
                TRY(build_term(wire, opts.fields[i].value, place, &value));
                term->opts[term->opt_count++] = (OptArg){name, value};
                term->tree_flags |= value->tree_flags;
        }
        return ST_OK;
}

/* [type, [args], {opts}]; either of the two may be missing. */
static Status raw_type(Wire *wire, Value v, Place place, unsigned *ret_type)
{
        int64_t type = 0;
        if (v.size < 1 || v.size > 3)
                return compile_error(wire, datum_term(wire, v, 0, place),
                                     "Expected between 1 and 3 elements in a raw term, but found %zu.", (size_t)v.size);
        if (!value_is(v.items[0], V_NUMBER))
                return compile_error(wire, datum_term(wire, v, 0, place),
                                     "Expected a TermType as a NUMBER but found %s.", value_type_name(v.items[0]));
        if (!value_integer(v.items[0], &type) || type < 0 || type >= TERM_TYPE_END || !term_info((unsigned)type))
                return compile_error(wire, datum_term(wire, v, 0, place), "Unrecognized TermType: %.0f.",
                                     v.items[0].number);
        *ret_type = (unsigned)type;
        return ST_OK;
}

static Status raw_parts(Wire *wire, Value v, Place place, Value *ret_args, Value *ret_opts)
{
        *ret_args = value_array(NULL, 0);
        *ret_opts = value_object_sorted(NULL, 0);
        if (v.size >= 2) {
                if (value_is(v.items[1], V_ARRAY))
                        *ret_args = v.items[1];
                else if (value_is(v.items[1], V_OBJECT))
                        *ret_opts = v.items[1];
                else
                        return compile_error(wire, datum_term(wire, v, 0, place),
                                             "Second element in a non-DATUM Term is neither arguments nor optional "
                                             "arguments.");
        }
        if (v.size == 3) {
                if (value_is(v.items[1], V_OBJECT))
                        return compile_error(wire, datum_term(wire, v, 0, place),
                                             "Second and third element in a term are both optional arguments.");
                if (!value_is(v.items[2], V_OBJECT))
                        return compile_error(wire, datum_term(wire, v, 0, place),
                                             "Third element in a non-DATUM Term is not optional arguments.");
                *ret_opts = v.items[2];
        }
        return ST_OK;
}

/* order_by(desc("a")), {index: desc("a")}, {interleave: [desc("a"), "b"]} */
static bool takes_direction(const Term *parent)
{
        if (parent && parent->type == TERM_MAKE_ARRAY && parent->parent && parent->parent->type == TERM_UNION)
                return true;
        return parent && (parent->type == TERM_ORDER_BY || parent->type == TERM_UNION);
}

static Status check_place(Wire *wire, const Term *term, Place place)
{
        if ((term->type == TERM_ASC || term->type == TERM_DESC) && !takes_direction(place.parent))
                return compile_error(wire, term, "%s may only be used as an argument to ORDER_BY or UNION.",
                                     term_info(term->type)->name);
        if ((term_info(term->type)->flags & TF_WRITES) && !place.writes_legal)
                return compile_error(wire, term,
                                     "Cannot nest writes or meta ops in stream operations.  Use FOR_EACH instead.");
        return ST_OK;
}

static Status build_op(Wire *wire, unsigned type, Value args, Value opts, Place place, Term **ret_term)
{
        const TermInfo *info = term_info(type);
        Term *term = new_term(wire, type, place);
        TRY(check_place(wire, term, place));
        term->args = arena_array(wire->arena, Term *, value_count(args));
        for (size_t i = 0; i < value_count(args); i++) {
                Term *arg;
                TRY(build_term(wire, args.items[i], place_arg(term, i, place.writes_legal), &arg));
                term->args[i] = arg;
                term->arg_count++;
                term->tree_flags |= arg->tree_flags;
                term->has_args_splice |= arg->type == TERM_ARGS;
        }
        if (type == TERM_UUID && term->arg_count == 0)
                term->tree_flags |= TF_NONDETERMINISTIC;
        TRY(check_arity(wire, term, info));
        if (value_count(opts))
                TRY(build_opts(wire, term, info, opts, place.writes_legal));
        *ret_term = term;
        return ST_OK;
}

static Status build(Wire *wire, Value v, Place place, Node *ret_node)
{
        unsigned type = 0;
        Value args, opts;
        *ret_node = (Node){0};
        if (value_is(v, V_OBJECT))
                return build_object(wire, v, place, ret_node);
        if (!value_is(v, V_ARRAY)) {
                ret_node->constant = v;
                return ST_OK;
        }
        TRY(raw_type(wire, v, place, &type));
        if (type != TERM_DATUM)
                TRY(raw_parts(wire, v, place, &args, &opts));
        else if (v.size != 2) /* RethinkDB counts the place that it has put behind them */
                return compile_error(wire, datum_term(wire, v, 0, place), "Expected 3 items in array, but found %zu.",
                                     (size_t)v.size + 1);
        switch (type) {
        case TERM_DATUM: return raw_datum(wire, v.items[1], place.parent, &ret_node->constant);
        case TERM_MAKE_ARRAY:
                if (value_count(opts))
                        break;
                return build_array(wire, args, place, ret_node);
        case TERM_MAKE_OBJ:
                if (value_count(args))
                        break;
                return build_object(wire, opts, place, ret_node);
        case TERM_FUNC: return build_func(wire, args, value_count(opts), place, &ret_node->term);
        case TERM_VAR: return build_var(wire, args, place, &ret_node->term);
        case TERM_IMPLICIT_VAR:
                return build_implicit_var(wire, value_count(args), value_count(opts), place, &ret_node->term);
        }
        return build_op(wire, type, args, opts, place, &ret_node->term);
}

/* --- which of several mistakes is told --- */

/* RethinkDB walks over all of a query and looks at the shape of its terms and where they stand before it compiles
 * anything. build() does both at once; so if it failed, this looks whether there is a mistake of the first kind. */
static Status walk(Wire *wire, Value v, Place place)
{
        unsigned type = TERM_MAKE_OBJ;
        Value args = value_array(NULL, 0), opts = v;
        if (!value_is(v, V_ARRAY) && !value_is(v, V_OBJECT))
                return ST_OK;
        if (value_is(v, V_ARRAY))
                TRY(raw_type(wire, v, place, &type));
        Term *term = new_term(wire, type, place);
        TRY(check_place(wire, term, place));
        if (type == TERM_DATUM)
                return ST_OK;
        if (value_is(v, V_ARRAY))
                TRY(raw_parts(wire, v, place, &args, &opts));
        for (size_t i = 0; i < value_count(args); i++)
                TRY(walk(wire, args.items[i], place_arg(term, i, place.writes_legal)));
        for (size_t i = 0; i < value_count(opts); i++)
                TRY(walk(wire, opts.fields[i].value, place_opt(term, opts.fields[i].key, place.writes_legal)));
        return ST_OK;
}

static Status first_mistake(Wire *wire, Value v, Place root, Status later)
{
        const Term *error_at = wire->error_at;
        Status st = walk(wire, v, root);
        status_ignore(st ? later : ST_OK);
        wire->error_at = st ? wire->error_at : error_at;
        return st ? st : later;
}

/* --- the query around it --- */

static const char *const global_optargs[] = {
        "_EVAL_FLAGS_",
        "_NO_RECURSE_",
        "_SHORTCUT_",
        "array_limit",
        "attempts",
        "auth",
        "base",
        "binary_format",
        "changefeed_queue_size",
        "conflict",
        "data",
        "db",
        "default",
        "default_timezone",
        "dry_run",
        "durability",
        "emergency_repair",
        "emit",
        "explain",
        "fill",
        "final_emit",
        "first_batch_scaledown_factor",
        "float",
        "geo",
        "geo_system",
        "group_format",
        "header",
        "identifier_format",
        "ignore_write_hook",
        "include_initial",
        "include_offsets",
        "include_states",
        "include_types",
        "index",
        "interleave",
        "left_bound",
        "max_batch_bytes",
        "max_batch_rows",
        "max_batch_seconds",
        "max_dist",
        "max_results",
        "method",
        "min_batch_rows",
        "multi",
        "non_atomic",
        "nonvoting_replica_tags",
        "noreply",
        "num_vertices",
        "ordered",
        "overwrite",
        "page",
        "page_limit",
        "params",
        "plan",
        "primary_key",
        "primary_replica_tag",
        "profile",
        "query_timeout",
        "read_mode",
        "redirects",
        "replicas",
        "result_format",
        "return_changes",
        "return_vals",
        "right_bound",
        "shards",
        "squash",
        "time_format",
        "timeout",
        "transaction",
        "unit",
        "use_outdated", /* known only so that it can be refused by name */
        "verify",
        "wait_for",
};

static Status build_globals(Wire *wire, Value opts, WireQuery *query)
{
        size_t count = value_count(opts);
        query->opts = arena_array(wire->arena, OptArg, count);
        for (size_t i = 0; i < count; i++) {
                Bytes name = opts.fields[i].key;
                bool known = false;
                for (size_t j = 0; j < ELEMENTS(global_optargs) && !known; j++)
                        known = bytes_equal(name, BYTES_STR(global_optargs[j]));
                if (!known)
                        return compile_error(wire, NULL, "Unrecognized global optional argument `%.*s`.",
                                             (int)name.size, (const char *)name.data);
                Term *term;
                TRY(build_term(wire, opts.fields[i].value, (Place){.frame = -1, .writes_legal = false}, &term));
                query->opts[query->opt_count++] = (OptArg){name, term};
                if (bytes_equal(name, BYTES_STR("noreply")) && term->type == TERM_DATUM)
                        query->noreply = value_is(term->datum, V_BOOL) && term->datum.boolean;
        }
        return ST_OK;
}

#define shape_error(format, ...) status_new(ERR_CLIENT, "Server could not parse query: " format, __VA_ARGS__)

static Status parse_text(Bytes text, Arena *arena, Value *ret_value)
{
        _cleanup_(status_freep) Status st = json_parse(text, JSON_PLAIN, arena, ret_value);
        switch (status_code(st)) {
        case ERR_NONE: return ST_OK;
        case ERR_INVALID: return status_new(ERR_CLIENT, "Client is buggy (failed to deserialize query).");
        case ERR_EXISTS: return status_new(ERR_COMPILE, "Duplicate object key: %s.", status_message(st));
        case ERR_LIMIT: return status_new(ERR_CLIENT, "Server could not parse query: %s", status_message(st));
        default: return take(st);
        }
}

static bool is_text(Value v)
{
        return value_is(v, V_ARRAY) && v.size == 2 && value_is(v.items[0], V_NUMBER) &&
               v.items[0].number == WIRE_TEXT_TERM && value_is(v.items[1], V_ARRAY) && v.items[1].size == 1 &&
               value_is(v.items[1].items[0], V_STRING);
}

/* Options written in the text, .run(conn, {...}), come before those sent with it. */
static Value merge_options(Arena *arena, Value sent, Value written)
{
        ObjectBuilder builder;
        object_init(&builder, arena, value_count(sent) + value_count(written));
        for (size_t i = 0; i < value_count(sent); i++)
                object_add(&builder, sent.fields[i].key, sent.fields[i].value);
        for (size_t i = 0; i < value_count(written); i++)
                object_add(&builder, written.fields[i].key, written.fields[i].value);
        return object_take(&builder);
}

static Status parse_start(Wire *wire, Value v, WireQuery *query)
{
        const Place place = {.frame = -1, .writes_legal = true};
        Value root = v.items[1], opts = v.size == 3 ? v.items[2] : value_object_sorted(NULL, 0);
        TextQuery *text = NULL;
        Status st = ST_OK;
        if (is_text(root)) {
                text = arena_new(wire->arena, TextQuery);
                st = text_parse(value_bytes(root.items[1].items[0]), wire->arena, text);
                root = text->wire;
                if (value_is(text->options, V_OBJECT))
                        opts = merge_options(wire->arena, opts, text->options);
        }
        if (st) {
                status_ignore(build_globals(wire, opts, query)); /* for noreply */
                query->text = text;
                wire->error_at = NULL;
                return st;
        }
        st = build_globals(wire, opts, query);
        if (!st) {
                wire->error_at = NULL;
                query->text = text;
                st = build_term(wire, root, place, &query->root);
        }
        return status_code(st) == ERR_COMPILE ? first_mistake(wire, root, place, st) : st;
}

Status wire_parse(Bytes text, Arena *arena, WireQuery *ret_query, const Term **ret_error_at)
{
        Wire wire = {.arena = arena};
        WireQuery query = {0};
        Value v;
        int64_t type;
        *ret_error_at = NULL;
        TRY(parse_text(text, arena, &v));
        if (!value_is(v, V_ARRAY))
                return shape_error("Expected a query to be an array, but found %s.", value_type_name(v));
        if (v.size == 0 || v.size > 3)
                return shape_error("Expected 1 to 3 elements in the top-level query, but found %zu.", (size_t)v.size);
        if (!value_is(v.items[0], V_NUMBER))
                return shape_error("Expected a query type as a number, but found %s.", value_type_name(v.items[0]));
        if (!value_integer(v.items[0], &type) || type < QUERY_START || type > QUERY_SERVER_INFO)
                return shape_error("Unrecognized QueryType: %.0f.", v.items[0].number);
        if (v.size == 3 && !value_is(v.items[2], V_OBJECT))
                return shape_error("Expected global optargs as an object, but found %s.", value_type_name(v.items[2]));
        query.type = (QueryType)type;
        if (query.type == QUERY_START) {
                if (v.size < 2)
                        return status_new(ERR_COMPILE, "Expected a term in a START query but found none.");
                Status st = parse_start(&wire, v, &query);
                if (st) {
                        *ret_error_at = wire.error_at;
                        *ret_query = (WireQuery){.type = query.type, .noreply = query.noreply, .text = query.text};
                        return st;
                }
        }
        *ret_query = query;
        return ST_OK;
}

Status wire_parse_func(Bytes text, Arena *arena, Term **ret_func)
{
        Wire wire = {.arena = arena};
        Value v;
        Term *term = NULL;
        Status st = parse_text(text, arena, &v);
        if (!st && !value_is(v, V_ARRAY))
                st = status_new(ERR_CLIENT, "Expected an array.");
        if (!st)
                st = build_term(&wire, v, (Place){.frame = -1, .writes_legal = false}, &term);
        if (status_code(st) == ERR_NOMEM)
                return st;
        if (st || term->type != TERM_FUNC) {
                _cleanup_(status_freep) Status cause = st;
                return status_new(ERR_CORRUPT, "No function: %s", st ? status_message(cause) : "another term");
        }
        *ret_func = term;
        return ST_OK;
}

bool wire_peek_type(Bytes text, QueryType *ret_type)
{
        size_t i = 0;
        while (i < text.size &&
               (text.data[i] == ' ' || text.data[i] == '\n' || text.data[i] == '\t' || text.data[i] == '\r'))
                i++;
        if (i >= text.size || text.data[i++] != '[')
                return false;
        while (i < text.size &&
               (text.data[i] == ' ' || text.data[i] == '\n' || text.data[i] == '\t' || text.data[i] == '\r'))
                i++;
        if (i + 1 >= text.size || text.data[i] < '1' || text.data[i] > '5')
                return false;
        uint8_t after = text.data[i + 1];
        if (after != ',' && after != ']' && after != ' ' && after != '\n' && after != '\t' && after != '\r')
                return false;
        *ret_type = (QueryType)(text.data[i] - '0');
        return true;
}
