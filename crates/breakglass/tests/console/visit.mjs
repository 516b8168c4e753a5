// What the tests of the console are told with: a visitor's browser, an edge in front of the server, and
// what can be asked of a page. `tests/console.rs` says in the environment where everything is.

import assert from "node:assert/strict";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { after, before, beforeEach } from "node:test";

import { Front } from "./front.mjs";

const env = (/** @type {string} */ name) => {
  const value = process.env[name];
  if (value === undefined || value === "") throw new Error(`${name} is not set`);
  return value;
};
export const SERVER = env("CONSOLE_SERVER");
export const TOKEN = env("CONSOLE_TOKEN");
export const GATES = env("CONSOLE_GATES");
const SHOTS = env("CONSOLE_SHOTS");
export const AGENT = env("CONSOLE_AGENT");
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
export async function front(headers = { "x-authentik-username": `ada-${(users += 1)}` }) {
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
export async function visitor(device, more = {}) {
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
export const lamp = (page, text) => page.locator("#lamp-text", { hasText: new RegExp(`^${text}$`) }).waitFor({ timeout: BOUND });

/** @param {import("playwright-core").BrowserContext} context @param {string} url */
export async function attached(context, url) {
  const page = await context.newPage();
  await page.goto(url);
  await lamp(page, "Attached");
  return page;
}

/** @param {Page} page @param {string} text */
export async function say(page, text) {
  await page.fill("#prompt", text);
  await page.press("#prompt", "Enter");
}

export const newGate = () => `gate-${(gates += 1)}`;
export const open = (/** @type {string} */ gate) => writeFileSync(join(GATES, gate), "");

/** What the transcript shows, item by item. @param {Page} page @returns {Promise<{ event: number, text: string }[]>} */
export const transcript = (page) => page.locator("#transcript > [data-event]").evaluateAll((all) =>
  all.map((one) => ({ event: Number(one.dataset.event), text: (one.querySelector("summary") ?? one).textContent })));

/** That nothing is there twice, and in order. @param {{ event: number }[]} items */
export function assertOnce(items) {
  const numbers = items.map((item) => item.event);
  assert.deepEqual(numbers, [...new Set(numbers)].sort((a, b) => a - b));
}

/** What the scripted agent's long turn shows. @param {string} prompt */
export const longTurn = (prompt) => [
  `You: ${prompt}`,
  ...Array.from({ length: 40 }, (_, part) => (part % 4 === 3 ? `Bashssh devvm 'step ${part}'` : `Part ${part}.`)),
  "Done in 1 s",
];

/** @param {Page} page @param {string} why */
export async function accessible(page, why) {
  const found = await page.evaluate(`${AXE}; axe.run(document, {
    resultTypes: ["violations"], runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa", "wcag22aa", "best-practice"],
  }).then((result) => result.violations.map((one) => one.impact + " " + one.id + ": " + one.nodes.map((node) => node.target.join(" ")).join(", ")))`);
  assert.deepEqual(found, [], why);
}

/** The page itself never scrolls, and what can be touched is large enough. @param {Page} page @param {string} why */
export async function fits(page, why) {
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

/**
 * Where red is on the page: on what takes power from the machine, and anywhere else.
 * @param {Page} page
 */
export const red = (page) => page.evaluate(() => {
  const canvas = new OffscreenCanvas(1, 1).getContext("2d", { willReadFrequently: true });
  /** @type {Map<string, boolean>} */
  const known = new Map();
  const isRed = (/** @type {string} */ color) => {
    const found = known.get(color);
    if (found !== undefined || canvas === null) return found ?? false;
    canvas.clearRect(0, 0, 1, 1);
    canvas.fillStyle = color;
    canvas.fillRect(0, 0, 1, 1);
    const [r = 0, g = 0, b = 0, alpha = 0] = canvas.getImageData(0, 0, 1, 1).data;
    const chroma = r - Math.min(g, b);
    const hue = (60 * (g - b)) / Math.max(1, chroma);
    known.set(color, alpha > 8 && r === Math.max(r, g, b) && chroma >= 12 && hue > -20 && hue < 18);
    return known.get(color) ?? false;
  };
  const isRedAt = (/** @type {Element} */ one) => {
    const own = getComputedStyle(one);
    const colors = [own.backgroundColor, getComputedStyle(one, "::before").backgroundColor];
    if ([...one.childNodes].some((node) => node.nodeType === Node.TEXT_NODE && node.textContent?.trim() !== "")) colors.push(own.color);
    if (one.matches("textarea, input")) colors.push(own.color);
    if (one.matches("svg") && own.stroke !== "none") colors.push(own.stroke);
    for (const side of /** @type {const} */ (["Top", "Right", "Bottom", "Left"])) {
      if (own[`border${side}Width`] !== "0px") colors.push(own[`border${side}Color`]);
    }
    return colors.some(isRed);
  };
  const all = [...document.querySelectorAll("body, body *")].filter((one) => one.checkVisibility() && isRedAt(one));
  const takesPower = ".verb.destructive > .verb-press b, .verb.destructive.asking, .button.danger";
  const name = (/** @type {Element} */ one) => one.id || one.closest("[data-tone]")?.id || one.className || one.tagName;
  return {
    power: all.filter((one) => one.matches(takesPower)).length,
    elsewhere: [...new Set(all.filter((one) => !one.matches(takesPower)).map(name))].sort(),
  };
});

/** @param {Page} page @param {string} device @param {string} name */
export async function shot(page, device, name) {
  // Springs and dots stand still for their picture.
  await page.screenshot({ path: join(SHOTS, `${device}-${name}.png`), animations: "disabled" });
}

/** The page as it is when it is not seen, and when it is again. @param {Page} page @param {"hidden" | "visible"} state */
export const turnTo = (page, state) => page.evaluate((now) => {
  Object.defineProperty(document, "visibilityState", { value: now, configurable: true });
  document.dispatchEvent(new Event("visibilitychange"));
}, state);

/** @param {() => boolean | Promise<boolean>} holds @param {string} what */
export async function until(holds, what) {
  const end = Date.now() + BOUND;
  while (!(await holds())) {
    assert.ok(Date.now() < end, `not within ${BOUND} ms: ${what}`);
    await new Promise((go) => setTimeout(go, 20));
  }
}
