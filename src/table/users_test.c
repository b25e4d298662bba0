/* users_test.c - users, passwords and permissions: RethinkDB's rules word for word, a model of inheritance, what stays
 * over restarts, crashes and lack of memory, and enforcement through the query layer. */
#include "query/query.h"
#include "table/table_test.h"
#include "table/users.h"

/* A "hash" that shows in tests what it was made of. */
static Status fake_credential(void *ctx, Bytes password, uint32_t iterations, ScramCredential *ret_credential)
{
        *ret_credential = (ScramCredential){.iterations = iterations};
        memcpy(ret_credential->stored_key, password.data ? password.data : (const uint8_t *)"",
               MIN(password.size, sizeof ret_credential->stored_key));
        return ST_OK;
}

typedef struct Fixture {
        World w;
        QueryWorld query_world;
        Buf out;
        char audit[4096];
} Fixture;

static Fixture *audited; /* host ops have one ctx, the World */

static void keep_audit(void *ctx, const char *line)
{
        size_t used = strlen(audited->audit);
        snprintf(audited->audit + used, sizeof audited->audit - used, "%s\n", line);
}

static void open_fixture(Fixture *f, uint64_t seed)
{
        *f = (Fixture){0};
        audited = f;
        world_init(&f->w, seed);
        f->w.host.credential = fake_credential;
        f->w.host.audit = keep_audit;
        world_open(&f->w);
        f->query_world = (QueryWorld){.source = f->w.source, .host = &f->w.host, .memory_max_bytes = 64 << 20};
        buf_init(&f->out, 1 << 20);
}

static void reopen(Fixture *f)
{
        world_close(&f->w);
        world_open(&f->w);
        f->query_world.source = f->w.source;
}

static void close_fixture(Fixture *f)
{
        buf_done(&f->out);
        world_done(&f->w);
}

/* What `term` answers to `user`, or "CODE message". */
static const char *run_as(Fixture *f, const char *user, const char *term)
{
        static const char *const codes[] = {
                [ERR_LOGIC] = "LOGIC", [ERR_OP_FAILED] = "OP_FAILED", [ERR_PERMISSION] = "PERMISSION"};
        Query *query;
        QueryAnswer answer = ANSWER_PARTIAL;
        uint8_t *text;
        size_t size = strlen(term) + 16;
        ok(query_new(&f->query_world, user, &query));
        ok(query_text_buffer(query, size, &text));
        snprintf((char *)text, size, "[1,%s,{}]", term);
        buf_clear(&f->out);
        Status st = query_prepare(query, BYTES(text, strlen((char *)text)));
        while (!st && answer == ANSWER_PARTIAL)
                st = query_next(query, &f->out, &answer);
        if (st) {
                StatusCode code = status_code(st);
                buf_clear(&f->out);
                ok(buf_printf(&f->out, "%s %s", code < ELEMENTS(codes) && codes[code] ? codes[code] : "?",
                              status_message(st)));
                status_ignore(st);
        }
        query_free(query);
        ok(buf_append_byte(&f->out, 0));
        return (const char *)f->out.data;
}

#define as(user, term, text) assert_string_equal(run_as(&f, user, term), text)
#define admin(term, text)    as("admin", term, text)
/* A write that changes one row, or says why it does not. */
#define wrote(term, what)                                                                                              \
        do {                                                                                                           \
                const char *answer_ = run_as(&f, "admin", term);                                                       \
                if (!strstr(answer_, what))                                                                            \
                        fail_msg("%s\nanswers %s\nwithout %s", term, answer_, what);                                   \
        } while (0)

#define USERS        "[15,[[14,[\"rethinkdb\"]],\"users\"]]"
#define PERMISSIONS  "[15,[[14,[\"rethinkdb\"]],\"permissions\"]]"
#define ADD(row)     "[56,[" USERS "," row "]]"
#define T            "[15,[[14,[\"test\"]],\"t\"]]"
#define GET(t, key)  "[16,[" t "," key "]]"
#define LACKS(u, p)  "PERMISSION User `" u "` does not have the required `" p "` permission."
#define REFUSED(msg) "\"errors\":1,\"first_error\":\"" msg "\""

static uint32_t iterations_of(Fixture *f, const char *name, char *ret_password)
{
        ScramCredential credential;
        bool found;
        ok(table_user_find(f->w.catalog, BYTES_STR(name), &credential, &found));
        if (!found)
                return 0;
        snprintf(ret_password, 33, "%s", (const char *)credential.stored_key);
        return credential.iterations;
}

static void check_login(Fixture *f, const char *name, const char *password, uint32_t iterations)
{
        char text[33] = "";
        assert_int_equal(iterations_of(f, name, text), iterations);
        assert_string_equal(text, password);
}

/* --- users --- */

