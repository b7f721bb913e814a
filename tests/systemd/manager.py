"""What a service manager does for a daemon: makes its sockets, passes them on, hears that it is ready."""

import fcntl
import json
import os
import socket
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

sys.path.append(str(Path(__file__).resolve().parents[1] / "support"))

from binary import BINARY  # noqa: E402

PATIENCE = 30  # seconds

CONFIG = """
[store]
path = "data/store"
master_key = "data/master.key"
[audit]
path = "data/audit.jsonl"
[public]
listen = "127.0.0.1:{port}"
base_url = "http://127.0.0.1:{port}"
root = "default"
[internal]
listen = "unix:{folder}/run/sign.sock"
[admin]
listen = "unix:run/admin.sock"
[metrics]
listen = "unix:{folder}/run/metrics.sock"
[keysets.default]
algorithm = "ES256"
rotate = "manual"
issuer = "http://127.0.0.1:{port}"
max_token_ttl = "5m"
[[callers]]
name = "local"
uid = "self"
grants = [{{ keyset = "*", actions = ["sign-token", "read", "operate"] }}]
"""

# Only the shell knows the process id before jwksd takes its place.
BECOME_JWKSD = 'LISTEN_PID=${FOR_PID:-$$} exec "$@"'


class Manager:
    """A service in a folder of its own: its sockets, and one process at a time."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._process: subprocess.Popen | None = None
        self.public = listening(socket.AF_INET, ("127.0.0.1", 0))
        self.port = self.public.getsockname()[1]
        (folder / "run").mkdir()
        (folder / "config.toml").write_text(CONFIG.format(port=self.port, folder=folder))
        self._notified = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notified.bind(str(folder / "notify.sock"))
        self._notified.settimeout(PATIENCE)

    def close(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
        self.public.close()
        self._notified.close()

    def path(self, name: str) -> Path:
        return self._folder / "run" / name

    def unix(self, name: str, mode: int = 0o660) -> socket.socket:
        """A listening Unix socket of this mode."""
        made = listening(socket.AF_UNIX, str(self.path(name)))
        self.path(name).chmod(mode)
        return made

    def start(self, passed: Sequence[socket.socket | int], for_pid: int | None = None) -> None:
        """Starts it with these sockets, meant for it or for another process, and waits until it is ready."""
        self._launch(passed, for_pid)
        while b"READY=1" not in self._notified.recv(4096):
            pass

    def fails_to_start(self, passed: Sequence[socket.socket | int]) -> str:
        """What it says when it ends by itself."""
        self._launch(passed, None)
        code = self._process.wait(PATIENCE)
        assert code == 1, f"exit code {code}: {self.log()}"
        return self.log()

    def stop(self) -> None:
        self._process.terminate()
        code = self._process.wait(PATIENCE)
        assert code == 0, f"exit code {code}: {self.log()}"

    def kill(self) -> None:
        self._process.kill()
        self._process.wait(PATIENCE)

    def log(self) -> str:
        return (self._folder / "log").read_text()

    def run(self, *arguments: str) -> str:
        """What a command of the command line prints."""
        command = [BINARY, *arguments]
        done = subprocess.run(
            command, cwd=self._folder, capture_output=True, text=True, timeout=PATIENCE
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def active(self) -> str:
        """The kid that signs."""
        return json.loads(self.run("keys", "show", "default", "--json"))["active"]

    def _launch(self, passed: Sequence[socket.socket | int], for_pid: int | None) -> None:
        environment = {
            "PATH": os.environ["PATH"],
            "NOTIFY_SOCKET": str(self._folder / "notify.sock"),
            "LISTEN_FDS": str(len(passed)),
        }
        if for_pid:
            environment["FOR_PID"] = str(for_pid)
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                ["sh", "-c", BECOME_JWKSD, "sh", BINARY, "serve", "--init"],
                cwd=self._folder,
                env=environment,
                stdout=log,
                stderr=log,
                close_fds=False,
                preexec_fn=lambda: _put_from_3_on(passed),
            )


def listening(family: int, address: object) -> socket.socket:
    made = socket.socket(family)
    made.bind(address)
    made.listen()
    return made


def _put_from_3_on(passed: Sequence[socket.socket | int]) -> None:
    numbers = [one if isinstance(one, int) else one.fileno() for one in passed]
    # First out of the way of each other.
    high = [fcntl.fcntl(number, fcntl.F_DUPFD_CLOEXEC, 100) for number in numbers]
    for place, number in enumerate(high, start=3):
        os.dup2(number, place, inheritable=True)
