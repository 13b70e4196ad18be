// Small parts that several views show.
import { classes, html } from "./ui.js";
import { ago, moment } from "./format.js";

const HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c6", "--c8", "--c7"];
const KNOWN = [
  "deepening",
  "breadth",
  "constraints",
  "reasoning",
  "concretizing",
  "increased_reasoning",
  "crossover",
  "simplifying",
];

/** The hue of an operator: the same in every view and run, as long as there are few.
 * @param {string | null} operator */
export function hueOf(operator) {
  if (operator === null) return "--c7";
  const place = KNOWN.indexOf(operator);
  if (place >= 0) return HUES[place % HUES.length];
  let hash = 0;
  for (const letter of operator) hash = (hash * 31 + (letter.codePointAt(0) ?? 0)) >>> 0;
  return HUES[hash % (HUES.length - 1)];
}

/** @param {{name: string | null}} props */
export const Operator = ({ name }) => html`
  <span class="operator" title=${name ?? "a seed prompt"} style=${{ "--hue": `var(${hueOf(name)})` }}>
    ${name ?? "seed"}
  </span>
`;

/** A text in which `this` is code. @param {{text: string}} props */
export const Coded = ({ text }) => html`
  ${text.split("`").map((part, n) => (n % 2 ? html`<code key=${n}>${part}</code>` : part))}
`;

/** @param {{status: string}} props */
export const Status = ({ status }) => html`<span class=${classes("status", status)}>${status}</span>`;

/** @param {{iso: string}} props */
export const Ago = ({ iso }) => html`<time datetime=${iso} title=${moment(iso)}>${ago(iso)}</time>`;

/** @param {{share: number, label: string}} props */
export const Bar = ({ share, label }) => html`
  <span class="bar" role="img" aria-label=${label}>
    <span style=${{ width: `${(100 * Math.min(1, Math.max(0, share))).toFixed(1)}%` }} />
  </span>
`;

/** @param {{facts: [string, unknown][]}} props */
export const Facts = ({ facts }) => html`
  <dl class="facts">
    ${facts.map(([name, value]) => html`<div key=${name}><dt>${name}</dt><dd>${value}</dd></div>`)}
  </dl>
`;
