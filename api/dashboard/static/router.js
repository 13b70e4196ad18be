// Reads and changes the address, which holds the whole state of a view, so that a link shows a colleague the same
// thing.
import { computed, html, signal } from "./ui.js";

const address = signal(location.pathname + location.search);
// the page is long enough to scroll back only when its data has arrived
history.scrollRestoration = "manual";
addEventListener("popstate", (event) => {
  address.value = location.pathname + location.search;
  scrollWhenPossible(Number(event.state?.scroll ?? 0));
});
const SCROLL_MS = 3000;
let stopScrolling = () => {};

/** Scrolls to a place as soon as the page reaches it, unless its reader scrolls first. @param {number} top */
function scrollWhenPossible(top) {
  stopScrolling();
  const follow = () => {
    scrollTo(0, top);
    if (Math.abs(scrollY - top) < 2) stopScrolling();
  };
  const observer = new ResizeObserver(follow);
  const timer = setTimeout(() => stopScrolling(), SCROLL_MS);
  stopScrolling = () => {
    observer.disconnect();
    clearTimeout(timer);
    for (const kind of ["wheel", "touchstart", "keydown"]) removeEventListener(kind, stopScrolling);
  };
  for (const kind of ["wheel", "touchstart", "keydown"]) addEventListener(kind, stopScrolling);
  observer.observe(document.body);
}

// a reload and a link from elsewhere come back to the same place too
addEventListener("pagehide", () => keepScroll());
const keepScroll = () => history.replaceState({ ...history.state, scroll: scrollY }, "");
if (history.state?.scroll) scrollWhenPossible(Number(history.state.scroll));

/** The segments of the path, decoded. */
export const path = computed(() =>
  new URL(address.value, location.origin).pathname
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

/** The query parameters. */
export const query = computed(() => new URL(address.value, location.origin).searchParams);

/** @param {string} to @param {{replace?: boolean}} [how] */
export function go(to, how = {}) {
  stopScrolling();
  if (!how.replace) keepScroll();
  history[how.replace ? "replaceState" : "pushState"](null, "", to);
  const leavesPage = new URL(to, location.origin).pathname !== new URL(address.peek(), location.origin).pathname;
  address.value = location.pathname + location.search;
  if (leavesPage) scrollTo(0, 0);
}

/**
 * The current address with some parameters changed; null or "" removes one, a list gives it several values.
 * @param {Record<string, unknown>} changes
 */
export function withQuery(changes) {
  const next = new URLSearchParams(query.value);
  for (const [name, value] of Object.entries(changes)) {
    next.delete(name);
    for (const item of Array.isArray(value) ? value : [value])
      if (item !== null && item !== undefined && item !== "") next.append(name, String(item));
  }
  const text = next.toString();
  return new URL(address.value, location.origin).pathname + (text ? `?${text}` : "");
}

/** @param {string} run @param {...(string | number)} parts */
export const runPath = (run, ...parts) =>
  ["/runs", run, ...parts].map((part, n) => (n ? encodeURIComponent(part) : part)).join("/");

/** @param {string[]} names */
export const comparePath = (names) => `/compare?${new URLSearchParams(names.map((name) => ["run", name]))}`;

/**
 * A link within the dashboard that loads no new page, unless the click asks for another tab or window.
 * @param {{to: string, children?: unknown, [attribute: string]: unknown}} props
 */
export function Link({ to, children, ...rest }) {
  const follow = (/** @type {MouseEvent} */ event) => {
    if (event.button || event.metaKey || event.ctrlKey || event.shiftKey || event.altKey) return;
    event.preventDefault();
    go(to);
  };
  return html`<a href=${to} onClick=${follow} ...${rest}>${children}</a>`;
}
