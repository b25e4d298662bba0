#!/usr/bin/env python3
"""Replays recorded exchanges with a real RethinkDB against our server: every file of files.txt must pass completely.

    run.py BINARY [--all] [PATTERN...]      --all: every recorded file, for looking; PATTERN: these instead

The recordings live in ../shared/conformance, beside a checkout; without them this is skipped (exit status 77).
"""
import os
import re
import subprocess
import sys

HERE = os.path.dirname(os.path.abspath(__file__))

RECORDINGS = os.path.join(HERE, "..", "..", "..", "shared", "conformance")


def main():
    args = sys.argv[1:]
    if not args:
        sys.exit(__doc__)
    if not os.path.isdir(RECORDINGS):
        print("skipped: no recordings at ../shared/conformance")
        return 77
    binary, patterns = args[0], args[1:]
    everything = "--all" in patterns
    if not patterns:
        with open(os.path.join(HERE, "files.txt")) as f:
            patterns = ["^%s$" % re.escape(line.strip()) for line in f if line.strip() and not line.startswith("#")]
    os.environ["PHOTONDB"] = os.path.abspath(binary)
    sys.path.insert(0, os.path.join(os.path.dirname(HERE), "lib"))
    from photon import Server
    with Server() as server:
        command = [sys.executable, os.path.join(RECORDINGS, "replay.py"), "--port", str(server.port), "--strict-backtraces",
                   "--vectors", os.path.join(RECORDINGS, "vectors")]
        if not everything:
            command += ["--only"] + patterns
        return subprocess.call(command, env=dict(os.environ, PYTHONDONTWRITEBYTECODE="1"))


if __name__ == "__main__":
    sys.exit(main())
