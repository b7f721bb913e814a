// The lives of the keys of a key set on one time axis: what was left of "now", what comes right of
// it. What is only expected is drawn open, and every phase has a pattern besides its colour.

import { element, setAttribute, setText, svg } from "./dom.js";
import { DAY, instant, relative, span, visible } from "./words.js";

const ROW = 22;
const BAR = 13;
const AXIS = 22;
const END = 10;
const LEAST = 3;
const MOST_ROWS = 14;

const NAMES = { pending: "pending", active: "active", "verify-only": "verify-only" };
const MEANS = {
  pending: "published, does not sign yet",
  active: "signs",
  "verify-only": "only verifies",
};

/**
 * The part of time that is drawn: `{from, until}`. Without `ahead` it reaches to the second rotation
 * to come.
 */
export function extent(keys, now, ahead) {
  const phases = keys.flatMap((key) => key.phases);
  const from = phases.map((phase) => phase.from);
  const rotations = phases
    .filter((phase) => phase.state === "active" && phase.from > now)
    .map((phase) => phase.from)
    .sort((a, b) => a - b);
  const ends = phases.map((phase) => phase.until).filter((until) => until !== null && until > now);
  const furthest = rotations[1] ?? rotations[0] ?? Math.max(now + DAY, ...ends);
  const length = ahead ?? Math.max((furthest - now) * 1.15, 60_000);
  const signs = phases.find((phase) => phase.state === "active" && isAt(phase, now));
  const begin = Math.max(now - length, Math.min(signs?.from ?? now, now - length / 4));
  const earliest = Math.min(now - length / 10, ...from) - length / 50;
  return { from: Math.max(begin - length / 50, earliest), until: now + length };
}

function isAt(phase, now) {
  return phase.from <= now && (phase.until === null || phase.until > now);
}

/** The keys of which something is to be seen in this part of time, and how many more there are. */
export function rows(keys, { from, until }) {
  const ends = (phase) => phase.until ?? until;
  const seen = keys.filter((key) =>
    key.phases.some((phase) => phase.from < until && ends(phase) > from),
  );
  const living = seen.findIndex((key) => ["pending", "active", "verify-only"].includes(key.state));
  const begin = Math.max(0, Math.min(living - 2, seen.length - MOST_ROWS));
  const drawn = seen.slice(begin, begin + MOST_ROWS);
  return { drawn, left: seen.length - drawn.length };
}

/** Instants at which the axis has a mark, at most so many, with what to write there. */
export function ticks({ from, until }, most) {
  const hour = DAY / 24;
  const steps = [
    hour / 60, hour / 12, hour / 6, hour / 4, hour / 2, hour, 3 * hour, 6 * hour, 12 * hour,
    DAY, 2 * DAY, 7 * DAY, 14 * DAY,
  ];
  const step = steps.find((length) => (until - from) / length <= most);
  const marks = step ? even(from, until, step) : months(from, until, most);
  const isInDays = !step || step >= DAY;
  return marks.map((at) => ({ at, text: isInDays ? day(at, step) : hourOf(at) }));
}

function even(from, until, step) {
  // Weeks begin on a Monday; the epoch was a Thursday.
  const base = step >= 7 * DAY ? 4 * DAY : 0;
  const marks = [];
  for (let at = Math.ceil((from - base) / step) * step + base; at < until; at += step) marks.push(at);
  return marks;
}

function months(from, until, most) {
  const apart = Math.max(1, Math.ceil((until - from) / (30 * DAY) / most));
  const first = new Date(from);
  const marks = [];
  for (let month = first.getUTCMonth() + 1; ; month += apart) {
    const at = Date.UTC(first.getUTCFullYear(), month, 1);
    if (at >= until) return marks;
    marks.push(at);
  }
}

const MONTHS = ["Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec"];

function day(at, step) {
  const date = new Date(at);
  const month = MONTHS[date.getUTCMonth()];
  if (step) return `${date.getUTCDate()} ${month}`;
  return date.getUTCMonth() === 0 ? String(date.getUTCFullYear()) : month;
}

function hourOf(at) {
  const text = instant(at);
  return text.endsWith("00:00") ? day(at, DAY) : text.slice(11, 16);
}

/** What a key is called where there is little room. */
export function keyName(key) {
  return key.kid === null ? `key ${key.number}, not made yet` : `key ${key.number}, ${visible(key.kid)}`;
}