static void test_users_table(void **state)
{
        Fixture f;
        open_fixture(&f, 1);
        admin(USERS, "{\"id\":\"admin\",\"password\":false}");
        check_login(&f, "admin", "", 1);
        wrote(ADD("{\"id\":\"bob\",\"password\":\"secret\"}"), "\"inserted\":1");
        wrote(ADD("{\"id\":\"eve\",\"password\":{\"password\":\"word\",\"iterations\":7}}"), "\"inserted\":1");
        wrote(ADD("{\"id\":\"guest\",\"password\":false}"), "\"inserted\":1");
        check_login(&f, "bob", "secret", 4096);
        check_login(&f, "eve", "word", 7);
        check_login(&f, "guest", "", 1);
        admin(GET(USERS, "\"bob\""), "{\"id\":\"bob\",\"password\":true}");
        admin(GET(USERS, "\"guest\""), "{\"id\":\"guest\",\"password\":false}");
        admin(GET(USERS, "\"nobody\""), "null");
        /* true: as it is */
        wrote("[53,[" GET(USERS, "\"bob\"") ",{\"password\":true}]]", "\"unchanged\":1");
        check_login(&f, "bob", "secret", 4096);
        wrote("[53,[" GET(USERS, "\"bob\"") ",{\"password\":\"new\"}]]", "\"replaced\":1");
        check_login(&f, "bob", "new", 4096);
        wrote("[53,[" GET(USERS, "\"bob\"") ",{\"password\":false}]]", "\"replaced\":1");
        check_login(&f, "bob", "", 1);
        wrote("[53,[" GET(USERS, "\"admin\"") ",{\"password\":\"root\"}]]", "\"replaced\":1");
        reopen(&f);
        check_login(&f, "admin", "root", 4096);
        check_login(&f, "bob", "", 1);
        check_login(&f, "eve", "word", 7);
        wrote("[54,[" GET(USERS, "\"eve\"") "]]", "\"deleted\":1");
        check_login(&f, "eve", "", 0);
        reopen(&f);
        check_login(&f, "eve", "", 0);
        assert_null(strstr(f.audit, "secret"));
        assert_null(strstr(f.audit, "root"));
        assert_non_null(strstr(f.audit, "user `bob` made with a password, by `admin`\n"));
        assert_non_null(strstr(f.audit, "password of user `admin` set, by `admin`\n"));
        assert_non_null(strstr(f.audit, "user `eve` deleted, by `admin`\n"));
        close_fixture(&f);
}

static void test_users_refusals(void **state)
{
        Fixture f;
        open_fixture(&f, 2);
        wrote("[54,[" GET(USERS, "\"admin\"") "]]", REFUSED("The user `admin` can't be deleted."));
        wrote("[54,[" GET(USERS, "\"nobody\"") "]]", REFUSED("User `nobody` not found."));
        wrote(ADD("{\"id\":1,\"password\":false}"), REFUSED("Expected a username as the primary key, got 1."));
        wrote(ADD("{\"password\":false}"), "Expected a username as the primary key, got ");
        wrote(ADD("{\"id\":\"x\"}"), REFUSED("Expected a field named `password`."));
        wrote(ADD("{\"id\":\"x\",\"password\":1}"),
              REFUSED("Expected an object, string or boolean for `password`, got 1."));
        wrote(ADD("{\"id\":\"x\",\"password\":true}"), REFUSED("Expected an object or string to set the password, or "
                                                               "`false` to keep it unset, got true."));
        wrote(ADD("{\"id\":\"x\",\"password\":\"a\",\"z\":1,\"c\":2}"), REFUSED("Unexpected key(s) `c`, `z`."));
        wrote(ADD("{\"id\":\"x\",\"password\":{}}"), REFUSED("Expected a field named `iterations`."));
        wrote(ADD("{\"id\":\"x\",\"password\":{\"iterations\":0}}"),
              REFUSED("Expected iterations to be a number greater than zero, got 0."));
        wrote(ADD("{\"id\":\"x\",\"password\":{\"iterations\":\"1\"}}"),
              "Expected iterations to be a number greater than zero, got \\\"1\\\".");
        wrote(ADD("{\"id\":\"x\",\"password\":{\"iterations\":1}}"), REFUSED("Expected a field named `password`."));
        wrote(ADD("{\"id\":\"x\",\"password\":{\"iterations\":1,\"password\":null}}"),
              REFUSED("Expected `password` to be a string, got null."));
        wrote(ADD("{\"id\":\"x\",\"password\":{\"iterations\":1,\"password\":\"a\",\"salt\":1}}"),
              REFUSED("Unexpected key(s) `salt`."));
        wrote(ADD("{\"id\":\"x\",\"password\":{\"iterations\":1000000000,\"password\":\"a\"}}"),
              "Expected at most 10000000 iterations");
        wrote(ADD("{\"id\":\"admin\\u0000x\",\"password\":\"a\"}"), "\"errors\":1");
        admin("[43,[" USERS "]]", "1");
        close_fixture(&f);
}

static void test_initial_password(void **state)
{
        Fixture f;
        bool set;
        open_fixture(&f, 3);
        ok(table_admin_initial_password(f.w.catalog, BYTES_STR(""), &set));
        assert_false(set);
        assert_false(table_user_has_password(f.w.catalog, BYTES_STR("admin")));
        ok(table_admin_initial_password(f.w.catalog, BYTES_STR("first"), &set));
        assert_true(set);
        world_close(&f.w);
        sim_crash(f.w.sim, SIM_DROP); /* it was durable when the call returned */
        world_open(&f.w);
        check_login(&f, "admin", "first", 4096);
        ok(table_admin_initial_password(f.w.catalog, BYTES_STR("second"), &set));
        assert_false(set);
        check_login(&f, "admin", "first", 4096);
        close_fixture(&f);
}

/* --- permissions --- */

#define GRANT(user, what) "[188,[\"" user "\"," what "]]"
#define CHANGED(now, was) "{\"granted\":1,\"permissions_changes\":[{\"new_val\":" now ",\"old_val\":" was "}]}"

