"""What the `ci` of an example is made of: a real jwksd, the example's servers, requests, checks.

Everything runs in a fresh folder and on ports that the kernel chose, and is gone in the end,
however that comes.
"""

import http.client
import json
import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from binary import BINARY
from waiting import wait_until

# Generous: it only tells a machine with much to do from one on which nothing happens.
PATIENCE = 60


def check(what: str, seen: object, expected: object = True) -> None:
    """Print what holds; what does not, ends the test."""
    if seen != expected:
        raise AssertionError(f"{what}: expected {expected!r}, but saw {seen!r}")
    print(f"ok  {what}", flush=True)


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    text: str

    @property
    def json(self) -> dict:
        return json.loads(self.text)


def ask(
    method: str, url: str, body: object = None, headers: Mapping[str, str] | None = None
) -> Answer:
    """One HTTP request on a connection of its own; a `body` is sent as JSON."""
    place = urlsplit(url)
    connection = http.client.HTTPConnection(place.hostname, place.port, timeout=PATIENCE)
    target = f"{place.path}?{place.query}" if place.query else place.path
    sent = dict(headers or {})
    content = None
    if body is not None:
        content = json.dumps(body)
        sent["Content-Type"] = "application/json"
    try:
        connection.request(method, target, content, sent)
        response = connection.getresponse()
        return Answer(response.status, response.headers, response.read().decode())
    finally:
        connection.close()


