"""A root directory with a stock CRIU that a current kernel can be used with."""

import hashlib
import os
import tempfile
from pathlib import Path

# Their text decides what a guest image looks like and is part of its hash, so
# they stay where they are.
from .image import KEYRING, _apt_sources, _host_apt_options, _run, _say
from . import locks, paths
from .errors import VmError

SUITE = "sid"
PACKAGES = ("criu", "bash", "coreutils", "util-linux")
# An index of sid is stale within days; one that a mirror froze stays usable.
OPTIONS = ('Acquire::Check-Valid-Until "false"',)


def ensure() -> Path:
    """The folder, built first if the cache lacks it."""
    recipe = repr((SUITE, PACKAGES, OPTIONS)).encode() + Path(__file__).read_bytes()
    folder = paths.cache() / "native" / hashlib.sha256(recipe).hexdigest()[:16]
    if not folder.is_dir():
        with locks.held(folder.with_suffix(".lock")):
            # Another builder may have finished while we waited for the lock.
            if not folder.is_dir():
                _build(folder)
    return folder


def _build(folder: Path) -> None:
    """Builds into a temporary folder that gets its name by one rename."""
    if os.geteuid() != 0:
        raise VmError("building a root directory needs root (file owners): run as root")
    if not Path(KEYRING).exists():
        raise VmError(f"{KEYRING} is not there: run qemu-scripts/install-packages")
    _say(f"building a root directory with CRIU of Debian {SUITE} (once, about a minute)")
    work = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        sources = work / "sources.list"
        sources.write_text("".join(line + "\n" for line in _apt_sources([SUITE])))
        command = ["mmdebstrap", "--mode=root", "--variant=apt", "--format=directory", "--dpkgopt=force-unsafe-io"]
        command += [f"--include={package}" for package in PACKAGES]
        command += [f"--aptopt={option}" for option in (*_host_apt_options(), *OPTIONS)]
        command += [SUITE, work / "root", sources]
        _run(command, "install CRIU", cwd=work)
        (work / "root").rename(folder)
    finally:
        # Mounts of mmdebstrap are gone by now; never cross one if they are not.
        _run(["rm", "-rf", "--one-file-system", work], "remove the build folder")
