// The end of the audit, the newest line first.

import { element, keyed, setAttribute, setText } from "./dom.js";
import { clockTime, count, DAY, instant, visible } from "./words.js";

const MOST = 50;

/** What is allowed all the time: tokens, and looks, by this page too. */
const DAILY = new Set([
  "sign-token", "status", "show", "list", "plan", "audit", "audit-tail", "fetchers", "signatures", "incident",
]);

export class AuditTail {
  #lines = [];
  #refusal = null;

  constructor(list, notice, withAll) {
    [this.list, this.notice, this.withAll] = [list, notice, withAll];
    withAll.addEventListener("change", () => this.#draw());
  }

  /** Shows an answer, or why there is none. */
  show(answer) {
    setAttribute(this.withAll.parentElement, "hidden", !answer.ok);
    this.#lines = answer.ok ? (answer.data.lines ?? []) : [];
    this.#refusal = answer.ok ? null : answer.status;
    this.#draw();
  }

  #draw() {
    const isWanted = (line) => this.withAll.checked || !isDaily(line);
    const lines = this.#lines.filter(isWanted).slice(-MOST).reverse();
    keyed(this.list, lines, keyOf, item, () => {});
    setText(this.notice, this.#why(lines));
    setAttribute(this.notice, "hidden", this.notice.textContent === "");
  }

  /** Why there is nothing to see. */
  #why(lines) {
    if (this.#refusal === 403) return "It is shown to callers with the action \u201coperate\u201d.";
    if (this.#refusal !== null) return "This daemon does not show it here.";
    if (lines.length > 0) return "";
    return `The last ${count(this.#lines.length, "line")} tell of tokens, and of who looked.`;
  }
}

/** Also what was about to be committed: the line of its outcome says the same. */
function isDaily(line) {
  const isMark = line.action === "audit-checkpoint";
  return isMark || line.decision === "intent" || (line.decision === "allowed" && DAILY.has(line.action));
}

/** Lines are in a chain, so none is like another. */
function keyOf(line) {
  return String(line.line ?? JSON.stringify(line));
}

function item(line) {
  const text = (value) => (typeof value === "string" ? visible(value) : "");
  const time = Date.parse(line.time);
  const about = [line.keyset, line.kid, line.sub && `sub ${line.sub}`].filter((part) => typeof part === "string");
  const decision = text(line.decision);
  const isUsual = ["allowed", "done", "intent"].includes(decision);
  return element("li", { class: isUsual ? null : "odd" },
    element("time", { datetime: text(line.time), title: Number.isNaN(time) ? null : instant(time) },
      Number.isNaN(time) ? "" : when(time)),
    element("div", {},
      element("b", {}, text(line.action)), " ",
      element("span", { class: "decision" }, decision), " ",
      element("span", { class: "muted" }, `by ${text(line.caller)}`),
      about.length > 0 ? element("code", {}, about.map(visible).join(" ")) : null,
      line.reason ? element("q", {}, text(line.reason)) : null));
}

/** The time; the day too, where it was not today. */
function when(time) {
  const isToday = Date.now() - time < DAY && new Date().getUTCDate() === new Date(time).getUTCDate();
  return isToday ? clockTime(time) : instant(time).slice(5);
}
