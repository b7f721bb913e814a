// The console in a browser, on a real daemon.

import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync } from "node:fs";
import http from "node:http";
import { createRequire } from "node:module";
import path from "node:path";
import test, { after, before, describe } from "node:test";

import { isClean, launch, newPage, openConsole, setOf } from "./browser.mjs";
import { BINARY, Daemon, HOSTILE_NAME, PICTURES, until } from "./daemon.mjs";

const AXE = readFileSync(createRequire(import.meta.url).resolve("axe-core/axe.min.js"), "utf8");

/** Markup, quotes, directions, and what is no character of a text. */
const HOSTILE = `<img src=x onerror=window.hit=1><script>window.hit=1</script>"'\`\${window.hit=1}</title>\u202e\u0000\u001b[2J`;

let daemon;
let browser;

before(async () => {
  mkdirSync(PICTURES, { recursive: true });
  // A name of someone else leads to this machine, as after DNS rebinding.
  daemon = await Daemon.start();
  browser = await launch("--host-resolver-rules=MAP evil.example 127.0.0.1");
});

after(async () => {
  await browser?.close();
  await daemon?.end();
});

/** What the daemon answers to a request that the page makes. */
async function answerTo(route) {
  const { pathname, search } = new URL(route.request().url());
  return JSON.parse((await daemon.ask(pathname + search, { token: daemon.token })).text);
}

/** Rotates without the wait; returns which key signed before, and which does since. */
async function rotate(name) {
  const { active } = await daemon.show(name);
  const { to } = await daemon.act(`/v1/keysets/${name}/rotate`, { expect_active: active, now: true });
  // The next standby is made by then.
  await until("the standby is there", async () => (await daemon.show(name)).standby);
  return { from: active, to };
}

test("a rotation shows by itself, and takes neither the focus nor the selection", async () => {
  const page = await openConsole(browser, daemon);
  const quick = setOf(page, "quick");
  const { active } = await daemon.show("quick");
  await quick.locator(".facts code", { hasText: active }).waitFor();
  await page.evaluate(() => (window.isTheSamePage = true));
  await page.getByLabel("Search").fill("quick");
  await page.evaluate(() => getSelection().selectAllChildren(document.querySelector(".set h3")));
  const bar = quick.locator('.phase[tabindex="0"]');
  await bar.focus();
  const focused = await bar.getAttribute("data-id");

  const { from, to } = await rotate("quick");
  await quick.locator(".facts code", { hasText: to }).waitFor();
  const ended = quick.locator(".keys li", { hasText: from }).first();
  await ended.locator(".state", { hasText: "verify-only" }).waitFor();
  const commands = await ended.locator(".commands code").allTextContents();
  assert.equal(commands[0], `jwksd keys retire quick ${from}`);
  await page.locator("#audit li", { hasText: "rotate" }).first().waitFor();

  const left = await page.evaluate(() => ({
    isTheSamePage: window.isTheSamePage,
    search: document.getElementById("search").value,
    selected: String(getSelection()),
    focused: document.activeElement.dataset.id,
  }));
  assert.deepEqual(left, { isTheSamePage: true, search: "quick", selected: "quick", focused });
  await isClean(page);
});

