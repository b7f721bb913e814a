"""How long answers take, and what else the daemon does meanwhile costs them.

All of the daemon runs on one core: those who sign, those who serve, and the thread that makes key pairs, so
that nothing gives way to anything by itself. The load is on the other core, and awake; a latency counts from when the request was
due, whether the one before was answered or not. What is compared is measured in turn.
"""

import http.client
import json
import os
import socket
import subprocess
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness import Bench, Daemon, Failed, KeySet, Row, median, ratio, stop

SECTION = "latency"

KEYSETS = [
    KeySet("es256"),
    KeySet("rs256", "RS256"),
    KeySet("rotated", "RS256", "rsa_bits = 4096"),
    KeySet("revoked", "RS256"),
    KeySet("slow", "RS256", "rsa_bits = 4096"),
]

# Of what is asked for at half of the top rate, and the p99 of what must hardly be more meanwhile.
QUANTILES = ("p50", "p99", "p99.9")
WHILE_KEYS_CHANGE = 1.5

# Single signatures and JWK Sets in a second where batches, or a flood of signatures, are beside them.
STEADY = 500

# How often, in seconds, it is looked for a standby, and how many times.
LOOK_EVERY = 0.02
PATIENCE = 3000


@dataclass(frozen=True)
class Ask:
    """What is asked for."""

    what: str
    to: str
    path: str
    body: str | None

    def load(self, bench: Bench, *options: str, seconds: float | None = None) -> dict:
        return bench.load(self.to, self.path, *options, body=self.body, seconds=seconds)


def run(bench: Bench) -> list[Row]:
    with bench.daemon(KEYSETS) as daemon:
        daemon.settle(KEYSETS)
        es256 = Ask("ES256", daemon.unix, "/v1/keysets/es256/tokens", bench.wish())
        rs256 = Ask("RS256", daemon.unix, "/v1/keysets/rs256/tokens", bench.wish())
        jwks = Ask("JWK Set", daemon.public, "/es256/.well-known/jwks.json", None)
        rates = {ask: half_of_top(bench, ask) for ask in (es256, rs256, jwks)}
        rows = [row for ask, rate in rates.items() for row in at_half(bench, ask, rate)]
        for ask in (es256, jwks):
            rows.append(while_keys_change(bench, daemon, ask, rates[ask]))
        rows.append(beside_batches(bench, daemon, es256))
        rows.append(under_flood(bench, daemon, jwks))
        return rows


def half_of_top(bench: Bench, ask: Ask) -> float:
    """Half of the requests that are answered in a second of the clock, where as many are asked as will go."""
    ask.load(bench, seconds=0.5)
    return median([ask.load(bench, seconds=1)["answers"] for _ in range(3)]) / 2


def at_half(bench: Bench, ask: Ask, rate: float) -> list[Row]:
    found = [latencies(bench, ask, rate) for _ in range(bench.rounds)]
    figures = ", ".join(f"{name} {micros([one[name] for one in found])}" for name in QUANTILES)
    return [Row(SECTION, f"{ask.what} at {rate:,.0f}/s, half of the top rate", figures)]


def while_keys_change(bench: Bench, daemon: Daemon, ask: Ask, rate: float) -> Row:
    """The p99 while keys of 4096 bits are made, rotated and revoked all the time, against the same without."""
    changes = Changes(daemon)

    def changing() -> float:
        with changes.going_on():
            return latencies(bench, ask, rate)["p99"]

    found = bench.interleaved({"alone": lambda: latencies(bench, ask, rate)["p99"], "changing": changing})
    what = f"{ask.what} at {rate:,.0f}/s, p99 while keys are rotated and revoked ({changes})"
    return Row.at_most(SECTION, what, micros(found["changing"]), f"without: {micros(found['alone'])}",
                       ratio(found["changing"], found["alone"]), WHILE_KEYS_CHANGE)


def beside_batches(bench: Bench, daemon: Daemon, ask: Ask) -> Row:
    """The p99 of single signatures while a batch of signatures of 5 ms each is always being signed."""
    batches = ("/v1/keysets/slow/tokens/batch", "--batch", "100", "--connections", "1")
    found = beside(bench, daemon, ask, [batches])
    what = f"{ask.what} at {STEADY}/s, p99 beside batches of RS256 with 4096 bits"
    return Row(SECTION, what, micros(found["beside"]), f"without: {micros(found['alone'])}",
               ratio(found["beside"], found["alone"]))


