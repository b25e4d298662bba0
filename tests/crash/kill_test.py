#!/usr/bin/env python3
"""kill -9 at random, while 32 connections write with hard durability: what was acknowledged is there, nothing is half there.

    PHOTONDB=build/dev/photondb tests/crash/kill_test.py [--seed N] [--kills 30] [--connections 32] [--storage btree,slab]

Each connection writes what nobody else writes, so that it knows what must be there:
  inserts      one document with a checksum over its payload, under a key (connection, number)
  multi        five documents in one query, all of one batch number: all or none of them
  counters     update {n: n + 1, history: history + [n + 1]}; n is the number of acknowledged updates, or one more when the last
               answer did not come
  replaces     the whole document, with a checksum
  deletes      of earlier inserts
After each restart the whole state is read and compared with what was acknowledged. A write without an answer may be there or
not, but whole. The log's budget is small, so that many kills hit a checkpoint; `photondb check` looks at some of the directories
before the restart. --storage: the engines of the two tables. The seed decides when to kill and what is written; the machine decides the rest.
"""

import argparse
import json
import os
import random
import subprocess
import sys
import threading
import time
import zlib

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import BINARY, Client, Closed, QueryError, Server, datum, table  # noqa: E402

ROWS, COUNTERS = table("crash", "rows"), table("crash", "counters")
ROW = [10, [1]]


def insert(target, docs):
    return [56, [target, datum(docs)]]


def get(target, key):
    return [16, [target, datum(key)]]


def increment(key):
    body = {"n": [24, [[170, [ROW, "n"]], 1]], "history": [29, [[170, [ROW, "history"]], [24, [[170, [ROW, "n"]], 1]]]]}
    return [53, [get(COUNTERS, key), [69, [[2, [1]], body]]]]


def document(key, random_, **more):
    payload = "".join(random_.choice("abcdefghijklmnopqrstuvwxyz") for _ in range(random_.choice((5, 50, 500) if random_.random() < 0.95 else (5000, 50000))))
    return dict(id=key, payload=payload, crc=zlib.crc32(payload.encode()), **more)


class Writer(threading.Thread):
    """One connection's share of the work between two kills. What it expects is kept in `model` and outlives the kills."""

    def __init__(self, model, number, port, seed, stop):
        super().__init__(daemon=True)
        self.model, self.number, self.port, self.stop = model, number, port, stop
        self.random = random.Random(seed)
        self.failure = None

    def run(self):
        try:
            with Client(self.port) as client:
                while not self.stop.is_set():
                    self.step(client)
        except Closed:
            pass
        except Exception as e:  # a wrong answer; the main thread reports it
            self.failure = e

    def write(self, client, term, keys, after):
        """`after` (key -> document or None) holds once acknowledged; until then either state does."""
        model = self.model
        model["unsure"] = [(key, model["rows"].get(key), after[key]) for key in keys]
        answer = client.run(term, durability="hard")
        if answer["errors"]:
            raise AssertionError("a write failed: %r" % answer)
        model["unsure"] = []
        for key in keys:
            if after[key] is None:
                model["rows"].pop(key, None)
            else:
                model["rows"][key] = after[key]
        model["acknowledged"] += 1

    def step(self, client):
        model, rand = self.model, self.random
        kind = rand.random()
        if kind < 0.35:
            key = "%d-%d" % (self.number, model["next"])
            model["next"] += 1
            doc = document(key, rand)
            self.write(client, insert(ROWS, [doc]), [key], {key: doc})
        elif kind < 0.55:
            batch = model["next"]
            model["next"] += 1
            docs = [document("%d-%d-%d" % (self.number, batch, i), rand, batch=batch) for i in range(5)]
            self.write(client, insert(ROWS, docs), [d["id"] for d in docs], {d["id"]: d for d in docs})
        elif kind < 0.8:
            model["counter_unsure"] = True
            answer = client.run(increment(self.number), durability="hard")
            if answer["replaced"] != 1:
                raise AssertionError("a counter's update: %r" % answer)
            model["counter_unsure"] = False
            model["counter"] += 1
            model["acknowledged"] += 1
        elif kind < 0.92 and model["rows"]:
            key = rand.choice(list(model["rows"]))
            if "batch" in model["rows"][key]:
                return
            doc = document(key, rand)
            self.write(client, [55, [get(ROWS, key), datum(doc)]], [key], {key: doc})
        elif model["rows"]:
            key = rand.choice(list(model["rows"]))
            if "batch" in model["rows"][key]:
                return
            self.write(client, [54, [get(ROWS, key)]], [key], {key: None})