static void test_grant(void **state)
{
        Fixture f;
        open_fixture(&f, 4);
        make_table(&f.w, "test", "t");
        wrote(ADD("{\"id\":\"bob\",\"password\":false}"), "\"inserted\":1");
        admin(GRANT("bob", "{\"read\":true,\"connect\":false}"), CHANGED("{\"connect\":false,\"read\":true}", "null"));
        admin(GRANT("bob", "{\"read\":null,\"write\":true}"),
              CHANGED("{\"connect\":false,\"write\":true}", "{\"connect\":false,\"read\":true}"));
        admin("[188,[[14,[\"test\"]],\"bob\",{\"read\":true}]]", CHANGED("{\"read\":true}", "null"));
        admin("[188,[" T ",\"bob\",{\"config\":false}]]", CHANGED("{\"config\":false}", "null"));
        admin("[188,[" T ",\"bob\",{}]]", CHANGED("{\"config\":false}", "{\"config\":false}"));
        admin("[188,[" T ",\"bob\",{\"config\":null}]]", CHANGED("null", "{\"config\":false}"));
        admin(GRANT("admin", "{\"read\":true}"), "OP_FAILED The permissions of the user `admin` can't be modified.");
        admin(GRANT("nobody", "{\"read\":true}"), "OP_FAILED User `nobody` not found.");
        admin(GRANT("bob", "5"), "OP_FAILED Expected an object, got 5.");
        admin(GRANT("bob", "{\"read\":1}"), "OP_FAILED Expected a boolean or null for `read`, got 1.");
        admin(GRANT("bob", "{\"reed\":true,\"rite\":true}"), "OP_FAILED Unexpected key(s) `reed`, `rite`.");
        admin("[188,[" T ",\"bob\",{\"connect\":true}]]",
              "OP_FAILED The `connect` permission is only valid at the global scope.");
        /* To grant is to write `permissions`. */
        as("bob", GRANT("bob", "{\"config\":true}"), LACKS("bob", "read"));
        admin("[188,[" PERMISSIONS ",\"bob\",{\"read\":true}]]", CHANGED("{\"read\":true}", "null"));
        admin(GRANT("bob", "{\"write\":null}"), CHANGED("{\"connect\":false}", "{\"connect\":false,\"write\":true}"));
        as("bob", GRANT("bob", "{\"config\":true}"), LACKS("bob", "write"));
        admin("[188,[[14,[\"rethinkdb\"]],\"bob\",{\"write\":true}]]", CHANGED("{\"write\":true}", "null"));
        as("bob", GRANT("bob", "{\"config\":true}"),
           CHANGED("{\"config\":true,\"connect\":false}", "{\"connect\":false}"));
        assert_non_null(
                strstr(f.audit, "permissions of user `bob` on database test are {\"read\":true} now, by `admin`\n"));
        assert_non_null(strstr(f.audit, "permissions of user `bob` on the server are "
                                        "{\"config\":true,\"connect\":false} now, by `bob`\n"));
        close_fixture(&f);
}

static const char *id_of(Fixture *f, const char *db, const char *table)
{
        Value id;
        if (table) {
                TableRef *ref = find(&f->w, db, table);
                const char *text = arena_dup(&f->w.arena, ref->info.id.data, ref->info.id.size + 1);
                f->w.source->table_unref(ref);
                return text;
        }
        ok(f->w.source->db_id(f->w.catalog, BYTES_STR(db), &f->w.arena, &id));
        return arena_printf(&f->w.arena, "%.*s", (int)id.size, id.text);
}

