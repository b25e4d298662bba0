#!/usr/bin/env python3
"""Users, passwords and permissions through PyPI rethinkdb; and docs/security.md, whose Python is run."""

import os
import re
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
from photon import Server, cli  # noqa: E402

from rethinkdb import RethinkDB  # noqa: E402
from rethinkdb import errors  # noqa: E402

r = RethinkDB()
DOCS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "..", "docs", "security.md")


def password_file(text):
    file = tempfile.NamedTemporaryFile("w", suffix=".password")
    os.fchmod(file.fileno(), 0o600)
    file.write(text + "\n")
    file.flush()
    return file


def connect(server, user="admin", password="", **options):
    return r.connect("127.0.0.1", server.port, user=user, password=password, **options)


USERS = r.db("rethinkdb").table("users")


class Docs(unittest.TestCase):
    def test_security(self):
        with open(DOCS) as f:
            blocks = re.findall(r"^```python\n(.*?)^```$", f.read(), re.M | re.S)
        self.assertGreater(len(blocks), 5)
        with password_file("the first one") as file, Server("--initial-password-file", file.name) as server:
            names = {}
            for block in blocks:
                block = block.replace("port=28015", "port=%d" % server.port)
                exec(compile(block, DOCS, "exec"), names)
            names["as_bob"].close()
            names["conn"].close()


class Users(unittest.TestCase):
    def setUp(self):
        self.server = Server()
        self.addCleanup(self.server.stop)
        self.conn = connect(self.server)
        self.addCleanup(self.conn.close, False)

    def run_(self, query, conn=None):
        result = query.run(conn or self.conn)
        return list(result) if hasattr(result, "next") else result

    def lacks(self, query, conn, permission, user="bob"):
        with self.assertRaises(errors.ReqlPermissionError) as caught:
            self.run_(query, conn)
        self.assertEqual(caught.exception.message,
                         "User `%s` does not have the required `%s` permission." % (user, permission))

    def add(self, name, password):
        self.assertEqual(self.run_(USERS.insert({"id": name, "password": password}))["inserted"], 1)

    def test_two_users(self):
        self.run_(r.db("test").table_create("t"))
        self.run_(r.db("test").table("t").insert([{"id": i} for i in range(1000)]))
        self.add("bob", "b")
        self.add("eve", "e")
        t = r.db("test").table("t")
        with connect(self.server, "bob", "b") as bob, connect(self.server, "eve", "e") as eve:
            self.run_(t.grant("bob", {"read": True}))
            self.run_(r.grant("eve", {"read": True, "write": True}))
            self.run_(t.grant("eve", {"write": False}))
            self.assertEqual(self.run_(t.count(), bob), 1000)
            self.lacks(t.insert({"id": 1000}), bob, "write")
            self.lacks(t.insert({"id": 1000}), eve, "write", "eve")
            self.lacks(t.get(1).update({"a": 1}), bob, "write")
            self.lacks(r.db("test").table_create("u"), bob, "config")
            self.lacks(t.index_create("a"), bob, "config")
            self.lacks(t.config(), eve, "config", "eve")
            self.lacks(r.http("http://127.0.0.1:1/"), eve, "connect", "eve")
            self.lacks(USERS, bob, "read")
            self.assertEqual(len(self.run_(USERS, eve)), 3)
            self.lacks(r.grant("eve", {"config": True}), bob, "read")
            # What runs keeps what it may until its next batch.
            cursor = t.run(bob, max_batch_rows=10)
            next(cursor)
            self.run_(t.grant("bob", {"read": False}))
            with self.assertRaises(errors.ReqlPermissionError):
                list(cursor)
            self.run_(USERS.get("eve").delete())
            self.lacks(t.count(), eve, "read", "eve")
            self.assertEqual(self.run_(r.expr(1), eve), 1)
            with self.assertRaisesRegex(errors.ReqlAuthError, "Unknown user"):
                connect(self.server, "eve", "e")

    def test_passwords(self):
        self.add("bob", "one")
        self.add("none", False)
        connect(self.server, "none", "").close()
        with connect(self.server, "bob", "one") as bob:
            self.run_(USERS.get("bob").update({"password": {"password": "zwei, n=3", "iterations": 5}}))
            with self.assertRaisesRegex(errors.ReqlAuthError, "Wrong password"):
                connect(self.server, "bob", "one")
            connect(self.server, "bob", "zwei, n=3").close()
            self.assertEqual(self.run_(r.expr(1), bob), 1)     # who is in stays in
        self.run_(USERS.get("admin").update({"password": "root"}))
        with self.assertRaisesRegex(errors.ReqlAuthError, "Wrong password"):
            connect(self.server)
        log = self.server.read_log()
        self.assertRegex(log, r"notice access: password of user `admin` set, by `admin`")
        for secret in ("one", "zwei", "root"):
            self.assertNotRegex(log, r"\b%s\b" % secret)

    def test_restart(self):
        with password_file("first") as file, password_file("other") as other:
            server = Server("--initial-password-file", file.name)
            try:
                with connect(server, password="first") as conn:
                    USERS.insert({"id": "bob", "password": "b"}).run(conn)
                    r.db("test").grant("bob", {"read": True, "config": True}).run(conn)
                    USERS.get("admin").update({"password": "second"}).run(conn)
                server.kill()
                server.log.close()
                server.args = ("--initial-password-file", other.name)
                server.start()
                self.assertIn("the initial password is not used", server.read_log())
                for wrong in ("first", "other", ""):
                    with self.assertRaises(errors.ReqlAuthError):
                        connect(server, password=wrong)
                connect(server, password="second").close()
                server.kill()
                server.log.close()
                server.args = ("--bind", "0.0.0.0")     # there is a password, so it may
                server.start()
                with connect(server, "bob", "b") as bob:
                    self.assertEqual(r.db("test").table_create("t").run(bob)["tables_created"], 1)
            finally:
                server.stop()

    def test_grants_beside_queries(self):
        self.run_(r.db("test").table_create("t"))
        self.run_(r.db("test").table("t").insert([{"id": i} for i in range(100)]))
        self.add("bob", False)
        stop, counts = threading.Event(), {"yes": 0, "no": 0}

        def ask():
            with connect(self.server, "bob") as bob:
                while not stop.is_set():
                    try:
                        self.assertEqual(r.db("test").table("t").count().run(bob), 100)
                        counts["yes"] += 1
                    except errors.ReqlPermissionError:
                        counts["no"] += 1

        thread = threading.Thread(target=ask)
        thread.start()
        for i in range(60):
            self.run_(r.db("test").grant("bob", {"read": i % 2 == 0}))
        stop.set()
        thread.join()
        self.assertGreater(sum(counts.values()), 0)

    def test_command_line(self):
        self.run_(r.db("test").table_create("t"))
        self.add("bob", "b")
        with password_file("b") as file:
            as_bob = ("--port", self.server.port, "--user", "bob", "--password-file", file.name)
            done = cli("table", "create", "test.u", *as_bob)
            self.assertEqual(done.returncode, 1, done.stderr)
            self.assertIn("User `bob` does not have the required `config` permission.", done.stderr)
            self.assertIn("hint: an administrator can give it", done.stderr)
            done = cli("export", "--table", "test.t", *as_bob)
            self.assertNotEqual(done.returncode, 0)
            self.assertIn("User `bob` does not have the required `read` permission.", done.stderr)
            self.run_(r.db("test").grant("bob", {"config": True}))
            done = cli("table", "create", "test.u", *as_bob)
            self.assertEqual(done.returncode, 0, done.stderr)


if __name__ == "__main__":
    unittest.main()
