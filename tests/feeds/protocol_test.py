#!/usr/bin/env python3
"""Changefeeds on the wire: what is answered when, and to whom, while feeds are stopped, killed, dropped and cut off.

    PHOTONDB=build/dev/photondb tests/feeds/protocol_test.py [name ...]

The rule behind it all: every START, CONTINUE and STOP is answered exactly once, and nothing comes for a token that is over. No test waits to
see whether something does not come: a later query on the same connection is answered instead.
"""

import collections
import os
import random
import socket
import struct
import sys
import threading

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import Client, Closed, QueryError, Server, table  # noqa: E402

ROWS = table("test", "rows")
EMPTY, END = {"t": 3, "r": [], "n": [1]}, {"t": 2, "r": [], "n": []}


def changes(of, **options):
    return [152, [of], options]


def room(n):
    return changes([39, [ROWS, {"room": n}]])


def insert(document):
    return [56, [ROWS, document], {"conflict": "replace", "durability": "soft"}]


def expect(client, token, response):
    got = client.receive()
    assert got == (token, response), "%r instead of %r" % (got, (token, response))


def silence(client):
    """Nothing waits to be read: the answer to this is next."""
    token = client.send([1, 5, {}])
    expect(client, token, {"t": 1, "r": [5]})


def open_feed(client, term, ask=True):
    token = client.send([1, term, {}])
    expect(client, token, EMPTY)
    if ask:
        client.send([2], token)
    return token


def new_value(document):
    return {"new_val": document, "old_val": None}


def one(document):
    return {"t": 3, "r": [new_value(document)], "n": [1]}


# --- tests: each gets a server and a connection, and a table `rows` that is empty ---
def test_waiting(server, client):
    token = open_feed(client, changes(ROWS))
    silence(client)
    client.send([2], token)                                 # a second one, behind it
    with Client(server.port) as writer:
        writer.run(insert({"id": 1}))
        expect(client, token, one({"id": 1}))
        silence(client)
        writer.run(insert({"id": 2}))
        expect(client, token, one({"id": 2}))
        silence(client)
        writer.run(insert({"id": 3}))                       # nobody has asked
        silence(client)
        client.send([2], token)
        expect(client, token, one({"id": 3}))
        client.send([1, changes(ROWS), {}], token)
        expect(client, token, {"t": 16, "r": ["ERROR: duplicate token %d" % token], "b": []})
        # the same connection may write what its feed waits for
        client.send([2], token)
        write = client.send([1, insert({"id": 4}), {}])
        got = dict(client.receive() for _ in range(2))
        assert got[token] == one({"id": 4}) and got[write]["t"] == 1, got
    client.send([4], 999)                                   # NOREPLY_WAIT waits for no feed
    expect(client, 999, {"t": 4, "r": []})


def test_stop(server, client):
    for asked in range(4):
        token = open_feed(client, changes(ROWS), ask=False)
        for _ in range(asked):
            client.send([2], token)
        client.send([3], token)
        for _ in range(asked + 1):
            expect(client, token, END)
        client.send([2], token)
        expect(client, token, {"t": 16, "r": ["Token %d not in stream cache." % token], "b": []})
        client.send([1, changes(ROWS), {}], token)          # and it may be used again
        expect(client, token, EMPTY)
        client.send([3], token)
        expect(client, token, END)