static void test_permissions_table(void **state)
{
        Fixture f;
        open_fixture(&f, 5);
        Arena *a = &f.w.arena;
        make_table(&f.w, "test", "t");
        wrote(ADD("{\"id\":\"bob\",\"password\":false}"), "\"inserted\":1");
        const char *db = id_of(&f, "test", NULL), *t = id_of(&f, "test", "t");
        const char *at_db = arena_printf(a, "[2,[\"bob\",\"%s\"]]", db);
        const char *at_t = arena_printf(a, "[2,[\"bob\",\"%s\",\"%s\"]]", db, t);
        admin(GET(PERMISSIONS, "[2,[\"admin\"]]"),
              "{\"id\":[\"admin\"],\"permissions\":{\"config\":true,\"connect\":true,\"read\":true,\"write\":true},"
              "\"user\":\"admin\"}");
#define PUT(key, rest) arena_printf(a, "[56,[" PERMISSIONS ",{\"id\":%s," rest "}],{\"conflict\":\"update\"}]", key)
#define ROW(key)       arena_printf(a, "[16,[" PERMISSIONS ",%s]]", key)
        wrote(PUT("[2,[\"bob\"]]", "\"permissions\":{\"read\":true}"), "\"inserted\":1");
        wrote(PUT(at_db, "\"permissions\":{\"write\":true},\"database\":\"test\""), "\"inserted\":1");
        wrote(PUT(at_t, "\"permissions\":{\"config\":false},\"table\":\"t\""), "\"inserted\":1");
        admin("[43,[" PERMISSIONS "]]", "4");
        admin(ROW(at_t),
              arena_printf(a,
                           "{\"database\":\"test\",\"id\":[\"bob\",\"%s\",\"%s\"],\"permissions\":{\"config\":false},"
                           "\"table\":\"t\",\"user\":\"bob\"}",
                           db, t));
        admin(arena_printf(a, "[16,[[15,[[14,[\"rethinkdb\"]],\"permissions\"],{\"identifier_format\":\"uuid\"}],%s]]",
                           at_db),
              arena_printf(a,
                           "{\"database\":\"%s\",\"id\":[\"bob\",\"%s\"],\"permissions\":{\"write\":true},"
                           "\"user\":\"bob\"}",
                           db, db));
        /* What is written is merged; nothing said is no row. */
        wrote(arena_printf(a, "[53,[%s,{\"permissions\":{\"read\":false}}]]", ROW(at_db)), "\"replaced\":1");
        admin(arena_printf(a, "[31,[%s,\"permissions\"]]", ROW(at_db)), "{\"read\":false,\"write\":true}");
        wrote(arena_printf(a, "[53,[%s,{\"permissions\":{\"read\":null,\"write\":null}}]]", ROW(at_db)),
              "\"deleted\":1");
        admin(ROW(at_db), "null");
        wrote(arena_printf(a, "[54,[%s]]", ROW("[2,[\"bob\"]]")), "\"deleted\":1");
        wrote(arena_printf(a, "[54,[%s]]", ROW("[2,[\"bob\"]]")), "\"skipped\":1");
        admin("[43,[" PERMISSIONS "]]", "2");
        /* refusals */
        wrote("[54,[" GET(PERMISSIONS, "[2,[\"admin\"]]") "]]",
              REFUSED("The permissions of the user `admin` can't be modified."));
        wrote(PUT("[2,[\"nobody\"]]", "\"permissions\":{}"), REFUSED("No user named `nobody`."));
        wrote(PUT("[2,[\"bob\"]]", "\"x\":1"), REFUSED("Expected a field `permissions`."));
        wrote(PUT("[2,[\"bob\"]]", "\"x\":1,\"permissions\":{}"), REFUSED("Unexpected key(s) `x`."));
        wrote(PUT("[2,[\"bob\"]]", "\"database\":\"test\",\"permissions\":{}"),
              REFUSED("Unexpected key(s) `database`."));
        wrote(PUT("[2,[\"bob\"]]", "\"user\":\"eve\",\"permissions\":{}"),
              REFUSED("The key `user` does not match the primary key."));
        wrote(PUT("[2,[\"bob\"]]", "\"permissions\":5"), REFUSED("Expected an object, got 5."));
        wrote(PUT(at_db, "\"permissions\":{},\"database\":\"other\""),
              REFUSED("The key `database` does not match the primary key."));
        wrote(PUT(at_t, "\"permissions\":{},\"table\":\"other\""),
              REFUSED("The key `table` does not match the primary key."));
        wrote(PUT("5", "\"permissions\":{}"),
              REFUSED("Expected an array of one to three items in the primary key, got 5."));
        wrote(PUT("[2,[5]]", "\"permissions\":{}"), REFUSED("Expected a string as the username, got 5."));
        wrote(PUT("[2,[\"bob\",5]]", "\"permissions\":{}"), REFUSED("Expected a UUID as the database, got 5."));
        wrote(arena_printf(a, "[56,[" PERMISSIONS ",{\"id\":[2,[\"bob\",\"%s\",5]],\"permissions\":{}}]]", db),
              REFUSED("Expected a UUID as the table, got 5."));
        wrote(arena_printf(a, "[56,[" PERMISSIONS ",{\"id\":[2,[\"bob\",\"%s\"]],\"permissions\":{}}]]", t),
              "No database with UUID `");
        wrote(arena_printf(a, "[56,[" PERMISSIONS ",{\"id\":[2,[\"bob\",\"%s\",\"%s\"]],\"permissions\":{}}]]", db, db),
              "No table with UUID `");
        wrote("[56,[" PERMISSIONS ",{\"permissions\":{}}]]", REFUSED("You must specify a primary key."));
        /* What was said of a table goes with it. */
        wrote("[61,[[14,[\"test\"]],\"t\"]]", "\"tables_dropped\":1");
        admin("[43,[" PERMISSIONS "]]", "1");
        wrote(ADD("{\"id\":\"bob\",\"password\":\"x\"}"), "\"errors\":1"); /* he is there */
        wrote("[53,[" GET(USERS, "\"bob\"") ",{\"password\":\"x\"}]]", "\"replaced\":1");
        User *bob = users_find(f.w.catalog, BYTES_STR("bob"));
        assert_int_equal(bob->grant_count, 0);
        user_unref(bob);
        close_fixture(&f);
}

/* --- inheritance against a model --- */

enum { MODEL_DBS = 3, MODEL_TABLES = 3, MODEL_PLACES = 1 + MODEL_DBS + MODEL_DBS * MODEL_TABLES };

static const char *const permission_names[] = {"read", "write", "config"};

typedef struct Model { /* -1 not said, 0 refused, 1 given; by place and permission */
        int said[MODEL_PLACES][3];
} Model;

static size_t db_place(size_t db)
{
        return 1 + db;
}
static size_t table_place(size_t db, size_t table)
{
        return 1 + MODEL_DBS + db * MODEL_TABLES + table;
}

static bool model_allows(const Model *m, size_t permission, size_t db, size_t table)
{
        const size_t places[] = {table_place(db, table), db_place(db), 0};
        for (size_t i = 0; i < ELEMENTS(places); i++)
                if (m->said[places[i]][permission] >= 0)
                        return m->said[places[i]][permission] == 1;
        return false;
}

static const char *model_lacks(const Model *m, size_t permission, size_t db, size_t table)
{
        bool allowed = model_allows(m, permission, db, table) && (permission != 1 || model_allows(m, 0, db, table));
        return allowed ? NULL : permission_names[permission];
}

