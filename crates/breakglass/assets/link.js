// The attachment of this page to a session, as a machine without I/O: what happened goes in, what
// is to be done comes out. `stream.js` does it. Each try to attach has a number, and what an older
// one still reports is ignored.

/**
 * Where the attachment stands.
 *
 * - `opening`: there is no session yet, one is being asked for.
 * - `connecting`: a stream to the session is being opened.
 * - `attached`: the stream is open. `caughtUp` says whether the replay is over.
 * - `down`: nothing answers; the next try is timed.
 * - `hidden`: the page is not seen, and gives its connection to others.
 * - `paused`: newer pages of this browser hold all the connections that we allow ourselves.
 * - `signed-out`: the edge or the server wants a sign-in first.
 * @typedef {"opening" | "connecting" | "attached" | "down" | "hidden" | "paused" | "signed-out"} Phase
 */

/**
 * `failures` counts tries in a row that failed; `connection` numbers the tries. `seen` is the
 * newest id of this connection. `toldOf` is the id after which events were missing: if they are
 * missing again, they are gone. `why` says how the last try ended, and `refused` that it was the
 * server that said so: it does answer.
 * @typedef {{
 *   phase: Phase, session: string | null, lastId: number, seen: number, caughtUp: boolean,
 *   connection: number, failures: number, toldOf: number | null, why: string, refused: boolean,
 *   signIn: "edge" | "token" | null, shown: boolean,
 * }} Link
 */

/**
 * What happened. `ended` says how a try or a stream ended: `status` for an answer that is no
 * stream, `silent` if nothing came for too long.
 * @typedef {{ type: "begin" }
 *   | { type: "session", connection: number, session: string }
 *   | { type: "opened", connection: number }
 *   | { type: "event", connection: number, id: number }
 *   | { type: "caught-up", connection: number }
 *   | { type: "ended", connection: number, why: "network" | "silent" | "closed" }
 *   | { type: "ended", connection: number, why: "status", status: number, detail: string, retryAfter: number | null }
 *   | { type: "ended", connection: number, why: "signed-out", how: "edge" | "token" }
 *   | { type: "ended", connection: number, why: "gone" }
 *   | { type: "ended", connection: number, why: "crowded-out" }
 *   | { type: "retry" } | { type: "hide" } | { type: "show" } | { type: "touch" } | { type: "signed-in" }
 *   | { type: "gone", session: string }
 *   | { type: "move", session: string | null }} Happening
 */

/**
 * What is to be done. `connect` and `open-session` close what was open before them.
 * @typedef {{ do: "open-session", connection: number }
 *   | { do: "connect", connection: number, session: string, lastId: number }
 *   | { do: "close" }
 *   | { do: "retry-in", ms: number }
 *   | { do: "forget", session: string }
 *   | { do: "new-session", session: string | null }} Deed
 */

/**
 * A page that has not begun.
 * @param {string | null} session
 * @returns {Link}
 */
export function notBegun(session) {
  return {
    phase: "opening", session, lastId: -1, seen: -1, caughtUp: false, connection: 0, failures: 0, toldOf: null, why: "",
    refused: false, signIn: null, shown: true,
  };
}

/** The pause before another try, by how many failed in a row: an emergency is no time to wait long. */
const PAUSES = [250, 500, 1000, 2000, 4000, 8000];

/**
 * @param {Link} link
 * @param {Happening} happening
 * @returns {{ link: Link, deeds: Deed[] }}
 */
export function step(link, happening) {
  if ("connection" in happening && happening.connection !== link.connection) return { link, deeds: [] };
  switch (happening.type) {
    case "begin":
      return link.shown ? attach(link) : { link: { ...link, phase: "hidden" }, deeds: [] };
    case "session":
      return startOver({ ...link, session: happening.session });
    case "opened":
      return { link: { ...link, phase: "attached", caughtUp: false, why: "", refused: false }, deeds: [] };
    case "event":
      return event(link, happening.id);
    case "caught-up":
      // A replay that ends before what we have: this log is not the one that we read.
      if (link.seen >= 0 && link.seen < link.lastId) return startOver(link);
      return { link: { ...link, caughtUp: true, failures: 0 }, deeds: [] };
    case "ended":
      return ended(link, happening);
    case "retry":
      return link.phase === "down" ? attach(link) : { link, deeds: [] };
    case "hide":
      if (link.phase === "signed-out" || link.phase === "paused") return { link: { ...link, shown: false }, deeds: [] };
      return {
        link: { ...link, phase: "hidden", shown: false, connection: link.connection + 1 },
        deeds: [{ do: "close" }],
      };
    case "show": {
      // A phone may come back with an open state on a dead socket: whatever was open is not believed.
      const shown = { ...link, shown: true };
      if (link.phase === "signed-out" || link.phase === "paused") return { link: shown, deeds: [] };
      return attach({ ...shown, failures: 0 });
    }
    case "touch":
      return link.phase === "paused" || link.phase === "down" ? attach({ ...link, failures: 0 }) : { link, deeds: [] };
    case "signed-in":
      return attach({ ...link, failures: 0, signIn: null });
    case "gone":
      return happening.session === link.session ? gone(link) : { link, deeds: [] };
    case "move":
      return startOver({ ...link, session: happening.session });
  }
}

/**
 * @param {Link} link
 * @returns {{ link: Link, deeds: Deed[] }}
 */
