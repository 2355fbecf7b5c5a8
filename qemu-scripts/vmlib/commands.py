"""The subcommands of `vm`: parse, call, print."""

import argparse
import os
import re
import shlex
import signal
import sys
import time
from pathlib import Path

from . import accel, agent, console, dump, files, image, libvirt, machine, qemu, recipe
from .errors import VmError

DESCRIPTION = "Runs small Debian VMs for trying and testing ovmigrate."
# A CPU that says its REP MOVSB is fast has the kernel copy and clear all memory with it. TCG
# does that byte by byte, at some 60 MB/s, and moves larger words several times as fast.
TCG_CPU = "max,erms=off,fsrm=off"
# What a shell returns for a command that it does not find.
NOT_FOUND = 127
# In the guest: a session leader of its own with the agent's ends closed, whose
# PID is that of the command. Descriptor 3 carries the PID back; `setsid --fork`
# makes init the parent. $1 is the output file, the rest is the command.
SPAWN = r"""
command -v -- "$2" >/dev/null || { echo "$2: not found in the guest" >&2; exit 127; }
output=$1; shift
exec 3>&1 </dev/null >"$output" 2>&1 || exit 1
exec setsid --fork /bin/sh -c 'echo $$ >&3; exec 3>&-; exec "$@"' sh "$@"
"""


def up(options, tail: list[str]) -> int:
    """start a VM; returns when its guest agent answers"""
    begin = time.monotonic()
    if options.libvirt and tail:
        raise VmError("arguments for QEMU cannot go through libvirt")
    if options.libvirt and ":" in options.memory_backend:
        raise VmError("under libvirt the memory backend is memfd or none")
    qemu.check_installed(options.libvirt)
    disk = image.ensure(recipe.load(options.kernel))
    chosen = accel.choose(disk)
    vm = machine.claim(
        options.name, kernel=options.kernel, memory=_bytes(options.memory), cpus=options.cpus, machine=options.machine,
        cpu=options.cpu or ("host" if chosen == "kvm" else TCG_CPU), accel=chosen,
        memory_backend=options.memory_backend, append=" ".join(options.append),
        libvirt=libvirt.uri() if options.libvirt else None)
    qemu.start(vm, disk, tail)
    monitor = f"libvirt at {vm.libvirt}" if vm.libvirt else f"QMP at {vm.qmp}"
    print(f"{vm.name} is up in {time.monotonic() - begin:.1f} s: kernel {vm.kernel}, {chosen}, "
          f"QEMU is PID {vm.pid}, {monitor}")
    return 0


def exec_(options, tail: list[str]) -> int:
    """run a command in the guest; output and exit status are the command's"""
    vm = machine.running(options.name)
    try:
        done = agent.run(vm, _command(tail))
    except agent.AgentError as error:
        print(f"vm: {error}", file=sys.stderr)
        return NOT_FOUND
    _write(sys.stdout, done.stdout)
    _write(sys.stderr, done.stderr)
    if done.truncated:
        raise VmError("the guest agent kept the first 16 MiB of the output only: send it to a file and `vm pull` that")
    return done.status


def spawn(options, tail: list[str]) -> int:
    """start a command detached in the guest and print its PID there"""
    vm = machine.running(options.name)
    command = _command(tail)
    output = options.output or f"/var/tmp/{os.path.basename(command[0])}.log"
    done = agent.run(vm, ["/bin/sh", "-c", SPAWN, "sh", output, *command])
    if done.status != 0:
        raise VmError(f"{vm.name}: cannot start {shlex.join(command)}: {done.stderr.decode(errors='replace').strip()}")
    _write(sys.stdout, done.stdout)
    return 0


def push(options, _tail) -> int:
    """copy a file of the host into the guest, with its mode"""
    files.push(machine.running(options.name), options.source, options.target)
    return 0


def pull(options, _tail) -> int:
    """copy a file of the guest to the host"""
    files.pull(machine.running(options.name), options.source, options.target)
    return 0


def console_(options, _tail) -> int:
    """join this terminal and the serial console; Ctrl-] leaves"""
    console.attach(machine.running(options.name))
    return 0


def list_(_options, _tail) -> int:
    """list the VMs"""
    rows = [("NAME", "PID", "KERNEL", "ACCEL", "MEMORY", "CPUS", "STATE", "QMP")]
    for vm in machine.all_machines():
        state = "up" if vm.is_alive() else "dead" if vm.pid else "starting"
        rows.append((vm.name, str(vm.pid), vm.kernel, vm.accel, f"{vm.memory >> 20}M", str(vm.cpus), state,
                     vm.qmp or vm.libvirt))
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
    return 0


def dump_(options, _tail) -> int:
    """write the guest's RAM to a file of the host, as an ELF core"""
    dump.dump(machine.running(options.name), options.target)
    return 0


def info(options, _tail) -> int:
    """print what is known of a VM as JSON"""
    print(machine.running(options.name).to_json())
    return 0


