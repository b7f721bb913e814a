"""Keys that were exported once and are held by verifiers which fetch nothing."""

from collections.abc import Iterator

import pytest

from daemon import Daemon, keyset_of, running_daemon
from held_keys import JSONWEBTOKEN, holding_verifiers
from test_rotation import ROUNDING, SLACK, now, seconds_until
from traffic import Traffic
from verifiers import JOSE, JWCRYPTO, PYJWT

# Who reads which form.
FORMS = {
    PYJWT: ("pem", "openssh", "jwk"),
    JSONWEBTOKEN: ("pem", "x509", "jwk"),
    JOSE: ("pem", "x509", "jwk"),
    JWCRYPTO: ("pem",),
}

# Who can verify what: jsonwebtoken has no EdDSA.
VERIFIERS = {
    **dict.fromkeys(("RS256", "PS256", "ES256", "ES512"), (PYJWT, JSONWEBTOKEN, JOSE)),
    "EdDSA": (PYJWT, JOSE),
    "ML-DSA-65": (JWCRYPTO,),
}


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    with running_daemon(rotate="manual", algorithms=VERIFIERS) as daemon:
        yield daemon


@pytest.mark.parametrize("algorithm", VERIFIERS)
def test_an_exported_key_verifies_its_tokens_and_no_others(daemon: Daemon, algorithm: str) -> None:
    keyset = keyset_of(algorithm)
    token = daemon.sign("user-1", keyset)
    forged = token.with_claims_of(daemon.sign("user-2", keyset))
    for name in VERIFIERS[algorithm]:
        for form in FORMS[name]:
            what = f"{name} with {form}"
            active = daemon.export("--active", form, keyset)
            with holding_verifiers(daemon, [active], [name], algorithm, keyset) as [verifier]:
                verdict = verifier.verify(token.text)
                assert verdict.accepted, f"{what}: {verdict.reason}"
                assert not verifier.verify(forged).accepted, what
            standby = daemon.export("--standby", form, keyset)
            with holding_verifiers(daemon, [standby], [name], algorithm, keyset) as [verifier]:
                assert not verifier.verify(token.text).accepted, what


def test_a_verifier_that_got_the_standby_in_time_refuses_nothing_across_the_rotation() -> None:
    names = (PYJWT, JSONWEBTOKEN, JOSE)
    with running_daemon(rotate="manual") as daemon:
        standby = daemon.wait_for_standby().kid
        held = [daemon.export("--active", "pem"), daemon.export("--standby", "pem")]
        with (
            holding_verifiers(daemon, held, names) as verifiers,
            Traffic(daemon, verifiers) as traffic,
        ):
            traffic.wait_for_fresh(5)
            active = traffic.signing_kid
            daemon.rotate()
            by = daemon.in_place_by(standby)
            traffic.note(f"{standby[:8]} has to be in place by {by:%H:%M:%S}")
            traffic.wait_for_signer(standby, timeout=seconds_until(by + SLACK))
            assert now() >= by - ROUNDING
            traffic.wait_for_fresh(5)
        assert len(traffic.refusals) == 0, traffic.report()
        assert len(traffic.signing_errors) == 0, traffic.report()
        for verifier in verifiers:
            assert traffic.accepted_by(verifier).keys() == {active, standby}, verifier.name
        # The control: without the standby it is refused.
        fresh = daemon.sign("someone").text
        with holding_verifiers(daemon, held[:1], names) as verifiers:
            for verifier in verifiers:
                assert not verifier.verify(fresh).accepted, verifier.name
