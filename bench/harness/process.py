"""Other processes: on which core they run, what CPU time they used, how they end."""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def pinned(core: int) -> Iterator[None]:
    """A process that is started within runs on this core alone, with all its threads.

    It inherits that from this thread, so that a program that counts cores when it begins finds one.
    """
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def cpu_seconds(pid: int) -> float:
    """CPU time of all threads of the process, in user and kernel, of those that ended too, to the nanosecond.

    It is the clock that clock_getcpuclockid(3) would name: the scheduler's own account, which reads as
    the sum of /proc/PID/task/*/schedstat while no thread has ended.
    """
    return time.clock_gettime_ns((~pid << 3) | 2) / 1e9


def resident_kib(pid: int) -> int:
    """Resident memory of the process."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise ProcessLookupError(f"process {pid} has no memory")


def free_port() -> int:
    """A port of 127.0.0.1 that nobody had a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def stop(process: subprocess.Popen) -> None:
    """Ends it as a service manager does, or by force."""
    process.terminate()
    try:
        process.wait(timeout=30)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
