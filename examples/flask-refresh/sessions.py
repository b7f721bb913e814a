"""Which refresh token of a session is good: the last that was given out, and each only once."""

import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager

SCHEMA = """
    CREATE TABLE IF NOT EXISTS sessions
    (sid TEXT PRIMARY KEY, jti TEXT NOT NULL, expires INTEGER NOT NULL)
"""


class Sessions:
    """In SQLite, so that all processes of the service see the same."""

    def __init__(self, path: str) -> None:
        self._path = path
        with self._database() as database:
            database.execute(SCHEMA)

    def begin(self, sid: str, jti: str, expires: int) -> None:
        with self._database() as database:
            database.execute("DELETE FROM sessions WHERE expires < ?", [time.time()])
            database.execute("INSERT INTO sessions VALUES (?, ?, ?)", [sid, jti, expires])

    def holds(self, sid: str, jti: str) -> bool:
        with self._database() as database:
            query = "SELECT 1 FROM sessions WHERE sid = ? AND jti = ?"
            return database.execute(query, [sid, jti]).fetchone() is not None

    def renew(self, sid: str, jti: str, successor: str, expires: int) -> bool:
        """Put `successor` in the place of `jti`. False where another did so first."""
        with self._database() as database:
            update = "UPDATE sessions SET jti = ?, expires = ? WHERE sid = ? AND jti = ?"
            return database.execute(update, [successor, expires, sid, jti]).rowcount == 1

    def end(self, sid: str) -> None:
        """No refresh token of the session is good any more."""
        with self._database() as database:
            database.execute("DELETE FROM sessions WHERE sid = ?", [sid])

    @contextmanager
    def _database(self) -> Iterator[sqlite3.Connection]:
        database = sqlite3.connect(self._path)
        try:
            with database:  # one transaction
                yield database
        finally:
            database.close()
