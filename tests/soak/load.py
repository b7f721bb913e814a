"""Callers that ask for tokens all the time: single ones and batches, over a Unix socket and over TCP."""

import http.client
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from ledger import Ledger
from service import KEYSETS, Service, ask

IN_BATCH = 15
# The shortest is long enough to be shown.
SHORTEST_TTL = 3


@dataclass(frozen=True)
class Latency:
    """How long a token by itself took, and a `GET /healthz` right before it, in seconds."""

    at: float
    life: int
    token: float
    health: float


class Load:
    """Callers in threads of their own, from `start` until `stop`."""

    def __init__(self, service: Service, ledger: Ledger, rng: random.Random) -> None:
        self.signed: Counter[str] = Counter()
        self.errors: list[str] = []
        self.latencies: list[Latency] = []
        self._service = service
        self._ledger = ledger
        self._stopping = threading.Event()
        jobs: list[Callable[[random.Random], None]] = [
            *(self._singly_over_unix, self._singly_over_tcp, self._in_batches, self._probe)
        ]
        self._threads = [
            threading.Thread(target=job, args=(random.Random(rng.random()),)) for job in jobs
        ]

    def start(self) -> None:
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        self._stopping.set()
        for thread in self._threads:
            thread.join()

    # Those who ask.

    def _singly_over_unix(self, rng: random.Random) -> None:
        connection = Connection(lambda: self._service.unix("sign"))
        while not self._stopping.wait(0.1):
            self._single(connection, rng, "single, Unix", {})

    def _singly_over_tcp(self, rng: random.Random) -> None:
        connection = Connection(self._service.internal)
        while not self._stopping.wait(0.1):
            self._single(connection, rng, "single, TCP", self._bearer("shop"))

    def _in_batches(self, rng: random.Random) -> None:
        connection = Connection(self._service.internal)
        while not self._stopping.wait(1):
            keyset = rng.choice(list(KEYSETS))
            body = {"requests": [request(keyset, rng) for _ in range(IN_BATCH)]}
            path = f"/v1/keysets/{keyset}/tokens/batch"
            answer = self._ask(connection, path, body, self._bearer("batcher"))
            for result in answer.get("results", []):
                if "token" in result:
                    self._keep("in batches", keyset, result["token"])
                else:
                    # Part of a batch that a stop cut off is told so.
                    self._failed(time.time(), f"{path}: {result}")

    def _probe(self, rng: random.Random) -> None:
        tokens, health = Connection(lambda: self._service.unix("sign")), Connection(self._service.public)
        path, body = "/v1/keysets/quick-es/tokens", {"claims": {"sub": "probe"}, "ttl": SHORTEST_TTL}
        while not self._stopping.wait(0.05):
            life, at = self._service.lives, time.time()
            try:
                begun = time.perf_counter()
                health.ask("GET", "/healthz", None, {})
                between = time.perf_counter()
                status, answer = tokens.ask("POST", path, body, {})
                ended = time.perf_counter()
            except (OSError, http.client.HTTPException) as error:
                self._failed(min(tokens.answered, health.answered), repr(error))
                continue
            if status != 200:
                self._failed(at, f"{status} {answer}")
            elif life == self._service.lives and not self._service.was_away(at, time.time()):
                self.latencies.append(Latency(at, life, ended - between, between - begun))
            self.signed["probes"] += 1

    # How.

    def _single(self, connection: "Connection", rng: random.Random, kind: str, headers: dict) -> None:
        keyset = rng.choice(list(KEYSETS))
        path = f"/v1/keysets/{keyset}/tokens"
        answer = self._ask(connection, path, request(keyset, rng), headers)
        if "token" in answer:
            self._keep(kind, keyset, answer["token"])

    def _keep(self, kind: str, keyset: str, token: str) -> None:
        self.signed[kind] += 1
        self._ledger.keep(keyset, token)

    def _ask(self, connection: "Connection", path: str, body: dict, headers: dict) -> dict:
        at = time.time()
        try:
            status, answer = connection.ask("POST", path, body, headers)
        except (OSError, http.client.HTTPException) as error:
            # A connection that was kept may have broken long before this.
            self._failed(connection.answered, f"{path}: {error!r}")
            return {}
        if status != 200:
            self._failed(at, f"{path}: {status} {answer}")
            return {}
        return answer

    def _failed(self, since: float, what: str) -> None:
        """Only while the daemon was away a caller may go without an answer."""
        if not self._service.was_away(since - 0.1, time.time()):
            self.errors.append(what)

    def _bearer(self, caller: str) -> dict[str, str]:
        return {"Authorization": f"Bearer {self._service.callers[caller]}"}


class Connection:
    """A connection that is kept, and made anew when it broke."""

    def __init__(self, make: Callable[[], http.client.HTTPConnection]) -> None:
        self._make = make
        self._kept: http.client.HTTPConnection | None = None
        # When it was answered last.
        self.answered = time.time()

    def ask(self, method: str, path: str, body: dict | None, headers: dict) -> tuple[int, dict]:
        self._kept = self._kept or self._make()
        try:
            answer = self._ask(method, path, body, headers)
        except BaseException:
            self._kept.close()
            self._kept = None
            raise
        self.answered = time.time()
        return answer

    def _ask(self, method: str, path: str, body: dict | None, headers: dict) -> tuple[int, dict]:
        if body is not None:
            return ask(self._kept, method, path, body, headers)
        self._kept.request(method, path)
        answer = self._kept.getresponse()
        return answer.status, {"text": answer.read()}


def request(keyset: str, rng: random.Random) -> dict:
    """A request for a token of any lifetime that is always allowed."""
    longest = KEYSETS[keyset][1].max_token_ttl - 2
    ttl = rng.choice([SHORTEST_TTL, longest, rng.randint(SHORTEST_TTL, longest)])
    return {"claims": {"sub": f"user-{rng.random()}"}, "ttl": ttl}
