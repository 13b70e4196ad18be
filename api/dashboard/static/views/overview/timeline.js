// What each iteration's time went into.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { count, duration, stageName } from "../../parts/format.js";

/** @typedef {import("../../data/schema.d.ts").Iteration} Iteration */
/** @typedef {import("../../data/schema.d.ts").Stage} Stage */

const MOST = 40;
/** Stages that do the same kind of work share a hue. @type {[string, string, RegExp][]} */
const KINDS = [
  ["answering and rewarding", "--c1", /^judge/],
  ["choosing and evolving prompts", "--c3", /^(estimate|sample|gate|evolve|mix)/],
  ["pairing and training", "--c2", /^(pair|train)/],
  ["evaluating on held-out prompts", "--c4", /^evaluate/],
  ["other", "--c7", /./],
];
/** @param {string} name */
const kindOf = (name) => KINDS.find(([, , fits]) => fits.test(name)) ?? KINDS[KINDS.length - 1];

/** @param {{items: Iteration[], name: string}} props */
export function Timeline({ items, name }) {
  const shown = items.slice(-MOST);
  const longest = Math.max(...shown.map((one) => one.seconds), 1e-9);
  const numbers = () => ({
    columns: ["iteration", "stage", "status", "seconds", "done", "total", "attempts"],
    rows: items.flatMap((one) =>
      one.stages.map((s) => [one.number, s.name, s.status, s.seconds, s.done, s.total, s.attempts]),
    ),
  });
  if (!items.length) return null;
  return html`
    <${Figure}
      title="Stages"
      name=${`${name}-stages`}
      numbers=${numbers}
      says=${
        `What each iteration's time went into${items.length > MOST ? `; the last ${MOST} iterations` : ""}. ` +
        `A stage that was started more than once says so.`
      }
    >
      <div class="timeline">
        ${shown.map((one) => html`<${Row} key=${one.number} one=${one} longest=${longest} />`)}
      </div>
      <ul class="legend">
        ${KINDS.map(
          ([kind, hue]) => html`
            <li key=${kind}><span class="key box" style=${{ "--hue": `var(${hue})` }} />${kind}</li>
          `,
        )}
      </ul>
    <//>
  `;
}

/** @param {{one: Iteration, longest: number}} props */
function Row({ one, longest }) {
  const again = one.stages.filter((stage) => stage.attempts > 1);
  return html`
    <div class="timeline-row">
      <span class="number soft">${one.number}</span>
      <ol class="segments" aria-label=${`Iteration ${one.number}, ${duration(one.seconds)}`}>
        ${one.stages.map(
          (stage) => html`
            <li
              key=${stage.name}
              class=${`segment ${stage.status}`}
              title=${told(stage)}
              style=${{ width: `${(100 * stage.seconds) / longest}%`, background: `var(${kindOf(stage.name)[1]})` }}
            >
              <span class="hidden-but-read">${told(stage)}</span>
              ${
                stage.seconds / longest > 0.09
                  ? html`<span class="segment-name" aria-hidden="true">${stageName(stage.name)}</span>`
                  : null
              }
            </li>
          `,
        )}
      </ol>
      <span class="number soft">${duration(one.seconds)}</span>
      <span class="soft small">
        ${one.pairs === null ? "" : `${count(one.pairs)} pairs`}
        ${again.map((stage) => ` · ${stageName(stage.name)}: attempt ${stage.attempts}`).join("")}
      </span>
    </div>
  `;
}

/** @param {Stage} stage */
const told = (stage) =>
  `${stageName(stage.name)}: ${duration(stage.seconds)}, ${count(stage.done)} of ${count(stage.total)}` +
  `${stage.status === "done" ? "" : `, ${stage.status}`}${stage.error ? `: ${stage.error}` : ""}`;
