// Training curves: how each optimisation went, step by step.
import { html } from "../ui.js";
import { Figure } from "../charts/figure.js";
import { Plot } from "../charts/plot.js";
import { runEndpoint, useRequest } from "../data/api.js";
import { useRun } from "../data/live-run.js";
import { figure } from "../parts/format.js";
import { Empty, Loaded } from "../parts/states.js";
import { go, query, withQuery } from "../router.js";

/** @typedef {import("../data/schema.d.ts").CreatorIterations} CreatorIterations */
/** @typedef {import("../data/schema.d.ts").Metrics} Metrics */
/** @typedef {import("../data/schema.d.ts").Series} Series */
/** @typedef {import("../data/schema.d.ts").TrainedChunk} TrainedChunk */
/** @typedef {import("../data/schema.d.ts").TrainedChunks} TrainedChunks */

/** @type {{title: string, y: string, caption: string, names: [string, string, string][], zero?: boolean}[]} */
const PANELS = [
  {
    title: "Loss",
    y: "loss",
    caption:
      "Loss of the objective. DPO starts at ln 2 ≈ 0.69, where chosen and rejected are equally likely; a policy " +
      "gradient stays near 0, whether it learns or not.",
    names: [["loss", "loss", "--c1"]],
  },
  {
    title: "Reward margin",
    y: "margin",
    caption: "The reward of the objective for the chosen response, minus the one for the rejected response.",
    zero: true,
    names: [["rewards/margins", "margin", "--c3"]],
  },
  {
    title: "Accuracy",
    y: "share of pairs",
    caption: "Share of pairs whose chosen response the policy prefers.",
    zero: true,
    names: [["rewards/accuracies", "accuracy", "--c4"]],
  },
  {
    title: "Log-probabilities",
    y: "log-probability",
    caption:
      "Of the chosen and the rejected responses, each summed over its tokens. If both fall together (displacement), " +
      "the policy also moves away from what it should keep.",
    names: [
      ["logps_sum/chosen", "chosen", "--c3"],
      ["logps_sum/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "Log-probabilities per token",
    y: "nats per token",
    caption: "The same for a token of the response on average, so that its length does not count.",
    names: [
      ["logps_per_token/chosen", "chosen", "--c3"],
      ["logps_per_token/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "Log-probabilities, as an earlier version stored them",
    y: "nats",
    caption:
      "As the loss used them: per token for orpo and simpo, with lighter tokens at the end for ld_dpo, " +
      "and summed over the response for the others.",
    names: [
      ["logps/chosen", "chosen", "--c3"],
      ["logps/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "KL from the reference",
    y: "nats per response",
    caption:
      "How far the policy has moved from the reference, which sampled these responses (the estimator k3, " +
      "never negative). It is left out where another policy sampled them.",
    zero: true,
    names: [["kl_k3", "KL", "--c8"]],
  },
  {
    title: "Log-ratio to the reference, stored as KL by an earlier version",
    y: "nats per response",
    caption:
      "Mean of log(reference / policy) over chosen and rejected responses. It may be negative, " +
      "and it estimates a KL only where the reference sampled the responses.",
    zero: true,
    names: [["kl", "log-ratio", "--c8"]],
  },
  {
    title: "Reward",
    y: "mean reward",
    caption: "Of the responses of a step. They were sampled before it, so this does not rise within an iteration.",
    names: [["reward", "reward", "--c3"]],
  },
  {
    title: "Advantages",
    y: "standard deviation",
    caption: "How far the rewards of a step's responses lie apart, by the rule of the loss.",
    zero: true,
    names: [["advantage_sd", "advantages", "--c4"]],
  },
  {
    title: "Ratio",
    y: "ratio",
    caption: "Probability under the policy over that under the policy that sampled, on average: 1 until it has moved.",
    names: [["ratio", "ratio", "--c1"]],
  },
  {
    title: "Clipped",
    y: "share of ratios",
    caption: "Share of the ratios that have reached their bound, which ends their gradient.",
    zero: true,
    names: [["clip_share", "clipped", "--c2"]],
  },
  {
    title: "Entropy",
    y: "nats per token",
    caption: "How undecided the policy is. When it falls towards 0, all responses to a prompt become the same.",
    zero: true,
    names: [["entropy", "entropy", "--c5"]],
  },
  {
    title: "Gap between engine and trainer",
    y: "nats per token",
    caption: "Mean difference of their log-probabilities for the same tokens and weights: rounding, if all is well.",
    zero: true,
    names: [["gap", "gap", "--c7"]],
  },
  {
    title: "Response length",
    y: "tokens",
    caption: "Mean length of the responses of a step.",
    zero: true,
    names: [["response_tokens", "tokens", "--c6"]],
  },
  {
    title: "Rewards of the objective",
    y: "implicit reward",
    caption:
      "The loss's own measure of a response: beta times its log-ratio to the reference, " +
      "or for orpo and simpo, beta times its log-probability per token.",
    names: [
      ["rewards/chosen", "chosen", "--c3"],
      ["rewards/rejected", "rejected", "--c2"],
    ],
  },
  {
    title: "Learning rate",
    y: "learning rate",
    caption: "As set by the schedule.",
    zero: true,
    names: [["learning_rate", "learning rate", "--c5"]],
  },
  {
    title: "Gradient norm",
    y: "norm",
    caption: "Before clipping. If peaks come with jumps of the loss, lower the learning rate.",
    zero: true,
    names: [["grad_norm", "gradient norm", "--c7"]],
  },
];
/** How much of the earlier steps a smoothed value keeps. */
const SMOOTHINGS = /** @type {[number, string][]} */ ([
  [0, "as logged"],
  [0.8, "smoothed"],
  [0.95, "smoothed strongly"],
]);
const smoothing = () =>
  SMOOTHINGS.map(([value]) => value).find((value) => String(value) === query.value.get("smooth")) ?? 0;
const MOST_MARKS = 12;

const NAMES = PANELS.flatMap((panel) => panel.names.map(([name]) => name));

/** @param {{run: string}} props */
export function Training({ run }) {
  const { happened } = useRun(run);
  const player = query.value.get("player") === "creator" ? "creator" : "solver";
  const request = useRequest(runEndpoint(run, "metrics"), { points: 400, player }, happened);
  const creator = useRequest(runEndpoint(run, "creator"), {}, happened);
  const chunks = useRequest(runEndpoint(run, "metrics/chunks"), {}, happened);
  return html`
    <div class="head">
      <h1>Training</h1>
      <p class="lead">
        Each iteration trains once. All trainings share one axis of steps, with a gap in the line and a mark where the
        next one starts.
      </p>
    </div>
    ${
      /** @type {CreatorIterations | undefined} */ (creator.data?.items.length || player === "creator") &&
      html`<${PlayerSwitch} player=${player} />`
    }
    <${Loaded} request=${request}>
      ${(/** @type {Metrics} */ metrics) =>
        metrics.items.some((series) => NAMES.includes(series.name))
          ? html`<${TrainingCharts} run=${run} items=${metrics.items} />`
          : html`
            <div class="card"><${Empty} title="No training yet">The curves start with the first logged step.<//></div>
          `}
    <//>
    <${Loaded} request=${chunks}>
      ${(/** @type {TrainedChunks} */ { items }) =>
        player === "solver" && items.length > 0 && html`<${ChunkCharts} run=${run} items=${items} />`}
    <//>
  `;
}

/** Whose training is shown: of the solver, or of a creator with its own weights. @param {{player: string}} props */
const PlayerSwitch = ({ player }) => html`
  <div class="buttons switch" role="group" aria-label="Player">
    ${["solver", "creator"].map(
      (name) => html`
        <button
          key=${name}
          class="button"
          aria-pressed=${name === player}
          onClick=${() => go(withQuery({ player: name === "creator" ? name : null }), { replace: true })}
        >
          ${name}
        </button>
      `,
    )}
  </div>
`;

/** What each chunk of semi-online training was trained on. @param {{run: string, items: TrainedChunk[]}} props */
function ChunkCharts({ run, items }) {
  const last = items[items.length - 1];
  const names = items.map((chunk) => `iteration ${chunk.iteration}, chunk ${chunk.chunk} of ${chunk.of}`);
  const curves = [
    {
      title: "Reward of the chunks",
      y: "mean reward",
      hue: "--c1",
      value: (/** @type {TrainedChunk} */ chunk) => chunk.reward,
    },
    {
      title: "Staleness of the chunks",
      y: "steps",
      hue: "--c8",
      value: (/** @type {TrainedChunk} */ chunk) => chunk.staleness,
    },
  ];
  const captions = [
    "Mean reward of the responses to each chunk, by the newest policy.",
    "Mean age of the responses in a chunk's pairs when it was trained on. Prompts from the buffer keep the responses " +
      "that the pool's stage has generated.",
  ];
  return html`
    <h2>Chunks</h2>
    <p class="lead">
      The solver trains on a chunk and answers the next with its newest weights. Chunk ${last.chunk} of ${last.of} of
      iteration ${last.iteration} is the newest with pairs.
    </p>
    <div class="two">
      ${curves.map(
        ({ title, y, hue, value }, curve) => html`
          <${Figure}
            key=${title}
            title=${title}
            name=${`${run}-${title.toLowerCase().replaceAll(" ", "-")}`}
            caption=${captions[curve]}
            numbers=${() => ({
              columns: ["iteration", "chunk", "prompts", "pairs", "steps", "steps before", "reward", "staleness"],
              rows: items.map((chunk) => [
                chunk.iteration,
                chunk.chunk,
                chunk.prompts,
                chunk.pairs,
                chunk.steps,
                chunk.start,
                chunk.reward,
                chunk.staleness,
              ]),
            })}
          >
            <${Plot}
              label=${`${title}, in the order of training`}
              xLabel="chunk"
              yLabel=${y}
              zero=${curve === 1}
              dots=${items.length < 60}
              height=${220}
              format=${figure}
              xName=${(/** @type {number} */ x) => names[x] ?? `chunk ${x}`}
              series=${[{ name: title, hue, points: items.map((chunk, n) => ({ x: n, y: value(chunk) })) }]}
            />
          <//>
        `,
      )}
    </div>
  `;
}

/** @param {{run: string, items: Series[]}} props */
export const TrainingCharts = ({ run, items }) => html`
  <div class="buttons switch" role="group" aria-label="Smoothing">
    ${SMOOTHINGS.map(
      ([value, title]) => html`
        <button
          key=${value}
          class="button"
          aria-pressed=${value === smoothing()}
          onClick=${() => go(withQuery({ smooth: value || null }), { replace: true })}
        >
          ${title}
        </button>
      `,
    )}
  </div>
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
      series.places.map((place, n) => [place, `policy ${series.checkpoints[n]}, step ${series.steps[n]}`]),
    ),
  );
  return html`
    <${Figure}
      title=${panel.title}
      name=${`${run}-${panel.title.toLowerCase().replaceAll(" ", "-")}`}
      caption=${`${panel.caption}${missing ? ` ${missing} steps had no finite value.` : ""}`}
      numbers=${() => ({
        columns: ["metric", "policy", "step", "step overall", `value (${panel.y})`],
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
        rules=${beginnings(lines[0].series)}
        series=${lines.flatMap(({ series, title, hue }) => {
          const points = withGaps(series);
          return smoothing()
            ? [
                { name: `${title} as logged`, hue, points, faint: true },
                { name: title, hue, points: smoothed(points, smoothing()) },
              ]
            : [{ name: title, hue, points }];
        })}
      />
    <//>
  `;
}

/** Where each training starts; a mark for every so many of them if there are many. @param {Series} series */
function beginnings(series) {
  const starts = series.places.flatMap((place, n) =>
    n === 0 || series.checkpoints[n] !== series.checkpoints[n - 1] ? [{ x: place, policy: series.checkpoints[n] }] : [],
  );
  const every = Math.ceil(starts.length / MOST_MARKS);
  return starts
    .filter((_, n) => n % every === 0)
    .map(({ x, policy }, n) => ({ x, label: n ? String(policy) : `policy ${policy}` }));
}

/**
 * An exponential mean of the values so far, of each training on its own.
 * @param {{x: number, y: number | null}[]} points
 * @param {number} kept
 */
function smoothed(points, kept) {
  let [sum, weight] = [0, 0];
  return points.map(({ x, y }) => {
    if (y === null) [sum, weight] = [0, 0];
    else [sum, weight] = [kept * sum + (1 - kept) * y, kept * weight + (1 - kept)];
    return { x, y: y === null ? null : sum / weight };
  });
}

/** The points of a curve, with a gap between trainings. @param {Series} series */
function withGaps(series) {
  const points = /** @type {{x: number, y: number | null}[]} */ ([]);
  series.values.forEach((value, n) => {
    if (n && series.checkpoints[n] !== series.checkpoints[n - 1]) points.push({ x: series.places[n] - 0.5, y: null });
    points.push({ x: series.places[n], y: value });
  });
  return points;
}
