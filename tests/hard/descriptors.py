"""No file descriptor is left for whoever comes."""

import os
import socket
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from daemon import Daemon, said, unwell
from place import call
from trial import Trial, begun, token

# With so many, not all connections that the configuration allows can be there at once.
FEW = 300


def connections(shims: Path, lines: list[str]) -> None:
    """Whoever connects without end takes no descriptor from others: each listener has its part."""
    daemon = Daemon.new()
    with begun(daemon, lines, "prlimit", f"--nofile={FEW}:{FEW}") as trial:
        trial.is_unwell(resources=f"only {FEW} file descriptors")
        with _crowd(daemon, "public"), _crowd(daemon, "sign"):
            told = "all connections of a listener are taken"
            trial.until("two listeners are full", lambda: daemon.log().count(told) == 2)
            trial.check("descriptors are left", _in_use(daemon) < FEW)
            trial.is_unwell_for_admins(resources=f"only {FEW} file descriptors")
            active = trial.active("lasting")
            trial.check("a revocation is durable", trial.revoke("lasting", active).exit, 0)
            trial.is_durable("lasting", active)
        trial.until("verifiers are served", lambda: daemon.kids("lasting"))
        trial.check("the key is out of the JWK Set", active in daemon.kids("lasting"), False)
        trial.nothing_is_lost()


def none_left(shims: Path, lines: list[str]) -> None:
    """Whoever is connected is served; the others wait until there are descriptors again."""
    daemon = Daemon.new()
    with daemon.gone_at_the_end(), _manager(daemon) as manager, ExitStack() as kept:
        trial = Trial(daemon, lines)
        trial.begin()
        ask = {
            listener: _asker(kept, daemon, listener)
            for listener in ("public", "sign", "admin", "metrics")
        }
        assert all(ask[listener]() for listener in ask)
        _limit(daemon, _in_use(daemon))
        waiting = daemon.begin("status")
        kept.callback(waiting.kill)
        found = unwell(*ask["metrics"]())
        trial.check("/readyz names resources", [*found], ["resources"])
        trial.check("it says why", "none is left" in found["resources"])
        status, jwk_set = ask["public"]()
        trial.check("the JWK Set is served", status, 200)
        trial.check("tokens are signed", ask["sign"]()[0], 200)
        active = ask["sign"]()[1]["kid"]
        path = f"/v1/keysets/lasting/keys/{active}/revoke"
        trial.history.asked_to_revoke("stolen", active)
        status, answer = ask["admin"]("POST", path, {"reason": "stolen"})
        trial.check("a revocation is durable", (status, answer.get("revoked")), (200, [active]))
        trial.history.answered(answer)
        kids = [key["kid"] for key in ask["public"]()[1]["keys"]]
        trial.check("the key is out of the JWK Set", active in kids, False)
        trial.check("another one signs", ask["sign"]()[1]["kid"] != active)
        trial.check("it still tells its manager that it lives", _is_fed(manager))
        trial.check("who came meanwhile waits", waiting.poll(), None)
        _limit(daemon, 1024)
        trial.check("and is served then", said(waiting).exit, 0)
        trial.recovers()
        trial.is_durable("lasting", active)
        trial.nothing_is_lost()


@contextmanager
def _crowd(daemon: Daemon, listener: str) -> Iterator[None]:
    """More connections than it takes, none of which asks for anything."""
    with ExitStack() as crowd:
        for _ in range(FEW // 2):
            stranger = crowd.enter_context(socket.socket(socket.AF_UNIX))
            stranger.connect(str(daemon.folder / f"{listener}.sock"))
        yield


def _asker(kept: ExitStack, daemon: Daemon, listener: str):
    """Asks over one connection, by itself for what the listener is mostly asked for."""
    usual = {
        "public": ("GET", "/lasting/.well-known/jwks.json", None),
        "sign": ("POST", "/v1/keysets/lasting/tokens", token("lasting")),
        "admin": ("GET", "/v1/keysets/lasting", None),
        "metrics": ("GET", "/readyz", None),
    }[listener]
    connection = daemon.connection(listener)
    kept.callback(connection.close)

    def ask(*wanted) -> tuple[int, dict]:
        return call(connection, *(wanted or usual))

    return ask


def _in_use(daemon: Daemon) -> int:
    return len(os.listdir(f"/proc/{daemon.pid}/fd"))


def _limit(daemon: Daemon, descriptors: int) -> None:
    # What is in use stays; the hard limit stays too, so that it can be raised by anyone.
    command = ["prlimit", "--pid", str(daemon.pid), f"--nofile={descriptors}:"]
    subprocess.run(command, check=True)


@contextmanager
def _manager(daemon: Daemon) -> Iterator[socket.socket]:
    """The end at which a service manager hears that the daemon lives, five times a second."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(daemon.folder / "manager"))
        manager.settimeout(10)
        daemon.environment |= {
            "NOTIFY_SOCKET": str(daemon.folder / "manager"),
            "WATCHDOG_USEC": "400000",
        }
        yield manager


def _is_fed(manager: socket.socket) -> bool:
    """After all that was said before."""
    manager.setblocking(False)
    try:
        while manager.recv(4096):
            pass
    except BlockingIOError:
        manager.settimeout(10)
    try:
        return b"WATCHDOG=1" in manager.recv(4096)
    except TimeoutError:
        return False
