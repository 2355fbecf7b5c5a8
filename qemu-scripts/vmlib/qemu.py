"""The QEMU of a VM: its command line, its start, and the wait until the guest answers."""

import os
import shutil
import subprocess
import tempfile
import time
from pathlib import Path

from . import agent, libvirt, libvirt_xml, paths
from .errors import VmError
from .image import Image
from .machine import FILES_PORT, Machine
from .process import start_time

# Until the guest agent must have answered, in seconds: some thirty times what a
# boot takes under TCG on an idle machine.
BOOT_TIMEOUT = 400.0
# Between two looks for an agent: libvirt says at once that there is none yet.
AGENT_RETRY = 0.2
# systemd reports failures only: its start messages would fill the kernel log.
KERNEL_ARGUMENTS = "console=ttyS0 systemd.log_level=notice systemd.show_status=auto"
# The TSC of TCG is not a CPU's. A kernel that finds out late (7.2 does, after some
# 20 minutes) flips static keys, which rewrites code that all CPUs run, and TCG with
# a thread for each CPU may go on to run the breakpoint that stands there meanwhile:
# "Oops: int3" in __schedule(). Flipping `kernel.sched_schedstats` shows it at once.
#
# An emulated CPU on a busy host is far slower than those that the kernel's limits are
# meant for: without a schedule for 20 s it would be called a lockup, here for 60 s,
# and a kernel that sees no tick in the moment in which it tries its timer panics
# ("IO-APIC + timer doesn't work!"), unless it does not try it.
TCG_KERNEL_ARGUMENTS = "tsc=unstable watchdog_thresh=30 rcupdate.rcu_cpu_stall_timeout=60 no_timer_check"


def command_line(machine: Machine, image: Image, extra: list[str]) -> list[str]:
    """The QEMU command for `machine`; `extra` goes last, so it can add devices."""
    mebibytes = machine.memory >> 20
    options = machine.machine
    command = ["qemu-system-x86_64", "-name", machine.name, "-nodefaults", "-no-user-config", "-display", "none"]
    if machine.memory_backend != "none":
        # share=on makes guest RAM one file that another process can map. A file
        # that QEMU makes in a folder is deleted as soon as it is open.
        kind, _, folder = machine.memory_backend.partition(":")
        path = f",mem-path={folder.replace(',', ',,')}" if folder else ""
        command += ["-object", f"memory-backend-{kind},id=ram,size={mebibytes}M,share=on{path}"]
        options += ",memory-backend=ram"
    command += [
        "-machine", options,
        "-accel", "tcg,thread=multi" if machine.accel == "tcg" else machine.accel,
        "-cpu", machine.cpu, "-smp", str(machine.cpus), "-m", f"{mebibytes}M",
        "-kernel", str(image.vmlinuz), "-initrd", str(image.initrd),
        "-append", kernel_arguments(machine),
        "-drive", f"if=none,id=disk,format=qcow2,file={machine.overlay}", "-device", "virtio-blk-pci,drive=disk",
        "-device", "virtio-rng-pci",
        "-qmp", f"unix:{machine.qmp},server=on,wait=off",
        "-qmp", f"unix:{machine.test_qmp},server=on,wait=off",
        "-device", "virtio-serial-pci,id=serial",
        "-chardev", f"socket,id=agent,path={machine.agent},server=on,wait=off",
        "-device", "virtserialport,bus=serial.0,chardev=agent,name=org.qemu.guest_agent.0",
        "-chardev", f"socket,id=files,path={machine.files},server=on,wait=off",
        "-device", f"virtserialport,bus=serial.0,chardev=files,name={FILES_PORT}",
        "-chardev", f"socket,id=console,path={machine.console},server=on,wait=off,logfile={machine.serial_log}",
        "-serial", "chardev:console",
    ]
    if machine.machine.startswith("q35"):
        # PCI Express takes a new device only behind a port that was there at boot.
        for number in (1, 2):
            command += ["-device", f"pcie-root-port,id=free{number},chassis={number},slot={number}"]
    return command + extra


