/* The engine, in this process and without a cage: values both ways, messages, sessions, memory. */
#include "base/check.h"

#include <stdio.h>

#include "worker/js.h"

static Js *js;
static Buf out;
static uint64_t session = 1;

static JsResult run(const char *source, const char *args)
{
        JsResult result;
        JsCall call = {.session = session, .source = BYTES_STR(source)};
        if (args) {
                call.is_call = true;
                call.args = BYTES_STR(args);
        }
        buf_clear(&out);
        OK(js_run(js, &call, &result, &out));
        OK(buf_append_byte(&out, 0));
        return result;
}

static void gives(const char *source, const char *args, const char *want)
{
        JsResult result = run(source, args);
        assert_string_equal((char *)out.data, want);
        assert_int_equal(result, JS_VALUE);
}

static void fails(const char *source, const char *args, const char *want)
{
        JsResult result = run(source, args);
        assert_string_equal((char *)out.data, want);
        assert_int_equal(result, JS_ERROR);
}

static void test_values(void **state)
{
        gives("1 + 1", NULL, "2");
        gives("1 + 1; 2 + 2", NULL, "4");
        gives("-0", NULL, "-0.0");
        gives("0.1", NULL, "0.1");
        gives("({b: [true, false, null], a: 'x\\u0000\\n'})", NULL, "{\"b\":[true,false,null],\"a\":\"x\\u0000\\n\"}");
        gives("'\\ud83d\\ude00\\u00fc'", NULL, "\"\xf0\x9f\x98\x80\xc3\xbc\"");
        gives("'a\\ud83dz'", NULL, "\"a\xef\xbf\xbdz\"");
        gives("new Date(1500)", NULL, "{\"$reql_type$\":\"TIME\",\"epoch_time\":1.5,\"timezone\":\"+00:00\"}");
        gives("Object.create({inherited: 1})", NULL, "{}");
        assert_int_equal(run("(function() {})", NULL), JS_FUNCTION);
        assert_int_equal(run("Object", NULL), JS_FUNCTION);
}

static void test_arguments(void **state)
{
        gives("(function(a, b) { return a + b; })", "[1,2]", "3");
        gives("(function(a) { return a.length; })", "[\"\xf0\x9f\x98\x80\"]", "2");
        gives("(function(a) { return a; })", "[\"\xf0\x9f\x98\x80\",1]", "\"\xf0\x9f\x98\x80\"");
        gives("(function(a) { return a.__proto__.x; })", "[{\"__proto__\":{\"x\":1}}]", "1");
        gives("(function(a) { return [a.getTime(), a]; })",
              "[{\"$reql_type$\":\"TIME\",\"epoch_time\":1.5,\"timezone\":\"+02:00\"}]",
              "[1500,{\"$reql_type$\":\"TIME\",\"epoch_time\":1.5,\"timezone\":\"+00:00\"}]");
        gives("(function() { return this === (0, eval)('this'); })", "[]", "true");
}

static void test_messages(void **state)
{
        fails("function() { return 1; }", NULL, "SyntaxError: function name expected");
        fails("nothing", NULL, "ReferenceError: 'nothing' is not defined");
        fails("var x = {}; x.y.z", NULL, "TypeError: cannot read property 'z' of undefined");
        fails("var x = {}; x.y()", NULL, "TypeError: not a function");
        fails("throw new Error('why')", NULL, "Error: why");
        fails("throw 'text \\ud83d\\ude00'", NULL, "text \xf0\x9f\x98\x80");
        fails("throw {toString: function() { throw 1; }}", NULL, "1");
        fails("undefined", NULL, "Cannot convert javascript `undefined` to ql::datum_t.");
        fails("[undefined]", NULL, "Cannot convert javascript `undefined` to ql::datum_t.");
        fails("0/0", NULL, "Number return value is not finite.");
        fails("[1/0]", NULL, "Number return value is not finite.");
        fails("/x/", NULL, "Cannot convert RegExp to ql::datum_t.");
        fails("[function() {}]", NULL, "Cannot convert function to ql::datum_t.");
        fails("var x = []; x.push(x); x", NULL, "Recursion limit exceeded in js_to_json (circular reference?).");
        fails("(function() { return function() {}; })", "[]", "Returning functions from within `r.js` is unsupported.");
        fails("({get a() { throw new Error('in getter'); }})", NULL, "Error: in getter");
        fails("new Date(NaN)", NULL, "Invalid Date in JS environment");
        fails("(function f() { f(); })()", NULL, "InternalError: stack overflow");
}

static void test_nothing_to_break_out_with(void **state)
{
        fails("require", NULL, "ReferenceError: 'require' is not defined");
        fails("process", NULL, "ReferenceError: 'process' is not defined");
        fails("Duktape", NULL, "ReferenceError: 'Duktape' is not defined");
        fails("print", NULL, "ReferenceError: 'print' is not defined");
        gives("typeof WebAssembly + typeof XMLHttpRequest + typeof setTimeout", NULL,
              "\"undefinedundefinedundefined\"");
}

/* Globals are a session's own, and last as long. */
static void test_sessions(void **state)
{
        session = 10;
        gives("var counter = 5; counter", NULL, "5");
        gives("counter + 1", NULL, "6");
        assert_int_equal(run("(function() { return counter++; })", NULL), JS_FUNCTION);
        gives("(function() { return counter++; })", "[]", "5");
        gives("(function() { return counter++; })", "[]", "6");
        gives("Date = null; RegExp = 1; 1", NULL, "1");
        gives("(function(t) { return t; })", "[{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+00:00\"}]",
              "{\"$reql_type$\":\"TIME\",\"epoch_time\":1,\"timezone\":\"+00:00\"}");
        session = 11;
        fails("counter", NULL, "ReferenceError: 'counter' is not defined");
}

static void test_memory(void **state)
{
        session = 20;
        fails("var a = []; for (;;) a.push({x: a.length})", NULL, "InternalError: out of memory");
        session = 21;
        fails("var s = 'x'; for (;;) s += s", NULL, "InternalError: out of memory");
        session = 22;
        gives("1", NULL, "1");
        js_rest(js);
}

/* More sources than are kept. */
static void test_many_functions(void **state)
{
        session = 30;
        for (int i = 0; i < 350; i++) {
                char source[64], want[16];
                snprintf(source, sizeof source, "(function(x) { return x + %d; })", i);
                snprintf(want, sizeof want, "%d", i + 1);
                gives(source, "[1]", want);
        }
}

int main(void)
{
        const struct CMUnitTest tests[] = {
                cmocka_unit_test(test_values),         cmocka_unit_test(test_arguments),
                cmocka_unit_test(test_messages),       cmocka_unit_test(test_nothing_to_break_out_with),
                cmocka_unit_test(test_sessions),       cmocka_unit_test(test_memory),
                cmocka_unit_test(test_many_functions),
        };
        OK(js_new(&js));
        buf_init(&out, 64 << 20);
        int failed = cmocka_run_group_tests(tests, NULL, NULL);
        buf_done(&out);
        js_free(js);
        return failed;
}
