// Who has fetched which version of a JWK Set.

import { element, keyed, setAttribute, setText } from "./dom.js";
import { count, instant, relative, visible } from "./words.js";

const MOST = 200;

const HAS = {
  current: "the current set",
  "without-standby": "not the standby",
  older: "an older set",
};

const COLUMNS = ["Who", "User agent", "Last fetch", "Fetches", "Has"];

/** The fetchers of one key set; their table is made when it is opened. */
export class Fetchers {
  constructor() {
    this.summary = element("summary");
    this.body = element("tbody");
    const head = element("tr", {}, ...COLUMNS.map((name) => element("th", { scope: "col" }, name)));
    const table = element("table", {}, element("thead", {}, head), this.body);
    this.rest = element("p", { class: "muted" });
    this.box = element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Fetchers" }, table);
    this.node = element("details", { hidden: "" }, this.summary, this.box, this.rest);
    this.node.addEventListener("toggle", () => this.#fill());
  }

  /** Shows what is known of this key set; nothing where nothing is. */
  show(known, now) {
    setAttribute(this.node, "hidden", !known);
    if (!known) return;
    [this.known, this.now] = [known, now];
    setText(this.summary, inWords(known));
    setAttribute(this.summary, "data-lacks", known.without_standby > 0);
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
    const left = all.length - MOST;
    const more = left > 0 ? `${count(left, "further fetcher")} not shown. ` : "";
    const forgotten = this.known.forgotten > 0 ? `${count(this.known.forgotten, "fetcher")} forgotten for want of room.` : "";
    setText(this.rest, more + forgotten);
  }
}

function newRow(one) {
  const texts = [visible(one.who), visible(one.user_agent ?? ""), "", "", ""];
  return element("tr", {}, ...texts.map((text) => element("td", {}, text)));
}

function inWords({ known, current, without_standby: without, standby }) {
  if (known === 0) return "No fetchers known";
  const lacks = standby === null || standby === undefined ? "" : `, ${without.toLocaleString("en")} without the standby`;
  return `${count(known, "fetcher")}: ${current.toLocaleString("en")} with the current set${lacks}`;
}
