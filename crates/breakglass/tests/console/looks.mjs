// How the console looks and feels: its keyboard, its colours, its places, and what browsers ask of a page
// that can be installed. Imported by `console.spec.mjs`, so that all of it shares one browser.

import assert from "node:assert/strict";
import { test } from "node:test";

import { accessible, assertOnce, attached, fits, front, red, say, shot, until, visitor } from "./visit.mjs";

/** @typedef {import("playwright-core").Page} Page */

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
  // One colour from the status bar to the page, and while it opens.
  const ground = await page.evaluate(() => {
    const canvas = new OffscreenCanvas(1, 1).getContext("2d");
    if (canvas !== null) canvas.fillStyle = getComputedStyle(document.body).backgroundColor;
    return canvas?.fillStyle;
  });
  assert.equal(await page.locator("meta[name=theme-color]").getAttribute("content"), ground);
  assert.deepEqual([manifest.theme_color, manifest.background_color], [ground, ground]);
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

test("nothing to touch or to read lies under a notch or a home bar", async () => {
  const edge = await front();
  for (const [width, height, insets] of /** @type {const} */ ([
    [390, 844, { top: 47, bottom: 34, left: 0, right: 0 }],
    [844, 390, { top: 0, bottom: 21, left: 47, right: 47 }],
  ])) {
    // A sheet that still rises would be measured on its way.
    const { context } = await visitor("phone", { viewport: { width, height }, reducedMotion: "reduce" });
    const page = await attached(context, edge.url);
    await say(page, "Look.");
    await page.locator(".note", { hasText: "Done" }).waitFor();
    const covered = () => page.evaluate((safe) => {
      const all = [...document.querySelectorAll("button, textarea, h1, #lamp")].filter((one) => one.checkVisibility());
      const outside = all.filter((one) => {
        const box = one.getBoundingClientRect();
        // What scrolls comes out from under it.
        const scrolls = one.closest(".scroller, .verbs, .preset-chips") !== null;
        return !scrolls && (box.top < safe.top || box.bottom > innerHeight - safe.bottom || box.left < safe.left || box.right > innerWidth - safe.right);
      });
      return outside.map((one) => one.id || one.tagName);
    }, insets);
    assert.notDeepEqual(await covered(), [], "the check can fail");
    const browserOf = await context.newCDPSession(page);
    const max = { topMax: insets.top, bottomMax: insets.bottom, leftMax: insets.left, rightMax: insets.right };
    await browserOf.send("Emulation.setSafeAreaInsetsOverride", { insets: { ...insets, ...max } });
    assert.deepEqual(await covered(), [], `${width}x${height}`);
    await fits(page, `${width}x${height}, with insets`);
    await page.click("#open-power");
    // The last verb can be scrolled out from under the home bar.
    await page.locator(".verbs").evaluate((one) => one.scrollTo({ top: one.scrollHeight }));
    const below = await page.locator(".verb").last().evaluate((one) => innerHeight - one.getBoundingClientRect().bottom);
    assert.ok(below >= insets.bottom, `${below} px below the last verb`);
    // Nor does a question come up with its answers under it.
    for (const verb of ["stop", "cycle"]) {
      await page.locator(`[data-verb=${verb}]`).tap();
      const answer = await page.locator(`[data-confirm=${verb}]`).evaluate((one) => innerHeight - one.getBoundingClientRect().bottom);
      assert.ok(answer >= insets.bottom, `${answer} px below the answer to ${verb}`);
    }
    await shot(page, `${width}x${height}`, "notch");
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
  await page.evaluate(() => {
    const title = /** @type {HTMLElement} */ (document.querySelector("h1"));
    title.style.color = "#f00";
  });
  assert.deepEqual(await red(page), { power: 0, elsewhere: ["H1"] });
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
