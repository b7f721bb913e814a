"""Whether a jwksd that was started after a crash kept what it had acknowledged."""

import json
import time
from collections.abc import Iterator
from datetime import datetime

from history import History
from place import KEYSETS, Place

LIVING = ("pending", "active", "verify-only")


class Broken(Exception):
    """Promises that were not kept, one text for each."""

    def __init__(self, complaints: list[str]) -> None:
        super().__init__("\n".join(complaints))
        self.complaints = complaints


def judge(place: Place, history: History, loses: bool) -> None:
    """Looks at a ready daemon from outside; `Broken` tells all that is wrong.

    `loses` says that the crash took away what was not synced.
    """
    complaints = [*audit_is_whole(place, history)]
    complaints += tokens_are_audited(place, history, loses)
    looks = [Look(place, keyset) for keyset in KEYSETS]
    complaints += keys_are_known({kid for look in looks for kid in look.keys}, history)
    for look in looks:
        complaints += look.contradictions
        complaints += rotations_are_there(look, history)
        complaints += revocations_are_there(look, history)
        complaints += retirements_are_there(look, history)
        complaints += imports_are_there(look, history)
        complaints += nothing_went_back(look, history)
        complaints += tokens_verify(look, history)
        look.remember(history)
    if complaints:
        raise Broken(complaints)


class Look:
    """One key set as admins and verifiers see it, once both agree."""

    TRIES = 200

    def __init__(self, place: Place, keyset: str) -> None:
        self.keyset = keyset
        # Time goes on meanwhile: a key may retire between two looks, and a ring lags its commit.
        for _ in range(self.TRIES):
            self.before = place.show(keyset)
            self.jwk_set = place.jwk_set(keyset)
            self.signed = place.sign(keyset)
            self.shown = place.show(keyset)
            self.keys = {key["kid"]: key for key in self.shown["keys"]}
            self.published = {jwk["kid"] for jwk in self.jwk_set["keys"]}
            self.contradictions = [*self._contradictions()]
            if not self.contradictions:
                return
            time.sleep(0.01)

    def remember(self, history: History) -> None:
        for answer in (self.shown, self.jwk_set, self.signed):
            history.answered(answer)

    def state(self, kid: str) -> str:
        return self.keys[kid]["state"] if kid in self.keys else "unknown"

    def _contradictions(self) -> Iterator[str]:
        active = [kid for kid in self.keys if self.state(kid) == "active"]
        if active != [self.shown["active"]]:
            yield f"{self.keyset}: active are {active}, named {self.shown['active']}"
        first = {key["kid"] for key in self.before["keys"] if key["state"] in LIVING}
        last = {kid for kid in self.keys if self.state(kid) in LIVING}
        for kid in sorted((first & last) - self.published):
            yield f"{self.keyset}: {kid} is {self.state(kid)} and not in the JWK Set"
        for kid in sorted(self.published - first - last):
            yield f"{self.keyset}: {kid} is {self.state(kid)} and in the JWK Set"
        signer = self.signed["kid"]
        if signer not in (self.before["active"], self.shown["active"]):
            yield f"{self.keyset}: {signer} signs, and is {self.state(signer)}"


def keys_are_known(known: set[str], history: History) -> Iterator[str]:
    """A key was durable before anybody saw it, and what was durable leaves a trace for ever."""
    for kid in sorted((history.published | {token.kid for token in history.tokens}) - known):
        yield f"{kid} was in a JWK Set or signed, and is unknown"


def rotations_are_there(look: Look, history: History) -> Iterator[str]:
    active = look.keys.get(look.shown["active"], {"number": -1})["number"]
    for rotation in history.rotations:
        if rotation["keyset"] != look.keyset or rotation["already"]:
            continue
        to = rotation["to"]
        # Only one that did not wait for verifiers names a time until which they refuse.
        at_once = rotation["refused_until"] is not None
        if look.state(to) == "unknown":
            yield f"{look.keyset}: lost the key of the rotation to {to} at {rotation['activates']}"
        elif look.keys[to]["activates"] is None:
            yield f"{look.keyset}: lost the rotation to {to} at {rotation['activates']}"
        elif at_once and active < look.keys[to]["number"]:
            yield f"{look.keyset}: number {active} signs after the rotation to {to}"


def revocations_are_there(look: Look, history: History) -> Iterator[str]:
    for revocation in history.revocations:
        for kid in revocation["revoked"] if revocation["keyset"] == look.keyset else []:
            if look.state(kid) != "revoked":
                yield f"{look.keyset}: {kid} was revoked, and is {look.state(kid)}"
            if kid in look.published:
                yield f"{look.keyset}: {kid} was revoked, and is in the JWK Set"


def retirements_are_there(look: Look, history: History) -> Iterator[str]:
    for retirement in history.retirements:
        kid = retirement["retired"]
        if retirement["keyset"] != look.keyset:
            continue
        if look.state(kid) not in ("retired", "revoked"):
            yield f"{look.keyset}: {kid} was retired, and is {look.state(kid)}"
        if kid in look.published:
            yield f"{look.keyset}: {kid} was retired, and is in the JWK Set"


