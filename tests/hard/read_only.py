"""A disk that can only be read from a moment on."""

from pathlib import Path

from daemon import Daemon
from disks import disk
from points import Faults
from trial import Trial, begun

READ_ONLY = "Read-only file system"


def by_rule(shims: Path, lines: list[str]) -> None:
    """It can be written again after a while."""
    faults = Faults(shims)
    daemon = Daemon.new(environment=faults.environment)
    with begun(daemon, lines) as trial:
        faults.is_read_only("/data/")
        trial.refuses_to_sign("audit_unavailable")
        trial.is_unwell(audit="nothing is signed or done")
        revoked = trial.revokes_at_once("lasting", "not_durable")
        trial.refuses("store_unavailable", "keys", "show", "lasting")
        trial.is_unwell(audit="nothing is signed or done", store=READ_ONLY, steps=READ_ONLY)
        trial.serves()
        faults.end()
        trial.recovers()
        trial.is_durable("lasting", revoked)
        trial.nothing_is_lost()


def after_an_error(shims: Path, lines: list[str]) -> None:
    """ext4 goes read-only after an error that it cannot go on from, until it is mounted anew: nobody may use it
    then. So the daemon has to be stopped, and what it could not make durable has to be asked for again."""
    daemon = Daemon.new()
    with daemon.gone_at_the_end(), disk(daemon.data) as real:
        trial = Trial(daemon, lines)
        trial.begin()
        real.abort()
        trial.refuses_to_sign("audit_unavailable")
        trial.is_unwell(audit="nothing is signed or done")
        trial.serves()
        active = trial.active("lasting")
        said = daemon("keys", "revoke", "lasting", active, "--reason", "stolen")
        trial.check("a revocation is told to be not durable", (said.exit, said.code), (6, "not_durable"))
        trial.check("the key is out of the JWK Set", active in daemon.kids("lasting"), False)
        trial.is_unwell(audit="nothing is signed or done", store=READ_ONLY, steps=READ_ONLY)
        trial.serves()
        daemon.terminate()
        trial.check("it ends when it is asked to", daemon.wait_until_ended(), 0)
        log = daemon.log()
        lost = [line for line in log.splitlines() if "never became durable" in line]
        trial.check("its log says what has to be asked for again", len(lost) == 1 and active in lost[0])
        real.mend()
        daemon.start()
        daemon.wait_until_ready()
        trial.check("the revocation is lost", active in daemon.kids("lasting"))
        trial.revokes_at_once("lasting", "")
        trial.nothing_is_lost()
