/* options_test.c - sources and their order, sizes, suggestions. */
#include "cli/options.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

typedef struct Values {
        const char *name, *config;
        int64_t port;
        uint64_t size;
        int kind;
        bool loud;
        int plan;
        OptionList also;
} Values;
static const Option options[] = {
        {"name", OPTION_TEXT, offsetof(Values, name), "NAME", NULL, NULL, 0, 0, ""},
        {"driver-port", OPTION_NUMBER, offsetof(Values, port), "PORT", "28015", NULL, 0, 65535, ""},
        {"size", OPTION_SIZE, offsetof(Values, size), "SIZE", "1MiB", NULL, 0, 0, ""},
        {"kind", OPTION_CHOICE, offsetof(Values, kind), "KIND", "red", "red green blue", 0, 0, ""},
        {"loud", OPTION_FLAG, offsetof(Values, loud), NULL, NULL, NULL, 0, 0, ""},
        {"also", OPTION_LIST, offsetof(Values, also), "NAME", NULL, NULL, 0, 0, ""},
        {"config", OPTION_TEXT, offsetof(Values, config), "FILE", NULL, NULL, 0, 0, "", .letter = 'c'},
        {"plan", OPTION_CHOICE, offsetof(Values, plan), "HOW", "no", "no yes full", 0, 0, "", .bare = "yes"},
        {NULL},
};

typedef struct Parsed {
        Arena arena;
        Values values;
        const char *words[2];
        size_t word_count;
        bool help;
        Status st;
} Parsed;

static const char *env_pairs[8];

static const char *fake_env(const char *name)
{
        for (size_t i = 0; env_pairs[i]; i += 2) {
                if (strcmp(env_pairs[i], name) == 0)
                        return env_pairs[i + 1];
        }
        return NULL;
}

static void parse(Parsed *parsed, const char *const *words)
{
        int count = 0;
        while (words[count])
                count++;
        memset(parsed, 0, sizeof *parsed);
        arena_init(&parsed->arena, 0);
        OptionsInput input = {.options = options, .argc = count, .argv = (char **)words, .env = fake_env};
        parsed->st = options_parse(&input, &parsed->arena, &parsed->values, parsed->words, ELEMENTS(parsed->words),
                                   &parsed->word_count, &parsed->help);
}
#define PARSE(parsed, ...) parse((parsed), (const char *const[]){__VA_ARGS__, NULL})

static void done(Parsed *parsed)
{
        status_ignore(parsed->st);
        arena_done(&parsed->arena);
}

static void test_sources(void **state)
{
        (void)state;
        char path[] = "/tmp/photondb-options-XXXXXX";
        int fd = mkstemp(path);
        assert_true(fd >= 0);
        static const char text[] = "; a comment\nname = from file\ndriver_port = 3\nsize=3kB\nsize = 4kB\n";
        assert_int_equal(write(fd, text, sizeof text - 1), sizeof text - 1);
        close(fd);
        Parsed parsed;
        env_pairs[0] = "PHOTONDB_DRIVER_PORT";
        env_pairs[1] = "2";
        env_pairs[2] = "PHOTONDB_NAME";
        env_pairs[3] = "from env";
        env_pairs[4] = "PHOTONDB_CONFIG";
        env_pairs[5] = path;
        PARSE(&parsed, "--driver-port", "1", "word", "--loud", "--kind=GREEN", "--", "--other");
        assert_null(parsed.st);
        assert_int_equal(parsed.values.port, 1);
        assert_string_equal(parsed.values.name, "from env");
        assert_int_equal(parsed.values.size, 4000);
        assert_int_equal(parsed.values.kind, 1);
        assert_true(parsed.values.loud);
        assert_int_equal(parsed.word_count, 2);
        assert_string_equal(parsed.words[1], "--other");
        done(&parsed);
        env_pairs[1] = "tcp://10.1.2.3:28015"; /* set by Kubernetes: not meant for us */
        PARSE(&parsed, "--loud=no");
        assert_null(parsed.st);
        assert_int_equal(parsed.values.port, 3);
        assert_false(parsed.values.loud);
        done(&parsed);
        memset(env_pairs, 0, sizeof env_pairs);
        unlink(path);
        PARSE(&parsed, "--config", path);
        assert_int_equal(status_code(parsed.st), ERR_NOT_FOUND);
        done(&parsed);
        PARSE(&parsed, "--help");
        assert_true(parsed.help);
        done(&parsed);
}

static void check_refused(const char *a, const char *b, const char *message, const char *hint)
{
        Parsed parsed;
        PARSE(&parsed, a, b);
        assert_int_equal(status_code(parsed.st), ERR_INVALID);
        assert_string_equal(status_message(parsed.st), message);
        if (hint)
                assert_string_equal(status_hint_text(parsed.st), hint);
        done(&parsed);
}

/* Each time adds one; a source that has any hides those behind it, as for every option. */
static void test_lists(void **state)
{
        Parsed parsed;
        env_pairs[0] = "PHOTONDB_ALSO";
        env_pairs[1] = "environment";
        env_pairs[2] = NULL;
        PARSE(&parsed, "--also", "a", "--also=b", "word", "--also", "c");
        assert_null(parsed.st);
        assert_int_equal(parsed.values.also.count, 3);
        assert_string_equal(parsed.values.also.items[0], "a");
        assert_string_equal(parsed.values.also.items[1], "b");
        assert_string_equal(parsed.values.also.items[2], "c");
        arena_done(&parsed.arena);
        PARSE(&parsed, "word");
        assert_int_equal(parsed.values.also.count, 1);
        assert_string_equal(parsed.values.also.items[0], "environment");
        arena_done(&parsed.arena);
        env_pairs[0] = NULL;
        PARSE(&parsed, "word");
        assert_int_equal(parsed.values.also.count, 0);
        arena_done(&parsed.arena);
}

