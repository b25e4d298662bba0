#!/usr/bin/env python3
"""What may stand before and behind `changes`, and what is said of what may not.

    PHOTONDB=build/dev/photondb tests/feeds/terms_test.py

Each query is opened, the same changes are made, and the documents that come have to be these. The last change is one that every query shows, so
that nobody waits for what does not come.
"""

import os
import sys

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import Client, QueryError, Server  # noqa: E402

TERMINAL = "Cannot call a terminal (`reduce`, `count`, etc.) on an infinite stream (such as a changefeed)."
EAGER = "Cannot call `changes` on an eager stream."
NONDETERMINISTIC = "Cannot call `changes` after a non-deterministic function."
DATUM = "Expected type DATUM but found SEQUENCE:\nVALUE SEQUENCE"
SELECTION = "Expected type SELECTION but found SEQUENCE:\nVALUE SEQUENCE"

BEFORE = ["r.table('t').delete()", "r.table('u').delete()", "r.table('u').insert({id: 1, u: 1})", "r.table('t').insert({id: 1, a: 0, m: [7]})"]
CHANGES = ["r.table('t').insert({id: 2, a: 1, m: []})", "r.table('t').get(1).update({a: 1})", "r.table('t').get(2).delete()",
           "r.table('u').insert({id: 9})", "r.table('t').insert({id: 9, a: 9, m: [7]})"]

ONE, ONE_1, TWO, NINE = {"a": 0, "id": 1, "m": [7]}, {"a": 1, "id": 1, "m": [7]}, {"a": 1, "id": 2, "m": []}, {"a": 9, "id": 9, "m": [7]}


def change(old, new):
    return {"new_val": new, "old_val": old}


def both(f, *values):
    return [change(None if old is None else f(old), None if new is None else f(new)) for old, new in values]


PAIRS = [(None, TWO), (ONE, ONE_1), (TWO, None), (None, NINE)]
ALL = both(lambda row: row, *PAIRS)
NEW = [TWO, ONE_1, None, NINE]
U = change(None, {"id": 9})