def test_stop_races(server, client):
    """STOP at any moment, while changes come as fast as they can."""
    over = threading.Event()

    def write():
        with Client(server.port) as writer:
            n = 0
            while not over.is_set():
                n += 1
                writer.run([56, [ROWS, [2, [{"id": i, "n": n} for i in range(20)]]], {"conflict": "replace", "durability": "soft"}])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        rand = random.Random(6)
        for turn in range(400):
            feed = rand.choice((changes(ROWS), changes([16, [ROWS, 3]]), [71, [changes(ROWS), 3]], changes([145, [ROWS, "n"]])))
            tokens = [client.send([1, feed, {}]) for _ in range(rand.randrange(1, 5))]
            owed, stopped, over_with = collections.Counter(tokens), set(), collections.Counter()
            rows = 0
            while sum(owed.values()):
                token, response = client.receive()
                owed[token] -= 1
                assert owed[token] >= 0, "more answers than requests"
                if response["t"] != 3:
                    over_with[token] += 1
                    assert response["t"] in (2, 16), response
                    assert response["t"] == 2 or "not in stream cache" in response["r"][0] or "duplicate" in response["r"][0], response
                    continue
                assert token not in over_with, "a batch behind the end"
                rows += len(response["r"])
                for _ in range(rand.randrange(1, 3)):
                    if token not in stopped:
                        client.send([2], token)
                        owed[token] += 1
                if token not in stopped and rand.random() < 0.5:
                    stopped.add(token)
                    client.send([3], token)
                    owed[token] += 1
            silence(client)
    finally:
        over.set()
        thread.join()


def test_many(server, client):
    """Thousands on one connection wait, and it works as if they were not there."""
    feeds = 5000
    tokens = {}
    for start in range(0, feeds, 500):
        sent = [client.send([1, room(n), {}]) for n in range(start, start + 500)]
        for _ in sent:
            token, response = client.receive()
            assert response == EMPTY, response
        for n, token in enumerate(sent, start):
            client.send([2], token)
            tokens[token] = n
    silence(client)
    with Client(server.port) as writer:
        for n in range(0, feeds, 7):
            writer.run(insert({"id": n, "room": n}))
            token, response = client.receive()
            assert tokens[token] == n and response == one({"id": n, "room": n}), response
            client.send([2], token)
        silence(client)
        # one query, a change for each of them
        writer.run([56, [ROWS, [2, [{"id": n, "room": n, "x": 1} for n in range(feeds)]]], {"conflict": "replace"}])
        seen = set()
        while len(seen) < feeds:
            token, response = client.receive()
            assert [row["new_val"]["room"] for row in response["r"]] == [tokens[token]], response
            seen.add(token)
    silence(client)


def feed_jobs(client):
    return [job for job in client.run(table("rethinkdb", "jobs")) if job["type"] == "query" and "changes" in job["info"]["query"]]


def test_jobs(server, client):
    token = open_feed(client, room(3))
    with Client(server.port) as admin:
        jobs = feed_jobs(admin)
        assert len(jobs) == 1 and jobs[0]["info"]["user"] == "admin", jobs
        assert jobs[0]["info"]["query"].replace(" ", "") == 'r.db("test").table("rows").filter({"room":3}).changes()', jobs
        assert jobs[0]["info"]["client_port"] == client.sock.getsockname()[1], jobs
        admin.run([54, [[16, [table("rethinkdb", "jobs"), [2, jobs[0]["id"]]]]]])
        expect(client, token, {"t": 18, "e": 4200000, "r": ["Query terminated by the `rethinkdb.jobs` table."], "b": []})
        silence(client)
        assert feed_jobs(admin) == []


def test_drop(server, client):
    waiting = [open_feed(client, room(n)) for n in range(300)]
    idle = open_feed(client, changes(ROWS), ask=False)
    with Client(server.port) as admin:
        admin.run([61, [[14, ["test"]], "rows"]])
        dropped = {"t": 18, "e": 4100000, "r": ["Changefeed aborted (unavailable)."], "b": []}
        got = dict(client.receive() for _ in waiting)
        assert got == {token: dropped for token in waiting}, got
        silence(client)
        client.send([2], idle)
        expect(client, idle, dropped)
        assert feed_jobs(admin) == []


