// A Node service that checks tokens with jose and one long-lived remote JWK Set.
// Arguments: JWK Set URL, issuer, audience, algorithm. One token a line in, one JSON verdict a line out.

import { createInterface } from 'node:readline';
import { createRemoteJWKSet, jwtVerify } from 'jose';

const [jwksUri, issuer, audience, algorithm] = process.argv.slice(2);
const keys = createRemoteJWKSet(new URL(jwksUri));

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
