// Replaces the dashboard's router in a report: a link leads to a prompt that the page contains, or is plain text.
import { html, signal } from "../ui.js";

/** @type {{run?: {name: string}, study?: {name: string}}} */
const facts = JSON.parse(document.getElementById("facts")?.textContent ?? "{}");
export const path = signal(facts.run ? ["runs", facts.run.name] : ["studies", facts.study?.name ?? ""]);
export const query = signal(new URLSearchParams());

/** @param {string} run @param {...(string | number)} parts */
export const runPath = (run, ...parts) => ["/runs", run, ...parts].join("/");

/** @param {string[]} names */
export const comparePath = (names) => `/compare?${new URLSearchParams(names.map((name) => ["run", name]))}`;

/** @param {string} to */
const placeOf = (to) => {
  const number = /\/prompts\/(\d+)$/.exec(to)?.[1];
  return number === undefined ? null : `sample-${number}`;
};

/** Goes to a prompt of the page, or changes what a view shows. @param {string} to */
export function go(to) {
  if (to.startsWith("?")) query.value = new URLSearchParams(to);
  const place = placeOf(to);
  if (place) document.getElementById(place)?.scrollIntoView();
}

/** @param {Record<string, unknown>} changes */
export function withQuery(changes) {
  const next = new URLSearchParams(query.value);
  for (const [name, value] of Object.entries(changes)) {
    if (value === null) next.delete(name);
    else next.set(name, String(value));
  }
  return `?${next}`;
}

/** @param {{to: string, children?: unknown, [attribute: string]: unknown}} props */
export function Link({ to, children, ...rest }) {
  const place = placeOf(to);
  if (/\bbutton\b/.test(String(rest.class ?? ""))) return null;
  return place && document.getElementById(place)
    ? html`<a href=${`#${place}`} ...${rest}>${children}</a>`
    : html`<span title=${rest.title}>${children}</span>`;
}
