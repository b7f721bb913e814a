"""Growth: what 1, 100, 1,000 and 10,000 key sets cost, and a storm in which all rotate at one moment."""

import http.client
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack, contextmanager
from datetime import datetime, timedelta, timezone
from pathlib import Path

from harness import Bench, Failed, Row, median, ratio
from harness.daemon import Caller, Daemon, KeySet

SIZES = (1, 100, 1_000, 10_000)
MOST = SIZES[-1]

# Short waits, so that a schedule can be met soon: the price of a rotation is the same.
SHORT = 'jwks_max_age = "1s"\nverifier_cache = "1s"\nclock_skew = "1s"'

# Far away: it is brought nearer for the storm.
LATER = "0 3 1 1 *"

ROTATIONS = 15
REVOCATIONS = 5

START_GOAL = 2.0
RATE_GOAL = 0.9
ROTATION_GOAL = 1.2
# A revocation waits for the round of 64 sets that is under way, and not for the storm.
REVOCATION_GOAL = 0.25


def run(bench: Bench) -> list[Row]:
    with ExitStack() as stack:
        daemons = {size: stack.enter_context(grown(bench, size)) for size in SIZES}
        rows = starts(bench, daemons) + sizes(daemons)
        rows += rates(bench, daemons) + rotations(daemons)
        for size in SIZES[:-1]:
            daemons[size].stop()
        return rows + storm(bench, daemons[MOST])


@contextmanager
def grown(bench: Bench, size: int):
    """A daemon with so many key sets, each with the key that signs and a standby."""
    with tempfile.TemporaryDirectory(prefix="jwksd-bench-") as folder:
        daemon = Daemon(bench.jwksd, Path(folder), keysets(size, LATER), [Caller()], "")
        try:
            daemon.start(bench.server_core, "--init")
            told(f"first start with {size}: {daemon.ready_after:.2f} s")
            wait_until_idle(daemon)
            yield daemon
        finally:
            daemon.stop()


def keysets(size: int, rotate: str) -> list[KeySet]:
    return [KeySet(f"set-{number}", rotate=rotate, more=SHORT) for number in range(size)]


def starts(bench: Bench, daemons: dict[int, Daemon]) -> list[Row]:
    """Of stores that are there; a start has to write to each of their key sets."""
    rows = []
    for size, daemon in daemons.items():
        first, spans = daemon.ready_after, []
        for _ in range(3 if size < MOST else 2):
            daemon.stop()
            daemon.start(bench.server_core)
            spans.append(daemon.ready_after)
            wait_until_idle(daemon)
        span, goal = median(spans), START_GOAL
        limit = (f"<= {goal:g} s", span <= goal) if size == MOST else ("", True)
        rows.append(Row("growth", f"start with {counted(size)}", f"{span:.2f} s", f"first: {first:.2f} s", None, *limit))
    return rows


def sizes(daemons: dict[int, Daemon]) -> list[Row]:
    rows = []
    for size, daemon in daemons.items():
        resident, stored = daemon.resident_kib() / 1024, disk_bytes(daemon.folder / "data/store") / 2**20
        rows.append(Row("growth", f"resident memory with {counted(size)}", f"{resident:.0f} MiB", f"store: {stored:.1f} MiB"))
    one, most = daemons[1], daemons[MOST]
    each = (most.resident_kib() - one.resident_kib()) / (MOST - 1)
    return [*rows, Row("growth", "memory of one key set more", f"{each:.1f} KiB")]


def rates(bench: Bench, daemons: dict[int, Daemon]) -> list[Row]:
    """Tokens per CPU-second, asked of one key set after the other."""

    def case(size: int, daemon: Daemon) -> Callable[[], float]:
        options = ("--sets", str(size))
        load = lambda: bench.load(daemon.unix, "/v1/keysets/set-{}/tokens", *options, body=bench.wish())  # noqa: E731
        return lambda: bench.per_cpu_second(daemon.cpu_seconds, load)

    found = bench.interleaved({counted(size): case(size, daemon) for size, daemon in daemons.items()})
    of_one = found[counted(1)]
    one, rows = median(of_one), []
    for size in SIZES[1:]:
        of_these = found[counted(size)]
        rate, than_one = median(of_these), ratio(of_these, of_one)
        what, value, against = f"tokens, over {counted(size)}", f"{rate:,.0f}/s", f"{one:,.0f}/s"
        if size == MOST:
            rows.append(Row.at_least("growth", what, value, against, than_one, RATE_GOAL))
        else:
            rows.append(Row("growth", what, value, against, than_one))
    return rows


