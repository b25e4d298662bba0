/* exec_compile.c - from terms to programs: see exec_compile.h. What a term means is said in exec_row.c. */
#include "query/exec_compile.h"

#include "query/pathspec.h"

#define MAX_NESTING 64  /* of operations */
#define MAX_ARGS    256 /* of one */
#define MAX_INPUTS  64
#define MAX_PATH    8

typedef struct Compiler {
        Env *env;
        Arena *arena;
        ExecProgram *program;
        unsigned nesting;
} Compiler;

static const ExecNode *compile(Compiler *c, const Term *term, bool as_truth);

bool exec_path_equal(ExecPath a, ExecPath b)
{
        if (a.count != b.count)
                return false;
        for (size_t i = 0; i < a.count; i++)
                if (!bytes_equal(a.keys[i], b.keys[i]))
                        return false;
        return true;
}

static ExecNode *make(Compiler *c, ExecOp op, size_t count)
{
        ExecNode *node = arena_new(c->arena, ExecNode);
        node->op = (uint8_t)op;
        node->count = (uint16_t)count;
        if (count)
                node->args = arena_array(c->arena, const ExecNode *, count);
        return node;
}

static const ExecNode *make_constant(Compiler *c, Value value)
{
        ExecNode *node = make(c, EXEC_CONST, 0);
        node->value = value;
        return node;
}

/* --- constants --- */

/* Needs no variable, and is the same whenever it is evaluated. */
static bool is_closed(const Term *term)
{
        if (term->type == TERM_VAR || term->type == TERM_IMPLICIT_VAR || term->type == TERM_FUNC ||
            term->type == TERM_ERROR || term->type == TERM_LITERAL || term->type == TERM_ARGS)
                return false;
        for (size_t i = 0; i < term->arg_count; i++)
                if (!is_closed(term->args[i]))
                        return false;
        for (size_t i = 0; i < term->opt_count; i++)
                if (!is_closed(term->opts[i].term))
                        return false;
        return true;
}

/* A part that fails is left to the general evaluator, which knows when it has to fail. */
static const ExecNode *fold(Compiler *c, const Term *term)
{
        Env *env = c->env;
        if (term->tree_flags & (TF_WRITES | TF_NONDETERMINISTIC | TF_BLOCKING | TF_READS_TABLE | TF_GROUPS) ||
            !is_closed(term))
                return NULL;
        Arena *arena = env->arena;
        Frame *frame = env->frame;
        const Term *error_at = env->error_at;
        bool empty_error = env->empty_error, drops = env->drops_missing, literal = env->literal_next;
        EnvMark mark = env_mark(env);
        Value value;
        env->arena = c->arena;
        env->frame = NULL;
        env->drops_missing = true;
        env->literal_next = false;
        Status st = eval_datum(env, term, &value);
        env_unwind(env, mark);
        env->arena = arena;
        env->frame = frame;
        env->error_at = error_at;
        env->empty_error = empty_error;
        env->drops_missing = drops;
        env->literal_next = literal;
        if (!st)
                return make_constant(c, value);
        status_ignore(st);
        return NULL;
}

/* --- operations --- */

static const ExecNode *with_args(Compiler *c, const Term *term, ExecOp op, bool as_truth)
{
        ExecNode *node = make(c, op, term->arg_count);
        node->type = term->type;
        for (size_t i = 0; i < term->arg_count; i++) {
                node->args[i] = compile(c, term->args[i], as_truth);
                if (!node->args[i])
                        return NULL;
        }
        return node;
}

static const ExecNode *variable(Compiler *c, const Term *term)
{
        ExecNode *node = make(c, term->var_depth ? EXEC_OUTER : EXEC_ARG, 0);
        if (term->var_depth > UINT16_MAX || term->var_index > UINT16_MAX)
                return NULL;
        node->depth = (uint16_t)term->var_depth;
        node->index = (uint16_t)term->var_index;
        if (!term->var_depth && !term->var_index)
                c->program->takes_row = true;
        return node;
}

static ExecNode *field(Compiler *c, const Bytes *keys, size_t count)
{
        ExecProgram *program = c->program;
        ExecNode *node = make(c, EXEC_FIELD, 0);
        ExecPath path = {keys, count};
        for (; node->index < program->input_count; node->index++)
                if (exec_path_equal(program->inputs[node->index], path))
                        return node;
        if (program->input_count == MAX_INPUTS)
                return NULL;
        if (program->input_count == program->input_capacity) {
                size_t capacity = MAX(4, 2 * program->input_capacity);
                ExecPath *inputs = arena_array(c->arena, ExecPath, capacity);
                if (program->input_count)
                        memcpy(inputs, program->inputs, program->input_count * sizeof *inputs);
                program->inputs = inputs;
                program->input_capacity = capacity;
        }
        program->inputs[program->input_count++] = path;
        return node;
}

