#!/usr/bin/env python3
"""photondb check, dump-page and dump-log: on data that is whole, after kill -9, and with a flipped byte in each file."""

import glob
import json
import os
import re
import shutil
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import Client, QueryError, Server, cli, datum, table  # noqa: E402

TABLES = {"orders": "btree", "people": "btree", "articles": "slab", "queue": "memory"}
ROWS = 1500
NONE, DAMAGED, USAGE, UNCHECKED = 0, 1, 2, 5


def document(i):
    return {"id": i if i % 3 else "row-%d" % i, "text": "%d " % i * (i % 90), "list": [i, {"a": None}]}


def fill(server):
    with Client(server.port) as client:
        client.run([57, ["shop"]])
        for name, storage in TABLES.items():
            client.run([60, [[14, ["shop"]], name], {"storage": storage}])
            for start in range(0, ROWS, 500):
                result = client.run([56, [table("shop", name), datum([document(i) for i in range(start, start + 500)])]])
                assert result["inserted"] == 500, result
        client.run([54, [[16, [table("shop", "orders"), 1]]]])


def files(data):
    """All files of a data directory but sockets, and what is in them."""
    found = {}
    for path in sorted(glob.glob(os.path.join(data, "**"), recursive=True)):
        if os.path.isfile(path):
            with open(path, "rb") as f:
                found[os.path.relpath(path, data)] = f.read()
    return found


def flip(path, offset):
    with open(path, "r+b") as f:
        f.seek(offset)
        byte = f.read(1)[0]
        f.seek(offset)
        f.write(bytes([byte ^ 0x10]))


class Case(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        """Two directories: one of a server that was stopped, one of a server that was killed."""
        cls.dir = tempfile.mkdtemp(prefix="photondb-check-")
        cls.closed, cls.killed = os.path.join(cls.dir, "closed"), os.path.join(cls.dir, "killed")
        for data in (cls.closed, cls.killed):
            server = Server(data=data)
            try:
                fill(server)
                if data == cls.killed:
                    server.kill()
            finally:
                server.stop()
        for name in glob.glob(os.path.join(cls.dir, "*", "control")):
            os.unlink(name)  # the killed one's socket

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.dir, ignore_errors=True)

    def copy(self, data):
        directory = tempfile.mkdtemp(prefix="photondb-check-")
        self.addCleanup(shutil.rmtree, directory, ignore_errors=True)
        return shutil.copytree(data, os.path.join(directory, "data"))

    def check(self, data, *args, status=NONE):
        done = cli("check", "--data-dir", data, *args)
        self.assertEqual(done.returncode, status, done.stdout + done.stderr)
        return done

    def verdict(self, data):
        done = cli("check", "--data-dir", data, "--json")
        self.assertIn(done.returncode, (NONE, DAMAGED), done.stderr)
        verdict = json.loads(done.stdout)
        self.assertEqual(verdict["whole"], done.returncode == NONE)
        self.assertEqual(verdict["whole"], verdict["problem_count"] == 0)
        return verdict


class Check(Case):
    def test_whole(self):
        before = files(self.closed)
        done = self.check(self.closed)
        self.assertRegex(done.stdout, r"^The data is whole: 5 tables, 60\d\d rows, [\d.]+ [kM]B, checkpoint at commit \d+, "
                                      r"0 commits in the log behind it\.\nIt was closed cleanly")
        self.assertEqual(done.stderr, "")
        verdict = self.verdict(self.closed)
        rows = 4 * ROWS - 1 + 1 + 2 + 4  # the catalog's: one of its own, databases, tables
        self.assertEqual((verdict["tables"], verdict["rows"], verdict["log_commits"]), (5, rows, 0))
        self.assertEqual(verdict["bytes"], sum(map(len, before.values())))
        self.assertTrue(verdict["closed_cleanly"])
        done = self.check(self.closed, "--quiet")
        self.assertEqual((done.stdout, done.stderr), ("", ""))
        self.assertEqual(files(self.closed), before)

    def test_killed(self):
        verdict = self.verdict(self.killed)
        self.assertTrue(verdict["whole"])
        self.assertEqual(verdict["tables"], 5)
        self.assertGreater(verdict["log_commits"], 10)
        self.assertFalse(verdict["closed_cleanly"])
        # Somebody starts and stops it: all in files, and still whole.
        data = self.copy(self.killed)
        with Server(data=data) as server, Client(server.port) as client:
            self.assertEqual(len(client.run(table("shop", "queue"))), ROWS)
        verdict = self.verdict(data)
        self.assertEqual((verdict["whole"], verdict["log_commits"], verdict["closed_cleanly"]), (True, 0, True))
        self.assertEqual(verdict["rows"], self.verdict(self.closed)["rows"])

    def test_not_checkable(self):
        done = self.check(os.path.join(self.dir, "nothing"), status=UNCHECKED)
        self.assertIn("No such file or directory", done.stderr)
        done = self.check(self.dir, status=UNCHECKED)
        self.assertIn("is not a data directory", done.stderr)
        data = self.copy(self.closed)
        with open(os.path.join(data, "VERSION"), "w") as f:
            f.write("photondb 77\n")
        done = self.check(data, status=UNCHECKED)
        self.assertIn("says format 77", done.stderr)
        self.check(data, "--problems", "-1", status=USAGE)

    def test_in_use(self):
        data = self.copy(self.closed)
        with Server(data=data) as server:
            done = self.check(data, status=UNCHECKED)
            self.assertIn("is in use by process %d" % server.process.pid, done.stderr)
            self.assertIn("hint: stop the server, or check a backup of it: photondb backup", done.stderr)


    def test_backup(self):
        """What a running server is checked by."""
        data, backup = self.copy(self.killed), os.path.join(tempfile.mkdtemp(dir=self.dir), "backup")
        with Server(data=data):
            done = cli("backup", backup, "--data-dir", data)
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertEqual(self.verdict(backup)["rows"], self.verdict(self.closed)["rows"])
        before = files(backup)
        self.check(backup)
        self.assertEqual(files(backup), before)


