// An API with a public and a protected route. From jwksd it takes public keys, and nothing else.

import express from 'express';
import { expressjwt, UnauthorizedError } from 'express-jwt';
import jwksRsa from 'jwks-rsa';

const {
  JWKS_URI = 'http://127.0.0.1:8080/jwks.json',
  ISSUER = 'https://auth.example.com',
  AUDIENCE = 'api.example.com',
  PORT = '3000',
} = process.env;

const requireToken = expressjwt({
  algorithms: ['RS256'],
  issuer: ISSUER,
  audience: AUDIENCE,
  secret: jwksRsa.expressJwtSecret({
    jwksUri: JWKS_URI,
    timeout: 5_000,
    cache: true,
    cacheMaxAge: 10 * 60_000, // no longer than verifier_cache in jwksd.toml
    rateLimit: true, // an unknown kid causes a fetch
    jwksRequestsPerMinute: 10,
    handleSigningKeyError,
  }),
});

const api = express();
api.disable('x-powered-by');

api.get('/', (request, response) => response.json({ hello: 'everyone' }));
api.get('/me', requireToken, (request, response) => response.json({ sub: request.auth.sub }));

api.use((error, request, response, next) => {
  const status = error.status ?? 500;
  if (status === 401) response.set('WWW-Authenticate', challenge(error));
  if (status === 503) response.set('Retry-After', '60');
  if (status >= 500) console.error(error.message);
  response.status(status).json({ error: status < 500 ? error.message : 'try again later' });
});

const server = api.listen(Number(PORT), '127.0.0.1', (error) => {
  if (error) throw error;
  console.log(`listening on http://127.0.0.1:${server.address().port}`);
});

// A kid that jwksd does not publish: no good token, 401. Where the JWK Set cannot be had, because
// jwksd is away or there were too many fetches, there is no telling: 503, so that nobody throws a
// good token away.
function handleSigningKeyError(error, done) {
  if (error.name === 'SigningKeyNotFoundError') {
    done(new UnauthorizedError('invalid_token', { message: 'unknown kid' }));
  } else {
    done(Object.assign(error, { status: 503 }));
  }
}

function challenge(error) {
  return error.code === 'invalid_token' ? 'Bearer error="invalid_token"' : 'Bearer';
}
