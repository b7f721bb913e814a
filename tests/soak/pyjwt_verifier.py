"""A Python service that checks tokens of several issuers with PyJWT, each with a long-lived `PyJWKClient`.

The argument is JSON: for each key set its `jwks_uri`, `issuer`, `audience`, `algorithm`, and `keep`, the
seconds for which it keeps the JWK Set, or null for the library's default. One token a line in, as JSON, one
verdict a line out.
"""

import json
import sys
import time

import jwt


def main(sets: dict) -> None:
    clients = {name: client(settings) for name, settings in sets.items()}
    for line in sys.stdin:
        shown = json.loads(line)
        keyset = shown["keyset"]
        accepted, reason = verdict(shown["token"], clients[keyset], sets[keyset])
        told = {"id": shown["id"], "accepted": accepted, "reason": reason, "at": time.time()}
        print(json.dumps(told), flush=True)


def client(settings: dict) -> jwt.PyJWKClient:
    kept = {} if settings["keep"] is None else {"lifespan": settings["keep"]}
    return jwt.PyJWKClient(settings["jwks_uri"], **kept)


def verdict(token: str, keys: jwt.PyJWKClient, settings: dict) -> tuple[bool, str]:
    wanted = {name: settings[name] for name in ("issuer", "audience")}
    try:
        key = keys.get_signing_key_from_jwt(token)
        jwt.decode(token, key, algorithms=[settings["algorithm"]], **wanted)
    except (jwt.PyJWTError, OSError) as error:
        return False, f"{type(error).__name__}: {error}"
    return True, ""


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