def kernel_arguments(machine: Machine) -> str:
    """The command line of the guest's kernel."""
    tcg = TCG_KERNEL_ARGUMENTS if machine.accel == "tcg" else ""
    return " ".join(filter(None, [KERNEL_ARGUMENTS, tcg, machine.append]))


def start(machine: Machine, image: Image, extra: list[str]) -> None:
    """Starts the VM and returns when its guest agent answers; stops it if that fails."""
    try:
        machine.overlay = str(_make_overlay(machine, image))
        machine.image = str(image.folder)
        machine.save()
        if machine.libvirt:
            _launch_by_libvirt(machine, image)
        else:
            _launch(machine, command_line(machine, image, extra))
        _wait_for_agent(machine)
        _set_pid_range(machine)
    except BaseException:
        machine.stop()
        raise


def check_installed(with_libvirt: bool) -> None:
    """An error that says what to run if QEMU, or libvirt where it is wanted, is not there."""
    for program in ("qemu-system-x86_64", "qemu-img", *(["libvirtd", "virsh"] if with_libvirt else [])):
        if not shutil.which(program):
            raise VmError(f"{program} is not installed: run qemu-scripts/install-packages")


def _make_overlay(machine: Machine, image: Image) -> Path:
    """A writable qcow2 file on top of the image, in the cache folder because it may grow large."""
    folder = paths.cache() / "overlays"
    folder.mkdir(parents=True, exist_ok=True)
    handle, overlay = tempfile.mkstemp(prefix=f"{machine.name}.", suffix=".qcow2", dir=folder)
    os.close(handle)
    try:
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "raw", "-b", image.root, overlay],
                       check=True, capture_output=True, text=True)
    except subprocess.CalledProcessError as error:
        os.unlink(overlay)
        raise VmError(f"cannot make the overlay of {machine.name}: {error.stderr.strip()}") from None
    return Path(overlay)


def _launch(machine: Machine, command: list[str]) -> None:
    """Starts QEMU in a session of its own, so that Ctrl-C in the terminal does not reach it."""
    with open(machine.qemu_log, "wb") as log:
        qemu = subprocess.Popen(command, start_new_session=True, cwd=machine.folder,
                                stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    machine.pid = qemu.pid
    machine.start_time = start_time(qemu.pid) or 0
    machine.save()
    deadline = time.monotonic() + 10
    while not Path(machine.agent).exists() or not Path(machine.console).exists():
        if qemu.poll() is not None:
            raise VmError(f"{machine.name}: QEMU ended at once with status {qemu.returncode}\n{machine.log_tail()}")
        if time.monotonic() > deadline:
            raise VmError(f"{machine.name}: QEMU does not open its sockets\n{machine.log_tail()}")
        time.sleep(0.01)


def _launch_by_libvirt(machine: Machine, image: Image) -> None:
    xml = Path(machine.folder) / "domain.xml"
    xml.write_text(libvirt_xml.domain(machine, image, kernel_arguments(machine)))
    machine.pid = libvirt.start(machine.name, xml)
    machine.start_time = start_time(machine.pid) or 0
    machine.save()


def _wait_for_agent(machine: Machine) -> None:
    """Waits for the agent's first answer; gives up early if the guest's kernel or QEMU is dead."""
    deadline = time.monotonic() + BOOT_TIMEOUT
    while True:
        try:
            with agent.session(machine, timeout=5):
                return
        except VmError as error:
            panicked = b"Kernel panic" in Path(machine.serial_log).read_bytes()
            if panicked or not machine.is_alive() or time.monotonic() > deadline:
                reason = "its kernel panicked" if panicked else str(error)
                raise VmError(f"{machine.name} did not come up: {reason}\n{machine.log_tail()}") from None
            time.sleep(AGENT_RETRY)


def _set_pid_range(machine: Machine) -> None:
    """Makes the guest hand out PIDs after `pid_base` from now on (proc(5), ns_last_pid)."""
    agent.shell(machine, 'test "$(cat /proc/sys/kernel/pid_max)" -ge 4194304 || echo 4194304 >/proc/sys/kernel/pid_max;'
                         ' echo "$1" >/proc/sys/kernel/ns_last_pid', str(machine.pid_base))
