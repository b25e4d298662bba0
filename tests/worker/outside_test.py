#!/usr/bin/env python3
"""r.js and r.http against the whole server: a small web server on loopback is the world outside."""

import base64
import gzip
import http.server
import json
import os
import signal
import socket
import socketserver
import sys
import threading
import time
import unittest
import urllib.parse

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import Client, QueryError, Server, datum  # noqa: E402

JS, HTTP, FUNCALL, MAP, FILTER, RANGE, LIMIT, DEFAULT, FUNC, VAR, BRACKET, ADD, LT, BRANCH, TYPE_OF = \
    11, 153, 64, 38, 39, 173, 71, 92, 69, 10, 170, 24, 19, 65, 52
BINARY, MAKE_ARRAY, NOW, MINVAL = 155, 2, 103, 180


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tries = {}

    def log_message(self, *args):
        pass

    def reply(self, status, body=b"", kind="text/plain", headers=()):
        if isinstance(body, (dict, list)):
            body, kind = json.dumps(body).encode(), "application/json"
        elif isinstance(body, str):
            body = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        for name, value in headers:
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def any(self):
        url = urllib.parse.urlsplit(self.path)
        size = int(self.headers.get("Content-Length") or 0)
        if self.headers.get("Transfer-Encoding") == "chunked":
            data = b""
            while True:
                n = int(self.rfile.readline(), 16)
                data += self.rfile.read(n)
                self.rfile.readline()
                if not n:
                    break
        else:
            data = self.rfile.read(size)
        query = urllib.parse.parse_qsl(url.query, keep_blank_values=True)
        getattr(self, "at_" + url.path.strip("/").split("/")[0].replace("-", "_"))(url, query, data)

    do_GET = do_HEAD = do_POST = do_PUT = do_PATCH = do_DELETE = any

    def at_echo(self, url, query, data):
        self.reply(200, {"method": self.command, "query": query, "data": data.decode("latin-1"), "path": self.path,
                         "headers": {k.lower(): v for k, v in self.headers.items()}})

    def at_status(self, url, query, data):
        self.reply(int(url.path.split("/")[2]), "the body", headers=[("X-Why", "because")])

    def at_type(self, url, query, data):
        options = dict(query)
        self.reply(200, base64.b64decode(options["body"]), options["type"])

    def at_redirect(self, url, query, data):
        n = int(url.path.split("/")[2])
        self.reply(302, headers=[("Location", "/redirect/%d" % (n - 1) if n > 1 else "/echo")])

    def at_elsewhere(self, url, query, data):
        self.reply(302, headers=[("Location", dict(query)["to"])])

    def at_basic(self, url, query, data):
        if self.headers.get("Authorization") == "Basic " + base64.b64encode(b"user:pass").decode():
            self.reply(200, {"in": True})
        else:
            self.reply(401, headers=[("WWW-Authenticate", 'Basic realm="x"')])

    def at_digest(self, url, query, data):
        given = self.headers.get("Authorization", "")
        if given.startswith("Digest ") and 'username="user"' in given:
            self.reply(200, {"in": True})
        else:
            self.reply(401, headers=[("WWW-Authenticate", 'Digest realm="x", nonce="abc", qop="auth"')])

    def at_page(self, url, query, data):
        n = int(dict(query).get("n", 1))
        links = [("Link", '<http://%s/page?n=%d>; rel="next", <http://x/>; rel="last"' % (self.headers["Host"], n + 1))]
        cookie = [("Set-Cookie", "seen=%d; Path=/" % n)]
        self.reply(200, [{"n": n, "cookie": self.headers.get("Cookie", "")}], headers=(links if n < 4 else []) + cookie)

    def at_flaky(self, url, query, data):
        n = self.tries[url.path] = self.tries.get(url.path, 0) + 1
        if n < 3:
            self.reply(503, "not yet")
        else:
            self.reply(200, {"tries": n})

    def at_big(self, url, query, data):
        self.reply(200, b"x" * int(url.path.split("/")[2]))

    def at_bomb(self, url, query, data):
        self.reply(200, gzip.compress(b"\0" * (200 << 20), 1), headers=[("Content-Encoding", "gzip")])

    def at_gzip(self, url, query, data):
        self.reply(200, gzip.compress(b'{"zipped": true}'), "application/json", [("Content-Encoding", "gzip")])

    def at_slow(self, url, query, data):
        time.sleep(float(url.path.split("/")[2]))
        self.reply(200, "slept")

    def at_broken(self, url, query, data):
        self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nshort")
        self.close_connection = True

    def at_nonsense(self, url, query, data):
        self.wfile.write(b"\x00\x01\x02 this is not HTTP\r\n\r\n")
        self.close_connection = True

    def at_linkless(self, url, query, data):
        self.reply(200, {}, headers=[("Link", "nonsense")])


