// Says whether a run has learned: for each held-out set, how well its first policy does and how well its newest one.
import { classes, html } from "../ui.js";
import { figure, percent } from "./format.js";

/** @typedef {import("../data/schema.d.ts").SetOutcome} SetOutcome */
/** @typedef {import("../data/schema.d.ts").PolicyScore} PolicyScore */

/**
 * By success, or by reward where no response of any set ever succeeds, as with a reward model.
 * @param {SetOutcome[]} sets
 */
export const isByReward = (sets) =>
  sets.every((set) => !set.first.success && !set.newest?.success && set.first.reward !== null);

/** @param {SetOutcome} set @param {boolean} byReward */
function parts(set, byReward) {
  const show = (/** @type {PolicyScore} */ score) => (byReward ? figure(score.reward) : percent(score.success));
  const change = byReward ? set.reward_change : set.success_change;
  const points = (/** @type {number} */ value) =>
    byReward ? figure(value) : `${value < 0 ? "−" : ""}${Math.abs(100 * value).toFixed(0)} points`;
  return {
    before: set.newest && !byReward ? show(set.first).replace("%", "") : show(set.first),
    after: set.newest && show(set.newest),
    clear: change && (change.low > 0 ? "better" : change.high < 0 ? "worse" : null),
    words: change
      ? `change ${points(change.value)}, 95% interval ${points(change.low)} to ${points(change.high)}`
      : set.newest
        ? "no interval is stored"
        : "no newer policy has been evaluated",
  };
}

/** One held-out set, before and after. @param {{set: SetOutcome, byReward: boolean, named?: boolean}} props */
export function SetResult({ set, byReward, named = true }) {
  const { before, after, clear, words } = parts(set, byReward);
  return html`
    <span class=${classes("result", clear)} title=${words}>
      ${named && html`<span class="set-name">${set.split}</span>${" "}`}
      <span class="number">${before}${after !== null && html` → <b>${after}</b>`}</span>
      <span class="hidden-but-read">${`(${words})`}</span>
    </span>
  `;
}

/** The change on a held-out set with its interval. @param {{set: SetOutcome, byReward: boolean}} props */
export function SetChange({ set, byReward }) {
  const change = byReward ? set.reward_change : set.success_change;
  if (!change) return html`<span class="soft" title=${parts(set, byReward).words}>–</span>`;
  const value = (/** @type {number} */ each) =>
    byReward ? figure(each) : `${each < 0 ? "−" : ""}${Math.abs(100 * each).toFixed(0)}`;
  return html`
    <span class=${classes("result", parts(set, byReward).clear)} title=${parts(set, byReward).words}>
      <b class="number">${change.value > 0 ? "+" : ""}${value(change.value)}</b>${" "}
      <span class="soft small nowrap">${value(change.low)} to ${value(change.high)}</span>
    </span>
  `;
}

/** @param {{sets: SetOutcome[]}} props */
export function Outcome({ sets }) {
  if (!sets.length) return html`<span class="soft">–</span>`;
  const byReward = isByReward(sets);
  return html`
    <ul class="outcome" aria-label=${`Held-out ${byReward ? "reward" : "success"}, greedy`}>
      ${sets.map((set) => html`<li key=${set.split}><${SetResult} set=${set} byReward=${byReward} /></li>`)}
    </ul>
  `;
}

/** Which policies an outcome compares, in words. @param {SetOutcome[]} sets */
export function outcomeCaption(sets) {
  const newest = sets.find((set) => set.newest)?.newest;
  const of = isByReward(sets) ? "mean reward" : "success";
  return newest
    ? `held-out ${of}, policy ${sets[0].first.policy} → ${newest.policy}`
    : `held-out ${of} of policy ${sets[0]?.first.policy}`;
}
