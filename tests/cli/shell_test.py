#!/usr/bin/env python3
"""photondb query and photondb shell: on a pseudo terminal, in pipes, against a server that goes away."""

import fcntl
import json
import os
import re
import signal
import socket
import stat
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import BINARY, Client, Server, cli, datum, table  # noqa: E402
from terminal import Terminal, plain  # noqa: E402

PROMPT = r"photon:shop> $"
ROWS = [{"id": i, "name": ["Zoë", "李明", "Ann", "Bob"][i % 4], "age": 20 + i, "address": {"city": "Rome", "zip": "%05d" % i}}
        for i in range(8)]


def queries_of(client, text):
    """Ids of running queries that have this in them."""
    jobs = client.run([15, [[14, ["rethinkdb"]], "jobs"]])
    return [job["id"][1] for job in jobs if job["type"] == "query" and text in job["info"].get("query", "")]


class WithServer(unittest.TestCase):
    maxDiff = None

    @classmethod
    def setUpClass(cls):
        cls.server = Server()
        cls.client = Client(cls.server.port)
        cls.client.run([57, ["shop"]])
        for name in ("users", "orders", "wide"):
            cls.client.run([60, [[14, ["shop"]], name]])
        cls.client.run([56, [table("shop", "users"), datum(ROWS)]])
        cls.client.run([75, [table("shop", "users"), "age"]])
        cls.client.run([140, [table("shop", "users")]])

    @classmethod
    def tearDownClass(cls):
        cls.client.close()
        cls.server.stop()

    def setUp(self):
        directory = tempfile.TemporaryDirectory()
        self.addCleanup(directory.cleanup)
        self.dir = directory.name

    def until_running(self, text):
        """Till the server runs a query with this in it."""
        while not queries_of(self.client, text):
            pass

    def until_gone(self, text):
        while queries_of(self.client, text):
            pass


