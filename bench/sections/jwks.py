"""The JWK Set, 32 connections that are kept: beside nginx with the same bytes, and with fetchers watched or not.

nginx serves them twice: from a file, as one would, and from its configuration by `return`, which is the ceiling:
no file is opened and no condition looked at. Neither server writes a line for a request. A `return` cannot compare
entity tags, so its 304 is one that is always given.
"""

import http.client
import json
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from harness import (
    Bench, Daemon, Failed, KeySet, Row, cpu_seconds, free_port, interleaved, median, need, output, pinned, ratio, stop,
)

SECTION = "jwks"
NEEDS = ("nginx", "wrk")
CONNECTIONS = 32

# Goals.
OF_FILE, OF_INLINE = 1.0, 0.8
# A lookup is all that a fetcher costs who came before: 0.3 us, of a JWK Set that costs 5.
OF_UNWATCHED = 0.93

KEYSETS = [KeySet("default", "RS256")]
JWKS = "/.well-known/jwks.json"
TYPE = "application/jwk-set+json"
PLAIN = {
    "Cache-Control": "public, max-age=300",
    "Access-Control-Allow-Origin": "*",
    "X-Content-Type-Options": "nosniff",
}
UNWATCHED = "[fetchers]\nenabled = false\n"
BY_HEADER = '[fetchers]\nheader = "X-Forwarded-For"\n'

NGINX = """\
daemon off;
master_process off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ }}
http {{
  access_log off;
  sendfile on;
  tcp_nopush on;
  server_tokens off;
  keepalive_requests 1000000000;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  types {{ }}
  default_type {type};
  {headers}
  server {{
    listen 127.0.0.1:{port};
    root {folder}/www;
    location = /inline {{ add_header ETag '{etag}'; {headers} return 200 '{body}'; }}
    location = /inline-304 {{ add_header ETag '{etag}'; {headers} return 304; }}
  }}
}}
"""

# How wrk tells what it found.
TOLD = """\
done = function(summary, latency, requests)
  local e = summary.errors
  local errors = e.connect + e.read + e.write + e.status + e.timeout
  io.write(string.format('{"requests": %d, "errors": %d}\\n', summary.requests, errors))
end
"""
# Each request comes from another network, of so many that each is forgotten when it comes again.
STRANGERS = TOLD + """
local requests, at = {}, 0
init = function(arguments)
  for number = 0, 4095 do
    local address = string.format("198.%d.%d.1", 18 + number / 256, number % 256)
    requests[number] = wrk.format("GET", nil, {["X-Forwarded-For"] = address})
  end
end
request = function()
  at = (at + 1) % 4096
  return requests[at]
end
"""

Case = Callable[[], float]


def run(bench: Bench) -> list[Row]:
    wrk = need("wrk")
    # Twice as many rounds of half the time: what is compared is close.
    rounds, seconds = 2 * bench.rounds, max(1, round(bench.seconds / 2))
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="jwksd-bench-")))
        shipped, unwatched, by_header = (
            stack.enter_context(bench.daemon(KEYSETS, more=more)) for more in ("", UNWATCHED, BY_HEADER)
        )
        for daemon in (shipped, unwatched, by_header):
            daemon.settle(KEYSETS)
        etag, body = served(shipped.public_port, JWKS)
        nginx = stack.enter_context(Nginx.running(bench, folder, etag, body))
        its_etag, its_body = served(nginx.port, JWKS)
        if not body == its_body == served(nginx.port, "/inline")[1]:
            raise Failed("nginx does not serve the same bytes")

        (folder / "told.lua").write_text(TOLD)
        (folder / "strangers.lua").write_text(STRANGERS)

        def case(pid: int, port: int, path: str, known: str | None = None, script: str = "told.lua") -> Case:
            must_be(304 if known or path.endswith("304") else 200, port, path, known)
            condition = ["-H", f"If-None-Match: {known}"] if known else []
            command = [wrk, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "-s", folder / script,
                       *condition, f"http://127.0.0.1:{port}{path}"]
            return lambda: bench.per_cpu_second(lambda: cpu_seconds(pid), lambda: asked(bench, command), "requests")

        def of(daemon: Daemon, **how: str) -> Case:
            return case(daemon.pid, daemon.public_port, JWKS, **how)

        found = interleaved({
            "200": of(shipped),
            "200 nginx file": case(nginx.pid, nginx.port, JWKS),
            "200 nginx inline": case(nginx.pid, nginx.port, "/inline"),
            "200 unwatched": of(unwatched),
            "304": of(shipped, known=etag),
            "304 nginx file": case(nginx.pid, nginx.port, JWKS, known=its_etag),
            "304 nginx inline": case(nginx.pid, nginx.port, "/inline-304"),
            "strangers": of(by_header, script="strangers.lua"),
            "strangers unwatched": of(unwatched, script="strangers.lua"),
        }, rounds)
    return rows(found, len(body))


