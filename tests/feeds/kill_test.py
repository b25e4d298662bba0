#!/usr/bin/env python3
"""kill -9 of the server or of a client, at random, while feeds are followed: nothing is lost, nothing comes twice.

    PHOTONDB=build/dev/photondb tests/feeds/kill_test.py [--kills 20] [--seed N] [--seconds S]

Writers insert, update and delete. Followers (follow.py) are processes, each with a feed of its own: the table, a filter, a range, a
limit, aggregates, a join. A follower acknowledges what it got by a line in its file, and goes on behind the last token there after
each kill of itself or of the server. At the end the changes in each file, one after the other, must make of nothing what the query gives;
each change takes away exactly what is there, so that one that is lost or comes twice is seen at once. None may begin anew.
"""

import argparse
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import Client, Closed, QueryError, Server, datum, table  # noqa: E402
from follow import Broken, Replay, name_of, read_lines  # noqa: E402

ROWS = table("test", "rows")
ROW = [10, [1]]
SOME = [182, [ROWS, 0, 50]]
FEEDS = {  # name: (term, single)
    "table": (ROWS, False),
    "filter": ([39, [ROWS, {"room": 3}]], False),
    "residual": ([39, [ROWS, [69, [[2, [1]], [17, [[28, [[170, [ROW, "n"]], 3]], 1]]]]]], False),
    "between": ([182, [ROWS, 100, 300]], False),
    "index": ([78, [ROWS, 1, 2], {"index": "room"}], False),
    "limit": ([71, [[41, [ROWS], {"index": [74, ["n"]]}], 10]], False),
    "count": ([43, [[39, [ROWS, {"room": 2}]]]], True),
    "group": ([145, [[144, [ROWS, "room"]], "n"]], False),
    "eq_join": ([50, [SOME, "n", ROWS]], False),
}
KEYS = 500


class Writer(threading.Thread):
    def __init__(self, server, seed):
        super().__init__(daemon=True)
        self.server, self.random, self.stop, self.failure, self.written = server, random.Random(seed), threading.Event(), None, 0

    def run(self):
        while not self.stop.is_set():
            try:
                with Client(self.server.port) as client:
                    while not self.stop.is_set():
                        self.step(client)
            except (Closed, PermissionError):
                time.sleep(0.01)
            except Exception as e:
                self.failure = e
                return

    def step(self, client):
        rand = self.random
        key = rand.randrange(KEYS)
        kind = rand.random()
        durability = "hard" if rand.random() < 0.3 else "soft"
        if kind < 0.3:
            docs = [{"id": rand.randrange(KEYS), "room": rand.randrange(5), "n": rand.randrange(1000), "text": "x" * rand.randrange(200)}
                    for _ in range(rand.choice((1, 1, 10)))]
            term = [56, [ROWS, datum(docs)], {"conflict": "replace", "durability": durability}]
        elif kind < 0.85:
            change = {"n": [24, [[92, [[170, [ROW, "n"]], 0]], 1]], "room": rand.randrange(5)}
            term = [53, [[16, [ROWS, key]], [69, [[2, [1]], change]]], {"durability": durability}]
        else:
            term = [54, [[16, [ROWS, key]]], {"durability": durability}]
        client.run(term)
        self.written += 1


def replay(path, single):
    result = Replay(single)
    for line in read_lines(path):
        if "failure" in line:
            raise Broken(line["failure"])
        result.line(line)
    return result


class Follower:
    def __init__(self, server, name):
        self.server, self.name = server, name
        self.term, self.single = FEEDS[name]
        self.path = os.path.join(server.dir, "follow-" + name)
        self.kills = 0
        self.start()

    def start(self):
        self.process = subprocess.Popen([sys.executable, os.path.join(os.path.dirname(os.path.abspath(__file__)), "follow.py"),
                                         os.path.join(self.server.dir, "ports.json"), json.dumps(self.term), self.path])

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        self.kills += 1

    def expected(self, client):
        answer = client.run([150, [self.term]] if self.name == "group" else self.term)
        return answer if self.single else {name_of(row): row for row in answer}


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=random.randrange(1, 1 << 31))
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seconds", type=float, default=0, help="fewer kills if this is over before")
    options = parser.parse_args()
    print("seed %d" % options.seed, flush=True)
    rand = random.Random(options.seed)
    began = time.monotonic()
    server = Server("--log-budget", "4MiB", "--log-keep", "1GiB", "--cache-size", "32MiB")
    followers, writers, server_kills = [], [], 0
    try:
        with Client(server.port) as client:
            client.run([60, [[14, ["test"]], "rows"]])
            for index in ("room", "n"):
                client.run([75, [ROWS, index]])
            client.run([140, [ROWS]])
        writers = [Writer(server, rand.randrange(1 << 60)) for _ in range(4)]
        for writer in writers:
            writer.start()
        followers = [Follower(server, name) for name in FEEDS]
        for kill in range(options.kills):
            time.sleep(rand.uniform(0.1, 0.8))
            if rand.random() < 0.5:
                server.kill()
                server.start()
                server_kills += 1
            else:
                for follower in rand.sample(followers, rand.randrange(1, 4)):
                    follower.kill()
                    if rand.random() < 0.3:
                        time.sleep(rand.uniform(0, 0.3))
                    follower.start()
            if options.seconds and time.monotonic() - began > options.seconds:
                print("the time is up after %d kills" % (kill + 1))
                return 1
        for writer in writers:
            writer.stop.set()
        for writer in writers:
            writer.join(30)
            if writer.failure:
                raise writer.failure
        written = sum(writer.written for writer in writers)
        totals = []
        with Client(server.port) as client:
            for follower in followers:
                expected = follower.expected(client)
                deadline = time.monotonic() + 60
                while True:
                    result = replay(follower.path, follower.single)
                    if result.ready and result.state() == expected:
                        break
                    if time.monotonic() > deadline:
                        raise Broken("%s: after a minute it has\n%r\nnot\n%r" % (follower.name, result.state(), expected))
                    time.sleep(0.2)
                if result.restarts:
                    raise Broken("%s: it began anew %d times" % (follower.name, result.restarts))
                totals.append("%s %d" % (follower.name, result.changes))
        print("%d kills (%d of the server), %d writes, 0 lost, 0 repeated, %.0f s; changes: %s" %
              (options.kills, server_kills, written, time.monotonic() - began, ", ".join(totals)))
        assert written > options.kills * 10, "hardly anything was written: the test says nothing"
        return 0
    except (AssertionError, Broken) as e:
        print("FAILED, seed %d: %s" % (options.seed, e), flush=True)
        print(server.read_log())
        return 1
    finally:
        for writer in writers:
            writer.stop.set()
        for follower in followers:
            follower.kill()
        server.stop()


if __name__ == "__main__":
    sys.exit(main())
