// Views whose scripts are loaded after the page: when they are shown, or when the browser has nothing else to do.
import { html, useEffect, useState } from "./ui.js";
import { AGAIN_MS, ApiError } from "./data/api.js";
import { ErrorNotice, Loading } from "./parts/states.js";

/** @typedef {(props: any) => any} View */

const REST_MS = 200;
const waiting = /** @type {(() => Promise<View>)[]} */ ([]);

/**
 * A view that is loaded when it is first shown. Without the service, it waits for it.
 * @param {() => Promise<View>} load
 * @returns {View}
 */
export function later(load) {
  let loaded = /** @type {View | null} */ (null);
  let loading = /** @type {Promise<View> | null} */ (null);
  const once = () =>
    (loading ??= load().then(
      (view) => (loaded = view),
      (error) => {
        loading = null;
        throw error;
      },
    ));
  waiting.push(once);
  return function Later(props) {
    const [failed, setFailed] = useState(false);
    const [, setTurn] = useState(0);
    useEffect(() => {
      if (loaded) return undefined;
      let timer = 0;
      let gone = false;
      const attempt = () =>
        once().then(
          () => !gone && setTurn((n) => n + 1),
          () => {
            if (gone) return;
            setFailed(true);
            timer = window.setTimeout(() => void reloadIfNewer().then(attempt), AGAIN_MS);
          },
        );
      void attempt();
      return () => {
        gone = true;
        clearTimeout(timer);
      };
    }, []);
    if (loaded) return html`<${loaded} ...${props} />`;
    return html`
      <h1 class="hidden-but-read">${document.title.split(" – ")[0]}</h1>
      ${failed ? html`<${ErrorNotice} error=${UNREACHABLE} />` : html`<${Loading} />`}
    `;
  };
}

const UNREACHABLE = new ApiError({
  type: "unreachable",
  title: "The service is not reachable",
  status: 0,
  detail: "A part of the dashboard could not be loaded.",
  given: "A part of the dashboard could not be loaded",
  next_move: "Check that `eva serve` is still running. This page recovers by itself.",
});

/** A service that has been upgraded no longer has the scripts of this page, but another page with newer ones. */
async function reloadIfNewer() {
  const script = document.querySelector("script[src$='/app.js']")?.getAttribute("src");
  if (!script) return;
  try {
    const response = await fetch(script, { method: "HEAD", cache: "reload" });
    if (response.status === 404) location.reload();
  } catch {
    /* the service is still away */
  }
}

/** Loads all views one after the other, so that none has to be waited for. */
export function loadAll() {
  const next = () => {
    const load = waiting.shift();
    if (load)
      void load().then(
        () => setTimeout(next, REST_MS),
        () => setTimeout(next, AGAIN_MS),
      );
  };
  addEventListener("load", () => setTimeout(next, AGAIN_MS), { once: true });
}
