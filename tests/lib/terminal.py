"""A program on a pseudo terminal: typed to, waited for, resized. Standard library only."""

import fcntl
import os
import pty
import re
import select
import signal
import struct
import termios
import time

ESCAPES = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]|\x1b[=>]|\r")


def plain(text):
    """Without what only moves the cursor and colours."""
    return ESCAPES.sub("", text)


def cut_character(data):
    """What decodes, and the bytes of a character that has not come whole."""
    for back in range(min(3, len(data)), 0, -1):
        byte = data[-back]
        if byte >= 0xC0:
            if back < (2 if byte < 0xE0 else 3 if byte < 0xF0 else 4):
                return data[:-back].decode("utf-8", "replace"), data[-back:]
            break
    return data.decode("utf-8", "replace"), b""


class Terminal:
    def __init__(self, argv, env=None, rows=24, columns=100):
        full = {k: v for k, v in os.environ.items()
                if not k.startswith("PHOTONDB_") and k not in ("PAGER", "LESS", "NO_COLOR", "EDITOR", "VISUAL")}
        full.update({"TERM": "xterm", "LANG": "C.UTF-8", "LC_ALL": "C.UTF-8"})
        full.update(env or {})
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            os.execvpe(argv[0], argv, full)
        self.status = None
        self.seen = ""    # all that came
        self.text = ""    # the same without escape sequences
        self.at = 0       # of `text`: what was waited for already
        self._rest = ""   # of `seen`: the beginning of an escape sequence
        self._bytes = b"" # of a character
        self.resize(rows, columns)

    def resize(self, rows, columns):
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def send(self, text):
        os.write(self.fd, text.encode())

    def _read(self, seconds):
        """False at the end."""
        if not select.select([self.fd], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self.fd, 1 << 16)
        except OSError:
            return False
        self._bytes += data
        text, self._bytes = cut_character(self._bytes)
        self.seen += text
        text = self._rest + text
        cut = re.search(r"\x1b(\[[0-9;?]*)?$", text)
        self._rest = text[cut.start():] if cut else ""
        self.text += plain(text[:cut.start()] if cut else text)
        return bool(data)

    def expect(self, pattern, timeout=60):
        """Waits for the pattern; returns all that came before and with it, escape sequences taken out."""
        deadline = time.monotonic() + timeout
        going = True
        while True:
            match = re.compile(pattern).search(self.text, self.at)
            if match:
                text = self.text[self.at:match.end()]
                self.at = match.end()
                return text
            if not going or time.monotonic() > deadline:
                raise AssertionError("waited for %r; there is:\n%s" % (pattern, self.text[self.at:][-3000:]))
            going = self._read(0.2)

    def signal(self, number):
        os.kill(self.pid, number)

    def wait(self, timeout=60):
        """The exit status, negative for a signal."""
        deadline = time.monotonic() + timeout
        while self.status is None:
            self._read(0.05)
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                raise AssertionError("it does not end; there is:\n%s" % self.text[self.at:][-3000:])
        while self._read(0) and select.select([self.fd], [], [], 0)[0]:
            pass
        return self.status

    def close(self):
        if self.status is None:
            try:
                os.kill(self.pid, signal.SIGKILL)
                os.waitpid(self.pid, 0)
            except (ProcessLookupError, ChildProcessError):
                pass
        os.close(self.fd)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()
