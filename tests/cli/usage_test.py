#!/usr/bin/env python3
"""Help, versions, wrong usage, and the small commands."""

import json
import os
import sys
import tempfile
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import Server, cli  # noqa: E402

COMMANDS = ["serve", "import", "export", "backup", "restore", "stats", "check", "dump-page", "dump-log", "version", "help"] + [
    "%s %s" % (family, verb) for family in ("db", "table") for verb in ("create", "drop", "list", "info")]


class Help(unittest.TestCase):
    def test_overview(self):
        for words in (["help"], ["--help"], ["-h"]):
            done = cli(*words)
            self.assertEqual((done.returncode, done.stderr), (0, ""))
            for command in COMMANDS:
                self.assertIn("  " + command, done.stdout)
            self.assertIn("Exit statuses: 0 done, 1 failed, 2 wrong usage, 3 some rows were bad", done.stdout)

    def test_each(self):
        for command in COMMANDS:
            with self.subTest(command):
                done = cli(*command.split(), "--help")
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                self.assertIn("Usage: photondb " + command, done.stdout)
                self.assertIn("Examples:\n  ", done.stdout)
                self.assertEqual(done.stdout, cli("help", *command.split()).stdout)
                self.assertLessEqual(max(map(len, done.stdout.splitlines())), 130)

    def test_serve_lists_all_options(self):
        text = cli("serve", "--help").stdout
        for name in ("data-dir", "bind", "driver-port", "http-port", "cluster-port", "cache-size", "memory-size", "query-memory", "sort-memory", "spill-max", "query-timeout", "transaction-timeout", "transaction-memory", "max-transactions", "feed-memory", "storage", "log-budget", "log-keep", "log-keep-time", "log-archive", "log-level",
                     "log-format", "dev-mode", "config"):
            self.assertIn("--" + name, text)

    def test_version(self):
        for words in (["version"], ["--version"], ["-V"]):
            done = cli(*words)
            self.assertEqual(done.returncode, 0)
            self.assertRegex(done.stdout, r"^photondb \d+\.\d+\.\d+")


class Usage(unittest.TestCase):
    def refused(self, words, message, hint=None, env=None):
        done = cli(*words, env=env)
        self.assertEqual((done.returncode, done.stdout), (2, ""), done.stderr)
        self.assertIn("photondb: " + message, done.stderr)
        if hint:
            self.assertIn("  hint: " + hint, done.stderr)

    def test_wrong(self):
        self.refused(["sevre"], 'there is no command "sevre"', "did you mean photondb serve?")
        self.refused(["db", "craete", "x"], 'there is no command "db craete"', "did you mean photondb db create?")
        self.refused(["db"], "photondb db needs one word more")
        self.refused(["table", "info"], "photondb table info needs DB.TABLE")
        self.refused(["frobnicate"], 'there is no command "frobnicate"', "photondb help")
        self.refused(["serve", "--prot", "1"], "there is no option --prot")
        self.refused(["serve", "--data-dri", "x"], "there is no option --data-dri", "did you mean --data-dir?")
        self.refused(["serve", "--driver-port", "99999"], "--driver-port: 99999 is outside 0 .. 65535")
        self.refused(["serve", "--driver-port"], "--driver-port needs a value")
        self.refused(["serve", "--cache-size", "12XB"], '--cache-size: "12XB" is not a size', "write a number and a unit")
        self.refused(["serve", "--log-level", "loud"], '--log-level: there is no "loud"', "one of: debug info")
        self.refused(["serve", "extra"], '"extra" is one word too many')
        self.refused(["import"], "import needs --table")
        self.refused(["import", "--table", "a.b.c", os.devnull], '"a.b.c" is not the name of a table', "write DB.TABLE")
        self.refused(["import", "--table", "a.b", "--format", "xml"], '--format: there is no "xml"')
        self.refused(["import", "--table", "a.b", "--separator", "ab", os.devnull], '--separator: "ab" cannot separate cells')
        self.refused(["export"], "export needs --table")
        self.refused(["db", "list", "--password", "x"], "there is no option --password", "did you mean --password-file?")

    def test_nothing(self):
        done = cli()
        self.assertEqual(done.returncode, 2)
        self.assertIn("Commands:", done.stdout)

    def test_sources(self):
        self.refused(["serve"], 'PHOTONDB_DRIVER_PORT: "x" is not a whole number', env={"PHOTONDB_DRIVER_PORT": "x"})
        with tempfile.NamedTemporaryFile("w", suffix=".conf") as file:
            file.write("# a comment\ndriver-port = many\n")
            file.flush()
            self.refused(["serve", "--config", file.name], file.name + ': driver-port: "many" is not a whole number')
            file.write("data_dri = x\n")
            file.seek(0)
            file.write("; another\ndata_dri = x\n")
            file.truncate()
            file.flush()
            self.refused(["serve"], file.name + ": there is no option data-dri", "did you mean data-dir?",
                         env={"PHOTONDB_CONFIG": file.name})
        done = cli("serve", "--config", "/nowhere/photondb.conf")
        self.assertEqual(done.returncode, 2)
        self.assertIn("cannot read the configuration file /nowhere/photondb.conf", done.stderr)

    def test_no_server(self):
        done = cli("db", "list", "--port", "1")
        self.assertEqual((done.returncode, done.stdout), (4, ""))
        self.assertIn("cannot connect to 127.0.0.1:1", done.stderr)
        self.assertIn("  hint: no server listens there; start one with: photondb serve", done.stderr)
        done = cli("db", "list", "--host", "no such host")
        self.assertEqual(done.returncode, 4)
        self.assertIn("cannot find the host no such host", done.stderr)


