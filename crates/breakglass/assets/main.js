// Puts the page together: the link, the transcript, the composer, the power panel and the sign-in.
// What they decide is in modules of their own.

import { Api, textField } from "./api.js";
import { byId, element, words } from "./dom.js";
import { downNotice, lamp, notSent } from "./link.js";
import * as memory from "./memory.js";
import { PanelView } from "./panel-view.js";
import { PRESETS } from "./presets.js";
import { SignInView } from "./sign-in-view.js";
import { Stream } from "./stream.js";
import { TranscriptView } from "./transcript-view.js";
import { EMPTY, apply, clock } from "./transcript.js";

/** @typedef {import("./api.js").Answer} Answer */
/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./transcript.js").LogEvent} LogEvent */

// Before anything else: a token does not stay in the address, nor in the history. Whoever sends a link
// must not take away the token that is there: then theirs is only offered, should that one be refused.
const oneTime = new URLSearchParams(location.hash.slice(1)).get("token");
if (oneTime !== null || location.search !== "") history.replaceState(null, "", location.pathname);
if (oneTime !== null && memory.token.get() === null) memory.token.set(oneTime, false);

/** How long a prompt waits for a session. */
const SESSION_MS = 12_000;

const ui = {
  lamp: byId("lamp", HTMLSpanElement),
  lampText: byId("lamp-text", HTMLParagraphElement),
  fresh: byId("new", HTMLButtonElement),
  welcome: byId("welcome", HTMLElement),
  cards: byId("preset-cards", HTMLDivElement),
  chips: byId("preset-chips", HTMLDivElement),
  earlier: byId("earlier", HTMLDivElement),
  earlierList: byId("earlier-list", HTMLUListElement),
  working: byId("working", HTMLDivElement),
  workingText: byId("working-text", HTMLSpanElement),
  notice: byId("notice", HTMLDivElement),
  composer: byId("composer", HTMLFormElement),
  prompt: byId("prompt", HTMLTextAreaElement),
  send: byId("send", HTMLButtonElement),
  stop: byId("stop", HTMLButtonElement),
};

const api = new Api(() => memory.token.get());
const view = new TranscriptView();
const signIn = new SignInView(oneTime, () => {
  stream.tell({ type: "signed-in" });
  void panelView.refresh();
});
const panelView = new PanelView(api, (how) => signIn.show(how));

let transcript = EMPTY;
/** @type {LogEvent[]} */
let events = [];
/** When the turn began, if this page saw it begin. @type {number | null} */
let since = null;
/** A prompt is on its way. */
let sending = false;
/** A prompt of which nobody knows whether it arrived. @type {string | null} */
let unsure = null;
/** The transcript on show is from the device, not from the server. */
let remembered = false;
/** The session was lost: what it said stays on show above the new one. */
let lost = false;
let everAttached = false;
/** What comes now is a replay of what was never shown: too much to be read out. */
let replay = true;

const stream = new Stream(api, memory.session.get(), {
  changed: linkChanged,
  event: (event) => {
    const before = transcript.turn;
    const next = apply(transcript, event);
    transcript = next.transcript;
    events.push(event);
    view.append(next.items);
    if (event.kind === "user") {
      since = stream.link.caughtUp ? Date.now() : null;
      if (unsure !== null && event.text === unsure) arrived(unsure);
    }
    if (event.kind === "turn_end") keepSeen();
    if (before !== transcript.turn || event.kind === "user") render();
  },
  began: (session) => {
    if (session !== null) memory.session.set(session);
    transcript = EMPTY;
    events = [];
    since = null;
    if (lost && !view.empty) view.divide("That session is gone from the server. A new one starts here.");
    else view.clear();
    lost = false;
    remembered = false;
    render();
  },
  forgotten: (session) => {
    memory.session.set(null);
    memory.earlier.remove(session);
    memory.lastSeen.forget();
    lost = true;
  },
});

