/* table_query_test.c - the terms that write and administer (query/write.c, query/admin.c) over real tables. They are
 * tested here because query/ itself knows no tables. */
#include "query/query.h"
#include "table/table_test.h"

typedef struct Session {
        World w;
        QueryWorld query_world;
        Query *query;
        Buf out;
} Session;

static void start(Session *s)
{
        *s = (Session){0};
        world_init(&s->w, 21);
        world_open(&s->w);
        s->query_world = (QueryWorld){.source = s->w.source, .host = &s->w.host, .memory_max_bytes = 64 << 20};
        ok(query_new(&s->query_world, "admin", &s->query));
        buf_init(&s->out, 64 << 20);
}

static void stop(Session *s)
{
        buf_done(&s->out);
        query_free(s->query);
        world_done(&s->w);
}

/* Runs `term` to its end; what it answers as JSON, or "CODE message at backtrace". */
static const char *run_with(Session *s, const char *term, const char *options)
{
        static const char *const codes[] = {[ERR_COMPILE] = "COMPILE",     [ERR_LOGIC] = "LOGIC",
                                            [ERR_RESOURCE] = "RESOURCE",   [ERR_NON_EXISTENCE] = "NON_EXISTENCE",
                                            [ERR_OP_FAILED] = "OP_FAILED", [ERR_USER] = "USER"};
        QueryAnswer answer = ANSWER_PARTIAL;
        uint8_t *text;
        size_t size = strlen(term) + strlen(options) + 6;
        query_reset(s->query);
        ok(query_text_buffer(s->query, size + 1, &text));
        snprintf((char *)text, size + 1, "[1,%s,%s]", term, options);
        buf_clear(&s->out);
        Status st = query_prepare(s->query, BYTES(text, strlen((char *)text)));
        while (!st && answer == ANSWER_PARTIAL) {
                if (s->out.size)
                        ok(buf_append_byte(&s->out, ','));
                st = query_next(s->query, &s->out, &answer);
        }
        if (st) {
                buf_clear(&s->out);
                StatusCode code = status_code(st);
                ok(buf_printf(&s->out, "%s %s at ", code < ELEMENTS(codes) && codes[code] ? codes[code] : "?",
                              status_message(st)));
                ok(query_backtrace(s->query, &s->out));
                status_ignore(st);
        }
        ok(buf_append_byte(&s->out, 0));
        return (const char *)s->out.data;
}

static const char *run(Session *s, const char *term)
{
        return run_with(s, term, "{}");
}

#define answers(term, text) assert_string_equal(run(&s, term), text)

#define T "[15,[[14,[\"test\"]],\"t\"]]"
#define STATS(d, e, i, r, k, u)                                                                                        \
        "\"deleted\":" #d ",\"errors\":" #e ",\"inserted\":" #i ",\"replaced\":" #r ",\"skipped\":" #k                 \
        ",\"unchanged\":" #u "}"
#define INSERT(doc)            "[56,[" T "," doc "]]"
#define INSERT_O(doc, options) "[56,[" T "," doc "],{" options "}]"

static void make(Session *s)
{
        run(s, "[60,[[14,[\"test\"]],\"t\"]]");
}

static void test_insert(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers(INSERT("{\"id\":1,\"a\":1}"), "{" STATS(0, 0, 1, 0, 0, 0));
        answers(INSERT("{\"id\":1}"),
                "{\"deleted\":0,\"errors\":1,\"first_error\":\"Duplicate primary key `id`:\\n{\\n\\t\\\"a\\\":"
                "\\t1,\\n\\t\\\"id\\\":\\t1\\n}\\n{\\n\\t\\\"id\\\":\\t1\\n}\",\"inserted\":0,\"replaced\":0,"
                "\"skipped\":0,\"unchanged\":0}");
        answers(INSERT_O("{\"id\":1,\"b\":2}", "\"conflict\":\"update\",\"return_changes\":true"),
                "{\"changes\":[{\"new_val\":{\"a\":1,\"b\":2,\"id\":1},\"old_val\":{\"a\":1,\"id\":1}}]," STATS(
                        0, 0, 0, 1, 0, 0));
        answers(INSERT_O("{\"id\":1}", "\"conflict\":\"replace\",\"return_changes\":true"),
                "{\"changes\":[{\"new_val\":{\"id\":1},\"old_val\":{\"a\":1,\"b\":2,\"id\":1}}]," STATS(0, 0, 0, 1, 0,
                                                                                                        0));
        answers(INSERT_O("{\"id\":1}", "\"conflict\":\"replace\",\"return_changes\":true"),
                "{\"changes\":[]," STATS(0, 0, 0, 0, 0, 1));
        answers(INSERT_O("{\"id\":1}", "\"conflict\":\"replace\",\"return_changes\":\"always\""),
                "{\"changes\":[{\"new_val\":{\"id\":1},\"old_val\":{\"id\":1}}]," STATS(0, 0, 0, 0, 0, 1));
        /* function(id, old, new): old row with the key under k and the new row's n */
        answers(INSERT_O("{\"id\":1,\"n\":5}", "\"return_changes\":true,\"conflict\":[69,[[2,[1,2,3]],[35,[[10,[2]],{"
                                               "\"k\":[10,[1]],\"n\":[170,[[10,[3]],"
                                               "\"n\"]]}]]]]"),
                "{\"changes\":[{\"new_val\":{\"id\":1,\"k\":1,\"n\":5},\"old_val\":{\"id\":1}}]," STATS(0, 0, 0, 1, 0,
                                                                                                        0));
        answers(INSERT_O("{\"id\":1}", "\"conflict\":[69,[[2,[1,2]],[10,[1]]]]"),
                "LOGIC The conflict function passed to `insert` should expect 3 arguments. at []");
        answers(INSERT_O("{\"id\":1}", "\"conflict\":[69,[[2,[1,2,3]],[16,[" T ",1]]]]"),
                "LOGIC The conflict function passed to `insert` must be deterministic. at []");
        answers(INSERT_O("{\"id\":1}", "\"conflict\":\"wrong\""),
                "LOGIC Conflict option `wrong` unrecognized (options are \"error\", \"replace\" and \"update\"). at "
                "[\"conflict\"]");
        answers(INSERT_O("{\"id\":1}", "\"durability\":\"wrong\""),
                "LOGIC Durability option `wrong` unrecognized (options are \"hard\" and \"soft\"). at "
                "[\"durability\"]");
        answers(INSERT_O("{\"id\":1}", "\"return_vals\":true"),
                "LOGIC Error: encountered obsolete optarg `return_vals`.  Use `return_changes` instead. at []");
        answers(INSERT_O("{\"id\":1}", "\"return_changes\":\"never\""),
                "LOGIC Invalid return_changes value `never` (options are `true`, `false`, and `'always'`.) at []");
        answers("[56,[[14,[\"test\"]],{}]]", "LOGIC Expected type TABLE but found DATABASE:\ndb(\"test\") at [0]");
        answers(INSERT("\"x\""), "LOGIC Cannot convert STRING to SEQUENCE at []");
        /* A time is an object, but none that a key can be added to. */
        answers("[34,[" INSERT("[99,[\"2020-01-01T00:00:00Z\"]]") ",\"first_error\"]]", "{" STATS(0, 1, 0, 0, 0, 0));
        answers("[170,[" INSERT("[99,[\"2020-01-01T00:00:00Z\"]]") ",\"first_error\"]]",
                "\"Inserted object must have primary key `id`:\\n{\\n\\t\\\"$reql_type$\\\":\\t\\\"TIME\\\",\\n\\t"
                "\\\"epoch_time\\\":\\t1577836800,\\n\\t\\\"timezone\\\":\\t\\\"+00:00\\\"\\n}\"");
        run(&s, "[60,[[14,[\"test\"]],\"by_time\"],{\"primary_key\":\"epoch_time\"}]");
        answers("[170,[[56,[[15,[[14,[\"test\"]],\"by_time\"]],[101,[5]]]],\"errors\"]]", "1");
        stop(&s);
}