def test_other_index(server, client):
    """A token of a feed by an index means nothing for one of the same name that says something else of rows."""
    def make(function):
        client.run([75, [ROWS, "value", [69, [[2, [1]], function]]]])
        client.run([140, [ROWS, "value"]])

    def by_index(**options):
        return changes([78, [ROWS, 1], {"index": "value"}], include_tokens=True, **options)

    def open_since(token):
        opened = client.send([1, by_index(since=token), {}])
        got, response = client.receive()
        assert got == opened, got
        return response

    field_a, field_b = ([170, [[10, [1]], name]] for name in "ab")
    make(field_a)
    token = client.send([1, by_index(), {}])
    assert client.receive()[1]["r"][0]["state"] == "ready"
    client.run(insert({"id": 1, "a": 1}))
    client.send([2], token)
    place = client.receive()[1]["r"][0]["token"]
    client.run([76, [ROWS, "value"]])
    make(field_a)
    assert open_since(place)["r"] == [{"state": "ready", "token": place}]
    client.run([76, [ROWS, "value"]])
    make(field_b)
    response = open_since(place)
    assert response["t"] == 18 and "another changefeed" in response["r"][0], response


def test_permission(server, client):
    client.run([56, [table("rethinkdb", "users"), {"id": "bob", "password": "b"}]])
    client.run([188, [[14, ["test"]], "bob", {"read": True}]])
    with Client(server.port, "bob", "b") as bob:
        token = open_feed(bob, changes(ROWS))
        client.run(insert({"id": 1}))
        expect(bob, token, one({"id": 1}))
        bob.send([2], token)
        silence(bob)
        client.run([188, [[14, ["test"]], "bob", {"read": False}]])
        client.run(insert({"id": 2}))
        got, response = bob.receive()
        assert got == token and response["t"] == 18 and response["e"] == 6000000, response
        silence(bob)
    assert feed_jobs(client) == []


def test_disconnects(server, client):
    """Connections with feeds in every state are cut off while changes come; nothing of them is left."""
    over = threading.Event()

    def write():
        with Client(server.port) as writer:
            rand = random.Random(1)
            while not over.is_set():
                writer.run([56, [ROWS, [2, [{"id": rand.randrange(300), "room": rand.randrange(300), "x": rand.random()} for _ in range(50)]]],
                            {"conflict": "replace", "durability": "soft"}])

    thread = threading.Thread(target=write)
    thread.start()
    try:
        rand = random.Random(2)
        for turn in range(60):
            other = Client(server.port)
            tokens = [other.send([1, rand.choice((room(n), changes(ROWS), changes([43, [ROWS]]))), {}]) for n in range(rand.randrange(1, 100))]
            for _ in range(rand.randrange(len(tokens))):
                token, response = other.receive()
                for kind in rand.choice(([], [2], [2, 2], [2, 3], [3])):
                    other.send([kind], token)
            if rand.random() < 0.5:
                other.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))   # a reset
            other.close()
    finally:
        over.set()
        thread.join()
    for _ in range(500):                                     # a closed connection is seen a little later
        if not feed_jobs(client):
            break
    assert feed_jobs(client) == []


def test_shutdown(server, client):
    waiting = [open_feed(client, room(n)) for n in range(100)] + [open_feed(client, changes(ROWS))]
    counting = client.send([1, changes([43, [ROWS]]), {}])   # one that keeps its query
    client.receive()
    client.send([2], counting)
    silence(client)
    server.process.terminate()
    got = dict(client.receive() for _ in range(len(waiting) + 1))
    for token in waiting + [counting]:
        assert got[token] == {"t": 18, "e": 4200000, "r": ["Server is shutting down."], "b": []}, got[token]
    try:
        client.receive()
        raise AssertionError("an answer too many")
    except Closed:
        pass
    assert server.process.wait(60) == 0, server.read_log()


TESTS = [test_waiting, test_stop, test_stop_races, test_many, test_jobs, test_other_index, test_permission, test_disconnects, test_drop,
         test_shutdown]


def main():
    wanted = sys.argv[1:]
    with Server() as server:
        for test in TESTS:
            if wanted and test.__name__ not in wanted:
                continue
            with Client(server.port, timeout=120) as client:
                try:
                    client.run([61, [[14, ["test"]], "rows"]])
                except QueryError:
                    pass
                client.run([60, [[14, ["test"]], "rows"]])
                test(server, client)
            print("ok", test.__name__, flush=True)


if __name__ == "__main__":
    main()
