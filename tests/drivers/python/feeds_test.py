#!/usr/bin/env python3
"""PyPI rethinkdb against the built server: changefeeds."""

import os
import sys
import threading
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
from photon import Server  # noqa: E402

from rethinkdb import RethinkDB  # noqa: E402
from rethinkdb import errors  # noqa: E402

r = RethinkDB()
WAIT = 30  # seconds: a feed that has to give something and does not


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    server.stop()


def added(row):
    return {"old_val": None, "new_val": row}


def gone(row):
    return {"old_val": row, "new_val": None}


class Case(unittest.TestCase):
    maxDiff = None
    count = 0

    def setUp(self):
        Case.count += 1
        self.db = "feeds%d" % Case.count
        self.conn = self.connect()
        self.run_(r.db_create(self.db))
        self.conn.use(self.db)
        self.run_(r.table_create("t"))
        self.t = r.table("t")

    def connect(self, **options):
        conn = r.connect("127.0.0.1", server.port, db=self.db, **options)
        self.addCleanup(conn.close, False)
        return conn

    def run_(self, query, **options):
        return query.run(self.conn, **options)

    def take(self, feed, count):
        return [feed.next(wait=WAIT) for _ in range(count)]

    def same(self, rows, expected):
        self.assertEqual(sorted(map(repr, rows)), sorted(map(repr, expected)))

    def is_quiet(self, feed):
        """Nothing comes that was there before this call."""
        with self.assertRaises(errors.ReqlTimeoutError):
            feed.next(wait=0.2)

    def fails(self, query, kind, message):
        with self.assertRaises(kind) as caught:
            self.run_(query).next(wait=WAIT)
        self.assertRegex(caught.exception.message, message)


class Rows(Case):
    def test_table(self):
        feed = self.run_(self.t.changes())
        self.run_(self.t.insert({"id": 1, "a": 1}))
        self.run_(self.t.get(1).update({"a": 2}))
        self.run_(self.t.get(1).update({"a": 2}))  # changes nothing
        self.run_(self.t.get(1).delete())
        self.assertEqual(self.take(feed, 3), [added({"id": 1, "a": 1}), {"old_val": {"id": 1, "a": 1}, "new_val": {"id": 1, "a": 2}},
                                              gone({"id": 1, "a": 2})])
        self.is_quiet(feed)
        self.run_(self.t.insert([{"id": i} for i in range(1000)]))
        self.same([change["new_val"]["id"] for change in self.take(feed, 1000)], range(1000))
        feed.close()
        self.assertEqual(self.run_(r.expr(1)), 1)

    def test_waiting(self):
        feed = self.run_(self.t.changes())
        with self.assertRaises(errors.ReqlTimeoutError):
            feed.next(wait=False)
        self.is_quiet(feed)
        self.run_(self.t.insert({"id": 1}))
        self.assertEqual(feed.next(wait=WAIT), added({"id": 1}))
        got = []
        loop = threading.Thread(target=lambda: got.append(feed.next()))
        loop.start()
        with self.connect() as other:
            self.t.insert({"id": 2}).run(other)
        loop.join(WAIT)
        self.assertEqual(got, [added({"id": 2})])

    def test_initial(self):
        self.run_(self.t.insert([{"id": 1}, {"id": 2}]))
        feed = self.run_(self.t.changes(include_initial=True))
        self.same(self.take(feed, 2), [{"new_val": {"id": 1}}, {"new_val": {"id": 2}}])
        self.run_(self.t.insert({"id": 3}))
        self.assertEqual(feed.next(wait=WAIT), added({"id": 3}))

    def test_states_and_types(self):
        self.run_(self.t.insert({"id": 1}))
        feed = self.run_(self.t.changes(include_initial=True, include_states=True, include_types=True))
        self.assertEqual(self.take(feed, 3), [{"state": "initializing", "type": "state"}, {"new_val": {"id": 1}, "type": "initial"},
                                              {"state": "ready", "type": "state"}])
        self.run_(self.t.insert({"id": 2}))
        self.run_(self.t.get(2).update({"a": 1}))
        self.run_(self.t.get(2).delete())
        self.assertEqual([change["type"] for change in self.take(feed, 3)], ["add", "change", "remove"])

    def test_point(self):
        feed = self.run_(self.t.get("x").changes(include_initial=True))
        self.assertEqual(feed.next(wait=WAIT), {"new_val": None})
        self.run_(self.t.insert([{"id": "x"}, {"id": "y"}]))
        self.assertEqual(feed.next(wait=WAIT), added({"id": "x"}))
        self.is_quiet(feed)

    def test_filter_and_map(self):
        feed = self.run_(self.t.filter(r.row["a"] > 10).map(lambda row: row.pluck("a")).changes())
        self.run_(self.t.insert([{"id": 1, "a": 5}, {"id": 2, "a": 50}, {"id": 3}]))
        self.assertEqual(feed.next(wait=WAIT), added({"a": 50}))
        self.run_(self.t.get(1).update({"a": 11}))
        self.assertEqual(feed.next(wait=WAIT), added({"a": 11}))
        self.run_(self.t.get(2).update({"a": 1}))
        self.assertEqual(feed.next(wait=WAIT), gone({"a": 50}))
        self.run_(self.t.get(1).update({"b": 1}))  # nothing that the feed shows
        self.is_quiet(feed)

    def test_indexes(self):
        self.run_(self.t.index_create("a"))
        self.run_(self.t.index_wait())
        between = self.run_(self.t.between(10, 20, index="a").changes())
        several = self.run_(self.t.get_all(1, 12, index="a").changes())
        self.run_(self.t.insert([{"id": 1, "a": 1}, {"id": 2, "a": 12}, {"id": 3, "a": 20}]))
        self.assertEqual(between.next(wait=WAIT)["new_val"]["id"], 2)
        self.same([change["new_val"]["id"] for change in self.take(several, 2)], [1, 2])
        self.is_quiet(between)

    def test_order_by_limit(self):
        self.run_(self.t.insert([{"id": i} for i in range(10)]))
        feed = self.run_(self.t.order_by(index=r.desc("id")).limit(3).changes(include_initial=True, include_offsets=True))
        initial = self.take(feed, 3)
        self.same([(change["new_offset"], change["new_val"]["id"]) for change in initial], [(0, 9), (1, 8), (2, 7)])
        self.run_(self.t.insert({"id": 10}))
        self.assertEqual(feed.next(wait=WAIT), {"old_offset": 2, "old_val": {"id": 7}, "new_offset": 0, "new_val": {"id": 10}})

    def test_squash(self):
        feed = self.run_(self.t.changes(squash=1))
        for i in range(5):
            self.run_(self.t.insert({"id": 1, "n": i}, conflict="replace"))
        self.assertEqual(feed.next(wait=WAIT), added({"id": 1, "n": 4}))

    def test_behind_changes(self):
        feed = self.run_(self.t.changes().filter(r.row["new_val"]["a"] > 1)["new_val"]["a"])
        self.run_(self.t.insert([{"id": i, "a": i} for i in range(4)]))
        self.same(self.take(feed, 2), [2, 3])

    def test_limit_ends_it(self):
        feed = self.run_(self.t.changes().limit(2)["new_val"]["id"])
        self.run_(self.t.insert([{"id": 1}, {"id": 2}, {"id": 3}]))
        self.assertEqual(len(list(feed)), 2)

    def test_union(self):
        self.run_(r.table_create("u"))
        feed = self.run_(self.t.union(r.table("u")).changes())
        self.run_(self.t.insert({"id": 1}))
        self.assertEqual(feed.next(wait=WAIT), added({"id": 1}))
        self.run_(r.table("u").insert({"id": 2}))
        self.assertEqual(feed.next(wait=WAIT), added({"id": 2}))


