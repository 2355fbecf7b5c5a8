"""screen.py FOLDER COMMAND...: runs a command on a terminal of 24 lines of 80. Without
one it makes a terminal that no session has, and prints its path.

At SIGUSR1 it types what is in FOLDER/keys, and writes what comes to the screen
then to FOLDER/screen, and prints "done". It takes for all what is followed by
nothing for some time, unless FOLDER/expected says what is to come. At the end of
the command it prints "ended".
"""

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time

folder, command = sys.argv[1], sys.argv[2:]
if command:
    pid, master = pty.fork()
    if pid == 0:
        os.environ["TERM"] = "vt100"
        os.execvp(command[0], command)
else:
    # It is there as long as this end is open.
    master, slave = pty.openpty()
    print("terminal", os.ttyname(slave), flush=True)
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
asked = False


def ask(*_):
    global asked
    asked = True


def content(name):
    try:
        with open(f"{folder}/{name}", "rb") as file:
            return file.read()
    except FileNotFoundError:
        return None


def come():
    """What comes within a moment. Does not return at the end of the command."""
    if not select.select([master], [], [], 0.1)[0]:
        return b""
    try:
        return os.read(master, 4096)
    except OSError:
        print("ended", flush=True)
        sys.exit(0)


def screen():
    """What comes to the screen, until nothing does."""
    expected, seen = content("expected"), b""
    until = time.monotonic() + (60 if expected else 5)
    while time.monotonic() < until and seen != expected:
        if new := come():
            seen += new
            if not expected:
                until = time.monotonic() + 5
    return seen


signal.signal(signal.SIGUSR1, ask)
screen()
print("ready", flush=True)
while True:
    while not asked:
        come()
    asked = False
    os.write(master, content("keys"))
    seen = screen()
    with open(f"{folder}/screen", "wb") as file:
        file.write(seen)
    print("done", flush=True)