class Query(WithServer):
    def query(self, *args, status=0, **more):
        done = cli("query", "--port", self.server.port, "--db", "shop", *args, **more)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def test_formats(self):
        two = 'r.table("users").orderBy({index: "id"}).limit(2)'
        self.assertEqual([json.loads(line) for line in self.query(two).stdout.splitlines()], ROWS[:2])
        self.assertEqual(json.loads(self.query("--format", "json", two).stdout), ROWS[:2])
        self.assertEqual(json.loads(self.query("--format", "json", "r.expr([])").stdout), [])
        self.assertEqual(json.loads(self.query("--format", "json", "r.expr({a: 1})").stdout), {"a": 1})
        self.assertEqual(self.query("--format", "raw", 'r.expr(["a\\nb", 1])').out, b"a\nb\n1\n")
        self.assertEqual(self.query("--format", "csv", two).out.decode(),
                         'id,address,age,name\r\n0,"{""city"":""Rome"",""zip"":""00000""}",20,Zoë\r\n'
                         '1,"{""city"":""Rome"",""zip"":""00001""}",21,李明\r\n')
        self.assertEqual(self.query("--format", "table", 'r.table("users").orderBy({index: "id"}).limit(2).pluck("id", "name", "age")').stdout,
                         " id | age | name\n----+-----+------\n  0 |  20 | Zoë\n  1 |  21 | 李明\n")
        self.assertEqual(self.query("--format", "pretty", "r.expr({t: r.epochTime(0), b: r.binary(\"xy\")})").stdout,
                         '{"b": <2 bytes>, "t": r.ISO8601("1970-01-01T00:00:00+00:00")}\n')

    def test_many_statements_from_everywhere(self):
        path = os.path.join(self.dir, "q.reql")
        text = '// first\nr.expr(1); r.expr(";")\n;\n/* ; */ r.table("users").count()'
        with open(path, "w") as f:
            f.write(text)
        wanted = '1\n";"\n8\n'
        self.assertEqual(self.query(text).stdout, wanted)
        self.assertEqual(self.query("-f", path).stdout, wanted)
        self.assertEqual(self.query("--file=" + path).stdout, wanted)
        self.assertEqual(self.query("-", stdin=text.encode()).stdout, wanted)

    def test_errors_name_the_place(self):
        path = os.path.join(self.dir, "q.reql")
        with open(path, "w") as f:
            f.write('r.expr(1);\n\n  r.table("users")\n    .fliter({a: 1});\nr.expr(3)')
        done = self.query("-f", path, status=1)
        self.assertEqual(done.stdout, "1\n")  # the first failure ends it
        self.assertIn("4 |     .fliter({a: 1})\n    |      ^^^^^^\n", done.stderr)
        self.assertIn("filter", done.stderr)
        self.assertIn("Line 4", done.stderr)
        done = self.query("r.expr({a: 1})(\"b\")", status=1)
        self.assertIn("No attribute `b`", done.stderr)
        self.assertIn("^^", done.stderr)
        self.assertIn("nothing would come back", self.query("r.expr(1).run({noreply: true})", status=1).stderr)
        self.assertEqual(self.query("r.expr(1).run(conn, {noreply: false})").stdout, "1\n")
        self.query("--opt", "noreply=true", "r.expr(1)", status=2)
        self.query(status=2)
        self.query("  // nothing", status=2)
        self.query("-f", os.path.join(self.dir, "none"), status=2)
        self.query("--opt", "array_limit", "r.expr(1)", status=2)
        self.query("--format", "xml", "r.expr(1)", status=2)

    def test_options_of_the_query(self):
        self.assertIn("size limit `2`", self.query("--opt", "array_limit=2", "r.expr([1, 2, 3])", status=1).stderr)
        done = self.query("--profile", "--timing", 'r.table("users").count()')
        self.assertEqual(done.stdout, "8\n")
        self.assertRegex(done.stderr, r"[0-9.]+ ms .*\S")
        self.assertRegex(done.stderr, r"1 row in [0-9.]+ ms")
        self.assertIn("users", self.query("--explain", 'r.table("users").filter({age: 21})').stdout)
        self.assertIn("users", self.query("--explain=analyze", 'r.table("users").filter({age: 21})').stdout)
        self.assertEqual(self.query("--limit", "3", "r.range()").stdout, "0\n1\n2\n")
        self.assertEqual(self.query("--limit", "2", "r.expr([1, 2, 3])").stdout, "1\n2\n")

    def test_text_from_the_data_moves_no_cursor(self):
        done = self.query("--format", "table", 'r.expr([{"a\\u001b[2J": "b\\u001b[31m\\u0007", c: "x\\u202ey\\u009b"}])')
        self.assertNotIn("\x1b", done.stdout)
        self.assertNotIn("\x07", done.stdout)
        self.assertIn("\\x1b[31m", done.stdout)
        self.assertIn("\\u202e", done.stdout)
        done = self.query("r.error(\"\\u001b[31m\")", status=1)
        self.assertNotIn("\x1b", done.stderr)

    def test_no_server(self):
        with socket.socket() as s:
            s.bind(("127.0.0.1", 0))
            done = cli("query", "--port", s.getsockname()[1], "r.expr(1)")
        self.assertEqual(done.returncode, 4)
        self.assertIn("photondb serve", done.stderr)

    def test_ctrl_c_stops_the_query(self):
        process = subprocess.Popen([BINARY, "query", "--port", str(self.server.port), "r.range().map(x => x.add(4711)).filter(x => x.lt(0))"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.until_running("4711")
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn(b"stopped", err)
        self.until_gone("4711")

    def test_ctrl_c_while_rows_stream(self):
        process = subprocess.Popen([BINARY, "query", "--port", str(self.server.port), "r.range().map(x => x.add(4712))"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        for _ in range(1000):
            process.stdout.readline()
        waiting, before = struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)))[0], -1
        while waiting != before:  # nobody reads on: at last it waits for its reader, part of its buffer passed on
            time.sleep(0.2)
            before = waiting
            waiting = struct.unpack("i", fcntl.ioctl(process.stdout, termios.FIONREAD, bytes(4)))[0]
        process.send_signal(signal.SIGINT)
        process.wait(60)
        self.assertEqual(process.returncode, 130)
        self.assertIn(b"stopped", process.stderr.read())
        self.until_gone("4712")
        process.stdout.close()
        process.stderr.close()

    def test_a_reader_that_goes_away(self):
        process = subprocess.Popen([BINARY, "query", "--port", str(self.server.port), "r.range().map(x => x.add(4713))"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.assertEqual(process.stdout.readline(), b"4713\n")
        process.stdout.close()
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(process.stderr.read(), b"")
        process.stderr.close()
        self.until_gone("4713")

    def feed(self, *args):
        """A changefeed of `feeds`, open and with its first row shown."""
        process = subprocess.Popen([BINARY, "query", "--port", str(self.server.port), "--db", "shop", *args],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.addCleanup(process.stdout.close)
        self.addCleanup(process.stderr.close)
        return process

    def feed_table(self, name):
        self.client.run([60, [[14, ["shop"]], name]])
        self.client.run([56, [table("shop", name), {"id": 0}]])
        return 'r.table("%s").changes({includeInitial: true})' % name

    def test_changefeed(self):
        query = self.feed_table("feeds")
        process = self.feed(query)
        self.assertEqual(json.loads(process.stdout.readline()), {"new_val": {"id": 0}})
        for i in (1, 2):  # each is written as it comes
            self.client.run([56, [table("shop", "feeds"), {"id": i}]])
            self.assertEqual(json.loads(process.stdout.readline()), {"new_val": {"id": i}, "old_val": None})
        process.send_signal(signal.SIGINT)
        process.wait(60)
        self.assertEqual(process.returncode, 130)
        self.assertIn(b"stopped", process.stderr.read())
        self.until_gone('"feeds"')
        self.assertEqual(len(self.query("--limit", "2", query).stdout.splitlines()), 2)
        self.assertEqual(self.query("--format", "csv", "--limit", "1", query).stdout, 'new_val,old_val\r\n"{""id"":0}",\r\n')
        self.until_gone('"feeds"')

    def test_changefeed_that_nobody_reads_any_more(self):
        process = self.feed(self.feed_table("unread"))
        process.stdout.readline()
        process.stdout.close()  # and nothing happens in the table
        self.assertEqual(process.wait(60), 0)
        self.assertEqual(process.stderr.read(), b"")
        self.until_gone('"unread"')

    def test_changefeed_that_ends(self):
        process = self.feed(self.feed_table("dropped"))
        process.stdout.readline()
        self.client.run([61, [[14, ["shop"]], "dropped"]])
        self.assertEqual(process.wait(60), 1)
        self.assertIn(b"Changefeed aborted (unavailable).", process.stderr.read())

    def test_a_full_disk(self):
        with open("/dev/full", "w") as full:
            done = subprocess.run([BINARY, "query", "--port", str(self.server.port), "r.range(100000)"], stdout=full, stderr=subprocess.PIPE)
        self.assertEqual(done.returncode, 1)
        self.assertIn(b"cannot write", done.stderr)

    def test_memory_stays_small(self):
        """A result much larger than what may be held: rows are passed on as they come."""
        process = subprocess.Popen([BINARY, "query", "--port", str(self.server.port), "--format", "table", "--limit", "200000",
                                    'r.range().map(i => ({id: i, text: "%s"}))' % ("x" * 500)], stdout=subprocess.PIPE)
        lines, peak = 0, 0
        for line in process.stdout:
            lines += 1
            if lines % 20000 == 0:
                with open("/proc/%d/status" % process.pid) as f:
                    peak = int(re.search(r"VmRSS:\s+(\d+)", f.read()).group(1))
                if lines == 40000:
                    early = peak
        self.assertEqual(process.wait(60), 0)
        process.stdout.close()
        self.assertEqual(lines, 200002)
        self.assertLess(peak, early + 32 * 1024)  # a sanitizer's quarantine grows a little; 100 MB of rows would show


class Piped(WithServer):
    def shell(self, text, *args, status=0, env=None):
        done = cli("shell", "--port", self.server.port, "--db", "shop", "--quiet", *args, stdin=text.encode(), env=env)
        self.assertEqual(done.returncode, status, done.stderr)
        return done

    def test_statements_and_commands(self):
        out = self.shell('r.expr(1)\nr.expr([2,\n 3])\n\n// no\nr.table("users")\n  // between\n  .count()\nr.expr(4); r.expr(5) \\\n', status=1).stdout
        self.assertTrue(out.startswith("1\n2\n3\n8\n4\n"), out)
        out = self.shell('\\format json\nr.expr({a: 1})\n\\q\nr.expr(2)\n').stdout
        self.assertEqual(out, '{"a":1}\n')

    def test_errors_do_not_end_it(self):
        done = self.shell('r.expr(1)\nr.expr(\n\n  x.y)\n\\nope\nr.expr(2)', status=1)
        self.assertEqual(done.stdout, "1\n2\n")
        self.assertIn("4 |   x.y", done.stderr)
        self.assertIn("there is no command \\nope", done.stderr)

    def test_what_is_there(self):
        out = self.shell("\\l\n\\dt\n\\di\n").stdout
        rows = [json.loads(line) for line in out.splitlines()]
        self.assertIn({"database": "shop", "tables": 3}, rows)
        users = next(row for row in rows if row.get("table") == "users" and "rows" in row)
        self.assertEqual((users["rows"], users["primary_key"], users["indexes"]), (8, "id", 1))
        self.assertGreater(users["size"], 0)
        index = next(row for row in rows if row.get("index") == "age")
        self.assertEqual((index["table"], index["status"]), ("users", "ready"))
        self.assertIn("age", index["function"])
        out = self.shell("\\d users").stdout
        self.assertRegex(out, r"table shop.users\n  primary key +id\n  rows +8\n")
        self.assertRegex(out, r"\n age +\| ready +\|")
        self.assertRegex(out, r"\n address +\| object +\| all +\| \{\"city\":\"Rome\"")
        self.assertIn("does not exist", self.shell("\\d nope", status=1).stderr)
        self.assertIn("shop.users", self.shell("\\d shop.users").stdout)
        self.assertIn("table rethinkdb.users\n  primary key", self.shell("\\d rethinkdb.users").stdout)
        self.assertIn("user admin", self.shell("\\conninfo").stdout)

    def test_settings(self):
        done = self.shell("\\set array_limit 2\n\\set\nr.expr([1, 2, 3])\n\\unset array_limit\nr.expr([1, 2, 3])\n", status=1)
        self.assertEqual(done.stdout, "array_limit = 2\n1\n2\n3\n")
        self.assertIn("size limit `2`", done.stderr)
        self.assertEqual(self.shell('\\c rethinkdb\nr.table("db_config").filter({name: "shop"}).count()').stdout, "1\n")
        self.assertIn("there is no database nope", self.shell("\\c nope", status=1).stderr)

    def test_files(self):
        out, script = os.path.join(self.dir, "out"), os.path.join(self.dir, "script")
        with open(script, "w") as f:
            f.write('r.expr("in")\n\\format raw\nr.expr("raw")\n')
        self.assertEqual(self.shell("\\o %s\nr.expr(1)\n\\i %s\n\\o\nr.expr(2)\n" % (out, script)).stdout, "2\n")
        with open(out) as f:
            self.assertEqual(f.read(), '1\n"in"\nraw\n')
        self.assertIn("cannot read", self.shell("\\i /none/there", status=1).stderr)
        self.assertIn("cannot write", self.shell("\\o /none/there", status=1).stderr)
        with open(script, "w") as f:
            f.write("\\i %s\n" % script)  # itself
        self.assertIn("deep is the most", self.shell("\\i %s" % script, status=1).stderr)

    def test_help(self):
        self.assertIn("orderBy(", self.shell("\\h order_by").stdout)
        self.assertIn("did you mean filter", self.shell("\\h fliter", status=1).stderr)
        self.assertIn("getAll", self.shell("\\h").stdout)
        self.assertIn("\\watch", self.shell("\\?").stdout)

    def test_jobs(self):
        process = subprocess.Popen([BINARY, "query", "--port", str(self.server.port), "r.range().map(x => x.add(4714)).filter(x => x.lt(0))"],
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        self.until_running("4714")
        rows = [json.loads(line) for line in self.shell("\\jobs").stdout.splitlines()]
        job = next(row for row in rows if "4714" in str(row.get("what")))
        self.shell("\\kill %s" % job["id"][:13])
        err = process.communicate(timeout=60)[1]
        self.assertIn(b"terminated", err)
        self.assertIn("no query has the id", self.shell("\\kill nope", status=1).stderr)

    def test_an_editor(self):
        editor = os.path.join(self.dir, "editor")
        with open(editor, "w") as f:
            f.write("#!/bin/sh\ncat \"$1\" > %s/saw\nls -l \"$1\" > %s/mode\nprintf 'r.expr(1).add(\\n41)' > \"$1\"\n" % (self.dir, self.dir))
        os.chmod(editor, 0o755)
        out = self.shell("r.expr(1)\n\\e\n", env={"EDITOR": editor}).stdout
        self.assertTrue(out.endswith("\n42\n"), out)
        with open(os.path.join(self.dir, "saw")) as f:
            self.assertEqual(f.read(), "r.expr(1)\n")
        with open(os.path.join(self.dir, "mode")) as f:
            self.assertTrue(f.read().startswith("-rw-------"))
        self.assertIn("the editor failed", self.shell("\\e\n", env={"EDITOR": "false"}, status=1).stderr)

    def test_a_user_who_may_little(self):
        self.client.run([56, [table("rethinkdb", "users"), {"id": "ann", "password": "secret"}]])
        self.client.run([188, [table("shop", "users"), "ann", {"read": True}]])
        password = os.path.join(self.dir, "password")
        with open(os.open(password, os.O_WRONLY | os.O_CREAT, 0o600), "w") as f:
            f.write("secret\n")
        out = self.shell("\\dt\n\\conninfo\n\\d users\n", "--user", "ann", "--password-file", password).stdout
        self.assertIn('"table":"users"', out)
        self.assertIn("user ann", out)
        self.assertIn("table shop.users", out)
        done = cli("shell", "--port", self.server.port, "--user", "ann", stdin=b"")
        self.assertEqual(done.returncode, 4)
        self.assertIn("--password-file", done.stderr)


class Typed(WithServer):
    def shell(self, *args, env=None, **more):
        self.history = os.path.join(self.dir, "state", "history")
        term = Terminal([BINARY, "shell", "--port", str(self.server.port), "--db", "shop", "--history", self.history, *args], env, **more)
        self.addCleanup(term.close)
        term.expect(PROMPT)
        return term

    def ask(self, term, text):
        """Types a line; what was shown for it."""
        term.send(text + "\n")
        term.expect(re.escape(text.splitlines()[-1][-20:]) + r"\n")
        return term.expect(PROMPT).rsplit("photon:shop>", 1)[0]

    def end(self, term, status=0):
        term.send("\x04")
        self.assertEqual(term.wait(), status, term.text[-2000:])

    def test_a_session(self):
        term = self.shell()
        self.assertIn("PhotonDB", term.seen)
        self.assertIn("user admin", term.seen)
        self.assertEqual(self.ask(term, 'r.table("users").count()').strip(), "8")
        self.assertEqual(self.ask(term, "r.expr({})"), "{}\n")
        out = self.ask(term, 'r.table("users").orderBy("id").pluck("id", "name").limit(2)')
        self.assertEqual(out, " id | name\n----+------\n  0 | Zoë\n  1 | 李明\n(2 rows)\n")
        out = self.ask(term, 'r.table("users").get(3)')
        self.assertIn("name    | Bob\n", out)
        self.assertIn("expanded display is on", self.ask(term, "\\x"))
        self.assertIn("-[ 1 ]----\nid ", self.ask(term, 'r.table("users").limit(1)'))
        self.ask(term, "\\x off")
        self.ask(term, "\\timing")
        self.assertRegex(self.ask(term, "r.expr(1)"), r"1\ntime: [0-9.]+ ms\n")
        self.assertIn("\x1b[1m", term.seen)  # bold titles
        self.end(term)

    def test_lines_that_go_on(self):
        term = self.shell()
        term.send('r.table("users").\n')
        term.expect(r"\.> $")
        term.send("filter(row =>\n")
        term.expect(r"\(> $")
        term.send('row("age").gt(25)).count()\n')
        self.assertIn("\n2\n", term.expect(PROMPT))
        # the statement is one line of the history, to be edited as a whole
        term.send("\x1b[A")
        term.expect(r"gt\(25\)\)\.count\(\)")
        term.send(".add(40)\n")
        self.assertIn("\n42\n", term.expect(PROMPT))
        # Ctrl-C clears, also what earlier lines began
        term.send("r.expr([\n")
        term.expect(r"\[> $")
        term.send("1, 2\x03")
        term.expect(r"\^C")
        term.expect(PROMPT)
        self.assertIn("7", self.ask(term, "r.expr(7)"))
        # two on a line; the second goes on
        term.send("r.expr(8); r.expr([\n")
        self.assertIn("8", term.expect(r"\[> $"))
        term.send("9])\n")
        self.assertIn("9", term.expect(PROMPT))
        self.end(term)

    def test_pasting(self):
        term = self.shell()
        term.send("\x1b[200~r.expr([\r\t1,\r\t2\r]).sum()\r\x1b[201~")
        term.expect(r"sum\(\)")
        term.send("\n")
        self.assertIn("\n3\n", term.expect(PROMPT))
        self.end(term)

    def test_completion(self):
        term = self.shell()

        def completed(text, wanted):
            term.send(text + "\t")
            term.expect(re.escape(wanted) + r"$")
            term.send("\x03")
            term.expect(PROMPT)

        completed("r.tableLi", "r.tableList(")
        completed('r.table("us', 'r.table("users"')
        completed('r.db("sh', 'r.db("shop"')
        completed('r.db("rethinkdb").table("db_', 'r.db("rethinkdb").table("db_config"')
        completed('r.table("users").getA', 'r.table("users").getAll(')
        completed('r.table("users").getAll(21, {index: "a', '{index: "age"')
        completed('r.table("users").getAll(21, {ind', "{index: ")
        completed('r.table("users").filter(row => row("na', 'row("name"')
        completed('r.table("users").filter(r.row("na', 'r.row("name"')
        completed('r.table("users").pluck("na', '.pluck("name"')
        completed('r.table("users").orderBy(r.desc("na', 'r.desc("name"')
        completed('r.table("users").map(row => row("address")("ci', 'row("address")("city"')
        completed("\\tim", "\\timing ")
        completed("\\d use", "\\d users")
        completed("\\c sho", "\\c shop")
        completed("\\h orderB", "\\h orderBy")
        completed("\\format jsonl", "\\format jsonl")
        # several: they are listed, and what they have in common is put
        term.send('r.table("users").orderBy("a\t')
        term.expect(r"address +age\n")
        term.send("\x03")
        term.expect(PROMPT)
        # lines before count, too
        term.send('r.table("users").\n')
        term.expect(r"\.> $")
        term.send('pluck("na\t')
        term.expect(r'pluck\("name"$')
        term.send("\x03")
        term.expect(PROMPT)
        self.end(term)

    def test_ctrl_c_stops_the_query(self):
        term = self.shell()
        begin = len(term.text)  # the echo itself is redrawn while it is typed: its words need not stand in one piece
        term.send("r.range().map(x => x.add(4721)).filter(x => x.lt(0))\n")
        self.until_running("4721")
        term.send("\x03")
        term.expect(r"\(stopped\)")
        term.expect(PROMPT)
        self.until_gone("4721")
        self.assertIn("2", self.ask(term, "r.expr(1).add(1)"))  # the same connection
        self.assertNotIn("connect", term.text[begin:])
        self.end(term)

    def test_an_endless_result_scrolls_till_ctrl_c(self):
        term = self.shell("--no-pager")
        term.send("r.range().map(x => x.add(4722))\n")
        term.expect("\n *6000\n")
        term.send("\x03")
        term.expect(r"\(stopped\)")
        term.expect(PROMPT)
        self.until_gone("4722")
        self.end(term)

    def test_changefeed(self):
        self.client.run([60, [[14, ["shop"]], "typed"]])
        term = self.shell()
        term.send('r.table("typed").changes({includeStates: true})\n')
        term.expect(r" ready +\|")
        self.client.run([56, [table("shop", "typed"), {"id": 1}]])
        out = term.expect(r'\{"id":1\} +\| null')
        self.assertNotIn("state", out)  # the columns were there
        term.send("\x03")
        term.expect(r"\(2 rows\)\n\(stopped\)")
        term.expect(PROMPT)
        self.until_gone('"typed"')
        term.send('\\watch r.table("typed").changes()\n')
        self.assertIn("a changefeed has no end to wait for", term.expect(PROMPT))
        self.until_gone('"typed"')
        self.assertIn("2", self.ask(term, "r.expr(1).add(1)"))
        self.end(term)

    def test_watch(self):
        term = self.shell()
        term.send('\\watch 0.2 r.table("orders").count()\n')
        term.expect(r"every 0.2 s, at \d\d:\d\d:\d\d; Ctrl-C ends\n0\n")
        self.client.run([56, [table("shop", "orders"), {"id": 1}]])
        term.expect(r"Ctrl-C ends\n1\n")
        term.send("\x03")
        term.expect(PROMPT)
        self.client.run([54, [table("shop", "orders")]])
        # An error ends it, and is not drawn over.
        term.send('\\watch 0.2 r.table("nope").count()\n')
        out = term.expect(PROMPT)
        self.assertIn("error: Table `shop.nope` does not exist.", out)
        self.assertNotIn("every", out)
        self.end(term, 0)

    def test_the_last_query(self):
        term = self.shell()
        self.assertIn("\\watch needs a query", self.ask(term, "\\watch 2"))
        self.assertIn("there is no query", self.ask(term, "\\explain"))
        self.ask(term, "r.expr(1)")
        self.assertIn('table("users")', self.ask(term, '\\explain r.table("users").count()'))
        self.assertIn('table("users")', self.ask(term, "\\explain analyze"))  # what was explained, not what ran before
        self.end(term)

    def test_output_to_a_file(self):
        term = self.shell()
        path = os.path.join(self.dir, "out")
        self.ask(term, "\\o " + path)
        self.assertEqual(self.ask(term, 'r.table("users").orderBy("id").pluck("id").limit(1)').strip(), "")
        self.ask(term, "\\o")
        self.assertIn("5", self.ask(term, "r.expr(5)"))
        with open(path) as f:
            self.assertEqual(f.read(), " id\n----\n  0\n(1 row)\n")
        self.end(term)

    def test_the_pager(self):
        """A stand-in that writes what it gets to a file, and goes away early."""
        pager, got = os.path.join(self.dir, "pager"), os.path.join(self.dir, "got")
        with open(pager, "w") as f:
            f.write("#!/bin/sh\nhead -n 50 > %s\necho paged\n" % got)
        os.chmod(pager, 0o755)
        term = self.shell(env={"PAGER": pager})
        self.assertNotIn("paged", self.ask(term, "r.range(5)"))  # fits on the screen
        self.assertIn("paged", self.ask(term, "r.range().map(x => x.add(4723))"))
        with open(got) as f:
            self.assertEqual(plain(f.read()).split()[:5], ["value", "-------", "4723", "4724", "4725"])
        self.until_gone("4723")  # the broken pipe stopped the query
        self.assertIn("1", self.ask(term, "r.expr(1)"))
        self.assertIn("off", self.ask(term, "\\pager off"))
        self.assertNotIn("paged", self.ask(term, "r.range(100)"))
        self.ask(term, "\\pager " + pager)
        os.unlink(pager)
        self.assertIn("cannot be run", self.ask(term, "r.range(100)"))
        self.assertIn("(100 rows)", self.ask(term, "r.range(100)"))
        self.end(term)

    def test_resize(self):
        term = self.shell(columns=100)
        wide = 'r.expr([{id: 1, text: r.range(200).coerceTo("array").toJsonString()}])'
        lines = self.ask(term, wide).splitlines()
        self.assertTrue(all(len(line) <= 100 for line in lines))
        self.assertTrue(any(len(line) > 90 for line in lines))
        self.assertIn("…", "".join(lines))
        term.resize(24, 50)
        lines = self.ask(term, wide).splitlines()
        self.assertTrue(all(len(line) <= 50 for line in lines), lines)
        self.assertTrue(any(len(line) > 40 for line in lines))
        # in the middle of a line
        term.send("r.expr(")
        term.expect(r"r\.expr\($")
        term.resize(30, 70)
        term.send("6)\n")
        self.assertIn("\n6\n", term.expect(PROMPT))
        self.end(term)

    def test_history(self):
        term = self.shell()
        self.ask(term, "r.expr(111)")
        self.ask(term, " r.expr(222)")
        self.ask(term, 'r.expr({password: "geheim"})')
        self.ask(term, 'r.expr({a: "secret"})')
        term.send("r.expr([\n")
        term.expect(r"\[> $")
        term.send("333])\n")
        term.expect(PROMPT)
        self.end(term)
        with open(self.history) as f:
            self.assertEqual(f.read(), "r.expr(111)\nr.expr([\\n333])\n")
        self.assertEqual(stat.S_IMODE(os.stat(self.history).st_mode), 0o600)
        term = self.shell()
        term.send("\x1b[A")
        term.expect(r"333\]\)")
        term.send("\x1b[A")
        term.expect(r"111\)")
        term.send("\n")
        self.assertIn("\n111\n", term.expect(PROMPT))
        term.send("\x12333")  # Ctrl-R
        term.expect(r"333\]\)")
        term.send("\x03")
        term.expect(PROMPT)
        self.end(term)

    def test_a_history_that_cannot_be_kept(self):
        term = Terminal([BINARY, "shell", "--port", str(self.server.port), "--db", "shop", "--history", "/proc/none/history"])
        self.addCleanup(term.close)
        term.expect("no history is kept")
        term.expect(PROMPT)
        self.end(term)

    def test_it_ends(self):
        term = self.shell()
        term.send("\\q\n")
        self.assertEqual(term.wait(), 0)
        term = self.shell()
        term.signal(signal.SIGTERM)
        self.assertEqual(term.wait(), 130)
        term = self.shell()
        term.send("r.expr(1).add(\x04")  # in the middle of a line it is no end
        term.send("1)\n")
        self.assertIn("\n2\n", term.expect(PROMPT))
        self.end(term)

    def test_no_colors(self):
        term = self.shell(env={"NO_COLOR": "1"})
        self.ask(term, 'r.table("users").limit(2)')
        self.assertNotIn("\x1b[1m", term.seen)
        self.end(term)
        term = self.shell(env={"TERM": "dumb"})
        self.ask(term, 'r.table("users").limit(2)')
        self.assertNotIn("\x1b[", term.seen)
        self.end(term)


class ServerGoesAway(unittest.TestCase):
    def test_in_the_middle(self):
        server = Server()
        try:
            port = server.port
            term = Terminal([BINARY, "shell", "--port", str(port), "--history", "none"])
            self.addCleanup(term.close)
            term.expect(r"photon:test> $")
            with Client(port) as client:
                term.send("r.range().map(x => x.add(4731)).filter(x => x.lt(0))\n")
                while not queries_of(client, "4731"):
                    pass
            server.kill()
            server.log.close()
            term.expect(r"closed the connection")
            term.expect(r"next statement connects again")
            term.expect(r"photon:test! $")
            term.send("r.expr(1)\n")
            term.expect(r"is the server running\?")
            term.expect(r"photon:test! $")
            # again on the same port
            server.args = ("--driver-port", str(port))
            server.start()
            term.send("r.expr(41).add(1)\n")
            text = term.expect(r"photon:test> $")
            self.assertIn("connected again", text)
            self.assertIn("\n42\n", text)
            server.kill()
            server.log.close()
            server.start()
            term.send("r.expr(20).add(3)\n")  # nothing was under way: nothing is lost
            text = term.expect(r"photon:test> $")
            self.assertIn("connected again", text)
            self.assertIn("\n23\n", text)
            server.kill()
            server.log.close()
            server.start()
            term.send("\\c\n")
            self.assertIn("connected again", term.expect(r"photon:test> $"))
            term.send("\x04")
            self.assertEqual(term.wait(), 0)
        finally:
            server.stop()

    def test_query(self):
        server = Server()
        try:
            process = subprocess.Popen([BINARY, "query", "--port", str(server.port), "r.range().map(x => x.add(4732)).filter(x => x.lt(0))"],
                                       stdout=subprocess.PIPE, stderr=subprocess.PIPE)
            with Client(server.port) as client:
                while not queries_of(client, "4732"):
                    pass
            server.kill()
            err = process.communicate(timeout=60)[1]
            self.assertEqual(process.returncode, 1)
            self.assertIn(b"closed the connection", err)
        finally:
            server.stop()

    def test_a_server_that_answers_no_more(self):
        """A second Ctrl-C does not wait for it."""
        ready, stop = threading.Event(), threading.Event()
        server = Server()
        listener = socket.create_server(("127.0.0.1", 0))

        def pass_on():
            """Between shell and server; swallows what is said after the first query."""
            a, _ = listener.accept()
            b = socket.create_connection(("127.0.0.1", server.port))
            b.setblocking(False)
            a.setblocking(False)
            import select
            while not stop.is_set():
                for source in select.select([a, b], [], [], 0.1)[0]:
                    data = source.recv(65536)
                    if not data:
                        stop.set()
                    elif b"4733" in data:
                        ready.set()
                    elif not ready.is_set():
                        (b if source is a else a).sendall(data)
            a.close()
            b.close()

        thread = threading.Thread(target=pass_on)
        thread.start()
        try:
            term = Terminal([BINARY, "shell", "--port", str(listener.getsockname()[1]), "--history", "none"])
            self.addCleanup(term.close)
            term.expect(r"photon:test> $")
            term.send("r.expr(4733)\n")
            ready.wait(60)
            term.send("\x03")
            term.expect(r"\^C")
            term.send("\x03")
            term.expect(r"photon:test! $")
            term.send("\x04")
            self.assertEqual(term.wait(), 0)
        finally:
            stop.set()
            thread.join()
            listener.close()
            server.stop()


if __name__ == "__main__":
    unittest.main()