static void test_insert_odd_documents(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers(INSERT_O("[2,[{\"id\":1},7,{\"id\":[2,[null]]},{\"id\":1},{\"id\":2}]]",
                         "\"return_changes\":\"always\""),
                "{\"changes\":[{\"new_val\":{\"id\":1},\"old_val\":null},"
                "{\"error\":\"Expected type OBJECT but found NUMBER.\",\"new_val\":null,\"old_val\":null},"
                "{\"error\":\"Array keys can only contain numbers, strings, bools,  pseudotypes, or arrays (got null "
                "of type NULL).\",\"new_val\":null,"
                "\"old_val\":null},"
                "{\"error\":\"Duplicate primary key "
                "`id`:\\n{\\n\\t\\\"id\\\":\\t1\\n}\\n{\\n\\t\\\"id\\\":\\t1\\n}\",\"new_val\":{\"id\":1},"
                "\"old_val\":{\"id\":1}},"
                "{\"new_val\":{\"id\":2},\"old_val\":null}],\"deleted\":0,\"errors\":3,\"first_error\":\"Expected type "
                "OBJECT but "
                "found NUMBER.\",\"inserted\":2,\"replaced\":0,\"skipped\":0,\"unchanged\":0}");
        answers("[43,[" T "]]", "2");
        stop(&s);
}

static void test_generated_keys(void **state)
{
        Session s;
        start(&s);
        make(&s);
        const char *text = run(&s, INSERT_O("[2,[{\"z\":1},{\"id\":5},{\"a\":2}]]", "\"return_changes\":true"));
        Value v = json(&s.w, text), keys = value_get_str(v, "generated_keys"), changes = value_get_str(v, "changes");
        assert_int_equal(value_count(keys), 2);
        assert_int_equal(value_count(changes), 3);
        assert_int_equal(value_count(value_at(keys, 0)), 36);
        assert_int_equal(value_bytes(value_at(keys, 0)).data[14], '4');
        assert_false(value_equal(value_at(keys, 0), value_at(keys, 1)));
        Value new_val = value_get_str(value_at(changes, 2), "new_val");
        assert_true(value_equal(value_get_str(new_val, "id"), value_at(keys, 1)));
        assert_true(value_get_str(new_val, "a").number == 2);
        answers("[43,[" T "]]", "3");
        answers("[43,[[39,[" T ",{\"z\":1}]]]]", "1");
        stop(&s);
}

/* Beyond array_limit the answer is cut and says so. */
static void test_cut_answers(void **state)
{
        Session s;
        start(&s);
        make(&s);
        const char *text = run_with(
                &s, "[56,[" T ",[38,[[173,[0,9]],[69,[[2,[1]],{\"n\":[10,[1]]}]]]]],{\"return_changes\":true}]",
                "{\"array_limit\":4}");
        Value v = json(&s.w, text);
        assert_int_equal(value_count(value_get_str(v, "generated_keys")), 4);
        assert_int_equal(value_count(value_get_str(v, "changes")), 4);
        assert_int_equal((int)value_get_str(v, "inserted").number, 9);
        assert_string_equal(
                text_of_value(&s.w, value_get_str(v, "warnings")),
                "[\"Too many changes, array truncated to 4.\",\"Too many generated keys (9), array truncated to 4.\"]");
        stop(&s);
}

/* 700 rows through a stream, changed and deleted through selections: several batches each. */
static void test_many_rows(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers("[56,[" T ",[38,[[173,[0,700]],[69,[[2,[1]],{\"id\":[10,[1]],\"n\":0}]]]]]]",
                "{" STATS(0, 0, 700, 0, 0, 0));
        answers("[53,[" T ",[69,[[2,[1]],{\"n\":[24,[[170,[[10,[1]],\"n\"]],[170,[[10,[1]],\"id\"]]]]}]]]]",
                "{" STATS(0, 0, 0, 699, 0, 1));
        answers("[145,[" T ",\"n\"]]", "244650");
        answers("[54,[[182,[" T ",100,600]]]]", "{" STATS(500, 0, 0, 0, 0, 0));
        answers("[43,[" T "]]", "200");
        answers("[54,[" T "],{\"durability\":\"soft\"}]", "{" STATS(200, 0, 0, 0, 0, 0));
        answers("[43,[" T "]]", "0");
        stop(&s);
}

