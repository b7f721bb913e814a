// The head of the page: whether the daemon is well, and whether it is there at all.

import { element, keyed, setAttribute, setText } from "./dom.js";
import { clockTime, span, visible } from "./words.js";

export class Standing {
  #status = null;
  #lost = null;
  #updated = null;

  constructor() {
    const by = (id) => document.getElementById(id);
    [this.standing, this.version, this.updated, this.checks] =
      [by("standing"), by("version"), by("updated"), by("checks")];
    this.list = element("ul");
    this.checks.append(this.list);
  }

  /** Takes an answer of `/v1/status`. */
  show(answer) {
    this.#status = answer;
    this.#draw();
  }

  /** An answer came. */
  heard() {
    [this.#lost, this.#updated] = [null, Date.now()];
    this.#draw();
  }

  /** None came, for this reason; the next try is at `again`. */
  lost(reason, again) {
    this.#lost = { since: this.#lost?.since ?? Date.now(), reason, again };
    this.#draw();
  }

  /** What passes with the time. */
  tick() {
    if (this.#lost) {
      const wait = Math.max(0, Math.ceil((this.#lost.again - Date.now()) / 1000));
      setText(this.updated, `since ${clockTime(this.#lost.since)}; next try ${wait === 0 ? "now" : `in ${wait} s`}`);
    } else if (this.#updated) {
      const age = Date.now() - this.#updated;
      setText(this.updated, age < 10_000 ? "live" : `updated ${span(age)} ago`);
    }
  }

  #draw() {
    const [kind, words] = this.#judgement();
    setText(this.standing, words);
    setAttribute(this.standing, "class", `standing ${kind}`);
    document.title = kind === "ready" || kind === "" ? "jwksd" : `jwksd: ${words}`;
    setAttribute(document.body, "data-is-lost", this.#lost !== null);
    setText(this.version, this.#status?.ok ? visible(this.#status.data.version ?? "") : "");
    this.#list();
    this.tick();
  }

  #judgement() {
    if (this.#lost) return ["lost", `connection lost: ${visible(this.#lost.reason)}`];
    if (this.#status === null) return ["", "connecting"];
    if (this.#status.status === 401) return ["lost", "not known here any more: open the page anew"];
    if (!this.#status.ok) return ["", "connected"];
    return this.#status.data.ready ? ["ready", "ready"] : ["unready", "not ready"];
  }

  #list() {
    const found = this.#status?.ok ? findings(this.#status.data) : [];
    const isNews = found.length > 0;
    setAttribute(this.checks, "hidden", !isNews);
    keyed(this.list, found, (one) => JSON.stringify(one), (one) => element("li", { class: one.state },
      element("b", {}, one.state), " ", one.about, one.reason ? `: ${one.reason}` : ""), () => {});
  }
}

/** What is not well: by check, or in the words of a daemon without them. */
function findings(status) {
  if (Array.isArray(status.checks)) {
    return status.checks.filter((check) => check.state !== "ok").map((check) => ({
      state: visible(check.state),
      about: [check.name, check.keyset].filter(Boolean).map(visible).join(" "),
      reason: visible(check.reason ?? ""),
    }));
  }
  const told = (state) => (text) => ({ state, about: visible(text), reason: "" });
  return [...(status.problems ?? []).map(told("failing")), ...(status.warnings ?? []).map(told("warning"))];
}
