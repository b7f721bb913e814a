"""What the shims beside this file are told while a daemon runs with them."""

import errno
import mmap
import os
import struct
import subprocess
import sys
from pathlib import Path

PAGE = 4096
COUNT = struct.calcsize("q")


class Missing(Exception):
    """Why a mechanism is not to be had on this machine."""


def compiled(folder: Path, name: str) -> Path:
    """The library made of one of the C files."""
    source = Path(__file__).with_name(f"{name}.c")
    library = folder / f"{name}.so"
    command = ["cc", "-O1", "-Wall", "-Wextra", "-Werror", "-shared", "-fPIC", "-o", library]
    subprocess.run([*command, source, "-ldl", "-lpthread"], check=True)
    return library


class Mapped:
    """A file that a shim and this process have in memory."""

    def __init__(self, folder: Path, name: str, size: int) -> None:
        self._path = folder / f"{name}.points"
        self._path.write_bytes(bytes(size))
        with self._path.open("r+b") as file:
            self.memory = mmap.mmap(file.fileno(), size)
        self.environment = {"LD_PRELOAD": str(folder / f"{name}.so"), name.upper(): str(self._path)}


class Faults(Mapped):
    """A disk that fails as it is told."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "faults", PAGE)

    def begin(self, *rules: tuple[str, int, str], one_in: int = 1) -> None:
        """From now on calls fail: each rule is their kind, the error, and a part of the path."""
        lines = "".join(f"{kind} {error} {one_in} {part}\n" for kind, error, part in rules)
        self._write(lines.encode())

    def is_full(self, part: str) -> None:
        self.begin(("write", errno.ENOSPC, part), ("open", errno.ENOSPC, part))

    def is_read_only(self, part: str) -> None:
        self.begin(*((kind, errno.EROFS, part) for kind in ("open", "write", "name")))

    def end(self) -> None:
        self._write(b"")

    @property
    def count(self) -> int:
        """How many calls were made to fail so far."""
        return struct.unpack_from("q", self.memory, PAGE - COUNT)[0]

    def _write(self, rules: bytes) -> None:
        # Whoever reads meanwhile finds no rule.
        self.memory[0] = 0
        rules = rules.ljust(PAGE - COUNT, b"\0")
        self.memory[1 : PAGE - COUNT] = rules[1:]
        self.memory[0] = rules[0]


class Clock(Mapped):
    """Both clocks of a daemon, against those of the machine."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder, "clock", 2 * COUNT)
        self._check()

    def set(self, wall: float = 0, since_boot: float = 0) -> None:
        """By how many seconds they are ahead."""
        struct.pack_into("qq", self.memory, 0, int(wall * 1000), int(since_boot * 1000))

    def _check(self) -> None:
        self.set(wall=-10_000, since_boot=20_000)
        tell = "import time; print(time.time(), time.clock_gettime(time.CLOCK_BOOTTIME))"
        done = subprocess.run(
            [sys.executable, "-c", tell],
            env={**os.environ, **self.environment},
            capture_output=True,
            text=True,
        )
        self.set()
        if done.returncode != 0:
            raise Missing(f"its shim does not work: {done.stderr.strip()}")


__all__ = ["Clock", "Faults", "Missing", "compiled"]