static void test_update(void **state)
{
        Session s;
        start(&s);
        make(&s);
        run(&s, INSERT("[2,[{\"id\":1,\"a\":{\"b\":1,\"c\":2}},{\"id\":2},{\"id\":3}]]"));
        answers("[53,[[16,[" T ",1]],{\"a\":{\"b\":9}}],{\"return_changes\":true}]",
                "{\"changes\":[{\"new_val\":{\"a\":{\"b\":9,\"c\":2},\"id\":1},\"old_val\":{\"a\":{\"b\":1,\"c\":2},"
                "\"id\":1}}]," STATS(0, 0, 0, 1, 0, 0));
        answers("[53,[[16,[" T ",1]],{\"a\":[137,[{\"d\":1}]]}],{\"return_changes\":true}]",
                "{\"changes\":[{\"new_val\":{\"a\":{\"d\":1},\"id\":1},\"old_val\":{\"a\":{\"b\":9,\"c\":2},\"id\":1}}]"
                "," STATS(0, 0, 0, 1, 0, 0));
        answers("[53,[[16,[" T ",1]],[69,[[2,[1]],{\"a\":[137,[]]}]]],{\"return_changes\":true}]",
                "{\"changes\":[{\"new_val\":{\"id\":1},\"old_val\":{\"a\":{\"d\":1},\"id\":1}}]," STATS(0, 0, 0, 1, 0,
                                                                                                        0));
        answers("[53,[[16,[" T ",9]],{\"a\":1}]]", "{" STATS(0, 0, 0, 0, 1, 0));
        answers("[53,[[16,[" T ",1]],null]]", "{" STATS(0, 0, 0, 0, 0, 1));
        answers("[53,[[16,[" T ",1]],{\"id\":4}]]",
                "{\"deleted\":0,\"errors\":1,\"first_error\":\"Primary key `id` cannot be changed "
                "(`{\\n\\t\\\"id\\\":\\t1\\n}` -> "
                "`{\\n\\t\\\"id\\\":\\t4\\n}`).\",\"inserted\":0,\"replaced\":0,\"skipped\":0,\"unchanged\":0}");
        answers("[53,[[16,[" T ",1]],5]]", "{\"deleted\":0,\"errors\":1,\"first_error\":\"Inserted value must be an "
                                           "OBJECT (got NUMBER):\\n5\",\"inserted\":0,"
                                           "\"replaced\":0,\"skipped\":0,\"unchanged\":0}");
        answers("[53,[" T ",{\"a\":[12,[\"why\"]]}],{\"return_changes\":\"always\"}]",
                "{\"changes\":[{\"error\":\"why\",\"new_val\":{\"id\":1},\"old_val\":{\"id\":1}},{\"error\":\"why\","
                "\"new_val\":{\"id\":2},"
                "\"old_val\":{\"id\":2}},{\"error\":\"why\",\"new_val\":{\"id\":3},\"old_val\":{\"id\":3}}],"
                "\"deleted\":0,\"errors\":3,"
                "\"first_error\":\"why\",\"inserted\":0,\"replaced\":0,\"skipped\":0,\"unchanged\":0}");
        answers("[53,[[16,[" T ",1]],{\"c\":[45,[" T ",0]]}]]",
                "LOGIC Could not prove argument deterministic.  Maybe you want to use the non_atomic flag? at []");
        answers("[53,[[16,[" T ",3]],{\"c\":[170,[[16,[" T ",2]],\"id\"]]}],{\"non_atomic\":true}]",
                "{" STATS(0, 0, 0, 1, 0, 0));
        answers("[16,[" T ",3]]", "{\"c\":2,\"id\":3}");
        answers("[53,[[2,[1,2]],{}]]", "LOGIC Expected type SELECTION but found DATUM:\n[\n\t1,\n\t2\n] at [0]");
        stop(&s);
}

static void test_replace_and_delete(void **state)
{
        Session s;
        start(&s);
        make(&s);
        run(&s, INSERT("[2,[{\"id\":1},{\"id\":2},{\"id\":3}]]"));
        answers("[55,[[16,[" T ",1]],{\"id\":1,\"x\":1}]]", "{" STATS(0, 0, 0, 1, 0, 0));
        answers("[55,[[16,[" T ",1]],null],{\"return_changes\":true}]",
                "{\"changes\":[{\"new_val\":null,\"old_val\":{\"id\":1,\"x\":1}}]," STATS(1, 0, 0, 0, 0, 0));
        answers("[55,[[16,[" T ",1]],null]]", "{" STATS(0, 0, 0, 0, 1, 0));
        answers("[55,[[16,[" T ",1]],{\"id\":1}]]", "{" STATS(0, 0, 1, 0, 0, 0));
        answers("[55,[" T ",[69,[[2,[1]],[35,[[10,[1]],{\"y\":2}]]]]]]", "{" STATS(0, 0, 0, 3, 0, 0));
        answers("[54,[[78,[" T ",1,3]]],{\"return_changes\":true}]",
                "{\"changes\":[{\"new_val\":null,\"old_val\":{\"id\":1,\"y\":2}},{\"new_val\":null,\"old_val\":{\"id\":"
                "3,\"y\":2}}]," STATS(2, 0, 0, 0, 0, 0));
        answers("[54,[[16,[" T ",1]]]]", "{" STATS(0, 0, 0, 0, 1, 0));
        answers("[54,[[78,[" T ",77]]],{\"return_changes\":true}]", "{" STATS(0, 0, 0, 0, 0, 0));
        /* A query reads its own writes. */
        answers("[64,[[69,[[2,[1]],[43,[" T "]]]],[54,[" T "]]]]", "0");
        stop(&s);
}

