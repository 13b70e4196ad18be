// Compares runs: their curves over iterations, time, GPU time or tokens, and what differs in their configs.
import { html } from "../../ui.js";
import { useRequest } from "../../data/api.js";
import { Empty, Loaded } from "../../parts/states.js";
import { comparePath, go, Link, query, runPath, withQuery } from "../../router.js";
import { Curve, HeldoutCurve, HUES } from "./curves.js";
import { PairedTable } from "./paired.js";
import { verdicts } from "./verdict.js";

/** @typedef {import("../../data/schema.d.ts").Comparison} Comparison */
/** @typedef {import("./curves.js").Axis} Axis */

const MOST = HUES.length;
/** @type {[Axis, string, string][]} */
const AXES = [
  ["iteration", "iteration", "iteration"],
  ["seconds", "time", "seconds of work"],
  ["gpu_seconds", "GPU time", "GPU seconds"],
  ["tokens", "tokens", "generated tokens"],
];

export function Compare() {
  const names = query.value.getAll("run").slice(0, MOST);
  const request = useRequest(names.length > 1 ? "/v1/compare" : null, { run: names });
  return html`
    <div class="head">
      <h1>Compare</h1>
      <p class="lead">Runs side by side: what differs in their configs, and how they turned out.</p>
    </div>
    <${RunChooser} names=${names} />
    ${
      names.length < 2
        ? html`
          <div class="card">
            <${Empty} title="Choose at least two runs">
              Select up to ${MOST} in <${Link} to="/">the list of runs<//>, or add them here by name.
            <//>
          </div>
        `
        : html`
          <${Loaded} request=${request}>
            ${(/** @type {Comparison} */ comparison) => html`<${Body} comparison=${comparison} />`}
          <//>
        `
    }
  `;
}

/** @param {{names: string[]}} props */
function RunChooser({ names }) {
  const add = (/** @type {Event} */ event) => {
    const input = /** @type {HTMLInputElement} */ (event.currentTarget);
    const name = input.value.trim();
    if (name && !names.includes(name)) go(comparePath([...names, name]));
    input.value = "";
  };
  return html`
    <div class="filters">
      ${names.map(
        (name, n) => html`
          <span class="buttons chip" key=${name}>
            <span class="key box" style=${{ "--hue": `var(${HUES[n]})` }} />
            <${Link} to=${runPath(name)}>${name}<//>
            <button
              class="button bare"
              aria-label=${`Remove ${name}`}
              onClick=${() => go(comparePath(names.filter((other) => other !== name)))}
            >
              ×
            </button>
          </span>
        `,
      )}
      ${
        names.length < MOST &&
        html`<label class="field">Add a run<input type="search" placeholder="name" onChange=${add} /></label>`
      }
    </div>
  `;
}

/** @param {{comparison: Comparison}} props */
function Body({ comparison }) {
  const { runs } = comparison;
  const axes = AXES.filter(
    ([name]) => name !== "gpu_seconds" || runs.some((run) => run.curve.some((point) => point.gpu_seconds > 0)),
  );
  const [axis, , shown] = axes.find(([name]) => name === query.value.get("axis")) ?? AXES[0];
  const splits = [...new Set(runs.flatMap((run) => run.heldout.map((point) => point.split)))].sort();
  return html`
    <div class="stack">
      <section class="card" aria-label="Verdict">
        ${verdicts(comparison).map((sentence, n) => html`<p key=${n} class="verdict">${sentence}</p>`)}
      </section>
      <${ConfigDifferences} comparison=${comparison} />
      <div class="buttons switch" role="group" aria-label="Horizontal axis">
        ${axes.map(
          ([name, title]) => html`
            <button key=${name} class="button" aria-pressed=${name === axis} 
              onClick=${() => go(withQuery({ axis: name === AXES[0][0] ? null : name }), { replace: true })}
            >
              by ${title}
            </button>
          `,
        )}
      </div>
      <div class="two">
        ${splits.map((split) => html`<${HeldoutCurve} key=${split} runs=${runs} split=${split} axis=${axis} />`)}
        <${Curve}
          runs=${runs}
          axis=${axis}
          xLabel=${shown}
          of="reward_mean"
          title="Mean reward of the batch"
          y="reward of the batch"
          caption="Over each run's own prompts: a lower reward may mean harder prompts rather than a worse policy."
        />
        <${Curve}
          runs=${runs}
          axis=${axis}
          xLabel=${shown}
          of="info_mean"
          title="Remaining regret"
          y="info"
          caption="Mean informativeness of the batch."
        />
        <${Curve}
          runs=${runs}
          axis=${axis}
          xLabel=${shown}
          of="effective_roots"
          title="Seed families in the batch"
          y="effective number"
          caption="How many seed prompts the batch effectively comes from."
        />
      </div>
      <${PairedTable} comparison=${comparison} />
    </div>
  `;
}

/** @param {{comparison: Comparison}} props */
function ConfigDifferences({ comparison }) {
  return html`
    <section class="card" aria-label="Config">
      <header><h2>What differs in their configs</h2></header>
      ${
        comparison.config.length === 0
          ? html`<p class="soft">Nothing: their configs are the same.</p>`
          : html`
            <div class="scroll" tabindex="0" role="region" aria-label="Differences of the configs">
              <table class="data">
                <thead>
                  <tr>
                    <th scope="col">Key</th>
                    ${comparison.runs.map((run) => html`<th key=${run.name} scope="col">${run.name}</th>`)}
                  </tr>
                </thead>
                <tbody>
                  ${comparison.config.map(
                    (difference) => html`
                      <tr key=${difference.key}>
                        <td><code>${difference.key}</code></td>
                        ${difference.values.map(
                          (value, n) => html`
                            <td key=${n}>
                              <code>
                                ${value === null ? "–" : typeof value === "string" ? value : JSON.stringify(value)}
                              </code>
                            </td>
                          `,
                        )}
                      </tr>
                    `,
                  )}
                </tbody>
              </table>
            </div>
          `
      }
    </section>
  `;
}
