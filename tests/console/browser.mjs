// A browser, and a page of the console on which nothing may go wrong unseen.

import assert from "node:assert/strict";
import { accessSync, constants } from "node:fs";
import path from "node:path";
import { chromium } from "playwright-core";

import { PATIENCE } from "./daemon.mjs";

const OPTIONS = [
  "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
  "--disable-component-update", "--disable-sync",
];

/** A chromium. `more` are further options of its command line. */
export function launch(...more) {
  return chromium.launch({ executablePath: executable(), args: [...OPTIONS, ...more] });
}

function executable() {
  if (process.env.CHROMIUM) return process.env.CHROMIUM;
  const found = process.env.PATH.split(":").map((folder) => path.join(folder, "chromium")).find((file) => {
    try {
      accessSync(file, constants.X_OK);
      return true;
    } catch {
      return false;
    }
  });
  assert.ok(found, "no chromium on the PATH: install Debian's package of that name, or set CHROMIUM");
  return found;
}

/**
 * A page in a context of its own, with what went wrong on it: errors, and what its policy refused.
 */
export async function newPage(browser, options = {}) {
  const context = await browser.newContext({ viewport: { width: 1440, height: 900 }, ...options });
  const page = await context.newPage();
  page.setDefaultTimeout(PATIENCE);
  page.wrong = [];
  page.on("pageerror", (error) => page.wrong.push(`error: ${error.message}`));
  page.on("console", (message) => {
    const isOfNetwork = /Failed to load resource|net::ERR/.test(message.text());
    if (message.type() === "error" && !isOfNetwork) page.wrong.push(message.text());
  });
  await page.exposeFunction("tellViolation", (text) => page.wrong.push(`policy: ${text}`));
  await page.addInitScript(() => {
    document.addEventListener("securitypolicyviolation", (event) =>
      window.tellViolation(`${event.effectiveDirective} ${event.blockedURI} ${event.sample}`));
  });
  return page;
}

/** The console, as the caller with this token sees it. */
export async function openConsole(browser, daemon, { token = daemon.token, ...options } = {}) {
  const httpCredentials = { username: "anyone", password: token };
  const page = await newPage(browser, { httpCredentials, ...options });
  await page.goto(`${daemon.url}/console/`);
  await page.locator(".set .keys li").first().waitFor();
  return page;
}

/** Nothing went wrong on the page. */
export async function isClean(page) {
  assert.deepEqual(page.wrong, []);
  assert.equal(await page.evaluate(() => window.hit), undefined, "a text ran as a script");
  await page.context().close();
}

/** The part of the page about a key set. */
export function setOf(page, name) {
  return page.locator(".set", { has: page.locator("h3", { hasText: new RegExp(`^${name}$`) }) });
}
