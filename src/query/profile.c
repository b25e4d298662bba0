/* profile.c - see profile.h. */
#include "query/profile.h"

#include <ctype.h>

#include "value/json.h"

struct TraceTask {
        TraceKind kind;
        const Term *term;
        int64_t start_ns, total_ns;
        uint64_t samples, rows;
        Bytes text;                              /* TRACE_NOTE */
        TraceTask *parent, *first, *last, *next; /* next: sibling, or free */
        TraceTask *made_before;
};
struct Trace {
        TraceTask root;
        TraceTask *current;
        TraceTask *made; /* all since the start, newest first */
        TraceTask *free;
        unsigned count;
        unsigned muted; /* inside rows or batches that are added up: nothing is told one by one */
};

static int64_t now_ns(const Env *env)
{
        const HostOps *host = env->world->host;
        return host->mono_ns(host->ctx);
}

void trace_start(Env *env)
{
        env->trace = arena_zalloc(env->query_arena, sizeof *env->trace);
        env->trace->current = &env->trace->root;
}

void trace_restart(Env *env)
{
        struct Trace *trace = env->trace;
        while (trace->made) {
                TraceTask *task = trace->made;
                trace->made = task->made_before;
                task->next = trace->free;
                trace->free = task;
        }
        trace->root = (TraceTask){0};
        trace->current = &trace->root;
        trace->count = trace->muted = 0;
}

static bool adds_up(TraceKind kind)
{
        return kind != TRACE_TERM;
}

static TraceTask *new_task(Env *env, TraceKind kind, const Term *term)
{
        struct Trace *trace = env->trace;
        TraceTask *task = trace->free, *parent = trace->current;
        if (task)
                trace->free = task->next;
        else
                task = arena_alloc(env->query_arena, sizeof *task);
        *task = (TraceTask){.kind = kind, .term = term, .parent = parent, .made_before = trace->made};
        trace->made = task;
        trace->count++;
        if (parent->last)
                parent->last->next = task;
        else
                parent->first = task;
        parent->last = task;
        return task;
}

TraceTask *trace_begin_slow(Env *env, TraceKind kind, const Term *term)
{
        struct Trace *trace = env->trace;
        TraceTask *task = NULL;
        if (trace->muted)
                return NULL;
        if (adds_up(kind))
                for (task = trace->current->first; task; task = task->next)
                        if (task->kind == kind && task->term == term)
                                break;
        if (!task) {
                if (trace->count >= TRACE_MAX_TASKS)
                        return NULL;
                task = new_task(env, kind, term);
        }
        trace->muted += kind == TRACE_ROWS;
        trace->current = task;
        task->start_ns = now_ns(env);
        return task;
}

void trace_end_slow(Env *env, TraceTask *task)
{
        struct Trace *trace = env->trace;
        task->total_ns += now_ns(env) - task->start_ns;
        task->samples++;
        trace->current = task->parent;
        trace->muted -= task->kind == TRACE_ROWS;
}

void trace_count(TraceTask *task, uint64_t rows)
{
        if (task)
                task->samples += rows - 1;
}

void trace_rows(TraceTask *task, uint64_t rows)
{
        if (task)
                task->rows += rows;
}

void trace_note(Env *env, const Term *term, Bytes text)
{
        struct Trace *trace = env->trace;
        if (!trace || trace->muted || trace->count >= TRACE_MAX_TASKS)
                return;
        new_task(env, TRACE_NOTE, term)->text = text;
}

/* The task of the same term that it is part of, or NULL. */
static const TraceTask *find_outer(const TraceTask *task)
{
        const TraceTask *outer = task->parent;
        while (outer && outer->term != task->term)
                outer = outer->parent;
        return outer;
}

bool trace_of_term(const struct Trace *trace, const Term *term, bool *ret_streamed, uint64_t *ret_rows, int64_t *ret_ns)
{
        bool any = false, made_inside = false;
        uint64_t rows_inside = 0;
        *ret_streamed = false;
        *ret_rows = 0;
        *ret_ns = 0;
        for (const TraceTask *task = trace->made; task; task = task->made_before) {
                bool streams = task->kind == TRACE_READ || task->kind == TRACE_BATCHES;
                if (task->term != term || task->kind == TRACE_NOTE || task->kind == TRACE_SPILL)
                        continue;
                any = true;
                const TraceTask *outer = find_outer(task);
                if (!outer) {
                        *ret_ns += task->total_ns;
                        *ret_streamed |= streams;
                        *ret_rows += task->rows;
                } else if (streams && outer->kind == TRACE_TERM) {
                        made_inside = true;
                        rows_inside += task->rows;
                }
        }
        /* What is evaluated at once, as a sort is, is a stream inside, and may be one again for what reads it. */
        if (!*ret_streamed && made_inside) {
                *ret_streamed = true;
                *ret_rows = rows_inside;
        }
        return any;
}

/* --- as JSON --- */

static Status write_description(const TraceTask *task, Buf *out)
{
        const char *name = term_info(task->term->type)->name;
        TRY(buf_append_str(out, "{\"description\":\""));
        switch (task->kind) {
        case TRACE_SPILL: return buf_printf(out, "Spilling %llu rows to disk.", (unsigned long long)task->samples);
        case TRACE_NOTE: /* in quotes, and without those around it */
                out->size -= 1;
                TRY(json_write_string(task->text, out));
                out->size -= 1;
                return ST_OK;
        case TRACE_READ: return buf_append_str(out, "Perform read.");
        case TRACE_TERM: TRY(buf_append_str(out, "Evaluating ")); break;
        case TRACE_ROWS: TRY(buf_append_str(out, "Evaluating elements in ")); break;
        case TRACE_BATCHES: TRY(buf_append_str(out, "Evaluating batches of ")); break;
        }
        for (; *name; name++)
                TRY(buf_append_byte(out, (uint8_t)tolower((unsigned char)*name)));
        return buf_append_byte(out, '.');
}

static Status write_tasks(const TraceTask *first, Buf *out)
{
        TRY(buf_append_byte(out, '['));
        for (const TraceTask *task = first; task; task = task->next) {
                if (task != first)
                        TRY(buf_append_byte(out, ','));
                TRY(write_description(task, out));
                double ms = (double)task->total_ns / 1e6;
                if (task->kind == TRACE_ROWS) {
                        TRY(buf_printf(out, "\",\"mean_duration(ms)\":%.6f,\"n_samples\":%llu}",
                                       task->samples ? ms / (double)task->samples : 0,
                                       (unsigned long long)task->samples));
                        continue;
                }
                TRY(buf_printf(out, "\",\"duration(ms)\":%.6f,\"sub_tasks\":", ms));
                TRY(write_tasks(task->first, out));
                TRY(buf_append_byte(out, '}'));
        }
        return buf_append_byte(out, ']');
}

Status trace_write(const struct Trace *trace, Buf *out)
{
        return write_tasks(trace->root.first, out);
}
