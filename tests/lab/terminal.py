"""A pseudo-terminal, and the screen that a program draws on it."""

import fcntl
import os
import pty
import select
import struct
import subprocess
import termios
import time

import pyte

KEYS = {"enter": "\r", "esc": "\x1b", "down": "\x1b[B", "up": "\x1b[A", "tab": "\t", "backspace": "\x7f"}


class Terminal:
    """A program on a terminal of so many columns and lines."""

    def __init__(self, command, columns=80, lines=24):
        self.screen = pyte.Screen(columns, lines)
        self.stream = pyte.ByteStream(self.screen)
        self.master, slave = pty.openpty()
        fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(slave)
        self.slave = slave
        self.process = subprocess.Popen(
            list(map(str, command)), stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
            env={**os.environ, "TERM": "xterm-256color"},
        )

    def read(self, seconds):
        """Takes what it draws for so long."""
        limit = time.monotonic() + seconds
        while (left := limit - time.monotonic()) > 0:
            ready, _, _ = select.select([self.master], [], [], left)
            if ready:
                self.stream.feed(os.read(self.master, 65536))

    @property
    def text(self):
        """What stands on the screen."""
        return "\n".join(line.rstrip() for line in self.screen.display)

    def wait_for(self, words, limit_s=15):
        """Reads until these words stand on the screen."""
        limit = time.monotonic() + limit_s
        while words not in self.text and time.monotonic() < limit:
            self.read(0.1)
        assert words in self.text, f"{words!r} does not come:\n{self.text}"

    def press(self, *keys):
        """Presses keys, one after the other: names of `KEYS`, or letters."""
        for key in keys:
            os.write(self.master, KEYS.get(key, key).encode())
            self.read(0.15)

    def is_as_before(self):
        """True when the program has left the terminal as it found it."""
        return termios.tcgetattr(self.slave) == self.before

    def end(self):
        """The program's exit status; it is ended if it does not end."""
        try:
            return self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            return self.process.wait()

    def close(self):
        """Ends everything."""
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()
        os.close(self.master)
        os.close(self.slave)
