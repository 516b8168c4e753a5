// Text of an event stream to events, by the rules of the HTML standard. Pure: the text comes in
// pieces that are cut anywhere, and a piece of an event is kept until the rest is there.

/**
 * One event of the stream. `id` is the last id that was seen, as browsers have it.
 * @typedef {{ type: string, data: string, id: string | null }} StreamEvent
 */

/** More than this in one event is not ours: the stream is broken or hostile. */
export const LONGEST_EVENT = 4 * 1024 * 1024;

/** Takes the text of one stream, from its beginning. */
export class EventParser {
  #rest = "";
  #first = true;
  #afterReturn = false;
  /** @type {string[]} */
  #data = [];
  #size = 0;
  #type = "";
  /** @type {string | null} */
  #id = null;

  /**
   * The events that this piece completes.
   * @param {string} piece
   * @returns {StreamEvent[]}
   */
  push(piece) {
    let text = piece;
    if (this.#first && text !== "") {
      this.#first = false;
      if (text.startsWith("\uFEFF")) text = text.slice(1);
    }
    // A line feed that belongs to a carriage return of the piece before.
    if (this.#afterReturn && text !== "") {
      this.#afterReturn = false;
      if (text.startsWith("\n")) text = text.slice(1);
    }
    text = this.#rest + text;
    /** @type {StreamEvent[]} */
    const events = [];
    let start = 0;
    const ending = /\r\n|\n|\r/g;
    ending.lastIndex = this.#rest.length;
    for (let found = ending.exec(text); found !== null; found = ending.exec(text)) {
      const event = this.#line(text.slice(start, found.index));
      if (event !== null) events.push(event);
      start = ending.lastIndex;
      this.#afterReturn = found[0] === "\r" && start === text.length;
    }
    this.#rest = text.slice(start);
    if (this.#rest.length + this.#size > LONGEST_EVENT) {
      throw new RangeError("an event of the stream is too long");
    }
    return events;
  }

  /**
   * @param {string} line
   * @returns {StreamEvent | null}
   */
  #line(line) {
    if (line === "") return this.#dispatch();
    const colon = line.indexOf(":");
    if (colon === 0) return null;
    const field = colon < 0 ? line : line.slice(0, colon);
    const value = colon < 0 ? "" : line.slice(colon + 1).replace(/^ /, "");
    if (field === "data") {
      this.#data.push(value);
      this.#size += value.length + 1;
    } else if (field === "event") {
      this.#type = value;
    } else if (field === "id" && !value.includes("\0")) {
      this.#id = value;
    }
    return null;
  }

  /** @returns {StreamEvent | null} */
  #dispatch() {
    const data = this.#data;
    const type = this.#type === "" ? "message" : this.#type;
    this.#data = [];
    this.#size = 0;
    this.#type = "";
    return data.length === 0 ? null : { type, data: data.join("\n"), id: this.#id };
  }
}
