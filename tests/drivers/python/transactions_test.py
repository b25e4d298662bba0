#!/usr/bin/env python3
"""Transactions through PyPI rethinkdb against the built server: many clients at once, clients that vanish, a server that is killed."""

import os
import random
import sys
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "lib"))
from photon import Server  # noqa: E402

from rethinkdb import RethinkDB  # noqa: E402
from rethinkdb import errors  # noqa: E402

r = RethinkDB()
HELD = r.db("rethinkdb").table("transactions")
ACCOUNTS = 8


def connect(server):
    return r.connect("127.0.0.1", server.port)


def is_conflict(error):
    return type(error) is errors.ReqlRuntimeError and error.message.startswith("Transaction conflict: ") \
        and error.message.rstrip().endswith("Run it again.")


def make_bank(conn):
    for name in ("left", "right"):
        r.table_create(name).run(conn)
        r.table(name).insert([{"id": i, "n": 100} for i in range(ACCOUNTS)]).run(conn)


# One query that reads both tables: of one moment, in a transaction.
TOTAL = r.expr([r.table("left").sum("n"), r.table("right").sum("n")])


def move(amount, source, target):
    return r.do(
        r.table("left").get(source).update({"n": r.row["n"] - amount}),
        r.table("right").get(target).update({"n": r.row["n"] + amount}),
        lambda a, b: [a["replaced"], b["replaced"]])


# Reads of a table in every way there is; `k` is a random key.
READS = [
    lambda t, k: t.count(),
    lambda t, k: t.get(k),
    lambda t, k: t.is_empty(),
    lambda t, k: t.between(k, k + 300).count(),
    lambda t, k: t.order_by(index="n").nth(k % 500),
    lambda t, k: t.order_by(index=r.desc("id")).skip(k % 500).limit(20),
    lambda t, k: t.between(k % 100, 100, index="n").order_by(index="n").skip(50).limit(5)["id"],
    lambda t, k: t.get_all(k % 7, index="g").count(),
    lambda t, k: t.get_all(k % 5, index="m").distinct()["id"].coerce_to("array").do(lambda x: r.expr(x).order_by(lambda y: y)),
    lambda t, k: t.between([k % 7, 0], [k % 7, 50], index="gn").order_by(index=r.desc("gn")).limit(9)["id"],
    lambda t, k: t.distinct(index="g").coerce_to("array"),
    lambda t, k: t.group("g").sum("n"),
    lambda t, k: t.group(index="g").count(),
    lambda t, k: t.filter({"g": k % 7}).count(),
    lambda t, k: t.filter(r.row["n"] < k % 100).sum("id"),
    lambda t, k: t.filter((r.row["g"] == k % 7) & (r.row["n"] > 20)).order_by("n", "id").limit(5)["id"],
    lambda t, k: t.min(index="n")["n"],
    lambda t, k: t.order_by("n", "id").slice(k % 500, k % 500 + 5)["id"],
    lambda t, k: t.map(lambda x: x["n"] * 2).reduce(lambda a, b: a + b),
    lambda t, k: t.eq_join("g", t).count(),
]
WRITES = [
    lambda t, k, v: t.insert({"id": k, "n": v, "g": v % 7, "m": [v % 3]}, conflict="replace"),
    lambda t, k, v: t.get(k).update({"n": v, "m": [v % 5]}),
    lambda t, k, v: t.get(k).delete(),
    lambda t, k, v: t.between(k, k + 30).update({"g": v % 7}),
    lambda t, k, v: t.get_all(v, index="n").delete(),
]


class Threads:
    """Runs functions at once; what one raised is raised at the end."""

    def __init__(self, *functions):
        self.failures = []
        self.threads = [threading.Thread(target=self._run, args=(f,)) for f in functions]
        for thread in self.threads:
            thread.start()

    def _run(self, function):
        try:
            function()
        except Exception as e:  # pylint: disable=broad-except
            self.failures.append(e)

    def join(self):
        for thread in self.threads:
            thread.join()
        if self.failures:
            raise self.failures[0]


