// Elements, made in one way only: text is text, never markup. Used by the views.

import { spans, visible } from "./prose.js";

/**
 * The element of the page that has this id. The page and its modules are of one build, so that a
 * missing one is our own mistake.
 * @template {HTMLElement} T
 * @param {string} id
 * @param {new () => T} kind
 * @returns {T}
 */
export function byId(id, kind) {
  const found = document.getElementById(id);
  if (!(found instanceof kind)) throw new Error(`the page has no ${kind.name} #${id}`);
  return found;
}

/**
 * @template {keyof HTMLElementTagNameMap} K
 * @param {K} name
 * @param {string} className
 * @param {...(Node | string)} children
 * @returns {HTMLElementTagNameMap[K]}
 */
export function element(name, className, ...children) {
  const made = document.createElement(name);
  if (className !== "") made.className = className;
  made.append(...children);
  return made;
}

/**
 * Somebody's words, with their `code` as such, and nothing invisible in them.
 * @param {string} text
 * @returns {Node[]}
 */
export function words(text) {
  return spans(visible(text)).map(spanNode);
}

/**
 * @param {import("./prose.js").Span} span
 * @returns {Node}
 */
export function spanNode(span) {
  if (span.type === "plain") return document.createTextNode(span.text);
  return element(span.type, "", span.text);
}

/**
 * A line drawing of 20 by 20.
 * @param {string} path
 */
export function icon(path) {
  const space = "http://www.w3.org/2000/svg";
  const svg = document.createElementNS(space, "svg");
  svg.setAttribute("viewBox", "0 0 20 20");
  svg.setAttribute("aria-hidden", "true");
  const drawn = document.createElementNS(space, "path");
  drawn.setAttribute("d", path);
  svg.append(drawn);
  return svg;
}

export const CHEVRON_DOWN = "M5 7.5l5 5 5-5";
export const CHEVRON_RIGHT = "M7.5 5l5 5-5 5";

/**
 * Preformatted text that scrolls sideways, by keyboard too.
 * @param {string} text
 * @param {string} label
 */
export function preformatted(text, label) {
  return scrolling(element("pre", "", text), label);
}

/**
 * @param {HTMLElement} content
 * @param {string} label
 */
export function scrolling(content, label) {
  const box = element("div", "scroll-x", content);
  box.tabIndex = 0;
  box.setAttribute("role", "group");
  box.setAttribute("aria-label", label);
  return box;
}
