// Training: how each preference optimisation went, step by step.
import { html } from "../ui.js";
import { Figure } from "../charts/figure.js";
import { Plot } from "../charts/plot.js";
import { runEndpoint, useRequest } from "../data/api.js";
import { useRun } from "../data/live-run.js";
import { figure } from "../parts/format.js";
import { Empty, Loaded } from "../parts/states.js";

/** @typedef {import("../data/schema.d.ts").Metrics} Metrics */
/** @typedef {import("../data/schema.d.ts").Series} Series */

/** @type {{title: string, y: string, says: string, names: [string, string, string][], zero?: boolean}[]} */
const PANELS = [
  {
    title: "Loss",
    y: "loss",
    says:
      "Of the preference objective. DPO begins at ln 2 ≈ 0.69, where chosen and rejected are equally " +
      "likely to win.",
    names: [["loss", "loss", "--c1"]],
  },
  {
    title: "Reward margin",
    y: "margin",
    says: "How far the policy prefers the chosen response, against the policy that it started from.",
    zero: true,
    names: [["rewards/margins", "margin", "--c3"]],
  },
  {
    title: "Accuracy",
    y: "share of pairs",
    says: "Pairs whose chosen response the policy already prefers.",
    zero: true,
    names: [["rewards/accuracies", "accuracy", "--c4"]],
  },
  {
    title: "Log-probabilities",
    y: "log-probability",
    says:
      "Of the chosen and the rejected responses. Both falling together is displacement: " +
      "the policy moves away from what it should keep, too.",
    names: [
      ["logps/chosen", "chosen", "--c3"],
      ["logps/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "KL from the reference",
    y: "nats",
    says: "How far the policy has moved from the one that the training started from.",
    zero: true,
    names: [["kl", "KL", "--c8"]],
  },
  {
    title: "Rewards of the objective",
    y: "implicit reward",
    says: "Beta times the log-ratio to the reference, of chosen and rejected.",
    names: [
      ["rewards/chosen", "chosen", "--c3"],
      ["rewards/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "Learning rate",
    y: "learning rate",
    says: "As scheduled.",
    zero: true,
    names: [["learning_rate", "learning rate", "--c5"]],
  },
  {
    title: "Gradient norm",
    y: "norm",
    says: "Before clipping. Peaks that come with a jump of the loss ask for a smaller learning rate.",
    zero: true,
    names: [["grad_norm", "gradient norm", "--c7"]],
  },
];
const NAMES = PANELS.flatMap((panel) => panel.names.map(([name]) => name));

/** @param {{run: string}} props */
export function Training({ run }) {
  const { happened } = useRun(run);
  const request = useRequest(runEndpoint(run, "metrics"), { points: 400 }, happened);
  return html`
    <div class="head">
      <h1>Training</h1>
      <p class="lead">
        One training per iteration, one after another: the curves of all trainings share an axis of steps, and a line is
        broken where a new one begins.
      </p>
    </div>
    <${Loaded} request=${request}>
      ${(/** @type {Metrics} */ metrics) =>
        metrics.items.some((series) => NAMES.includes(series.name))
          ? html`<${TrainingCharts} run=${run} items=${metrics.items} />`
          : html`
            <div class="card">
              <${Empty} title="Nothing was trained yet">
                The curves begin with the first training's first logged step.
              <//>
            </div>
          `}
    <//>
  `;
}

/** @param {{run: string, items: Series[]}} props */
export const TrainingCharts = ({ run, items }) => html`
  <div class="two">
    ${PANELS.map((panel) => html`<${Panel} key=${panel.title} panel=${panel} run=${run} items=${items} />`)}
  </div>
`;

/** @param {{panel: (typeof PANELS)[number], run: string, items: Series[]}} props */
function Panel({ panel, run, items }) {
  const lines = panel.names.flatMap(([name, title, hue]) =>
    items.filter((series) => series.name === name).map((series) => ({ series, title, hue })),
  );
  if (!lines.length) return null;
  const missing = lines.reduce((sum, { series }) => sum + series.missing, 0);
  const stepNames = new Map(
    lines.flatMap(({ series }) =>
      series.places.map((place, n) => [place, `policy ${series.checkpoints[n]}, its step ${series.steps[n]}`]),
    ),
  );
  return html`
    <${Figure}
      title=${panel.title}
      name=${`${run}-${panel.title.toLowerCase().replaceAll(" ", "-")}`}
      says=${`${panel.says}${missing ? ` ${missing} steps had no finite value.` : ""}`}
      numbers=${() => ({
        columns: ["metric", "policy", "step", "step of all", `value (${panel.y})`],
        rows: lines.flatMap(({ series, title }) =>
          series.values.map((value, n) => [title, series.checkpoints[n], series.steps[n], series.places[n], value]),
        ),
      })}
    >
      <${Plot}
        label=${`${panel.title} by step`}
        xLabel="training step"
        yLabel=${panel.y}
        zero=${panel.zero ?? false}
        dots=${false}
        height=${220}
        format=${(/** @type {number | null | undefined} */ value) =>
          value && Math.abs(value) < 0.01 ? value.toExponential(1) : figure(value)}
        xName=${(/** @type {number} */ x) => stepNames.get(x) ?? `step ${x}`}
        series=${lines.map(({ series, title, hue }) => ({ name: title, hue, points: withGaps(series) }))}
      />
    <//>
  `;
}

/** Points, with a gap between trainings. @param {Series} series */
function withGaps(series) {
  const points = /** @type {{x: number, y: number | null}[]} */ ([]);
  series.values.forEach((value, n) => {
    if (n && series.checkpoints[n] !== series.checkpoints[n - 1]) points.push({ x: series.places[n] - 0.5, y: null });
    points.push({ x: series.places[n], y: value });
  });
  return points;
}
