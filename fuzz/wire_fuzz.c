/* wire_fuzz.c - any bytes as a query: parsed, checked and run over two small tables that can only be read.
 * A timer cancels what runs too long, as a disconnecting client would. */
#include <signal.h>
#include <stdatomic.h>
#include <sys/time.h>

#include "query/fake_source.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static Query *query;
static atomic_bool running;

static void on_alarm(int signal_number)
{
        (void)signal_number;
        if (atomic_load(&running))
                query_cancel(query);
}

static void start(void)
{
        static const QueryWorld world = {.source = &fake_source, .host = &fake_host, .memory_max_bytes = 32 << 20};
        arena_init(&fake.arena, 0);
        fake_add("t",
                 "[{\"id\":1,\"g\":0,\"v\":10},{\"id\":2,\"g\":1,\"v\":20},{\"id\":3,\"v\":30},{\"id\":4,\"g\":1}]");
        fake_add("u", "[{\"id\":1,\"t\":2},{\"id\":2,\"t\":4},{\"id\":3}]");
        if (query_new(&world, "admin", &query))
                abort();
        signal(SIGALRM, on_alarm);
        const struct itimerval every = {.it_interval = {.tv_usec = 100000}, .it_value = {.tv_usec = 100000}};
        setitimer(ITIMER_REAL, &every, NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        QueryAnswer answer = ANSWER_PARTIAL;
        uint8_t *text;
        Buf out;
        if (!query)
                start();
        if (size > 1 << 16)
                return 0;
        buf_init(&out, 16 << 20);
        Status st = query_text_buffer(query, size, &text);
        if (!st) {
                if (size)
                        memcpy(text, data, size);
                st = query_prepare(query, BYTES(text, size));
        }
        if (!st)
                (void)query_cost(query);
        atomic_store(&running, true);
        for (int batch = 0; !st && batch < 5 && answer == ANSWER_PARTIAL && query_wire(query)->type == QUERY_START;
             batch++) {
                buf_clear(&out);
                st = query_next(query, &out, &answer);
        }
        atomic_store(&running, false);
        if (st) {
                buf_clear(&out);
                if (query_backtrace(query, &out))
                        abort();
                status_ignore(st);
        }
        query_reset(query);
        buf_done(&out);
        if (!fake_all_closed())
                abort();
        return 0;
}