class Damage(Case):
    def test_flipped_bytes(self):
        """Each file, at some places: found with its name and an offset, or it means nothing."""
        for origin in (self.closed, self.killed):
            data = self.copy(origin)
            for name, content in files(data).items():
                path, found, count = os.path.join(data, name), 0, 0
                step = max(len(content) // (10 if len(content) > 1000 else 3), 1)
                for offset in range(step // 2, len(content), step):
                    flip(path, offset)
                    done = cli("check", "--data-dir", data)
                    flip(path, offset)
                    count += 1
                    with self.subTest(name, offset=offset):
                        self.assertIn(done.returncode, (NONE, DAMAGED, UNCHECKED), done.stderr)
                        if done.returncode == DAMAGED:
                            found += 1
                            first = done.stderr.splitlines()[0]
                            self.assertIn(os.path.basename(name), first)
                            self.assertIn("offset", first)
                            self.assertRegex(done.stdout, r"^DAMAGED: \d+ problems?")
                            self.assertIn("photondb restore BACKUP", done.stdout)
                        elif done.returncode == UNCHECKED:
                            found += 1
                            self.assertEqual(name, "VERSION")
                # LOCK and the server's name mean nothing to the data; the end of a log that was not closed may be torn.
                # The killed server's page file has never had a checkpoint.
                if name == "pages" and origin == self.closed:
                    self.assertGreater(found, 0)
                elif name.startswith("snapshot-") or (name.startswith("log") and origin == self.closed) or name == "VERSION":
                    self.assertEqual(found, count, name)
            self.check(data)

    def test_other_tables_go_on(self):
        """One table's page is damaged: check names the table; a server reads the others and says where it is."""
        data = self.copy(self.closed)
        path = os.path.join(data, "pages")
        size = os.path.getsize(path)
        for offset in range(8192 + 100, size, 1800):
            flip(path, offset)
            if self.verdict(data)["damaged_tables"] == ["shop.orders"]:
                break
            flip(path, offset)
        else:
            self.fail("no page of shop.orders was hit")
        done = self.check(data, "--quiet", status=DAMAGED)
        self.assertRegex(done.stdout, r"^DAMAGED: \d+ problems? in shop\.orders\.\n")
        self.assertRegex(done.stderr, r"^problem: .*pages.*offset \d+")
        with Server(data=data) as server, Client(server.port) as client:
            for name in ("people", "articles", "queue"):
                rows = client.run(table("shop", name))
                self.assertEqual(len(rows), ROWS)
                self.assertEqual({str(row["id"]): row for row in rows}, {str(document(i)["id"]): document(i) for i in range(ROWS)})
            with self.assertRaises(QueryError) as caught:
                client.run(table("shop", "orders"))
            self.assertRegex(str(caught.exception), r"pages.*offset \d+")
            # and a write to another table is fine
            self.assertEqual(client.run([56, [table("shop", "people"), {"id": "new"}]])["inserted"], 1)

    def test_snapshot(self):
        """Tables in memory come from one file; a server does not start with half of it."""
        data = self.copy(self.closed)
        path = glob.glob(os.path.join(data, "snapshot-*"))[0]
        flip(path, os.path.getsize(path) // 2)
        done = self.check(data, status=DAMAGED)
        self.assertIn("in shop.queue", done.stdout)
        server = Server(data=data, start=False)
        with self.assertRaisesRegex(AssertionError, r"%s is damaged at offset \d+" % re.escape(os.path.basename(path))):
            server.start()
        server.log.close()
        shutil.rmtree(server.dir)

    def test_limit(self):
        """Many problems: the first ones, and a count."""
        data = self.copy(self.killed)
        for path in glob.glob(os.path.join(data, "log", "*.log")):
            flip(path, 70)  # the first frame
        done = self.check(data, "--problems", "0", status=DAMAGED)
        self.assertRegex(done.stderr, r"^\.\.\. and \d+ problems? more: --problems \d+ shows all\n$")


class Dump(Case):
    def test_log(self):
        done = cli("dump-log", "--data-dir", self.killed)
        self.assertEqual((done.returncode, done.stderr), (0, ""))
        self.assertRegex(done.stdout, r"^commit 1  \d{4}-\d\d-\d\dT[\d:.]+Z  \d+ bytes  \d{20}-\d{10}\.log @ \d+\n  create  ")
        self.assertIn('  put     shop.orders  "row-3"  {"id":"row-3","list":[3,{"a":null}],"text":"3 3 3 "}\n', done.stdout)
        self.assertIn('  delete  shop.orders  1  was {"id":1,"list":[1,{"a":null}],"text":"1 "}\n', done.stdout)
        self.assertIn("  create  shop.queue  (table", done.stdout)
        commits = [json.loads(line) for line in
                   cli("dump-log", "--data-dir", self.killed, "--json", "--table", "shop.queue").stdout.splitlines()]
        changes = [change for commit in commits for change in commit["changes"]]
        self.assertEqual([c["document"] for c in changes if c["change"] == "put"],
                         [d for start in range(0, ROWS, 500) for d in [document(i) for i in range(start, start + 500)]])
        numbers = [commit["commit"] for commit in commits]
        self.assertEqual(numbers, sorted(set(numbers)))
        # a part of it, by number and by time
        part = cli("dump-log", "--data-dir", self.killed, "--from", numbers[1], "--to", numbers[2], "--json").stdout
        self.assertEqual([json.loads(line)["commit"] for line in part.splitlines()], numbers[1:3])
        later = cli("dump-log", "--data-dir", self.killed, "--from", commits[1]["time"], "--json").stdout
        self.assertEqual(json.loads(later.splitlines()[0])["commit"], numbers[1])
        keys = cli("dump-log", "--data-dir", self.killed, "--keys-only", "--table", changes[0]["table_id"]).stdout
        self.assertIn('  put     shop.queue  "row-3"\n', keys)

    def test_log_archive(self):
        done = cli("dump-log", "--log-archive", os.path.join(self.killed, "log"), "--to", 3)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertEqual(len(re.findall("(?m)^commit ", done.stdout)), 3)

    def test_log_damaged(self):
        data = self.copy(self.killed)
        path = sorted(glob.glob(os.path.join(data, "log", "*.log")))[0]
        flip(path, os.path.getsize(path) // 2)
        done = cli("dump-log", "--data-dir", data)
        self.assertIn("commit 1 ", done.stdout)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertRegex(done.stderr, r"problem: log file .* is damaged at offset \d+")

    def test_log_wrong(self):
        done = cli("dump-log", "--data-dir", self.killed, "--from", "yesterday")
        self.assertEqual(done.returncode, 2)
        self.assertIn('--from: "yesterday" is neither a commit\'s number nor a time', done.stderr)
        done = cli("dump-log", "--data-dir", self.killed, "--table", "shop.none")
        self.assertEqual((done.returncode, done.stdout), (1, ""))
        self.assertIn("has no table shop.none", done.stderr)
        self.assertEqual(cli("dump-log", "--data-dir", os.path.join(self.dir, "nothing")).returncode, 1)

    def test_beside_a_server(self):
        data = self.copy(self.killed)
        with Server(data=data) as server, Client(server.port) as client:
            client.run([56, [table("shop", "people"), {"id": "fresh"}]])
            done = cli("dump-log", "--data-dir", data, "--table", "shop.people", "--keys-only")
            self.assertEqual(done.returncode, 0, done.stderr)
            self.assertIn("A server has %s open: what it wrote last may not be in the files yet." % data, done.stderr)
            self.assertIn('  put     shop.people  "fresh"\n', done.stdout)
            self.assertEqual(cli("dump-page", "--data-dir", data, "--superblock").returncode, 0)
        self.check(data)

    def test_page(self):
        def dump(*args, status=0):
            done = cli("dump-page", "--data-dir", self.closed, *args)
            self.assertEqual(done.returncode, status, done.stdout + done.stderr)
            return done.stdout if status == 0 else done.stderr
        before = files(self.closed)
        for part in ("--superblock", "--space", "--directory"):
            self.assertTrue(dump(part))
        by_name = dump("--table", "shop.orders")
        number = re.search(r"table (\d+)", by_name).group(1)
        self.assertEqual(dump("--table", number), by_name)
        extent, offset = re.search(r"extent ([0-9a-f]+) \(offset (\d+)\)", by_name).groups()
        self.assertIn("extent %s (offset %s)" % (extent, offset), dump("--extent", extent))
        self.assertIn("extent %s (offset %s)" % (extent, offset), dump("--offset", offset))
        self.assertIn("dump-page needs to know what to show", dump(status=2))
        self.assertIn("one thing at a time", dump("--space", "--directory", status=2))
        self.assertIn('--offset: "x" is not a number', dump("--offset", "x", status=2))
        self.assertIn("has no table shop.none", dump("--table", "shop.none", status=1))
        self.assertEqual(files(self.closed), before)


if __name__ == "__main__":
    unittest.main()
