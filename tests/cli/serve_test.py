#!/usr/bin/env python3
"""Starting: what is printed and logged; what is refused, in one sentence, with nothing changed on disk."""

import hashlib
import json
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
import unittest
import urllib.request

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import BINARY, Client, Server, cli, table  # noqa: E402

FREE = ("--driver-port", "0", "--http-port", "0", "--cluster-port", "0")


def fingerprint(directory):
    """Every name and every byte below a directory, but what LOCK says: the process that asked last. A socket has none."""
    out = []
    for where, _, names in sorted(os.walk(directory)):
        out.append((where, ""))
        for name in sorted(names):
            path = os.path.join(where, name)
            if name == "LOCK" or not os.path.isfile(path):
                out.append((path, ""))
                continue
            with open(path, "rb") as file:
                out.append((path, hashlib.sha256(file.read()).hexdigest()))
    return out


class Refused(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.mkdtemp(prefix="photondb-serve-")
        self.addCleanup(shutil.rmtree, self.dir, True)
        self.data = os.path.join(self.dir, "data")

    def refused(self, *args, words):
        before = fingerprint(self.dir)
        done = cli("serve", "--data-dir", self.data, "--log-level", "off", *args, timeout=30)
        self.assertEqual(done.returncode, 1, done.stderr)
        self.assertEqual(done.stdout, "")
        lines = [line for line in done.stderr.splitlines() if line.startswith("photondb: ")]
        self.assertEqual(len(lines), 1, done.stderr)
        for word in words:
            self.assertIn(word, done.stderr)
        self.assertEqual(fingerprint(self.dir), before)

    def with_data(self, kill=False):
        with Server(data=self.data) as server:
            with Client(server.port) as client:
                client.run([57, ["d"]])
                client.run([60, [[14, ["d"]], "t"]])
                client.run([56, [table("d", "t"), {"id": 1}]])
            if kill:
                server.kill()

    def test_busy_ports(self):
        for option in ("--driver-port", "--http-port"):
            with self.subTest(option), socket.socket() as holder:
                holder.bind(("127.0.0.1", 0))
                holder.listen()
                port = holder.getsockname()[1]
                self.refused(*FREE, option, str(port), words=["%d" % port, "in use", "hint:"])
                self.assertFalse(os.path.exists(self.data))

    def test_not_below_a_file(self):
        with open(os.path.join(self.dir, "file"), "w"):
            pass
        self.data = os.path.join(self.dir, "file", "data")
        self.refused(*FREE, words=[self.data])

    def test_is_a_file(self):
        with open(self.data, "w") as file:
            file.write("mine")
        self.refused(*FREE, words=[self.data])

    @unittest.skipIf(os.geteuid() == 0, "root may write everywhere")
    def test_read_only(self):
        os.mkdir(self.data, 0o500)
        self.refused(*FREE, words=[self.data, "hint:"])

    def test_unwritable_for_anyone(self):
        if not os.path.isdir("/proc/self"):
            self.skipTest("no file system that refuses everyone")
        done = cli("serve", "--data-dir", "/proc/self/photondb", *FREE, timeout=30)
        self.assertEqual(done.returncode, 1)
        self.assertIn("/proc/self/photondb", done.stderr)

    def test_locked(self):
        with Server(data=self.data) as server:
            with Client(server.port) as client:
                client.run([57, ["d"]])
            before = {name for name, _ in fingerprint(self.data)}
            done = cli("serve", "--data-dir", self.data, "--log-level", "off", *FREE, timeout=30)
            self.assertEqual(done.returncode, 1)
            self.assertIn(self.data, done.stderr)
            self.assertIn(str(server.process.pid), done.stderr)
            self.assertEqual({name for name, _ in fingerprint(self.data)}, before)
            with Client(server.port) as client:
                self.assertEqual(client.run([24, [1, 2]]), 3)

    def test_newer_format(self):
        self.with_data()
        path = os.path.join(self.data, "VERSION")
        with open(path) as file:
            text = file.read()
        digits = [word for word in text.split() if word.isdigit()]
        self.assertTrue(digits, "VERSION has no number: %r" % text)
        with open(path, "w") as file:
            file.write(text.replace(digits[-1], "9999"))
        self.refused(*FREE, words=["9999", "newer", "hint:"])

    def test_damaged_log(self):
        self.with_data(kill=True)  # a clean end leaves a checkpoint and no log
        log = os.path.join(self.data, "log")
        name = os.path.join(log, sorted(os.listdir(log))[0])
        with open(name, "r+b") as file:
            size = os.path.getsize(name)
            at = size // 3  # in a frame with others behind it: not a torn tail
            file.seek(at)
            byte = file.read(1)
            file.seek(at)
            file.write(bytes([byte[0] ^ 1]))
        self.refused(*FREE, words=[os.path.basename(name)])

    def test_password_needed(self):
        self.refused("--bind", "0.0.0.0", *FREE, words=["password", "hint:"])
        self.refused("--bind", "not an address", *FREE, words=["not an address"])


class Serving(unittest.TestCase):
    def test_ready_block_and_stop(self):
        with tempfile.TemporaryDirectory() as directory:
            data = os.path.join(directory, "data")
            process = subprocess.Popen([BINARY, "serve", "--data-dir", data, *FREE, "--log-format", "json"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
            block = ""
            while "Ctrl-C" not in block:
                line = process.stdout.readline()
                self.assertTrue(line, process.stderr.read() if process.poll() is not None else "")
                block += line
            self.assertIn("is ready", block)
            self.assertIn(os.path.realpath(data), block)
            self.assertRegex(block, r"drivers   127\.0\.0\.1:\d+")
            self.assertRegex(block, r"r\.connect\(\{host: '127\.0\.0\.1', port: \d+\}\)")
            health = block.split("health    ")[1].split()[0]
            with urllib.request.urlopen(health, timeout=10) as answer:
                self.assertEqual(answer.status, 200)
            process.send_signal(signal.SIGINT)
            _, log = process.communicate(timeout=30)
            self.assertEqual(process.returncode, 0, log)
            for line in log.splitlines():
                entry = json.loads(line)
                self.assertIn("level", entry)
                self.assertIn("message", entry)

    def test_config_environment_flags(self):
        with tempfile.TemporaryDirectory() as directory:
            conf, data = os.path.join(directory, "photondb.conf"), os.path.join(directory, "from-file")
            ports = os.path.join(directory, "ports")
            with open(conf, "w") as file:
                file.write("data-dir = %s\ndriver-port = 1\nhttp_port = 0\ncluster-port = 0\nport-file = %s\nquiet = yes\n" % (data, ports))
            process = subprocess.Popen([BINARY, "serve", "--driver-port=0"], env=dict(
                os.environ, PHOTONDB_CONFIG=conf, PHOTONDB_LOG_LEVEL="error"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            deadline = time.monotonic() + 30
            while not os.path.exists(ports) and process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.02)
            self.assertTrue(os.path.isdir(data), process.poll())
            process.terminate()
            out, log = process.communicate(timeout=30)
            self.assertEqual((process.returncode, out, log), (0, b"", b""))

    def test_restart_keeps(self):
        with tempfile.TemporaryDirectory() as directory:
            data = os.path.join(directory, "data")
            for expected in (None, {"id": 1}):
                with Server(data=data) as server, Client(server.port) as client:
                    if expected is None:
                        client.run([57, ["d"]])
                        client.run([60, [[14, ["d"]], "t"]])
                        client.run([56, [table("d", "t"), {"id": 1}]])
                    self.assertEqual(client.run([16, [table("d", "t"), 1]]), {"id": 1})


if __name__ == "__main__":
    unittest.main()
