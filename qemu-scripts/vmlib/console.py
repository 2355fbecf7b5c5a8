"""The serial console of a VM on this terminal."""

import os
import select
import socket
import sys
import termios
import tty
from contextlib import contextmanager

from .errors import VmError
from .machine import Machine

# Ctrl-], as in telnet and virsh.
ESCAPE = b"\x1d"


def attach(machine: Machine) -> None:
    """Joins the terminal and the serial line until Ctrl-], end of input, or the VM's end."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
        try:
            line.connect(machine.console)
        except OSError as error:
            raise VmError(f"{machine.name}: cannot open the console {machine.console}: {error.strerror}") from None
        print(f"console of {machine.name}; Ctrl-] leaves it, Enter asks for a prompt", file=sys.stderr, flush=True)
        with _raw_terminal():
            _copy(line)
    print(file=sys.stderr)


def _copy(line: socket.socket) -> None:
    """Copies both ways."""
    keyboard, screen = sys.stdin.fileno(), sys.stdout.fileno()
    while True:
        readable, _, _ = select.select([keyboard, line], [], [])
        if line in readable:
            data = line.recv(4096)
            if not data:
                return
            while data:
                data = data[os.write(screen, data):]
        if keyboard in readable:
            typed = os.read(keyboard, 4096)
            before, escape, _ = typed.partition(ESCAPE)
            line.sendall(before)
            if escape or not typed:
                return


@contextmanager
def _raw_terminal():
    """Passes every key through unchanged while inside; does nothing if input is no terminal."""
    if not sys.stdin.isatty():
        yield
        return
    saved = termios.tcgetattr(sys.stdin)
    tty.setraw(sys.stdin)
    try:
        yield
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, saved)
