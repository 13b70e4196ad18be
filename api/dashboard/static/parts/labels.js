// Small labels that several views share: operators, statuses, dates, bars, lists of facts, texts to copy.
import { classes, html, useState } from "../ui.js";
import { hueOf } from "../charts/colours.js";
import { ago, moment } from "./format.js";

/** @param {{name: string | null}} props */
export const Operator = ({ name }) => html`
  <span class="operator" title=${name ?? "seed prompt"} style=${{ "--hue": `var(${hueOf(name)})` }}>
    ${name ?? "seed"}
  </span>
`;

/** Shows text, with what stands between backticks as code. @param {{text: string}} props */
export const TextWithCode = ({ text }) => html`
  <span>${text.split("`").map((part, n) => (n % 2 ? html`<code key=${n}>${part}</code>` : part))}</span>
`;

/** @param {{status: string}} props */
export const Status = ({ status }) => html`<span class=${classes("status", status)}>${status}</span>`;

/** @param {{iso: string}} props */
export const TimeAgo = ({ iso }) => html`<time datetime=${iso} title=${moment(iso)}>${ago(iso)}</time>`;

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

/** A text with a button that copies it. @param {{text: string, short?: string}} props */
export function Copied({ text, short = text }) {
  const [done, setDone] = useState(false);
  const copy = async () => {
    await navigator.clipboard.writeText(text);
    setDone(true);
  };
  return html`
    <span class="copied">
      <code title=${text}>${short}</code>
      ${
        // a page that was not fetched over HTTPS or from this machine may not write to the clipboard
        navigator.clipboard &&
        html`
          <button type="button" class="button bare small" aria-label=${`Copy ${text}`} onClick=${copy}>
            ${done ? "Copied" : "Copy"}
          </button>
        `
      }
    </span>
  `;
}
