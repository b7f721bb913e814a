// PURE: what `/v1/plan` answers, with times as numbers, and what can be said of it.

import { instant, relative, visible } from "./words.js";

const LIVING = ["active", "pending", "verify-only"];

const HAPPENS = {
  activate: "activates",
  publish: "is published",
  end: "stops to sign",
  retire: "leaves the JWK Set",
  leave: "leaves the JWK Set",
  revoke: "is revoked",
};

/** The answer with instants in milliseconds. `text` of a key set differs when anything of it does. */
export function read(answer) {
  return { now: Date.parse(answer.now), keysets: (answer.keysets ?? []).map(readKeyset) };
}

function readKeyset(keyset) {
  const time = (text) => (text == null ? null : Date.parse(text));
  const keys = (keyset.keys ?? []).map((key) => ({
    ...key,
    phases: (key.phases ?? []).map((phase) => ({
      ...phase,
      from: time(phase.from),
      until: time(phase.until),
    })),
  }));
  const events = (keyset.events ?? []).map((event) => ({ ...event, at: time(event.at) }));
  return { ...keyset, keys, events, notes: keyset.notes ?? [], text: JSON.stringify(keyset) };
}

/** The keys that are in the JWK Set: what signs, what will, and what only verifies. */
export function living(keyset) {
  const rank = (key) => LIVING.indexOf(key.state);
  const keys = keyset.keys.filter((key) => key.kid !== null && rank(key) >= 0);
  return keys.sort((a, b) => rank(a) - rank(b) || b.number - a.number);
}

/** The algorithm that a key set signs with, or will. */
export function algorithm(keyset) {
  const key = keyset.keys.find((key) => key.kid !== null && key.kid === keyset.active);
  return (key ?? keyset.keys.at(-1))?.algorithm ?? "";
}

/** What happens next, in words. */
export function next(keyset, now) {
  const kinds = Object.keys(HAPPENS);
  const coming = keyset.events.filter((event) => event.at > now);
  coming.sort((a, b) => a.at - b.at || kinds.indexOf(a.event) - kinds.indexOf(b.event));
  if (coming.length === 0) return "nothing is planned";
  const [event] = coming;
  const what = HAPPENS[event.event] ?? visible(event.event);
  return `key ${event.number} ${what} ${relative(event.at, now)}, ${instant(event.at)}`;
}

/** What a living key does, in words. */
export function standing(key, now) {
  const at = (state) => key.phases.find((phase) => phase.state === state);
  const [active, end] = [at("active"), key.phases.at(-1)?.until ?? null];
  const when = (time) => `${relative(time, now)}, ${instant(time)}`;
  const words = { active: signsSince, pending: signsFrom, "verify-only": verifies }[key.state]();
  return key.origin === "generated" ? words : `${visible(key.origin)}; ${words}`;

  function signsSince() {
    const since = active ? `signs since ${instant(active.from)}` : "signs";
    return active?.until ? `${since}; ends ${when(active.until)}` : `${since}; no end is planned`;
  }
  function signsFrom() {
    return active ? `activates ${when(active.from)}` : "is published; no activation is planned";
  }
  function verifies() {
    return end === null ? "only verifies" : `only verifies; leaves ${when(end)}`;
  }
}

/** A row of the table of all keys: what became or becomes of a key when. */
export function row(keyset, key) {
  const begin = (state) => {
    const phase = key.phases.find((phase) => phase.state === state);
    if (!phase) return "";
    return instant(phase.from) + (phase.expected ? " expected" : "");
  };
  const last = key.phases.at(-1);
  const hasLeft = key.state === "retired" || key.state === "revoked";
  const leaves = hasLeft || last?.state === "verify-only" ? last?.until : null;
  const revoked = keyset.events.find((event) => event.number === key.number && event.event === "revoke");
  return [
    String(key.number),
    key.kid === null ? "not made yet" : visible(key.kid),
    visible(key.state),
    visible(key.algorithm),
    visible(key.origin),
    begin("pending"),
    begin("active"),
    begin("verify-only"),
    leaves ? instant(leaves) : "",
    visible(revoked?.reason ?? ""),
  ];
}

export const COLUMNS = [
  "No.", "kid", "State", "Algorithm", "Origin", "Published", "Signs from", "Verifies from", "Leaves",
  "Revoked because",
];

/** Whether a key set is meant by what was typed into the search. */
export function matches(keyset, wanted) {
  const has = (text) => text.toLowerCase().includes(wanted);
  return wanted === "" || has(keyset.name) || keyset.keys.some((key) => key.kid !== null && has(key.kid));
}

