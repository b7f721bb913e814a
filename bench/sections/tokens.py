"""One token per request, as services ask for them: what it costs beside the signature, and beside oidc-provider.

The daemon is as it ships, audit and all, but for limits that one caller would meet. 32 connections are kept
open, and each asks again as soon as it has its token.
"""

import base64
import http.client
import json
import os
import subprocess
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import Bench, Daemon, Failed, KeySet, Row, cpu_seconds, median, need, output, pinned, ratio, stop

SECTION = "tokens"
NEEDS = ("node", "npm")

# Of raw, for each algorithm: what the issue of this bench asked for.
OF_RAW = {"RS256": 0.93, "ES256": 0.55, "EdDSA": 0.40}
OF_OIDC_PROVIDER = {"RS256": 2, "ES256": 10}

# Also with callers that sleep until their answer comes: a figure without a goal, since it is the kernel's.
ASLEEP = "ES256"

OIDC_PROVIDER = "bench/oidc-provider"
# Compilers and caches are at rest after this long.
WARM_UP = 3.0

# As a client asks by default: client_secret_basic.
CLIENT = base64.b64encode(b"3f0c9d6e-5b1f-4d0a-9a57-0f5a8b1f6c11:not-a-secret").decode()
AUTHORIZATION = f"Basic {CLIENT}"
FORM = "application/x-www-form-urlencoded"
CREDENTIALS = urllib.parse.urlencode({
    "grant_type": "client_credentials",
    "scope": "orders:read orders:write",
    "resource": "urn:api.example.com",
})


def run(bench: Bench) -> list[Row]:
    install(bench.root / OIDC_PROVIDER)
    with ExitStack() as stack:
        keysets = [KeySet(algorithm.lower(), algorithm) for algorithm in OF_RAW]
        daemon = stack.enter_context(bench.daemon(keysets))
        daemon.settle(keysets)
        cases, rates = {}, {}
        for algorithm in OF_RAW:
            ways = ways_to_ask(bench, daemon, algorithm)
            if algorithm in OF_OIDC_PROVIDER:
                issuer = stack.enter_context(oidc_provider(bench, algorithm))
                ways["oidc-provider"] = issuer.asking(bench)
            cases[f"{algorithm} raw"] = lambda algorithm=algorithm: bench.raw(algorithm)
            for name, way in ways.items():
                case = f"{algorithm} {name}"
                rates[case] = []
                cases[case] = lambda way=way, rate=rates[case]: measure(bench, way, rate)
        found = bench.interleaved(cases)
    other = f"npm oidc-provider {version(bench.root)} on Node {node_version()}"
    return rows(found, rates, other)


Way = tuple[int, Callable[[float], dict]]
"""The process that is asked, and how it is asked for so many seconds."""


def ways_to_ask(bench: Bench, daemon: Daemon, algorithm: str) -> dict[str, Way]:
    """The daemon over both kinds of sockets, warm; what it gives is verified."""
    path = f"/v1/keysets/{algorithm.lower()}/tokens"
    jwks = f"{daemon.public}/{algorithm.lower()}/.well-known/jwks.json"
    verify(bench, algorithm, jwks, one_of_jwksd(bench, daemon, path))

    def way(place: str, *options: str) -> Way:
        return daemon.pid, lambda seconds: bench.load(place, path, *options, body=bench.wish(), seconds=seconds)

    over_tcp = ("--token", daemon.token)
    ways = {"Unix": way(daemon.unix), "TCP": way(daemon.tcp, *over_tcp)}
    if algorithm == ASLEEP:
        asleep = ("--waiting", "asleep")
        ways |= {"Unix, asleep": way(daemon.unix, *asleep), "TCP, asleep": way(daemon.tcp, *over_tcp, *asleep)}
    for _, ask in ways.values():
        ask(0.5)
    return ways


def measure(bench: Bench, way: Way, rates: list[float]) -> float:
    """Tokens in a CPU-second of the process; those in a second of the clock go to `rates`."""
    pid, ask = way

    def load() -> dict:
        found = ask(bench.seconds)
        rates.append(found["tokens"] / found["seconds"])
        return found

    return bench.per_cpu_second(lambda: cpu_seconds(pid), load)


