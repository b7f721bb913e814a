// A Node service that holds keys as files and checks tokens with jose.
// Arguments: issuer, audience, algorithm, files: a PEM, a certificate or a JWK. One token a line in, one JSON verdict
// a line out.

import { readFileSync } from 'node:fs';
import { extname } from 'node:path';
import { createInterface } from 'node:readline';
import { importJWK, importSPKI, importX509, jwtVerify } from 'jose';

const [issuer, audience, algorithm, ...files] = process.argv.slice(2);
const readers = {
  '.pem': (text) => importSPKI(text, algorithm),
  '.crt': (text) => importX509(text, algorithm),
  '.jwk': (text) => importJWK(JSON.parse(text)),
};
const keys = await Promise.all(files.map((file) => readers[extname(file)](readFileSync(file, 'utf8'))));

for await (const token of createInterface({ input: process.stdin })) {
  console.log(JSON.stringify(await verdict(token)));
}

async function verdict(token) {
  let reason = '';
  for (const key of keys) {
    try {
      await jwtVerify(token, key, { algorithms: [algorithm], issuer, audience });
      return { accepted: true, reason: '' };
    } catch (error) {
      reason = `${error.code ?? error.name}: ${error.message}`;
    }
  }
  return { accepted: false, reason };
}
