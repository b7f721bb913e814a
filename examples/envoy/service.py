"""A service that checks no token: Envoy stands before it, and says in x-user who asks.

Whoever reaches it past Envoy may claim to be anybody, so it listens where only Envoy can come.
"""

import json
import os
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

PORT = int(os.environ.get("PORT", "9000"))


class Service(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        seen = {"user": self.headers["x-user"], "token": self.headers["authorization"]}
        body = json.dumps(seen).encode() + b"\n"
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", PORT), Service)
    print(f"the service is at http://127.0.0.1:{server.server_port}", flush=True)
    server.serve_forever()
