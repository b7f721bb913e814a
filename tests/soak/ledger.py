"""Every token that was kept, every verdict about it, and whether that verdict was right.

A token is **good** until it expires, unless its key was revoked: then verifiers may take either side until
the time that the daemon told with the revocation, and must refuse it from then on.
"""

import heapq
import itertools
import random
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from tokens import Token
from verifiers import CONTROL, Verdict, Verifier

# A token is shown for the last time so long before it expires.
LAST_LOOK = 0.7
# How many verdicts of a verifier may be open before tokens are shown to it no more: it would only see
# them when they have expired.
MOST_OPEN = 2000
# What fetching says that got no answer.
UNREACHABLE = (
    *("ConnectionError", "ConnectionReset", "RemoteDisconnected", "ECONNRESET", "fetch failed"),
    *("socket", "TIMEOUT", "timed out", "timeout"),
)


@dataclass(frozen=True)
class Refusal:
    at: float
    verifier: str
    keyset: str
    kid: str
    reason: str


class Ledger:
    """Shows tokens in the background, from `start` until `stop`, and keeps count."""

    def __init__(
        self,
        verifiers: list[Verifier],
        was_away: Callable[[float, float], bool],
        rng: random.Random,
    ) -> None:
        self.kept: Counter[str] = Counter()
        self.judged: Counter[str] = Counter()
        self.late: Counter[str] = Counter()
        self.cut_off: Counter[str] = Counter()
        self.refused_revoked: Counter[str] = Counter()
        self.refusals: list[Refusal] = []
        self.trusted: list[Refusal] = []
        self.control_refusals = 0
        self._verifiers = verifiers
        self._was_away = was_away
        self._rng = rng
        # When a key was asked to be revoked, and until when it may be trusted.
        self._revoked: dict[str, float] = {}
        self._due: list[tuple[float, int, str, Token, list[Verifier]]] = []
        self._numbers = itertools.count()
        self._turn = threading.Lock()
        self._wake = threading.Condition(self._turn)
        self._stopping = False
        self._thread = threading.Thread(target=self._run)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        """Shows nothing more, and waits for the verdicts that are still to come."""
        with self._wake:
            self._stopping = True
            self._wake.notify()
        self._thread.join()
        deadline = time.monotonic() + 30
        while any(verifier.open for verifier in self._verifiers) and time.monotonic() < deadline:
            time.sleep(0.05)

    def keep(self, keyset: str, text: str) -> None:
        """Has a fresh token shown at once, now and then, and in its last moments."""
        token = Token.parse(text)
        now, last = time.time(), token.expires.timestamp() - LAST_LOOK
        looks = [now, *(self._rng.uniform(now, max(now, last)) for _ in range(2)), last]
        to = [verifier for verifier in self._verifiers if keyset in verifier.keysets]
        self._schedule(looks, keyset, token, to)
        self.kept[keyset] += 1

    def revoke(self, kid: str) -> None:
        """From now on this key may be refused."""
        self._revoked[kid] = float("inf")

    def revoked(self, kid: str, trusted_until: float) -> None:
        """From then on its tokens must be refused."""
        self._revoked[kid] = trusted_until

    def summary(self) -> list[tuple[str, str]]:
        """What each verifier made of the tokens, in words."""
        return [
            (
                verifier.name,
                f"{self.judged[verifier.name]} verdicts, {self._refusals_of(verifier.name)} good"
                f" tokens refused, {self.refused_revoked[verifier.name]} of revoked keys refused, "
                f"{self.late[verifier.name]} too late to count, {self.cut_off[verifier.name]} fetches"
                " cut off by a kill",
            )
            for verifier in self._verifiers
        ]

    def _refusals_of(self, name: str) -> int:
        if name == CONTROL:
            return self.control_refusals
        return sum(refusal.verifier == name for refusal in self.refusals)

    # How.

    def _schedule(self, looks: list[float], keyset: str, token: Token, to: list[Verifier]) -> None:
        with self._wake:
            for at in looks:
                heapq.heappush(self._due, (at, next(self._numbers), keyset, token, to))
            self._wake.notify()

    def _run(self) -> None:
        while True:
            with self._wake:
                while not self._stopping and (not self._due or self._due[0][0] > time.time()):
                    self._wake.wait(self._due[0][0] - time.time() if self._due else None)
                if self._stopping:
                    return
                _, _, keyset, token, to = heapq.heappop(self._due)
            for verifier in to:
                self._show(verifier, keyset, token)

    def _show(self, verifier: Verifier, keyset: str, token: Token) -> None:
        if verifier.open > MOST_OPEN:
            self.late[verifier.name] += 1
            return
        shown = time.time()
        verifier.show(
            keyset, token.text, lambda verdict: self._judge(verifier, keyset, token, shown, verdict)
        )

    def _judge(
        self, verifier: Verifier, keyset: str, token: Token, shown: float, verdict: Verdict
    ) -> None:
        name = verifier.name
        if verdict.at >= token.expires.timestamp():
            self.late[name] += 1
            return
        seen = Refusal(verdict.at, name, keyset, token.kid, verdict.reason)
        trusted_until = self._revoked.get(token.kid)
        if trusted_until is not None:
            if name != CONTROL and shown > trusted_until:
                self.judged[name] += 1
                if verdict.accepted:
                    self.trusted.append(seen)
                else:
                    self.refused_revoked[name] += 1
            return
        if not verdict.accepted and self._is_cut_off(verdict, shown):
            # Nobody answered: it is asked again, and then it counts.
            self.cut_off[name] += 1
            self._schedule([time.time() + 2], keyset, token, [verifier])
            return
        self.judged[name] += 1
        if not verdict.accepted:
            if name == CONTROL:
                self.control_refusals += 1
            else:
                self.refusals.append(seen)

    def _is_cut_off(self, verdict: Verdict, shown: float) -> bool:
        is_unreachable = any(word in verdict.reason for word in UNREACHABLE)
        return is_unreachable and self._was_away(shown - 1, verdict.at)
