// Signing in and out where the service requires API keys, and what the current key may do.
import { html, effect, signal, useState } from "./ui.js";
import { AGAIN_MS, ApiError, fetchJson, isAway, send, signInDialog, signIns } from "./data/api.js";
import { Dialog } from "./parts/dialog.js";

/** @typedef {import("./data/schema.d.ts").Session} Session */

export const session = signal(/** @type {Session | null} */ (null));
/** True once the service has said who is signed in, if anyone. */
export const settled = signal(false);

const ask = () =>
  fetchJson("/v1/session")
    .then(
      (data) => {
        session.value = /** @type {Session} */ (data);
      },
      (error) => {
        session.value = null;
        if (isAway(error)) setTimeout(() => void ask(), AGAIN_MS);
      },
    )
    .then(() => {
      settled.value = true;
    });

effect(() => {
  void signIns.value;
  void ask();
});

/** Says why this key may not change anything; null if it may. */
export function readOnly() {
  const current = session.value;
  return current?.scope === "read"
    ? `The key ${current.key} is read-only. Sign in with one made by \`eva keys create NAME --scope write\``
    : null;
}

/** Says why this key may not manage what belongs to the whole service; null if it may. */
export function notAdmin() {
  const current = session.value;
  if (!current || current.scope === "admin") return null;
  const has = `The key ${current.key} has scope ${current.scope}.`;
  return `${has} Sign in with one made by \`eva keys create NAME --scope admin\``;
}

/** Shows who is signed in, with a button to sign out; nothing where the service requires no keys. */
export function SignedIn() {
  const current = session.value;
  if (!current?.keys_required) return null;
  const left = () => {
    session.value = null;
    signInDialog.value = "closed";
    signIns.value += 1;
  };
  const leave = () => send("DELETE", "/v1/session").then(left, left);
  return html`
    <span class="soft small signed-in" title=${`Signed in with the key ${current.key} (scope: ${current.scope})`}>
      ${current.scope === "read" ? "read-only" : current.key}
    </span>
    <button type="button" class="button bare" onClick=${leave}>Sign out</button>
  `;
}

/** Asks for an API key in a dialog; the page behind it keeps what was typed. */
export function SignIn() {
  const [key, setKey] = useState("");
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  if (signInDialog.value !== "open") return null;
  const close = () => {
    signInDialog.value = "declined";
    setWrong("");
  };
  const enter = async (/** @type {Event} */ event) => {
    event.preventDefault();
    setBusy(true);
    try {
      await send("POST", "/v1/session", { key: key.trim() });
      setKey("");
      setWrong("");
      signInDialog.value = "closed";
      signIns.value += 1;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setWrong(
        error.problem.status === 401
          ? "This API key is not valid."
          : `${error.problem.given}. ${error.problem.next_move ?? ""}`,
      );
    }
    setBusy(false);
  };
  return html`
    <${Dialog} title="Sign in" close=${close}>
      <form class="form" onSubmit=${enter}>
        <p class="soft">This service requires an API key. Nothing you typed on this page is lost.</p>
        <label class="field">
          API
          key
          <input
            name="key"
            type="password"
            autocomplete="current-password"
            maxlength="200"
            required
            autofocus
            value=${key}
            aria-invalid=${wrong ? "true" : undefined}
            aria-describedby="key-wrong"
            onInput=${(/** @type {any} */ event) => setKey(event.currentTarget.value)}
          />
        </label>
        <p id="key-wrong" class="mistake" role="alert">${wrong}</p>
        <p class="soft small">Create a key on the server: <code>eva keys create NAME --scope read</code></p>
        <p class="buttons ends">
          <button type="button" class="button" onClick=${close}>Not now</button>
          <button class="button first" disabled=${busy}>Sign in</button>
        </p>
      </form>
    <//>
  `;
}
