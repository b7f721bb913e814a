// One key set: what signs, what comes, its timeline, its keys with their commands, its fetchers.

import { copyButton } from "./copy.js";
import { element, keyed, setAttribute, setText } from "./dom.js";
import { Fetchers } from "./fetchers.js";
import * as plan from "./plan.js";
import * as shell from "./shell.js";
import { drawSparkline, sparkline } from "./sparkline.js";
import { Timeline } from "./timeline.js";
import { count, rate, visible } from "./words.js";

/** A key set on the page. Before it is first near the screen, it is little more than its name. */
export class Card {
  #parts = null;
  #drawn = {};

  constructor(name) {
    this.title = element("h3", {}, visible(name));
    this.node = element("article", { class: "set", "aria-label": `Key set ${visible(name)}` }, this.title);
    this.isNear = false;
  }

  /** Shows what is known: `{keyset, now, ahead, rates, fetchers}`. Does nothing far from the screen. */
  show(known) {
    this.known = known;
    if (!this.isNear) return;
    this.#parts ??= this.#built();
    const { keyset, now, rates, fetchers } = known;
    const parts = this.#parts;
    setText(parts.algorithm, visible(plan.algorithm(keyset)));
    showRates(parts, rates);
    setText(parts.active, keyset.active === null ? "no key signs" : visible(keyset.active));
    setText(parts.next, plan.next(keyset, now));
    keyed(parts.notes, keyset.notes, (note) => note, (note) => element("li", {}, visible(note)), () => {});
    this.#draw();
    keyed(parts.keys, plan.living(keyset), (key) => key.kid, (key) => keyItem(keyset, key), (item, key) => showKey(item, key, now));
    parts.table.show(keyset);
    parts.fetchers.show(fetchers, now);
  }

  /** Draws the timeline where it has changed by more than a pixel. */
  #draw() {
    const { keyset, now, ahead } = this.known;
    const width = Math.floor(this.#parts.timeline.node.clientWidth);
    const drawn = this.#drawn;
    const isSame = drawn.text === keyset.text && drawn.ahead === ahead && drawn.width === width;
    if (isSame && now - drawn.now < drawn.patience) return;
    this.#parts.timeline.draw(keyset, now, ahead, width, "");
    const left = this.#parts.timeline.left;
    setText(this.#parts.left, left > 0 ? `${count(left, "further key")} in the table` : "");
    this.#drawn = { text: keyset.text, ahead, width, now, patience: 10_000 };
  }

  #built() {
    const text = (name, kind) => element(name, { class: kind });
    const parts = {
      algorithm: text("span", "algorithm muted"),
      spark: sparkline(),
      rate: text("span", "rate"),
      active: text("code", "kid"),
      next: text("span", "next"),
      notes: text("ul", "notes"),
      timeline: new Timeline(),
      left: text("p", "muted left"),
      keys: text("ul", "keys"),
      table: new Table(),
      fetchers: new Fetchers(visible(this.known.keyset.name)),
    };
    const head = element("div", { class: "head" }, this.title, parts.algorithm,
      element("span", { class: "signing" }, parts.spark, parts.rate));
    const facts = element("dl", { class: "facts" },
      element("div", {}, element("dt", {}, "signs"), element("dd", {}, parts.active)),
      element("div", {}, element("dt", {}, "next"), element("dd", {}, parts.next)));
    this.node.append(head, facts, parts.notes, parts.timeline.node, parts.left, parts.keys,
      parts.table.node, parts.fetchers.node);
    return parts;
  }
}

function showRates(parts, rates) {
  setAttribute(parts.spark, "hidden", !rates || rates.rates.length === 0);
  if (!rates || rates.total === null) {
    setText(parts.rate, "");
    return;
  }
  drawSparkline(parts.spark, rates.rates);
  const total = `${rates.total.toLocaleString("en")} signed`;
  setText(parts.rate, rates.now === null ? total : `${rate(rates.now)}/s \u00b7 ${total}`);
}

function keyItem(keyset, key) {
  const item = element("li", {},
    element("div", { class: "key" },
      element("span", { class: "state" }), element("code", { class: "kid" }, visible(key.kid)),
      element("span", { class: "muted standing" })),
    element("ul", { class: "commands" }));
  item.keyset = keyset.name;
  return item;
}

function showKey(item, key, now) {
  const [state, , standing] = item.firstElementChild.children;
  setText(state, visible(key.state));
  setAttribute(state, "class", `state ${key.state}`);
  setText(standing, plan.standing(key, now));
  keyed(item.lastElementChild, commands(item.keyset, key), ([, command]) => command, commandItem, () => {});
}

/** What can be done with a key, each with its name. */
function commands(keyset, key) {
  const revoke = ["revoke", shell.revoke(keyset, key.kid)];
  if (key.state === "active") return [["rotate", shell.rotate(keyset, key.kid)], revoke];
  if (key.state === "verify-only") return [["retire", shell.retire(keyset, key.kid)], revoke];
  return [revoke];
}

function commandItem([name, command]) {
  const code = element("code", { tabindex: 0, "aria-label": `Command to ${name}` }, visible(command));
  return element("li", {}, code, copyButton(code, command, `the command to ${name}`));
}

/** All keys of the set, past ones too. */
class Table {
  #text = null;

  constructor() {
    this.summary = element("summary");
    this.box = element("div", { class: "scroll" });
    this.node = element("details", {}, this.summary, this.box);
    this.node.addEventListener("toggle", () => this.#fill());
  }

  show(keyset) {
    this.keyset = keyset;
    const made = keyset.keys.filter((key) => key.kid !== null).length;
    const expected = keyset.keys.length - made;
    setText(this.summary, `${count(made, "key")}${expected ? ` and ${expected} to come` : ""}, as a table`);
    this.#fill();
  }

  #fill() {
    if (!this.node.open || this.#text === this.keyset.text) return;
    this.#text = this.keyset.text;
    const head = element("tr", {}, ...plan.COLUMNS.map((name) => element("th", { scope: "col" }, name)));
    const rows = this.keyset.keys.map((key) =>
      element("tr", {}, ...plan.row(this.keyset, key).map(cell)));
    setAttribute(this.box, "tabindex", 0);
    setAttribute(this.box, "role", "region");
    setAttribute(this.box, "aria-label", `Keys of ${visible(this.keyset.name)}`);
    this.box.replaceChildren(element("table", {}, element("thead", {}, head), element("tbody", {}, ...rows)));
  }
}

function cell(text, column) {
  return element("td", { class: column === plan.COLUMNS.length - 1 ? "text" : null }, text);
}