static bool is_row(const Term *term)
{
        return (term->type == TERM_VAR || term->type == TERM_IMPLICIT_VAR) && !term->var_depth && !term->var_index;
}

/* A field of the row, of one of its fields, or of something computed. */
static const ExecNode *get(Compiler *c, const Term *from, Bytes key)
{
        const Bytes *before = NULL;
        size_t count = 0;
        const ExecNode *object = NULL;
        bool row = is_row(from);
        if (!row) {
                object = compile(c, from, false);
                if (!object)
                        return NULL;
                if (object->op == EXEC_FIELD) {
                        before = c->program->inputs[object->index].keys;
                        count = c->program->inputs[object->index].count;
                }
        }
        if (!row && (object->op != EXEC_FIELD || count == MAX_PATH)) {
                ExecNode *node = make(c, EXEC_GET, 1);
                node->args[0] = object;
                node->key = key;
                return node;
        }
        Bytes *keys = arena_array(c->arena, Bytes, count + 1);
        if (count)
                memcpy(keys, before, count * sizeof *keys);
        keys[count] = key;
        return field(c, keys, count + 1);
}

static const ExecNode *bracket(Compiler *c, const Term *term)
{
        const Term *index = term->args[1];
        int64_t place;
        if (index->type != TERM_DATUM || term->arg_count != 2)
                return NULL;
        if (value_is(index->datum, V_STRING))
                return get(c, term->args[0], value_bytes(index->datum));
        if (term->type != TERM_BRACKET || !value_integer(index->datum, &place) || place != (int32_t)place)
                return NULL;
        ExecNode *node = make(c, EXEC_NTH, 1);
        node->value = index->datum;
        node->args[0] = compile(c, term->args[0], false);
        return node->args[0] ? node : NULL;
}

/* condition, value, condition, value ..., value */
static const ExecNode *branch(Compiler *c, const Term *term, bool as_truth)
{
        if (term->arg_count % 2 == 0)
                return NULL;
        ExecNode *node = make(c, EXEC_BRANCH, term->arg_count);
        for (size_t i = 0; i < term->arg_count; i++) {
                bool condition = i % 2 == 0 && i + 1 < term->arg_count;
                node->args[i] = compile(c, term->args[i], condition || as_truth);
                if (!node->args[i])
                        return NULL;
        }
        return node;
}

static const ExecNode *spec(Compiler *c, const Term *term, ExecOp op)
{
        Value *specs = arena_array(c->arena, Value, term->arg_count);
        PathSpec made;
        for (size_t i = 1; i < term->arg_count; i++) {
                if (term->args[i]->type != TERM_DATUM)
                        return NULL;
                specs[i - 1] = term->args[i]->datum;
        }
        ExecNode *node = make(c, op, 1);
        node->value = value_array(specs, term->arg_count - 1);
        const Term *error_at = c->env->error_at;
        Status st = value_too_deep(node->value) ? status_nomem() : pathspec_make(c->env, term, node->value, &made);
        c->env->error_at = error_at;
        if (st) {
                status_ignore(st);
                return NULL;
        }
        node->args[0] = compile(c, term->args[0], false);
        return node->args[0] ? node : NULL;
}

/* row.has_fields("a", "b"), which needs those fields only. */
static const ExecNode *has(Compiler *c, const Term *term)
{
        bool plain = is_row(term->args[0]) && term->arg_count > 1;
        for (size_t i = 1; plain && i < term->arg_count; i++)
                plain = term->args[i]->type == TERM_DATUM && value_is(term->args[i]->datum, V_STRING);
        if (!plain)
                return spec(c, term, EXEC_HAS);
        ExecNode *all = make(c, EXEC_AND, term->arg_count - 1);
        for (size_t i = 1; i < term->arg_count; i++) {
                Bytes *key = arena_array(c->arena, Bytes, 1);
                *key = value_bytes(term->args[i]->datum);
                ExecNode *node = field(c, key, 1);
                if (!node)
                        return NULL;
                node->op = EXEC_EXISTS;
                all->args[i - 1] = node;
        }
        return all;
}

