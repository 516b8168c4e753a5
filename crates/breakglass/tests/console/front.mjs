// What stands between a browser and the server in real life: a network that is cut or freezes, and an
// edge that knows who is signed in. Each test has one of its own, with an origin of its own.

import http from "node:http";

/**
 * - `up`: everything is passed on.
 * - `cut`: connections break, new ones are refused at once.
 * - `frozen`: connections stay, and nothing comes through any more.
 * - `redirect`, `page`: the edge wants a sign-in, and says so in one of the usual ways.
 * - `empty`: a gateway without a server behind it.
 * @typedef {"up" | "cut" | "frozen" | "redirect" | "page" | "empty"} Weather
 */

export class Front {
  /** @type {Weather} */
  #weather = "up";
  #sockets = new Set();
  /** How often its connections were stranded. */
  #stranded = 0;
  /** @type {http.Server} */
  #server;
  /** What is passed on, as "METHOD path". @type {string[]} */
  seen = [];
  /** How many streams are open. */
  streams = 0;
  /** How many signs of life came through. */
  pings = 0;
  /** Answers in the server's place, if it returns something. */
  instead = (/** @type {http.IncomingMessage} */ _) => /** @type {{ status: number, body: string } | null} */ (null);

  /**
   * @param {string} upstream
   * @param {Record<string, string>} headers that the edge adds
   */
  constructor(upstream, headers) {
    const to = new URL(upstream);
    this.#server = http.createServer((request, response) => {
      const path = request.url ?? "/";
      this.seen.push(`${request.method} ${path}`);
      if (this.#weather === "frozen") return;
      if (this.#weather === "redirect") {
        response.writeHead(302, { location: `http://localhost:${this.port}/sign-in?next=${encodeURIComponent(path)}` }).end();
        return;
      }
      if (this.#weather === "page" || path.startsWith("/sign-in")) {
        response.writeHead(200, { "content-type": "text/html" }).end("<!doctype html><title>Sign in</title><h1>Sign in</h1>");
        return;
      }
      if (this.#weather === "empty") {
        response.writeHead(503, { "content-type": "text/html" }).end("<h1>no available server</h1>");
        return;
      }
      const canned = this.instead(request);
      if (canned !== null) {
        response.writeHead(canned.status, { "content-type": "application/json" }).end(canned.body);
        return;
      }
      const isStream = path.includes("/stream");
      const before = this.#stranded;
      if (isStream) this.streams += 1;
      response.on("close", () => {
        if (isStream) this.streams -= 1;
      });
      const passed = http.request(
        { host: to.hostname, port: to.port, method: request.method, path, headers: { ...request.headers, ...headers } },
        (answer) => {
          response.writeHead(answer.statusCode ?? 502, answer.headers);
          answer.on("data", (piece) => {
            if (this.#weather === "frozen" || this.#stranded > before) return;
            response.write(piece);
            if (isStream && piece.includes("event: ping")) this.pings += 1;
          });
          answer.on("end", () => response.end());
          answer.on("error", () => response.destroy());
        },
      );
      passed.on("error", () => response.destroy());
      response.on("close", () => passed.destroy());
      request.pipe(passed);
    });
    this.#server.on("connection", (socket) => {
      if (this.#weather === "cut") return socket.destroy();
      this.#sockets.add(socket);
      socket.on("close", () => this.#sockets.delete(socket));
      return undefined;
    });
  }

  async listen() {
    await new Promise((go) => this.#server.listen(0, "127.0.0.1", () => go(undefined)));
    return this;
  }

  get port() {
    return /** @type {import("node:net").AddressInfo} */ (this.#server.address()).port;
  }

  get url() {
    return `http://127.0.0.1:${this.port}`;
  }

  /** @param {Weather} weather */
  set weather(weather) {
    this.#weather = weather;
    if (weather === "cut") for (const socket of this.#sockets) socket.destroy();
  }

  /** Nothing comes by way of what is open now any more, though nobody is told. */
  strand() {
    this.#stranded += 1;
  }

  close() {
    this.#server.close();
    for (const socket of this.#sockets) socket.destroy();
  }
}