def rows(found: dict[str, list[float]], rates: dict[str, list[float]], provider: str) -> list[Row]:
    """The lines of the table: of the raw rate first, then beside oidc-provider."""

    def figure(case: str) -> str:
        return f"{median(found[case]):,.0f}/CPU-s, {median(rates[case]):,.0f}/s"

    def of_raw(algorithm: str) -> str:
        return f"aws-lc-rs alone: {median(found[f'{algorithm} raw']):,.0f}/CPU-s"

    lines = []
    for algorithm, goal in OF_RAW.items():
        for name in ("Unix", "TCP"):
            case = f"{algorithm} {name}"
            share = ratio(found[case], found[f"{algorithm} raw"])
            what = f"{algorithm}, {name} socket"
            lines.append(Row.at_least(SECTION, what, figure(case), of_raw(algorithm), share, goal))
    for name in ("Unix", "TCP"):
        case = f"{ASLEEP} {name}, asleep"
        share = ratio(found[case], found[f"{ASLEEP} raw"])
        what = f"{ASLEEP}, {name} socket, callers that sleep"
        lines.append(Row(SECTION, what, figure(case), of_raw(ASLEEP), share))
    for algorithm, goal in OF_OIDC_PROVIDER.items():
        case, other = f"{algorithm} TCP", f"{algorithm} oidc-provider"
        against = f"{provider}: {figure(other)}"
        lines.append(Row.at_least(SECTION, f"{algorithm}, TCP socket", figure(case), against,
                                  ratio(found[case], found[other]), goal))
    return lines


class Issuer:
    """An oidc-provider that listens, on the core for servers."""

    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.process = process
        self.url = f"http://127.0.0.1:{port}"

    def one_token(self) -> str:
        headers = {"Authorization": AUTHORIZATION, "Content-Type": FORM}
        request = urllib.request.Request(f"{self.url}/token", CREDENTIALS.encode(), headers)
        with urllib.request.urlopen(request, timeout=30) as answer:
            return json.load(answer)["access_token"]

    def asking(self, bench: Bench) -> Way:
        options = ("--content-type", FORM, "--header", f"authorization: {AUTHORIZATION}")

        def ask(seconds: float) -> dict:
            return bench.load(self.url, "/token", *options, body=CREDENTIALS, seconds=seconds)

        ask(WARM_UP)
        return self.process.pid, ask


@contextmanager
def oidc_provider(bench: Bench, algorithm: str) -> Iterator[Issuer]:
    """One that signs with this algorithm; its token was verified."""
    command = [need("node"), "server.mjs", algorithm]
    environment = {**os.environ, "NODE_ENV": "production"}
    with pinned(bench.server_core):
        process = subprocess.Popen(command, cwd=bench.root / OIDC_PROVIDER, env=environment,
                                   stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    try:
        port = next((line for line in process.stdout if line.strip().isdigit()), None)
        if port is None:
            raise Failed("oidc-provider did not start")
        issuer = Issuer(process, int(port))
        verify(bench, algorithm, f"{issuer.url}/jwks", issuer.one_token())
        yield issuer
    finally:
        stop(process)


def one_of_jwksd(bench: Bench, daemon: Daemon, path: str) -> str:
    connection = http.client.HTTPConnection("127.0.0.1", daemon.internal_port, timeout=30)
    headers = {"Authorization": f"Bearer {daemon.token}", "Content-Type": "application/json"}
    try:
        connection.request("POST", path, bench.wish(), headers)
        return json.load(connection.getresponse())["token"]
    finally:
        connection.close()


def verify(bench: Bench, algorithm: str, jwks: str, token: str) -> None:
    """That the token is one, and signed as it should be: what is compared must do the same."""
    script = bench.root / OIDC_PROVIDER / "verify.mjs"
    output([need("node"), script, algorithm, jwks, token], timeout=30)


def install(folder: Path) -> None:
    """What package-lock.json pins."""
    output([need("npm"), "ci", "--ignore-scripts", "--loglevel=error"], cwd=folder, timeout=300)


def version(root: Path) -> str:
    return json.loads((root / OIDC_PROVIDER / "package.json").read_text())["dependencies"]["oidc-provider"]


def node_version() -> str:
    return output([need("node"), "--version"]).strip().removeprefix("v")
