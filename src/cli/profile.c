/* profile.c - see profile.h. */
#include "cli/profile.h"

#include "base/arena.h"
#include "cli/cell.h"
#include "value/json.h"

enum { LINE_MAX_BYTES = 4096, DESCRIPTION_MAX_BYTES = 1000 };

static double number_of(Value task, const char *name)
{
        Value v = value_get_str(task, name);
        return value_is(v, V_NUMBER) ? v.number : 0;
}

static Status show_tasks(Value tasks, int depth, Sink *sink, Buf *line);

static Status show_parallel(Value lists, int depth, Sink *sink, Buf *line)
{
        for (size_t i = 0; value_is(lists, V_ARRAY) && i < value_count(lists); i++)
                TRY(show_tasks(value_at(lists, i), depth, sink, line));
        return ST_OK;
}

static Status show_task(Value task, int depth, Sink *sink, Buf *line)
{
        Value description = value_get_str(task, "description");
        Value samples = value_get_str(task, "num_samples");
        buf_clear(line);
        if (value_is(samples, V_NUMBER)) /* many small ones, taken together */
                TRY(buf_printf(line, "%10.3f ms x %-5.0f", number_of(task, "mean_duration(ms)"), samples.number));
        else
                TRY(buf_printf(line, "%10.3f ms        ", number_of(task, "duration(ms)")));
        TRY(buf_printf(line, " %*s", depth * 2, ""));
        if (value_is(description, V_STRING))
                TRY(cell_append_value(description, DESCRIPTION_MAX_BYTES, line));
        TRY(buf_append_byte(line, '\n'));
        TRY(sink_bytes(sink, BYTES(line->data, line->size)));
        TRY(show_tasks(value_get_str(task, "sub_tasks"), depth + 1, sink, line));
        return show_parallel(value_get_str(task, "parallel_tasks"), depth + 1, sink, line);
}

static Status show_tasks(Value tasks, int depth, Sink *sink, Buf *line)
{
        for (size_t i = 0; value_is(tasks, V_ARRAY) && i < value_count(tasks); i++) {
                if (value_is(value_at(tasks, i), V_OBJECT))
                        TRY(show_task(value_at(tasks, i), depth, sink, line));
        }
        return ST_OK;
}

Status profile_show(Bytes json, Sink *sink)
{
        Arena arena;
        Value tasks;
        Buf line;
        arena_init(&arena, 0);
        buf_init(&line, LINE_MAX_BYTES * 4);
        Status st = json_parse_copy(json, JSON_PLAIN, &arena, &tasks);
        st = st ? st : show_tasks(tasks, 0, sink, &line);
        buf_done(&line);
        arena_done(&arena);
        return st;
}