static void check_model(Fixture *f, const Model *m)
{
        static const unsigned bits[] = {PERMIT_READ, PERMIT_WRITE, PERMIT_CONFIG};
        for (size_t db = 0; db < MODEL_DBS; db++)
                for (size_t t = 0; t < MODEL_TABLES; t++)
                        for (size_t p = 0; p < 3; p++) {
                                char db_name[8], name[8], message[128];
                                snprintf(db_name, sizeof db_name, "d%zu", db);
                                snprintf(name, sizeof name, "t%zu", t);
                                TableRef *table = find(&f->w, db_name, name);
                                const char *lacks = model_lacks(m, p, db, t);
                                snprintf(message, sizeof message,
                                         "User `bob` does not have the required `%s` permission.", lacks ? lacks : "");
                                Status by_ref = f->w.source->permit_table(table, BYTES_STR("bob"), bits[p]);
                                Status by_name = f->w.source->permit(f->w.catalog, BYTES_STR("bob"), bits[p],
                                                                     BYTES_STR(db_name), BYTES_STR(name));
                                assert_int_equal(by_ref != ST_OK, lacks != NULL);
                                assert_int_equal(by_name != ST_OK, lacks != NULL);
                                if (lacks) {
                                        assert_int_equal(status_code(by_ref), ERR_PERMISSION);
                                        assert_string_equal(status_message(by_ref), message);
                                        assert_string_equal(status_message(by_name), message);
                                }
                                status_ignore(by_ref);
                                status_ignore(by_name);
                                ok(f->w.source->permit_table(table, BYTES_STR("admin"), bits[p]));
                                f->w.source->table_unref(table);
                        }
}

static void test_inheritance(void **state)
{
        Fixture f;
        Model m;
        uint64_t random = 88172645463325252u;
        open_fixture(&f, 6);
        memset(&m, 0xff, sizeof m);
        for (int db = 0; db < MODEL_DBS; db++) {
                const char *name = arena_printf(&f.w.arena, "d%d", db);
                run_as(&f, "admin", arena_printf(&f.w.arena, "[57,[\"%s\"]]", name));
                for (int t = 0; t < MODEL_TABLES; t++)
                        make_table(&f.w, name, arena_printf(&f.w.arena, "t%d", t));
        }
        wrote(ADD("{\"id\":\"bob\",\"password\":false}"), "\"inserted\":1");
        check_model(&f, &m);
        for (int i = 0; i < 300; i++) {
                static const char *const values[] = {"null", "false", "true"};
                random ^= random << 13, random ^= random >> 7, random ^= random << 17;
                size_t place = random % MODEL_PLACES, p = random / 100 % 3, v = random / 1000 % 3;
                const char *scope = "";
                if (place >= 1 + MODEL_DBS)
                        scope = arena_printf(&f.w.arena, "[15,[[14,[\"d%zu\"]],\"t%zu\"]],",
                                             (place - 1 - MODEL_DBS) / MODEL_TABLES,
                                             (place - 1 - MODEL_DBS) % MODEL_TABLES);
                else if (place)
                        scope = arena_printf(&f.w.arena, "[14,[\"d%zu\"]],", place - 1);
                wrote(arena_printf(&f.w.arena, "[188,[%s\"bob\",{\"%s\":%s}]]", scope, permission_names[p], values[v]),
                      "\"granted\":1");
                m.said[place][p] = (int)v - 1;
                if (i % 10 == 0)
                        check_model(&f, &m);
                if (i % 50 == 0) {
                        reopen(&f);
                        check_model(&f, &m);
                }
                arena_reset(&f.w.arena);
        }
        wrote("[54,[" GET(USERS, "\"bob\"") "]]", "\"deleted\":1");
        memset(&m, 0xff, sizeof m);
        check_model(&f, &m); /* who was deleted may do nothing */
        close_fixture(&f);
}

/* --- enforcement --- */

static void allow(Fixture *f, const char *what)
{
        char term[128];
        snprintf(term, sizeof term, "[188,[\"bob\",%s]]", what);
        assert_non_null(strstr(run_as(f, "admin", term), "\"granted\":1"));
}