test("kids, callers and reasons of others are texts, and a command from the page means what it says", async () => {
  const pem = execFileSync("openssl", ["genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256"], { encoding: "utf8" });
  const page = await openConsole(browser, daemon);
  // An import makes way for nothing that was exported, and this kid is an option besides.
  await daemon.act("/v1/keysets/quick/import", { key: pem, kid: "--all" });
  const item = setOf(page, "quick").locator(".keys li", { has: page.locator("code.kid", { hasText: /^--all$/ }) });
  const command = await item.locator(".commands code").first().textContent();
  assert.equal(command, 'jwksd keys revoke --reason "..." -- quick --all');

  const reason = "<img src=x onerror=window.hit=1>\u202e'";
  const tools = daemon.file("bin");
  mkdirSync(tools);
  symlinkSync(BINARY, path.join(tools, "jwksd"));
  const { active } = await daemon.show("quick");
  const typed = command.replace('"..."', '"$REASON"');
  execFileSync("/bin/sh", ["-c", typed], {
    env: { PATH: tools, REASON: reason, JWKSD_SERVER: `unix:${daemon.file("data/admin.sock")}` },
    stdio: "pipe",
  });
  const { keys, active: since } = await daemon.show("quick");
  assert.equal(since, active, "another key was revoked than the command says");
  assert.equal(keys.find((key) => key.kid === "--all").state, "revoked");

  const shown = "<img src=x onerror=window.hit=1>\u2039U+202E\u203a'";
  // Its first key, the two that were replaced, and the standby.
  await setOf(page, "quick").locator("details summary", { hasText: /^4 keys, as a table$/ }).click();
  await setOf(page, "quick").locator("td", { hasText: shown }).waitFor();
  await page.locator("#audit q", { hasText: shown }).first().waitFor();
  await page.locator("#audit li", { hasText: `by ${HOSTILE_NAME}` }).first().waitFor();
  assert.equal(await page.locator("main img, aside img, main script").count(), 0);
  await isClean(page);
});

