#!/usr/bin/env python3
"""Backups of a server that is being written to, restores to any moment, and the figures of a running server."""

import datetime
import glob
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import BINARY, Client, Server, cli, table  # noqa: E402

ENGINES = ("btree", "slab", "memory")


def position(server):
    with urllib.request.urlopen("http://127.0.0.1:%d/health" % server.http_port, timeout=10) as answer:
        return json.load(answer)["position"]


def now():
    return datetime.datetime.now(datetime.timezone.utc).isoformat(timespec="microseconds").replace("+00:00", "Z")


def make_tables(client):
    client.run([57, ["d"]])
    for engine in ENGINES:
        client.run([60, [[14, ["d"]], engine], {"storage": engine}])


def insert(client, i):
    """One row in each table, one after the other."""
    for engine in ENGINES:
        client.run([56, [table("d", engine), {"id": i, "text": "row %d " % i + "x" * (i % 50)}]])


def ids(client, engine):
    rows = client.run(table("d", engine))
    for row in rows:
        assert row["text"] == "row %d " % row["id"] + "x" * (row["id"] % 50), row
    return sorted(row["id"] for row in rows)


class Case(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="photondb-backup-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.data = self.path("data")

    def path(self, name):
        return os.path.join(self.dir, name)

    def fails(self, *args, words, code=1):
        done = cli(*args)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertIn("hint:", done.stderr)

    def restore(self, backup, new, *args):
        done = cli("restore", self.path(backup), "--data-dir", self.path(new), *args)
        self.assertEqual(done.returncode, 0, done.stderr)
        self.assertRegex(done.stdout, r"^restored: commit \d+, \d{4}-\d\d-\d\dT[\d:.]+Z, [\d.]+ k?M?B in ")
        self.assertIn("photondb serve --data-dir " + self.path(new), done.stdout)
        self.assertEqual(cli("check", "--data-dir", self.path(new)).returncode, 0)

    def expect(self, new, count):
        """The restored directory serves exactly the rows 0 .. count - 1 in every table, and takes more."""
        with Server(data=self.path(new)) as server, Client(server.port) as client:
            for engine in ENGINES:
                self.assertEqual(ids(client, engine), list(range(count)), engine)
            insert(client, count)
            self.assertEqual(ids(client, "slab"), list(range(count + 1)))
        shutil.rmtree(self.path(new))


class Backup(Case):
    def test_online(self):
        """While somebody writes: what the backup holds is a beginning of what was written, in every table."""
        with Server(data=self.data) as server:
            with Client(server.port) as client:
                make_tables(client)
                insert(client, 0)
            stop = threading.Event()
            written = [0]

            def write():
                with Client(server.port) as client:
                    while not stop.is_set():
                        insert(client, written[0] + 1)
                        written[0] += 1

            thread = threading.Thread(target=write)
            thread.start()
            backups = []
            try:
                for i in range(4):
                    least = written[0]
                    name = "backup%d" % i
                    done = cli("backup", self.path(name), "--data-dir", self.data)
                    self.assertEqual(done.returncode, 0, done.stderr)
                    self.assertRegex(done.stdout, r"^backup: commit \d+, \d{4}-\d\d-\d\dT[\d:.]+Z, [\d.]+ k?M?B in ")
                    self.assertIn("photondb restore " + self.path(name) + " --data-dir NEW", done.stdout)
                    backups.append((name, least, written[0] + 1))
                    time.sleep(0.1)
            finally:
                stop.set()
                thread.join()
        self.assertGreater(written[0], 0)
        for name, least, most in backups:
            self.assertEqual(cli("check", "--data-dir", self.path(name)).returncode, 0)
            self.restore(name, "new")
            with Server(data=self.path("new")) as server, Client(server.port) as client:
                counts = [len(ids(client, engine)) for engine in ENGINES]
                for engine, count in zip(ENGINES, counts):
                    self.assertEqual(ids(client, engine), list(range(count)), engine)
                # Rows are written to the tables one after the other, so that a moment may lie between.
                self.assertLessEqual(counts[0] - counts[2], 1)
                self.assertEqual(counts, sorted(counts, reverse=True))
                self.assertTrue(least + 1 <= counts[0] <= most + 1, (least, counts, most))
            shutil.rmtree(self.path("new"))

    def test_offline(self):
        with Server(data=self.data) as server, Client(server.port) as client:
            make_tables(client)
            for i in range(20):
                insert(client, i)
        done = subprocess.run([BINARY, "backup", "backup", "--data-dir", "data", "--quiet"], cwd=self.dir,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual((done.returncode, done.stdout, done.stderr), (0, b"", b""))
        self.restore("backup", "new")
        self.expect("new", 20)
        self.expect("data", 20)

    def test_refused(self):
        with Server(data=self.data) as server:
            with Client(server.port) as client:
                make_tables(client)
            cli("backup", self.path("backup"), "--data-dir", self.data, check=True)
            self.fails("backup", self.path("backup"), "--data-dir", self.data, words=["has a backup"])
            self.fails("backup", self.data, "--data-dir", self.data, words=["not empty"])
            self.fails("restore", self.path("backup"), "--data-dir", self.data, words=["not empty"])
        self.fails("restore", self.data, "--data-dir", self.path("new"), words=["is not a backup"])
        self.fails("serve", "--data-dir", self.path("backup"), "--driver-port", "0", "--http-port", "0", "--cluster-port",
                   "0", "--log-level", "off", words=["is a backup", "photondb restore"])
        self.fails("backup", self.path("other"), "--data-dir", self.path("nothing"), words=["no data"])
        self.assertFalse(os.path.exists(self.path("other")))
        self.assertFalse(os.path.exists(self.path("nothing")))
        self.fails("restore", self.path("backup"), words=["restore needs --data-dir"], code=2)
        self.fails("restore", self.path("backup"), "--data-dir", self.path("new"), "--as-of", "yesterday",
                   words=["neither a commit's number nor a time", "UTC"], code=2)
        self.fails("restore", self.path("backup"), "--data-dir", self.path("new"), "--as-of", "1", words=["which is after"])
        # A backup that was cut off, and one that somebody damaged.
        open(os.path.join(self.path("backup"), "BACKUP"), "w").close()
        self.fails("restore", self.path("backup"), "--data-dir", self.path("new"), words=["never finished"])
        self.fails("serve", "--data-dir", self.path("backup"), "--driver-port", "0", "--http-port", "0", "--cluster-port",
                   "0", "--log-level", "off", words=["is a backup"])
        self.assertFalse(os.path.exists(self.path("new")))


class PointInTime(Case):
    def test_any_moment(self):
        archive = self.path("archive")
        marks = []      # (rows, commit, time) after each round
        server = Server("--log-archive", archive, "--log-budget", "30kB", "--log-keep", "0", data=self.data)
        try:
            with Client(server.port) as client:
                make_tables(client)
                for i in range(60):
                    if i == 20:
                        cli("backup", self.path("backup"), "--data-dir", self.data, check=True)
                    insert(client, i)
                    marks.append((i + 1, position(server), now()))
                    time.sleep(0.002)
                    if i in (30, 40, 50):
                        # Some cuts surely lie in between, whatever the budget makes.
                        control(self.data, {"do": "checkpoint"})
            self.assertGreaterEqual(len(glob.glob(os.path.join(archive, "*.log"))), 3)
            server.kill()
        finally:
            server.stop()
        logs = ("--log", archive, "--log", self.data)
        for rows, commit, moment in marks[21::7] + marks[-1:]:
            self.restore("backup", "new", *logs, "--as-of", str(commit))
            self.expect("new", rows)
        for rows, commit, moment in marks[21:-1:9]:
            self.restore("backup", "new", *logs, "--as-of", moment)
            self.expect("new", rows)
        local = marks[40][2].replace("T", " ").replace("Z", "")     # UTC, without saying so
        self.restore("backup", "new", *logs, "--as-of", local)
        self.expect("new", 41)
        # Everything; the moment of the backup alone; what is not there.
        self.restore("backup", "new", *logs)
        self.expect("new", 60)
        self.restore("backup", "new")
        self.expect("new", 20)
        self.fails("restore", self.path("backup"), "--data-dir", self.path("new"), *logs, "--as-of", "1000000",
                   words=["do not reach to commit 1000000, but to commit %d (20" % marks[-1][1]])
        self.fails("restore", self.path("backup"), "--data-dir", self.path("new"), *logs, "--as-of", "2099-01-01 00:00:00",
                   words=["do not reach to 2099-01-01T00:00:00.000000Z, but to commit %d" % marks[-1][1]])
        self.fails("restore", self.path("backup"), "--data-dir", self.path("new"), "--log", self.data,
                   words=["what is between is missing"])
        self.fails("restore", self.path("backup"), "--data-dir", self.path("new"), *logs, "--as-of", marks[5][2],
                   words=["which is after"])
        self.assertFalse(os.path.exists(self.path("new")))

    def test_archive_after_a_clean_stop(self):
        """All of the log is in the archive then: it alone brings a backup up to the last commit."""
        archive = self.path("archive")
        with Server("--log-archive", archive, data=self.data) as server, Client(server.port) as client:
            make_tables(client)
            cli("backup", self.path("backup"), "--data-dir", self.data, check=True)
            for i in range(10):
                insert(client, i)
        self.restore("backup", "new", "--log", archive)
        self.expect("new", 10)


def control(data, request):
    """The socket by hand, as any program may use it: the last line of the answer."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(60)
        sock.connect(os.path.join(data, "control"))
        sock.sendall(json.dumps(request).encode() + b"\n")
        reader = sock.makefile("rb")
        while True:
            answer = json.loads(reader.readline())
            if "progress" not in answer:
                return answer


class Stats(Case):
    def test_figures(self):
        with Server(data=self.data) as server, Client(server.port) as client:
            make_tables(client)
            for i in range(30):
                insert(client, i)
            mode = os.stat(os.path.join(self.data, "control"))
            self.assertTrue(stat.S_ISSOCK(mode.st_mode))
            self.assertEqual(stat.S_IMODE(mode.st_mode), 0o600)
            done = cli("stats", "--data-dir", self.data)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for words in ("cache  ", "log  ", "checkpoint  ", "files  ", "commits  ", "syncs: half within", "d.btree", "d.slab",
                          "d.memory"):
                self.assertIn(words, done.stdout)
            self.assertRegex(done.stdout, r"d\.slab +slab +30 ")
            figures = json.loads(cli("stats", "--data-dir", self.data, "--json", check=True).stdout)
            self.assertEqual({t["name"]: (t["engine"], t["rows"]) for t in figures["tables"]},
                             {engine: (engine, 30) for engine in ENGINES})
            self.assertEqual(figures["log"]["position"], position(server))
            self.assertGreaterEqual(figures["log"]["sync_max_us"], figures["log"]["sync_p50_us"])
            self.assertEqual(control(self.data, {"do": "checkpoint"})["done"]["position"], position(server))
            figures = json.loads(cli("stats", "--data-dir", self.data, "--json", check=True).stdout)
            self.assertEqual(figures["checkpoint"]["position"], position(server))
            self.assertGreater(sum(c["live_bytes"] for c in figures["space"]), 0)
            parts = [figures["files"][k] for k in ("live_bytes", "waiting_bytes", "free_bytes", "metadata_bytes")]
            self.assertEqual(sum(parts), figures["files"]["bytes"])

            watch = subprocess.Popen([BINARY, "stats", "--data-dir", self.data, "--watch", "--interval", "1", "--json"],
                                     stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            for _ in range(2):
                self.assertIn("log", json.loads(watch.stdout.readline()))
            watch.send_signal(signal.SIGINT)
            self.assertEqual(watch.wait(10), 0)
            watch.stdout.close()
            watch.stderr.close()
        self.fails("stats", "--data-dir", self.data, words=["no server runs on " + self.data], code=4)

    def test_changefeeds(self):
        with Server(data=self.data) as server, Client(server.port) as client, Client(server.port) as reader:
            make_tables(client)
            self.assertNotIn("feeds  ", cli("stats", "--data-dir", self.data, check=True).stdout)
            feeds = [reader.send([1, [152, [term]]]) for term in (table("d", "btree"), table("d", "btree"), table("rethinkdb", "db_config"))]
            for _ in feeds:
                reader.receive()
            insert(client, 1)
            while json.loads(cli("stats", "--data-dir", self.data, "--json", check=True).stdout)["feeds"]["delivered"] < 2:
                pass
            figures = json.loads(cli("stats", "--data-dir", self.data, "--json", check=True).stdout)["feeds"]
            self.assertEqual([figures[name] for name in ("feeds", "system_feeds", "attached", "classes", "tables", "queued_events")],
                             [2, 1, 2, 1, 1, 2])
            self.assertIn("2 open on 1 table, 1 on system tables", cli("stats", "--data-dir", self.data, check=True).stdout)
            stats = client.run([15, [[14, ["rethinkdb"]], "stats"]])
            shown = next(row["changefeeds"] for row in stats if row["id"][0] == "server")
            self.assertEqual([shown[name] for name in ("open", "queued_events", "events_total", "lost_total", "skipped_total")],
                             [3, 2, 2, 0, 0])

    def test_after_a_crash(self):
        """The socket that a killed server leaves is in nobody's way."""
        server = Server(data=self.data)
        server.kill()
        server.stop()
        self.assertTrue(os.path.exists(os.path.join(self.data, "control")))
        self.fails("stats", "--data-dir", self.data, words=["no server runs on"], code=4)
        cli("backup", self.path("backup"), "--data-dir", self.data, check=True)
        with Server(data=self.data):
            cli("stats", "--data-dir", self.data, check=True)
        self.assertFalse(os.path.exists(os.path.join(self.data, "control")))


if __name__ == "__main__":
    unittest.main()
