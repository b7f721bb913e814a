"""Has jwksd sign, over its Unix socket. The kernel tells it who asks: there is no secret here."""

import httpx


class Jwksd:
    def __init__(self, socket: str) -> None:
        self._http = httpx.Client(
            transport=httpx.HTTPTransport(uds=socket, retries=1), base_url="http://jwksd", timeout=5
        )

    def sign(self, keyset: str, ttl: str, claims: dict) -> str:
        """A token with `claims`, and with what jwksd adds: iss, aud, iat, exp, jti.

        Raises `httpx.HTTPError` where there is none.
        """
        answer = self._http.post(
            f"/v1/keysets/{keyset}/tokens", json={"claims": claims, "ttl": ttl}
        )
        answer.raise_for_status()
        return answer.json()["token"]
