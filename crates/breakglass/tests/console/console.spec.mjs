// The console in a real Chromium, on a phone and at a desk, over the real server with a scripted
// agent. Started by `tests/console.rs`, which says in the environment where everything is.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, beforeEach, test } from "node:test";

import { Front } from "./front.mjs";

const env = (/** @type {string} */ name) => {
  const value = process.env[name];
  if (value === undefined || value === "") throw new Error(`${name} is not set`);
  return value;
};
const SERVER = env("CONSOLE_SERVER");
const TOKEN = env("CONSOLE_TOKEN");
const GATES = env("CONSOLE_GATES");
const SHOTS = env("CONSOLE_SHOTS");
const AGENT = env("CONSOLE_AGENT");
const { chromium } = createRequire(env("CONSOLE_PLAYWRIGHT"))("playwright-core");
const AXE = readFileSync(env("CONSOLE_AXE"), "utf8");

/** How long the page may take to come to a state. */
const BOUND = 15_000;
const DEVICES = {
  phone: { viewport: { width: 390, height: 844 }, deviceScaleFactor: 2, isMobile: true, hasTouch: true },
  desk: { viewport: { width: 1280, height: 800 } },
};

/** @type {import("playwright-core").Browser} */
let browser;
let users = 0;
let gates = 0;
/** What each test leaves to be closed. @type {(() => unknown)[]} */
let leftovers = [];

before(async () => {
  mkdirSync(SHOTS, { recursive: true });
  browser = await chromium.launch({ executablePath: env("CONSOLE_CHROMIUM"), timeout: 30_000 });
});
after(() => browser?.close());
beforeEach((context) => {
  leftovers = [];
  context.after(async () => {
    for (const close of leftovers.reverse()) await close();
  });
});

/** An edge in front of the server, at which somebody is signed in. */
async function front(headers = { "x-authentik-username": `ada-${(users += 1)}` }) {
  const made = await new Front(SERVER, headers).listen();
  leftovers.push(() => made.close());
  return made;
}

/**
 * A browser of its own. Whatever it complains about or asks of others is kept. The service worker
 * costs time, so that only the tests that are about it have it.
 * @param {"phone" | "desk"} device
 * @param {Record<string, unknown>} [more]
 */
async function visitor(device, more = {}) {
  const context = await browser.newContext({ ...DEVICES[device], locale: "en-GB", timezoneId: "UTC", serviceWorkers: "block", ...more });
  context.setDefaultTimeout(BOUND);
  leftovers.push(() => context.close());
  /** @type {string[]} */
  const asked = [];
  /** @type {string[]} */
  const complaints = [];
  context.on("request", (request) => asked.push(request.url()));
  context.on("page", (page) => {
    page.on("pageerror", (error) => complaints.push(error.message));
    page.on("console", (message) => {
      // A browser reports each answer that is an error; the tests mean some of them.
      if (message.type() === "error" && !message.text().startsWith("Failed to load resource")) complaints.push(message.text());
    });
  });
  return { context, asked, complaints };
}

/** @typedef {import("playwright-core").Page} Page */

/** @param {Page} page @param {string} text */
const lamp = (page, text) => page.locator("#lamp-text", { hasText: new RegExp(`^${text}$`) }).waitFor({ timeout: BOUND });

/** @param {import("playwright-core").BrowserContext} context @param {string} url */
async function attached(context, url) {
  const page = await context.newPage();
  await page.goto(url);
  await lamp(page, "Attached");
  return page;
}

/** @param {Page} page @param {string} text */
async function say(page, text) {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
}

const newGate = () => `gate-${(gates += 1)}`;
const open = (/** @type {string} */ gate) => writeFileSync(join(GATES, gate), "");

/** What the transcript shows, item by item. @param {Page} page @returns {Promise<{ event: number, text: string }[]>} */
const transcript = (page) => page.locator("#transcript > [data-event]").evaluateAll((all) =>
  all.map((one) => ({ event: Number(one.dataset.event), text: (one.querySelector("summary") ?? one).textContent })));

/** That nothing is there twice, and in order. @param {{ event: number }[]} items */
function assertOnce(items) {
  const numbers = items.map((item) => item.event);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
}

