"""Tokens as tests handle them: read without a key, and bent to see them refused."""

import base64
import hashlib
import hmac
import json
from dataclasses import dataclass
from datetime import UTC, datetime


@dataclass(frozen=True)
class Token:
    text: str
    # Empty where its header has none.
    kid: str
    expires: datetime

    @staticmethod
    def parse(text: str) -> "Token":
        header, claims = (_decode(part) for part in text.split(".")[:2])
        return Token(text, header.get("kid", ""), datetime.fromtimestamp(claims["exp"], UTC))

    @property
    def header(self) -> dict:
        return _decode(self.text.split(".")[0])

    @property
    def claims(self) -> dict:
        return _decode(self.text.split(".")[1])

    def with_header(self, **changes: str) -> str:
        """The same claims and signature under a changed header, so the signature is wrong."""
        header, rest = self.text.split(".", 1)
        return f"{_encode(_decode(header) | changes)}.{rest}"

    def with_claims_of(self, other: "Token") -> str:
        """The claims of another token under this token's header and signature."""
        header, _, signature = self.text.split(".")
        return f"{header}.{other.text.split('.')[1]}.{signature}"

    def unsigned(self) -> str:
        """The same claims under the algorithm `none`."""
        return self.with_header(alg="none").rpartition(".")[0] + "."

    def signed_with(self, secret: str) -> str:
        """The same claims under HS256, with what should be a public key taken for a secret."""
        content = self.with_header(alg="HS256").rpartition(".")[0]
        mac = hmac.digest(secret.encode(), content.encode(), hashlib.sha256)
        return f"{content}.{base64.urlsafe_b64encode(mac).decode().rstrip('=')}"


def _decode(part: str) -> dict:
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def _encode(part: dict) -> str:
    return base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=")
