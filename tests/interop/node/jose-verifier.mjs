// A Node service that checks tokens with jose and one JWK Set: a long-lived remote one, or a file.
// Arguments: JWK Set URL, issuer, audience, algorithm. One token a line in, one JSON verdict a line out.

import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import { createLocalJWKSet, createRemoteJWKSet, jwtVerify } from 'jose';

const [jwksUri, issuer, audience, algorithm] = process.argv.slice(2);
const url = new URL(jwksUri);
const keys = url.protocol === 'file:'
  ? createLocalJWKSet(JSON.parse(readFileSync(url)))
  : createRemoteJWKSet(url);

for await (const token of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await verdict(token)));
}

async function verdict(token) {
  try {
    await jwtVerify(token, keys, { algorithms: [algorithm], issuer, audience });
    return { accepted: true, reason: '' };
  } catch (error) {
    return { accepted: false, reason: `${error.code ?? error.name}: ${error.message}` };
  }
}