class Web(socketserver.ThreadingMixIn, http.server.HTTPServer):
    daemon_threads = True

    def handle_error(self, request, client_address):
        pass                    # clients that hang up are what is tested


def children(pid):
    """All descendants of a process."""
    found = []
    for task in os.listdir("/proc/%d/task" % pid):
        with open("/proc/%d/task/%s/children" % (pid, task)) as f:
            for child in f.read().split():
                found += [int(child)]
    return found


def alive(pid):
    try:
        with open("/proc/%d/stat" % pid) as f:
            return f.read().rsplit(")", 1)[1].split()[0] != "Z"
    except OSError:
        return False


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.web = Web(("127.0.0.1", 0), Handler)
        threading.Thread(target=cls.web.serve_forever, daemon=True).start()
        cls.url = "http://127.0.0.1:%d" % cls.web.server_port
        cls.server = Server()
        cls.client = Client(cls.server.port, timeout=60)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        pids = children(cls.server.process.pid)
        cls.server.stop()
        cls.web.shutdown()
        cls.web.server_close()
        assert not [pid for pid in pids if alive(pid)], "processes are left"

    def js(self, source, **options):
        return self.client.run([JS, [source], options])

    def call(self, source, *args):
        return self.client.run([FUNCALL, [[JS, [source]], *args]])

    def http(self, path, **options):
        return self.client.run([HTTP, [path if "://" in path else self.url + path],
                                {k: v if k == "page" else datum(v) for k, v in options.items()}])

    def fails(self, message, run, *args, code=None, place=None, **options):
        with self.assertRaises(QueryError) as caught:
            run(*args, **options)
        response = caught.exception.response
        text = response["r"][0].replace(self.url, "URL")
        if hasattr(message, "search"):
            self.assertTrue(message.search(text), text)
        else:
            self.assertEqual(text, message)
        if code:
            self.assertEqual(response["e"], code)
        if place is not None:
            self.assertEqual(response["b"], place)


