"""A disk that answers some calls with an error."""

import errno
import random
from pathlib import Path

from daemon import Daemon
from disks import thin_disk
from points import Faults
from trial import Trial, begun

ERROR = "Input/output error"

# What fails in the store: kind of call, part of the path.
STORE = [
    ("sync", "/store/db"),
    ("write", "/store/db"),
    ("write", "/store/latest"),
    ("sync", "/store/latest"),
    ("sync", "/store"),
]

# What fails in the audit.
AUDIT = [
    ("write", "/audit.jsonl"),
    ("sync", "/audit.jsonl"),
    ("write", "/audit.jsonl.checkpoint"),
]


def one_by_one(shims: Path, lines: list[str]) -> None:
    """One kind of call to one file, as long as it lasts."""
    faults = Faults(shims)
    daemon = Daemon.new(environment=faults.environment)
    with begun(daemon, lines) as trial:
        for kind, part in STORE:
            _fails(trial, faults, kind, part)
            trial.refuses_to_rotate("store_unavailable")
            trial.signs()
            trial.serves()
            revoked = trial.revokes_at_once("quick", "not_durable")
            trial.is_unwell(store=ERROR, steps=ERROR)
            _is_well_again(trial, faults)
            trial.is_durable("quick", revoked)
            trial.wait_for_standby("quick")
        for kind, part in AUDIT:
            _fails(trial, faults, kind, part)
            trial.refuses_to_rotate("audit_unavailable")
            if not part.endswith("checkpoint"):
                trial.refuses_to_sign("audit_unavailable")
            trial.serves()
            trial.is_unwell(audit="nothing is signed or done")
            # The lines are on the disk where only the checkpoint is not.
            code = "" if part.endswith("checkpoint") else "not_recorded"
            revoked = trial.revokes_at_once("quick", code)
            _is_well_again(trial, faults)
            trial.is_durable("quick", revoked)
            trial.wait_for_standby("quick")
        trial.nothing_is_lost()


def unrecorded(shims: Path, lines: list[str]) -> None:
    """With `on_failure = "continue"` signing goes on, and readiness says at what price."""
    faults = Faults(shims)
    daemon = Daemon.new(environment=faults.environment, on_failure="continue")
    with begun(daemon, lines) as trial:
        _fails(trial, faults, "write", "/audit.jsonl")
        history, trial.history = trial.history, type(trial.history)()
        trial.signs()
        trial.check("a rotation is done", trial.rotate("lasting"), "")
        trial.is_unwell(audit="what is signed and done is not recorded")
        trial.history = history
        trial.wait_for_standby("lasting")
        revoked = trial.revokes_at_once("quick", "not_recorded")
        _is_well_again(trial, faults)
        trial.is_durable("quick", revoked)
        trial.nothing_is_lost()


def by_chance(shims: Path, lines: list[str]) -> None:
    """Any call may fail, in the middle of whatever is asked."""
    seed = random.SystemRandom().getrandbits(32)
    lines.append(f"--  seed {seed}")
    rng = random.Random(seed)
    faults = Faults(shims)
    daemon = Daemon.new(environment=faults.environment)
    with begun(daemon, lines) as trial:
        for one_in in (10, 3):
            before = faults.count
            kinds = ("open", "write", "sync", "range", "name")
            rules = [(kind, errno.EIO, "/data/") for kind in kinds]
            faults.begin(*rules, one_in=one_in)
            trial.live(rng, seconds=2)
            failed = faults.count - before
            faults.end()
            trial.check(f"one call in {one_in} failed, {failed} in all", failed > 0)
            trial.recovers()
        trial.nothing_is_lost()


def thin(shims: Path, lines: list[str]) -> None:
    """The kernel takes what is written, and tells only at the sync that it could not keep it."""
    daemon = Daemon.new(audit="audit.jsonl")
    with daemon.gone_at_the_end(), thin_disk(daemon.data) as promised:
        trial = Trial(daemon, lines)
        trial.begin()
        promised.begin()
        trial.refuses_to_rotate("store_unavailable")
        trial.serves()
        trial.signs()
        revoked = trial.revokes_at_once("quick", "not_durable")
        found = daemon.readiness()
        trial.check("/readyz names store", "store" in found)
        promised.end()
        trial.recovers()
        trial.is_durable("quick", revoked)
        trial.nothing_is_lost()


def _fails(trial: Trial, faults: Faults, kind: str, part: str) -> None:
    trial.lines.append(f"--  {kind} of {part} fails")
    faults.begin((kind, errno.EIO, part))


def _is_well_again(trial: Trial, faults: Faults) -> None:
    faults.end()
    trial.recovers()