class Lives(Case):
    def test_close(self):
        feeds = [self.run_(self.t.changes()) for _ in range(50)]
        for feed in feeds:
            feed.close()
        self.assertEqual(self.run_(r.expr(1)), 1)
        kept = self.run_(self.t.changes())
        self.run_(self.t.insert({"id": 1}))
        self.assertEqual(kept.next(wait=WAIT), added({"id": 1}))

    def test_close_while_waiting(self):
        feed = self.run_(self.t.changes())
        self.is_quiet(feed)  # a CONTINUE is under way
        feed.close()
        self.assertEqual(self.run_(r.expr(1)), 1)
        with self.assertRaises(errors.ReqlCursorEmpty):
            feed.next(wait=WAIT)

    def test_many(self):
        feeds = [self.run_(self.t.filter({"room": i}).changes()) for i in range(300)]
        self.run_(self.t.insert([{"id": i, "room": i} for i in range(300)]))
        for i, feed in enumerate(feeds):
            self.assertEqual(feed.next(wait=WAIT), added({"id": i, "room": i}))

    def test_drop(self):
        feed = self.run_(self.t.changes())
        point = self.run_(self.t.get(1).changes())
        self.run_(r.table_drop("t"))
        for each in (feed, point):
            with self.assertRaises(errors.ReqlOpFailedError) as caught:
                each.next(wait=WAIT)
            self.assertEqual(caught.exception.message, "Changefeed aborted (unavailable).")
        self.assertEqual(self.run_(r.expr(1)), 1)

    def test_connection_ends(self):
        with self.connect() as other:
            feed = self.t.changes().run(other)
            with self.assertRaises(errors.ReqlTimeoutError):
                feed.next(wait=0.1)
            other.close(noreply_wait=False)
            with self.assertRaises(errors.ReqlRuntimeError):
                feed.next(wait=WAIT)

    def test_refused(self):
        self.fails(r.expr([1, 2]).changes(), errors.ReqlQueryLogicError, "Cannot convert NUMBER to TABLE|Cannot call `changes` on an eager stream")
        self.fails(r.expr(1).changes(), errors.ReqlQueryLogicError, "Cannot")
        self.fails(r.table("nope").changes(), errors.ReqlOpFailedError, "Table `.*nope` does not exist")
        self.fails(self.t.changes(squash=-1), errors.ReqlQueryLogicError, "Expected BOOL or a positive NUMBER")

    def test_jobs(self):
        feed = self.run_(self.t.filter({"a": "the feed of this test"}).changes())
        self.is_quiet(feed)
        jobs = list(self.run_(r.db("rethinkdb").table("jobs")))
        mine = [job for job in jobs if job["type"] == "query" and "the feed of this test" in job["info"]["query"]]
        self.assertEqual(len(mine), 1)
        self.assertEqual(mine[0]["info"]["user"], "admin")
        self.run_(r.db("rethinkdb").table("jobs").get(mine[0]["id"]).delete())
        with self.assertRaises(errors.ReqlRuntimeError):
            feed.next(wait=WAIT)