static void test_for_each(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers("[68,[[173,[0,300]],[69,[[2,[1]],[56,[" T ",{\"id\":[10,[1]]}]]]]]]", "{" STATS(0, 0, 300, 0, 0, 0));
        answers("[68,[[2,[1,2]],[69,[[2,[1]],[2,[[54,[[16,[" T ",[10,[1]]]]]],[56,[" T ",{\"id\":5}]]]]]]]]",
                "{\"deleted\":2,\"errors\":2,\"first_error\":\"Duplicate primary key "
                "`id`:\\n{\\n\\t\\\"id\\\":\\t5\\n}\\n{\\n\\t\\\"id\\\":"
                "\\t5\\n}\",\"inserted\":0,\"replaced\":0,\"skipped\":0,\"unchanged\":0}");
        answers("[68,[[2,[10,11]],[69,[[2,[1]],[54,[[16,[" T ",[10,[1]]]]],{\"return_changes\":true}]]]]]",
                "{\"changes\":[{\"new_val\":null,\"old_val\":{\"id\":10}},{\"new_val\":null,\"old_val\":{\"id\":11}}]"
                "," STATS(2, 0, 0, 0, 0, 0));
        /* Reads, scans and writes of the same table in each row: the snapshots of one row are gone before the next. */
        answers("[68,[[173,[0,2000]],[69,[[2,[1]],[65,[[21,[[43,[[39,[" T ",{\"id\":[10,[1]]}]]]],0]],[54,[[16,[" T
                ",[10,[1]]]]]],[56,[" T ",{\"id\":[10,[1]]}]]]]]]]]",
                "{" STATS(296, 0, 1704, 0, 0, 0));
        assert_true(query_memory_bytes(s.query) < 1 << 20);
        answers("[68,[[2,[]],[69,[[2,[1]],[54,[" T "]]]]]]", "{}");
        answers("[68,[[2,[1]],1]]", "LOGIC FOR_EACH expects one or more basic write queries.  Expected type ARRAY but "
                                    "found NUMBER. at [1]");
        answers("[68,[[2,[1]],[69,[[2,[1]],[10,[1]]]]]]", "LOGIC FOR_EACH expects one or more basic write queries.  "
                                                          "Expected type ARRAY but found NUMBER. at [1,1]");
        answers("[68,[[2,[1]],[69,[[2,[1]]," T "]]]]",
                "LOGIC FOR_EACH expects one or more basic write queries. at [1,1]");
        answers("[68,[[2,[1]],[69,[[2,[1]],null]]]]",
                "NON_EXISTENCE FOR_EACH expects one or more basic write queries.  Expected type ARRAY but found NULL. "
                "at [1,1]");
        answers("[68,[[2,[1]],[69,[[2,[1]],[2,[null]]]]]]",
                "NON_EXISTENCE FOR_EACH expects one or more basic write queries.  Expected type OBJECT but found "
                "NULL. at [1,1]");
        answers("[68,[[2,[1,2]],[69,[[2,[1]],{\"a\":1e308}]]]]",
                "LOGIC FOR_EACH expects one or more basic write queries.  Non-finite number: inf at [1,1]");
        /* The writes' own warnings stay; the sum's is not told twice. */
        assert_string_equal(run_with(&s,
                                     "[170,[[68,[[2,[1,2]],[69,[[2,[1]],[56,[" T
                                     ",[2,[{},{}]]],{\"return_changes\":true}]]]]],"
                                     "\"warnings\"]]",
                                     "{\"array_limit\":3}"),
                            "[\"Too many changes, array truncated to 3.\"]");
        assert_string_equal(
                run_with(&s,
                         "[170,[[68,[[173,[2]],[69,[[2,[1]],[56,[" T ",[38,[[173,[5]],[69,[[2,[2]],{\"z\":1}]]]]],{"
                         "\"return_changes\":true}]]]]],\"warnings\"]]",
                         "{\"array_limit\":4}"),
                "[\"Too many changes, array truncated to 4.\",\"Too many generated keys (5), array truncated to 4.\","
                "\"Too many changes, array truncated to 4.\",\"Too many generated keys (5), array truncated to 4.\"]");
        stop(&s);
}

/* RethinkDB evaluates a term's first argument before its options, whatever the term. */
static void test_first_argument_first(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers("[53,[[15,[[14,[\"test\"]],\"none\"]],{}],{\"durability\":\"bad\"}]",
                "OP_FAILED Table `test.none` does not exist. at [0]");
        answers("[54,[[12,[\"x\"]]],{\"durability\":\"bad\"}]", "USER x at [0]");
        answers("[55,[[12,[\"x\"]],[151,[]]]]", "USER x at [0]");
        answers("[60,[[12,[\"x\"]]],{\"shards\":0}]", "USER x at [0]");
        answers("[41,[[12,[\"x\"]],[12,[\"y\"]]]]", "USER x at [0]");
        answers("[81,[[12,[\"x\"]],-1]]", "USER x at [0]");
        answers("[15,[[14,[\"test\"]],1],{\"read_mode\":\"x\"}]",
                "LOGIC Read mode `x` unrecognized (options are \"majority\", \"single\", and \"outdated\"). at []");
        answers("[15,[[14,[\"test\"]],1],{\"read_mode\":\"_debug_direct\"}]",
                "LOGIC Expected type STRING but found NUMBER. at [1]");
        answers("[78,[" T ",[12,[\"x\"]]],{\"index\":1}]",
                "LOGIC Expected type STRING but found NUMBER. at [\"index\"]");
        answers(INSERT_O("{\"id\":1}", "\"conflict\":[69,[[2,[1,2]],1]],\"durability\":\"x\""),
                "LOGIC Durability option `x` unrecognized (options are \"hard\" and \"soft\"). at [\"durability\"]");
        answers(INSERT_O("{}", "\"upsert\":true"), "COMPILE Unrecognized optional argument `upsert`. at [\"upsert\"]");
        stop(&s);
}

