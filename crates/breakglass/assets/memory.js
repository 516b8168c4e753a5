// What is kept on the device: the session, a draft, the token, the end of the transcript. A browser
// that keeps nothing for us (a private window, a full disk) costs comfort, never the page.

import { logEvent } from "./transcript.js";

/** @typedef {import("./transcript.js").LogEvent} LogEvent */
/** @typedef {{ session: string, title: string, at: number }} Earlier */

/** So much of a transcript is kept for a page that opens without a connection. */
const MOST_KEPT = 100_000;
const MOST_EARLIER = 5;

/**
 * @param {"local" | "session"} where
 * @param {string} key
 * @returns {string | null}
 */
function get(where, key) {
  try {
    return (where === "local" ? localStorage : sessionStorage).getItem(`breakglass.${key}`);
  } catch {
    return null;
  }
}

/**
 * @param {"local" | "session"} where
 * @param {string} key
 * @param {string | null} value
 */
function set(where, key, value) {
  try {
    const storage = where === "local" ? localStorage : sessionStorage;
    if (value === null) storage.removeItem(`breakglass.${key}`);
    else storage.setItem(`breakglass.${key}`, value);
  } catch {
    // Nothing is kept, then.
  }
}

/** @param {string | null} text */
function parsed(text) {
  try {
    return /** @type {unknown} */ (JSON.parse(text ?? "null"));
  } catch {
    return null;
  }
}

export const session = {
  get: () => get("local", "session"),
  /** @param {string | null} id */
  set: (id) => set("local", "session", id),
};

export const draft = {
  get: () => get("session", "draft") ?? "",
  /** @param {string} text */
  set: (text) => set("session", "draft", text === "" ? null : text),
};

export const token = {
  get: () => get("session", "token") ?? get("local", "token"),
  /**
   * @param {string | null} value
   * @param {boolean} keep beyond this tab
   */
  set: (value, keep) => {
    set("session", "token", value);
    set("local", "token", keep ? value : null);
  },
};

/** Sessions that "New" put away, the newest first. */
export const earlier = {
  /** @returns {Earlier[]} */
  get: () => {
    const list = parsed(get("local", "earlier"));
    if (!Array.isArray(list)) return [];
    return list.filter(
      (one) => typeof one?.session === "string" && typeof one.title === "string" && typeof one.at === "number",
    );
  },
  /** @param {Earlier} one */
  add: (one) => {
    const others = earlier.get().filter((other) => other.session !== one.session);
    set("local", "earlier", JSON.stringify([one, ...others].slice(0, MOST_EARLIER)));
  },
  /** @param {string} id */
  remove: (id) => {
    set("local", "earlier", JSON.stringify(earlier.get().filter((one) => one.session !== id)));
  },
};

/** The end of the transcript as it was last seen, for a page that opens without a connection. */
export const lastSeen = {
  /** @returns {{ at: number, events: LogEvent[] } | null} */
  get: () => {
    const kept = parsed(get("local", "last-seen"));
    if (typeof kept !== "object" || kept === null) return null;
    const { at, events } = /** @type {Record<string, unknown>} */ (kept);
    if (typeof at !== "number" || !Array.isArray(events)) return null;
    return { at, events: events.map((one) => logEvent(JSON.stringify(one))).filter((one) => one !== null) };
  },
  /** The id of the newest event that is kept; -1 if there is none. @returns {number} */
  lastId: () => lastSeen.get()?.events.at(-1)?.id ?? -1,
  /**
   * @param {number} at
   * @param {LogEvent[]} events
   */
  set: (at, events) => {
    let from = events.length;
    for (let size = 0; from > 0; from -= 1) {
      size += JSON.stringify(events[from - 1]).length;
      if (size > MOST_KEPT) break;
    }
    set("local", "last-seen", JSON.stringify({ at, events: events.slice(from) }));
  },
  forget: () => set("local", "last-seen", null),
};