def check(client, models):
    """Compares the store with what must be there, and takes over what turned out of the unsure writes."""
    there = {row["id"]: row for row in client.run(ROWS)}
    for row in there.values():
        assert zlib.crc32(row["payload"].encode()) == row["crc"], "half a document: %r" % row
    for number, model in enumerate(models):
        unsure = model["unsure"]
        if unsure:
            now = [there.get(key) for key, _, _ in unsure]
            before, after = [b for _, b, _ in unsure], [a for _, _, a in unsure]
            assert now in (before, after), "connection %d: neither before nor after:\n%r\n%r\n%r" % (number, now, before, after)
            for (key, _, _), row in zip(unsure, now):
                if row is None:
                    model["rows"].pop(key, None)
                else:
                    model["rows"][key] = row
            model["unsure"] = []
        for key, doc in model["rows"].items():
            assert there.get(key) == doc, "acknowledged and lost or changed: %r is %r" % (doc, there.get(key))
        counter = client.run(get(COUNTERS, number))
        allowed = (model["counter"], model["counter"] + 1) if model["counter_unsure"] else (model["counter"],)
        assert counter["n"] in allowed, "counter %d is %d, acknowledged %d" % (number, counter["n"], model["counter"])
        assert counter["history"] == list(range(1, counter["n"] + 1)), "half an update: %r" % counter
        model["counter"], model["counter_unsure"] = counter["n"], False
    expected = set()
    for model in models:
        expected.update(model["rows"])
    extra = set(there) - expected
    assert not extra, "rows that nobody wrote, or that were deleted: %r" % sorted(extra)[:10]


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seed", type=int, default=int(os.environ.get("CRASH_SEED", "0")) or random.randrange(1, 1 << 31))
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--connections", type=int, default=32)
    parser.add_argument("--storage", default="btree,slab", help="the engines of the tables rows and counters")
    parser.add_argument("--seconds", type=float, default=80, help="fewer kills if this is over before")
    options = parser.parse_args()
    print("seed %d" % options.seed, flush=True)
    rand = random.Random(options.seed)
    began = time.monotonic()
    models = [{"rows": {}, "next": 0, "counter": 0, "counter_unsure": False, "unsure": [], "acknowledged": 0}
              for _ in range(options.connections)]
    server = Server("--log-budget", "2MiB", "--cache-size", "32MiB")
    kills, slowest = 0, 0.0
    try:
        with Client(server.port) as client:
            client.run([57, ["crash"]])
            for name, engine in zip(("rows", "counters"), options.storage.split(",")):
                client.run([60, [[14, ["crash"]], name], {"storage": engine}])
            client.run(insert(COUNTERS, [{"id": i, "n": 0, "history": []} for i in range(options.connections)]))
        while kills < options.kills:
            stop = threading.Event()
            writers = [Writer(models[i], i, server.port, rand.randrange(1 << 60), stop) for i in range(options.connections)]
            for writer in writers:
                writer.start()
            time.sleep(rand.uniform(0.02, 1.0))
            server.kill()
            stop.set()
            for writer in writers:
                writer.join(30)
                assert not writer.is_alive(), "a writer hangs"
                if writer.failure:
                    raise writer.failure
            kills += 1
            if kills % 5 == 1:
                checked = subprocess.run([BINARY, "check", "--data-dir", server.data], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
                assert checked.returncode == 0, "photondb check after kill %d:\n%s" % (kills, checked.stdout[-3000:])
            at = time.monotonic()
            server.start()
            slowest = max(slowest, time.monotonic() - at)
            with Client(server.port) as client:
                check(client, models)
            if time.monotonic() - began > options.seconds and kills < options.kills:
                print("the time is up after %d kills" % kills)
                return 1
        acknowledged = sum(model["acknowledged"] for model in models)
        print("%d kills, %d acknowledged writes, none lost; slowest restart %.2f s; %.0f s in all" %
              (kills, acknowledged, slowest, time.monotonic() - began))
        assert acknowledged > kills * 10, "hardly anything was written: the test says nothing"
        return 0
    except AssertionError as e:
        print("FAILED after %d kills, seed %d: %s" % (kills, options.seed, e), flush=True)
        print(server.read_log())
        keep = os.environ.get("CRASH_KEEP")
        if keep:
            os.rename(server.dir, keep)
            print("the directory is kept as %s" % keep)
        return 1
    finally:
        if os.path.exists(server.dir):
            server.stop()


if __name__ == "__main__":
    sys.exit(main())
