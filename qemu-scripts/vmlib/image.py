"""Builds guest images without a loop mount and keeps them in the cache folder.

    mmdebstrap ──> folder ──┬─ boot/vmlinuz ────────────> vmlinuz
                            ├─ busybox, boot modules ───> initrd
                            └─ mke2fs -d ───────────────> root.img (raw, sparse)
"""

import lzma
import os
import shutil
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

from . import locks, paths
from .errors import VmError
from .recipe import Recipe

KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
SBIN_PATH = os.environ.get("PATH", "") + ":/usr/sbin:/sbin"


@dataclass(frozen=True)
class Image:
    """A finished guest image in the cache."""

    folder: Path

    @property
    def root(self) -> Path:
        """Raw ext4 root file system; never written to, VMs use overlays on it."""
        return self.folder / "root.img"

    @property
    def vmlinuz(self) -> Path:
        """The distribution's bzImage: its decompressor is what does KASLR."""
        return self.folder / "vmlinuz"

    @property
    def initrd(self) -> Path:
        """Minimal initramfs, see `guest/initramfs-init`."""
        return self.folder / "initrd"

    @property
    def digest(self) -> str:
        """Hash of the recipe it was built from."""
        return self.folder.name


def ensure(recipe: Recipe) -> Image:
    """The image of `recipe`, built first if the cache lacks it."""
    images = paths.cache() / "images"
    image = Image(images / recipe.digest())
    if not image.folder.is_dir():
        with locks.held(images / f"{image.digest}.lock"):
            # Another builder may have finished while we waited for the lock.
            if not image.folder.is_dir():
                _build(recipe, image)
    return image


def _build(recipe: Recipe, image: Image) -> None:
    """Builds into a temporary folder that becomes the image by one rename."""
    if os.geteuid() != 0:
        raise VmError("building a guest image needs root (file owners, device nodes): run as root")
    _say(f"building the guest image for kernel {recipe.kernel} (once, about a minute)")
    begin = time.monotonic()
    work = Path(tempfile.mkdtemp(prefix=f".{image.digest}.", dir=image.folder.parent))
    try:
        rootfs, out = work / "rootfs", work / "image"
        out.mkdir()
        _install(recipe, rootfs, work)
        release = _kernel_release(rootfs)
        shutil.copyfile(rootfs / "boot" / f"vmlinuz-{release}", out / "vmlinuz")
        _make_initrd(recipe, rootfs, release, work / "initramfs", out / "initrd")
        _make_root(recipe, rootfs, out / "root.img")
        (out / "release").write_text(release + "\n")
        out.rename(image.folder)
    finally:
        # Mounts of mmdebstrap are gone by now; never cross one if they are not.
        _run(["rm", "-rf", "--one-file-system", work], "remove the build folder")
    _say(f"guest image ready in {time.monotonic() - begin:.0f} s: {image.folder}")


def _install(recipe: Recipe, rootfs: Path, work: Path) -> None:
    """Installs the packages of `recipe` into the folder `rootfs`."""
    kernel = recipe.kernel_package
    if recipe.kernel_suite != recipe.suite:
        kernel += f"/{recipe.kernel_suite}"
    sources = work / "sources.list"
    suites = dict.fromkeys([recipe.suite, recipe.kernel_suite])
    sources.write_text("".join(line + "\n" for line in _apt_sources(suites)))
    command = ["mmdebstrap", "--mode=root", "--variant=apt", "--format=directory"]
    command += [f"--include={package}" for package in (*recipe.packages, kernel)]
    command += [f"--aptopt={option}" for option in (*_host_apt_options(), *recipe.apt_options)]
    command += ["--dpkgopt=force-unsafe-io", "--dpkgopt=path-exclude=/usr/share/doc/*",
                "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/locale/*"]
    # Java's packages link to their manual pages there, and fail without the folder.
    command += ['--essential-hook=mkdir -p "$1/usr/share/man/man1"']
    command += [recipe.suite, rootfs, sources]
    _run(command, "install the packages of the guest image", cwd=work)
    _run([paths.GUEST / "finish-rootfs", rootfs], "set the guest image up")


def _apt_sources(suites) -> list[str]:
    """sources.list lines for Debian `suites` on the mirrors that this machine itself uses."""
    listing = subprocess.run(
        ["apt-get", "indextargets", "--format", "$(RELEASE) $(COMPONENT) $(REPO_URI)", "Created-By: Packages"],
        check=True, capture_output=True, text=True).stdout
    targets = [line.split() for line in listing.splitlines()]
    codename = _host_codename()
    archive = next((uri for suite, part, uri in targets if suite == codename and part == "main"), None)
    if archive is None:
        raise VmError(f"no Debian mirror: apt's sources on this machine have no suite {codename}, component main")
    security = next((uri for suite, part, uri in targets if suite == f"{codename}-security" and part == "main"), None)
    lines = []
    for suite in suites:
        lines.append(f"deb [signed-by={KEYRING}] {archive} {suite} main")
        # Unstable has no security suite: fixes go into it directly.
        if security and suite not in ("sid", "unstable"):
            lines.append(f"deb [signed-by={KEYRING}] {security} {suite}-security main")
    return lines


