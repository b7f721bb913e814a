"""A process that gets no more memory."""

import random
import signal
import subprocess
from http.client import HTTPException
from pathlib import Path

from daemon import KEYSETS, Daemon
from trial import begun

# Enough for what a revocation or a rotation takes, and far from what it takes to start.
LITTLE = 32 << 20

# How many rounds of acts it may survive without a byte more.
MOST = 50


def little(shims: Path, lines: list[str]) -> None:
    """What is asked of it costs little memory, and none that it does not give back."""
    daemon = Daemon.new()
    with begun(daemon, lines) as trial:
        _limit(daemon, _data(daemon) + LITTLE)
        for _ in range(5):
            trial.signs()
            for keyset in KEYSETS:
                trial.until(f"{keyset} has a standby", lambda keyset=keyset: trial.standby(keyset))
                trial.check("a rotation is done", trial.rotate(keyset), "")
        trial.serves()
        trial.wait_for_standby("lasting")
        revoked = trial.revokes_at_once("lasting", "")
        trial.is_durable("lasting", revoked)
        trial.check("it is ready", daemon.is_ready())
        trial.nothing_is_lost()


def none(shims: Path, lines: list[str]) -> None:
    """Rust ends a process that gets none. What was acknowledged is there at the next start, as after any kill."""
    daemon = Daemon.new()
    with begun(daemon, lines) as trial:
        _limit(daemon, _data(daemon))
        acts = 0
        for _ in range(MOST):
            try:
                trial.live(random.Random(acts), seconds=0)
            except (OSError, HTTPException):
                break
            acts += 1
        if daemon.ends_soon():
            trial.check("it ended as one that gets no memory", _ended_so(daemon))
        else:
            _limit(daemon, "unlimited")
            trial.recovers()
            trial.nothing_is_lost_here()
            daemon.kill()
        lines.append(f"--  after {acts} rounds of acts")
        trial.history.killed("no memory")
        trial.opens_whole()


def no_threads(shims: Path, lines: list[str]) -> None:
    """Enough for what is asked, and not for the stack of one thread more."""
    daemon = Daemon.new()
    with begun(daemon, lines) as trial:
        _limit(daemon, _data(daemon) + (1 << 20))
        trial.serves()
        trial.signs()
        revoked = trial.revokes_at_once("lasting", "")
        trial.is_durable("lasting", revoked)
        trial.check("a rotation is done", trial.rotate("quick"), "")
        trial.serves()
        trial.signs()
        _limit(daemon, "unlimited")
        trial.recovers()
        trial.nothing_is_lost()


def _ended_so(daemon: Daemon) -> bool:
    """By SIGABRT; a thread may say before that it does not get the little that it takes to start."""
    return daemon.has_ended() == -signal.SIGABRT and "memory allocation of" in daemon.log()


def _data(daemon: Daemon) -> int:
    """What counts towards the limit, in bytes: memory that can be written and is its own, locked or not."""
    status = Path(f"/proc/{daemon.pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmData:"))
    return int(line.split()[1]) * 1024


def _limit(daemon: Daemon, data: int | str) -> None:
    command = ["prlimit", "--pid", str(daemon.pid), f"--data={data}:"]
    subprocess.run(command, check=True)