/** What the scripted agent's long turn shows. @param {string} prompt */
const longTurn = (prompt) => [
  `You: ${prompt}`,
  ...Array.from({ length: 40 }, (_, part) => (part % 4 === 3 ? `Bashssh devvm 'step ${part}'` : `Part ${part}.`)),
  "Done in 1 s",
];

/** @param {Page} page @param {string} why */
async function accessible(page, why) {
  const found = await page.evaluate(`${AXE}; axe.run(document, {
    resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }).then((result) => result.violations.map((one) => one.impact + " " + one.id + ": " + one.nodes.map((node) => node.target.join(" ")).join(", ")))`);
  assert.deepEqual(found, [], why);
}

/** The page itself never scrolls, and what can be touched is large enough. @param {Page} page @param {string} why */
async function fits(page, why) {
  const found = await page.evaluate(() => {
    const root = document.documentElement;
    const scrolls = [root, document.body].filter((one) => one.scrollHeight > one.clientHeight + 1 || one.scrollWidth > one.clientWidth + 1);
    const visible = [...document.querySelectorAll("button, summary, input, textarea")].filter((one) => one.checkVisibility());
    const small = visible.filter((one) => {
      const box = (one.matches("input[type=checkbox]") ? one.closest("label") ?? one : one).getBoundingClientRect();
      return box.height < 43.5 || box.width < 43.5;
    });
    const zooms = visible.filter((one) => one.matches("input:not([type=checkbox]), textarea") && Number.parseFloat(getComputedStyle(one).fontSize) < 16);
    const outside = visible.filter((one) => {
      const box = one.getBoundingClientRect();
      return !one.closest(".preset-chips") && (box.left < -1 || box.right > innerWidth + 1);
    });
    // The words of the bar lie beside each other, never over each other.
    const words = [...document.querySelectorAll(".bar h1, .bar p, .bar button")].filter((one) => one.checkVisibility());
    const boxes = words.map((one) => {
      const range = document.createRange();
      range.selectNodeContents(one);
      return { one, box: range.getBoundingClientRect() };
    });
    const overlap = boxes.filter(({ one, box }) => boxes.some((other) => other.one !== one && box.left < other.box.right - 1 &&
      other.box.left < box.right - 1 && box.top < other.box.bottom - 1 && other.box.top < box.bottom - 1)).map(({ one }) => one);
    const names = (/** @type {Element[]} */ all) => all.map((one) => one.id || one.className || one.tagName);
    return { scrolls: names(scrolls), small: names(small), zooms: names(zooms), outside: names(outside), overlap: names(overlap) };
  });
  assert.deepEqual(found, { scrolls: [], small: [], zooms: [], outside: [], overlap: [] }, why);
}

/** @param {Page} page @param {string} device @param {string} name */
async function shot(page, device, name) {
  // Springs and dots stand still for their picture.
  await page.screenshot({ path: join(SHOTS, `${device}-${name}.png`), animations: "disabled" });
}

/** The page as it is when it is not seen, and when it is again. @param {Page} page @param {"hidden" | "visible"} state */
const turnTo = (page, state) => page.evaluate((now) => {
  Object.defineProperty(document, "visibilityState", { value: now, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}, state);

/** @param {() => boolean | Promise<boolean>} holds @param {string} what */
async function until(holds, what) {
  const end = Date.now() + BOUND;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `not within ${BOUND} ms: ${what}`);
    await new Promise((go) => setTimeout(go, 20));
  }
}

