"""The real jwksd as a service: started, stopped and killed again and again, on sockets that stay.

The sockets are made here and passed on, as systemd does. So who fetches or asks while the daemon is
away waits instead of being turned away, and no token is refused for that.
"""

import hashlib
import http.client
import json
import os
import secrets
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from binary import BINARY, UnixConnection  # noqa: E402
from waiting import wait_until  # noqa: E402

HERE = Path(__file__).resolve().parent
AUDIENCE = "api.example.com"
PATIENCE = 60  # seconds
STALL = 2  # seconds


@dataclass(frozen=True)
class Facts:
    """What the configuration promises of verifiers and tokens, in seconds."""

    verifier_cache: int
    max_token_ttl: int
    jwks_max_age: int = 1
    clock_skew: int = 1

    @property
    def publish_ahead(self) -> int:
        longest = max(self.jwks_max_age, self.verifier_cache)
        return self.jwks_max_age + longest + self.clock_skew


# Verifiers that are set to keep the JWK Set as briefly as the configuration says. At most four keys
# have live tokens at once: jwks-rsa keeps five.
QUICK = Facts(verifier_cache=3, max_token_ttl=14)
# Verifiers as they come: PyJWT and jose fetch for an unknown kid, but not within 30 s of the last time.
KEPT = Facts(verifier_cache=35, max_token_ttl=90)

KEYSETS = {
    "quick-es": ("ES256", QUICK),
    "quick-rs": ("RS256", QUICK),
    "quick-ed": ("EdDSA", QUICK),
    "kept-es": ("ES256", KEPT),
    "kept-rs": ("RS256", KEPT),
}

CONFIG = """
[store]
path = "data/store"
master_key = "data/master.key"
[audit]
path = "data/audit.jsonl"
max_file_mib = 4
[public]
listen = "127.0.0.1:{public}"
base_url = "http://127.0.0.1:{public}"
root = "quick-es"
[internal]
listen = ["unix:{folder}/sign.sock", "127.0.0.1:{internal}"]
[admin]
listen = "unix:{folder}/admin.sock"
[[callers]]
name = "local"
uid = "self"
grants = [{{ keyset = "*", actions = ["sign-token", "read", "rotate", "revoke", "import", "operate"] }}]
"""

CALLER = """
[[callers]]
name = "{name}"
token_sha256 = "{digest}"
grants = [{{ keyset = "*", actions = ["sign-token"] }}]
"""

KEYSET = """
[keysets.{name}]
algorithm = "{algorithm}"
rotate = "manual"
issuer = "http://127.0.0.1:{public}/{name}"
audience = "{audience}"
max_token_ttl = "{ttl}s"
jwks_max_age = "{facts.jwks_max_age}s"
verifier_cache = "{facts.verifier_cache}s"
clock_skew = "{facts.clock_skew}s"
"""


class Broken(Exception):
    """The daemon did not do what it was asked."""