/** @param {Link} link */
function linkChanged(link) {
  if (link.phase !== "attached") replay = transcript.lastId < 0;
  view.announce(link.phase === "attached" && (link.caughtUp || !replay));
  if (link.phase === "attached") {
    if (remembered) {
      remembered = false;
      view.clear();
    }
    // This is the whole log: what is kept of a longer one is not of this session any more.
    if (link.caughtUp && isKept() && memory.lastSeen.lastId() > transcript.lastId) memory.lastSeen.forget();
    if (!everAttached) void panelView.refresh();
    everAttached = true;
    signIn.hide();
  }
  if (link.phase === "signed-out" && link.signIn !== null) signIn.show(link.signIn);
  if (link.phase === "down" && view.empty && !remembered) showRemembered();
  linkNotice(link);
  render();
}

/** Whether a page that opens now shows this session: another tab may have moved to another one. */
function isKept() {
  const { session } = stream.link;
  return session !== null && session === memory.session.get();
}

/**
 * Keeps the transcript for a page that opens without a connection. Never less of it than is kept: this
 * page may have received nothing, only the beginning of a replay, or less than another tab.
 */
function keepSeen() {
  const last = events.at(-1);
  if (last === undefined || !isKept() || last.id < memory.lastSeen.lastId()) return;
  memory.lastSeen.set(Date.now(), events);
}

/** Without a connection the page shows what it saw last. */
function showRemembered() {
  const kept = memory.lastSeen.get();
  if (kept === null || kept.events.length === 0) return;
  remembered = true;
  let state = EMPTY;
  for (const event of kept.events) {
    const next = apply(state, event);
    state = next.transcript;
    view.append(next.items);
  }
  const at = new Date(kept.at).toLocaleString([], { weekday: "short", hour: "2-digit", minute: "2-digit" });
  view.divide(`As it was seen last, ${at}`);
}

function render() {
  const { link } = stream;
  const { turn } = transcript;
  const busy = turn !== "idle";
  const now = lamp(link, turn);
  ui.lamp.dataset.tone = now.tone;
  if (ui.lampText.textContent !== now.text) ui.lampText.textContent = now.text;
  document.title = link.shown ? `${now.text} · Breakglass` : "Breakglass";
  ui.fresh.disabled = busy || link.session === null || (view.empty && !remembered);
  ui.stop.hidden = !busy;
  ui.send.disabled = busy || sending || ui.prompt.value.trim() === "";
  ui.welcome.hidden = !view.empty;
  ui.chips.hidden = view.empty;
  for (const preset of document.querySelectorAll("button[data-preset]")) {
    preset.setAttribute("aria-disabled", String(busy || sending));
  }
  ui.prompt.placeholder = view.empty ? "What is wrong?" : "Message";
  renderWorking();
  view.settle();
}

function renderWorking() {
  const { link } = stream;
  const caughtUp = link.phase === "attached" && link.caughtUp;
  const catchesUp = link.phase === "attached" && !link.caughtUp;
  ui.working.hidden = !sending && (transcript.turn === "idle" || catchesUp);
  ui.working.classList.toggle("away", !caughtUp && !sending);
  if (ui.working.hidden) return;
  if (sending) ui.workingText.textContent = "Sending";
  else if (!caughtUp) ui.workingText.textContent = "The turn goes on without this page";
  else if (transcript.turn === "queued") ui.workingText.textContent = "Waiting its turn";
  else ui.workingText.textContent = since === null ? "Working" : `Working · ${clock(Date.now() - since)}`;
}

/* Notices: one at a time, the newest. */

/** @type {"link" | "other" | null} */
let noticeOf = null;
/** What the last notice of a link that is down said. */
let linkText = "";

/**
 * @param {"link" | "other"} of
 * @param {"plain" | "amber" | "down"} tone
 * @param {string} text
 * @param {{ label: string, act: () => void }} [action]
 */
function notice(of, tone, text, action) {
  noticeOf = of;
  ui.notice.dataset.tone = tone;
  const button = element("button", "button", action?.label ?? "Dismiss");
  button.type = "button";
  button.addEventListener("click", () => {
    clearNotice(of);
    action?.act();
  });
  ui.notice.replaceChildren(element("p", "", ...words(text)), button);
}

/** @param {"link" | "other"} of */
function clearNotice(of) {
  if (noticeOf !== of) return;
  noticeOf = null;
  ui.notice.replaceChildren();
}

