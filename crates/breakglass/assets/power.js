// The power panel without its looks: what was pressed and answered goes in, what each verb shows
// comes out. Pure. One mutating verb at a time is under way from here; the server sees to the rest.

/**
 * What is known of a verb. `destructive` ones take power from a running machine.
 * @typedef {{ verb: string, title: string, what: string, mutating: boolean, destructive: boolean,
 *   recovery: boolean, question: string, yes: string }} Verb
 */

/**
 * @typedef {{ exitCode: number | null, stdout: string, stderr: string, rejected: boolean, locked: boolean }} Outcome
 */

/**
 * So long a question stands before it can be answered with yes: a double tap is not an answer, even
 * if the panel moves the answer under the finger.
 */
export const THINK_MS = 600;

/**
 * How one verb stands. `told` is an answer that is no outcome, in words. `locked` is an outcome that
 * asks whether to do it in spite of the VM's lock.
 * @typedef {{ phase: "ready" } | { phase: "asking", since: number } | { phase: "running", since: number }
 *   | { phase: "done", outcome: Outcome, took: number }
 *   | { phase: "locked", outcome: Outcome, took: number, since: number }
 *   | { phase: "told", text: string }} Standing
 */

/** @typedef {{ verbs: Verb[], standing: Record<string, Standing> }} Panel */

/** What is to be sent. @typedef {{ verb: string, skipLock: boolean }} Order */

/**
 * @typedef {{ type: "press", verb: string, now: number } | { type: "confirm", verb: string, now: number }
 *   | { type: "decline", verb: string } | { type: "close" }
 *   | { type: "outcome", verb: string, outcome: Outcome, now: number }
 *   | { type: "told", verb: string, text: string }
 *   | { type: "verbs", verbs: string[], mutating: string[] }} PanelHappening
 */

/** @type {Omit<Verb, "mutating">[]} */
const KNOWN = [
  {
    verb: "status", title: "Status", what: "Is the VM running, and does QEMU answer?",
    destructive: false, recovery: false, question: "", yes: "",
  },
  {
    verb: "forensics", title: "Forensics", what: "Record the VM's state on the host, change nothing.",
    destructive: false, recovery: false, question: "", yes: "",
  },
  {
    verb: "cycle", title: "Power cycle", what: "Full stop, then start, in a new QEMU process. Cures an I/O stall.",
    destructive: true, recovery: true, yes: "Cycle now",
    question: "Power cycle the machine? Everything that runs on it dies, and unsaved work is lost.",
  },
  {
    verb: "reset", title: "Reset", what: "Warm reboot in the same QEMU process. Fails if QEMU hangs.",
    destructive: true, recovery: false, yes: "Reset now",
    question: "Reset the machine? Everything that runs on it dies, and unsaved work is lost.",
  },
  {
    verb: "stop", title: "Stop", what: "Power off, and stay off.",
    destructive: true, recovery: false, yes: "Stop now",
    question: "Stop the machine? It stays off until somebody starts it.",
  },
  {
    verb: "start", title: "Start", what: "Power on.",
    destructive: false, recovery: false, yes: "Start now",
    question: "Start the machine?",
  },
];

/** What every server so far knows: the panel is there before the first answer. */
export const USUAL = {
  verbs: ["cycle", "forensics", "reset", "start", "status", "stop"],
  mutating: ["cycle", "reset", "start", "stop"],
};

/**
 * @param {{ verbs: string[], mutating: string[] }} listed
 * @returns {Panel}
 */
export function panel(listed) {
  return { verbs: verbs(listed.verbs, listed.mutating), standing: {} };
}

/**
 * @param {Panel} panel
 * @param {string} verb
 * @returns {Standing}
 */
export function standing(panel, verb) {
  return panel.standing[verb] ?? { phase: "ready" };
}

/**
 * The verb that changes the machine at this moment, as far as this page knows.
 * @param {Panel} panel
 */
export function busy(panel) {
  return panel.verbs.find((one) => one.mutating && standing(panel, one.verb).phase === "running") ?? null;
}

/**
 * The next panel, and what is to be run now.
 * @param {Panel} before
 * @param {PanelHappening} happening
 * @returns {{ panel: Panel, run: Order | null }}
 */
