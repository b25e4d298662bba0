"""A client that follows feeds in a process of its own, so that it can be killed. Standard library only.

    follow.py PORTS.json FEED FILE      FEED: the term that `changes` is called on, as JSON

What came is *acknowledged* by a line in FILE, {"token": ..., "doc": ...}: one write each, so that a kill leaves whole lines and perhaps a
piece, which is cut off. It goes on behind the last token there, over every restart of the server or of itself, and says so there ({"since": ...}):
of changes that came together only the last has a token, and those without their last have not happened.
"""

import json
import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import Client, Closed, QueryError  # noqa: E402
import time  # noqa: E402


def changes(term, **options):
    return [152, [term], options]


def whole_lines(path):
    try:
        with open(path, "rb") as f:
            data = f.read()
    except FileNotFoundError:
        return b""
    return data[:data.rfind(b"\n") + 1]


def read_lines(path):
    """The whole lines of a follower's file."""
    return [json.loads(line) for line in whole_lines(path).splitlines()]


class Broken(Exception):
    """A feed said something that cannot be."""


def name_of(row):
    """What tells a row of a feed's result from the others: of a table, a group, a join."""
    if "id" in row:
        return row["id"]
    return json.dumps(row["group"]) if "group" in row else "%r %r" % (row["left"]["id"], row["right"]["id"])


class Replay:
    """The result of a query, kept by its changes. `single`: a value instead of rows. Knows what is lost or repeated: a change takes away what is there."""

    def __init__(self, single=False):
        self.single, self.rows, self.value, self.ready = single, {}, None, False
        self.changes = self.restarts = 0
        self.together = []  # changes whose last is still to come

    def reset(self):
        self.rows, self.value, self.ready, self.together = {}, None, False, []

    def line(self, line):
        """Of a follower's file."""
        if "reset" in line:
            if self.ready:
                raise Broken("it began anew although it had a token")
            self.reset()
        elif "since" in line:
            self.together = []
        elif self.ready and "token" not in line and "state" not in line["doc"]:
            self.together.append(line["doc"])
        else:
            for doc in self.together + [line["doc"]]:
                self.apply(doc)
            self.together = []

    def apply(self, doc):
        if "state" in doc:
            if doc["state"] == "restarted":
                self.restarts += 1
                self.reset()
            elif doc["state"] == "ready":
                self.ready = True
            return
        if "error" in doc:
            raise Broken("an error: %r" % doc)
        old, new = doc.get("old_val"), doc["new_val"]
        if "old_val" not in doc:
            if self.ready:
                raise Broken("an initial row after `ready`: %r" % doc)
        elif not self.ready:
            raise Broken("a change before `ready`: %r" % doc)
        else:
            self.changes += 1
            if old == new:
                raise Broken("a change of nothing: %r" % doc)
        if self.single:
            if "old_val" in doc and self.value != old:
                raise Broken("lost or repeated: it was %r, and %r came" % (self.value, doc))
            self.value = new
            return
        if old is not None:
            if self.rows.get(name_of(old)) != old:
                raise Broken("lost or repeated: there was %r, and %r came" % (self.rows.get(name_of(old)), doc))
            del self.rows[name_of(old)]
        if new is not None:
            if name_of(new) in self.rows:
                raise Broken("repeated: there was %r, and %r came" % (self.rows[name_of(new)], doc))
            self.rows[name_of(new)] = new

    def state(self):
        return self.value if self.single else self.rows


def follow(ports, feed, path):
    token = None
    for line in read_lines(path):
        if "token" in line:
            token = line["token"]
        elif "reset" in line or line.get("doc", {}).get("state") == "restarted":
            token = None
    with open(path, "ab") as f:
        f.truncate(len(whole_lines(path)))
    out = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    def put(line):
        data = (json.dumps(line) + "\n").encode()
        if os.write(out, data) != len(data):
            raise OSError("the file is full")

    while True:
        try:
            with open(ports) as f:
                port = json.load(f)["driver_port"]
            with Client(port, timeout=600) as client:
                options = {"include_tokens": True}
                if token is None:
                    put({"reset": True})
                    options["include_initial"] = True
                else:
                    put({"since": True})
                    options["since"] = token
                number = client.send([1, changes(feed, **options), {}])
                while True:
                    _, response = client.receive()
                    if response["t"] >= 16:
                        raise QueryError(response)
                    if response["t"] != 3:
                        raise Broken("the feed ended: %r" % response)
                    for doc in response["r"]:
                        line = {"doc": doc}
                        if "token" in doc:
                            token = line["token"] = doc.pop("token")
                        elif doc.get("state") == "restarted":
                            token = None
                        put(line)
                    client.send([2], number)
        except (Closed, OSError, ValueError, KeyError):
            time.sleep(0.01)     # the server is away; its ports are others when it is back
        except QueryError as e:
            if "not ready" not in str(e) and "aborted" not in str(e):
                put({"failure": str(e)})
                return 1


if __name__ == "__main__":
    sys.exit(follow(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3]))
