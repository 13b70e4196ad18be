// The address bar is the state: what a view shows can be sent to a colleague.
import { computed, html, signal } from "./ui.js";

const place = signal(location.pathname + location.search);
addEventListener("popstate", () => {
  place.value = location.pathname + location.search;
});

/** The parts of the path, decoded. */
export const path = computed(() =>
  new URL(place.value, location.origin).pathname
    .split("/")
    .filter(Boolean)
    .map((part) => {
      try {
        return decodeURIComponent(part);
      } catch {
        return part;
      }
    }),
);

/** The query. */
export const query = computed(() => new URL(place.value, location.origin).searchParams);

/** @param {string} to @param {{replace?: boolean}} [how] */
export function go(to, how = {}) {
  history[how.replace ? "replaceState" : "pushState"](null, "", to);
  const moved = new URL(to, location.origin).pathname !== new URL(place.peek(), location.origin).pathname;
  place.value = location.pathname + location.search;
  if (moved) scrollTo(0, 0);
}

/** The same view with other settings; null or "" takes one away. @param {Record<string, unknown>} changes */
export function withQuery(changes) {
  const next = new URLSearchParams(query.value);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null || value === undefined || value === "") next.delete(name);
    else next.set(name, String(value));
  }
  const text = next.toString();
  return new URL(place.value, location.origin).pathname + (text ? `?${text}` : "");
}

/** @param {string} run @param {...(string | number)} parts */
export const runPath = (run, ...parts) =>
  ["/runs", run, ...parts].map((part, n) => (n ? encodeURIComponent(part) : part)).join("/");

/** A link that stays in the page, unless it is asked to open elsewhere.
 * @param {{to: string, children?: unknown, [attribute: string]: unknown}} props */
export function Link({ to, children, ...rest }) {
  const follow = (/** @type {MouseEvent} */ event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return html`<a href=${to} onClick=${follow} ...${rest}>${children}</a>`;
}
