/* text_wire.c - text ReQL through the parser, for tests in other languages. Each line of the input is a JSON string, a
 * text; each line of the output says what became of it:
 *      {"wire":[15,["t"]],"options":{...},"print":"r.table(\"t\")"}
 *      {"error":"Line 1, column 3: ...","at":[line,column,end_line,end_column]}
 * "error" is also what compiling says. "print" is the tree as text again. */
#include <stdio.h>
#include <stdlib.h>

#include "reql/print_text.h"
#include "reql/wire.h"
#include "value/json.h"

static void must(Status st)
{
        char text[512];
        if (st) {
                fprintf(stderr, "%s\n", status_text(st, text, sizeof text));
                exit(1);
        }
}

static void out_of_memory(void *ctx, bool over_budget)
{
        (void)ctx;
        (void)over_budget;
        exit(1);
}

static void say_error(Status st, const TextQuery *text, const Term *at, Buf *out)
{
        TextSpan span;
        must(buf_append_str(out, "{\"error\":"));
        must(json_write_message(BYTES_STR(status_message(st)), out));
        if (text && text_find(text, at, &span)) {
                TextPlace place = text_place(text->text, span);
                must(buf_printf(out, ",\"at\":[%u,%u,%u,%u]", place.line, place.column, place.end_line,
                                place.end_column));
        }
        must(buf_append_str(out, "}\n"));
}

static void say_query(const WireQuery *query, Buf *out)
{
        Buf print;
        buf_init(&print, 64 << 20);
        must(buf_append_str(out, "{\"wire\":"));
        must(json_write(query->text->wire, out));
        if (value_is(query->text->options, V_OBJECT)) {
                must(buf_append_str(out, ",\"options\":"));
                must(json_write(query->text->options, out));
        }
        must(print_text(query->root, 0, &print));
        must(buf_append_str(out, ",\"print\":"));
        must(json_write_string(BYTES(print.data, print.size), out));
        must(buf_append_str(out, "}\n"));
        buf_done(&print);
}

static void one(Bytes line, Buf *frame, Buf *out)
{
        Arena arena;
        WireQuery query = {0};
        const Term *at = NULL;
        static const uint8_t padding[JSON_PADDING];
        arena_init(&arena, 0);
        arena_on_oom(&arena, out_of_memory, NULL);
        buf_clear(frame);
        must(buf_printf(frame, "[1,[%d,[", WIRE_TEXT_TERM));
        must(buf_append(frame, line.data, line.size));
        must(buf_append_str(frame, "]]]"));
        size_t size = frame->size;
        must(buf_append(frame, padding, sizeof padding));
        Status st = wire_parse(BYTES(frame->data, size), &arena, &query, &at);
        if (st)
                say_error(st, query.text, at, out);
        else
                say_query(&query, out);
        status_free(st);
        arena_done(&arena);
}

int main(void)
{
        char *line = NULL;
        size_t capacity = 0;
        Buf frame, out;
        buf_init(&frame, 64 << 20);
        buf_init(&out, 256 << 20);
        for (ssize_t size; (size = getline(&line, &capacity, stdin)) > 0;) {
                while (size > 0 && (line[size - 1] == '\n' || line[size - 1] == '\r'))
                        size--;
                buf_clear(&out);
                one(BYTES(line, (size_t)size), &frame, &out);
                fwrite(out.data, 1, out.size, stdout);
                fflush(stdout);
        }
        free(line);
        buf_done(&frame);
        buf_done(&out);
        return 0;
}
