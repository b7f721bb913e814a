"""One check before anything runs: without the daemon there is nothing to test."""

import pytest

from binary import BINARY


def pytest_sessionstart() -> None:
    if not BINARY.is_file():
        raise pytest.UsageError(
            f"no jwksd binary at {BINARY}: build it with `cargo build`, or name one in JWKSD_BIN"
        )
