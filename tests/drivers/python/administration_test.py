"""What needs more than one query, through PyPI rethinkdb: indexes, hooks, users, settings, system tables, code and the network."""

import http.server
import json
import os
import subprocess
import sys
import tempfile
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(__file__), "..", "..", "lib"))
from photon import Server  # noqa: E402
from rethinkdb import errors, r  # noqa: E402


class Web(http.server.BaseHTTPRequestHandler):
    def answer(self):
        body = self.rfile.read(int(self.headers.get("content-length") or 0)).decode()
        out = json.dumps({"method": self.command, "path": self.path, "body": body}).encode()
        self.send_response(404 if self.path.startswith("/none") else 200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(out)))
        self.end_headers()
        self.wfile.write(out)

    do_GET = do_POST = answer

    def log_message(self, *args):
        pass


def setUpModule():
    global server
    server = Server()
    with r.connect("127.0.0.1", server.port) as conn:
        r.db_create("administration").run(conn)
        for name in ("rows", "others", "hooked", "places"):
            r.db("administration").table_create(name).run(conn)


def tearDownModule():
    server.stop()


class Case(unittest.TestCase):
    def setUp(self):
        self.conn = r.connect("127.0.0.1", server.port, db="administration")
        self.addCleanup(self.conn.close, False)

    def get(self, query, conn=None, **options):
        result = query.run(conn or self.conn, **options)
        return list(result) if hasattr(result, "next") else result

    def fails(self, kind, message, query, conn=None, **options):
        with self.assertRaises(kind) as caught:
            self.get(query, conn, **options)
        self.assertRegex(caught.exception.message, message)


class Indexes(Case):
    def test_indexes(self):
        t = r.table("rows")
        self.get(t.insert([{"id": 1, "a": 1, "b": "x", "tags": ["p", "q"]}, {"id": 2, "a": 2, "b": "x", "tags": ["q"]},
                           {"id": 3, "a": 2, "b": "y"}, {"id": 4}]))
        self.assertEqual(self.get(t.index_create("a")), {"created": 1})
        self.get(t.index_create("ab", [r.row["a"], r.row["b"]]))
        self.get(t.index_create("tags", multi=True))
        self.get(t.index_create("twice", lambda row: row["a"] * 2))
        self.assertEqual([x["ready"] for x in self.get(t.index_wait())], [True] * 4)
        self.assertEqual(self.get(t.index_list()), ["a", "ab", "tags", "twice"])
        self.fails(errors.ReqlOpFailedError, "Index `a` already exists on table `administration.rows`", t.index_create("a"))
        self.assertEqual(sorted(self.get(t.get_all(2, index="a")["id"])), [2, 3])
        self.assertEqual(self.get(t.get_all([2, "y"], index="ab")["id"]), [3])
        self.assertEqual(sorted(self.get(t.get_all("p", "q", index="tags")["id"])), [1, 1, 2])
        self.assertEqual(self.get(t.order_by(index=r.desc("twice"))["a"]), [2, 2, 1])
        self.assertEqual(self.get(t.between([2, r.minval], [2, r.maxval], index="ab").order_by(index="ab")["id"]), [2, 3])
        self.assertEqual(self.get(t.distinct(index="tags")), ["p", "q"])
        self.assertEqual(self.get(t.group(index="a").count()), {1: 1, 2: 2})
        self.assertEqual(self.get(r.expr([{"n": 4}]).eq_join("n", t, index="twice").count()), 2)
        function = self.get(t.index_status("twice"))[0]["function"]
        self.assertTrue(bytes(function).startswith(b"$reql_index_function$"))
        self.assertEqual(self.get(r.table("others").index_create("twice", r.binary(function))), {"created": 1})
        self.get(r.table("others").index_wait())
        self.get(r.table("others").insert({"id": 1, "a": 4}))
        self.assertEqual(self.get(r.table("others").get_all(8, index="twice")["id"]), [1])
        self.assertEqual(self.get(t.index_rename("twice", "a", overwrite=True)), {"renamed": 1})
        self.assertEqual(self.get(t.get_all(4, index="a").count()), 2)
        self.assertEqual(self.get(t.index_drop("ab")), {"dropped": 1})
        self.fails(errors.ReqlOpFailedError, "Index `ab` was not found on table `administration.rows`", t.get_all(1, index="ab"))
        self.fails(errors.ReqlQueryLogicError, "Could not prove function deterministic", t.index_create("x", lambda x: r.random()))

    def test_online(self):
        """Writers go on while an index is built."""
        t = r.table("others")
        self.get(r.range(3000).for_each(lambda i: t.insert({"id": r.expr(1000).add(i), "n": i}, durability="soft")))
        self.get(t.index_create("n"))
        self.get(t.between(1000, 1500).update({"n": -1}, durability="soft"))
        self.get(t.between(1500, 2000).delete(durability="soft"))
        self.get(t.index_wait("n"))
        self.assertEqual(self.get(t.get_all(-1, index="n").count()), 500)
        self.assertEqual(self.get(t.between(0, 3000, index="n").count()), 2000)
        self.get(t.index_drop("n"))

    def test_geo(self):
        t = r.table("places")
        self.get(t.index_create("at", geo=True))
        self.get(t.index_wait("at"))
        self.get(t.insert([{"id": "berlin", "at": r.point(13.4, 52.5)}, {"id": "paris", "at": r.point(2.35, 48.86)}]))
        self.assertEqual(self.get(t.get_intersecting(r.circle([2, 49], 100, unit="km"), index="at")["id"]), ["paris"])
        self.assertEqual([x["doc"]["id"] for x in self.get(t.get_nearest(r.point(10, 50), index="at", max_dist=1000, unit="km"))],
                         ["berlin", "paris"])


