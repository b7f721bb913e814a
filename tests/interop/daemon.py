"""The real jwksd as a child process: start, stop and kill it, sign with it, turn its keys.

A `Daemon` lives in a folder of its own, does what the `jwksd.toml` there says, and uses only what
any operator or caller has: the command line, the Unix socket for signing and the public listener.
"""

import http.client
import json
import random
import socket
import ssl
import subprocess
import tempfile
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from urllib.parse import urlsplit

from binary import BINARY, UnixConnection
from tokens import Token
from waiting import wait_until

KEYSET = "default"
AUDIENCE = "api.example.com"
TOKEN_TTL = "5m"

JWKS_MAX_AGE = timedelta(seconds=1)
# PyJWT and jose fetch again at the earliest 30 s after their last fetch.
VERIFIER_CACHE = timedelta(seconds=35)
CLOCK_SKEW = timedelta(seconds=1)
# How long the daemon must publish a key before it may sign with it, by its own rule.
PUBLISH_AHEAD = JWKS_MAX_AGE + max(JWKS_MAX_AGE, VERIFIER_CACHE) + CLOCK_SKEW

CONFIG = """
[store]
path = "data/store"
master_key = "data/master.key"
[audit]
path = "data/audit.jsonl"
[public]
listen = "127.0.0.1:{port}"
base_url = "http://127.0.0.1:{port}"
root = "{keyset}"
[internal]
listen = "unix:data/sign.sock"
[admin]
listen = "unix:data/admin.sock"
[[callers]]
name = "local"
uid = "self"
grants = [{{ keyset = "*", actions = [
    "sign-token", "read", "rotate", "revoke", "import", "import-trust",
] }}]
"""

# With TLS: the listeners' files, and a caller that is known by its certificate.
TLS_CONFIG = """
[public.tls]
certificate = "{folder}/server.pem"
key = "{folder}/server.key"
[internal.tls]
certificate = "{folder}/server.pem"
key = "{folder}/server.key"
client_ca = "{folder}/clients.pem"
[[callers]]
name = "networked"
san = "{caller}"
grants = [{{ keyset = "*", actions = ["sign-token"] }}]
"""

KEYSET_CONFIG = """
[keysets.{keyset}]
algorithm = "{algorithm}"
rotate = "{rotate}"
time_zone = "UTC"
issuer = "{issuer}"
audience = "{audience}"
max_token_ttl = "{ttl}"
jwks_max_age = "{max_age}s"
verifier_cache = "{verifier_cache}s"
clock_skew = "{clock_skew}s"
"""


class DaemonError(Exception):
    """The daemon or its command line did not do what it was asked."""


@dataclass(frozen=True)
class Key:
    """One key as `jwksd keys show` tells it."""

    kid: str
    state: str
    published: datetime | None
    activates: datetime | None

    @staticmethod
    def parse(shown: dict) -> "Key":
        return Key(
            shown["kid"],
            shown["state"],
            _parse_time(shown.get("published")),
            _parse_time(shown.get("activates")),
        )


