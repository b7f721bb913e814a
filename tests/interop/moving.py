"""What stands around a jwksd that takes over: the issuer of before, verifiers that are moved."""

import threading
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import jwt

from daemon import Daemon
from tokens import Token
from traffic import Issuer
from verifiers import LineVerifier, Verdict, Verifier
from waiting import wait_until

# Longer than any verifier here keeps a JWK Set.
FETCH_TIMEOUT = 30


@dataclass(frozen=True)
class PemIssuer:
    """An issuer that signs with a private key from a file; without a `kid` where that is empty."""

    private_pem: str
    kid: str
    issuer: str
    audience: str
    ttl: timedelta

    def sign(self, subject: str) -> Token:
        now = datetime.now(UTC).replace(microsecond=0)
        claims = {
            "iss": self.issuer,
            "aud": self.audience,
            "sub": subject,
            "iat": now,
            "exp": now + self.ttl,
        }
        headers = {"kid": self.kid} if self.kid else None
        return Token.parse(jwt.encode(claims, self.private_pem, "RS256", headers))


@dataclass(frozen=True)
class JwksdIssuer:
    """The same tokens, from a jwksd."""

    daemon: Daemon
    ttl: timedelta

    def sign(self, subject: str) -> Token:
        return self.daemon.sign(subject, ttl=f"{self.ttl.seconds}s")


class Service:
    """The code that needs tokens, on several machines: it asks the `signers` in turn."""

    def __init__(self, signer: Issuer) -> None:
        self.signers = [signer]
        self._count = 0

    def sign(self, subject: str) -> Token:
        self._count += 1
        return self.signers[self._count % len(self.signers)].sign(subject)


class Deployment(Verifier):
    """A verifying service that can get other settings: a new process takes over from the old."""

    def __init__(self, name: str, *command: str | Path) -> None:
        self.name = name
        self._turn = threading.Lock()
        self._running = LineVerifier(name, *command)

    def verify(self, token: str) -> Verdict:
        with self._turn:
            return self._running.verify(token)

    def deploy(self, *command: str | Path) -> None:
        fresh = LineVerifier(self.name, *command)
        with self._turn:
            old, self._running = self._running, fresh
        old.close()

    def close(self) -> None:
        self._running.close()


class JwksHost:
    """A web server with the JWK Set of before: it serves a file, and later what a jwksd answers."""

    def __init__(self, server: ThreadingHTTPServer, file: Path) -> None:
        self.url = f"http://127.0.0.1:{server.server_port}/jwks.json"
        self.fetches = 0
        self._file = file
        self._upstream: str | None = None

    def pass_on(self, upstream: str) -> None:
        """From now on answer what `upstream` does; just after a fetch, so that caches are warm."""
        before = self.fetches
        wait_until(lambda: self.fetches > before, FETCH_TIMEOUT, "a verifier fetches the JWK Set")
        self._upstream = upstream

    def content(self) -> bytes:
        self.fetches += 1
        if self._upstream is None:
            return self._file.read_bytes()
        # What is on this host is not asked through a proxy.
        direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        with direct.open(self._upstream, timeout=10) as answer:
            return answer.read()


@contextmanager
def jwks_host(file: Path) -> Iterator[JwksHost]:
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            content = host.content()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    host = JwksHost(server, file)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield host
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