static void test_enforcement(void **state)
{
        Fixture f;
        open_fixture(&f, 7);
        make_table(&f.w, "test", "t");
        wrote(ADD("{\"id\":\"bob\",\"password\":false}"), "\"inserted\":1");
        wrote("[56,[" T ",{\"id\":1}]]", "\"inserted\":1");
        /* nothing */
        static const char *const reads[] = {T, GET(T, "1"), "[43,[" T "]]", "[78,[" T ",1]]", USERS, "[79,[" T "]]"};
        for (size_t i = 0; i < ELEMENTS(reads); i++)
                as("bob", reads[i], LACKS("bob", "read"));
        as("bob", "[56,[" T ",{\"id\":2}]]", LACKS("bob", "write"));
        as("bob", "[54,[" GET(T, "1") "]]", LACKS("bob", "write"));
        as("bob", "[54,[" T "]]", LACKS("bob", "read"));
        as("bob", "[138,[" T "]]", LACKS("bob", "write"));
        as("bob", "[57,[\"d\"]]", LACKS("bob", "config"));
        as("bob", "[58,[\"test\"]]", LACKS("bob", "config"));
        as("bob", "[60,[[14,[\"test\"]],\"u\"]]", LACKS("bob", "config"));
        as("bob", "[61,[[14,[\"test\"]],\"t\"]]", LACKS("bob", "config"));
        as("bob", "[174,[" T "]]", LACKS("bob", "config"));
        as("bob", "[174,[[14,[\"test\"]]]]", LACKS("bob", "config"));
        as("bob", "[179,[" T "]]", LACKS("bob", "config"));
        as("bob", "[176,[" T "],{\"shards\":1,\"replicas\":1}]", LACKS("bob", "config"));
        /* what needs nothing */
        as("bob", "[59,[]]", "[\"rethinkdb\",\"test\"]");
        as("bob", "[62,[[14,[\"test\"]]]]", "[\"t\"]");
        as("bob", "[24,[1,1]]", "2");
        as("bob", "[58,[\"nothing\"]]", "OP_FAILED Database `nothing` does not exist.");
        as("bob", "[61,[[14,[\"test\"]],\"nothing\"]]", "OP_FAILED Table `test.nothing` does not exist.");
        as("bob", "[60,[[14,[\"rethinkdb\"]],\"u\"]]",
           "OP_FAILED Database `rethinkdb` is special; you can't create new tables in it.");
        /* a little, then more */
        allow(&f, "{\"read\":true}");
        as("bob", GET(T, "1"), "{\"id\":1}");
        as("bob", "[54,[" T "]]", LACKS("bob", "write"));
        as("bob", GET(USERS, "\"bob\""), "{\"id\":\"bob\",\"password\":false}");
        as("bob", "[53,[" GET(USERS, "\"bob\"") ",{\"password\":\"x\"}]]", LACKS("bob", "write"));
        allow(&f, "{\"read\":false,\"write\":true}"); /* writing is of no use without reading */
        as("bob", "[56,[" T ",{\"id\":2}]]", LACKS("bob", "write"));
        allow(&f, "{\"read\":true}");
        assert_non_null(strstr(run_as(&f, "bob", "[56,[" T ",{\"id\":2}]]"), "\"inserted\":1"));
        allow(&f, "{\"config\":true}");
        wrote("[188,[" T ",\"bob\",{\"config\":false}]]", "\"granted\":1");
        as("bob", "[58,[\"test\"]]", LACKS("bob", "config")); /* one of its tables says no */
        as("bob", "[61,[[14,[\"test\"]],\"t\"]]", LACKS("bob", "config"));
        assert_non_null(strstr(run_as(&f, "bob", "[60,[[14,[\"test\"]],\"u\"]]"), "\"tables_created\":1"));
        wrote("[188,[" T ",\"bob\",{\"config\":null}]]", "\"granted\":1");
        assert_non_null(strstr(run_as(&f, "bob", "[58,[\"test\"]]"), "\"dbs_dropped\":1"));
        wrote("[54,[" GET(USERS, "\"bob\"") "]]", "\"deleted\":1");
        as("bob", "[57,[\"d\"]]", LACKS("bob", "config"));
        close_fixture(&f);
}

/* Rows of table_config and db_config need what the terms need that do the same. */
static void test_config_rows(void **state)
{
        Fixture f;
        open_fixture(&f, 12);
        Arena *a = &f.w.arena;
        make_table(&f.w, "test", "t");
        run_as(&f, "admin", "[57,[\"d\"]]");
        wrote(ADD("{\"id\":\"bob\",\"password\":false}"), "\"inserted\":1");
        wrote("[188,[[14,[\"rethinkdb\"]],\"bob\",{\"read\":true,\"write\":true}]]", "\"granted\":1");
        static const char *const formats[] = {"name", "uuid"};
        for (size_t i = 0; i < ELEMENTS(formats); i++) {
                const char *row = arena_printf(a,
                                               "[16,[[15,[[14,[\"rethinkdb\"]],\"table_config\"],"
                                               "{\"identifier_format\":\"%s\"}],\"%s\"]]",
                                               formats[i], id_of(&f, "test", "t"));
                const char *soft = arena_printf(a, "[53,[%s,{\"durability\":\"%s\"}]]", row, i ? "hard" : "soft");
                const char *move = arena_printf(a, "[53,[%s,{\"db\":\"%s\"}]]", row, i ? id_of(&f, "d", NULL) : "d");
                wrote("[188,[" T ",\"bob\",{\"config\":null}]]", "\"granted\":1");
                as("bob", soft, LACKS("bob", "config"));
                as("bob", arena_printf(a, "[54,[%s]]", row), LACKS("bob", "config"));
                wrote("[188,[" T ",\"bob\",{\"config\":true}]]", "\"granted\":1");
                assert_non_null(strstr(run_as(&f, "bob", soft), "\"replaced\":1"));
                as("bob", move, LACKS("bob", "config"));
        }
        const char *row =
                arena_printf(a, "[16,[[15,[[14,[\"rethinkdb\"]],\"db_config\"]],\"%s\"]]", id_of(&f, "test", NULL));
        as("bob", arena_printf(a, "[53,[%s,{\"name\":\"e\"}]]", row), LACKS("bob", "config"));
        as("bob", "[56,[[15,[[14,[\"rethinkdb\"]],\"db_config\"]],{\"name\":\"new\"}]]", LACKS("bob", "config"));
        wrote("[188,[[14,[\"test\"]],\"bob\",{\"config\":true}]]", "\"granted\":1");
        wrote("[188,[" T ",\"bob\",{\"config\":false}]]", "\"granted\":1");
        as("bob", arena_printf(a, "[54,[%s]]", row), LACKS("bob", "config"));
        assert_non_null(
                strstr(run_as(&f, "bob", arena_printf(a, "[53,[%s,{\"name\":\"e\"}]]", row)), "\"replaced\":1"));
        close_fixture(&f);
}

