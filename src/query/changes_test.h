/* changes_test.h - for tests: clients of changefeeds. Each is two: one whose query stays as it is, and one whose query
 * is parked whenever it can be; what they are told must be the same to the byte. */
#ifndef QUERY_CHANGES_TEST_H
#define QUERY_CHANGES_TEST_H

#include "query/fake_feed.h" /* before cmocka, which has a macro of the name of fail() */

#include <stdio.h>

#include "base/check.h"

typedef struct Client {
        Query *query, *parked_query; /* the second is NULL once it is parked */
        FeedCursor *cursor;          /* NULL: not parked */
        bool keeps;                  /* it must not be parked: nobody compares */
        QueryAnswer answer;
        bool started;
        Buf rows, parked_rows;
} Client;

static HostOps feed_host;
static QueryWorld feed_world;

static inline void client_open(Client *client, const char *text, const char *options)
{
        Buf frame;
        *client = (Client){0};
        buf_init(&frame, 1 << 20);
        OK(buf_printf(&frame, "[1,[%d,[", WIRE_TEXT_TERM));
        OK(json_write_string(BYTES_STR(text), &frame));
        OK(buf_printf(&frame, "]],{%s}]", options));
        for (int i = 0; i < 2; i++) {
                uint8_t *buffer;
                Query **query = i ? &client->parked_query : &client->query;
                OK(query_new(&feed_world, "admin", query));
                OK(query_text_buffer(*query, frame.size, &buffer));
                memcpy(buffer, frame.data, frame.size);
                OK(query_prepare(*query, BYTES(buffer, frame.size)));
        }
        buf_done(&frame);
        buf_init(&client->rows, 1 << 24);
        buf_init(&client->parked_rows, 1 << 24);
}

static inline void client_close(Client *client)
{
        query_free(client->query);
        query_free(client->parked_query);
        feed_cursor_free(client->cursor);
        buf_done(&client->rows);
        buf_done(&client->parked_rows);
        if (!fake_feeds.open_count)
                assert_true(fake_all_closed());
}

static inline void client_park(Client *client)
{
        if (client->parked_query && client->answer == ANSWER_PARTIAL)
                OK(query_park(client->parked_query, &client->cursor));
        if (client->cursor)
                client->parked_query = query_free(client->parked_query);
}

/* The answer of one START or CONTINUE: its rows, " end" behind the last; or the error's message. */
static inline const char *client_next(Client *client)
{
        QueryAnswer parked_answer = ANSWER_PARTIAL;
        buf_clear(&client->rows);
        buf_clear(&client->parked_rows);
        Status st = query_next(client->query, &client->rows, &client->answer);
        Status parked = client->cursor ? feed_cursor_next(client->cursor, &client->parked_rows, &parked_answer)
                                       : query_next(client->parked_query, &client->parked_rows, &parked_answer);
        assert_int_equal(status_code(st), status_code(parked));
        if (st) {
                assert_string_equal(status_message(st), status_message(parked));
                OK(buf_printf(&client->rows, "%s", status_message(st)));
                status_ignore(st);
                status_ignore(parked);
        } else {
                assert_int_equal(client->answer, parked_answer);
                OK(buf_append_byte(&client->parked_rows, 0));
                Buf *notes = &client->parked_rows;
                size_t from = notes->size;
                if (client->cursor) {
                        OK(feed_cursor_notes(client->cursor, notes));
                        size_t middle = notes->size;
                        OK(query_notes(client->query, notes));
                        assert_int_equal(middle - from, notes->size - middle);
                        assert_memory_equal(notes->data + from, notes->data + middle, middle - from);
                }
                if (client->answer == ANSWER_SEQUENCE)
                        OK(buf_append_str(&client->rows, client->rows.size ? " end" : "end"));
                else
                        client_park(client);
        }
        OK(buf_append_byte(&client->rows, 0));
        if (!st) {
                size_t plain = strlen((char *)client->rows.data);
                if (client->answer == ANSWER_SEQUENCE)
                        plain -= plain > 3 ? 4 : 3;
                assert_int_equal(plain, strlen((char *)client->parked_rows.data));
                assert_memory_equal(client->rows.data, client->parked_rows.data, plain);
        }
        return (const char *)client->rows.data;
}

static inline void expect_next(Client *client, const char *expected)
{
        const char *got = client_next(client);
        if (strcmp(got, expected) != 0)
                print_error("got      %s\nexpected %s\n", got, expected);
        assert_string_equal(got, expected);
}

static inline const char *client_notes(Client *client)
{
        buf_clear(&client->rows);
        OK(query_notes(client->query, &client->rows));
        OK(buf_append_byte(&client->rows, 0));
        return (const char *)client->rows.data;
}

/* Tables "t", with rows {id: 1, a: 1} .. {id: 3, a: 3}, and "u", empty. */
static inline int feeds_setup(void **state)
{
        fake = (Fake){0};
        arena_init(&fake.arena, 0);
        fake_add("t", "[{\"id\":1,\"a\":1},{\"id\":2,\"a\":2},{\"id\":3,\"a\":3}]");
        fake_add("u", "[]");
        fake_feeds_init();
        feed_host = fake_feed_host();
        feed_world = (QueryWorld){
                .source = &fake_source, .host = &feed_host, .memory_max_bytes = 64 << 20, .feeds = &fake_feed_source};
        return 0;
}
static inline int feeds_teardown(void **state)
{
        assert_int_equal(fake_feeds.open_count, 0);
        arena_done(&fake.arena);
        return 0;
}

#endif