/** @param {Link} link */
function linkNotice(link) {
  if (link.phase === "down" && link.failures > 1) {
    // The lamp says it, too: what became of a message is more to know.
    if (noticeOf === "other") return;
    const { tone, text } = downNotice(link);
    if (noticeOf === null) notice("link", tone, text, { label: "Try now", act: () => stream.tell({ type: "touch" }) });
    else if (text !== linkText) {
      // Only the words, because the button may be under a finger.
      ui.notice.dataset.tone = tone;
      ui.notice.querySelector("p")?.replaceChildren(...words(text));
    }
    linkText = text;
  } else if (link.phase === "paused") {
    notice("link", "plain", "Paused here, because newer tabs are attached.", {
      label: "Attach here",
      act: () => stream.tell({ type: "touch" }),
    });
  } else if (link.phase === "signed-out") {
    const how = link.signIn ?? "edge";
    notice("link", "amber", "Signed out. The power panel needs a sign-in, too.", {
      label: "Sign in",
      act: () => signIn.show(how),
    });
  } else if (link.phase === "attached" || link.phase === "hidden") {
    clearNotice("link");
  }
}

/* Sending and stopping */

/** The session, once there is one. @returns {Promise<string | null>} */
async function sessionNow() {
  const until = Date.now() + SESSION_MS;
  while (stream.link.session === null && Date.now() < until) {
    if (stream.link.phase === "signed-out") return null;
    await new Promise((go) => setTimeout(go, 50));
  }
  return stream.link.session;
}

/** @param {string} text */
async function prompt(text) {
  /** @type {() => Promise<{ session: string | null, answer: Answer | null }>} */
  const once = async () => {
    const session = await sessionNow();
    if (session === null) return { session, answer: null };
    const path = `/api/session/${encodeURIComponent(session)}/prompt`;
    return { session, answer: await api.call("POST", path, { body: { prompt: text } }) };
  };
  const first = await once();
  const gone = first.answer?.kind === "refused" && first.answer.status === 404;
  if (!gone || first.session === null) return first.answer;
  stream.tell({ type: "gone", session: first.session });
  return (await once()).answer;
}

/**
 * @param {string} text
 * @returns {Promise<void>}
 */
async function send(text) {
  if (text.trim() === "" || sending) return;
  if (transcript.turn !== "idle") {
    notice("other", "plain", "A turn is running. Send this when it is over, or stop it.");
    return;
  }
  sending = true;
  clearNotice("other");
  render();
  const answer = await prompt(text);
  sending = false;
  if (answer === null) {
    const { tone, text: told } = notSent(stream.link);
    notice("other", tone, told);
  } else {
    switch (answer.kind) {
      case "ok":
        arrived(text);
        break;
      case "refused":
        notice("other", "amber", `Not sent: ${answer.detail}. Your text is kept.`);
        break;
      case "signed-out":
        signIn.show(answer.how);
        notice("other", "amber", "Not sent: signed out. Your text is kept.");
        break;
      case "unreachable":
        unsure = text;
        notice("other", "down", `${sentence(answer.detail)}: nobody knows whether it was sent. Your text is kept.`);
    }
  }
  render();
}

/** @param {string} text */
function sentence(text) {
  return text.charAt(0).toUpperCase() + text.slice(1);
}

/**
 * The server has this prompt: the draft of it is done with.
 * @param {string} text
 */
function arrived(text) {
  unsure = null;
  if (ui.prompt.value === text) setDraft("");
  clearNotice("other");
}

/** @param {string} text */
function setDraft(text) {
  ui.prompt.value = text;
  memory.draft.set(text);
  fit();
  render();
}

/** Browsers that size the field by its content need no help. */
function fit() {
  if (CSS.supports("field-sizing", "content")) return;
  const lines = Math.min(6, ui.prompt.value.split("\n").length);
  ui.prompt.rows = Math.max(1, lines);
}

