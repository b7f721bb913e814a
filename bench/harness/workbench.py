"""What a section is given: the binaries, the cores, and ways to start, to load and to compare."""

import json
import subprocess
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from . import daemon, rounds, tools
from .process import pinned

# A token as a service asks for it.
WISH = {
    "claims": {
        "sub": "3f0c9d6e-5b1f-4d0a-9a57-0f5a8b1f6c11",
        "aud": "api.example.com",
        "scope": "orders:read orders:write",
    },
    "ttl": "15m",
}


@dataclass(frozen=True)
class Bench:
    """Where things are and how long to measure."""

    root: Path
    server_core: int
    load_core: int
    rounds: int = 3
    seconds: float = 2.0

    @property
    def jwksd(self) -> Path:
        return self.root / "target/release/jwksd"

    @property
    def jwksd_bench(self) -> Path:
        return self.root / "target/release/jwksd-bench"

    def daemon(
        self, keysets: Sequence[daemon.KeySet], callers: Sequence[daemon.Caller] = (daemon.Caller(),), more: str = ""
    ) -> AbstractContextManager[daemon.Daemon]:
        """A fresh daemon on the core for servers, for as long as the `with` lasts."""
        return daemon.running(self.jwksd, self.server_core, keysets, callers, more)

    def raw(self, algorithm: str, seconds: float = 1.0) -> float:
        """Signatures of the library alone in a CPU-second of the core for servers. `RS256-4096`: a longer key."""
        command = [self.jwksd_bench, "raw", algorithm, "--seconds", seconds]
        with pinned(self.server_core):
            return tools.answer(command)["per_cpu_second"]

    def load(self, to: str, path: str, *options: str, body: str | None = None, seconds: float | None = None) -> dict:
        """Asks as `jwksd-bench tokens` does, from the core for load, and returns what that prints.

        Any answer but those expected is an error, and an error ends the bench.
        """
        command = self._load_command(to, path, *options, seconds=seconds)
        with pinned(self.load_core):
            found = tools.answer(command + (["--body", "-"] if body is not None else []), input=body)
        if found["errors"] or not found["answers"]:
            raise tools.Failed(f"{path}: {json.dumps(found)}")
        return found

    def loading(self, to: str, path: str, *options: str, body: Path, seconds: float | None = None) -> subprocess.Popen:
        """The same, in the background: its stdout gets the JSON at its end. `body` is a file."""
        command = self._load_command(to, path, *options, "--body", str(body), seconds=seconds)
        with pinned(self.load_core):
            return subprocess.Popen([str(part) for part in command], stdout=subprocess.PIPE, text=True)

    def per_cpu_second(self, cpu_seconds: Callable[[], float], load: Callable[[], dict], what: str = "tokens") -> float:
        """How many `what` of the load's answer came for each CPU-second that `cpu_seconds` reads."""
        before = cpu_seconds()
        found = load()
        return found[what] / (cpu_seconds() - before)

    def interleaved(self, cases: dict[str, Callable[[], float]]) -> dict[str, list[float]]:
        """The figures of all cases, in turn, for as many rounds as asked for."""
        return rounds.interleaved(cases, self.rounds)

    def wish(self) -> str:
        """The body of a request for one token."""
        return json.dumps(WISH, separators=(",", ":"))

    def _load_command(self, to: str, path: str, *options: str, seconds: float | None) -> list:
        seconds = self.seconds if seconds is None else seconds
        return [self.jwksd_bench, "tokens", "--to", to, "--path", path, "--seconds", seconds, *options]
