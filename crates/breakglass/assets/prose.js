// What an agent or a machine wrote, as blocks that can be shown. Pure. The text is nobody's to
// trust: no link becomes a link, no markup becomes markup, and what would be invisible or would
// turn the direction of text is shown by its name.

/** @typedef {{ type: "plain" | "strong" | "code", text: string }} Span */

/**
 * @typedef {{ type: "paragraph", spans: Span[] }
 *   | { type: "heading", spans: Span[] }
 *   | { type: "list", ordered: boolean, items: { depth: number, spans: Span[] }[] }
 *   | { type: "table", head: Span[][], rows: Span[][][] }
 *   | { type: "code", text: string }} Block
 */

/**
 * The text with each invisible character written out, as programmers do: `\\x1b`, `\\u202e`.
 * @param {string} text
 */
export function visible(text) {
  return text
    .replaceAll("\r\n", "\n")
    .replace(/[\0-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u2069\ufeff]/g, written);
}

/** @param {string} one */
function written(one) {
  const code = one.charCodeAt(0).toString(16);
  return code.length > 2 ? `\\u${code.padStart(4, "0")}` : `\\x${code.padStart(2, "0")}`;
}

// None of these can take more than one way through a line: a hostile one costs no more than its length.
const FENCE = /^\s{0,3}(```+|~~~+)/;
const HEADING = /^#{1,6}\s(.*)$/;
const ITEM = /^(\s*)(?:[-*+]|(\d{1,3})[.)])\s(.*)$/;
const TABLE_RULE = /^[|:\s-]+$/;

/**
 * The blocks of a text in the small part of Markdown that agents use.
 * @param {string} text
 * @returns {Block[]}
 */
export function blocks(text) {
  const lines = visible(text).split("\n");
  /** @type {Block[]} */
  const found = [];
  /** @type {string[]} */
  let paragraph = [];
  const endParagraph = () => {
    if (paragraph.length > 0) found.push({ type: "paragraph", spans: spans(paragraph.join("\n")) });
    paragraph = [];
  };
  for (let at = 0; at < lines.length; ) {
    const line = lines[at] ?? "";
    const fence = FENCE.exec(line)?.[1];
    const item = ITEM.exec(line);
    const heading = HEADING.exec(line);
    if (fence !== undefined) {
      endParagraph();
      const from = at + 1;
      at = from;
      while (at < lines.length && !(lines[at] ?? "").trimStart().startsWith(fence)) at += 1;
      found.push({ type: "code", text: lines.slice(from, at).join("\n") });
      at += 1;
    } else if (heading !== null) {
      endParagraph();
      found.push({ type: "heading", spans: spans((heading[1] ?? "").trim()) });
      at += 1;
    } else if (line.trimStart().startsWith("|") && isRule(lines[at + 1] ?? "")) {
      endParagraph();
      /** @type {Span[][][]} */
      const rows = [];
      const head = cells(line);
      at += 2;
      for (; (lines[at] ?? "").trimStart().startsWith("|"); at += 1) rows.push(cells(lines[at] ?? ""));
      found.push({ type: "table", head, rows });
    } else if (item !== null) {
      endParagraph();
      const depth = Math.min(3, Math.floor((item[1] ?? "").length / 2));
      const ordered = item[2] !== undefined;
      const entry = { depth, spans: spans((item[3] ?? "").trimStart()) };
      const last = found.at(-1);
      if (last?.type === "list" && (last.ordered === ordered || depth > 0)) last.items.push(entry);
      else found.push({ type: "list", ordered, items: [entry] });
      at += 1;
    } else {
      if (line.trim() === "") endParagraph();
      else paragraph.push(line);
      at += 1;
    }
  }
  endParagraph();
  return found;
}

/**
 * What parts the head of a table from its rows.
 * @param {string} line
 */
function isRule(line) {
  return line.includes("-") && TABLE_RULE.test(line);
}

/**
 * @param {string} line
 * @returns {Span[][]}
 */
function cells(line) {
  return line.trim().replace(/^\|/, "").replace(/\|$/, "").split("|").map((cell) => spans(cell.trim()));
}

/**
 * One line or paragraph of text that is visible already.
 * @param {string} text
 * @returns {Span[]}
 */
export function spans(text) {
  /** @type {Span[]} */
  const found = [];
  let start = 0;
  for (const match of text.matchAll(/`([^`\n]+)`|\*\*([^*\n]+)\*\*/g)) {
    if (match.index > start) found.push({ type: "plain", text: text.slice(start, match.index) });
    if (match[1] !== undefined) found.push({ type: "code", text: match[1] });
    else found.push({ type: "strong", text: match[2] ?? "" });
    start = match.index + match[0].length;
  }
  if (start < text.length) found.push({ type: "plain", text: text.slice(start) });
  return found;
}
