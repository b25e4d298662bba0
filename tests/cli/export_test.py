#!/usr/bin/env python3
"""photondb export, and what is exported imported again."""

import csv
import io
import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import Client, Server, cli, datum, table  # noqa: E402

ROWS = [
    {"id": 1, "name": "Zoë \"Z\", x", "n": 0.1, "list": [1, [2, {"a": []}]], "o": {"b": None}},
    {"id": 2, "name": "two\r\nlines", "big": 1e300, "tiny": -5e-324, "yes": True, "no": False, "none": None},
    {"id": "3", "name": "1", "true": "true", "null": "null", "empty": "", "space": " x ", "zip": "00123"},
    {"id": [1, "a"], "key": "😀\u2028\t\\", "int": 9007199254740991, "whole": 12345678901234567168},
    {"id": 5, "t": {"$reql_type$": "TIME", "epoch_time": 1.5, "timezone": "+01:00"}, "b": {"$reql_type$": "BINARY", "data": "AP8="}},
]


def in_order(rows):
    return sorted(rows, key=lambda row: json.dumps(row["id"]))


class Export(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.client = Client(cls.server.port)
        cls.client.run([57, ["export"]])
        for name in ("rows", "none", "many"):
            cls.client.run([60, [[14, ["export"]], name]])
        assert cls.client.run([56, [table("export", "rows"), datum(ROWS)]])["inserted"] == len(ROWS)
        done = cli("import", "--port", cls.server.port, "--table", "export.many",
                   stdin="".join('{"id":%d,"text":"%s"}\n' % (i, "z" * (i % 200)) for i in range(20000)).encode())
        assert done.returncode == 0, done.stderr

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def export(self, name, *args, status=0):
        done = cli("export", "--port", self.server.port, "--table", "export." + name, *args)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def again(self, path, *args):
        """What a file becomes when it is imported: the rows."""
        done = cli("import", "--port", self.server.port, "--table", "again.rows", "--create", *args, path)
        self.assertEqual(done.returncode, 0, done.stderr)
        rows = self.client.run(table("again", "rows"))
        self.client.run([58, ["again"]])
        return in_order(rows)

    def test_ndjson(self):
        path = os.path.join(self.dir, "x.ndjson")
        done = self.export("rows", "--out", path)
        self.assertEqual(done.stdout, "")
        self.assertRegex(done.stderr, r"^export\.rows: 5 rows exported, \d+ B in ")
        with open(path, encoding="utf-8") as file:
            rows = [json.loads(line) for line in file.read().split("\n")[:-1]]
        self.assertEqual(in_order(rows), in_order(ROWS))
        self.assertEqual(self.again(path), in_order(ROWS))
        self.assertEqual(os.listdir(self.dir), ["x.ndjson"])

    def test_json(self):
        path = os.path.join(self.dir, "x.json")
        self.export("rows", "--format", "json", "--out", path, "--quiet")
        with open(path, encoding="utf-8") as file:
            self.assertEqual(in_order(json.load(file)), in_order(ROWS))
        self.assertEqual(self.again(path), in_order(ROWS))

    def test_csv(self):
        path = os.path.join(self.dir, "x.csv")
        self.export("rows", "--format", "csv", "--out", path)
        with open(path, encoding="utf-8", newline="") as file:
            read = list(csv.DictReader(file))
        self.assertEqual(len(read), 5)
        self.assertEqual(list(read[0])[0], "id")
        self.assertEqual(self.again(path, "--json-cells"), in_order(ROWS))

    def test_csv_columns(self):
        done = self.export("rows", "--format", "csv", "--columns", "name,id", "--separator", ";")
        rows = list(csv.reader(io.StringIO(done.out.decode(), newline=""), delimiter=";"))
        self.assertEqual(rows[0], ["name", "id"])
        self.assertIn(["two\r\nlines", "2"], rows)

    def test_stdout(self):
        done = self.export("rows")
        self.assertEqual(in_order(map(json.loads, done.out.decode().split("\n")[:-1])), in_order(ROWS))

    def test_empty(self):
        self.assertEqual(self.export("none").stdout, "")
        self.assertEqual(json.loads(self.export("none", "--format", "json").stdout), [])
        self.assertEqual(self.export("none", "--format", "csv").stdout, "id\r\n")

    def test_many(self):
        path = os.path.join(self.dir, "many.json")
        self.export("many", "--format", "json", "--out", path)
        with open(path) as file:
            rows = json.load(file)
        self.assertEqual(sorted(row["id"] for row in rows), list(range(20000)))

    def test_replaces_whole(self):
        path = os.path.join(self.dir, "x.ndjson")
        with open(path, "w") as file:
            file.write("old")
        self.export("missing", "--out", path, status=1)
        with open(path) as file:
            self.assertEqual(file.read(), "old")
        self.assertEqual(os.listdir(self.dir), ["x.ndjson"])
        self.export("rows", "--out", path)
        with open(path) as file:
            self.assertNotEqual(file.read(), "old")
        self.assertEqual(os.listdir(self.dir), ["x.ndjson"])

    def test_nowhere(self):
        done = self.export("rows", "--out", "/nowhere/x.json", status=1)
        self.assertIn("/nowhere", done.stderr)


if __name__ == "__main__":
    unittest.main()
