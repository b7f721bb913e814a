// A jwksd of its own for a test: a fresh folder, free ports, callers by token, by certificate and by user.

import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { mkdirSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import net from "node:net";
import { tmpdir } from "node:os";
import path from "node:path";
import { fileURLToPath } from "node:url";

const HERE = path.dirname(fileURLToPath(import.meta.url));
const ROOT = path.resolve(HERE, "../..");
export const BINARY = path.resolve(process.env.JWKSD_BIN ?? path.join(ROOT, "target/debug/jwksd"));
export const PICTURES = path.join(ROOT, "target/console");

/** A caller whose name is no name; what cannot be seen is refused by the configuration. */
export const HOSTILE_NAME = "<img src=x onerror=window.hit=1>'\"&amp;";

/** The page asks twenty times more seldom than it waits for an answer, which takes seconds on a busy machine. */
export const PATIENCE = 90_000;

const keyset = (name, algorithm, rotate) => `
[keysets.${name}]
algorithm = "${algorithm}"
rotate = "${rotate}"
issuer = "http://127.0.0.1/${name}"
audience = "api.example.com"
max_token_ttl = "1h"
jwks_max_age = "1s"
verifier_cache = "1s"
clock_skew = "0s"
`;

const caller = (name, identity, actions) => `
[[callers]]
name = ${JSON.stringify(name)}
${identity}
grants = [{ keyset = "*", actions = ${JSON.stringify(actions)} }]
`;

const ALL = ["sign-token", "read", "rotate", "revoke", "import", "operate"];

export class Daemon {
  #process = null;

  /** A daemon that serves. With `tls`, its TCP places speak it and take client certificates. */
  static async start({ tls = false } = {}) {
    const daemon = new Daemon();
    daemon.folder = mkdtempSync(path.join(tmpdir(), "jwksd-console-"));
    daemon.ports = await freePorts(3);
    daemon.scheme = tls ? "https" : "http";
    daemon.token = newToken();
    daemon.readerToken = newToken();
    mkdirSync(path.join(daemon.folder, "data"), { mode: 0o700 });
    if (tls) daemon.#makeCertificates();
    writeFileSync(path.join(daemon.folder, "jwksd.toml"), daemon.#configuration(tls));
    await daemon.serve("--init");
    return daemon;
  }

  get url() {
    return `${this.scheme}://localhost:${this.ports[2]}`;
  }

  file(name) {
    return path.join(this.folder, name);
  }

  #configuration(tls) {
    const [publicPort, internal, admin] = this.ports;
    const table = tls
      ? '[admin.tls]\ncertificate = "pki/jwksd.pem"\nkey = "pki/jwksd.key"\nclient_ca = "pki/ca.pem"\n'
      : "";
    return `
[store]
path = "data/store"
master_key = "data/master.key"
[audit]
path = "data/audit.jsonl"
[public]
listen = "127.0.0.1:${publicPort}"
base_url = "http://127.0.0.1:${publicPort}"
root = "default"
[internal]
listen = "127.0.0.1:${internal}"
[admin]
listen = ["unix:data/admin.sock", "127.0.0.1:${admin}"]
${table}
${keyset("default", "ES256", "0 3 1 * *")}
${keyset("quick", "ES256", "manual")}
${caller("local", 'uid = "self"', ALL)}
${caller(HOSTILE_NAME, `token_sha256 = "${digest(this.token)}"`, ALL)}
${caller("reader", `token_sha256 = "${digest(this.readerToken)}"`, ["read"])}
${caller("admin", 'san = "spiffe://example.org/admin"', ALL)}
`;
  }

  #makeCertificates() {
    this.run("pki", "init");
    this.run("pki", "issue", "server", "jwksd", "--dns", "localhost", "--ip", "127.0.0.1");
    this.run("pki", "issue", "client", "admin", "--san", "spiffe://example.org/admin");
  }

  /** What the command line prints. */
  run(...words) {
    return execFileSync(BINARY, words, { cwd: this.folder, encoding: "utf8", stdio: ["ignore", "pipe", "pipe"] });
  }

  async serve(...words) {
    const log = openSync(this.file("daemon.log"), "a");
    const command = ["--config", "jwksd.toml", "serve", ...words];
    this.#process = spawn(BINARY, command, { cwd: this.folder, stdio: ["ignore", log, log] });
    const daemon = this.#process;
    await until("the daemon is ready", async () => {
      assert.equal(daemon.exitCode, null, readFileSync(this.file("daemon.log"), "utf8"));
      const answer = await this.ask("/readyz", { port: this.ports[0], scheme: "http" }).catch(() => null);
      return answer?.status === 200;
    });
  }

  async stop() {
    const ended = new Promise((resolve) => this.#process.once("exit", resolve));
    this.#process.kill("SIGTERM");
    assert.equal(await ended, 0);
  }

  /** Stops it, and leaves nothing. */
  async end() {
    if (this.#process.exitCode === null) await this.stop();
    rmSync(this.folder, { recursive: true });
  }

  /** Asks the admin listener, unless told otherwise: `{status, headers, text}`. */
  ask(target, { method = "GET", headers = {}, body, port = this.ports[2], token } = {}) {
    return new Promise((resolve, reject) => {
      const shown = token ? { authorization: `Bearer ${token}` } : {};
      const request = http.request({ host: "127.0.0.1", port, path: target, method, agent: false, headers: { ...shown, ...headers } });
      request.once("error", reject);
      request.once("response", (response) => {
        const parts = [];
        response.on("data", (part) => parts.push(part));
        response.once("end", () =>
          resolve({ status: response.statusCode, headers: response.headers, text: Buffer.concat(parts).toString() }));
      });
      request.end(body === undefined ? undefined : JSON.stringify(body));
    });
  }

  /** An act of the caller with all grants, which must succeed. */
  async act(target, body = {}) {
    const headers = { "content-type": "application/json" };
    const answer = await this.ask(target, { method: "POST", headers, body, token: this.token });
    assert.equal(answer.status, 200, answer.text);
    return JSON.parse(answer.text);
  }

  async show(name) {
    const answer = await this.ask(`/v1/keysets/${name}`, { token: this.token });
    assert.equal(answer.status, 200, answer.text);
    return JSON.parse(answer.text);
  }

  async sign(name) {
    const headers = { "content-type": "application/json" };
    const options = { method: "POST", headers, body: { claims: { sub: "123" }, ttl: 60 }, token: this.token };
    const answer = await this.ask(`/v1/keysets/${name}/tokens`, { ...options, port: this.ports[1] });
    assert.equal(answer.status, 200, answer.text);
  }

  /** The audit's lines. */
  audit() {
    const text = readFileSync(this.file("data/audit.jsonl"), "utf8");
    return text.trim().split("\n").map((line) => JSON.parse(line));
  }
}

function newToken() {
  return `jwksd_${randomBytes(32).toString("base64url")}`;
}

function digest(token) {
  return createHash("sha256").update(token).digest("hex");
}

/** Different ones: each is held until all are found. */
async function freePorts(count) {
  const servers = await Promise.all(Array.from({ length: count }, () => new Promise((resolve) => {
    const server = net.createServer();
    server.listen(0, "127.0.0.1", () => resolve(server));
  })));
  const ports = servers.map((server) => server.address().port);
  await Promise.all(servers.map((server) => new Promise((resolve) => server.close(resolve))));
  return ports;
}

/** Waits until something is so. */
export async function until(what, isSo) {
  const end = Date.now() + PATIENCE;
  while (!(await isSo())) {
    if (Date.now() > end) throw new Error(`it never came: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}
