"""A CA and certificates, made as another tool than jwksd makes them."""

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

Key = ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey | rsa.RSAPrivateKey


@dataclass(frozen=True)
class Ca:
    certificate: x509.Certificate
    key: Key

    @staticmethod
    def make(name: str) -> "Ca":
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(subject, subject, key).add_extension(
            x509.BasicConstraints(ca=True, path_length=None), critical=True
        )
        return Ca(builder.sign(key, hashes.SHA256()), key)

    def server(self, key: Key) -> bytes:
        """A certificate in PEM for whoever listens at 127.0.0.1."""
        names = [x509.IPAddress(IPv4Address("127.0.0.1"))]
        return self._issue(key, names, ExtendedKeyUsageOID.SERVER_AUTH)

    def client(self, key: Key, spiffe_id: str) -> bytes:
        names = [x509.UniformResourceIdentifier(spiffe_id)]
        return self._issue(key, names, ExtendedKeyUsageOID.CLIENT_AUTH)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(Encoding.PEM)

    def _issue(self, key: Key, names: list, usage: x509.ObjectIdentifier) -> bytes:
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "leaf")])
        builder = _builder(subject, self.certificate.subject, key)
        builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        builder = builder.add_extension(x509.ExtendedKeyUsage([usage]), critical=False)
        return builder.sign(self.key, hashes.SHA256()).public_bytes(Encoding.PEM)


def pkcs8(key: Key) -> bytes:
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def traditional(key: Key) -> bytes:
    """SEC 1 for EC keys and PKCS #1 for RSA keys, as older tools write them."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption())


def _builder(subject: x509.Name, issuer: x509.Name, key: Key) -> x509.CertificateBuilder:
    now = datetime.now(UTC)
    return (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(issuer)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(minutes=1))
        .not_valid_after(now + timedelta(days=30))
    )