# query: documents, and notes if they are not [1]. Of several feeds in any order.
FEEDS = {
    # before `changes`
    "r.table('t').changes()": ALL,
    "r.table('t').filter({a: 1}).union(r.table('t').filter({a: 9})).changes()": [change(None, TWO), change(None, ONE_1), change(TWO, None), ALL[3]],
    "r.table('t').filter(x => x('m').contains(7)).changes()": [ALL[1], ALL[3]],
    "r.table('t').filter(x => x('a').gt(0)).changes()": [change(None, TWO), change(None, ONE_1), change(TWO, None), ALL[3]],
    "r.table('t').filter(x => x('a').ne(1)).changes()": [change(ONE, None), ALL[3]],
    "r.table('t').filter(x => r.expr([1, 9]).contains(x('id'))).changes()": [ALL[1], ALL[3]],
    "r.table('t').filter(x => x('none').eq(1), {default: true}).changes()": ALL,
    "r.table('t').between(2, 10).changes()": [ALL[0], ALL[2], ALL[3]],
    "r.table('t').between(1, 10, {index: 'a'}).changes()": [ALL[0], change(None, ONE_1), ALL[2], ALL[3]],
    "r.table('t').orderBy({index: 'a'}).changes()": ALL,
    "r.table('t').getAll(9, 2).changes()": [ALL[0], ALL[2], ALL[3]],
    "r.table('t').getAll(7, {index: 'm'}).changes()": [ALL[1], ALL[3]],
    "r.table('t').get(9).changes()": ([ALL[3]], [2]),
    "r.table('t')('a').changes()": both(lambda row: row["a"], *PAIRS),
    "r.table('t').map(x => x('a').add(1)).changes()": both(lambda row: row["a"] + 1, *PAIRS),
    "r.table('t').pluck('a').changes()": both(lambda row: {"a": row["a"]}, *PAIRS),
    "r.table('t').without('a', 'm').changes()": both(lambda row: {"id": row["id"]}, PAIRS[0], PAIRS[2], PAIRS[3]),
    "r.table('t').pluck('id').filter(r.row('id').gt(1)).merge({x: 1}).changes()": both(lambda row: {"id": row["id"], "x": 1}, PAIRS[0], PAIRS[2], PAIRS[3]),
    "r.table('t').hasFields('a').withFields('a').changes()": both(lambda row: {"a": row["a"]}, *PAIRS),
    "r.do(1, n => r.table('t').filter(x => x('a').ge(n))).changes()": [change(None, TWO), change(None, ONE_1), change(TWO, None), ALL[3]],
    "r.do(9, n => r.table('t').getAll(n).changes())": [ALL[3]],
    "r.branch(false, r.table('u'), r.table('t')).changes()": ALL,
    "r.table('t').union(r.table('u')).changes()": [ALL[0], ALL[1], ALL[2], U, ALL[3]],
    "r.table('t').filter(x => x('a').add(x('m')(0)).eq(16)).changes()": [ALL[3]],
    # behind it
    "r.table('t').changes().limit(4)": ALL,
    "r.table('t').changes().skip(1)": ALL[1:],
    "r.table('t').changes().skip(1).limit(3)": ALL[1:],
    "r.table('t').changes().slice(2, 4)": ALL[2:],
    "r.table('t').changes()('new_val')": NEW,
    "r.table('t').changes().map(r.row('new_val'))": NEW,
    "r.table('t').changes()('new_val')('a')": [1, 1, 9],
    "r.table('t').changes().filter(r.row('old_val').eq(null))": [ALL[0], ALL[3]],
    "r.table('t').changes().filter({old_val: null})": [ALL[0], ALL[3]],
    "r.table('t').changes().concatMap(x => [x('new_val'), 1])": [TWO, 1, ONE_1, 1, None, 1, NINE, 1],
    "r.table('t').changes().concatMap(x => r.table('u').getAll(1))": [{"id": 1, "u": 1}] * 4,
    "r.table('t').changes().merge(x => ({u: r.table('u').get(1)}))": [dict(doc, u={"id": 1, "u": 1}) for doc in ALL],
    "r.table('t').changes().pluck({new_val: 'a'}).hasFields({new_val: 'a'})": [{"new_val": {"a": 1}}, {"new_val": {"a": 1}}, {"new_val": {"a": 9}}],
    "r.table('t').changes().withFields('new_val').without({new_val: 'm'})": [{"new_val": {"id": i, "a": a}} for i, a in ((2, 1), (1, 1), (9, 9))],
    "r.table('t').changes().offsetsOf(x => true)": [0, 1, 2, 3],
    "r.table('t').changes().union(r.table('u').changes())": [ALL[0], ALL[1], ALL[2], U, ALL[3]],
    "r.expr([1, 2]).union(r.table('t').changes())": [1, 2, *ALL],
    "r.table('t').changes().union(r.table('t').get(9).changes())": ([*ALL, ALL[3]], [4]),
    "r.map(r.table('t').changes(), r.range(), (x, n) => [x('new_val'), n])": [[new, n] for n, new in enumerate(NEW)],
    "r.map(r.table('t').changes(), r.table('t').changes()('new_val'), (x, y) => x('new_val').eq(y))": [True] * 4,
    "r.table('t').changes().innerJoin(r.table('u'), (x, y) => y('id').eq(1))": [{"left": doc, "right": {"id": 1, "u": 1}} for doc in ALL],
    "r.table('t').changes().eqJoin(x => x('new_val')('id'), r.table('u')).zip()": [dict(ALL[1], id=1, u=1), dict(ALL[3], id=9)],
    "r.table('t').changes().fold(0, (n, x) => n.add(1), {emit: (before, x, n) => [n]})": [1, 2, 3, 4],
    "r.table('t').changes().coerceTo('stream')": ALL,
    "r.table('t').changes().default(1)": ALL,
    "r.branch(true, r.table('t').changes(), 1)": ALL,
}
# What stands behind `changes` reads tables as they are when a change is shown: `a` of row 1.
FRESH = [
    "r.table('t').changes().map(x => r.table('t').get(1)('a'))",
    "r.table('t').changes().concatMap(x => r.table('t').getAll(1)('a'))",
    "r.table('t').changes().merge(x => ({a: r.table('t').get(1)('a')}))('a')",
    "r.table('t').changes().eqJoin(x => 1, r.table('t'))('right')('a')",
    "r.table('t').changes().innerJoin(r.table('t').getAll(1), (x, y) => true)('right')('a')",
    "r.table('t').changes().fold(r.table('t').get(1)('id'), (id, x) => id, {emit: (id, x, same) => [r.table('t').get(id)('a')]})",
    "r.do(r.table('t').get(1), row => r.table('t').getAll(row('id')).changes().map(x => r.table('t').get(row('id'))('a')))",
    "r.table('t').orderBy({index: 'id'}).nth(0).changes().map(x => r.table('t').get(1)('a'))",
    "r.table('t').count().changes({includeInitial: true}).concatMap(x => r.table('t').changes().limit(0)).union(r.table('t').get(1).changes())('new_val')('a')",
]

