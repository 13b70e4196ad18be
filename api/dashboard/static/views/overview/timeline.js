// The timeline of stages: where each iteration's time went.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { count, duration, stageName } from "../../parts/format.js";

/** @typedef {import("../../data/schema.d.ts").Iteration} Iteration */
/** @typedef {import("../../data/schema.d.ts").Stage} Stage */

const MOST = 40;
/** Stages that do the same kind of work share a hue. @type {[string, string, RegExp][]} */
const KINDS = [
  ["generating and rewarding", "--c1", /^judge/],
  ["choosing and evolving prompts", "--c3", /^(estimate|sample|gate|evolve|mix)/],
  ["pairing and training", "--c2", /^(pair|train)/],
  ["held-out evaluation", "--c4", /^evaluate/],
  ["other", "--c7", /./],
];
/** @param {string} name */
const kindOf = (name) => KINDS.find(([, , fits]) => fits.test(name)) ?? KINDS[KINDS.length - 1];

/** @param {{items: Iteration[], name: string}} props */
export function Timeline({ items, name }) {
  const shown = items.slice(-MOST);
  const longest = Math.max(...shown.map((iteration) => iteration.seconds), 1e-9);
  const numbers = () => ({
    columns: ["iteration", "stage", "status", "seconds", "done", "total", "attempts"],
    rows: items.flatMap((iteration) =>
      iteration.stages.map((s) => [iteration.number, s.name, s.status, s.seconds, s.done, s.total, s.attempts]),
    ),
  });
  if (!items.length) return null;
  return html`
    <${Figure}
      title="Stages"
      name=${`${name}-stages`}
      numbers=${numbers}
      caption=${
        `Where the time of each iteration went${items.length > MOST ? `, for the last ${MOST} iterations` : ""}. ` +
        `Stages that needed more than one attempt are marked.`
      }
    >
      <div class="timeline">
        ${shown.map((iteration) => html`<${Row} key=${iteration.number} iteration=${iteration} longest=${longest} />`)}
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

/** @param {{iteration: Iteration, longest: number}} props */
function Row({ iteration, longest }) {
  const again = iteration.stages.filter((stage) => stage.attempts > 1);
  return html`
    <div class="timeline-row">
      <span class="number soft">${iteration.number}</span>
      <ol class="segments" aria-label=${`Iteration ${iteration.number}, ${duration(iteration.seconds)}`}>
        ${iteration.stages.map(
          (stage) => html`
            <li
              key=${stage.name}
              class=${`segment ${stage.status}`}
              title=${describe(stage)}
              style=${{ width: `${(100 * stage.seconds) / longest}%`, background: `var(${kindOf(stage.name)[1]})` }}
            >
              <span class="hidden-but-read">${describe(stage)}</span>
              ${
                stage.seconds / longest > 0.09
                  ? html`<span class="segment-name" aria-hidden="true">${stageName(stage.name)}</span>`
                  : null
              }
            </li>
          `,
        )}
      </ol>
      <span class="number soft">${duration(iteration.seconds)}</span>
      <span class="soft small">
        ${iteration.pairs === null ? "" : `${count(iteration.pairs)} pairs`}
        ${iteration.responses === null ? "" : `${count(iteration.responses)} responses trained on`}
        ${again.map((stage) => ` · ${stageName(stage.name)}: attempt ${stage.attempts}`).join("")}
      </span>
    </div>
  `;
}

/** @param {Stage} stage */
const describe = (stage) =>
  `${stageName(stage.name)}: ${duration(stage.seconds)}, ${count(stage.done)} of ${count(stage.total)}` +
  `${stage.status === "done" ? "" : `, ${stage.status}`}${stage.error ? `: ${stage.error}` : ""}`;