/* A query that runs keeps what it may do until its next batch. */
static void test_revoked_between_batches(void **state)
{
        Fixture f;
        Query *query;
        QueryAnswer answer;
        uint8_t *text;
        static const char term[] = "[1," T ",{\"max_batch_rows\":10}]";
        open_fixture(&f, 8);
        make_table(&f.w, "test", "t");
        wrote(ADD("{\"id\":\"bob\",\"password\":false}"), "\"inserted\":1");
        wrote("[56,[" T ",[38,[[173,[500]],[69,[[2,[1]],{\"id\":[10,[1]]}]]]]]]", "\"inserted\":500");
        allow(&f, "{\"read\":true}");
        ok(query_new(&f.query_world, "bob", &query));
        ok(query_text_buffer(query, sizeof term, &text));
        memcpy(text, term, sizeof term);
        ok(query_prepare(query, BYTES(text, sizeof term - 1)));
        buf_clear(&f.out);
        ok(query_next(query, &f.out, &answer));
        assert_int_equal(answer, ANSWER_PARTIAL);
        ok(query_next(query, &f.out, &answer));
        assert_int_equal(answer, ANSWER_PARTIAL);
        allow(&f, "{\"read\":false}");
        buf_clear(&f.out);
        refused(query_next(query, &f.out, &answer), ERR_PERMISSION,
                "User `bob` does not have the required `read` permission.");
        query_free(query);
        close_fixture(&f);
}

/* --- failures --- */

/* Makes bob, gives him a password and permissions, each durable before the next; says how far it came. */
static Status user_history(World *w, size_t *ret_done)
{
        static const char *const rows[] = {
                "{\"id\":\"bob\",\"password\":\"one\"}",
                "{\"id\":\"bob\",\"password\":\"two\"}",
                "{\"id\":\"eve\",\"password\":false}",
        };
        TableRef *users;
        Value permissions, result;
        uint64_t position = 0;
        TRY(json_parse_copy(BYTES_STR("{\"read\":true}"), JSON_PLAIN, &w->arena, &permissions));
        TRY(w->source->table_find(w->catalog, BYTES_STR("rethinkdb"), BYTES_STR("users"), &users));
        Status st = ST_OK;
        for (size_t i = 0; !st && i < ELEMENTS(rows); i++) {
                RowOutcome outcome = {0};
                WriteOptions options = {0};
                Value row, key;
                st = json_parse_copy(BYTES_STR(rows[i]), JSON_PLAIN, &w->arena, &row);
                if (st)
                        break;
                key = value_get_str(row, "id");
                st = w->source->write(users, &key, 1, test_set, &row, &options, &w->arena, &outcome, &position);
                if (!st)
                        st = outcome.error;
                if (!st)
                        st = store_sync(w->store, position);
                *ret_done += !st;
        }
        w->source->table_unref(users);
        TRY(st);
        TRY(w->source->grant(w->catalog, BYTES_STR("admin"), BYTES_STR("bob"), BYTES_STR("test"), BYTES_NONE,
                             permissions, &w->arena, &result, &position));
        TRY(store_sync(w->store, position));
        ++*ret_done;
        TRY(store_checkpoint(w->store));
        TRY(users_delete(w->catalog, BYTES_STR("eve"), &position));
        TRY(store_sync(w->store, position));
        ++*ret_done;
        return ST_OK;
}

/* Memory and documents say the same, and it is what some moment of the history was, at least the last acknowledged. */
static void check_moment(Fixture *f, size_t done, bool exact)
{
        char password[33] = "";
        uint32_t bob = iterations_of(f, "bob", password), eve;
        size_t reached = 0;
        if (bob)
                reached = strcmp(password, "two") == 0 ? 2 : 1;
        eve = iterations_of(f, "eve", password);
        if (eve)
                reached = 3;
        User *user = users_find(f->w.catalog, BYTES_STR("bob"));
        if (user && user->grant_count)
                reached = eve ? 4 : 5;
        user_unref(user);
        if (exact ? reached != done : reached < done || reached > done + 1)
                fail_msg("%zu steps were acknowledged, %zu are there", done, reached);
}

static void crash_sweep(SimFailure failure, SimCrash crash)
{
        bool fired = true;
        for (long n = 1; fired; n++) {
                Fixture f;
                size_t done = 0;
                open_fixture(&f, (uint64_t)n);
                sim_fail_nth(f.w.sim, n, failure);
                Status st = user_history(&f.w, &done);
                fired = sim_fired(f.w.sim);
                assert_true(fired || !st);
                status_ignore(st);
                f.w.catalog = table_source_close(f.w.catalog);
                status_ignore(store_close(take(f.w.store)));
                sim_heal(f.w.sim);
                sim_crash(f.w.sim, crash);
                world_open(&f.w);
                check_moment(&f, done, false);
                close_fixture(&f);
        }
}

static void test_power_loss_at_every_call(void **state)
{
        crash_sweep(SIM_FAIL_POWER, SIM_DROP);
        crash_sweep(SIM_FAIL_POWER, SIM_TEAR);
}

static void test_io_error_at_every_call(void **state)
{
        crash_sweep(SIM_FAIL_ONCE, SIM_KEEP);
}

