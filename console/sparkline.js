// How many signatures a second a key set makes, from running totals, and a small picture of it.

import { setAttribute, svg } from "./dom.js";

const MOST = 40;
const WIDTH = 84;
const HEIGHT = 18;

/** The last rates of one key set. */
export class Rates {
  #last = null;
  #since = null;
  rates = [];
  total = null;

  /** Takes a total of signatures that was read at `at`, in milliseconds. `since` is when it was 0. */
  take(total, since, at) {
    const last = this.#last;
    // The daemon was started anew, and counts from 0.
    const isComparable = last !== null && since === this.#since && total >= last.total && at > last.at;
    if (isComparable) {
      this.rates.push(((total - last.total) * 1000) / (at - last.at));
      this.rates = this.rates.slice(-MOST);
    }
    [this.#last, this.#since, this.total] = [{ total, at }, since, total];
  }

  /** Signatures a second between the last two looks. */
  get now() {
    return this.rates.at(-1) ?? null;
  }
}

/** A picture of rates that stays the same node. */
export function sparkline() {
  const line = svg("polyline", { fill: "none" });
  return svg("svg", { class: "sparkline", width: WIDTH, height: HEIGHT, viewBox: `0 0 ${WIDTH} ${HEIGHT}`, "aria-hidden": "true" }, line);
}

/** Draws rates, the newest at the right end. */
export function drawSparkline(picture, rates) {
  const most = Math.max(...rates, 1e-9);
  const step = WIDTH / (MOST - 1);
  const first = MOST - rates.length;
  const y = (rate) => HEIGHT - 1.5 - ((HEIGHT - 3) * rate) / most;
  const points = rates.map((rate, index) => `${((first + index) * step).toFixed(1)},${y(rate).toFixed(1)}`);
  setAttribute(picture.firstElementChild, "points", points.join(" "));
}
