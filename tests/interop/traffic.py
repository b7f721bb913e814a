"""The steady traffic of a small company: someone signs all the time, everyone verifies at once.

Every token of a key that is not revoked is good until it expires. The traffic shows each fresh
token at once to every verifier, and older ones again and again, and keeps every refusal for the
test to judge.
"""

import http.client
import random
import threading
import time
from collections import Counter, defaultdict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Protocol

from daemon import DaemonError
from tokens import Token
from verifiers import Verifier
from waiting import wait_until

PERIOD = 0.25
# A token this close to its end is not shown any more: it could expire on its way.
EXPIRY_MARGIN = timedelta(seconds=10)


class Issuer(Protocol):
    """Whoever signs: a daemon, or what it takes the place of."""

    def sign(self, subject: str) -> Token: ...


@dataclass(frozen=True)
class Refusal:
    at: float
    verifier: str
    kid: str
    reason: str


class Traffic:
    """Signs and verifies in the background while it is entered as a context."""

    def __init__(
        self, issuer: Issuer, verifiers: list[Verifier], margin: timedelta = EXPIRY_MARGIN
    ) -> None:
        self.signing_kid: str | None = None
        self.fresh = 0
        self.rounds = 0
        self.accepted: Counter[tuple[str, str]] = Counter()
        self.refusals: list[Refusal] = []
        self.signing_errors: list[str] = []
        self._issuer = issuer
        self._verifiers = verifiers
        self._margin = margin
        self._tokens: dict[str, list[Token]] = defaultdict(list)
        self._revoked: set[str] = set()
        self._daemon_is_down = False
        self._stopping = threading.Event()
        self._started = time.monotonic()
        self._thread = ThreadPoolExecutor(1)

    def __enter__(self) -> "Traffic":
        self._running = self._thread.submit(self._run)
        return self

    def __exit__(self, *_: object) -> None:
        self._stopping.set()
        self._thread.shutdown()
        print(self.report())
        # A crash of the background thread is a failure of the test.
        self._running.result()

    # What a test tells it.

    def forget(self, kid: str) -> None:
        """From now on tokens of this key are not good any more: it is about to be revoked."""
        self._revoked.add(kid)

    @contextmanager
    def downtime(self) -> Iterator[None]:
        """In here nobody can sign; verifying goes on."""
        self._daemon_is_down = True
        yield
        self._daemon_is_down = False

    def note(self, event: str) -> None:
        """Tell what happens when, to read the refusals by."""
        print(f"{self._elapsed():6.1f} s  {event}")

    def show(self, token: Token) -> None:
        """Have every verifier judge a token."""
        for verifier in self._verifiers:
            verdict = verifier.verify(token.text)
            if token.kid in self._revoked:
                continue
            if verdict.accepted:
                self.accepted[verifier.name, token.kid] += 1
            else:
                self.refusals.append(
                    Refusal(self._elapsed(), verifier.name, token.kid, verdict.reason)
                )

    def show_unknown_kid(self) -> None:
        """Show a token of no key at all, as anybody may send one.

        It makes PyJWT and jose fetch the set now and then not again for 30 s, so an activation
        in that time goes well only with a key that is published already.
        """
        stray = self._issuer.sign(subject="stray").with_header(kid="unknown")
        for verifier in self._verifiers:
            assert not verifier.verify(stray).accepted, verifier.name

    # What a test waits for.

    def wait_for_signer(self, kid: str, timeout: float) -> None:
        """Until fresh tokens carry `kid` and have been shown to every verifier."""
        wait_until(lambda: self.signing_kid == kid, timeout, f"tokens are signed with {kid}")

    def wait_for_fresh(self, count: int) -> None:
        goal = self.fresh + count
        wait_until(lambda: self.fresh >= goal, 30, f"{count} more tokens are signed and shown")

    def wait_for_rounds(self, count: int) -> None:
        """Until older tokens have been shown `count` times more, fresh ones or not."""
        goal = self.rounds + count
        wait_until(lambda: self.rounds >= goal, 30, f"tokens are shown {count} more times")

    def wait_for_acceptance(self, verifier: str, kid: str, timeout: float) -> None:
        wait_until(lambda: self.accepted[verifier, kid], timeout, f"{verifier} accepts {kid}")

    # What a test judges.

    def accepted_by(self, verifier: Verifier) -> Counter[str]:
        """How many times the verifier accepted a token, by kid."""
        return Counter(
            {kid: n for (name, kid), n in list(self.accepted.items()) if name == verifier.name}
        )

    def report(self) -> str:
        lines = [f"{self.fresh} tokens signed"]
        for verifier in self._verifiers:
            counts = (f"{kid[:8]} {n} times" for kid, n in self.accepted_by(verifier).items())
            lines.append(f"{verifier.name} accepted {', '.join(counts) or 'nothing'}")
        lines += [f"signing failed at {error}" for error in self.signing_errors[:20]]
        lines.append(f"{len(self.refusals)} refusals")
        alike: dict[tuple[str, str, str], list[float]] = defaultdict(list)
        for refusal in self.refusals:
            alike[refusal.verifier, refusal.kid, refusal.reason].append(refusal.at)
        for (verifier, kid, reason), at in alike.items():
            who = f"{verifier} refused {kid[:8]} {len(at)} times"
            lines.append(f"{at[0]:6.1f} s to {at[-1]:.1f} s  {who}: {reason}")
        return "\n".join(lines)

    # How.

    def _run(self) -> None:
        while not self._stopping.wait(PERIOD):
            fresh = self._sign()
            for token in self._sample():
                self.show(token)
            self.rounds += 1
            if fresh:
                self._tokens[fresh.kid].append(fresh)

    def _sign(self) -> Token | None:
        """Sign one token and show it at once."""
        expected_to_fail = self._daemon_is_down
        try:
            token = self._issuer.sign(subject=f"user-{self.fresh}")
        except (OSError, http.client.HTTPException, DaemonError) as error:
            if not (expected_to_fail or self._daemon_is_down):
                self.signing_errors.append(f"{self._elapsed():.1f} s: {error!r}")
            return None
        self.show(token)
        self.signing_kid = token.kid
        self.fresh += 1
        return token

    def _sample(self) -> Iterator[Token]:
        """One older token of every key whose tokens are still good."""
        horizon = datetime.now(UTC) + self._margin
        for kid in self._tokens.keys() - self._revoked:
            alive = [token for token in self._tokens[kid] if token.expires > horizon]
            if alive:
                yield random.choice(alive)

    def _elapsed(self) -> float:
        return time.monotonic() - self._started
