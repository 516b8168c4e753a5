// One call to the server, and what its answer means. Whatever stands between (an edge that wants a
// sign-in, a gateway without a server behind it) answers in its own ways: `meaning` tells them apart.

/**
 * What came of a call.
 *
 * - `ok`: a good answer, with its body.
 * - `refused`: our server said no, and `detail` says why. `body` is all that it said.
 * - `signed-out`: a sign-in is needed, at the edge or with a token.
 * - `unreachable`: there is no telling whether the call was carried out.
 * @typedef {{ kind: "ok", status: number, body: unknown }
 *   | { kind: "refused", status: number, detail: string, retryAfter: number | null, body: unknown }
 *   | { kind: "signed-out", how: "edge" | "token" }
 *   | { kind: "unreachable", detail: string }} Answer
 */

/**
 * The parts of an answer that its meaning depends on. `text` is read unless it is a stream.
 * @typedef {{ type: string, status: number, contentType: string, retryAfter: string | null, text: string }} Raw
 */

/** How long an answer may take, unless the call says otherwise. */
const USUAL_BOUND_MS = 15_000;

/**
 * @param {Raw} raw
 * @returns {Answer}
 */
export function meaning(raw) {
  if (raw.type === "opaqueredirect" || (raw.status >= 300 && raw.status < 400)) {
    return { kind: "signed-out", how: "edge" };
  }
  const body = raw.contentType.includes("json") ? parsed(raw.text) : null;
  const ours = typeof body === "object" && body !== null;
  if (!ours) {
    if (raw.status < 400 || raw.status === 401 || raw.status === 403) return { kind: "signed-out", how: "edge" };
    return { kind: "unreachable", detail: `something in between answered ${raw.status}` };
  }
  if (raw.status >= 200 && raw.status < 300) return { kind: "ok", status: raw.status, body };
  if (raw.status === 401) return { kind: "signed-out", how: "token" };
  const { detail } = /** @type {Record<string, unknown>} */ (body);
  const seconds = Number.parseInt(raw.retryAfter ?? "", 10);
  return {
    kind: "refused",
    status: raw.status,
    detail: typeof detail === "string" ? detail : `the server answered ${raw.status}`,
    retryAfter: Number.isFinite(seconds) && seconds >= 0 ? seconds : null,
    body,
  };
}

/** @param {string} text */
function parsed(text) {
  try {
    return /** @type {unknown} */ (JSON.parse(text));
  } catch {
    return null;
  }
}

/**
 * A field of a body that is a text.
 * @param {unknown} body
 * @param {string} field
 * @returns {string | null}
 */
export function textField(body, field) {
  if (typeof body !== "object" || body === null) return null;
  const value = /** @type {Record<string, unknown>} */ (body)[field];
  return typeof value === "string" ? value : null;
}

/**
 * A field of a body that is a list of texts.
 * @param {unknown} body
 * @param {string} field
 * @returns {string[] | null}
 */
export function listField(body, field) {
  if (typeof body !== "object" || body === null) return null;
  const value = /** @type {Record<string, unknown>} */ (body)[field];
  return Array.isArray(value) && value.every((one) => typeof one === "string") ? value : null;
}

/** Calls with the token of `tokenNow`, if there is one, and with the cookies of the edge. */
export class Api {
  #tokenNow;

  /** @param {() => string | null} tokenNow */
  constructor(tokenNow) {
    this.#tokenNow = tokenNow;
  }

  /**
   * The settings of every request: nothing is cached, no redirect is followed.
   * @param {Record<string, string>} headers
   * @returns {RequestInit}
   */
  request(headers) {
    const token = this.#tokenNow();
    return {
      headers: token === null ? headers : { ...headers, Authorization: `Bearer ${token}` },
      redirect: "manual",
      cache: "no-store",
      credentials: "same-origin",
    };
  }

  /**
   * @param {"GET" | "POST"} method
   * @param {string} path
   * @param {{ body?: unknown, boundMs?: number }} [options]
   * @returns {Promise<Answer>}
   */
  async call(method, path, { body, boundMs = USUAL_BOUND_MS } = {}) {
    /** @type {Record<string, string>} */
    const headers = { Accept: "application/json" };
    if (body !== undefined) headers["Content-Type"] = "application/json";
    try {
      const response = await fetch(path, {
        ...this.request(headers),
        method,
        body: body === undefined ? null : JSON.stringify(body),
        signal: AbortSignal.timeout(boundMs),
      });
      return meaning(await raw(response));
    } catch (error) {
      const late = error instanceof DOMException && error.name === "TimeoutError";
      return { kind: "unreachable", detail: late ? "no answer in time" : "no connection" };
    }
  }
}

/**
 * @param {Response} response
 * @returns {Promise<Raw>}
 */
export async function raw(response) {
  return {
    type: response.type,
    status: response.status,
    contentType: response.headers.get("content-type") ?? "",
    retryAfter: response.headers.get("retry-after"),
    text: response.type === "opaqueredirect" ? "" : await response.text(),
  };
}
