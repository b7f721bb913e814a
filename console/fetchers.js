// Who has fetched which version of a JWK Set.

import { element, keyed, setAttribute, setText } from "./dom.js";
import { count, instant, relative, visible } from "./words.js";

const MOST = 200;

const HAS = {
  current: "all keys",
  "without-active": "not the key that signs",
  "without-standby": "not the standby",
  older: "an older set",
};

const COLUMNS = ["Who", "User agent", "Last fetch", "Fetches", "Has"];

/** The fetchers of one key set; their table is made when it is opened. */
export class Fetchers {
  constructor(keyset) {
    this.summary = element("summary");
    this.body = element("tbody");
    const head = element("tr", {}, ...COLUMNS.map((name) => element("th", { scope: "col" }, name)));
    const table = element("table", {}, element("thead", {}, head), this.body);
    this.rest = element("p", { class: "muted" });
    this.box = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": `Fetchers of ${keyset}` }, table);
    this.node = element("details", { hidden: "" }, this.summary, this.box, this.rest);
    this.node.addEventListener("toggle", () => this.#fill());
  }

  /** Shows what is known of this key set; nothing where nothing is. */
  show(known, now) {
    setAttribute(this.node, "hidden", !known);
    if (!known) return;
    [this.known, this.now] = [known, now];
    setText(this.summary, inWords(known));
    setAttribute(this.summary, "data-lacks", known.without_active > 0 || known.without_standby > 0);
    this.#fill();
  }

  #fill() {
    if (!this.node.open || !this.known) return;
    const all = this.known.fetchers ?? [];
    keyed(this.body, all.slice(0, MOST), (one) => JSON.stringify([one.who, one.user_agent]), newRow, (row, one) => {
      setText(row.children[2], relative(Date.parse(one.last), this.now));
      setAttribute(row.children[2], "title", instant(Date.parse(one.last)));
      setText(row.children[3], Number(one.fetches).toLocaleString("en"));
      setText(row.children[4], HAS[one.has] ?? visible(one.has));
    });
    setAttribute(this.box, "hidden", all.length === 0);
    const left = all.length - MOST;
    const more = left > 0 ? `${count(left, "further fetcher")} not shown. ` : "";
    const forgotten = this.known.forgotten > 0 ? `${count(this.known.forgotten, "fetcher")} forgotten for want of room.` : "";
    setText(this.rest, more + forgotten);
  }
}

function newRow(one) {
  const cell = (text, kind) => element("td", { class: kind }, text);
  return element("tr", {}, cell(visible(one.who), null), cell(visible(one.user_agent ?? ""), "text"),
    ...["", "", ""].map((text) => cell(text, null)));
}

function inWords(known) {
  if (known.known === 0) return "No fetchers known";
  const lacks = [
    [known.without_active, "without the key that signs"],
    [known.without_standby, "without the standby"],
  ];
  const told = lacks.filter(([number]) => number > 0).map(([number, what]) => `, ${number.toLocaleString("en")} ${what}`);
  return `${count(known.known, "fetcher")}, ${known.current.toLocaleString("en")} up to date${told.join("")}`;
}
