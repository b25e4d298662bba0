"""What the Python tests share: a server in a temporary directory, and a small client of the wire protocol.

Standard library only, and nothing of the project's code: the tests judge from outside.
"""

import base64
import hashlib
import hmac
import json
import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time

BINARY = os.environ.get("PHOTONDB", "")
MAGIC_V1_0 = 0x34C2BDC3


def cli(*args, stdin=None, env=None, timeout=120, check=False):
    """Runs photondb; returns the finished process with text in stdout and stderr."""
    full = {k: v for k, v in os.environ.items() if not k.startswith("PHOTONDB_")}
    full.update(env or {})
    done = subprocess.run([BINARY, *map(str, args)], input=stdin, env=full, timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    done.out = done.stdout
    done.stdout = done.stdout.decode("utf-8", "replace")
    done.stderr = done.stderr.decode("utf-8", "replace")
    if check and done.returncode != 0:
        raise AssertionError("photondb %s: exit %d\n%s%s" % (" ".join(map(str, args)), done.returncode, done.stdout, done.stderr))
    return done


class Server:
    """photondb serve on free ports. `data` may be given to start again over the same directory."""

    def __init__(self, *args, data=None, start=True):
        self.dir = tempfile.mkdtemp(prefix="photondb-test-")
        self.data = data or os.path.join(self.dir, "data")
        self.args = args
        self.process = None
        if start:
            self.start()

    def start(self, timeout=60):
        port_file = os.path.join(self.dir, "ports.json")
        if os.path.exists(port_file):
            os.unlink(port_file)
        self.log = open(os.path.join(self.dir, "log"), "ab")
        env = {k: v for k, v in os.environ.items() if not k.startswith("PHOTONDB_")}
        self.process = subprocess.Popen(
            [BINARY, "serve", "--data-dir", self.data, "--driver-port", "0", "--http-port", "0", "--cluster-port", "0",
             "--port-file", port_file, "--log-level", "info", "--quiet", *self.args],
            stdin=subprocess.DEVNULL, stdout=self.log, stderr=self.log, env=env)
        deadline = time.monotonic() + timeout
        while True:
            try:
                with open(port_file) as f:
                    ports = json.load(f)
                break
            except (OSError, ValueError):
                pass
            if self.process.poll() is not None:
                raise AssertionError("the server did not start: exit %s\n%s" % (self.process.returncode, self.read_log()))
            if time.monotonic() > deadline:
                self.kill()
                raise AssertionError("the server is not ready after %d s\n%s" % (timeout, self.read_log()))
            time.sleep(0.005)
        self.port, self.http_port = ports["driver_port"], ports["http_port"]

    def read_log(self):
        with open(os.path.join(self.dir, "log"), errors="replace") as f:
            return f.read()[-8000:]

    def kill(self):
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, timeout=30):
        """Stops it kindly; anything but exit status 0 is an error (a sanitizer's report, for one)."""
        try:
            if self.process and self.process.poll() is None:
                self.process.terminate()
                try:
                    self.process.wait(timeout)
                except subprocess.TimeoutExpired:
                    self.kill()
                    raise AssertionError("the server did not stop within %d s\n%s" % (timeout, self.read_log()))
            if self.process and self.process.returncode not in (0, -signal.SIGKILL):
                raise AssertionError("the server ended with %s\n%s" % (self.process.returncode, self.read_log()))
        finally:
            self.log.close()
            shutil.rmtree(self.dir, ignore_errors=True)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.stop()


class Closed(Exception):
    """The server is gone."""


class QueryError(Exception):
    def __init__(self, response):
        self.response = response
        super().__init__("t=%s e=%s %s" % (response.get("t"), response.get("e"), response["r"][0]))


class Client:
    """One connection. Queries are JSON terms as Python lists; several may be under way."""

    def __init__(self, port, user="admin", password="", timeout=30):
        self.token = 0
        self.buffer = b""
        try:
            self.sock = socket.create_connection(("127.0.0.1", port), timeout)
            self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._login(user, password)
        except PermissionError:
            self.sock.close()
            raise               # refused, not gone
        except OSError as e:
            raise Closed(str(e))

    def _read(self, size):
        while len(self.buffer) < size:
            try:
                chunk = self.sock.recv(1 << 16)
            except OSError as e:
                raise Closed(str(e))
            if not chunk:
                raise Closed("end of stream")
            self.buffer += chunk
        out, self.buffer = self.buffer[:size], self.buffer[size:]
        return out

    def _message(self):
        out = b""
        while True:
            byte = self._read(1)
            if byte == b"\0":
                break
            out += byte
        answer = json.loads(out)
        if not answer.get("success"):
            raise PermissionError(answer.get("error"))
        return answer

    def _login(self, user, password):
        nonce = base64.b64encode(os.urandom(18)).decode()
        bare = "n=%s,r=%s" % (user.replace("=", "=3D").replace(",", "=2C"), nonce)
        self.sock.sendall(struct.pack("<I", MAGIC_V1_0) + json.dumps({
            "protocol_version": 0, "authentication_method": "SCRAM-SHA-256", "authentication": "n,," + bare}).encode() + b"\0")
        self._message()
        first = self._message()["authentication"]
        fields = dict(part.split("=", 1) for part in first.split(","))
        salted = hashlib.pbkdf2_hmac("sha256", password.encode(), base64.b64decode(fields["s"]), int(fields["i"]))
        key = hmac.new(salted, b"Client Key", hashlib.sha256).digest()
        final = "c=biws,r=" + fields["r"]
        signature = hmac.new(hashlib.sha256(key).digest(), ",".join((bare, first, final)).encode(), hashlib.sha256).digest()
        proof = base64.b64encode(bytes(a ^ b for a, b in zip(key, signature))).decode()
        self.sock.sendall(json.dumps({"authentication": final + ",p=" + proof}).encode() + b"\0")
        self._message()

    def send(self, query, token=None):
        if token is None:
            self.token += 1
            token = self.token
        body = json.dumps(query).encode()
        try:
            self.sock.sendall(struct.pack("<QI", token, len(body)) + body)
        except OSError as e:
            raise Closed(str(e))
        return token

    def receive(self):
        token, size = struct.unpack("<QI", self._read(12))
        return token, json.loads(self._read(size))

    def run(self, term, **options):
        """Waits for the whole answer: an atom's value, or the list of a sequence."""
        token = self.send([1, term, options])
        rows = []
        while True:
            answered, response = self.receive()
            assert answered == token
            if response["t"] >= 16:
                raise QueryError(response)
            if response["t"] == 1:
                return response["r"][0]
            rows += response["r"]
            if response["t"] != 3:
                return rows
            self.send([2], token)

    def close(self):
        self.sock.close()

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()


def table(db, name):
    return [15, [[14, [db]], name]]


def datum(value):
    """A JSON value as a term: arrays are calls on the wire."""
    if isinstance(value, list):
        return [2, [datum(v) for v in value]]
    if isinstance(value, dict):
        return {k: datum(v) for k, v in value.items()}
    return value
