"""Verifying services that hold keys as files and fetch nothing, as a console or a setting does."""

import sys
from collections.abc import Iterable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from daemon import AUDIENCE, KEYSET, Daemon
from verifiers import HERE, JOSE, JWCRYPTO, PYJWT, LineVerifier, Verifier

JSONWEBTOKEN = "jsonwebtoken"

COMMANDS = {
    PYJWT: (sys.executable, HERE / "pyjwt_held_verifier.py"),
    JWCRYPTO: (sys.executable, HERE / "jwcrypto_held_verifier.py"),
    JSONWEBTOKEN: ("node", HERE / "node/jsonwebtoken-held-verifier.mjs"),
    JOSE: ("node", HERE / "node/jose-held-verifier.mjs"),
}


@contextmanager
def holding_verifiers(
    daemon: Daemon,
    files: Iterable[Path],
    names: Iterable[str],
    algorithm: str = "RS256",
    keyset: str = KEYSET,
) -> Iterator[list[Verifier]]:
    """Verifiers that take a token if any of the keys in `files` verifies it."""
    settings = (daemon.issuer_of(keyset), AUDIENCE, algorithm, *files)
    with ExitStack() as running:
        verifiers = []
        for name in names:
            verifiers.append(LineVerifier(name, *COMMANDS[name], *settings))
            running.callback(verifiers[-1].close)
        yield verifiers
