"""The machine that the figures are of."""

import os
import platform
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from .tools import Missing, output


@dataclass(frozen=True)
class Machine:
    """What has to be told beside a figure."""

    line: str
    date: str

    @staticmethod
    def here() -> "Machine":
        rustc = output(["rustc", "--version"]).split()[1]
        server, load = cores()
        shared = ", two threads of one core" if load in _siblings(server) else ""
        line = (
            f"{os.cpu_count()} x {_cpu()}, Linux {platform.release()}, rustc {rustc}; "
            f"server on CPU {server}, load on CPU {load}{shared}"
        )
        return Machine(line, datetime.now(UTC).date().isoformat())


def cores() -> tuple[int, int]:
    """The core for what is measured, and another for whoever asks: not its hyperthread where that can be had."""
    usable = sorted(os.sched_getaffinity(0))
    if len(usable) < 2:
        raise Missing("two cores are needed: one for the server, one for the load")
    server = usable[0]
    others = [core for core in usable[1:] if core not in _siblings(server)]
    return server, (others or usable[1:])[0]


def _siblings(core: int) -> set[int]:
    """The hyperthreads of the core, itself among them."""
    file = Path(f"/sys/devices/system/cpu/cpu{core}/topology/thread_siblings_list")
    if not file.exists():
        return {core}
    found = set()
    for part in file.read_text().strip().split(","):
        first, _, last = part.partition("-")
        found |= set(range(int(first), int(last or first) + 1))
    return found


def _cpu() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.machine()