def _host_codename() -> str:
    """Codename of the Debian release this machine runs, such as "bookworm"."""
    for line in Path("/etc/os-release").read_text().splitlines():
        key, _, value = line.partition("=")
        if key == "VERSION_CODENAME":
            return value.strip('"')
    raise VmError("/etc/os-release names no VERSION_CODENAME: guest images are built on Debian only")


def _host_apt_options() -> list[str]:
    """The proxy settings of this machine's apt; mmdebstrap starts from an empty configuration."""
    dump = subprocess.run(
        ["apt-config", "dump", "--no-empty", "--format", '%f "%v";%n', "Acquire::http::Proxy", "Acquire::https::Proxy"],
        check=True, capture_output=True, text=True).stdout
    return dump.splitlines()


def _kernel_release(rootfs: Path) -> str:
    """The release of the one kernel in `rootfs`, such as "6.1.0-9-cloud-amd64"."""
    kernels = [f.name.removeprefix("vmlinuz-") for f in (rootfs / "boot").glob("vmlinuz-*")]
    if len(kernels) != 1:
        raise VmError(f"the guest image should have one kernel, it has {len(kernels)}: {kernels}; look at kernels.toml")
    return kernels[0]


def _make_initrd(recipe: Recipe, rootfs: Path, release: str, tree: Path, initrd: Path) -> None:
    """Packs busybox, the boot modules and `initramfs-init` into an initramfs.

    It stays uncompressed: unpacking costs more under TCG than reading.
    """
    for folder in ("bin", "dev", "proc", "root", "modules"):
        (tree / folder).mkdir(parents=True)
    shutil.copy(rootfs / "bin" / "busybox", tree / "bin" / "busybox")
    shutil.copy(paths.GUEST / "initramfs-init", tree / "init")
    order = []
    for module in _module_files(recipe.boot_modules, rootfs, release):
        name = module.name.removesuffix(".xz")
        data = module.read_bytes()
        (tree / "modules" / name).write_bytes(lzma.decompress(data) if module.suffix == ".xz" else data)
        order.append(name)
    (tree / "modules" / "order").write_text("".join(name + "\n" for name in order))
    with open(initrd, "wb") as output:
        names = "".join(f"{path.relative_to(tree)}\n" for path in sorted(tree.rglob("*")))
        subprocess.run(["cpio", "--create", "--quiet", "--format=newc", "--owner=+0:+0"],
                       input=names.encode(), stdout=output, cwd=tree, check=True)


def _module_files(names: tuple[str, ...], rootfs: Path, release: str) -> list[Path]:
    """The files of modules `names` and of those they need, in the order to load them."""
    listing = subprocess.run(
        ["chroot", rootfs, "modprobe", "--set-version", release, "--show-depends", "--all", *names],
        check=True, capture_output=True, text=True, env={"PATH": SBIN_PATH}).stdout
    # Lines read "insmod PATH OPTIONS" or "builtin NAME".
    lines = [line.split() for line in listing.splitlines()]
    files = [rootfs / line[1].lstrip("/") for line in lines if line[0] == "insmod"]
    return list(dict.fromkeys(files))


def _make_root(recipe: Recipe, rootfs: Path, root: Path) -> None:
    """Makes the root file system straight from the folder.

    Inode tables are written now, so that no kernel thread of the guest is busy
    with that while tests measure.
    """
    _run(["mke2fs", "-q", "-t", "ext4", "-L", "root", "-m", "0", "-d", rootfs,
          "-E", "lazy_itable_init=0,lazy_journal_init=0", root, recipe.disk_size], "make the root file system")


def _run(command: list, purpose: str, cwd: Path | None = None) -> None:
    """Runs `command`; its output is shown only if it fails."""
    environment = {**os.environ, "PATH": SBIN_PATH, "LC_ALL": "C.UTF-8"}
    try:
        done = subprocess.run(command, cwd=cwd, env=environment, text=True, errors="replace",
                              stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    except FileNotFoundError:
        raise VmError(f"cannot {purpose}: {command[0]} is not installed; run qemu-scripts/install-packages") from None
    if done.returncode != 0:
        tail = "\n".join(done.stdout.splitlines()[-25:])
        raise VmError(f"cannot {purpose}: {command[0]} failed with status {done.returncode}:\n{tail}")


def _say(message: str) -> None:
    print(message, file=sys.stderr, flush=True)