/* A row is read, and its key looked at, by whoever asks for it. */
static void test_keys_that_cannot_be(void **state)
{
#define NO_KEY(type, text)                                                                                             \
        " Primary keys must be either a number, string, bool, pseudotype or array (got type " type "):\n" text " at "  \
        "[]"
        Session s;
        start(&s);
        make(&s);
        answers("[53,[[16,[" T ",{}]],{\"a\":1}]]", "LOGIC" NO_KEY("OBJECT", "{}"));
        answers("[54,[[16,[" T ",null]]]]", "NON_EXISTENCE" NO_KEY("NULL", "null"));
        answers("[170,[[16,[" T ",null]],\"a\"]]", "NON_EXISTENCE" NO_KEY("NULL", "null"));
        answers("[92,[[16,[" T ",null]],7]]", "7");
        answers("[66,[[16,[" T ",null]],7]]",
                "NON_EXISTENCE Primary keys must be either a number, string, bool, pseudotype "
                "or array (got type NULL):\nnull at [0]");
        answers("[43,[[182,[" T ",5,{}]]]]", "LOGIC" NO_KEY("OBJECT", "{}"));
        answers("[43,[[182,[" T ",{},5]]]]", "0"); /* nothing lies between them */
        answers("[52,[[182,[" T ",5,{}]]]]", "\"TABLE_SLICE\"");
        answers("[52,[[78,[" T ",{}]]]]", "LOGIC"
                                          " Primary keys must be either a number, string, bool, pseudotype or "
                                          "array (got type OBJECT):\n{} at [0]");
        stop(&s);
}

/* What is not deterministic is evaluated before the write, which is an insert of what came out. */
static void test_non_atomic(void **state)
{
        Session s;
        start(&s);
        make(&s);
        run(&s, INSERT("{\"id\":1,\"a\":1}"));
        answers("[53,[[16,[" T ",1]],{\"r\":[151,[5,6]]}]]",
                "LOGIC Could not prove argument deterministic.  Maybe you want to use the non_atomic flag? at []");
        answers("[53,[[16,[" T ",1]],{\"r\":[151,[5,6]]}],{\"non_atomic\":true,\"return_changes\":true}]",
                "{\"changes\":[{\"new_val\":{\"a\":1,\"id\":1,\"r\":5},\"old_val\":{\"a\":1,\"id\":1}}]," STATS(
                        0, 0, 0, 1, 0, 0));
        answers("[170,[[53,[[16,[" T ",9]],{\"r\":[151,[]]}],{\"non_atomic\":true}],\"first_error\"]]",
                "\"Expected type OBJECT but found NULL.\"");
        answers("[170,[[55,[[16,[" T ",1]],[65,[[151,[]],null,1]]],{\"non_atomic\":true}],\"first_error\"]]",
                "\"Expected type OBJECT but found NULL.\"");
        answers("[170,[[55,[[16,[" T ",9]],{\"id\":[151,[3,4]]}],{\"non_atomic\":true}],\"first_error\"]]",
                "\"Primary key `id` cannot be changed (`null` -> `{\\n\\t\\\"id\\\":\\t3\\n}`).\"");
        answers("[55,[[16,[" T ",3]],{\"id\":[151,[3,4]]}],{\"non_atomic\":true}]", "{" STATS(0, 0, 1, 0, 0, 0));
        answers("[170,[[53,[[16,[" T ",1]],[103,[]]]],\"first_error\"]]",
                "\"Cannot merge objects of type `PTYPE<TIME>`.\"");
        stop(&s);
}

/* A loop that reads what it writes must not pile up snapshots; for_each closes them row by row. */
static void test_reading_and_writing_by_turns(void **state)
{
        Session s;
        start(&s);
        make(&s);
        const char *write = "[56,[" T ",{\"id\":[10,[1]],\"n\":[43,[" T "]]}],{\"conflict\":\"replace\"}]";
        char *term = test_malloc(1000);
        snprintf(term, 1000, "[170,[[68,[[173,[1100]],[69,[[2,[1]],%s]]]],\"inserted\"]]", write);
        answers(term, "1100");
        snprintf(term, 1000, "[93,[[173,[1100]],[69,[[2,[1]],[17,[[170,[%s,\"errors\"]],1]]]]]]", write);
        answers(term, "RESOURCE The query reads and writes table `t` by turns more than 1000 times: use for_each. at "
                      "[1,1,0,0,1,\"n\",0]");
        test_free(term);
        stop(&s);
}

static void test_sync(void **state)
{
        Session s;
        start(&s);
        make(&s);
        run(&s, INSERT_O("{\"id\":1}", "\"durability\":\"soft\""));
        assert_int_equal(query_durable_position(s.query), 0);
        answers("[138,[" T "]]", "{\"synced\":1}");
        assert_true(query_durable_position(s.query) > 0);
        run(&s, INSERT("{\"id\":2}"));
        assert_true(query_durable_position(s.query) > 0);
        run_with(&s, INSERT("{\"id\":3}"), "{\"durability\":\"soft\"}");
        assert_int_equal(query_durable_position(s.query), 0);
        stop(&s);
}

/* A query that runs out of memory inside an update gives the table back. */
#define TEXT50 "a b c d e f g h i j k l m n o p q r s t u v w x y "

