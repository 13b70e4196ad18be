// Who looks: what the key that was given may do; the way in and out where the service asks for keys.
import { html, effect, signal, useState } from "./ui.js";
import { ApiError, fetchJson, send, signInDialog, signIns } from "./data/api.js";
import { Dialog } from "./parts/dialog.js";

/** @typedef {import("./data/schema.d.ts").Session} Session */

export const session = signal(/** @type {Session | null} */ (null));
/** Whether it is known who that is, or that it is nobody. */
export const settled = signal(false);

effect(() => {
  void signIns.value;
  fetchJson("/v1/session")
    .then(
      (data) => {
        session.value = /** @type {Session} */ (data);
      },
      () => {
        session.value = null;
      },
    )
    .then(() => {
      settled.value = true;
    });
});

/** Why nothing may be changed here; null where it may be. */
export function readOnly() {
  const known = session.value;
  return known?.scope === "read"
    ? `The key ${known.key} may only read: sign in with one made by \`eva keys create NAME --scope write\``
    : null;
}

/** Whoever is signed in, and the way out; nothing where no keys are asked for. */
export function SignedIn() {
  const known = session.value;
  if (!known?.keys_required) return null;
  const left = () => {
    session.value = null;
    signInDialog.value = "no";
    signIns.value += 1;
  };
  const leave = () => send("DELETE", "/v1/session").then(left, left);
  return html`
    <span class="soft small signed-in" title=${`The key ${known.key}; its scope is ${known.scope}`}>
      ${known.scope === "read" ? "read only" : known.key}
    </span>
    <button type="button" class="button bare" onClick=${leave}>Sign out</button>
  `;
}

/** Asks for a key over the page, which stays as it is. */
export function SignIn() {
  const [key, setKey] = useState("");
  const [wrong, setWrong] = useState("");
  const [busy, setBusy] = useState(false);
  if (signInDialog.value !== "asked") return null;
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
      signInDialog.value = "no";
      signIns.value += 1;
    } catch (error) {
      if (!(error instanceof ApiError)) throw error;
      setWrong(
        error.problem.status === 401
          ? "That key is none that is valid here."
          : `${error.problem.given}. ${error.problem.next_move ?? ""}`,
      );
    }
    setBusy(false);
  };
  return html`
    <${Dialog} title="Sign in" close=${close}>
      <form class="form" onSubmit=${enter}>
        <p class="soft">This service asks for an API key. What you typed on this page stays.</p>
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
        <p class="soft small">Keys are made on the server: <code>eva keys create NAME --scope read</code></p>
        <p class="buttons ends">
          <button type="button" class="button" onClick=${close}>Not now</button>
          <button class="button first" disabled=${busy}>Sign in</button>
        </p>
      </form>
    <//>
  `;
}
