// Keeps the page itself for the moment when nothing answers: the page then says what it saw last,
// and keeps trying. The network always comes first, nothing of /api is touched, and an answer is
// kept only if it is ours: what an edge answers to those who are signed out never is.

const SHELL = "breakglass-shell-1";
const PAGE = "/";
const FILES = [
  PAGE,
  "/manifest.webmanifest",
  ...[
    "api.js", "console.css", "dom.js", "icon-192.png", "link.js", "main.js", "memory.js", "panel-view.js",
    "places.js", "power.js", "presets.js", "prose.js", "sign-in-view.js", "sse.js", "stream.js",
    "transcript-view.js", "transcript.js",
  ].map((name) => `/assets/${name}`),
];
/** A network that hangs is as good as none after this. */
const PATIENCE_MS = 4000;
/** After one request hung, the next ones are not tried for so long. */
const PAUSE_MS = 15_000;

/** This file runs as a worker, for which the types of pages do not speak. @type {any} */
const worker = self;
let hungAt = -PAUSE_MS;

worker.addEventListener("install", (/** @type {any} */ event) => {
  event.waitUntil(
    (async () => {
      const cache = await caches.open(SHELL);
      const got = await Promise.all(FILES.map((path) => fetch(path, { cache: "reload", redirect: "error" })));
      // Whole or not at all.
      const ours = await Promise.all(got.map((response, at) => isOurs(FILES[at] ?? "", response)));
      if (ours.includes(false)) throw new Error("the shell cannot be read");
      await Promise.all(got.map((response, at) => cache.put(FILES[at] ?? "", response)));
      await worker.skipWaiting();
    })(),
  );
});

worker.addEventListener("activate", (/** @type {any} */ event) => {
  event.waitUntil(
    (async () => {
      const old = (await caches.keys()).filter((name) => name.startsWith("breakglass-") && name !== SHELL);
      await Promise.all(old.map((name) => caches.delete(name)));
      await worker.clients.claim();
    })(),
  );
});

worker.addEventListener("fetch", (/** @type {any} */ event) => {
  const url = new URL(event.request.url);
  if (event.request.method !== "GET" || url.origin !== location.origin || !FILES.includes(url.pathname)) return;
  event.respondWith(answer(event.request, url.pathname));
});

/**
 * @param {Request} request
 * @param {string} path
 * @returns {Promise<Response>}
 */
async function answer(request, path) {
  const cache = await caches.open(SHELL);
  const kept = await cache.match(path);
  if (kept !== undefined && performance.now() - hungAt < PAUSE_MS) return kept;
  const network = fetch(request).then(async (response) => {
    if (await isOurs(path, response)) await cache.put(path, response.clone());
    return response;
  });
  if (kept === undefined) return network;
  const late = new Promise((_, fail) => setTimeout(() => fail(new Error("late")), PATIENCE_MS));
  try {
    const response = /** @type {Response} */ (await Promise.race([network, late]));
    // A gateway whose server is gone answers for it; a sign-in must come through.
    return response.status >= 500 ? kept : response;
  } catch (error) {
    if (error instanceof Error && error.message === "late") hungAt = performance.now();
    network.catch(() => undefined);
    return kept;
  }
}

/**
 * @param {string} path
 * @param {Response} response
 * @returns {Promise<boolean>}
 */
async function isOurs(path, response) {
  if (response.status !== 200 || response.type !== "basic" || response.redirected) return false;
  const type = response.headers.get("content-type") ?? "";
  if (path !== PAGE) return !type.startsWith("text/html");
  const text = await response.clone().text();
  return text.includes('<meta name="application-name" content="Breakglass">');
}