def imports_are_there(look: Look, history: History) -> Iterator[str]:
    """That it is known, and by which number, `keys_are_known` and `nothing_went_back` tell."""
    for imported in history.imports:
        kid = imported["kid"]
        if imported["keyset"] != look.keyset or kid not in look.keys:
            continue
        signs = imported["retires"] is None
        origin = "imported" if signs else "trusted"
        if look.keys[kid]["origin"] != origin:
            yield f"{look.keyset}: {kid} was {origin}, and is {look.keys[kid]['origin']}"
        if signs or _was_asked_to_go(look, history, kid):
            continue
        is_due = time.time() < _seconds(imported["retires"])
        if is_due and kid not in look.published:
            yield f"{look.keyset}: {kid} is trusted for longer, and is {look.state(kid)}"
        if look.keys[kid]["activates"] is not None:
            yield f"{look.keyset}: {kid} was to verify only, and activates"


def _seconds(instant: str) -> float:
    return datetime.fromisoformat(instant).timestamp()


def nothing_went_back(look: Look, history: History) -> Iterator[str]:
    revision = history.revisions.get(look.keyset, 0)
    if look.shown["revision"] < revision:
        yield f"{look.keyset}: revision {look.shown['revision']} after {revision}"
    for kid, (keyset, number) in history.numbers.items():
        if keyset == look.keyset and look.keys.get(kid, {}).get("number") != number:
            yield f"{look.keyset}: {kid} was shown as number {number}, and is {look.state(kid)}"


def tokens_verify(look: Look, history: History) -> Iterator[str]:
    """As far as that every verifier finds the key; that signatures are right others test."""
    for kid, expires in longest_tokens(history).items():
        is_here = kid in look.keys and expires > time.time()
        if is_here and kid not in look.published and not _was_asked_to_go(look, history, kid):
            yield f"{look.keyset}: {kid} has good tokens, and is {look.state(kid)}"


def longest_tokens(history: History) -> dict[str, float]:
    """The last expiry for each key."""
    longest: dict[str, float] = {}
    for token in history.tokens:
        longest[token.kid] = max(token.expires, longest.get(token.kid, 0))
    return longest


def _was_asked_to_go(look: Look, history: History, kid: str) -> bool:
    match look.state(kid):
        case "revoked":
            return look.keys[kid]["reason"] in history.asked_reasons
        case "retired":
            return kid in history.asked_to_retire
        case _:
            return False


# The audit.


def audit_is_whole(place: Place, history: History) -> Iterator[str]:
    """Nothing that was synced is missing or changed, and what an answer vouches for is there."""
    report = place.run("--json", "audit", "verify")
    for finding in report["damage"]:
        yield f"the audit: {finding}"
    vouched = Vouched(history)
    for line in filter(None, map(_parsed, _audit(place).splitlines())):
        vouched.found(line)
    yield from vouched.missing()


class Vouched:
    """The acknowledged acts that were not found in the audit yet."""

    def __init__(self, history: History) -> None:
        rotations = (("rotate", act["already"], [act["to"]]) for act in history.rotations)
        retirements = (("retire", act["already"], [act["retired"]]) for act in history.retirements)
        revocations = (("revoke", act["already"], act["revoked"]) for act in history.revocations)
        imports = (
            ("import-trust" if act["retires"] else "import", act["already"], [act["kid"]])
            for act in history.imports
        )
        self._acts = [
            (action, set(kids))
            for action, already, kids in [*rotations, *retirements, *revocations, *imports]
            if not already
        ]

    def found(self, line: dict) -> None:
        """Takes the acts that a line is about as found."""
        if line.get("decision") != "done" or "reason" not in line:
            return
        action = line["action"].removesuffix("-all")
        words = {word.strip(",;:") for word in line["reason"].split()}
        # A long line is cut, so it need not name all keys of a revocation.
        self._acts = [act for act in self._acts if act[0] != action or not act[1] & words]

    def missing(self) -> Iterator[str]:
        for action, kids in self._acts:
            yield f"the audit has no line that says done about: {action} {' '.join(sorted(kids))}"


def tokens_are_audited(place: Place, history: History, loses: bool) -> Iterator[str]:
    """`kill -9` loses no line; a power cut at most those of a moment."""
    lines = filter(None, map(_parsed, _audit(place).splitlines()))
    audited = {line.get("jti") for line in lines}
    for token in history.tokens:
        if token.jti not in audited and not (loses and history.was_just_before_a_kill(token)):
            yield f"the audit has no line about the token {token.jti} of {token.kid}"


def _audit(place: Place) -> bytes:
    return place.audit.read_bytes()


def _parsed(line: bytes) -> dict | None:
    try:
        parsed = json.loads(line)
    except ValueError:
        return None
    # What is left of a torn line may be a number.
    return parsed if isinstance(parsed, dict) else None
