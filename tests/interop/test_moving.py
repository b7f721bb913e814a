"""docs/moving-a-static-key.md, step by step: an issuer with a PEM on its disk moves to jwksd.

Tokens are signed all the time, by whoever is the issuer at the step, and shown at once and again to
verifiers of each kind. After each step, none has been refused. Controls show what the order of the
steps is good for.
"""

import json
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

import pytest
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import (
    BestAvailableEncryption,
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)
from jwt.algorithms import RSAAlgorithm

from daemon import (
    AUDIENCE,
    CONFIG,
    KEYSET,
    Daemon,
    DaemonError,
    free_port,
    serving,
    short_folder,
)
from held_keys import COMMANDS, JSONWEBTOKEN
from moving import Deployment, JwksdIssuer, JwksHost, PemIssuer, Service, jwks_host
from traffic import Traffic
from verifiers import HERE, PYJWT, LineVerifier
from waiting import wait_until

ISSUER = "https://issuer.example.com"
KID = "2024-01"
# How long tokens of both issuers are good.
TTL = timedelta(seconds=10)
# What jwksd is told; what it is longer is the way back after the key has changed.
MAX_TOKEN_TTL = timedelta(seconds=30)
# Tokens are shown until so close to their end.
MARGIN = timedelta(seconds=4)
VERIFIER_CACHE = timedelta(seconds=5)
# When nobody has a JWK Set any more that was fetched before, and a little more.
CACHES_OVER = VERIFIER_CACHE + timedelta(seconds=3)
SLACK = 15

MOVED = f"""
[keysets.{KEYSET}]
algorithm = "RS256"
first_key = "{{first_key}}"
rotate = "manual"
issuer = "{ISSUER}"
audience = "{AUDIENCE}"
max_token_ttl = "{MAX_TOKEN_TTL.seconds}s"
jwks_max_age = "1s"
verifier_cache = "{VERIFIER_CACHE.seconds}s"
clock_skew = "1s"
"""

EXPECTED = (ISSUER, AUDIENCE, "RS256")