class Daemon:
    """The jwksd of `folder`; it survives any number of stops and starts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._config = tomllib.loads((folder / "jwksd.toml").read_text())
        self._public = urlsplit(self.base_url)
        self._process: subprocess.Popen | None = None

    @property
    def keyset(self) -> str:
        """The key set at the root, which is meant where none is named."""
        return self._config["public"]["root"]

    def issuer_of(self, keyset: str) -> str:
        """The issuer of a key set; its JWK Set is below it."""
        return self._config["keysets"][keyset]["issuer"]

    @property
    def issuer(self) -> str:
        return self.issuer_of(self.keyset)

    @property
    def base_url(self) -> str:
        return self._config["public"]["base_url"]

    @property
    def internal_port(self) -> int:
        """Where callers with certificates come; the Unix socket stands before it."""
        return int(self._config["internal"]["listen"][1].rpartition(":")[2])

    # Its process.

    def start(self, *options: str) -> None:
        """Start to serve and wait until it says that it is ready."""
        with self._log_path.open("ab") as log:
            self._process = subprocess.Popen(
                self._command("serve", *options), cwd=self.folder, stdout=log, stderr=log
            )
        wait_until(self._is_ready, timeout=30, what="the daemon is ready")

    def terminate(self) -> None:
        """Stop it as a service manager does, and require a clean exit."""
        self._process.terminate()
        code = self._process.wait(timeout=30)
        if code != 0:
            raise DaemonError(f"exit code {code} after SIGTERM")

    def kill(self) -> None:
        """Take it away with `kill -9`, in the middle of whatever it does."""
        if self._process:
            self._process.kill()
            self._process.wait()

    def log(self) -> str:
        return self._log_path.read_text(errors="replace")

    def log_tail(self) -> str:
        return self.log()[-4000:]

    # What its callers and verifiers see.

    def sign(self, subject: str, keyset: str | None = None, ttl: str = TOKEN_TTL) -> Token:
        """Have a token signed over the Unix socket."""
        keyset = keyset or self.keyset
        request = json.dumps({"claims": {"sub": subject}, "ttl": ttl})
        connection = UnixConnection(self.folder / "data/sign.sock")
        try:
            connection.request(
                "POST",
                f"/v1/keysets/{keyset}/tokens",
                body=request,
                headers={"Content-Type": "application/json"},
            )
            response = connection.getresponse()
            body = response.read().decode()
        finally:
            connection.close()
        if response.status != 200:
            raise DaemonError(f"signing answered {response.status}: {body}")
        answer = json.loads(body)
        token = Token.parse(answer["token"])
        if token.kid != answer["kid"]:
            raise DaemonError(f"the answer names {answer['kid']}, its token {token.kid}")
        return token

    def sign_by_command_line(self, subject: str) -> Token:
        claims = json.dumps({"sub": subject})
        printed = self.run("sign", self.keyset, "--claims", claims, "--ttl", TOKEN_TTL)
        return Token.parse(printed.strip())

    def published_kids(self) -> list[str]:
        """The kids in the JWK Set, in its order."""
        status, body = self._get("/.well-known/jwks.json")
        if status != 200:
            raise DaemonError(f"the JWK Set answered {status}: {body}")
        return [key["kid"] for key in json.loads(body)["keys"]]

    # What its admin does and sees.

    def keys(self) -> list[Key]:
        shown = json.loads(self.run("keys", "show", self.keyset, "--json"))
        return [Key.parse(key) for key in shown["keys"]]

    def wait_for_standby(self) -> Key:
        """The published key that will sign next, as soon as there is one."""

        def standby() -> Key | None:
            return next(
                (key for key in self.keys() if key.state == "pending" and key.published), None
            )

        return wait_until(standby, timeout=20, what="a standby is published")

    def rotate(self) -> None:
        self.run("keys", "rotate", self.keyset)

    def rotate_now(self) -> datetime | None:
        """Rotate without waiting for verifiers to learn the new key.

        Answers until when they may refuse it, where it has not been published for long enough.
        """
        answer = json.loads(self.run("keys", "rotate", self.keyset, "--now", "--json"))
        return _parse_time(answer["refused_until"])

    def export(self, which: str, form: str, keyset: str | None = None) -> Path:
        """A file with the key that signs (`--active`) or that signs next (`--standby`)."""
        ending = {"pem": "pem", "openssh": "pub", "jwk": "jwk", "x509": "crt"}[form]
        keyset = keyset or self.keyset
        file = f"{keyset}{which}.{ending}"
        self.run("keys", "export", keyset, which, "--format", form, "--out", file)
        return self.folder / file

    def in_place_by(self, kid: str) -> datetime:
        """By when a verifier that holds keys itself must have this one."""
        shown = json.loads(self.run("keys", "show", self.keyset, "--json"))
        key = next(key for key in shown["keys"] if key["kid"] == kid)
        return datetime.fromisoformat(key["in_place_by"])

    def revoke(self, kid: str) -> None:
        self.run("keys", "revoke", self.keyset, kid, "--reason", "interop suite")

    def run(self, *arguments: str) -> str:
        """What the command line prints, all of it."""
        done = subprocess.run(
            self._command(*arguments), cwd=self.folder, capture_output=True, text=True, timeout=60
        )
        if done.returncode != 0:
            raise DaemonError(
                f"jwksd {' '.join(arguments)}: exit code {done.returncode}: {done.stderr}"
            )
        return done.stdout

    # How.

    @property
    def _log_path(self) -> Path:
        return self.folder / "daemon.log"

    def _command(self, *arguments: str) -> list[str]:
        return [str(BINARY), "--config", "jwksd.toml", *arguments]

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            raise DaemonError(f"exit code {self._process.returncode} instead of serving")
        try:
            return self._get("/readyz")[0] == 200
        except OSError:
            return False

    def _get(self, path: str) -> tuple[int, str]:
        host, port = self._public.hostname, self._public.port
        if self._public.scheme == "https":
            # Whether it is ready, no more: the test itself checks certificates.
            context = ssl._create_unverified_context()
            connection = http.client.HTTPSConnection(host, port, timeout=10, context=context)
        else:
            connection = http.client.HTTPConnection(host, port, timeout=10)
        try:
            connection.request("GET", path)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()


def keyset_of(algorithm: str) -> str:
    """The name of the key set that a daemon with several algorithms has for this one."""
    return algorithm.lower()


@contextmanager
def running_daemon(
    rotate: str, algorithms: Iterable[str] = (), tls: tuple[Path, str] | None = None
) -> Iterator[Daemon]:
    """A fresh daemon with a first key; its log goes to the output that pytest shows on failure.

    Besides its usual key set it has one for each of `algorithms`, rotated by hand. With `tls`, a
    folder with certificates and the name of a caller, its TCP places speak TLS.
    """
    with short_folder() as folder:
        (folder / "jwksd.toml").write_text(_config(rotate, algorithms, tls))
        with serving(Daemon(folder)) as daemon:
            yield daemon


@contextmanager
def short_folder() -> Iterator[Path]:
    """A folder for a daemon. Its path is short: that of a Unix socket has at most 107 bytes."""
    with tempfile.TemporaryDirectory(prefix="jwksd-", dir="/tmp") as folder:
        yield Path(folder)


@contextmanager
def serving(daemon: Daemon) -> Iterator[Daemon]:
    """Makes the daemon's store, and ends it at last."""
    try:
        daemon.start("--init")
        yield daemon
    finally:
        daemon.kill()
        print(f"--- end of the daemon's log ---\n{daemon.log_tail()}")


