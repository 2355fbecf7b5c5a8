"""Where things lie on the host: cache folder, runtime folder."""

import os
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parent.parent
GUEST = SCRIPTS / "guest"


def cache() -> Path:
    """Folder on disk for what is large and can be made again: images, overlays."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "ovmigrate"


def runtime() -> Path:
    """Folder of the records and sockets of the VMs, one subfolder a VM."""
    if configured := os.environ.get("OVMIGRATE_VMS"):
        return Path(configured).absolute()
    return Path(os.environ.get("XDG_RUNTIME_DIR") or "/run") / "ovmigrate-vms"
