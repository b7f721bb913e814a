"""What the daemon takes of a machine: on the disk, in memory, of an idle processor, and until it is ready.

Ten key sets, on all cores, as it ships.
"""

import os
import re
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from harness import Bench, Caller, Daemon, Failed, KeySet, Row, cpu_seconds, median, stop

SECTION = "footprint"
KEYSETS = [KeySet(f"set-{number}") for number in range(10)]

STARTS = 21
# What the issue of this bench asked for.
START_GOAL_MS = 50

# Until what a start left to be done is done, and how long nobody then asks.
SETTLED_AFTER, IDLE = 5.0, 60.0


def run(bench: Bench) -> list[Row]:
    # The first start makes the keys.
    with bench.daemon(KEYSETS) as daemon:
        daemon.stop()
        starts = [started(daemon) for _ in range(STARTS)]
        with serving(daemon) as (process, _):
            time.sleep(SETTLED_AFTER)
            idle = memory(process.pid)
            woken, slept = wakeups(process.pid), cpu_seconds(process.pid)
            time.sleep(IDLE)
            by_thread = wakeups(process.pid)
            used = (cpu_seconds(process.pid) - slept) * 60 / IDLE
            minutes = {thread: count - woken.get(thread, 0) for thread, count in by_thread.items()}
            loaded = under_load(bench, daemon, process.pid)
    start = median(starts)
    size = bench.jwksd.stat().st_size
    wakes = sum(minutes.values()) * 60 / IDLE
    return [
        Row(SECTION, "binary, as `cargo build --release` makes it", mib(size)),
        Row(SECTION, "resident memory, idle", mib(idle["VmRSS"]), f"{mib(idle['RssAnon'])} of it not of files"),
        Row(SECTION, "resident memory, 32 connections ask for tokens", mib(loaded["VmHWM"]),
            f"{mib(loaded['RssAnon'])} of it not of files"),
        Row(SECTION, "threads", str(len(by_thread))),
        Row(SECTION, "processor time in an idle minute", f"{used * 1000:.0f} ms"),
        Row(SECTION, "wake-ups of threads in an idle minute", f"{wakes:.0f}", most(minutes)),
        Row(SECTION, "start until READY=1, ten key sets with keys", f"{start:.0f} ms",
            f"{min(starts):.0f} to {max(starts):.0f} ms", goal=f"<= {START_GOAL_MS} ms", met=start <= START_GOAL_MS),
    ]


@contextmanager
def serving(daemon: Daemon) -> Iterator[tuple[subprocess.Popen, float]]:
    """The daemon on all cores, and after how many milliseconds it told the service manager that it is ready."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        path = daemon.folder / "notify"
        manager.bind(str(path))
        manager.settimeout(60)
        began = time.monotonic()
        process = subprocess.Popen(
            daemon.command("serve"), cwd=daemon.folder, env=os.environ | {"NOTIFY_SOCKET": str(path)},
            stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )
        try:
            while b"READY=1" not in manager.recv(4096):
                pass
            yield process, (time.monotonic() - began) * 1000
        except TimeoutError:
            raise Failed("the daemon was not ready within a minute") from None
        finally:
            stop(process)
            path.unlink()


def started(daemon: Daemon) -> float:
    with serving(daemon) as (_, milliseconds):
        return milliseconds


def under_load(bench: Bench, daemon: Daemon, pid: int) -> dict[str, int]:
    bench.load(daemon.unix, f"/v1/keysets/{KEYSETS[0].name}/tokens", body=bench.wish())
    return memory(pid)


def memory(pid: int) -> dict[str, int]:
    """Bytes of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    told = (re.fullmatch(r"(\w+):\s+(\d+) kB", line) for line in lines)
    return {found[1]: int(found[2]) * 1024 for found in told if found}


def wakeups(pid: int) -> dict[tuple[str, str], int]:
    """How often each thread, by number and name, has gone to sleep, and so was woken."""
    found = {}
    for thread in Path(f"/proc/{pid}/task").iterdir():
        status = (thread / "status").read_text()
        switches = re.search(r"^voluntary_ctxt_switches:\s+(\d+)$", status, re.MULTILINE)
        found[thread.name, (thread / "comm").read_text().strip()] = int(switches[1])
    return found


def most(minutes: dict[tuple[str, str], int]) -> str:
    """Of which threads most are: those whose names differ only in a number are taken together."""
    kinds: dict[str, int] = {}
    for (_, name), count in minutes.items():
        kind = re.sub(r"-\d+$", "", name)
        kinds[kind] = kinds.get(kind, 0) + count
    told = sorted(kinds.items(), key=lambda pair: -pair[1])[:3]
    return ", ".join(f"{kind} {count * 60 / IDLE:.0f}" for kind, count in told if count)


def mib(count: int) -> str:
    return f"{count / 2**20:.1f} MiB"
