// Carries out what `link.js` decides: opens sessions and streams, watches over them, and reports.
// Streams are read with fetch: unlike EventSource it sends a token, shows the status of an answer
// and remembers its place.

import { meaning, raw, textField } from "./api.js";
import { notBegun, step } from "./link.js";
import { takePlace } from "./places.js";
import { EventParser } from "./sse.js";
import { logEvent } from "./transcript.js";

/** @typedef {import("./api.js").Api} Api */
/** @typedef {import("./link.js").Link} Link */
/** @typedef {import("./link.js").Deed} Deed */
/** @typedef {import("./link.js").Happening} Happening */
/** @typedef {import("./transcript.js").LogEvent} LogEvent */

/**
 * Who is told. `changed` comes after each change of the link but for its place; `began` when another session, or the
 * same from its beginning, is to be shown; `forgotten` when the server no longer has one.
 * @typedef {{ changed: (link: Link) => void, event: (event: LogEvent) => void,
 *   began: (session: string | null) => void, forgotten: (session: string) => void }} Listener
 */

/** An answer has to begin within this. */
const OPEN_MS = 10_000;
/** The server says something every 20 seconds; twice missed is dead. */
const SILENCE_MS = 45_000;

export class Stream {
  #api;
  #listener;
  /** @type {Link} */
  #link;
  #current = new AbortController();
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  #retry;

  /**
   * @param {Api} api
   * @param {string | null} session
   * @param {Listener} listener
   */
  constructor(api, session, listener) {
    this.#api = api;
    this.#listener = listener;
    this.#link = notBegun(session);
  }

  get link() {
    return this.#link;
  }

  /** @param {Happening} happening */
  tell(happening) {
    const { link, deeds } = step(this.#link, happening);
    const changed = !looksLike(this.#link, link);
    this.#link = link;
    for (const deed of deeds) this.#carryOut(deed);
    if (changed) this.#listener.changed(this.#link);
  }

  /** @param {Deed} deed */
  #carryOut(deed) {
    switch (deed.do) {
      case "open-session":
        void this.#openSession(deed.connection, this.#fresh());
        break;
      case "connect":
        void this.#connect(deed, this.#fresh());
        break;
      case "close":
        this.#fresh();
        break;
      case "retry-in":
        // Many pages that lost one server do not come back in one moment.
        this.#retry = setTimeout(() => this.tell({ type: "retry" }), deed.ms * (0.75 + Math.random() / 2));
        break;
      case "forget":
        this.#listener.forgotten(deed.session);
        break;
      case "new-session":
        this.#listener.began(deed.session);
        break;
    }
  }

  /** Ends what was under way, and is the end of what comes next. */
  #fresh() {
    clearTimeout(this.#retry);
    this.#current.abort();
    this.#current = new AbortController();
    return this.#current;
  }

  /**
   * @param {number} connection
   * @param {AbortController} current
   */
  async #openSession(connection, current) {
    const answer = await this.#api.call("POST", "/api/session");
    if (current.signal.aborted) return;
    const session = answer.kind === "ok" ? textField(answer.body, "session_id") : null;
    if (session !== null) this.tell({ type: "session", connection, session });
    else if (answer.kind === "signed-out") this.tell({ type: "ended", connection, why: "signed-out", how: answer.how });
    else if (answer.kind === "refused") this.tell({ type: "ended", connection, why: "status", ...answer });
    else this.tell({ type: "ended", connection, why: "network" });
  }

  /**
   * @param {Extract<Deed, { do: "connect" }>} deed
   * @param {AbortController} current
   */
  async #connect({ connection, session, lastId }, current) {
    const { signal } = current;
    /** @type {ReturnType<typeof setTimeout> | undefined} */
    let watchdog;
    const within = (/** @type {number} */ ms) => {
      clearTimeout(watchdog);
      watchdog = setTimeout(() => this.tell({ type: "ended", connection, why: "silent" }), ms);
    };
    try {
      await takePlace(signal, () => this.tell({ type: "ended", connection, why: "crowded-out" }));
      if (signal.aborted) return;
      within(OPEN_MS);
      /** @type {Record<string, string>} */
      const headers = { Accept: "text/event-stream" };
      if (lastId >= 0) headers["Last-Event-ID"] = String(lastId);
      const path = `/api/session/${encodeURIComponent(session)}/stream`;
      const response = await fetch(path, { ...this.#api.request(headers), signal });
      const isStream = response.ok && (response.headers.get("content-type") ?? "").startsWith("text/event-stream");
      if (!isStream || response.body === null) return this.#notAStream(connection, meaning(await raw(response)));
      within(SILENCE_MS);
      this.tell({ type: "opened", connection });
      await this.#read(response.body, connection, signal, () => within(SILENCE_MS));
      this.tell({ type: "ended", connection, why: "closed" });
    } catch {
      // What ended it ourselves has a newer number, so that this changes nothing.
      this.tell({ type: "ended", connection, why: "network" });
    } finally {
      clearTimeout(watchdog);
    }
  }

  /**
   * @param {number} connection
   * @param {import("./api.js").Answer} answer
   */
  #notAStream(connection, answer) {
    switch (answer.kind) {
      case "signed-out":
        return this.tell({ type: "ended", connection, why: "signed-out", how: answer.how });
      case "refused":
        if (answer.status === 404) return this.tell({ type: "ended", connection, why: "gone" });
        return this.tell({ type: "ended", connection, why: "status", ...answer });
      case "ok":
      case "unreachable":
        return this.tell({ type: "ended", connection, why: "network" });
    }
  }

  /**
   * @param {ReadableStream<Uint8Array>} body
   * @param {number} connection
   * @param {AbortSignal} signal
   * @param {() => void} alive
   */
  async #read(body, connection, signal, alive) {
    const reader = body.getReader();
    const decoder = new TextDecoder();
    const parser = new EventParser();
    for (;;) {
      const { done, value } = await reader.read();
      if (done || signal.aborted) return;
      alive();
      for (const event of parser.push(decoder.decode(value, { stream: true }))) {
        if (event.type === "caught-up") this.tell({ type: "caught-up", connection });
        const logged = logEvent(event.data);
        if (logged === null) continue;
        const before = this.#link.lastId;
        this.tell({ type: "event", connection, id: logged.id });
        if (signal.aborted) return;
        // The link may have thrown it away, as a repetition or because something is missing before it.
        if (this.#link.lastId === logged.id && before !== logged.id) this.#listener.event(logged);
      }
    }
  }
}

/**
 * Whether two states differ in nothing but their place in the log: events are told of by themselves.
 * @param {Link} one
 * @param {Link} other
 */
function looksLike(one, other) {
  const { lastId, seen, toldOf } = one;
  const same = { ...other, lastId, seen, toldOf };
  return Object.entries(one).every(([key, value]) => same[/** @type {keyof Link} */ (key)] === value);
}
