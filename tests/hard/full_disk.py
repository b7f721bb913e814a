"""A full disk: nothing can be written until there is room again."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from daemon import Daemon
from disks import Disk, disk
from points import Faults, Missing
from trial import Trial

FULL = "No space left"


class FullByRule:
    """Where no disk can be mounted: what is written below `data/` fails as if the disk were full."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults

    def fill(self) -> None:
        self._faults.is_full("/data/")

    def free(self) -> None:
        self._faults.end()


@contextmanager
def small_disk(shims: Path, lines: list[str], **options) -> Iterator[tuple[Daemon, Disk | FullByRule]]:
    """A daemon whose `data/` is on a disk that can be filled."""
    faults = Faults(shims)
    daemon = Daemon.new(environment=faults.environment, **options)
    with daemon.gone_at_the_end():
        try:
            with disk(daemon.data) as real:
                yield daemon, real
        except Missing as why:
            lines.append(f"NOT CHECKED on a disk of its own, because {why}; by fail points instead:")
            yield daemon, FullByRule(faults)


def store_and_audit(shims: Path, lines: list[str]) -> None:
    """By default nothing is signed that cannot be recorded."""
    with small_disk(shims, lines) as (daemon, small):
        trial = Trial(daemon, lines)
        trial.begin()
        small.fill()
        trial.refuses_to_sign("audit_unavailable")
        trial.refuses_to_rotate("audit_unavailable")
        trial.refuses("audit_unavailable", "keys", "retire", "lasting", trial.active("lasting"))
        trial.is_unwell(audit="nothing is signed or done")
        trial.serves()
        revoked = trial.revokes_at_once("lasting", "not_durable")
        trial.refuses("audit_unavailable", "keys", "rotate", "lasting", "--now")
        trial.is_unwell(audit="nothing is signed or done", store=FULL, steps=FULL)
        trial.serves()
        small.free()
        trial.recovers()
        trial.is_durable("lasting", revoked)
        trial.nothing_is_lost()


def store_alone(shims: Path, lines: list[str]) -> None:
    """Where the audit has a disk of its own, callers notice nothing."""
    with small_disk(shims, lines, audit="audit.jsonl") as (daemon, small):
        trial = Trial(daemon, lines)
        trial.begin()
        small.fill()
        trial.refuses_to_rotate("store_unavailable")
        trial.is_unwell(store=FULL, steps=FULL)
        trial.refuses("store_unavailable", "keys", "show", "lasting")
        trial.serves()
        trial.signs()
        revoked = {keyset: trial.revokes_at_once(keyset, "not_durable") for keyset in ("quick", "large")}
        trial.refuses("revocation_pending", "keys", "rotate", "large", "--now")
        trial.is_unwell(store=FULL, steps=FULL)
        trial.serves()
        trial.signs()
        small.free()
        trial.recovers()
        for keyset, kid in revoked.items():
            trial.is_durable(keyset, kid)
        trial.nothing_is_lost()
