"""What every hard place is asked: before, while and after it."""

import random
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager

# First: it says where the others are.
from daemon import KEYSETS, Daemon, Said

from history import History
from judge import Broken, judge
from load import REFUSALS as OF_A_HEALTHY_DAEMON
from load import act, problems, token_request
from waiting import wait_until

# Generous: what failed is tried again within a second at first, and after seconds of trouble within as many.
PATIENCE = 60

# How often something is tried that must be refused sooner or later: a full disk has room in its last blocks.
TRIES = 300

NOT_AVAILABLE = 6

# How the judge names an act without a line that says what came of it.
NOT_DONE = "the audit has no line that says done"

# Where a thread that gets no memory for its stack of signals ends.
STACK = "stack_overflow.rs"

# What may be answered while something is in the way, besides what a healthy daemon may say. It is not asked to end.
REFUSALS = (OF_A_HEALTHY_DAEMON - {"stopping"}) | {
    "store_unavailable",
    "audit_unavailable",
    "not_durable",
    "not_recorded",
}


class Trial:
    """One daemon in one place, and all that it said."""

    def __init__(self, daemon: Daemon, lines: list[str]) -> None:
        self.daemon = daemon
        self.history = History()
        self.lines = lines
        # Keys that something was done to while the audit may have failed: what came of it may be missing there.
        self._half_told: set[str] = set()

    def check(self, what: str, seen: object, expected: object = True) -> None:
        """Notes what holds; what does not, ends the trial."""
        if seen != expected:
            raise AssertionError(f"{what}: expected {expected!r}, but saw {seen!r}")
        self.lines.append(f"ok  {what}")

    def until(self, what: str, condition: Callable[[], object], patience: float = PATIENCE) -> None:
        def settled() -> object:
            assert self.daemon.has_ended() is None, f"{what}: it ended: {self.daemon.log_tail()}"
            return condition()

        began = time.monotonic()
        wait_until(settled, patience, what, every=0.02)
        self.lines.append(f"ok  {what} ({time.monotonic() - began:.1f} s)")

    # Before.

    def begin(self, *before: str) -> None:
        """A life so far: tokens, a rotation and a revocation in each key set."""
        self.daemon.start(*before)
        self.daemon.wait_until_ready()
        for keyset in KEYSETS:
            assert self.sign(keyset) == ""
            self.wait_for_standby(keyset)
            assert self.rotate(keyset) == ""
            assert self.sign(keyset) == ""
            self.wait_for_standby(keyset)

    def wait_for_standby(self, keyset: str) -> None:
        wait_until(
            lambda: self.standby(keyset), PATIENCE, f"{keyset} has a standby", every=0.02
        )

    def standby(self, keyset: str) -> str | None:
        return self.daemon.show(keyset)["standby"]

    # Acts. Each tells the code of the refusal; none is "".

    def ask(self, listener: str, method: str, path: str, body: dict | None = None) -> str:
        status, answer = self.daemon.call(listener, method, path, body)
        if status == 200:
            self.history.answered(answer)
        return answer.get("code", "") if status != 200 else ""

    def sign(self, keyset: str) -> str:
        return self.ask("sign", "POST", f"/v1/keysets/{keyset}/tokens", token(keyset))

    def rotate(self, keyset: str) -> str:
        """Rotates without the wait, from the key that signs."""
        active = self.active(keyset)
        body = {"expect_active": active, "now": True}
        return self.ask("admin", "POST", f"/v1/keysets/{keyset}/rotate", body)

    def active(self, keyset: str) -> str | None:
        """The kid that signs, which is told also while the store is not available."""
        path = f"/v1/keysets/{keyset}/rotate"
        return self.daemon.call("admin", "POST", path, {})[1].get("active")

    def revoke(self, keyset: str, kid: str) -> Said:
        """By the command line. It promises to hold also where it is not durable yet."""
        reason = f"hard-{random.getrandbits(48):012x}"
        self.history.asked_to_revoke(reason, kid)
        said = self.daemon("keys", "revoke", keyset, kid, "--reason", reason)
        if said.exit == 0 or said.code in ("not_durable", "not_recorded"):
            # One that the audit could not record is no line that says done.
            already = said.code == "not_recorded"
            self.history.answered({"keyset": keyset, "revoked": [kid], "already": already})
        return said

    # While.

    def serves(self, *but: str) -> None:
        """Each JWK Set is served, but those of these key sets."""
        for keyset in KEYSETS:
            if keyset not in but:
                self.check(f"the JWK Set of {keyset} is served", bool(self.daemon.kids(keyset)))

    def signs(self) -> None:
        codes = {keyset: self.sign(keyset) for keyset in KEYSETS}
        self.check("tokens are signed", codes, {keyset: "" for keyset in KEYSETS})

    def refuses_to_sign(self, code: str) -> None:
        self._refuses("a token", code, lambda: self.sign("lasting"))

    def refuses_to_rotate(self, code: str) -> None:
        self._refuses("a rotation", code, lambda: self.rotate("lasting"))

    def refuses(self, code: str, *command: str) -> None:
        """The command line says so too."""
        said = self.daemon(*command)
        what = f"`jwksd {' '.join(command[:2])}` is refused: {code}"
        self.check(what, (said.exit, said.code), (NOT_AVAILABLE, code))

    def is_unwell(self, **checks: str) -> None:
        """Just these checks are not ok, for reasons with these words."""
        failing = self.is_unwell_for_admins(**checks)
        self.check("the public /readyz says so", self.daemon.is_ready(), not failing)

    def is_unwell_for_admins(self, **checks: str) -> bool:
        """The same where the public listener is not to be had. Whether it is not ready."""
        names = {name.replace("_", "-"): words for name, words in checks.items()}

        def named() -> bool:
            found = self.daemon.readiness()
            return found.keys() == names.keys() and all(w in found[n] for n, w in names.items())

        try:
            wait_until(named, 10, "readiness", every=0.05)
        except AssertionError:
            pass
        said = self.daemon.readiness()
        for name, words in names.items():
            assert words in said.get(name, ""), f"{name}: {words!r} is not said: {said}"
        self.check(f"/readyz names {', '.join(sorted(names))}", sorted(said), sorted(names))
        status = self.daemon("status")
        told = {check["name"] for check in status.answer["checks"] if check["state"] != "ok"}
        failing = any(text.startswith("failing") for text in said.values())
        self.check(
            "`jwksd status` names the same",
            (status.exit, told),
            (NOT_AVAILABLE if failing else 0, set(names)),
        )
        return failing

    def revokes_at_once(self, keyset: str, code: str) -> str:
        """Revokes the key that signs: it is out at once, whatever is in the way; and which it was."""
        active = self.active(keyset)
        said = self.revoke(keyset, active)
        exit_code = NOT_AVAILABLE if code else 0
        told = "is durable" if not code else f"is told to be {code}"
        self.check(f"a revocation {told}", (said.exit, said.code), (exit_code, code))
        self.check("the key is out of the JWK Set", active in self.daemon.kids(keyset), False)
        self.check("another one signs", self.active(keyset) not in (None, active))
        return active

    def _refuses(self, what: str, code: str, attempt: Callable[[], str]) -> None:
        codes = (attempt() for _ in range(TRIES))
        refused = next((found for found in codes if found), "never")
        self.check(f"{what} is refused: {code}", refused, code)

    # After.

    def recovers(self) -> None:
        self.until("it is ready again by itself", self.daemon.is_ready)
        self.check("all checks are well", self.daemon("status").answer["ready"])

    def is_durable(self, keyset: str, *kids: str) -> None:
        states = {key["kid"]: key["state"] for key in self.daemon.show(keyset)["keys"]}
        self.check("the revocations are durable", [states[kid] for kid in kids], ["revoked" for _ in kids])

    def nothing_is_lost(self) -> None:
        """Neither by this process nor by the next."""
        self.nothing_is_lost_here()
        self.daemon.kill()
        self.history.killed("killed")
        self.opens_whole()

    def nothing_is_lost_here(self) -> None:
        """By this process, which works as before."""
        self.signs()
        for keyset in KEYSETS:
            self.until(f"{keyset} has a standby", lambda keyset=keyset: self.standby(keyset))
        self.check("a rotation is done", [self.rotate(keyset) for keyset in KEYSETS], [""] * 3)
        self._judge()

    def opens_whole(self) -> None:
        """A start finds all that was acknowledged; backup and audit are good."""
        self.daemon.start()
        self.daemon.wait_until_ready()
        self._judge()
        backup = self.daemon("store", "backup", "judged.backup", "--force")
        self.check("a restart finds all that was acknowledged", backup.exit, 0)
        verified = self.daemon("store", "verify", "judged.backup")
        self.check("`store verify` is content", verified.exit, 0)
        self.daemon.terminate()
        self.check("it ends when it is asked to", self.daemon.wait_until_ended(), 0)
        self.check("`audit verify` is content", self.daemon("audit", "verify").exit, 0)
        panics = [line for line in self.daemon.log().splitlines() if "panicked" in line]
        self.check("nothing panicked", [line for line in panics if STACK not in line], [])

    def _judge(self) -> None:
        """By the rules of the crash suite."""
        try:
            judge(self.daemon, self.history, loses=False)
        except Broken as broken:
            is_known = lambda text: NOT_DONE in text and set(text.split()) & self._half_told
            complaints = [text for text in broken.complaints if not is_known(text)]
            if complaints:
                raise Broken(complaints) from broken

    # Whatever comes.

    def live(self, rng: random.Random, seconds: float) -> None:
        """Acts of all kinds in all key sets, of which any may be refused, and none may hang."""
        end = time.monotonic() + seconds
        while True:
            for keyset in KEYSETS:
                self._sign_some(keyset, rng)
                shown = self._answered("admin", "GET", f"/v1/keysets/{keyset}", None)
                if shown and shown["active"]:
                    act(self._admin, shown, self.history, rng)
            if time.monotonic() >= end:
                return

    def _sign_some(self, keyset: str, rng: random.Random) -> None:
        path = f"/v1/keysets/{keyset}/tokens"
        self._answered("sign", "POST", path, token_request(keyset, rng))
        requests = [token_request(keyset, rng) for _ in range(3)]
        self._answered("sign", "POST", f"{path}/batch", {"requests": requests})

    def _admin(self, method: str, path: str, body: dict | None = None) -> dict | None:
        return self._answered("admin", method, path, body)

    def _answered(self, listener: str, method: str, path: str, body: dict | None) -> dict | None:
        status, answer = self.daemon.call(listener, method, path, body)
        codes = {problem.get("code") for problem in problems(status, answer)}
        assert codes <= REFUSALS, f"{method} {path} {body} answered {status}: {answer}"
        if status == 200:
            self.history.answered(answer)
            self._half_told |= _keys_of(answer)
            return answer
        if codes & {"not_durable", "not_recorded"}:
            self._promised(path, codes)
        return None

    def _promised(self, path: str, codes: Iterable[str]) -> None:
        """A revocation that is in effect holds, and will be durable."""
        _, _, _, keyset, *rest = path.split("/")
        if rest[0] == "keys":
            self._half_told.add(rest[1])
            self.history.answered({"keyset": keyset, "revoked": [rest[1]], "already": False})


@contextmanager
def begun(daemon: Daemon, lines: list[str], *before: str) -> Iterator[Trial]:
    """A trial of a daemon that has had a life so far, and is gone at the end."""
    with daemon.gone_at_the_end():
        trial = Trial(daemon, lines)
        trial.begin(*before)
        yield trial


def _keys_of(answer: dict) -> set[str]:
    """The keys that an act was about."""
    named = {answer[name] for name in ("retired", "to", "kid") if name in answer}
    return named | set(answer.get("revoked", []))


def token(keyset: str) -> dict:
    return {"claims": {"sub": "hard"}, "ttl": "1s" if keyset == "quick" else "1h"}
