"""Processors that others use all the time."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon import Daemon
from trial import begun

# For each processor.
OTHERS = 3


def reload_and_start(shims: Path, lines: list[str]) -> None:
    """Neither a start nor a reload waits for a thread that takes what others leave: they may leave nothing."""
    daemon = Daemon.new()
    with begun(daemon, lines) as trial:
        with others_at_work():
            trial.check("a rotation is done", trial.rotate("large"), "")
            trial.check("a reload is done", daemon("reload").exit, 0)
            lines.append(f"--  the next standby is {'there' if trial.standby('large') else 'not there yet'}")
            daemon.kill()
            trial.history.killed("killed")
            daemon.start()
            daemon.wait_until_ready()
            lines.append("ok  it starts beside others that use all processors")
            trial.serves()
            trial.signs()
        trial.nothing_is_lost()


@contextmanager
def others_at_work() -> Iterator[None]:
    count = OTHERS * len(os.sched_getaffinity(0))
    others = [subprocess.Popen(["sh", "-c", "while :; do :; done"]) for _ in range(count)]
    try:
        yield
    finally:
        for other in others:
            other.kill()
            other.wait()
