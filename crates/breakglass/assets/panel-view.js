// The power panel in the document: a sheet on a phone, a column on a desk, one and the same panel.
// What it shows is decided in `power.js`; this file has the calls, the focus and the looks.

import { CHEVRON_RIGHT, byId, element, icon, preformatted, words } from "./dom.js";
import { listField } from "./api.js";
import { THINK_MS, USUAL, busy, outcome, panel, standing, stepPanel } from "./power.js";
import { visible } from "./prose.js";
import { clock } from "./transcript.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./power.js").Panel} Panel */
/** @typedef {import("./power.js").PanelHappening} PanelHappening */
/** @typedef {import("./power.js").Standing} Standing */
/** @typedef {import("./power.js").Verb} Verb */
/** @typedef {import("./power.js").Outcome} Outcome */

/** The server bounds a verb at two minutes; its answer is waited for a little longer. */
const VERB_MS = 150_000;

/**
 * What one verb has in the document. `drawn` is what its body shows.
 * @typedef {{ card: HTMLElement, press: HTMLButtonElement, body: HTMLElement, drawn: Standing | null }} Card
 */

export class PanelView {
  #api;
  #signIn;
  #panel = panel(USUAL);
  /** @type {Map<string, Card>} */
  #cards = new Map();
  #list = byId("verbs", HTMLDivElement);
  #sheet = byId("power-sheet", HTMLDialogElement);
  #content = byId("power", HTMLElement);
  #says = element("p", "unseen");

  /**
   * @param {Api} api
   * @param {(how: "edge" | "token") => void} signIn
   */
  constructor(api, signIn) {
    this.#api = api;
    this.#signIn = signIn;
    this.#says.setAttribute("role", "status");
    this.#content.append(this.#says);
    const desk = matchMedia("(min-width: 60rem)");
    const place = () => {
      if (desk.matches) {
        if (this.#sheet.open) this.#sheet.close();
        byId("power-column", HTMLElement).append(this.#content);
      } else {
        this.#sheet.append(this.#content);
      }
    };
    desk.addEventListener("change", place);
    place();
    byId("open-power", HTMLButtonElement).addEventListener("click", () => {
      this.#sheet.showModal();
      this.#cards.values().next().value?.press.focus();
    });
    byId("close-power", HTMLButtonElement).addEventListener("click", () => this.#sheet.close());
    this.#sheet.addEventListener("close", () => this.#tell({ type: "close" }));
    this.#sheet.addEventListener("click", (event) => {
      // Only the backdrop is the dialog itself: the panel covers the rest.
      if (event.target === this.#sheet) this.#sheet.close();
    });
    this.#content.addEventListener("keydown", (event) => {
      const asking = this.#panel.verbs.find((one) => asks(standing(this.#panel, one.verb)));
      if (event.key !== "Escape" || asking === undefined) return;
      event.preventDefault();
      this.#decline(asking.verb);
    });
    setInterval(() => this.#tick(), 1000);
    this.#draw();
  }

  /** Asks the server for its verbs; without an answer the usual ones stay. */
  async refresh() {
    const answer = await this.#api.call("GET", "/api/pve/verbs");
    if (answer.kind !== "ok") return;
    const verbs = listField(answer.body, "verbs");
    if (verbs !== null) this.#tell({ type: "verbs", verbs, mutating: listField(answer.body, "mutating") ?? verbs });
  }

  /** @param {PanelHappening} happening */
  #tell(happening) {
    const { panel: next, run } = stepPanel(this.#panel, happening);
    if (next === this.#panel) return;
    this.#panel = next;
    this.#draw();
    if (run !== null) void this.#run(run);
  }

  /** @param {import("./power.js").Order} order */
  async #run({ verb, skipLock }) {
    const mutating = this.#panel.verbs.some((one) => one.verb === verb && one.mutating);
    const path = `/api/pve/${encodeURIComponent(verb)}`;
    const body = skipLock ? { body: { skiplock: true } } : {};
    const answer = await this.#api.call("POST", path, { ...body, boundMs: VERB_MS });
    const told = (/** @type {string} */ text) => this.#tell({ type: "told", verb, text });
    switch (answer.kind) {
      case "ok":
      case "refused": {
        const found = outcome(answer.body);
        if (found !== null) this.#tell({ type: "outcome", verb, outcome: found, now: Date.now() });
        else told(answer.kind === "refused" ? answer.detail : "The server's answer has no outcome in it.");
        break;
      }
      case "signed-out":
        told("Signed out: nothing was run.");
        this.#signIn(answer.how);
        break;
      case "unreachable":
        told(
          mutating
            ? `No answer: ${answer.detail}. It may have been carried out all the same. Check with Status.`
            : `No answer: ${answer.detail}.`,
        );
    }
    this.#says.textContent = this.#spoken(verb);
  }

  /** @param {string} verb */
  #spoken(verb) {
    const now = standing(this.#panel, verb);
    if (now.phase === "told") return `${verb}: ${now.text}`;
    if (now.phase === "locked") return `${verb}: the VM is locked`;
    return now.phase === "done" ? `${verb}: ${ending(now.outcome)}` : "";
  }

  /** @param {string} verb */
  #decline(verb) {
    this.#tell({ type: "decline", verb });
    this.#cards.get(verb)?.press.focus();
  }

