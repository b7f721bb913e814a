// The commands of the console, as a shell reads them.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import test from "node:test";

import { quoted, retire, revoke, rotate } from "../../console/shell.js";

/** The words that a shell makes of a command, its name left out. */
function words(command) {
  const script = `jwksd() { printf '%s\\0' "$@"; }\n${command}`;
  return execFileSync("sh", ["-c", script], { encoding: "utf8", env: { HOME: "/home/me", A: "b" } }).split("\0").slice(0, -1);
}

const ODD = [
  "a", "-", "--", "--all", "--now", "-rf", "~root", "~", "a~b", ".", "..", "a b", "a'b", "''", "'", "\"", "\\",
  "$A", "$(id)", "`id`", "a;id", "a&id", "a|id", "a>b", "*", "?", "[a]", "{a,b}", "#a", "!!", "a\nb", "\n", "\t",
  "ü\u202e", "=", "A=b", "a=~", "%s", "-n", "",
];

test("a word is the same word after the shell has read it", () => {
  for (const word of ODD) assert.deepEqual(words(`jwksd ${quoted(word)}`), [word]);
});

test("what looks like an option is none: before `--` there are only options that are meant", () => {
  for (const kid of ODD.filter((word) => word !== "")) {
    for (const keyset of ["default", "--all", "-"]) {
      const isOdd = kid.startsWith("-") || keyset.startsWith("-");
      const reason = ["--reason", "..."];
      assert.deepEqual(words(revoke(keyset, kid)), isOdd
        ? ["keys", "revoke", ...reason, "--", keyset, kid]
        : ["keys", "revoke", keyset, kid, ...reason]);
      assert.deepEqual(words(retire(keyset, kid)), ["keys", "retire", ...(isOdd ? ["--"] : []), keyset, kid]);
      const expected = kid.startsWith("-") ? [`--expect-active=${kid}`] : ["--expect-active", kid];
      const isOddSet = keyset.startsWith("-");
      assert.deepEqual(words(rotate(keyset, kid)), isOddSet
        ? ["keys", "rotate", ...expected, "--", keyset]
        : ["keys", "rotate", keyset, ...expected]);
    }
  }
});

test("commands are as one would write them", () => {
  assert.equal(rotate("default", "k-1"), "jwksd keys rotate default --expect-active k-1");
  assert.equal(revoke("default", "k-1"), 'jwksd keys revoke default k-1 --reason "..."');
  assert.equal(retire("default", "k-1"), "jwksd keys retire default k-1");
  assert.equal(rotate("default", "-k"), "jwksd keys rotate default --expect-active=-k");
  assert.equal(revoke("default", "--all"), 'jwksd keys revoke --reason "..." -- default --all');
  assert.equal(retire("-", "~k"), "jwksd keys retire -- - '~k'");
});
