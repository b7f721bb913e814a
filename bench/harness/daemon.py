"""The daemon as a child process: in a folder of its own, on a core of its own, as it ships."""

import hashlib
import http.client
import json
import secrets
import subprocess
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from .process import cpu_seconds, free_port, pinned, resident_kib, stop
from .tools import Failed, output

@dataclass(frozen=True)
class KeySet:
    """One key set; `more` are further lines of its table."""

    name: str
    algorithm: str = "ES256"
    more: str = ""
    rotate: str = "manual"


@dataclass(frozen=True)
class Caller:
    """One caller; `more` are further lines of its table."""

    name: str = "local"
    known_by: str = 'uid = "self"'
    actions: Sequence[str] = ("sign-token", "read", "rotate", "revoke", "operate")
    more: str = ""


BASE = """\
[store]
path = "data/store"
master_key = "data/master.key"
[audit]
path = "data/audit.jsonl"
[public]
listen = "127.0.0.1:{public}"
base_url = "http://127.0.0.1:{public}"
root = "{root}"
[internal]
listen = ["unix:data/sign.sock", "127.0.0.1:{internal}"]
[admin]
listen = "unix:data/admin.sock"
"""

# One caller makes all the load: it must not be told to wait.
LIMITS = """\
[limits]
requests_per_second = 1000000
burst = 1000000
"""

KEYSET = """\
[keysets.{name}]
algorithm = "{algorithm}"
rotate = "{rotate}"
issuer = "http://127.0.0.1:{public}/{name}"
audience = "api.example.com"
max_token_ttl = "1h"
{more}
"""

CALLER = """\
[[callers]]
name = "{name}"
{known_by}
grants = [{{ keyset = "*", actions = {actions} }}]
{more}
"""


class Daemon:
    """A jwksd in `folder`, its working directory; it survives any number of stops and starts."""

    def __init__(
        self, binary: Path, folder: Path, keysets: Sequence[KeySet], callers: Sequence[Caller], more: str
    ) -> None:
        self.binary = binary
        self.folder = folder
        self.public_port, self.internal_port = free_port(), free_port()
        # Of the caller that comes over TCP.
        self.token = "jwksd_" + secrets.token_urlsafe(32)
        self.ready_after = 0.0
        text = config(keysets, [*callers, networked(self.token)], self.public_port, self.internal_port, more)
        (folder / "jwksd.toml").write_text(text)
        self._process: subprocess.Popen | None = None

    def start(self, core: int, *options: str, timeout: float = 120) -> None:
        """Starts to serve on this core, and waits until it says that it is ready, which took `ready_after` seconds."""
        ready = threading.Event()
        began = time.monotonic()
        with pinned(core):
            self._process = subprocess.Popen(
                self.command("serve", *options), cwd=self.folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
            )
        # What it prints is read for as long as it runs: a full pipe would stop it.
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout, ready, began), daemon=True)
        self._reader.start()
        ready.wait(timeout)
        if not self.ready_after:
            self.stop()
            raise Failed(f"the daemon did not start:\n{self.log()[-4000:]}")

    def stop(self) -> None:
        if self._process:
            stop(self._process)
            self._reader.join()
            self._process, self.ready_after = None, 0.0

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def socket(self) -> Path:
        """The Unix socket for callers."""
        return self.folder / "data/sign.sock"

    @property
    def unix(self) -> str:
        """Where `Bench.load` finds the Unix socket for callers."""
        return f"unix:{self.socket}"

    @property
    def tcp(self) -> str:
        """Where `Bench.load` finds the same listener over TCP; it wants `token`."""
        return f"http://127.0.0.1:{self.internal_port}"

    @property
    def public(self) -> str:
        """Where `Bench.load` finds the public listener."""
        return f"http://127.0.0.1:{self.public_port}"

    def cpu_seconds(self) -> float:
        return cpu_seconds(self.pid)

    def resident_kib(self) -> int:
        return resident_kib(self.pid)

    def get(self, path: str) -> tuple[int, bytes]:
        """Asks the public listener."""
        connection = http.client.HTTPConnection("127.0.0.1", self.public_port, timeout=30)
        try:
            connection.request("GET", path)
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()

    def settle(self, keysets: Sequence[KeySet], timeout: float = 60) -> None:
        """Waits until each key set has its standby, which a new one makes after it is ready."""
        deadline = time.monotonic() + timeout
        for keyset in keysets:
            path = f"/{keyset.name}/.well-known/jwks.json"
            while len(json.loads(self.get(path)[1])["keys"]) < 2:
                if time.monotonic() > deadline:
                    raise Failed(f"{keyset.name} has no standby after {timeout:.0f} s")
                time.sleep(0.02)

    def run(self, *arguments: str, timeout: float = 120) -> str:
        """What the command line prints. It runs where this process does, not on the daemon's core."""
        return output(self.command(*arguments), cwd=self.folder, timeout=timeout)

    def command(self, *arguments: str) -> list[str]:
        return [str(self.binary), "--config", "jwksd.toml", *arguments]

    def log(self) -> str:
        """What it printed so far, on stdout and stderr."""
        file = self.folder / "daemon.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def _read(self, printed, ready: threading.Event, began: float) -> None:
        with (self.folder / "daemon.log").open("ab") as log:
            for line in printed:
                log.write(line)
                log.flush()
                if not ready.is_set() and line.rstrip().endswith(b"is ready"):
                    self.ready_after = time.monotonic() - began
                    ready.set()
        ready.set()


@contextmanager
def running(
    binary: Path, core: int, keysets: Sequence[KeySet], callers: Sequence[Caller] = (Caller(),), more: str = ""
) -> Iterator[Daemon]:
    """A fresh daemon that serves on this core, each key set with its first key."""
    # Short, since the path of a Unix socket has at most 107 bytes.
    with tempfile.TemporaryDirectory(prefix="jwksd-bench-") as folder:
        daemon = Daemon(binary, Path(folder), keysets, callers, more)
        try:
            daemon.start(core, "--init")
            yield daemon
        finally:
            daemon.stop()


def networked(token: str) -> Caller:
    """The caller over TCP, where nobody is known by the user id."""
    digest = hashlib.sha256(token.encode()).hexdigest()
    return Caller("networked", f'token_sha256 = "{digest}"', ["sign-token"])


def config(keysets: Sequence[KeySet], callers: Sequence[Caller], public: int, internal: int, more: str = "") -> str:
    """A configuration: the defaults, but for limits that one caller would meet."""
    text = BASE.format(public=public, internal=internal, root=keysets[0].name) + more
    if "[limits]" not in more:
        text += LIMITS
    for keyset in keysets:
        text += KEYSET.format(
            name=keyset.name, algorithm=keyset.algorithm, rotate=keyset.rotate, public=public, more=keyset.more
        )
    for caller in callers:
        text += CALLER.format(
            name=caller.name, known_by=caller.known_by, actions=json.dumps(list(caller.actions)), more=caller.more
        )
    return text
