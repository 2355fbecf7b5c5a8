"""One VM: its record in the runtime folder, and whether its QEMU still lives."""

import json
import os
import re
import shutil
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from . import libvirt, locks, paths, process
from .errors import VmError

# sun_path of struct sockaddr_un, with its closing zero byte.
SOCKET_PATH_MAX = 107
# Each VM hands out PIDs from a range of its own, so that a process saved in one
# finds its PID free in another. pid_max is 4194304 in the guests.
PID_RANGE = 100_000
SLOTS = 40
# Name of the virtio serial port that `vm push` sends files through.
FILES_PORT = "org.ovmigrate.files.0"


@dataclass
class Machine:
    """What is known of a VM; `vm info` prints it as JSON."""

    name: str
    slot: int
    kernel: str
    memory: int
    """Guest RAM in bytes."""
    cpus: int
    machine: str
    cpu: str = ""
    accel: str = ""
    memory_backend: str = "memfd"
    libvirt: str | None = None
    """URI of the libvirt connection, if libvirt runs the VM."""
    append: str = ""
    pid: int = 0
    """PID of QEMU, 0 while it is being started."""
    start_time: int = 0
    """Start time of that PID in clock ticks since boot (field 22 of /proc/PID/stat), against PID reuse."""
    image: str = ""
    overlay: str = ""
    gdb: str | None = None
    """No gdb stub is opened by `up`."""
    folder: str = ""
    qmp: str = field(init=False)
    test_qmp: str = field(init=False)
    agent: str = field(init=False)
    files: str = field(init=False)
    console: str = field(init=False)
    serial_log: str = field(init=False)
    qemu_log: str = field(init=False)
    pid_base: int = field(init=False)

    def __post_init__(self):
        folder = Path(self.folder)
        # libvirt keeps these sockets of its QEMU to itself.
        self.qmp = "" if self.libvirt else str(folder / "qmp.sock")
        self.test_qmp = "" if self.libvirt else str(folder / "test-qmp.sock")
        self.agent = "" if self.libvirt else str(folder / "agent.sock")
        self.files = str(folder / "files.sock")
        self.console = str(folder / "console.sock")
        self.serial_log = str(folder / "serial.log")
        self.qemu_log = str(folder / "qemu.log")
        self.pid_base = self.slot * PID_RANGE

    def is_alive(self) -> bool:
        """Whether the QEMU that `up` started still runs (and not another process with its PID)."""
        return self.pid != 0 and process.start_time(self.pid) == self.start_time

    def save(self) -> None:
        """Writes the record; a reader sees the old one or the new one."""
        new = Path(self.folder) / "vm.json.new"
        new.write_text(self.to_json() + "\n")
        new.rename(Path(self.folder) / "vm.json")

    def to_json(self) -> str:
        """The record as JSON text."""
        return json.dumps(asdict(self), indent=2)

    def stop(self) -> None:
        """Ends this VM's QEMU, and no other process, and removes what it left."""
        if self.libvirt:
            libvirt.stop(self.name)
        if self.is_alive():
            process.end(self.pid, self.start_time)
        if self.overlay:
            Path(self.overlay).unlink(missing_ok=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of the serial console and of QEMU's own messages."""
        parts = []
        for title, log in (("serial console", self.serial_log), ("QEMU", self.qemu_log)):
            text = Path(log).read_text(errors="replace") if Path(log).exists() else ""
            if tail := text.splitlines()[-lines:]:
                parts.append(f"--- last lines of {title}:\n" + "\n".join(tail))
        return "\n".join(parts)


def check_name(name: str) -> None:
    """Refuses names that do not fit a file name, a host name or a socket path."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,31}", name):
        raise VmError(f"'{name}' is no VM name: letters, digits, '-' and '_', at most 32, a letter or digit first")
    longest = paths.runtime() / name / "test-qmp.sock"
    if len(os.fsencode(longest)) > SOCKET_PATH_MAX:
        raise VmError(f"{longest} is too long for a Unix socket (at most {SOCKET_PATH_MAX} bytes): "
                      "set OVMIGRATE_VMS to a shorter folder")


def load(name: str) -> Machine | None:
    """The record of a VM, None if there is none."""
    check_name(name)
    try:
        record = json.loads((paths.runtime() / name / "vm.json").read_text())
    except FileNotFoundError:
        return None
    made = {key for key, spec in Machine.__dataclass_fields__.items() if spec.init}
    return Machine(**{key: value for key, value in record.items() if key in made})


def running(name: str) -> Machine:
    """The record of a VM that runs; an error if it does not."""
    machine = load(name)
    if machine is None:
        raise VmError(f"there is no VM {name}: start it with `vm up {name}`, see `vm list`")
    if not machine.is_alive():
        raise VmError(f"VM {name} is dead (QEMU was PID {machine.pid}): `vm down {name}` clears it away\n"
                      f"{machine.log_tail()}")
    return machine


def all_machines() -> list[Machine]:
    """All VMs on record, by name."""
    root = paths.runtime()
    names = sorted(record.parent.name for record in root.glob("*/vm.json")) if root.is_dir() else []
    return [machine for name in names if (machine := load(name))]


def claim(name: str, **facts) -> Machine:
    """Takes the name and the lowest free PID range; an error if the VM is up."""
    check_name(name)
    root = paths.runtime()
    with locks.held(root / "lock"):
        others = all_machines()
        for other in others:
            if other.name == name and other.is_alive():
                raise VmError(f"VM {name} is up already (QEMU is PID {other.pid}): `vm down {name}` ends it")
            if other.name == name and _is_starting(other):
                raise VmError(f"VM {name} is being started by another `vm up`: wait, or `vm down {name}` if that died")
        if stale := next((other for other in others if other.name == name), None):
            stale.stop()
        taken = {other.slot for other in others if other.name != name}
        slot = next((number for number in range(1, SLOTS) if number not in taken), None)
        if slot is None:
            raise VmError(f"{SLOTS - 1} VMs are up already: end some with `vm down NAME`")
        folder = root / name
        folder.mkdir(mode=0o700, exist_ok=True)
        machine = Machine(name=name, slot=slot, folder=str(folder), **facts)
        machine.save()
        return machine


def _is_starting(machine: Machine) -> bool:
    """Whether another `vm up` took the name and has not got a QEMU yet; five minutes at most."""
    return machine.pid == 0 and time.time() - os.stat(Path(machine.folder) / "vm.json").st_mtime < 300
