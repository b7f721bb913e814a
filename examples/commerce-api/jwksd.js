// Has jwksd sign, over its Unix socket. The kernel tells it who asks: there is no secret here.

import { once } from 'node:events';
import { request } from 'node:http';
import { json } from 'node:stream/consumers';

const socketPath = process.env.JWKSD_SOCKET ?? 'data/sign.sock';

export async function signToken(keyset, claims, ttl) {
  const call = request({
    socketPath,
    agent: false, // a connection of its own: a kept one could be closed just now
    method: 'POST',
    path: `/v1/keysets/${keyset}/tokens`,
    headers: { 'Content-Type': 'application/json' },
    signal: AbortSignal.timeout(5_000),
  });
  call.end(JSON.stringify({ claims, ttl }));
  const [response] = await once(call, 'response');
  const answer = await json(response);
  if (response.statusCode !== 200) {
    throw new Error(`jwksd: ${answer.code}, request ${answer.request_id}`);
  }
  return answer;
}
