"""A Python service that checks tokens with PyJWT and one long-lived `PyJWKClient`.

Arguments: JWK Set URL, issuer, audience, algorithm, and for how many seconds it keeps the JWK Set
where that is not the default. One token a line in, one JSON verdict a line out.
"""

import json
import sys

import jwt


def main(jwks_uri: str, issuer: str, audience: str, algorithm: str, lifespan: str = "300") -> None:
    keys = jwt.PyJWKClient(jwks_uri, lifespan=float(lifespan))
    for line in sys.stdin:
        print(json.dumps(verdict(line.strip(), keys, issuer, audience, algorithm)), flush=True)


def verdict(
    token: str, keys: jwt.PyJWKClient, issuer: str, audience: str, algorithm: str
) -> dict:
    try:
        key = keys.get_signing_key_from_jwt(token)
        jwt.decode(token, key, algorithms=[algorithm], issuer=issuer, audience=audience)
    except jwt.PyJWTError as error:
        return {"accepted": False, "reason": f"{type(error).__name__}: {error}"}
    return {"accepted": True, "reason": ""}


if __name__ == "__main__":
    main(*sys.argv[1:])