@dataclass(frozen=True)
class StaticKey:
    """The key pair of before, and the files of it that people have."""

    folder: Path
    private: rsa.RSAPrivateKey

    @property
    def pem(self) -> str:
        return self._private_pem(NoEncryption())

    @property
    def private_file(self) -> Path:
        return self._written("issuer.pem", self.pem)

    def encrypted_files(self, passphrase: str) -> tuple[Path, Path]:
        """The private key, and what it is encrypted with."""
        encrypted = self._private_pem(BestAvailableEncryption(passphrase.encode()))
        return (
            self._written("issuer.encrypted.pem", encrypted),
            self._written("passphrase", passphrase + "\n"),
        )

    @property
    def public_file(self) -> Path:
        public = self.private.public_key()
        pem = public.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        return self._written("issuer.public.pem", pem.decode())

    def jwks_file(self, name: str, kid: str) -> Path:
        """The JWK Set that somebody wrote by hand."""
        jwk = RSAAlgorithm.to_jwk(self.private.public_key(), as_dict=True)
        jwk.pop("key_ops")
        jwk |= {"use": "sig", "alg": "RS256"} | ({"kid": kid} if kid else {})
        return self._written(name, json.dumps({"keys": [jwk]}))

    def issuer(self, kid: str) -> PemIssuer:
        return PemIssuer(self.pem, kid, ISSUER, AUDIENCE, TTL)

    def _private_pem(self, encryption: object) -> str:
        return self.private.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, encryption
        ).decode()

    def _written(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.touch(mode=0o600)
        path.write_text(text)
        return path


@pytest.fixture
def key(tmp_path: Path) -> StaticKey:
    return StaticKey(tmp_path, rsa.generate_private_key(65537, 2048))


def test_an_issuer_moves_with_its_key(key: StaticKey, tmp_path: Path) -> None:
    """The usual way: jwksd signs with the imported key until every verifier knows the JWK Set."""
    before = key.issuer(KID)
    service = Service(before)
    with ExitStack() as stack:
        host, pem, pems, file, url, forgotten = fleet(stack, key)
        daemon = stack.enter_context(moved_daemon(first_key="import"))
        jwksd = JwksdIssuer(daemon, TTL)
        traffic = stack.enter_context(Traffic(service, [pem, pems, file, url], MARGIN))

        step(traffic, "0: the issuer of before")

        import_key(daemon, key)
        step(traffic, "1: imported, and nobody asks jwksd yet")

        service.signers = [before, jwksd]
        step(traffic, "2: one machine after the other asks jwksd")
        service.signers = [before]
        step(traffic, "2: and back")
        service.signers = [jwksd]
        step(traffic, "2: all of them")

        exported = tmp_path / "exported.json"
        exported.write_text(daemon.run("keys", "export", KEYSET, "--format", "jwks"))
        file.deploy(*jose(exported.as_uri()))
        step(traffic, "3: the JWKS file is what jwksd exports")
        file.deploy(*jose(jwks_url(daemon)))
        pem.deploy(*remote(jwks_url(daemon)))
        standby = daemon.export("--standby", "pem")
        pems.deploy(*held(JSONWEBTOKEN, key.public_file, standby))
        host.pass_on(jwks_url(daemon))
        step(traffic, "3: all verifiers are moved")

        moved = now()
        planned(daemon, moved + timedelta(days=365))
        standby_kid = planned(daemon, moved + CACHES_OVER)
        traffic.wait_for_signer(standby_kid, timeout=CACHES_OVER.seconds + SLACK)
        service.signers = [before]
        step(traffic, "4: jwksd has a key of its own, and back")
        service.signers = [jwksd]
        step(traffic, "4: jwksd signs with a key of its own")
        assert not forgotten.verify(jwksd.sign("control").text).accepted

        left = MAX_TOKEN_TTL.seconds + SLACK
        wait_until(lambda: KID not in daemon.published_kids(), left, "the old key has left")
        pems.deploy(*held(JSONWEBTOKEN, standby))
        step(traffic, "5: the old key has left the JWK Set, and its PEM can be destroyed")

    judge(traffic)


def test_an_issuer_moves_without_its_key(key: StaticKey, tmp_path: Path) -> None:
    """Where jwksd may not sign with the old key: verifiers move first, the issuer after them."""
    service = Service(key.issuer(KID))
    with ExitStack() as stack:
        host, pem, pems, file, url, forgotten = fleet(stack, key)
        daemon = stack.enter_context(moved_daemon(first_key="generate"))
        jwksd = JwksdIssuer(daemon, TTL)
        traffic = stack.enter_context(Traffic(service, [pem, pems, file, url], MARGIN))

        step(traffic, "0: the issuer of before")
        until = (now() + timedelta(days=30)).strftime("%Y-%m-%dT%H:%M:%SZ")
        trust = ("--kid", KID, "--verify-only", "--until", until)
        daemon.run("keys", "import", KEYSET, str(key.public_file), *trust)
        assert KID in daemon.published_kids()
        assert jwksd.sign("somebody").kid != KID
        step(traffic, "1: jwksd publishes the public key of before beside its own")

        pem.deploy(*remote(jwks_url(daemon)))
        pems.deploy(*held(JSONWEBTOKEN, key.public_file, daemon.export("--active", "pem")))
        file.deploy(*jose(jwks_url(daemon)))
        host.pass_on(jwks_url(daemon))
        wait_for(now() + CACHES_OVER)
        step(traffic, "2: verifiers are moved, and what they cached before is over")

        service.signers = [key.issuer(KID), jwksd]
        step(traffic, "3: one machine after the other asks jwksd")
        service.signers = [key.issuer(KID)]
        step(traffic, "3: and back")
        service.signers = [jwksd]
        step(traffic, "3: all of them")
        assert not forgotten.verify(jwksd.sign("control").text).accepted

        wait_for(now() + TTL)
        daemon.run("keys", "retire", KEYSET, KID)
        assert KID not in daemon.published_kids()
        step(traffic, "4: the old key is retired")

    judge(traffic)


def test_an_issuer_whose_tokens_have_no_kid_moves(key: StaticKey) -> None:
    """A kid comes first: with two keys in a set, nobody knows which signed a token without one."""
    before = key.issuer(kid="")
    service = Service(before)
    with ExitStack() as stack:
        pem = deployed(stack, "one PEM", held(PYJWT, key.public_file))
        file = deployed(stack, "JWKS file", jose(key.jwks_file("settings.json", "").as_uri()))
        daemon = stack.enter_context(moved_daemon(first_key="import"))
        jwksd = JwksdIssuer(daemon, TTL)
        traffic = stack.enter_context(Traffic(service, [pem, file], MARGIN))

        step(traffic, "0: the issuer of before")
        file.deploy(*jose(key.jwks_file("with-kid.json", KID).as_uri()))
        step(traffic, "1: the key in the JWKS file has a kid")

        encrypted, passphrase = key.encrypted_files("of the old issuer")
        options = ("--kid", KID, "--passphrase-file", str(passphrase))
        daemon.run("keys", "import", KEYSET, str(encrypted), *options)
        service.signers = [before, jwksd]
        step(traffic, "2: jwksd signs with the same key, and names it")
        service.signers = [jwksd]

        too_early = stack.enter_context(closing_verifier("too early", jose(jwks_url(daemon))))
        assert not too_early.verify(before.sign("control").text).accepted

        wait_for(now() + TTL)
        file.deploy(*jose(jwks_url(daemon)))
        pem.deploy(*remote(jwks_url(daemon)))
        step(traffic, "3: verifiers are moved")

    judge(traffic)


# The steps.


def step(traffic: Traffic, what: str) -> None:
    """What has been done so far costs no token: fresh ones and old ones are taken by all."""
    traffic.note(what)
    traffic.wait_for_fresh(6)
    traffic.wait_for_rounds(2)
    assert not traffic.refusals, traffic.report()


def import_key(daemon: Daemon, key: StaticKey) -> None:
    with pytest.raises(DaemonError, match="503"):
        daemon.sign("nobody", ttl="1s")
    daemon.run("keys", "import", KEYSET, str(key.private_file), "--kid", KID)
    assert daemon.sign("somebody", ttl="1s").kid == KID


def planned(daemon: Daemon, at: datetime) -> str:
    """The standby signs at that time, whatever was planned before; its kid."""
    standby = daemon.wait_for_standby().kid
    daemon.run("keys", "rotate", KEYSET, "--at", at.strftime("%Y-%m-%dT%H:%M:%SZ"))
    activates = next(key for key in daemon.keys() if key.kid == standby).activates
    assert activates == at.replace(microsecond=0)
    return standby


def judge(traffic: Traffic) -> None:
    assert not traffic.refusals, traffic.report()
    assert not traffic.signing_errors, traffic.report()


# What stands around.


@contextmanager
def moved_daemon(first_key: str) -> Iterator[Daemon]:
    with short_folder() as folder:
        config = CONFIG.format(port=free_port(), keyset=KEYSET) + MOVED.format(first_key=first_key)
        (folder / "jwksd.toml").write_text(config)
        daemon = Daemon(folder)
        with serving(daemon):
            yield daemon


def deployed(stack: ExitStack, name: str, command: list[str | Path]) -> Deployment:
    verifier = Deployment(name, *command)
    stack.callback(verifier.close)
    return verifier


class Fleet(NamedTuple):
    """A verifier of each kind, the host of the JWKS URL, and one that nobody moves."""

    host: JwksHost
    pem: Deployment
    pems: Deployment
    file: Deployment
    url: Deployment
    forgotten: LineVerifier


def fleet(stack: ExitStack, key: StaticKey) -> Fleet:
    host = stack.enter_context(jwks_host(key.jwks_file("hosted.json", KID)))
    pem = deployed(stack, "one PEM", held(PYJWT, key.public_file))
    pems = deployed(stack, "some PEMs", held(JSONWEBTOKEN, key.public_file))
    file = deployed(stack, "JWKS file", jose(key.jwks_file("settings.json", KID).as_uri()))
    url = deployed(stack, "JWKS URL", remote(host.url))
    forgotten = stack.enter_context(closing_verifier("forgotten", held(PYJWT, key.public_file)))
    return Fleet(host, pem, pems, file, url, forgotten)


@contextmanager
def closing_verifier(name: str, command: list[str | Path]) -> Iterator[LineVerifier]:
    verifier = LineVerifier(name, *command)
    try:
        yield verifier
    finally:
        verifier.close()


def held(name: str, *pems: Path) -> list[str | Path]:
    """A service with PEMs in its settings."""
    return [*COMMANDS[name], *EXPECTED, *pems]


def jose(url: str) -> list[str | Path]:
    """jose with a JWK Set: a file, or a URL."""
    return ["node", HERE / "node/jose-verifier.mjs", url, *EXPECTED]


def remote(url: str) -> list[str | Path]:
    """PyJWKClient, which keeps a JWK Set for as long as jwksd was told."""
    lifespan = str(VERIFIER_CACHE.seconds)
    return [sys.executable, HERE / "pyjwt_verifier.py", url, *EXPECTED, lifespan]


def jwks_url(daemon: Daemon) -> str:
    return f"{daemon.base_url}/.well-known/jwks.json"


def now() -> datetime:
    return datetime.now(UTC)


def wait_for(time: datetime) -> None:
    left = (time - now()).total_seconds()
    wait_until(lambda: now() > time, left + SLACK, f"it is {time:%H:%M:%S}")