static const ExecNode *object(Compiler *c, const Term *term)
{
        size_t count = term->opt_count;
        if (count > MAX_ARGS)
                return NULL;
        Field *fields = arena_array(c->arena, Field, count);
        for (size_t i = 0; i < count; i++) {
                fields[i] = (Field){term->opts[i].name, value_number((double)i)};
                if (bytes_equal(fields[i].key, BYTES_STR("$reql_type$")))
                        return NULL; /* a pseudo-type, or none: object_finish() knows */
        }
        count = fields_sort(fields, count, c->arena, NULL);
        ExecNode *node = make(c, EXEC_OBJECT, count);
        Bytes *keys = arena_array(c->arena, Bytes, count);
        for (size_t i = 0; i < count; i++) {
                keys[i] = fields[i].key;
                node->args[i] = compile(c, term->opts[(size_t)fields[i].value.number].term, false);
                if (!node->args[i])
                        return NULL;
        }
        node->keys = keys;
        return node;
}

/* merge(object): one object or constant, in which no LITERAL can be. */
static const ExecNode *merge(Compiler *c, const Term *term)
{
        if (term->arg_count != 2)
                return NULL;
        const Term *with = term->args[1];
        if (with->type == TERM_DATUM ? exec_has_type_field(with->datum) : with->type != TERM_MAKE_OBJ)
                return NULL;
        return with_args(c, term, EXEC_MERGE, false);
}

typedef struct KeptRegex {
        Regex *regex;
} KeptRegex;

static void close_regex(void *what)
{
        KeptRegex *kept = what;
        kept->regex = regex_free(kept->regex);
}

/* Only its truth: what matched is an object that few filters look at. */
static const ExecNode *match(Compiler *c, const Term *term)
{
        const Term *pattern = term->args[1];
        if (pattern->type != TERM_DATUM || !value_is(pattern->datum, V_STRING))
                return NULL;
        for (size_t i = 0; i + 1 < pattern->datum.size; i++)
                if (memcmp(pattern->datum.text + i, "\\C", 2) == 0)
                        return NULL; /* may match half a character, which is an error */
        ExecNode *node = make(c, EXEC_MATCHES, 1);
        node->args[0] = compile(c, term->args[0], false);
        if (!node->args[0])
                return NULL;
        KeptRegex *kept = arena_new(c->env->query_arena, KeptRegex);
        env_defer_to_end(c->env, close_regex, kept);
        Status st = regex_new(value_bytes(pattern->datum), &kept->regex);
        bool usable = !st && (size_t)regex_group_count(kept->regex) <= c->env->array_limit;
        status_ignore(st);
        node->regex = kept->regex;
        return usable ? node : NULL;
}

static const ExecNode *with_default(Compiler *c, const Term *term, bool as_truth)
{
        const Term *fallback = term->args[1];
        if (fallback->type == TERM_FUNC || fallback->type == TERM_ERROR || term->arg_count != 2)
                return NULL;
        ExecNode *node = make(c, EXEC_DEFAULT, 2);
        node->args[0] = compile(c, term->args[0], false); /* of a truth null could not be told from false */
        node->args[1] = compile(c, fallback, as_truth);
        return node->args[0] && node->args[1] ? node : NULL;
}

static const ExecNode *during(Compiler *c, const Term *term)
{
        unsigned open = 2; /* closed on the left, open on the right, unless said otherwise */
        if (term->arg_count != 3)
                return NULL;
        for (size_t i = 0; i < term->opt_count; i++) {
                const Term *bound = term->opts[i].term;
                bool left = bytes_equal(term->opts[i].name, BYTES_STR("left_bound"));
                if (bound->type != TERM_DATUM || !value_is(bound->datum, V_STRING) ||
                    (!left && !bytes_equal(term->opts[i].name, BYTES_STR("right_bound"))))
                        return NULL;
                bool is_open = value_bytes_are(bound->datum, "open");
                if (!is_open && !value_bytes_are(bound->datum, "closed"))
                        return NULL;
                unsigned bit = left ? 1 : 2;
                open = is_open ? open | bit : open & ~bit;
        }
        for (size_t i = 0; i < c->env->global_count; i++) /* options of that name count for every term */
                if (bytes_equal(c->env->globals[i].name, BYTES_STR("left_bound")) ||
                    bytes_equal(c->env->globals[i].name, BYTES_STR("right_bound")))
                        return NULL;
        ExecNode *node = (ExecNode *)(uintptr_t)with_args(c, term, EXEC_DURING, false);
        if (node)
                node->index = (uint16_t)open;
        return node;
}

