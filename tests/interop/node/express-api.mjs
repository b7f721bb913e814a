// An Express API with one route that express-jwt protects, with keys from jwks-rsa.
// Arguments: JWK Set URL, issuer, audience, algorithm. Prints its port, and ends with its standard input.

import express from 'express';
import { expressjwt } from 'express-jwt';
import jwksRsa from 'jwks-rsa';

const [jwksUri, issuer, audience, algorithm] = process.argv.slice(2);

const requireToken = expressjwt({
  secret: jwksRsa.expressJwtSecret({ cache: true, rateLimit: true, jwksUri }),
  algorithms: [algorithm],
  issuer,
  audience,
});

const api = express();
api.get('/protected', requireToken, (request, response) => response.json({ sub: request.auth.sub }));
api.use((error, request, response, next) => {
  response.status(error.status ?? 500).json({ reason: `${error.code ?? error.name}: ${error.message}` });
});

const server = api.listen(0, '127.0.0.1', () => console.log(server.address().port));
process.stdin.resume().on('end', () => process.exit());
