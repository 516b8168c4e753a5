// The console in a real Chromium, on a phone and at a desk, over the real server with a scripted
// agent. Started by `tests/console.rs`.

import assert from "node:assert/strict";
import { renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { test } from "node:test";

import {
  AGENT, GATES, SERVER, TOKEN, accessible, assertOnce, attached, fits, front, lamp, longTurn, newGate, open, red,
  say, shot, transcript, turnTo, until, visitor,
} from "./visit.mjs";
import "./looks.mjs";

for (const device of /** @type {const} */ (["phone", "desk"])) {
  test(`${device}: a whole visit, from an empty page to a machine that was cycled`, async () => {
    const edge = await front();
    const { context, asked, complaints } = await visitor(device, { serviceWorkers: "allow" });
    const page = await attached(context, edge.url);
    await shot(page, device, "1-empty");
    await accessible(page, "empty");
    await fits(page, "empty");
    // At a desk the panel is always there, with three verbs that take power.
    const power = device === "desk" ? 3 : 0;
    assert.deepEqual(await red(page), { power, elsewhere: [] });

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
    assert.deepEqual(await red(page), { power, elsewhere: [] });
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
    assert.deepEqual(await red(page), { power, elsewhere: [] }, "what fails is amber");

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
    assert.deepEqual(await red(page), { power: 5, elsewhere: [] }, "three names, the question and its yes");
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
  assert.deepEqual(await red(page), { power: 0, elsewhere: ["lamp", "lamp-text", "notice"] });
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

test("taken out of the back-forward cache with a dead socket: a new stream, nothing twice", async () => {
  const edge = await front();
  const { context } = await visitor("phone");
  const page = await attached(context, edge.url);
  const attaches = () => edge.seen.filter((one) => one.startsWith("GET ") && one.endsWith("/stream")).length;
  const gate = newGate();
  const prompt = `Go on. [long] [gate ${gate}]`;
  await say(page, prompt);
  await page.locator(".prose", { hasText: "Part 9." }).waitFor();
  const shown = (/** @type {boolean} */ persisted) =>
    page.evaluate((kept) => void dispatchEvent(new PageTransitionEvent("pageshow", { persisted: kept })), persisted);
  // What is shown for the first time begins by itself.
  await shown(false);
  assert.equal(attaches(), 1);
  // Its socket is dead, and nothing says so.
  edge.strand();
  open(gate);
  await shown(true);
  await lamp(page, "Attached");
  assert.equal(attaches(), 2);
  const items = await transcript(page);
  assertOnce(items);
  assert.deepEqual(items.map((item) => item.text), longTurn(prompt));
});

test("a link on which nothing comes any more is given up, one that lives is not", async () => {
  const edge = await front();
  const { context } = await visitor("phone");
  const page = await context.newPage();
  await page.clock.install();
  await page.goto(edge.url);
  await lamp(page, "Attached");
  const gate = newGate();
  const prompt = `Go on. [long] [gate ${gate}]`;
  await say(page, prompt);
  await page.locator(".prose", { hasText: "Part 9." }).waitFor();
  // Nothing but signs of life for minutes, as from an agent that thinks.
  for (let times = 0; times < 2; times += 1) {
    const before = edge.pings;
    // The first of them has been read by the time of the second.
    await until(() => edge.pings >= before + 2, "signs of life");
    await page.clock.fastForward(44_000);
    await lamp(page, "Working");
  }
  assert.equal(edge.seen.filter((one) => one.endsWith("/stream")).length, 1, "it was never given up");
  edge.weather = "frozen";
  await page.clock.fastForward(46_000);
  await lamp(page, "Link down");
  open(gate);
  edge.weather = "up";
  // A try that hangs is given up sooner.
  await page.clock.fastForward(11_000);
  await lamp(page, "Attached");
  const items = await transcript(page);
  assertOnce(items);
  assert.deepEqual(items.map((item) => item.text), longTurn(prompt));
});

test("the browser's own EventSource goes on from its place, and its successor by the address", async () => {
  const edge = await front();
  const { context } = await visitor("desk");
  const page = await attached(context, edge.url);
  const gate = newGate();
  await say(page, `Go on. [long] [gate ${gate}]`);
  await page.locator(".prose", { hasText: "Part 9." }).waitFor();
  const session = await page.evaluate(() => localStorage.getItem("breakglass.session"));
  const listen = (/** @type {string} */ query) => page.evaluate(([path, more]) => {
    const source = new EventSource(`${path}${more}`);
    /** @type {any} */ (window).source = source;
    /** @type {string[]} */
    const got = [];
    /** @type {any} */ (window).got = got;
    source.addEventListener("message", (event) => got.push(`${event.lastEventId} ${JSON.parse(event.data).kind}`));
    source.addEventListener("caught-up", () => got.push("caught-up"));
  }, [`/api/session/${session}/stream`, query]);
  const got = () => page.evaluate(() => /** @type {string[]} */ (/** @type {any} */ (window).got));
  const state = () => page.evaluate(() => /** @type {number} */ (/** @type {any} */ (window).source.readyState));
  await listen("");
  await until(async () => (await got()).at(-1) === "caught-up", "the replay");
  edge.weather = "cut";
  await until(async () => (await state()) === 0, "it connects anew");
  open(gate);
  edge.weather = "up";
  await until(async () => (await got()).filter((one) => one === "caught-up").length === 2, "it is back by itself");
  await until(async () => (await got()).some((one) => one.endsWith(" turn_end")), "the end");
  const events = (await got()).filter((one) => one !== "caught-up");
  assert.deepEqual(events.map((one) => Number.parseInt(one, 10)), events.map((_, at) => at), "nothing twice, nothing lost");
  assert.equal(events.length, 44);
  // It gives up on any other answer than 200, and the one that is made anew has no place of its own.
  edge.instead = (request) => request.url?.includes("/stream") ? { status: 503, body: JSON.stringify({ detail: "too many" }) } : null;
  edge.weather = "cut";
  edge.weather = "up";
  await until(async () => (await state()) === 2, "it has given up");
  edge.instead = () => null;
  await listen("?last_event_id=41");
  await until(async () => (await got()).includes("caught-up"), "the rest");
  assert.deepEqual(await got(), [...events.slice(42), "caught-up"]);
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

test("each of the machine's failure modes is one tap away", async () => {
  const edge = await front();
  const { context } = await visitor("phone");
  const page = await attached(context, edge.url);
  /** @type {[string, string[]][]} */
  const presets = [
    ["Triage", ["load", "memory", "swap", "disk", "failed units", "kernel log"]],
    ["Memory and OOM", ["memory", "swap", "killed"]],
    ["Disk", ["file systems", "inodes", "I/O errors"]],
    ["Services", ["failed and restarting units", "Restart"]],
    ["QEMU wedged", ["QMP", "block statistics", "wait for my word before you cycle"]],
  ];
  const titles = presets.map(([title]) => title);
  assert.deepEqual(await page.locator(".preset-card b").allInnerTexts(), titles);
  assert.deepEqual(await page.locator(".preset-chip").allTextContents(), titles);
  for (const [at, [title, words]] of presets.entries()) {
    // On the empty page they are cards, with a conversation they are above the message.
    await page.locator(at === 0 ? ".preset-card" : ".preset-chip", { hasText: title }).tap();
    const said = await page.locator(".bubble").nth(at).innerText();
    for (const word of words) assert.ok(said.includes(word), `${title}: ${word} is not in ${said}`);
    await lamp(page, "Attached");
  }
  const prompts = () => edge.seen.filter((one) => one.startsWith("POST ") && one.endsWith("/prompt")).length;
  assert.equal(prompts(), presets.length, "one tap, one message");
  // None while a turn runs.
  const gate = newGate();
  await say(page, `Look around. [gate ${gate}]`);
  await lamp(page, "Working");
  const chip = page.locator(".preset-chip", { hasText: "Disk" });
  assert.equal(await chip.getAttribute("aria-disabled"), "true");
  await chip.tap({ force: true });
  await page.locator("#notice", { hasText: "A turn is running" }).waitFor();
  assert.equal(prompts(), presets.length + 1);
  open(gate);
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
  const showsWhatWasSeen = async () => {
    await page.reload();
    await lamp(page, "Link down");
    await page.locator(".note.divider", { hasText: "As it was seen last" }).waitFor();
    assert.deepEqual(await transcript(page), seen);
  };
  for (const weather of /** @type {const} */ (["cut", "empty"])) {
    edge.weather = weather;
    await showsWhatWasSeen();
    // A page that has received nothing has nothing newer to keep.
    await turnTo(page, "hidden");
    await showsWhatWasSeen();
    if (weather === "cut") {
      await shot(page, "phone", "11-offline");
      await accessible(page, "offline");
    }
    edge.weather = "up";
    await lamp(page, "Attached");
    await page.locator(".note.divider").waitFor({ state: "detached" });
    assert.deepEqual(await transcript(page), seen);
  }
  // What is kept of a log that was longer gives way as soon as the page has all of the present one.
  await page.evaluate(() => {
    const longer = { at: 0, events: [{ id: 999, kind: "text", text: "From a log that is gone." }] };
    localStorage.setItem("breakglass.last-seen", JSON.stringify(longer));
  });
  await page.reload();
  await lamp(page, "Attached");
  edge.weather = "cut";
  await turnTo(page, "hidden");
  await showsWhatWasSeen();
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

test("a token in the fragment takes nobody's token away", async () => {
  const direct = await front({});
  const { context } = await visitor("desk");
  const page = await attached(context, `${direct.url}/#token=${TOKEN}`);
  const keep = (/** @type {string} */ token) =>
    page.evaluate((kept) => localStorage.setItem("breakglass.token", kept), token);
  const kept = () => page.evaluate(() => localStorage.getItem("breakglass.token"));
  await keep(TOKEN);
  for (const tab of [page, await context.newPage()]) {
    await tab.goto("about:blank");
    await tab.goto(`${direct.url}/#token=junk`);
    await lamp(tab, "Attached");
  }
  assert.equal(await kept(), TOKEN);
  // Nor is it lost where it is of use.
  await keep("old");
  const other = await context.newPage();
  await other.goto(`${direct.url}/#token=${TOKEN}`);
  await other.locator("#sign-in-why", { hasText: "That of your link is filled in" }).waitFor();
  await other.press("#token", "Enter");
  await lamp(other, "Attached");
});

test("a token that is wrong is forgotten by whoever uses the sign-in page", async () => {
  const edge = await front();
  const { context } = await visitor("phone");
  const page = await attached(context, edge.url);
  await page.evaluate(() => localStorage.setItem("breakglass.token", "old"));
  await page.reload();
  await page.locator("#sign-in-why", { hasText: "does not take this token" }).waitFor();
  await page.click("#sign-in-edge");
  await lamp(page, "Attached");
  assert.equal(await page.evaluate(() => localStorage.getItem("breakglass.token")), null);
});

test("with a token in the query the page is not shown, and the address does not keep it", async () => {
  const direct = await front({});
  const { context } = await visitor("desk", { serviceWorkers: "allow" });
  /** @type {string[]} */
  const referers = [];
  context.on("request", (request) => referers.push(request.headers()["referer"] ?? ""));
  const page = await context.newPage();
  const visit = async (/** @type {string} */ query) => {
    await page.goto(`${direct.url}/?${query}`).catch(() => undefined);
    await page.waitForURL(`${direct.url}/`);
  };
  await visit(`token=${TOKEN}`);
  await lamp(page, "Signed out");
  assert.ok(direct.seen.includes("GET /"), "the page came from the address without it");
  assert.equal(await page.evaluate(() => history.length), 2, "nor is it a step back");
  // The token was not taken: it has been in logs by now.
  await page.fill("#token", TOKEN);
  await page.press("#token", "Enter");
  await lamp(page, "Attached");
  // By way of the service worker too, and without a connection.
  await page.evaluate(() => navigator.serviceWorker.ready);
  await visit(`access_token=${TOKEN}`);
  await lamp(page, "Attached");
  direct.weather = "cut";
  await visit(`token=${TOKEN}`);
  await lamp(page, "Link down");
  assert.deepEqual(referers.filter((one) => one.includes(TOKEN)), []);
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
  await shot(page, "desk", "10-hostile");
  // What the hypervisor prints is no less so.
  await page.click("[data-verb=start]");
  await page.click("[data-confirm=start]");
  await page.locator(".exit.good").waitFor();
  const output = await page.locator(".outcome").innerText();
  for (const part of ['<img src=x onerror="window.hit = 1"><script>window.hit = 1</script>', "\\x1b[31mred\\x1b[0m", "</pre><svg onload", "\\u202egnp.exe"]) {
    assert.ok(output.includes(part), `${part} in ${output}`);
  }
  assert.equal(await page.locator(".outcome :is(img, script, svg, [onerror], [style])").count(), 0);
  assert.equal(await page.evaluate(() => /** @type {any} */ (window).hit), undefined);
  assert.deepEqual(asked.filter((url) => new URL(url).origin !== edge.url), []);
  assert.deepEqual(complaints, []);
});