class Tools(Case):
    def run_tool(self, name, *args):
        done = subprocess.run([sys.executable, "-m", "rethinkdb." + name, "-c", "127.0.0.1:%d" % server.port, *args],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=120)
        self.assertEqual(done.returncode, 0, done.stdout.decode())

    def test_dump_and_restore(self):
        """RethinkDB's own tools: they look at the server's version first. A unique index is one again."""
        r.db_create("dumped").run(self.conn)
        table = r.db("dumped").table("t")
        r.db("dumped").table_create("t").run(self.conn)
        table.index_create("mail", unique=True).run(self.conn)
        table.index_wait().run(self.conn)
        table.insert([{"id": 1, "mail": "a"}, {"id": 2, "mail": "b"}]).run(self.conn)
        with tempfile.TemporaryDirectory() as folder:
            archive = os.path.join(folder, "dump.tar.gz")
            self.run_tool("_dump", "-e", "dumped", "-f", archive, "-q")
            r.db_drop("dumped").run(self.conn)
            self.run_tool("_restore", archive, "-q")
        self.assertEqual(table.order_by("id")["mail"].run(self.conn), ["a", "b"])
        self.assertTrue(table.index_wait("mail").run(self.conn)[0]["unique"])
        self.assertIn("Duplicate value", table.insert({"mail": "a"}).run(self.conn)["first_error"])
        r.db_drop("dumped").run(self.conn)


class Administration(Case):
    def test_write_hook(self):
        t = r.table("hooked")
        self.assertEqual(self.get(t.set_write_hook(lambda ctx, old, new: r.branch(new == None, new, new.merge({"seen": True})))),  # noqa: E711
                         {"created": 1})
        self.get(t.insert({"id": 1}))
        self.assertEqual(self.get(t.get(1)), {"id": 1, "seen": True})
        self.assertIn("function", self.get(t.get_write_hook()))
        self.assertEqual(self.get(t.set_write_hook(None)), {"deleted": 1})

    def test_users(self):
        users = r.db("rethinkdb").table("users")
        self.assertEqual(self.get(users.insert({"id": "eve", "password": "x"}))["inserted"], 1)
        with self.assertRaisesRegex(errors.ReqlAuthError, "Wrong password"):
            r.connect("127.0.0.1", server.port, user="eve", password="y")
        with r.connect("127.0.0.1", server.port, user="eve", password="x", db="administration") as eve:
            self.fails(errors.ReqlPermissionError, "User `eve` does not have the required `read` permission", r.table("rows"), eve)
            self.assertEqual(self.get(r.table("rows").grant("eve", {"read": True}))["granted"], 1)
            self.get(r.table("rows").count(), eve)
            self.fails(errors.ReqlPermissionError, "`write` permission", r.table("rows").insert({}), eve)
            self.fails(errors.ReqlPermissionError, "`config` permission", r.table_create("t"), eve)
        self.assertEqual(self.get(users.get("eve").delete())["deleted"], 1)

    def test_settings(self):
        t = r.table("hooked")
        self.assertEqual(self.get(t.config().update({"durability": "soft"}))["replaced"], 1)
        self.assertEqual(self.get(t.config()["durability"]), "soft")
        self.assertEqual(self.get(t.reconfigure(shards=1, replicas=1, dry_run=True))["reconfigured"], 0)
        self.assertEqual(self.get(t.wait(wait_for="all_replicas_ready", timeout=10)), {"ready": 1})
        self.assertTrue(self.get(t.status()["status"]["ready_for_writes"]))
        for name in self.get(r.db("rethinkdb").table_list()):
            self.get(r.db("rethinkdb").table(name).count())

    def test_jobs(self):
        failures = []

        def slow():
            with r.connect("127.0.0.1", server.port) as conn:
                try:
                    r.range(10 ** 12).filter(lambda x: x < 0).count().run(conn)
                except errors.ReqlRuntimeError as e:
                    failures.append(e.message)
        thread = threading.Thread(target=slow)
        thread.start()
        mine = r.db("rethinkdb").table("jobs").filter(
            lambda job: (job["type"] == "query") & job["info"]["query"].match("1000000000000") & ~job["info"]["query"].match("jobs"))
        deadline = time.monotonic() + 5
        while not self.get(mine.delete())["deleted"]:
            self.assertLess(time.monotonic(), deadline, "the query is not in the jobs table")
            time.sleep(0.01)
        thread.join(5)
        self.assertFalse(thread.is_alive())
        self.assertRegex(failures[0], "(?i)terminated")

    def test_javascript(self):
        self.assertEqual(self.get(r.js("1 + 1")), 2)
        self.assertEqual(self.get(r.expr([1, 2, 3]).filter(r.js("(function (x) { return x > 1; })"))), [2, 3])
        self.fails(errors.ReqlQueryLogicError, "timed out", r.js("while (true) {}", timeout=0.2))

    def test_http(self):
        web = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Web)
        threading.Thread(target=web.serve_forever, daemon=True).start()
        url = "http://127.0.0.1:%d" % web.server_port
        try:
            self.assertEqual(self.get(r.http(url + "/a", params={"q": 1})), {"method": "GET", "path": "/a?q=1", "body": ""})
            self.assertEqual(self.get(r.http(url, method="POST", data={"a": 1}))["body"], "a=1")
            self.fails(errors.ReqlNonExistenceError, "404", r.http(url + "/none", attempts=1))
        finally:
            web.shutdown()
            web.server_close()

    def test_limits(self):
        self.fails(errors.ReqlResourceLimitError, "Array over size limit `4`", r.range(9).coerce_to("array"), array_limit=4)


if __name__ == "__main__":
    unittest.main()
