#!/usr/bin/env python3
"""PyPI rethinkdb against the built server."""

import datetime
import os
import re
import sys
import tempfile
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
from photon import Server  # noqa: E402

from rethinkdb import RethinkDB  # noqa: E402
from rethinkdb import errors  # noqa: E402

r = RethinkDB()
PEOPLE = [
    {"id": 1, "name": "Ada", "age": 36, "city": "London", "tags": ["math", "code"]},
    {"id": 2, "name": "Bob", "age": 25, "city": "Paris", "tags": ["code"]},
    {"id": 3, "name": "Cy", "age": 41, "city": "London", "tags": []},
    {"id": 4, "name": "Dee", "age": 25, "city": "Rome", "tags": ["art", "math"], "pet": {"name": "Rex", "legs": 4}},
    {"id": 5, "name": "Eve", "age": None, "city": "Paris"},
]
ORDERS = [
    {"id": 10, "person": 1, "total": 30, "item": "pen"},
    {"id": 11, "person": 1, "total": 12.5, "item": "ink"},
    {"id": 12, "person": 2, "total": 7, "item": "pen"},
    {"id": 13, "person": 3, "total": 99, "item": "lamp"},
    {"id": 14, "person": 9, "total": 1, "item": "nib"},
]


def setUpModule():
    global server
    server = Server()
    with r.connect("127.0.0.1", server.port) as conn:
        r.db_create("drivers").run(conn)
        for name in ("people", "orders", "scratch", "many"):
            r.db("drivers").table_create(name).run(conn)
        r.db("drivers").table("people").insert(PEOPLE).run(conn)
        r.db("drivers").table("orders").insert(ORDERS).run(conn)
        r.db("drivers").table("many").insert(r.range(10000).map(lambda i: {"id": i, "text": "fills the batches"})).run(conn)


def tearDownModule():
    server.stop()


class Case(unittest.TestCase):
    maxDiff = None

    def setUp(self):
        self.conn = r.connect("127.0.0.1", server.port, db="drivers")
        self.addCleanup(self.conn.close, False)

    def run_(self, query, **options):
        result = query.run(self.conn, **options)
        return list(result) if hasattr(result, "next") else result

    def is_(self, query, expected):
        self.assertEqual(self.run_(query), expected)

    def same(self, query, expected):
        self.assertEqual(sorted(map(repr, self.run_(query))), sorted(map(repr, expected)))

    def fails(self, query, kind, message):
        with self.assertRaises(kind) as caught:
            self.run_(query)
        self.assertIs(type(caught.exception), kind)
        self.assertRegex(caught.exception.message, message)
        return caught.exception


class Connecting(Case):
    def test_login(self):
        with r.connect(host="127.0.0.1", port=server.port, user="admin", password="") as conn:
            self.assertEqual(r.expr(1).run(conn), 1)
        with self.assertRaisesRegex(errors.ReqlAuthError, "Wrong password"):
            r.connect("127.0.0.1", server.port, password="wrong")
        with self.assertRaisesRegex(errors.ReqlAuthError, "Unknown user"):
            r.connect("127.0.0.1", server.port, user="nobody", password="x")
        with self.assertRaises(errors.ReqlDriverError):
            r.connect("127.0.0.1", 1)

    def test_password(self):
        with tempfile.NamedTemporaryFile("w") as file:
            os.fchmod(file.fileno(), 0o600)
            file.write("geheim, s=1\n")
            file.flush()
            with Server("--initial-password-file", file.name) as locked:
                with r.connect("127.0.0.1", locked.port, password="geheim, s=1") as conn:
                    self.assertEqual(r.expr(1).run(conn), 1)
                for wrong in ("", "geheim"):
                    with self.assertRaises(errors.ReqlAuthError):
                        r.connect("127.0.0.1", locked.port, password=wrong)

    def test_server_info(self):
        info = self.conn.server()
        self.assertTrue(info["id"] and info["name"])
        self.assertFalse(info["proxy"])

    def test_reconnect_and_use(self):
        self.conn.close()
        self.assertFalse(self.conn.is_open())
        with self.assertRaises(errors.ReqlDriverError):
            r.expr(1).run(self.conn)
        self.conn.reconnect()
        self.is_(r.expr(1), 1)
        self.conn.use("nope")
        self.fails(r.table("people"), errors.ReqlOpFailedError, r"Database `nope` does not exist\.")