class Tokens(Case):
    def test_continue(self):
        feed = self.run_(self.t.changes(include_tokens=True, include_states=False))
        self.run_(self.t.insert({"id": 1}))
        change = feed.next(wait=WAIT)
        token = change.pop("token")
        self.assertEqual(change, added({"id": 1}))
        feed.close()
        self.run_(self.t.insert({"id": 2}))
        self.run_(self.t.get(1).delete())
        feed = self.run_(self.t.changes(include_tokens=True, include_states=False, since=token))
        self.run_(self.t.insert({"id": 3}))
        changes = self.take(feed, 3)
        for change in changes:
            self.assertTrue(change.pop("token"))
        self.assertEqual(changes, [added({"id": 2}), gone({"id": 1}), added({"id": 3})])

    def test_refused(self):
        self.fails(self.t.changes(since="no token"), errors.ReqlRuntimeError, "token")
        feed = self.run_(self.t.changes(include_tokens=True, include_states=False))
        self.run_(self.t.insert({"id": 1}))
        token = feed.next(wait=WAIT)["token"]
        self.fails(self.t.filter({"a": 1}).changes(since=token), errors.ReqlRuntimeError, "token")
        system = r.db("rethinkdb").table("table_config")
        self.fails(system.changes(since=token), errors.ReqlRuntimeError, "table_config")
        self.fails(system.changes(include_tokens=True), errors.ReqlRuntimeError, "table_config")

    def test_restart(self):
        with Server() as other:
            with r.connect("127.0.0.1", other.port) as conn:
                r.table_create("t").run(conn)
                feed = self.t.changes(include_tokens=True, include_states=False).run(conn)
                self.t.insert({"id": 1}).run(conn)
                token = feed.next(wait=WAIT)["token"]
                self.t.insert({"id": 2}).run(conn)
                conn.close(noreply_wait=False)
            other.process.terminate()
            other.process.wait(60)
            other.log.close()
            other.start()
            with r.connect("127.0.0.1", other.port) as conn:
                feed = self.t.changes(include_tokens=True, include_states=False, since=token).run(conn)
                self.assertEqual(feed.next(wait=WAIT)["new_val"], {"id": 2})
                self.t.insert({"id": 3}).run(conn)
                self.assertEqual(feed.next(wait=WAIT)["new_val"], {"id": 3})