static const ExecNode *compile_op(Compiler *c, const Term *term, bool as_truth)
{
        if (term->has_args_splice || term->arg_count > MAX_ARGS)
                return NULL;
        if (term->opt_count && term->type != TERM_MAKE_OBJ && term->type != TERM_DURING)
                return NULL;
        switch (term->type) {
        case TERM_VAR:
        case TERM_IMPLICIT_VAR: return variable(c, term);
        case TERM_GET_FIELD:
        case TERM_BRACKET: return bracket(c, term);
        case TERM_EQ:
        case TERM_NE:
        case TERM_LT:
        case TERM_LE:
        case TERM_GT:
        case TERM_GE: return with_args(c, term, EXEC_COMPARE, false);
        case TERM_NOT: return with_args(c, term, EXEC_NOT, true);
        case TERM_AND: return with_args(c, term, EXEC_AND, as_truth);
        case TERM_OR: return with_args(c, term, EXEC_OR, as_truth);
        case TERM_BRANCH: return branch(c, term, as_truth);
        case TERM_DEFAULT: return with_default(c, term, as_truth);
        case TERM_ADD:
        case TERM_SUB:
        case TERM_MUL:
        case TERM_DIV: return with_args(c, term, EXEC_ARITH, false);
        case TERM_MOD: return with_args(c, term, EXEC_MOD, false);
        case TERM_FLOOR:
        case TERM_CEIL:
        case TERM_ROUND: return with_args(c, term, EXEC_ROUND, false);
        case TERM_HAS_FIELDS: return has(c, term);
        case TERM_PLUCK: return spec(c, term, EXEC_PLUCK);
        case TERM_WITHOUT: return spec(c, term, EXEC_WITHOUT);
        case TERM_MERGE: return merge(c, term);
        case TERM_MAKE_OBJ: return object(c, term);
        case TERM_MAKE_ARRAY:
                return term->arg_count <= c->env->array_limit ? with_args(c, term, EXEC_ARRAY, false) : NULL;
        case TERM_MATCH: return as_truth ? match(c, term) : NULL;
        case TERM_TYPE_OF: return with_args(c, term, EXEC_TYPE, false);
        case TERM_COUNT: return term->arg_count == 1 ? with_args(c, term, EXEC_COUNT, false) : NULL;
        case TERM_CONTAINS: return term->arg_count == 2 ? with_args(c, term, EXEC_CONTAINS, false) : NULL;
        case TERM_YEAR:
        case TERM_MONTH:
        case TERM_DAY:
        case TERM_DAY_OF_WEEK:
        case TERM_DAY_OF_YEAR:
        case TERM_HOURS:
        case TERM_MINUTES:
        case TERM_SECONDS:
        case TERM_TO_EPOCH_TIME: return with_args(c, term, EXEC_TIME, false);
        case TERM_DURING: return during(c, term);
        default: return NULL;
        }
}

static const ExecNode *compile(Compiler *c, const Term *term, bool as_truth)
{
        if (c->nesting == MAX_NESTING)
                return NULL;
        if (term->type == TERM_DATUM)
                return term->longest_array > c->env->array_limit ? NULL : make_constant(c, term->datum);
        c->nesting++;
        const ExecNode *node = fold(c, term);
        if (!node)
                node = compile_op(c, term, as_truth);
        c->nesting--;
        return node;
}

const ExecProgram *exec_compile(Env *env, const Term *func, bool as_truth)
{
        if (func->tree_flags & (TF_UNPROVABLE | TF_WRITES | TF_BLOCKING | TF_READS_TABLE | TF_GROUPS))
                return NULL;
        ExecProgram *program = arena_new(env->query_arena, ExecProgram);
        Compiler c = {.env = env, .arena = env->query_arena, .program = program};
        program->params = func->param_count;
        program->root = compile(&c, func->body, as_truth);
        return program->root ? program : NULL;
}

/* --- programs of a query --- */

typedef struct ExecEntry {
        const Term *func; /* NULL: free */
        bool as_truth;
        const ExecProgram *program;
} ExecEntry;
struct ExecCache { /* open addressing, at most half full */
        ExecEntry *entries;
        size_t count, capacity;
};

static ExecEntry *find_entry(const struct ExecCache *cache, const Term *func, bool as_truth)
{
        size_t mask = cache->capacity - 1;
        size_t at = (((uintptr_t)func >> 4) * 2 + as_truth) * 0x9e3779b97f4a7c15u >> 32 & mask;
        while (cache->entries[at].func && (cache->entries[at].func != func || cache->entries[at].as_truth != as_truth))
                at = (at + 1) & mask;
        return &cache->entries[at];
}