class Data(Case):
    def setUp(self):
        super().setUp()
        self.t = r.table("scratch")
        self.run_(self.t.delete())

    def test_databases_and_tables(self):
        self.assertEqual(self.run_(r.db_create("d2"))["dbs_created"], 1)
        self.assertIn("d2", self.run_(r.db_list()))
        self.fails(r.db_create("d2"), errors.ReqlOpFailedError, r"Database `d2` already exists\.")
        self.assertEqual(self.run_(r.db("d2").table_create("x", primary_key="key", durability="soft"))["tables_created"], 1)
        config = self.run_(r.db("d2").table("x").config())
        self.assertEqual((config["primary_key"], config["durability"]), ("key", "soft"))
        self.is_(r.db("d2").table_list(), ["x"])
        self.is_(r.db("d2").table("x").info().pluck("name", "primary_key", "type"),
                 {"name": "x", "primary_key": "key", "type": "TABLE"})
        self.assertEqual(self.run_(r.db_drop("d2"))["tables_dropped"], 1)
        self.fails(r.db_drop("d2"), errors.ReqlOpFailedError, r"Database `d2` does not exist\.")

    def test_insert(self):
        result = self.run_(self.t.insert([{"id": 1, "a": 1}, {"b": 2}]))
        self.assertEqual((result["inserted"], len(result["generated_keys"])), (2, 1))
        result = self.run_(self.t.insert({"id": 1, "a": 9}))
        self.assertEqual(result["errors"], 1)
        self.assertEqual(result["first_error"],
                         'Duplicate primary key `id`:\n{\n\t"a":\t1,\n\t"id":\t1\n}\n{\n\t"a":\t9,\n\t"id":\t1\n}')
        self.assertEqual(self.run_(self.t.insert({"id": 1, "b": 5}, conflict="update"))["replaced"], 1)
        result = self.run_(self.t.insert({"id": 1, "c": 6}, conflict="replace", return_changes=True))
        self.assertEqual(result["changes"], [{"old_val": {"id": 1, "a": 1, "b": 5}, "new_val": {"id": 1, "c": 6}}])
        self.assertEqual(self.run_(self.t.insert({"id": 1, "c": 4}, conflict=lambda key, old, new: old.merge(
            {"c": old["c"] + new["c"]})))["replaced"], 1)
        self.is_(self.t.get(1), {"id": 1, "c": 10})
        self.assertEqual(self.run_(self.t.insert({"id": 2}, durability="soft"))["inserted"], 1)

    def test_update_replace_delete(self):
        self.run_(self.t.insert([{"id": i, "n": i} for i in range(10)]))
        self.assertEqual(self.run_(self.t.update({"m": r.row["n"] * 2}))["replaced"], 10)
        self.is_(self.t.get(4), {"id": 4, "n": 4, "m": 8})
        self.assertEqual(self.run_(self.t.get(4).update({"n": 4}))["unchanged"], 1)
        self.assertEqual(self.run_(self.t.get(99).update({"n": 4}))["skipped"], 1)
        self.fails(self.t.update({"u": r.uuid()}), errors.ReqlQueryLogicError, "Could not prove argument deterministic")
        self.assertEqual(self.run_(self.t.get(1).update({"u": self.t.get(2)["n"]}, non_atomic=True))["replaced"], 1)
        changes = self.run_(self.t.get(1).replace(lambda x: x.without("m", "u"), return_changes=True))["changes"]
        self.assertEqual(changes[0]["new_val"], {"id": 1, "n": 1})
        self.assertEqual(self.run_(self.t.between(0, 5).delete())["deleted"], 5)
        self.is_(self.t.count(), 5)
        self.assertEqual(self.run_(r.expr([1, 2]).for_each(lambda i: self.t.insert({"id": i})))["inserted"], 2)
        self.is_(self.t.sync(), {"synced": 1})

    def test_noreply(self):
        for i in range(500):
            self.t.insert({"id": i}, durability="soft").run(self.conn, noreply=True)
        self.conn.noreply_wait()
        self.is_(self.t.count(), 500)

    def test_dates_and_binary(self):
        at = datetime.datetime(2020, 2, 29, 12, 30, 15, 250000, tzinfo=r.make_timezone("+02:00"))
        self.run_(self.t.insert({"id": 1, "at": at, "data": b"\x00\xffbytes"}))
        row = self.run_(self.t.get(1))
        self.assertEqual(row["at"], at)
        self.assertEqual(row["at"].utcoffset(), datetime.timedelta(hours=2))
        self.assertEqual(bytes(row["data"]), b"\x00\xffbytes")
        self.is_(self.t.get(1)["at"].to_iso8601(), "2020-02-29T12:30:15.250+02:00")
        self.is_(r.iso8601("1986-11-03T08:30:00-07:00").to_epoch_time(), 531415800)
        self.is_((r.epoch_time(100) + 5) - r.epoch_time(50), 55)
        self.is_(r.binary(b"hello").slice(1, 3), b"el")
        self.is_(r.binary(b"x" * 300).count(), 300)
        raw = r.expr(at).run(self.conn, time_format="raw")
        self.assertEqual(raw["$reql_type$"], "TIME")
        self.is_(r.iso8601("2021-05-06T07:08:09.5Z").do(lambda t: [
            t.year(), t.month(), t.day(), t.day_of_week(), t.hours(), t.minutes(), t.seconds(), t.timezone()]),
            [2021, 5, 6, 4, 7, 8, 9.5, "+00:00"])

    def test_unicode_and_numbers(self):
        doc = {"id": "ключ😀", "值": [0.1, 1e21, -5e-324, 2 ** 53 - 1], "nested": {"a": {"b": [{}, [], None, True]}}}
        self.run_(self.t.insert(doc))
        self.is_(self.t.get("ключ😀"), doc)

    def test_parallel(self):
        self.run_(self.t.insert({"id": "n", "n": 0}))
        failures = []

        def work():
            try:
                with r.connect("127.0.0.1", server.port, db="drivers") as conn:
                    for _ in range(25):
                        assert self.t.get("n").update({"n": r.row["n"] + 1}).run(conn)["replaced"] == 1
            except Exception as e:
                failures.append(e)
        threads = [threading.Thread(target=work) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        self.assertEqual(failures, [])
        self.is_(self.t.get("n")["n"], 200)


class Language(Case):
    def setUp(self):
        super().setUp()
        self.p, self.o = r.table("people"), r.table("orders")

    def test_reading(self):
        self.is_(self.p.get(2)["name"], "Bob")
        self.is_(self.p.get(99), None)
        self.same(self.p.get_all(1, 3)["name"], ["Ada", "Cy"])
        self.is_(self.p.between(2, 4, right_bound="closed").order_by("id")["id"], [2, 3, 4])
        self.is_(self.p.between(r.minval, 3).count(), 2)
        self.same(self.p.filter({"city": "London"})["name"], ["Ada", "Cy"])
        self.same(self.p.filter((r.row["age"] > 30) & (r.row["city"] == "London"))["id"], [1, 3])
        self.is_(self.p.filter(lambda x: x["pet"]["legs"] == 4, default=True).count(), 5)
        self.fails(self.p.filter(lambda x: x["pet"]["legs"] == 4, default=r.error()),
                   errors.ReqlNonExistenceError, "No attribute `pet` in object:")

    def test_transforming(self):
        self.is_(self.p.order_by("id").map(lambda x: x["age"].default(0)), [36, 25, 41, 25, 0])
        self.same(self.p.concat_map(lambda x: x["tags"].default([])), ["math", "code", "code", "art", "math"])
        self.is_(self.p.get(4).pluck("id", {"pet": "legs"}), {"id": 4, "pet": {"legs": 4}})
        self.is_(self.p.get(2).without("tags", "age", "city"), {"id": 2, "name": "Bob"})
        self.is_(r.expr({"a": {"b": 1}}).merge({"a": {"c": 2}}), {"a": {"b": 1, "c": 2}})
        self.is_(self.p.has_fields({"pet": "legs"})["id"], [4])
        self.is_(self.p.order_by(r.desc("name")).limit(2)["name"], ["Eve", "Dee"])
        self.is_(self.o.order_by(index=r.desc("id"))["id"], [14, 13, 12, 11, 10])
        self.is_(self.o.order_by("id").skip(1).slice(1, 3)["id"], [12, 13])
        self.is_(self.o.order_by("id")[1:3]["id"], [11, 12])
        self.is_(self.o.order_by("id").nth(-1)["id"], 14)
        self.is_(r.expr([1, 2]).union([2, 3]), [1, 2, 2, 3])
        self.is_(self.p["city"].distinct(), ["London", "Paris", "Rome"])
        self.assertEqual(len(self.run_(self.p.sample(3))), 3)
        self.is_(self.p.is_empty(), False)

    def test_aggregating(self):
        self.is_(self.p.count(), 5)
        self.is_(self.o.sum("total"), 149.5)
        self.is_(self.o.avg("total"), 29.9)
        self.is_(self.o.min("total")["id"], 14)
        self.is_(self.o.max(lambda x: x["total"])["id"], 13)
        self.is_(self.p.group("city").count(), {"London": 2, "Paris": 2, "Rome": 1})
        self.is_(self.o.group("item").sum("total"), {"ink": 12.5, "lamp": 99, "nib": 1, "pen": 37})
        self.is_(self.p.group("city").count().ungroup().order_by(r.desc("reduction"), "group")[0],
                 {"group": "London", "reduction": 2})
        self.is_(self.o["total"].reduce(lambda a, b: a + b), 149.5)
        self.is_(self.p["name"].contains("Ada"), True)

    def test_joining(self):
        self.is_(self.o.inner_join(self.p, lambda a, b: a["person"] == b["id"]).count(), 4)
        self.is_(self.o.outer_join(self.p, lambda a, b: a["person"] == b["id"]).count(), 5)
        self.is_(self.o.eq_join("person", self.p).zip().order_by("item", "name").pluck("item", "name"), [
            {"item": "ink", "name": "Ada"}, {"item": "lamp", "name": "Cy"},
            {"item": "pen", "name": "Ada"}, {"item": "pen", "name": "Bob"}])

    def test_computing(self):
        self.is_(r.expr([r.expr(7) / 2, r.expr(7) % 4, r.expr("a") + "b", r.expr([1]) * 2]), [3.5, 3, "ab", [1, 1]])
        self.is_(r.branch(r.expr(1) > 2, "a", "b"), "b")
        self.is_(r.do(1, 2, lambda a, b: a + b), 3)
        self.is_(r.expr({})["a"].default("none"), "none")
        self.is_(r.range(1, 4), [1, 2, 3])
        self.is_(r.json('{"a":[1]}'), {"a": [1]})
        self.is_(r.expr("id:0,name:mlucy").match(r"name:(\w+)")["groups"][0]["str"], "mlucy")
        self.is_(r.expr("a,b,c").split(",", 1), ["a", "b,c"])
        self.is_(r.expr("aB").upcase(), "AB")
        self.is_(r.expr("1.5").coerce_to("number"), 1.5)
        self.is_(self.p.type_of(), "TABLE")
        self.is_(r.expr([{}, "a", 1, None, True, [1]]).order_by(lambda x: x), [[1], True, None, 1, {}, "a"])
        self.is_(r.expr(~(r.expr(True) & False) | False), True)
        self.assertRegex(self.run_(r.uuid()), "^[0-9a-f-]{36}$")
        self.is_(r.branch(r.args([True, 1, 2])), 1)
        now = self.run_(r.now())
        self.assertLess(abs((now - datetime.datetime.now(datetime.timezone.utc)).total_seconds()), 60)


class Errors(Case):
    def test_classes(self):
        self.fails(r.expr(1) + "a", errors.ReqlQueryLogicError, r"^Expected type NUMBER but found STRING\.$")
        self.fails(r.error("words"), errors.ReqlUserError, "^words$")
        self.fails(r.table("nope"), errors.ReqlOpFailedError, r"^Table `drivers\.nope` does not exist\.$")
        self.fails(r.expr([]).nth(0), errors.ReqlNonExistenceError, r"^Index out of bounds: 0$")
        self.fails(r.expr({"a": 1})["b"], errors.ReqlNonExistenceError, "^No attribute `b` in object:\n")
        self.fails(r.expr(1) / 0, errors.ReqlQueryLogicError, r"^Cannot divide by zero\.$")
        self.fails(r.expr([1]).changes(), errors.ReqlQueryLogicError, r"^Cannot call `changes` on an eager stream\.$")

    def test_backtrace(self):
        with self.assertRaises(errors.ReqlQueryLogicError) as caught:
            self.run_(r.expr([1, 2]).map(lambda x: x + "a"))
        text = str(caught.exception)
        self.assertIn("in:\n", text)
        query, marks = text.split("in:\n")[1].split("\n")[:2]
        at = re.search(r"\^+", marks)
        self.assertIn("+", query[at.start():at.end()])
        self.assertLess(at.end() - at.start(), len(query))

    def test_connection_goes_on(self):
        for _ in range(50):
            with self.assertRaises(errors.ReqlRuntimeError):
                self.run_(r.error("x"))
        self.is_(r.expr(1), 1)


class Cursors(Case):
    def test_batches(self):
        many = r.table("many")
        rows = list(many.run(self.conn, max_batch_rows=100))
        self.assertEqual(sorted(row["id"] for row in rows), list(range(10000)))
        cursor = many.run(self.conn, max_batch_rows=10)
        next(cursor)
        cursor.close()
        self.is_(r.expr(1), 1)
        self.assertEqual(len(list(r.range(10000).run(self.conn))), 10000)

    def test_interleaved(self):
        cursors = [r.table("many").filter(r.row["id"] % 10 == i).run(self.conn, max_batch_rows=50) for i in range(10)]
        seen = 0
        while cursors:
            for cursor in list(cursors):
                try:
                    cursor.next()
                    seen += 1
                except errors.ReqlCursorEmpty:
                    cursors.remove(cursor)
        self.assertEqual(seen, 10000)

    def test_end(self):
        cursor = r.table("many").between(0, 2).run(self.conn)
        cursor.next(), cursor.next()
        with self.assertRaises(errors.ReqlCursorEmpty):
            cursor.next()


if __name__ == "__main__":
    unittest.main()
