// The console: asks the daemon again and again while someone looks, and shows what is new in place.

import { ask, NoAnswer } from "./api.js";
import { AuditTail } from "./audit.js";
import { keyed, setAttribute, setText } from "./dom.js";
import { Card } from "./keyset.js";
import * as plan from "./plan.js";
import { Rates } from "./sparkline.js";
import { Standing } from "./standing.js";
import { legend } from "./timeline.js";
import { DAY } from "./words.js";

/** How often is asked while all is well, how seldom at most while nobody answers, and when there is news. */
const TICK = 3000;
const SELDOM = 30_000;
const SOON = 300;

/** What the audit would have a line of each time, or what is large, is asked less often. */
const OFTEN = 0;
const LESS = 10_000;
const REFUSED = 300_000;

/** A plan may take a twentieth of the time, so that 1,000 key sets are asked for more slowly. */
const SHARE = 20;

const node = (id) => document.getElementById(id);

const page = {
  standing: new Standing(),
  audit: new AuditTail(node("audit"), node("audit-notice"), node("with-all")),
  plan: null,
  heardAt: 0,
  rates: new Map(),
  fetchers: new Map(),
  cards: new Map(),
  failures: 0,
  isNews: false,
};

const asks = [
  { path: planPath, pause: OFTEN, due: 0, take: takePlan },
  { path: () => "/v1/signatures", pause: OFTEN, due: 0, take: takeSignatures },
  { path: () => "/v1/status", pause: LESS, due: 0, take: (answer) => page.standing.show(answer) },
  { path: () => "/v1/fetchers", pause: LESS, due: 0, take: takeFetchers },
  { path: () => "/v1/audit?last=500", pause: LESS, due: 0, take: (answer) => page.audit.show(answer) },
];

let timer = null;
let isAsking = false;

/** Asks for what is due, and comes back. */
async function round() {
  timer = null;
  if (document.hidden || isAsking) return;
  isAsking = true;
  try {
    const now = performance.now();
    page.isNews = false;
    await Promise.all(asks.filter((one) => one.due <= now).map(askOne));
    page.failures = 0;
    page.standing.heard();
    if (page.isNews) hasten();
    again(page.isNews ? SOON : TICK);
  } catch (error) {
    if (!(error instanceof NoAnswer)) throw error;
    const pause = Math.min(SELDOM, TICK * 2 ** page.failures);
    page.failures += 1;
    // What happened meanwhile is wanted at once.
    for (const one of asks) one.due = 0;
    page.standing.lost(error.message, Date.now() + pause);
    again(pause);
  } finally {
    isAsking = false;
  }
  show();
}

async function askOne(one) {
  const began = performance.now();
  const answer = await ask(one.path());
  const took = performance.now() - began;
  const pause = answer.ok || answer.status === 401 ? Math.max(one.pause, took * SHARE) : REFUSED;
  one.due = performance.now() + (pause > TICK ? pause : 0);
  one.take(answer);
}

function again(pause) {
  clearTimeout(timer);
  timer = setTimeout(round, pause);
}

/** Lets everything be asked for now. */
function atOnce() {
  for (const one of asks) one.due = 0;
  if (!isAsking) again(0);
}

function planPath() {
  const days = node("ahead").value;
  return days === "" ? "/v1/plan" : `/v1/plan?days=${days}`;
}

function takePlan(answer) {
  const problem = answer.ok ? null : `There is nothing to see: ${answer.detail || `status ${answer.status}`}`;
  setAttribute(node("notice"), "hidden", problem === null);
  setText(node("notice"), problem ?? "");
  if (!answer.ok) return;
  const former = page.plan;
  page.plan = plan.read(answer.data);
  page.heardAt = Date.now();
  page.isNews = former !== null && !isSame(former, page.plan);
}

/** After something has happened to keys, the rest is wanted soon; but not what was refused. */
function hasten() {
  const soon = performance.now() + LESS;
  for (const one of asks) if (one.due <= soon) one.due = 0;
}

function isSame(former, latter) {
  const texts = (of) => of.keysets.map((keyset) => keyset.text);
  return JSON.stringify(texts(former)) === JSON.stringify(texts(latter));
}

function takeSignatures(answer) {
  if (!answer.ok) return;
  const at = performance.now();
  for (const { name, signed } of answer.data.keysets ?? []) {
    if (!page.rates.has(name)) page.rates.set(name, new Rates());
    page.rates.get(name).take(Number(signed), answer.data.since, at);
  }
}

function takeFetchers(answer) {
  if (answer.ok) page.fetchers = new Map((answer.data.keysets ?? []).map((one) => [one.name, one]));
}

/** Time as the daemon has it. */
function now() {
  return page.plan.now + (Date.now() - page.heardAt);
}

/** Shows all that is known. */
function show() {
  if (!page.plan) return;
  const wanted = node("search").value.trim().toLowerCase();
  const all = page.plan.keysets;
  const shown = all.filter((keyset) => plan.matches(keyset, wanted));
  const isAll = shown.length === all.length;
  setText(node("count"), isAll ? String(all.length) : `${shown.length} of ${all.length}`);
  keyed(node("sets"), shown, (keyset) => keyset.name, (keyset) => card(keyset).node, (_, keyset) => card(keyset).show(known(keyset)));
  if (all.length === 0) {
    setAttribute(node("notice"), "hidden", false);
    setText(node("notice"), "No key set is shown to this caller: it takes the action \u201cread\u201d.");
  }
}

function known(keyset) {
  const days = node("ahead").value;
  return {
    keyset,
    now: now(),
    ahead: days === "" ? null : Number(days) * DAY,
    rates: page.rates.get(keyset.name),
    fetchers: page.fetchers.get(keyset.name),
  };
}

function card(keyset) {
  if (!page.cards.has(keyset.name)) {
    const made = new Card(keyset.name);
    made.node.card = made;
    page.cards.set(keyset.name, made);
    nearness.observe(made.node);
    widths.observe(made.node);
  }
  return page.cards.get(keyset.name);
}

/** What is not near the screen is neither made nor drawn. */
const nearness = new IntersectionObserver((entries) => {
  for (const { target, isIntersecting } of entries) {
    target.card.isNear = isIntersecting;
    if (isIntersecting) target.card.show(target.card.known);
  }
}, { rootMargin: "600px 0px" });

const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) if (target.card.isNear) target.card.show(target.card.known);
});

node("legend").append(...legend());
node("search").addEventListener("input", show);
node("ahead").addEventListener("change", atOnce);
document.addEventListener("visibilitychange", () => {
  if (!document.hidden) atOnce();
});
setInterval(() => page.standing.tick(), 1000);
round();
