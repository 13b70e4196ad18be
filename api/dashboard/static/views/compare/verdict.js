// One sentence for each run: how it compares with the first one on held-out prompts, and what was changed in it.
import { figure } from "../../parts/format.js";
import { isShared } from "./paired.js";

/** @typedef {import("../../data/schema.d.ts").Comparison} Comparison */
/** @typedef {import("../../data/schema.d.ts").Paired} Paired */

const [SAID_KEYS, Z] = [2, 1.96];
const OF_EACH_RUN = ["name", "seed"];

/** @param {Comparison} comparison @returns {string[]} */
export const verdicts = (comparison) =>
  comparison.runs.slice(1).map((run, n) => `${changes(comparison, n + 1)}${run.name} ${result(comparison, run.name)}`);

/** @param {unknown} value */
const shown = (value) => (value === null ? "unset" : typeof value === "string" ? value : JSON.stringify(value));

/** What the config of a run changes in that of the first. @param {Comparison} comparison @param {number} place */
function changes(comparison, place) {
  const keys = comparison.config.filter(
    ({ key, values }) => !OF_EACH_RUN.includes(key) && JSON.stringify(values[place]) !== JSON.stringify(values[0]),
  );
  if (!keys.length) return "With the same config, ";
  if (keys.length > SAID_KEYS) return `With ${keys.length} keys of the config changed, not counting name and seed, `;
  const said = keys.map(({ key, values }) => `${key} ${shown(values[place])} instead of ${shown(values[0])}`);
  return `With ${list(said)}, `;
}

/** @param {Comparison} comparison @param {string} name */
function result(comparison, name) {
  const first = comparison.runs[0].name;
  const heldout = comparison.paired.filter(
    (pair) => pair.run === name && pair.rewarder === null && pair.mode === "greedy",
  );
  if (!heldout.length) return `cannot be compared with ${first}: they have no evaluated policy of the same number.`;
  const newest = Math.max(...heldout.map((pair) => pair.checkpoint));
  const rows = heldout.filter((pair) => pair.checkpoint === newest);
  if (isShared(comparison, rows[0])) return `has not evaluated a policy of its own since it was forked from ${first}.`;
  const clear = rows.filter((pair) => sign(pair) !== 0);
  const unclear = rows.filter((pair) => sign(pair) === 0).map((pair) => pair.prompts);
  const parts = [
    ...[1, -1].flatMap((way) => {
      const found = clear.filter((pair) => sign(pair) === way);
      const sets = found.map((pair) => `${pair.prompts} (${way > 0 ? "+" : ""}${figure(pair.difference)} of reward)`);
      return found.length ? [`${way > 0 ? "better" : "worse"} than ${first} on ${list(sets)}`] : [];
    }),
    ...(unclear.length ? [`not clearly different${clear.length ? "" : ` from ${first}`} on ${list(unclear)}`] : []),
  ];
  return `is ${list(parts)}, comparing the greedy responses of policy ${newest}.`;
}

/** 1: the interval lies above 0; -1: below; 0: neither. @param {Paired} pair */
function sign({ difference, standard_error: error }) {
  if (error === null) return 0;
  if (difference - Z * error > 0) return 1;
  return difference + Z * error < 0 ? -1 : 0;
}

/** @param {string[]} words */
const list = (words) =>
  words.length > 1 ? `${words.slice(0, -1).join(", ")} and ${words[words.length - 1]}` : words[0];
