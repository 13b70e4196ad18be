// How prompts evolve: what the creator samples, and whether its mutations pay off.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { useRun } from "../../data/live-run.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, query, withQuery } from "../../router.js";
import { Categories } from "./categories.js";
import { Earnings } from "./earnings.js";
import { OperatorChoice } from "./choice.js";
import { Gains, Payoff } from "./operators.js";
import { Population } from "./population.js";
import { Ridges } from "./ridges.js";
import { Scatter } from "./scatter.js";
import { Steering } from "./steering.js";
import { Topics } from "./topics.js";

const STATISTICS = ["operator_choice", "spread", "payoff", "diversity", "steering", "categories"];

/** @typedef {{low: number, high: number, sampled: number[], rest: number[]}} Histogram */
/** @typedef {[number, number | null, number | null, number | null, number]} Dot */
/** @typedef {{iteration: number, name: string, data: any}} Row */
/** @typedef {import("../../data/schema.d.ts").CreatorIterations} CreatorIterations */
/** @typedef {import("../../data/schema.d.ts").PromptFamilies} PromptFamilies */

/** @param {{run: string}} props */
export function Evolution({ run }) {
  const { happened } = useRun(run);
  const request = useRequest(runEndpoint(run, "statistics"), { name: STATISTICS }, happened);
  const iterations = useRequest(runEndpoint(run, "iterations"), {}, happened);
  const creator = useRequest(runEndpoint(run, "creator"), {}, happened);
  const families = useRequest(runEndpoint(run, "families"), {}, happened);
  return html`
    <div class="head">
      <h1>Evolution</h1>
      <p class="lead">
        Which prompts the creator samples to evolve, and whether the children teach more than their parents did.
      </p>
    </div>
    <${Loaded} request=${request}>
      ${(/** @type {{items: Row[]}} */ statistics) => html`
        <${EvolutionCharts}
          run=${run}
          rows=${statistics.items}
          stages=${/** @type {any} */ (iterations.data)?.items ?? []}
          families=${/** @type {PromptFamilies | null} */ (families.data)}
        />
      `}
    <//>
    <${Loaded} request=${creator}>
      ${(/** @type {CreatorIterations} */ { items }) => html`<${Earnings} run=${run} rows=${items} />`}
    <//>
  `;
}

