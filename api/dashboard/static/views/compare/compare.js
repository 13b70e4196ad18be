// Compares runs: their curves over iterations, time, GPU time or tokens, and what differs in their configs.
import { html, useState } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Plot } from "../../charts/plot.js";
import { useRequest } from "../../data/api.js";
import { count, duration, figure, percent } from "../../parts/format.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, Link, query, runPath } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").Comparison} Comparison */
/** @typedef {import("../../data/schema.d.ts").ComparedRun} ComparedRun */
/** @typedef {import("../../data/schema.d.ts").CurvePoint} CurvePoint */

const HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c8"];
const MOST = HUES.length;
/** @typedef {"iteration" | "seconds" | "gpu_seconds" | "tokens"} Axis */
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

/** @param {string[]} names */
export const comparePath = (names) => `/compare?${new URLSearchParams(names.map((name) => ["run", name]))}`;

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
  const [axis, setAxis] = useState(/** @type {Axis} */ ("iteration"));
  const { runs } = comparison;
  const axes = AXES.filter(
    ([name]) => name !== "gpu_seconds" || runs.some((run) => run.curve.some((point) => point.gpu_seconds > 0)),
  );
  const shown = AXES.find(([name]) => name === axis)?.[2] ?? axis;
  const splits = [...new Set(runs.flatMap((run) => run.heldout.map((point) => point.split)))].sort();
  return html`
    <div class="stack">
      <div class="buttons switch" role="group" aria-label="Horizontal axis">
        ${axes.map(
          ([name, title]) => html`
            <button key=${name} class="button" aria-pressed=${name === axis} onClick=${() => setAxis(name)}>
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
          y="reward"
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
      <${ConfigDifferences} comparison=${comparison} />
    </div>
  `;
}

/**
 * @param {{runs: ComparedRun[], axis: Axis, xLabel: string, of: "reward_mean" | "info_mean" | "effective_roots",
 *   title: string, y: string, caption: string}} props
 */
function Curve({ runs, axis, xLabel, of, title, y, caption }) {
  return html`
    <${Figure}
      title=${title}
      caption=${caption}
      name=${`compare-${of}`}
      numbers=${() => ({
        columns: ["run", "iteration", ...(axis === "iteration" ? [] : [xLabel]), title],
        rows: runs.flatMap((run) =>
          run.curve.map((point) => [
            run.name,
            String(point.iteration),
            ...(axis === "iteration" ? [] : [point[axis]]),
            point[of],
          ]),
        ),
      })}
    >
      <${Plot}
        label=${`${title} by ${xLabel}`}
        xLabel=${xLabel}
        yLabel=${y}
        zero=${of !== "reward_mean"}
        whole=${axis !== "seconds"}
        xName=${axis === "seconds" ? duration : undefined}
        series=${runs.map((run, n) => ({
          name: run.name,
          hue: HUES[n],
          points: run.curve
            .filter((point) => point[axis] !== null)
            .map((point) => ({ x: Number(point[axis]), y: point[of] })),
        }))}
      />
    <//>
  `;
}

/** @param {{runs: ComparedRun[], split: string, axis: Axis}} props */
function HeldoutCurve({ runs, split, axis }) {
  const byTime = axis === "seconds";
  const greedyPoints = (/** @type {ComparedRun} */ run) =>
    run.heldout.filter((point) => point.split === split && point.mode === "greedy");
  return html`
    <${Figure}
      title=${`Held-out: ${split}`}
      name=${`compare-heldout-${split}`}
      caption=${
        byTime || axis === "iteration"
          ? "Share of correct responses, sampled greedily."
          : "Share of correct responses by policy, sampled greedily."
      }
      numbers=${() => ({
        columns: ["run", "policy", "accuracy (share)", "mean reward", "responses"],
        rows: runs.flatMap((run) =>
          greedyPoints(run).map((point) => [
            run.name,
            String(point.checkpoint),
            point.accuracy,
            point.reward_mean,
            point.responses,
          ]),
        ),
      })}
    >
      <${Plot}
        label=${`Held-out accuracy on ${split}`}
        xLabel=${byTime ? "seconds of work" : "policy"}
        yLabel="correct"
        yDomain=${[0, 1]}
        whole=${!byTime}
        xName=${byTime ? duration : undefined}
        format=${(/** @type {number} */ v) => percent(v)}
        axisFormat=${(/** @type {number} */ v) => percent(v)}
        series=${runs.map((run, n) => ({
          name: run.name,
          hue: HUES[n],
          points: greedyPoints(run).map((point) => ({
            x: byTime ? point.seconds : point.checkpoint,
            y: point.accuracy,
          })),
        }))}
      />
    <//>
  `;
}

/** The 95 % interval around a mean difference. @param {number} mean @param {number | null} error */
const intervalOf = (mean, error) =>
  error === null ? "–" : `${figure(mean - 1.96 * error)} to ${figure(mean + 1.96 * error)}`;

/** @param {{comparison: Comparison}} props */
function PairedTable({ comparison }) {
  if (!comparison.paired.length)
    return html`
      <section class="card">
        <header><h2>On the same prompts</h2></header>
        <p class="soft">These runs have no prompts in common.</p>
      </section>
    `;
  return html`
    <${Figure}
      title="On the same prompts"
      name="compare-paired"
      caption=${
        `Each run against ${comparison.runs[0].name}, prompt by prompt, with policies of the same number. ` +
        `The interval is 95%, from the standard error.`
      }
      numbers=${() => ({
        columns: [
          "run",
          "against",
          "prompts",
          "sampling",
          "policy",
          "difference of reward",
          "standard error",
          "better (prompts)",
          "worse (prompts)",
          "compared (prompts)",
        ],
        rows: comparison.paired.map((pair) => [
          pair.run,
          comparison.runs[0].name,
          pair.prompts,
          pair.mode,
          pair.checkpoint,
          pair.difference,
          pair.standard_error,
          pair.better,
          pair.worse,
          pair.count,
        ]),
      })}
    >
      <div class="scroll" tabindex="0" role="region" aria-label="Paired differences">
        <table class="data">
          <thead>
            <tr>
              <th scope="col">Run</th>
              <th scope="col">Prompts</th>
              <th scope="col">Sampling</th>
              <th scope="col" class="number">Policy</th>
              <th scope="col" class="number">Difference of reward</th>
              <th scope="col" class="number">Interval</th>
              <th scope="col" class="number">Better</th>
              <th scope="col" class="number">Worse</th>
              <th scope="col" class="number">Compared</th>
            </tr>
          </thead>
          <tbody>
            ${comparison.paired.map(
              (pair, n) => html`
                <tr key=${n}>
                  <td>${pair.run}</td>
                  <td>${pair.prompts}</td>
                  <td>${pair.mode}</td>
                  <td class="number">${pair.checkpoint}</td>
                  <td class="number">${pair.difference > 0 ? "+" : ""}${figure(pair.difference)}</td>
                  <td class="number">${intervalOf(pair.difference, pair.standard_error)}</td>
                  <td class="number">${count(pair.better)}</td>
                  <td class="number">${count(pair.worse)}</td>
                  <td class="number">${count(pair.count)}</td>
                </tr>
              `,
            )}
          </tbody>
        </table>
      </div>
    <//>
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
