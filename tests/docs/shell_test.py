#!/usr/bin/env python3
"""docs/shell.md, as it stands: its sessions are typed into a shell on a pseudo terminal, its `$` lines are run, and what
comes must be what the page shows. Of the page's output, a line `...` stands for any lines, times in ms and sizes for any
times and sizes.

    shell_test.py           checks
    shell_test.py --write   puts what comes now into the page (lines behind a `...` stay as they are)
"""

import os
import re
import subprocess
import sys
import tempfile

here = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(here, "..", "lib"))
from photon import BINARY, Server  # noqa: E402
from terminal import Terminal  # noqa: E402

PAGE = os.path.join(here, "..", "..", "docs", "shell.md")
PROMPT = re.compile(r"^(photon:\w+[>!]|\s*[(\[{`/.]>) ")


def blocks(text):
    """(language, first line, lines) of each fenced block."""
    lines, found, i = text.split("\n"), [], 0
    while i < len(lines):
        if lines[i].startswith("```") and lines[i] != "```":
            end = next(n for n in range(i + 1, len(lines)) if lines[n] == "```")
            found.append((lines[i][3:], i + 1, lines[i + 1:end]))
            i = end
        i += 1
    return found


def steps(lines, is_input):
    """[(input line, its output lines)], the output of a line that goes on being empty."""
    out = []
    for line in lines:
        if is_input(line):
            out.append((line, []))
        else:
            out[-1][1].append(line)
    return out


def same(line):
    line = re.sub(r"\d+(\.\d+)? (ms|[kM]?B)\b", r"N \2", line.rstrip())
    return re.sub(r"-{2,}", "--", re.sub(r" {2,}", "  ", re.sub(r"_var\d+", "_var", line)))


def fits(expected, got):
    """As lines, with `...` for any number of them."""
    if not expected:
        return not got
    if expected[0].strip() == "...":
        return any(fits(expected[1:], got[n:]) for n in range(len(got) + 1))
    return bool(got) and same(expected[0]) == same(got[0]) and fits(expected[1:], got[1:])


class Session:
    """The shell of all `photon` blocks: they go on where the last one ended."""

    def __init__(self, port):
        self.term = Terminal([BINARY, "shell", "--port", str(port), "--history", "none"], {"NO_COLOR": "1", "PAGER": ""}, 60, 120)
        self.prompt = self.term.expect(r"photon:test> $").split("\n")[-1]

    def type(self, line):
        text = PROMPT.sub("", line, 1)
        if line != self.prompt + text:
            return ["the prompt is: " + self.prompt]
        self.term.send(text + "\n")
        self.term.expect(re.escape(text[-30:]) + r"\n")
        shown = self.term.expect(r"(?m:^) *(?:photon:\w+[>!]|[(\[{`/.]>) $")
        self.prompt = shown.split("\n")[-1]
        return [part.rstrip() for part in shown.split("\n")[:-1]]


def run_command(line, port, directory):
    env = {k: v for k, v in os.environ.items() if not k.startswith("PHOTONDB")}
    env.update({"PHOTONDB_PORT": str(port), "PATH": directory + ":" + env["PATH"]})
    done = subprocess.run(["bash", "-c", line[2:]], cwd=directory, env=env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60)
    return done.stdout.decode().rstrip("\n").split("\n") if done.stdout else []


def main(write):
    with open(PAGE) as f:
        text = f.read()
    lines, wrong = text.split("\n"), []
    with Server() as server, tempfile.TemporaryDirectory() as directory:
        os.symlink(os.path.abspath(BINARY), os.path.join(directory, "photondb"))
        os.chdir(directory)
        session = Session(server.port)
        added = 0
        for language, at, block in blocks(text):
            if language == "photon":
                pairs, run = steps(block, PROMPT.match), session.type
            elif language == "sh" and block[0].startswith("$ "):
                pairs = steps(block, lambda line: line.startswith("$ "))
                run = lambda line: run_command(line, server.port, directory)  # noqa: E731
            else:
                continue
            new = []
            for line, expected in pairs:
                got = run(line)
                right = fits(expected, got)
                if not right:
                    wrong.append("%s:%d: %s\n  the page:\n    %s\n  what came:\n    %s" %
                                 (PAGE, at + 1, line, "\n    ".join(expected), "\n    ".join(got)))
                new += [line] + (expected if right else got)
            if write:
                lines[at + added:at + added + len(block)] = new
                added += len(new) - len(block)
        session.term.close()
    if write:
        with open(PAGE, "w") as f:
            f.write("\n".join(lines))
        print("%d places changed" % len(wrong))
    elif wrong:
        print("\n".join(wrong))
        sys.exit(1)
    elif not blocks(text):
        sys.exit("the page has no examples")


main("--write" in sys.argv)
