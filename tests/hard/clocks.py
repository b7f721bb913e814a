"""A wall clock that is set while the daemon runs."""

import time
from pathlib import Path

from daemon import Daemon
from points import Clock
from tokens import Token
from trial import Trial, begun, token

HOUR = 3600.0
YEAR = 365 * 24 * HOUR
BELIEVED_AFTER = 15 * 60.0


def back_and_forth(shims: Path, lines: list[str]) -> None:
    """Keys go by the time since boot until the wall clock is right again, or was wrong for long."""
    clock = Clock(shims)
    daemon = Daemon.new(environment=clock.environment)
    with begun(daemon, lines) as trial:
        for name, ahead in (("ahead", YEAR), ("back", -YEAR), ("back", -HOUR)):
            lines.append(f"--  the clock is set {name} by {abs(ahead) / HOUR:.0f} h")
            clock.set(wall=ahead)
            trial.is_unwell(clock="apart")
            trial.serves()
            trial.check("tokens have the time of the wall clock", _is_issued_at(daemon, ahead))
            _planned_rotations_go_on(trial)
            trial.wait_for_standby("quick")
            revoked = trial.revokes_at_once("quick", "")
            clock.set()
            trial.recovers()
            trial.is_durable("quick", revoked)
            trial.wait_for_standby("quick")
        trial.nothing_is_lost()
        lines.append("--  the clock is set ahead by an hour, and stays so for a quarter of one")
        daemon.start()
        daemon.wait_until_ready()
        clock.set(wall=HOUR)
        trial.is_unwell(clock="apart")
        clock.set(wall=HOUR + BELIEVED_AFTER, since_boot=BELIEVED_AFTER)
        trial.recovers()
        _planned_rotations_go_on(trial)


def _is_issued_at(daemon: Daemon, ahead: float) -> bool:
    path = "/v1/keysets/lasting/tokens"
    _, answer = daemon.call("sign", "POST", path, token("lasting"))
    return abs(Token.parse(answer["token"]).claims["iat"] - time.time() - ahead) < 60


def _planned_rotations_go_on(trial: Trial) -> None:
    """A standby signs when it has waited for its two seconds."""
    trial.wait_for_standby("lasting")
    standby = trial.standby("lasting")
    active = trial.active("lasting")
    path = "/v1/keysets/lasting/rotate"
    code = trial.ask("admin", "POST", path, {"expect_active": active})
    trial.check("a rotation is planned", code, "")
    trial.until("the standby signs", lambda: trial.active("lasting") == standby, patience=10)
