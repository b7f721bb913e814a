"""The verifying services: real libraries with default settings, in processes that live on.

Their caches are what the suite is about, so each process fetches the JWK Set by itself, when
and as often as its library thinks fit.
"""

import http.client
import json
import os
import select
import subprocess
import sys
import threading
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from daemon import AUDIENCE, KEYSET, Daemon

HERE = Path(__file__).resolve().parent

# Longer than the longest time-out of the libraries' own fetches.
ANSWER_TIMEOUT = 60

PYJWT = "PyJWT"
JOSE = "jose"
EXPRESS = "express-jwt"
JWCRYPTO = "jwcrypto"


@dataclass(frozen=True)
class Verdict:
    accepted: bool
    reason: str


class Verifier:
    """A service in a child process; it ends when its standard input does."""

    def __init__(self, name: str, *command: str | Path) -> None:
        self.name = name
        self._process = subprocess.Popen(
            [str(part) for part in command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # The daemon is on this host: a proxy in the environment must not get in between.
            env={**os.environ, "no_proxy": "127.0.0.1"},
        )

    def verify(self, token: str) -> Verdict:
        raise NotImplementedError

    def close(self) -> None:
        self._process.stdin.close()
        try:
            self._process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._process.stdout.close()

    def _read_line(self) -> str:
        readable, _, _ = select.select([self._process.stdout], [], [], ANSWER_TIMEOUT)
        line = self._process.stdout.readline() if readable else ""
        if not line:
            raise RuntimeError(f"{self.name} gave no answer, exit code {self._process.poll()}")
        return line


class LineVerifier(Verifier):
    """Takes a token a line and answers a JSON verdict a line."""

    def __init__(self, name: str, *command: str | Path) -> None:
        super().__init__(name, *command)
        self._turn = threading.Lock()

    def verify(self, token: str) -> Verdict:
        with self._turn:
            self._process.stdin.write(token + "\n")
            self._process.stdin.flush()
            return Verdict(**json.loads(self._read_line()))


class ApiVerifier(Verifier):
    """A web API that wants a Bearer token; it tells its port on the first line."""

    def __init__(self, name: str, *command: str | Path) -> None:
        super().__init__(name, *command)
        self._port = int(self._read_line())

    def verify(self, token: str) -> Verdict:
        connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=ANSWER_TIMEOUT)
        try:
            connection.request("GET", "/protected", headers={"Authorization": f"Bearer {token}"})
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        return Verdict(
            response.status == 200, "" if response.status == 200 else f"{response.status} {body}"
        )


@contextmanager
def running_verifiers(
    daemon: Daemon,
    issuer: str | None = None,
    audience: str = AUDIENCE,
    algorithm: str = "RS256",
    keyset: str = KEYSET,
    names: Iterable[str] = (PYJWT, JOSE, EXPRESS),
) -> Iterator[list[Verifier]]:
    """Verifiers with cold caches; by default they expect what the daemon signs."""
    base = daemon.issuer_of(keyset)
    settings = (issuer or base, audience, algorithm)
    well_known = (f"{base}/.well-known/jwks.json", *settings)
    # The alias, which only the root set has.
    alias = (f"{base}/jwks.json", *settings) if keyset == KEYSET else well_known
    kinds = {
        PYJWT: (LineVerifier, sys.executable, HERE / "pyjwt_verifier.py", *well_known),
        JOSE: (LineVerifier, "node", HERE / "node/jose-verifier.mjs", *well_known),
        EXPRESS: (ApiVerifier, "node", HERE / "node/express-api.mjs", *alias),
        JWCRYPTO: (LineVerifier, sys.executable, HERE / "jwcrypto_verifier.py", *well_known),
    }
    with ExitStack() as running:
        verifiers = []
        for name in names:
            kind, *command = kinds[name]
            verifiers.append(kind(name, *command))
            running.callback(verifiers[-1].close)
        yield verifiers
