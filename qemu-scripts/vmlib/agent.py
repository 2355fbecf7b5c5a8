"""Client of the QEMU guest agent.

The agent's socket serves one client at a time, and `ovmigrate` is a client too.
So a session is short: connect, synchronise, some calls, disconnect. QEMU keeps
further clients waiting in the socket's backlog until the one it serves leaves.

Protocol: https://www.qemu.org/docs/master/interop/qemu-ga-ref.html
"""

import base64
import json
import secrets
import socket
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from . import libvirt, locks
from .errors import VmError
from .machine import Machine

# The agent sends this byte before the answer to guest-sync-delimited; it occurs
# in no JSON text, so everything before it is left over from another client.
DELIMITER = b"\xff"
# How long a call may take before the guest counts as stuck, in seconds.
CALL_TIMEOUT = 60.0
# While a command is young we stay connected and poll often; an old one is asked
# for more and more seldom, with the socket free for others in between: each
# question costs an emulated CPU some 10 ms. In seconds.
YOUNG, POLL_YOUNG, POLL_SLOWEST = 1.0, 0.025, 0.25


class AgentError(VmError):
    """The agent answered a call with an error."""


class Session:
    """A synchronised connection to the agent."""

    def __init__(self, machine: Machine, connection: socket.socket):
        self._machine = machine
        self._socket = connection
        self._received = bytearray()

    def synchronise(self, timeout: float) -> None:
        """Drops what other clients left in both directions, and waits until the agent answers us."""
        token = secrets.randbits(31)
        request = {"execute": "guest-sync-delimited", "arguments": {"id": token}}
        deadline = time.monotonic() + timeout
        self._send(request, deadline)
        while True:
            line = self._line(deadline)
            before, found, answer = line.rpartition(DELIMITER)
            if found and json.loads(answer).get("return") == token:
                return

    def call(self, command: str, **arguments):
        """Runs one agent command and returns what it returns."""
        request = {"execute": command}
        if arguments:
            request["arguments"] = {key.replace("_", "-"): value for key, value in arguments.items()}
        deadline = time.monotonic() + CALL_TIMEOUT
        self._send(request, deadline)
        answer = json.loads(self._line(deadline))
        if "error" in answer:
            raise AgentError(f"{self._machine.name}: {command}: {answer['error'].get('desc', answer['error'])}")
        return answer["return"]

    def _send(self, request: dict, deadline: float) -> None:
        try:
            data = json.dumps(request).encode()
        except UnicodeEncodeError:
            raise VmError("the guest agent takes UTF-8 text only, an argument is not") from None
        self._socket.settimeout(max(0.01, deadline - time.monotonic()))
        try:
            self._socket.sendall(data + b"\n")
        except TimeoutError:
            raise self._stuck() from None
        except (BrokenPipeError, ConnectionResetError):
            raise self._closed() from None

    def _line(self, deadline: float) -> bytes:
        """The next line from the agent."""
        begin = 0
        while (end := self._received.find(b"\n", begin)) < 0:
            begin = len(self._received)
            self._socket.settimeout(max(0.01, deadline - time.monotonic()))
            try:
                data = self._socket.recv(1 << 20)
            except TimeoutError:
                raise self._stuck() from None
            except ConnectionResetError:
                data = b""
            if not data:
                raise self._closed()
            self._received += data
        line = bytes(self._received[:end])
        del self._received[:end + 1]
        return line

    def _closed(self) -> VmError:
        return VmError(f"{self._machine.name}: QEMU closed the guest agent's socket: did it end?")

    def _stuck(self) -> VmError:
        return VmError(f"{self._machine.name}: the guest agent does not answer: "
                       "is the VM paused, or does another client hold the agent's socket?")


class LibvirtSession:
    """The same of a VM whose agent's socket libvirt has; libvirt keeps clients apart."""

    def __init__(self, machine: Machine):
        self._machine = machine

    def call(self, command: str, **arguments):
        """As `Session.call`."""
        arguments = {key.replace("_", "-"): value for key, value in arguments.items()}
        request = json.dumps({"execute": command, "arguments": arguments})
        try:
            answer = libvirt.agent_command(self._machine.name, request, CALL_TIMEOUT)
        except VmError as error:
            raise AgentError(f"{self._machine.name}: {command}: {error}") from None
        return json.loads(answer)["return"]


@contextmanager
def session(machine: Machine, timeout: float = CALL_TIMEOUT):
    """A short exclusive use of the agent."""
    if machine.libvirt:
        # Fails where no agent answers.
        libvirt.agent_command(machine.name, '{"execute":"guest-ping"}', timeout)
        yield LibvirtSession(machine)
        return
    with locks.held(Path(machine.folder) / "agent.lock"):
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
            _connect(machine, connection, time.monotonic() + timeout)
            opened = Session(machine, connection)
            opened.synchronise(timeout)
            yield opened


def _connect(machine: Machine, connection: socket.socket, deadline: float) -> None:
    """Connects; waits while the backlog of the socket is full."""
    connection.setblocking(False)
    while True:
        try:
            connection.connect(machine.agent)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise VmError(f"{machine.name}: the guest agent's socket stays busy with other clients") from None
            time.sleep(0.02)
        except (FileNotFoundError, ConnectionRefusedError):
            raise VmError(f"{machine.name}: no QEMU listens at {machine.agent}") from None


@dataclass
class Finished:
    """How a program in the guest ended."""

    status: int
    """Exit status, or 128 + the number of the signal that killed it, as shells have it."""
    stdout: bytes
    stderr: bytes
    truncated: bool
    """The agent keeps 16 MiB of each stream and drops the rest."""


def start(agent: Session, argv: list[str]) -> int:
    """Starts a program in the guest, its output kept by the agent; returns its PID."""
    return agent.call("guest-exec", path=argv[0], arg=argv[1:], capture_output=True)["pid"]


def outcome(agent: Session, pid: int) -> Finished | None:
    """How the program that `start` started ended; None while it runs or something holds its output.

    The agent forgets the program once it has told.
    """
    status = agent.call("guest-exec-status", pid=pid)
    if not status["exited"]:
        return None
    return Finished(
        status=128 + status["signal"] if "signal" in status else status.get("exitcode", 0),
        stdout=base64.b64decode(status.get("out-data", "")),
        stderr=base64.b64decode(status.get("err-data", "")),
        truncated=status.get("out-truncated", False) or status.get("err-truncated", False),
    )


def run(machine: Machine, argv: list[str]) -> Finished:
    """Runs a program in the guest and waits until it and all that hold its output are done."""
    begin = time.monotonic()
    with session(machine) as agent:
        pid = start(agent, argv)
        while not (done := outcome(agent, pid)):
            if time.monotonic() - begin > YOUNG:
                break
            time.sleep(POLL_YOUNG)
    while not done:
        time.sleep(min(POLL_SLOWEST, (time.monotonic() - begin) / 20))
        with session(machine) as agent:
            done = outcome(agent, pid)
    return done


def shell(machine: Machine, script: str, *arguments: str) -> str:
    """Runs a /bin/sh script in the guest and returns its output; an error if it fails."""
    done = run(machine, ["/bin/sh", "-c", script, "sh", *arguments])
    if done.status != 0:
        said = done.stderr.decode(errors="replace").strip()
        raise VmError(f"{machine.name}: {said or f'status {done.status} in the guest'}")
    return done.stdout.decode(errors="replace")
