// STAND-IN for the commerce API, which others run. Of the shop it knows what was typed into its
// console: an issuer, an audience, and a PEM, or two while keys change.

import { readFileSync } from 'node:fs';
import express from 'express';
import jwt from 'jsonwebtoken';

const { CONSOLE_PEM, CONSOLE_ISSUER, CONSOLE_AUDIENCE, PORT = '3001' } = process.env;
if (!CONSOLE_PEM || !CONSOLE_ISSUER || !CONSOLE_AUDIENCE) {
  throw new Error('set CONSOLE_PEM, CONSOLE_ISSUER and CONSOLE_AUDIENCE');
}

const expected = { algorithms: ['RS256'], issuer: CONSOLE_ISSUER, audience: CONSOLE_AUDIENCE };

const commerce = express();
commerce.disable('x-powered-by');

commerce.get('/orders', (request, response) => {
  const token = /^Bearer (\S+)$/i.exec(request.headers.authorization ?? '')?.[1];
  const claims = token && claimsOf(token);
  if (!claims) {
    return response.status(401).set('WWW-Authenticate', 'Bearer').json({ error: 'no good token' });
  }
  response.json({ customer: claims.sub, orders: [] });
});

const server = commerce.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

function claimsOf(token) {
  for (const pem of consolePems()) {
    try {
      return jwt.verify(token, pem, expected);
    } catch {
      // The other PEM may be the one.
    }
  }
}

function consolePems() {
  const pem = /-----BEGIN PUBLIC KEY-----[^-]+-----END PUBLIC KEY-----/g;
  return readFileSync(CONSOLE_PEM, 'utf8').match(pem) ?? [];
}