def rotations(daemons: dict[int, Daemon]) -> list[Row]:
    """One key set rotates by hand, again and again, in each daemon in turn."""
    took: dict[int, list[float]] = {size: [] for size in daemons}
    cost: dict[int, list[float]] = {size: [] for size in daemons}
    sets = {size: f"set-{size // 2}" for size in daemons}
    for _ in range(ROTATIONS):
        for size, daemon in daemons.items():
            before = daemon.cpu_seconds()
            span, old = rotate(daemon, sets[size])
            took[size].append(span)
            wait_until_idle(daemon)
            cost[size].append(daemon.cpu_seconds() - before)
            # Else the JWK Set, and what it costs, would grow with each round.
            ask(daemon, "POST", f"/v1/keysets/{sets[size]}/keys/{old}/retire", {})
            wait_until_idle(daemon)
    one, most = median(took[1]), median(took[MOST])
    cpu_one, cpu_most = median(cost[1]), median(cost[MOST])
    what = f"among {counted(MOST)}"
    return [
        Row.at_most("growth", f"rotation by hand, {what}", ms(most), ms(one), most / one, ROTATION_GOAL),
        Row("growth", f"its CPU time, standby included, {what}", ms(cpu_most), ms(cpu_one), cpu_most / cpu_one),
    ]


def storm(bench: Bench, daemon: Daemon) -> list[Row]:
    """All key sets rotate at one instant, and keys are revoked while they do."""
    daemon.stop()
    instant = datetime.now(timezone.utc).replace(microsecond=0) + timedelta(seconds=20)
    cron = f"{instant.second} {instant.minute} {instant.hour} {instant.day} {instant.month} *"
    file = daemon.folder / "jwksd.toml"
    file.write_text(file.read_text().replace(f'rotate = "{LATER}"', f'rotate = "{cron}"'))
    daemon.start(bench.server_core)
    wait_until_idle(daemon)
    alone = [revoke(daemon, f"set-{number}") for number in range(REVOCATIONS)]
    if datetime.now(timezone.utc) >= instant - timedelta(seconds=4):
        raise Failed("the storm came before its time: the machine is too slow")
    wait_until(instant)
    ended: list[float] = []
    watch = threading.Thread(target=lambda: ended.append(quiet_at(daemon)))
    began = time.monotonic()
    watch.start()
    amid = []
    for number in range(REVOCATIONS):
        time.sleep(0.3)
        amid.append((time.monotonic(), revoke(daemon, f"set-{MOST - 1 - number}")))
    watch.join()
    took = ended[0] - began
    if any(asked > ended[0] for asked, _ in amid):
        raise Failed(f"the storm was over after {took:.1f} s, before all revocations were asked for")
    worst, usual = max(span for _, span in amid), median(alone)
    goal = f"<= {ms(REVOCATION_GOAL)}"
    return [
        Row("growth", f"{counted(MOST)} rotate at one moment", f"{took:.1f} s"),
        Row("growth", "longest revocation amid them", ms(worst), f"{ms(usual)} alone", worst / usual, goal, worst <= REVOCATION_GOAL),
    ]


def rotate(daemon: Daemon, keyset: str) -> tuple[float, str]:
    """How long it took, and the key that signed before."""
    old = ask(daemon, "GET", f"/v1/keysets/{keyset}")["active"]
    began = time.monotonic()
    ask(daemon, "POST", f"/v1/keysets/{keyset}/rotate", {"expect_active": old, "now": True})
    return time.monotonic() - began, old


def revoke(daemon: Daemon, keyset: str) -> float:
    """How long it took to revoke the key that signs."""
    kid = ask(daemon, "GET", f"/v1/keysets/{keyset}")["active"]
    began = time.monotonic()
    ask(daemon, "POST", f"/v1/keysets/{keyset}/keys/{kid}/revoke", {"reason": "the bench says so"})
    return time.monotonic() - began


def ask(daemon: Daemon, method: str, path: str, body: dict | None = None) -> dict:
    """Asks the admin listener."""
    connection = OverSocket(daemon.folder / "data/admin.sock")
    try:
        headers = {"content-type": "application/json"} if body is not None else {}
        connection.request(method, path, json.dumps(body) if body is not None else None, headers)
        answer = connection.getresponse()
        text = answer.read()
        if answer.status != 200:
            raise Failed(f"{method} {path}: {answer.status} {text.decode(errors='replace')}")
        return json.loads(text)
    finally:
        connection.close()


class OverSocket(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: Path) -> None:
        super().__init__("localhost", timeout=60)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))


def wait_until_idle(daemon: Daemon) -> None:
    quiet_at(daemon)


def quiet_at(daemon: Daemon, patience: float = 120) -> float:
    """Since when the daemon does nothing: it uses no CPU time to speak of for a while."""
    pause, quiet = 0.05, 0
    since, used = time.monotonic(), daemon.cpu_seconds()
    began = since
    while quiet < 4:
        time.sleep(pause)
        now, uses = time.monotonic(), daemon.cpu_seconds()
        if uses - used > 0.001:
            since, quiet = now, 0
        else:
            quiet += 1
        used = uses
        if now - began > patience:
            raise Failed(f"the daemon is still at work after {patience:.0f} s")
    return since


def wait_until(instant: datetime) -> None:
    while (left := (instant - datetime.now(timezone.utc)).total_seconds()) > 0:
        time.sleep(min(left, 0.5))


def disk_bytes(folder: Path) -> int:
    return sum(file.stat().st_blocks * 512 for file in folder.rglob("*") if file.is_file())


def counted(size: int) -> str:
    return f"{size:,} key set" + ("" if size == 1 else "s")


def ms(seconds: float) -> str:
    return f"{seconds * 1000:.1f} ms"


def told(line: str) -> None:
    print(f"  {line}", file=sys.stderr, flush=True)
