// Training curves: how each optimisation went, step by step.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { Plot } from "../../charts/plot.js";
import { runEndpoint, useRequest } from "../../data/api.js";
import { useRun } from "../../data/live-run.js";
import { figure } from "../../parts/format.js";
import { Empty, Loaded } from "../../parts/states.js";
import { go, query, withQuery } from "../../router.js";
import { ChunkCharts } from "./chunks.js";
import { beginnings, curvesOf, domainOf, nearest, zoomedTo } from "./curves.js";
import { PANELS } from "./panels.js";

/** @typedef {import("../../data/schema.d.ts").CreatorIterations} CreatorIterations */
/** @typedef {import("../../data/schema.d.ts").Metrics} Metrics */
/** @typedef {import("../../data/schema.d.ts").Series} Series */
/** @typedef {import("../../data/schema.d.ts").TrainedChunks} TrainedChunks */
/** @typedef {import("./curves.js").Range} Range */

/** How much of the earlier steps a smoothed value keeps. */
const SMOOTHINGS = /** @type {[number, string][]} */ ([
  [0, "as logged"],
  [0.8, "smoothed"],
  [0.95, "smoothed strongly"],
]);
/** Values of each metric to ask for: as many as a chart can show, and more of them for a part of it. */
const [POINTS, ZOOMED_POINTS] = [400, 5000];

const NAMES = PANELS.flatMap((panel) => panel.names.map(([name]) => name));

const smoothing = () =>
  SMOOTHINGS.map(([value]) => value).find((value) => String(value) === query.value.get("smooth")) ?? 0;

/** Whether the trainings are drawn on top of each other, each from its first step. */
const overlaid = () => query.value.get("trainings") === "overlaid";

/** The steps that the address asks for. @returns {Range | null} */
function zoom() {
  const [, from, to] = /^(\d+)-(\d+)$/.exec(query.value.get("steps") ?? "") ?? [];
  return from !== undefined && Number(from) < Number(to) ? [Number(from), Number(to)] : null;
}

/** @param {Range | null} range */
const setZoom = (range) => go(withQuery({ steps: range && range.join("-") }), { replace: true });

/** @param {{run: string}} props */
export function Training({ run }) {
  const { happened } = useRun(run);
  const points = zoom() ? ZOOMED_POINTS : POINTS;
  const player = query.value.get("player") === "creator" ? "creator" : "solver";
  const request = useRequest(runEndpoint(run, "metrics"), { points, player }, happened);
  const creator = useRequest(runEndpoint(run, "creator"), {}, happened);
  const chunks = useRequest(`${runEndpoint(run, "metrics")}/chunks`, {}, happened);
  return html`
    <div class="head">
      <h1>Training</h1>
      <p class="lead">
        Each iteration trains once. All trainings share one axis of steps, with a gap in the line and a mark where the
        next one starts, or lie on top of each other.
      </p>
    </div>
    ${
      /** @type {CreatorIterations | null} */ (creator.data?.items.length || player === "creator") &&
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
          onClick=${() => go(withQuery({ player: name === "creator" ? name : null, steps: null }), { replace: true })}
        >
          ${name}
        </button>
      `,
    )}
  </div>
`;

/** @param {{run: string, items: Series[]}} props */
export const TrainingCharts = ({ run, items }) => html`
  <${Toolbar} items=${items} />
  <div class="two">
    ${PANELS.map((panel) => html`<${Panel} key=${panel.title} panel=${panel} run=${run} items=${items} />`)}
  </div>
`;

/** @param {{items: Series[]}} props */
function Toolbar({ items }) {
  const several = items.some((series) => new Set(series.checkpoints).size > 1);
  const range = zoom();
  const domain = domainOf(items, overlaid());
  const choice = (
    /** @type {string} */ label,
    /** @type {[boolean, string, Record<string, unknown>][]} */ buttons,
  ) => html`
    <div class="buttons switch" role="group" aria-label=${label}>
      ${buttons.map(
        ([pressed, title, changes]) => html`
          <button
            key=${title}
            class="button"
            aria-pressed=${pressed}
            onClick=${() => go(withQuery(changes), { replace: true })}
          >
            ${title}
          </button>
        `,
      )}
    </div>
  `;
  return html`
    <div class="buttons training-options">
      ${choice(
        "Smoothing",
        SMOOTHINGS.map(([value, title]) => [value === smoothing(), title, { smooth: value || null }]),
      )}
      ${
        several &&
        choice("Trainings", [
          [!overlaid(), "one after the other", { trainings: null, steps: null }],
          [overlaid(), "on top of each other", { trainings: "overlaid", steps: null }],
        ])
      }
      <div class="buttons switch" role="group" aria-label="Zoom">
        <button class="button" onClick=${() => setZoom(zoomedTo(range ?? domain, 0.5))}>Zoom in</button>
        <button class="button" disabled=${!range} onClick=${() => range && setZoom(within(zoomedTo(range, 2), domain))}>
          Zoom out
        </button>
        <button class="button" disabled=${!range} onClick=${() => setZoom(null)}>All steps</button>
      </div>
      <span class="soft small">
        ${
          range
            ? `Steps ${range[0]} to ${range[1]} of ${domain[0]} to ${domain[1]}.`
            : "Drag over a chart to zoom; with the keyboard +, − and 0."
        }
      </span>
    </div>
  `;
}

/** A range of steps within those that there are; null for all of them. @param {Range} range @param {Range} domain */
function within([from, to], domain) {
  const range = /** @type {Range} */ ([Math.max(from, domain[0]), Math.min(to, domain[1])]);
  return range[0] <= domain[0] && range[1] >= domain[1] ? null : range;
}

/** @param {{panel: (typeof PANELS)[number], run: string, items: Series[]}} props */
function Panel({ panel, run, items }) {
  const lines = panel.names.flatMap(([name, title, hue]) =>
    items.filter((series) => series.name === name).map((series) => ({ series, title, hue })),
  );
  if (!lines.length) return null;
  const range = zoom();
  const missing = lines.reduce((sum, { series }) => sum + series.missing, 0);
  const stepNames = new Map(
    lines.flatMap(({ series }) =>
      series.places.map((place, n) => [place, `policy ${series.checkpoints[n]}, step ${series.steps[n]}`]),
    ),
  );
  const domain = domainOf(
    lines.map(({ series }) => series),
    overlaid(),
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
        xLabel=${overlaid() ? "step of the training" : "training step"}
        yLabel=${panel.y}
        zero=${panel.zero ?? false}
        dots=${false}
        height=${220}
        format=${(/** @type {number | null | undefined} */ value) =>
          value && Math.abs(value) < 0.01 ? value.toExponential(1) : figure(value)}
        xName=${(/** @type {number} */ x) => (overlaid() ? `step ${x}` : (stepNames.get(x) ?? `step ${x}`))}
        rules=${overlaid() ? [] : beginnings(lines[0].series)}
        zoom=${(/** @type {Range | null} */ wanted) => setZoom(wanted && within(nearest(wanted), domain))}
        series=${curvesOf(lines, smoothing(), overlaid(), range)}
      />
    <//>
  `;
}
