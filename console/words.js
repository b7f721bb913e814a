// PURE: times and texts in words.

const SECOND = 1000;
const MINUTE = 60 * SECOND;
const HOUR = 60 * MINUTE;
export const DAY = 24 * HOUR;

/**
 * The text of someone else with nothing in it that cannot be seen or that turns what follows around
 * (control characters, directions, zero widths): such a character is shown by its number.
 */
export function visible(text) {
  return String(text).replace(
    /[\p{Cc}\p{Cf}\p{Co}\p{Cs}\p{Zl}\p{Zp}\u115f\u1160\u3164\uffa0]/gu,
    (character) => `\u2039U+${character.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}\u203a`,
  );
}

/** A length of time in its largest two units, such as `3 days 4 h`; under 10 s it is `moments`. */
export function span(milliseconds) {
  const length = Math.abs(milliseconds);
  if (length < 10 * SECOND) return "moments";
  if (length < MINUTE) return `${Math.floor(length / SECOND)} s`;
  if (length < 2 * HOUR) return `${Math.floor(length / MINUTE)} min`;
  if (length < DAY) return both(length, HOUR, "h", MINUTE, "min");
  const days = Math.floor(length / DAY);
  if (days >= 10) return `${days} days`;
  return both(length, DAY, days === 1 ? "day" : "days", HOUR, "h");
}

function both(length, large, largeName, small, smallName) {
  const rest = Math.floor((length % large) / small);
  const first = `${Math.floor(length / large)} ${largeName}`;
  return rest === 0 ? first : `${first} ${rest} ${smallName}`;
}

/** `in 3 days` or `3 days ago`. */
export function relative(time, now) {
  return time > now ? `in ${span(time - now)}` : `${span(now - time)} ago`;
}

/** `2026-12-01 03:00`, with seconds where there are some. */
export function instant(time) {
  const text = new Date(time).toISOString();
  const seconds = text.slice(16, 19);
  return `${text.slice(0, 10)} ${text.slice(11, 16)}${seconds === ":00" ? "" : seconds}`;
}

/** `03:00:07`. */
export function clockTime(time) {
  return new Date(time).toISOString().slice(11, 19);
}

/** A number of things: `1 key`, `2 keys`. */
export function count(number, name) {
  return `${number.toLocaleString("en")} ${name}${number === 1 ? "" : "s"}`;
}

/** Signatures in a second: `0`, `0.4`, `12`, `3,400`. */
export function rate(perSecond) {
  if (perSecond === 0) return "0";
  if (perSecond < 0.1) return "<0.1";
  return perSecond < 10
    ? (Math.round(perSecond * 10) / 10).toString()
    : Math.round(perSecond).toLocaleString("en");
}