def under_flood(bench: Bench, daemon: Daemon, ask: Ask) -> Row:
    """The p99 of the JWK Set while the internal listener is asked for more signatures than there can be."""
    single = ("/v1/keysets/es256/tokens", "--connections", "16")
    batches = ("/v1/keysets/es256/tokens/batch", "--batch", "1000", "--connections", "1")
    found = beside(bench, daemon, ask, [single, batches])
    what = f"{ask.what} at {STEADY}/s, p99 under a flood of signatures"
    return Row(SECTION, what, micros(found["beside"]), f"without: {micros(found['alone'])}",
               ratio(found["beside"], found["alone"]))


def beside(bench: Bench, daemon: Daemon, ask: Ask, loads: list[tuple[str, ...]]) -> dict[str, list[float]]:
    """The p99 at a steady rate alone, and while others load the internal listener; they give way to who measures."""

    def with_others() -> float:
        with loaded(bench, daemon, loads):
            return latencies(bench, ask, STEADY)["p99"]

    return bench.interleaved({"alone": lambda: latencies(bench, ask, STEADY)["p99"], "beside": with_others})


@contextmanager
def loaded(bench: Bench, daemon: Daemon, loads: list[tuple[str, ...]]) -> Iterator[None]:
    with tempfile.NamedTemporaryFile("w") as body:
        body.write(bench.wish())
        body.flush()
        others = [bench.loading(daemon.unix, path, "--waiting", "asleep", *options, body=Path(body.name),
                                seconds=bench.seconds + 2) for path, *options in loads]
        try:
            for other in others:
                os.setpriority(os.PRIO_PROCESS, other.pid, 19)
            time.sleep(0.5)
            yield
            if any(other.poll() is not None for other in others):
                raise Failed("the load broke off")
        finally:
            for other in others:
                stop(other)


class Changes:
    """One change of keys after the other: a rotation of a key of 4096 bits, and two revocations."""

    def __init__(self, daemon: Daemon) -> None:
        self._admin = Admin(daemon.folder / "data/admin.sock")
        self._made = {"rotations": 0, "revocations": 0}

    def __str__(self) -> str:
        return ", ".join(f"{count} {name}" for name, count in self._made.items())

    @contextmanager
    def going_on(self) -> Iterator[None]:
        over, failed = threading.Event(), []
        thread = threading.Thread(target=self._go_on, args=(over, failed))
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()
        if failed:
            raise Failed(f"a change of keys: {failed[0]}")

    def _go_on(self, over: threading.Event, failed: list) -> None:
        try:
            while not over.is_set():
                self._admin.rotate("rotated")
                self._made["rotations"] += 1
                for keyset in ("es256", "revoked"):
                    self._admin.revoke_active(keyset)
                    self._made["revocations"] += 1
        except (OSError, Failed) as problem:
            failed.append(problem)


class Admin:
    """The admin listener."""

    def __init__(self, path: Path) -> None:
        self._connection = http.client.HTTPConnection("localhost", timeout=60)
        self._connection.sock = socket.socket(socket.AF_UNIX)
        self._connection.sock.settimeout(60)
        self._connection.sock.connect(str(path))

    def rotate(self, keyset: str) -> None:
        """Its standby signs; the next is made meanwhile."""
        wanted = {"expect_active": self._active_with_standby(keyset), "now": True}
        self._ask("POST", f"/v1/keysets/{keyset}/rotate", wanted)

    def revoke_active(self, keyset: str) -> None:
        """Its standby signs; the next is made meanwhile."""
        kid = self._active_with_standby(keyset)
        self._ask("POST", f"/v1/keysets/{keyset}/keys/{kid}/revoke", {"reason": "bench/run"})

    def _active_with_standby(self, keyset: str) -> str:
        """The key that signs, once there is one to follow it: nobody waits for a key of 4096 bits here."""
        for _ in range(PATIENCE):
            shown = self._ask("GET", f"/v1/keysets/{keyset}")
            if any(key["state"] == "pending" for key in shown["keys"]):
                return shown["active"]
            time.sleep(LOOK_EVERY)
        raise Failed(f"{keyset} has no standby")

    def _ask(self, method: str, path: str, wanted: dict | None = None) -> dict:
        body = None if wanted is None else json.dumps(wanted)
        headers = {"Content-Type": "application/json"} if body else {}
        self._connection.request(method, path, body, headers)
        answer = self._connection.getresponse()
        found = json.loads(answer.read())
        if answer.status != 200:
            raise Failed(f"{method} {path}: {found}")
        return found


def latencies(bench: Bench, ask: Ask, rate: float) -> dict[str, float]:
    return ask.load(bench, "--rate", str(rate))["latency_us"]


def micros(found: list[float]) -> str:
    return f"{median(found):,.0f} us"