/** A phase in words. */
export function phaseInWords(key, phase, now) {
  const end = phase.until === null
    ? "with no end planned"
    : `until ${instant(phase.until)} (${relative(phase.until, now)})`;
  const expected = phase.expected ? ", expected" : "";
  return `${keyName(key)}: ${MEANS[phase.state]} from ${instant(phase.from)} (${relative(phase.from, now)}) ${end}${expected}`;
}

/** The picture of one key set, and the line below it that says what is pointed at. */
export class Timeline {
  constructor() {
    this.readout = element("p", { class: "readout" });
    this.picture = svg("svg", { class: "timeline", role: "group" });
    this.node = element("div", { class: "timeline-box" }, this.picture, this.readout);
    this.rest = "";
    this.picture.addEventListener("keydown", (event) => this.#move(event));
    for (const name of ["focusin", "pointerover"]) {
      this.picture.addEventListener(name, (event) => this.#say(event.target));
    }
    for (const name of ["focusout", "pointerleave"]) {
      this.picture.addEventListener(name, () => this.#say(document.activeElement));
    }
  }

  /** Draws `keyset` into so many pixels. `rest` is said while nothing is pointed at. */
  draw(keyset, now, ahead, width, rest) {
    this.rest = rest;
    if (width <= 0) return;
    const focused = this.picture.contains(document.activeElement)
      ? document.activeElement.dataset.id
      : null;
    const part = extent(keyset.keys, now, ahead);
    const { drawn, left } = rows(keyset.keys, part);
    const gutter = width < 520 ? 44 : 132;
    const room = width - gutter - END;
    const x = (time) =>
      gutter + (room * (Math.min(Math.max(time, part.from), part.until) - part.from)) / (part.until - part.from);
    const height = drawn.length * ROW + AXIS;
    this.names = new Map();
    const parts = [axis(part, x, x(now), height, room)];
    drawn.forEach((key, row) => {
      const top = row * ROW;
      parts.push(label(key, top, width < 520));
      for (const phase of key.phases) {
        if (phase.from < part.until && (phase.until ?? part.until) > part.from) {
          parts.push(this.#bar(key, phase, now, x, top, part));
        }
      }
    });
    parts.push(nowLine(x(now), height));
    setAttribute(this.picture, "viewBox", `0 0 ${width} ${height}`);
    setAttribute(this.picture, "width", width);
    setAttribute(this.picture, "height", height);
    setAttribute(this.picture, "aria-label", summary(keyset, part));
    this.picture.replaceChildren(...parts);
    this.left = left;
    const bars = this.#bars();
    const kept = bars.find((bar) => bar.dataset.id === (focused ?? this.last)) ?? bars[0];
    if (kept) kept.tabIndex = 0;
    if (focused && kept) kept.focus({ preventScroll: true });
    this.#say(document.activeElement);
  }

  #bar(key, phase, now, x, top, part) {
    const [left, right] = [x(phase.from), x(phase.until ?? part.until)];
    const wide = Math.max(right - left, LEAST);
    const box = { x: left, y: top + (ROW - BAR) / 2, width: wide, height: BAR, rx: 2 };
    const id = `${key.number} ${phase.state} ${phase.from}`;
    const text = phaseInWords(key, phase, now);
    this.names.set(id, text);
    const kind = `phase ${NAMES[phase.state] ?? "other"}${phase.expected ? " expected" : ""}`;
    const bar = svg("g", { class: kind, role: "img", "aria-label": text, tabindex: -1, "data-id": id });
    bar.append(svg("rect", { ...box, class: "fill" }));
    if (phase.expected) bar.append(svg("rect", { ...box, class: "hatch" }));
    bar.append(svg("rect", { ...box, class: "edge" }));
    if (wide > 11 + 6.2 * phase.state.length) {
      bar.append(svg("text", { x: Math.max(left, x(part.from)) + 6, y: top + ROW / 2 + 3.5 }, phase.state));
    }
    return bar;
  }

  #bars() {
    return [...this.picture.querySelectorAll(".phase")];
  }

  #move(event) {
    const bars = this.#bars();
    const at = bars.indexOf(document.activeElement);
    if (at < 0) return;
    const number = (bar) => bar.dataset.id.split(" ")[0];
    const otherRow = (step) => {
      let next = at;
      while (bars[next] && number(bars[next]) === number(bars[at])) next += step;
      return next;
    };
    const to = {
      ArrowRight: () => at + 1,
      ArrowLeft: () => at - 1,
      ArrowDown: () => otherRow(1),
      ArrowUp: () => otherRow(-1),
      Home: () => 0,
      End: () => bars.length - 1,
    }[event.key]?.();
    if (to === undefined) return;
    event.preventDefault();
    if (!bars[to]) return;
    bars[at].tabIndex = -1;
    bars[to].tabIndex = 0;
    bars[to].focus();
  }

  #say(target) {
    const bar = target?.closest?.(".phase");
    const isOurs = bar && this.picture.contains(bar);
    if (isOurs && bar === document.activeElement) this.last = bar.dataset.id;
    setText(this.readout, (isOurs && this.names?.get(bar.dataset.id)) || this.rest);
    setAttribute(this.readout, "data-is-pointed-at", Boolean(isOurs));
  }
}