static void test_out_of_memory_inside_an_update(void **state)
{
        Session s;
        start(&s);
        make(&s);
        run(&s, INSERT("[2,[{\"id\":1},{\"id\":2}]]"));
        query_free(s.query);
        s.query_world.memory_max_bytes = 1 << 20;
        ok(query_new(&s.query_world, "admin", &s.query));
        /* x = [0, 1, ... 99999] */
        const char *text = run(&s, "[53,[" T ",[69,[[2,[1]],{\"x\":[51,[[173,[0,100000]],\"array\"]]}]]]]");
        assert_true(strncmp(text, "RESOURCE", 8) == 0 || strncmp(text, "?", 1) == 0);
        answers("[16,[" T ",1]]", "{\"id\":1}");
        answers("[53,[[16,[" T ",1]],{\"a\":1}]]", "{" STATS(0, 0, 0, 1, 0, 0));
        /* The first row failed in its own way before. */
        text = run(&s, "[53,[" T ",[69,[[2,[1]],[65,[[17,[[170,[[10,[1]],\"id\"]],1]],[12,[\"boo\"]],"
                       "{\"x\":[51,[[173,[0,100000]],\"array\"]]}]]]]]]");
        assert_true(strncmp(text, "RESOURCE", 8) == 0 || strncmp(text, "?", 1) == 0);
        /* All rows have failed, and there is no room to tell. */
        run(&s, "[68,[[173,[10,5000]],[69,[[2,[1]],[56,[" T ",{\"id\":[10,[1]],\"v\":[149,[\"" TEXT50 TEXT50 TEXT50
                "\"]]}]]]]]]");
        text = run(&s, "[53,[" T ",[12,[\"boo\"]]],{\"return_changes\":\"always\"}]");
        assert_true(strncmp(text, "RESOURCE", 8) == 0 || strncmp(text, "?", 1) == 0);
        stop(&s);
}

/* --- administration --- */

static void test_databases(void **state)
{
        Session s;
        start(&s);
        answers("[59,[]]", "[\"rethinkdb\",\"test\"]");
        assert_non_null(strstr(run(&s, "[57,[\"a\"]]"), "\"dbs_created\":1"));
        answers("[57,[\"a\"]]", "OP_FAILED Database `a` already exists. at []");
        answers("[57,[\"a b\"]]", "LOGIC Database name `a b` invalid (Use A-Z, a-z, 0-9, _ and - only). at [0]");
        answers("[57,[1]]", "LOGIC Expected type STRING but found NUMBER. at [0]");
        assert_non_null(strstr(run(&s, "[174,[[14,[\"a\"]]]]"), "\"name\":\"a\""));
        assert_non_null(strstr(run(&s, "[58,[\"a\"]]"), "\"tables_dropped\":0"));
        answers("[58,[\"a\"]]", "OP_FAILED Database `a` does not exist. at []");
        answers("[174,[[14,[\"rethinkdb\"]]]]",
                "OP_FAILED Database `rethinkdb` is special; you can't configure it. at []");
        stop(&s);
}

static void test_tables(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers("[62,[[14,[\"test\"]]]]", "[\"t\"]");
        answers("[62,[]]", "[\"t\"]");
        assert_non_null(strstr(run_with(&s, "[60,[\"u\"]]", "{\"db\":[14,[\"test\"]]}"), "\"tables_created\":1"));
        answers("[60,[[14,[\"test\"]],\"t\"]]", "OP_FAILED Table `test.t` already exists. at []");
        answers("[60,[\"x\"],{\"shards\":0}]", "LOGIC Every table must have at least one shard. at [\"shards\"]");
        answers("[60,[\"x\"],{\"durability\":\"fake\"}]",
                "LOGIC Durability option `fake` unrecognized (options are \"hard\" and \"soft\"). at [\"durability\"]");
        answers("[60,[\"x\"],{\"replicas\":2}]",
                "OP_FAILED Can't put 2 replicas on servers with the tag `default` because there are only 1 servers "
                "with the tag "
                "`default`. It's impossible to have more replicas of the data than there are servers. at []");
        answers("[60,[\"%\"]]", "LOGIC Table name `%` invalid (Use A-Z, a-z, 0-9, _ and - only). at [0]");
        answers("[61,[[14,[\"test\"]],\"none\"]]", "OP_FAILED Table `test.none` does not exist. at []");
        answers("[62,[]]", "[\"t\",\"u\"]");
        assert_non_null(strstr(run(&s, "[61,[\"u\"]]"), "\"tables_dropped\":1"));
        answers("[177,[" T "],{\"wait_for\":\"all_replicas_ready\"}]", "{\"ready\":1}");
        answers("[177,[[14,[\"test\"]]]]", "{\"ready\":1}");
        answers("[177,[]]", "LOGIC `wait` can only be called on a table or database. at []");
        answers("[177,[" T "],{\"wait_for\":\"x\"}]", "LOGIC Unknown table readiness state: 'x', must be one of "
                                                      "'ready_for_outdated_reads', 'ready_for_reads', "
                                                      "'ready_for_writes', or 'all_replicas_ready' at [\"wait_for\"]");
        answers("[33,[[174,[" T "]],\"db\",\"name\",\"durability\"]]",
                "{\"db\":\"test\",\"durability\":\"hard\",\"name\":\"t\"}");
        answers("[53,[[174,[" T "]],{\"durability\":\"soft\"}]]", "{" STATS(0, 0, 0, 1, 0, 0));
        answers("[33,[[174,[" T "]],\"durability\"]]", "{\"durability\":\"soft\"}");
        answers("[33,[[175,[" T "]],\"status\"]]",
                "{\"status\":{\"all_replicas_ready\":true,\"ready_for_outdated_reads\":true,\"ready_for_reads\":true,"
                "\"ready_for_writes\":true}}");
        stop(&s);
}

