"""Checks tokens: algorithm, signature, issuer, audience, times, and that no claim is missing."""

import re
from collections.abc import Callable, Iterable

import jwt

ALGORITHMS = ["RS256"]
REQUIRED = ["iss", "aud", "sub", "sid", "iat", "exp", "jti"]

Keys = Callable[[str], Iterable]


def keys_of_jwk_set(url: str, lifespan: int) -> Keys:
    """The key that a token names, from a JWK Set that is kept for `lifespan` seconds."""
    jwk_set = jwt.PyJWKClient(url, lifespan=lifespan, timeout=5)
    return lambda token: [jwk_set.get_signing_key_from_jwt(token)]


def keys_of_pem(text: str) -> Keys:
    """The keys in a setting with one PEM, or with two while keys change."""
    pems = re.findall("-----BEGIN PUBLIC KEY-----.+?-----END PUBLIC KEY-----", text, re.DOTALL)
    keys = [jwt.get_algorithm_by_name("RS256").prepare_key(pem) for pem in pems]
    if not keys:
        raise ValueError("there is no PEM of a public key")
    return lambda token: keys


class Verifier:
    def __init__(self, keys: Keys, issuer: str, audience: str, leeway: int) -> None:
        self._keys = keys
        self._expected = {"issuer": issuer, "audience": audience, "leeway": leeway}

    def claims(self, token: str) -> dict:
        """The claims of a good token. Raises `jwt.PyJWTError` for any other."""
        refusal = jwt.InvalidTokenError("no key to check it with")
        for key in self._keys(token):
            try:
                return jwt.decode(
                    token,
                    key,
                    algorithms=ALGORITHMS,
                    options={"require": REQUIRED},
                    **self._expected,
                )
            except jwt.InvalidSignatureError as wrong_key:
                refusal = wrong_key
        raise refusal
