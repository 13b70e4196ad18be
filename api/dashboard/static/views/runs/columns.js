// The columns of the list of runs: figures of a run, and keys of its config. The address names those that are shown.
import { html } from "../../ui.js";
import { Spark } from "../../charts/plot.js";
import { count, dollars, duration, figure, percent } from "../../parts/format.js";
import { Bar, Status, TimeAgo } from "../../parts/labels.js";
import { isByReward, SetChange, SetResult } from "../../parts/outcome.js";
import { Link, query, withQuery } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").Run} Run */
/** @typedef {import("../../data/schema.d.ts").Point} Point */
/**
 * @typedef {{name: string, title: string, sort: string, first: string, number?: boolean, hint?: string,
 *   cell: (run: Run, points: Point[]) => unknown}} Column
 */

/** @typedef {(set: import("../../data/schema.d.ts").SetOutcome, byReward: boolean) => unknown} SetCell */

const MOST_SETS = 4;
const CONFIG = "config.";

/** Figures to choose from. Those of SETS stand for a column for each held-out set. */
export const FIGURES = /** @type {[string, string][]} */ ([
  ["status", "Status"],
  ["heldout", "Held-out success"],
  ["change", "Change of held-out success"],
  ["best", "Best policy on held-out prompts"],
  ["progress", "Progress"],
  ["reward", "Reward of the batch"],
  ["info", "Regret (informativeness)"],
  ["prompts", "Prompts"],
  ["seconds", "Time spent"],
  ["tokens", "Tokens generated"],
  ["steps", "Optimiser steps"],
  ["cost", "Cost of APIs"],
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
  tokens: {
    name: "tokens",
    title: "Tokens",
    hint: "Tokens of the responses that the run has generated, held-out ones too",
    sort: "tokens",
    first: "-tokens",
    number: true,
    cell: (run) => (run.tokens ? count(run.tokens) : "–"),
  },
  steps: {
    name: "steps",
    title: "Steps",
    hint: "Optimiser steps of all trainings",
    sort: "steps",
    first: "-steps",
    number: true,
    cell: (run) => (run.steps ? count(run.steps) : "–"),
  },
  cost: {
    name: "cost",
    title: "Cost",
    hint: "Paid for APIs of language models that write prompts and judge, in US dollars",
    sort: "cost",
    first: "-cost",
    number: true,
    cell: (run) => (run.cost_usd ? dollars(run.cost_usd) : "–"),
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
    if (SETS[name]) return heldoutColumns(name, runs);
    if (name.startsWith(CONFIG)) return [configColumn(name)];
    return COLUMNS[name] ? [COLUMNS[name]] : [];
  });
}

/** What columns of held-out sets show. @type {Record<string, {title: string, hint: string, cell: SetCell}>} */
const SETS = {
  heldout: {
    title: "Held-out",
    hint: "Greedy success: first policy → newest policy, on the held-out set",
    cell: (set, byReward) => html`<${SetResult} set=${set} byReward=${byReward} named=${false} />`,
  },
  change: {
    title: "Change",
    hint: "Change of the greedy success in points with its 95% interval, first policy → newest, on the held-out set",
    cell: (set, byReward) => html`<${SetChange} set=${set} byReward=${byReward} />`,
  },
  best: {
    title: "Best",
    hint: "Greedy success of the policy that does best, on the held-out set",
    cell: (set, byReward) => html`
      <span class="nowrap">
        ${byReward ? figure(set.best.reward) : percent(set.best.success)}
        <span class="soft small"> policy ${set.best.policy}</span>
      </span>
    `,
  },
};

/**
 * A column for each held-out set of the listed runs, those that most runs have.
 * @param {string} kind
 * @param {Run[]} runs
 */
function heldoutColumns(kind, runs) {
  const { title, hint, cell } = SETS[kind];
  const counts = /** @type {Map<string, number>} */ (new Map());
  for (const set of runs.flatMap((run) => run.outcome)) counts.set(set.split, (counts.get(set.split) ?? 0) + 1);
  const splits = [...counts]
    .sort((a, b) => b[1] - a[1])
    .slice(0, MOST_SETS)
    .map(([split]) => split);
  return splits.map((split) => ({
    name: `${kind}.${split}`,
    title: `${title} ${split}`,
    sort: `${kind}.${split}`,
    first: `-${kind}.${split}`,
    hint: `${hint} ${split}`,
    cell: (/** @type {Run} */ run) => {
      const set = run.outcome.find((each) => each.split === split);
      return set ? cell(set, isByReward(run.outcome)) : html`<span class="soft">–</span>`;
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