static void test_reconfigure(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers("[170,[[176,[" T "],{\"shards\":2,\"replicas\":1}],\"reconfigured\"]]", "1");
        answers("[43,[[170,[[174,[" T "]],\"shards\"]]]]", "2");
        answers("[170,[[176,[" T "],{\"shards\":3,\"replicas\":1,\"dry_run\":true}],\"reconfigured\"]]", "0");
        answers("[43,[[170,[[174,[" T "]],\"shards\"]]]]", "2");
        answers("[170,[[176,[[14,[\"test\"]]],{\"shards\":1,\"replicas\":{\"default\":1},\"primary_replica_tag\":"
                "\"default\"}],"
                "\"reconfigured\"]]",
                "1");
        answers("[43,[[170,[[174,[" T "]],\"shards\"]]]]", "1");
        answers("[176,[" T "],{\"replicas\":1}]", "LOGIC Missing required argument `shards`. at []");
        answers("[176,[],{\"shards\":1}]", "LOGIC `reconfigure` can only be called on a table or database. at []");
        assert_string_equal(run_with(&s, "[177,[]]", "{\"db\":[14,[\"nope\"]]}"),
                            "OP_FAILED Database `nope` does not exist. at []");
        answers("[176,[" T "],{\"shards\":1,\"replicas\":-1}]",
                "OP_FAILED Can't put 18446744073709551615 replicas on servers with the tag `default` because there are "
                "only 1 servers with the tag `default`. It's impossible to have more replicas of the data than there "
                "are servers. at []");
        answers("[176,[" T "],{\"shards\":1,\"replicas\":{\"default\":1}}]",
                "LOGIC `primary_replica_tag` must be specified when `replicas` is an OBJECT. at [\"replicas\"]");
        answers("[176,[" T "],{\"shards\":1,\"replicas\":{\"default\":-3},\"primary_replica_tag\":\"default\"}]",
                "LOGIC Can't have a negative number of replicas at [\"replicas\"]");
        answers("[176,[" T "],{\"shards\":1,\"replicas\":{\"foo\":0},\"primary_replica_tag\":\"foo\"}]",
                "OP_FAILED You must set `replicas` to at least one. `replicas` includes the primary replica; if there "
                "are zero "
                "replicas, there is nowhere to put the data. at []");
        answers("[176,[" T "],{\"emergency_repair\":\"unsafe_rollback\"}]",
                "OP_FAILED This table doesn't need to be repaired. at []");
        answers("[170,[[179,[" T "]],\"rebalanced\"]]", "1");
        stop(&s);
}

/* The hook runs unless it is told not to; every term that writes takes the option. */
static void test_ignore_hook(void **state)
{
        Session s;
        start(&s);
        make(&s);
        run(&s, "[189,[" T ",[69,[[2,[1,2,3]],[65,[[17,[[10,[3]],null]],[10,[3]],[35,[[10,[3]],{\"h\":1}]]]]]]]]");
        answers("[56,[" T ",{\"id\":1}]]", "{" STATS(0, 0, 1, 0, 0, 0));
        answers("[56,[" T ",{\"id\":2}],{\"ignore_write_hook\":true}]", "{" STATS(0, 0, 1, 0, 0, 0));
        answers("[56,[" T ",{\"id\":3}],{\"ignore_write_hook\":false}]", "{" STATS(0, 0, 1, 0, 0, 0));
        answers("[34,[[16,[" T ",1]],\"id\"]]", "{\"h\":1}");
        answers("[34,[[16,[" T ",2]],\"id\"]]", "{}");
        answers("[34,[[16,[" T ",3]],\"id\"]]", "{\"h\":1}");
        answers("[53,[[16,[" T ",2]],{\"a\":1}],{\"ignore_write_hook\":true}]", "{" STATS(0, 0, 0, 1, 0, 0));
        answers("[55,[[16,[" T ",1]],{\"id\":1}],{\"ignore_write_hook\":true}]", "{" STATS(0, 0, 0, 1, 0, 0));
        answers("[34,[[16,[" T ",1]],\"id\"]]", "{}");
        answers("[34,[[16,[" T ",2]],\"id\"]]", "{\"a\":1}");
        answers("[53,[" T ",{\"b\":1}]]", "{" STATS(0, 0, 0, 3, 0, 0));
        answers("[34,[[16,[" T ",2]],\"id\"]]", "{\"a\":1,\"b\":1,\"h\":1}");
        answers("[54,[" T "],{\"ignore_write_hook\":true}]", "{" STATS(3, 0, 0, 0, 0, 0));
        stop(&s);
}

static void test_info(void **state)
{
        Session s;
        start(&s);
        make(&s);
        run(&s, INSERT("[2,[{\"id\":1},{\"id\":2}]]"));
        answers("[34,[[79,[" T "]],\"id\",\"db\"]]", "{\"doc_count_estimates\":[2],\"indexes\":[],\"name\":\"t\","
                                                     "\"primary_key\":\"id\",\"type\":\"TABLE\"}");
        answers("[79,[[14,[\"rethinkdb\"]]]]", "{\"id\":\"" SYSTEM_DB_ID "\",\"name\":\"rethinkdb\",\"type\":\"DB\"}");
        answers("[34,[[79,[[182,[" T ",1,[181,[]]]]]],\"table\"]]",
                "{\"index\":\"id\",\"left_bound\":1,\"left_bound_type\":\"closed\",\"right_bound_type\":\"unbounded\","
                "\"sorting\":"
                "\"UNORDERED\",\"type\":\"TABLE_SLICE\"}");
        answers("[34,[[79,[[16,[" T ",1]]]],\"table\"]]", "{\"type\":\"SELECTION<OBJECT>\"}");
        answers("[79,[1]]", "{\"type\":\"NUMBER\",\"value\":\"1\"}");
        answers("[79,[\"a\"]]", "{\"type\":\"STRING\",\"value\":\"\\\"a\\\"\"}");
        answers("[79,[null]]", "{\"type\":\"NULL\"}");
        answers("[64,[[69,[[2,[3]],[79,[[69,[[2,[1]],[24,[[10,[1]],[10,[3]]]]]]]]]],5]]",
                "{\"source_code\":\"function (captures = [implicit: (not stored), 3: 5]) (args = [var1]) "
                "r.add(var1, var3)\",\"type\":\"FUNCTION\"}");
        answers("[64,[[69,[[2,[3]],[79,[[69,[[2,[]],[24,[1,[13,[]]]]]]]]]],5]]",
                "{\"source_code\":\"function (captures = [implicit: 5]) (args = []) r.add(1, r.row)\",\"type\":"
                "\"FUNCTION\"}");
        answers("[79,[[69,[[2,[1,7]],1]]]]", "{\"source_code\":\"function (captures = [(no implicit)]) (args = "
                                             "[var1, var7]) r.expr(1)\",\"type\":\"FUNCTION\"}");
        stop(&s);
}

