"""The libvirt of these scripts, and what it does for them.

    libvirtd ──┬─ in a mount namespace, where /etc/libvirt, /run/libvirt and so on
               │  are folders of ours: a libvirt that the machine has is not touched
               └─ its socket outside of that, in the runtime folder

One daemon serves all VMs of the runtime folder. The first `vm up --libvirt`
starts it, the last `vm down` ends it.
"""

import os
import subprocess
import time
from pathlib import Path

from . import locks, paths
from .errors import VmError
from .process import end, start_time

# The folders that libvirt is built with.
FOLDERS = ("/etc/libvirt", "/run/libvirt", "/var/lib/libvirt", "/var/log/libvirt", "/var/cache/libvirt")
START_TIMEOUT = 20.0
# Whom Debian's QEMU of libvirt runs as.
DEFAULT_USER = "libvirt-qemu"
DAEMON_CONF = """\
unix_sock_dir = "{sockets}"
auth_unix_rw = "none"
auth_unix_ro = "none"
"""
# As shipped but for what needs more of the machine than these scripts install:
# a user for QEMU that may read the images, virtlogd, cgroups, a security module.
QEMU_CONF = """\
user = "root"
group = "root"
stdio_handler = "file"
cgroup_controllers = [ ]
security_driver = "none"
"""


def folder() -> Path:
    """Where the daemon has its files."""
    return paths.runtime() / ".libvirt"


def uri() -> str:
    """What leads `virsh --connect` and `ovmigrate --connect` to the daemon."""
    return f"qemu:///system?socket={folder()}/sockets/libvirt-sock"


def start(name: str, xml: Path) -> int:
    """Starts the domain that a file describes and returns the PID of its QEMU."""
    with locks.held(paths.runtime() / "libvirt.lock"):
        _ensure_daemon()
        _virsh("create", str(xml))
    return int((folder() / "run" / "qemu" / f"{name}.pid").read_text())


def stop(name: str) -> None:
    """Ends a domain if it is there, and the daemon if it was the last."""
    with locks.held(paths.runtime() / "libvirt.lock"):
        if not _daemon():
            return
        _virsh("destroy", name, check=False)
        if not _virsh("list", "--name").strip():
            _end_daemon()


def agent_command(name: str, request: str, timeout: float) -> str:
    """One call of a guest agent; libvirt has its socket."""
    return _virsh("qemu-agent-command", name, "--timeout", str(max(1, int(timeout))), request)


def _virsh(*command: str, check: bool = True) -> str:
    done = subprocess.run(["virsh", "--quiet", "--connect", uri(), *command], capture_output=True, text=True)
    if check and done.returncode != 0:
        raise VmError(f"libvirt: {' '.join(done.stderr.split()) or f'virsh {command[0]} failed'}")
    return done.stdout


def _daemon() -> tuple[int, int] | None:
    """PID and start time of the daemon, if it runs."""
    try:
        pid, started = map(int, (folder() / "daemon").read_text().split())
    except (FileNotFoundError, ValueError):
        return None
    return (pid, started) if start_time(pid) == started else None


def _ensure_daemon() -> None:
    if _daemon():
        return
    if os.geteuid() != 0:
        raise VmError("--libvirt needs root: libvirtd runs in a mount namespace of its own")
    private = [folder() / name for name in ("etc", "run", "lib", "log", "cache")]
    for path in (*private, folder() / "sockets"):
        path.mkdir(parents=True, exist_ok=True)
    for path in FOLDERS:
        Path(path).mkdir(parents=True, exist_ok=True)
    (folder() / "etc" / "libvirtd.conf").write_text(DAEMON_CONF.format(sockets=folder() / "sockets"))
    (folder() / "etc" / "qemu.conf").write_text(QEMU_CONF)
    mounts = "".join(f"mount --bind '{ours}' {path} && " for ours, path in [*zip(private, FOLDERS), *_accounts()])
    script = f"{mounts}exec libvirtd --pid-file '{folder()}/libvirtd.pid'"
    with open(folder() / "libvirtd.log", "ab") as log:
        daemon = subprocess.Popen(["unshare", "--mount", "sh", "-c", script], start_new_session=True, cwd="/",
                                  stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    (folder() / "daemon").write_text(f"{daemon.pid} {start_time(daemon.pid)}")
    deadline = time.monotonic() + START_TIMEOUT
    while subprocess.run(["virsh", "--connect", uri(), "list"], capture_output=True).returncode != 0:
        if daemon.poll() is not None or time.monotonic() > deadline:
            raise VmError(f"libvirtd does not start, see {folder()}/libvirtd.log")
        time.sleep(0.1)


def _accounts() -> list[tuple[Path, str]]:
    """Files in the place of /etc/passwd and /etc/group that have the user libvirt is built with.

    It asks for that user whatever its settings say; a package that is not needed here makes it.
    """
    files = []
    for path, entry in (("/etc/passwd", f"{DEFAULT_USER}:x:64055:64055::/nonexistent:/usr/sbin/nologin"),
                        ("/etc/group", f"{DEFAULT_USER}:x:64055:")):
        text = Path(path).read_text()
        if f"\n{DEFAULT_USER}:" not in text:
            ours = folder() / "etc" / Path(path).name
            ours.write_text(f"{text.rstrip()}\n{entry}\n")
            files.append((ours, path))
    return files


def _end_daemon() -> None:
    if daemon := _daemon():
        end(*daemon)
    (folder() / "daemon").unlink(missing_ok=True)