def rows(found: dict[str, list[float]], size: int) -> list[Row]:
    version = subprocess.run([need("nginx"), "-v"], capture_output=True, text=True).stderr
    nginx = version.strip().rpartition(" ")[2].replace("/", " ")

    def figure(case: str) -> str:
        return f"{median(found[case]):,.0f}/CPU-s"

    def against(what: str, case: str, name: str, other: str, goal: float) -> Row:
        text = f"{name}: {figure(other)}"
        return Row.at_least(SECTION, what, figure(case), text, ratio(found[case], found[other]), goal)

    whole, known = f"200, {size} bytes", "304"
    share = ratio(found["strangers"], found["strangers unwatched"])
    strangers = Row(SECTION, "200, fetchers of whom none comes again", figure("strangers"),
                    f"not watched: {figure('strangers unwatched')}", share)
    return [
        against(whole, "200", f"{nginx}, file", "200 nginx file", OF_FILE),
        against(whole, "200", f"{nginx}, return", "200 nginx inline", OF_INLINE),
        against(known, "304", f"{nginx}, file", "304 nginx file", OF_FILE),
        against(known, "304", f"{nginx}, return", "304 nginx inline", OF_INLINE),
        against("200, a fetcher that is known", "200", "not watched", "200 unwatched", OF_UNWATCHED),
        strangers,
    ]


class Nginx:
    """An nginx that listens, on the core for servers: one process, which is its worker."""

    def __init__(self, process: subprocess.Popen, port: int) -> None:
        self.pid, self.port = process.pid, port

    @classmethod
    @contextmanager
    def running(cls, bench: Bench, folder: Path, etag: str, body: bytes) -> Iterator["Nginx"]:
        port = free_port()
        file = folder / f"www{JWKS}"
        file.parent.mkdir(parents=True)
        file.write_bytes(body)
        headers = " ".join(f"add_header {name} '{value}';" for name, value in PLAIN.items())
        text = NGINX.format(folder=folder, port=port, headers=headers, type=TYPE, etag=etag, body=body.decode())
        (folder / "nginx.conf").write_text(text)
        errors = folder / "error.log"
        command = [need("nginx"), "-c", folder / "nginx.conf", "-e", errors]
        with pinned(bench.server_core):
            process = subprocess.Popen([str(part) for part in command])
        try:
            wait_for(process, port, errors)
            yield cls(process, port)
        finally:
            stop(process)


def wait_for(process: subprocess.Popen, port: int, errors: Path) -> None:
    deadline = time.monotonic() + 10
    while process.poll() is None and time.monotonic() < deadline:
        try:
            answer(port, JWKS)
            return
        except OSError:
            time.sleep(0.02)
    raise Failed(f"nginx did not start: {errors.read_text() if errors.exists() else ''}")


def asked(bench: Bench, command: list) -> dict:
    """What wrk says of its run, from the core for load."""
    with pinned(bench.load_core):
        found = json.loads(output(command).splitlines()[-1])
    if found["errors"] or not found["requests"]:
        raise Failed(f"{command[-1]}: {found}")
    return found


def served(port: int, path: str) -> tuple[str, bytes]:
    """The entity tag and the bytes, which come with all that jwksd sends along."""
    status, headers, body = answer(port, path)
    lacks = [name for name, value in {**PLAIN, "Content-Type": TYPE}.items() if headers.get(name) != value]
    if status != 200 or lacks or not body:
        raise Failed(f"port {port}, {path}: {status}, {', '.join(lacks)} not as wanted")
    return headers["ETag"], body


def must_be(status: int, port: int, path: str, known: str | None) -> None:
    """That it answers like that: wrk takes anything below 400."""
    found, _, _ = answer(port, path, {"If-None-Match": known} if known else {})
    if found != status:
        raise Failed(f"port {port}, {path}: {found} instead of {status}")


def answer(port: int, path: str, headers: dict[str, str] | None = None) -> tuple[int, http.client.HTTPMessage, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    try:
        connection.request("GET", path, headers=headers or {})
        found = connection.getresponse()
        return found.status, found.headers, found.read()
    finally:
        connection.close()