static void test_system_tables(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers("[17,[[45,[[39,[[15,[[14,[\"rethinkdb\"]],\"table_config\"]],{\"name\":\"t\"}]],0]],[174,[" T "]]]]",
                "true");
        answers("[170,[[45,[[15,[[14,[\"rethinkdb\"]],\"server_config\"]],0]],\"name\"]]", "\"here\"");
        answers("[56,[[15,[[14,[\"rethinkdb\"]],\"_debug_scratch\"]],{\"id\":1}]]", "{" STATS(0, 0, 1, 0, 0, 0));
        answers("[15,[[14,[\"rethinkdb\"]],\"_debug_scratch\"]]", "{\"id\":1}");
        answers("[54,[[39,[[15,[[14,[\"rethinkdb\"]],\"table_config\"]],{\"name\":\"t\"}]]]]",
                "{" STATS(1, 0, 0, 0, 0, 0));
        answers("[62,[]]", "[]");
        answers("[56,[[15,[[14,[\"rethinkdb\"]],\"table_config\"]],{\"name\":\"x\",\"db\":\"test\",\"id\":\"x\"}]]",
                "{\"deleted\":0,\"errors\":1,\"first_error\":\"There is no existing table with the given ID. To create "
                "a new table by inserting into `rethinkdb.table_config`, you must let the database generate the "
                "primary key automatically.\",\"inserted\":0,\"replaced\":0,\"skipped\":0,\"unchanged\":0}");
        stop(&s);
}

#define DUPLICATE "\"Duplicate value in unique index `email`: \\\"a@x\\\" is that of the row with primary key 1.\""

static void test_unique_index(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers("[75,[" T ",\"at\"],{\"geo\":true,\"unique\":true}]",
                "LOGIC A geospatial index cannot be unique. at []");
        answers("[75,[" T ",\"email\"],{\"unique\":true}]", "{\"created\":1}");
        answers("[170,[[45,[[140,[" T "]],0]],\"unique\"]]", "true");
        answers(INSERT("{\"id\":1,\"email\":\"a@x\"}"), "{" STATS(0, 0, 1, 0, 0, 0));
        answers("[170,[" INSERT("{\"id\":2,\"email\":\"a@x\"}") ",\"first_error\"]]", DUPLICATE);
        /* `conflict` is about the primary key. */
        answers("[170,[" INSERT_O("{\"id\":2,\"email\":\"a@x\"}", "\"conflict\":\"replace\"") ",\"first_error\"]]",
                DUPLICATE);
        answers(INSERT_O("{\"id\":1,\"email\":\"b@x\"}", "\"conflict\":\"update\""), "{" STATS(0, 0, 0, 1, 0, 0));
        answers(INSERT("[2,[{\"id\":2,\"email\":\"a@x\"},{\"id\":3},{\"id\":4}]]"), "{" STATS(0, 0, 3, 0, 0, 0));
        answers("[170,[[53,[" T ",{\"email\":\"c@x\"}]],\"errors\"]]", "3");
        answers("[76,[" T ",\"email\"]]", "{\"dropped\":1}");
        stop(&s);
}

/* Two rows with one value end its build; to wait for it is an error then. */
static void test_unique_index_that_cannot_be(void **state)
{
        Session s;
        start(&s);
        make(&s);
        answers(INSERT("[2,[{\"id\":1,\"k\":\"v\"},{\"id\":2,\"k\":\"v\"}]]"), "{" STATS(0, 0, 2, 0, 0, 0));
        answers("[75,[" T ",\"k\"],{\"unique\":true}]", "{\"created\":1}");
        answers("[140,[" T ",\"k\"]]", "OP_FAILED Index `k` on table `test.t` could not be built: It is to be unique, "
                                       "but the rows with primary "
                                       "keys 1 and 2 have the same value: \"v\" at []");
        answers("[43,[[78,[" T ",\"v\"],{\"index\":\"k\"}]]]", "OP_FAILED Index `k` on table `test.t` could not be "
                                                               "built: It is to be unique, but the rows with primary "
                                                               "keys 1 and 2 have the same value: \"v\" at []");
        answers("[33,[[45,[[139,[" T "]],0]],\"ready\",\"error\",\"unique\"]]",
                "{\"error\":\"It is to be unique, but the rows with primary keys 1 and 2 have the same value: "
                "\\\"v\\\"\",\"ready\":false,\"unique\":true}");
        answers("[76,[" T ",\"k\"]]", "{\"dropped\":1}");
        stop(&s);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_insert),
                cmocka_unit_test(test_insert_odd_documents),
                cmocka_unit_test(test_generated_keys),
                cmocka_unit_test(test_cut_answers),
                cmocka_unit_test(test_many_rows),
                cmocka_unit_test(test_update),
                cmocka_unit_test(test_replace_and_delete),
                cmocka_unit_test(test_for_each),
                cmocka_unit_test(test_first_argument_first),
                cmocka_unit_test(test_keys_that_cannot_be),
                cmocka_unit_test(test_non_atomic),
                cmocka_unit_test(test_reading_and_writing_by_turns),
                cmocka_unit_test(test_sync),
                cmocka_unit_test(test_out_of_memory_inside_an_update),
                cmocka_unit_test(test_databases),
                cmocka_unit_test(test_tables),
                cmocka_unit_test(test_reconfigure),
                cmocka_unit_test(test_ignore_hook),
                cmocka_unit_test(test_info),
                cmocka_unit_test(test_system_tables),
                cmocka_unit_test(test_unique_index),
                cmocka_unit_test(test_unique_index_that_cannot_be),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
