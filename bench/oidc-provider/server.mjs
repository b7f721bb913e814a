// npm's oidc-provider as an issuer of access tokens for services: client_credentials, tokens that are JWTs
// signed with the algorithm that is given, keys and clients in memory. Nothing else is switched on, so that
// it does as little as it can. `node server.mjs ALGORITHM` prints its port when it listens.

import { generateKeyPairSync } from "node:crypto";
import { Provider } from "oidc-provider";

const algorithm = process.argv[2];
const ISSUER = "http://127.0.0.1";
const AUDIENCE = "api.example.com";
const SCOPE = "orders:read orders:write";

const pairs = {
  RS256: () => generateKeyPairSync("rsa", { modulusLength: 2048 }),
  ES256: () => generateKeyPairSync("ec", { namedCurve: "P-256" }),
};
// It wants to have a key with which ID tokens could be signed, RS256, also where none ever is.
const keys = [...new Set([algorithm, "RS256"])].map((alg) => ({
  ...pairs[alg]().privateKey.export({ format: "jwk" }),
  alg,
  use: "sig",
  kid: alg,
}));

const provider = new Provider(ISSUER, {
  jwks: { keys },
  scopes: SCOPE.split(" "),
  clients: [
    {
      client_id: "3f0c9d6e-5b1f-4d0a-9a57-0f5a8b1f6c11",
      client_secret: "not-a-secret",
      grant_types: ["client_credentials"],
      redirect_uris: [],
      response_types: [],
      scope: SCOPE,
    },
  ],
  ttl: { ClientCredentials: 900 },
  features: {
    clientCredentials: { enabled: true },
    devInteractions: { enabled: false },
    resourceIndicators: {
      enabled: true,
      getResourceServerInfo: () => ({
        scope: SCOPE,
        audience: AUDIENCE,
        accessTokenTTL: 900,
        accessTokenFormat: "jwt",
        jwt: { sign: { alg: algorithm } },
      }),
    },
  },
});

const server = provider.listen(0, "127.0.0.1", () => console.log(server.address().port));
server.keepAliveTimeout = 60_000;
