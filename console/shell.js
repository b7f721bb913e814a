// PURE: commands for a POSIX shell. A kid or a key set may look like an option, `--all` is a possible
// kid, and must not be taken for one.

/** One word of a command, as the shell has to read it. */
export function quoted(word) {
  if (/^[A-Za-z0-9._/:@%+=,-]+$/.test(word)) return word;
  return `'${word.replaceAll("'", "'\\''")}'`;
}

/** Lets the standby of a key set sign, if this key still does. */
export function rotate(keyset, active) {
  const joint = active.startsWith("-") ? "=" : " ";
  return command("rotate", [keyset], `--expect-active${joint}${quoted(active)}`);
}

/** Takes a key out at once. Whoever runs it writes the reason. */
export function revoke(keyset, kid) {
  return command("revoke", [keyset, kid], '--reason "..."');
}

/** Takes a key that only verifies out before its time. */
export function retire(keyset, kid) {
  return command("retire", [keyset, kid]);
}

function command(verb, names, ...options) {
  const words = names.map(quoted);
  const isLikeAnOption = names.some((name) => name.startsWith("-"));
  const rest = isLikeAnOption ? [...options, "--", ...words] : [...words, ...options];
  return ["jwksd", "keys", verb, ...rest].join(" ");
}
