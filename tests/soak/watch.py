"""What the daemon takes, looked at each second, and whether it takes more and more.

Compared are the first third and the last third of the longest life of one process, without its warm-up.
Each limit leaves room for what is bounded and for a machine that has much else to do; what grows without
an end passes it, at the latest in an hour.
"""

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from load import Latency
from service import Service

MIB = 1 << 20
# So much of a life is its warm-up.
WARM_UP = 0.15

# sled's cache grows to 16 MiB, and the allocator keeps some of what a burst of batches took.
MEMORY = 24 * MIB
# Connections of callers and verifiers that come and go; the lowest of a part is compared.
DESCRIPTORS = 8
# Threads for what waits for the disk come and go; the lowest of a part is compared.
THREADS = 4
# The longest a line about a token is, with its share of marks and of the lines of admins.
AUDIT_BYTES = 900
# A commit writes some rows of at most 6 KB, sled writes them twice where it cleans up, in segments of
# 512 KiB, of which it may hold some back.
STORE_BYTES = 48 * 1024
STORE_SEGMENTS = 8 * MIB
# How many times as long as before a token may take, after what `/healthz` took longer is taken off; and so
# long it may always take.
SLOWER = {0.5: (2.0, 0.004), 0.99: (4.0, 0.060)}


@dataclass(frozen=True)
class Sample:
    at: float
    life: int
    memory: int
    descriptors: int
    threads: int
    store: int
    audit: int


@dataclass(frozen=True)
class Row:
    """A line of the table: something that was measured, and whether it is within its limit."""

    name: str
    first: str
    last: str
    limit: str
    is_good: bool


class Watch:
    """Looks once a second, from `start` until `stop`."""

    def __init__(self, service: Service) -> None:
        self.samples: list[Sample] = []
        self.unready: list[str] = []
        self._service = service
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()

    def _run(self) -> None:
        while not self._stopping.wait(1):
            with self._service.turn:
                self._look()

    def _readiness(self) -> tuple[int, str]:
        try:
            code, body = self._service.get("/readyz")
        except OSError as error:
            return 0, repr(error)
        return code, body.decode()

    def _look(self) -> None:
        at, proc = time.time(), Path(f"/proc/{self._service.pid}")
        status = dict(
            line.split(":", 1) for line in (proc / "status").read_text().splitlines() if ":" in line
        )
        code, why = self._readiness()
        if code != 200 and not self._service.was_away(at - 1, time.time()):
            self.unready.append(f"{code} {why}")
        self.samples.append(
            Sample(
                at,
                self._service.lives,
                int(status["VmRSS"].split()[0]) * 1024,
                len(list((proc / "fd").iterdir())),
                int(status["Threads"]),
                size_of(self._service.folder / "data", "store/**/*"),
                size_of(self._service.folder / "data", "audit*"),
            )
        )


def size_of(folder: Path, files: str) -> int:
    """What these files take of the disk."""
    sizes = []
    for file in folder.glob(files):
        try:
            sizes.append(file.stat().st_blocks * 512)
        except FileNotFoundError:
            continue  # It was taken away, or has another name now.
    return sum(sizes)


def drift(
    samples: Sequence[Sample], latencies: Sequence[Latency], signed_in_a_second: float, commits: int
) -> list[Row]:
    """What the first and the last part of the longest life have in common, and what not."""
    lives = {sample.life for sample in samples}
    life = max(lives, key=lambda life: sum(sample.life == life for sample in samples))
    first, last = _parts([sample for sample in samples if sample.life == life])
    quick, slow = _parts([latency for latency in latencies if latency.life == life])
    if not (first and last and quick and slow):
        return [Row("samples", str(len(samples)), "", "some in each part", False)]
    between = statistics.fmean(s.at for s in last) - statistics.fmean(s.at for s in first)
    rows = [
        _grows("memory, MiB", first, last, statistics.median, lambda s: s.memory, MEMORY, MIB),
        _grows("descriptors, at least", first, last, min, lambda s: s.descriptors, DESCRIPTORS),
        _grows("threads, at least", first, last, min, lambda s: s.threads, THREADS),
        _grows(
            *("audit, MiB", first, last, statistics.fmean, lambda s: s.audit),
            *(int(AUDIT_BYTES * signed_in_a_second * between) + MIB, MIB),
        ),
        _grows(
            *("store, MiB", first, last, statistics.fmean, lambda s: s.store),
            *(STORE_BYTES * commits + STORE_SEGMENTS, MIB),
        ),
    ]
    return rows + [_slows(part, quick, slow) for part in SLOWER]


def _grows(
    name: str,
    first: Sequence[Sample],
    last: Sequence[Sample],
    of: Callable,
    what: Callable[[Sample], int],
    more: int,
    unit: int = 1,
) -> Row:
    before, after = of([what(sample) for sample in first]), of([what(sample) for sample in last])
    numbers = [f"{number / unit:.1f}" if unit > 1 else f"{number:.0f}" for number in (before, after, more)]
    return Row(name, numbers[0], numbers[1], f"+{numbers[2]}", after - before <= more)


def _slows(part: float, first: Sequence[Latency], last: Sequence[Latency]) -> Row:
    """How much longer a token takes. What the whole machine became slower, `/healthz` became too."""
    before, after = (_quantile([one.token for one in ones], part) for ones in (first, last))
    rest, rest_after = (_quantile([one.health for one in ones], part) for ones in (first, last))
    machine = max(1.0, rest_after / rest)
    times, always = SLOWER[part]
    limit = max(before * times * machine, always * machine)
    texts = [f"{seconds * 1000:.2f}" for seconds in (before, after, limit)]
    return Row(f"a token, p{part * 100:.0f}, ms", texts[0], texts[1], texts[2], after <= limit)


def _parts(measured: Sequence) -> tuple[Sequence, Sequence]:
    """The first and the last third, after the warm-up."""
    if not measured:
        return [], []
    begun, ended = measured[0].at, measured[-1].at
    begun += (ended - begun) * WARM_UP
    third = (ended - begun) / 3
    first = [one for one in measured if begun <= one.at <= begun + third]
    return first, [one for one in measured if one.at >= ended - third]


def _quantile(numbers: Sequence[float], part: float) -> float:
    ordered = sorted(numbers)
    return ordered[min(len(ordered) - 1, int(len(ordered) * part))]
