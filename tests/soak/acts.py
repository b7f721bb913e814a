"""What admins do meanwhile: rotations without an end, revocations, imports, reloads, backups, restarts."""

import http.client
import random
import signal
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import datetime

from ledger import Ledger
from service import KEPT, KEYSETS, QUICK, Broken, Service, ask

from openssl import private_key

# What the turns of a quick key set are, over and over.
TURNS = ["rotate", "revoke-active", "rotate", "import", "rotate", "revoke-former", "rotate"]

# Parts of the run at which the daemon is stopped in order, and killed. Between the fourth and the last it
# runs on, so that what grows with time shows.
RESTARTS = [
    (0.05, signal.SIGTERM),
    (0.10, signal.SIGKILL),
    (0.14, signal.SIGTERM),
    (0.18, signal.SIGKILL),
    (0.93, signal.SIGTERM),
]
RELOAD_EVERY = 17  # seconds
BACKUP_EVERY = 23

# What may answer an admin while another act is on its way.
RETRIED = {"no_active_key", "active_changed", "busy", "revocation_pending", "too_early", "stopping"}


class Acts:
    """Admins in threads of their own, from `start` until `stop`."""

    def __init__(
        self, service: Service, ledger: Ledger, seconds: float, rng: random.Random
    ) -> None:
        self.done: Counter[str] = Counter()
        self.rotations: Counter[str] = Counter()
        self.errors: list[str] = []
        self._service = service
        self._ledger = ledger
        self._stopping = threading.Event()
        self._began = time.time()
        self._seconds = seconds
        jobs: list[Callable[[], None]] = [self._restart, self._reload, self._back_up]
        jobs += [
            lambda keyset=keyset, rng=random.Random(rng.random()): self._turn_keys(keyset, rng)
            for keyset in KEYSETS
        ]
        self._threads = [threading.Thread(target=self._guarded, args=(job,)) for job in jobs]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    def _guarded(self, job: Callable[[], None]) -> None:
        try:
            job()
        except Exception as error:  # noqa: BLE001 - whatever it is, the soak failed
            if not self._stopping.is_set():
                self.errors.append(f"{type(error).__name__}: {error}")

    # Keys.

    def _turn_keys(self, keyset: str, rng: random.Random) -> None:
        facts = KEYSETS[keyset][1]
        turns = TURNS if facts is QUICK else ["rotate"]
        turn = rng.randrange(len(turns))
        while not self._stopping.is_set():
            match turns[turn % len(turns)]:
                case "rotate":
                    self._rotate(keyset)
                case "import":
                    self._import(keyset)
                    self._rotate(keyset)
                case "revoke-active":
                    self._revoke_active(keyset)
                case "revoke-former":
                    self._revoke_former(keyset, rng)
            turn += 1

    def _rotate(self, keyset: str) -> None:
        """As soon as every verifier has the standby."""
        shown = self._with_standby(keyset)
        if not shown:
            return
        self._ask(keyset, "rotate", {"expect_active": shown["active"]})
        if self._wait(lambda: self._show(keyset)["active"] != shown["active"]):
            self.rotations[keyset] += 1

    def _revoke_active(self, keyset: str) -> None:
        """Only once the standby could sign anyway: no verifier refuses what it signs then."""
        shown = self._with_standby(keyset)
        if not shown:
            return
        # A start does not count the time in which the daemon was away: what it plans is asked.
        answer = self._ask(keyset, "rotate", {"expect_active": shown["active"]})
        if answer and self._wait(lambda: self._show(keyset)["active"] != shown["active"]):
            self.rotations[keyset] += 1
            waited = self._with_standby(keyset)
            if waited and self._has_waited(keyset, waited["standby"]):
                self._revoke(keyset, waited["active"])
                self.rotations[keyset] += 1

    def _has_waited(self, keyset: str, kid: str) -> bool:
        """Waits for longer than a key must be published before it signs, while the daemon does not go away."""
        since, wait = time.time(), KEYSETS[keyset][1].publish_ahead + 1
        self._stopping.wait(wait)
        shown = self._show(keyset)
        was_there = not self._service.was_away(since - 1, time.time())
        return was_there and shown["standby"] == kid and not self._stopping.is_set()

    def _revoke_former(self, keyset: str, rng: random.Random) -> None:
        keys = [key["kid"] for key in self._show(keyset)["keys"] if key["state"] == "verify-only"]
        if keys:
            self._revoke(keyset, rng.choice(keys))

    def _revoke(self, keyset: str, kid: str) -> None:
        self._ledger.revoke(kid)
        answer = self._ask(keyset, f"keys/{kid}/revoke", {"reason": "the soak"})
        if answer:
            self._ledger.revoked(kid, datetime.fromisoformat(answer["trusted_until"]).timestamp())
            self.done["revocations"] += 1

    def _import(self, keyset: str) -> None:
        if not self._with_standby(keyset):
            return
        if self._ask(keyset, "import", {"key": private_key(KEYSETS[keyset][0])}):
            self.done["imports"] += 1

    def _with_standby(self, keyset: str) -> dict | None:
        """The key set, as soon as it has an active key and a standby; nothing at the end of the soak."""
        found: list[dict] = []

        def look() -> bool:
            shown = self._show(keyset)
            if shown["active"] and shown["standby"]:
                found.append(shown)
            return bool(found)

        return found[0] if self._wait(look) else None

    # The daemon.

    def _restart(self) -> None:
        for part, how in RESTARTS:
            if self._stopping.wait(max(0, self._began + part * self._seconds - time.time())):
                return
            self._service.restart(how)
            self.done["restarts" if how == signal.SIGTERM else "kills"] += 1

    def _reload(self) -> None:
        shorter = 0
        while not self._stopping.wait(RELOAD_EVERY):
            with self._service.turn:
                shorter = 2 - shorter
                self._service.configure(shorter)
                self._service.run("reload")
            self.done["reloads"] += 1

    def _back_up(self) -> None:
        while not self._stopping.wait(BACKUP_EVERY):
            with self._service.turn:
                self._service.run("store", "backup", "backup", "--force")
            self._service.run("store", "verify", "backup")
            self.done["backups"] += 1

    # How.

    def _show(self, keyset: str) -> dict:
        return self._until_answered("GET", f"/v1/keysets/{keyset}", None)

    def _ask(self, keyset: str, act: str, body: dict) -> dict | None:
        """Asks for an act; nothing where something else came before it."""
        return self._until_answered("POST", f"/v1/keysets/{keyset}/{act}", body)

    def _until_answered(self, method: str, path: str, body: dict | None) -> dict | None:
        while True:
            since = time.time()
            try:
                connection = self._service.unix("admin")
                try:
                    status, answer = ask(connection, method, path, body)
                finally:
                    connection.close()
            except (OSError, http.client.HTTPException) as error:
                if not self._service.was_away(since - 0.1, time.time()):
                    raise Broken(f"{method} {path}: {error!r}") from error
                time.sleep(0.1)
                continue
            if status == 200:
                return answer
            if answer.get("code") in RETRIED and body is not None:
                return None
            if not self._service.was_away(since - 0.1, time.time()):
                raise Broken(f"{method} {path} answered {status}: {answer}")

    def _wait(self, condition: Callable[[], bool]) -> bool:
        """Until it holds; not at the end of the soak. A key set that stands still fails it."""
        patience = time.monotonic() + 2 * KEPT.publish_ahead + 60
        while not self._stopping.is_set():
            if condition():
                return True
            if time.monotonic() > patience:
                raise Broken("a key set stands still")
            self._stopping.wait(0.1)
        return False
