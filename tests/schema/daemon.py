"""A jwksd with several key sets on loopback TCP, for a caller with a bearer token who may do everything."""

import hashlib
import http.client
import json
import secrets
import socket
import subprocess
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "support"))

from binary import BINARY  # noqa: E402
from waiting import wait_until  # noqa: E402

LISTENERS = ("internal", "admin")

# `default` is what the examples of the documents name. The waits are short, so that keys come and go.
KEYSETS = {"default": "ES256", "second": "EdDSA", "third": "ES384"}

CONFIG = """
[store]
path = "data/store"
master_key = "data/master.key"
[audit]
path = "data/audit.jsonl"
[public]
listen = "127.0.0.1:{public}"
base_url = "http://127.0.0.1"
root = "default"
[internal]
listen = "127.0.0.1:{internal}"
[admin]
listen = "127.0.0.1:{admin}"
[[callers]]
name = "schemathesis"
token_sha256 = "{digest}"
grants = [{{ keyset = "*", actions = ["sign-token", "read", "rotate", "revoke", "import", "import-trust", "operate"] }}]
"""

KEYSET = """
[keysets.{name}]
algorithm = "{algorithm}"
rotate = "manual"
issuer = "http://127.0.0.1/{name}"
audience = "api.example.com"
max_token_ttl = "2h"
jwks_max_age = "1s"
verifier_cache = "1s"
clock_skew = "0s"
"""


class Broken(Exception):
    """The daemon is not as it should be."""


class Daemon:
    """One jwksd with a fresh store in `folder`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.token = "jwksd_" + secrets.token_urlsafe(32)
        self._ports = dict(zip(("public", *LISTENERS), _free_ports(3)))
        (folder / "data").mkdir(mode=0o700)
        digest = hashlib.sha256(self.token.encode()).hexdigest()
        config = CONFIG.format(digest=digest, **self._ports)
        for name, algorithm in KEYSETS.items():
            config += KEYSET.format(name=name, algorithm=algorithm)
        (folder / "jwksd.toml").write_text(config)

    def url_of(self, listener: str) -> str:
        return f"http://127.0.0.1:{self._ports[listener]}"

    def start(self) -> None:
        """Starts to serve and waits until it is ready."""
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(
                [BINARY, "--config", "jwksd.toml", "serve", "--init"],
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_ready, timeout=30, what="the daemon is ready")

    def stop(self) -> None:
        """Stops it as a service manager does; it must be alive, and end well."""
        if (code := self._process.poll()) is not None:
            raise Broken(f"it ended by itself, with exit code {code}")
        self._process.terminate()
        if (code := self._process.wait(timeout=30)) != 0:
            raise Broken(f"exit code {code} after SIGTERM")

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def check(self) -> None:
        """After all that was asked of it: it signs, is ready, and said nothing bad."""
        for keyset in KEYSETS:
            body = json.dumps({"claims": {}, "ttl": 60})
            status, answer = self.ask("internal", "POST", f"/v1/keysets/{keyset}/tokens", body)
            if status != 200:
                raise Broken(f"{keyset} does not sign: {status} {answer}")
        status, answer = self.ask("admin", "GET", "/v1/status")
        if status != 200 or not json.loads(answer)["ready"]:
            raise Broken(f"it is not ready: {status} {answer}")

    def check_log(self) -> None:
        bad = [line for line in self.log().splitlines() if "ERROR" in line or "panicked" in line]
        if bad:
            raise Broken("it logged:\n" + "\n".join(bad[:20]))

    def verify_audit(self) -> str:
        done = subprocess.run(
            [BINARY, "--config", "jwksd.toml", "audit", "verify"],
            cwd=self._folder,
            capture_output=True,
            text=True,
            timeout=60,
        )
        if done.returncode != 0:
            raise Broken(f"audit verify: exit code {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout.strip().splitlines()[-1]

    def log(self) -> str:
        return self._log.read_text(errors="replace")

    def ask(self, listener: str, method: str, path: str, body: str | None = None) -> tuple[int, str]:
        connection = http.client.HTTPConnection("127.0.0.1", self._ports[listener], timeout=10)
        try:
            headers = {"Authorization": f"Bearer {self.token}"}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read().decode()
        finally:
            connection.close()

    @property
    def _log(self) -> Path:
        return self._folder / "daemon.log"

    def _is_ready(self) -> bool:
        if (code := self._process.poll()) is not None:
            raise Broken(f"exit code {code} instead of serving:\n{self.log()}")
        try:
            return self.ask("public", "GET", "/readyz")[0] == 200
        except OSError:
            return False


def _free_ports(count: int) -> list[int]:
    """Different ones: each is held until all are found."""
    probes = [socket.socket() for _ in range(count)]
    try:
        for probe in probes:
            probe.bind(("127.0.0.1", 0))
        return [probe.getsockname()[1] for probe in probes]
    finally:
        for probe in probes:
            probe.close()