class Js(Case):
    def test_values(self):
        self.assertEqual(self.js("({a: [1, 'x', null, true], b: 0.5})"), {"a": [1, "x", None, True], "b": 0.5})
        self.assertEqual(self.js("'\\ud83d\\ude00'"), "\U0001f600")
        self.assertEqual(self.call("(function(x) { return [x, x.length]; })", "\U0001f600"), ["\U0001f600", 2])
        self.assertEqual(self.js("new Date(0)"), {"$reql_type$": "TIME", "epoch_time": 0, "timezone": "+00:00"})
        self.assertEqual(self.call("(function(t) { return t instanceof Date; })", [NOW, []]), True)
        self.assertEqual(self.js("({$reql_type$: 'BINARY', data: 'AAAA'})")["$reql_type$"], "BINARY")
        self.fails("`r.minval` cannot be passed to `r.js`.", self.call, "(function(x) {})", [MINVAL, []],
                   code=3000000, place=[0])
        self.fails("`r.binary` data cannot be used in `r.js`.", self.call, "(function(x) {})",
                   [BINARY, ["x"]], place=[0])

    def test_functions(self):
        self.assertEqual(self.client.run([MAP, [[RANGE, [5]], [JS, ["(function(x) { return x * x; })"]]]]),
                         [0, 1, 4, 9, 16])
        self.assertEqual(self.client.run([FILTER, [datum([1, 2, 3]), [JS, ["(function(x) { return x > 1; })"]]]]), [2, 3])
        self.assertEqual(self.client.run([TYPE_OF, [[JS, ["(function() {})"]]]]), "FUNCTION")

    def test_errors(self):
        self.fails("Error: why", self.js, "throw new Error('why')", code=3000000, place=[])
        self.fails("SyntaxError: function name expected", self.js, "function() {}")
        self.fails("ReferenceError: 'require' is not defined", self.js, "require('fs')")
        self.fails("ReferenceError: 'process' is not defined", self.js, "process.exit()")
        self.fails("Error: inside", self.call, "(function() { throw new Error('inside'); })", place=[0])

    def test_time(self):
        began = time.monotonic()
        self.fails("JavaScript query `for (;;) {}` timed out after 0.200 seconds.", self.js, "for (;;) {}", timeout=0.2)
        self.assertLess(time.monotonic() - began, 3)
        self.assertEqual(self.js("1"), 1)

    def test_memory(self):
        self.fails("InternalError: out of memory", self.js, "var s = 'x'; for (;;) s += s;", timeout=60)
        self.assertEqual(self.js("1"), 1)

    def test_nothing_is_shared_between_queries(self):
        self.js("var secret = 1; Object.prototype.stolen = 2; 0")
        self.fails("ReferenceError: 'secret' is not defined", self.js, "secret")
        self.assertEqual(self.js("typeof ({}).stolen"), "undefined")

    def test_cancelled(self):
        """Whoever stops asking stops the script."""
        with Client(self.server.port) as other:
            token = other.send([1, [JS, ["for (;;) {}"], {"timeout": 600}], {}])
            time.sleep(0.3)
            began = time.monotonic()
            other.send([3], token)
            other.receive()
            self.assertLess(time.monotonic() - began, 1)
        gone = Client(self.server.port)
        gone.send([1, [JS, ["for (;;) {}"], {"timeout": 600}], {}])
        time.sleep(0.2)
        gone.close()

    def test_killed_in_the_middle(self):
        with Client(self.server.port) as other:
            self.js("1")
            before = set(children(self.server.process.pid))
            other.send([1, [JS, ["for (;;) {}"], {"timeout": 60}], {}])
            deadline = time.monotonic() + 20
            response = None
            other.sock.settimeout(0.2)
            while response is None and time.monotonic() < deadline:
                for pid in set(children(self.server.process.pid)):
                    os.kill(pid, signal.SIGKILL)
                try:
                    response = other.receive()[1]
                except Exception:
                    pass
            self.assertEqual(response["r"], ["Javascript query `for (;;) {}` caused a crash in a worker process."])
            self.assertEqual(response["e"], 1000000)
            self.assertTrue(before)
        self.assertEqual(self.js("1"), 1)

    def test_what_a_worker_has(self):
        """No descriptor of ours, no environment, nothing to gain by exec."""
        self.js("1")
        for pid in children(self.server.process.pid):
            with open("/proc/%d/status" % pid) as f:
                status = dict(line.split(":\t", 1) for line in f if ":\t" in line)
            self.assertEqual(status["NoNewPrivs"].strip(), "1")
            self.assertEqual(status["Seccomp"].strip(), "2")
            try:
                self.assertEqual(os.listdir("/proc/%d/fd" % pid) and
                                 {fd: os.readlink("/proc/%d/fd/%s" % (pid, fd))[:7]
                                  for fd in os.listdir("/proc/%d/fd" % pid)},
                                 {"0": "/dev/nu", "1": "/dev/nu", "2": "/dev/nu", "3": "socket:"})
                with open("/proc/%d/environ" % pid) as f:
                    self.assertEqual(f.read(), "")
            except PermissionError:
                pass            # it cannot be looked into, which is as it should be


