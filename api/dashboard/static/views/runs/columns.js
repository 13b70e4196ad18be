// The columns of the list of runs: figures of a run, and keys of its config. The address names those that are shown.
import { html } from "../../ui.js";
import { Spark } from "../../charts/plot.js";
import { count, duration, figure } from "../../parts/format.js";
import { Bar, Status, TimeAgo } from "../../parts/labels.js";
import { isByReward, SetResult } from "../../parts/outcome.js";
import { Link, query, withQuery } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").Run} Run */
/** @typedef {import("../../data/schema.d.ts").Point} Point */
/**
 * @typedef {{name: string, title: string, sort: string, first: string, number?: boolean, hint?: string,
 *   cell: (run: Run, points: Point[]) => unknown}} Column
 */

const MOST_SETS = 4;
const CONFIG = "config.";

/** Figures to choose from. "heldout" stands for a column for each held-out set. */
export const FIGURES = /** @type {[string, string][]} */ ([
  ["status", "Status"],
  ["heldout", "Held-out success"],
  ["progress", "Progress"],
  ["reward", "Reward of the batch"],
  ["info", "Regret (informativeness)"],
  ["prompts", "Prompts"],
  ["seconds", "Time spent"],
  ["seed", "Seed"],
  ["created", "Created"],
]);
export const DEFAULT_COLUMNS = ["status", "heldout", "progress", "info", "seconds", "created"];

/** The columns that an address names. @param {string | null} text */
export const chosenColumns = (text) => (text === null ? DEFAULT_COLUMNS : text.split(" ").filter(Boolean));

/** The keys of the config among them. @param {string[]} names */
export const configKeys = (names) =>
  names.filter((name) => name.startsWith(CONFIG)).map((name) => name.slice(CONFIG.length));

/** @type {Record<string, Column>} */
const COLUMNS = {
  status: {
    name: "status",
    title: "Status",
    sort: "status",
    first: "status",
    cell: (run) => html`<${State} run=${run} />`,
  },
  progress: {
    name: "progress",
    title: "Progress",
    sort: "iteration",
    first: "-iteration",
    cell: (run) => html`<${Progress} run=${run} />`,
  },
  reward: {
    name: "reward",
    title: "Reward of the batch",
    sort: "reward",
    first: "-reward",
    cell: (_, points) => html`<${Curve} points=${points} of="reward" hue="--c1" name="mean reward of the batch" />`,
  },
  info: {
    name: "info",
    title: "Regret",
    hint: "Regret left to learn from: informativeness of the newest batch",
    sort: "info",
    first: "-info",
    cell: (_, points) => html`<${Curve} points=${points} of="info" hue="--c2" name="informativeness" />`,
  },
  prompts: {
    name: "prompts",
    title: "Prompts",
    sort: "prompts",
    first: "-prompts",
    number: true,
    cell: (run) => count(run.prompts),
  },
  seconds: {
    name: "seconds",
    title: "Time spent",
    sort: "seconds",
    first: "-seconds",
    number: true,
    cell: (run) => (run.seconds ? duration(run.seconds) : "–"),
  },
  seed: { name: "seed", title: "Seed", sort: "seed", first: "seed", number: true, cell: (run) => String(run.seed) },
  created: {
    name: "created",
    title: "Created",
    sort: "created",
    first: "-created",
    cell: (run) => html`<span class="soft nowrap"><${TimeAgo} iso=${run.created_at} /></span>`,
  },
};

/** @param {string[]} names @param {Run[]} runs @returns {Column[]} */
export function columnsOf(names, runs) {
  return names.flatMap((name) => {
    if (name === "heldout") return heldoutColumns(runs);
    if (name.startsWith(CONFIG)) return [configColumn(name)];
    return COLUMNS[name] ? [COLUMNS[name]] : [];
  });
}

/** A column for each held-out set of the listed runs, those that most runs have. @param {Run[]} runs */
function heldoutColumns(runs) {
  const counts = /** @type {Map<string, number>} */ (new Map());
  for (const set of runs.flatMap((run) => run.outcome)) counts.set(set.split, (counts.get(set.split) ?? 0) + 1);
  const splits = [...counts]
    .sort((a, b) => b[1] - a[1])
    .slice(0, MOST_SETS)
    .map(([split]) => split);
  return splits.map((split) => ({
    name: `heldout.${split}`,
    title: `Held-out ${split}`,
    sort: `heldout.${split}`,
    first: `-heldout.${split}`,
    hint: `Greedy success on the held-out set ${split}: first policy → newest policy`,
    cell: (/** @type {Run} */ run) => {
      const set = run.outcome.find((each) => each.split === split);
      return set
        ? html`<${SetResult} set=${set} byReward=${isByReward(run.outcome)} named=${false} />`
        : html`<span class="soft">–</span>`;
    },
  }));
}

/** @param {string} name @returns {Column} */
function configColumn(name) {
  const key = name.slice(CONFIG.length);
  return {
    name,
    title: key,
    sort: name,
    first: name,
    cell: (run) => {
      const value = run.config[key];
      const text =
        value === null || value === undefined ? "–" : typeof value === "string" ? value : JSON.stringify(value);
      return html`
        <${Link}
          class="config-value"
          to=${withConfig(key, text === "–" ? "null" : text)}
          title=${`Only runs with ${key} ${text === "–" ? "not set" : `= ${text}`}`}
        >
          ${text}
        <//>
      `;
    },
  };
}

/**
 * The address of this list with only the runs whose config has this value.
 * @param {string} key
 * @param {string} value as text or JSON
 */
export const withConfig = (key, value) =>
  withQuery({
    config: [...new Set([...query.value.getAll("config"), `${key}=${value}`])],
    cursor: null,
    group: null,
  });

/** @param {{run: Run}} props */
const State = ({ run }) => html`
  <${Status} status=${run.status} /> ${run.deleted_at && html`<span class="status">deleted</span>`}
  ${run.status === "failed" && run.error && html`<div class="small soft note" title=${run.error}>${run.error}</div>`}
`;

/** @param {{run: Run}} props */
function Progress({ run }) {
  const stage = run.stage;
  const share = (run.iteration + (stage && stage.total ? 0.5 * (stage.done / stage.total) : 0)) / run.iterations;
  return html`
    <div class="progress">
      <${Bar}
        share=${run.status === "finished" ? 1 : share}
        label=${`${run.iteration} of ${run.iterations} iterations`}
      />
      <span class="small soft">
        ${count(run.iteration)} of ${count(run.iterations)}
        ${
          run.status === "running" && stage
            ? html`
              ${" "}· ${stage.name.replaceAll("_", " ")} ${
                stage.total ? `${count(stage.done)}/${count(stage.total)}` : ""
              }${stage.eta_s === null ? "" : ` · ${duration(stage.eta_s)} left`}
            `
            : ""
        }
      </span>
    </div>
  `;
}

/** @param {{points: Point[], of: "reward" | "info", hue: string, name: string}} props */
function Curve({ points, of, hue, name }) {
  const values = points.map((point) => point[of]);
  const last = values[values.length - 1];
  if (last === undefined) return html`<span class="soft">–</span>`;
  return html`
    <span class="with-spark">
      <${Spark} values=${values} hue=${hue} width=${64} label=${`${name} by iteration, now ${figure(last)}`} />
      <span class="number">${figure(last)}</span>
    </span>
  `;
}
