"""Callers, admins and watchers that keep a jwksd busy until it is killed.

Each key set has one admin, one caller and one watcher. All that is answered goes to the history.
"""

import http.client
import random
import threading
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import datetime, timedelta, timezone

from history import History
from place import KEYSETS, Place, call

from openssl import private_key

# What a healthy daemon may answer to what is asked here, besides 200: a key is being made, or has
# left since it was looked up, others import keys, or the daemon was asked to end.
REFUSALS = {
    "no_active_key",
    "active_changed",
    "too_early",
    "unknown_key",
    "wrong_state",
    "revocation_pending",
    "busy",
    "stopping",
}

# The longest, in seconds, between two requests of a caller or watcher, so that admins get on.
PAUSE = 0.01

# How many tokens a batch asks for, and which share of a caller's requests are batches.
IN_BATCH = 5
BATCHES = 0.2


class Load:
    """Runs from `start` until `join`, before which the daemon must have been killed."""

    def __init__(self, place: Place, history: History, rng: random.Random) -> None:
        self._place = place
        self._history = history
        self._rng = rng
        self._killed = threading.Event()
        self._threads = ThreadPoolExecutor(3 * len(KEYSETS))
        self._running: list[Future] = []

    def start(self) -> None:
        for keyset in KEYSETS:
            for work in (self._administer, self._sign, self._watch):
                rng = random.Random(self._rng.random())
                self._running.append(self._threads.submit(self._until_killed, work, keyset, rng))

    def wait(self, seconds: float) -> None:
        """Until that time is over, or something went wrong that was not planned."""
        for future in self._running:
            future.add_done_callback(lambda _: self._killed.set())
        self._killed.wait(seconds)

    def join(self) -> None:
        self._threads.shutdown()
        for future in self._running:
            future.result()

    def _until_killed(self, work, keyset: str, rng: random.Random) -> None:
        try:
            work(keyset, rng)
        except (OSError, http.client.HTTPException):
            # The connection ended with the daemon; whether it was to end the next start tells.
            return

    def _sign(self, keyset: str, rng: random.Random) -> None:
        ask = self._asker("sign")
        path = f"/v1/keysets/{keyset}/tokens"
        while True:
            if rng.random() < BATCHES:
                requests = [token_request(keyset, rng) for _ in range(IN_BATCH)]
                ask("POST", f"{path}/batch", {"requests": requests})
            else:
                ask("POST", path, token_request(keyset, rng))
            self._killed.wait(rng.uniform(0, PAUSE))

    def _watch(self, keyset: str, rng: random.Random) -> None:
        public, admin = self._asker("public"), self._asker("admin")
        while True:
            public("GET", f"/{keyset}/.well-known/jwks.json")
            admin("GET", f"/v1/keysets/{keyset}")
            self._killed.wait(rng.uniform(0, PAUSE))

    def _administer(self, keyset: str, rng: random.Random) -> None:
        ask = self._asker("admin")
        while True:
            shown = ask("GET", f"/v1/keysets/{keyset}")
            if shown and shown["active"]:
                act(ask, shown, self._history, rng)

    def _asker(self, socket: str):
        connection = self._place.connection(socket)

        def ask(method: str, path: str, body: dict | None = None) -> dict | None:
            status, answer = call(connection, method, path, body)
            if not {problem.get("code") for problem in problems(status, answer)} <= REFUSALS:
                raise AssertionError(f"{method} {path} {body} answered {status}: {answer}")
            if status != 200:
                return None
            self._history.answered(answer)
            return answer

        return ask


def token_request(keyset: str, rng: random.Random) -> dict:
    ttl = rng.choice(["1s", KEYSETS[keyset][1]])
    return {"claims": {"sub": str(rng.random())}, "ttl": ttl}


def problems(status: int, answer: dict) -> list[dict]:
    """What was refused: a request, or some of those in a batch."""
    if status != 200:
        return [answer]
    return [result["error"] for result in answer.get("results", []) if "error" in result]


def act(ask, shown: dict, history: History, rng: random.Random) -> None:
    """Asks for one act on a key set that looks like this."""
    path = f"/v1/keysets/{shown['name']}"
    expected = {"expect_active": shown["active"]}
    reason = f"{rng.getrandbits(64):016x}"
    by_state = {state: [] for state in ("pending", "active", "verify-only")}
    for key in shown["keys"]:
        by_state.get(key["state"], []).append(key["kid"])

    def revoke(kids: list[str]) -> None:
        if kids:
            kid = rng.choice(kids)
            history.asked_to_revoke(reason, kid)
            ask("POST", f"{path}/keys/{kid}/revoke", {"reason": reason})

    match rng.choices(range(9), weights=[50, 10, 8, 5, 10, 14, 3, 5, 5])[0]:
        case 0:
            ask("POST", f"{path}/rotate", {**expected, "now": True})
        case 1:
            ask("POST", f"{path}/rotate", expected)
        case 2:
            revoke(by_state["active"])
        case 3:
            revoke(by_state["pending"])
        case 4:
            revoke(by_state["verify-only"])
        case 5 if by_state["verify-only"]:
            kid = rng.choice(by_state["verify-only"])
            history.asked_retirement(kid)
            ask("POST", f"{path}/keys/{kid}/retire")
        case 6:
            history.asked_to_revoke(reason, f"all of {shown['name']}")
            ask("POST", f"{path}/revoke-all", {**expected, "reason": reason})
        case 7:
            ask("POST", f"{path}/import", {"key": key_file(shown["name"])})
        case 8:
            until = datetime.now(timezone.utc) + timedelta(seconds=rng.uniform(1, 20))
            body = {"key": key_file(shown["name"]), "verify_only_until": until.isoformat()}
            ask("POST", f"{path}/import", body)


def key_file(keyset: str) -> str:
    """A fresh key of another program, for a key set."""
    return private_key(KEYSETS[keyset][0])