export function stepPanel(before, happening) {
  const still = { panel: before, run: null };
  switch (happening.type) {
    case "verbs":
      return { panel: { ...before, verbs: verbs(happening.verbs, happening.mutating) }, run: null };
    case "close":
      return { panel: { ...before, standing: withoutQuestions(before.standing) }, run: null };
    default:
  }
  const verb = before.verbs.find((one) => one.verb === happening.verb);
  if (verb === undefined) return still;
  const now = standing(before, verb.verb);
  const become = (/** @type {Standing} */ next, /** @type {Order | null} */ run) => ({
    panel: { ...before, standing: { ...withoutQuestions(before.standing), [verb.verb]: next } },
    run,
  });
  const running = (/** @type {number} */ since, skipLock = false) =>
    become({ phase: "running", since }, { verb: verb.verb, skipLock });
  switch (happening.type) {
    case "press":
      if (now.phase === "running" || (verb.mutating && busy(before) !== null)) return still;
      if (now.phase === "asking") return still;
      if (verb.mutating) return become({ phase: "asking", since: happening.now }, null);
      return running(happening.now);
    case "confirm":
      if (busy(before) !== null || (now.phase !== "asking" && now.phase !== "locked")) return still;
      return happening.now - now.since < THINK_MS ? still : running(happening.now, now.phase === "locked");
    case "decline":
      if (now.phase === "asking") return become({ phase: "ready" }, null);
      return now.phase === "locked" ? become(answered(now), null) : still;
    case "outcome": {
      if (now.phase !== "running") return still;
      const { outcome } = happening;
      const took = happening.now - now.since;
      const asks = outcome.locked && verb.mutating;
      return settle(before, verb.verb, asks ? { phase: "locked", outcome, took, since: happening.now } : { phase: "done", outcome, took });
    }
    case "told":
      if (now.phase !== "running") return still;
      return settle(before, verb.verb, { phase: "told", text: happening.text });
  }
}

/**
 * The outcome that a body holds; null if it is none.
 * @param {unknown} body
 * @returns {Outcome | null}
 */
export function outcome(body) {
  if (typeof body !== "object" || body === null || !("exit_code" in body)) return null;
  const { exit_code, stdout, stderr, rejected, locked } = /** @type {Record<string, unknown>} */ (body);
  return {
    exitCode: typeof exit_code === "number" ? exit_code : null,
    stdout: typeof stdout === "string" ? stdout : "",
    stderr: typeof stderr === "string" ? stderr : "",
    rejected: rejected === true,
    locked: locked === true,
  };
}

/**
 * An answer does not close a question that is open elsewhere in the panel.
 * @param {Panel} before
 * @param {string} verb
 * @param {Standing} next
 */
function settle(before, verb, next) {
  return { panel: { ...before, standing: { ...before.standing, [verb]: next } }, run: null };
}

/**
 * @param {Record<string, Standing>} all
 * @returns {Record<string, Standing>}
 */
function withoutQuestions(all) {
  const kept = Object.entries(all).filter(([, one]) => one.phase !== "asking");
  return Object.fromEntries(kept.map(([verb, one]) => [verb, one.phase === "locked" ? answered(one) : one]));
}

/**
 * @param {Extract<Standing, { phase: "locked" }>} locked
 * @returns {Standing}
 */
function answered({ outcome, took }) {
  return { phase: "done", outcome, took };
}

/**
 * In our order, and what we do not know last: it asks first, whatever it is called.
 * @param {string[]} listed
 * @param {string[]} mutating
 * @returns {Verb[]}
 */
function verbs(listed, mutating) {
  const known = KNOWN.filter((one) => listed.includes(one.verb));
  const unknown = listed.filter((verb) => !KNOWN.some((one) => one.verb === verb));
  return [
    ...known.map((one) => ({ ...one, mutating: mutating.includes(one.verb) || one.question !== "" })),
    ...unknown.map((verb) => ({
      verb, title: verb, what: "", mutating: mutating.includes(verb), destructive: mutating.includes(verb),
      recovery: false, question: `Run ${verb}?`, yes: "Run now",
    })),
  ];
}