/* -c, and an option that needs no value but takes one behind `=`. */
static void test_short_forms(void **state)
{
        Parsed parsed;
        (void)state;
        PARSE(&parsed, "-c", "/dev/null", "--plan", "word");
        assert_null(parsed.st);
        assert_string_equal(parsed.values.config, "/dev/null");
        assert_int_equal(parsed.values.plan, 1);
        assert_int_equal(parsed.word_count, 1);
        arena_done(&parsed.arena);
        PARSE(&parsed, "--plan=full", "-");
        assert_int_equal(parsed.values.plan, 2);
        assert_string_equal(parsed.words[0], "-");
        arena_done(&parsed.arena);
        check_refused("-c", NULL, "--config needs a value", "--config FILE");
        check_refused("-cx", NULL, "there is no option -cx", NULL);
        check_refused("--plan=half", NULL, "--plan: there is no \"half\"", "one of: no yes full");
}

static void test_refusals(void **state)
{
        (void)state;
        check_refused("--driver-prot", "1", "there is no option --driver-prot", "did you mean --driver-port?");
        check_refused("--driver", "1", "there is no option --driver", "did you mean --driver-port?");
        check_refused("--zzzzz", "1", "there is no option --zzzzz", "--help lists the options");
        check_refused("-x", NULL, "there is no option -x", NULL);
        check_refused("--driver-port", NULL, "--driver-port needs a value", "--driver-port PORT");
        check_refused("--driver-port", "12x", "--driver-port: \"12x\" is not a whole number", NULL);
        check_refused("--driver-port", "65536", "--driver-port: 65536 is outside 0 .. 65535", NULL);
        check_refused("--driver-port", "99999999999999999999",
                      "--driver-port: \"99999999999999999999\" is not a whole number", NULL);
        check_refused("--kind", "gree", "--kind: there is no \"gree\"", "one of: red green blue");
        check_refused("--loud=maybe", NULL, "--loud: \"maybe\" is neither yes nor no", NULL);
        Parsed parsed;
        PARSE(&parsed, "a", "b", "c");
        assert_string_equal(status_message(parsed.st), "\"c\" is one word too many");
        done(&parsed);
}

static void test_files(void **state)
{
        (void)state;
        static const char *const files[][2] = {
                {"naem = x\n", "there is no option naem"},
                {"[serve]\nname = x\n", "unexpected section [serve]"},
                {"name = x\nnonsense\n", ":2: not a setting"},
                {"driver-port = high\n", "driver-port: \"high\" is not a whole number"},
        };
        for (size_t i = 0; i < ELEMENTS(files); i++) {
                char path[] = "/tmp/photondb-options-XXXXXX";
                int fd = mkstemp(path);
                assert_int_equal(write(fd, files[i][0], strlen(files[i][0])), strlen(files[i][0]));
                close(fd);
                Parsed parsed;
                PARSE(&parsed, "--config", path);
                assert_int_equal(status_code(parsed.st), ERR_INVALID);
                assert_non_null(strstr(status_message(parsed.st), files[i][1]));
                assert_non_null(strstr(status_message(parsed.st), path));
                done(&parsed);
                unlink(path);
        }
}

static void test_sizes(void **state)
{
        (void)state;
        static const struct {
                const char *text;
                uint64_t bytes;
        } good[] = {{"0", 0},        {"4096", 4096}, {"512MB", 512000000},  {"2GiB", 2147483648}, {"2 gib", 2147483648},
                    {"1.5kB", 1500}, {"64k", 65536}, {"1T", 1099511627776}, {"10B", 10},          {"3M", 3145728}};
        static const char *const bad[] = {"", "MB", "-1", "12XB", "1e3", "0x10", "5 5", "999999999TB", "1..5", "nan"};
        for (size_t i = 0; i < ELEMENTS(good); i++) {
                uint64_t bytes;
                assert_null(options_size("size", good[i].text, &bytes));
                assert_int_equal(bytes, good[i].bytes);
        }
        for (size_t i = 0; i < ELEMENTS(bad); i++) {
                uint64_t bytes;
                Status st = options_size("--cache-size", bad[i], &bytes);
                assert_int_equal(status_code(st), ERR_INVALID);
                assert_non_null(strstr(status_message(st), "--cache-size: "));
                status_ignore(st);
        }
}

static void test_nearest(void **state)
{
        (void)state;
        static const char *const words[] = {"serve", "import", "export", "db create", "table create", NULL};
        assert_string_equal(options_nearest("sevre", words), "serve");
        assert_string_equal(options_nearest("improt", words), "import");
        assert_string_equal(options_nearest("db creat", words), "db create");
        assert_string_equal(options_nearest("exp", words), "export");
        assert_null(options_nearest("frobnicate", words));
        assert_null(options_nearest("", words));
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_sources),  cmocka_unit_test(test_lists), cmocka_unit_test(test_short_forms),
                cmocka_unit_test(test_refusals), cmocka_unit_test(test_files), cmocka_unit_test(test_sizes),
                cmocka_unit_test(test_nearest),
        };
        return cmocka_run_group_tests(tests, NULL, NULL);
}
