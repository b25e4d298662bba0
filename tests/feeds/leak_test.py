#!/usr/bin/env python3
"""Thousands of connections that open feeds and go away, in every way there is, leave nothing behind.

    PHOTONDB=build/dev/photondb tests/feeds/leak_test.py [--connections 1500]

Rounds of connections open feeds of all kinds and end them: by closing the connection (with a CONTINUE outstanding, or none, or amid the initial
rows), by STOP, through `jobs`, with the table. After each round the server knows of no feed; after the first rounds its memory does
not grow. A leak that memory does not show is AddressSanitizer's to find, when the server ends.
"""

import argparse
import json
import os
import random
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=1"
from photon import Client, QueryError, Server, cli, datum, table  # noqa: E402

ROWS, OTHER = table("test", "rows"), table("test", "other")
ROW = [10, [1]]
ROUNDS = 6


def feeds(rand):
    """A random feed: what `changes` is called on."""
    n = rand.randrange(10000)
    return rand.choice([
        ROWS,
        [16, [ROWS, n % 200]],
        [39, [ROWS, {"room": n}]],
        [39, [ROWS, [69, [[2, [1]], [17, [[28, [[170, [ROW, "n"]], 7]], n % 7]]]]]],
        [182, [ROWS, n % 100, n % 100 + 10]],
        [78, [ROWS, n % 10], {"index": "room"}],
        [71, [[41, [ROWS], {"index": "room"}], 5]],
        [43, [[39, [ROWS, {"room": n % 10}]]]],
        [145, [ROWS, "n"]],
        [43, [[144, [ROWS, "room"]]]],
        [44, [ROWS, [39, [OTHER, {"room": n}]]]],
        [33, [ROWS, "id"]],
    ])


def one_connection(port, rand):
    """Opens a few feeds and ends them, or does not."""
    client = Client(port)
    numbers = []
    for _ in range(rand.randrange(1, 6)):
        options = {"squash": rand.choice((True, False, 0.5))}
        if rand.random() < 0.5:
            options["include_initial"] = True
        if rand.random() < 0.3:
            options["include_tokens"] = True
        numbers.append(client.send([1, [152, [feeds(rand)], options], {"max_batch_rows": rand.choice((1, 10, 200))}]))
    if rand.random() < 0.1:
        client.close()  # before anything was answered
        return
    answered = set()
    while len(answered) < len(numbers):
        number, response = client.receive()
        assert response["t"] == 3, response
        answered.add(number)
    for number in numbers:
        if rand.random() < 0.6:
            client.send([2], number)
    if rand.random() < 0.5:
        for number in rand.sample(numbers, rand.randrange(len(numbers) + 1)):
            client.send([3], number)
            while True:
                got, response = client.receive()
                if got == number and response["t"] == 2:
                    break
    client.close()


def rss(process):
    with open("/proc/%d/statm" % process.pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


def hub(server):
    return json.loads(cli("stats", "--data-dir", server.data, "--json", check=True).stdout)["feeds"]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--connections", type=int, default=1500)
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 31))
    options = parser.parse_args()
    print("seed %d" % options.seed, flush=True)
    rand = random.Random(options.seed)
    with Server() as server, Client(server.port) as writer:
        for name in ("rows", "other"):
            writer.run([60, [[14, ["test"]], name]])
        writer.run([75, [ROWS, "room"]])
        writer.run([140, [ROWS]])
        writer.run([56, [ROWS, datum([{"id": i, "room": i % 10, "n": i} for i in range(200)])]])
        sizes = []
        for round_ in range(ROUNDS):
            for i in range(options.connections // ROUNDS):
                one_connection(server.port, rand)
                if i % 5 == 0:
                    writer.run([53, [[16, [ROWS, rand.randrange(200)]], {"n": i, "room": rand.randrange(10)}], {"durability": "soft"}])
            deadline = time.monotonic() + 30
            while True:
                jobs = [job for job in writer.run(table("rethinkdb", "jobs")) if "changes" in json.dumps(job)]
                left = {name: value for name, value in hub(server).items()
                        if name in ("feeds", "attached", "classes", "tables", "queued_events", "queued_bytes", "readers", "travelling") and value}
                if not jobs and not left:
                    break
                assert time.monotonic() < deadline, "after round %d: %r %r" % (round_, left, jobs[:3])
                time.sleep(0.05)
            sizes.append(rss(server.process))
        # A table that goes ends all that is left of it.
        victims = [Client(server.port) for _ in range(20)]
        waiting = []
        for client in victims:
            for _ in range(5):
                waiting.append((client, client.send([1, [152, [feeds(rand)], {}], {}])))
        for client in victims:
            for _ in range(5):
                number, response = client.receive()
                assert response["t"] == 3, response
                client.send([2], number)
        writer.run([61, [[14, ["test"]], "rows"]])
        for client in victims:
            ended = set()
            while len(ended) < 5:
                number, response = client.receive()
                if response["t"] == 3:
                    client.send([2], number)
                    continue
                assert response["t"] == 18 and response["r"] == ["Changefeed aborted (unavailable)."], response
                ended.add(number)
            client.close()
        deadline = time.monotonic() + 30
        while hub(server)["feeds"]:
            assert time.monotonic() < deadline, "feeds of a table that is gone: %r" % hub(server)
            time.sleep(0.05)
        print("%d connections in %d rounds, RSS after each: %s MB" % (options.connections, ROUNDS, ", ".join("%.1f" % (s / 1048576) for s in sizes)))
        assert sizes[-1] - sizes[1] < 16 << 20, "the server's memory grows: %r" % sizes
    return 0


if __name__ == "__main__":
    sys.exit(main())