class Commands(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def cli(self, *words, **options):
        return cli(*words, "--port", self.server.port, **options)

    def done(self, *words):
        finished = self.cli(*words, check=True)
        self.assertEqual(finished.stderr, "")
        return finished.stdout

    def failed(self, words, message, status=1):
        finished = self.cli(*words)
        self.assertEqual((finished.returncode, finished.stdout), (status, ""), finished.stderr)
        self.assertIn("photondb: " + message, finished.stderr)

    def test_databases_and_tables(self):
        self.assertEqual(self.done("db", "create", "shop"), "database shop created\n")
        self.failed(["db", "create", "shop"], "Database `shop` already exists.")
        self.done("db", "create", "shop", "--if-missing")
        self.failed(["db", "create", "a b"], "Database name `a b` invalid")
        self.assertEqual(self.done("table", "create", "shop.users", "--primary-key", "email"), "table shop.users created\n")
        self.failed(["table", "create", "shop.users"], "Table `shop.users` already exists.")
        self.done("table", "create", "shop.orders", "--quiet")
        self.done("table", "create", "new.things", "--if-missing")
        listed = json.loads(self.done("db", "list", "--json"))
        self.assertIn({"name": "shop", "tables": ["orders", "users"]}, [dict(d, tables=sorted(d["tables"])) for d in listed])
        self.assertRegex(self.done("db", "list"), r"(?m)^DATABASE +TABLES\n(.*\n)*shop +2$")
        cli("import", "--port", self.server.port, "--table", "shop.users", "-", stdin=b'{"email":"a@b"}\n{"email":"c@d"}\n', check=True)
        tables = json.loads(self.done("table", "list", "shop", "--json"))
        self.assertEqual(sorted(tables, key=lambda t: t["name"]), [
            {"db": "shop", "name": "orders", "primary_key": "id", "rows": 0},
            {"db": "shop", "name": "users", "primary_key": "email", "rows": 2}])
        self.assertRegex(self.done("table", "list"), r"(?m)^DATABASE +TABLE +PRIMARY KEY +ROWS\n(.*\n)*shop +users +email +2$")
        info = self.done("table", "info", "shop.users")
        self.assertRegex(info, r"(?m)^primary key  email$")
        self.assertRegex(info, r"(?m)^durability   hard$")
        self.assertRegex(info, r"(?m)^rows         2$")
        self.assertEqual(json.loads(self.done("table", "info", "shop.users", "--json"))["rows"], 2)
        info = json.loads(self.done("db", "info", "shop", "--json"))
        self.assertEqual((info["name"], len(info["tables"])), ("shop", 2))
        self.assertIn("tables    2", self.done("db", "info", "shop"))
        self.assertEqual(self.done("table", "drop", "shop.orders"), "table shop.orders dropped\n")
        self.failed(["table", "drop", "shop.orders"], "Table `shop.orders` does not exist.")
        self.done("table", "drop", "shop.orders", "--if-exists")
        self.failed(["table", "info", "shop.orders"], "Table `shop.orders` does not exist.")
        self.assertEqual(self.done("db", "drop", "shop"), "database shop dropped, with 1 table\n")
        self.done("db", "drop", "shop", "--if-exists")
        self.failed(["db", "drop", "shop"], "Database `shop` does not exist.")

    def test_environment(self):
        done = cli("db", "list", env={"PHOTONDB_PORT": str(self.server.port)})
        self.assertEqual(done.returncode, 0, done.stderr)

    def test_password(self):
        with tempfile.TemporaryDirectory() as directory:
            right, wrong = os.path.join(directory, "right"), os.path.join(directory, "wrong")
            for path, text in ((right, "s3cret\n"), (wrong, "other\n")):
                with open(path, "w") as file:
                    file.write(text)
                os.chmod(path, 0o600)
            with Server("--initial-password-file", right) as locked:
                done = cli("db", "list", "--port", locked.port, "--password-file", right)
                self.assertEqual((done.returncode, done.stderr), (0, ""))
                done = cli("db", "list", "--port", locked.port)
                self.assertEqual(done.returncode, 4)
                self.assertIn("Wrong password", done.stderr)
                self.assertIn("  hint: give the password with --password-file FILE", done.stderr)
                done = cli("db", "list", "--port", locked.port, "--password-file", wrong)
                self.assertEqual(done.returncode, 4)
                self.assertNotIn("other", done.stderr)
                os.chmod(right, 0o644)
                done = cli("db", "list", "--port", locked.port, "--password-file", right)
                self.assertEqual(done.returncode, 0)
                self.assertIn("can be read by others", done.stderr)
        done = self.cli("db", "list", "--password-file", "/nowhere/password")
        self.assertEqual(done.returncode, 1)
        self.assertIn("cannot read the password file /nowhere/password", done.stderr)


if __name__ == "__main__":
    unittest.main()
