// STAND-IN for the login and the sessions that your shop already has: one user, sessions in memory.

import { createHash, randomBytes, timingSafeEqual } from 'node:crypto';

const { DEMO_PASSWORD, COMMERCE_ENV } = process.env;
if (!DEMO_PASSWORD) throw new Error('set DEMO_PASSWORD, the password of the demo user alice');

const sessions = new Map();

export function login(request, response) {
  const { user, password } = request.body ?? {};
  if (user !== 'alice' || !same(String(password), DEMO_PASSWORD)) {
    return response.status(401).json({ error: 'wrong user or password' });
  }
  const session = randomBytes(32).toString('base64url');
  sessions.set(session, user);
  const secure = COMMERCE_ENV === 'production';
  response
    .cookie('session', session, { httpOnly: true, sameSite: 'strict', secure })
    .sendStatus(204);
}

export function requireSession(request, response, next) {
  const session = /(?:^|; )session=([\w-]+)/.exec(request.headers.cookie ?? '')?.[1];
  request.user = sessions.get(session);
  if (!request.user) return response.status(401).json({ error: 'log in first' });
  next();
}

function same(one, other) {
  const digest = (text) => createHash('sha256').update(text).digest();
  return timingSafeEqual(digest(one), digest(other));
}