async function stop() {
  const session = stream.link.session;
  if (session === null) return;
  ui.stop.disabled = true;
  const answer = await api.call("POST", `/api/session/${encodeURIComponent(session)}/cancel`);
  ui.stop.disabled = false;
  if (answer.kind === "signed-out") signIn.show(answer.how);
  else if (answer.kind === "refused") notice("other", "amber", `Not stopped: ${answer.detail}.`);
  else if (answer.kind === "unreachable") notice("other", "down", `Not stopped: ${answer.detail}. Try again.`);
}

async function fresh() {
  ui.fresh.disabled = true;
  const answer = await api.call("POST", "/api/session");
  const session = answer.kind === "ok" ? textField(answer.body, "session_id") : null;
  if (session !== null) moveTo(session);
  else if (answer.kind === "signed-out") signIn.show(answer.how);
  else if (answer.kind === "refused") notice("other", "amber", `No new session: ${answer.detail}.`);
  else notice("other", "down", "No new session: the server does not answer. Try again.");
  render();
}

/** @param {string} session */
function moveTo(session) {
  const first = events.find((event) => event.kind === "user");
  if (stream.link.session !== null && first !== undefined) {
    const title = typeof first.text === "string" ? first.text.slice(0, 80) : "";
    memory.earlier.add({ session: stream.link.session, title, at: Date.now() });
  }
  memory.earlier.remove(session);
  memory.lastSeen.forget();
  clearNotice("other");
  stream.tell({ type: "move", session });
  renderEarlier();
  ui.prompt.focus();
}

function renderEarlier() {
  const list = memory.earlier.get();
  ui.earlier.hidden = list.length === 0;
  ui.earlierList.replaceChildren(
    ...list.map((one) => {
      const when = element("time", "", new Date(one.at).toLocaleString([], {
        day: "numeric", month: "short", hour: "2-digit", minute: "2-digit",
      }));
      const button = element("button", "", element("span", "", one.title), when);
      button.type = "button";
      button.addEventListener("click", () => moveTo(one.session));
      return element("li", "", button);
    }),
  );
}

/* Wiring */

for (const preset of PRESETS) {
  const card = element("button", "preset-card", element("b", "", preset.title), element("span", "", preset.hint));
  const chip = element("button", "preset-chip", preset.title);
  for (const button of [card, chip]) {
    button.type = "button";
    button.dataset.preset = preset.title;
    button.addEventListener("click", () => void send(preset.prompt));
  }
  ui.cards.append(card);
  ui.chips.append(chip);
}

ui.composer.addEventListener("submit", (event) => {
  event.preventDefault();
  void send(ui.prompt.value);
});
ui.prompt.addEventListener("keydown", (event) => {
  if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
  event.preventDefault();
  void send(ui.prompt.value);
});
ui.prompt.addEventListener("input", () => setDraft(ui.prompt.value));
ui.stop.addEventListener("click", () => void stop());
ui.fresh.addEventListener("click", () => void fresh());

document.addEventListener("visibilitychange", () => {
  if (document.visibilityState === "hidden") keepSeen();
  stream.tell({ type: document.visibilityState === "hidden" ? "hide" : "show" });
});
addEventListener("pageshow", (event) => {
  if (event.persisted) stream.tell({ type: "show" });
});
addEventListener("online", () => stream.tell({ type: "touch" }));
addEventListener("offline", () => {
  const { phase, connection } = stream.link;
  if (phase === "attached") stream.tell({ type: "ended", connection, why: "network" });
});
addEventListener("focus", () => {
  if (stream.link.phase === "paused") stream.tell({ type: "touch" });
});

// On iOS the keyboard covers the page instead of making it smaller.
const viewport = window.visualViewport;
if (viewport !== null) {
  const height = new CSSStyleSheet();
  document.adoptedStyleSheets = [height];
  viewport.addEventListener("resize", () => {
    const covered = viewport.scale === 1 && innerHeight - viewport.height > 80;
    height.replaceSync(covered ? `:root { --height: ${viewport.height}px; }` : "");
    if (covered) scrollTo(0, 0);
  });
}

if ("serviceWorker" in navigator) navigator.serviceWorker.register("/service-worker.js").catch(() => undefined);

setInterval(renderWorking, 1000);
renderEarlier();
setDraft(memory.draft.get());
if (document.visibilityState === "hidden") stream.tell({ type: "hide" });
else stream.tell({ type: "begin" });