for (const device of /** @type {const} */ (["phone", "desk"])) {
  test(`${device}: a whole visit, from an empty page to a machine that was cycled`, async () => {
    const edge = await front();
    const { context, asked, complaints } = await visitor(device, { serviceWorkers: "allow" });
    const page = await attached(context, edge.url);
    await shot(page, device, "1-empty");
    await accessible(page, "empty");
    await fits(page, "empty");

    const gate = newGate();
    await say(page, `The machine hangs and SSH is slow. What is going on? [gate ${gate}]`);
    await page.locator(".tool").waitFor();
    // Live: the turn is under way, and what it said is there.
    await lamp(page, "Working");
    assert.match(await page.locator("#working-text").innerText(), /^Working/);
    assert.ok(await page.locator("#new").isDisabled());
    assert.match(await page.locator(".tool-brief").innerText(), /^ssh devvm 'uptime; free -m/);
    await shot(page, device, "2-working");
    if (device === "phone") await accessible(page, "working");
    await fits(page, "working");
    await page.locator(".tool summary").click();
    await page.locator(".tool pre", { hasText: "sort -k6 -h" }).waitFor();
    await page.locator(".tool summary").click();
    open(gate);
    await lamp(page, "Attached");
    const items = await transcript(page);
    assertOnce(items);
    assert.equal(items.length, 6, JSON.stringify(items));
    assert.equal(items.at(-1)?.text, "Done in 1 s");
    assert.ok(await page.locator("#working").isHidden());
    assert.ok(await page.locator("#new").isEnabled());
    await shot(page, device, "3-answer");
    await accessible(page, "answer");
    await fits(page, "answer");

    await say(page, "Do it. [fails]");
    await page.locator(".note.amber", { hasText: "529 overloaded" }).waitFor();
    await lamp(page, "Attached");
    await shot(page, device, "4-failed-turn");

    if (device === "phone") {
      await page.click("#open-power");
      assert.ok(await page.evaluate(() => document.querySelector("#power-sheet:modal") !== null));
      assert.equal(await page.evaluate(() => document.activeElement?.closest("dialog")?.id), "power-sheet");
    }
    await shot(page, device, "5-power");
    if (device === "phone") await accessible(page, "power");
    await fits(page, "power");
    await page.click("[data-verb=status]");
    await page.locator(".exit.good", { hasText: "exit 0" }).waitFor();
    await page.locator("pre", { hasText: "status: running" }).waitFor();
    await page.click("[data-verb=forensics]");
    await page.locator(".exit.bad", { hasText: "exit 3" }).waitFor();
    await page.locator("pre", { hasText: "cannot write to /var/lib" }).waitFor();
    await page.click("[data-verb=cycle]");
    assert.equal(await page.evaluate(() => document.activeElement?.textContent), "Leave it");
    await page.locator("[data-confirm=cycle]:not([aria-disabled])").waitFor();
    await shot(page, device, "6-cycle-asks");
    await accessible(page, "question");
    await fits(page, "question");
    // Escape takes the question back, and leaves the sheet.
    await page.keyboard.press("Escape");
    await page.locator("[data-confirm]").waitFor({ state: "detached" });
    assert.equal(await page.evaluate(() => document.activeElement?.getAttribute("data-verb")), "cycle");
    assert.ok(!edge.seen.includes("POST /api/pve/cycle"));
    rmSync(join(GATES, "cycle"), { force: true });
    // A second tap that lands on the answer is none.
    await page.evaluate(() => {
      for (const tapped of ["[data-verb=cycle]", "[data-confirm=cycle]"]) document.querySelector(tapped)?.click();
    });
    await page.locator("[data-confirm=cycle]:not([aria-disabled])").waitFor();
    assert.ok(!edge.seen.includes("POST /api/pve/cycle"));
    await page.click("[data-confirm=cycle]");
    await page.locator(".running").waitFor();
    assert.equal(await page.locator("[data-verb=stop]").getAttribute("aria-disabled"), "true");
    open("cycle");
    await page.locator("pre", { hasText: "started in a new QEMU process" }).waitFor();
    assert.equal(edge.seen.filter((one) => one === "POST /api/pve/cycle").length, 1);
    await shot(page, device, "7-cycled");
    if (device === "phone") await accessible(page, "cycled");
    if (device === "phone") {
      await page.click("#close-power");
      assert.equal(await page.evaluate(() => document.activeElement?.id), "open-power");
    }

    assert.deepEqual(asked.filter((url) => new URL(url).origin !== edge.url), []);
    assert.deepEqual(asked.filter((url) => url.includes("token") || url.includes("?")), []);
    assert.deepEqual(complaints, []);
  });
}

test("stop ends the turn; a new session puts the old one away, where it is found again", async () => {
  const edge = await front();
  const { context } = await visitor("phone");
  const page = await attached(context, edge.url);
  await say(page, `Look around. [gate ${newGate()}]`);
  await page.locator(".tool").waitFor();
  await page.click("#stop");
  await page.locator(".note", { hasText: "Stopped" }).waitFor();
  await lamp(page, "Attached");
  const old = await transcript(page);
  await page.click("#new");
  await page.locator("#welcome").waitFor();
  await lamp(page, "Attached");
  assert.deepEqual(await transcript(page), []);
  await shot(page, "phone", "8-earlier");
  await page.click("#earlier-list button");
  await page.locator(".note", { hasText: "Stopped" }).waitFor();
  assert.deepEqual(await transcript(page), old);
});

test("a network that drops in mid-turn: nothing twice, nothing lost", async () => {
  const edge = await front();
  const { context } = await visitor("phone");
  const page = await attached(context, edge.url);
  const gate = newGate();
  const prompt = `Go on. [long] [gate ${gate}]`;
  await say(page, prompt);
  await page.locator(".prose", { hasText: "Part 9." }).waitFor();
  edge.weather = "cut";
  await lamp(page, "Link down");
  await page.locator("#working-text", { hasText: "The turn goes on without this page" }).waitFor();
  await page.locator("#notice", { hasText: "No connection" }).waitFor();
  await shot(page, "phone", "9-link-down");
  await accessible(page, "link down");
  // The agent goes on; what is typed meanwhile is kept.
  open(gate);
  await page.fill("#prompt", "And then?");
  edge.weather = "up";
  await lamp(page, "Attached");
  const items = await transcript(page);
  assertOnce(items);
  assert.deepEqual(items.map((item) => item.text), longTurn(prompt));
  assert.equal(await page.inputValue("#prompt"), "And then?");
  // Reconnecting asked only for what was missed.
  assert.ok(await page.locator("#notice").evaluate((one) => one.childElementCount === 0));
});

test("a message sent into a dead network is kept, and taken as sent once it shows up", async () => {
  const edge = await front();
  const { context } = await visitor("phone");
  const page = await attached(context, edge.url);
  // The server gets it, and the network drops before it can say so.
  /** @type {Promise<Response> | undefined} */
  let passed;
  edge.instead = (request) => {
    if (passed !== undefined || !request.url?.endsWith("/prompt")) return null;
    edge.weather = "cut";
    passed = fetch(`${SERVER}${request.url}`, {
      method: "POST", body: JSON.stringify({ prompt: "Are you there?" }),
      headers: { "content-type": "application/json", authorization: `Bearer ${TOKEN}` },
    });
    return { status: 504, body: "" };
  };
  await say(page, "Are you there?");
  await page.locator("#notice", { hasText: "nobody knows whether it was sent" }).waitFor();
  await lamp(page, "Link down");
  assert.equal(await page.inputValue("#prompt"), "Are you there?");
  assert.equal((await passed)?.status, 200);
  edge.weather = "up";
  await lamp(page, "Attached");
  await until(async () => (await page.inputValue("#prompt")) === "", "the draft is cleared");
  assert.equal(await page.locator(".bubble").count(), 1);
});

test("frozen with an open socket, and shown again: a new stream, nothing twice", async () => {
  const edge = await front();
  const { context } = await visitor("phone");
  const page = await attached(context, edge.url);
  const gate = newGate();
  const prompt = `Go on. [long] [gate ${gate}]`;
  await say(page, prompt);
  await page.locator(".prose", { hasText: "Part 9." }).waitFor();
  edge.weather = "frozen";
  await turnTo(page, "hidden");
  await until(() => edge.streams === 0, "a hidden page has no stream");
  open(gate);
  edge.weather = "up";
  await turnTo(page, "visible");
  await lamp(page, "Attached");
  const items = await transcript(page);
  assertOnce(items);
  assert.deepEqual(items.map((item) => item.text), longTurn(prompt));
});

test("a reload in mid-turn shows the same, and keeps the draft", async () => {
  const edge = await front();
  const { context } = await visitor("desk");
  const page = await attached(context, edge.url);
  const gate = newGate();
  const prompt = `Go on. [long] [gate ${gate}]`;
  await say(page, prompt);
  await page.locator(".prose", { hasText: "Part 9." }).waitFor();
  await page.fill("#prompt", "a thought");
  await page.reload();
  await lamp(page, "Working");
  assert.equal(await page.inputValue("#prompt"), "a thought");
  open(gate);
  await lamp(page, "Attached");
  assert.deepEqual((await transcript(page)).map((item) => item.text), longTurn(prompt));
  await until(() => page.locator("#scroller").evaluate((one) => one.scrollHeight - one.clientHeight - one.scrollTop < 2), "it shows the newest");
});

test("who reads further up is left there, and told that there is more", async () => {
  const edge = await front();
  const { context } = await visitor("phone", { viewport: { width: 390, height: 480 } });
  const page = await attached(context, edge.url);
  const gate = newGate();
  await say(page, `Go on. [long] [gate ${gate}]`);
  await page.locator(".prose", { hasText: "Part 9." }).waitFor();
  const place = () => page.locator("#scroller").evaluate((one) => ({ top: one.scrollTop, end: one.scrollHeight - one.clientHeight - one.scrollTop }));
  await until(async () => (await place()).end < 2, "it follows");
  await page.locator("#scroller").evaluate((one) => one.scrollTo({ top: 0 }));
  await until(async () => (await place()).top === 0, "it is scrolled up");
  open(gate);
  await page.locator("#newest").waitFor();
  await lamp(page, "Attached");
  assert.equal((await place()).top, 0);
  await shot(page, "phone", "13-newest");
  await fits(page, "newest");
  await page.click("#newest");
  await until(async () => (await place()).end < 2, "it follows again");
  assert.ok(await page.locator("#newest").isHidden());
});

test("two tabs are one conversation, and only one of them starts a turn", async () => {
  const edge = await front();
  const { context } = await visitor("desk");
  const one = await attached(context, edge.url);
  const two = await attached(context, edge.url);
  const gate = newGate();
  // The other one does not see yet that a turn has begun.
  await turnTo(two, "hidden");
  await say(one, `Go on. [long] [gate ${gate}]`);
  await one.locator(".prose", { hasText: "Part 9." }).waitFor();
  await say(two, "Me too");
  await two.locator("#notice", { hasText: "a turn is already running" }).waitFor();
  assert.equal(await two.inputValue("#prompt"), "Me too");
  await turnTo(two, "visible");
  await lamp(two, "Working");
  await two.press("#prompt", "Enter");
  await two.locator("#notice", { hasText: "Send this when it is over" }).waitFor();
  open(gate);
  for (const page of [one, two]) await lamp(page, "Attached");
  assert.deepEqual(await transcript(two), await transcript(one));
  await two.press("#prompt", "Enter");
  await one.locator(".bubble", { hasText: "Me too" }).waitFor();
});

test("a session that is gone is forgotten, and the message goes to a new one", async () => {
  const edge = await front();
  const { context } = await visitor("phone");
  const page = await attached(context, edge.url);
  await say(page, "Remember this.");
  await page.locator(".note", { hasText: "Done" }).waitFor();
  const session = await page.evaluate(() => localStorage.getItem("breakglass.session"));
  // As of a server that lost it.
  edge.instead = (request) =>
    request.url?.includes(`/${session}/`) ? { status: 404, body: JSON.stringify({ detail: "session not found" }) } : null;
  await say(page, "Are you still there?");
  await page.locator(".note.divider", { hasText: "gone from the server" }).waitFor();
  await page.locator(".bubble", { hasText: "Are you still there?" }).waitFor();
  await lamp(page, "Attached");
  assert.notEqual(await page.evaluate(() => localStorage.getItem("breakglass.session")), session);
  assert.equal(edge.seen.filter((one) => one === "POST /api/session").length, 2);
  // And so for a page that comes with an old address in its memory.
  await page.evaluate(() => localStorage.setItem("breakglass.session", "00000000-0000-4000-8000-000000000000"));
  await page.reload();
  await lamp(page, "Attached");
  assert.deepEqual(await transcript(page), []);
});

test("the power panel works while the agent is down", async () => {
  const edge = await front();
  const { context } = await visitor("desk");
  const page = await attached(context, edge.url);
  renameSync(AGENT, `${AGENT}.away`);
  try {
    await say(page, "Anybody?");
    await page.locator(".note.amber").waitFor();
    await lamp(page, "Attached");
    await page.click("[data-verb=status]");
    await page.locator("pre", { hasText: "status: running" }).waitFor();
    await shot(page, "desk", "8-agent-down");
  } finally {
    renameSync(`${AGENT}.away`, AGENT);
  }
});

test("two people press at once: one runs, the other is told; a lock takes a second word", async () => {
  const edge = await front();
  const other = await front();
  const { context } = await visitor("desk");
  const one = await attached(context, edge.url);
  const two = await attached(context, other.url);
  rmSync(join(GATES, "cycle"), { force: true });
  for (const page of [one, two]) await page.click("[data-verb=cycle]");
  await one.click("[data-confirm=cycle]");
  await until(() => edge.seen.includes("POST /api/pve/cycle"), "the first is sent");
  await one.locator(".running").waitFor();
  await two.click("[data-confirm=cycle]");
  await two.locator(".told", { hasText: "under way" }).waitFor();
  open("cycle");
  await one.locator("pre", { hasText: "started in a new QEMU process" }).waitFor();

  await two.click("[data-verb=stop]");
  await two.click("[data-confirm=stop]");
  await two.locator(".ask", { hasText: "Break the lock?" }).waitFor();
  await shot(two, "desk", "9-locked");
  await accessible(two, "locked");
  await two.click("[data-confirm=stop]");
  await two.locator("pre", { hasText: "stopped in spite of its lock" }).waitFor();
});

test("signed out at the edge, in either way: said, and mended by a sign-in", async () => {
  for (const weather of /** @type {const} */ (["redirect", "page"])) {
    const edge = await front();
    const { context } = await visitor("phone");
    const page = await attached(context, edge.url);
    await page.fill("#prompt", "still here");
    edge.weather = weather;
    await turnTo(page, "hidden");
    await turnTo(page, "visible");
    await lamp(page, "Signed out");
    await page.locator("#sign-in[open]", { hasText: "Your text is kept" }).waitFor();
    if (weather === "page") {
      await shot(page, "phone", "10-signed-out");
      await accessible(page, "signed out");
      await fits(page, "signed out");
    }
    // The page itself does not go where the edge points.
    assert.deepEqual(edge.seen.filter((one) => one.startsWith("GET /sign-in?")), []);
    edge.weather = "up";
    await page.click("#sign-in-edge");
    await lamp(page, "Attached");
    assert.equal(await page.inputValue("#prompt"), "still here");
  }
});

test("what an edge answers to those who are signed out is never kept", async () => {
  const edge = await front();
  const { context } = await visitor("phone", { serviceWorkers: "allow" });
  const page = await attached(context, edge.url);
  await page.evaluate(() => navigator.serviceWorker.ready);
  edge.weather = "page";
  await page.goto(edge.url);
  await page.locator("h1", { hasText: "Sign in" }).waitFor();
  edge.weather = "cut";
  await page.goto(edge.url);
  await lamp(page, "Link down");
});

test("without a connection the page opens, says what it saw last, and attaches when it can", async () => {
  const edge = await front();
  const { context } = await visitor("phone", { serviceWorkers: "allow" });
  const page = await attached(context, edge.url);
  await page.evaluate(() => navigator.serviceWorker.ready);
  await say(page, "What is wrong?");
  await page.locator(".note", { hasText: "Done" }).waitFor();
  await lamp(page, "Attached");
  const seen = await transcript(page);
  for (const weather of /** @type {const} */ (["cut", "empty"])) {
    edge.weather = weather;
    await page.reload();
    await lamp(page, "Link down");
    await page.locator(".note.divider", { hasText: "As it was seen last" }).waitFor();
    assert.deepEqual(await transcript(page), seen);
    if (weather === "cut") {
      await shot(page, "phone", "11-offline");
      await accessible(page, "offline");
    }
    edge.weather = "up";
    await lamp(page, "Attached");
    await page.locator(".note.divider").waitFor({ state: "detached" });
    assert.deepEqual(await transcript(page), seen);
  }
});

test("a token is asked for, used, kept if wished, and never in an address", async () => {
  const direct = await front({});
  const { context, asked } = await visitor("phone");
  const page = await context.newPage();
  await page.goto(direct.url);
  await lamp(page, "Signed out");
  await shot(page, "phone", "12-token");
  await accessible(page, "token");
  await fits(page, "token");
  await page.fill("#token", "wrong");
  await page.press("#token", "Enter");
  await page.locator("#sign-in-why", { hasText: "does not take this token" }).waitFor();
  await page.fill("#token", TOKEN);
  await page.press("#token", "Enter");
  await lamp(page, "Attached");
  await page.reload();
  await lamp(page, "Attached");
  // Not kept beyond this tab, unless that is wished.
  const other = await context.newPage();
  await other.goto(direct.url);
  await lamp(other, "Signed out");
  await other.check("#token-keep");
  await other.fill("#token", TOKEN);
  await other.press("#token", "Enter");
  await lamp(other, "Attached");
  await attached(context, direct.url);
  assert.deepEqual(asked.filter((url) => url.includes(TOKEN)), []);
});

test("a token in the fragment is taken out of the address at once", async () => {
  const direct = await front({});
  const { context, asked } = await visitor("desk");
  const page = await attached(context, `${direct.url}/#token=${TOKEN}`);
  assert.equal(page.url(), `${direct.url}/`);
  assert.equal(await page.evaluate(() => history.length), 2);
  assert.ok(asked.length > 5);
  assert.ok(direct.seen.every((one) => !one.includes(TOKEN)));
});

test("eight tabs of one browser: none hangs, the newest stream, any of them can speak", async () => {
  const edge = await front();
  const { context } = await visitor("desk");
  const tabs = [];
  for (let tab = 0; tab < 8; tab += 1) tabs.push(await attached(context, edge.url));
  await until(() => edge.streams === 4, "four stream");
  const [first] = tabs;
  assert.ok(first !== undefined);
  await lamp(first, "Paused here");
  await say(first, "Who is there?");
  for (const tab of tabs.slice(4)) await tab.locator(".note", { hasText: "Done" }).waitFor();
  await first.click("#notice button");
  await lamp(first, "Attached");
  await first.locator(".note", { hasText: "Done" }).waitFor();
  assert.equal(edge.streams, 4);
  // A tab that is closed leaves its place to nobody who has to wait for it.
  for (const tab of tabs.slice(1)) await tab.close();
  await until(() => edge.streams === 1, "one is left");
});

test("a hostile transcript is text, whatever is in it", async () => {
  const edge = await front();
  const { context, asked, complaints } = await visitor("desk");
  const page = await attached(context, edge.url);
  await say(page, "<b>Hello</b> [hostile]");
  await page.locator(".note", { hasText: "Done" }).waitFor();
  for (const summary of await page.locator(".tool summary").all()) await summary.click();
  const text = await page.locator("#transcript").innerText();
  for (const part of ["<b>Hello</b>", "<script>window.hit = 1</script>", "\\x1b[31mred\\x1b[0m", "\\u202egnp.exe", "\\x1b]0;title\\x07", "<b>Odd</b>", "[a link](javascript:window.hit=1)", "<svg onload"]) {
    assert.ok(text.includes(part), `${part} in ${text}`);
  }
  assert.equal(await page.evaluate(() => /** @type {any} */ (window).hit), undefined);
  assert.equal(await page.locator("#transcript :is(img, script, iframe, a, svg:not(summary svg), [style], [onerror])").count(), 0);
  assert.deepEqual(asked.filter((url) => new URL(url).origin !== edge.url), []);
  assert.deepEqual(complaints, []);
  await shot(page, "desk", "10-hostile");
});

test("everything by keyboard, with motion reduced", async () => {
  const edge = await front();
  const { context } = await visitor("phone", { reducedMotion: "reduce" });
  const page = await attached(context, edge.url);
  const focusOn = async (/** @type {string} */ selector) => {
    for (let step = 0; step < 40; step += 1) {
      if (await page.evaluate((wanted) => document.activeElement?.matches(wanted), selector)) return;
      await page.keyboard.press("Tab");
    }
    assert.fail(`${selector} is not reached by Tab`);
  };
  await focusOn("#prompt");
  await page.keyboard.type("one");
  await page.keyboard.press("Shift+Enter");
  await page.keyboard.type("two");
  assert.equal(await page.inputValue("#prompt"), "one\ntwo");
  await page.keyboard.press("Enter");
  await page.locator(".bubble", { hasText: "one\ntwo" }).waitFor();
  await page.locator(".note", { hasText: "Done" }).waitFor();
  await focusOn("#open-power");
  await page.keyboard.press("Enter");
  await focusOn("[data-verb=reset]");
  await page.keyboard.press("Enter");
  await focusOn("[data-confirm=reset]");
  await page.locator("[data-confirm=reset]:not([aria-disabled])").waitFor();
  await page.keyboard.press("Enter");
  await page.locator(".exit.bad", { hasText: "exit 5" }).waitFor();
  assert.match((await page.locator("#power [role=status]").textContent()) ?? "", /^reset: exit 5$/);
  await page.keyboard.press("Escape");
  assert.equal(await page.evaluate(() => document.activeElement?.id), "open-power");
  assert.equal(await page.locator("#transcript").getAttribute("aria-live"), "polite");
  const moving = await page.evaluate(() => document.getAnimations().length);
  assert.equal(moving, 0);
});

test("it can be installed, behind a sign-in too", async () => {
  const edge = await front();
  const { context } = await visitor("phone", { serviceWorkers: "allow" });
  const page = await attached(context, edge.url);
  assert.equal(await page.locator("link[rel=manifest]").getAttribute("crossorigin"), "use-credentials");
  const browserOf = await context.newCDPSession(page);
  const { data, errors } = await browserOf.send("Page.getAppManifest");
  assert.deepEqual(errors, []);
  const manifest = JSON.parse(data ?? "{}");
  assert.deepEqual(await notInstallable(page, manifest), []);
  assert.deepEqual(
    await notInstallable(page, { ...manifest, name: "", display: "browser", icons: [{ src: "/assets/icon-192.png", sizes: "512x512" }] }),
    ["name", "display", "icon /assets/icon-192.png", "192x192", "512x512"],
  );
});

/**
 * What browsers ask of a manifest before they offer to install the page.
 * @param {Page} page
 * @param {Record<string, any>} manifest
 */
async function notInstallable(page, manifest) {
  const wrong = [];
  if (!manifest.name) wrong.push("name");
  if (manifest.start_url !== "/") wrong.push("start_url");
  if (manifest.display !== "standalone") wrong.push("display");
  const sizes = [];
  for (const icon of manifest.icons ?? []) {
    const real = await page.evaluate(async (src) => {
      const image = await createImageBitmap(await (await fetch(src)).blob());
      return `${image.width}x${image.height}`;
    }, icon.src);
    if (real === icon.sizes) sizes.push(real);
    else wrong.push(`icon ${icon.src}`);
  }
  return [...wrong, ...["192x192", "512x512"].filter((size) => !sizes.includes(size))];
}

test("held sideways and in a small window nothing is out of reach", async () => {
  const edge = await front();
  for (const [width, height] of [[844, 390], [320, 568]]) {
    const { context } = await visitor("phone", { viewport: { width, height } });
    const page = await attached(context, edge.url);
    await fits(page, `${width}x${height}`);
    await say(page, "Look.");
    await page.locator(".note", { hasText: "Done" }).waitFor();
    await fits(page, `${width}x${height}, with a transcript`);
    await shot(page, `${width}x${height}`, "answer");
  }
});

test("these checks can fail", async () => {
  const edge = await front();
  const { context, asked, complaints } = await visitor("phone");
  const page = await attached(context, edge.url);
  await page.evaluate(() => {
    const bad = document.createElement("button");
    bad.id = "bad";
    document.querySelector(".bar-actions")?.append(bad);
  });
  await assert.rejects(accessible(page, "a button without a name"), /button-name/);
  await page.evaluate(() => {
    const bad = /** @type {HTMLElement} */ (document.querySelector("#bad"));
    bad.textContent = "x";
    bad.style.cssText = "height: 20px; position: fixed; left: -30px";
  });
  await assert.rejects(fits(page, "a button that is small and out of reach"), /small: \[\n\+?\s+'bad'|'bad'/);
  await page.evaluate(() => {
    const title = /** @type {HTMLElement} */ (document.querySelector("h1"));
    title.textContent = "Breakglass".repeat(3);
  });
  await assert.rejects(fits(page, "a title over the buttons"), /overlap: \[\n\+?\s+'H1'|'H1'/);
  assert.throws(() => assertOnce([{ event: 1 }, { event: 1 }]));
  assert.throws(() => assertOnce([{ event: 2 }, { event: 1 }]));
  await page.evaluate(() => fetch("http://localhost:9/").catch(() => undefined));
  await until(() => complaints.some((one) => one.includes("Content Security Policy")), "the policy is told of");
  await page.evaluate(() => {
    const bad = document.createElement("script");
    bad.textContent = "window.hit = 1";
    document.body.append(bad);
  });
  assert.equal(await page.evaluate(() => /** @type {any} */ (window).hit), undefined);
  assert.ok(asked.length > 0);
});
