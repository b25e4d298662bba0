#!/usr/bin/env python3
"""Long queries of every kind, ended in every way: by deleting their row of `jobs`, by STOP, by a vanishing client, by the
time-out. Each must be noticed soon, whatever the query is doing, and the server must be well afterwards.

    run.py BINARY [PATTERN]     PATTERN: only kinds whose name contains it; prints how long each took to notice
"""
import os
import struct
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
os.environ["PHOTONDB"] = os.path.abspath(sys.argv[1])
from photon import Client, QueryError, Server  # noqa: E402

# What a release build keeps to is 50 ms; a sanitizer's build on a machine that is busy with other tests gets more.
SOON = 1.5
START = 0.15    # how long a query runs before it is ended: all of them take many times that

# Terms by their numbers (src/reql/terms.def).

def var(n):
    return [10, [n]]


def func(params, body):
    return [69, [[2, params], body]]


def array(items):
    return [2, items]


def rng(*args):
    return [173, list(args)]


def t_map(seq, params, body):
    return [38, [seq, func(params, body)]]


def reduce_(seq, body):
    return [37, [seq, func([1, 2], body)]]


BIG = 100000000
NUMBERS = t_map(rng(BIG), [1], [24, [var(1), 2]])
LIST = [51, [rng(45000), "array"]]      # coerce_to array


def forever(inner):
    """inner, evaluated for each number of an endless range: for terms that are not long by themselves."""
    return [43, [t_map(rng(BIG), [9], inner)]]


KINDS = {
    "count of map": [43, [NUMBERS]],
    "reduce": reduce_(NUMBERS, [24, [var(1), var(2)]]),
    "sum": [145, [NUMBERS]],
    "fold": [187, [NUMBERS, 0, func([1, 2], [24, [var(1), var(2)]])]],
    "filter": [43, [[39, [rng(BIG), func([1], [17, [var(1), -1]])]]]],
    "concat_map": [43, [[40, [rng(BIG), func([1], array([var(1), var(1)]))]]]],
    "group": [144, [NUMBERS, func([1], [28, [var(1), 100]])]],
    "grouped count": [43, [[144, [NUMBERS, func([1], [28, [var(1), 100]])]]]],
    "distinct": [42, [t_map(rng(BIG), [1], [28, [var(1), 1000]])]],
    "order_by": [43, [[41, [t_map(rng(3000000), [1], array([[28, [[26, [var(1), 7919]], 100003]]])),
                            func([1], var(1))]]]],
    "inner_join": [43, [[48, [rng(BIG), array([1, 2, 3]), func([1, 2], [17, [var(1), -1]])]]]],
    "outer_join": [43, [[49, [rng(BIG), array([1, 2, 3]), func([1, 2], [17, [var(1), -1]])]]]],
    "large arrays added": forever([24, [LIST, LIST]]),
    "union": forever([43, [[44, [LIST, LIST]]]]),
    "coerce_to": forever([51, [LIST, "string"]]),
    "to_json_string": forever([172, [LIST]]),
    "json": [64, [func([8], forever([98, [var(8)]])), [172, [LIST]]]],
    "large text": forever([43, [[149, [[51, [LIST, "string"]], ","]]]]),
    "match": [64, [func([8], forever([97, [var(8), "(a*)*b$"]])), [51, [LIST, "string"]]]],
    "upcase": [64, [func([8], forever([141, [var(8)]])), [51, [LIST, "string"]]]],
    "set_union": forever([90, [LIST, LIST]]),
    "difference": forever([95, [LIST, LIST]]),
    "contains": forever([93, [LIST, -1]]),
    "offsets_of": forever([87, [LIST, -1]]),
    "min": forever([147, [LIST, func([1], var(1))]]),
    "nested reduce": forever(reduce_(LIST, [24, [var(1), var(2)]])),
    "merge": forever([35, [{"a": LIST}, {"b": LIST}]]),
    "comparison": [64, [func([8], forever([17, [array([var(8), 1]), array([var(8), 2])]])), LIST]],
    "circle": forever([165, [[159, [0, 0]], 100000], {"num_vertices": 500}]),
    "distance": forever([162, [[159, [[28, [var(9), 90]], 0]], [165, [[159, [0, 0]], 100000]]]]),
    "includes": forever([164, [[165, [[159, [0, 0]], 100000], {"num_vertices": 500}], [159, [0, 0]]]]),
    "nth": [45, [NUMBERS, BIG - 1]],
    "skip": [43, [[70, [t_map(rng(BIG), [1], var(1)), BIG - 1]]]],
    "is_empty": [86, [[39, [rng(), func([1], [17, [var(1), -1]])]]]],
    "table scan": "TABLE",
    "for_each": [68, [rng(BIG), func([1], [56, [[15, [[14, ["test"]], "w"]], {"id": [28, [var(1), 10]], "n": var(1)},
                                                ], {"conflict": "replace"}])]],
    "update of many": "UPDATE",
}

