// The curves of the overview: rewards, informativeness, held-out evaluation and diversity, iteration by iteration.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Plot } from "../../charts/plot.js";
import { percent } from "../../parts/format.js";
import { Empty } from "../../parts/states.js";
import { go, query, withQuery } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").RunDetails} RunDetails */
/** @typedef {{iteration: number, name: string, data: any}} Statistic */

/** The default metric of informativeness. */
const REGRET = "a_min";

/** @param {{rows: Statistic[], waiting: boolean, run: RunDetails}} props */
export function Curves({ rows, waiting, run }) {
  const batches = rows.filter((row) => row.name === "batch");
  if (!batches.length)
    return waiting
      ? null
      : html`
        ${rows.some((row) => row.name === "heldout") && html`<${Heldout} rows=${rows} run=${run} />`}
        <div class="card">
          <${Empty} title="No batch has been judged yet">
            ${
              run.status === "created"
                ? html`Nobody plays the run yet: press Start, or run <code>eva resume ${run.name}</code>.`
                : "The curves start with the first one."
            }
          <//>
        </div>
      `;
  const metric = /** @type {any} */ (run.config).informativeness?.metric ?? REGRET;
  const points = (/** @type {string} */ key) => batches.map((row) => ({ x: row.iteration, y: row.data[key] }));
  const info = batches.map((row) => ({
    x: row.iteration,
    y: row.data.info_mean,
    lo: row.data.info_quantiles?.[2] ?? null,
    hi: row.data.info_quantiles?.[4] ?? null,
  }));
  const mean = points("reward_mean").map((point, n) => ({
    ...point,
    lo: batches[n].data.reward_worst,
    hi: batches[n].data.reward_best,
  }));
  return html`
    <div class="two">
      <${Heldout} rows=${rows} run=${run} />
      <${Figure}
        title="Reward of the batch"
        name=${`${run.name}-reward`}
        caption="Reward of each prompt's best, mean and worst response, averaged over the batch. It may fall while the
          solver improves, because the creator's prompts get harder."
        numbers=${() => ({
          columns: ["iteration", "best reward of the batch", "mean", "worst", "prompts"],
          rows: batches.map((row) => [
            row.iteration,
            row.data.reward_best,
            row.data.reward_mean,
            row.data.reward_worst,
            row.data.prompts,
          ]),
        })}
      >
        <${Plot}
          label="Best, mean and worst reward by iteration"
          xLabel="iteration"
          yLabel="reward of the batch"
          series=${[
            { name: "best", hue: "--c3", points: points("reward_best"), dashed: true },
            { name: "mean", hue: "--c1", points: mean, band: true },
            { name: "worst", hue: "--c2", points: points("reward_worst"), dashed: true },
          ]}
        />
      <//>
      <${Figure}
        title="Regret left to learn from"
        name=${`${run.name}-info`}
        caption=${
          `Informativeness (${metric === REGRET ? "best minus worst reward" : metric}): the mean of the batch, ` +
          `and the middle half of its prompts. Near zero there is nothing left to learn.`
        }
        numbers=${() => ({
          columns: ["iteration", "mean info", "lower quartile of info", "upper quartile of info"],
          rows: info.map((point) => [point.x, point.y, point.lo, point.hi]),
        })}
      >
        <${Plot}
          label="Informativeness by iteration"
          xLabel="iteration"
          yLabel="info"
          zero=${true}
          series=${[{ name: "mean; shaded: the middle half of the prompts", hue: "--c2", points: info, band: true }]}
        />
      <//>
      <${Diversity} rows=${rows} run=${run} />
    </div>
  `;
}

const SPLIT_HUES = ["--c1", "--c2", "--c3", "--c4", "--c5", "--c8"];

