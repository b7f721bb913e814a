"""The jwksd of the crash suite, in a hard place: with a listener for metrics, and its command line."""

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(TESTS / "support"), str(TESTS / "crash")]

from binary import BINARY  # noqa: E402
from place import KEYSETS, Place  # noqa: E402

# A command that takes longer hangs. On a machine with much to do a revocation may wait for a key of RSA.
PATIENCE = 60

METRICS = """
[metrics]
listen = "unix:metrics.sock"
"""


@dataclass(frozen=True)
class Said:
    """What a command of the command line said with --json, and how it ended."""

    exit: int
    answer: dict
    problem: dict

    @property
    def code(self) -> str:
        """The code of the problem; empty where there is none."""
        return self.problem.get("code", "")


class Daemon(Place):
    """`on_failure` is that of the audit."""

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str] | None = None,
        on_failure: str = "refuse",
        audit: str = "data/audit.jsonl",
        skew: str = "0s",
    ) -> None:
        super().__init__(folder, environment, audit=audit)
        file = folder / "jwksd.toml"
        config = file.read_text().replace('clock_skew = "0s"', f'clock_skew = "{skew}"')
        config = config.replace("[audit]", f'[audit]\non_failure = "{on_failure}"')
        file.write_text(config + METRICS)

    @staticmethod
    def new(**options) -> "Daemon":
        """In a folder with a short path: that of a Unix socket has at most 107 bytes."""
        return Daemon(Path(tempfile.mkdtemp(prefix="jwksd-hard-", dir="/tmp")), **options)

    @contextmanager
    def gone_at_the_end(self) -> Iterator[None]:
        """Its process in any case; its folder where all was well."""
        try:
            yield
        finally:
            self.kill()
        shutil.rmtree(self.folder, ignore_errors=True)

    @property
    def pid(self) -> int:
        return self._process.pid

    def has_ended(self) -> int | None:
        """Its exit code, or the number of the signal that ended it, below zero."""
        return self._process.poll()

    def ends_soon(self) -> bool:
        """Whether it has ended, or is about to: a connection was lost."""
        try:
            self._process.wait(5)
        except subprocess.TimeoutExpired:
            return False
        return True

    def wait_until_ended(self) -> int:
        return self._process.wait(PATIENCE)

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def begin(self, *command: str) -> subprocess.Popen:
        """A command of the command line, which goes on by itself."""
        return subprocess.Popen(
            [str(BINARY), "--config", "jwksd.toml", "--json", *command],
            cwd=self.folder,
            env={**os.environ, "RUST_LOG": "warn"},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def __call__(self, *command: str) -> Said:
        """The same, when it has ended."""
        return said(self.begin(*command))

    def readiness(self) -> dict[str, str]:
        """The checks that are not ok with what is said of each, by the listener for metrics."""
        status, answer = self.call("metrics", "GET", "/readyz")
        return unwell(status, answer)

    def is_ready(self) -> bool:
        return self.call("public", "GET", "/readyz")[0] == 200

    def kids(self, keyset: str) -> list[str]:
        """What is published; empty where the answer is another than 200."""
        status, answer = self.call("public", "GET", f"/{keyset}/.well-known/jwks.json")
        return [key["kid"] for key in answer["keys"]] if status == 200 else []


def said(command: subprocess.Popen) -> Said:
    """What a command said, when it has ended."""
    out, err = command.communicate(timeout=PATIENCE)
    return Said(command.returncode, _object(out), _object(err))


def unwell(status: int, readiness: dict) -> dict[str, str]:
    """The checks that are not ok. One that is failing is what 503 means."""
    bad = [check for check in readiness["checks"] if check["state"] != "ok"]
    failing = any(check["state"] == "failing" for check in bad)
    assert (status == 503) == failing == (not readiness["ready"]), (status, readiness)
    return {check["name"]: f"{check['state']}: {check['reason']}" for check in bad}


def _object(text: str) -> dict:
    try:
        return json.loads(text)
    except ValueError:
        return {"text": text} if text else {}


__all__ = ["KEYSETS", "Daemon", "Said", "said", "unwell"]