class Case(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--transaction-timeout", "30")
        with connect(cls.server) as conn:
            make_bank(conn)
            r.table_create("counters").run(conn)

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def setUp(self):
        self.conn = connect(self.server)
        self.addCleanup(self.conn.close, False)

    def test_transfers_beside_audits(self):
        def mover(seed):
            rnd = random.Random(seed)
            with connect(self.server) as conn:
                for _ in range(40):
                    self.assertEqual(move(rnd.randrange(1, 9), rnd.randrange(ACCOUNTS), rnd.randrange(ACCOUNTS)).run(conn, transaction=True), [1, 1])

        def auditor():
            with connect(self.server) as conn:
                for i in range(40):
                    self.assertEqual(sum(TOTAL.run(conn, transaction=True if i % 2 else {"isolation": "serializable"})), 200 * ACCOUNTS)

        Threads(*[lambda s=s: mover(s) for s in range(4)], auditor).join()
        self.assertEqual(sum(TOTAL.run(self.conn)), 200 * ACCOUNTS)

    def test_no_lost_update(self):
        """Read, think, write: in transactions held by clients, run again after a conflict."""
        r.table("counters").insert({"id": "held", "n": 0}).run(self.conn)
        conflicts = []

        def client():
            with connect(self.server) as conn:
                done = 0
                while done < 15:
                    id = HELD.insert({}).run(conn)["generated_keys"][0]
                    n = r.table("counters").get("held")["n"].run(conn, transaction=id)
                    r.table("counters").get("held").update({"n": n + 1}).run(conn, transaction=id)
                    try:
                        self.assertEqual(HELD.get(id).update({"state": "committed"}).run(conn)["replaced"], 1)
                        done += 1
                    except errors.ReqlRuntimeError as e:
                        self.assertTrue(is_conflict(e), e)
                        self.assertEqual(HELD.get(id)["state"].run(conn), "aborted")
                        conflicts.append(e)

        Threads(*[client] * 4).join()
        self.assertEqual(r.table("counters").get("held")["n"].run(self.conn), 60)

    def test_queries_wait_for_their_turn(self):
        r.table("counters").insert({"id": "turn", "n": 0}).run(self.conn)
        id = HELD.insert({}).run(self.conn)["generated_keys"][0]

        def client():
            with connect(self.server) as conn:
                for _ in range(10):
                    r.table("counters").get("turn").update({"n": r.row["n"] + 1}).run(conn, transaction=id)

        Threads(*[client] * 3).join()
        self.assertEqual(r.table("counters").get("turn")["n"].run(self.conn), 0)
        HELD.get(id).update({"state": "committed"}).run(self.conn)
        self.assertEqual(r.table("counters").get("turn")["n"].run(self.conn), 30)

    def test_clients_that_vanish(self):
        r.table("counters").insert({"id": "gone", "n": 0}).run(self.conn)
        other = connect(self.server)
        id = HELD.insert({"connection": True}).run(other)["generated_keys"][0]
        r.table("counters").get("gone").update({"n": 1}).run(other)
        self.assertEqual(r.table("counters").get("gone")["n"].run(other), 1)
        other.close(False)
        for _ in range(500):
            if HELD.get(id).run(self.conn) is None:
                break
            time.sleep(0.01)
        self.assertIsNone(HELD.get(id).run(self.conn))
        self.assertEqual(r.table("counters").get("gone")["n"].run(self.conn), 0)

    def test_idle(self):
        id = HELD.insert({"timeout": 0.05}).run(self.conn)["generated_keys"][0]
        for _ in range(500):
            if HELD.get(id)["state"].run(self.conn) == "aborted":
                break
            time.sleep(0.01)
        self.assertEqual(HELD.get(id)["error"].run(self.conn), "idle for 0.05 s")
        with self.assertRaisesRegex(errors.ReqlOpFailedError, "was aborted and rolled back: idle for 0.05 s"):
            r.table("counters").count().run(self.conn, transaction=id)

    def test_reads_as_outside(self):
        """What a transaction reads of its changes is what anybody reads of a table that was changed in the same way."""
        rnd = random.Random(5)
        for name in ("plain", "drafted"):
            table = r.table(name)
            r.table_create(name).run(self.conn)
            table.insert(r.range(1500).map(lambda i: {"id": i, "n": (i * 37) % 101, "g": i % 7, "m": [i % 3, i % 5]})).run(self.conn)
            for index in ("n", "g"):
                table.index_create(index).run(self.conn)
            table.index_create("m", multi=True).run(self.conn)
            table.index_create("gn", [r.row["g"], r.row["n"]]).run(self.conn)
            table.index_wait().run(self.conn)
        id = HELD.insert({}).run(self.conn)["generated_keys"][0]

        def compare(query, *values):
            answers = []
            for name, options in (("plain", {}), ("drafted", {"transaction": id})):
                try:
                    answer = query(r.table(name), *values).run(self.conn, **options)
                    answers.append(list(answer) if hasattr(answer, "next") else answer)
                except errors.ReqlNonExistenceError as e:
                    answers.append(e.message)
            self.assertEqual(answers[0], answers[1], "%d %s" % ((READS + WRITES).index(query), values))

        for _ in range(25):
            for _ in range(rnd.randrange(4)):
                compare(rnd.choice(WRITES), rnd.randrange(1700), rnd.randrange(101))
            for query in READS:
                compare(query, rnd.randrange(1700))
        HELD.get(id).update({"state": "committed"}).run(self.conn)
        id = False  # from here on both are tables
        for query in READS:
            compare(query, rnd.randrange(1700))

    def test_noreply_and_large(self):
        r.table_create("many").run(self.conn)
        r.table("many").insert(r.range(5000).map(lambda i: {"id": i})).run(self.conn, transaction=True)
        r.table("many").filter(r.row["id"] < 2500).delete().run(self.conn, transaction=True, noreply=True)
        self.conn.noreply_wait()
        self.assertEqual(r.table("many").count().run(self.conn), 2500)
        cursor = r.table("many").run(self.conn, transaction=True, max_batch_rows=100)
        r.table("many").delete().run(self.conn)
        self.assertEqual(len(list(cursor)), 2500)


class Killed(unittest.TestCase):
    """kill -9 in the middle: what was acknowledged is there, and nothing is there by half."""

    def test_all_or_nothing(self):
        server = Server()
        self.addCleanup(server.stop)
        with connect(server) as conn:
            make_bank(conn)
            r.table_create("done").run(conn)
        for round_ in range(3):
            acknowledged = []

            def client(number):
                try:
                    with connect(server) as conn:
                        for i in range(10000):
                            key = [round_, number, i]
                            r.do(move(1, i % ACCOUNTS, (i + number) % ACCOUNTS), r.table("done").insert({"id": key}),
                                 lambda a, b: None).run(conn, transaction=True)
                            acknowledged.append(key)
                except (errors.ReqlDriverError, OSError):
                    pass  # the server is gone

            threads = Threads(*[lambda n=n: client(n) for n in range(3)])
            while len(acknowledged) < 30:
                time.sleep(0.01)
            server.kill()
            threads.join()
            server.start()
            with connect(server) as conn:
                self.assertEqual(sum(TOTAL.run(conn)), 200 * ACCOUNTS)
                done = {tuple(row["id"]) for row in r.table("done").run(conn)}
                self.assertTrue(all(tuple(key) in done for key in acknowledged))
                self.assertEqual(100 * ACCOUNTS - r.table("left").sum("n").run(conn), len(done))


if __name__ == "__main__":
    unittest.main(verbosity=2)
