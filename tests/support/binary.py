"""Which jwksd is tested, and how its Unix sockets are spoken to."""

import http.client
import os
import socket
from pathlib import Path

BINARY = Path(
    os.environ.get("JWKSD_BIN") or Path(__file__).resolve().parents[2] / "target/debug/jwksd"
).resolve()


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the Unix socket at `path`, which has at most 107 bytes."""

    def __init__(self, path: Path, timeout: float = 10) -> None:
        super().__init__("localhost", timeout=timeout)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(str(self._path))
