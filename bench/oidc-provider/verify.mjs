// Whether a token is a JWT that is signed with the algorithm, by a key of the JWK Set, and in force:
// `node verify.mjs ALGORITHM JWKS_URL TOKEN`, with what Node has on board.

import assert from "node:assert/strict";
import { createPublicKey, verify } from "node:crypto";

const [algorithm, url, token] = process.argv.slice(2);
const json = (part) => JSON.parse(Buffer.from(part, "base64url").toString());

const [protectedHeader, claims, signature, ...rest] = token.split(".");
assert.equal(rest.length, 0);
const header = json(protectedHeader);
assert.equal(header.alg, algorithm);

const { keys } = await (await fetch(url)).json();
const key = keys.find(({ kid }) => kid === header.kid);
const hash = { RS256: "sha256", ES256: "sha256", EdDSA: null }[algorithm];
const good = verify(
  hash,
  Buffer.from(`${protectedHeader}.${claims}`),
  { key: createPublicKey({ key, format: "jwk" }), dsaEncoding: "ieee-p1363" },
  Buffer.from(signature, "base64url"),
);
assert.ok(good, "the signature is wrong");

const { sub, aud, exp, iat, scope } = json(claims);
const now = Date.now() / 1000;
assert.ok(iat <= now + 1 && exp > now);
assert.equal(exp - iat, 900);
assert.ok(sub && aud.includes("api.example.com"));
assert.equal(scope, "orders:read orders:write");
if (algorithm === "RS256") assert.equal(createPublicKey({ key, format: "jwk" }).asymmetricKeyDetails.modulusLength, 2048);
