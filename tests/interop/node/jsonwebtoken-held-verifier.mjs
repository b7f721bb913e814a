// A Node service that holds keys as files and checks tokens with jsonwebtoken.
// Arguments: issuer, audience, algorithm, files: a PEM, a certificate or a JWK. One token a line in, one JSON verdict
// a line out.

import { createPublicKey } from 'node:crypto';
import { readFileSync } from 'node:fs';
import { createInterface } from 'node:readline';
import jwt from 'jsonwebtoken';

const [issuer, audience, algorithm, ...files] = process.argv.slice(2);
const keys = files.map((file) => {
  const text = readFileSync(file, 'utf8');
  return file.endsWith('.jwk') ? createPublicKey({ key: JSON.parse(text), format: 'jwk' }) : text;
});

for await (const token of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(verdict(token)));
}

function verdict(token) {
  let reason = '';
  for (const key of keys) {
    try {
      jwt.verify(token, key, { algorithms: [algorithm], issuer, audience });
      return { accepted: true, reason: '' };
    } catch (error) {
      reason = `${error.name}: ${error.message}`;
    }
  }
  return { accepted: false, reason };
}
