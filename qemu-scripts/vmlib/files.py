"""Copies files between host and guest.

Into the guest they go through a serial port of their own as plain bytes: the
agent takes a file as base64 in JSON, and reading that costs an emulated CPU ten
times as long. Out of the guest the agent is fast enough.
"""

import base64
import os
import select
import socket
from pathlib import Path

from . import agent, locks
from .errors import VmError
from .machine import FILES_PORT, Machine

# Bytes in one guest-file-read; the agent keeps them and their base64 form in memory.
READ_CHUNK = 1 << 20
# In the guest: $1 size, $2 mode, $3 path. The port reports end of file when the
# host lets go of it, so that an interrupted copy leaves nobody behind reading.
RECEIVE = """
head -c "$1" </dev/virtio-ports/{port} >"$3" || exit 1
test "$(stat -c %s -- "$3")" -eq "$1" || {{ echo "$3: cut short" >&2; exit 1; }}
chmod "$2" -- "$3"
"""


def push(machine: Machine, source: str, target: str) -> None:
    """Copies the host's file `source` to the guest's path `target`, with its mode."""
    with (open(source, "rb") as file, locks.held(Path(machine.folder) / "files.lock"),
          socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as port):
        facts = os.fstat(file.fileno())
        # First of all, or the reader in the guest sees the end of file at once.
        port.connect(machine.files)
        script = RECEIVE.format(port=FILES_PORT)
        command = ["/bin/sh", "-c", script, "sh", str(facts.st_size), f"{facts.st_mode & 0o7777:o}", target]
        with agent.session(machine) as guest:
            pid = agent.start(guest, command)
            done = _send(file, port, lambda: agent.outcome(guest, pid))
    if done.status != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise VmError(f"{machine.name}: cannot write {target}: {said}")


def _send(file, port: socket.socket, outcome) -> agent.Finished:
    """Sends `file` while the program in the guest runs; returns how that ended."""
    port.setblocking(False)
    data = memoryview(b"")
    while not (done := outcome()):
        # Between two looks at the program, send as long as the guest takes it.
        while data := data or memoryview(file.read(1 << 20)):
            if not select.select([], [port], [], agent.POLL_YOUNG)[1]:
                break
            data = data[port.send(data):]
        else:
            select.select([], [], [], agent.POLL_YOUNG)
    return done


def pull(machine: Machine, source: str, target: str) -> None:
    """Copies the guest's file `source` to the host's path `target`."""
    with agent.session(machine) as guest:
        handle = guest.call("guest-file-open", path=source, mode="r")
        try:
            with open(target, "wb") as file:
                while True:
                    part = guest.call("guest-file-read", handle=handle, count=READ_CHUNK)
                    file.write(base64.b64decode(part["buf-b64"]))
                    if part["eof"]:
                        break
        finally:
            guest.call("guest-file-close", handle=handle)
