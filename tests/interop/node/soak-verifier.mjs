// A Node service of tests/soak that checks tokens of several issuers, by jose or by jwks-rsa and jsonwebtoken.
// Arguments: the library; JSON with the `jwks_uri`, `issuer`, `audience`, `algorithm` of each key set, and `keep`, the
// seconds for which it keeps the JWK Set, or null for the library's default. One token a line in, as JSON, one verdict
// a line out.

import { createInterface } from 'node:readline';
import { createRemoteJWKSet, jwtVerify } from 'jose';
import jsonwebtoken from 'jsonwebtoken';
import jwksRsa from 'jwks-rsa';

const libraries = {
  jose({ jwks_uri, issuer, audience, algorithm, keep }) {
    const options = keep === null ? {} : { cacheMaxAge: keep * 1000 };
    const keys = createRemoteJWKSet(new URL(jwks_uri), options);
    return (token) => jwtVerify(token, keys, { algorithms: [algorithm], issuer, audience });
  },

  'jwks-rsa'({ jwks_uri, issuer, audience, algorithm, keep }) {
    // As its documentation has it, but for a set whose keys come more often than its limiter lets it fetch.
    const limits = keep === null ? { rateLimit: true } : { cacheMaxAge: keep * 1000 };
    const client = jwksRsa({ cache: true, jwksUri: jwks_uri, ...limits });
    const key = (header, found) => {
      client.getSigningKey(header.kid).then((of) => found(null, of.getPublicKey()), found);
    };
    return (token) => new Promise((resolve, reject) => {
      const done = (error, claims) => (error ? reject(error) : resolve(claims));
      jsonwebtoken.verify(token, key, { algorithms: [algorithm], issuer, audience }, done);
    });
  },
};

const [library, sets] = process.argv.slice(2);
const verify = Object.fromEntries(
  Object.entries(JSON.parse(sets)).map(([name, settings]) => [name, libraries[library](settings)]),
);

for await (const line of createInterface({ input: process.stdin })) {
  const { id, keyset, token } = JSON.parse(line);
  console.log(JSON.stringify({ id, ...(await verdict(keyset, token)), at: Date.now() / 1000 }));
}

async function verdict(keyset, token) {
  try {
    await verify[keyset](token);
    return { accepted: true, reason: '' };
  } catch (error) {
    return { accepted: false, reason: `${error.code ?? error.name}: ${error.message} ${error.cause ?? ''}` };
  }
}
