"""A Python service that checks tokens with jwcrypto, which knows ML-DSA too, by OpenSSL.

Arguments: JWK Set URL, issuer, audience, algorithm. One token a line in, one JSON verdict a line
out. jwcrypto fetches nothing itself: the JWK Set is fetched once, for the first token.
"""

import json
import sys
import urllib.request

from jwcrypto.common import JWException
from jwcrypto.jwk import JWKSet
from jwcrypto.jwt import JWT


def main(jwks_uri: str, issuer: str, audience: str, algorithm: str) -> None:
    keys = None
    for line in sys.stdin:
        keys = keys or JWKSet.from_json(urllib.request.urlopen(jwks_uri, timeout=30).read())
        print(json.dumps(verdict(line.strip(), keys, issuer, audience, algorithm)), flush=True)


def verdict(token: str, keys: JWKSet, issuer: str, audience: str, algorithm: str) -> dict:
    try:
        claims = {"iss": issuer, "aud": audience, "exp": None}
        JWT(jwt=token, key=keys, algs=[algorithm], check_claims=claims, expected_type="JWS")
    except (JWException, ValueError) as error:
        return {"accepted": False, "reason": f"{type(error).__name__}: {error}"}
    return {"accepted": True, "reason": ""}


if __name__ == "__main__":
    main(*sys.argv[1:])