/** @param {{run: string, rows: Row[], stages: any[], families?: PromptFamilies | null}} props */
export function EvolutionCharts({ run, rows, stages, families = null }) {
  const spreads = rows.filter((row) => row.name === "spread");
  const payoffs = rows.filter((row) => row.name === "payoff" && row.data.length);
  const categories = rows.filter((row) => row.name === "categories");
  if (!spreads.length)
    return html`
      <div class="stack">
        <div class="card">
          <${Empty} title="The creator has not sampled yet">
            It samples from its first pool in iteration 1, after the warm-up. Runs played by older versions of eva do
            not have these figures.
          <//>
        </div>
        <${Categories} run=${run} rows=${categories} />
      </div>
    `;
  const chosen =
    spreads.find((row) => String(row.iteration) === query.value.get("pool")) ?? spreads[spreads.length - 1];
  const common = query.value.get("ridges") === "common";
  const heights = common
    ? "All rows are on one scale: the taller a peak, the more alike the prompts."
    : "Each row is as tall as its own peak: compare shapes, not heights.";
  const ridge = (
    /** @type {"info" | "reward"} */ of,
    /** @type {string} */ title,
    /** @type {string} */ caption,
    /** @type {string} */ x,
  ) => html`
    <${Figure}
      title=${title}
      caption=${caption}
      name=${`${run}-ridges-${of}`}
      numbers=${() => histogramNumbers(spreads, of)}
    >
      <${Ridges}
        label=${title}
        xLabel=${x}
        common=${common}
        rows=${spreads
          .filter((row) => row.data[of])
          .map((row) => ({ iteration: row.iteration, histogram: row.data[of] }))}
      />
    <//>
  `;
  const dots = /** @type {Dot[]} */ (chosen.data.dots);
  const scatter = (
    /** @type {string} */ title,
    /** @type {string} */ caption,
    /** @type {1 | 2 | 3} */ x,
    /** @type {1 | 2 | 3} */ y,
    /** @type {string[]} */ names,
  ) => html`
    <${Figure}
      title=${title}
      caption=${caption}
      name=${`${run}-${chosen.iteration}-${names.join("-")}`.replaceAll(" ", "-")}
      numbers=${() => ({
        columns: ["prompt", ...names, "sampled"],
        rows: dots.map((dot) => [String(dot[0]), dot[x], dot[y], dot[4]]),
      })}
    >
      <${Scatter}
        run=${run}
        label=${`${title}, iteration ${chosen.iteration}`}
        xLabel=${names[0]}
        yLabel=${names[1]}
        dots=${dots.map((dot) => ({ number: dot[0], x: dot[x], y: dot[y], sampled: dot[4] === 1 }))}
      />
    <//>
  `;
  return html`
    <div class="stack">
      <div class="filters">
        <label class="check">
          <input
            type="checkbox"
            checked=${common}
            onChange=${() => go(withQuery({ ridges: common ? null : "common" }), { replace: true })}
          />Draw all iterations on one scale
        </label>
      </div>
      <div class="two">
        ${ridge(
          "info",
          "Informativeness of the pool",
          "One row per iteration: the prompts that were sampled to evolve, and the rest of the pool. " +
            `Sampled prompts should lie further right. ${heights}`,
          "info",
        )}
        ${ridge(
          "reward",
          "Mean reward of the pool",
          "The same prompts by the mean reward of their responses. The creator should avoid both ends: " +
            `what is mastered, and what is out of reach. ${heights}`,
          "mean reward",
        )}
      </div>
      ${families && html`<${Population} run=${run} families=${families} />`}
      <${OperatorChoice}
        run=${run}
        choices=${rows.filter((row) => row.name === "operator_choice")}
        shown=${chosen.iteration}
      />
      <${Payoff} run=${run} payoffs=${payoffs} stages=${stages} />
      <${Gains} run=${run} payoffs=${payoffs} stages=${stages} />
      <${Categories} run=${run} rows=${categories} />
      <${Topics} run=${run} diversity=${rows.filter((row) => row.name === "diversity")} />
      <${Steering} run=${run} rows=${rows.filter((row) => row.name === "steering")} />
      <div class="filters">
        <label class="field">
          Pool
          of
          <select
            value=${String(chosen.iteration)}
            onChange=${(/** @type {Event} */ event) =>
              go(withQuery({ pool: /** @type {HTMLSelectElement} */ (event.currentTarget).value }), { replace: true })}
          >
            ${spreads.map(
              (row) => html`
                <option key=${row.iteration} value=${row.iteration} selected=${row === chosen}>
                  iteration ${row.iteration}
                </option>
              `,
            )}
          </select>
        </label>
        <span class="soft small">At most 300 prompts, evenly sampled. Click a dot to open its prompt.</span>
      </div>
      <div class="two">
        ${scatter(
          "Regret and reward",
          "Where regret comes from: prompts that the solver gets right only sometimes lie in the middle.",
          2,
          1,
          ["mean reward", "info"],
        )}
        ${scatter(
          "Reward and length",
          "Do prompts with longer responses earn more? A slope alone does not prove that the reward favours length; " +
            "the warning on the overview compares responses to the same prompt.",
          3,
          2,
          ["mean tokens", "mean reward"],
        )}
      </div>
    </div>
  `;
}

/** @param {Row[]} spreads @param {"info" | "reward"} of */
function histogramNumbers(spreads, of) {
  return {
    columns: ["iteration", `${of} from`, `${of} to`, "sampled (prompts)", "not sampled (prompts)"],
    rows: spreads
      .filter((row) => row.data[of])
      .flatMap((row) => {
        const { low, high, sampled, rest } = /** @type {Histogram} */ (row.data[of]);
        const step = (high - low) / sampled.length;
        return sampled.map((count, n) => [String(row.iteration), low + n * step, low + (n + 1) * step, count, rest[n]]);
      }),
  };
}
