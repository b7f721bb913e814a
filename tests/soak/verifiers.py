"""The verifying services: real libraries in processes that live as long as the soak, with their caches."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from service import AUDIENCE, KEPT, KEYSETS, QUICK, Service

HERE = Path(__file__).resolve().parent
NODE = HERE.parent / "interop/node/soak-verifier.mjs"

# For how many seconds the control keeps the JWK Set, in spite of what the configuration says of it.
CONTROL_KEEPS = 60
CONTROL = "control"


@dataclass(frozen=True)
class Verdict:
    accepted: bool
    reason: str
    # When, by the clock of this host.
    at: float


class Verifier:
    """A service in a child process. It is shown tokens, and tells each verdict as it comes."""

    def __init__(self, name: str, command: list[str | Path], sets: Mapping[str, int | None]) -> None:
        self.name = name
        self.keysets = frozenset(sets)
        self._told: dict[int, Callable[[Verdict], None]] = {}
        self._turn = threading.Lock()
        self._shown = 0
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            bufsize=1,
            # The daemon is on this host: a proxy in the environment must not get in between.
            env={**os.environ, "no_proxy": "127.0.0.1"},
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def show(self, keyset: str, token: str, tell: Callable[[Verdict], None]) -> None:
        """Has it judge a token, and does not wait."""
        with self._turn:
            self._shown += 1
            self._told[self._shown] = tell
            shown = {"id": self._shown, "keyset": keyset, "token": token}
            self._process.stdin.write(json.dumps(shown) + "\n")

    @property
    def open(self) -> int:
        """How many verdicts are still to come."""
        return len(self._told)

    @property
    def has_ended(self) -> bool:
        return self._process.poll() is not None

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _read(self) -> None:
        for line in self._process.stdout:
            said = json.loads(line)
            tell = self._told.pop(said["id"])
            tell(Verdict(said["accepted"], said["reason"], said["at"]))


def start(service: Service) -> list[Verifier]:
    """Those that must accept every good token, and the control, which must not."""
    quick = {name: facts.verifier_cache for name, (_, facts) in KEYSETS.items() if facts is QUICK}
    kept = {name: None for name, (_, facts) in KEYSETS.items() if facts is KEPT}
    sets = quick | kept
    # jsonwebtoken does not know EdDSA.
    without_eddsa = {name: keep for name, keep in sets.items() if KEYSETS[name][0] != "EdDSA"}
    pyjwt = [sys.executable, HERE / "pyjwt_verifier.py"]
    kinds = {
        "PyJWT": (pyjwt, sets),
        "jose": (["node", NODE, "jose"], sets),
        "jwks-rsa": (["node", NODE, "jwks-rsa"], without_eddsa),
        CONTROL: (pyjwt, {"quick-es": CONTROL_KEEPS}),
    }
    return [
        Verifier(name, [*command, json.dumps(_settings(service, of))], of)
        for name, (command, of) in kinds.items()
    ]


def _settings(service: Service, sets: Mapping[str, int | None]) -> dict:
    base = f"http://127.0.0.1:{service.public_port}"
    return {
        name: {
            "jwks_uri": f"{base}/{name}/.well-known/jwks.json",
            "issuer": f"{base}/{name}",
            "audience": AUDIENCE,
            "algorithm": KEYSETS[name][0],
            "keep": keep,
        }
        for name, keep in sets.items()
    }
