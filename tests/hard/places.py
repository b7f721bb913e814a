#!/usr/bin/env python3
"""Puts the real jwksd into hard places, and asks it there what it must still answer, and afterwards whether it
has lost anything. Names of places as arguments: only these."""

import shutil
import sys
import tempfile
import time
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import busy
import clocks
import descriptors
import full_disk
import io_errors
import memory
import read_only
from points import Missing, compiled

# Most of a trial is waiting: for disks, for keys, for what is tried again.
AT_ONCE = 4

PLACES: dict[str, Callable[[Path, list[str]], None]] = {
    "full-disk": full_disk.store_and_audit,
    "full-store": full_disk.store_alone,
    "read-only": read_only.by_rule,
    "aborted-ext4": read_only.after_an_error,
    "io-errors": io_errors.one_by_one,
    "io-errors-unrecorded": io_errors.unrecorded,
    "io-errors-by-chance": io_errors.by_chance,
    "thin-disk": io_errors.thin,
    "connections": descriptors.connections,
    "descriptors": descriptors.none_left,
    "memory": memory.little,
    "no-threads": memory.no_threads,
    "no-memory": memory.none,
    "clock": clocks.back_and_forth,
    "busy": busy.reload_and_start,
}


@dataclass
class Result:
    name: str
    seconds: float = 0
    lines: list[str] = field(default_factory=list)
    failure: str = ""

    def __str__(self) -> str:
        lines = "\n".join(f"    {line}" for line in self.lines)
        end = f"\n    FAILED: {self.failure}" if self.failure else ""
        return f"{self.name} ({self.seconds:.0f} s)\n{lines}{end}"


def main() -> int:
    names = sys.argv[1:] or [*PLACES]
    began = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="jwksd-hard-shims-", dir="/tmp") as folder:
        libraries = Path(folder)
        for name in ("faults", "clock"):
            compiled(libraries, name)
        with ThreadPoolExecutor(AT_ONCE) as threads:
            results = threads.map(lambda name: tried(name, libraries), names)
            failed = [result.name for result in map(shown, results) if result.failure]
    seconds = time.monotonic() - began
    if failed:
        print(f"hard places: FAILED after {seconds:.0f} s: {', '.join(failed)}")
        return 1
    print(f"hard places: all {len(names)} were survived in {seconds:.0f} s")
    return 0


def tried(name: str, libraries: Path) -> Result:
    result = Result(name)
    began = time.monotonic()
    shims = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=libraries))
    for library in libraries.glob("*.so"):
        shutil.copy(library, shims)
    try:
        PLACES[name](shims, result.lines)
    except Missing as why:
        result.lines.append(f"NOT CHECKED, because {why}")
    except Exception:
        result.failure = traceback.format_exc()
    result.seconds = time.monotonic() - began
    return result


def shown(result: Result) -> Result:
    print(result, flush=True)
    return result


if __name__ == "__main__":
    sys.exit(main())
