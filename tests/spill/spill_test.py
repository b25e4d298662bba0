#!/usr/bin/env python3
"""Queries that are larger than their memory: what they answer, what the server's memory does meanwhile, and that nothing
is left on the disk, however they end."""
import json
import os
import sys
import time
import unittest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
# What a sanitizer keeps of freed memory is not what is looked at here.
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"
from photon import Client, QueryError, Server, table  # noqa: E402

ROWS = 300000
BATCH = 50000
PAD = "the quick brown fox jumps over the lazy dog " * 8
QUERY_MEMORY = 32 << 20
SORT_MEMORY = 8 << 20
BIG = 100000000
T = table("test", "t")


def var(n):
    return [10, [n]]


def func(body):
    return [69, [[2, [1]], body]]


def field(name):
    return [170, [var(1), name]]


def mod(a, b):
    return [28, [a, b]]


def ids(sequence):
    return [38, [sequence, func(field("id"))]]


def order_by(sequence, *keys):
    return [41, [sequence, *keys]]


def desc(key):
    return [74, [key]]


def k_of(i):
    return i * 7919 % 300007


def load(client):
    client.run([60, [[14, ["test"]], "t"]])
    for start in range(0, ROWS, BATCH):
        row = {"id": var(1), "k": mod([26, [var(1), 7919]], 300007), "g": mod(var(1), 1000), "pad": PAD}
        rows = [51, [[38, [[173, [start, start + BATCH]], func(row)]], "array"]]
        done = client.run([56, [T, rows]], durability="soft")
        assert done["inserted"] == BATCH, done


# Sorts for hours, and would take terabytes.
ENDLESS_SORT = [43, [order_by([38, [[173, [BIG]], func([2, [mod([26, [var(1), 7919]], 300007), PAD]])]], func([45, [var(1), 0]]))]]


class Memory:
    """Peak of the server's resident memory while something runs, above what it was before."""

    def __init__(self, pid):
        self.pid = pid

    def figure(self, name):
        with open("/proc/%d/status" % self.pid) as f:
            for line in f:
                if line.startswith(name + ":"):
                    return int(line.split()[1]) << 10
        raise AssertionError(name)

    def __enter__(self):
        with open("/proc/%d/clear_refs" % self.pid, "w") as f:
            f.write("5")
        self.before = self.figure("VmRSS")
        return self

    def __exit__(self, *exc):
        self.grown = self.figure("VmHWM") - self.before


