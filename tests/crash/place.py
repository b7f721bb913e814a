"""A folder with a configuration and data, in which the real jwksd is started and killed."""

import http.client
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from binary import BINARY, UnixConnection  # noqa: E402
from waiting import wait_until  # noqa: E402

# Keys of `quick` retire by themselves while it runs, tokens of `lasting` outlive every run, and the
# records of `large` take several sectors.
KEYSETS = {
    "quick": ("EdDSA", "1s"),
    "lasting": ("ES256", "2h"),
    "large": ("RS256", "2h"),
}

CONFIG = """
[store]
path = "data/store"
master_key = "data/master.key"
[audit]
path = "{audit}"
[public]
listen = "unix:public.sock"
base_url = "http://127.0.0.1"
root = "quick"
[internal]
listen = "unix:sign.sock"
[admin]
listen = "unix:admin.sock"
[[callers]]
name = "local"
uid = "self"
grants = [{{ keyset = "*", actions = ["sign-token", "read", "rotate", "revoke", "import", "import-trust", "operate"] }}]
"""

KEYSET = """
[keysets.{name}]
algorithm = "{algorithm}"
rotate = "manual"
issuer = "http://127.0.0.1/{name}"
audience = "api.example.com"
max_token_ttl = "{ttl}"
jwks_max_age = "1s"
verifier_cache = "1s"
clock_skew = "0s"
"""


class DoesNotOpen(Exception):
    """The daemon ended, or says nothing, where it should serve."""


class Place:
    """What is killed here may lose what it did not sync if `data` stands on something lossy."""

    def __init__(
        self,
        folder: Path,
        environment: dict[str, str] | None,
        audit: str = "data/audit.jsonl",
        keysets: dict[str, tuple[str, str]] = KEYSETS,
    ) -> None:
        self.folder = folder
        self.data = folder / "data"
        self.audit = folder / audit
        self.environment = environment or {}
        self._process: subprocess.Popen | None = None
        self.data.mkdir(mode=0o700, exist_ok=True)
        keysets = (
            KEYSET.format(name=name, algorithm=algorithm, ttl=ttl)
            for name, (algorithm, ttl) in keysets.items()
        )
        (folder / "jwksd.toml").write_text(CONFIG.format(audit=audit) + "".join(keysets))

    @staticmethod
    def new(environment: dict[str, str] | None = None, **options) -> "Place":
        """In a folder with a short path: that of a Unix socket has at most 107 bytes."""
        folder = Path(tempfile.mkdtemp(prefix="jwksd-crash-", dir="/tmp"))
        return Place(folder, environment, **options)

    def remove(self) -> None:
        shutil.rmtree(self.folder)

    # The process.

    def start(self, *before: str) -> None:
        """Starts the daemon, through the command `before` where there is one; does not wait."""
        for socket in self.folder.glob("*.sock"):
            socket.unlink()
        options = []
        if not any((self.data / "store" / file).exists() for file in ("latest", "db")):
            # A making that left a master key alone; the daemon asks to remove it.
            (self.data / "master.key").unlink(missing_ok=True)
            options = ["--init"]
        with self._log.open("ab") as log:
            self._process = subprocess.Popen(
                [*before, str(BINARY), "--config", "jwksd.toml", "serve", *options],
                cwd=self.folder,
                env={**os.environ, "RUST_LOG": "warn", **self.environment},
                stdout=log,
                stderr=log,
            )

    def wait_until_ready(self) -> None:
        try:
            wait_until(self._is_ready, timeout=30, what="the daemon is ready", every=0.002)
        except AssertionError as error:
            raise DoesNotOpen(str(error)) from error

    def stop(self, strace: Path | None = None) -> None:
        """Lets it do nothing more until it is killed; no thread is in a write or sync then.

        `strace` is the log of what traces it, if something does: a traced thread looks stopped to
        others at each of its calls.
        """
        self._process.send_signal(signal.SIGSTOP)
        threads = Path(f"/proc/{self._process.pid}/task")

        def all_stopped() -> bool:
            if strace:
                logged = re.findall(r"^(\d+) +--- stopped by SIGSTOP", strace.read_text(), re.M)
                return {thread.name for thread in threads.iterdir()} <= set(logged)
            try:
                stats = [(thread / "stat").read_text() for thread in threads.iterdir()]
            except (FileNotFoundError, ProcessLookupError):
                # A thread ended meanwhile.
                return False
            return all(stat.rpartition(")")[2].split()[0] == "T" for stat in stats)

        wait_until(all_stopped, timeout=30, what="the daemon has stopped", every=0.002)

    def terminate(self) -> None:
        """Asks it to end, and does not wait."""
        self._process.terminate()

    def kill(self) -> None:
        if self._process:
            self._process.kill()
            self._process.wait()
            self._process = None

    def run(self, *command: str) -> dict:
        """What a command prints as JSON, whether it likes what it found or not."""
        done = subprocess.run(
            [str(BINARY), "--config", "jwksd.toml", *command],
            cwd=self.folder,
            capture_output=True,
            text=True,
        )
        if not done.stdout:
            raise DoesNotOpen(f"{command}: {done.stderr.strip()}")
        return json.loads(done.stdout)

    def log_tail(self) -> str:
        return self._log.read_text(errors="replace")[-3000:] if self._log.exists() else ""

    @property
    def _log(self) -> Path:
        return self.folder / "daemon.log"

    def _is_ready(self) -> bool:
        if self._process.poll() is not None:
            last_words = self.log_tail().strip().rpartition("\n")[2]
            raise DoesNotOpen(f"exit code {self._process.returncode}: {last_words}")
        try:
            return self.call("public", "GET", "/readyz")[0] == 200
        except OSError:
            return False

    # What it answers.

    def connection(self, socket: str) -> UnixConnection:
        return UnixConnection(self.folder / f"{socket}.sock")

    def call(self, socket: str, method: str, path: str, body: dict | None = None) -> tuple:
        """Status and answer."""
        connection = self.connection(socket)
        try:
            return call(connection, method, path, body)
        finally:
            connection.close()

    def show(self, keyset: str) -> dict:
        return self._answer("admin", "GET", f"/v1/keysets/{keyset}")

    def jwk_set(self, keyset: str) -> dict:
        return self._answer("public", "GET", f"/{keyset}/.well-known/jwks.json")

    def sign(self, keyset: str) -> dict:
        body = {"claims": {"sub": "judge"}, "ttl": "1s"}
        return self._answer("sign", "POST", f"/v1/keysets/{keyset}/tokens", body)

    def _answer(self, socket: str, method: str, path: str, body: dict | None = None) -> dict:
        status, answer = self.call(socket, method, path, body)
        if status != 200:
            raise DoesNotOpen(f"{method} {path} answered {status}: {answer}")
        return answer


def call(
    connection: http.client.HTTPConnection, method: str, path: str, body: dict | None
) -> tuple[int, dict]:
    headers = {"Content-Type": "application/json"}
    connection.request(method, path, None if body is None else json.dumps(body), headers)
    response = connection.getresponse()
    text = response.read()
    return response.status, json.loads(text) if text.startswith(b"{") else {}
