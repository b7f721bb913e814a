"""A Python service that holds a key as a PEM file and checks tokens with jwcrypto, for ML-DSA.

Arguments: issuer, audience, algorithm, file. One token a line in, one JSON verdict a line out.
"""

import json
import sys
from pathlib import Path

from jwcrypto.jwk import JWK, JWKSet
from jwcrypto_verifier import verdict


def main(issuer: str, audience: str, algorithm: str, file: str) -> None:
    keys = JWKSet()
    keys.add(JWK.from_pem(Path(file).read_bytes()))
    for line in sys.stdin:
        print(json.dumps(verdict(line.strip(), keys, issuer, audience, algorithm)), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
