"""A service with login, refresh and logout, and a route for whoever has an access token.

jwksd signs. Access tokens are short and anyone can verify them; a refresh token is good once, and
here alone.
"""

import uuid
from pathlib import Path
from typing import NoReturn

import httpx
import jwt
from flask import Flask, Response, abort, jsonify, request
from werkzeug.exceptions import HTTPException

from jwksd import Jwksd
from sessions import Sessions
from users import Users
from verifier import Verifier, keys_of_jwk_set, keys_of_pem

app = Flask(__name__)
app.config.from_mapping(
    JWKSD_SOCKET="data/sign.sock",
    JWKS_URL="http://127.0.0.1:8080",
    JWKS_LIFESPAN=300,  # seconds; no more than verifier_cache in jwksd.toml
    LEEWAY=30,  # seconds by which a clock may be off; no more than clock_skew there
    ACCESS_ISSUER="https://auth.example.com/access",
    ACCESS_AUDIENCE="api.example.com",
    ACCESS_TTL="10m",
    ACCESS_PEM_FILE="",  # a PEM, or two: access tokens are verified by it, not by the JWK Set
    REFRESH_ISSUER="https://auth.example.com/refresh",
    REFRESH_AUDIENCE="https://auth.example.com",
    REFRESH_TTL="14d",
    DATABASE="sessions.sqlite",
)
app.config.from_prefixed_env("AUTH")  # AUTH_LEEWAY=10
settings = app.config


def verifier(kind: str, pem_file: str) -> Verifier:
    if pem_file:
        keys = keys_of_pem(Path(pem_file).read_text())
    else:
        url = f"{settings['JWKS_URL']}/{kind}/.well-known/jwks.json"
        keys = keys_of_jwk_set(url, settings["JWKS_LIFESPAN"])
    expected = (settings[f"{kind.upper()}_{what}"] for what in ("ISSUER", "AUDIENCE"))
    return Verifier(keys, *expected, settings["LEEWAY"])


jwksd = Jwksd(settings["JWKSD_SOCKET"])
sessions = Sessions(settings["DATABASE"])
users = Users()
access = verifier("access", settings["ACCESS_PEM_FILE"])
refresh = verifier("refresh", "")


@app.post("/login")
def login() -> Response:
    if not users.knows(text("user"), text("password")):
        abort(401, "wrong user or password")
    sid = str(uuid.uuid4())
    answer, successor = tokens(text("user"), sid)
    sessions.begin(sid, successor["jti"], successor["exp"])
    return answer


@app.post("/refresh")
def renew() -> Response:
    presented = refresh_claims()
    sid, jti = presented["sid"], presented["jti"]
    if sessions.holds(sid, jti):
        answer, successor = tokens(presented["sub"], sid)
        if sessions.renew(sid, jti, successor["jti"], successor["exp"]):
            return answer
    # Used before, so there are two who have it, and one is a thief: the session ends for both.
    sessions.end(sid)
    abort(403, "this refresh token is unknown, used or revoked")


@app.post("/logout")
def logout() -> tuple[str, int]:
    sessions.end(refresh_claims()["sid"])
    return "", 204


@app.get("/me")
def me() -> Response:
    try:
        claims = access.claims(bare(request.headers.get("Authorization", "")))
    except jwt.PyJWTError as refusal:
        refuse(refusal)
    return jsonify(sub=claims["sub"])


def tokens(user: str, sid: str) -> tuple[Response, dict]:
    """What a client gets, and the claims of the refresh token in it."""
    claims = {"sub": user, "sid": sid}
    access_token = jwksd.sign("access", settings["ACCESS_TTL"], claims)
    refresh_token = jwksd.sign("refresh", settings["REFRESH_TTL"], claims)
    answer = jsonify(access_token=access_token, refresh_token=refresh_token, token_type="Bearer")
    # It comes from jwksd this moment: there is nothing to verify.
    return answer, jwt.decode(refresh_token, options={"verify_signature": False})


def refresh_claims() -> dict:
    try:
        claims = refresh.claims(bare(text("refresh_token")))
    except jwt.ExpiredSignatureError:
        abort(403, "this refresh token has expired")
    except jwt.PyJWTError as refusal:
        refuse(refusal)
    return claims


def text(name: str) -> str:
    """A member of the JSON body."""
    body = request.get_json()
    value = body.get(name) if isinstance(body, dict) else None
    return value if isinstance(value, str) else abort(400, f"{name} is missing")


def bare(token: str) -> str:
    """The token alone: a leading "Bearer " is fine, and needed nowhere."""
    scheme, _, rest = token.strip().partition(" ")
    return rest.strip() if scheme.lower() == "bearer" else token.strip()


def refuse(refusal: jwt.PyJWTError) -> NoReturn:
    if isinstance(refusal, jwt.PyJWKClientConnectionError):
        abort(503, "try again later")  # without keys there is no telling
    abort(401, "invalid token")


@app.errorhandler(HTTPException)
def problem(error: HTTPException) -> tuple[Response, int]:
    answer = jsonify(error=error.description)
    if error.code == 401:
        answer.headers["WWW-Authenticate"] = "Bearer"
    return answer, error.code


@app.errorhandler(httpx.HTTPError)
def no_token(error: httpx.HTTPError) -> tuple[Response, int]:
    app.logger.error("jwksd: %s", error)
    return jsonify(error="try again later"), 503


@app.after_request
def no_store(answer: Response) -> Response:
    answer.headers["Cache-Control"] = "no-store"
    return answer
