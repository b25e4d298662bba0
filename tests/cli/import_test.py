#!/usr/bin/env python3
"""photondb import: good files, bad rows, conflicts, streams."""

import json
import os
import pty
import signal
import subprocess
import sys
import tempfile
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import BINARY, Client, QueryError, Server, cli, table  # noqa: E402


class Import(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.client = Client(cls.server.port)
        cls.number = 0

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def setUp(self):
        type(self).number += 1
        self.name = "t%d" % self.number
        self.table = "import." + self.name

    def imports(self, text, *args, status=0, name=None, rows=None):
        """Imports `text` from standard input, or from a file called `name`."""
        data = text if isinstance(text, bytes) else text.encode()
        words = ["import", "--port", self.server.port, "--table", self.table, "--create", *args]
        if name is None:
            done = cli(*words, stdin=data)
        else:
            with tempfile.TemporaryDirectory() as directory:
                path = os.path.join(directory, name)
                with open(path, "wb") as file:
                    file.write(data)
                done = cli(*words, path)
        self.assertEqual(done.returncode, status, done.stderr)
        if rows is not None:
            self.assertEqual(self.rows(), rows)
        return done

    def rows(self):
        return sorted(self.client.run(table("import", self.name)), key=lambda row: json.dumps(row["id"]))

    def test_json_array(self):
        rows = [{"id": 1, "a": [1, [2, {"b": []}]], "s": "x]},{\"\\"}, {"id": 2, "nested": {"deep": {"er": [None, True]}}}]
        self.imports(json.dumps(rows), rows=rows)
        self.imports(json.dumps(rows, indent=3), "--conflict", "replace", rows=rows)

    def test_json_objects(self):
        self.imports('{\n"id": 1\n}\n{"id":\n2}', name="x.json", rows=[{"id": 1}, {"id": 2}])

    def test_ndjson(self):
        self.imports('{"id":1}\n\n  {"id":2}\r\n{"id":3}', name="x.ndjson", rows=[{"id": 1}, {"id": 2}, {"id": 3}])
        done = self.imports('{"id":4}\n', "--format", "ndjson")
        self.assertRegex(done.stdout, r"^import\.%s: 1 rows imported; 9 B in " % self.name)

    def test_rows_at(self):
        self.imports('{"type":"x","data":{"n":[1],"items":[{"id":1},{"id":2}]},"z":1}', "--rows-at", "data.items",
                     rows=[{"id": 1}, {"id": 2}])
        done = self.imports('{"a":1}', "--rows-at", "b", status=1)
        self.assertIn('there is no array at "b"', done.stderr)

    def test_csv(self):
        text = ('id,name,n,ok,none,zip,empty\r\n1,"Zoë, ""Z""",1.5,true,null,01234,\r\n'
                '2,"two\nlines",-3.0e2,false,null,99999,""\r\n')
        self.imports(text, name="x.csv", rows=[
            {"id": 1, "name": 'Zoë, "Z"', "n": 1.5, "ok": True, "none": None, "zip": "01234"},
            {"id": 2, "name": "two\nlines", "n": -300, "ok": False, "none": None, "zip": 99999, "empty": ""}])

    def test_csv_options(self):
        self.imports("1;2\n", "--format", "csv", "--separator", ";", "--columns", "id,b", rows=[{"id": 1, "b": 2}])
        self.imports("id\tb\n2\tx,y\n", name="x.tsv")
        self.imports("id,b\n3,true\n", "--no-types", "--format", "csv")
        self.imports('id,b\n5,12E4\n6,07\n', "--strings", "id", "--format", "csv")
        self.imports('id,b\n4,"[1,{""c"":2}]"\n', "--json-cells", "--format", "csv", rows=[
            {"id": "3", "b": "true"}, {"id": "5", "b": "12E4"}, {"id": "6", "b": "07"}, {"id": 1, "b": 2}, {"id": 2, "b": "x,y"}, {"id": 4, "b": [1, {"c": 2}]}])

    def test_empty(self):
        for text, name in ((b"", "x.json"), (b"[]", "x.json"), (b"", "x.ndjson"), (b"\n \n", "x.ndjson"), (b"", "x.csv"), (b"a,b\n", "x.csv")):
            with self.subTest(text=text, name=name):
                self.imports(text, name=name, rows=[])

    def test_unicode_and_numbers(self):
        self.imports('\ufeff{"id":"ключ 😀","\\u00e9":"\\ud83d\\ude00\\n\\u0000","n":[0.1,1e308,-5e-324,9007199254740993,12345678901234567890]}', rows=[
            {"id": "ключ 😀", "é": "😀\n\0", "n": [0.1, 1e308, -5e-324, 9007199254740992, 12345678901234567168]}])

    def test_times_and_binary(self):
        row = {"id": 1, "t": {"$reql_type$": "TIME", "epoch_time": 1.5, "timezone": "+01:00"},
               "b": {"$reql_type$": "BINARY", "data": "AP8="}}
        self.imports(json.dumps(row), rows=[row])

    def test_bad_ndjson_rows(self):
        lines = ['{"id":%d}' % i for i in range(1, 1001)]
        lines[9] = '{"id":}'
        lines[499] = '[1]'
        lines[500] = '{"id":1,"id":2}'
        lines[700] = '{"id":null}'
        lines[999] = '{"id":1}'  # a duplicate of line 1
        done = self.imports("\n".join(lines), status=3)
        self.assertEqual(len(self.rows()), 995)
        found = [line for line in done.stderr.splitlines() if line.startswith("line ")]
        # Batches are in flight together, so either of the two rows with one key may have come first.
        twice = next((line for line in found if "Duplicate primary key `id`:" in line), "")
        self.assertRegex(twice, "^line (1|1000): ")
        self.assertEqual(sorted(int(line.split(":")[0][5:]) for line in found if line != twice), [10, 500, 501, 701])
        self.assertIn('line 500: a row must be an object, this is [1]', found)
        self.assertIn('line 501: the key "id" is there twice', found)
        self.assertTrue(any(line.startswith("line 701: Primary keys must be either a number, string, bool") for line in found), found)
        self.assertIn("5 bad rows were not imported", done.stderr)
        self.assertIn("995 rows imported", done.stdout)

    def test_bad_array_rows(self):
        done = self.imports('[{"id":1},\n{"id":2,},\n3,\n{"id":4}\n]', status=3, rows=[{"id": 1}, {"id": 4}])
        self.assertIn("line 2: ", done.stderr)
        self.assertIn("line 3: a row must be an object, this is 3", done.stderr)

    def test_cut_off_array(self):
        done = self.imports('[{"id":1},\n{"id":2},\n{"id":3', status=3, rows=[{"id": 1}, {"id": 2}])
        self.assertIn("line 3: ", done.stderr)
        self.assertIn("the file ends before the array does", done.stderr)

    def test_bad_csv_rows(self):
        done = self.imports('id,a\n1,2\n2\n3,4,5\n"4"x,1\n6,"open\n7,8\n', "--format", "csv", status=3,
                            rows=[{"id": 1, "a": 2}, {"id": 7, "a": 8}])
        for text in ("line 3: the row has 1 cells, the header 2", "line 4: the row has 3 cells, the header 2",
                     "line 5: text after the closing quote of a cell", "line 6: a quoted cell does not end"):
            self.assertIn(text, done.stderr)

    def test_row_the_server_refuses_as_a_query(self):
        rows = [{"id": i} for i in range(50)]
        rows[20]["t"] = {"$reql_type$": "NONSENSE"}
        done = self.imports("\n".join(map(json.dumps, rows)), status=3)
        self.assertEqual(len(self.rows()), 49)
        self.assertIn("line 21: ", done.stderr)
        self.assertIn("1 bad row was not imported", done.stderr)

    def test_invalid_utf8(self):
        done = self.imports(b'{"id":1,"a":"\xff"}\n{"id":2}\n', status=3, rows=[{"id": 2}])
        self.assertIn("line 1: ", done.stderr)

    def test_max_errors(self):
        done = self.imports("\n".join(["x"] * 10 + ['{"id":1}']), "--format", "ndjson", "--max-errors", "3", status=3, rows=[])
        self.assertIn("4 bad rows were not imported; stopped there", done.stderr)

    def test_conflicts(self):
        self.imports('{"id":1,"a":1}\n{"id":2,"a":1}', rows=[{"id": 1, "a": 1}, {"id": 2, "a": 1}])
        self.imports('{"id":1,"b":1}', "--conflict", "update", rows=[{"id": 1, "a": 1, "b": 1}, {"id": 2, "a": 1}])
        done = self.imports('{"id":2,"c":1}\n{"id":2,"c":2}\n{"id":2,"c":2}', "--conflict", "replace",
                            rows=[{"id": 1, "a": 1, "b": 1}, {"id": 2, "c": 2}])
        self.assertRegex(done.stdout, "3 rows imported, 2 of them over older ones, 1 of them there already")
        # the last of a key wins, whatever the batches
        many = "\n".join(json.dumps({"id": i % 7, "n": i}) for i in range(5000))
        self.imports(many, "--conflict", "replace", "--batch", "3")
        self.assertEqual(sorted(row["n"] for row in self.rows()), list(range(4993, 5000)))

    def test_primary_key(self):
        self.imports('{"k":1}\n{"k":2}', "--primary-key", "k", "--durability", "hard")
        self.assertEqual(len(self.client.run(table("import", self.name))), 2)
        done = self.imports('{"k":3}', "--primary-key", "other", status=1)
        self.assertIn('the primary key of %s is "k", not "other"' % self.table, done.stderr)

    def test_many_rows(self):
        text = "[" + ",\n".join('{"id":%d,"text":"%s","list":[%d,[]]}' % (i, "x" * (i % 300), i) for i in range(20000)) + "]"
        self.imports(text, name="x.json")
        self.assertEqual(self.client.run([43, [table("import", self.name)]]), 20000)
        self.assertEqual(self.client.run([16, [table("import", self.name), 12345]]), {"id": 12345, "text": "x" * 45, "list": [12345, []]})

    def test_big_rows(self):
        text = "\n".join(json.dumps({"id": i, "text": "y" * 3000000}) for i in range(5))
        self.imports(text)
        self.assertEqual(self.client.run([43, [table("import", self.name)]]), 5)

    def test_not_there(self):
        done = cli("import", "--port", self.server.port, "--table", "import.none", "/nowhere/x.json")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot read /nowhere/x.json", done.stderr)
        done = cli("import", "--port", self.server.port, "--table", "import.none", stdin=b'{"id":1}')
        self.assertEqual(done.returncode, 1)
        self.assertIn("does not exist", done.stderr)
        done = cli("import", "--port", self.server.port, "--table", "import.none", "/tmp")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/tmp is a directory", done.stderr)

    def test_quiet(self):
        done = self.imports('{"id":1}', "--quiet")
        self.assertEqual((done.stdout, done.stderr), ("", ""))

    def test_interrupted(self):
        process = subprocess.Popen([BINARY, "import", "--port", str(self.server.port), "--table", self.table, "--create"],
                                   stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        process.stdin.write(b"".join(b'{"id":%d}\n' % i for i in range(1000)) + b'{"id":')
        process.stdin.flush()
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:  # until all whole batches are in
            try:
                if self.client.run([43, [table("import", self.name)]]) == 1000:
                    break
            except QueryError:
                pass
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        out, log = process.stdout.read().decode(), process.stderr.read().decode()
        self.assertEqual(process.wait(30), 130, log)
        process.stdin.close(), process.stdout.close(), process.stderr.close()
        self.assertIn("1000 rows imported", out)
        self.assertIn("interrupted; the rows counted are in the table", log)

    def test_progress_on_a_terminal(self):
        terminal, other = pty.openpty()
        process = subprocess.Popen([BINARY, "import", "--port", str(self.server.port), "--table", self.table, "--create"],
                                   stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=other)
        os.close(other)
        for part in range(6):
            process.stdin.write(b"".join(b'{"id":%d}\n' % i for i in range(part * 1000, part * 1000 + 1000)))
            process.stdin.flush()
            time.sleep(0.12)
        process.stdin.close()
        drawn = b""
        try:
            while True:
                more = os.read(terminal, 65536)
                if not more:
                    break
                drawn += more
        except OSError:  # how a terminal says that nobody holds its other end
            pass
        os.close(terminal)
        self.assertEqual(process.wait(30), 0, drawn)
        self.assertRegex(drawn.decode(), r"\rx?\x1b\[2Kimporting  [\d ]+ rows  [\d.]+ kB  [\d ]+ rows/s  [\d.]+ [kM]?B/s")

    def test_encodings(self):
        self.assertIn("is UTF-16", self.imports('{"id":1}'.encode("utf-16"), status=1).stderr)
        self.assertIn("is compressed", self.imports(b"\x1f\x8b\x08\0", status=1).stderr)


if __name__ == "__main__":
    unittest.main()