ERRORS = {
    "r.table('t').changes().count()": (TERMINAL, [0]),
    "r.table('t').changes().sum('a')": (TERMINAL, [0]),
    "r.table('t').changes().max('a')": (TERMINAL, [0]),
    "r.table('t').changes().reduce((a, b) => a)": (TERMINAL, [0]),
    "r.table('t').changes().fold(0, (a, b) => a)": (TERMINAL, [0]),
    "r.table('t').changes().contains(1)": (TERMINAL, [0]),
    "r.table('t').changes().isEmpty()": (TERMINAL, [0]),
    "r.table('t').changes().nth(0)": (TERMINAL, [0]),
    "r.table('t').changes()(0)": (TERMINAL, [0]),
    "r.table('t').changes().sample(1)": (TERMINAL, [0]),
    "r.table('t').changes().distinct()": (TERMINAL, [0]),
    "r.table('t').changes().group('a')": (TERMINAL, [0]),
    "r.table('t').changes().group('a').count()": (TERMINAL, [0, 0]),
    "r.table('t').changes().orderBy('a')": (TERMINAL, [0]),
    "r.table('t').changes().limit(1).orderBy('a')": (TERMINAL, [0, 0]),
    "r.table('t').changes().coerceTo('array')": (TERMINAL, [0]),
    "r.table('t').changes().forEach(x => r.table('u').insert({}))": (TERMINAL, [0]),
    "r.table('u').insert(r.table('t').changes()('new_val'))": (TERMINAL, [1, 0]),
    "r.table('u').innerJoin(r.table('t').changes(), (a, b) => true)": (TERMINAL, [1]),
    "r.expr([1]).concatMap(x => r.table('t').changes())": (TERMINAL, [1, 1]),
    "r.table('t').changes().delete()": (SELECTION, [0]),
    "r.table('t').changes().update({})": (SELECTION, [0]),
    "r.table('t').changes().do(x => x)": (DATUM, [1]),
    "r.expr([r.table('t').changes()])": (DATUM, [0]),
    "r.expr({a: r.table('t').changes()})": (DATUM, ["a"]),
    "r.table('t').map(x => r.table('u').changes())": (DATUM, [1, 1]),
    "r.table('t').changes().changes()": (EAGER, [0]),
    "r.expr([1]).changes()": (EAGER, [0]),
    "r.range().changes()": (EAGER, [0]),
    "r.table('t').orderBy('a').changes()": (EAGER, [0]),
    "r.table('t').skip(1).changes()": (EAGER, [0]),
    "r.db('test').tableList().changes()": (EAGER, [0]),
    "r.table('t').getNearest(r.point(0, 0), {index: 'g'}).changes()": (EAGER, [0]),
    "r.table('t').get(1).changes().get(1)": ("Expected type TABLE but found SEQUENCE:\nVALUE SEQUENCE", [0]),
    "r.table('t').get(1)('a').changes()": ("Cannot convert NUMBER to SEQUENCE", []),
    "r.table('t').limit(1).changes()": ("Cannot get changes on the first elements of an unordered stream.", []),
    "r.table('t').concatMap(x => x('m')).changes()": ("Cannot call `changes` after `concat_map`.", []),
    "r.table('t').getIntersecting(r.point(0, 0), {index: 'g'}).changes()": ("Cannot call `changes` on an intersection read.", []),
    "r.table('t').filter(x => r.random().gt(0)).changes()": (NONDETERMINISTIC, [0, 1]),
    "r.table('t').map(x => r.table('u').get(x('id'))).changes()": (NONDETERMINISTIC, [0, 1]),
    "r.table('t').map(r.js('(function(x) { return x; })')).changes()": (NONDETERMINISTIC, [0, 1]),
    "r.table('t').changes({includeOffsets: true})": ("Cannot include offsets for range subs.", []),
    "r.table('t').get(1).changes({includeOffsets: true})": ("Cannot include offsets for point subs.", []),
}


