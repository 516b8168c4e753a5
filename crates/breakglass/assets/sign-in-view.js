// The dialog of a page that is signed out: at the edge (a visit to the page leads to its sign-in),
// or at the server itself, which takes a token.

import { byId } from "./dom.js";
import * as memory from "./memory.js";

export class SignInView {
  #dialog = byId("sign-in", HTMLDialogElement);
  #title = byId("sign-in-title", HTMLHeadingElement);
  #why = byId("sign-in-why", HTMLParagraphElement);
  #tokenPart = byId("sign-in-token", HTMLDivElement);
  #token = byId("token", HTMLInputElement);
  #keep = byId("token-keep", HTMLInputElement);
  #edge = byId("sign-in-edge", HTMLButtonElement);

  /** The server refused the token that is there. */
  #refused = false;
  /** A token that a link brought. @type {string | null} */
  #offered;

  /**
   * @param {string | null} offered
   * @param {() => void} signedIn
   */
  constructor(offered, signedIn) {
    this.#offered = offered;
    byId("sign-in-form", HTMLFormElement).addEventListener("submit", (event) => {
      event.preventDefault();
      const token = this.#token.value.trim();
      if (token === "" || this.#tokenPart.hidden) return;
      memory.token.set(token, this.#keep.checked);
      this.#token.value = "";
      this.#dialog.close();
      signedIn();
    });
    // The edge takes a navigation to its sign-in, and brings it back. A token that is wrong would be sent
    // all the same, and the server believes no edge that comes with one.
    this.#edge.addEventListener("click", () => {
      if (this.#refused) memory.token.set(null, false);
      location.reload();
    });
    byId("sign-in-later", HTMLButtonElement).addEventListener("click", () => this.#dialog.close());
  }

  /** @param {"edge" | "token"} how */
  show(how) {
    const had = memory.token.get() !== null;
    const byToken = how === "token";
    this.#refused = byToken && had;
    const offered = this.#refused && this.#offered !== memory.token.get() ? this.#offered : null;
    this.#title.textContent = byToken && !had ? "Sign in" : "Signed out";
    this.#why.textContent = byToken
      ? had
        ? offered === null
          ? "The server does not take this token."
          : "The server does not take the token that was here. That of your link is filled in."
        : "Paste this console's token, or use the page in front of it to sign in."
      : "The sign-in in front of this console has ended. Your text is kept. A turn that runs goes on.";
    if (offered !== null) {
      this.#token.value = offered;
      this.#offered = null;
    }
    this.#tokenPart.hidden = !byToken;
    this.#edge.classList.toggle("primary", !byToken);
    this.#edge.classList.toggle("outlined", byToken);
    this.#edge.textContent = byToken ? "Use the sign-in page" : "Sign in again";
    if (!this.#dialog.open) this.#dialog.showModal();
    (byToken ? this.#token : this.#edge).focus();
  }

  hide() {
    if (this.#dialog.open) this.#dialog.close();
  }
}
