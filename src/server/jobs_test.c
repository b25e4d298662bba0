/* jobs_test.c - the registry of what runs: order, ids, texts, killing, and one thread that lists while others come and
 * go. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>

#include <cmocka.h>

#include "os/sim.h"
#include "os/thread.h"
#include "query/fake_source.h"
#include "server/jobs.h"

static const QueryWorld world = {.source = &fake_source, .host = &fake_host};

static Query *new_query(const char *text)
{
        Query *query;
        uint8_t *buffer;
        assert_null(query_new(&world, "admin", &query));
        assert_null(query_text_buffer(query, strlen(text), &buffer));
        memcpy(buffer, text, strlen(text));
        assert_null(query_prepare(query, BYTES(buffer, strlen(text))));
        return query;
}

typedef struct Seen {
        size_t count;
        char id[4][40], address[4][40];
        int port[4];
} Seen;

static Status note_job(void *ctx, const HostJob *job)
{
        Seen *seen = ctx;
        assert_string_equal(job->type, "query");
        assert_string_equal(job->user, "u");
        assert_true(job->duration_sec >= 0 && job->query.size > 0);
        if (seen->count < 4) {
                snprintf(seen->id[seen->count], 40, "%s", job->id);
                snprintf(seen->address[seen->count], 40, "%s", job->client_address);
                seen->port[seen->count] = job->client_port;
        }
        seen->count++;
        return ST_OK;
}

static Seen list(Jobs *jobs)
{
        Seen seen = {0};
        assert_null(jobs_each(jobs, note_job, &seen));
        return seen;
}

static void test_registry(void **state)
{
        static const char *const peers[] = {"127.0.0.1:1", "[::1]:65535", "/socket"};
        SimOs *sim;
        assert_null(sim_new(1, &sim));
        Jobs *jobs;
        JobEntry entries[3] = {0};
        assert_null(jobs_new(sim_os(sim), &jobs));
        assert_int_equal(list(jobs).count, 0);
        for (size_t i = 0; i < 3; i++) {
                entries[i].query = new_query("[1,[173,[]]]");
                entries[i].user = "u";
                entries[i].peer = peers[i];
                jobs_add(jobs, &entries[i]);
        }
        Seen seen = list(jobs);
        assert_int_equal(seen.count, 3);
        assert_string_equal(seen.address[2], "127.0.0.1"); /* the newest is first */
        assert_int_equal(seen.port[2], 1);
        assert_string_equal(seen.address[1], "::1");
        assert_int_equal(seen.port[1], 65535);
        assert_string_equal(seen.address[0], "/socket");
        for (size_t i = 0; i < 3; i++) {
                assert_int_equal(strlen(seen.id[i]), 36);
                assert_int_equal(seen.id[i][14], '4');
                assert_non_null(strchr("89ab", seen.id[i][19]));
                assert_string_not_equal(seen.id[i], seen.id[(i + 1) % 3]);
        }
        /* Killed: the next batch of that one fails, and nobody else's. */
        assert_false(jobs_kill(jobs, BYTES_STR("none")));
        assert_true(jobs_kill(jobs, BYTES_STR(seen.id[1])));
        for (size_t i = 0; i < 3; i++) {
                QueryAnswer answer;
                Buf rows;
                buf_init(&rows, 1 << 20);
                Status st = query_next(entries[i].query, &rows, &answer);
                assert_int_equal(status_code(st), i == 1 ? ERR_CANCELLED : ERR_NONE);
                assert_int_equal(atomic_load(&entries[i].killed), i == 1);
                status_ignore(st);
                buf_done(&rows);
        }
        for (size_t i = 0; i < 3; i++) {
                jobs_remove(jobs, &entries[(i + 1) % 3]);
                query_free(entries[(i + 1) % 3].query);
                assert_int_equal(list(jobs).count, 2 - i);
        }
        jobs_free(jobs);
        sim_free(sim);
}

static Jobs *shared;

static void come_and_go(void *arg)
{
        JobEntry entry = {.user = "u", .peer = "127.0.0.1:1", .query = arg};
        for (int i = 0; i < 2000; i++) {
                jobs_add(shared, &entry);
                jobs_remove(shared, &entry);
        }
}

/* More than are listed without giving the lock back, so that those who come and go have their turn in between. */
static void test_threads(void **state)
{
        enum { STAY = 600 };
        static JobEntry stay[STAY];
        SimOs *sim;
        Thread threads[2];
        Query *queries[2];
        assert_null(sim_new(1, &sim));
        assert_null(jobs_new(sim_os(sim), &shared));
        Query *query = new_query("[1,[173,[]]]");
        for (size_t i = 0; i < STAY; i++) {
                stay[i] = (JobEntry){.user = "u", .peer = "127.0.0.1:1", .query = query};
                jobs_add(shared, &stay[i]);
        }
        for (size_t i = 0; i < 2; i++) {
                queries[i] = new_query("[1,[173,[]]]");
                assert_null(thread_start(&threads[i], "job", come_and_go, queries[i]));
        }
        for (int i = 0; i < 100; i++) {
                Seen seen = list(shared);
                assert_true(seen.count >= STAY && seen.count <= STAY + 2);
                (void)jobs_kill(shared, BYTES_STR(seen.id[0]));
        }
        for (size_t i = 0; i < 2; i++) {
                thread_join(&threads[i]);
                query_free(queries[i]);
        }
        for (size_t i = 0; i < STAY; i++)
                jobs_remove(shared, &stay[i]);
        assert_int_equal(list(shared).count, 0);
        query_free(query);
        shared = jobs_free(shared);
        sim_free(sim);
}

int main(void)
{
        const struct CMUnitTest tests[] = {cmocka_unit_test(test_registry), cmocka_unit_test(test_threads)};
        return cmocka_run_group_tests(tests, NULL, NULL);
}