def bearer(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


class Process:
    """A server of the test: its output goes to a file, and its whole process group ends with it."""

    def __init__(
        self, command: list[str], folder: Path, log: Path, env: Mapping[str, str] | None = None
    ) -> None:
        self._log = log
        with log.open("ab") as output:
            self._process = subprocess.Popen(
                command,
                cwd=folder,
                # What is on this host is not to be asked through a proxy.
                env={**os.environ, "no_proxy": "127.0.0.1", **(env or {})},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )

    def wait_for(self, pattern: str) -> str:
        """What the first group of `pattern` matches in its output, as soon as it does."""

        def found() -> re.Match | None:
            match = re.search(pattern, self.output())
            if not match and self._process.poll() is not None:
                raise AssertionError(f"{self._log.name}: exit code {self._process.returncode}")
            return match

        return wait_until(found, PATIENCE, f"{self._log.name} has {pattern!r}")[1]

    def output(self) -> str:
        return self._log.read_text(errors="replace")

    def stop(self) -> None:
        """End it and all that it started. May be called again."""
        for how in (signal.SIGTERM, signal.SIGKILL):
            if self._process.poll() is not None:
                return
            os.killpg(self._process.pid, how)
            try:
                self._process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                continue


class Jwksd:
    """A running jwksd, and what its admin does with it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process = Process(self._command("serve", "--init"), folder, log=folder / "jwksd.log")

    def wait_until_ready(self) -> None:
        place = self._process.wait_for(r"public +(127\.0\.0\.1:\d+)")
        self.url = f"http://{place}"

    def stop(self) -> None:
        self._process.stop()

    def __call__(self, *arguments: str) -> str:
        """What the command line prints."""
        done = self._run(*arguments)
        if done.returncode != 0:
            raise AssertionError(f"jwksd {' '.join(arguments)}: {done.stderr}")
        return done.stdout

    def refusal(self, *arguments: str) -> str:
        """What the command line says when it refuses."""
        done = self._run(*arguments)
        return done.stderr if done.returncode != 0 else "no refusal"

    def sign(self, keyset: str, ttl: str = "5m", **claims: object) -> str:
        claims = {"sub": "alice", **claims}
        return self("sign", keyset, "--claims", json.dumps(claims), "--ttl", ttl).strip()

    def active(self, keyset: str) -> str:
        return self._shown(keyset)["active"]

    def standby(self, keyset: str) -> str:
        """The kid that signs next, as soon as there is one."""

        def pending() -> list[str]:
            keys = self._shown(keyset)["keys"]
            return [key["kid"] for key in keys if key["state"] == "pending" and key["published"]]

        return wait_until(pending, PATIENCE, f"{keyset} has a standby")[0]

    def rotate(self, keyset: str, *how: str) -> None:
        """Rotate, and wait until what was the standby signs."""
        standby = self.standby(keyset)
        self("keys", "rotate", keyset, *how)
        wait_until(
            lambda: self.active(keyset) == standby, PATIENCE, f"{keyset} signs with its standby"
        )

    def published(self, keyset: str) -> list[str]:
        """The kids in the JWK Set."""
        answer = ask("GET", f"{self.url}/{keyset}/.well-known/jwks.json")
        return [key["kid"] for key in answer.json["keys"]]

    def pem(self, keyset: str, which: str) -> str:
        """The PEM of `--active` or `--standby`, for which it waits where a rotation took the last."""
        if which == "--standby":
            self.standby(keyset)
        return self("keys", "export", keyset, which, "--format", "pem")

    def _shown(self, keyset: str) -> dict:
        return json.loads(self("keys", "show", keyset, "--json"))

    def _run(self, *arguments: str) -> subprocess.CompletedProcess:
        return subprocess.run(
            self._command(*arguments),
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=PATIENCE,
        )

    def _command(self, *arguments: str) -> list[str]:
        return [str(BINARY), "--config", "jwksd.toml", *arguments]


class Example:
    """One example at work: its jwksd, and its servers in a fresh `folder`."""

    def __init__(self, source: Path, folder: Path, facts: Mapping[str, str]) -> None:
        self.folder = folder
        self._source = source
        self._running = ExitStack()
        config = (source / "jwksd.toml").read_text()
        (folder / "jwksd.toml").write_text(_for_tests(config, facts))
        (folder / "data").mkdir(mode=0o700)
        self.jwksd = Jwksd(folder)
        self._running.callback(self.jwksd.stop)

    def serve(self, *command: str | Path, **settings: object) -> str:
        """Start a server of the example, with settings for its environment; the URL it says."""
        env = {name: str(value) for name, value in settings.items()}
        log = self.folder / f"server-{len(list(self.folder.glob('*.log')))}.log"
        server = Process([str(part) for part in command], self.folder, log, env)
        self._running.callback(server.stop)
        return server.wait_for(r"(http://127\.0\.0\.1:\d+)")

    def close(self) -> None:
        self._running.close()

    def logs(self) -> str:
        tails = (f"--- {log.name}\n{log.read_text()[-3000:]}" for log in self.folder.glob("*.log"))
        return "\n".join(tails)


@contextmanager
def running_example(source: Path, facts: Mapping[str, str]) -> Iterator[Example]:
    """The example in the folder `source`, with a jwksd that has `facts` instead of days and hours.

    A fact is named `verifier_cache`, for all key sets, or `access.max_token_ttl`, for one.
    """
    if not BINARY.is_file():
        sys.exit(f"no jwksd at {BINARY}: build it with `cargo build`, or name one in JWKSD_BIN")
    signal.signal(signal.SIGTERM, _end)
    # A short path: the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="jwksd-", dir="/tmp") as folder:
        example = Example(source, Path(folder), facts)
        try:
            example.jwksd.wait_until_ready()
            yield example
        except BaseException:
            print(example.logs(), file=sys.stderr)
            raise
        finally:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            example.close()


def npm_ci(source: Path) -> None:
    """What package-lock.json pins, in node_modules/."""
    _install("npm ci", source, "npm", "ci", "--ignore-scripts", "--loglevel=error")


def pip_install(source: Path) -> Path:
    """What requirements.txt pins, in .venv/; its Python."""
    python = source / ".venv/bin/python"
    if not python.exists():
        _install("venv", source, sys.executable, "-m", "venv", ".venv")
    _install(
        "pip install",
        source,
        *(python, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"),
        *("--require-hashes", "--requirement", "requirements.txt"),
    )
    return python


def _install(title: str, source: Path, *command: str | Path) -> None:
    began = time.monotonic()
    subprocess.run(
        [str(part) for part in command], cwd=source, check=True, stdout=subprocess.DEVNULL
    )
    print(f"--  {title}: {time.monotonic() - began:.0f} s", flush=True)


def _for_tests(config: str, facts: Mapping[str, str]) -> str:
    """The example's configuration on a free port, and with `facts`, each of which it must name."""
    missing = set(facts)
    section = ""
    lines = []
    free = config.replace('listen = "127.0.0.1:8080"', 'listen = "127.0.0.1:0"')
    for line in free.splitlines():
        if line.startswith("["):
            section = line.strip("[]").removeprefix("keysets.")
        key = line.partition("=")[0].strip()
        for fact in (key, f"{section}.{key}"):
            if fact in facts:
                line = f'{key} = "{facts[fact]}"'
                missing.discard(fact)
        lines.append(line)
    if missing:
        raise AssertionError(f"jwksd.toml does not name {missing}")
    return "\n".join(lines)


def _end(*_: object) -> None:
    sys.exit(143)
