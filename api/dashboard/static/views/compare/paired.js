// How runs compare on the prompts that they have in common, from where a fork begins.
import { html } from "../../ui.js";
import { Figure } from "../../charts/figure.js";
import { count, figure } from "../../parts/format.js";
import { go, query, withQuery } from "../../router.js";

/** @typedef {import("../../data/schema.d.ts").Comparison} Comparison */
/** @typedef {import("../../data/schema.d.ts").Paired} Paired */

/** The 95 % interval around a mean difference. @param {number} mean @param {number | null} error */
const intervalOf = (mean, error) =>
  error === null ? "–" : `${figure(mean - 1.96 * error)} to ${figure(mean + 1.96 * error)}`;

/**
 * Whether both runs have this policy from one history, so that every difference is none.
 * @param {Comparison} comparison
 * @param {Paired} pair
 */
export function isShared(comparison, pair) {
  const shared = comparison.runs.find((run) => run.name === pair.run)?.shared ?? 0;
  return shared > 0 && pair.checkpoint <= shared;
}

/** @param {{comparison: Comparison}} props */
export function PairedTable({ comparison }) {
  const whole = query.value.get("history") === "whole";
  const beyond = comparison.paired.filter((pair) => !isShared(comparison, pair));
  const hidden = comparison.paired.length - beyond.length;
  const shown = whole ? comparison.paired : beyond;
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
        rows: shown.map((pair) => [
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
      ${
        hidden > 0 &&
        html`
          <label class="check">
            <input
              type="checkbox"
              checked=${whole}
              onChange=${() => go(withQuery({ history: whole ? null : "whole" }), { replace: true })}
            />also the ${count(hidden)} rows of policies that the runs share, where nothing can differ
          </label>
        `
      }
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
            ${shown.map(
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
