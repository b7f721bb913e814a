"""What was asked of a jwksd and what it answered: all that it must still know after a crash."""

import base64
import json
import threading
import time
from dataclasses import dataclass, field

# Within this time an audit line about a token is on the disk: 100 ms, and a slow machine.
AUDIT_SYNCED_WITHIN = 1.0


@dataclass(frozen=True)
class Token:
    kid: str
    jti: str
    expires: float
    answered: float


@dataclass
class History:
    """Filled by several threads. An answer is told by its members, whatever it answers."""

    rotations: list[dict] = field(default_factory=list)
    revocations: list[dict] = field(default_factory=list)
    retirements: list[dict] = field(default_factory=list)
    imports: list[dict] = field(default_factory=list)
    tokens: list[Token] = field(default_factory=list)
    # By key set: the highest revision that was told; by key: set and number.
    revisions: dict[str, int] = field(default_factory=dict)
    numbers: dict[str, tuple[str, int]] = field(default_factory=dict)
    published: set[str] = field(default_factory=set)
    # What may have been done without an answer.
    asked_reasons: set[str] = field(default_factory=set)
    asked_to_retire: set[str] = field(default_factory=set)
    # When, and until when it was noted what came before.
    kills: list[tuple[float, float]] = field(default_factory=list)
    # All of it, to be read by people.
    lines: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def asked_to_revoke(self, reason: str, what: str) -> None:
        with self._lock:
            self.asked_reasons.add(reason)
            self._note(f"asked to revoke {what}: {reason}")

    def asked_retirement(self, kid: str) -> None:
        with self._lock:
            self.asked_to_retire.add(kid)
            self._note(f"asked to retire {kid}")

    def killed(self, how: str, at: float | None = None) -> None:
        """At a time, or now. All that it answered is noted."""
        with self._lock:
            noted = time.time()
            self.kills.append((noted if at is None else at, noted))
            self._note(f"--- {how}")

    def answered(self, answer: dict) -> None:
        with self._lock:
            match answer:
                case {"token": token}:
                    self._token(token)
                case {"results": results}:
                    for result in results:
                        # The others were refused, and promise nothing.
                        if "token" in result:
                            self._token(result["token"])
                case {"revision": revision, "name": keyset, "keys": keys}:
                    self.revisions[keyset] = max(revision, self.revisions.get(keyset, 0))
                    self.numbers |= {key["kid"]: (keyset, key["number"]) for key in keys}
                case {"keys": keys}:
                    self.published |= {key["kid"] for key in keys}
                case {"from": _, "to": _}:
                    self.rotations.append(answer)
                    self._note(f"answer {json.dumps(answer)}")
                case {"revoked": _}:
                    self.revocations.append(answer)
                    self._note(f"answer {json.dumps(answer)}")
                case {"retired": _}:
                    self.retirements.append(answer)
                    self._note(f"answer {json.dumps(answer)}")
                case {"kid": kid, "number": number, "keyset": keyset, "replaced": _}:
                    self.imports.append(answer)
                    self.numbers[kid] = (keyset, number)
                    self.published.add(kid)
                    self._note(f"answer {json.dumps(answer)}")
                case _:
                    raise ValueError(f"an answer to nothing that was asked: {answer}")

    @property
    def acts(self) -> int:
        """How many rotations, revocations, retirements and imports were acknowledged."""
        acts = (self.rotations, self.revocations, self.retirements, self.imports)
        return sum(map(len, acts))

    def was_just_before_a_kill(self, token: Token) -> bool:
        return any(at - AUDIT_SYNCED_WITHIN <= token.answered <= noted for at, noted in self.kills)

    def about(self, complaints: list[str]) -> str:
        """The end of the history, and all of it that names a key of the complaints."""
        words = {word for line in complaints for word in line.split() if len(word) == 43}
        named = [line for line in self.lines[:-30] if any(word in line for word in words)]
        return "\n".join([*named, "…", *self.lines[-30:]])

    def _token(self, text: str) -> None:
        header, claims = (_decoded(part) for part in text.split(".")[:2])
        self.tokens.append(Token(header["kid"], claims["jti"], claims["exp"], time.time()))

    def _note(self, line: str) -> None:
        self.lines.append(f"{time.time():.4f} {line}")


def _decoded(part: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))