T = [15, [[14, ["test"]], "t"]]


def term_of(kind):
    term = KINDS[kind]
    if term == "TABLE":
        return forever([43, [[39, [T, func([1], [17, [[170, [var(1), "x"]], -1]])]]]])
    if term == "UPDATE":
        return [68, [rng(BIG), func([9], [53, [T, {"n": var(9)}]])]]
    return term


def row_of(boss, before):
    """The id of the query that came since."""
    rows = boss.run([15, [[14, ["rethinkdb"]], "jobs"]])
    return [row for row in rows if row["id"][1] not in before and "jobs" not in row["info"]["query"]]


def delete(boss, row):
    return boss.run([54, [[16, [[15, [[14, ["rethinkdb"]], "jobs"]], [2, row["id"]]]]]])


def expect(what, ok):
    if not ok:
        raise AssertionError(what)


def check_kinds(server, pattern):
    boss = Client(server.port)
    worst = 0
    for kind in KINDS:
        if pattern and pattern not in kind:
            continue
        client = Client(server.port)
        token = client.send([1, term_of(kind), {"array_limit": BIG}])
        time.sleep(START)
        rows = row_of(boss, ())
        if len(rows) != 1:
            _, answer = client.receive()
            raise AssertionError("%s: %d jobs; its answer: %s" % (kind, len(rows), str(answer)[:300]))
        row = rows[0]
        expect(row, row["type"] == "query" and row["info"]["user"] == "admin" and row["duration_sec"] > 0 and
               row["info"]["client_address"] == "127.0.0.1" and row["info"]["query"])
        start = time.monotonic()
        expect(kind, delete(boss, row)["deleted"] == 1)
        got, answer = client.receive()
        took = time.monotonic() - start
        worst = max(worst, took)
        print("%-20s %6.1f ms" % (kind, took * 1000))
        expect("%s: %s" % (kind, str(answer)[:300]), got == token and answer["t"] == 18 and answer["e"] == 4200000 and
               answer["r"] == ["Query terminated by the `rethinkdb.jobs` table."] and answer["b"] == [])
        expect("%s took %.3f s" % (kind, took), took < SOON)
        expect(kind, client.run([24, [1, 2]]) == 3)
        client.sock.close()
    print("worst: %.1f ms" % (worst * 1000))