class Spill(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server("--query-memory", QUERY_MEMORY, "--sort-memory", SORT_MEMORY, "--cache-size", "64MiB", start=False)
        cls.server.args = [str(a) for a in cls.server.args]
        cls.server.start()
        cls.client = Client(cls.server.port, timeout=300)
        load(cls.client)
        cls.memory = Memory(cls.server.process.pid)

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def figures(self):
        rows = self.client.run([32, [table("rethinkdb", "stats"), "temporary_files"]])
        return rows[0]["temporary_files"]

    def deleted_files(self):
        """Names of files that are open and gone, of the server's process."""
        path = "/proc/%d/fd" % self.server.process.pid
        names = []
        for fd in os.listdir(path):
            try:
                names.append(os.readlink(os.path.join(path, fd)))
            except OSError:
                pass
        return [n for n in names if "/tmp/spill-" in n]

    def wait_until_clean(self):
        deadline = time.monotonic() + 60
        while self.figures()["files"] or self.deleted_files():
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.05)
        self.assertEqual(self.figures()["bytes"], 0)
        self.assertEqual(os.listdir(os.path.join(self.server.data, "tmp")), [])

    def run_spilling(self, term, spills=True, **options):
        """Runs it; its memory must have been bounded, and temporary files used or not."""
        before = self.figures()["bytes_total"]
        with Memory(self.server.process.pid) as memory:
            answer = self.client.run(term, **options)
        self.assertEqual(self.figures()["bytes_total"] > before, spills)
        # The budget of the query, and as much for the cache's leaves, a batch on its way out, and the heap's own.
        self.assertLess(memory.grown, 2 * QUERY_MEMORY + (32 << 20))
        self.wait_until_clean()
        return answer

    def test_sort(self):
        got = self.run_spilling(ids(order_by(T, "k")))
        self.assertEqual(got, sorted(range(ROWS), key=k_of))

    def test_sort_by_several(self):
        got = self.run_spilling(ids(order_by(T, desc("g"), "k")))
        self.assertEqual(got, sorted(range(ROWS), key=lambda i: (-(i % 1000), k_of(i))))

    def test_first_rows_need_no_files(self):
        got = self.run_spilling(ids([71, [order_by(T, "k"), 1000]]), spills=False)
        self.assertEqual(got, sorted(range(ROWS), key=k_of)[:1000])

    def test_last_of_many(self):
        got = self.run_spilling(ids([70, [order_by(T, "k"), ROWS - 5]]))
        self.assertEqual(got, sorted(range(ROWS), key=k_of)[-5:])

    def test_distinct(self):
        got = self.run_spilling([42, [[38, [T, func([24, [[51, [mod(field("k"), 200003), "string"]], PAD]])]]]])
        self.assertEqual(got, sorted({str(k_of(i) % 200003) + PAD for i in range(ROWS)}))

    def test_group_with_many_keys(self):
        grouped = [150, [[145, [[144, [T, "k"]], "g"]]]]
        expected = {}
        for i in range(ROWS):
            expected[k_of(i)] = expected.get(k_of(i), 0) + i % 1000
        got = self.run_spilling(grouped, plan=False)
        self.assertEqual(got, [{"group": k, "reduction": expected[k]} for k in sorted(expected)])
        # and what becomes of them
        got = self.run_spilling([71, [order_by(grouped, desc("reduction"), "group"), 20]], plan=False)
        best = sorted(expected, key=lambda k: (-expected[k], k))[:20]
        self.assertEqual(got, [{"group": k, "reduction": expected[k]} for k in best])
        self.assertEqual(self.client.run(grouped), [{"group": k, "reduction": expected[k]} for k in sorted(expected)])

    def test_group_of_rows(self):
        # the two rows with the least k of each group: all rows are collected first
        term = [71, [order_by([144, [T, "g"]], "k"), 2]]
        got = self.run_spilling([150, [[38, [term, func(field("id"))]]]], array_limit=ROWS)
        expected = {}
        for i in sorted(range(ROWS), key=k_of):
            if len(expected.setdefault(i % 1000, [])) < 2:
                expected[i % 1000].append(i)
        self.assertEqual(got, [{"group": g, "reduction": expected[g]} for g in range(1000)])
        with self.assertRaisesRegex(QueryError, "Grouped data over size limit `100000`"):
            self.client.run(term)

    def test_join(self):
        right = [38, [T, func([35, [var(1), {"other": mod([24, [field("id"), 1]], 1000)}]])]]
        same = [69, [[2, [1, 2]], [17, [[170, [var(1), "id"]], [170, [var(2), "other"]]]]]]
        got = self.run_spilling([43, [[48, [[71, [order_by(T, "id"), 4]], right, same]]]])
        self.assertEqual(got, 4 * ROWS // 1000)

    def test_profile_says_so(self):
        token = self.client.send([1, [43, [order_by(T, "k")]], {"profile": True}])
        answered, response = self.client.receive()
        self.assertEqual((answered, response["r"]), (token, [ROWS]))
        self.assertRegex(json.dumps(response["p"]), r"Spilling %d rows to disk\." % ROWS)

    def spilling_job(self, other):
        """Waits until a query with `other`s connection writes to temporary files."""
        deadline = time.monotonic() + 60
        while True:
            jobs = self.client.run(table("rethinkdb", "jobs"))
            found = [j for j in jobs if j["info"].get("temporary_bytes")]
            if found:
                return found[0]
            self.assertLess(time.monotonic(), deadline)
            time.sleep(0.02)

    def test_stopped(self):
        with Client(self.server.port) as other:
            token = other.send([1, ENDLESS_SORT, {}])
            self.spilling_job(other)
            self.assertGreater(self.figures()["files"], 0)
            self.assertEqual(os.listdir(os.path.join(self.server.data, "tmp")), [])
            other.send([3], token)
            self.wait_until_clean()

    def test_killed_job(self):
        with Client(self.server.port) as other:
            other.send([1, ENDLESS_SORT, {}])
            job = self.spilling_job(other)
            self.client.run([54, [[16, [table("rethinkdb", "jobs"), [2, job["id"]]]]]])
            self.assertGreaterEqual(other.receive()[1]["t"], 16)
            self.wait_until_clean()

    def test_disconnected(self):
        with Client(self.server.port) as other:
            other.send([1, ENDLESS_SORT, {}])
            self.spilling_job(other)
        self.wait_until_clean()

    def test_timed_out(self):
        with self.assertRaisesRegex(QueryError, "query_timeout"):
            self.client.run(ENDLESS_SORT, query_timeout=1)
        self.wait_until_clean()

    def test_open_cursor_is_closed(self):
        token = self.client.send([1, order_by(T, "k"), {}])
        self.assertEqual(self.client.receive()[1]["t"], 3)
        self.assertGreater(self.figures()["files"], 0)
        self.client.send([3], token)
        self.client.receive()
        self.wait_until_clean()


class Limits(unittest.TestCase):
    def test_spill_max(self):
        with Server("--query-memory", "16MiB", "--sort-memory", "1MiB", "--spill-max", "20MB") as server:
            with Client(server.port, timeout=120) as client:
                for _ in range(2):
                    with self.assertRaisesRegex(QueryError, "more than the 20000000 bytes .*`--spill-max`.*/data/tmp`"):
                        client.run(ENDLESS_SORT)
                self.assertEqual(client.run([43, [order_by([173, [20000]], func(var(1)))]]), 20000)

    def test_crash(self):
        server = Server("--query-memory", "16MiB", "--sort-memory", "1MiB")
        with server:
            with Client(server.port) as client, Client(server.port) as other:
                other.send([1, ENDLESS_SORT, {}])
                while not any(j["info"].get("temporary_bytes") for j in client.run(table("rethinkdb", "jobs"))):
                    time.sleep(0.01)
                server.kill()
                server.log.close()
            # what a crash may leave: a file that was just being made
            with open(os.path.join(server.data, "tmp", "spill-17"), "w") as f:
                f.write("left")
            server.start()
            self.assertEqual(os.listdir(os.path.join(server.data, "tmp")), [])


if __name__ == "__main__":
    unittest.main()