def down(options, _tail) -> int:
    """end VMs and remove their disks"""
    if options.all == bool(options.name):
        raise VmError("`vm down` takes the name of a VM or --all")
    vms = machine.all_machines() if options.all else [machine.load(options.name)]
    for vm in vms:
        if vm is None:
            raise VmError(f"there is no VM {options.name}, see `vm list`")
        vm.stop()
    return 0


def main(argv: list[str]) -> int:
    """Runs the command line `argv` and returns the exit status."""
    # As an exception, so that an `up` that is ended takes its half-started VM along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    head, tail = _split(argv)
    options = _parser().parse_args(head)
    try:
        if tail and options.run not in (up, exec_, spawn):
            raise VmError("nothing may follow `--` here")
        return options.run(options, tail)
    except VmError as error:
        print(f"vm: {error}", file=sys.stderr)
    except OSError as error:
        print(f"vm: {error.filename or ''}: {error.strerror}", file=sys.stderr)
    except KeyboardInterrupt:
        print("vm: interrupted", file=sys.stderr)
        return 130
    return 1


def _split(argv: list[str]) -> tuple[list[str], list[str]]:
    """What stands before the first `--`, and what stands behind it."""
    if "--" not in argv:
        return argv, []
    at = argv.index("--")
    return argv[:at], argv[at + 1:]


def _command(tail: list[str]) -> list[str]:
    if not tail:
        raise VmError("no command: write it behind `--`, as in `vm exec vm1 -- uname -r`")
    return tail


def _bytes(text: str) -> int:
    """A memory size as QEMU takes it: 512M, 6G; a plain number is MiB. In bytes."""
    match = re.fullmatch(r"([1-9][0-9]*)([MG]?)", text.upper())
    if not match:
        raise VmError(f"'{text}' is no memory size: write 512M or 6G")
    return int(match[1]) << (30 if match[2] == "G" else 20)


def _memory_backend(text: str) -> str:
    """memfd, file:FOLDER or none."""
    if text not in ("memfd", "none") and not (text.startswith("file:") and Path(text[5:]).is_dir()):
        raise argparse.ArgumentTypeError(f"'{text}' is not memfd, file:FOLDER or none")
    return text


def _write(stream, data: bytes) -> None:
    stream.flush()
    stream.buffer.write(data)
    stream.buffer.flush()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="vm", description=DESCRIPTION)
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(function, name=True, usage_tail=""):
        title = function.__name__.rstrip("_")
        sub = commands.add_parser(title, help=function.__doc__, description=function.__doc__)
        sub.set_defaults(run=function)
        if name:
            sub.add_argument("name", metavar="NAME", help="name of the VM")
        if usage_tail:
            sub.usage = f"vm {title} NAME [OPTIONS] {usage_tail}"
        return sub

    sub = command(up, usage_tail="[-- QEMU-ARGS...]")
    sub.add_argument("--kernel", default="6.1", metavar="RELEASE",
                     help="kernel release line, an entry of guest/kernels.toml (default 6.1)")
    sub.add_argument("--memory", default="1G", metavar="SIZE", help="guest RAM, as 512M or 6G (default 1G)")
    sub.add_argument("--cpus", type=int, default=2, metavar="N", help="virtual CPUs (default 2)")
    sub.add_argument("--memory-backend", type=_memory_backend, default="memfd", metavar="KIND",
                     help="where guest RAM lies: memfd, file:FOLDER (which may be on hugetlbfs), both to be mapped by "
                          "others, or none: in QEMU alone, unless QEMU-ARGS give it backends (default memfd)")
    sub.add_argument("--libvirt", action="store_true", help="as a domain of a libvirt of these scripts' own")
    sub.add_argument("--cpu", metavar="MODEL", help="QEMU CPU model (default: host under KVM, max without fast strings under TCG)")
    sub.add_argument("--machine", default="q35", choices=["q35", "pc"], help="machine type (default q35)")
    sub.add_argument("--append", action="append", default=[], metavar="ARGS",
                     help="arguments added to the kernel's command line")
    command(exec_, usage_tail="-- COMMAND...")
    sub = command(spawn, usage_tail="-- COMMAND...")
    sub.add_argument("--output", metavar="FILE",
                     help="file in the guest for output and errors (default /var/tmp/<base name of the command>.log)")
    sub = command(push)
    sub.add_argument("source", metavar="SRC", help="file on the host")
    sub.add_argument("target", metavar="DST", help="path in the guest")
    sub = command(pull)
    sub.add_argument("source", metavar="SRC", help="file in the guest")
    sub.add_argument("target", metavar="DST", help="path on the host")
    sub = command(dump_)
    sub.add_argument("target", metavar="FILE", help="file on the host; as large as the guest's RAM")
    command(console_)
    command(list_, name=False)
    command(info)
    sub = command(down, name=False)
    sub.add_argument("name", metavar="NAME", nargs="?", help="name of the VM")
    sub.add_argument("--all", action="store_true", help="all VMs on record")
    return parser
