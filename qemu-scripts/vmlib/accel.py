"""Whether KVM can run a guest kernel on this machine.

That /dev/kvm opens proves nothing: some hosts offer it and the guest then never
gets to its first instruction of user mode. So the kernel is booted once under
KVM, with a deadline, up to the initramfs, and the answer is remembered.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from . import locks, paths
from .image import Image

# Printed by guest/initramfs-init when the kernel command line has ovmigrate.probe.
MARKER = b"ovmigrate: the guest kernel runs"
# A kernel that runs gets there within some 2 s. In seconds.
DEADLINE = 20.0


def choose(image: Image) -> str:
    """"kvm" where it was seen to run the kernel of `image`, else "tcg"."""
    if not os.access("/dev/kvm", os.R_OK | os.W_OK):
        return "tcg"
    answer = paths.cache() / "accel" / f"{image.digest}-{_host_digest()}"
    with locks.held(answer.with_suffix(".lock")):
        if not answer.exists():
            print(f"trying once whether KVM runs this kernel, {DEADLINE:.0f} s at most", file=sys.stderr, flush=True)
            runs = _boots_under_kvm(image)
            print("KVM runs it" if runs else "KVM does not run it: using TCG", file=sys.stderr, flush=True)
            answer.write_text("kvm" if runs else "tcg")
    return answer.read_text()


def _host_digest() -> str:
    """Changes with the host's boot and CPU: then the question is asked anew."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text()
    cpu = [line for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith(("model name", "flags"))]
    return hashlib.sha256("\n".join([boot, *cpu[:2]]).encode()).hexdigest()[:16]


def _boots_under_kvm(image: Image) -> bool:
    """Boots the kernel up to its initramfs under KVM; True if that says it runs in time."""
    with tempfile.TemporaryFile() as console:
        qemu = subprocess.Popen(
            ["qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-no-reboot",
             "-machine", "q35", "-accel", "kvm", "-cpu", "host", "-m", "512M", "-serial", "stdio",
             "-kernel", image.vmlinuz, "-initrd", image.initrd, "-append", "console=ttyS0 ovmigrate.probe"],
            stdin=subprocess.DEVNULL, stdout=console, stderr=subprocess.DEVNULL)
        try:
            deadline = time.monotonic() + DEADLINE
            while time.monotonic() < deadline:
                ended = qemu.poll() is not None
                if MARKER in os.pread(console.fileno(), 1 << 20, 0):
                    return True
                if ended:
                    return False
                time.sleep(0.1)
            return False
        finally:
            qemu.kill()
            qemu.wait()