function summary(keyset, part) {
  return `Timeline of ${visible(keyset.name)}, ${span(part.until - part.from)} from ${instant(part.from)}. ` +
    "Arrow keys go from phase to phase; the table below has the same.";
}

function axis(part, x, taken, height, room) {
  const group = svg("g", { class: "axis", "aria-hidden": "true" });
  const base = height - AXIS + 2;
  group.append(svg("line", { x1: x(part.from), x2: x(part.until), y1: base, y2: base }));
  for (const { at, text } of ticks(part, Math.max(2, Math.floor(room / 74)))) {
    group.append(svg("line", { x1: x(at), x2: x(at), y1: 0, y2: base + 4 }));
    const isFree = Math.abs(x(at) - taken) > 34 && x(at) < x(part.until) - 12 && x(at) > x(part.from) + 12;
    if (isFree) {
      group.append(svg("text", { x: x(at), y: height - 5, "text-anchor": "middle" }, text));
    }
  }
  return group;
}

function nowLine(at, height) {
  const bottom = height - AXIS + 2;
  return svg("g", { class: "now", "aria-hidden": "true" },
    svg("line", { x1: at, x2: at, y1: 0, y2: bottom + 6 }),
    svg("text", { x: at, y: height - 5, "text-anchor": "middle" }, "now"));
}

function label(key, top, isShort) {
  const y = top + ROW / 2 + 3.5;
  const number = svg("text", { x: 0, y, class: "number", "aria-hidden": "true" }, `#${key.number}`);
  if (isShort) return number;
  const kid = key.kid === null ? "not made yet" : visible(key.kid);
  const cut = kid.length > 12 ? `${kid.slice(0, 11)}\u2026` : kid;
  const name = svg("text", { x: 34, y, class: key.kid === null ? "to-come" : "kid" }, cut);
  return svg("g", { "aria-hidden": "true" }, number, name);
}

/** What the patterns mean; and the patterns themselves, which all pictures of the page use. */
export function legend() {
  const sample = (kind, text) => {
    const box = { x: 0.5, y: 0.5, width: 27, height: 11, rx: 2 };
    const bar = svg("g", { class: `phase ${kind}` }, svg("rect", { ...box, class: "fill" }));
    if (kind.includes("expected")) bar.append(svg("rect", { ...box, class: "hatch" }));
    bar.append(svg("rect", { ...box, class: "edge" }));
    const picture = svg("svg", { width: 28, height: 12, viewBox: "0 0 28 12", "aria-hidden": "true" }, bar);
    return element("li", {}, picture, text);
  };
  return [
    patterns(),
    element("ul", { "aria-label": "Legend" },
      sample("pending", "pending: published, does not sign yet"),
      sample("active", "active: signs"),
      sample("verify-only", "verify-only"),
      sample("active expected", "expected")),
  ];
}

function patterns() {
  const pattern = (id, size, turned, ...marks) => svg("pattern", {
    id, width: size, height: size, patternUnits: "userSpaceOnUse", patternTransform: turned && `rotate(${turned})`,
  }, ...marks);
  const all = svg("defs", {},
    pattern("stripes", 6, 45,
      svg("rect", { width: 6, height: 6, class: "under" }),
      svg("rect", { width: 2, height: 6, class: "mark" })),
    pattern("dots", 5, null,
      svg("rect", { width: 5, height: 5, class: "under" }),
      svg("circle", { cx: 2.5, cy: 2.5, r: 1, class: "mark" })),
    pattern("hatching", 5, -45, svg("rect", { width: 1.5, height: 5, class: "gap" })));
  return svg("svg", { class: "patterns", width: 0, height: 0, "aria-hidden": "true" }, all);
}
