/* term.c - the table of terms, and places in the tree. */
#include "reql/term.h"

#include "value/json.h"

#define OPTARGS(...)                                                                                                   \
        (const char *const[])                                                                                          \
        {                                                                                                              \
                __VA_ARGS__ __VA_OPT__(, ) NULL                                                                        \
        }
static const TermInfo terms[TERM_TYPE_END] = {
#define TERM(number, NAME, min, max, term_flags, ...)                                                                  \
        [number] = {.name = #NAME,                                                                                     \
                    .min_args = (min),                                                                                 \
                    .max_args = (max),                                                                                 \
                    .optargs = OPTARGS(__VA_ARGS__),                                                                   \
                    .flags = (term_flags)},
#include "reql/terms.def"
#undef TERM
};

const TermInfo *term_info(unsigned type)
{
        return type < TERM_TYPE_END && terms[type].name ? &terms[type] : NULL;
}

const char *term_arity_text(const TermInfo *info, Arena *arena)
{
        if (info->min_args == info->max_args)
                return arena_printf(arena, "%d argument%s", info->min_args, info->min_args == 1 ? "" : "s");
        if (info->max_args < 0)
                return arena_printf(arena, "%d or more arguments", info->min_args);
        return arena_printf(arena, "between %d and %d arguments", info->min_args, info->max_args);
}

const Term *term_opt(const Term *term, const char *name)
{
        if (!term->opt_count)
                return NULL;
        Bytes want = BYTES_STR(name);
        for (size_t i = 0; i < term->opt_count; i++)
                if (bytes_equal(term->opts[i].name, want))
                        return term->opts[i].term;
        return NULL;
}

static bool adds_frame(const Term *term)
{
        return term->frame_name.data || term->frame >= 0;
}

Status term_backtrace(const Term *term, Buf *out)
{
        size_t depth = 0;
        for (const Term *at = term; at; at = at->parent)
                depth += adds_frame(at);
        TRY(buf_append_byte(out, '['));
        /* The path is linked from its end: finding frame i walks up again. Paths are short, errors are few. */
        for (size_t i = depth; i-- > 0;) {
                const Term *at = term;
                for (size_t skip = i;; at = at->parent) {
                        if (!adds_frame(at))
                                continue;
                        if (skip-- == 0)
                                break;
                }
                if (i + 1 < depth)
                        TRY(buf_append_byte(out, ','));
                if (at->frame_name.data)
                        TRY(json_write_string(at->frame_name, out));
                else
                        TRY(buf_printf(out, "%d", (int)at->frame));
        }
        return buf_append_byte(out, ']');
}

Term *term_make(Arena *arena, TermType type, const Term *origin, size_t arg_count)
{
        Term *term = arena_new(arena, Term);
        term->type = (uint16_t)type;
        term->arg_count = (uint32_t)arg_count;
        term->parent = origin;
        term->frame = -1;
        term->tree_flags = terms[type].flags;
        term->args = arg_count ? arena_array(arena, Term *, arg_count) : NULL;
        return term;
}