class Service:
    """The daemon of `folder`, its sockets, and when it was away."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.callers = {name: "jwksd_" + secrets.token_urlsafe(32) for name in ("shop", "batcher")}
        # Processes so far; what is measured of one is not compared with another.
        self.lives = 0
        self._process: subprocess.Popen | None = None
        self._away: list[tuple[float, float | None]] = []
        self.stalls = 0
        # Commands about the process come one at a time.
        self.turn = threading.RLock()
        threading.Thread(target=self._feel_stalls, daemon=True).start()
        public, internal = _listening("127.0.0.1", 0), _listening("127.0.0.1", 0)
        self.public_port = public.getsockname()[1]
        self.internal_port = internal.getsockname()[1]
        (folder / "data").mkdir(mode=0o700)
        unix = [_listening_unix(folder / f"{name}.sock") for name in ("sign", "admin")]
        self._sockets = [public, internal, *unix]
        self.configure(shorter=0)

    def configure(self, shorter: int) -> None:
        """Writes the configuration, with a max_token_ttl that is `shorter` by so many seconds."""
        ports = {"public": self.public_port, "internal": self.internal_port}
        text = CONFIG.format(folder=self.folder, **ports)
        for name, token in self.callers.items():
            digest = hashlib.sha256(token.encode()).hexdigest()
            text += CALLER.format(name=name, digest=digest)
        for name, (algorithm, facts) in KEYSETS.items():
            text += KEYSET.format(
                name=name,
                algorithm=algorithm,
                facts=facts,
                ttl=facts.max_token_ttl - shorter,
                audience=AUDIENCE,
                **ports,
            )
        # At once: a command that reads it meanwhile must not find half of it.
        written = self.folder / "config.toml.new"
        written.write_text(text)
        written.replace(self.folder / "config.toml")

    # Its process.

    @property
    def pid(self) -> int:
        return self._process.pid

    def start(self, *options: str) -> None:
        numbers = [one.fileno() for one in self._sockets]
        with (self.folder / "daemon.log").open("ab") as log:
            self._process = subprocess.Popen(
                [
                    *(sys.executable, str(HERE / "launch.py"), ",".join(map(str, numbers))),
                    *(str(BINARY), "serve", *options),
                ],
                cwd=self.folder,
                env={**os.environ, "RUST_LOG": "warn,actix_server=error"},
                stdout=log,
                stderr=log,
                pass_fds=numbers,
            )
        self.lives += 1
        wait_until(self._is_ready, PATIENCE, "the daemon is ready", every=0.02)

    def stop(self) -> None:
        self._process.terminate()
        code = self._process.wait(PATIENCE)
        if code != 0:
            raise Broken(f"exit code {code} after SIGTERM")

    def restart(self, how: signal.Signals) -> None:
        with self.turn, self._being_away():
            if how == signal.SIGTERM:
                self.stop()
            else:
                self._process.kill()
                self._process.wait()
            self.start()

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        for one in self._sockets:
            one.close()

    def was_away(self, since: float, until: float) -> bool:
        """Whether it was not at work at any time between, or this whole machine was not."""
        now = time.time()
        return any(left <= until and since <= (back or now) for left, back in list(self._away))

    @contextmanager
    def _being_away(self) -> Iterator[None]:
        left = time.time()
        self._away.append((left, None))
        yield
        self._away[-1] = (left, time.time())

    def _feel_stalls(self) -> None:
        """A machine that stood still for seconds, as virtual ones do, cuts off whoever was waiting."""
        last = time.monotonic()
        while True:
            time.sleep(0.2)
            still = time.monotonic() - last
            if still > STALL:
                self._away.insert(0, (time.time() - still, time.time() + STALL))
                self.stalls += 1
            last = time.monotonic()

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise Broken(f"exit code {self._process.returncode} instead of serving")
        try:
            return self.get("/readyz")[0] == 200
        except OSError:
            return False

    # What it answers.

    def public(self, timeout: float = PATIENCE) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.public_port, timeout=timeout)

    def internal(self) -> http.client.HTTPConnection:
        return http.client.HTTPConnection("127.0.0.1", self.internal_port, timeout=PATIENCE)

    def unix(self, name: str) -> UnixConnection:
        return UnixConnection(self.folder / f"{name}.sock", timeout=PATIENCE)

    def get(self, path: str) -> tuple[int, bytes]:
        connection = self.public(timeout=5)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def admin(self, method: str, path: str, body: dict | None = None) -> dict:
        """What an admin's request is answered; it must be done."""
        connection = self.unix("admin")
        try:
            status, answer = ask(connection, method, path, body)
        finally:
            connection.close()
        if status != 200:
            raise Broken(f"{method} {path} answered {status}: {answer}")
        return answer

    def run(self, *arguments: str) -> str:
        """What a command of the command line prints."""
        done = subprocess.run(
            [BINARY, *arguments], cwd=self.folder, capture_output=True, text=True, timeout=PATIENCE
        )
        if done.returncode != 0:
            raise Broken(f"jwksd {' '.join(arguments)}: {done.stdout}{done.stderr}")
        return done.stdout

    def log(self) -> str:
        return (self.folder / "daemon.log").read_text(errors="replace")


def ask(
    connection: http.client.HTTPConnection,
    method: str,
    path: str,
    body: dict | None = None,
    headers: dict[str, str] | None = None,
) -> tuple[int, dict]:
    content = None if body is None else json.dumps(body)
    headers = {"Content-Type": "application/json", **(headers or {})}
    connection.request(method, path, content, headers)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read() or b"{}")


def _listening(host: str, port: int) -> socket.socket:
    made = socket.socket()
    made.bind((host, port))
    made.listen(1024)
    return made


def _listening_unix(path: Path) -> socket.socket:
    made = socket.socket(socket.AF_UNIX)
    made.bind(str(path))
    path.chmod(0o600)
    made.listen(1024)
    return made
