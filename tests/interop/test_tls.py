"""TLS between the daemon and OpenSSL: Python's `ssl`, PyJWT's client over it, and curl.

The keys are of each kind and in each form of PEM that tools write.
"""

import http.client
import json
import ssl
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa

from certificates import Ca, Key, pkcs8, traditional
from daemon import AUDIENCE, KEYSET, Daemon, running_daemon

CALLER = "spiffe://example.org/backend"
REQUEST = json.dumps({"claims": {"sub": "tls"}, "ttl": "5m"})
PATH = f"/v1/keysets/{KEYSET}/tokens"

KEYS = {
    "EC in PKCS #8": (lambda: ec.generate_private_key(ec.SECP256R1()), pkcs8),
    "EC in SEC 1": (lambda: ec.generate_private_key(ec.SECP384R1()), traditional),
    "RSA in PKCS #1": (lambda: rsa.generate_private_key(65537, 2048), traditional),
    "Ed25519 in PKCS #8": (ed25519.Ed25519PrivateKey.generate, pkcs8),
}


@dataclass(frozen=True)
class Networked:
    """A daemon whose public and internal listeners speak TLS, and a caller's files."""

    daemon: Daemon
    folder: Path

    def context(self) -> ssl.SSLContext:
        """Trusts the daemon, and shows the caller's certificate."""
        context = ssl.create_default_context(cafile=self.folder / "ca.pem")
        context.load_cert_chain(self.folder / "client.pem", self.folder / "client.key")
        return context


@pytest.mark.parametrize("kind", KEYS)
def test_a_token_is_signed_over_mutual_tls_and_verified_over_tls(kind: str, tmp_path: Path) -> None:
    with networked(tmp_path, *KEYS[kind]) as setup:
        for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
            context = setup.context()
            context.minimum_version = context.maximum_version = version
            claims = verified(setup, context, signed(setup, context))
            assert claims["sub"] == "tls"


def test_curl_asks_for_a_token_with_a_certificate(tmp_path: Path) -> None:
    with networked(tmp_path, *KEYS["EC in PKCS #8"]) as setup:
        answer = json.loads(curl(setup, "--cert", "client.pem", "--key", "client.key"))
        assert verified(setup, setup.context(), answer["token"])["sub"] == "tls"
        assert json.loads(curl(setup))["code"] == "unknown_caller"


def signed(setup: Networked, context: ssl.SSLContext) -> str:
    connection = http.client.HTTPSConnection(
        "127.0.0.1", setup.daemon.internal_port, timeout=10, context=context
    )
    try:
        connection.request("POST", PATH, body=REQUEST)
        response = connection.getresponse()
        body = json.loads(response.read())
    finally:
        connection.close()
    assert response.status == 200, body
    return body["token"]


def verified(setup: Networked, context: ssl.SSLContext, token: str) -> dict:
    keys = jwt.PyJWKClient(f"{setup.daemon.issuer}/.well-known/jwks.json", ssl_context=context)
    key = keys.get_signing_key_from_jwt(token)
    return jwt.decode(
        token, key, algorithms=["RS256"], issuer=setup.daemon.issuer, audience=AUDIENCE
    )


def curl(setup: Networked, *arguments: str) -> str:
    url = f"https://127.0.0.1:{setup.daemon.internal_port}{PATH}"
    command = ["curl", "--silent", "--show-error", "--cacert", "ca.pem", *arguments]
    done = subprocess.run(
        [*command, "--header", "Content-Type: application/json", "--data", REQUEST, url],
        cwd=setup.folder,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    return done.stdout


@contextmanager
def networked(
    folder: Path, make: Callable[[], Key], written: Callable[[Key], bytes]
) -> Iterator[Networked]:
    ours, clients = Ca.make("ours"), Ca.make("clients")
    server, client = make(), make()
    files = {
        "ca.pem": ours.pem,
        "clients.pem": clients.pem,
        "server.pem": ours.server(server),
        "server.key": written(server),
        "client.pem": clients.client(client, CALLER),
        "client.key": written(client),
    }
    for name, content in files.items():
        path = folder / name
        path.touch(mode=0o600)
        path.write_bytes(content)
    with running_daemon(rotate="manual", tls=(folder, CALLER)) as daemon:
        yield Networked(daemon, folder)
