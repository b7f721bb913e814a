"""Every algorithm is verified by libraries that know nothing of jwksd, through the JWK Set alone."""

from collections.abc import Iterator

import pytest

from daemon import Daemon, keyset_of, running_daemon
from verifiers import EXPRESS, JOSE, JWCRYPTO, PYJWT, running_verifiers

RSA = ["RS256", "RS384", "RS512", "PS256", "PS384", "PS512"]
EC = ["ES256", "ES384", "ES512"]
ML_DSA = ["ML-DSA-44", "ML-DSA-65", "ML-DSA-87"]

# Who can verify what. express-jwt has no EdDSA. jose has ML-DSA where Node has it, from 24.7 on;
# PyJWT has none.
VERIFIERS = {
    **dict.fromkeys(RSA + EC, (PYJWT, JOSE, EXPRESS, JWCRYPTO)),
    "EdDSA": (PYJWT, JOSE, JWCRYPTO),
    **dict.fromkeys(ML_DSA, (JWCRYPTO,)),
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon(rotate="manual", algorithms=VERIFIERS) as daemon:
        yield daemon


@pytest.mark.parametrize("algorithm", VERIFIERS)
def test_an_algorithm_is_verified_by_all_who_know_it(daemon: Daemon, algorithm: str) -> None:
    keyset = keyset_of(algorithm)
    token = daemon.sign("user-1", keyset)
    forged = token.with_claims_of(daemon.sign("user-2", keyset))
    names = VERIFIERS[algorithm]
    with running_verifiers(daemon, algorithm=algorithm, keyset=keyset, names=names) as verifiers:
        for verifier in verifiers:
            verdict = verifier.verify(token.text)
            assert verdict.accepted, f"{verifier.name}: {verdict.reason}"
            assert not verifier.verify(forged).accepted, verifier.name
