// What the shop's page does: a token in memory, a Bearer until it is refused; then one more try.

export function commerceClient(commerceUrl) {
  let token;

  return async function commerce(path) {
    token ??= await freshToken();
    const answer = await get(path);
    if (answer.status !== 401) return answer;
    token = await freshToken();
    return get(path);
  };

  function get(path) {
    return fetch(new URL(path, commerceUrl), { headers: { Authorization: `Bearer ${token}` } });
  }
}

async function freshToken() {
  const answer = await fetch('/commerce-token', { method: 'POST' });
  if (!answer.ok) throw new Error(`no token for the commerce API: ${answer.status}`);
  return (await answer.json()).token;
}
