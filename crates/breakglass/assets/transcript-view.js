// The transcript in the document: appends what `transcript.js` says is new, and keeps the newest in
// sight unless the reader has scrolled away. Everything is put there as text.

import { CHEVRON_DOWN, byId, element, icon, preformatted, scrolling, spanNode, words } from "./dom.js";
import { blocks, visible } from "./prose.js";

/** @typedef {import("./transcript.js").Item} Item */
/** @typedef {import("./prose.js").Block} Block */
/** @typedef {import("./prose.js").Span} Span */

/** Within so many pixels of the end a reader is at the end. */
const NEAR = 96;

export class TranscriptView {
  #list = byId("transcript", HTMLDivElement);
  #scroller = byId("scroller", HTMLDivElement);
  #newest = byId("newest", HTMLButtonElement);
  #follows = true;
  #scheduled = false;
  #top = 0;

  constructor() {
    this.#scroller.addEventListener(
      "scroll",
      () => {
        // Away from the end without having moved up is only more that came since.
        const top = this.#scroller.scrollTop;
        if (this.#distance() < NEAR) this.#follows = true;
        else if (top < this.#top - 1) this.#follows = false;
        this.#top = top;
        if (this.#follows) this.#newest.hidden = true;
      },
      { passive: true },
    );
    this.#newest.addEventListener("click", () => {
      this.follow();
      this.#scroller.focus({ preventScroll: true });
    });
    // The keyboard of a phone, or a longer draft, takes room from below.
    new ResizeObserver(() => this.#keep()).observe(this.#scroller);
  }

  get empty() {
    return this.#list.childElementCount === 0;
  }

  /** @param {readonly Item[]} items */
  append(items) {
    if (items.length === 0) return;
    this.#list.append(...items.map(shown));
    if (items.some((item) => item.type === "user")) this.#follows = true;
    this.#keep();
    this.#newest.hidden = this.#follows;
  }

  /** @param {string} text */
  divide(text) {
    this.#list.append(element("p", "note divider", text));
    this.#keep();
  }

  clear() {
    this.#list.replaceChildren();
    this.#newest.hidden = true;
    this.#follows = true;
  }

  /** Shows the newest, and stays with it. */
  follow() {
    this.#follows = true;
    this.#newest.hidden = true;
    this.#keep();
  }

  /** What is around the transcript has changed its size. */
  settle() {
    this.#keep();
  }

  /**
   * A replay is not read out.
   * @param {boolean} live
   */
  announce(live) {
    this.#list.setAttribute("aria-live", live ? "polite" : "off");
  }

  #distance() {
    const { scrollHeight, scrollTop, clientHeight } = this.#scroller;
    return scrollHeight - scrollTop - clientHeight;
  }

  /** Once a frame, however much came: a replay may be thousands of events. */
  #keep() {
    if (this.#scheduled) return;
    this.#scheduled = true;
    requestAnimationFrame(() => {
      this.#scheduled = false;
      if (this.#follows) this.#scroller.scrollTop = this.#scroller.scrollHeight;
    });
  }
}

/**
 * @param {Item} item
 * @returns {HTMLElement}
 */
function shown(item) {
  const made = unnumbered(item);
  made.dataset.event = String(item.id);
  return made;
}

/** @param {Item} item */
function unnumbered(item) {
  switch (item.type) {
    case "user":
      return element("div", "bubble", element("span", "unseen", "You: "), visible(item.text));
    case "prose":
      return element("div", "prose", ...blocks(item.text).map(block));
    case "tool": {
      const name = element("span", "tool-name", visible(item.name));
      const brief = element("code", "tool-brief", visible(item.summary));
      const summary = element("summary", "", name, brief, icon(CHEVRON_DOWN));
      return element("details", "tool", summary, element("pre", "", visible(item.detail)));
    }
    case "note":
      return element("p", item.tone === "amber" ? "note amber" : "note", ...words(item.text));
  }
}

/**
 * @param {Block} one
 * @returns {HTMLElement}
 */
function block(one) {
  switch (one.type) {
    case "paragraph":
      return element("p", "", ...one.spans.map(spanNode));
    case "heading":
      return element("h3", "", ...one.spans.map(spanNode));
    case "code":
      return preformatted(one.text, "Code");
    case "list": {
      const items = one.items.map((item) => element("li", `depth-${item.depth}`, ...item.spans.map(spanNode)));
      return element(one.ordered ? "ol" : "ul", "", ...items);
    }
    case "table": {
      const row = (/** @type {Span[][]} */ cells, /** @type {"th" | "td"} */ name) =>
        element("tr", "", ...cells.map((cell) => element(name, "", ...cell.map(spanNode))));
      const head = element("thead", "", row(one.head, "th"));
      const body = element("tbody", "", ...one.rows.map((cells) => row(cells, "td")));
      return scrolling(element("table", "", head, body), "Table");
    }
  }
}
