"""Writes a VM's RAM to a file: an ELF core as crash(8), drgn and gdb read it.

https://www.qemu.org/docs/master/interop/qemu-qmp-ref.html (dump-guest-memory)
"""

import json
import os
import socket
from pathlib import Path

from . import locks
from .errors import VmError
from .machine import Machine

# How long QEMU may take to write the RAM, in seconds.
TIMEOUT = 300.0


def dump(machine: Machine, target: str) -> None:
    """Writes RAM and vCPU state to the host's file `target`; the VM stands still meanwhile."""
    path = Path(target).absolute()
    arguments = {"paging": False, "protocol": f"file:{path}"}
    if machine.libvirt:
        raise VmError(f"{machine.name} is a domain of libvirt: use `virsh dump --memory-only`")
    with (locks.held(Path(machine.folder) / "dump.lock"),
          socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as monitor):
        monitor.settimeout(TIMEOUT)
        try:
            monitor.connect(machine.test_qmp)
            with monitor.makefile("rw") as lines:
                lines.readline()
                _execute(lines, "qmp_capabilities")
                _execute(lines, "dump-guest-memory", **arguments)
        except TimeoutError:
            raise VmError(f"{machine.name}: QEMU did not write its RAM within {TIMEOUT:.0f} s") from None
    os.chmod(path, 0o600)


def _execute(lines, command: str, **arguments) -> None:
    """Runs one QMP command; events in between are passed over."""
    lines.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
    lines.flush()
    while line := lines.readline():
        answer = json.loads(line)
        if "error" in answer:
            raise VmError(f"QEMU: {command}: {answer['error']['desc']}")
        if "return" in answer:
            return
    raise VmError(f"QEMU closed its monitor during {command}")
