"""Processes of the host that these scripts start, and how they are ended."""

import os
import select
import signal
from pathlib import Path

from .errors import VmError

# Time for QEMU to flush its disk and leave after SIGTERM, in seconds.
QUIT_TIMEOUT = 10


def start_time(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot; None if it is gone or a zombie."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    # The command name in parentheses may hold spaces and parentheses itself.
    fields = stat[stat.rindex(")") + 2:].split()
    return None if fields[0] in "ZX" else int(fields[19])


def end(pid: int, started: int) -> None:
    """SIGTERM, then SIGKILL; through a pidfd, so that a PID reused meanwhile is never hit."""
    try:
        handle = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if start_time(pid) != started:
            return
        for number in (signal.SIGTERM, signal.SIGKILL):
            signal.pidfd_send_signal(handle, number)
            if select.select([handle], [], [], QUIT_TIMEOUT)[0]:
                return
    except ProcessLookupError:
        return
    finally:
        os.close(handle)
    raise VmError(f"process {pid} does not die, not even by SIGKILL: it hangs in the host's kernel")