def free_port() -> int:
    """A port below those that outgoing connections get: no test beside this one takes it meanwhile by connecting."""
    while True:
        with socket.socket() as probe:
            try:
                probe.bind(("127.0.0.1", random.randrange(15_000, 32_000)))
            except OSError:
                continue
            return probe.getsockname()[1]


def _config(rotate: str, algorithms: Iterable[str], tls: tuple[Path, str] | None) -> str:
    port = free_port()
    base = f"http://127.0.0.1:{port}"
    config = CONFIG.format(port=port, keyset=KEYSET)
    config += _keyset_config(KEYSET, "RS256", rotate, base)
    for algorithm in algorithms:
        keyset = keyset_of(algorithm)
        config += _keyset_config(keyset, algorithm, "manual", f"{base}/{keyset}")
    if tls:
        sockets = f'["unix:data/sign.sock", "127.0.0.1:{free_port()}"]'
        config = config.replace('"unix:data/sign.sock"', sockets)
        config = config.replace("http://", "https://")
        config += TLS_CONFIG.format(folder=tls[0], caller=tls[1])
    return config


def _keyset_config(keyset: str, algorithm: str, rotate: str, issuer: str) -> str:
    return KEYSET_CONFIG.format(
        keyset=keyset,
        algorithm=algorithm,
        rotate=rotate,
        issuer=issuer,
        audience=AUDIENCE,
        ttl=TOKEN_TTL,
        max_age=JWKS_MAX_AGE.seconds,
        verifier_cache=VERIFIER_CACHE.seconds,
        clock_skew=CLOCK_SKEW.seconds,
    )


def _parse_time(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text) if text else None