function attach(link) {
  const connection = link.connection + 1;
  const next = { ...link, connection, caughtUp: false, seen: -1 };
  if (link.session === null) {
    return { link: { ...next, phase: "opening" }, deeds: [{ do: "open-session", connection }] };
  }
  const deed = /** @type {const} */ ({ do: "connect", connection, session: link.session, lastId: link.lastId });
  return { link: { ...next, phase: "connecting" }, deeds: [deed] };
}

/**
 * Shows a session from its first event.
 * @param {Link} link
 * @returns {{ link: Link, deeds: Deed[] }}
 */
function startOver(link) {
  const next = attach({ ...link, lastId: -1, failures: 0, toldOf: null });
  return { link: next.link, deeds: [{ do: "new-session", session: link.session }, ...next.deeds] };
}

/**
 * @param {Link} link
 * @param {number} id
 * @returns {{ link: Link, deeds: Deed[] }}
 */
function event(link, id) {
  if (id <= link.lastId) {
    if (link.caughtUp) return startOver(link);
    return { link: { ...link, seen: Math.max(link.seen, id) }, deeds: [] };
  }
  const gap = link.lastId >= 0 && id > link.lastId + 1;
  if (gap && link.toldOf !== link.lastId) return attach({ ...link, toldOf: link.lastId });
  return { link: { ...link, lastId: id, seen: id, toldOf: null }, deeds: [] };
}

/**
 * @param {Link} link
 * @param {Extract<Happening, { type: "ended" }>} how
 * @returns {{ link: Link, deeds: Deed[] }}
 */
function ended(link, how) {
  switch (how.why) {
    case "gone":
      return gone(link);
    case "signed-out":
      return leave({ ...link, phase: "signed-out", signIn: how.how });
    case "crowded-out":
      return leave({ ...link, phase: "paused" });
    case "network":
      return again({ ...link, why: "no answer", refused: false }, null);
    case "silent":
      return again({ ...link, why: "silent for too long", refused: false }, null);
    case "closed":
      return again({ ...link, why: "closed by the server", refused: false }, null);
    case "status":
      return again({ ...link, why: how.detail, refused: true }, how.retryAfter);
  }
}

/**
 * @param {Link} link
 * @returns {{ link: Link, deeds: Deed[] }}
 */
function leave(link) {
  return { link: { ...link, connection: link.connection + 1 }, deeds: [{ do: "close" }] };
}

/**
 * @param {Link} link
 * @param {number | null} seconds
 * @returns {{ link: Link, deeds: Deed[] }}
 */
function again(link, seconds) {
  const pause = PAUSES[Math.min(link.failures, PAUSES.length - 1)] ?? 8000;
  const ms = seconds === null ? pause : Math.max(pause, Math.min(seconds, 30) * 1000);
  const { link: next } = leave({ ...link, phase: "down", failures: link.failures + 1, caughtUp: false });
  return { link: next, deeds: [{ do: "close" }, { do: "retry-in", ms }] };
}

/**
 * @param {Link} link
 * @returns {{ link: Link, deeds: Deed[] }}
 */
function gone(link) {
  const session = link.session;
  const next = attach({ ...link, session: null, lastId: -1, toldOf: null });
  return { link: next.link, deeds: session === null ? next.deeds : [{ do: "forget", session }, ...next.deeds] };
}

/**
 * What the lamp says: a colour is never the only sign. `tone` is the lamp's look.
 * @param {Link} link
 * @param {"idle" | "queued" | "working"} turn
 * @returns {{ tone: "connecting" | "attached" | "working" | "down" | "quiet" | "amber", text: string }}
 */
export function lamp(link, turn) {
  switch (link.phase) {
    case "opening":
    case "connecting":
      return link.failures > 1 ? { tone: "down", text: "Link down" } : { tone: "connecting", text: "Connecting" };
    case "attached":
      if (!link.caughtUp) return { tone: "connecting", text: "Catching up" };
      if (turn === "queued") return { tone: "working", text: "Waiting its turn" };
      return turn === "working" ? { tone: "working", text: "Working" } : { tone: "attached", text: "Attached" };
    case "down":
      return { tone: "down", text: "Link down" };
    case "hidden":
      return { tone: "quiet", text: "In the background" };
    case "paused":
      return { tone: "quiet", text: "Paused here" };
    case "signed-out":
      return { tone: "amber", text: "Signed out" };
  }
}

/**
 * What a page says of a link that is down.
 * @param {Link} link
 * @returns {{ tone: "amber" | "down", text: string }}
 */
export function downNotice(link) {
  if (link.refused) {
    const what = link.session === null ? "No new session" : "Not attached";
    return { tone: "amber", text: `${what}: ${link.why}. It keeps trying.` };
  }
  const why = link.why === "no answer" ? "" : `: ${link.why}`;
  return { tone: "down", text: `No connection to the console${why}. It keeps trying.` };
}

/**
 * What a page says of a prompt that has no session to go to.
 * @param {Link} link
 * @returns {{ tone: "amber" | "down", text: string }}
 */
export function notSent(link) {
  if (link.phase === "signed-out") return { tone: "amber", text: "Not sent: signed out. Your text is kept." };
  if (link.refused) return { tone: "amber", text: `Not sent: ${link.why}. Your text is kept.` };
  return { tone: "down", text: "Not sent: there is no session yet. Your text is kept." };
}