static void grow_cache(Env *env, struct ExecCache *cache)
{
        struct ExecCache grown = {.count = cache->count, .capacity = MAX((size_t)16, 2 * cache->capacity)};
        grown.entries = arena_zalloc(env->query_arena, grown.capacity * sizeof *grown.entries);
        for (size_t i = 0; i < cache->capacity; i++)
                if (cache->entries[i].func)
                        *find_entry(&grown, cache->entries[i].func, cache->entries[i].as_truth) = cache->entries[i];
        *cache = grown;
}

const ExecProgram *exec_find(Env *env, const Term *func, bool as_truth)
{
        if (!env->programs)
                env->programs = arena_new(env->query_arena, struct ExecCache);
        struct ExecCache *cache = env->programs;
        if (2 * (cache->count + 1) > cache->capacity)
                grow_cache(env, cache);
        ExecEntry *entry = find_entry(cache, func, as_truth);
        if (entry->func)
                return entry->program;
        /* Compiling evaluates constants, which may call functions, which may come here. */
        const ExecProgram *program = exec_compile(env, func, as_truth);
        if (2 * (cache->count + 1) > cache->capacity)
                grow_cache(env, cache);
        entry = find_entry(cache, func, as_truth);
        cache->count += !entry->func;
        *entry = (ExecEntry){func, as_truth, program};
        return program;
}

/* --- other functions --- */

/* {a: 1, b: {c: 2}}: a comparison for each field, as far as that is what it means. */
static const ExecNode *pattern(Compiler *c, Value object)
{
        ExecNode *all = make(c, EXEC_AND, value_count(object));
        if (!value_is(object, V_OBJECT) || !value_is(value_get_str(object, "$reql_type$"), V_NONE) ||
            value_count(object) > MAX_ARGS)
                return NULL;
        for (size_t i = 0; i < value_count(object); i++) {
                Bytes *key = arena_array(c->arena, Bytes, 1);
                Value want = value_field_at(object, i, key);
                ExecNode *one = make(c, value_is_object(want) ? EXEC_PATTERN : EXEC_COMPARE, 2);
                one->type = TERM_EQ;
                one->value = want;
                one->args[0] = field(c, key, 1);
                one->args[1] = make_constant(c, want);
                if (!one->args[0])
                        return NULL;
                if (one->op == EXEC_PATTERN)
                        one->count = 1;
                all->args[i] = one;
        }
        return all;
}

const ExecProgram *exec_of_field(Env *env, Bytes key)
{
        ExecProgram *program = arena_new(env->arena, ExecProgram);
        Compiler c = {.env = env, .arena = env->arena, .program = program};
        Bytes *keys = arena_array(env->arena, Bytes, 1);
        *keys = key;
        program->params = 1;
        program->root = field(&c, keys, 1);
        return program;
}

const ExecProgram *exec_of_row(Env *env)
{
        ExecProgram *program = arena_new(env->arena, ExecProgram);
        Compiler c = {.env = env, .arena = env->arena, .program = program};
        program->params = 1;
        program->takes_row = true;
        program->root = make(&c, EXEC_ARG, 0);
        return program;
}

const ExecProgram *exec_of_func(Env *env, const Func *func, bool as_filter)
{
        Value constant = func->value;
        bool is_constant = func->kind == FUNC_CONSTANT;
        if (func->kind == FUNC_TERM) {
                const Term *body = func->term->body;
                if (func->term->param_count > 1)
                        return NULL;
                if (!as_filter || (body->type != TERM_MAKE_OBJ && body->type != TERM_DATUM))
                        return exec_find(env, func->term, as_filter);
                if (body->type != TERM_DATUM || body->longest_array > env->array_limit)
                        return NULL;
                constant = body->datum;
                is_constant = true;
        }
        if (func->kind == FUNC_GET_FIELD && value_is(func->value, V_STRING))
                return exec_of_field(env, value_bytes(func->value));
        ExecProgram *program = arena_new(env->arena, ExecProgram);
        Compiler c = {.env = env, .arena = env->arena, .program = program};
        program->params = 1;
        if (is_constant) {
                program->root =
                        as_filter && value_is_object(constant) ? pattern(&c, constant) : make_constant(&c, constant);
        } else if (func->kind == FUNC_EQUALS) {
                ExecNode *equal = make(&c, EXEC_COMPARE, 2);
                equal->type = TERM_EQ;
                equal->args[0] = make(&c, EXEC_ARG, 0);
                equal->args[1] = make_constant(&c, func->value);
                program->takes_row = true;
                program->root = equal;
        }
        return program->root ? program : NULL;
}
