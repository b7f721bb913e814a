"""Keys of another program, to import."""

import subprocess

# How openssl makes a key for an algorithm.
GENPKEY = {
    "EdDSA": ["-algorithm", "ED25519"],
    "ES256": ["-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"],
    "RS256": ["-algorithm", "RSA", "-pkeyopt", "rsa_keygen_bits:2048"],
}


def private_key(algorithm: str) -> str:
    """A fresh key for this algorithm, in PEM."""
    command = ["openssl", "genpkey", *GENPKEY[algorithm]]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout
