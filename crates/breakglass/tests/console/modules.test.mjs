// The console's decisions, without a browser: `node --test`.

import assert from "node:assert/strict";
import { test } from "node:test";

import { meaning } from "../../assets/api.js";
import { downNotice, lamp, notBegun, notSent, step } from "../../assets/link.js";
import { THINK_MS, USUAL, busy, outcome, panel, standing, stepPanel } from "../../assets/power.js";
import { blocks, visible } from "../../assets/prose.js";
import { EventParser, LONGEST_EVENT } from "../../assets/sse.js";
import { EMPTY, apply, clock, logEvent } from "../../assets/transcript.js";

/* The event stream */

const STREAM =
  "\uFEFF: a comment\r\nid: 0\r\ndata: {\"a\":1}\r\n\r\nid: 1\ndata: one\ndata:  two\nretry: 5\n\n" +
  "event: caught-up\rdata: {}\r\r: alive\n\nevent: nothing\n\ndata\n\nid: 2\ndata: Привет 🙂\n\ndata: unfinished\n";

const EVENTS = [
  { type: "message", data: '{"a":1}', id: "0" },
  { type: "message", data: "one\n two", id: "1" },
  { type: "caught-up", data: "{}", id: "1" },
  { type: "message", data: "", id: "1" },
  { type: "message", data: "Привет 🙂", id: "2" },
];

test("a stream that is cut at every place gives the same events", () => {
  for (let cut = 0; cut <= STREAM.length; cut += 1) {
    const parser = new EventParser();
    assert.deepEqual([...parser.push(STREAM.slice(0, cut)), ...parser.push(STREAM.slice(cut))], EVENTS, `cut at ${cut}`);
  }
  const parser = new EventParser();
  assert.deepEqual([...STREAM].flatMap((one) => parser.push(one)), EVENTS);
});

test("an event without an end is refused, not kept", () => {
  const parser = new EventParser();
  const piece = `data: ${"x".repeat(1 << 20)}\n`;
  assert.throws(() => {
    for (let sent = 0; sent <= LONGEST_EVENT; sent += piece.length) parser.push(piece);
  }, RangeError);
});

/* The transcript */

/** @param {import("../../assets/transcript.js").LogEvent[]} events */
function shown(events) {
  let transcript = EMPTY;
  const items = [];
  for (const event of events) {
    const next = apply(transcript, event);
    transcript = next.transcript;
    items.push(...next.items);
  }
  return { transcript, items };
}

const TURN = [
  { id: 0, kind: "user", text: "look" },
  { id: 1, kind: "session", session_id: "s" },
  { id: 2, kind: "text", text: "Looking." },
  { id: 3, kind: "tool", name: "Bash", input: { command: "uptime\ndf" } },
  { id: 4, kind: "text", text: "All well." },
  { id: 5, kind: "result", is_error: false, result: "All well.\n", duration_ms: 61_400 },
  { id: 6, kind: "turn_end" },
];

test("a turn is shown in its order, and its result not twice", () => {
  const { transcript, items } = shown(TURN);
  assert.deepEqual(items, [
    { id: 0, type: "user", text: "look" },
    { id: 2, type: "prose", text: "Looking." },
    { id: 3, type: "tool", name: "Bash", summary: "uptime", detail: "uptime\ndf" },
    { id: 4, type: "prose", text: "All well." },
    { id: 5, type: "note", tone: "quiet", text: "Done in 1 min 1 s" },
  ]);
  assert.equal(transcript.turn, "idle");
});

test("whatever is replayed, from wherever, is shown once", () => {
  const once = shown(TURN).items;
  for (let lost = 0; lost <= TURN.length; lost += 1) {
    for (let from = 0; from <= lost; from += 1) {
      assert.deepEqual(shown([...TURN.slice(0, lost), ...TURN.slice(from)]).items, once, `${lost}, ${from}`);
    }
  }
});

test("each kind of event, and how the turn stands after it", () => {
  /** @type {(event: Record<string, unknown>, turn: string, items: unknown[]) => void} */
  const check = (event, turn, items) => {
    const found = apply(EMPTY, { id: 0, kind: "", ...event });
    assert.equal(found.transcript.turn, turn);
    assert.deepEqual(found.items.map((item) => [item.type, "text" in item ? item.text : item.summary]), items);
  };
  check({ kind: "user", text: "a" }, "working", [["user", "a"]]);
  check({ kind: "queued", ahead: 1, text: "wait" }, "queued", [["note", "wait"]]);
  check({ kind: "session" }, "working", []);
  check({ kind: "text", text: " " }, "working", []);
  check({ kind: "tool", name: "Read", input: { file_path: "/a" } }, "working", [["tool", "/a"]]);
  check({ kind: "tool", name: "Odd", input: [1] }, "working", [["tool", "[1]"]]);
  check({ kind: "tool" }, "working", [["tool", ""]]);
  check({ kind: "result", is_error: true, result: "no" }, "idle", [["note", "no"]]);
  check({ kind: "result", is_error: false, result: "yes" }, "idle", [["prose", "yes"], ["note", "Done"]]);
  check({ kind: "error", error: "broke" }, "idle", [["note", "broke"]]);
  check({ kind: "cancelled" }, "idle", [["note", "Stopped"]]);
  check({ kind: "turn_end" }, "idle", []);
  check({ kind: "later", x: 1 }, "idle", []);
  check({ kind: "user", text: 7 }, "working", [["user", ""]]);
});

test("what is no event of a log is none", () => {
  for (const data of ["", "{", "null", "[]", "{}", '{"kind":"text"}', '{"id":-1,"kind":"a"}', '{"id":"0","kind":"a"}']) {
    assert.equal(logEvent(data), null, data);
  }
  assert.deepEqual(logEvent('{"id":3}'), { id: 3, kind: "" });
});

test("spans of time", () => {
  assert.deepEqual([0, 400, 59_400, 60_000, 125_000].map(clock), ["0 s", "0 s", "59 s", "1 min 0 s", "2 min 5 s"]);
});

/* Prose */

test("an agent's Markdown becomes blocks", () => {
  const text =
    "# Found\nA **bold** `word`\nsecond\n\n- one\n  - two\n1. first\n\n```sh\na | b\n```\n|a|b|\n|--|:-:|\n|1|`2`|\nend";
  assert.deepEqual(blocks(text).map((block) => block.type), [
    "heading", "paragraph", "list", "list", "code", "table", "paragraph",
  ]);
  assert.deepEqual(blocks("A **bold** `word`")[0], {
    type: "paragraph",
    spans: [
      { type: "plain", text: "A " }, { type: "strong", text: "bold" }, { type: "plain", text: " " },
      { type: "code", text: "word" },
    ],
  });
  assert.deepEqual(blocks("```\nno end"), [{ type: "code", text: "no end" }]);
  assert.deepEqual(blocks("<b>[x](javascript:1)</b>"), [
    { type: "paragraph", spans: [{ type: "plain", text: "<b>[x](javascript:1)</b>" }] },
  ]);
});

test("a hostile text costs no more than its length", { timeout: 20_000 }, () => {
  const long = 200_000;
  for (const one of [" ", "#", "|", "-", ":", "*", "`", "\t", "1", "|-", "- ", "**a", "`a", "# "]) {
    const text = one.repeat(long / one.length);
    for (const line of [text, `${text}x`, `# ${text}x`, `- ${text}x`, `|a|\n-${text}x`, `|a|\n|${text}|-`]) assert.ok(blocks(line).length < long);
  }
});

test("what would be invisible is shown by name", () => {
  assert.equal(visible("a\x1b[31mb\x07\x7f\r\nc\rd\te\0"), "a\\x1b[31mb\\x07\\x7f\nc\\x0dd\te\\x00");
  assert.equal(visible("rm \u202egnp\u2066\u200b\x9b"), "rm \\u202egnp\\u2066\\u200b\\x9b");
  assert.equal(visible("Привет 👩‍🚒"), "Привет 👩‍🚒");
});

/* The attachment */

/** Tells a link one thing after another; `n` stands for its newest connection. */
class Told {
  /** @param {string | null} session */
  constructor(session) {
    this.link = notBegun(session);
    /** @type {string[]} */
    this.deeds = [];
  }

  /** @param {...Record<string, unknown>} happenings */
  tell(...happenings) {
    this.deeds = [];
    for (const happening of happenings) {
      const full = happening.connection === "n" ? { ...happening, connection: this.link.connection } : happening;
      const next = step(this.link, /** @type {any} */ (full));
      this.link = next.link;
      this.deeds.push(...next.deeds.map((deed) => ("lastId" in deed ? `${deed.do} ${deed.session} ${deed.lastId}` : deed.do)));
    }
    return this;
  }

  /** @param {...string} expected */
  did(...expected) {
    assert.deepEqual(this.deeds, expected);
    return this;
  }
}

const begun = { type: "begin" };
const opened = { type: "opened", connection: "n" };
const caughtUp = { type: "caught-up", connection: "n" };
const event = (/** @type {number} */ id) => ({ type: "event", connection: "n", id });
const ended = (/** @type {string} */ why, more = {}) => ({ type: "ended", connection: "n", why, ...more });

test("a first visit opens a session and attaches", () => {
  new Told(null)
    .tell(begun).did("open-session")
    .tell({ type: "session", connection: "n", session: "a" }).did("new-session", "connect a -1")
    .tell(opened, event(0), caughtUp).did();
});

test("after a drop it goes on from where it was, with pauses that grow and are bounded", () => {
  const told = new Told("a").tell(begun, opened, event(0), event(1), caughtUp);
  told.tell(ended("network")).did("close", "retry-in");
  told.tell({ type: "retry" }).did("connect a 1");
  const pauses = [];
  for (let tries = 0; tries < 8; tries += 1) {
    const next = step(told.link, /** @type {any} */ ({ type: "ended", why: "network", connection: told.link.connection }));
    pauses.push(...next.deeds.flatMap((deed) => (deed.do === "retry-in" ? [deed.ms] : [])));
    told.link = step(next.link, { type: "retry" }).link;
  }
  assert.deepEqual(pauses, [500, 1000, 2000, 4000, 8000, 8000, 8000, 8000]);
  told.tell(opened, caughtUp);
  assert.equal(told.link.failures, 0);
});

test("what an older connection still says is ignored", () => {
  const told = new Told("a").tell(begun, opened, event(0));
  const old = told.link.connection;
  told.tell(ended("network"), { type: "retry" });
  const before = told.link;
  for (const type of ["opened", "event", "caught-up", "ended", "session"]) {
    told.tell({ type, connection: old, id: 9, why: "network", session: "b" }).did();
    assert.equal(told.link, before);
  }
});

test("events that are missing are fetched, and done without if they are gone", () => {
  const told = new Told("a").tell(begun, opened, event(0), caughtUp);
  told.tell(event(2)).did("connect a 0");
  assert.equal(told.link.lastId, 0);
  told.tell(opened, event(2)).did();
  assert.equal(told.link.lastId, 2);
  // A log that was cut at its beginning.
  assert.equal(new Told("a").tell(begun).tell(opened, event(40)).did().link.lastId, 40);
});

test("a log that is not the one it was is shown from its beginning", () => {
  const told = new Told("a").tell(begun, opened, event(0), event(1), event(2), caughtUp, ended("closed"), { type: "retry" });
  told.tell(opened, event(0), event(1)).did();
  told.tell(caughtUp).did("new-session", "connect a -1");
  // A replay of everything by a proxy that lost the place is no such thing.
  const other = new Told("a").tell(begun, opened, event(0), event(1), caughtUp, ended("closed"), { type: "retry" });
  other.tell(opened, event(0), event(1), event(2), caughtUp).did();
  assert.equal(other.link.lastId, 2);
  other.tell(event(1)).did("new-session", "connect a -1");
});

test("a session that is gone is forgotten once, and another opened", () => {
  const told = new Told("a").tell(begun);
  told.tell(ended("gone")).did("forget", "open-session");
  told.tell({ type: "gone", session: "a" }).did();
  told.tell({ type: "session", connection: "n", session: "b" }, { type: "gone", session: "a" }).did("new-session", "connect b -1");
});

test("a page that is not seen gives its connection back", () => {
  const told = new Told("a").tell(begun, opened, event(0), caughtUp);
  told.tell({ type: "hide" }).did("close");
  told.tell({ type: "retry" }, { type: "touch" }).did();
  told.tell({ type: "show" }).did("connect a 0");
  // An open state after a pause is not believed.
  told.tell(opened, { type: "show" }).did("connect a 0");
  assert.deepEqual(step(step(notBegun("a"), { type: "hide" }).link, { type: "begin" }).deeds, []);
});

test("newer pages may take its place, and a touch takes it back", () => {
  const told = new Told("a").tell(begun, opened, caughtUp);
  told.tell(ended("crowded-out")).did("close");
  told.tell({ type: "hide" }, { type: "show" }, { type: "retry" }).did();
  told.tell({ type: "touch" }).did("connect a -1");
});

test("who is signed out is asked to sign in, and nothing is tried until then", () => {
  for (const how of ["edge", "token"]) {
    const told = new Told("a").tell(begun, ended("signed-out", { how })).did("connect a -1", "close");
    assert.deepEqual([told.link.phase, told.link.signIn], ["signed-out", how]);
    told.tell({ type: "retry" }, { type: "hide" }, { type: "show" }, { type: "touch" }).did();
    told.tell({ type: "signed-in" }).did("connect a -1");
  }
});

test("a server that is full says when to come again", () => {
  const told = new Told("a").tell(begun);
  const full = { type: "ended", why: "status", status: 503, detail: "too many streams", retryAfter: 5, connection: told.link.connection };
  const { link, deeds } = step(told.link, /** @type {any} */ (full));
  assert.deepEqual(deeds, [{ do: "close" }, { do: "retry-in", ms: 5000 }]);
  assert.equal(link.why, "too many streams");
});

test("a refusal is told in the server's words, and not as a server that does not answer", () => {
  const told = new Told(null).tell(begun);
  for (const [status, detail] of [[503, "no room"], [429, "too many requests at once: wait 1 s"], [507, "full"]]) {
    told.tell(ended("status", { status, detail, retryAfter: null }));
    assert.deepEqual(downNotice(told.link), { tone: "amber", text: `No new session: ${detail}. It keeps trying.` });
    told.tell({ type: "retry" });
    // Still so while it is tried again.
    assert.deepEqual(notSent(told.link), { tone: "amber", text: `Not sent: ${detail}. Your text is kept.` });
  }
  told.tell(ended("network"));
  assert.deepEqual(downNotice(told.link), { tone: "down", text: "No connection to the console. It keeps trying." });
  assert.deepEqual(notSent(told.link), { tone: "down", text: "Not sent: there is no session yet. Your text is kept." });
  told.tell({ type: "retry" }, ended("closed"));
  assert.match(downNotice(told.link).text, /^No connection to the console: closed by the server\. /);
  told.tell({ type: "retry" }, ended("signed-out", { how: "edge" }));
  assert.deepEqual(notSent(told.link), { tone: "amber", text: "Not sent: signed out. Your text is kept." });
  const attached = new Told("a").tell(begun, opened, caughtUp, ended("status", { status: 503, detail: "too many", retryAfter: 5 }));
  assert.deepEqual(downNotice(attached.link), { tone: "amber", text: "Not attached: too many. It keeps trying." });
});

test("the lamp says in words what its colour says", () => {
  const at = (/** @type {any} */ some, /** @type {any} */ turn = "idle") => Object.values(lamp({ ...notBegun("a"), ...some }, turn)).join(" ");
  assert.equal(at({ phase: "connecting" }), "connecting Connecting");
  assert.equal(at({ phase: "connecting", failures: 2 }), "down Link down");
  assert.equal(at({ phase: "attached" }), "connecting Catching up");
  assert.equal(at({ phase: "attached", caughtUp: true }), "attached Attached");
  assert.equal(at({ phase: "attached", caughtUp: true }, "working"), "working Working");
  assert.equal(at({ phase: "attached", caughtUp: true }, "queued"), "working Waiting its turn");
  assert.equal(at({ phase: "down" }, "working"), "down Link down");
  assert.equal(at({ phase: "signed-out" }), "amber Signed out");
});

/* Answers */

test("what an answer means, whoever gave it", () => {
  /** @type {(raw: Record<string, unknown>, kind: string, more?: Record<string, unknown>) => void} */
  const check = (raw, kind, more = {}) => {
    const full = { type: "basic", status: 200, contentType: "application/json", retryAfter: null, text: "{}", ...raw };
    const found = meaning(/** @type {any} */ (full));
    assert.deepEqual({ kind: found.kind, ...Object.fromEntries(Object.keys(more).map((key) => [key, found[key]])) }, { kind, ...more });
  };
  const html = { contentType: "text/html; charset=utf-8", text: "<html>" };
  check({}, "ok");
  check({ type: "opaqueredirect", status: 0, contentType: "", text: "" }, "signed-out", { how: "edge" });
  check({ status: 302, ...html }, "signed-out", { how: "edge" });
  check({ ...html }, "signed-out", { how: "edge" });
  check({ status: 401, ...html }, "signed-out", { how: "edge" });
  check({ status: 403, ...html }, "signed-out", { how: "edge" });
  check({ status: 401, text: '{"detail":"no"}' }, "signed-out", { how: "token" });
  check({ status: 404, ...html }, "unreachable");
  check({ status: 502, ...html }, "unreachable");
  check({ status: 502, text: '{"verb":"status","exit_code":255}' }, "refused", { status: 502 });
  check({ status: 404, text: '{"detail":"session not found"}' }, "refused", { status: 404, detail: "session not found" });
  check({ status: 503, retryAfter: "7", text: '{"detail":"full"}' }, "refused", { retryAfter: 7 });
  check({ status: 503, retryAfter: "soon", text: '{"detail":["x"]}' }, "refused", { retryAfter: null, detail: "the server answered 503" });
  check({ text: "{" }, "signed-out", { how: "edge" });
});

/* The power panel */

const fresh = panel(USUAL);
/** @type {(from: import("../../assets/power.js").Panel, ...happenings: any[]) => { panel: import("../../assets/power.js").Panel, runs: string[] }} */
const through = (from, ...happenings) => {
  const runs = [];
  let now = from;
  for (const [at, happening] of happenings.entries()) {
    // A person who thinks before each answer.
    const next = stepPanel(now, { now: at * THINK_MS, ...happening });
    now = next.panel;
    if (next.run !== null) runs.push(next.run.verb + (next.run.skipLock ? " in spite of the lock" : ""));
  }
  return { panel: now, runs };
};
const ok = { exitCode: 0, stdout: "", stderr: "", rejected: false, locked: false };

test("what only looks runs at once, what changes asks first", () => {
  for (const { verb, mutating } of fresh.verbs) {
    const pressed = through(fresh, { type: "press", verb });
    assert.deepEqual(pressed.runs, mutating ? [] : [verb], verb);
    assert.deepEqual(through(pressed.panel, { type: "confirm", verb, now: THINK_MS }).runs, mutating ? [verb] : [], verb);
    // No confirmation without a question.
    assert.deepEqual(through(fresh, { type: "confirm", verb }).runs, []);
  }
});

test("a double tap is no answer", () => {
  for (const [thought, runs] of /** @type {const} */ ([[0, []], [THINK_MS - 1, []], [THINK_MS, ["cycle"]]])) {
    const tapped = through(fresh, { type: "press", verb: "cycle", now: 5 }, { type: "press", verb: "cycle", now: 5 + thought });
    assert.deepEqual(through(tapped.panel, { type: "confirm", verb: "cycle", now: 5 + thought }).runs, runs);
  }
});

test("a question goes when it is declined, when another is asked and when the panel closes", () => {
  for (const other of [{ type: "decline", verb: "cycle" }, { type: "press", verb: "stop" }, { type: "close" }, { type: "press", verb: "status" }]) {
    const { panel: now, runs } = through(fresh, { type: "press", verb: "cycle" }, other, { type: "confirm", verb: "cycle" });
    assert.equal(standing(now, "cycle").phase, "ready", other.type);
    assert.ok(!runs.includes("cycle"));
  }
});

test("one change at a time, and looking goes on meanwhile", () => {
  const { panel: now } = through(fresh, { type: "press", verb: "cycle" }, { type: "confirm", verb: "cycle" });
  assert.equal(busy(now)?.verb, "cycle");
  assert.deepEqual(through(now, { type: "press", verb: "stop" }, { type: "confirm", verb: "stop" }, { type: "press", verb: "cycle" }).runs, []);
  const looked = through(now, { type: "press", verb: "status" });
  assert.deepEqual(looked.runs, ["status"]);
  const done = through(looked.panel, { type: "outcome", verb: "cycle", outcome: ok, now: 9 });
  assert.deepEqual(standing(done.panel, "cycle"), { phase: "done", outcome: ok, took: 9 - THINK_MS });
  assert.equal(busy(done.panel), null);
  // An answer leaves the question that was asked meanwhile.
  const asked = through(looked.panel, { type: "outcome", verb: "cycle", outcome: ok }, { type: "press", verb: "reset" }, { type: "outcome", verb: "status", outcome: ok });
  assert.equal(standing(asked.panel, "reset").phase, "asking");
});

test("a locked VM takes a second confirmation", () => {
  const locked = { ...ok, exitCode: 77, locked: true };
  const first = [{ type: "press", verb: "stop" }, { type: "confirm", verb: "stop" }, { type: "outcome", verb: "stop", outcome: locked }];
  assert.deepEqual(through(fresh, ...first).runs, ["stop"]);
  assert.deepEqual(through(fresh, ...first, { type: "confirm", verb: "stop" }).runs, ["stop", "stop in spite of the lock"]);
  for (const other of [{ type: "decline", verb: "stop" }, { type: "close" }, { type: "press", verb: "reset" }]) {
    const { panel: now, runs } = through(fresh, ...first, other, { type: "confirm", verb: "stop" });
    assert.deepEqual([standing(now, "stop").phase, runs], ["done", ["stop"]]);
  }
  // Pressed again, it asks as it did at first.
  assert.deepEqual(through(fresh, ...first, { type: "press", verb: "stop" }, { type: "confirm", verb: "stop" }).runs, ["stop", "stop"]);
});

test("the server's list decides what there is, but known changes always ask", () => {
  const listed = panel({ verbs: ["status", "cycle", "thaw"], mutating: ["thaw"] });
  assert.deepEqual(listed.verbs.map((one) => [one.verb, one.mutating]), [["status", false], ["cycle", true], ["thaw", true]]);
  assert.deepEqual(listed.verbs.filter((one) => one.recovery).map((one) => one.verb), ["cycle"]);
});

test("outcomes", () => {
  assert.deepEqual(outcome({ verb: "a", exit_code: null, stdout: "x", rejected: true }), { exitCode: null, stdout: "x", stderr: "", rejected: true, locked: false });
  for (const body of [null, "x", {}, { detail: "no" }]) assert.equal(outcome(body), null);
});
