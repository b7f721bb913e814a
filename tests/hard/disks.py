"""Real disks in hard places: each a file system of its own, in memory as far as that goes. They take root."""

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from points import Missing

# sled makes its log longer by half a MiB at a time.
SIZE_MIB = 24

MEMORY = Path("/dev/shm")


class Disk:
    """An ext4 on a loop device, mounted at `folder`; `image` is what is behind the device."""

    def __init__(self, folder: Path, image: Path) -> None:
        self.folder = folder
        self._image = image

    def fill(self) -> None:
        """To the last byte."""
        with (self.folder / "filler").open("wb", buffering=0) as filler:
            for size in (1 << 16, 1 << 12, 1):
                _fill(filler, bytes(size))

    def free(self) -> None:
        (self.folder / "filler").unlink()

    def abort(self) -> None:
        """As after an error that ext4 cannot go on from: the disk can only be read from now on."""
        run("mount", "-o", "remount,abort", self.folder)

    def mend(self) -> None:
        """What an operator does then: off, checked, on again. Nobody may use it."""
        run("umount", self.folder)
        # 1: errors were corrected.
        run("fsck.ext4", "-y", "-f", self._image, accepted=(0, 1))
        self.mount()

    def mount(self) -> None:
        run("mount", "-o", "loop", self._image, self.folder)
        self.folder.chmod(0o700)


class Thin:
    """A disk that was promised more room than what is behind it has, as volumes often are."""

    def __init__(self, disk: Disk, behind: Path) -> None:
        self.disk = disk
        self._filler = behind / "filler"

    def begin(self) -> None:
        """What is written to places that were never written before is lost from now on."""
        with self._filler.open("wb", buffering=0) as filler:
            _fill(filler, bytes(1 << 12))

    def end(self) -> None:
        self._filler.unlink()


@contextmanager
def disk(folder: Path) -> Iterator[Disk]:
    _check_tools("mkfs.ext4", "fsck.ext4", "mount", "umount")
    with tempfile.TemporaryDirectory(prefix="jwksd-hard-disk-", dir=_memory()) as place:
        image = Path(place) / "disk"
        made = Disk(folder, image)
        _make(image)
        with _mounted(made):
            yield made


@contextmanager
def thin_disk(folder: Path) -> Iterator[Thin]:
    """Without a journal: with one, ext4 would take the first error for its last."""
    _check_tools("mkfs.ext4", "mount", "umount")
    with tempfile.TemporaryDirectory(prefix="jwksd-hard-thin-", dir="/tmp") as place:
        behind = Path(place)
        run("mount", "-t", "tmpfs", "-o", f"size={SIZE_MIB}m", "tmpfs", behind)
        try:
            made = Disk(folder, behind / "disk")
            _make(behind / "disk", "-O", "^has_journal", "-e", "continue")
            with _mounted(made):
                yield Thin(made, behind)
        finally:
            _unmount(behind)


def run(*command: str | Path, accepted: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode not in accepted:
        raise Missing(f"{command[0]} failed: {(done.stderr or done.stdout).strip()}")


def _make(image: Path, *options: str) -> None:
    run("truncate", "--size", f"{SIZE_MIB}M", image)
    lazy = "lazy_itable_init=0,lazy_journal_init=0"
    # No block is kept for root.
    run("mkfs.ext4", "-q", "-F", "-m", "0", "-E", lazy, *options, image)


@contextmanager
def _mounted(disk: Disk) -> Iterator[None]:
    disk.folder.mkdir(mode=0o700, exist_ok=True)
    disk.mount()
    try:
        yield
    finally:
        _unmount(disk.folder)


def _unmount(folder: Path) -> None:
    # Lazily: after a failure a daemon may not be gone yet.
    subprocess.run(["umount", "--lazy", folder], check=True)


def _fill(file, piece: bytes) -> None:
    try:
        while file.write(piece):
            pass
    except OSError:
        return


def _memory() -> Path | None:
    return MEMORY if MEMORY.is_dir() else None


def _check_tools(*tools: str) -> None:
    for tool in tools:
        if not shutil.which(tool):
            raise Missing(f"there is no {tool}")
    if os.geteuid() != 0:
        raise Missing("it takes root")