def check_ways(server):
    boss, client = Client(server.port), Client(server.port)
    long = KINDS["count of map"]
    # STOP: the end of the stream, once for the query and once for the STOP.
    token = client.send([1, long])
    time.sleep(START)
    client.send([3], token)
    expect("STOP", [client.receive()[1]["t"] for _ in range(2)] == [2, 2])
    # An open cursor is a job, too; killed, its next batch is the error.
    token = client.send([1, rng(BIG)])
    expect("first batch", client.receive()[1]["t"] == 3)
    rows = row_of(boss, ())
    expect(rows, len(rows) == 1 and "range" in rows[0]["info"]["query"])
    delete(boss, rows[0])
    client.send([2], token)
    answer = client.receive()[1]
    expect(answer, answer["t"] == 18 and answer["r"] == ["Query terminated by the `rethinkdb.jobs` table."])
    # The client goes: so does its query.
    client.send([1, long])
    time.sleep(START)
    expect("runs", len(row_of(boss, ())) == 1)
    client.sock.close()
    start = time.monotonic()
    while row_of(boss, ()):
        expect("a query outlives its client", time.monotonic() - start < SOON)
        time.sleep(0.01)
    # The query's own time-out.
    client = Client(server.port)
    start = time.monotonic()
    try:
        client.run(long, query_timeout=0.2)
        raise AssertionError("no time-out")
    except QueryError as e:
        expect(e, e.response["e"] == 4200000 and "query_timeout" in str(e))
    expect("time-out", 0.2 <= time.monotonic() - start < 0.2 + SOON)
    # Figures.
    engine = boss.run([16, [[15, [[14, ["rethinkdb"]], "stats"]], [2, ["cluster"]]]])["query_engine"]
    expect(engine, engine["client_connections"] == 2 and engine["clients_active"] >= 1)
    status = boss.run([45, [[15, [[14, ["rethinkdb"]], "server_status"]], 0]])
    expect(status, status["process"]["argv"] and status["network"]["reql_port"] == server.port)
    expect("logs", any("is ready" in row["message"] for row in boss.run([15, [[14, ["rethinkdb"]], "logs"]])))


def check_depth(server):
    """As deep as the parser lets through, and deeper: an answer or an error, never a crash."""
    client = Client(server.port)
    for depth in (50, 100, 200, 240, 300, 1000, 10000):
        shapes = {
            "add": lambda t: '[24,[%s,1]]' % t,
            "do": lambda t: '[64,[[69,[[2,[1]],[24,[[10,[1]],1]]]],%s]]' % t,
            "reduce": lambda t: '[37,[[2,[%s,1]],[69,[[2,[1,2]],[24,[[10,[1]],[10,[2]]]]]]]]' % t,
            "nested reduce": lambda t: '[37,[[2,[1,2]],[69,[[2,[1,2]],%s]]]]' % t,
            "nested map": lambda t: '[38,[[2,[1]],[69,[[2,[1]],%s]]]]' % t,
            "default": lambda t: '[92,[%s,[12,["x"]]]]' % t,
        }
        for shape in shapes.values():
            text = "1"
            for _ in range(depth):
                text = shape(text)
            body = ("[1,%s]" % text).encode()
            client.token += 1
            client.sock.sendall(struct.pack("<QI", client.token, len(body)) + body)
            client.receive()
    expect("alive", client.run([24, [1, 2]]) == 3)


def main():
    pattern = sys.argv[2] if len(sys.argv) > 2 else ""
    with Server() as server:
        boss = Client(server.port)
        for name in ("t", "w"):
            boss.run([60, [[14, ["test"]], name]])
        boss.run([56, [T, [51, [t_map(rng(2000), [1], {"x": var(1)}), "array"]]]])
        check_kinds(server, pattern)
        if not pattern:
            boss.sock.close()
            check_ways(server)
            check_depth(server)
    with Server("--query-timeout", "0.3", "--query-memory", "16MiB") as server:
        client = Client(server.port)
        for term, word in ((KINDS["count of map"], "--query-timeout"),
                           ([51, [t_map(rng(BIG), [1], [24, ["x" * 1000, [51, [var(1), "string"]]]]), "array"]],
                            "--query-memory")):
            try:
                client.run(term)
                raise AssertionError("no limit")
            except QueryError as e:
                expect(e, word in str(e))
    print("ok")


if __name__ == "__main__":
    main()