class Http(Case):
    def test_methods(self):
        for method in "GET", "POST", "PUT", "PATCH", "DELETE":
            self.assertEqual(self.http("/echo", method=method)["method"], method)
        self.assertIsNone(self.http("/echo", method="HEAD"))
        self.fails("`method` (get) is not recognized (GET, HEAD, POST, PUT, PATCH and DELETE are allowed).",
                   self.http, "/echo", method="get", place=["method"])

    def test_params(self):
        self.assertEqual(self.http("/echo", params={"a": 1, "b": "x y&z", "c": None, "d": 0.5})["path"],
                         "/echo?a=1&b=x%20y%26z&c=&d=0.5")
        self.assertEqual(self.http("/echo?z=1", params={"a": 1})["path"], "/echo?z=1&a=1")
        self.fails("Expected `params.a` to be a NUMBER, STRING or NULL, but found ARRAY:\n[]",
                   self.http, "/echo", params={"a": []}, place=["params"])
        self.fails("Expected `params` to be an OBJECT, but found NUMBER:\n1", self.http, "/echo", params=1)

    def test_data(self):
        form = self.http("/echo", method="POST", data={"a": 1, "b": "ü&"})
        self.assertEqual((form["data"], form["headers"]["content-type"]),
                         ("a=1&b=%C3%BC%26", "application/x-www-form-urlencoded"))
        self.assertEqual(self.http("/echo", method="POST", data="as is")["data"], "as is")
        put = self.http("/echo", method="PUT", data={"a": [1]})
        self.assertEqual((put["data"], put["headers"]["content-type"]), ('{"a":[1]}', "application/json"))
        self.assertEqual(len(self.http("/echo", method="PUT", data="x" * 3000000)["data"]), 3000000)
        self.fails("`data` should only be specified on a PUT, POST, PATCH, or DELETE request.  If you want URL "
                   "parameters, use `params` instead.", self.http, "/echo", data="x", place=[])
        self.fails("Expected `data.a` to be a NUMBER, STRING or NULL, but found ARRAY.", self.http, "/echo",
                   method="POST", data={"a": []}, place=["data"])
        self.fails("Expected `data` to be a STRING or OBJECT, but found NUMBER.", self.http, "/echo", method="POST", data=1)

    def test_header(self):
        got = self.http("/echo", header={"X-A": "1", "Accept": "text/x", "X-None": None})["headers"]
        self.assertEqual((got["x-a"], got["accept"], got.get("x-none")), ("1", "text/x", None))
        self.assertEqual(self.http("/echo", header=["X-B: 2"])["headers"]["x-b"], "2")
        self.fails("A `header` item contains newline characters.", self.http, "/echo", header={"X": "a\r\nY: b"},
                   place=["header"])
        self.fails("Expected `header.X` to be a STRING or NULL, but found NUMBER.", self.http, "/echo", header={"X": 1})
        self.fails("Expected `header[0]` to be a STRING, but found NUMBER.", self.http, "/echo", header=[1])
        self.fails("Expected `header` to be an ARRAY or OBJECT, but found STRING.", self.http, "/echo", header="X: 1")

    def test_status(self):
        self.fails("Error in HTTP GET of `URL/status/404`: status code 404.\nheader:\n",
                   lambda: self.cut(self.http, "/status/404"), code=3100000, place=[])
        self.assertEqual(self.client.run([DEFAULT, [[HTTP, [self.url + "/status/404"]], "none"]]), "none")

    def cut(self, run, *args):
        """The error's first lines: the header after them holds dates."""
        try:
            run(*args)
        except QueryError as e:
            text = e.response["r"][0]
            self.assertIn('"x-why":\t"because"', text)
            self.assertTrue(text.endswith('\nbody:\n"the body"'), text)
            e.response["r"][0] = text[:text.index("header:\n") + 8]
            raise

    def test_redirects(self):
        self.assertEqual(self.http("/redirect/1")["method"], "GET")
        self.fails("Error in HTTP GET of `URL/redirect/2`: Number of redirects hit maximum amount.",
                   self.http, "/redirect/2")
        self.assertEqual(self.http("/redirect/5", redirects=5)["method"], "GET")
        with self.assertRaises(QueryError) as caught:
            self.http("/redirect/1", redirects=0)
        self.assertIn("status code 302", caught.exception.response["r"][0])
        for to in "file:///etc/passwd", "ftp://127.0.0.1/x", "gopher://127.0.0.1/":
            with self.assertRaises(QueryError) as caught:
                self.http("/elsewhere", params={"to": to})
            self.assertIn("nsupported protocol", caught.exception.response["r"][0])

    def test_schemes(self):
        for url in "file:///etc/passwd", "ftp://127.0.0.1/", "dict://127.0.0.1:11211/":
            self.fails("Error in HTTP GET of `%s`: Unsupported protocol." % url, self.http, url)

    def test_auth(self):
        user = {"user": "user", "pass": "pass"}
        self.assertEqual(self.http("/basic", auth=user), {"in": True})
        self.assertEqual(self.http("/digest", auth=dict(user, type="digest")), {"in": True})
        with self.assertRaises(QueryError):
            self.http("/basic", auth={"user": "user", "pass": "wrong"})
        self.fails("`auth.user` not found in the auth object.", self.http, "/basic", auth={}, place=["auth"])
        self.fails("Expected `auth.pass` to be a STRING, but found NUMBER.", self.http, "/basic",
                   auth={"user": "u", "pass": 1})
        self.fails("`auth.type` is not recognized ('basic', and 'digest' are allowed).", self.http, "/basic",
                   auth=dict(user, type="x"))
        self.fails("Expected `auth` to be an OBJECT, but found NUMBER.", self.http, "/basic", auth=1)

    def typed(self, kind, body, **options):
        if isinstance(body, str):
            body = body.encode()
        return self.http("/type", params={"type": kind, "body": base64.b64encode(body).decode()}, **options)

    def test_formats(self):
        self.assertEqual(self.typed("application/json; charset=utf-8", '{"a": 1}'), {"a": 1})
        self.assertEqual(self.typed("text/plain", '{"a": 1}'), '{"a": 1}')
        self.assertEqual(self.typed("text/plain", '{"a": 1}', result_format="json"), {"a": 1})
        self.assertEqual(self.typed("application/json", '{"a": 1}', result_format="text"), '{"a": 1}')
        for body in 'cb({"a": 1});', ' a.b ({"a": 1}) ', 'a["x"]({"a": 1})':
            self.assertEqual(self.typed("text/javascript", body), {"a": 1})
            self.assertEqual(self.typed("text/plain", body, result_format="jsonp"), {"a": 1})
        self.assertEqual(self.typed("text/javascript", "var x = 1;"), "var x = 1;")
        self.assertEqual(self.typed("image/png", b"\x00\xff")["$reql_type$"], "BINARY")
        self.assertEqual(self.typed("text/plain", b"\x00\xff", result_format="binary")["data"].strip(), "AP8=")
        self.assertEqual(self.typed("text/plain", b"caf\xe9"), "caf\ufffd")
        self.fails("`result_format` (xml) is not recognized, ('auto', 'json', 'jsonp', 'text', and 'binary' are "
                   "allowed).", self.http, "/echo", result_format="xml", place=["result_format"])
        with self.assertRaises(QueryError) as caught:
            self.typed("application/json", "{oops")
        self.assertIn("failed to parse JSON response", caught.exception.response["r"][0])
        self.assertTrue(caught.exception.response["r"][0].endswith('\nbody:\n"{oops"'))
        with self.assertRaises(QueryError) as caught:
            self.typed("text/plain", "{}", result_format="jsonp")
        self.assertIn("failed to parse JSONP response", caught.exception.response["r"][0])
        self.assertEqual(self.http("/gzip"), {"zipped": True})

    def test_pages(self):
        rows = self.http("/page", page="link-next", page_limit=-1)
        self.assertEqual([row["n"] for row in rows], [1, 2, 3, 4])
        self.assertEqual(rows[1]["cookie"], "seen=1")
        self.assertEqual([row["n"] for row in self.http("/page", page="link-next", page_limit=2)], [1, 2])
        self.assertEqual(self.http("/page", page="link-next", page_limit=0), [])
        self.assertEqual(self.client.run([LIMIT, [[HTTP, [self.url + "/page"],
                                                   {"page": "link-next", "page_limit": -1}], 2]])[1]["n"], 2)
        info = [VAR, [1]]
        step = [FUNC, [[2, [1]], {"params": {"n": [ADD, [[BRACKET, [[BRACKET, [[BRACKET, [info, "body"]], 0]], "n"]], 1]]}}]]
        self.assertEqual([row["n"] for row in self.http("/page", page=step, page_limit=3)], [1, 2, 3])
        self.fails("Cannot use `page` without specifying `page_limit` (a positive number performs that many requests, "
                   "-1 is unlimited).", self.http, "/page", page="link-next", place=["page"])
        self.fails("`page` method 'x' not recognized, only 'link-next' is available.", self.http, "/page", page="x",
                   page_limit=1)
        self.fails("`page_limit` should be greater than or equal to -1.", self.http, "/page", page="link-next",
                   page_limit=-2, place=["page_limit"])
        with self.assertRaises(QueryError) as caught:
            self.http("/page", page=[FUNC, [[2, [1]], 5]], page_limit=3)
        self.assertIn("Expected `page` to return an OBJECT, but found NUMBER..\nError occurred during `page` called with:\n{",
                      caught.exception.response["r"][0])

    def test_attempts(self):
        self.assertEqual(self.http("/flaky/1"), {"tries": 3})
        with self.assertRaises(QueryError) as caught:
            self.http("/flaky/2", attempts=2)
        self.assertIn("status code 503", caught.exception.response["r"][0])
        self.fails("Error in HTTP GET of `URL/echo`: could not perform, no attempts allowed.", self.http, "/echo", attempts=0)

    def test_time(self):
        began = time.monotonic()
        self.fails("Error in HTTP GET of `URL/slow/30`: timed out after 0.300 seconds.", self.http, "/slow/30", timeout=0.3)
        self.assertLess(time.monotonic() - began, 3)
        self.fails("`timeout` may not be negative.", self.http, "/echo", timeout=-1, place=["timeout"])

    def test_size(self):
        self.assertEqual(len(self.http("/big/20000000")), 20000000)
        for path in "/big/70000000", "/bomb":
            self.fails("Error in HTTP GET of `URL%s`: the response is larger than 67108864 bytes, or its header than "
                       "1048576." % path, self.http, path)

    def test_broken_servers(self):
        with socket.socket() as dead:
            dead.bind(("127.0.0.1", 0))
            port = dead.getsockname()[1]
        self.fails("Error in HTTP GET of `http://127.0.0.1:%d/`: could not connect to server." % port,
                   self.http, "http://127.0.0.1:%d/" % port)
        for path in "/broken", "/nonsense":
            with self.assertRaises(QueryError) as caught:
                self.http(path)
            self.assertEqual(caught.exception.response["e"], 3100000)
        self.fails("Error in HTTP GET of `URL/linkless`: failed to parse link header line: 'nonsense'.",
                   self.http, "/linkless")

    def test_names(self):
        """The resolver works in its cage."""
        self.assertEqual(self.http("http://localhost:%d/echo" % self.web.server_port)["method"], "GET")
        with self.assertRaises(QueryError) as caught:
            self.http("http://no-such-host.invalid/")
        self.assertIn("resolve", caught.exception.response["r"][0])

    def test_many_at_once(self):
        """Slow servers do not keep others waiting."""
        clients = [Client(self.server.port) for _ in range(12)]
        began = time.monotonic()
        for client in clients:
            client.send([1, [HTTP, [self.url + "/slow/1"]], {}])
        for client in clients:
            self.assertEqual(client.receive()[1]["r"], ["slept"])
            client.close()
        self.assertLess(time.monotonic() - began, 12)


