// Asks the admin API. Whoever looks at the page is known to the daemon by what the browser shows.

const PATIENCE = 10_000;

/** No answer came, or one that means that the daemon cannot answer now. */
export class NoAnswer extends Error {}

/**
 * What a path answers: `{ok, data}`, or `{ok, status, detail}` where the daemon refuses.
 *
 * @throws {NoAnswer}
 */
export async function ask(path) {
  let response;
  let data;
  try {
    // Not relative to the page: its address may have a name and a password in it.
    response = await fetch(new URL(path, location.origin), { signal: AbortSignal.timeout(PATIENCE), cache: "no-store" });
    data = await response.json();
  } catch (error) {
    if (response && !response.ok && response.status < 500) return refused(response.status, {});
    throw new NoAnswer(error.name === "TimeoutError" ? "it does not answer" : "nobody answers");
  }
  if (response.ok) return { ok: true, data };
  if (response.status >= 500 || response.status === 429) {
    throw new NoAnswer(typeof data.title === "string" ? data.title : `status ${response.status}`);
  }
  return refused(response.status, data);
}

function refused(status, problem) {
  return { ok: false, status, detail: typeof problem.detail === "string" ? problem.detail : "" };
}