  #draw() {
    const { verbs } = this.#panel;
    if (verbs.length !== this.#cards.size || verbs.some((one) => !this.#cards.has(one.verb))) this.#lay(verbs);
    const changing = busy(this.#panel);
    for (const verb of verbs) {
      const card = this.#cards.get(verb.verb);
      if (card === undefined) continue;
      const now = standing(this.#panel, verb.verb);
      const off = now.phase === "running" || (verb.mutating && changing !== null);
      card.press.setAttribute("aria-disabled", String(off));
      card.card.classList.toggle("asking", asks(now));
      if (card.drawn === now || (card.drawn?.phase === "ready" && now.phase === "ready")) continue;
      card.drawn = now;
      card.body.replaceChildren(...this.#body(verb, now));
      if (now.phase !== "ready") card.card.scrollIntoView({ block: "nearest" });
      // A question about a lock comes unasked, and takes no focus.
      if (now.phase === "asking") card.body.querySelector("button")?.focus();
    }
  }

  /** @param {Verb[]} verbs */
  #lay(verbs) {
    this.#cards.clear();
    const looks = element("h3", "", "Look");
    const changes = element("h3", "", "Change");
    /** @type {(verb: Verb) => HTMLElement} */
    const card = (verb) => {
      const title = element("b", "", verb.title);
      if (verb.recovery) title.append(element("span", "badge", "Recovery"));
      const press = element("button", "verb-press", element("span", "", title, element("span", "what", verb.what)));
      press.type = "button";
      press.append(icon(CHEVRON_RIGHT));
      press.dataset.verb = verb.verb;
      press.addEventListener("click", () => this.#tell({ type: "press", verb: verb.verb, now: Date.now() }));
      const body = element("div", "verb-body");
      const kinds = `${verb.destructive ? " destructive" : ""}${verb.recovery ? " recovery" : ""}`;
      const made = element("div", `verb${kinds}`, press, body);
      this.#cards.set(verb.verb, { card: made, press, body, drawn: null });
      return made;
    };
    const reading = verbs.filter((one) => !one.mutating).map(card);
    const changing = verbs.filter((one) => one.mutating).map(card);
    this.#list.replaceChildren(looks, ...reading, changes, ...changing);
  }

  /**
   * @param {Verb} verb
   * @param {Standing} now
   * @returns {HTMLElement[]}
   */
  #body(verb, now) {
    switch (now.phase) {
      case "ready":
        return [];
      case "asking":
        return [this.#question(verb, verb.question, verb.yes)];
      case "running": {
        const dots = element("span", "dots", element("i", ""), element("i", ""), element("i", ""));
        dots.setAttribute("aria-hidden", "true");
        const text = element("span", "running-text", runningText(now.since));
        text.dataset.since = String(now.since);
        return [element("div", "running", dots, text)];
      }
      case "told":
        return [element("div", "outcome", element("p", "told", ...words(now.text)))];
      case "done":
        return [outcomeBox(verb, now.outcome, now.took)];
      case "locked": {
        const question = "The VM is locked: a backup, a snapshot or a migration may be at work on it. Break the lock?";
        return [outcomeBox(verb, now.outcome, now.took), this.#question(verb, question, "Break the lock")];
      }
    }
  }

  /**
   * @param {Verb} verb
   * @param {string} asked
   * @param {string} confirm
   */
  #question(verb, asked, confirm) {
    const question = element("p", "", asked);
    question.id = `question-${verb.verb}`;
    const no = element("button", "button outlined", "Leave it");
    no.type = "button";
    no.setAttribute("aria-describedby", question.id);
    no.addEventListener("click", () => this.#decline(verb.verb));
    const yes = element("button", verb.destructive ? "button danger" : "button primary", confirm);
    yes.type = "button";
    yes.dataset.confirm = verb.verb;
    yes.setAttribute("aria-disabled", "true");
    setTimeout(() => yes.removeAttribute("aria-disabled"), THINK_MS);
    yes.setAttribute("aria-describedby", question.id);
    yes.addEventListener("click", () => {
      if (yes.hasAttribute("aria-disabled")) return;
      this.#cards.get(verb.verb)?.press.focus();
      this.#tell({ type: "confirm", verb: verb.verb, now: Date.now() });
    });
    const ask = element("div", "ask", question, element("div", "", no, yes));
    ask.setAttribute("role", "group");
    ask.setAttribute("aria-labelledby", question.id);
    return ask;
  }

  #tick() {
    for (const text of this.#list.querySelectorAll(".running-text")) {
      if (text instanceof HTMLElement) text.textContent = runningText(Number(text.dataset.since));
    }
  }
}

/** @param {Standing} now */
function asks(now) {
  return now.phase === "asking" || now.phase === "locked";
}

/** @param {number} since */
function runningText(since) {
  const passed = Date.now() - since;
  return passed < 1000 ? "Running" : `Running · ${clock(passed)}`;
}

/** @param {Outcome} found */
function ending(found) {
  if (found.rejected) return "refused";
  return found.exitCode === null ? "no exit code" : `exit ${found.exitCode}`;
}

/**
 * @param {Verb} verb
 * @param {Outcome} found
 * @param {number} took
 */
function outcomeBox(verb, found, took) {
  const good = found.exitCode === 0 && !found.rejected;
  const exit = element("span", good ? "exit good" : "exit bad", ending(found));
  const time = element("time", "", new Date().toLocaleTimeString());
  const box = element("div", "outcome", element("div", "outcome-head", exit, time, took < 1000 ? "" : `after ${clock(took)}`));
  const stdout = found.stdout.trimEnd();
  const stderr = found.stderr.trimEnd();
  if (found.exitCode === null && !found.rejected) {
    box.append(element("p", "told", "It did not end in time. It may still be at work on the host: check with Status."));
  }
  if (stdout !== "") box.append(preformatted(visible(stdout), `Output of ${verb.verb}`));
  if (stderr !== "") {
    if (stdout !== "") box.append(element("p", "stream-name", "Errors"));
    box.append(preformatted(visible(stderr), `Errors of ${verb.verb}`));
  }
  if (stdout === "" && stderr === "") box.append(element("p", "stream-name", "No output"));
  return box;
}