/** @param {{rows: Statistic[], run: RunDetails}} props */
function Heldout({ rows, run }) {
  const mode = query.value.get("mode") === "sampled" ? "sampled" : "greedy";
  const scores = rows.filter((row) => row.name === "heldout").flatMap((row) => /** @type {any[]} */ (row.data));
  const shown = scores.filter((score) => score.mode === mode).sort((a, b) => a.checkpoint - b.checkpoint);
  const splits = [...new Set(shown.map((score) => score.split))];
  if (!scores.length)
    return html`
      <section class="card">
        <header><h2>Held-out evaluation</h2></header>
        <${Empty} title="No policy has been evaluated yet">
          If the config has <code>evaluation</code> prompts, the initial model and each new policy are tested on them.
          No run trains on them.
        <//>
      </section>
    `;
  return html`
    <${Figure}
      title="Held-out evaluation"
      name=${`${run.name}-heldout-${mode}`}
      caption="Share of held-out prompts that each policy gets right, with 95% intervals. Policy 0 is the initial model.
        This curve, not the batch's reward, shows whether the run learns."
      numbers=${() => ({
        columns: [
          "policy",
          "split",
          "accuracy (share)",
          "low (95%)",
          "high (95%)",
          "change since policy 0",
          "change, low (95%)",
          "change, high (95%)",
          "mean reward",
          "responses",
        ],
        rows: shown.map((s) => [
          s.checkpoint,
          s.split,
          s.accuracy,
          ...s.accuracy_interval,
          s.change ?? null,
          ...(s.change_interval ?? [null, null]),
          s.reward,
          s.n,
        ]),
      })}
    >
      <div class="buttons switch" role="group" aria-label="How responses were sampled">
        ${[
          ["greedy", "greedy"],
          ["sampled", "sampled at T = 1"],
        ].map(
          ([value, name]) => html`
            <button
              key=${value}
              class="button"
              aria-pressed=${mode === value}
              onClick=${() => go(withQuery({ mode: value === "greedy" ? null : value }), { replace: true })}
            >
              ${name}
            </button>
          `,
        )}
      </div>
      <${Plot}
        label="Held-out accuracy by policy"
        xLabel="policy"
        yLabel="correct"
        yDomain=${[0, 1]}
        format=${(/** @type {number} */ v) => percent(v)}
        axisFormat=${(/** @type {number} */ v) => percent(v)}
        series=${splits.map((split, n) => ({
          name: split,
          hue: SPLIT_HUES[n % SPLIT_HUES.length],
          points: shown
            .filter((s) => s.split === split)
            .map((s) => ({ x: s.checkpoint, y: s.accuracy, lo: s.accuracy_interval[0], hi: s.accuracy_interval[1] })),
        }))}
      />
      <${Changes} scores=${shown} splits=${splits} />
    <//>
  `;
}

/**
 * The newest policy's change since the initial model, with its interval, in percentage points.
 * @param {{scores: any[], splits: string[]}} props
 */
function Changes({ scores, splits }) {
  const last = splits.flatMap((split) => scores.filter((score) => score.split === split).slice(-1));
  const changed = last.filter((score) => score.change_interval);
  if (!changed.length) return null;
  const points = (/** @type {number} */ share) => `${share < 0 ? "−" : "+"}${Math.abs(100 * share).toFixed(0)}`;
  return html`
    <p class="soft small">
      ${"Change since policy 0 in percentage points, compared prompt by prompt (95% interval): "}
      ${changed
        .map(
          (s) => `${s.split} ${points(s.change)} (${points(s.change_interval[0])} to ${points(s.change_interval[1])})`,
        )
        .join("; ")}.
    </p>
  `;
}

/** @param {{rows: Statistic[], run: RunDetails}} props */
function Diversity({ rows, run }) {
  const diversity = rows.filter((row) => row.name === "diversity");
  if (!diversity.length) return null;
  const points = (/** @type {string} */ key) =>
    diversity.map((row) => ({ x: row.iteration, y: row.data[key] ?? null }));
  return html`
    <${Figure}
      title="Diversity of the batch"
      name=${`${run.name}-diversity`}
      caption="How many seed prompts the batch effectively comes from, and how many effectively different texts it has
        (Vendi score over at most 500 prompts). A steep fall means collapse."
      numbers=${() => ({
        columns: ["iteration", "seed families (effective number)", "different texts (effective number)"],
        rows: diversity.map((row) => [row.iteration, row.data.effective_roots, row.data.vendi]),
      })}
    >
      <${Plot}
        label="Effective seed families and texts by iteration"
        xLabel="iteration"
        yLabel="effective number"
        zero=${true}
        series=${[
          { name: "seed families", hue: "--c3", points: points("effective_roots") },
          { name: "different texts", hue: "--c4", points: points("vendi") },
        ]}
      />
    <//>
  `;
}