static void test_out_of_memory_at_every_allocation(void **state)
{
        bool fired = true;
        for (long n = 1; fired; n++) {
                Fixture f;
                size_t done = 0;
                open_fixture(&f, 9);
                void *room = arena_alloc(&f.w.arena, 64 << 10); /* so that the arena itself need not grow */
                (void)room;
                arena_reset(&f.w.arena);
                mem_fail_nth(n);
                Status st = user_history(&f.w, &done);
                fired = mem_fail_fired();
                mem_fail_nth(0);
                if (!fired)
                        ok(st);
                status_ignore(st);
                bool bob = iterations_of(&f, "bob", (char[33]){0}) != 0,
                     eve = iterations_of(&f, "eve", (char[33]){0}) != 0;
                reopen(&f); /* what memory says is what the documents say */
                assert_int_equal(bob, iterations_of(&f, "bob", (char[33]){0}) != 0);
                assert_int_equal(eve, iterations_of(&f, "eve", (char[33]){0}) != 0);
                check_moment(&f, done, false);
                close_fixture(&f);
        }
}

static void test_bad_documents(void **state)
{
        static const char *const docs[] = {
                "{}",
                "{\"id\":\"bob\"}",
                "{\"at_server\":null,\"grants\":[],\"has_password\":true,\"id\":\"eve\"}",
                "{\"at_server\":null,\"grants\":[],\"has_password\":true,\"id\":\"bob\"}",
                "{\"at_server\":{\"read\":1},\"grants\":[],\"has_password\":true,\"id\":\"bob\"}",
                "{\"at_server\":null,\"grants\":[1],\"has_password\":true,\"id\":\"bob\",\"iterations\":1}",
                ("{\"at_server\":null,\"grants\":[],\"has_password\":true,\"id\":\"bob\",\"iterations\":1,\"salt\":"
                 "\"x\"}"),
        };
        for (size_t i = 0; i < ELEMENTS(docs); i++) {
                Fixture f;
                Commit *commit;
                uint64_t position;
                open_fixture(&f, 10);
                Value doc = json(&f.w, docs[i]);
                assert_false(table_user_document_valid(BYTES_STR("ubob"), doc));
                ok(ddl_begin(f.w.catalog, &commit));
                ok(ddl_put_document(f.w.catalog, commit, BYTES_STR("ubob"), doc));
                ok(commit_finish(commit, &position));
                world_close(&f.w);
                refused(world_try_open(&f.w), ERR_CORRUPT, NULL);
                close_fixture(&f);
        }
}

/* --- threads --- */

typedef struct Asker {
        Fixture *f;
        Thread thread;
        atomic_bool stop;
        size_t allowed, refused;
} Asker;

static void ask_for_ever(void *arg)
{
        Asker *asker = arg;
        World *w = &asker->f->w;
        TableRef *table = find(w, "test", "t");
        do { /* once at least, however late the thread comes to run */
                ScramCredential credential;
                bool found;
                Status st = w->source->permit_table(table, BYTES_STR("bob"), PERMIT_READ);
                asker->allowed += !st;
                asker->refused += st != ST_OK;
                status_ignore(st);
                ok(table_user_find(w->catalog, BYTES_STR("bob"), &credential, &found));
        } while (!atomic_load(&asker->stop));
        w->source->table_unref(table);
}

static void test_asking_while_granting(void **state)
{
        Fixture f;
        Asker askers[3] = {0};
        open_fixture(&f, 11);
        make_table(&f.w, "test", "t");
        wrote(ADD("{\"id\":\"bob\",\"password\":false}"), "\"inserted\":1");
        for (size_t i = 0; i < ELEMENTS(askers); i++) {
                askers[i].f = &f;
                ok(thread_start(&askers[i].thread, "asker", ask_for_ever, &askers[i]));
        }
        TableRef *table = find(&f.w, "test", "t");
        for (int i = 0; i < 200; i++) {
                allow(&f, i % 2 ? "{\"read\":false}" : "{\"read\":true}");
                Status st = f.w.source->permit_table(table, BYTES_STR("bob"), PERMIT_READ); /* right at once */
                assert_int_equal(st != ST_OK, i % 2);
                status_ignore(st);
                if (i % 20 == 19) {
                        wrote("[54,[" GET(USERS, "\"bob\"") "]]", "\"deleted\":1");
                        wrote(ADD("{\"id\":\"bob\",\"password\":false}"), "\"inserted\":1");
                }
        }
        f.w.source->table_unref(table);
        for (size_t i = 0; i < ELEMENTS(askers); i++) {
                atomic_store(&askers[i].stop, true);
                thread_join(&askers[i].thread);
                assert_true(askers[i].allowed + askers[i].refused > 0);
        }
        close_fixture(&f);
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_users_table),
                cmocka_unit_test(test_users_refusals),
                cmocka_unit_test(test_initial_password),
                cmocka_unit_test(test_grant),
                cmocka_unit_test(test_permissions_table),
                cmocka_unit_test(test_inheritance),
                cmocka_unit_test(test_enforcement),
                cmocka_unit_test(test_config_rows),
                cmocka_unit_test(test_revoked_between_batches),
                cmocka_unit_test(test_bad_documents),
                cmocka_unit_test(test_power_loss_at_every_call),
                cmocka_unit_test(test_io_error_at_every_call),
                cmocka_unit_test(test_out_of_memory_at_every_allocation),
                cmocka_unit_test(test_asking_while_granting),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