def text(query):
    return [10001, [query]]


class Feed:
    """Reads on a connection of its own until so many documents came."""

    def __init__(self, port, query):
        self.client = Client(port)
        self.documents, self.notes = [], None
        self.token = self.client.send([1, text(query), {}])
        self.answer()

    def answer(self):
        _, response = self.client.receive()
        if response["t"] >= 16:
            raise QueryError(response)
        self.documents += response["r"]
        self.notes = response["n"]
        self.open = response["t"] == 3
        if self.open:
            self.client.send([2], self.token)

    def read(self, count):
        while self.open and len(self.documents) < count:
            self.answer()
        self.client.sock.close()
        return self.documents


def check_feed(port, client, query, wanted):
    documents, notes = wanted if isinstance(wanted, tuple) else (wanted, [1])
    for write in BEFORE:
        client.run(text(write))
    feed = Feed(port, query)
    assert feed.notes == notes, "notes %s, not %s" % (feed.notes, notes)
    for write in CHANGES:
        client.run(text(write))
    got = feed.read(len(documents))
    if "union" in query:
        got, documents = sorted(got, key=str), sorted(documents, key=str)
    assert got == documents, "gives\n  %s\nnot\n  %s" % (got, documents)


def check_fresh(port, client, query):
    for write in BEFORE:
        client.run(text(write))
    feed = Feed(port, query)
    for n in range(1, 5):
        client.run(text("r.table('t').get(1).update({a: %d})" % n))
        while len(feed.documents) < n:
            feed.answer()
        assert feed.documents[-1] == n, "gives %s after %d" % (feed.documents, n)
    feed.client.sock.close()


def check_error(client, query, message, place):
    try:
        answer = client.run(text(query))
    except QueryError as e:
        got = (e.response["r"][0], e.response["b"])
        assert got == (message, place), "fails with %s, not %s" % (got, (message, place))
        return
    raise AssertionError("gives %s" % answer)


def main():
    failed = 0
    with Server() as server:
        client = Client(server.port)
        for query in ("r.tableCreate('t')", "r.tableCreate('u')", "r.table('t').indexCreate('a')", "r.table('t').indexCreate('m', {multi: true})",
                      "r.table('t').indexCreate('g', {geo: true})", "r.table('t').indexWait()"):
            client.run(text(query))
        checks = [(check_feed, (server.port, client, query, wanted)) for query, wanted in FEEDS.items()]
        checks += [(check_fresh, (server.port, client, query)) for query in FRESH]
        checks += [(check_error, (client, query, *wanted)) for query, wanted in ERRORS.items()]
        for check, arguments in checks:
            try:
                check(*arguments)
            except (AssertionError, QueryError) as e:
                failed += 1
                print("%s\n%s\n" % (arguments[1 if check is check_error else 2], e))
    print("%d of %d failed" % (failed, len(checks)))
    return failed != 0


if __name__ == "__main__":
    sys.exit(main())
