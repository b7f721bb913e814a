"""Checks a token with PyJWT, and prints its claims.

verify.py FILE TOKEN  by OpenSSH's public lines in FILE: of the key that signs, of the one that will
verify.py URL TOKEN   by the JWK Set at URL
"""

import json
import sys
from pathlib import Path

import jwt

ISSUER = "http://127.0.0.1:8080"
AUDIENCE = "api.example.com"


def by_lines(lines: list[str], token: str) -> dict:
    for line in lines:
        try:
            return decoded(token, line)
        except jwt.InvalidSignatureError:
            continue
    raise jwt.InvalidSignatureError("no line verifies the signature")


def by_jwk_set(keys: jwt.PyJWKClient, token: str) -> dict:
    """A service keeps one `PyJWKClient` for its whole life: it caches the JWK Set."""
    return decoded(token, keys.get_signing_key_from_jwt(token))


def decoded(token: str, key: str | jwt.PyJWK) -> dict:
    return jwt.decode(token, key, algorithms=["RS256"], issuer=ISSUER, audience=AUDIENCE)


def main(keys: str, token: str) -> None:
    if keys.startswith("http"):
        claims = by_jwk_set(jwt.PyJWKClient(keys), token)
    else:
        claims = by_lines(Path(keys).read_text().splitlines(), token)
    print(json.dumps(claims))


if __name__ == "__main__":
    main(*sys.argv[1:])
