#!/usr/bin/env python3
"""A client that stops reading: the server's memory stays what it is, and the client gets everything when it reads again.

    PHOTONDB=build/release/photondb tests/feeds/slow_test.py [--seconds 60] [--rate 5000] [--bytes 200]

Without --seconds a quick form: a fixed number of larger writes, as fast as they go. Rows are updated in place, so that neither the table nor
its caches grow; what the feed is behind by is many times what the server's memory may grow by. The client has asked for the next batch and
does not read. Then it reads, and each row's updates must come whole and in order.
"""

import argparse
import os
import sys
import threading
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
os.environ["ASAN_OPTIONS"] = os.environ.get("ASAN_OPTIONS", "") + ":quarantine_size_mb=4"
from photon import Client, Server, datum, table  # noqa: E402

ROWS = table("test", "rows")
ROW_COUNT = 1000


def rss(process):
    with open("/proc/%d/statm" % process.pid) as f:
        return int(f.read().split()[1]) * os.sysconf("SC_PAGESIZE")


class Load:
    """Updates rows in turn, `batch` rows a query: n grows by one with each round."""

    def __init__(self, server, size, batch):
        self.client, self.size, self.batch, self.at, self.total = Client(server.port), size, batch, 0, 0

    def step(self):
        docs = []
        for _ in range(self.batch):
            docs.append({"id": self.at % ROW_COUNT, "n": self.at // ROW_COUNT, "text": "x" * self.size})
            self.at += 1
        answer = self.client.run([56, [ROWS, datum(docs)], {"conflict": "replace", "durability": "soft"}])
        assert answer["errors"] == 0, answer
        self.total += self.batch

    def run(self, writes, rate):
        began, first = time.monotonic(), self.total
        while self.total - first < writes:
            self.step()
            ahead = (self.total - first) / rate - (time.monotonic() - began) if rate else 0
            if ahead > 0:
                time.sleep(ahead)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=0)
    parser.add_argument("--rate", type=float, default=5000)
    parser.add_argument("--bytes", type=int, default=0, help="of a row's text")
    options = parser.parse_args()
    quick = not options.seconds
    size = options.bytes or (4000 if quick else 200)
    writes = 25000 if quick else int(options.seconds * options.rate)
    rate = 0 if quick else options.rate
    grow_max = 48 << 20  # the cache, the log in memory, and what the allocator keeps
    with Server("--log-keep", "4GiB", "--cache-size", "32MiB", "--log-budget", "32MiB") as server:
        load = Load(server, size, 50)
        load.client.run([60, [[14, ["test"]], "rows"]])
        load.run(max(10000, writes // 10), rate)  # its memory has grown by what it needs for writing
        slow = Client(server.port, timeout=120)
        number = slow.send([1, [152, [ROWS], {}], {}])
        _, response = slow.receive()
        assert response["t"] == 3 and response["r"] == [], response
        slow.send([2], number)
        first, before = load.at, rss(server.process)
        highest, done = before, threading.Event()

        def look():
            nonlocal highest
            while not done.wait(0.05):
                highest = max(highest, rss(server.process))
        looking = threading.Thread(target=look)
        looking.start()
        began = time.monotonic()
        load.run(writes, rate)
        took = time.monotonic() - began
        stopped_at = highest
        expected, got, bytes_read = load.at, first, 0
        began = time.monotonic()
        while got < expected:
            _, response = slow.receive()
            assert response["t"] == 3, response
            for doc in response["r"]:
                new, old = doc["new_val"], doc["old_val"]
                assert (new["id"], new["n"]) == (got % ROW_COUNT, got // ROW_COUNT), "lost, repeated or out of order: %r at %d" % (new, got)
                assert (old["id"], old["n"]) == (new["id"], new["n"] - 1), "another old value: %r" % doc
                bytes_read += 2 * len(new["text"])
                got += 1
            slow.send([2], number)
        caught_up = time.monotonic() - began
        done.set()
        looking.join()
        print("%d writes in %.0f s while the client did not read; its changes have %d MB; RSS %d MB before, %d MB at most meanwhile, "
              "%d MB until it had all; all there after %.1f s" %
              (expected - first, took, bytes_read >> 20, before >> 20, stopped_at >> 20, highest >> 20, caught_up))
        assert bytes_read > 3 * grow_max or not quick, "too little to say anything"
        assert stopped_at - before < grow_max, "the server's memory grew by %d MB" % ((stopped_at - before) >> 20)
        assert highest - before < 2 * grow_max, "catching up took %d MB" % ((highest - before) >> 20)
        slow.close()
        load.client.close()
    return 0


if __name__ == "__main__":
    sys.exit(main())
