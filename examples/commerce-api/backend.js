// The backend of a shop: users who are logged in get their tokens for the commerce API here.

import { STATUS_CODES } from 'node:http';
import express from 'express';
import { signToken } from './jwksd.js';
import { login, requireSession } from './session.js';

// The environment is a setting of this process. No request can choose another key set, and so
// another issuer or audience.
const { COMMERCE_ENV, PORT = '3000' } = process.env;
if (!['staging', 'production'].includes(COMMERCE_ENV)) {
  throw new Error('set COMMERCE_ENV to staging or production');
}

const backend = express();
backend.disable('x-powered-by');

backend.post('/login', express.json(), login);

backend.post('/commerce-token', requireSession, async (request, response) => {
  const { token, expires_at } = await signToken(COMMERCE_ENV, { sub: request.user }, '30m');
  response.set('Cache-Control', 'no-store').json({ token, expires_at });
});

backend.use((error, request, response, next) => {
  const status = error.status ?? 503; // jwksd is away, or refuses: why is for the log alone
  if (status >= 500) console.error(error.message);
  response.status(status).json({ error: STATUS_CODES[status] });
});

const server = backend.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});
