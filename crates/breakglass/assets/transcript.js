// Events of a session to what the transcript shows. Pure: a state and an event make the next state
// and the items that are new. An event whose id was seen is not shown again, however often it comes.

/**
 * An event as the server's log has it. Which fields there are depends on `kind`; a client does not
 * rely on any of them.
 * @typedef {{ id: number, kind: string, [field: string]: unknown }} LogEvent
 */

/**
 * Something to show, in the order of the events. `id` is its event's.
 * @typedef {{ id: number, type: "user", text: string }
 *   | { id: number, type: "prose", text: string }
 *   | { id: number, type: "tool", name: string, summary: string, detail: string }
 *   | { id: number, type: "note", tone: "quiet" | "amber", text: string }} Item
 */

/**
 * `lastId` is the id of the newest event, -1 if there was none. `turn` says what the session does.
 * `lastProse` is the newest prose of the turn, because a result often says it once more.
 * @typedef {{ lastId: number, turn: "idle" | "queued" | "working", lastProse: string }} Transcript
 */

/** @type {Transcript} */
export const EMPTY = { lastId: -1, turn: "idle", lastProse: "" };

/**
 * The event that the data of a stream's event holds; null if it is none of a log.
 * @param {string} data
 * @returns {LogEvent | null}
 */
export function logEvent(data) {
  /** @type {unknown} */
  let value;
  try {
    value = JSON.parse(data);
  } catch {
    return null;
  }
  if (typeof value !== "object" || value === null) return null;
  const { id, kind } = /** @type {Record<string, unknown>} */ (value);
  if (typeof id !== "number" || !Number.isSafeInteger(id) || id < 0) return null;
  // One without a kind still has its place in the order.
  return { .../** @type {Record<string, unknown>} */ (value), id, kind: typeof kind === "string" ? kind : "" };
}

/**
 * How many events are missing between what is shown and this one.
 * @param {Transcript} transcript
 * @param {LogEvent} event
 */
export function missing(transcript, event) {
  return Math.max(0, event.id - transcript.lastId - 1);
}

/**
 * @param {Transcript} before
 * @param {LogEvent} event
 * @returns {{ transcript: Transcript, items: Item[] }}
 */
export function apply(before, event) {
  if (event.id <= before.lastId) return { transcript: before, items: [] };
  const transcript = { ...before, lastId: event.id };
  /** @type {Item[]} */
  const items = [];
  const { id } = event;
  const amber = (/** @type {string} */ said) => items.push({ id, type: "note", tone: "amber", text: said });
  const quiet = (/** @type {string} */ said) => items.push({ id, type: "note", tone: "quiet", text: said });
  switch (event.kind) {
    case "user":
      transcript.turn = "working";
      transcript.lastProse = "";
      items.push({ id, type: "user", text: text(event.text) });
      break;
    case "queued":
      transcript.turn = "queued";
      quiet(text(event.text) || "Two turns are running elsewhere. This one waits its turn.");
      break;
    case "session":
      transcript.turn = "working";
      break;
    case "text":
      transcript.turn = "working";
      transcript.lastProse = text(event.text);
      if (transcript.lastProse.trim() !== "") items.push({ id, type: "prose", text: transcript.lastProse });
      break;
    case "tool":
      transcript.turn = "working";
      items.push({ id, type: "tool", ...tool(text(event.name) || "Tool", event.input) });
      break;
    case "result": {
      const said = text(event.result);
      if (event.is_error === true) {
        amber(said || "The turn failed without saying why.");
      } else {
        if (said.trim() !== "" && said.trim() !== transcript.lastProse.trim()) {
          items.push({ id, type: "prose", text: said });
        }
        quiet(`Done${duration(event.duration_ms)}`);
      }
      break;
    }
    case "error":
      amber(text(event.error) || "The turn failed without saying why.");
      break;
    case "cancelled":
      quiet("Stopped");
      break;
    case "turn_end":
      transcript.turn = "idle";
      transcript.lastProse = "";
      break;
    default:
      // A newer server may log what this page does not know; what it says in words is shown.
      if (text(event.text) !== "") quiet(text(event.text));
  }
  return { transcript, items };
}

/** @param {unknown} value */
function text(value) {
  return typeof value === "string" ? value : "";
}

/** @param {unknown} milliseconds */
function duration(milliseconds) {
  return typeof milliseconds === "number" && milliseconds >= 0 ? ` in ${clock(milliseconds)}` : "";
}

/**
 * A span of time, as short as it can be said.
 * @param {number} milliseconds
 */
export function clock(milliseconds) {
  const seconds = Math.max(0, Math.round(milliseconds / 1000));
  if (seconds < 60) return `${seconds} s`;
  return `${Math.floor(seconds / 60)} min ${seconds % 60} s`;
}

/** The field of a tool's input that says most, by the tool's name. */
const TELLING = new Map([
  ["Bash", "command"],
  ["Read", "file_path"],
  ["Write", "file_path"],
  ["Edit", "file_path"],
  ["Glob", "pattern"],
  ["Grep", "pattern"],
  ["Task", "description"],
]);

/**
 * @param {string} name
 * @param {unknown} input
 */
function tool(name, input) {
  const fields = typeof input === "object" && input !== null ? /** @type {Record<string, unknown>} */ (input) : {};
  const telling = fields[TELLING.get(name) ?? ""];
  const summary = typeof telling === "string" ? telling : brief(input);
  const whole = name === "Bash" && typeof telling === "string" ? telling : pretty(input);
  return { name, summary: summary.split("\n", 1)[0] ?? "", detail: whole };
}

/** @param {unknown} input */
function brief(input) {
  return input === undefined || input === null ? "" : (JSON.stringify(input) ?? "").slice(0, 300);
}

/** @param {unknown} input */
function pretty(input) {
  return typeof input === "string" ? input : (JSON.stringify(input, null, 2) ?? "");
}