// These change nothing that another looks at.
describe("to look at", { concurrency: 3 }, () => {
  test("tokens show as a rate", async () => {
    const page = await openConsole(browser, daemon);
    const rate = setOf(page, "default").locator(".rate", { hasText: /^[0-9.,<]+\/s · / });
    let isSeen = false;
    const seen = rate.filter({ hasNotText: /^0\// }).waitFor().then(() => (isSeen = true));
    await until("a rate above 0", async () => {
      await daemon.sign("default");
      return isSeen;
    });
    await seen;
    await isClean(page);
  });

  test("who fetched what shows", async () => {
    const agent = "evil/1 <img src=x onerror=window.hit=1>";
    const fetched = await daemon.ask("/.well-known/jwks.json", { port: daemon.ports[0], headers: { "user-agent": agent } });
    assert.equal(fetched.status, 200);
    const page = await openConsole(browser, daemon);
    const fetchers = setOf(page, "default").locator("details").nth(1);
    await fetchers.locator("summary", { hasText: "1 fetcher, 1 up to date" }).click();
    await fetchers.locator("td", { hasText: agent }).waitFor();
    await isClean(page);
  });

  test("whatever text the daemon may send is a text", async () => {
    const page = await newPage(browser, { httpCredentials: { username: "x", password: daemon.token } });
    const keep = new Set(["state", "from", "until", "at", "now", "since", "last", "time"]);
    const poison = (value, name) => {
      if (Array.isArray(value)) return value.map((one) => poison(one, name));
      if (value && typeof value === "object") {
        return Object.fromEntries(Object.entries(value).map(([name, one]) => [name, poison(one, name)]));
      }
      return typeof value === "string" && !keep.has(name) ? value + HOSTILE : value;
    };
    await page.route("**/v1/**", async (route) => {
      const answer = poison(await answerTo(route));
      for (const keyset of answer.keysets ?? []) keyset.notes?.push(HOSTILE);
      await route.fulfill({ json: answer });
    });
    await page.goto(`${daemon.url}/console/`);
    await page.locator(".set .keys li").first().waitFor();
    await page.locator("#audit li").first().waitFor();
    for (const summary of await page.locator("summary").all()) if (await summary.isVisible()) await summary.click();
    await page.getByLabel("every line").check();
    await page.locator("td", { hasText: "onerror" }).first().waitFor();
    const elements = await page.evaluate(() => [...document.body.querySelectorAll("*")].map((one) => one.localName));
    for (const never of ["img", "script", "title", "iframe", "style"]) assert.ok(!elements.includes(never), never);
    const text = await page.evaluate(() => document.body.innerText);
    assert.ok(text.includes("\u2039U+202E\u203a") && !/[\u202e\u001b]/.test(text));
    await isClean(page);
  });

  test("what would run is refused by the policy, and the tests see it", async () => {
    const page = await openConsole(browser, daemon);
    const isAssigned = await page.evaluate(() => {
      const script = document.createElement("script");
      script.append("window.hit = 1");
      document.body.append(script);
      try {
        document.body.firstElementChild.innerHTML = "<b>x</b>";
        return true;
      } catch {
        return false;
      }
    });
    assert.equal(isAssigned, false);
    await until("the policy tells", () => page.wrong.length >= 2);
    assert.equal(await page.evaluate(() => window.hit), undefined);
    await page.context().close();
  });

  test("nobody unknown sees anything", async () => {
    for (const target of ["/", "/console/", "/console/console.js", "/v1/plan"]) {
      const answer = await daemon.ask(target);
      assert.equal(answer.status, 401, target);
      assert.ok(!answer.text.includes("<"), target);
    }
    for (const httpCredentials of [undefined, { username: "x", password: "jwksd_wrong" }]) {
      const page = await newPage(browser, { httpCredentials });
      // Chromium has a page for a refused password, or shows the answer.
      const told = await page.goto(`${daemon.url}/console/`).then((answer) => String(answer.status()), (error) => error.message);
      assert.match(told, /^401$|ERR_INVALID_AUTH_CREDENTIALS/);
      assert.equal(await page.locator("main").count(), 0);
      await page.context().close();
    }
  });

  test("a browser remembers the password that it was told, for all that the page asks", async () => {
    const page = await newPage(browser);
    const statuses = new Set();
    page.on("response", (response) => statuses.add(response.status()));
    await page.goto(`${daemon.url.replace("://", `://x:${daemon.token}@`)}/`);
    await page.locator(".set .keys li").first().waitFor();
    assert.equal(new URL(page.url()).pathname, "/console/");
    await until("the audit is shown", () => page.locator("#audit li").count());
    await isClean(page);
  });

  test("a page of another site gets nothing done and sees nothing", async (context) => {
    // What the page of the other site itself is answered with.
    const OWN = 203;
    const server = http.createServer((_, answer) => {
      answer.writeHead(OWN, { "content-type": "text/html" });
      answer.end("<!doctype html><title>evil</title><iframe name=there></iframe>");
    });
    await new Promise((resolve) => server.listen(0, "127.0.0.1", resolve));
    context.after(() => server.closeAllConnections() ?? server.close());
    const page = await newPage(browser, { httpCredentials: { username: "x", password: daemon.token } });
    // The browser knows the password from here on.
    await page.goto(`${daemon.url}/console/`);
    await page.locator(".set .keys li").first().waitFor();
    const before = await daemon.show("default");
    // The browser withholds the answers from the page; below that, it tells which they were.
    const wire = await page.context().newCDPSession(page);
    await wire.send("Network.enable");
    let statuses = [];
    wire.on("Network.responseReceivedExtraInfo", ({ statusCode }) => statuses.push(statusCode));
    page.on("response", (response) => {
      if (response.frame() !== page.mainFrame()) statuses.push(response.status());
    });
    for (const host of ["127.0.0.1", "localhost", "evil.example"]) {
      statuses = [];
      await page.goto(`http://${host}:${server.address().port}/`);
      const read = await page.evaluate(async ({ url, body }) => {
        const ask = (target, options) => fetch(url + target, { credentials: "include", ...options }).then(
          (answer) => answer.type, () => "failed");
        const form = document.createElement("form");
        Object.assign(form, { action: `${url}/v1/reload`, method: "post", target: "there" });
        document.body.append(form);
        form.submit();
        const picture = new Image();
        const isShown = new Promise((resolve) => {
          picture.onload = () => resolve("shown");
          picture.onerror = () => resolve("not shown");
        });
        picture.src = `${url}/console/icon.svg`;
        return Promise.all([
          ask("/v1/plan", {}),
          ask("/v1/keysets/default/rotate", { method: "POST", mode: "no-cors", body }),
          isShown,
        ]);
      }, { url: daemon.url, body: JSON.stringify({ expect_active: before.active, now: true }) });
      assert.deepEqual(read, ["failed", "failed", "not shown"], host);
      await until("all was answered", () => statuses.filter((status) => status !== OWN).length >= 3);
      assert.deepEqual([...new Set(statuses)].sort(), [OWN, 403], host);
    }
    assert.deepEqual(await daemon.show("default"), before);
    assert.ok(!daemon.audit().some((line) => line.action === "reload"));
    // The same from the page itself: a remembered password changes nothing either.
    await page.goto(`${daemon.url}/console/`);
    const status = await page.evaluate(() => fetch("/v1/reload", { method: "POST" }).then((answer) => answer.status));
    assert.equal(status, 401);
    await page.context().close();
  });

  test("a name that is made to lead here gets nothing", async () => {
    const page = await newPage(browser, { httpCredentials: { username: "x", password: daemon.token } });
    const answer = await page.goto(`http://evil.example:${daemon.ports[2]}/console/`);
    assert.equal(answer.status(), 421);
    assert.equal(JSON.parse(await answer.text()).code, "wrong_host");
    await page.context().close();
  });

  test("whoever may only read sees key sets, and why there is no more", async () => {
    const page = await openConsole(browser, daemon, { token: daemon.readerToken });
    await page.locator("#standing", { hasText: /^connected$/ }).waitFor();
    await page.locator("#audit-notice", { hasText: "operate" }).waitFor();
    assert.equal(await page.locator("#audit li").count(), 0);
    assert.equal(await setOf(page, "default").locator(".phase").count() > 2, true);
    await isClean(page);
  });

  test("what the daemon does not have is left out", async () => {
    const page = await newPage(browser, { httpCredentials: { username: "x", password: daemon.token } });
    await page.route(/\/v1\/(signatures|fetchers|audit|status)/, (route) =>
      route.fulfill({ status: 404, json: { status: 404, code: "not_found", title: "nothing is here", detail: "" } }));
    await page.goto(`${daemon.url}/console/`);
    await setOf(page, "default").locator(".phase").first().waitFor();
    await page.locator("#audit-notice", { hasText: "does not show it" }).waitFor();
    await isClean(page);
  });

  test("Tab reaches every control, and arrow keys every phase", async () => {
    const page = await openConsole(browser, daemon);
    await page.getByLabel("Search").fill("default");
    await setOf(page, "quick").waitFor({ state: "detached" });
    const reach = () => page.evaluate(() => {
      const all = document.querySelectorAll('a[href], button, input, select, summary, [tabindex="0"]');
      const isSeen = (node) => node.checkVisibility() && !node.closest("details:not([open]) > :not(summary)");
      [...all].forEach((node, index) => (node.reachable = index));
      return [...all].filter(isSeen).map((node) => node.reachable);
    });
    const wanted = await reach();
    assert.ok(wanted.length >= 10, `${wanted}`);
    await page.evaluate(() => document.activeElement.blur());
    const reached = new Set();
    for (let step = 0; step < wanted.length + 20; step += 1) {
      await page.keyboard.press("Tab");
      reached.add(await page.evaluate(() => document.activeElement.reachable));
    }
    assert.deepEqual(wanted.filter((one) => !reached.has(one)), []);

    const set = setOf(page, "default");
    await set.locator('.phase[tabindex="0"]').focus();
    const readout = set.locator(".readout");
    const said = new Set([await readout.textContent()]);
    const phases = await set.locator(".phase").count();
    for (let step = 1; step < phases; step += 1) {
      await page.keyboard.press("ArrowRight");
      said.add(await readout.textContent());
    }
    assert.equal(said.size, phases);
    assert.ok([...said].every((text) => /^key \d+.*(signs|published|verifies)/.test(text)), [...said].join("\n"));
    await page.keyboard.press("Home");
    assert.equal(await readout.textContent(), [...said].find((text) => text.startsWith("key 0")));
    await isClean(page);
  });

  for (const colorScheme of ["light", "dark"]) {
    for (const [width, height] of [[1440, 900], [375, 812]]) {
      test(`it is readable at ${width} pixels in ${colorScheme}`, async () => {
        const page = await openConsole(browser, daemon, { colorScheme, viewport: { width, height } });
        await page.locator("#audit li").first().waitFor();
        for (const summary of await page.locator("summary").all()) if (await summary.isVisible()) await summary.click();
        await page.locator("tbody tr").first().waitFor();
        const widths = await page.evaluate(() => [document.documentElement.scrollWidth, innerWidth]);
        assert.ok(widths[0] <= widths[1], `${widths}`);
        await page.screenshot({ path: path.join(PICTURES, `${colorScheme}-${width}.png`), fullPage: true });
        const { violations } = await page.evaluate(`${AXE}; axe.run()`);
        const told = violations.map(({ id, nodes }) => `${id}: ${nodes.map((node) => node.html).join(" ")}`);
        assert.deepEqual(told, []);
        await isClean(page);
      });
    }
  }

  test("a thousand key sets are shown as they come near, and found", async () => {
    const page = await newPage(browser, { httpCredentials: { username: "x", password: daemon.token } });
    await page.route("**/v1/plan*", async (route) => {
      const answer = await answerTo(route);
      const [model] = answer.keysets;
      answer.keysets = Array.from({ length: 1000 }, (_, index) => ({ ...model, name: `tenant-${index}` }));
      await route.fulfill({ json: answer });
    });
    await page.goto(`${daemon.url}/console/`);
    await page.locator(".set .phase").first().waitFor();
    assert.equal(await page.locator(".set").count(), 1000);
    const drawn = await page.locator(".set .timeline").count();
    assert.ok(drawn < 50, `${drawn} timelines are drawn`);
    await page.locator(".set").nth(990).scrollIntoViewIfNeeded();
    await page.locator(".set").nth(990).locator(".phase").first().waitFor();
    await page.getByLabel("Search").fill("tenant-777");
    await page.locator("#count", { hasText: "1 of 1000" }).waitFor();
    await setOf(page, "tenant-777").locator(".phase").first().waitFor();
    await isClean(page);
  });

  test("it asks while someone looks, and not in a tab that nobody sees", async () => {
    const page = await newPage(browser, { httpCredentials: { username: "x", password: daemon.token } });
    await page.clock.install();
    await page.goto(`${daemon.url}/console/`);
    await page.locator(".set .keys li").first().waitFor();
    let asked = 0;
    page.on("request", () => (asked += 1));
    await page.clock.runFor(10_000);
    await until("it asks again", () => asked > 0);
    const see = (isHidden) => page.evaluate((isHidden) => {
      Object.defineProperty(document, "hidden", { configurable: true, get: () => isHidden });
      document.dispatchEvent(new Event("visibilitychange"));
    }, isHidden);
    await see(true);
    // What was under way comes to its end.
    await page.clock.runFor(10_000);
    await page.waitForLoadState("networkidle");
    asked = 0;
    await page.clock.runFor(60_000);
    assert.equal(asked, 0);
    await see(false);
    await page.clock.runFor(100);
    await until("it asks again", () => asked > 0);
    await isClean(page);
  });

  test("over TLS a client certificate is enough", async (context) => {
    const secured = await Daemon.start({ tls: true });
    context.after(() => secured.end());
    const [certPath, keyPath] = ["pki/admin.pem", "pki/admin.key"].map((name) => secured.file(name));
    const page = await newPage(browser, {
      ignoreHTTPSErrors: true,
      clientCertificates: [{ origin: secured.url, certPath, keyPath }],
    });
    await page.goto(`${secured.url}/`);
    await page.locator(".set .keys li").first().waitFor();
    await page.locator("#standing", { hasText: /^ready$/ }).waitFor();
    await until("the audit knows who looked", () =>
      secured.audit().some((line) => line.caller === "admin" && line.action === "status"));
    await isClean(page);
  });
});

test("a daemon that is gone is told, and its return too", async () => {
  const page = await openConsole(browser, daemon);
  await page.locator("#standing", { hasText: /^ready$/ }).waitFor();
  await daemon.stop();
  await page.locator("#standing", { hasText: "connection lost" }).waitFor();
  await page.locator("#updated", { hasText: "next try" }).waitFor();
  assert.match(await page.title(), /connection lost/);
  assert.equal(await setOf(page, "default").count(), 1, "what was known stays");
  await daemon.serve();
  await page.locator("#standing", { hasText: /^ready$/ }).waitFor();
  await isClean(page);
});
