"""What a guest image is made of: an entry of `guest/kernels.toml`, and its hash."""

import hashlib
import json
import tomllib
from dataclasses import asdict, dataclass
from pathlib import Path

from .errors import VmError
from .paths import GUEST, SCRIPTS

# Files outside `guest/` that decide what an image looks like.
BUILDER = SCRIPTS / "vmlib" / "image.py"


@dataclass(frozen=True)
class Recipe:
    """One entry of `guest/kernels.toml` with the common part merged in."""

    kernel: str
    suite: str
    kernel_suite: str
    kernel_package: str
    packages: tuple[str, ...]
    apt_options: tuple[str, ...]
    boot_modules: tuple[str, ...]
    disk_size: str

    def digest(self) -> str:
        """Hash of everything that decides the image, and so its name in the cache."""
        hasher = hashlib.sha256(json.dumps(asdict(self), sort_keys=True).encode())
        for file in [*_guest_files(), BUILDER]:
            executable = bool(file.stat().st_mode & 0o100)
            hasher.update(f"{file.relative_to(SCRIPTS)} {executable}\0".encode())
            hasher.update(file.read_bytes())
        return hasher.hexdigest()[:16]


def _guest_files() -> list[Path]:
    """The files of `guest/` but for the table of kernels: an entry more there changes no other."""
    return sorted(f for f in GUEST.rglob("*") if f.is_file() and f.name != "kernels.toml")


def load(kernel: str) -> Recipe:
    """The recipe for a kernel release line such as "6.1"."""
    table = tomllib.loads((GUEST / "kernels.toml").read_text())
    common, entries = table["common"], table["kernel"]
    if kernel not in entries:
        known = ", ".join(entries)
        raise VmError(f"no guest image is described for kernel {kernel}; kernels.toml has: {known}")
    entry = entries[kernel]
    return Recipe(
        kernel=kernel,
        suite=entry["suite"],
        kernel_suite=entry.get("kernel-suite", entry["suite"]),
        kernel_package=entry.get("kernel-package", common["kernel-package"]),
        packages=(*common["packages"], *entry.get("packages", ())),
        apt_options=tuple(entry.get("apt-options", ())),
        boot_modules=tuple(entry.get("boot-modules", common["boot-modules"])),
        disk_size=common["disk-size"],
    )
