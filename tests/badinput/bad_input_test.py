#!/usr/bin/env python3
"""Bytes that no driver sends: each gets the protocol's own error, and the server goes on.   bad_input_test.py  (PHOTONDB=binary)"""
import json
import os
import random
import socket
import struct
import sys
import unittest

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "lib"))
from photon import Client, QueryError, Server, table  # noqa: E402

FRAME_MAX = 134217727


def setUpModule():
    global server
    server = Server()


def tearDownModule():
    server.stop()       # a sanitizer's report makes this fail


def raw():
    sock = socket.create_connection(("127.0.0.1", server.port), 10)
    sock.settimeout(20)
    return sock


def read_all(sock):
    out = b""
    try:
        while True:
            chunk = sock.recv(65536)
            if not chunk:
                return out
            out += chunk
    except OSError:
        return out


class BadInput(unittest.TestCase):
    def setUp(self):
        self.client = Client(server.port)

    def tearDown(self):
        self.assertEqual(self.client.run([24, [1, 2]]), 3, "the connection goes on")
        self.client.close()
        self.still_serves()

    def still_serves(self):
        with Client(server.port) as other:
            self.assertEqual(other.run([24, [40, 2]]), 42)

    def body(self, body, token=77):
        """Sends one frame with this body; the response to it."""
        self.client.sock.sendall(struct.pack("<QI", token, len(body)) + body)
        answered, response = self.client.receive()
        self.assertEqual(answered, token)
        return response

    def refused(self, term, code, kind=18):
        with self.assertRaises(QueryError) as caught:
            self.client.run(term)
        response = caught.exception.response
        self.assertEqual(response["t"], kind, response)
        if kind == 18:
            self.assertEqual(response["e"], code, response)
        return response["r"][0]

    def test_not_json(self):
        for text in (b"", b"garbage", b"[1,", b"\0\0\0", b"[1,[24,[1,2]],{}] more", b"[1,\"\\ud800\",{}]"):
            response = self.body(text)
            self.assertEqual((response["t"], response["r"]), (16, ["Client is buggy (failed to deserialize query)."]), text)

    def test_wrong_shape(self):
        for text in (b"1", b"{}", b"[]", b"[\"1\"]", b"[99]", b"[1,[24,[1,2]],[]]", b"null"):
            response = self.body(text)
            self.assertEqual(response["t"], 16, (text, response))

    def test_no_term(self):
        self.assertGreaterEqual(self.body(b"[1]")["t"], 16)

    def test_invalid_utf8(self):
        for bad in (b"\xff", b"\xc3", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"):
            response = self.body(b"[1,\"" + bad + b"\",{}]")
            self.assertEqual(response["t"], 17, response)

    def test_deep_nesting(self):
        for depth in (1000, 10000, 200000):
            response = self.body(b"[1," + b"[2,[" * depth + b"1" + b"]]" * depth + b",{}]")
            self.assertGreaterEqual(response["t"], 16, depth)
            response = self.body(b"[1," + b"{\"a\":" * depth + b"1" + b"}" * depth + b",{}]")
            self.assertGreaterEqual(response["t"], 16, depth)
        response = self.body(json.dumps([1, [98, ["[" * 10000 + "]" * 10000]]]).encode())
        self.assertEqual(response["t"], 18)

    def test_unknown_term(self):
        self.refused([999, []], None, 17)
        self.refused([-1, []], None, 17)

    def test_wrong_arity(self):
        self.assertIn("Expected 2 arguments but found 1", self.refused([16, [table("test", "x")]], None, 17))

    def test_unknown_option(self):
        self.assertIn("Unrecognized optional argument", self.refused([60, ["x"], {"nonsense": 1}], None, 17))

    def test_unknown_variable(self):
        self.refused([10, [5]], None, 17)

    def test_negative_limit(self):
        self.refused([71, [[173, [5]], -1]], 3000000)

    def test_numbers(self):
        self.assertGreaterEqual(self.body(b"[1,1e400,{}]")["t"], 16)
        self.assertGreaterEqual(self.body(b"[1,NaN,{}]")["t"], 16)
        self.refused([27, [1, 0]], 3000000)
        self.refused([26, [1e308, 1e308]], 3000000)

    def test_memory_bomb(self):
        # 2^40 bytes by doubling: refused by the query's budget, not by the kernel
        term = "x" * 1024
        for _ in range(30):
            term = [64, [[69, [[2, [1]], [24, [[10, [1]], [10, [1]]]]]], term]]
        self.refused(term, 2000000)
        self.refused([43, [[26, [[2, [1] * 100], 10000000]]]], 2000000)

    def test_long_work_is_cancelled_by_disconnect(self):
        client = Client(server.port)
        for _ in range(8):
            client.send([1, [43, [[38, [[173, [10 ** 12]], [69, [[2, [1]], [24, [[10, [1]], 1]]]]]]]], {}])
        client.close()
        self.still_serves()

    def test_oversized_frame(self):
        sock = Client(server.port)
        sock.sock.sendall(struct.pack("<QI", 5, 2 ** 31 - 1))
        token, response = sock.receive()
        self.assertEqual((token, response["t"]), (5, 16))
        self.assertEqual(response["r"], ["Query size (2147483647) greater than maximum (134217727)."])
        sock.close()

    def test_huge_string(self):
        # just below the limit: taken whole, and nothing of it stays
        size = 100 << 20
        text = b"[1,[17,[\"" + b"a" * size + b"\",\"b\"]],{}]"
        self.assertEqual(self.body(text), {"t": 1, "r": [False]})

    def test_truncated_frame(self):
        for cut in (0, 1, 11, 12, 20):
            sock = Client(server.port)
            frame = struct.pack("<QI", 1, 100) + b"[1,1,{}]".ljust(100)
            sock.sock.sendall(frame[:cut])
            sock.close()

    def test_garbage_handshake(self):
        for garbage in (b"GET / HTTP/1.1\r\n\r\n", b"\0" * 4, os.urandom(64), b"\xff" * 100000):
            sock = raw()
            try:
                sock.sendall(garbage)
            except OSError:
                pass
            answer = read_all(sock)
            sock.close()
            self.assertIn(b"unsupported protocol version", answer)

    def test_handshake_messages(self):
        magic = struct.pack("<I", 0x34c2bdc3)
        hello = {"protocol_version": 0, "authentication_method": "SCRAM-SHA-256", "authentication": "n,,n=admin,r=abc"}
        for message, code in ((b"not json", 8), (json.dumps(dict(hello, protocol_version=7)).encode(), 2),
                              (json.dumps(dict(hello, authentication_method="PLAIN")).encode(), 4)):
            sock = raw()
            sock.sendall(magic + message + b"\0")
            answers = [json.loads(part) for part in read_all(sock).split(b"\0") if part]
            self.assertFalse(answers[-1]["success"])
            self.assertEqual(answers[-1]["error_code"], code, answers)
            sock.close()
        sock = raw()
        sock.sendall(magic + b"x" * 1000000)         # a message that never ends
        read_all(sock)
        sock.close()

    def test_wrong_password(self):
        with self.assertRaises(PermissionError):
            Client(server.port, password="wrong")
        with self.assertRaises(PermissionError):
            Client(server.port, user="nobody")

    def test_random_bytes(self):
        rng = random.Random(7)
        for _ in range(60):
            sock = Client(server.port)
            for _ in range(5):
                body = bytes(rng.choice(b'[]{},:"0123456789-.eEnulltruefalse\\ \xc3\xff') for _ in range(rng.randrange(60)))
                sock.sock.sendall(struct.pack("<QI", 9, len(body)) + body)
                _, response = sock.receive()
                self.assertIn("t", response)
            sock.close()


if __name__ == "__main__":
    unittest.main()