class System(Case):
    def setUp(self):
        super().setUp()
        self.system = r.db("rethinkdb")

    def test_configuration(self):
        tables = self.run_(self.system.table("table_config").filter({"db": self.db})["name"].changes())
        dbs = self.run_(self.system.table("db_config").filter(lambda row: row["name"].match("^" + self.db))["name"].changes())
        self.run_(r.table_create("u"))
        self.assertEqual(tables.next(wait=WAIT), added("u"))
        self.run_(r.table("u").config().update({"name": "v"}))
        self.assertEqual(tables.next(wait=WAIT), {"old_val": "u", "new_val": "v"})
        self.run_(r.db_create(self.db + "_more"))
        self.assertEqual(dbs.next(wait=WAIT), added(self.db + "_more"))
        self.run_(r.db_drop(self.db + "_more"))
        self.assertEqual(dbs.next(wait=WAIT), gone(self.db + "_more"))
        self.run_(r.table_drop("v"))
        self.assertEqual(tables.next(wait=WAIT), gone("v"))

    def test_initial_row(self):
        table_id = self.run_(self.t.info()["id"])
        feed = self.run_(self.system.table("table_status").get(table_id).changes(include_initial=True))
        self.assertEqual(feed.next(wait=WAIT)["new_val"]["name"], "t")
        self.run_(self.t.reconfigure(shards=2, replicas=1))
        self.assertEqual(len(feed.next(wait=WAIT)["new_val"]["shards"]), 2)

    def test_identifiers(self):
        feed = self.run_(self.system.table("table_config", identifier_format="uuid").changes())
        self.run_(r.table_create("u"))
        db_id = self.run_(r.db(self.db).info()["id"])
        self.assertEqual(feed.next(wait=WAIT)["new_val"]["db"], db_id)

    def test_users(self):
        feed = self.run_(self.system.table("permissions").filter({"user": "feeder"}).changes())
        self.run_(self.system.table("users").insert({"id": "feeder", "password": "x"}))
        self.run_(r.db(self.db).grant("feeder", {"read": True}))
        self.assertEqual(feed.next(wait=WAIT)["new_val"]["permissions"], {"read": True})
        self.run_(self.system.table("users").get("feeder").delete())
        self.assertIsNone(feed.next(wait=WAIT)["new_val"])

    def test_stats_and_jobs(self):
        stats = self.run_(self.system.table("stats").filter(lambda row: row["id"][0] == "server")["query_engine"]["queries_total"].changes())
        self.run_(r.expr(1))
        change = stats.next(wait=WAIT)
        self.assertGreater(change["new_val"], change["old_val"])
        jobs = self.run_(self.system.table("jobs").changes())
        self.assertEqual(jobs.next(wait=WAIT)["new_val"]["type"], "query")

    def test_server_config(self):
        feed = self.run_(self.system.table("server_config")["name"].changes(include_initial=True))
        name = feed.next(wait=WAIT)["new_val"]
        self.run_(self.system.table("server_config").update({"name": "renamed"}))
        self.assertEqual(feed.next(wait=WAIT), {"old_val": name, "new_val": "renamed"})


class Permissions(Case):
    def setUp(self):
        super().setUp()
        self.user = "user" + self.db
        self.run_(r.db("rethinkdb").table("users").insert({"id": self.user, "password": "x"}))
        self.other = self.connect(user=self.user, password="x")

    def test_refused(self):
        for query in (self.t.changes(), self.t.get(1).changes(), self.t.filter({"a": 1}).changes(include_initial=True)):
            with self.assertRaisesRegex(errors.ReqlPermissionError, "does not have the required `read` permission"):
                query.run(self.other).next(wait=WAIT)
        with self.assertRaises(errors.ReqlPermissionError):
            r.db("rethinkdb").table("table_config").changes().run(self.other).next(wait=WAIT)

    def test_own_rows(self):
        """Everybody sees his own transactions, and follows those."""
        transactions = r.db("rethinkdb").table("transactions")
        mine, all_of_them = transactions.changes().run(self.other), self.run_(transactions["user"].changes())
        admins = self.run_(transactions.insert({}))["generated_keys"][0]
        self.assertEqual(all_of_them.next(wait=WAIT), added("admin"))
        key = transactions.insert({}).run(self.other)["generated_keys"][0]
        self.assertEqual(mine.next(wait=WAIT)["new_val"]["id"], key)
        self.assertEqual(all_of_them.next(wait=WAIT), added(self.user))
        self.run_(transactions.get(admins).delete())
        self.assertEqual(all_of_them.next(wait=WAIT), gone("admin"))
        transactions.get(key).delete().run(self.other)
        change = mine.next(wait=WAIT)
        while change["new_val"]:  # its figures changed
            change = mine.next(wait=WAIT)
        self.assertEqual(change["old_val"]["id"], key)

    def test_system_tables(self):
        """Who may read the database `rethinkdb`, or a table in it, may follow it, until he may no longer."""
        config = r.db("rethinkdb").table("table_config")
        self.run_(config.grant(self.user, {"read": True}))
        feed = config.filter({"db": self.db})["name"].changes().run(self.other)
        self.run_(r.table_create("u"))
        self.assertEqual(feed.next(wait=WAIT), added("u"))
        self.run_(config.grant(self.user, {"read": None}))
        self.run_(r.table_create("v"))
        with self.assertRaises(errors.ReqlPermissionError):
            feed.next(wait=WAIT)

    def test_revoked(self):
        self.run_(r.db(self.db).grant(self.user, {"read": True}))
        feed = self.t.changes().run(self.other)
        self.run_(self.t.insert({"id": 1}))
        self.assertEqual(feed.next(wait=WAIT), added({"id": 1}))
        self.run_(r.db(self.db).grant(self.user, {"read": False}))
        self.run_(self.t.insert({"id": 2, "secret": True}))
        with self.assertRaises(errors.ReqlPermissionError):
            feed.next(wait=WAIT)


if __name__ == "__main__":
    unittest.main()