class TurnedOff(unittest.TestCase):
    def test_both(self):
        with Server("--no-js", "--no-http-requests") as server, Client(server.port) as client:
            for term, message in ([JS, ["1"]], "JavaScript is not available on this server."), \
                                 ([HTTP, ["http://127.0.0.1/"]], "HTTP requests are not available on this server."):
                with self.assertRaises(QueryError) as caught:
                    client.run(term)
                self.assertEqual(caught.exception.response["r"], [message])
            self.assertEqual(children(server.process.pid), [])

    def test_public_only(self):
        with Server("--http-public-only") as server, Client(server.port) as client:
            for host in "127.0.0.1", "10.1.2.3", "169.254.169.254", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "localhost":
                with self.assertRaises(QueryError) as caught:
                    client.run([HTTP, ["http://%s:%d/" % (host, 9)], {"timeout": 20}])
                self.assertIn("the address is not public", caught.exception.response["r"][0])


class Stopping(unittest.TestCase):
    def test_nothing_is_left(self):
        for how in "kind", "kill":
            server = Server()
            client = Client(server.port)
            client.run([JS, ["1"]])
            client.send([1, [JS, ["for (;;) {}"], {"timeout": 600}], {}])
            time.sleep(0.3)
            pids = children(server.process.pid)
            self.assertTrue(pids)
            if how == "kill":
                server.kill()
            client.close()
            server.stop()
            deadline = time.monotonic() + 5
            while [pid for pid in pids if alive(pid)] and time.monotonic() < deadline:
                time.sleep(0.01)
            self.assertEqual([pid for pid in pids if alive(pid)], [])


if __name__ == "__main__":
    unittest.main(verbosity=2)
