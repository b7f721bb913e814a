"""A Python service that holds keys as files and checks tokens with PyJWT.

Arguments: issuer, audience, algorithm, files: a PEM, a line of OpenSSH, or a JWK. One token a line in,
one JSON verdict a line out.
"""

import json
import sys
from pathlib import Path

import jwt


def main(issuer: str, audience: str, algorithm: str, *files: str) -> None:
    keys = [held(Path(file)) for file in files]
    for line in sys.stdin:
        print(json.dumps(verdict(line.strip(), keys, issuer, audience, algorithm)), flush=True)


def held(file: Path) -> str | jwt.PyJWK:
    text = file.read_text()
    return jwt.PyJWK.from_json(text) if file.suffix == ".jwk" else text


def verdict(token: str, keys: list, issuer: str, audience: str, algorithm: str) -> dict:
    reason = ""
    for key in keys:
        try:
            jwt.decode(token, key, algorithms=[algorithm], issuer=issuer, audience=audience)
        except jwt.PyJWTError as error:
            reason = f"{type(error).__name__}: {error}"
        else:
            return {"accepted": True, "reason": ""}
    return {"accepted": False, "reason": reason}


if __name__ == "__main__":
    main(*sys.argv[1:])
